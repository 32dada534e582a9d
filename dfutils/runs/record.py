"""What a finished training leaves behind, typed: the documents ``detector.json`` and ``export.json``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dfutils.settings import DEFAULT_BACKBONE, OLD_NSFWJS, ExtractionSettings, Settings


class MemberRecord(Settings):
    """One of the detectors that an ensemble averages."""

    folder: str = Field(pattern=r"^fold-\d+$")
    """Its run folder, inside the ensemble's."""
    sha256: str
    """Of its ``detector.json``, which in turn holds the checksum of its weights."""


RULE_PATTERN = r"^(balanced_accuracy|fpr_\d+(\.\d+)?|cost_\d+(\.\d+)?)$"


class OperatingPoint(Settings):
    """A threshold on the calibrated probability, and how it was chosen on `DetectorRecord.fitted_on`."""

    rule: str = Field(pattern=RULE_PATTERN)
    """Most balanced accuracy; most FAKE found while at most so many per cent of the REAL are called FAKE; or least cost
    where a REAL called FAKE counts so many times as much as a FAKE that is missed."""
    threshold: float = Field(ge=0, le=1)
    """FAKE from there upwards."""
    false_positive_rate: float = Field(ge=0, le=1)
    """Share of the REAL clips there that it calls FAKE."""
    true_positive_rate: float = Field(ge=0, le=1)
    """Share of the FAKE clips there that it calls FAKE."""
    reals: int = Field(ge=0)
    """REAL clips there: a rate below one in so many cannot be told from 0."""
    fakes: int = Field(ge=0)
    """FAKE clips there."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_files(cls, values: Any) -> Any:
        """Read the names of earlier versions."""
        if not isinstance(values, dict):
            return values
        renamed = {"false_alarms": "false_positive_rate", "found": "true_positive_rate"}
        return {renamed.get(name, name): value for name, value in values.items()}


class DetectorRecord(Settings):
    """What turns crops into a verdict besides the weights: ``detector.json`` of a run folder."""

    name: str
    """Name of the detector: the model's, for a run, and the backbone's where that is not the usual one; of an ensemble,
    with the number of its members."""
    version: str
    """Version of the package that made it."""
    model: str
    """Name in the table of `dfutils.training.model`."""
    extraction: ExtractionSettings
    """How the training crops were cut; prediction cuts the same way."""
    backbone: str = DEFAULT_BACKBONE
    """Name in the table of `dfutils.training.backbones`."""
    backbone_weights: str
    """Where the backbone's weights come from: a name in `dfutils.weights`, ``random`` or a file name."""
    backbone_checksum: str
    """Checksum of those weights, or the seed they were drawn with; of an ensemble of several backbones, its own."""
    weights_sha256: str
    """SHA-256 of ``model.weights.h5``; of an ensemble, over the checksums of its members."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logit (Guo et al. 2017); fitted on `fitted_on`. 1 for an ensemble, whose members are
    calibrated before they are averaged."""
    calibration: Literal["temperature", "isotonic"] = "temperature"
    """How a raw probability becomes a calibrated one."""
    fitted_on: Literal["validation", "out_of_fold"] = "validation"
    """The clips that calibration, thresholds and band were fitted on: the run's own validation split, or all clips of
    folds of the same recipe, each scored by the fold that was not trained on it."""
    isotonic: tuple[tuple[float, float], ...] = ()
    """For ``calibration="isotonic"``: raw logits, rising, and their calibrated probabilities; linear in between."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds by other rules, frozen beside the one that is used."""
    operating_point: str = "balanced_accuracy"
    """Rule that ``threshold`` was chosen by."""
    undecided: tuple[float, float] | None = None
    """Calibrated probabilities between these two are UNDECIDED; by default there are none."""
    min_face_pixels: int = Field(0, ge=0)
    """A person whose face is smaller than this in the input, by the longer side of its box, is scored but does not
    decide; where everybody is, the verdict is UNDECIDED."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Operating point on the calibrated probability, chosen on `fitted_on`; of an ensemble, the mean of its
    members' as logits."""
    members: tuple[MemberRecord, ...] = ()
    """Detectors whose calibrated logits are averaged; empty for one that stands alone."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_files(cls, values: Any) -> Any:
        """Read the name that earlier versions had for the weights of nsfwjs."""
        if isinstance(values, dict) and values.get("backbone_weights") == OLD_NSFWJS:
            return {**values, "backbone_weights": "nsfwjs"}
        return values

    @property
    def fitted_in_words(self) -> str:
        """`fitted_on` for a reader."""
        return "the validation split" if self.fitted_on == "validation" else "out-of-fold scores of its recipe"

    @model_validator(mode="after")
    def _check_decision(self) -> Self:
        if self.undecided is not None and not 0 <= self.undecided[0] <= self.threshold <= self.undecided[1] <= 1:
            raise ValueError(f"undecided must hold the threshold {self.threshold} and lie in 0..1")
        if self.calibration == "isotonic" and len(self.isotonic) < 2:
            raise ValueError("isotonic calibration needs at least two points")
        return self


class ExportRecord(Settings):
    """What was exported for OpenVINO, and how far it differs from Keras: ``export.json``."""

    precision: Literal["float32", "bfloat16", "int8"]
    """What the backbone computes in."""
    weights_sha256: str
    """Of the ``model.weights.h5`` that it was made of."""
    files: dict[str, str]
    """SHA-256 of each file beside this one."""
    split: str
    """The clips that both were compared on: ``validation``, or ``all`` of a dataset that says of none that it is."""
    clips: int = Field(ge=1)
    """How many those were."""
    largest_difference: float = Field(ge=0)
    """Between the raw probabilities of both."""
    auc_keras: float | None
    """On those clips; None where they are not of both labels."""
    auc: float | None
    """The same of what was exported."""
    same_labels: float = Field(ge=0, le=1)
    """Share of the clips that both give the same label."""
    openvino: str
    """Version that wrote the files."""
