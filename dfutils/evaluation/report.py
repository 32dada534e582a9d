"""The report folder: ``metrics.json``, ``predictions.csv``, ``figures/*.png``, a self-contained ``report.html``."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image  # comes with matplotlib

from dfutils.errors import ReportError
from dfutils.evaluation import plots, wording
from dfutils.evaluation.metrics import compute_metrics
from dfutils.evaluation.predictions import check_predictions, write_predictions
from dfutils.evaluation.style import FAKE_COLOR, LINE_COLOR, REAL_COLOR, dark_figures, figure_png
from dfutils.files import write_bytes, write_json, write_text
from dfutils.records import Picture

__all__ = ["BACKBONE_FACT", "Mistake", "ReportContent", "worst_mistakes", "write_report"]

logger = logging.getLogger(__name__)

BACKBONE_FACT = "Backbone weights"
"""Key of ``ReportContent.facts`` whose value stands in the report's first line."""

_THUMBNAIL_PIXELS = 240


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """A video that was called wrong.

    Attributes:
        video: Its name.
        is_fake: The truth.
        fake_probability: The score.
        dataset: Where it is from.
        picture: A face crop to show, if there is one.
    """

    video: str
    is_fake: bool
    fake_probability: float
    dataset: str = ""
    picture: Picture | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """What a report is about.

    Attributes:
        title: The report's heading.
        predictions: A row a video, as `dfutils.evaluation.metrics.compute_metrics` takes it; all columns are kept.
        threshold: Operating point, 0..1, chosen on other videos.
        facts: Detector, data set, split, versions …, in the order to show; `BACKBONE_FACT` is the first line.
        warnings: Sentences for the top, such as "These clips are made up by a program".
        history: Training curves as `dfutils.evaluation.plots.plot_history` takes them, if known.
        leaks: Sentences of a leak report.
        mistakes: Videos to show, the worst first; see `worst_mistakes`.
    """

    title: str
    predictions: pd.DataFrame
    threshold: float
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    history: pd.DataFrame | None = None
    leaks: Sequence[str] = ()
    mistakes: Sequence[Mistake] = ()


@dataclass(frozen=True, slots=True)
class _ReportFigure:
    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes


def write_report(folder: Path, content: ReportContent, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Write the report folder; each file appears whole or not at all, ``report.html`` last.

    Args:
        folder: Made where it is missing; files of an older report in it are replaced.
        content: What to report.
        resamples: Bootstrap resamples behind each interval.
        seed: Same seed, same content: same report.

    Returns:
        The document of ``metrics.json``.

    Raises:
        ReportError: The predictions are empty, ambiguous, without any score, or hold an impossible one.
    """
    predictions = check_predictions(content.predictions)
    metrics = compute_metrics(predictions, threshold=content.threshold, resamples=resamples, seed=seed)
    figures, not_drawn = _draw_figures(content, resamples=resamples, seed=seed)
    write_predictions(folder / "predictions.csv", predictions)
    write_json(folder / "metrics.json", metrics)
    for name in _FIGURES:
        (folder / "figures" / f"{name}.png").unlink(missing_ok=True)
    for figure in figures:
        write_bytes(folder / "figures" / f"{figure.name}.png", figure.light)
    write_text(folder / "report.html", _render(content, metrics, figures, not_drawn))
    logger.info("report of %d videos written to %s", metrics["videos"], folder)
    return metrics


def worst_mistakes(
    predictions: pd.DataFrame,
    *,
    threshold: float,
    count: int = 4,
    pictures: Mapping[str, Picture] | None = None,
) -> list[Mistake]:
    """The ``count`` videos of each class that were called wrong most confidently, false alarms first.

    Args:
        predictions: A row a video.
        threshold: Operating point, 0..1.
        count: Most mistakes a class.
        pictures: A face crop by the video's name, for those that have one.
    """
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    called_fake = rows["fake_probability"] >= threshold
    false_alarms = rows[~rows["is_fake"] & called_fake].sort_values("fake_probability", ascending=False, kind="stable")
    missed = rows[rows["is_fake"] & ~called_fake].sort_values("fake_probability", kind="stable")
    worst = pd.concat([false_alarms.head(count), missed.head(count)])
    return [
        Mistake(row.video, row.is_fake, row.fake_probability, row.dataset, (pictures or {}).get(row.video))
        for row in worst.itertuples()
    ]


_FIGURES: dict[str, tuple[str, str, Callable[[ReportContent, int, int], Figure]]] = {
    "scores": (
        "Scores",
        "Each tick is a video. A good detector has blue left of the line, orange right of it, little in between.",
        lambda content, _resamples, _seed: plots.plot_scores(content.predictions, threshold=content.threshold),
    ),
    "confusion": (
        "Right and wrong at the operating point",
        "Top left and bottom right are right; top right are false alarms, bottom left fakes that slipped through.",
        lambda content, _resamples, _seed: plots.plot_confusion(content.predictions, threshold=content.threshold),
    ),
    "confusion_half": (
        "The same at 0.5",
        "Where the probabilities are honest and no mistake costs more than another, 0.5 would be the line to draw.",
        lambda content, _resamples, _seed: plots.plot_confusion(content.predictions, threshold=0.5),
    ),
    "roc": (
        "ROC curve",
        "Every threshold at once: the further the curve is above the dashed line, the better; where the band touches "
        "the line, chance is not ruled out.",
        lambda content, resamples, seed: plots.plot_roc(content.predictions, resamples=resamples, seed=seed),
    ),
    "precision_recall": (
        "Precision and recall",
        "How clean the list of videos called FAKE stays while more of the fakes are found; the dashed line is chance.",
        lambda content, resamples, seed: plots.plot_precision_recall(
            content.predictions, resamples=resamples, seed=seed
        ),
    ),
    "reliability": (
        "Honesty of the probabilities",
        "Of the videos given about 0.7, about 70 % should be FAKE: points on the dashed line are honest, points above "
        "it too cautious about FAKE, points below it too quick to say FAKE.",
        lambda content, resamples, seed: plots.plot_reliability(content.predictions, resamples=resamples, seed=seed),
    ),
    "history": (
        "Training",
        "Where validation turns away while training goes on, the model learns by heart and no longer learns to see.",
        lambda content, _resamples, _seed: plots.plot_history(
            pd.DataFrame() if content.history is None else content.history
        ),
    ),
}


def _draw_figures(content: ReportContent, *, resamples: int, seed: int) -> tuple[list[_ReportFigure], list[str]]:
    figures, not_drawn = [], []
    for name, (title, caption, draw) in _FIGURES.items():
        if name == "history" and content.history is None:
            continue
        try:
            light = figure_png(draw(content, resamples, seed))
        except ReportError as error:
            not_drawn.append(str(error))
            continue
        with dark_figures():
            dark = figure_png(draw(content, resamples, seed))
        figures.append(_ReportFigure(name, title, caption, light, dark))
    return figures, not_drawn


def _render(
    content: ReportContent, metrics: Mapping[str, Any], figures: Sequence[_ReportFigure], not_drawn: Sequence[str]
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dfutils.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(png_uri=_png_uri, jpeg_uri=_jpeg_uri, decimal=wording.decimal)
    return environment.get_template("report.html").render(
        content=content,
        metrics=metrics,
        backbone=content.facts.get(BACKBONE_FACT, "not stated"),
        colors={"real": REAL_COLOR, "fake": FAKE_COLOR, "line": LINE_COLOR},
        words=wording,
        figures=figures,
        not_drawn=not_drawn,
    )


def _png_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _jpeg_uri(picture: Picture) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
