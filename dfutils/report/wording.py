"""What the numbers mean, in sentences for people: the words of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfutils.statistics.estimates import LOG_LOSS_CLIP
from dfutils.statistics.formatting import (
    Estimate,
    decimal,
    format_interval,
    format_value,
    percent,
    unbroken,
    with_interval,
)

COIN_TOSS_LOG_LOSS = math.log(2)
FEW_GROUPS = 30

METRIC_HEADINGS = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "coverage": "Coverage",
}
_MEANINGS = {
    "auc": "How often a random FAKE scores above a random REAL. 0.5 is a coin toss, 1 is perfect.",
    "average_precision": "Precision averaged over all thresholds. Chance is the share of fakes, {fake_share}.",
    "balanced_accuracy": "Mean of REAL called right and FAKE called right. 50 % is a coin toss, whatever the mix.",
    "accuracy": "Videos called right at the threshold {threshold}. Always saying {common} gives {common_share}.",
    "precision": "Of the videos called FAKE, how many are.",
    "recall": "Of the FAKE videos, how many were called FAKE.",
    "f1": "Harmonic mean of precision and recall.",
    "log_loss": "Punishes confident mistakes; lower is better. Always saying 0.5 gives 0.693.",
    "brier": "Mean squared error of the probability; lower is better. Always saying 0.5 gives 0.25.",
    "ece": "How far the probabilities are off; 0 is honest. Few videos push it, and its interval even more, upwards.",
    "coverage": "Videos that got a score at all. The others count in this number only.",
}
_CARDS = ("auc", "balanced_accuracy", "accuracy", "log_loss", "ece", "coverage")
_SCALE_ENDS = {"log_loss": 2 * COIN_TOSS_LOG_LOSS, "ece": 0.5}


@dataclass(frozen=True, slots=True)
class Bar:
    """Where a card's marks stand, in per cent of its scale; ``chance`` is None where there is no such thing."""

    value: float
    low: float | None
    high: float | None
    chance: float | None


@dataclass(frozen=True, slots=True)
class Number:
    """One metric in words; ``interval`` is empty and ``bar`` None where they do not exist."""

    key: str
    name: str
    value: str
    interval: str
    meaning: str
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """A row of the table of baselines, in words."""

    name: str
    accuracy: str
    balanced_accuracy: str
    auc: str
    log_loss: str
    brier: str


def headline(metrics: Mapping[str, Any]) -> str:
    """One sentence that says whether the detector is better than chance."""
    auc = metrics["auc"]
    if auc["value"] is None:
        return _one_class_headline(metrics)
    ranks = f"it ranks a random FAKE above a random REAL in {percent(auc['value'])} of the cases"
    if auc["low"] is None:
        return f"Too few groups for an interval: {ranks}, and how sure that is cannot be said."
    interval = f"95\xa0% interval {percent(auc['low'])} to {percent(auc['high'])}"
    if auc["low"] > 0.5:
        return f"Better than chance on these videos: {ranks} ({interval}; a coin toss gives 50\xa0%)."
    if auc["high"] < 0.5:
        return f"Worse than a coin toss: {ranks} ({interval}). Check that the labels are not swapped."
    return f"Not shown to be better than a coin toss: {ranks}, but the {interval} includes chance, 50\xa0%."


def _one_class_headline(metrics: Mapping[str, Any]) -> str:
    label = "FAKE" if _scored(metrics)[1] else "REAL"
    right = with_interval("accuracy", metrics["accuracy"])
    return (
        f"Only {label} videos were scored, so that nothing here says whether the detector tells FAKE from REAL. "
        f"It called {right} of them {label}."
    )


def cards(metrics: Mapping[str, Any]) -> list[Number]:
    """The headline numbers."""
    return [_number(name, metrics) for name in _CARDS]


def all_numbers(metrics: Mapping[str, Any]) -> list[Number]:
    """Every metric of the document."""
    return [_number(name, metrics) for name in METRIC_HEADINGS]


def baselines(metrics: Mapping[str, Any]) -> list[Baseline]:
    """The detector beside answers that look at no video."""
    real, fake = _scored(metrics)
    fake_share = fake / (real + fake)
    both = bool(real and fake)
    half, no_skill = ("50\xa0%", "0.50") if both else ("–", "–")
    worst = -math.log(LOG_LOSS_CLIP)
    return [
        Baseline("This detector", *(with_interval(name, metrics[name]) for name in Baseline.__slots__[1:])),
        Baseline("Always 0.5", "–", "–", no_skill, decimal(COIN_TOSS_LOG_LOSS, 3), "0.250"),
        *(
            Baseline(
                f"Always {label}", percent(right), half, no_skill, decimal((1 - right) * worst), decimal(1 - right, 3)
            )
            for label, right in (("FAKE", fake_share), ("REAL", 1 - fake_share))
        ),
    ]


def measured_baselines(rows: Sequence[Mapping[str, Any]]) -> list[Baseline]:
    """Rows of `dfutils.evaluation.baselines`, in words."""
    return [Baseline(row["name"], *(with_interval(name, row[name]) for name in Baseline.__slots__[1:])) for row in rows]


def difference_sentence(difference: Estimate, *, whose: str = "The detector's") -> str:
    """What a detector has over something else in AUC, and whether that is shown."""
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return ""
    words = f"{whose} AUC is {abs(value):.2f} {'higher' if value >= 0 else 'lower'}"
    if low is None or high is None:
        return f"{words}, but there are too few groups to say how sure that is."
    shown = "which is more than chance" if low > 0 or high < 0 else "and the interval includes no difference"
    return f"{words} (paired, 95 % interval {low:+.2f} to {high:+.2f}), {shown}.".replace("-", "−")


def sort_key(estimate: Estimate) -> str:
    """What a table sorts an estimate by."""
    return "" if estimate["value"] is None else repr(estimate["value"])


def limits(metrics: Mapping[str, Any]) -> list[str]:
    """What the report does not show."""
    sentences = [
        "Only videos like these were looked at. Detectors usually lose much of their score on forgery methods, cameras "
        "and compressions that they have not met.",
        "The intervals say how much the numbers would move with other groups of the same kind. They leave out the luck "
        "of the training (another seed) and any difference between these videos and yours.",
        "The threshold must have been chosen on other videos. Chosen on these, it would flatter accuracy, precision, "
        "recall and F1.",
        _rare_fakes(metrics),
        "A fake probability is not evidence about a person. Let nobody be judged by it alone.",
    ]
    if metrics["groups"] < FEW_GROUPS:
        sentences.insert(
            2, f"With {metrics['groups']} groups the intervals are rough themselves, and tend to be too narrow."
        )
    if any(metrics[name]["low"] is not None and metrics[name]["low"] == metrics[name]["high"] for name in _CARDS[:-1]):
        sentences.insert(
            2, "An interval of no width means that every resample came out alike, not that all is certain."
        )
    if metrics["one_class_resamples"]:
        sentences.append(
            f"{metrics['one_class_resamples']} of {metrics['resamples']} resamples held one class only; they are left "
            "out where a number needs both."
        )
    return [sentence for sentence in sentences if sentence]


def _rare_fakes(metrics: Mapping[str, Any]) -> str:
    confusion = metrics["confusion"]["at_threshold"]
    real, fake = _scored(metrics)
    if not real or not fake:
        return ""
    found, false_alarms = confusion["fake_called_fake"] / fake, confusion["real_called_fake"] / real
    if not found + false_alarms:
        return ""
    wrong = 0.99 * false_alarms / (0.99 * false_alarms + 0.01 * found)
    return (
        f"Here {percent(fake / (real + fake))} of the videos are FAKE. Where 1 in 100 is, the same detector would be "
        f"wrong about {percent(wrong)} of the videos that it calls FAKE."
    )


def _number(name: str, metrics: Mapping[str, Any]) -> Number:
    estimate = metrics[name]
    real, fake = _scored(metrics)
    meaning = _MEANINGS[name].format(
        threshold=decimal(metrics["threshold"]),
        fake_share=percent(fake / (real + fake)),
        common="FAKE" if fake >= real else "REAL",
        common_share=percent(max(real, fake) / (real + fake)),
    )
    if estimate["value"] is None:
        meaning = metrics["reasons"].get(name, meaning)
    value = format_value(name, estimate["value"])
    return Number(
        name, METRIC_HEADINGS[name], value, format_interval(name, estimate), unbroken(meaning), _bar(name, metrics)
    )


def _bar(name: str, metrics: Mapping[str, Any]) -> Bar | None:
    estimate = metrics[name]
    if estimate["value"] is None:
        return None
    real, fake = _scored(metrics)
    chances = {
        "auc": 0.5,
        "balanced_accuracy": 0.5,
        "accuracy": max(real, fake) / (real + fake),
        "log_loss": COIN_TOSS_LOG_LOSS,
    }
    marks = (estimate["low"], estimate["high"], chances.get(name))
    return Bar(_position(name, estimate["value"]), *(None if mark is None else _position(name, mark) for mark in marks))


def _position(name: str, mark: float) -> float:
    return round(100 * min(1.0, mark / _SCALE_ENDS.get(name, 1.0)), 1)


def _scored(metrics: Mapping[str, Any]) -> tuple[int, int]:
    confusion = metrics["confusion"]["at_half"]
    real = confusion["real_called_real"] + confusion["real_called_fake"]
    return real, confusion["fake_called_real"] + confusion["fake_called_fake"]
