"""The numbers that papers on deepfake detection give, per video and per frame."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dfutils.statistics.bootstrap import Estimate, bootstrap_estimates
from dfutils.statistics.estimates import (
    FloatArray,
    class_weights_by_score,
    equal_error_rate,
    true_positive_rate_at,
    weighted_auc,
    weighted_average_precision,
    weighted_roc,
)

PAPER_METRICS: Mapping[str, str] = {
    "auc": "AUC",
    "eer": "Equal error rate (EER)",
    "average_precision": "Average precision (AP)",
    "tpr_at_fpr_1": "TPR at 1 % FPR",
    "tpr_at_fpr_5": "TPR at 5 % FPR",
}
"""Key in ``metrics.json`` and the name that papers use. None of them depends on the threshold of the detector."""


def estimate_paper_metrics(rows: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return each of `PAPER_METRICS` with its interval.

    Args:
        rows: One row per video or frame: columns ``group, is_fake, fake_probability``, no NaN.
        resamples: Bootstrap resamples; groups stay whole, so the frames of a video are drawn together.
        seed: See `dfutils.statistics.bootstrap.bootstrap_over_groups`.
    """
    is_fake = rows["is_fake"].to_numpy(bool)
    scores = rows["fake_probability"].to_numpy(float)

    def statistic(weights: FloatArray) -> FloatArray:
        fakes, reals = class_weights_by_score(is_fake, scores, weights)
        curve = weighted_roc(fakes, reals)
        return np.column_stack(
            [
                weighted_auc(fakes, reals),
                equal_error_rate(*curve),
                weighted_average_precision(fakes, reals),
                true_positive_rate_at(*curve, allowed=0.01),
                true_positive_rate_at(*curve, allowed=0.05),
            ]
        )

    needs = dict.fromkeys(PAPER_METRICS, (is_fake, ~is_fake))
    return bootstrap_estimates(rows["group"].to_numpy(), statistic, needs, resamples=resamples, seed=seed)
