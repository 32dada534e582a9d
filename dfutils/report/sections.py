"""Sections of a report: decisions, calibration, leaks, behaviour tests and stress tests."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from dfutils.evaluation.behaviour import Outcome, judge_outcome
from dfutils.evaluation.damage import DAMAGES, MAX_FRAMES
from dfutils.evaluation.decisions import (
    CALIBRATION_METRICS,
    few_clips_warning,
    measure_calibration,
    measure_operating_points,
    risk_coverage,
)
from dfutils.evaluation.metrics import estimate_answers
from dfutils.evaluation.predictions import answers_of
from dfutils.figures.calibration import plot_calibration, plot_risk_coverage
from dfutils.figures.results import plot_stress
from dfutils.records import ClipRow, Reason
from dfutils.report.elements import Column, FigurePlan, Section, Table, metric_columns
from dfutils.report.wording import describe_costs, trained_on_warning
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.formatting import probability_text, with_interval
from dfutils.training.leaks import find_trained_on

_LEAKS = {
    "shared_groups": ("groups with videos in two splits", "A test video's person or source may be recognised."),
    "same_files": ("files with identical content in two splits", "The detector was trained on the test file."),
    "near_duplicates": (
        "clips with a near-duplicate crop in another split",
        "The same person in the same pose and light, perhaps in another video.",
    ),
}


def decision_section(predictions: pd.DataFrame, detector: DetectorRecord, *, resamples: int) -> Section:
    """Show the three answers with what they were fitted to, operating points and the risk–coverage curve."""
    points = measure_operating_points(predictions, detector, resamples=resamples)
    answers = estimate_answers(predictions, threshold=detector.threshold, resamples=resamples)
    area = risk_coverage(predictions, threshold=detector.threshold, resamples=0).area
    real_up_to, fake_from = detector.answer_range
    if detector.real_up_to is None:
        text = [
            "This detector is of an earlier version: it has one threshold and answers every video that it can score. "
            "To make it answer UNDECIDED when it is uncertain: dfutils calibrate RUN."
        ]
    else:
        low, high = map(probability_text, (real_up_to, fake_from))
        text = [
            f"The answer is REAL up to {low}, FAKE from {high} on, and UNDECIDED between. On these videos "
            f"{with_interval('answered', answers['answered'])} are answered, "
            f"{with_interval('answer_accuracy', answers['answer_accuracy'])} of them correctly; "
            f"{with_interval('real_called_fake', answers['real_called_fake'])} of the REAL videos are called FAKE, and "
            f"{with_interval('fake_called_real', answers['fake_called_real'])} of the FAKE ones REAL."
        ]
    if (costs := detector.answer_costs) is not None:
        text += describe_costs(costs, fitted_on=detector.fitted_in_words)
    if detector.min_face_pixels:
        scored = predictions.dropna(subset=["fake_probability"])
        called = answers_of(scored, threshold=detector.threshold)
        is_clear = ~scored["fake_probability"].between(real_up_to, fake_from, inclusive="neither")
        small = (called == "UNDECIDED") & is_clear
        if "reason" in scored:  # others are UNDECIDED for what their faces look like
            small &= scored["reason"] == Reason.LOW_CONFIDENCE
        text.append(
            f"Only faces of at least {detector.min_face_pixels} pixels decide. {int(small.sum())} of {len(scored)} "
            "scored videos have none: they are UNDECIDED, and their scores count only in the metrics of two classes."
        )
    return Section(
        name="decisions",
        title="Answers and operating points",
        text=text,
        flag=few_clips_warning(detector),
        tables=[
            Table(
                "operating_points",
                "Operating points of the detector",
                "Thresholds between two classes, without UNDECIDED. "
                f"Each was chosen on {detector.fitted_in_words}; the table has its rates there and on these "
                "videos. If an interval excludes the rate there, the threshold does not carry over to these videos.",
                (
                    Column("rule", "Rule"),
                    Column("used", "In use"),
                    Column("threshold", "Threshold", "decimal3"),
                    Column("promised", "Called FAKE there"),
                    Column("false_positive_rate", "REAL called FAKE", "percent"),
                    Column("true_positive_rate", "FAKE found", "percent"),
                    *metric_columns("balanced_accuracy"),
                ),
                points,
            )
        ],
        figures=[
            FigurePlan(
                "risk_coverage",
                "Risk and coverage",
                "Deciding only the most certain videos should cause fewer mistakes. If the curve rises to the right, "
                "the scores reflect certainty; if it is flat, they do not.",
                functools.partial(
                    plot_risk_coverage,
                    predictions,
                    threshold=detector.threshold,
                    resamples=resamples,
                ),
            )
        ],
        document={
            "operating_points": points,
            "real_up_to": real_up_to,
            "fake_from": fake_from,
            "aurc": round(area, 6),
        },
    )


def calibration_section(predictions: pd.DataFrame, detector: DetectorRecord, *, resamples: int) -> Section | None:
    """Compare the calibration error before and after calibration; None if the raw scores are unknown."""
    rows = measure_calibration(predictions, threshold=detector.threshold, resamples=resamples)
    if not rows:
        return None
    method = "a temperature and a bias" if detector.calibration == "platt" else "isotonic regression"
    where = (
        "separately for each member on its validation split"
        if detector.members
        else f"on {detector.fitted_in_words} only"
    )
    before, after = (row["ece"]["value"] for row in rows)
    return Section(
        name="calibration",
        title="Calibration, before and after",
        text=[
            f"The probabilities are calibrated for an even mix of REAL and FAKE by {method}, fitted {where}. On these "
            f"videos this {'lowers' if after < before else 'does not lower'} the expected calibration error: "
            f"{before:.3f} before, {after:.3f} after."
        ],
        tables=[
            Table(
                "calibration",
                "The same scores before and after",
                "Lower is better, except for AUC, which a temperature and a bias cannot change and isotonic regression "
                "only changes by making ties. If the intervals overlap widely, neither is shown to be better.",
                (Column("calibration", "Calibration"), *metric_columns(*CALIBRATION_METRICS)),
                rows,
            )
        ],
        figures=[
            FigurePlan(
                "calibration",
                "Reliability before and after",
                "Points on the diagonal are perfectly calibrated; calibration should move points towards it.",
                functools.partial(plot_calibration, predictions),
            )
        ],
        document={row["calibration"]: {name: row[name] for name in CALIBRATION_METRICS} for row in rows},
    )


def leak_section(
    leaks: Mapping[str, Any] | None,
    *,
    training_groups: Collection[str] | None,
    training_files: Mapping[str, Collection[str]] | None,
    rows: Sequence[ClipRow],
) -> Section:
    """Show what is shared between splits, and how far file metadata alone gives the label away.

    Args:
        leaks: ``leaks.json`` of the run; None if there is none, as for an ensemble.
        training_groups: As for `find_trained_on`.
        training_files: As for `find_trained_on`.
        rows: Clips measured in this report.
    """
    groups = {row.group for row in rows}
    found = find_trained_on(rows, training_groups=training_groups, training_files=training_files)
    shared, renamed = found.groups, found.renamed
    unknown = "not known: the run is of an earlier version"
    if shared is None:
        unknown = "not known: the detector does not record its training data"
    table: list[dict[str, Any]] = [
        {
            "what": "measured groups (people, sources) used in training or validation",
            "count": None if shared is None else len(shared),
            "of": f"{len(groups)} groups",
            "means": "A score on people seen in training says nothing about strangers.",
            "examples": unknown if shared is None else ", ".join(shared[:5]),
        },
        {
            "what": "measured clips whose file was used in training or validation under another name",
            "count": None if renamed is None else len(renamed),
            "of": f"{len(rows)} clips",
            "means": "The detector was trained on the file, which counts as unseen.",
            "examples": unknown if renamed is None else "; ".join(f"{video} is {name}" for video, name in renamed[:3]),
        },
    ]
    shortcut: list[dict[str, Any]] = []
    if leaks is not None:
        for kind, (what, means) in _LEAKS.items():
            one = leaks[kind] or {"count": None, "examples": []}
            of, examples = f"{leaks['clips']} clips of the run", "; ".join(one["examples"][:3])
            table.append({"what": what, "count": one["count"], "of": of, "means": means, "examples": examples})
        if leaks["shortcut"] is not None:
            auc = {name: leaks["shortcut"][key] for name, key in (("value", "auc"), ("low", "low"), ("high", "high"))}
            what = "size, frame rate, duration and bit rate of the file"
            shortcut.append({"what": what, "auc": auc, "groups": leaks["shortcut"]["groups"]})
    document = {
        "measured_groups": len(groups),
        "known_to_training": len(shared or ()),
        "trained_under_another_name": None if renamed is None else len(renamed),
        "run": dict(leaks or {}),
    }
    return Section(
        name="leaks",
        title="Leaks and shortcuts",
        text=["This run has no leak report: each of its members has its own."] if leaks is None else leaks["lines"],
        flag=trained_on_warning(document),
        tables=[
            Table(
                "leaks",
                "What two splits share",
                "All counts should be 0. A near-duplicate may be another video of the same person: see the examples.",
                (
                    Column("what", "What"),
                    Column("count", "Count", "count"),
                    Column("of", "Of"),
                    Column("means", "If not 0"),
                    Column("examples", "Examples"),
                ),
                table,
            ),
            Table(
                "shortcut",
                "AUC of file metadata alone",
                "Cross-validated by group over all videos of the run. An interval above 0.5 means that the files give "
                "the label away, and a detector may have learnt that instead.",
                (Column("what", "Features"), Column("auc", "AUC", "decimal"), Column("groups", "Groups", "count")),
                shortcut,
            ),
        ],
        document=document,
    )


def behaviour_section(outcomes: Sequence[Outcome], *, threshold: float, is_recurrent: bool) -> Section:
    """Show which changes to the clips changed the verdict although they should not have."""
    rows = [judge_outcome(outcome, threshold=threshold, is_recurrent=is_recurrent) for outcome in outcomes]
    failed = [row["change"] for row in rows if row["held"].startswith("no")]
    return Section(
        name="behaviour",
        title="Behaviour tests",
        text=[
            "Each clip is changed and scored again. A change that does not affect the truth should not affect the "
            "verdict. A wider face box needs pixels outside the crop, so it is part of the stress tests."
        ],
        flag=f"{len(failed)} of {len(rows)} changes affected verdicts although they should not: {', '.join(failed)}."
        if failed
        else "",
        tables=[
            Table(
                "behaviour",
                "Which changes affect the verdict",
                "Moved: mean change of the fake probability. Flipped: share of the clips whose verdict changed. A "
                "model that averages frames ignores their order, so its verdict must not depend on it at all.",
                (
                    Column("change", "Change"),
                    Column("what", "What is done"),
                    Column("clips", "Clips", "count"),
                    Column("moved", "Moved", "decimal3"),
                    Column("turned", "Flipped", "percent"),
                    Column("expected", "Expected"),
                    Column("held", "Held?"),
                ),
                rows,
            )
        ],
        document=rows,
    )


def stress_section(rows: Sequence[dict[str, Any]]) -> Section:
    """Show a curve for each kind of damage, and the numbers behind them."""
    untouched = [row for row in rows if row["kind"] == "none"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["kind"] != "none"))
    titles = {"none": "untouched", **{name: damage.title for name, damage in DAMAGES.items()}}
    return Section(
        name="stress",
        title="Robustness",
        text=[
            f"The first {MAX_FRAMES} frames of {rows[0]['videos']} videos were damaged, and their faces extracted and "
            "scored again, without any new training or tuning."
        ],
        tables=[
            Table(
                "stress",
                "Every kind and strength of damage",
                "Change: AUC minus that of the untouched videos, paired, over groups. Flipped: share of the verdicts "
                "that changed. Scored: videos in which a face was still found; only these count for the AUC.",
                (
                    Column("title", "Damage"),
                    Column("strength", "Strength"),
                    Column("auc", "AUC", "decimal"),
                    Column("difference", "Change of AUC", "signed"),
                    Column("turned", "Flipped", "percent"),
                    Column("coverage", "Scored", "percent"),
                ),
                [{**row, "title": titles[row["kind"]]} for row in rows],
                shown=60,
            )
        ],
        figures=[
            FigurePlan(
                f"stress_{kind}",
                DAMAGES[kind].title,
                "From the untouched videos on the left to the strongest damage on the right. A robust detector keeps "
                "its AUC; where the dotted line falls, faces are no longer found.",
                functools.partial(
                    plot_stress,
                    [*untouched, *(row for row in rows if row["kind"] == kind)],
                    title=DAMAGES[kind].title,
                    label=DAMAGES[kind].label,
                ),
            )
            for kind in kinds
        ],
        document=list(rows),
    )
