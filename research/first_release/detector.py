"""Measure the first release on people that it never saw, for the table of docs/detector.md.

    python -m research.first_release.detector WORK

WORK is that of ``research.first_release.recipe``; its candidates X and S are the columns without and with
FaceForensics++. Two more columns have a frozen backbone: a frame head on the same crops, folds and calibration as S,
and the LSTM and GRU of typical notebooks on clips. Intervals are 95 % percentiles of 2,000 bootstrap resamples of whole
groups: persons for DFDC, source pairs for FaceForensics++. That of a share which is the same in all groups, such as 0,
is exact (Clopper–Pearson) over groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common import (
    RESEARCH_RESULTS,
    Figures,
    script_parser,
    target_lines,
    targets_document,
    with_interval,
    write_results,
)
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import read_csv
from dfutils.prediction.detector import Detector, load_detector
from dfutils.prediction.members import load_members
from dfutils.records import ClipRow
from dfutils.runs.probabilities import logit, sigmoid
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.bootstrap import SHARE, Estimate, bootstrap_estimates
from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference
from research.first_release.recipe import X, crops_of

Floats = npt.NDArray[np.float64]

FIGURES: Figures = {
    "dfdc_auc": ("DFDC crops, new people: AUC", "≥ 0.80"),
    "dfdc_log_loss": ("the same: log loss (a constant scores 0.69)", "≤ 0.55"),
    "cross_c23_auc": ("FaceForensics++ c23 clips, never trained on: AUC", "≥ 0.87"),
    "cross_c40_auc": ("FaceForensics++ c40 clips, never trained on: AUC", ""),
    "folds_c23_auc": ("FaceForensics++ c23 clips, five folds by source pair: AUC", "≥ 0.92"),
    "folds_c40_auc": ("FaceForensics++ c40 clips, the same: AUC", "≥ 0.75"),
    "dfdc_false_positive_rate": ("REAL called FAKE, DFDC test crops", "≤ 0.10"),
    "cross_false_positive_rate": ("REAL called FAKE, FaceForensics++ clips, never trained on", "≤ 0.10"),
    "folds_false_positive_rate": ("REAL called FAKE, FaceForensics++ clips, five folds", "≤ 0.10"),
}
"""Rows of the table, with the targets that were set before training."""

RULE = "fpr_5"
"""Operating point of every recipe: at most 5 % of the REAL validation clips called FAKE."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A column of the table.

    Attributes:
        run: Run folder trained on people outside DFDC's test part; None if it cannot be trained on still images.
        folds: Run folder with one training per fold; None if it never sees FaceForensics++.
    """

    run: str | None
    folds: str | None = None


CROSS, MIXED, FROZEN = "without FaceForensics++", "with FaceForensics++ (shipped)", "frozen backbone, frame head"
RECIPES = {
    CROSS: Recipe(X),
    MIXED: Recipe("averaged", "folds"),
    FROZEN: Recipe("frozen", "frozen-folds"),
    "frozen backbone, LSTM and GRU": Recipe(None, "reference-folds"),
}


def measure_dfdc(work: Path, run: str) -> dict[str, Any]:
    """Measure one detector on the crops of DFDC's test part."""
    faces = read_face_dataset(work / "dfdc")
    tested = crops_of(work, "test")
    rows = [row for row in faces.rows if row.video in tested]
    probability, called = _score(work, run, faces, rows)
    figures = _figures("dfdc", rows, probability, called)
    return {**figures, "dfdc_false_positive_rate": false_positive_rate(rows, called)}


def measure_cross(work: Path, run: str) -> dict[str, Any]:
    """Measure one detector on FaceForensics++ clips on which it was never trained."""
    clips = read_face_dataset(work / "ffpp")
    probability, called = _score(work, run, clips, clips.rows)
    figures: dict[str, Any] = {}
    for quality, chosen in _by_quality(clips.rows):
        rows = [row for row, is_in in zip(clips.rows, chosen, strict=True) if is_in]
        figures |= _figures(f"cross_{quality}", rows, probability[chosen], called[chosen])
    return {**figures, "cross_false_positive_rate": false_positive_rate(clips.rows, called)}


def _score(work: Path, run: str, faces: FaceDataset, rows: Sequence[ClipRow]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    folder = work / "runs" / run
    settings = load_detector(folder).settings
    # Ready-made crops and extracted crops are framed alike, so the detector's extraction settings may be replaced.
    moved = settings.model_copy(update={"extraction": faces.settings})
    scores = Detector(moved, load_members(folder, settings), folder).score_dataset(faces, rows)
    probability = np.array([score.fake_probability for score in scores])
    return probability, probability >= _threshold(settings)


def measure_folds(work: Path, recipe: Recipe) -> dict[str, Any]:
    """Measure FaceForensics++ clips, each scored by the network of the fold that saw no such person."""
    rows, scores = read_folds(work, recipe)
    probability, called, fold = scores.probability[0], scores.called_fake[0], scores.fold[0]
    figures: dict[str, Any] = {}
    for quality, chosen in _by_quality(rows):
        part = [row for row, is_in in zip(rows, chosen, strict=True) if is_in]
        figures |= _figures(f"folds_{quality}", part, probability[chosen], called[chosen], fold[chosen])
    return {**figures, "folds_false_positive_rate": false_positive_rate(rows, called)}


def compare_folds(work: Path, recipe: Recipe, baseline: Recipe) -> dict[str, Any]:
    """Measure what ``recipe`` gains over ``baseline`` on c23 clips of the same folds, paired.

    Raises:
        ValueError: The two were trained in different folds.
    """
    (rows, one), (others, two) = (read_folds(work, each) for each in (recipe, baseline))
    if [row.clip_id for row in rows] != [row.clip_id for row in others] or not np.array_equal(one.fold, two.fold):
        raise ValueError(
            f"{recipe.folds} and {baseline.folds} were trained in different folds. Train both on the same face dataset."
        )
    chosen = dict(_by_quality(rows))["c23"]
    kept = [row for row, is_in in zip(rows, chosen, strict=True) if is_in]
    ours, theirs = (
        FoldScores(scores.probability[:, chosen], scores.called_fake[:, chosen], scores.fold[:, chosen])
        for scores in (one, two)
    )
    return measure_difference(ours, theirs, np.array([row.is_fake for row in kept]), [row.group for row in kept])


def measure_forgotten(work: Path) -> dict[str, Any]:
    """Measure the AUC of S and X on crops of the people in DFDC's validation part, and the paired difference.

    S scores each crop by a fold that saw no such person. X's epoch was chosen on these people, but X was not trained on
    them.
    """
    scored = read_csv(work / "runs" / "folds" / "predictions.csv", ("clip_id", "fold", "fake_probability"))
    of_clip = {row["clip_id"]: row for row in scored}
    faces = read_face_dataset(work / "mixed")
    rows = [row for row in faces.rows if row.dataset == "dfdc"]
    fold = np.array([int(of_clip[row.clip_id]["fold"]) for row in rows])
    ours = np.array([float(of_clip[row.clip_id]["fake_probability"]) for row in rows])
    theirs, _ = _score(work, str(RECIPES[CROSS].run), faces, rows)
    one, two = (FoldScores(p[None], p[None] >= 0.5, fold[None]) for p in (ours, theirs))
    is_fake, groups = np.array([row.is_fake for row in rows]), [row.group for row in rows]
    return {
        MIXED: measure(one, is_fake, groups)["auc"],
        CROSS: measure(two, is_fake, groups)["auc"],
        "difference": measure_difference(one, two, is_fake, groups)["auc"],
    }


def read_folds(work: Path, recipe: Recipe) -> tuple[list[ClipRow], FoldScores]:
    """Return out-of-fold scores of the FaceForensics++ clips, in the order of their names.

    Where the folds were trained on single frames, a clip's logit is the mean of its frames' logits, as in prediction.
    """
    run = work / "runs" / str(recipe.folds)
    of_clip: dict[str, list[dict[str, str]]] = {}
    for row in read_csv(run / "predictions.csv", ("clip_id", "video", "fold", "fake_probability")):
        frame_of = Path(row["video"])
        clip = frame_of.parent.name if frame_of.parts[0] == "ffpp" else row["clip_id"]
        of_clip.setdefault(clip, []).append(row)
    rows = sorted(read_face_dataset(work / "ffpp").rows, key=lambda row: row.clip_id)
    frames = [of_clip[row.clip_id] for row in rows]
    probabilities = [np.array([float(frame["fake_probability"]) for frame in clip]) for clip in frames]
    fold = np.array([int(clip[0]["fold"]) for clip in frames])
    thresholds = [_threshold(DetectorRecord.read(run / f"fold-{k}" / "detector.json")) for k in range(fold.max() + 1)]
    probability = sigmoid(np.array([logit(of_frames).mean() for of_frames in probabilities])).astype(np.float64)
    called = probability >= np.array(thresholds)[fold]
    return rows, FoldScores(probability[None], called[None], fold[None])


def _threshold(settings: DetectorRecord) -> float:
    return next(point.threshold for point in settings.operating_points if point.rule == RULE)


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


def false_positive_rate(rows: Sequence[ClipRow], called: npt.NDArray[np.bool_]) -> Estimate:
    """Return the share of REAL clips that were called FAKE."""
    wrong = called[np.array([not row.is_fake for row in rows])].astype(float)
    groups = [row.group for row in rows if not row.is_fake]
    found = bootstrap_estimates(
        groups, lambda weights: weights @ wrong / weights.sum(axis=1), {"rate": ()}, ranges={"rate": SHARE}
    )
    return found["rate"]


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    names = list(results["recipes"])
    lines = [f"| test | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for key, (words, _) in FIGURES.items():
        cells = [with_interval(results["recipes"][name].get(key), missing="not measured") for name in names]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    if gain := results.get("folds_c23_gain"):
        words = (
            f"In the same folds, fine-tuning gains {with_interval(gain['auc'])} AUC on c23 over the frozen backbone "
            "(paired)."
        )
        lines += ["", words]
    if kept := results.get("forgotten"):
        words = (
            f"On people of DFDC's validation part, whom neither has seen, AUC is {with_interval(kept[MIXED])} with "
            f"FaceForensics++ and {with_interval(kept[CROSS])} without: a difference of "
            f"{with_interval(kept['difference'])} (paired)."
        )
        lines += ["", words]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, out=RESEARCH_RESULTS)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    work: Path = options.work

    def is_finished(run: str | None) -> bool:
        return run is not None and (work / "runs" / run / "run.json").is_file()

    recipes: dict[str, Any] = {}
    for name, recipe in RECIPES.items():
        figures: dict[str, Any] = {}
        if is_finished(recipe.run):
            figures |= measure_dfdc(work, str(recipe.run))
            figures |= measure_cross(work, str(recipe.run)) if recipe.folds is None else {}
        if is_finished(recipe.folds):
            figures |= measure_folds(work, recipe)
        if figures:
            recipes[name] = figures
    results: dict[str, Any] = {"targets": targets_document(FIGURES), "recipes": recipes}
    if is_finished(RECIPES[MIXED].folds):
        if is_finished(RECIPES[FROZEN].folds):
            results["folds_c23_gain"] = compare_folds(work, RECIPES[MIXED], RECIPES[FROZEN])
        results["forgotten"] = measure_forgotten(work)
    write_results(options.out, "detector", results, table(results))
    print(table(results))
    if MIXED in recipes:
        print(target_lines({key: one["value"] for key, one in recipes[MIXED].items()}, FIGURES))


if __name__ == "__main__":
    main()
