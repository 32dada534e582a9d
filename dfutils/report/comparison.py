"""Compare several detectors on the same videos: a report of their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import compare_predictions, compute_metrics
from dfutils.evaluation.scoring import RunSplits, framed_as_trained, score_rows
from dfutils.extraction.dataset import read_face_dataset
from dfutils.figures.results import plot_differences
from dfutils.files import refuse_other_content
from dfutils.prediction.detector import load_detector
from dfutils.prediction.runtime import EngineChoice, choose_engine
from dfutils.pretrained import resolve_detector
from dfutils.records import ClipRow
from dfutils.report.elements import Column, FigurePlan, Section, Table, metric_columns
from dfutils.report.evaluate import MADE_UP_WARNING
from dfutils.report.page import BACKBONE_FACT, ReportContent, write_report
from dfutils.report.wording import difference_sentence
from dfutils.runs.folder import RunFolder
from dfutils.training.leaks import find_trained_on

NO_LEAK = (
    "No detector is known to have used these videos in training or validation, nor others of their groups, nor their "
    "files under other names."
)
METRICS = ("answered", "answer_accuracy", "auc", "balanced_accuracy", "log_loss", "brier", "ece")


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Result of `compare_runs`: plain JSON values, and the same in sentences."""

    document: dict[str, Any]
    lines: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """One detector with a unique name, its predictions, its operating point and its range of UNDECIDED."""

    name: str
    predictions: pd.DataFrame
    threshold: float
    answer_range: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one detector saw of the videos of a face dataset in training or validation.

    Attributes:
        name: Unique name of the detector.
        test: Videos that are in its test split by their name or group, or that it does not know.
        videos: Videos that it saw: all others, and those of ``test`` whose group or file was used.
        renamed: For each video whose file was used under another name, that name.
        unknown: What the detector does not record, as the end of a sentence; empty if it records everything.
    """

    name: str
    test: frozenset[str]
    videos: frozenset[str]
    renamed: Mapping[str, str]
    unknown: str

    @classmethod
    def of(cls, name: str, splits: RunSplits, rows: Sequence[ClipRow]) -> Seen:
        """Find the videos in the splits of a run, as `dfutils.report.sections.leak_section` does."""
        found = find_trained_on(rows, training_groups=splits.known_groups, training_files=splits.trained_files)
        test = frozenset(row.video for row in rows if splits.of(row.video, row.group) == "test")
        renamed, groups = dict(found.renamed or ()), frozenset(found.groups or ())
        of_groups = {row.video for row in rows if row.group in groups}
        unknown = ""
        if found.groups is None:
            unknown = "does not record its training data, so it may have been trained on the videos compared"
        elif found.renamed is None:
            unknown = "does not record its files, so it may have been trained on these videos under other names"
        others = {row.video for row in rows} - test
        return cls(name, test, frozenset(others | of_groups | renamed.keys()), renamed, unknown)


ALWAYS_HALF = {"auc": 0.5, "balanced_accuracy": 0.5, "log_loss": 0.693147, "brier": 0.25}
"""Metrics of a detector that always says 0.5, which are the same on any videos."""


def compare_runs(
    runs: Sequence[Path | str],
    faces: Path,
    report: Path,
    *,
    resamples: int = 1000,
    engine: EngineChoice = "auto",
    progress: bool = True,
) -> Comparison:
    """Measure several runs on videos that none of them used in training or validation, and write a report.

    A video that one run used, by its name, its group or its file under another name, is left out for all runs, so that
    the comparison stays paired.

    Args:
        runs: Run folders, or names of detectors that come with the package; the others are compared with the first.
        faces: A face dataset whose crops were cut with the settings of all runs.
        report: The report folder to write.
        resamples: Bootstrap resamples behind each interval.
        engine: As in `load_detector`; Keras for all runs if ``auto`` needs it for one.
        progress: Show progress bars on a terminal.

    Raises:
        ReportError: Every video was used by a run, or a run is named twice.
        DfutilsError: A run or the dataset is incomplete, they do not fit each other, or ``report`` holds something
            else than a report.
    """
    refuse_other_content(report, "a report")
    folders = [resolve_detector(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders) or len(folders) < 2:
        raise ReportError("compare: needs two or more different runs. Name each once.")
    contestants, engines, abouts = [], [], [RunFolder(run).about() for run in folders]
    records = [RunFolder(run).detector() for run in folders]
    names = _names(folders)
    splits = [RunSplits(run, is_ensemble=bool(one.members)) for run, one in zip(folders, records, strict=True)]
    dataset = read_face_dataset(faces)
    seen = [Seen.of(name, one, dataset.rows) for name, one in zip(names, splits, strict=True)]
    candidates = frozenset[str]().union(*(one.test for one in seen))
    kept = candidates.difference(*(one.videos for one in seen))
    if not kept:
        used = ", ".join(f"{one.name}: {len(one.videos)}" for one in seen if one.videos)
        raise ReportError(
            f"{faces}: none of its {len({row.video for row in dataset.rows})} videos is left to compare on, because "
            "runs used them, others of their groups or their files under other names in training or validation "
            f"({used}). Train the runs with one --splits FILE, or compare them on videos of other people."
        )
    leaks = _leak_lines(seen, candidates=candidates, kept=kept)
    # The same engine for all, or a difference could be between engines; and what is missing is said before the work.
    chosen = {choose_engine(engine, run, settings) for run, settings in zip(folders, records, strict=True)}
    engine = "openvino" if chosen == {"openvino"} else "keras"
    for name, run, settings, own in zip(names, folders, records, splits, strict=True):
        framed = framed_as_trained(dataset, settings.extraction)
        rows = tuple(row for row in framed.rows if row.video in kept)
        detector = load_detector(run, engine=engine)
        measured = score_rows(detector, framed, rows, own, "test", progress=progress)
        contestants.append(Contestant(name, measured.predictions, settings.threshold, settings.answer_range))
        engines.append(detector.engine_in_words)
        del detector, measured  # frees the features, which other runs may not share
    common = set.intersection(*(set(one.predictions["video"]) for one in contestants))
    contestants = [
        replace(one, predictions=one.predictions[one.predictions["video"].isin(list(common))]) for one in contestants
    ]
    section = comparison_section(contestants, leaks=leaks, resamples=resamples)
    left_out = {one.name: len(one.videos & candidates) for one in seen}
    section = replace(section, document={**section.document, "left_out": left_out})
    first = contestants[0]
    backbones = [about["backbone"]["weights"] for about in abouts]
    content = ReportContent(
        title=f"{len(folders)} detectors on the same videos",
        predictions=first.predictions,
        threshold=first.threshold,
        answer_range=first.answer_range,
        facts={
            BACKBONE_FACT: ", ".join(dict.fromkeys(backbones)),
            "Reference": f"{first.name}: the numbers and figures above are for this detector",
            **{
                f"Run {number}": f"{one.name} ({run}), on {words}"
                for number, (one, run, words) in enumerate(zip(contestants, folders, engines, strict=True), start=1)
            },
        },
        warnings=[MADE_UP_WARNING] if set(first.predictions["dataset"]) == {"demo"} else [],
        leaks=[NO_LEAK, *leaks],
        sections=[section],
    )
    write_report(report, content, resamples=resamples)
    differences = [
        f"{row['name']} against {first.name}: {difference_sentence(row['auc'], whose='its')}"
        for row in section.document["differences"]
    ]
    return Comparison(section.document, [*leaks, *differences])


def _leak_lines(seen: Sequence[Seen], *, candidates: frozenset[str], kept: frozenset[str]) -> list[str]:
    """Say which videos are left out because a detector saw them, and which detectors do not say what they saw."""
    lines = []
    if len(kept) < len(candidates):
        lines.append(f"{len(kept)} of {len(candidates)} test videos are compared; the others are left out for all.")
    for one in seen:
        if lost := one.videos & candidates:
            line = f"{one.name} was trained or validated on {len(lost)} of them, or on others of their groups"
            if renamed := sorted(one.renamed.keys() & lost):
                line += f"; {len(renamed)} under another name (first: {renamed[0]} is {one.renamed[renamed[0]]})"
            lines.append(f"{line}.")
    return lines + [f"{one.name} {one.unknown}." for one in seen if one.unknown]


def comparison_section(
    contestants: Sequence[Contestant], *, leaks: Sequence[str] = (), resamples: int = 1000
) -> Section:
    """Show the metrics of all detectors, and their differences from the first with intervals and DeLong's test.

    Args:
        contestants: The detectors, with predictions of the same videos.
        leaks: Sentences on videos that were left out, and on what is not known.
        resamples: Bootstrap resamples behind each interval.
    """
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
        auc, delong = found["auc"], found["delong"]
        if auc["low"] is None or auc["high"] is None:
            conclusion = "too few groups"
        else:
            conclusion = "better" if auc["low"] > 0 else "worse" if auc["high"] < 0 else "no difference shown"
        differences.append(
            {
                "name": one.name,
                **{name: found[name] for name in METRICS},
                "videos": found["videos"],
                "groups": found["groups"],
                "p_value": None if delong is None else delong["p_value"],
                "said": conclusion,
                "delong": delong,
            }
        )
    count = len(differences)
    return Section(
        name="comparison",
        title="Side by side",
        text=[
            f"All detectors scored the same {len(reference.predictions)} videos. {NO_LEAK}",
            *leaks,
            "Judge by the differences, not by whether two intervals overlap: because the videos are the same, much of "
            "the random variation cancels out.",
        ],
        flag=f"{count} comparisons: with no real difference, about {1 - 0.95**count:.0%} of such tables would still "
        "show one. Do not rely on a single difference that is barely shown."
        if count >= 3
        else "",
        tables=[
            Table(
                "detectors",
                "Each detector",
                "95 % intervals, bootstrapped over groups.",
                (Column("name", "Detector"), *metric_columns(*METRICS, "coverage")),
                table,
            ),
            Table(
                "differences",
                f"Difference from {reference.name}",
                "Paired: both are measured on every resample of groups. Higher is better for AUC and accuracy, lower "
                "for log loss, Brier score and calibration error. DeLong's p treats videos as independent, so it is "
                "too small if they share sources: trust the interval instead.",
                (
                    Column("name", "Detector"),
                    *(replace(column, kind="signed") for column in metric_columns(*METRICS)),
                    Column("p_value", "DeLong p (AUC)", "decimal3"),
                    Column("said", "Conclusion"),
                ),
                differences,
            ),
        ],
        figures=[
            FigurePlan(
                "differences",
                f"AUC against {reference.name}",
                "If a bar touches the dashed line, neither detector is shown to be better.",
                lambda: plot_differences(differences, key="auc", label=f"AUC minus that of {reference.name}"),
            )
        ],
        document={"detectors": table, "differences": differences},
    )


def _names(runs: Sequence[Path]) -> list[str]:
    """Return the last parts of the paths, as many as make them unique."""
    resolved = [run.resolve() for run in runs]
    for parts in range(1, max(len(run.parts) for run in resolved) + 1):
        names = ["/".join(run.parts[-parts:]) for run in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in resolved]
