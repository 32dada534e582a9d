"""From a detector and a face dataset to the tables that a report is made of: a row a video, a track, a frame."""

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
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import read_csv
from dfutils.prediction.detector import Detector, face_pixels
from dfutils.prediction.members import ClipScore, score_members
from dfutils.records import ClipRow
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One face dataset, or the part of it that was asked for, with its scores.

    Attributes:
        dataset: The whole.
        rows: Clips that were scored.
        scores: Of each row.
        features: Of each row, by backbone checksum, ``(N, T, 2048)``.
        predictions: A row a video, those without a clip too.
    """

    dataset: FaceDataset
    rows: tuple[ClipRow, ...]
    scores: tuple[ClipScore, ...]
    features: dict[str, Any]
    predictions: pd.DataFrame

    @property
    def tracks(self) -> pd.DataFrame:
        """A row a track, which is one clip."""
        columns = ("clip_id", "video", "dataset", "group", "track", "is_fake")
        table = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in self.rows])
        return table.assign(fake_probability=[score.fake_probability for score in self.scores])

    @property
    def frames(self) -> pd.DataFrame | None:
        """A row a frame; None without a frame head."""
        if any(score.frame_probabilities is None for score in self.scores):
            return None
        counts = [len(score.frame_probabilities or ()) for score in self.scores]
        table = self.tracks.loc[np.repeat(np.arange(len(self.rows)), counts)].reset_index(drop=True)
        return table.assign(fake_probability=np.concatenate([score.frame_probabilities or () for score in self.scores]))


class RunSplits:
    """Which side of a run's split a video is on: by its name, else by its group, else test.

    Attributes:
        trained_files: Names of the videos that were trained or tuned on, by the SHA-256 of their file; None for a run
            of an earlier version, which did not note it.
    """

    def __init__(self, run: Path, *, is_ensemble: bool) -> None:
        if is_ensemble:  # some member was trained on each
            rows = [{**row, "split": "train"} for row in read_csv(RunFolder(run).predictions_file, ("video", "group"))]
        else:
            rows = read_csv(RunFolder(run).splits_file, ("video", "group", "split"))
        self._by_video = {row["video"]: row["split"] for row in rows}
        self._by_group = {row["group"]: row["split"] for row in rows}
        self.trained_files = _trained_files(rows) if all("sha256" in row for row in rows) else None

    def of(self, video: str, group: str) -> str:
        """``train``, ``validation`` or ``test``."""
        return self.known(video, group) or "test"

    def known(self, video: str, group: str) -> str | None:
        """The side that the run's split has for a video; None where it knows neither the video nor its group."""
        return self._by_video.get(video) or self._by_group.get(group)

    @property
    def known_groups(self) -> set[str]:
        """Groups that were trained or tuned on."""
        return {group for group, side in self._by_group.items() if side != "test"}


def _trained_files(rows: Sequence[Mapping[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        if row["split"] != "test" and row["sha256"]:
            found.setdefault(row["sha256"], set()).add(row["video"])
    return found


def rows_of_split(
    run: Path, faces: Path, settings: DetectorRecord, sides: RunSplits, split: str
) -> tuple[FaceDataset, tuple[ClipRow, ...]]:
    """The clips of a split; of an ensemble only where none of its members was trained on them.

    Raises:
        ReportError: No clip is in the split, or an ensemble was trained on some that are.
        DatasetError: The dataset is incomplete.
    """
    dataset = read_face_dataset(faces)
    if dataset.settings.margin > settings.extraction.margin:  # the run was trained on a part of such crops
        dataset = dataset.reframed(size=settings.extraction.size, margin=settings.extraction.margin)
    rows = tuple(row for row in dataset.rows if split in ("all", sides.of(row.video, row.group)))
    if settings.members and any(sides.of(row.video, row.group) != "test" for row in rows or dataset.rows):
        raise ReportError(_trained_on(run, faces, settings))
    if not rows:
        raise ReportError(f"{faces}: no clip is in the split {split!r} of {run}. Choose another --split.")
    return dataset, rows


def score_rows(
    detector: Detector, dataset: FaceDataset, rows: tuple[ClipRow, ...], sides: RunSplits, split: str, *, progress: bool
) -> Measured:
    """Score clips and gather them by video; videos of the split that gave no clip are there without a score."""
    features = detector.dataset_features(dataset, rows, progress=progress)
    scores = score_members(detector.members, lambda member: features[member.settings.backbone_checksum])
    skipped = [row for row, side in sides_of_skipped(dataset, sides) if split in ("all", side)]
    predictions = video_predictions(detector, dataset, rows, scores, skipped)
    return Measured(dataset, rows, tuple(scores), features, predictions)


def sides_of_skipped(dataset: FaceDataset, sides: RunSplits) -> list[tuple[dict[str, str], str]]:
    """The videos that gave no clip, each with its side.

    A run deals only groups that gave a clip. To count all others as test would hold every failure of the whole dataset
    against that one side; each is put where one of the dealt groups is, chosen by a hash of its name, so that every
    side gets its share, and the same each time.
    """
    dealt = sorted({row.group: sides.of(row.video, row.group) for row in dataset.rows}.items())

    def chosen(group: str) -> str:
        place = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) * len(dealt) >> 32
        return dealt[place][1]

    return [(row, sides.known(row["video"], row["group"]) or chosen(row["group"])) for row in dataset.skipped]


def video_predictions(
    detector: Detector,
    dataset: FaceDataset,
    rows: Sequence[ClipRow],
    scores: Sequence[ClipScore],
    skipped: Sequence[Mapping[str, str]],
) -> pd.DataFrame:
    """A row a video, decided as `Detector.predict` does; videos that gave no clip stand there without a score."""
    people: dict[str, list[tuple[ClipRow, ClipScore]]] = {}
    for row, score in zip(rows, scores, strict=True):
        people.setdefault(row.video, []).append((row, score))
    decided = {video: _decided(detector, dataset, some) for video, some in people.items()}
    for skip in skipped:
        decided[skip["video"]] = {
            "video": skip["video"],
            "dataset": skip["dataset"],
            "group": skip["group"],
            "is_fake": skip["is_fake"] == "true",
            "raw_probability": math.nan,
            "fake_probability": math.nan,
            "label": "UNDECIDED",
            "reason": skip["reason"],
        }
    return pd.DataFrame(list(decided.values()))


def _decided(
    detector: Detector, dataset: FaceDataset, people: Sequence[tuple[ClipRow, ClipScore]]
) -> dict[str, object]:
    probabilities = [score.fake_probability for _, score in people]
    sizes = [face_pixels(dataset.boxes[row.clip_id]) for row, _ in people]
    place, label, reason, _ = detector.decide_people(probabilities, sizes)
    row, score = people[place]
    return {
        "video": row.video,
        "dataset": row.dataset,
        "group": row.group,
        "is_fake": row.is_fake,
        "raw_probability": score.raw_probability,
        "fake_probability": score.fake_probability,
        "label": str(label),
        "reason": str(reason),
    }


def _trained_on(run: Path, faces: Path, settings: DetectorRecord) -> str:
    member = run / settings.members[0].folder
    return (
        f"{faces}: members of the ensemble {run} were trained on these videos or their sources, and its scores of them "
        f"would flatter. {run / 'folds.csv'} measures them out of fold. Evaluate on videos of other people, or one "
        f"member on its own test split: dfutils evaluate {member} {faces} --out REPORT."
    )
