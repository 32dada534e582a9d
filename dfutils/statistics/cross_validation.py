"""Cross-validation: scores of held-out rows, and measures that compare only scores of one fold, hence of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dfutils.statistics.bootstrap import DIFFERENCE, SHARE, Estimate, Statistic, bootstrap_estimates
from dfutils.statistics.estimates import BoolArray, FloatArray, class_weights_by_score, log_losses, ratio

MEASURES = ("auc", "balanced_accuracy", "log_loss")


def fit_logistic_regression(features: FloatArray, is_fake: npt.ArrayLike) -> Any:
    """Fit a logistic regression on standardised ``features (N, F)``, with both classes weighted equally."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    return model.fit(features, is_fake)


def cross_validated_scores(features: FloatArray, is_fake: BoolArray, folds: npt.NDArray[np.int_]) -> FloatArray:
    """Score each row ``(N,)`` by a logistic regression fitted on the other folds; higher means FAKE.

    Args:
        features: ``(N, F)``.
        is_fake: ``(N,)``.
        folds: ``(N,)`` fold in which each row is held out. Rows of one group belong in one fold.
    """
    scores = np.zeros(len(features))
    for fold in np.unique(folds):
        held_out = folds == fold
        model = fit_logistic_regression(features[~held_out], is_fake[~held_out])
        scores[held_out] = model.decision_function(features[held_out])
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class FoldScores:
    """Out-of-fold scores of N clips, one row for each of S repetitions of the cross-validation.

    Attributes:
        probability: ``(S, N)`` float64, calibrated fake probability.
        called_fake: ``(S, N)`` bool, whether the score reached the threshold of its fold.
        fold: ``(S, N)`` int, the fold in which the clip was tested.
    """

    probability: FloatArray
    called_fake: BoolArray
    fold: npt.NDArray[np.int_]


def measure(
    scores: FoldScores, is_fake: BoolArray, groups: Sequence[str], *, resamples: int = 2000
) -> dict[str, Estimate]:
    """Return each of `MEASURES`, averaged over repetitions, with its 95 % interval from a bootstrap over groups.

    A value or interval that does not exist is None; see `bootstrap_estimates`.

    Args:
        scores: Scores of N clips.
        is_fake: ``(N,)`` bool.
        groups: N names.
        resamples: Bootstrap resamples.
    """
    return _estimates(_statistic(scores, is_fake), is_fake, groups, within=SHARE, resamples=resamples)


def measure_difference(
    scores: FoldScores, baseline: FoldScores, is_fake: BoolArray, groups: Sequence[str], *, resamples: int = 2000
) -> dict[str, Estimate]:
    """Return ``scores`` minus ``baseline``, paired: both are measured on the same resamples of groups."""
    one, two = _statistic(scores, is_fake), _statistic(baseline, is_fake)
    return _estimates(
        lambda weights: one(weights) - two(weights), is_fake, groups, within=DIFFERENCE, resamples=resamples
    )


def auc_within_folds(
    is_fake: BoolArray, probability: FloatArray, fold: npt.NDArray[np.int_], weights: FloatArray
) -> FloatArray:
    """Return the share ``(B,)`` of (FAKE, REAL) pairs of the same fold in which the FAKE scores higher, over all folds.

    Scores of different folds come from different models. Comparing them would put even a constant below 0.5: a
    fold with many FAKE clips in its test part has few in training, so its model scores lower.

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
    statistic: Statistic,
    is_fake: BoolArray,
    groups: Sequence[str],
    *,
    within: tuple[float, float],
    resamples: int,
) -> dict[str, Estimate]:
    both = (is_fake, ~is_fake)
    needs: dict[str, Sequence[BoolArray]] = {"auc": both, "balanced_accuracy": both, "log_loss": ()}
    ranges = {"balanced_accuracy": within}
    found = bootstrap_estimates(groups, statistic, needs, ranges=ranges, resamples=resamples)
    return {
        name: {end: None if value is None else round(value, 4) for end, value in one.items()}
        for name, one in found.items()
    }


def _statistic(scores: FoldScores, is_fake: BoolArray) -> Statistic:
    def values(weights: FloatArray) -> FloatArray:
        repetitions = []
        for probability, called, fold in zip(scores.probability, scores.called_fake, scores.fold, strict=True):
            true_positive_rate = ratio(weights @ (is_fake & called), weights @ is_fake.astype(float))
            true_negative_rate = ratio(weights @ (~is_fake & ~called), weights @ (~is_fake).astype(float))
            repetitions.append(
                [
                    auc_within_folds(is_fake, probability, fold, weights),
                    (true_positive_rate + true_negative_rate) / 2,
                    weights @ log_losses(is_fake, probability) / weights.sum(axis=1),
                ]
            )
        return np.mean(repetitions, axis=0).T

    return values
