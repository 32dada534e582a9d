"""Post-hoc calibration, decision thresholds and the three answers, fitted on clips that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dfutils.runs.probabilities import EPSILON, Floats, Probabilities, isotonic_logits, logit, platt_logits, sigmoid
from dfutils.runs.record import AnswerCosts, CalibrationMethod, DetectorRecord, OperatingPoint, Rate
from dfutils.statistics.bootstrap import SHARE, bootstrap_estimates
from dfutils.statistics.conformal import score_seldom_exceeded
from dfutils.statistics.estimates import ratio

Flags = npt.NDArray[np.bool_]

TEMPERATURES = np.geomspace(0.05, 20.0, 241)

MAX_FALSE_POSITIVE_RATE = 0.03
"""Share of REAL videos of new people that may be called FAKE. People who use such tools complain most of these."""

MAX_FALSE_NEGATIVE_RATE = 0.10
"""Share of FAKE videos of new people that may be called REAL."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutScores:
    """Scores of clips that were not trained on, to which calibration and thresholds are fitted.

    Attributes:
        is_fake: ``(N,)``, both classes.
        raw_probability: ``(N,)`` before calibration.
        groups: ``(N,)`` names of the groups.
    """

    is_fake: Flags
    raw_probability: Floats
    groups: npt.NDArray[Any]


def fit_decision(
    scores: HeldOutScores,
    *,
    method: CalibrationMethod = "platt",
    rule: str = "balanced_accuracy",
    max_false_positive_rate: float = MAX_FALSE_POSITIVE_RATE,
    max_false_negative_rate: float = MAX_FALSE_NEGATIVE_RATE,
) -> dict[str, Any]:
    """Fit calibration, the two-class threshold and those of the three answers: fields of `DetectorRecord`.

    Args:
        scores: What to fit to.
        method: How a raw probability becomes a calibrated one.
        rule: Of `DetectorRecord.threshold`; see `dfutils.runs.record.OperatingPoint.rule`.
        max_false_positive_rate: See `AnswerCosts`.
        max_false_negative_rate: See `AnswerCosts`.
    """
    is_fake, raw = scores.is_fake, scores.raw_probability
    temperature, bias = 1.0, 0.0
    steps: tuple[tuple[float, float], ...] = ()
    if method == "isotonic":
        steps = fit_isotonic(is_fake, raw)
        probability = sigmoid(isotonic_logits(raw, steps))
    else:
        temperature, bias = fit_platt(is_fake, raw)
        probability = sigmoid(platt_logits(raw, temperature, bias))
    points = operating_points(is_fake, probability, tuple(dict.fromkeys((*STANDARD_RULES, rule))))
    real_up_to, fake_from, costs = choose_answers(
        is_fake,
        probability,
        scores.groups,
        max_false_positive_rate=max_false_positive_rate,
        max_false_negative_rate=max_false_negative_rate,
    )
    return {
        "calibration": method,
        "temperature": temperature,
        "bias": bias,
        "isotonic": steps,
        "operating_points": points,
        "operating_point": rule,
        "threshold": next(point.threshold for point in points if point.rule == rule),
        "real_up_to": real_up_to,
        "fake_from": fake_from,
        "answer_costs": costs,
    }


def fit_platt(is_fake: Flags, raw_probability: Floats) -> tuple[float, float]:
    """Return the temperature and the bias with the smallest log loss at an even mix: logit / temperature + bias.

    Platt (1999, "Probabilistic Outputs for Support Vector Machines"). REAL and FAKE have the same total weight, however
    many clips of each there are. Platt's targets, (n + 1) / (n + 2) for a class of n clips, keep a handful of separable
    clips from leading to unlimited confidence. Temperatures are searched on a grid, so that no start can mislead it.
    """
    targets, weights = _soft_targets(is_fake), _even_weights(is_fake)
    logits = logit(raw_probability)
    best = (np.inf, 1.0, 0.0)
    for temperature in TEMPERATURES:
        bias = -float(np.median(logits)) / temperature  # near the solution, however far the scores are from 0
        for _ in range(50):  # Newton's method in short steps; the loss is convex in the bias
            probability = sigmoid(logits / temperature + bias)
            slope = float(weights @ (probability - targets))
            step = slope / (float(weights @ (probability * (1 - probability))) + EPSILON)
            bias -= min(max(step, -2.0), 2.0)
            if abs(step) < 1e-10:
                break
        probability = np.clip(sigmoid(logits / temperature + bias), EPSILON, 1 - EPSILON)
        loss = -float(weights @ (targets * np.log(probability) + (1 - targets) * np.log(1 - probability)))
        best = min(best, (loss, float(temperature), bias))
    return best[1], best[2]


def fit_isotonic(is_fake: Flags, raw_probability: Floats) -> tuple[tuple[float, float], ...]:
    """Return raw logits and calibrated probabilities of the rising steps with the least squared error at an even mix.

    Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates" (2002). Weights
    and targets are those of `fit_platt`, so that no probability is 0 or 1. It fits any rising shape, but needs hundreds
    of clips; clips on one step can no longer be told apart.
    """
    from sklearn.isotonic import IsotonicRegression  # heavy, and prediction does not need it

    model = IsotonicRegression(out_of_bounds="clip")
    model.fit(logit(raw_probability), _soft_targets(is_fake), sample_weight=_even_weights(is_fake))
    steps = list(zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True))
    return tuple(steps if len(steps) > 1 else [*steps, (steps[0][0] + 1.0, steps[0][1])])


def _soft_targets(is_fake: Flags) -> Floats:
    fakes, reals = int(np.sum(is_fake)), int(np.sum(~is_fake))
    return np.where(is_fake, (fakes + 1) / (fakes + 2), 1 / (reals + 2))


def _even_weights(is_fake: Flags) -> Floats:
    """Return weights that sum to half for each class."""
    return np.where(is_fake, 0.5 / np.sum(is_fake), 0.5 / np.sum(~is_fake))


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


def choose_answers(
    is_fake: Flags,
    fake_probability: Probabilities,
    groups: npt.NDArray[Any],
    *,
    max_false_positive_rate: float,
    max_false_negative_rate: float,
) -> tuple[float, float, AnswerCosts]:
    """Return the probability up to which the answer is REAL, that from which it is FAKE, and what they cost.

    Each is as far out as its bound on new groups demands (`dfutils.statistics.conformal`), and on its own side of one
    half. Where groups differ in size, a few large groups may leave more errors among the clips than wanted although the
    bound holds, so the thresholds also keep the error rate among these clips at or below the wanted one. The two kinds
    of error are bounded separately, so that neither depends on the mix.
    """
    fake_from, false_positive_bound = _seldom_reached(
        fake_probability, groups, ~is_fake, max_rate=max_false_positive_rate
    )
    fake_up_to, false_negative_bound = _seldom_reached(
        1 - fake_probability, groups, is_fake, max_rate=max_false_negative_rate
    )
    real_up_to = 1 - fake_up_to
    called_fake = fake_probability >= fake_from
    called_real = ~called_fake & (fake_probability <= real_up_to)
    is_open = ~called_fake & ~called_real

    def statistic(weights: Probabilities) -> Probabilities:
        real, fake = weights * ~is_fake, weights * is_fake
        open_real, open_fake = (ratio(one @ is_open, one.sum(axis=1)) for one in (real, fake))
        rates = [ratio(real @ called_fake, real.sum(axis=1)), ratio(fake @ called_real, fake.sum(axis=1))]
        return np.column_stack([*rates, (open_real + open_fake) / 2])

    needs = {"false_positive_rate": (~is_fake,), "false_negative_rate": (is_fake,), "undecided": (is_fake, ~is_fake)}
    rates = bootstrap_estimates(groups, statistic, needs, ranges=dict.fromkeys(needs, SHARE))
    costs = AnswerCosts(
        max_false_positive_rate=max_false_positive_rate,
        max_false_negative_rate=max_false_negative_rate,
        false_positive_bound=false_positive_bound,
        false_negative_bound=false_negative_bound,
        **{name: Rate.model_validate(rate) for name, rate in rates.items()},
        real_groups=len(np.unique(groups[~is_fake])),
        fake_groups=len(np.unique(groups[is_fake])),
    )
    return real_up_to, fake_from, costs


def _seldom_reached(scores: Floats, groups: npt.NDArray[Any], chosen: Flags, *, max_rate: float) -> tuple[float, float]:
    """Return the lowest threshold of at least one half that few of the chosen clips reach, and the bound.

    Few are counted both by group, which the bound is about, and by clip.
    """
    own = scores[chosen]
    bounded = score_seldom_exceeded(own, groups[chosen], max_rate=max_rate)  # below 1, see `platt_logits`
    allowed = int(max_rate * len(own) + 1e-9)  # clips that may reach it, where 0.29 * 100 is a little below 29
    highest = max(bounded.score, float(np.sort(own)[-1 - allowed]))
    above = scores[scores > highest]
    threshold = (highest + (float(above.min()) if above.size else 1.0)) / 2
    return max(0.5, threshold), bounded.bound


def mean_decision(members: Sequence[DetectorRecord]) -> dict[str, Any]:
    """Return the decision fields of an ensemble: the means, as logits, of its members' thresholds.

    The members calibrate scores before these are averaged. Nothing more can be fitted: every clip was used to train
    some member, so what the answers cost is not known either.
    """

    def mean(values: Sequence[float]) -> float:
        return float(sigmoid(logit(np.array(values)).mean()))

    by_rule: dict[str, list[OperatingPoint]] = {}
    for member in members:
        for point in member.operating_points:
            by_rule.setdefault(point.rule, []).append(point)
    has_answers = all(member.real_up_to is not None for member in members)
    ranges = [member.answer_range for member in members]
    return {
        "temperature": 1.0,
        "bias": 0.0,
        "calibration": "platt",
        "isotonic": (),
        "threshold": mean([member.threshold for member in members]),
        "real_up_to": mean([low for low, _ in ranges]) if has_answers else None,
        "fake_from": mean([high for _, high in ranges]) if has_answers else None,
        "answer_costs": None,
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
