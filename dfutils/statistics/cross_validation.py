"""Cross-validated scores measured: each fold has a model of its own, so only clips of one fold are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.statistics.bootstrap import Statistic, bootstrap_over_groups, percentile_interval
from dfutils.statistics.estimates import (
    TWO_CLASS_METRICS,
    BoolArray,
    FloatArray,
    class_weights_by_score,
    log_losses,
    ratio,
)

Estimate: TypeAlias = dict[str, float | None]

MEASURES = ("auc", "balanced_accuracy", "log_loss")


@dataclass(frozen=True, slots=True, eq=False)
class FoldScores:
    """Out-of-fold scores of N clips, a row for each of S repetitions of the cross-validation.

    Attributes:
        probability: ``(S, N)`` float64, calibrated fake probability.
        called_fake: ``(S, N)`` bool, whether it reached the operating point of its fold.
        fold: ``(S, N)`` int, number of the fold in which the clip was tested.
    """

    probability: FloatArray
    called_fake: BoolArray
    fold: npt.NDArray[np.int_]


def measure(
    scores: FoldScores, is_fake: BoolArray, groups: Sequence[str], *, resamples: int = 2000
) -> dict[str, Estimate]:
    """Each of `MEASURES`, averaged over repetitions, as ``{"value", "low", "high"}``.

    Intervals are 95 % percentiles of a bootstrap over groups. A value or an interval that does not exist is None: an
    interval needs two groups, of each label where both matter, or resamples would come out alike and look certain.

    Args:
        scores: Of N clips.
        is_fake: ``(N,)`` bool.
        groups: N names.
        resamples: Bootstrap resamples behind each interval.
    """
    return _estimates(_statistic(scores, is_fake), is_fake, groups, resamples=resamples)


def measure_difference(
    scores: FoldScores, baseline: FoldScores, is_fake: BoolArray, groups: Sequence[str], *, resamples: int = 2000
) -> dict[str, Estimate]:
    """The same for ``scores`` minus ``baseline``, on the same resamples of groups (paired)."""
    one, two = _statistic(scores, is_fake), _statistic(baseline, is_fake)
    return _estimates(lambda weights: one(weights) - two(weights), is_fake, groups, resamples=resamples)


def auc_within_folds(
    is_fake: BoolArray, probability: FloatArray, fold: npt.NDArray[np.int_], weights: FloatArray
) -> FloatArray:
    """Share of (FAKE, REAL) pairs of one fold in which the FAKE scores higher, over the pairs of all folds. ``(B,)``.

    Scores of different folds come from different models. Comparing them puts even a constant below 0.5: a fold with
    many FAKE clips in its test part has few in training.

    Args:
        is_fake: ``(N,)``.
        probability: ``(N,)``.
        fold: ``(N,)``.
        weights: ``(B, N)``, as in `dfutils.statistics.estimates`.
    """
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for number in np.unique(fold):
        inside = fold == number
        fakes, reals = class_weights_by_score(is_fake[inside], probability[inside], weights[:, inside])
        reals_below = np.cumsum(reals, axis=1) - reals / 2
        right += (fakes * reals_below).sum(axis=1)
        pairs += fakes.sum(axis=1) * reals.sum(axis=1)
    return ratio(right, pairs)


def _estimates(
    statistic: Statistic, is_fake: BoolArray, groups: Sequence[str], *, resamples: int
) -> dict[str, Estimate]:
    names = np.asarray(groups)
    values = statistic(np.ones((1, len(is_fake))))[0]
    drawn = bootstrap_over_groups(names, statistic, resamples=resamples)
    of_each_label = min(len(np.unique(names[label])) for label in (is_fake, ~is_fake))
    enough = {name: (of_each_label if name in TWO_CLASS_METRICS else len(np.unique(names))) >= 2 for name in MEASURES}
    return {
        name: _estimate(values[k], drawn[:, k] if enough[name] else np.array([])) for k, name in enumerate(MEASURES)
    }


def _statistic(scores: FoldScores, is_fake: BoolArray) -> Statistic:
    def values(weights: FloatArray) -> FloatArray:
        repetitions = zip(scores.probability, scores.called_fake, scores.fold, strict=True)
        return np.mean([_one_repetition(is_fake, *one, weights) for one in repetitions], axis=0)

    return values


def _one_repetition(
    is_fake: BoolArray, probability: FloatArray, called: BoolArray, fold: npt.NDArray[np.int_], weights: FloatArray
) -> FloatArray:
    auc = auc_within_folds(is_fake, probability, fold, weights)
    found = ratio(weights @ (is_fake & called), weights @ is_fake.astype(float))
    cleared = ratio(weights @ (~is_fake & ~called), weights @ (~is_fake).astype(float))
    losses = weights @ log_losses(is_fake, probability) / weights.sum(axis=1)
    return np.column_stack([auc, (found + cleared) / 2, losses])


def _estimate(value: float, drawn: FloatArray) -> Estimate:
    low, high = percentile_interval(drawn) or (None, None)
    return {"value": _rounded(value), "low": _rounded(low), "high": _rounded(high)}


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 4)
