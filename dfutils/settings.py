"""Settings: validated, immutable, and saved beside the results they produced. Unknown keys are rejected."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dfutils.errors import DfutilsError
from dfutils.files import read_json, write_json

Fraction = Annotated[float, Field(gt=0, lt=1)]

View = Literal["mirrored", "compressed", "rescaled"]
"""A copy of the crops that is scored beside them; see `dfutils.prediction.views`."""

ModelName = Literal["inception_lstm_gru", "inception_gru", "inception_mean"]
"""A head on the features of the frames; `dfutils.training.model.HEADS` builds it."""

BackboneWeights = Annotated[str, BeforeValidator(lambda name: "nsfwjs" if name == "stand-in" else name)]
"""Name of backbone weights; earlier versions called the nsfwjs weights ``stand-in``."""

DEFAULT_BACKBONE = "InceptionV3"
"""The default frame encoder. Detectors from before there were others do not name it."""


def has_frame_head(model: str) -> bool:
    """Return whether the model scores single frames, and thus still images."""
    return model == "inception_mean"


class Settings(BaseModel):
    """Base of all settings; docstrings of attributes are their field descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def write(self, path: Path) -> None:
        """Save as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Load a file that `write` saved.

        Raises:
            DfutilsError: The file holds unknown keys or invalid values.
        """
        return cls.parse(read_json(path), source=str(path))

    @classmethod
    def names(cls) -> Iterator[str]:
        """Yield the name of every setting, and after it those below it, such as ``finetune`` and ``finetune.patch``."""
        for name, field in cls.model_fields.items():
            yield name
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
                yield from (f"{name}.{own}" for own in field.annotation.names())

    @classmethod
    def parse(cls, values: object, *, source: str) -> Self:
        """Validate plain values; ``source`` names them in the error.

        Raises:
            DfutilsError: A key is unknown, or a value is invalid.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "settings"
            if first["type"] == "value_error":  # from a validator below, whose message names the value
                raise DfutilsError(f"{source}: {where}: {first['ctx']['error']}.") from error
            if first["type"] == "extra_forbidden":
                known = {name.rpartition(".")[2]: name for name in reversed([*cls.names()])}
                close = get_close_matches(str(first["loc"][-1]), known, n=1)
                advice = f"Did you mean {known[close[0]]}?" if close else "Correct or remove it."
                raise DfutilsError(f"{source}: {where}: no such setting ({first['input']!r}). {advice}") from error
            received = "" if first["type"] == "missing" else f" Received: {first['input']!r}."
            raise DfutilsError(f"{source}: {where}: {first['msg']}.{received}") from error


class MediaLimits(Settings):
    """Limits of the child process that decodes one untrusted file; a file that exceeds them is rejected."""

    memory_megabytes: int = Field(2048, ge=256)
    """Address space on top of what the child uses before it opens the file."""
    cpu_seconds: int = Field(900, ge=1)
    """CPU time; the default is enough for half an hour of 1080p on a slow core."""
    wall_seconds: float = Field(1800.0, gt=0)
    """The child is killed after this time, even if it only waits."""
    frames: int = Field(250_000, ge=1)
    """Maximum number of frames; the default is more than an hour at 60 frames per second."""


class ExtractionSettings(Settings):
    """How a video becomes face clips. Training and prediction use the same values."""

    frames: int = Field(10, ge=1, le=64)
    """Crops per clip."""
    size: int = Field(299, ge=32, le=1024)
    """Side of a crop in pixels."""
    margin: float = Field(0.0, ge=-0.3, le=2.0)
    """Face margin: room on each side of the square around the face, as a fraction of its side. A margin of 0 frames
    faces like the crops of the Deepfake Detection Challenge."""
    sampling: Literal["motion", "uniform", "first"] = "motion"
    """Choose the frame of each segment with the most motion, the middle of each segment, or the first frames."""
    crop: Literal["face", "none"] = "face"
    """Find and cut out faces, or (``none``) use the central square of files that already are face crops."""
    min_detection_score: float = Field(0.6, ge=0, le=1)
    """Faces to which YuNet gives a lower score are ignored."""
    min_face_fraction: float = Field(0.04, ge=0, le=1)
    """Faces whose longer side is below this fraction of the image's shorter side are ignored."""
    min_face_frames: int = Field(3, ge=1)
    """A track of a video needs a face in at least this many different frames."""
    tracks: Literal["main", "all"] = "main"
    """Cut one clip of the main person, or one clip of every person."""
    image_format: Literal["png", "jpg"] = "png"
    """File format of the crops. PNG adds no second compression."""
    incomplete: Literal["keep", "skip"] = "keep"
    """Use the readable part of a truncated file, or skip the file."""
    max_pixels: int = Field(36_000_000, ge=1)
    """Videos with more pixels are rejected; images of up to 200 megapixels are reduced to this size."""
    max_seconds: float = Field(3600.0, gt=0)
    """Longer videos are rejected."""
    limits: MediaLimits = MediaLimits()
    """Limits of the child process that decodes untrusted files; they do not affect the crops."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_files(cls, values: Any) -> Any:
        """Drop ``detector``, which dates from when YuNet was not the only face detector."""
        if not isinstance(values, dict) or values.get("detector") not in ("auto", "yunet", "haar"):
            return values
        if values["detector"] == "haar":
            raise ValueError(
                "the faces were cut with OpenCV's Haar cascades (detector: 'haar'), which dfutils no longer has. "
                "Extract the faces again and train again"
            )
        return {name: value for name, value in values.items() if name != "detector"}


class SplitSettings(Settings):
    """How groups are assigned to train, validation and test."""

    test_fraction: Fraction = 0.2
    """Share of the groups in the test split."""
    validation_fraction: Fraction = 0.2
    """Share of the remaining groups in the validation split."""
    seed: int = Field(0, ge=0)
    """The same seed and data give the same split."""


class FinetuneSettings(Settings):
    """How the whole network is trained end to end."""

    unfreeze: str = "all"
    """``all``, or the first block of the backbone to train, such as InceptionV3's ``mixed8``; blocks before it stay
    frozen. Unknown names raise an error that lists the valid ones."""
    train_batch_norm: bool = False
    """Train batch normalisation too. If frozen, it keeps its pretrained moving averages, which is safer with few
    videos."""
    backbone_lr_multiplier: float = Field(1.0, gt=0)
    """Learning rate of the backbone, as a multiple of the head's. A linear head on thousands of standardised channels
    moves far with every step: if the backbone is to learn, the head needs a tenth of its usual rate or less."""
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """After warm-up, the rate falls to 0 along a cosine, or it halves whenever validation AUC has not risen for half of
    ``patience``."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """As in Keras: the targets 0 and 1 become half of this and 1 minus half of this."""
    clip_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to at most this global norm."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then validated and kept. 0 disables it."""
    steps_per_epoch: int | None = Field(None, ge=1)
    """Steps per epoch; by default one pass over the REAL training clips."""
    frames_per_clip: int | None = Field(None, ge=1)
    """Random frames of each clip in a step; by default 1 for a model with a frame head, otherwise all."""
    self_blended: float = Field(0.0, ge=0, le=1)
    """Share of the fakes that are blended on the fly from REAL training crops (Shiohara & Yamasaki 2022)."""
    donor_share: float = Field(0.0, ge=0, le=1)
    """Share of the blended fakes whose face comes from another person of the same dataset (Li et al. 2020)."""
    paired: bool = False
    """Choose each FAKE clip from the group of the REAL clip it is paired with, or else from its dataset."""
    balance_datasets: bool = False
    """Draw REAL clips by dataset, each weighted by the square root of its number of clips, and within a dataset by
    group. A fake then always comes from the dataset of the REAL clip, and is blended if that dataset has none."""
    framing_jitter: float = Field(0.0, ge=0, le=0.2)
    """Standard deviation of the size of training crops, as a fraction of their side; their position varies by half as
    much. This imitates a face detector's box, and needs crops with some face margin to spare."""
    augment: float = Field(1.0, ge=0, le=1)
    """Share of the pairs that get random camera, compression and geometry changes, the same for REAL and FAKE. The
    others are only mirrored, half of the time, so that the network also sees crops like those at prediction. Framing
    jitter, patches and blending apply to all pairs."""
    patch: int | None = Field(None, ge=1)
    """Train on a random square of this side from each crop, at full resolution, instead of the whole crop; validation
    and prediction use whole crops (as Touvron et al. 2019 train small and test large). Half the pixels allow twice
    the steps per hour."""
    checkpoint_minutes: float = Field(5.0, gt=0)
    """Minutes between checkpoints; a killed run continues from its last one."""
    time_budget_hours: float | None = Field(None, gt=0)
    """Stop cleanly after this many hours of training, with the best epoch so far as the detector; the same command
    continues. Validation and scoring after the last step are not counted."""
    precision: Literal["auto", "float32", "mixed_float16", "cpu_bfloat16"] = "auto"
    """``auto`` is mixed_float16 if every device is a GPU with fast float16, otherwise float32; cpu_bfloat16 lets oneDNN
    compute convolutions in bfloat16, on processors that support it."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_files(cls, values: Any) -> Any:
        """Read the names of earlier versions, whose ``label_smoothing`` was half of Keras'."""
        if not isinstance(values, dict) or not RENAMED_IN_FINETUNE.keys() & values.keys():
            return values
        renamed = {RENAMED_IN_FINETUNE.get(name, name): value for name, value in values.items()}
        if "label_smoothing" in renamed:
            renamed["label_smoothing"] *= 2
        return renamed


RENAMED_IN_FINETUNE = {
    "backbone_rate": "backbone_lr_multiplier",
    "gradient_norm": "clip_norm",
    "weight_average": "ema_decay",
}
"""Current names of the settings of earlier versions."""


class DeviceSettings(Settings):
    """Devices that training runs on. They are not part of a run's identity: the same run may continue on others."""

    strategy: Literal["auto", "none", "mirrored"] = "auto"
    """``mirrored`` shares every step among all GPUs of the machine. ``auto`` does so for ``mode="finetune"`` if there
    are several; a head on cached features is too small to gain from it."""
    cross_device: Literal["auto", "nccl", "hierarchical", "reduce_to_one"] = "auto"
    """How the GPUs sum their gradients; ``auto`` leaves it to TensorFlow, which uses NCCL where it can."""
    input_workers: int | None = Field(None, ge=0)
    """Processes that make the batches of ``mode="finetune"``; with fewer than 2, threads of the training process do it.
    By default one per core if there is a GPU to feed, otherwise 0: a network on the CPU is far slower than its
    input."""


class TrainingSettings(Settings):
    """How a detector is trained on a face dataset."""

    model: ModelName = "inception_gru"
    """``inception_lstm_gru``, ``inception_gru``, or ``inception_mean``, which averages frame scores and so also judges
    still images."""
    mode: Literal["cached", "finetune"] = "cached"
    """``cached`` trains the head on stored backbone features; ``finetune`` trains backbone and head end to end."""
    backbone: str = DEFAULT_BACKBONE
    """Name in `dfutils.training.families.FAMILIES`. ``InceptionV3Blocks`` has the pooled outputs of all of
    InceptionV3's blocks as features, not of the last one alone."""
    backbone_weights: BackboneWeights = "auto"
    """``auto``, ``imagenet``, ``nsfwjs``, ``random``, or a path."""
    init_from: str | None = None
    """Start from the backbone of this run folder or included detector, instead of ``backbone_weights``.
    ``mode="finetune"`` starts from its head too, if model and backbone are the same."""
    augmented_copies: int = Field(0, ge=0)
    """For ``mode="cached"``: number of augmented copies of each training clip, each augmented differently."""
    class_weights: bool = False
    """In ``mode="cached"``, give REAL and FAKE training clips the same total weight, however many there are of each; in
    ``mode="finetune"`` every batch is half REAL and half FAKE anyway."""
    epochs: int = Field(10, ge=1)
    """Maximum number of epochs; early stopping on validation AUC may end training sooner."""
    batch_size: int = Field(32, ge=1)
    """Clips per step, shared by all devices. The step is the same for any number of devices."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of AdamW for a step of ``batch_size`` clips. It is not scaled by the number of devices."""
    weight_decay: float = Field(1e-4, ge=0)
    """Decoupled weight decay of AdamW."""
    patience: int = Field(6, ge=1)
    """Epochs without a better validation AUC before training stops; the learning rate halves after half of that."""
    seed: int = Field(0, ge=0)
    """Seed of weights, order and dropout."""
    finetune: FinetuneSettings = FinetuneSettings()
    """Used by ``mode="finetune"`` only."""
    devices: DeviceSettings = DeviceSettings()
    """Devices that training runs on."""
    tensorboard: bool = False
    """Also write the curves as TensorBoard event files into ``tensorboard`` of the run folder."""
    size: int | None = Field(None, ge=32, le=1024)
    """Side in pixels of the training crops, if it is not the dataset's."""
    margin: float | None = Field(None, ge=-0.3, le=2.0)
    """Face margin of the training crops, if it is smaller than the dataset's."""
    split: SplitSettings = SplitSettings()
    """Used if the dataset has no official splits and no splits file is given."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_files(cls, values: Any) -> Any:
        """Read the names of earlier versions; their ``views`` counted the unchanged clip too."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if "views" in values:
            values["augmented_copies"] = values.pop("views") - 1
        finetune = values.get("finetune")
        if isinstance(finetune, dict) and "strategy" in finetune:  # now a device setting
            values["finetune"] = {name: value for name, value in finetune.items() if name != "strategy"}
            values.setdefault("devices", {"strategy": finetune["strategy"]})
        return values
