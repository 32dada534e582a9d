"""Write a model card (Mitchell et al. 2019, "Model Cards for Model Reporting") from the measurements of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dfutils
from dfutils.evaluation.decisions import describe_rule
from dfutils.evaluation.metrics import ANSWER_METRICS
from dfutils.report.verdict_words import ONLY_FACES
from dfutils.report.wording import METRIC_HEADINGS, headline, limits
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.formatting import probability_text, with_interval

INTENDED = (
    "Selecting videos for human review; research on detection; teaching.",
    "Not for: decisions about a person without human review, evidence in court, surveillance, or videos unlike the "
    "data described below (other cameras, compression or forgery methods).",
)


@dataclass(frozen=True, slots=True)
class Card:
    """A model card: sentences under headings.

    Attributes:
        title: Heading of the card.
        parts: Sentences by heading.
    """

    title: str
    parts: Mapping[str, Sequence[str]]

    def markdown(self) -> str:
        """Return the card as a Markdown file."""
        lines = [f"# {self.title}", ""]
        for heading, sentences in self.parts.items():
            lines += [f"## {heading}", "", *(f"* {sentence}" for sentence in sentences), ""]
        return "\n".join([*lines, f"Written by dfutils {dfutils.__version__} from the report beside it.", ""])


def model_card(
    detector: DetectorRecord,
    metrics: Mapping[str, Any],
    *,
    facts: Mapping[str, str],
    data: Mapping[str, Any],
    leaks: Sequence[str],
) -> Card:
    """Return the model card.

    Args:
        detector: ``detector.json``.
        metrics: ``metrics.json``.
        facts: Facts of the report, by name.
        data: Content of ``run.json``, which has the numbers of ``clips`` and ``groups``.
        leaks: Sentences of the leak report.
    """
    real_up_to, fake_from = (probability_text(end, 3) for end in detector.answer_range)
    names = (*ANSWER_METRICS, "auc", "balanced_accuracy", "accuracy", "log_loss", "brier", "ece", "coverage")
    numbers = [f"{METRIC_HEADINGS[name]}: {with_interval(name, metrics[name])}" for name in names]
    datasets = ", ".join(f"{row['dataset']} ({row['videos']} videos)" for row in metrics["datasets"])
    parts: dict[str, Sequence[str]] = {
        "Detector": [f"{detector.name}, dfutils {detector.version}, weights {detector.weights_sha256[:12]}."]
        + [f"{name}: {value}" for name, value in facts.items() if name != "Detector"],
        "Intended use": INTENDED,
        "Data": [
            f"Trained, tuned and tested on {data['clips']} clips of {data['groups']} groups, split by group."
            if data["clips"]
            else "Its training data are described in the card that came with it.",
            f"Measured here on {metrics['videos']} videos of {metrics['groups']} groups: {metrics['real']} REAL, "
            f"{metrics['fake']} FAKE; {datasets}.",
            *leaks,
        ],
        "Protocol": [
            f"REAL up to {real_up_to}, FAKE from {fake_from} on, UNDECIDED between.",
            f"Threshold {probability_text(detector.threshold, 3)} ({describe_rule(detector.operating_point)}) and "
            f"{detector.calibration} calibration, fitted on {detector.fitted_in_words} only and frozen before the "
            "measured videos were scored.",
            f"Intervals: {metrics['intervals']}.",
        ],
        "Results": [headline(metrics), *numbers],
        "Limits": [*limits(metrics), ONLY_FACES],
        "Licence": [
            "Code: MIT. The weights inherit the terms of the training data and of the backbone: check them before "
            "sharing the weights.",
        ],
    }
    return Card(f"Model card: {detector.name}", parts)
