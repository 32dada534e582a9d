"""Decisions of a detector: operating points, risk against coverage, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dfutils.evaluation.metrics import estimate_metrics, estimate_rates
from dfutils.evaluation.predictions import Scores, check_predictions
from dfutils.runs.probabilities import logit
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.bootstrap import bootstrap_over_groups
from dfutils.statistics.estimates import FloatArray, ratio

CALIBRATION_METRICS = ("ece", "log_loss", "brier", "auc")
GRID = np.linspace(0.02, 1, 50)
"""Coverages at which a risk–coverage curve is drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """Share of wrong verdicts among the most certain videos.

    Attributes:
        coverage: ``(N,)`` share of the videos that are decided, rising to 1.
        risk: ``(N,)`` share of these whose verdict is wrong.
        area: Mean risk over all coverages (AURC; Geifman and El-Yaniv 2017), lower is better.
        low: ``(50,)`` 2.5th percentile of the risk at `GRID`, by a bootstrap over groups; None with one group.
        high: ``(50,)`` 97.5th percentile.
    """

    coverage: FloatArray
    risk: FloatArray
    area: float
    low: FloatArray | None
    high: FloatArray | None


def risk_coverage(predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000) -> RiskCoverage:
    """Decide the videos whose logit is furthest from the threshold first.

    Videos at the same distance are decided together: their risk is the same.
    """
    scores = Scores.of(predictions)
    # Rounded because the logits of 0.2 and 0.8 differ in their last bits.
    distance = np.abs(logit(scores.fake_probability) - logit(np.array([threshold]))).round(9)
    order = np.argsort(-distance, kind="stable")
    wrong = ((scores.fake_probability >= threshold) != scores.is_fake)[order].astype(float)
    ends = np.flatnonzero(np.r_[np.diff(distance[order]) != 0, True])

    def curve(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        decided = np.cumsum(weights[:, order], axis=1)[:, ends]
        mistakes = np.cumsum(weights[:, order] * wrong, axis=1)[:, ends]
        return decided / decided[:, -1:], ratio(mistakes, decided)

    def risk_on_grid(weights: FloatArray) -> FloatArray:
        """Risk of the smallest part of the videos that reaches each coverage."""
        rows = []
        for shares, risks in zip(*curve(weights), strict=True):
            drawn = np.flatnonzero(~np.isnan(risks))
            index = np.minimum(np.searchsorted(shares[drawn], GRID - 1e-12), len(drawn) - 1)
            rows.append(risks[drawn][index])
        return np.array(rows)

    coverage, risk = (part[0] for part in curve(np.ones((1, len(wrong)))))
    low = high = None
    if resamples and len(np.unique(scores.groups)) > 1:
        drawn = bootstrap_over_groups(scores.groups, risk_on_grid, resamples=resamples)
        low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    sizes = np.diff(np.r_[0.0, coverage])
    return RiskCoverage(coverage, risk, float((sizes * risk).sum()), low, high)


def measure_operating_points(
    predictions: pd.DataFrame, detector: DetectorRecord, *, resamples: int = 1000
) -> list[dict[str, Any]]:
    """Return the rates of each frozen threshold, on the clips it was chosen on and on these videos."""
    scores = Scores.of(predictions)
    return [
        {
            "rule": describe_rule(point.rule),
            "used": "yes" if point.rule == detector.operating_point else "",
            "threshold": point.threshold,
            "promised": f"{point.false_positive_rate:.0%} of {point.reals} REAL, "
            f"{point.true_positive_rate:.0%} of {point.fakes} FAKE",
            **estimate_rates(scores, threshold=point.threshold, resamples=resamples),
        }
        for point in detector.operating_points
    ]


def measure_calibration(predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000) -> list[dict[str, Any]]:
    """Return `CALIBRATION_METRICS` before and after calibration; empty without a ``raw_probability`` column."""
    if "raw_probability" not in predictions:
        return []
    rows = check_predictions(predictions)
    measured = []
    for when, column in (("before", "raw_probability"), ("after", "fake_probability")):
        scores = Scores.of(rows.assign(fake_probability=rows[column]))
        metrics = estimate_metrics(scores, threshold=threshold, resamples=resamples)
        measured.append({"calibration": when, **{name: metrics[name] for name in CALIBRATION_METRICS}})
    return measured


def describe_rule(rule: str) -> str:
    """Return a rule of `dfutils.runs.record.OperatingPoint` in words.

    Example:
        >>> describe_rule("fpr_5")
        'false positive rate of at most 5 %'
    """
    kind, _, number = rule.partition("_")
    if kind == "fpr":
        return f"false positive rate of at most {number} %"
    if kind == "cost":
        return f"a false positive costs {number} times a missed fake"
    return "highest balanced accuracy"


def few_clips_warning(detector: DetectorRecord) -> str:
    """Return a warning if thresholds were chosen on too few clips for their false positive rate; else nothing."""
    wanted = [float(point.rule.partition("_")[2]) / 100 for point in detector.operating_points if "fpr_" in point.rule]
    reals = [point.reals for point in detector.operating_points]
    if not wanted or not reals or min(wanted) * reals[0] >= 1:
        return ""
    return (
        f"The thresholds were chosen on {reals[0]} REAL clips, too few to tell a false positive rate below 1 in "
        f"{reals[0]} from 0. Expect a higher rate on new videos."
    )
