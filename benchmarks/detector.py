"""What the detector does on people it never saw: the table of README, from runs of ``benchmarks.train_detector``.

    python -m benchmarks.detector WORK

Intervals are 95 % percentiles of 2,000 bootstrap resamples of whole groups: persons for DFDC, source pairs for
FaceForensics++. The frozen recipe is the baseline: the same data, splits and calibration, its backbone never trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cross_validation import Scores, measure
from benchmarks.machine import describe_machine
from dfutils.evaluation.bootstrap import bootstrap_over_groups, percentile_interval
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv, write_json, write_text
from dfutils.prediction.detector import Detector, load_detector
from dfutils.records import ClipRow

FOLDS = 5
WANTED = {
    "dfdc_auc": ("DFDC crops, new people: AUC", "≥ .80"),
    "dfdc_log_loss": ("the same: log loss (a constant has .69)", "≤ .55"),
    "cross_c23_auc": ("FaceForensics++ c23 clips, never trained on: AUC", "≥ .87"),
    "cross_c40_auc": ("FaceForensics++ c40 clips, never trained on: AUC", "–"),
    "folds_c23_auc": ("FaceForensics++ c23, five folds by source pair: AUC", "≥ .92"),
    "folds_c40_auc": ("FaceForensics++ c40, the same: AUC", "≥ .75"),
    "false_alarms": ("REAL called FAKE (all FaceForensics++ REAL clips in folds, DFDC test crops)", "≤ .10"),
}
"""Rows of the table and the aims that were set before training."""


def measure_run(work: Path, run: str) -> dict[str, Any]:
    """Figures of one detector on DFDC's test part and, never trained on them, on FaceForensics++ clips."""
    detector = load_detector(work / "runs" / run)
    figures = {}
    test = _written(work / "runs" / run, read_face_dataset(work / "dfdc").rows)
    for name, value in _measured(*test, threshold=detector.settings.threshold).items():
        figures[f"dfdc_{name}"] = value
    clips = read_face_dataset(work / "ffpp")
    # Crops that were faces already and crops that extraction cuts are framed alike: only their origin differs.
    settings = detector.settings.model_copy(update={"extraction": clips.settings})
    scores = Detector(settings, detector.network, detector.folder).score_dataset(clips, clips.rows)
    probability = np.array([score.fake_probability for score in scores])
    for quality in ("c23", "c40"):
        chosen = np.array([f"_{quality}_" in row.dataset for row in clips.rows])
        rows = [row for row, is_in in zip(clips.rows, chosen, strict=True) if is_in]
        for name, value in _measured(rows, probability[chosen], threshold=settings.threshold).items():
            figures[f"cross_{quality}_{name}"] = value
    return figures


def measure_folds(work: Path, prefix: str) -> dict[str, Any]:
    """The same for FaceForensics++ clips, each scored by the fold's network that saw no such person."""
    rows = read_face_dataset(work / "ffpp").rows
    parts = [(number, *_written(work / "runs" / f"{prefix}-{number}", rows)) for number in range(FOLDS)]
    thresholds = [load_detector(work / "runs" / f"{prefix}-{number}").settings.threshold for number in range(FOLDS)]
    tested = [row for _, part, _ in parts for row in part]
    probability = np.concatenate([scores for *_, scores in parts])
    fold = np.concatenate([np.full(len(part), number) for number, part, _ in parts])
    called = probability >= np.array(thresholds)[fold]
    figures = {}
    for quality in ("c23", "c40"):
        chosen = np.array([f"_{quality}_" in row.dataset for row in tested])
        part = [row for row, is_in in zip(tested, chosen, strict=True) if is_in]
        scores = Scores(probability[None, chosen], called[None, chosen], fold[None, chosen])
        is_fake = np.array([row.is_fake for row in part])
        measured = measure(scores, is_fake, [row.group for row in part])
        figures |= {f"folds_{quality}_{name}": value for name, value in measured.items()}
    figures["folds_false_alarms"] = _false_alarms(tested, called)
    return figures


def _written(run: Path, rows: Sequence[ClipRow]) -> tuple[list[ClipRow], np.ndarray]:
    """Test clips of a run and their calibrated probabilities, as training wrote them."""
    by_clip = {row.clip_id: row for row in rows}
    columns = ("clip_id", "split", "fake_probability")
    tested = [row for row in read_csv(run / "predictions.csv", columns) if row["split"] == "test"]
    probability = np.array([float(row["fake_probability"]) for row in tested])
    return [by_clip[row["clip_id"]] for row in tested], probability


def _measured(rows: Sequence[ClipRow], probability: np.ndarray, *, threshold: float) -> dict[str, Any]:
    is_fake, called = np.array([row.is_fake for row in rows]), probability >= threshold
    scores = Scores(probability[None], called[None], np.zeros((1, len(rows)), int))
    measured = measure(scores, is_fake, [row.group for row in rows])
    return {**measured, "false_alarms": _false_alarms(rows, called)}


def _false_alarms(rows: Sequence[ClipRow], called: np.ndarray) -> dict[str, float | None]:
    """Share of REAL clips that were called FAKE."""
    is_real = np.array([not row.is_fake for row in rows])
    wrong = called[is_real].astype(float)
    groups = [row.group for row in rows if not row.is_fake]
    drawn = bootstrap_over_groups(groups, lambda weights: (weights @ wrong / weights.sum(axis=1))[:, None])
    low, high = percentile_interval(drawn[:, 0]) or (None, None)
    return {"value": round(float(wrong.mean()), 4), "low": low, "high": high}


def table(results: Mapping[str, Any]) -> str:
    """The figures beside what was aimed at, as Markdown."""
    names = list(results["recipes"])
    lines = [f"| test | {' | '.join(names)} | aimed at |", f"|---|{'---|' * len(names)}---|"]
    for key, (words, aim) in WANTED.items():
        cells = [_cell(results["recipes"][name].get(key)) for name in names]
        lines.append(f"| {words} | {' | '.join(cells)} | {aim} |")
    return "\n".join(lines) + "\n"


def _cell(estimate: Mapping[str, float | None] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    low, high = estimate["low"], estimate["high"]
    interval = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    return f"{estimate['value']:.2f}{interval}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    options = parser.parse_args()
    recipes: dict[str, Any] = {}
    for name, cross, folds in (("fine-tuned", "cross", "fold"), ("frozen backbone", "frozen", "frozen-fold")):
        recipes[name] = {}
        if (options.work / "runs" / cross / "run.json").is_file():
            recipes[name] |= measure_run(options.work, cross)
        if (options.work / "runs" / f"{folds}-{FOLDS - 1}" / "run.json").is_file():
            recipes[name] |= measure_folds(options.work, folds)
    results = {"machine": describe_machine(), "recipes": recipes}
    write_json(options.out / "detector.json", results)
    write_text(options.out / "detector.md", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
