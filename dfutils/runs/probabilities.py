"""Probabilities and their logits, calibration as it was fitted, and other priors. Light, as every verdict needs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfutils.runs.record import DetectorRecord

Floats = npt.NDArray[np.floating]
Probabilities = npt.NDArray[np.float64]

EPSILON = 1e-6
"""Probabilities are kept this far from 0 and 1, where the logit would be infinite."""


def logit(probability: Floats) -> Floats:
    """Return the log-odds, float64; finite, since probabilities are kept `EPSILON` away from 0 and 1."""
    clipped = np.clip(probability.astype(np.float64), EPSILON, 1 - EPSILON)
    return np.log(clipped / (1 - clipped))


def sigmoid(logits: Floats) -> Probabilities:
    """Return the probabilities of logits, the inverse of `logit`; float64, since float32 is too coarse near 1."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500)))  # beyond ±500, exp may overflow


def at_prior(probability: Floats, prior: float, *, known: float = 0.5) -> Probabilities:
    """Return probabilities of one mix of REAL and FAKE for another one, by Bayes' rule.

    Args:
        probability: ``(N,)``, calibrated for a mix with the share ``known`` of FAKE.
        prior: Share of FAKE in the other mix.
        known: Share of FAKE in the mix of ``probability``.

    Example:
        >>> at_prior(np.array([0.5, 0.9]), 0.1).round(3).tolist()
        [0.1, 0.5]
    """
    return sigmoid(logit(probability) + logit(np.array(prior)) - logit(np.array(known)))


def calibrated_logits(settings: DetectorRecord, raw_probability: Floats) -> Floats:
    """Return the logits of the calibrated probabilities, by the detector's calibration method."""
    if settings.calibration == "platt":
        return platt_logits(raw_probability, settings.temperature, settings.bias)
    return isotonic_logits(raw_probability, settings.isotonic)


def platt_logits(raw_probability: Floats, temperature: float, bias: float) -> Floats:
    """Return calibrated logits, as far from 0 as those of `logit` at most; see `dfutils.runs.thresholds.fit_platt`."""
    return logit(sigmoid(logit(raw_probability) / temperature + bias))


def isotonic_logits(raw_probability: Floats, steps: Sequence[tuple[float, float]]) -> Floats:
    """Return calibrated logits; see `dfutils.runs.thresholds.fit_isotonic`."""
    places, probabilities = np.array(steps).T
    return logit(np.interp(logit(raw_probability), places, probabilities))
