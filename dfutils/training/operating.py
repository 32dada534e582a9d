"""What is fitted on the validation split after training: the temperature and the operating point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

EPSILON = 1e-6
"""Probabilities are kept this far from 0 and 1, where the logit would be infinite."""

TEMPERATURES = np.geomspace(0.05, 20.0, 241)


def calibrated(raw_probability: Floats, temperature: float) -> Floats:
    """Divide the logit by ``temperature`` (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Example:
        >>> calibrated(np.array([0.5, 0.9]), 1.0).round(3).tolist()
        [0.5, 0.9]
    """
    clipped = np.clip(raw_probability.astype(np.float64), EPSILON, 1 - EPSILON)
    return 1 / (1 + np.exp(-np.log(clipped / (1 - clipped)) / temperature))


def fit_temperature(is_fake: Flags, raw_probability: Floats) -> float:
    """The temperature with the smallest log loss on these clips; a grid search, so it cannot fail to converge."""
    losses = [_log_loss(is_fake, calibrated(raw_probability, temperature)) for temperature in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def choose_threshold(is_fake: Flags, fake_probability: Floats) -> float:
    """The operating point with the best balanced accuracy, in the middle of the gap between the scores beside it."""
    false_rate, true_rate, thresholds = roc_curve(is_fake, fake_probability, drop_intermediate=False)
    best = int(np.argmax(true_rate - false_rate))
    above = min(float(thresholds[best]), 1.0)
    below = fake_probability[fake_probability < above]
    return (above + float(below.max())) / 2 if below.size else above


def _log_loss(is_fake: Flags, probability: Floats) -> float:
    clipped = np.clip(probability, EPSILON, 1 - EPSILON)
    return float(-np.mean(np.where(is_fake, np.log(clipped), np.log(1 - clipped))))
