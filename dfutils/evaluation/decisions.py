"""What a detector decides, and when it had better not: operating points, risk against coverage, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dfutils.evaluation.comparison import rate_estimates
from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores, check_predictions
from dfutils.runs.record import DetectorRecord
from dfutils.runs.thresholds import logit
from dfutils.statistics.bootstrap import bootstrap_over_groups, estimate
from dfutils.statistics.estimates import FloatArray, ratio

CALIBRATION_METRICS = ("ece", "log_loss", "brier", "auc")
GRID = np.linspace(0.02, 1, 50)
"""Coverages at which a risk–coverage curve is drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """Share of wrong verdicts among the surest videos.

    Attributes:
        coverage: ``(N,)`` share of the videos that are decided, rising to 1.
        risk: ``(N,)`` share of these that are called wrong.
        area: Mean risk over all coverages (AURC; Geifman and El-Yaniv 2017), lower is better.
        low: ``(50,)`` 2.5th percentile of the risk at `GRID`, by a bootstrap over groups; None with one group.
        high: The 97.5th.
    """

    coverage: FloatArray
    risk: FloatArray
    area: float
    low: FloatArray | None
    high: FloatArray | None


def risk_coverage(predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000, seed: int = 0) -> RiskCoverage:
    """Decide the videos furthest from the threshold first (as logits), as `DetectorRecord.undecided` does.

    Videos that are equally far are decided together: their risk is the same.
    """
    scores = Scores.of(predictions)
    # Rounded, since the logits of 0.2 and 0.8 differ in their last bits.
    distance = np.abs(logit(scores.fake_probability) - logit(np.array([threshold]))).round(9)
    order = np.argsort(-distance, kind="stable")
    wrong = ((scores.fake_probability >= threshold) != scores.is_fake)[order].astype(float)
    ends = np.flatnonzero(np.r_[np.diff(distance[order]) != 0, True])

    def curve(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        decided = np.cumsum(weights[:, order], axis=1)[:, ends]
        mistakes = np.cumsum(weights[:, order] * wrong, axis=1)[:, ends]
        return decided / decided[:, -1:], ratio(mistakes, decided)

    coverage, risk = (part[0] for part in curve(np.ones((1, len(wrong)))))

    def on_grid(weights: FloatArray) -> FloatArray:
        rows = zip(*curve(weights), strict=True)
        return np.array([_at(GRID, share, risks) for share, risks in rows])

    low = high = None
    if resamples and len(np.unique(scores.groups)) > 1:
        drawn = bootstrap_over_groups(scores.groups, on_grid, resamples=resamples, seed=seed)
        low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    sizes = np.diff(np.r_[0.0, coverage])
    return RiskCoverage(coverage, risk, float((sizes * risk).sum()), low, high)


def _at(grid: FloatArray, coverage: FloatArray, risk: FloatArray) -> FloatArray:
    """Risk of the smallest part of the videos that reaches each coverage; NaN where nothing was drawn yet."""
    known = np.flatnonzero(~np.isnan(risk))
    index = np.minimum(np.searchsorted(coverage[known], grid - 1e-12), len(known) - 1)
    return np.asarray(risk[known][index])


def measure_band(
    predictions: pd.DataFrame, detector: DetectorRecord, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any] | None:
    """What the undecided band does to these videos; None where the detector has none."""
    if detector.undecided is None:
        return None
    scores = Scores.of(predictions)
    low, high = detector.undecided
    decided = ((scores.fake_probability < low) | (scores.fake_probability > high)).astype(float)
    right = ((scores.fake_probability >= detector.threshold) == scores.is_fake).astype(float)

    def statistic(weights: FloatArray) -> FloatArray:
        share = weights @ decided / weights.sum(axis=1)
        return np.column_stack([share, ratio(weights @ (decided * right), weights @ decided)])

    values = statistic(np.ones((1, len(decided))))[0]
    drawn = bootstrap_over_groups(scores.groups, statistic, resamples=resamples, seed=seed) if resamples else None
    if len(np.unique(scores.groups)) < 2:
        drawn = None
    estimates = {
        name: estimate(values[column], None if drawn is None else drawn[:, column])
        for column, name in enumerate(("decided", "accuracy"))
    }
    return {"low": low, "high": high, **estimates}


def measure_operating_points(
    predictions: pd.DataFrame, detector: DetectorRecord, *, resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Each frozen threshold with what it promised where it was chosen and what it does on these videos."""
    scores = Scores.of(predictions)
    return [
        {
            "rule": rule_in_words(point.rule),
            "used": "yes" if point.rule == detector.operating_point else "",
            "threshold": point.threshold,
            "promised": f"{point.false_positive_rate:.0%} of {point.reals} REAL, "
            f"{point.true_positive_rate:.0%} of {point.fakes} FAKE",
            **rate_estimates(
                scores.is_fake,
                scores.fake_probability,
                scores.groups,
                threshold=point.threshold,
                resamples=resamples,
                seed=seed,
            ),
        }
        for point in detector.operating_points
    ]


def measure_calibration(
    predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """The honesty of the probabilities before and after calibration; empty without ``raw_probability``."""
    if "raw_probability" not in predictions:
        return []
    rows = check_predictions(predictions)
    tables = {"before": rows.assign(fake_probability=rows["raw_probability"]), "after": rows}
    measured = []
    for when, table in tables.items():
        estimates, _ = estimate_metrics(Scores.of(table), threshold=threshold, resamples=resamples, seed=seed)
        measured.append({"calibration": when, **{name: estimates[name] for name in CALIBRATION_METRICS}})
    return measured


def rule_in_words(rule: str) -> str:
    """A rule of `dfutils.runs.record.OperatingPoint` for a reader.

    Example:
        >>> rule_in_words("fpr_5")
        'at most 5 % false alarms'
    """
    kind, _, number = rule.partition("_")
    if kind == "fpr":
        return f"at most {number} % false alarms"
    if kind == "cost":
        return f"a false alarm costs {number} times a missed fake"
    return "most balanced accuracy"


def few_clips_warning(detector: DetectorRecord) -> str:
    """Which promises were made on too few clips; empty where there is nothing to say."""
    asked = [float(point.rule.partition("_")[2]) / 100 for point in detector.operating_points if "fpr_" in point.rule]
    reals = [point.reals for point in detector.operating_points]
    if not asked or not reals or min(asked) * reals[0] >= 1:
        return ""
    return (
        f"The thresholds were chosen on {reals[0]} REAL clips: a false-alarm rate below 1 in {reals[0]} "
        "cannot be told from none there, and will be higher on new videos."
    )


def calibration_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``before`` and ``after`` by name, for ``metrics.json``."""
    return {row["calibration"]: {name: row[name] for name in CALIBRATION_METRICS} for row in rows}
