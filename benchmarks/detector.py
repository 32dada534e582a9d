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
import numpy.typing as npt

from benchmarks.machine import describe_machine
from dfutils.evaluation.bootstrap import bootstrap_over_groups, percentile_interval
from dfutils.evaluation.cross_validation import FoldScores, measure, measure_difference
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv, write_json, write_text
from dfutils.prediction.detector import Detector, load_detector
from dfutils.prediction.members import load_members
from dfutils.records import ClipRow

Floats = npt.NDArray[np.float64]

WANTED = {
    "dfdc_auc": ("DFDC crops, new people: AUC", "≥ .80"),
    "dfdc_log_loss": ("the same: log loss (a constant has .69)", "≤ .55"),
    "cross_c23_auc": ("FaceForensics++ c23 clips, never trained on: AUC", "≥ .87"),
    "cross_c40_auc": ("FaceForensics++ c40 clips, never trained on: AUC", "–"),
    "folds_c23_auc": ("FaceForensics++ c23 clips, five folds by source pair: AUC", "≥ .92"),
    "folds_c40_auc": ("FaceForensics++ c40 clips, the same: AUC", "≥ .75"),
    "dfdc_false_alarms": ("REAL called FAKE, DFDC test crops", "≤ .10"),
    "cross_false_alarms": ("REAL called FAKE, FaceForensics++ clips, never trained on", "≤ .10"),
    "folds_false_alarms": ("REAL called FAKE, FaceForensics++ clips, five folds", "≤ .10"),
}
"""Rows of the table and the aims that were set before training."""

RECIPES = {"fine-tuned": ("longer", "folds"), "frozen backbone": ("frozen", "frozen-folds")}


def measure_run(work: Path, run: str) -> dict[str, Any]:
    """Figures of one detector on DFDC's test part and, never trained on them, on FaceForensics++ clips."""
    folder = work / "runs" / run
    settings = load_detector(folder).settings
    by_clip = {row.clip_id: row for row in read_face_dataset(work / "dfdc").rows}
    columns = ("clip_id", "split", "fake_probability")
    tested = [row for row in read_csv(folder / "predictions.csv", columns) if row["split"] == "test"]
    probability = np.array([float(row["fake_probability"]) for row in tested])
    test = [by_clip[row["clip_id"]] for row in tested]
    figures = _figures("dfdc", test, probability, probability >= settings.threshold)
    figures["dfdc_false_alarms"] = _false_alarms(test, probability >= settings.threshold)

    clips = read_face_dataset(work / "ffpp")
    # Crops that were faces already and crops that extraction cuts are framed alike: only their origin differs.
    moved = settings.model_copy(update={"extraction": clips.settings})
    scores = Detector(moved, load_members(folder, settings), folder).score_dataset(clips, clips.rows)
    probability = np.array([score.fake_probability for score in scores])
    called = probability >= settings.threshold
    for quality, chosen in _by_quality(clips.rows):
        rows = [row for row, is_in in zip(clips.rows, chosen, strict=True) if is_in]
        figures |= _figures(f"cross_{quality}", rows, probability[chosen], called[chosen])
    return {**figures, "cross_false_alarms": _false_alarms(clips.rows, called)}


def measure_folds(work: Path, run: str) -> dict[str, Any]:
    """The same for FaceForensics++ clips, each scored by the fold's network that saw no such person."""
    rows, scores = read_folds(work, run)
    probability, called, fold = scores.probability[0], scores.called_fake[0], scores.fold[0]
    figures: dict[str, Any] = {}
    for quality, chosen in _by_quality(rows):
        part = [row for row, is_in in zip(rows, chosen, strict=True) if is_in]
        figures |= _figures(f"folds_{quality}", part, probability[chosen], called[chosen], fold[chosen])
    return {**figures, "folds_false_alarms": _false_alarms(rows, called)}


def compare_folds(work: Path, run: str, baseline: str) -> dict[str, Any]:
    """What ``run`` gains over ``baseline`` on c23 clips of the same folds, paired.

    Raises:
        ValueError: The two were dealt other folds.
    """
    (rows, one), (others, two) = (read_folds(work, name) for name in (run, baseline))
    if [row.clip_id for row in rows] != [row.clip_id for row in others] or not np.array_equal(one.fold, two.fold):
        raise ValueError(f"{run} and {baseline} were trained in other folds. Train both on the same face dataset.")
    chosen = dict(_by_quality(rows))["c23"]
    kept = [row for row, is_in in zip(rows, chosen, strict=True) if is_in]
    ours, theirs = (
        FoldScores(scores.probability[:, chosen], scores.called_fake[:, chosen], scores.fold[:, chosen])
        for scores in (one, two)
    )
    return measure_difference(ours, theirs, np.array([row.is_fake for row in kept]), [row.group for row in kept])


def read_folds(work: Path, run: str) -> tuple[list[ClipRow], FoldScores]:
    """Out-of-fold scores of a training in folds, in the order of the clips' names."""
    by_clip = {row.clip_id: row for row in read_face_dataset(work / "ffpp").rows}
    columns = ("clip_id", "fold", "fake_probability", "label")
    tested = sorted(read_csv(work / "runs" / run / "predictions.csv", columns), key=lambda row: row["clip_id"])
    probability = np.array([float(row["fake_probability"]) for row in tested])
    fold = np.array([int(row["fold"]) for row in tested])
    called = np.array([row["label"] == "FAKE" for row in tested])
    return [by_clip[row["clip_id"]] for row in tested], FoldScores(probability[None], called[None], fold[None])


def _by_quality(rows: Sequence[ClipRow]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    return [(name, np.array([f"_{name}_" in f"{row.dataset}_" for row in rows])) for name in ("c23", "c40")]


def _figures(
    name: str,
    rows: Sequence[ClipRow],
    probability: Floats,
    called: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.int_] | None = None,
) -> dict[str, Any]:
    scores = FoldScores(probability[None], called[None], np.zeros((1, len(rows)), int) if fold is None else fold[None])
    measured = measure(scores, np.array([row.is_fake for row in rows]), [row.group for row in rows])
    return {f"{name}_{key}": value for key, value in measured.items()}


def _false_alarms(rows: Sequence[ClipRow], called: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Share of REAL clips that were called FAKE.

    Where none was, all resamples are alike: the upper end is then that of an exact interval (Clopper & Pearson 1934)
    with groups as units.
    """
    wrong = called[np.array([not row.is_fake for row in rows])].astype(float)
    groups = [row.group for row in rows if not row.is_fake]
    drawn = bootstrap_over_groups(groups, lambda weights: (weights @ wrong / weights.sum(axis=1))[:, None])
    low, high = percentile_interval(drawn[:, 0]) or (None, None)
    if not wrong.any():
        high = 1 - 0.025 ** (1 / len(set(groups)))
    return {"value": round(float(wrong.mean()), 4), "low": low, "high": high}


def table(results: Mapping[str, Any]) -> str:
    """The figures beside what was aimed at, as Markdown."""
    names = list(results["recipes"])
    lines = [f"| test | {' | '.join(names)} | aimed at |", f"|---|{'---|' * len(names)}---|"]
    for key, (words, aim) in WANTED.items():
        cells = [cell(results["recipes"][name].get(key)) for name in names]
        lines.append(f"| {words} | {' | '.join(cells)} | {aim} |")
    if gain := results.get("folds_c23_gain"):
        words = (
            f"In the same folds, fine-tuning gains {cell(gain['auc'])} of AUC on c23 over the frozen backbone (paired)."
        )
        lines += ["", words]
    return "\n".join(lines) + "\n"


def cell(estimate: Mapping[str, float | None] | None) -> str:
    """An estimate in words, such as 0.81 (0.79 to 0.83)."""
    if estimate is None or estimate["value"] is None:
        return "not measured"
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
    for name, (run, folds) in RECIPES.items():
        recipes[name] = {}
        if (options.work / "runs" / run / "run.json").is_file():
            recipes[name] |= measure_run(options.work, run)
        if (options.work / "runs" / folds / "run.json").is_file():
            recipes[name] |= measure_folds(options.work, folds)
    results = {"machine": describe_machine(), "recipes": {name: value for name, value in recipes.items() if value}}
    runs = [folds for _, folds in RECIPES.values()]
    if all((options.work / "runs" / run / "run.json").is_file() for run in runs):
        results["folds_c23_gain"] = compare_folds(options.work, *runs)
    write_json(options.out / "detector.json", results)
    write_text(options.out / "detector.md", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
