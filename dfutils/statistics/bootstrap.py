"""Intervals over groups: how much a number would vary on other videos of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.statistics.estimates import BoolArray, FloatArray, class_weights_by_score, weighted_auc

SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
"""Range of a share of rows, and of a difference of two such shares."""

_WEIGHTS_AT_ONCE = 2_000_000  # 16 MB of float64: large enough to be fast, small enough for any machine

Estimate: TypeAlias = dict[str, float | None]
"""``{"value", "low", "high"}``, None where one does not exist."""

Statistic: TypeAlias = Callable[[FloatArray], FloatArray]
"""Row weights ``(B, N)`` to values ``(B,)`` or ``(B, K)``; NaN where a value does not exist."""


def bootstrap_over_groups(
    groups: npt.ArrayLike, statistic: Statistic, *, resamples: int = 1000, seed: int = 0
) -> FloatArray:
    """Compute a statistic on resamples in which whole groups are drawn with replacement (the cluster bootstrap).

    Source: Davison and Hinkley, Bootstrap Methods and Their Application (1997), section 3.8.

    Args:
        groups: ``(N,)`` group of each row. Each resample draws as many groups as there are.
        statistic: Works on row weights, so that many resamples are computed at once.
        resamples: Number of resamples.
        seed: The same seed and groups give the same resamples, whatever the statistic.

    Returns:
        ``(resamples,)`` or ``(resamples, K)``.

    Example:
        >>> is_right = np.array([1.0, 1.0, 0.0])
        >>> accuracy = lambda weights: weights @ is_right / weights.sum(axis=1)
        >>> bootstrap_over_groups(["a", "a", "b"], accuracy, resamples=4).round(2).tolist()
        [0.67, 0.67, 0.0, 0.0]
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    shares = np.full(len(names), 1 / len(names))
    rng = np.random.default_rng(seed)
    step = max(1, _WEIGHTS_AT_ONCE // len(index))
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate(
        [statistic(rng.multinomial(len(names), shares, size=size).astype(float)[:, index]) for size in sizes]
    )


def bootstrap_estimates(
    groups: npt.ArrayLike,
    statistic: Statistic,
    needs: Mapping[str, Sequence[BoolArray]],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return each column of a statistic with its 95 % interval from a bootstrap over groups.

    A share that is the same in every group, such as 0 errors, is the same in every resample too, and a bootstrap would
    give it an interval of no width. It has the exact interval instead, with groups as the unit: see
    `most_unlike_groups`. For the mean of two shares, or their difference, the subset with the fewest groups counts,
    which is conservative.

    Args:
        groups: ``(N,)`` group of each row.
        statistic: Its columns are named by the keys of ``needs``, in order.
        needs: For each column the subsets of rows that it compares, as masks ``(N,)``. Without two groups in each
            subset (and in all rows) there is no interval: resamples would be alike and look far too certain.
        ranges: `SHARE` or `DIFFERENCE` for each column that is a share of the rows of its subset (of all rows without
            one), a mean of such shares, or a difference.
        resamples: Number of resamples; 0 gives values without intervals.
        seed: See `bootstrap_over_groups`.

    Example:
        >>> is_wrong = np.zeros(5)
        >>> error_rate = lambda weights: weights @ is_wrong / weights.sum(axis=1)
        >>> bootstrap_estimates(list("abcde"), error_rate, {"errors": ()}, ranges={"errors": SHARE})
        {'errors': {'value': 0.0, 'low': 0.0, 'high': 0.521824}}
    """
    names = np.asarray(groups)
    values = statistic(np.ones((1, len(names)))).ravel()
    drawn = None
    if resamples and len(np.unique(names)) >= 2:
        drawn = bootstrap_over_groups(names, statistic, resamples=resamples, seed=seed).reshape(resamples, -1)
    estimates = {}
    for column, (name, subsets) in enumerate(needs.items()):
        fewest = min(len(np.unique(names[subset])) for subset in subsets or [np.ones(len(names), bool)])
        found = estimate(values[column], drawn[:, column] if drawn is not None and fewest >= 2 else None)
        if ranges and name in ranges and found["value"] is not None and found["low"] == found["high"] == found["value"]:
            lowest, highest = ranges[name]
            value, unlike = found["value"], most_unlike_groups(fewest)
            ends = {"low": value + unlike * (lowest - value), "high": value + unlike * (highest - value)}
            found |= {end: round(at, 6) for end, at in ends.items()}
        estimates[name] = found
    return estimates


def most_unlike_groups(groups: int, *, error: float = 0.05) -> float:
    """Return the largest share of all groups that may be unlike the given number of groups, which are all alike.

    This is the upper end of the exact two-sided interval for 0 of n, ``1 - (error / 2) ** (1 / n)``. The unit is the
    group and not the video, because videos of one group are right or wrong together.

    Source: Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial"
    (1934), https://doi.org/10.1093/biomet/26.4.404.

    Args:
        groups: Number of groups, at least 1.
        error: Probability that the interval misses the true share.

    Example:
        >>> [round(most_unlike_groups(groups), 4) for groups in (5, 100)]
        [0.5218, 0.0362]
    """
    return float(1 - (error / 2) ** (1 / groups))


def auc_with_interval(
    is_fake: BoolArray, scores: FloatArray, groups: npt.ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the AUC and its 95 % interval from a bootstrap over groups; NaN where one does not exist.

    Args:
        is_fake: ``(N,)``.
        scores: ``(N,)`` of any range, higher for FAKE; ties count half.
        groups: ``(N,)``.
        resamples: Number of resamples.
        seed: See `bootstrap_over_groups`.
    """

    def auc(weights: FloatArray) -> FloatArray:
        return weighted_auc(*class_weights_by_score(is_fake, scores, weights))

    drawn = bootstrap_over_groups(groups, auc, resamples=resamples, seed=seed)
    return (float(auc(np.ones((1, len(scores))))[0]), *(percentile_interval(drawn) or (np.nan, np.nan)))


def estimate(value: float, drawn: FloatArray | None) -> Estimate:
    """Return a value with its 95 % percentile interval, rounded to 6 decimals: further digits depend on the machine.

    Args:
        value: NaN where it does not exist.
        drawn: The value in each resample; None if there can be no interval.
    """
    interval = None if drawn is None or np.isnan(value) else percentile_interval(drawn)
    ends = zip(("value", "low", "high"), (None if np.isnan(value) else value, *(interval or (None, None))), strict=True)
    return {name: None if end is None else round(float(end), 6) for name, end in ends}


def percentile_interval(values: FloatArray) -> tuple[float, float] | None:
    """Return the 2.5th and 97.5th percentile of the values that are not NaN; None if all are."""
    present = values[~np.isnan(values)]
    if not present.size:
        return None
    low, high = np.percentile(present, [2.5, 97.5])
    return float(low), float(high)
