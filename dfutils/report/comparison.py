"""Several detectors on the same videos: a report of their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.errors import ReportError
from dfutils.evaluation.comparison import compare_predictions
from dfutils.evaluation.metrics import compute_metrics
from dfutils.evaluation.scoring import RunSplits, rows_of_split, score_rows
from dfutils.figures.curve_plots import plot_differences
from dfutils.prediction.detector import load_detector
from dfutils.report.evaluate import MADE_UP_WARNING
from dfutils.report.report import BACKBONE_FACT, ReportContent, write_report
from dfutils.report.sections import Column, FigurePlan, Section, Table, metric_columns
from dfutils.report.wording import difference_sentence
from dfutils.runs.folder import RunFolder

METRICS = ("auc", "balanced_accuracy", "accuracy", "log_loss", "brier", "ece")


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What `compare_runs` found: plain JSON values, and the same in sentences."""

    document: dict[str, Any]
    lines: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """One detector with its scores: a name that no other has, its predictions and its operating point."""

    name: str
    predictions: pd.DataFrame
    threshold: float


ALWAYS_HALF = {"auc": 0.5, "balanced_accuracy": 0.5, "log_loss": 0.693147, "brier": 0.25}
"""What a detector that always says 0.5 reaches, whatever the videos."""


def compare_runs(
    runs: Sequence[Path], faces: Path, report: Path, *, resamples: int = 1000, progress: bool = True
) -> Comparison:
    """Measure several runs on videos that none of them was trained or tuned on, and write a report.

    Args:
        runs: Run folders; the first is what the others are compared with.
        faces: A face dataset whose crops were cut as those of all runs were.
        report: The report folder to write.
        resamples: Bootstrap resamples behind each interval.
        progress: Show bars on a terminal.

    Raises:
        ReportError: No video is in the test split of all, or a run is named twice.
        DfutilsError: A run or the dataset is incomplete, or they do not fit each other.
    """
    if len({run.resolve() for run in runs}) < len(runs) or len(runs) < 2:
        raise ReportError("compare: needs two or more different runs. Name each once.")
    contestants, abouts = [], [RunFolder(run).about() for run in runs]
    for name, run in zip(_names(runs), runs, strict=True):
        settings = RunFolder(run).detector()
        sides = RunSplits(run, is_ensemble=bool(settings.members))
        dataset, rows = rows_of_split(run, faces, settings, sides, "test")
        detector = load_detector(run, engine="keras")
        measured = score_rows(detector, dataset, rows, sides, "test", progress=progress)
        contestants.append(Contestant(name, measured.predictions, settings.threshold))
        del detector, measured  # its features, which another run may not share
    contestants = _on_common_videos(contestants)
    section = comparison_section(contestants, resamples=resamples)
    first = contestants[0]
    backbones = [about["backbone"]["weights"] for about in abouts]
    content = ReportContent(
        title=f"{len(runs)} detectors on the same videos",
        predictions=first.predictions,
        threshold=first.threshold,
        facts={
            BACKBONE_FACT: ", ".join(dict.fromkeys(backbones)),
            "Reference": f"{first.name}: the numbers and figures above are its own",
            **{
                f"Run {number + 1}": f"{one.name} ({run})"
                for number, (one, run) in enumerate(zip(contestants, runs, strict=True))
            },
        },
        warnings=[MADE_UP_WARNING] if set(first.predictions["dataset"]) == {"demo"} else [],
        sections=[section],
    )
    write_report(report, content, resamples=resamples)
    lines = [
        f"{row['name']} against {first.name}: {difference_sentence(row['auc'], whose='its')}"
        for row in section.document["differences"]
    ]
    return Comparison(section.document, lines)


def comparison_section(contestants: Sequence[Contestant], *, resamples: int = 1000) -> Section:
    """All detectors in a table, and each against the first: differences with intervals, and DeLong's test."""
    table, differences = [], []
    reference = contestants[0]
    for one in contestants:
        metrics = compute_metrics(one.predictions, threshold=one.threshold, resamples=resamples)
        table.append({"name": one.name, **{name: metrics[name] for name in (*METRICS, "coverage")}})
    known = {name: {"value": ALWAYS_HALF.get(name), "low": None, "high": None} for name in (*METRICS, "coverage")}
    table.append({"name": "Always 0.5", **known})
    for one in contestants[1:]:
        thresholds = (one.threshold, reference.threshold)
        found = compare_predictions(one.predictions, reference.predictions, thresholds=thresholds, resamples=resamples)
        delong = found["delong"]
        differences.append(
            {
                "name": one.name,
                **{name: found[name] for name in METRICS},
                "videos": found["videos"],
                "groups": found["groups"],
                "p_value": None if delong is None else delong["p_value"],
                "said": _said(found["auc"]),
                "delong": delong,
            }
        )
    return Section(
        name="comparison",
        title="Side by side",
        text=[
            f"All detectors scored the same {len(reference.predictions)} videos, which none of them was trained or "
            "tuned on. Look at the differences and not at whether two intervals overlap: the videos are the same, so "
            "that much of the luck cancels out."
        ],
        flag=_many_tests(len(differences)),
        tables=[
            Table(
                "detectors",
                "Each by itself",
                "95 % intervals, bootstrapped over groups.",
                (Column("name", "Detector"), *metric_columns(*METRICS, "coverage")),
                table,
            ),
            Table(
                "differences",
                f"Difference to {reference.name}",
                "Paired: both are measured on every resample of groups. Higher is better for AUC and accuracy, lower "
                "for log loss, Brier score and calibration error. DeLong's p takes videos for independent, which "
                "flatters where they share sources: believe the interval.",
                (
                    Column("name", "Detector"),
                    *(replace(column, kind="signed") for column in metric_columns(*METRICS)),
                    Column("p_value", "DeLong p (AUC)", "decimal3"),
                    Column("said", "What can be said"),
                ),
                differences,
            ),
        ],
        figures=[
            FigurePlan(
                "differences",
                f"AUC against {reference.name}",
                "A band that touches the dashed line does not show which detector is better.",
                lambda: plot_differences(differences, key="auc", label=f"AUC minus that of {reference.name}"),
            )
        ],
        document={"detectors": table, "differences": differences},
    )


def _said(auc: Mapping[str, float | None]) -> str:
    if auc["low"] is None or auc["high"] is None:
        return "too few groups to say"
    if auc["low"] > 0:
        return "better"
    return "worse" if auc["high"] < 0 else "no difference is shown"


def _many_tests(count: int) -> str:
    if count < 3:
        return ""
    return (
        f"{count} comparisons: about {1 - 0.95**count:.0%} of such tables show some difference where there is none. "
        "Take a single one that is barely shown for luck."
    )


def _names(runs: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as it takes to tell them apart."""
    resolved = [run.resolve() for run in runs]
    for parts in range(1, max(len(run.parts) for run in resolved) + 1):
        names = ["/".join(run.parts[-parts:]) for run in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in resolved]


def _on_common_videos(contestants: Sequence[Contestant]) -> list[Contestant]:
    keys = [set(one.predictions["video"]) for one in contestants]
    common = set.intersection(*keys)
    if not common:
        raise ReportError("compare: no video is in the test split of all runs. Train them with one --splits FILE.")
    return [
        Contestant(one.name, one.predictions[one.predictions["video"].isin(list(common))], one.threshold)
        for one in contestants
    ]
