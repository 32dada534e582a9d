"""Thresholds whose error rate on new groups is bounded, whatever the scores look like: split-conformal prediction.

Source: Lee, Barber and Willett, "Distribution-free inference with hierarchical data" (2023),
https://arxiv.org/abs/2306.06342. Videos of one person or source are alike, so groups are exchangeable and videos are
not: every calibration group counts once, however many videos it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class BoundedScore:
    """A score that few new videos exceed.

    Attributes:
        score: One of the calibration scores.
        bound: A random video of a new group scores above `score` with at most this probability, on average over
            calibration sets, provided that its group is exchangeable with the calibration groups.
    """

    score: float
    bound: float


_ROUNDING = 1e-9
"""Keeps a rate such as 0.1 from needing one more group because 10 * 0.1 could be a little below 1."""


def fewest_groups(max_rate: float) -> int:
    """Return from how many groups on `score_seldom_exceeded` can keep this rate.

    Example:
        >>> fewest_groups(0.01), fewest_groups(0.03)
        (99, 33)
    """
    return math.ceil((1 - _ROUNDING) / max_rate) - 1


def score_seldom_exceeded(
    scores: npt.NDArray[np.floating], groups: npt.NDArray[Any], *, max_rate: float
) -> BoundedScore:
    """Return the lowest calibration score that a video of a new group exceeds with a probability of at most max_rate.

    Args:
        scores: ``(N,)``, at least one.
        groups: ``(N,)`` group of each score.
        max_rate: Between 0 and 1. With n groups no rate below 1 / (n + 1) can be promised (`fewest_groups`): then the
            highest score is returned, with that bound.

    Raises:
        ValueError: There are no scores, or ``max_rate`` is not between 0 and 1.

    Example:
        >>> score_seldom_exceeded(np.array([0.1, 0.2, 0.3, 0.9]), np.array(list("abcd")), max_rate=0.4)
        BoundedScore(score=0.3, bound=0.4)
        >>> score_seldom_exceeded(np.array([0.1, 0.2, 0.3, 0.9]), np.array(list("abcd")), max_rate=0.03)
        BoundedScore(score=0.9, bound=0.2)
    """
    if not len(scores):
        raise ValueError("scores: at least one is needed.")
    if not 0 < max_rate < 1:
        raise ValueError(f"max_rate: must be between 0 and 1. Received: {max_rate}")
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(-scores, kind="stable")
    ascending = scores[order][::-1]
    # Groups above a score, each group in parts if only some of its videos are; the new group counts as one above.
    above = np.r_[0.0, np.cumsum(1 / sizes[index][order])]
    allowed = max_rate * (len(sizes) + 1) - 1 + _ROUNDING
    number = int(np.searchsorted(above, allowed, side="right")) - 1  # how many scores may be above
    if number < 0:
        return BoundedScore(float(ascending[-1]), 1 / (len(sizes) + 1))
    return BoundedScore(float(ascending[::-1][min(number, len(scores) - 1)]), max_rate)
