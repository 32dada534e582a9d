"""The one path from a video or an image to a verdict: notebook, command line, page and evaluation all call it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfutils.errors import MediaError, RunError, TooFewFacesError
from dfutils.extraction.isolation import extract_clips_safely
from dfutils.prediction.members import ClipScore, Member, load_members, score_members
from dfutils.prediction.outputs import plain_verdict
from dfutils.prediction.runtime import Engine, EngineChoice, choose_engine, keras_network
from dfutils.prediction.stream import ahead
from dfutils.pretrained import DEFAULT, run_folder
from dfutils.records import Box, ClipRow, Extraction, FaceClip, FrameScore, Label, Reason, TrackScore, Verdict
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.settings import MediaLimits, has_frame_head

if TYPE_CHECKING:
    from dfutils.extraction.dataset import FaceDataset


class Detector:
    """A trained model, or an ensemble of several, with everything that surrounds it; made by `load_detector`.

    Attributes:
        settings: ``detector.json``.
        folder: The run folder it was loaded from.
        members: Its networks.
        engine: What runs them.
    """

    def __init__(
        self, settings: DetectorRecord, members: Sequence[Member], folder: Path, *, engine: Engine = "keras"
    ) -> None:
        self.settings, self.folder, self.members, self.engine = settings, folder, members, engine
        self._extraction = settings.extraction.model_copy(update={"tracks": "all"})

    @property
    def about(self) -> dict[str, str]:
        """Name, version and checksum, as every verdict document states them."""
        return {
            "name": self.settings.name,
            "version": self.settings.version,
            "sha256": self.settings.weights_sha256,
        }

    @functools.cached_property
    def reference(self) -> Sequence[Member]:
        """Its networks on Keras, whatever `engine` is: what is measured, and what heat maps are drawn of.

        Raises:
            RunError: Keras is not installed.
        """
        return self.members if self.engine == "keras" else load_members(self.folder, self.settings)

    @property
    def has_frame_head(self) -> bool:
        """Whether it scores single frames, and so still images."""
        return has_frame_head(self.settings.model)

    def predict(self, path: Path | str) -> Verdict:
        """Say what this detector makes of one video or image; an input that gives no score is UNDECIDED."""
        return self.examine(path)[0]

    def examine(
        self, path: Path | str, *, after_cut: Callable[[], None] = lambda: None
    ) -> tuple[Verdict, Extraction | None]:
        """`predict`, and what was cut from the input on the way (for images and timelines).

        Args:
            path: A video or an image of any origin.
            after_cut: Called once the faces are cut and before they are scored, to show how far it is.
        """
        cut = self._cut(path, threads=0)
        after_cut()
        return self._judge(path, cut)

    def examine_many(
        self, paths: Iterable[Path | str], *, workers: int = 1
    ) -> Iterator[tuple[Verdict, Extraction | None]]:
        """`examine` one input after the other, while the next ones are decoded and searched for faces.

        Args:
            paths: The order of the verdicts.
            workers: Inputs that are decoded at a time, each in a child process of its own, with one thread where they
                are several; memory does not grow beyond them, however many inputs there are.
        """
        cut_one = functools.partial(self._cut, threads=0 if workers == 1 else 1)
        for path, cut in ahead(cut_one, paths, workers=workers):
            yield self._judge(path, cut)

    def _cut(self, path: Path | str, *, threads: int) -> Extraction | MediaError:
        try:
            return extract_clips_safely(Path(path), self._extraction, threads=threads)
        except MediaError as error:
            return error

    def _judge(self, path: Path | str, cut: Extraction | MediaError) -> tuple[Verdict, Extraction | None]:
        try:
            extraction = _or_raise(cut)
            scores = self.score_clips(np.stack([clip.images for clip in extraction.clips]))
        except MediaError as error:
            detail = str(error).removeprefix(f"{path}: ")
            return Verdict(str(path), None, Label.UNDECIDED, Reason(error.reason), detail), None
        tracks = tuple(_track_score(clip, score) for clip, score in zip(extraction.clips, scores, strict=True))
        boxes = [[frame.box for frame in track.frames] for track in tracks]
        probabilities = [track.fake_probability for track in tracks]
        place, label, reason, detail = self.decide_people(probabilities, [face_pixels(of_one) for of_one in boxes])
        return Verdict(str(path), probabilities[place], label, reason, detail, tracks), extraction

    def predict_many(self, paths: Iterable[Path | str], *, workers: int = 1) -> Iterator[Verdict]:
        """Verdicts in the order of ``paths``, one at a time; as `examine_many`."""
        return (verdict for verdict, _ in self.examine_many(paths, workers=workers))

    def limited(self, *, max_seconds: float, max_pixels: int, limits: MediaLimits) -> Detector:
        """The same detector, which refuses inputs that are longer, larger or dearer; no crop changes."""
        stricter = {"max_seconds": max_seconds, "max_pixels": max_pixels, "limits": limits}
        other = copy.copy(self)
        other._extraction = self._extraction.model_copy(update=stricter)
        return other

    def label(self, fake_probability: float) -> Label:
        """REAL or FAKE at this detector's operating point, or UNDECIDED inside its band."""
        band = self.settings.undecided
        if band is not None and band[0] <= fake_probability <= band[1]:
            return Label.UNDECIDED
        return Label.FAKE if fake_probability >= self.settings.threshold else Label.REAL

    def decide(self, fake_probability: float) -> tuple[Label, Reason, str]:
        """The label with its reason, and a sentence where it is UNDECIDED."""
        label = self.label(fake_probability)
        if label != Label.UNDECIDED:
            return label, Reason.OK, ""
        low, high = self.settings.undecided or (0.0, 1.0)
        detail = (
            f"the fake probability {fake_probability:.2f} lies between {low:.2f} and {high:.2f}, where this detector "
            "does not decide"
        )
        return label, Reason.LOW_CONFIDENCE, detail

    def decide_people(
        self, fake_probabilities: Sequence[float], pixels: Sequence[float]
    ) -> tuple[int, Label, Reason, str]:
        """Which person of an input decides, the highest score of those whose face is large enough, and how.

        Args:
            fake_probabilities: Of each person, at least one.
            pixels: Size of each person's face, as `face_pixels`.
        """
        least = self.settings.min_face_pixels
        people = range(len(fake_probabilities))
        large = [person for person in people if pixels[person] >= least]
        place = max(large or people, key=lambda person: fake_probabilities[person])
        if large:
            return place, *self.decide(fake_probabilities[place])
        detail = f"the largest face is {max(pixels):.0f} pixels wide or high, and this detector needs {least} to decide"
        return place, Label.UNDECIDED, Reason.LOW_CONFIDENCE, detail

    def score_clips(self, crops: npt.NDArray[np.uint8]) -> list[ClipScore]:
        """Score clips that were cut with this detector's own extraction settings.

        Args:
            crops: ``(N, T, size, size, 3)`` uint8 RGB; T is 1 for still images.

        Raises:
            TooFewFacesError: A still image was given to a model that needs a clip.
        """
        clips, frames = crops.shape[:2]
        if frames != self.settings.extraction.frames and not self.has_frame_head:
            raise TooFewFacesError(
                f"{self.settings.name} looks at {self.settings.extraction.frames} frames of a video and has no frame "
                "head for a single image. Use a video, or a detector with a frame head such as inception_mean."
            )
        flat = crops.reshape(-1, *crops.shape[2:])

        def features(member: Member) -> npt.NDArray[np.float32]:
            return member.network.features(flat).reshape(clips, frames, -1)

        return score_members(self.members, features)

    def score_dataset(self, dataset: FaceDataset, rows: Sequence[ClipRow], *, progress: bool = True) -> list[ClipScore]:
        """Score clips of a face dataset on Keras, with the features of frozen backbones from the cache.

        Raises:
            RunError: The dataset's crops were cut in another way than this detector's training crops.
        """
        features = self.dataset_features(dataset, rows, progress=progress)
        return score_members(self.reference, lambda member: features[member.settings.backbone_checksum])

    def dataset_features(
        self, dataset: FaceDataset, rows: Sequence[ClipRow], *, progress: bool = True
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Features ``(N, T, channels)`` of clips of a face dataset by the checksum of the backbone, from the cache.

        Raises:
            RunError: The dataset's crops were cut in another way than this detector's training crops.
        """
        from dfutils.training.features import backbone_key, clip_features

        _check_same_crops(self.settings, dataset)
        features: dict[str, npt.NDArray[np.float32]] = {}
        for member in self.reference:
            checksum = member.settings.backbone_checksum
            if checksum not in features:
                size, family = member.settings.extraction.size, member.settings.backbone
                key = backbone_key(checksum, size=size, family=family)
                backbone = keras_network(member.network).backbone
                features[checksum] = clip_features(dataset, rows, backbone, backbone_key=key, progress=progress)
        return features


def load_detector(model: Path | str | None = None, *, engine: EngineChoice = "auto") -> Detector:
    """Load a detector: weights only, into a network that this package builds, after a checksum.

    Args:
        model: A run folder, of one detector or of an ensemble of folds, or the name of a detector that comes with the
            package (`dfutils.pretrained.pretrained_names`); by default the one that ``dfutils predict`` uses.
        engine: ``keras`` is the reference, ``openvino`` starts and runs faster on a CPU and needs no TensorFlow;
            ``auto`` is OpenVINO where OpenVINO is installed and it knows the network.

    Raises:
        RunError: There is no such detector, its folder is incomplete, or its weights are not those it was finished
            with, or the engine is not to be had.
    """
    folder = run_folder(DEFAULT if model is None else model)
    settings = RunFolder(folder).detector()
    chosen = choose_engine(engine, folder, settings)
    return Detector(settings, load_members(folder, settings, engine=chosen), folder, engine=chosen)


def verdict_document(detector: Detector, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The plain values that ``predict --json`` prints."""
    return {"detector": detector.about, "verdicts": [plain_verdict(verdict) for verdict in verdicts]}


def face_pixels(boxes: Sequence[Box]) -> float:
    """Size of a person's face in an input: the longer side of its box, the median over the frames."""
    return float(np.median([max(box.width, box.height) for box in boxes]))


def _or_raise(cut: Extraction | MediaError) -> Extraction:
    if isinstance(cut, MediaError):
        raise cut
    return cut


def _track_score(clip: FaceClip, score: ClipScore) -> TrackScore:
    frame_scores = score.frame_probabilities or (None,) * len(clip.crops)
    frames = tuple(
        FrameScore(crop.time_seconds, crop.face.box if crop.face else crop.square, probability)
        for crop, probability in zip(clip.crops, frame_scores, strict=True)
    )
    return TrackScore(score.fake_probability, frames)


def _check_same_crops(settings: DetectorRecord, dataset: FaceDataset) -> None:
    ours, theirs = settings.extraction, dataset.settings
    harmless = {"tracks", "image_format", "max_pixels", "max_seconds", "min_face_frames", "limits"}
    different = [
        f"{name} {getattr(theirs, name)!r} instead of {getattr(ours, name)!r}"
        for name in type(ours).model_fields
        if name not in harmless and getattr(ours, name) != getattr(theirs, name)
    ]
    if different:
        raise RunError(
            f"{dataset.folder}: its crops were cut in another way than this detector's ({'; '.join(different)}). "
            "Extract again with the run's settings."
        )
