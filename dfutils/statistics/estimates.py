"""Metrics of weighted videos, computed for many weightings at once, which makes a bootstrap over groups fast.

``is_fake`` is ``(N,)`` bool, ``fake_probability`` ``(N,)`` float in 0..1 with 1 = FAKE, ``weights`` ``(B, N)`` float:
how often each of N videos was drawn in each of B resamples. A value that does not exist is NaN. A video is called FAKE
where ``fake_probability >= threshold``.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from dfutils.errors import ReportError

FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

LOG_LOSS_CLIP = 1e-7
TWO_CLASS_METRICS = ("balanced_accuracy", "auc", "average_precision")
SHARE_METRICS = ("accuracy", "balanced_accuracy", "precision", "recall")
"""Those of `METRIC_NAMES` that are a share of rows, or the mean of two such shares."""
METRIC_NAMES = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "auc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
)


def weighted_metrics(
    is_fake: BoolArray, fake_probability: FloatArray, weights: FloatArray, *, threshold: float
) -> FloatArray:
    """Return all of `METRIC_NAMES`, in that order, as ``(B, 10)``."""
    called_fake = fake_probability >= threshold
    true_positives = weights @ (is_fake & called_fake).astype(float)
    false_negatives = weights @ (is_fake & ~called_fake).astype(float)
    false_positives = weights @ (~is_fake & called_fake).astype(float)
    true_negatives = weights @ (~is_fake & ~called_fake).astype(float)
    fakes, reals = class_weights_by_score(is_fake, fake_probability, weights)
    total = weights.sum(axis=1)
    recall = ratio(true_positives, true_positives + false_negatives)
    values = {
        "accuracy": (true_positives + true_negatives) / total,
        "balanced_accuracy": (recall + ratio(true_negatives, true_negatives + false_positives)) / 2,
        "precision": ratio(true_positives, true_positives + false_positives),
        "recall": recall,
        "f1": ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
        "auc": weighted_auc(fakes, reals),
        "average_precision": weighted_average_precision(fakes, reals),
        "log_loss": weights @ log_losses(is_fake, fake_probability) / total,
        "brier": weights @ (fake_probability - is_fake) ** 2 / total,
        "ece": weighted_calibration_error(is_fake, fake_probability, weights, bins=10),
    }
    return np.column_stack([values[name] for name in METRIC_NAMES])


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def class_weights_by_score(
    is_fake: BoolArray, fake_probability: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Sum the weights of fakes and of reals at each distinct score, lowest first: two arrays ``(B, levels)``."""
    order = np.argsort(fake_probability, kind="stable")
    scores = fake_probability[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    ordered = weights[:, order]
    fakes = np.add.reduceat(ordered * is_fake[order], starts, axis=1)
    return fakes, np.add.reduceat(ordered, starts, axis=1) - fakes


def weighted_auc(fakes: FloatArray, reals: FloatArray) -> FloatArray:
    """Return the AUC ``(B,)``: the share of (fake, real) pairs in which the fake scores higher; ties count half.

    Args:
        fakes: From `class_weights_by_score`.
        reals: From `class_weights_by_score`.
    """
    reals_below = np.cumsum(reals, axis=1) - reals / 2
    return ratio((fakes * reals_below).sum(axis=1), fakes.sum(axis=1) * reals.sum(axis=1))


def weighted_average_precision(fakes: FloatArray, reals: FloatArray) -> FloatArray:
    """Average the precision ``(B,)`` over the fakes without interpolation, as scikit-learn does; NaN with one class."""
    found = np.cumsum(fakes[:, ::-1], axis=1)
    called = np.cumsum((fakes + reals)[:, ::-1], axis=1)
    precision = np.nan_to_num(ratio(found, called))
    average = ratio((fakes[:, ::-1] * precision).sum(axis=1), fakes.sum(axis=1))
    return np.where(reals.sum(axis=1) > 0, average, np.nan)


def weighted_roc(fakes: FloatArray, reals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the false and the true positive rate ``(B, levels + 1)`` as the threshold falls below each score.

    Both begin with 0, where nothing is called FAKE, and are NaN with one class.
    """
    called = (np.cumsum(np.pad(weights[:, ::-1], ((0, 0), (1, 0))), axis=1) for weights in (reals, fakes))
    false_positives, true_positives = (ratio(count, np.broadcast_to(count[:, -1:], count.shape)) for count in called)
    return false_positives, true_positives


def equal_error_rate(false_positive_rate: FloatArray, true_positive_rate: FloatArray) -> FloatArray:
    """Return the error ``(B,)`` where as many reals are called FAKE as fakes are missed; NaN with one class.

    Between two scores the ROC curve is a straight line, so that the two rates meet exactly.

    Args:
        false_positive_rate: From `weighted_roc`.
        true_positive_rate: From `weighted_roc`.
    """
    excess = false_positive_rate + true_positive_rate - 1  # of false positives over missed fakes, from -1 to 1
    after = np.maximum(np.argmax(excess >= 0, axis=1), 1)[:, None]
    start, end = (np.take_along_axis(excess, index, axis=1)[:, 0] for index in (after - 1, after))
    low, high = (np.take_along_axis(false_positive_rate, index, axis=1)[:, 0] for index in (after - 1, after))
    return low - start * ratio(high - low, end - start)


def true_positive_rate_at(
    false_positive_rate: FloatArray, true_positive_rate: FloatArray, *, allowed: float
) -> FloatArray:
    """Return the largest true positive rate ``(B,)`` whose false positive rate is allowed; NaN with one class.

    Nothing is interpolated: with fewer than 100 reals, a rate of 0.01 allows none of them to be called FAKE.
    """
    most = np.where(false_positive_rate <= allowed, true_positive_rate, 0).max(axis=1)
    return np.where(np.isnan(false_positive_rate[:, 0] + true_positive_rate[:, 0]), np.nan, most)


def log_losses(is_fake: BoolArray, fake_probability: FloatArray) -> FloatArray:
    """Return the negative log of the probability given to the true class, ``(N,)``; clipped at `LOG_LOSS_CLIP`."""
    clipped = np.clip(fake_probability, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return -np.log(np.where(is_fake, clipped, 1 - clipped))


def bin_membership(fake_probability: FloatArray, bins: int) -> FloatArray:
    """Return ``(N, bins)``, 1 where a score lies in a bin; a score on an inner edge belongs to the bin above it."""
    index = np.minimum((fake_probability * bins).astype(int), bins - 1)
    return np.eye(bins)[index]


def weighted_calibration_error(
    is_fake: BoolArray, fake_probability: FloatArray, weights: FloatArray, *, bins: int
) -> FloatArray:
    """Return the expected calibration error ``(B,)``, as defined by `expected_calibration_error`."""
    # count × |mean score − share of fakes| is |sum of (score − is_fake)|: one product instead of two means per bin.
    gaps = weights @ (bin_membership(fake_probability, bins) * (fake_probability - is_fake)[:, None])
    return np.abs(gaps).sum(axis=1) / weights.sum(axis=1)


def auc_score(is_fake: npt.ArrayLike, fake_probability: npt.ArrayLike) -> float:
    """Return the area under the ROC curve; ties count half.

    Raises:
        ReportError: One class is absent.

    Example:
        >>> auc_score([True, True, False, False], [0.9, 0.4, 0.4, 0.1])
        0.875
    """
    labels, scores = _label_and_score_arrays(is_fake, fake_probability)
    value = weighted_auc(*class_weights_by_score(labels, scores, np.ones((1, len(labels)))))[0]
    if np.isnan(value):
        raise ReportError(f"AUC: needs REAL and FAKE videos ({len(labels)} of one class). Add the other class.")
    return float(value)


def expected_calibration_error(is_fake: npt.ArrayLike, fake_probability: npt.ArrayLike, bins: int = 10) -> float:
    """Return the mean over videos of ``|mean predicted fake probability − share of fakes|`` of their bin.

    Bins have equal width over 0..1. Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities
    Using Bayesian Binning" (2015); Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (2017).
    They compare confidence with accuracy; with two classes and one score, this is the usual form. It cannot be
    negative and therefore overstates the error of few videos.

    Example:
        >>> round(expected_calibration_error([True, False, True, True], [0.55, 0.55, 0.95, 0.95]), 3)
        0.05
    """
    labels, scores = _label_and_score_arrays(is_fake, fake_probability)
    return float(weighted_calibration_error(labels, scores, np.ones((1, len(labels))), bins=_checked_bins(bins))[0])


def reliability_table(is_fake: npt.ArrayLike, fake_probability: npt.ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Return the rows of a reliability diagram: one per bin of equal width.

    The interval is Wilson's (1927) 95 % interval for a share, which treats videos as independent.

    Returns:
        Columns ``low, high`` (edges; the upper one belongs to the next bin), ``count, mean_probability, fake_share,
        fake_share_low, fake_share_high``; NaN in an empty bin.
    """
    labels, scores = _label_and_score_arrays(is_fake, fake_probability)
    membership = bin_membership(scores, _checked_bins(bins))
    counts = membership.sum(axis=0)
    share = ratio(labels @ membership, counts)
    z = 1.959963984540054  # for Wilson's 95 % interval of the share
    shrink = ratio(counts, counts + z**2)
    center = shrink * (share + ratio(np.full(counts.shape, z**2 / 2), counts))
    spread = (
        shrink * z * np.sqrt(ratio(share * (1 - share), counts) + ratio(np.full(counts.shape, z**2 / 4), counts**2))
    )
    return pd.DataFrame(
        {
            "low": np.arange(bins) / bins,
            "high": np.arange(1, bins + 1) / bins,
            "count": counts.astype(int),
            "mean_probability": ratio(scores @ membership, counts),
            "fake_share": share,
            "fake_share_low": np.clip(center - spread, 0, 1),
            "fake_share_high": np.clip(center + spread, 0, 1),
        }
    )


def _label_and_score_arrays(is_fake: npt.ArrayLike, fake_probability: npt.ArrayLike) -> tuple[BoolArray, FloatArray]:
    labels, scores = np.asarray(is_fake, bool), np.asarray(fake_probability, float)
    if labels.ndim != 1 or labels.shape != scores.shape or not labels.size:
        raise ValueError(
            f"is_fake and fake_probability: must have the same length N > 0. Received: {labels.shape}, {scores.shape}"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ReportError("fake_probability: must be in 0..1, without NaN. Leave out videos without a score.")
    return labels, scores


def _checked_bins(bins: int) -> int:
    if bins < 1:
        raise ValueError(f"bins: must be at least 1. Received: {bins}")
    return bins
