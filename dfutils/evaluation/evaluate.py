"""A run folder and a face dataset to a report folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.errors import ReportError
from dfutils.evaluation.report import BACKBONE_FACT, ReportContent, worst_mistakes, write_report
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import read_csv, read_json
from dfutils.prediction.detector import ClipScore, Detector, load_detector
from dfutils.records import ClipRow
from dfutils.settings import DetectorSettings

logger = logging.getLogger(__name__)

MADE_UP_WARNING = (
    "These people do not exist: the clips were drawn by a program. The numbers say nothing of real videos."
)


def evaluate(
    run: Path, faces: Path, report: Path, *, split: str = "test", resamples: int = 1000, progress: bool = True
) -> dict[str, Any]:
    """Score one split of a face dataset with a trained detector and write the report folder.

    Videos that the run's split does not know were never trained on: they count as test. Those that an ensemble of
    folds does know are refused: all members but one were trained on them, and the scores that are honest, out of fold,
    are of single members and measured in its ``folds.csv``.

    Args:
        run: A run folder.
        faces: A face dataset whose crops were cut as the run's were.
        report: The report folder to write.
        split: ``train``, ``validation``, ``test`` or ``all``.
        resamples: Bootstrap resamples behind each interval.
        progress: Show bars on a terminal.

    Returns:
        The document of ``metrics.json``.

    Raises:
        ReportError: No clip is in the split, or an ensemble was trained on some that are.
        DfutilsError: The run or the dataset is incomplete, or they do not fit each other.
    """
    from dfutils.training.run_folder import read_detector

    settings, dataset = read_detector(run), read_face_dataset(faces)
    is_ensemble = bool(settings.members)
    sides = _Sides(run, is_ensemble=is_ensemble)
    rows = [row for row in dataset.rows if split in ("all", sides.of(row.video, row.group))]
    if is_ensemble and any(sides.of(row.video, row.group) != "test" for row in rows or dataset.rows):
        raise ReportError(_trained_on(run, faces, settings))
    if not rows:
        raise ReportError(f"{faces}: no clip is in the split {split!r} of {run}. Choose another --split.")
    detector = load_detector(run)
    scores = detector.score_dataset(dataset, rows, progress=progress)
    skipped = [row for row in dataset.skipped if split in ("all", sides.of(row["video"], row["group"]))]
    predictions = video_predictions(rows, scores, skipped, detector)
    pictures = _pictures_of_mistakes(predictions, dataset, rows, detector.settings.threshold)
    content = ReportContent(
        title=f"{detector.settings.name} on {split} videos",
        predictions=predictions,
        threshold=detector.settings.threshold,
        facts=_facts(run, detector, dataset, split),
        warnings=[MADE_UP_WARNING] if set(predictions["dataset"]) == {"demo"} else [],
        # Members of an ensemble have their own; the data they were split from is not the data looked at here.
        history=None if is_ensemble else pd.read_csv(run / "history.csv"),
        leaks=() if is_ensemble else read_json(run / "leaks.json")["lines"],
        mistakes=worst_mistakes(predictions, threshold=detector.settings.threshold, pictures=pictures),
    )
    return write_report(report, content, resamples=resamples)


def video_predictions(
    rows: Sequence[ClipRow], scores: Sequence[ClipScore], skipped: Sequence[Mapping[str, str]], detector: Detector
) -> pd.DataFrame:
    """A row a video: the highest score of its tracks; videos that gave no clip stand there without a score."""
    best: dict[str, dict[str, object]] = {}
    for row, score in zip(rows, scores, strict=True):
        known = best.get(row.video)
        if known is not None and float(str(known["fake_probability"])) >= score.fake_probability:
            continue
        best[row.video] = {
            "video": row.video,
            "dataset": row.dataset,
            "group": row.group,
            "is_fake": row.is_fake,
            "raw_probability": score.raw_probability,
            "fake_probability": score.fake_probability,
            "label": str(detector.label(score.fake_probability)),
            "reason": "ok",
        }
    for skip in skipped:
        best[skip["video"]] = {
            "video": skip["video"],
            "dataset": skip["dataset"],
            "group": skip["group"],
            "is_fake": skip["is_fake"] == "true",
            "raw_probability": math.nan,
            "fake_probability": math.nan,
            "label": "UNDECIDED",
            "reason": skip["reason"],
        }
    return pd.DataFrame(list(best.values()))


class _Sides:
    """Which side of a run's split a video is on: by its name, else by its group, else test."""

    def __init__(self, run: Path, *, is_ensemble: bool) -> None:
        if is_ensemble:  # some member was trained on each
            rows = [{**row, "split": "train"} for row in read_csv(run / "predictions.csv", ("video", "group"))]
        else:
            rows = read_csv(run / "splits.csv", ("video", "group", "split"))
        self._by_video = {row["video"]: row["split"] for row in rows}
        self._by_group = {row["group"]: row["split"] for row in rows}

    def of(self, video: str, group: str) -> str:
        return self._by_video.get(video) or self._by_group.get(group, "test")


def _trained_on(run: Path, faces: Path, settings: DetectorSettings) -> str:
    member = run / settings.members[0].folder
    return (
        f"{faces}: members of the ensemble {run} were trained on these videos or their sources, and its scores of them "
        f"would flatter. {run / 'folds.csv'} measures them out of fold. Evaluate on videos of other people, or one "
        f"member on its own test split: dfutils evaluate {member} {faces} --out REPORT."
    )


def _pictures_of_mistakes(
    predictions: pd.DataFrame, dataset: FaceDataset, rows: Sequence[ClipRow], threshold: float
) -> dict[str, Any]:
    wanted = {mistake.video for mistake in worst_mistakes(predictions, threshold=threshold)}
    middle = {row.video: row for row in rows if row.video in wanted and row.track == 0}
    return {video: dataset.load_clip(row)[row.frames // 2] for video, row in middle.items()}


def _facts(run: Path, detector: Detector, dataset: FaceDataset, split: str) -> dict[str, str]:
    about_run = read_json(run / "run.json")
    extraction = detector.settings.extraction
    backbone = about_run["backbone"]
    versions = about_run["versions"]
    return {
        BACKBONE_FACT: f"{backbone['weights']} ({backbone['origin']})",
        "Detector": f"{detector.settings.name} {detector.settings.version}, {detector.settings.weights_sha256[:12]}",
        "Split": "videos whose names and groups no member was trained on"
        if detector.settings.members
        else f"{split}, grouped: no source is on two sides",
        "Clips": f"{extraction.frames} frames of {extraction.size} × {extraction.size} pixels, {extraction.sampling} "
        f"sampling, face margin {extraction.margin:g}",
        "Face detector": extraction.detector,
        "Videos without a clip": f"{len(dataset.skipped)} of the whole dataset",
        **_operating_facts(detector.settings),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _operating_facts(settings: DetectorSettings) -> dict[str, str]:
    if settings.members:
        return {
            "Calibration": f"mean logit of {len(settings.members)} members, each with its own temperature, fitted on "
            "its own validation split",
            "Operating point": f"{settings.threshold:.3f}, mean of the members' own as logits",
        }
    return {
        "Calibration": f"temperature {settings.temperature:.2f}, fitted on the validation split",
        "Operating point": f"{settings.threshold:.3f}, best balanced accuracy on the validation split",
    }
