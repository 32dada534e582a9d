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
    return sigmoid(logit(raw_probability) / temperature)


def logit(probability: Floats) -> Floats:
    """Logarithm of the odds, float64; finite, since probabilities are kept `EPSILON` from 0 and 1."""
    clipped = np.clip(probability.astype(np.float64), EPSILON, 1 - EPSILON)
    return np.log(clipped / (1 - clipped))


def sigmoid(logits: Floats) -> Floats:
    """The probabilities that `logit` came from."""
    return 1 / (1 + np.exp(-logits))


def fit_temperature(is_fake: Flags, raw_probability: Floats) -> float:
    """The temperature with the smallest log loss on these clips; a grid search, so it cannot fail to converge.

    The targets are Platt's (1999, "Probabilistic Outputs for Support Vector Machines"): a class of n clips counts as
    (n + 1) / (n + 2) sure. A handful of clips that happen to be separable would else ask for boundless confidence.
    """
    fakes, reals = int(np.sum(is_fake)), int(np.sum(~is_fake))
    targets = np.where(is_fake, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    losses = [_cross_entropy(targets, calibrated(raw_probability, temperature)) for temperature in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def choose_threshold(is_fake: Flags, fake_probability: Floats) -> float:
    """The operating point with the best balanced accuracy, in the middle of the gap between the scores beside it."""
    false_rate, true_rate, thresholds = roc_curve(is_fake, fake_probability, drop_intermediate=False)
    best = int(np.argmax(true_rate - false_rate))
    above = min(float(thresholds[best]), 1.0)
    below = fake_probability[fake_probability < above]
    return (above + float(below.max())) / 2 if below.size else above


def _cross_entropy(targets: Floats, probability: Floats) -> float:
    clipped = np.clip(probability, EPSILON, 1 - EPSILON)
    return float(-np.mean(targets * np.log(clipped) + (1 - targets) * np.log(1 - clipped)))
