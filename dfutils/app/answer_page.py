"""An answer as HTML. It is self-contained, so that the server need not serve files, and everything is escaped."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path

from dfutils.app.service import Answer
from dfutils.prediction.detector import Detector, verdict_document
from dfutils.report import verdict_words as words
from dfutils.report.verdict_page import TEMPLATES, detector_html, verdict_html

STYLE = (TEMPLATES / "verdict.css").read_text(encoding="utf-8") + (
    Path(__file__).parent / "templates" / "page.css"
).read_text(encoding="utf-8")


def status_html(text: str, *, busy: bool) -> str:
    """Return the current status, which screen readers read aloud."""
    spinner = '<span class="df-spinner" aria-hidden="true"></span>' if busy else ""
    return f'<p class="df-status" role="status" aria-live="polite">{spinner}{escape(text)}</p>'


def answer_html(answer: Answer, detector: Detector, *, people: int, is_fake: bool | None = None) -> str:
    """Return the whole answer.

    Args:
        answer: Answer of the service.
        detector: Detector that gave it.
        people: Largest number of people whose faces are shown.
        is_fake: Ground truth, if known.
    """
    verdict = answer.verdict
    document = json.dumps(verdict_document(detector, [verdict]), indent=2)
    return (
        '<article class="df-answer" aria-label="Verdict">'
        f"{verdict_html(verdict, answer.extraction, detector, people=people, is_fake=is_fake)}"
        f"<section><h3>What was not examined</h3><p>{escape(words.not_examined(answer.extraction))}</p>"
        f"<h3>The detector</h3>{detector_html(detector)}"
        f"<p>{escape(words.SECOND_OPINION)} Answered in {answer.seconds:.1f} s; uploads have been deleted.</p>"
        '<p><a class="df-download" download="verdict.json" '
        f'href="data:application/json;base64,{base64.b64encode(document.encode()).decode()}">'
        "Download the verdict as JSON</a></p></section></article>"
    )
