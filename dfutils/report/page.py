"""Write a report folder: a self-contained ``report.html``, and its numbers, tables and figures as separate files."""

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
from dfutils.figures import results
from dfutils.figures.history import plot_history
from dfutils.figures.style import FAKE_COLOR, LINE_COLOR, REAL_COLOR, dark_svg, figure_png, figure_svg
from dfutils.files import write_bytes, write_json, write_text
from dfutils.records import Image
from dfutils.report import wording
from dfutils.report.elements import FigurePlan, Section
from dfutils.report.examples import Mistake
from dfutils.report.model_card import Card
from dfutils.statistics.formatting import probability_text, unbroken

logger = logging.getLogger(__name__)

BACKBONE_FACT = "Backbone weights"
"""Key of ``ReportContent.facts`` whose value is shown in the report's first line."""

_THUMBNAIL_PIXELS = 240


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """Content of a report.

    Attributes:
        title: Heading of the report.
        predictions: One row per video, as for `dfutils.evaluation.metrics.compute_metrics`; all columns are kept.
        threshold: Operating point, 0..1, chosen on other videos.
        answer_range: Probability up to which the answer is REAL, and that from which it is FAKE.
        facts: Detector, data set, split, versions …, in the order shown; that of `BACKBONE_FACT` comes first.
        warnings: Sentences for the top, such as "These clips are made up by a program".
        history: Training curves for `dfutils.figures.history.plot_history`, if known.
        leaks: Sentences of a leak report.
        mistakes: Videos with wrong verdicts, the worst first; see `dfutils.report.examples.worst_mistakes`.
        sections: Further sections, in order.
        baselines: Rows of `dfutils.evaluation.baselines` for the table of baselines.
        card: Makes the model card from the content of ``metrics.json``; it is also written as ``MODEL_CARD.md``.
    """

    title: str
    predictions: pd.DataFrame
    threshold: float
    answer_range: tuple[float, float]
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    history: pd.DataFrame | None = None
    leaks: Sequence[str] = ()
    mistakes: Sequence[Mistake] = ()
    sections: Sequence[Section] = ()
    baselines: Sequence[Mapping[str, Any]] = ()
    card: Callable[[Mapping[str, Any]], Card] | None = None


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A drawn figure."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: str


def write_report(folder: Path, content: ReportContent, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Write the report folder. Each file is written atomically, ``report.html`` last.

    Args:
        folder: Created if missing; an older report in it is replaced.
        content: What to report.
        resamples: Bootstrap resamples behind each interval.
        seed: The same seed and content give the same report.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ReportError: The predictions are empty or ambiguous, have no score, or contain an impossible one.
    """
    predictions = check_predictions(content.predictions)
    metrics = compute_metrics(predictions, threshold=content.threshold, resamples=resamples, seed=seed)
    metrics |= {section.name: section.document for section in content.sections if section.document is not None}
    if content.baselines:
        metrics["baselines"] = list(content.baselines)
    figures, not_drawn = _draw(standard_figures(content, resamples=resamples, seed=seed))
    drawn = {section.name: _draw(section.figures) for section in content.sections}
    if (folder / "metrics.json").is_file():  # an older report may have figures and tables that this one lacks
        patterns = ("figures/*.png", "figures/*.svg", "tables/*.csv", "report.html", "MODEL_CARD.md")
        for path in [path for pattern in patterns for path in folder.glob(pattern)]:
            path.unlink()
    write_predictions(folder / "predictions.csv", predictions)
    write_json(folder / "metrics.json", metrics)
    for table in (table for section in content.sections for table in section.tables):
        table.write(folder)
    for figure in [*figures, *(figure for of_section, _ in drawn.values() for figure in of_section)]:
        write_bytes(folder / "figures" / f"{figure.name}.png", figure.png)
        write_text(folder / "figures" / f"{figure.name}.svg", figure.svg)
    card = content.card(metrics) if content.card else None
    if card:
        write_text(folder / "MODEL_CARD.md", card.markdown())
    script = files("dfutils.report").joinpath("templates/report.js").read_text(encoding="utf-8")
    html = _template().render(
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
    write_text(folder / "report.html", html)
    logger.info("report of %d videos written to %s", metrics["videos"], folder)
    return metrics


def standard_figures(content: ReportContent, *, resamples: int, seed: int) -> list[FigurePlan]:
    """Return the figures that every report has."""
    rows, threshold, drawing = content.predictions, content.threshold, {"resamples": resamples, "seed": seed}
    plans = [
        FigurePlan(
            "answers",
            "Answers",
            "Each row is the truth. A good detector has REAL on the left, FAKE on the right, and few UNDECIDED.",
            lambda: results.plot_answers(rows, threshold=threshold),
        ),
        FigurePlan(
            "scores",
            "Scores",
            "Each tick is a video. A good detector puts REAL left of the line, FAKE right of it and little in between.",
            lambda: results.plot_scores(rows, threshold=threshold, answer_range=content.answer_range),
        ),
        FigurePlan(
            "confusion",
            "Confusion matrix at the operating point",
            "Top left and bottom right are correct; top right are false positives, bottom left missed fakes.",
            lambda: results.plot_confusion(rows, threshold=threshold),
        ),
        FigurePlan(
            "confusion_half",
            "Confusion matrix at 0.5",
            "If the probabilities are calibrated and both kinds of mistake cost the same, 0.5 is the best threshold.",
            lambda: results.plot_confusion(rows, threshold=0.5),
        ),
        FigurePlan(
            "roc",
            "ROC curve",
            "All thresholds at once: the higher the curve above the dashed line, the better. Where the band touches "
            "the line, chance is not ruled out.",
            lambda: results.plot_roc(rows, **drawing),
        ),
        FigurePlan(
            "precision_recall",
            "Precision and recall",
            "The share of videos called FAKE that are FAKE, as more fakes are found; the dashed line is chance.",
            lambda: results.plot_precision_recall(rows, **drawing),
        ),
        FigurePlan(
            "reliability",
            "Calibration of the probabilities",
            "About 70 % of the videos with a score of about 0.7 should be FAKE. Above the dashed line, the "
            "probabilities are too low; below it, they are too high.",
            lambda: results.plot_reliability(rows, **drawing),
        ),
    ]
    if content.history is not None:
        history = content.history
        plans.append(
            FigurePlan(
                "history",
                "Training",
                "If validation gets worse while training improves, the model overfits.",
                lambda: plot_history(history),
            )
        )
    return plans


def _draw(plans: Sequence[FigurePlan]) -> tuple[list[_Drawn], list[str]]:
    """Draw each figure; return those that could be drawn, and the reasons why others could not."""
    figures, not_drawn = [], []
    for plan in plans:
        try:
            figure = plan.draw()
        except ReportError as error:
            not_drawn.append(str(error))
            continue
        figures.append(_Drawn(plan.name, plan.title, plan.caption, figure_png(figure), figure_svg(figure)))
    return figures, not_drawn


def _template() -> jinja2.Template:
    def svg_uri(svg: str) -> str:
        return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"

    def jpeg_uri(image: Image) -> str:
        encoded = PIL.Image.fromarray(image)
        encoded.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
        buffer = io.BytesIO()
        encoded.save(buffer, format="JPEG", quality=88)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dfutils.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "svg_uri": svg_uri, "jpeg_uri": jpeg_uri, "dark": dark_svg, "unbroken": unbroken,
        "probability": probability_text,
    }  # fmt: skip
    return environment.get_template("report.html")
