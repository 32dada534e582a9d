"""Metrics of one table of predictions and paired differences of two, each with a 95 % interval.

Videos that share a source are right or wrong together, so the bootstrap draws whole groups: drawing single videos
would suggest more certainty than the data supports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dfutils.errors import ReportError
from dfutils.evaluation.predictions import Scores, answers_of, check_predictions
from dfutils.statistics.bootstrap import (
    DIFFERENCE,
    SHARE,
    Estimate,
    bootstrap_estimates,
    bootstrap_over_groups,
    estimate,
)
from dfutils.statistics.delong import DeLong, delong_test
from dfutils.statistics.estimates import (
    METRIC_NAMES,
    SHARE_METRICS,
    TWO_CLASS_METRICS,
    BoolArray,
    FloatArray,
    ratio,
    weighted_metrics,
)

INTERVALS = (
    "95 % percentile bootstrap over groups, or Clopper–Pearson over groups for a share that is the same in all of them"
)
COMPARED = ("auc", "average_precision", "balanced_accuracy", "accuracy", "log_loss", "brier", "ece")
COMPARED_ANSWERS = ("answered", "answer_accuracy")
ANSWER_METRICS = ("answered", "answer_accuracy", "real_called_fake", "fake_called_real", "fake_called_fake")
"""Share of the videos that are called REAL or FAKE; share of these answers that are right; share of the REAL videos
that are called FAKE; shares of the FAKE videos that are called REAL and FAKE."""


def compute_metrics(
    predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compute the content of ``metrics.json``.

    `ANSWER_METRICS` count all rows by the column ``label``: REAL, FAKE or UNDECIDED. Without that column every video
    with a score is answered by ``threshold``. The other metrics are computed on the scored rows, whose share is
    ``coverage``, with two classes: FAKE if ``fake_probability >= threshold``. Log loss clips scores at 1e-7 from 0 and
    1; ECE has 10 equal-width bins.
    A resample in which a metric does not exist (one class absent) is left out of that metric's interval. A share that
    is the same in all groups, such as 0, has an exact interval; see `bootstrap_estimates`.

    Args:
        predictions: One row per video with `PREDICTION_COLUMNS` and perhaps ``label``; a missing ``fake_probability``
            is NaN.
        threshold: Operating point, 0..1.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: The same seed and predictions give the same document.

    Returns:
        A JSON document, rounded to 6 decimals: each metric and ``coverage`` as ``{"value", "low", "high"}``, None where
        it does not exist, with ``reasons`` saying why; counts of all videos; ``confusion`` at 0.5 and at ``threshold``;
        counts, AUC and accuracy of each data set in ``datasets``.

    Raises:
        ReportError: The predictions are empty, ambiguous, or hold an impossible score.
        ValueError: ``threshold`` or ``resamples`` is out of range.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: must be in 0..1. Received: {threshold}")
    if resamples < 0:
        raise ValueError(f"resamples: must not be negative. Received: {resamples}")
    rows = check_predictions(predictions)
    scores = Scores.of(rows)
    metrics = estimate_metrics(scores, threshold=threshold, resamples=resamples, seed=seed)
    answers = estimate_answers(rows, threshold=threshold, resamples=resamples, seed=seed)
    is_scored = rows["fake_probability"].notna().to_numpy().astype(float)
    coverage = bootstrap_estimates(
        rows["group"].to_numpy(),
        lambda weights: weights @ is_scored / weights.sum(axis=1),
        {"coverage": ()},
        ranges={"coverage": SHARE},
        resamples=resamples,
        seed=seed,
    )
    one_class_resamples = 0
    if resamples and len(np.unique(scores.groups)) >= 2:
        has_both = bootstrap_over_groups(
            scores.groups,
            lambda weights: ((weights @ scores.is_fake > 0) & (weights @ ~scores.is_fake > 0)).astype(float),
            resamples=resamples,
            seed=seed,
        )
        one_class_resamples = int(resamples - has_both.sum())
    datasets = []
    for name, part in rows.groupby("dataset", sort=True):
        own = dict.fromkeys(("auc", "accuracy"), estimate(np.nan, None))
        if part["fake_probability"].notna().any():
            own = estimate_metrics(Scores.of(part), threshold=threshold, resamples=resamples, seed=seed)
        datasets.append({"dataset": str(name), **_counts(part), "auc": own["auc"], "accuracy": own["accuracy"]})
    return {
        **answers,
        **metrics,
        **coverage,
        "threshold": float(threshold),
        **_counts(rows),
        "confusion": {"at_half": _confusion(scores, 0.5), "at_threshold": _confusion(scores, threshold)},
        "resamples": resamples,
        "one_class_resamples": one_class_resamples,
        "intervals": INTERVALS,
        "reasons": _reasons(scores, metrics | answers),
        "datasets": datasets,
    }


def estimate_metrics(scores: Scores, *, threshold: float, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return each of `METRIC_NAMES` with its interval."""

    def statistic(weights: FloatArray) -> FloatArray:
        return weighted_metrics(scores.is_fake, scores.fake_probability, weights, threshold=threshold)

    needs = _needs(scores.is_fake, scores.fake_probability >= threshold)
    ranges = dict.fromkeys(SHARE_METRICS, SHARE)
    return bootstrap_estimates(scores.groups, statistic, needs, ranges=ranges, resamples=resamples, seed=seed)


def estimate_answers(
    predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return each of `ANSWER_METRICS` with its interval; see `compute_metrics`."""
    is_fake = predictions["is_fake"].to_numpy(bool)
    called = answers_of(predictions, threshold=threshold)
    is_answered = called != "UNDECIDED"

    def statistic(weights: FloatArray) -> FloatArray:
        return answer_shares(is_fake, called, weights)

    needs = dict(zip(ANSWER_METRICS, ((), (is_answered,), (~is_fake,), (is_fake,), (is_fake,)), strict=True))
    groups, ranges = predictions["group"].to_numpy(), dict.fromkeys(ANSWER_METRICS, SHARE)
    return bootstrap_estimates(groups, statistic, needs, ranges=ranges, resamples=resamples, seed=seed)


def answer_shares(is_fake: BoolArray, called: npt.NDArray[np.str_], weights: FloatArray) -> FloatArray:
    """Return `ANSWER_METRICS` ``(B, 5)`` for row weights ``(B, N)``."""
    called_fake, called_real = called == "FAKE", called == "REAL"
    real, fake = weights * ~is_fake, weights * is_fake
    reals, fakes = real.sum(axis=1), fake.sum(axis=1)
    answered = weights @ (called_fake | called_real)
    return np.column_stack(
        [
            ratio(answered, reals + fakes),
            ratio(real @ called_real + fake @ called_fake, answered),
            ratio(real @ called_fake, reals),
            ratio(fake @ called_real, fakes),
            ratio(fake @ called_fake, fakes),
        ]
    )


def estimate_rates(scores: Scores, *, threshold: float, resamples: int = 1000) -> dict[str, Estimate]:
    """Return ``false_positive_rate``, ``true_positive_rate`` and ``balanced_accuracy`` at a threshold."""
    is_fake, called_fake = scores.is_fake, scores.fake_probability >= threshold

    def statistic(weights: FloatArray) -> FloatArray:
        false_positive_rate = ratio(weights @ (~is_fake & called_fake), weights @ (~is_fake).astype(float))
        true_positive_rate = ratio(weights @ (is_fake & called_fake), weights @ is_fake.astype(float))
        balanced_accuracy = (true_positive_rate + 1 - false_positive_rate) / 2
        return np.column_stack([false_positive_rate, true_positive_rate, balanced_accuracy])

    needs = {
        "false_positive_rate": (~is_fake,),
        "true_positive_rate": (is_fake,),
        "balanced_accuracy": (is_fake, ~is_fake),
    }
    ranges = dict.fromkeys(needs, SHARE)
    return bootstrap_estimates(scores.groups, statistic, needs, ranges=ranges, resamples=resamples)


def compare_predictions(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    thresholds: tuple[float, float],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the differences of metrics, first minus second, measured on the same resamples of groups (paired).

    Args:
        first: Predictions of one detector, one row per video.
        second: Predictions of the other. Only videos that both scored are compared.
        thresholds: Operating point of each.
        resamples: Bootstrap resamples.
        seed: The same seed and tables give the same document.

    Returns:
        ``videos, groups``, a difference ``{"value", "low", "high"}`` for each of `COMPARED` and `COMPARED_ANSWERS`, and
        ``delong`` (None if a class has fewer than two videos).

    Raises:
        ReportError: The tables have nothing in common or contradict each other.
    """
    left, right = (
        rows.assign(answer=answers_of(rows, threshold=threshold)).dropna(subset=["fake_probability"])
        for rows, threshold in zip(map(check_predictions, (first, second)), thresholds, strict=True)
    )
    rows = left.merge(right, on=["dataset", "video"], suffixes=("", "_second"))
    if rows.empty:
        raise ReportError("comparison: no video was scored by both. Evaluate both on the same face dataset and split.")
    contradicted = rows[rows["is_fake"] != rows["is_fake_second"]]
    if len(contradicted):
        name = contradicted["video"].iloc[0]
        raise ReportError(f"comparison: {name}: is REAL in one table and FAKE in the other. Correct the labels.")
    is_fake, groups = rows["is_fake"].to_numpy(), rows["group"].to_numpy()
    scores = rows["fake_probability"].to_numpy(), rows["fake_probability_second"].to_numpy()
    answers = rows["answer"].to_numpy(str), rows["answer_second"].to_numpy(str)

    def statistic(weights: FloatArray) -> FloatArray:
        one, two = (
            np.column_stack(
                [
                    weighted_metrics(is_fake, score, weights, threshold=threshold),
                    answer_shares(is_fake, called, weights)[:, : len(COMPARED_ANSWERS)],
                ]
            )
            for score, called, threshold in zip(scores, answers, thresholds, strict=True)
        )
        return one - two

    is_answered = [called != "UNDECIDED" for called in answers]
    called_fake = (score >= threshold for score, threshold in zip(scores, thresholds, strict=True))
    needs = {**_needs(is_fake, *called_fake), "answered": (), "answer_accuracy": is_answered}
    ranges = dict.fromkeys((*SHARE_METRICS, *COMPARED_ANSWERS), DIFFERENCE)
    differences = bootstrap_estimates(groups, statistic, needs, ranges=ranges, resamples=resamples, seed=seed)
    delong = None
    if min(is_fake.sum(), (~is_fake).sum()) >= 2:
        test = delong_test(is_fake, *scores)
        delong = {name: estimate(getattr(test, name), None)["value"] for name in DeLong.__slots__}
    return {
        "videos": len(rows),
        "groups": len(np.unique(groups)),
        **{name: differences[name] for name in (*COMPARED, *COMPARED_ANSWERS)},
        "delong": delong,
    }


def _needs(is_fake: BoolArray, *called_fake: BoolArray) -> dict[str, Sequence[BoolArray]]:
    """Return the subsets of rows of each of `METRIC_NAMES`, for one detector or the difference of two."""
    needs: dict[str, Sequence[BoolArray]] = dict.fromkeys(METRIC_NAMES, ())
    needs |= dict.fromkeys(TWO_CLASS_METRICS, (is_fake, ~is_fake))
    return {**needs, "recall": (is_fake,), "precision": called_fake}


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {
        "videos": len(rows),
        "groups": int(rows["group"].nunique()),
        "real": int((~rows["is_fake"]).sum()),
        "fake": int(rows["is_fake"].sum()),
        "unscored": int(rows["fake_probability"].isna().sum()),
    }


def _confusion(scores: Scores, threshold: float) -> dict[str, float | int]:
    called_fake = scores.fake_probability >= threshold
    return {
        "threshold": float(threshold),
        "real_called_real": int((~scores.is_fake & ~called_fake).sum()),
        "real_called_fake": int((~scores.is_fake & called_fake).sum()),
        "fake_called_real": int((scores.is_fake & ~called_fake).sum()),
        "fake_called_fake": int((scores.is_fake & called_fake).sum()),
    }


def _reasons(scores: Scores, metrics: dict[str, Estimate]) -> dict[str, str]:
    fakes = int(scores.is_fake.sum())
    counts = f"{len(scores.is_fake) - fakes} REAL and {fakes} FAKE videos were scored"
    reasons = {}
    for name, found in metrics.items():
        if found["value"] is None and name in TWO_CLASS_METRICS:
            reasons[name] = f"Needs both classes: {counts}."
        elif found["value"] is None:
            reasons[name] = f"Not defined here, because its denominator is 0: {counts}."
        elif found["low"] is None:
            reasons[name] = "No interval: it needs at least 2 groups with such videos, of each class where both matter."
    return reasons
