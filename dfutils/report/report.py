"""The report folder: a self-contained ``report.html``, and all that is in it as files of their own."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import PIL.Image  # comes with matplotlib

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import compute_metrics
from dfutils.evaluation.predictions import check_predictions, write_predictions
from dfutils.figures import plots
from dfutils.figures.style import FAKE_COLOR, LINE_COLOR, REAL_COLOR, dark_svg, figure_png, figure_svg
from dfutils.files import write_bytes, write_json, write_text
from dfutils.records import Image
from dfutils.report import wording
from dfutils.report.model_card import Card
from dfutils.report.sections import FigurePlan, Section, write_table
from dfutils.statistics.formatting import decimal, unbroken

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
        image: A face crop to show, if there is one.
        reason: What may have led the detector astray, if anything is known.
    """

    video: str
    is_fake: bool
    fake_probability: float
    dataset: str = ""
    image: Image | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """What a report is about.

    Attributes:
        title: The report's heading.
        predictions: A row a video, as `dfutils.evaluation.metrics.compute_metrics` takes it; all columns are kept.
        threshold: Operating point, 0..1, chosen on other videos.
        facts: Detector, data set, split, versions …, in the order to show; `BACKBONE_FACT` is the first line.
        warnings: Sentences for the top, such as "These clips are made up by a program".
        history: Training curves as `dfutils.figures.plots.plot_history` takes them, if known.
        leaks: Sentences of a leak report.
        mistakes: Videos to show, the worst first; see `worst_mistakes`.
        sections: What else was measured, in the order to show.
        baselines: More rows for the table of answers that look at less than the detector does.
        card: Writes the model card from ``metrics.json``; it is also written as ``MODEL_CARD.md``.
    """

    title: str
    predictions: pd.DataFrame
    threshold: float
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    history: pd.DataFrame | None = None
    leaks: Sequence[str] = ()
    mistakes: Sequence[Mistake] = ()
    sections: Sequence[Section] = ()
    baselines: Sequence[Mapping[str, Any]] = ()
    card: Callable[[Mapping[str, Any]], Card] | None = None


@dataclass(frozen=True, slots=True)
class _ReportFigure:
    name: str
    title: str
    caption: str
    png: bytes
    svg: str


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
    metrics |= {section.name: section.document for section in content.sections if section.document is not None}
    if content.baselines:
        metrics["baselines"] = list(content.baselines)
    figures, not_drawn = _draw(_standard_figures(content, resamples=resamples, seed=seed))
    drawn = {section.name: _draw(section.figures) for section in content.sections}
    _remove_older(folder)
    write_predictions(folder / "predictions.csv", predictions)
    write_json(folder / "metrics.json", metrics)
    for table in (table for section in content.sections for table in section.tables):
        write_table(folder, table)
    for figure in [*figures, *(figure for some, _ in drawn.values() for figure in some)]:
        write_bytes(folder / "figures" / f"{figure.name}.png", figure.png)
        write_text(folder / "figures" / f"{figure.name}.svg", figure.svg)
    card = content.card(metrics) if content.card else None
    if card:
        write_text(folder / "MODEL_CARD.md", card.markdown())
    write_text(folder / "report.html", _render(content, metrics, figures, not_drawn, drawn, card=card))
    logger.info("report of %d videos written to %s", metrics["videos"], folder)
    return metrics


def _remove_older(folder: Path) -> None:
    """Figures and tables of an older report, which this one may not have; nothing where there is no report."""
    if not (folder / "metrics.json").is_file():
        return
    for path in [*folder.glob("figures/*.png"), *folder.glob("figures/*.svg"), *folder.glob("tables/*.csv")]:
        path.unlink()
    for path in (folder / "report.html", folder / "MODEL_CARD.md"):
        path.unlink(missing_ok=True)


def worst_mistakes(
    predictions: pd.DataFrame,
    *,
    threshold: float,
    count: int = 4,
    images: Mapping[str, Image] | None = None,
    reasons: Mapping[str, str] | None = None,
) -> list[Mistake]:
    """The ``count`` videos of each class that were called wrong most confidently, false alarms first.

    Args:
        predictions: A row a video.
        threshold: Operating point, 0..1.
        count: Most mistakes a class.
        images: A face crop by the video's name, for those that have one.
        reasons: What may have led the detector astray, by the video's name.
    """
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    called_fake = rows["fake_probability"] >= threshold
    false_alarms = rows[~rows["is_fake"] & called_fake].sort_values("fake_probability", ascending=False, kind="stable")
    missed = rows[rows["is_fake"] & ~called_fake].sort_values("fake_probability", kind="stable")
    worst = pd.concat([false_alarms.head(count), missed.head(count)])
    return [
        Mistake(
            row.video,
            row.is_fake,
            row.fake_probability,
            row.dataset,
            (images or {}).get(row.video),
            (reasons or {}).get(row.video, ""),
        )
        for row in worst.itertuples()
    ]


def _standard_figures(content: ReportContent, *, resamples: int, seed: int) -> list[FigurePlan]:
    rows, threshold, drawing = content.predictions, content.threshold, {"resamples": resamples, "seed": seed}
    plans = [
        FigurePlan(
            "scores",
            "Scores",
            "Each tick is a video. A good detector has blue left of the line, orange right of it, little in between.",
            lambda: plots.plot_scores(rows, threshold=threshold),
        ),
        FigurePlan(
            "confusion",
            "Right and wrong at the operating point",
            "Top left and bottom right are right; top right are false alarms, bottom left fakes that slipped through.",
            lambda: plots.plot_confusion(rows, threshold=threshold),
        ),
        FigurePlan(
            "confusion_half",
            "The same at 0.5",
            "Where the probabilities are honest and no mistake costs more than another, 0.5 would be the line to draw.",
            lambda: plots.plot_confusion(rows, threshold=0.5),
        ),
        FigurePlan(
            "roc",
            "ROC curve",
            "Every threshold at once: the further the curve is above the dashed line, the better; where the band "
            "touches the line, chance is not ruled out.",
            lambda: plots.plot_roc(rows, **drawing),
        ),
        FigurePlan(
            "precision_recall",
            "Precision and recall",
            "How clean the list of videos called FAKE stays while more of the fakes are found; the dashed line is "
            "chance.",
            lambda: plots.plot_precision_recall(rows, **drawing),
        ),
        FigurePlan(
            "reliability",
            "Honesty of the probabilities",
            "Of the videos given about 0.7, about 70 % should be FAKE: points on the dashed line are honest, points "
            "above it too cautious about FAKE, points below it too quick to say FAKE.",
            lambda: plots.plot_reliability(rows, **drawing),
        ),
    ]
    if content.history is not None:
        history = content.history
        plans.append(
            FigurePlan(
                "history",
                "Training",
                "Where validation turns away while training goes on, the model learns by heart and no longer learns "
                "to see.",
                lambda: plots.plot_history(history),
            )
        )
    return plans


def _draw(plans: Sequence[FigurePlan]) -> tuple[list[_ReportFigure], list[str]]:
    """What could be drawn, and the reasons why the rest could not."""
    figures, not_drawn = [], []
    for plan in plans:
        try:
            drawn = plan.draw()
        except ReportError as error:
            not_drawn.append(str(error))
            continue
        figures.append(_ReportFigure(plan.name, plan.title, plan.caption, figure_png(drawn), figure_svg(drawn)))
    return figures, not_drawn


def _render(
    content: ReportContent,
    metrics: Mapping[str, Any],
    figures: Sequence[_ReportFigure],
    not_drawn: Sequence[str],
    drawn: Mapping[str, tuple[Sequence[_ReportFigure], Sequence[str]]],
    *,
    card: Card | None,
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dfutils.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(svg_uri=_svg_uri, jpeg_uri=_jpeg_uri, decimal=decimal, dark=dark_svg)
    environment.filters["tidy"] = unbroken
    script = files("dfutils.report").joinpath("templates/report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        content=content,
        metrics=metrics,
        backbone=content.facts.get(BACKBONE_FACT, "not stated"),
        colors={"real": REAL_COLOR, "fake": FAKE_COLOR, "line": LINE_COLOR},
        words=wording,
        figures=figures,
        not_drawn=not_drawn,
        drawn=drawn,
        card=card,
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _svg_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _jpeg_uri(image: Image) -> str:
    encoded = PIL.Image.fromarray(image)
    encoded.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    encoded.save(buffer, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
