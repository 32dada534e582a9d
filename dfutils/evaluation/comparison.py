"""Two detectors on the same videos: paired bootstrap over groups, and DeLong's test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dfutils.errors import ReportError
from dfutils.evaluation.predictions import check_predictions
from dfutils.statistics.bootstrap import Estimate, bootstrap_over_groups, enough_groups, estimate
from dfutils.statistics.estimates import (
    METRIC_NAMES,
    TWO_CLASS_METRICS,
    BoolArray,
    FloatArray,
    ratio,
    weighted_metrics,
)

COMPARED = ("auc", "average_precision", "balanced_accuracy", "accuracy", "log_loss", "brier", "ece")
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class DeLong:
    """DeLong's comparison of two correlated AUCs; ``p_value`` is NaN where the difference has no spread."""

    auc_first: float
    auc_second: float
    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float


def delong_test(is_fake: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> DeLong:
    """Compare the AUCs of two scores of the same videos, which are taken for independent of each other.

    DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
    Characteristic Curves: A Nonparametric Approach" (1988). Where videos share a source, `compare_predictions`, which
    resamples groups, is the one to believe.

    Args:
        is_fake: ``(N,)`` bool.
        first: ``(N,)`` scores, higher for FAKE.
        second: The same of the other detector.

    Raises:
        ReportError: There are fewer than two videos of a class, or a score is no number.

    Example:
        >>> test = delong_test([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.3, 0.4, 0.2, 0.1], [0.9, 0.4, 0.3, 0.8, 0.5, 0.1])
        >>> round(test.difference, 3), round(test.p_value, 3)
        (0.333, 0.221)
    """
    labels = np.asarray(is_fake, bool)
    scores = np.array([first, second], float)
    if min(labels.sum(), (~labels).sum()) < 2 or not np.isfinite(scores).all():
        raise ReportError("DeLong's test: needs two REAL and two FAKE videos, all with scores. Add the missing ones.")
    fakes = np.array([_placements(row[labels], row[~labels]) for row in scores])
    reals = np.array([1 - _placements(row[~labels], row[labels]) for row in scores])
    aucs = fakes.mean(axis=1)
    covariance = np.cov(fakes) / fakes.shape[1] + np.cov(reals) / reals.shape[1]
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = math.sqrt(max(0.0, variance))
    difference = float(aucs[0] - aucs[1])
    p_value = math.erfc(abs(difference) / error / math.sqrt(2)) if error > 1e-12 else math.nan
    interval = (difference - _Z * error, difference + _Z * error)
    return DeLong(float(aucs[0]), float(aucs[1]), difference, error, *interval, p_value)


def _placements(own: FloatArray, others: FloatArray) -> FloatArray:
    """Share of the other class below each score, ties counted half: DeLong's structural components."""
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, own, "left"), np.searchsorted(ordered, own, "right")
    return (below + up_to) / 2 / len(ordered)


def paired_rows(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The videos that both tables scored, with ``fake_probability`` and ``fake_probability_second``.

    Raises:
        ReportError: They have no scored video in common, or contradict each other about a label.
    """
    left, right = (check_predictions(rows).dropna(subset=["fake_probability"]) for rows in (first, second))
    both = left.merge(right, on=["dataset", "video"], suffixes=("", "_second"))
    if both.empty:
        raise ReportError("comparison: no video was scored by both. Evaluate both on the same face dataset and split.")
    contradicted = both[both["is_fake"] != both["is_fake_second"]]
    if len(contradicted):
        name = contradicted["video"].iloc[0]
        raise ReportError(f"comparison: {name}: is REAL in one table and FAKE in the other. Correct the labels.")
    return both


def compare_predictions(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    thresholds: tuple[float, float],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Differences of every metric, first minus second, on the same resamples of groups (paired bootstrap).

    Args:
        first: Predictions of one detector, a row a video.
        second: Of the other. Only videos that both scored are compared.
        thresholds: Operating point of each.
        resamples: Bootstrap resamples behind each interval.
        seed: Same seed, same tables: same document.

    Returns:
        ``videos, groups``, a difference ``{"value", "low", "high"}`` for each of `COMPARED`, and ``delong`` (None where
        a class is absent).

    Raises:
        ReportError: The tables have nothing in common or contradict each other.
    """
    rows = paired_rows(first, second)
    is_fake, groups = rows["is_fake"].to_numpy(), rows["group"].to_numpy()
    scores = rows["fake_probability"].to_numpy(), rows["fake_probability_second"].to_numpy()

    def statistic(weights: FloatArray) -> FloatArray:
        one, two = (
            weighted_metrics(is_fake, score, weights, threshold=threshold)
            for score, threshold in zip(scores, thresholds, strict=True)
        )
        return one - two

    values = statistic(np.ones((1, len(rows))))[0]
    drawn = bootstrap_over_groups(groups, statistic, resamples=resamples, seed=seed) if resamples else None
    differences = {name: _difference(name, values, drawn, is_fake, groups) for name in COMPARED}
    return {"videos": len(rows), "groups": len(np.unique(groups)), **differences, "delong": _delong(is_fake, *scores)}


def _difference(
    name: str, values: FloatArray, drawn: FloatArray | None, is_fake: BoolArray, groups: npt.NDArray[Any]
) -> Estimate:
    column = METRIC_NAMES.index(name)
    needed = (is_fake, ~is_fake) if name in TWO_CLASS_METRICS else (np.ones(len(is_fake), bool),)
    has_interval = drawn is not None and enough_groups(groups, *needed)
    return estimate(values[column], drawn[:, column] if drawn is not None and has_interval else None)


def _delong(is_fake: BoolArray, first: FloatArray, second: FloatArray) -> dict[str, float | None] | None:
    if min(is_fake.sum(), (~is_fake).sum()) < 2:
        return None
    test = delong_test(is_fake, first, second)
    return {name: estimate(getattr(test, name), None)["value"] for name in DeLong.__slots__}


def rate_estimates(
    is_fake: BoolArray,
    fake_probability: FloatArray,
    groups: npt.NDArray[Any],
    *,
    threshold: float,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """What an operating point does: ``false_positive_rate``, ``true_positive_rate``, ``balanced_accuracy``."""
    called = fake_probability >= threshold

    def statistic(weights: FloatArray) -> FloatArray:
        false_positive_rate = ratio(weights @ (~is_fake & called), weights @ (~is_fake).astype(float))
        true_positive_rate = ratio(weights @ (is_fake & called), weights @ is_fake.astype(float))
        return np.column_stack(
            [false_positive_rate, true_positive_rate, (true_positive_rate + 1 - false_positive_rate) / 2]
        )

    values = statistic(np.ones((1, len(is_fake))))[0]
    drawn = bootstrap_over_groups(groups, statistic, resamples=resamples, seed=seed) if resamples else None
    needed = {
        "false_positive_rate": (~is_fake,),
        "true_positive_rate": (is_fake,),
        "balanced_accuracy": (is_fake, ~is_fake),
    }
    estimates: dict[str, Estimate] = {}
    for column, (name, parts) in enumerate(needed.items()):
        has_interval = drawn is not None and enough_groups(groups, *parts)
        estimates[name] = estimate(values[column], drawn[:, column] if drawn is not None and has_interval else None)
    return estimates
