"""An answer as HTML. It is self-contained, so that the server need not serve files, and everything is escaped."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path

from dfutils.app.service import Answer
from dfutils.files import json_text
from dfutils.prediction.detector import Detector, verdict_document
from dfutils.records import Extraction, Verdict
from dfutils.report import verdict_words as words
from dfutils.report.verdict_page import TEMPLATES, credentials_html, detector_html, verdict_html, verdict_page

STYLE = (TEMPLATES / "verdict.css").read_text(encoding="utf-8") + (
    Path(__file__).parent / "templates" / "page.css"
).read_text(encoding="utf-8")


def status_html(text: str, *, busy: bool) -> str:
    """Return the current status, which screen readers read aloud."""
    spinner = '<span class="df-spinner" aria-hidden="true"></span>' if busy else ""
    return f'<p class="df-status" role="status" aria-live="polite">{spinner}{escape(text)}</p>'


def answer_html(
    answer: Answer,
    detector: Detector,
    *,
    file: Path,
    people: int,
    is_fake: bool | None = None,
    is_example: bool = False,
) -> str:
    """Return the whole answer.

    Args:
        answer: Answer of the service.
        detector: Detector that gave it.
        file: The file, which is still there.
        people: Largest number of people whose faces are shown.
        is_fake: Ground truth, if known.
        is_example: Whether the file is an example, which the visitor does not have.
    """
    verdict, extraction = answer.verdict, answer.extraction
    document = json_text(verdict_document(detector, [verdict]))
    player = "" if extraction is None else _player(verdict, extraction, media=file if is_example else None)
    page = verdict_page(verdict, extraction, detector, file=file)
    return (
        '<article class="df-answer" aria-label="Verdict">'
        f"{verdict_html(verdict, extraction, detector, people=people, is_fake=is_fake, player=player)}"
        f"{credentials_html(verdict)}"
        f"<section><h3>What was not examined</h3><p>{escape(words.not_examined(extraction))}</p>"
        f"<h3>The detector</h3>{detector_html(detector)}"
        f"<p>{escape(words.SECOND_OPINION)} Answered in {answer.seconds:.1f} s; uploads have been deleted.</p>"
        f'<p><a class="df-download" download="verdict.html" href="{_data("text/html", page.encode())}">'
        "Save this answer as a page</a>, to read offline or to print, or "
        f'<a class="df-download" download="verdict.json" href="{_data("application/json", document.encode())}">'
        "the verdict as JSON</a>.</p></section></article>"
    )


def _player(verdict: Verdict, extraction: Extraction, *, media: Path | None) -> str:
    """Return the place where the visitor's browser plays the file; without ``media``, from the visitor's own disk."""
    info = extraction.info
    people = [
        {
            "name": f"person {number + 1}" if len(verdict.tracks) > 1 else "face",
            "style": "df-decides" if number == verdict.person else "",
            "frames": [
                {
                    "time": round(frame.time_seconds, 3),
                    "box": [
                        round(float(side), 4)
                        for side in (
                            frame.box.left / info.width,
                            frame.box.top / info.height,
                            frame.box.right / info.width,
                            frame.box.bottom / info.height,
                        )
                    ],
                }
                for frame in sorted(track.frames, key=lambda frame: frame.time_seconds)
            ],
        }
        for number, track in enumerate(verdict.tracks)
    ]
    source = "" if media is None else _data("video/mp4", media.read_bytes())
    return f'<div class="df-player" data-people="{escape(json.dumps(people))}" data-source="{source}"></div>'


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
