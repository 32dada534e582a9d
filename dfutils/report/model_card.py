"""A model card (Mitchell et al. 2019, "Model Cards for Model Reporting"), written from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dfutils
from dfutils.evaluation.decisions import rule_in_words
from dfutils.report.wording import METRIC_HEADINGS, headline, limits
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.formatting import with_interval

INTENDED = (
    "Sorting videos for people to look at more closely; research on detection; teaching.",
    "Not for: decisions about a person without a human's own look, evidence in court, surveillance, or videos far from "
    "the data below (other cameras, compressions, forgeries).",
)


@dataclass(frozen=True, slots=True)
class Card:
    """A model card: sentences under headings.

    Attributes:
        title: Above all.
        parts: Sentences by heading.
    """

    title: str
    parts: Mapping[str, Sequence[str]]

    def markdown(self) -> str:
        """The card as a file."""
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
    """Write the card.

    Args:
        detector: ``detector.json``.
        metrics: ``metrics.json``.
        facts: What was measured, as in the report.
        data: ``clips`` and ``groups`` trained on, and ``seconds`` that it took, from ``run.json``.
        leaks: Sentences of the leak report.
    """
    names = ("auc", "balanced_accuracy", "accuracy", "log_loss", "brier", "ece", "coverage")
    numbers = [f"{METRIC_HEADINGS[name]}: {with_interval(name, metrics[name])}" for name in names]
    datasets = ", ".join(f"{row['dataset']} ({row['videos']} videos)" for row in metrics["datasets"])
    parts: dict[str, Sequence[str]] = {
        "Detector": [f"{detector.name}, dfutils {detector.version}, weights {detector.weights_sha256[:12]}."]
        + [f"{name}: {value}" for name, value in facts.items() if name not in ("Detector",)],
        "Intended use": INTENDED,
        "Data": [
            f"Trained, tuned and tested on {data['clips']} clips of {data['groups']} groups, split by group.",
            f"Measured here on {metrics['videos']} videos of {metrics['groups']} groups: {metrics['real']} REAL, "
            f"{metrics['fake']} FAKE; {datasets}.",
            *leaks,
        ],
        "Protocol": [
            f"Threshold {detector.threshold:.3f} ({rule_in_words(detector.operating_point)}) and "
            f"{detector.calibration} calibration, fitted on {detector.fitted_in_words} only and frozen before the "
            "measured videos were scored.",
            f"Intervals: {metrics['intervals']}.",
        ],
        "Results": [headline(metrics), *numbers],
        "Limits": limits(metrics),
        "Licence": [
            "Code: MIT. The weights inherit the terms of the data and the backbone they were trained with: check these "
            "before sharing them.",
        ],
    }
    return Card(f"Model card: {detector.name}", parts)
