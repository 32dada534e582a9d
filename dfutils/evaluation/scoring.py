"""Score a face dataset with a detector: tables with one row per video, per track and per frame."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfutils.errors import ReportError
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.extraction.media_files import IMAGE_SUFFIXES
from dfutils.files import read_csv
from dfutils.prediction.detector import Detector, face_pixels
from dfutils.prediction.members import ClipScore
from dfutils.records import ClipRow, Video
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.settings import ExtractionSettings

MOVING = {".gif", ".apng", ".webp"}
"""Suffixes of images that may have many frames, as a video has."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One face dataset with the scores of one split.

    Attributes:
        dataset: The whole dataset.
        rows: Clips that were scored.
        scores: Score of each row.
        features: Features of the rows by `Member.features_key`, ``(N, T, 2048)``.
        predictions: One row per video of the split, including videos without a clip.
    """

    dataset: FaceDataset
    rows: tuple[ClipRow, ...]
    scores: tuple[ClipScore, ...]
    features: dict[str, Any]
    predictions: pd.DataFrame

    @property
    def tracks(self) -> pd.DataFrame:
        """One row per track (= clip)."""
        columns = ("clip_id", "video", "dataset", "group", "track", "is_fake")
        table = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in self.rows])
        return table.assign(fake_probability=[score.fake_probability for score in self.scores])

    @property
    def frames(self) -> pd.DataFrame | None:
        """One row per frame; None for a model without a frame head."""
        if any(score.frame_probabilities is None for score in self.scores):
            return None
        counts = [len(score.frame_probabilities or ()) for score in self.scores]
        table = self.tracks.loc[np.repeat(np.arange(len(self.rows)), counts)].reset_index(drop=True)
        return table.assign(fake_probability=np.concatenate([score.frame_probabilities or () for score in self.scores]))

    def people(self) -> dict[str, list[tuple[ClipRow, ClipScore]]]:
        """Return the scored clips of each video, one per person."""
        return _people(self.rows, self.scores)


class RunSplits:
    """Assigns videos to the splits of a run: by the video's name, else by its group, else test.

    A packed detector does not say what it was trained on: all videos count as test.

    Attributes:
        known_groups: Groups used for training or validation; None for a packed detector.
        trained_files: Names of the videos used for training or validation, by the SHA-256 of their file; None for a
            run of an earlier version, which did not record it.
    """

    def __init__(self, run: Path, *, is_ensemble: bool) -> None:
        is_packed = RunFolder(run).is_packed
        if is_packed:
            rows = []
        elif is_ensemble:  # each video was in the training split of some member
            rows = [{**row, "split": "train"} for row in read_csv(RunFolder(run).predictions_file, ("video", "group"))]
        else:
            rows = read_csv(RunFolder(run).splits_file, ("video", "group", "split"))
        self._by_video = {row["video"]: row["split"] for row in rows}
        self._by_group = {row["group"]: row["split"] for row in rows}
        used = {group for group, split in self._by_group.items() if split != "test"}
        self.known_groups = None if is_packed else used
        self.trained_files: dict[str, set[str]] | None = None
        if rows and all("sha256" in row for row in rows):
            self.trained_files = {}
            for row in rows:
                if row["split"] != "test" and row["sha256"]:
                    self.trained_files.setdefault(row["sha256"], set()).add(row["video"])

    def of(self, video: str, group: str) -> str:
        """Return ``train``, ``validation`` or ``test``."""
        return self.known(video, group) or "test"

    def known(self, video: str, group: str) -> str | None:
        """Return the split of a video; None if the run knows neither the video nor its group."""
        return self._by_video.get(video) or self._by_group.get(group)


def videos_of_split(catalogue: Catalogue, splits: RunSplits, split: str) -> Catalogue:
    """Return the labelled videos of a split, with a warning that counts the others.

    A video that the run knows has the split that it had there. One that it does not know is in ``test``, unless its
    labels say that it is for training or validation.

    Raises:
        ReportError: There is none, or there are both videos and images.
    """

    def split_of(video: Video) -> str:
        known = splits.known(video.name, video.group)
        return known or ("test" if video.split in (None, "test") else f"{video.split} by its labels")

    of_split: dict[bool, list[Video]] = {True: [], False: []}
    for video in catalogue.videos:
        of_split[split in ("all", split_of(video))].append(video)
    chosen, others = of_split[True], of_split[False]
    if not chosen:
        raise ReportError(
            f"split {split!r}: has none of the {len(others)} videos (first: {others[0].name}, which is in "
            f"{split_of(others[0])}). Choose another one with --split, or --split all."
        )
    images = [one.name for one in chosen if not one.frames and one.path.suffix.lower() in IMAGE_SUFFIXES - MOVING]
    if images and len(images) < len(chosen):
        raise ReportError(
            f"{images[0]}: is an image among videos, which are scored by all of their frames. Put images into a folder "
            "of their own, and measure both."
        )
    warnings = [
        f"{len(others):,} of {len(catalogue.videos):,} videos are not in the split {split!r}, and are not measured "
        f"(first: {video.name}, in {split_of(video)})"
        for video in others[:1]
    ]
    return Catalogue(tuple(chosen), (*catalogue.warnings, *warnings))


def framed_as_trained(dataset: FaceDataset, settings: ExtractionSettings) -> FaceDataset:
    """Return the dataset with the crops that a run was trained on, if they are parts of those that it holds."""
    stored = dataset.settings
    if stored.margin > settings.margin or stored.size > settings.size:
        dataset = dataset.reframed(size=settings.size, margin=settings.margin)
    return dataset


def rows_of_split(
    run: Path, faces: Path, settings: DetectorRecord, splits: RunSplits, split: str
) -> tuple[FaceDataset, tuple[ClipRow, ...]]:
    """Return the dataset and its clips of a split. An ensemble must not have been trained on any of them.

    Raises:
        ReportError: No clip is in the split, or an ensemble was trained on some of the clips.
        DatasetError: The dataset is incomplete.
    """
    dataset = framed_as_trained(read_face_dataset(faces), settings.extraction)
    rows = tuple(row for row in dataset.rows if split in ("all", splits.of(row.video, row.group)))
    if settings.members and any(splits.of(row.video, row.group) != "test" for row in rows or dataset.rows):
        member = run / settings.members[0].folder
        raise ReportError(
            f"{faces}: members of the ensemble {run} were trained on these videos or their sources, so its scores on "
            f"them are too good. Its out-of-fold scores are measured in {run / 'folds.csv'}. Evaluate on videos of "
            f"other people, or one member on its own test split: dfutils evaluate {member} {faces} --out REPORT."
        )
    if not rows:
        raise ReportError(f"{faces}: no clip is in the split {split!r} of {run}. Choose another --split.")
    return dataset, rows


def score_rows(
    detector: Detector,
    dataset: FaceDataset,
    rows: tuple[ClipRow, ...],
    splits: RunSplits,
    split: str,
    *,
    progress: bool,
) -> Measured:
    """Score clips and gather them by video; videos of the split that gave no clip are listed without a score."""
    features = detector.dataset_features(dataset, rows, progress=progress)
    scores = detector.score_dataset(dataset, rows, features=features, progress=progress)
    skipped = [row for row, its_split in splits_of_skipped(dataset, splits) if split in ("all", its_split)]
    predictions = video_predictions(detector, dataset, rows, scores, skipped)
    return Measured(dataset, rows, tuple(scores), features, predictions)


def splits_of_skipped(dataset: FaceDataset, splits: RunSplits) -> list[tuple[dict[str, str], str]]:
    """Return the videos that gave no clip, each with a split.

    A run assigns only groups with a clip to splits. Counting all other videos as test would charge the failures of the
    whole dataset to that one split. Instead, each unknown group takes the split of one of the assigned groups, chosen
    by a hash of its name, so that every split gets its share and the result is always the same.
    """
    assigned = sorted({row.group: splits.of(row.video, row.group) for row in dataset.rows}.items())
    found = []
    for row in dataset.skipped:
        position = int(hashlib.sha256(row["group"].encode()).hexdigest()[:8], 16) * len(assigned) >> 32
        found.append((row, splits.known(row["video"], row["group"]) or assigned[position][1]))
    return found


def video_predictions(
    detector: Detector,
    dataset: FaceDataset,
    rows: Sequence[ClipRow],
    scores: Sequence[ClipScore],
    skipped: Sequence[Mapping[str, str]],
) -> pd.DataFrame:
    """Return one row per video, decided as `Detector.predict` does, and one without a score per skipped video."""
    table = {}
    for video, people in _people(rows, scores).items():
        sizes = [face_pixels(dataset.boxes[row.clip_id]) for row, _ in people]
        index, label, reason, _ = detector.decide_people([score for _, score in people], sizes)
        row, score = people[index]
        table[video] = {
            "video": video,
            "dataset": row.dataset,
            "group": row.group,
            "is_fake": row.is_fake,
            "raw_probability": score.raw_probability,
            "fake_probability": score.fake_probability,
            "label": str(label),
            "reason": str(reason),
        }
    for skip in skipped:
        table[skip["video"]] = {
            "video": skip["video"],
            "dataset": skip["dataset"],
            "group": skip["group"],
            "is_fake": skip["is_fake"] == "true",
            "raw_probability": math.nan,
            "fake_probability": math.nan,
            "label": "UNDECIDED",
            "reason": skip["reason"],
        }
    return pd.DataFrame(list(table.values()))


def _people(rows: Sequence[ClipRow], scores: Sequence[ClipScore]) -> dict[str, list[tuple[ClipRow, ClipScore]]]:
    people: dict[str, list[tuple[ClipRow, ClipScore]]] = {}
    for row, score in zip(rows, scores, strict=True):
        people.setdefault(row.video, []).append((row, score))
    return people
