"""Numbers that say how good a detector is, each with an interval that respects groups.

Videos that share a source stand or fall together, so that the bootstrap draws whole groups: drawing single videos
would promise more certainty than the data holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dfutils.evaluation.predictions import Scores, check_predictions
from dfutils.statistics.bootstrap import (
    Estimate,
    Statistic,
    bootstrap_over_groups,
    enough_groups,
    estimate,
)
from dfutils.statistics.estimates import (
    METRIC_NAMES,
    TWO_CLASS_METRICS,
    FloatArray,
    weighted_metrics,
)

INTERVALS = "95 % percentile bootstrap over groups"


def compute_metrics(
    predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Everything ``metrics.json`` holds.

    Metrics are computed on the scored rows; ``coverage`` says how many these are. A video is called FAKE where
    ``fake_probability >= threshold``. Log loss clips scores at 1e-7 from 0 and 1; ECE has 10 equal-width bins.
    A resample in which a metric does not exist (one class absent) is left out of that metric's interval.

    Args:
        predictions: A row a video with `PREDICTION_COLUMNS`; ``fake_probability`` is NaN where there is no score.
        threshold: Operating point, 0..1.
        resamples: Bootstrap resamples; 0 leaves the intervals out.
        seed: Same seed, same predictions: same document.

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
    metrics, left_out = estimate_metrics(scores, threshold=threshold, resamples=resamples, seed=seed)
    return {
        **metrics,
        "coverage": _estimate_coverage(rows, resamples=resamples, seed=seed),
        "threshold": float(threshold),
        **_counts(rows),
        "confusion": {"at_half": _confusion(scores, 0.5), "at_threshold": _confusion(scores, threshold)},
        "resamples": resamples,
        "one_class_resamples": left_out,
        "intervals": INTERVALS,
        "reasons": _reasons(scores, metrics),
        "datasets": [
            _dataset_summary(str(name), part, threshold=threshold, resamples=resamples, seed=seed)
            for name, part in rows.groupby("dataset", sort=True)
        ],
    }


def estimate_metrics(scores: Scores, *, threshold: float, resamples: int, seed: int) -> tuple[dict[str, Estimate], int]:
    """Each of `METRIC_NAMES` with its interval, and how many resamples held one class only."""

    def statistic(weights: FloatArray) -> FloatArray:
        return weighted_metrics(scores.is_fake, scores.fake_probability, weights, threshold=threshold)

    values = statistic(np.ones((1, len(scores.is_fake))))[0]
    drawn = _draw(scores.groups, statistic, resamples=resamples, seed=seed)
    estimates = {
        name: estimate(values[column], None if drawn is None or _too_few_groups(name, scores) else drawn[:, column])
        for column, name in enumerate(METRIC_NAMES)
    }
    left_out = 0 if drawn is None else int(np.isnan(drawn[:, METRIC_NAMES.index("auc")]).sum())
    return estimates, left_out


def _estimate_coverage(rows: pd.DataFrame, *, resamples: int, seed: int) -> Estimate:
    is_scored = rows["fake_probability"].notna().to_numpy().astype(float)
    groups = rows["group"].to_numpy()
    drawn = _draw(groups, lambda weights: weights @ is_scored / weights.sum(axis=1), resamples=resamples, seed=seed)
    return estimate(is_scored.mean(), drawn)


def _draw(groups: npt.NDArray[Any], statistic: Statistic, *, resamples: int, seed: int) -> FloatArray | None:
    if resamples == 0 or len(np.unique(groups)) < 2:
        return None
    return bootstrap_over_groups(groups, statistic, resamples=resamples, seed=seed)


def _too_few_groups(name: str, scores: Scores) -> bool:
    # With all fakes in one group, resamples would hold them unchanged and the interval would look far too certain.
    return name in TWO_CLASS_METRICS and not enough_groups(scores.groups, scores.is_fake, ~scores.is_fake)


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
        if found["value"] is None:
            reasons[name] = f"It does not exist here: {counts}, and none for its denominator."
            if name in TWO_CLASS_METRICS:
                reasons[name] = f"It needs both classes: {counts}."
        elif found["low"] is None:
            reasons[name] = "No interval: it needs resamples of at least 2 groups, for each class where both matter."
    return reasons


def _dataset_summary(name: str, rows: pd.DataFrame, *, threshold: float, resamples: int, seed: int) -> dict[str, Any]:
    metrics = dict.fromkeys(("auc", "accuracy"), estimate(np.nan, None))
    if rows["fake_probability"].notna().any():
        metrics, _ = estimate_metrics(Scores.of(rows), threshold=threshold, resamples=resamples, seed=seed)
    return {"dataset": name, **_counts(rows), "auc": metrics["auc"], "accuracy": metrics["accuracy"]}
