"""Sections of a report: levels, slices, decisions, calibration, behaviour tests and stress tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from dfutils.evaluation.behaviour import Outcome, judge_outcome
from dfutils.evaluation.damage import DAMAGES, MAX_FRAMES
from dfutils.evaluation.decisions import (
    CALIBRATION_METRICS,
    calibration_table,
    few_clips_warning,
    measure_band,
    measure_calibration,
    measure_operating_points,
    risk_coverage,
)
from dfutils.evaluation.slices import LEVEL_METRICS, by_group, by_level, by_manipulation
from dfutils.figures.curve_plots import plot_calibration, plot_risk_coverage, plot_stress
from dfutils.report.sections import Column, FigurePlan, Section, Table, metric_columns
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.formatting import percent, with_interval

CROSS_METRICS = ("auc", "balanced_accuracy", "log_loss", "coverage")


def decision_section(predictions: pd.DataFrame, detector: DetectorRecord, **drawing: int) -> Section:
    """Operating points, the undecided band and the risk–coverage curve."""
    points = measure_operating_points(predictions, detector, **drawing)
    band = measure_band(predictions, detector, **drawing)
    area = risk_coverage(predictions, threshold=detector.threshold, resamples=0).area
    decided = None if band is None else band["decided"]["value"]
    return Section(
        name="decisions",
        title="Operating points and when to stay undecided",
        text=[_band_sentence(band), *_small_faces_sentence(predictions, detector)],
        flag=few_clips_warning(detector),
        tables=[
            Table(
                "operating_points",
                "Operating points, frozen with the detector",
                f"Chosen on {detector.fitted_in_words}: what each promised there, and what it does on these videos. An "
                "interval that leaves out the promise means that it is broken here.",
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
                "Deciding fewer videos, the surest first, should make fewer mistakes: a curve that rises to the right "
                "means that the scores know when they are unsure, a flat one that they do not.",
                lambda: plot_risk_coverage(predictions, threshold=detector.threshold, decided=decided, **drawing),
            )
        ],
        document={"operating_points": points, "undecided": band, "aurc": round(area, 6)},
    )


def calibration_section(predictions: pd.DataFrame, detector: DetectorRecord, **drawing: int) -> Section | None:
    """Reliability before and after; None where the raw scores are not known."""
    rows = measure_calibration(predictions, threshold=detector.threshold, **drawing)
    if not rows:
        return None
    way = (
        "of its members, each on its own validation split"
        if detector.members
        else f"on {detector.fitted_in_words} only"
    )
    kind = "a temperature" if detector.calibration == "temperature" else "rising steps (isotonic)"
    before, after = (row["ece"]["value"] for row in rows)
    verdict = "more honest" if after < before else "no more honest"
    return Section(
        name="calibration",
        title="Calibration, before and after",
        text=[
            f"The probabilities are calibrated by {kind}, fitted {way}. On these videos they are {verdict} after it: "
            f"expected calibration error {before:.3f} before, {after:.3f} after."
        ],
        tables=[
            Table(
                "calibration",
                "The same scores before and after",
                "Lower is better, but for AUC, which a temperature cannot change and isotonic steps can only lower a "
                "little. Where the intervals overlap by much, neither is shown to be better.",
                (Column("calibration", "Calibration"), *metric_columns(*CALIBRATION_METRICS)),
                rows,
            )
        ],
        figures=[
            FigurePlan(
                "calibration",
                "Reliability before and after",
                "Marks on the diagonal are honest; calibration should bring them nearer to it.",
                lambda: plot_calibration(predictions),
            )
        ],
        document=calibration_table(rows),
    )


def slices_section(
    predictions: pd.DataFrame, levels: Mapping[str, pd.DataFrame], *, threshold: float, **drawing: int
) -> Section:
    """The same scores by level, by manipulation and by group."""
    level_rows = by_level(levels, threshold=threshold, **drawing)
    manipulations = by_manipulation(predictions, threshold=threshold, **drawing)
    groups = by_group(predictions, threshold=threshold)
    return Section(
        name="slices",
        title="By level, manipulation and group",
        tables=[
            Table(
                "levels",
                "By level",
                "A track is one person in a video and gives one clip; a video's score is its highest track's. Chance "
                "is an AUC of 0.50 and a log loss of 0.693 at every level; resamples keep groups whole.",
                (Column("level", "Level"), Column("rows", "How many", "count"), *metric_columns(*LEVEL_METRICS)),
                level_rows,
            ),
            Table(
                "manipulations",
                "By manipulation",
                "Each kind of FAKE against all REAL videos of its family. The rows share these REAL videos, so that "
                "they rise and fall together. Chance is an AUC of 0.50 and a balanced accuracy of 50 %.",
                (
                    Column("manipulation", "FAKE videos of"),
                    Column("fakes", "FAKE", "count"),
                    Column("against", "Against"),
                    Column("true_positive_rate", "FAKE found", "percent"),
                    *metric_columns("auc", "balanced_accuracy"),
                ),
                manipulations,
            ),
            Table(
                "groups",
                "By group, the worst first",
                "One group is one source or person: no interval, since it cannot be drawn twice. A few groups with all "
                "the mistakes say more than a mean.",
                (
                    Column("group", "Group"),
                    Column("datasets", "Data sets"),
                    Column("real", "REAL", "count"),
                    Column("fake", "FAKE", "count"),
                    Column("wrong", "Wrong", "count"),
                    Column("share_wrong", "Share wrong", "percent"),
                    Column("mean_real", "Mean score of REAL", "decimal"),
                    Column("mean_fake", "Mean score of FAKE", "decimal"),
                ),
                groups,
                shown=12,
            ),
        ],
        document={"levels": level_rows, "manipulations": manipulations},
    )


def cross_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    """One detector on several face datasets."""
    return Section(
        name="cross",
        title="From one data set to another",
        text=["One detector, trained on one source, measured on each of the others: what is left of it elsewhere."],
        tables=[
            Table(
                "cross",
                "Cross-dataset",
                "Known: the run was trained on other videos of this very dataset. Chance is an AUC of 0.50 and a "
                "balanced accuracy of 50 %.",
                (
                    Column("faces", "Face dataset"),
                    Column("known", "Known"),
                    Column("videos", "Videos", "count"),
                    Column("groups", "Groups", "count"),
                    *metric_columns(*CROSS_METRICS),
                ),
                rows,
            )
        ],
        document=list(rows),
    )


def _small_faces_sentence(predictions: pd.DataFrame, detector: DetectorRecord) -> list[str]:
    """How many videos are UNDECIDED for their small faces; nothing where all faces decide."""
    if not detector.min_face_pixels:
        return []
    low, high = detector.undecided or (2.0, 2.0)
    scored = predictions.dropna(subset=["fake_probability"])
    small = (scored["label"] == "UNDECIDED") & ~scored["fake_probability"].between(low, high)
    return [
        f"Only faces of at least {detector.min_face_pixels} pixels decide. {int(small.sum())} of {len(scored)} scored "
        "videos show none: prediction says UNDECIDED of these, while their scores count in all numbers here."
    ]


def _band_sentence(band: Mapping[str, Any] | None) -> str:
    if band is None:
        return (
            "This detector decides every video that it can score. A band in which it says UNDECIDED is made by: "
            "dfutils calibrate RUN --max-error 0.1."
        )
    return (
        f"Between {band['low']:.2f} and {band['high']:.2f} this detector says UNDECIDED. It decides "
        f"{with_interval('coverage', band['decided'])} of the scored videos, and of these "
        f"{with_interval('accuracy', band['accuracy'])} rightly ({percent(1.0)} would be all)."
    )


def behaviour_section(outcomes: Sequence[Outcome], *, threshold: float, is_recurrent: bool) -> Section:
    """The table of what should and should not have changed the verdict, and whether it did."""
    rows = [judge_outcome(outcome, threshold=threshold, is_recurrent=is_recurrent) for outcome in outcomes]
    failed = [row for row in rows if row["held"].startswith("no")]
    return Section(
        name="behaviour",
        title="Behaviour tests",
        text=[
            "Each clip is changed and scored again. What leaves the truth alone should leave the verdict alone. A "
            "wider face box needs what is not in a crop: the stress tests cut it from the videos."
        ],
        flag=f"{len(failed)} of {len(rows)} changes turned verdicts that they should not: "
        + ", ".join(row["change"] for row in failed)
        + "."
        if failed
        else "",
        tables=[
            Table(
                "behaviour",
                "What changes the verdict",
                "Turned: share of the clips whose verdict fell on the other side of the threshold. Moved: mean change "
                "of the fake probability. A model that averages frames cannot know their order, so its verdict must "
                "not change at all with it.",
                (
                    Column("change", "Change"),
                    Column("what", "What is done"),
                    Column("clips", "Clips", "count"),
                    Column("moved", "Moved", "decimal3"),
                    Column("turned", "Turned", "percent"),
                    Column("expected", "Expected"),
                    Column("held", "Held?"),
                ),
                rows,
            )
        ],
        document=rows,
    )


def stress_section(rows: Sequence[dict[str, Any]]) -> Section:
    """A curve for each kind of damage, and the numbers behind them."""
    untouched = [row for row in rows if row["kind"] == "none"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["kind"] != "none"))
    names = {"none": "untouched", **{name: damage.title for name, damage in DAMAGES.items()}}
    return Section(
        name="stress",
        title="Robustness",
        text=[
            f"{rows[0]['videos']} videos (their first {MAX_FRAMES} frames) were damaged, cut and scored anew, from the "
            "file to the verdict, with nothing trained or tuned again."
        ],
        tables=[
            Table(
                "stress",
                "Every damage in every strength",
                "Change: AUC minus that of the untouched videos, paired, over groups. Turned: verdicts on the other "
                "side of the threshold. Scored: videos in which a face was still found; AUC is of these only.",
                (
                    Column("title", "Damage"),
                    Column("strength", "Strength"),
                    Column("auc", "AUC", "decimal"),
                    Column("difference", "Change of AUC", "signed"),
                    Column("turned", "Turned", "percent"),
                    Column("coverage", "Scored", "percent"),
                ),
                [{**row, "title": names[row["kind"]]} for row in rows],
                shown=60,
            )
        ],
        figures=[
            FigurePlan(
                f"stress_{kind}",
                DAMAGES[kind].title,
                "The untouched videos on the left, more damage to the right: a curve that stays up is robust; where "
                "the dotted line falls, faces are no longer found.",
                _stress_plan([*untouched, *(row for row in rows if row["kind"] == kind)], kind),
            )
            for kind in kinds
        ],
        document=list(rows),
    )


def _stress_plan(rows: Sequence[dict[str, Any]], kind: str) -> Callable[[], Any]:
    return lambda: plot_stress(rows, title=DAMAGES[kind].title, label=DAMAGES[kind].label)
