"""How much a number would vary with other videos: the bootstrap over groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.statistics.estimates import FloatArray

_WEIGHTS_AT_ONCE = 2_000_000  # 16 MB of float64: large enough to be fast, small enough for any machine

Estimate: TypeAlias = dict[str, float | None]
"""``{"value", "low", "high"}``, None where one does not exist."""

Statistic: TypeAlias = Callable[[FloatArray], FloatArray]
"""Row weights ``(B, N)`` to values ``(B,)`` or ``(B, K)``; NaN where a value does not exist."""


def bootstrap_over_groups(
    groups: npt.ArrayLike, statistic: Statistic, *, resamples: int = 1000, seed: int = 0
) -> FloatArray:
    """Values of a statistic when whole groups are drawn with replacement (the cluster bootstrap).

    Source: Davison and Hinkley, Bootstrap Methods and Their Application (1997), section 3.8.

    Args:
        groups: ``(N,)`` group of each row; as many groups are drawn as there are.
        statistic: Works on row weights, so that many resamples are computed at once.
        resamples: How often to draw.
        seed: Same seed, same groups: same draws, whatever the statistic.

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


def estimate(value: float, drawn: FloatArray | None) -> Estimate:
    """A value with its 95 % percentile interval, as every document has it; the last bits depend on the machine.

    Args:
        value: NaN where it does not exist.
        drawn: The same of each resample; None where there can be no interval.
    """
    interval = None if drawn is None or np.isnan(value) else percentile_interval(drawn)
    ends = zip(("value", "low", "high"), (None if np.isnan(value) else value, *(interval or (None, None))), strict=True)
    return {name: None if end is None else round(float(end), 6) for name, end in ends}


def enough_groups(groups: npt.NDArray[Any], *parts: npt.NDArray[np.bool_]) -> bool:
    """Whether resamples differ in each of the parts that a number needs: one group would be drawn unchanged."""
    return all(len(np.unique(groups[part])) >= 2 for part in parts)


def percentile_interval(values: FloatArray) -> tuple[float, float] | None:
    """The 2.5th and 97.5th percentile of what is not NaN; None where nothing is left."""
    present = values[~np.isnan(values)]
    if not present.size:
        return None
    low, high = np.percentile(present, [2.5, 97.5])
    return float(low), float(high)
