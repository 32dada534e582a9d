"""The path from a video or image to a verdict that notebooks, command line, web page and evaluation share."""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfutils.errors import MediaError, RunError, TooFewFacesError, how_to_install
from dfutils.extraction.isolation import extract_clips_safely, read_credentials_safely
from dfutils.extraction.provenance import has_library, trust_list
from dfutils.extraction.remote import local_copy
from dfutils.prediction.answers import Judge
from dfutils.prediction.batch import ahead
from dfutils.prediction.members import ClipScore, Member, load_members, score_members
from dfutils.prediction.outputs import plain_verdict
from dfutils.prediction.runtime import Engine, EngineChoice, choose_engine
from dfutils.prediction.views import VIEWS, mean_of_views, spread_frames, view_of_frames
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.records import (
    MAX_FACES,
    Box,
    ClipRow,
    ContentCredentials,
    Crops,
    Extraction,
    FrameScore,
    Label,
    Reason,
    TrackScore,
    Verdict,
)
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.settings import MediaLimits, View, has_frame_head

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from dfutils.extraction.dataset import FaceDataset
    from dfutils.runs.familiarity import Familiarity

FeaturesOf = Callable[[Member], npt.NDArray[np.float32]]
"""Features ``(N, T, channels)`` of clips from a member's backbone."""


class Detector(Judge):
    """A trained model, or an ensemble, with its crop settings, calibration and thresholds; see `load_detector`.

    Attributes:
        settings: The content of ``detector.json``.
        prior: Share of FAKE among the inputs that probabilities are given for; see `for_prior`.
        folder: The run folder that it was loaded from.
        members: Its networks.
        engine: The engine that runs them.
    """

    def __init__(
        self, settings: DetectorRecord, members: Sequence[Member], folder: Path, *, engine: Engine = "keras"
    ) -> None:
        super().__init__(settings)
        self.folder, self.members, self.engine = folder, members, engine
        self._extraction = settings.extraction.model_copy(update={"tracks": "all", "incomplete": "keep"})

    @property
    def about(self) -> dict[str, Any]:
        """Name, version, checksum, thresholds of the answers and the prior, as in every verdict document."""
        real_up_to, fake_from = self.answer_range
        return {
            "name": self.settings.name,
            "version": self.settings.version,
            "sha256": self.settings.weights_sha256,
            "real_up_to": real_up_to,
            "fake_from": fake_from,
            "prior": self.prior,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from other detectors, at any prior, as plain JSON values: checksums, record and engine."""
        exports = sorted(member.export_key for member in self.members)
        return {
            "detector": self.settings.weights_sha256,
            "record": self.settings.model_dump(mode="json", exclude={"name", "version"}),
            "engine": self.engine,
            "export": hashlib.sha256("".join(exports).encode()).hexdigest() if any(exports) else "",
        }

    @property
    def engine_in_words(self) -> str:
        """The engine with the precision of its networks, for people: ``openvino, int8``."""
        return ", ".join([self.engine, *dict.fromkeys(member.precision for member in self.members)])

    @functools.cached_property
    def reference(self) -> Sequence[Member]:
        """The networks on Keras, whatever `engine` is: for heat maps.

        Raises:
            RunError: Keras is not installed.
        """
        return self.members if self.engine == "keras" else load_members(self.folder, self.settings)

    @property
    def has_frame_head(self) -> bool:
        """Whether the detector can score single frames, and thus still images."""
        return has_frame_head(self.settings.model)

    def predict(self, path: Path | str) -> Verdict:
        """Return the verdict on one video or image; an input that cannot be scored is UNDECIDED."""
        return self.examine(path)[0]

    def examine(
        self, path: Path | str, *, after_cut: Callable[[], None] = lambda: None
    ) -> tuple[Verdict, Extraction | None]:
        """Return the verdict on one video or image, and the crops it rests on.

        Args:
            path: A video or an image of any origin, or the URL of one; see `dfutils.extraction.remote.local_copy`.
            after_cut: Called after the faces are cut and before they are scored, to show progress.
        """
        cut, credentials = self._cut(path, threads=0)
        after_cut()
        verdict, extraction = self._judge(path, cut)
        return replace(verdict, credentials=credentials), extraction

    def examine_many(
        self, paths: Iterable[Path | str], *, workers: int = 1, credentials: bool = True
    ) -> Iterator[tuple[Verdict, Extraction | None]]:
        """Examine many inputs in order, while the next ones are decoded and searched for faces; see `examine`.

        Args:
            paths: Videos and images, or URLs of them.
            workers: Number of inputs decoded at a time, each in its own child process; memory does not depend on the
                number of inputs.
            credentials: Look for content credentials.
        """
        cut_one = functools.partial(self._cut, threads=0 if workers == 1 else 1, credentials=credentials)
        for path, (cut, found) in ahead(cut_one, paths, workers=workers):
            verdict, extraction = self._judge(path, cut)
            yield replace(verdict, credentials=found), extraction

    def _cut(
        self, path: Path | str, *, threads: int, credentials: bool = True
    ) -> tuple[Extraction | MediaError, ContentCredentials | None]:
        found = None
        try:
            with local_copy(path) as file:
                try:
                    if credentials and has_library() and file.is_file():
                        found = read_credentials_safely(file, self._extraction)
                    return extract_clips_safely(file, self._extraction, threads=threads), found
                except MediaError as error:
                    return type(error)(str(error).replace(str(file), str(path))), found
        except MediaError as error:
            return error, found

    def _judge(self, path: Path | str, cut: Extraction | MediaError) -> tuple[Verdict, Extraction | None]:
        if isinstance(cut, MediaError):
            return _undecided(path, cut), None
        try:
            scores = self.score_clips(np.stack([clip.images for clip in cut.clips]))
        except TooFewFacesError as error:
            return _undecided(path, error), None
        tracks: list[TrackScore] = []
        sizes: list[float] = []
        for clip, score in zip(cut.clips, scores, strict=True):
            per_frame = score.frame_probabilities or (None,) * len(clip.crops)
            frames = tuple(
                FrameScore(
                    crop.time_seconds,
                    crop.face.box if crop.face else crop.square,
                    None if probability is None else self.at_prior(probability),
                )
                for crop, probability in zip(clip.crops, per_frame, strict=True)
            )
            sizes.append(face_pixels([frame.box for frame in frames]))
            counts = sizes[-1] >= self.settings.min_face_pixels
            views = {name: self.at_prior(one) for name, one in self.probabilities_of_views(score).items()}
            tracks.append(TrackScore(self.at_prior(score.fake_probability), frames, counts, views, score.distance))
        person, label, reason, detail = self.decide_people(scores, sizes)
        remarks = [detail] if detail else []
        if left_out := cut.faces_left_out:
            if label == Label.REAL:  # a face that was not examined may be forged
                label, reason = Label.UNDECIDED, Reason.TOO_MANY_FACES
            which = "1 smaller face was" if left_out == 1 else f"{left_out} smaller faces were"
            remarks.append(f"{which} not examined: {MAX_FACES} are the most")
        if cut.info.is_truncated:
            reason = Reason.INCOMPLETE if reason == Reason.OK else reason
            remarks.append(cut.info.cut_off)
        verdict = Verdict(
            input=str(path),
            fake_probability=tracks[person].fake_probability,
            label=label,
            reason=reason,
            detail="; ".join(remarks),
            tracks=tuple(tracks),
            person=person,
            is_incomplete=cut.info.is_truncated,
        )
        return verdict, cut

    def predict_many(
        self, paths: Iterable[Path | str], *, workers: int = 1, credentials: bool = True
    ) -> Iterator[Verdict]:
        """Yield the verdicts in the order of ``paths``; see `examine_many`."""
        return (verdict for verdict, _ in self.examine_many(paths, workers=workers, credentials=credentials))

    def limited(self, *, max_seconds: float, max_pixels: int, limits: MediaLimits) -> Detector:
        """Return a copy with stricter input limits; crops are unaffected."""
        stricter = {"max_seconds": max_seconds, "max_pixels": max_pixels, "limits": limits}
        other = copy.copy(self)
        other._extraction = self._extraction.model_copy(update=stricter)
        return other

    def score_clips(self, crops: npt.NDArray[np.uint8]) -> list[ClipScore]:
        """Score clips that were cut with this detector's extraction settings.

        Args:
            crops: ``(N, T, size, size, 3)`` uint8 RGB; T is 1 for still images.

        Raises:
            TooFewFacesError: A still image was given to a model that needs a clip.
        """
        clips, frames = crops.shape[:2]
        if frames != self.settings.extraction.frames and not self.has_frame_head:
            raise TooFewFacesError(
                f"{self.settings.name} needs {self.settings.extraction.frames} frames of a video and has no frame "
                "head for a single image. Use a video, or a detector with a frame head such as inception_mean."
            )

        def features_of(seen: Crops) -> FeaturesOf:
            def features(member: Member) -> npt.NDArray[np.float32]:
                found = member.network.features(seen)
                return found.reshape(clips, -1, found.shape[-1])

            return functools.cache(features)

        copied = crops[:, self._copied_frames(frames)].reshape(-1, *crops.shape[2:])
        views = [features_of(VIEWS[name](copied)) for name in self.settings.views]
        scores = self._score(features_of(crops.reshape(-1, *crops.shape[2:])), views)
        return [replace(score, distance=self._distance(clip)) for score, clip in zip(scores, crops, strict=True)]

    def _copied_frames(self, frames: int) -> list[int]:
        """Return the frames of a clip that are copied for views: all of them for a network that needs whole clips."""
        return spread_frames(frames) if self.has_frame_head else list(range(frames))

    def _score(self, clips: FeaturesOf, views: Sequence[FeaturesOf]) -> list[ClipScore]:
        """Return the scores of clips by their features, averaged over the views if the detector has any.

        Args:
            clips: Features of the unchanged clips.
            views: For each view, features of its copies.
        """
        scores = score_members(self.members, clips)
        if not views:
            return scores

        def copied(member: Member) -> npt.NDArray[np.float32]:
            features = clips(member)
            return features[:, self._copied_frames(features.shape[1])]

        copies = [score_members(self.members, view) for view in views]
        return mean_of_views(scores, score_members(self.members, copied), copies)

    def score_dataset(
        self,
        dataset: FaceDataset,
        rows: Sequence[ClipRow],
        *,
        features: Mapping[str, npt.NDArray[np.float32]] | None = None,
        progress: bool = True,
    ) -> list[ClipScore]:
        """Score clips of a face dataset, with features that are computed once and cached.

        Args:
            dataset: Holds the crops.
            rows: Clips to score.
            features: Those of `dataset_features`, if they are at hand.
            progress: Show a bar on a terminal.

        Raises:
            RunError: The dataset's crops were cut differently than this detector's training crops.
        """
        as_is = features or self.dataset_features(dataset, rows, progress=progress)
        views = [self.dataset_features(dataset, rows, view=name, progress=progress) for name in self.settings.views]

        def features_of(own: Mapping[str, npt.NDArray[np.float32]]) -> FeaturesOf:
            return lambda member: own[member.features_key]

        scores = self._score(features_of(as_is), [features_of(own) for own in views])
        if self.familiarity is None:
            return scores
        return [
            replace(score, distance=self._distance(dataset.load_clip(row)))
            for score, row in zip(scores, rows, strict=True)
        ]

    @functools.cached_property
    def familiarity(self) -> Familiarity | None:
        """Statistics of the training crops; None for a detector that does not have them.

        Raises:
            RunError: Their file is missing or was altered.
        """
        if (known := self.settings.familiarity) is None:
            return None
        from dfutils.runs.familiarity import Familiarity  # and OpenCV

        return Familiarity.read(RunFolder(self.folder).familiarity_file, sha256=known.sha256)

    def _distance(self, clip: Crops) -> float | None:
        if self.familiarity is None or self.settings.familiarity is None:
            return None
        return self.familiarity.distance(clip) / self.settings.familiarity.limit

    def dataset_features(
        self, dataset: FaceDataset, rows: Sequence[ClipRow], *, view: View | None = None, progress: bool = True
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Return features ``(N, T, channels)`` of clips of a face dataset by `Member.features_key`, cached.

        Args:
            dataset: Holds the crops.
            rows: Clips.
            view: Compute the features of this view of the copied frames, instead of those of the unchanged crops.
            progress: Show a bar on a terminal.

        Raises:
            RunError: The dataset's crops were cut differently than this detector's training crops.
        """
        from dfutils.training.features import clip_features, feature_cache_key

        ours, theirs = self.settings.extraction, dataset.settings
        harmless = {"tracks", "image_format", "incomplete", "max_pixels", "max_seconds", "min_face_frames", "limits"}
        different = [
            f"{name} {getattr(theirs, name)!r} instead of {getattr(ours, name)!r}"
            for name in type(ours).model_fields
            if name not in harmless and getattr(ours, name) != getattr(theirs, name)
        ]
        if different:
            raise RunError(
                f"{dataset.folder}: its crops were cut differently than this detector's ({'; '.join(different)}). "
                "Extract again with the run's settings."
            )
        change, key_suffix = None, ""
        if view is not None and rows:
            change, key_suffix = view_of_frames(view, self._copied_frames(rows[0].frames))
        features: dict[str, npt.NDArray[np.float32]] = {}
        for member in self.members:
            if member.features_key not in features:
                settings = member.settings
                key = feature_cache_key(
                    settings.backbone_checksum, size=settings.extraction.size, family=settings.backbone
                )
                features[member.features_key] = clip_features(
                    dataset,
                    rows,
                    member.network.features,
                    cache_key=key + member.export_key + key_suffix,
                    change=change,
                    progress=progress,
                )
        return features


def load_detector(model: Path | str | None = None, *, engine: EngineChoice = "auto") -> Detector:
    """Load a detector: only its weights, verified by checksum, into a network that this package builds.

    Args:
        model: A run folder, of one detector or an ensemble, the name of a detector that comes with the package
            (`dfutils.pretrained.pretrained_names`), or ``hf://OWNER/NAME@REVISION`` for one on the Hugging Face Hub; by
            default the one that ``dfutils predict`` uses.
        engine: ``keras`` is the reference; ``openvino`` is faster on a CPU and needs no TensorFlow; ``auto`` uses
            OpenVINO if it is installed and supports the network.

    Raises:
        RunError: There is no such detector, its folder is incomplete, its weights were altered since training, or the
            engine is not available.
        DfutilsError: The list of authorities for content credentials cannot be read.
    """
    folder = resolve_detector(DEFAULT if model is None else model)
    settings = RunFolder(folder).detector()
    chosen = choose_engine(engine, folder, settings)
    detector = Detector(settings, load_members(folder, settings, engine=chosen), folder, engine=chosen)
    _ = detector.familiarity  # a missing file is an error now, and not at the first face
    trust_list()  # so is a wrong list
    if not has_library():
        logger.debug(
            "Content credentials are not read: c2pa-python is not installed. %s.", how_to_install("credentials")
        )
    return detector


def verdict_document(detector: Detector, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Return what ``predict --json`` prints."""
    return {"detector": detector.about, "verdicts": [plain_verdict(verdict) for verdict in verdicts]}


def face_pixels(boxes: Sequence[Box]) -> float:
    """Return the size of a person's face in an input: the median of the longer side of its box over the frames."""
    return float(np.median([max(box.width, box.height) for box in boxes]))


def _undecided(path: Path | str, error: MediaError) -> Verdict:
    detail = str(error).removeprefix(f"{path}: ")
    return Verdict(str(path), None, Label.UNDECIDED, Reason(error.reason), detail)
