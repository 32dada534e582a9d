"""Sentences that explain the numbers of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfutils.runs.record import AnswerCosts, Rate
from dfutils.statistics.bootstrap import Estimate
from dfutils.statistics.estimates import LOG_LOSS_CLIP
from dfutils.statistics.formatting import (
    decimal,
    format_interval,
    format_value,
    percent,
    probability_text,
    rate_text,
    unbroken,
    with_interval,
)

COIN_TOSS_LOG_LOSS = math.log(2)
FEW_GROUPS = 30

METRIC_HEADINGS = {
    "answered": "Answered",
    "answer_accuracy": "Accuracy of answers",
    "real_called_fake": "REAL called FAKE",
    "fake_called_real": "FAKE called REAL",
    "fake_called_fake": "FAKE called FAKE",
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
    "answered": "Share of the videos that are called REAL or FAKE. The others are UNDECIDED.",
    "answer_accuracy": "Share of the answers REAL and FAKE that are right.",
    "real_called_fake": "Share of all REAL videos that are called FAKE.",
    "fake_called_real": "Share of all FAKE videos that are called REAL.",
    "fake_called_fake": "Share of all FAKE videos that are called FAKE.",
    "auc": "How often a random FAKE scores above a random REAL. 0.5 is a coin toss, 1 is perfect.",
    "average_precision": "Precision averaged over all thresholds. Chance is the share of fakes, {fake_share}.",
    "balanced_accuracy": "Mean accuracy on REAL and on FAKE. 50 % is a coin toss, whatever the mix.",
    "accuracy": "Share on the right side of the threshold {threshold}. Always saying {common} gives {common_share}.",
    "precision": "Share of the videos at or above the threshold that are FAKE.",
    "recall": "Share of the FAKE videos that are at or above the threshold.",
    "f1": "Harmonic mean of precision and recall.",
    "log_loss": "Penalises confident mistakes; lower is better. Always saying 0.5 gives 0.693.",
    "brier": "Mean squared error of the probability; lower is better. Always saying 0.5 gives 0.25.",
    "ece": "How far the probabilities are off; 0 is perfect. With few videos it is too high, and its interval more so.",
    "coverage": "Share of the videos that have a score. All other metrics exclude the rest.",
}
_CARDS = ("answered", "answer_accuracy", "real_called_fake", "auc", "log_loss", "ece")
_SCALE_ENDS = {"log_loss": 2 * COIN_TOSS_LOG_LOSS, "ece": 0.5}


@dataclass(frozen=True, slots=True)
class Bar:
    """Positions of a card's marks in per cent of its scale; ``chance`` is None for metrics without a chance level."""

    value: float
    low: float | None
    high: float | None
    chance: float | None


@dataclass(frozen=True, slots=True)
class Number:
    """One metric in words. Without an interval ``interval`` is empty; without a value ``bar`` is None."""

    key: str
    name: str
    value: str
    interval: str
    meaning: str
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """A row of the table of baselines, as text."""

    name: str
    accuracy: str
    balanced_accuracy: str
    auc: str
    log_loss: str
    brier: str


def headline(metrics: Mapping[str, Any]) -> str:
    """Return what the detector's answers are worth, whether its scores beat chance, and whether it knew the videos."""
    answers = f"The detector answers {with_interval('answered', metrics['answered'])} of the videos"
    if metrics["answer_accuracy"]["value"] is not None:
        answers += f", and {with_interval('answer_accuracy', metrics['answer_accuracy'])} of these answers are right"
    warning = trained_on_warning(metrics["leaks"]) if "leaks" in metrics else ""
    return f"{answers}. {_ranking(metrics)} {warning}".rstrip()


def trained_on_warning(leaks: Mapping[str, Any]) -> str:
    """Return a warning if measured videos were used in training or validation, else nothing.

    Args:
        leaks: Document of the section on leaks in ``metrics.json``.
    """
    flags = []
    if groups := leaks["known_to_training"]:
        flags.append(f"{groups} of the measured groups were used in training or validation.")
    if clips := leaks["trained_under_another_name"]:
        flags.append(f"The files of {clips} measured clips were used in training or validation under another name.")
    return " ".join([*flags, "The numbers in this report are too optimistic."]) if flags else ""


def _ranking(metrics: Mapping[str, Any]) -> str:
    auc = metrics["auc"]
    if auc["value"] is None:
        label = "FAKE" if _scored(metrics)[1] else "REAL"
        return (
            f"Only {label} videos were scored, so these numbers do not show whether the detector can tell FAKE from "
            f"REAL. Of these, {with_interval('accuracy', metrics['accuracy'])} score as {label}."
        )
    ranks = f"it ranks a random FAKE above a random REAL in {percent(auc['value'])} of the cases"
    if auc["low"] is None:
        return f"Too few groups for an interval: {ranks}, with unknown uncertainty."
    interval = f"95\xa0% interval {percent(auc['low'])} to {percent(auc['high'])}"
    if auc["low"] > 0.5:
        return f"Better than chance on these videos: {ranks} ({interval}; a coin toss gives 50\xa0%)."
    if auc["high"] < 0.5:
        return f"Worse than a coin toss: {ranks} ({interval}). Check that the labels are not swapped."
    return f"Not shown to be better than a coin toss: {ranks}, but the {interval} includes chance, 50\xa0%."


def cards(metrics: Mapping[str, Any]) -> list[Number]:
    """Return the headline numbers."""
    return [_number(name, metrics) for name in _CARDS]


def all_numbers(metrics: Mapping[str, Any]) -> list[Number]:
    """Return every metric of the document."""
    return [_number(name, metrics) for name in METRIC_HEADINGS]


def baselines(metrics: Mapping[str, Any]) -> list[Baseline]:
    """Return the detector, followed by baselines that do not use the video."""
    real, fake = _scored(metrics)
    fake_share = fake / (real + fake)
    half, no_skill = ("50\xa0%", "0.50") if real and fake else ("–", "–")
    worst = -math.log(LOG_LOSS_CLIP)
    constant = [
        Baseline(f"Always {label}", percent(right), half, no_skill, decimal((1 - right) * worst), decimal(1 - right, 3))
        for label, right in (("FAKE", fake_share), ("REAL", 1 - fake_share))
    ]
    always_half = Baseline("Always 0.5", "–", "–", no_skill, decimal(COIN_TOSS_LOG_LOSS, 3), "0.250")
    return [*measured_baselines([{"name": "This detector", **metrics}]), always_half, *constant]


def measured_baselines(rows: Sequence[Mapping[str, Any]]) -> list[Baseline]:
    """Return rows of `dfutils.evaluation.baselines` as text."""
    return [Baseline(row["name"], *(with_interval(name, row[name]) for name in Baseline.__slots__[1:])) for row in rows]


def difference_sentence(difference: Estimate, *, whose: str = "The detector's") -> str:
    """Say how much higher or lower the AUC of a detector is, and whether the difference is significant."""
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return ""
    words = f"{whose} AUC is {abs(value):.2f} {'higher' if value >= 0 else 'lower'}"
    if low is None or high is None:
        return f"{words}, but there are too few groups for an interval."
    if value == low == high == 0:
        return f"{whose} AUC is the same in every resample: these videos cannot tell the two apart."
    shown = "more than chance explains" if low > 0 or high < 0 else "which may be chance"
    return f"{words} (paired, 95 % interval {low:+.2f} to {high:+.2f}), {shown}.".replace("-", "−")


def limits(metrics: Mapping[str, Any]) -> list[str]:
    """Return sentences on what the report does not show."""
    sentences = [
        "Only videos like these were tested. Detectors usually do much worse on unfamiliar forgery methods, cameras "
        "and compression.",
        "The intervals show how much the numbers would vary with other groups of the same kind. They do not include "
        "the randomness of training (another seed) or any difference between these videos and yours.",
    ]
    agreed = [
        heading
        for name, heading in METRIC_HEADINGS.items()
        if metrics[name]["low"] is not None and metrics[name]["low"] == metrics[name]["high"]
    ]
    if agreed:
        sentences.append(
            "An interval of no width means that all resamples agreed, not that the value is certain. Here: "
            f"{', '.join(agreed)}."
        )
    if metrics["groups"] < FEW_GROUPS:
        sentences.append(f"With only {metrics['groups']} groups the intervals are rough, and tend to be too narrow.")
    sentences.append(
        "The thresholds must have been chosen on other videos. If they were chosen on these, the answers, accuracy, "
        "precision, recall and F1 are too good."
    )
    real, fake = _scored(metrics)
    recall, rate = metrics["fake_called_fake"]["value"], metrics["real_called_fake"]
    if recall is not None and rate["value"] is not None and recall + rate["value"]:
        wrong, at_most = (
            None if called is None else percent(0.99 * called / (0.99 * called + 0.01 * recall))
            for called in (rate["value"], rate["high"])
        )
        sentences.append(
            f"Here {percent(fake / (real + fake))} of the videos are FAKE. If only 1 in 100 were, {wrong} of the "
            "videos that this detector calls FAKE would be REAL"
            + (f", or {at_most} at the upper end of the interval of REAL called FAKE." if at_most else ".")
        )
    sentences.append("A fake probability is not evidence about a person. Do not judge anybody by it alone.")
    if metrics["one_class_resamples"]:
        sentences.append(
            f"{metrics['one_class_resamples']} of {metrics['resamples']} resamples held one class only; they are left "
            "out of intervals that need both."
        )
    return sentences


def describe_costs(costs: AnswerCosts, *, fitted_on: str) -> list[str]:
    """Return the errors of the three answers where they were fitted, and the bounds on those for new groups."""

    def shown(rate: Rate) -> str:
        return with_interval("accuracy", rate.model_dump())

    return [
        f"On {fitted_on}, {shown(costs.false_positive_rate)} of the REAL clips were called FAKE, "
        f"{shown(costs.false_negative_rate)} of the FAKE ones REAL, and {shown(costs.undecided)} were UNDECIDED at "
        "equal numbers of both. The thresholds were chosen on these clips, so expect somewhat more errors.",
        f"Bounds for a clip of one person of a new, similar group: REAL called FAKE at most "
        f"{rate_text(costs.false_positive_bound)} (wanted: {rate_text(costs.max_false_positive_rate)}; "
        f"{costs.real_groups} groups), FAKE called REAL at most {rate_text(costs.false_negative_bound)} (wanted: "
        f"{rate_text(costs.max_false_negative_rate)}; {costs.fake_groups} groups). They are split-conformal, on "
        "average over such fits, and approximate if the network was chosen on the same clips. They do not cover other "
        "cameras, people or forgeries, nor the highest score among several people.",
    ]


def _number(name: str, metrics: Mapping[str, Any]) -> Number:
    estimate = metrics[name]
    real, fake = _scored(metrics)
    common_share = max(real, fake) / (real + fake)
    if estimate["value"] is None:
        meaning, bar = metrics["reasons"].get(name, _MEANINGS[name]), None
    else:
        chances = {"auc": 0.5, "balanced_accuracy": 0.5, "accuracy": common_share, "log_loss": COIN_TOSS_LOG_LOSS}
        end = _SCALE_ENDS.get(name, 1.0)
        value, low, high, chance = (
            None if mark is None else round(100 * min(1.0, mark / end), 1)
            for mark in (estimate["value"], estimate["low"], estimate["high"], chances.get(name))
        )
        bar = Bar(value or 0.0, low, high, chance)
        meaning = _MEANINGS[name].format(
            threshold=probability_text(metrics["threshold"]),
            fake_share=percent(fake / (real + fake)),
            common="FAKE" if fake >= real else "REAL",
            common_share=percent(common_share),
        )
    text, interval = format_value(name, estimate["value"]), format_interval(name, estimate)
    return Number(name, METRIC_HEADINGS[name], text, interval, unbroken(meaning), bar)


def _scored(metrics: Mapping[str, Any]) -> tuple[int, int]:
    """Number of REAL and of FAKE videos with a score."""
    confusion = metrics["confusion"]["at_half"]
    real = confusion["real_called_real"] + confusion["real_called_fake"]
    return real, confusion["fake_called_real"] + confusion["fake_called_fake"]
