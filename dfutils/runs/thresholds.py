"""Post-hoc calibration, decision thresholds and the undecided band, fitted on clips that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.runs.record import DetectorRecord, OperatingPoint

Floats = npt.NDArray[np.floating]
Probabilities = npt.NDArray[np.float64]
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
    """Return the log-odds, float64; finite, since probabilities are kept `EPSILON` away from 0 and 1."""
    clipped = np.clip(probability.astype(np.float64), EPSILON, 1 - EPSILON)
    return np.log(clipped / (1 - clipped))


def sigmoid(logits: Floats) -> Probabilities:
    """Return the probabilities of logits, the inverse of `logit`; float64, since float32 is too coarse near 1."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -500, 500)))  # beyond ±500, exp may overflow


def fit_temperature(is_fake: Flags, raw_probability: Floats) -> float:
    """Return the temperature with the smallest log loss on these clips; a grid search, so it cannot fail to converge.

    The targets are Platt's (1999, "Probabilistic Outputs for Support Vector Machines"): for a class of n clips,
    (n + 1) / (n + 2). Otherwise a handful of separable clips would lead to unlimited confidence.
    """
    targets = _soft_targets(is_fake)
    losses = []
    for temperature in TEMPERATURES:
        probability = np.clip(calibrated(raw_probability, temperature), EPSILON, 1 - EPSILON)
        losses.append(-np.mean(targets * np.log(probability) + (1 - targets) * np.log(1 - probability)))
    return float(TEMPERATURES[int(np.argmin(losses))])


def fit_isotonic(is_fake: Flags, raw_probability: Floats) -> tuple[tuple[float, float], ...]:
    """Return raw logits and calibrated probabilities of the rising steps with the least squared error on these clips.

    Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates" (2002). The
    targets are those of `fit_temperature`, so that no probability is 0 or 1. It fits any rising shape, but needs
    hundreds of clips; clips on one step can no longer be told apart.
    """
    from sklearn.isotonic import IsotonicRegression  # heavy, and prediction does not need it

    model = IsotonicRegression(out_of_bounds="clip").fit(logit(raw_probability), _soft_targets(is_fake))
    steps = list(zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True))
    return tuple(steps if len(steps) > 1 else [*steps, (steps[0][0] + 1.0, steps[0][1])])


def _soft_targets(is_fake: Flags) -> Floats:
    fakes, reals = int(np.sum(is_fake)), int(np.sum(~is_fake))
    return np.where(is_fake, (fakes + 1) / (fakes + 2), 1 / (reals + 2))


def calibrated_logits(settings: DetectorRecord, raw_probability: Floats) -> Floats:
    """Return the logits of the calibrated probabilities, by the detector's calibration method."""
    logits = logit(raw_probability)
    if settings.calibration == "temperature":
        return logits / settings.temperature
    places, probabilities = np.array(settings.isotonic).T
    return logit(np.interp(logits, places, probabilities))


STANDARD_RULES = ("balanced_accuracy", "fpr_1", "fpr_5", "cost_10")
"""Rules of the operating points that every detector comes with; see `dfutils.runs.record.OperatingPoint`."""


def choose_threshold(is_fake: Flags, fake_probability: Floats, rule: str = "balanced_accuracy") -> float:
    """Return the best threshold by a rule, in the middle of the gap between the neighbouring scores.

    Args:
        is_fake: ``(N,)``, both classes.
        fake_probability: ``(N,)``, calibrated.
        rule: As `dfutils.runs.record.OperatingPoint.rule`. Costs are weighted rates, so the ratio of REAL to FAKE clips
            does not matter.
    """
    from sklearn.metrics import roc_curve

    false_rate, true_rate, thresholds = roc_curve(is_fake, fake_probability, drop_intermediate=False)
    kind, _, number = rule.partition("_")
    if kind == "fpr":
        gain = np.where(false_rate <= float(number) / 100, true_rate, -1.0)
    else:
        gain = true_rate - (float(number) if kind == "cost" else 1.0) * false_rate
    above = min(float(thresholds[int(np.argmax(gain))]), 1.0)
    below = fake_probability[fake_probability < above]
    return (above + float(below.max())) / 2 if below.size else above


def operating_points(
    is_fake: Flags, fake_probability: Floats, rules: Sequence[str] = STANDARD_RULES
) -> tuple[OperatingPoint, ...]:
    """Return the threshold of each rule, with its rates on the clips that it was chosen on."""
    points = []
    for rule in rules:
        threshold = choose_threshold(is_fake, fake_probability, rule)
        called = fake_probability >= threshold
        points.append(
            OperatingPoint(
                rule=rule,
                threshold=threshold,
                false_positive_rate=float(called[~is_fake].mean()),
                true_positive_rate=float(called[is_fake].mean()),
                reals=int((~is_fake).sum()),
                fakes=int(is_fake.sum()),
            )
        )
    return tuple(points)


def choose_band(
    is_fake: Flags, fake_probability: Floats, threshold: float, *, max_error: float
) -> tuple[float, float] | None:
    """Return the narrowest band around the threshold with at most ``max_error`` of the clips outside misclassified.

    It is symmetric in logits (Chow, "On Optimum Recognition Error and Reject Tradeoff", 1970).

    Returns:
        The ends of the band as probabilities; None if no band is needed.

    Raises:
        RunError: Even the most confident clips are misclassified too often.
    """
    distance = np.abs(logit(fake_probability) - logit(np.array(threshold)))
    wrong = (fake_probability >= threshold) != is_fake
    if wrong.mean() <= max_error:
        return None
    for width in np.unique(distance):
        decided = distance > width
        if decided.any() and wrong[decided].mean() <= max_error:
            middle = float(logit(np.array(threshold)))
            # Slightly wider, so that rounding cannot put the last clip outside.
            low, high = sigmoid(np.array([middle - width - 1e-9, middle + width + 1e-9]))
            return float(low), float(high)
    raise RunError(
        f"undecided: no band leaves an error of at most {max_error:g} on {len(is_fake)} validation clips. "
        "Allow a larger error, or set the band yourself."
    )


def mean_decision(members: Sequence[DetectorRecord]) -> dict[str, Any]:
    """Return the decision fields of an ensemble: the means, as logits, of its members' thresholds and bands.

    The members calibrate scores before these are averaged. Nothing more can be fitted: every clip was used to train
    some member.
    """

    def mean(values: Sequence[float]) -> float:
        return float(sigmoid(logit(np.array(values)).mean()))

    by_rule: dict[str, list[OperatingPoint]] = {}
    for member in members:
        for point in member.operating_points:
            by_rule.setdefault(point.rule, []).append(point)
    threshold = mean([member.threshold for member in members])
    bands = [member.undecided or (member.threshold, member.threshold) for member in members]
    has_band = any(member.undecided for member in members)
    return {
        "temperature": 1.0,
        "calibration": "temperature",
        "isotonic": (),
        "threshold": threshold,
        "undecided": (mean([low for low, _ in bands]), mean([high for _, high in bands])) if has_band else None,
        "operating_points": tuple(
            OperatingPoint(
                rule=rule,
                threshold=mean([point.threshold for point in points]),
                false_positive_rate=float(np.average([point.false_positive_rate for point in points])),
                true_positive_rate=float(np.average([point.true_positive_rate for point in points])),
                reals=sum(point.reals for point in points),
                fakes=sum(point.fakes for point in points),
            )
            for rule, points in by_rule.items()
            if len(points) == len(members)
        ),
    }
