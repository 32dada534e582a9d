"""DeLong's test of the AUCs of two scores of the same videos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfutils.errors import ReportError
from dfutils.statistics.estimates import FloatArray

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class DeLong:
    """Result of `delong_test`; ``p_value`` is NaN if the difference has no spread."""

    auc_first: float
    auc_second: float
    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float


def delong_test(is_fake: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> DeLong:
    """Compare the AUCs of two scores of the same videos, assuming that videos are independent of each other.

    DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
    Characteristic Curves: A Nonparametric Approach" (1988). Where videos share a source, trust the bootstrap over
    groups of `dfutils.evaluation.metrics.compare_predictions` instead.

    Args:
        is_fake: ``(N,)`` bool.
        first: ``(N,)`` scores, higher for FAKE.
        second: ``(N,)`` scores of the other detector.

    Raises:
        ReportError: There are fewer than two videos of a class, or a score is not finite.

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
    """Return the share of the other class below each score, ties counted half: DeLong's structural components."""
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, own, "left"), np.searchsorted(ordered, own, "right")
    return (below + up_to) / 2 / len(ordered)
