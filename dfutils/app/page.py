"""The page itself, in Gradio: its controls, and what each of them does."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import GradioRootModel

from dfutils.app.answer_page import answer_html, status_html
from dfutils.app.examples import EXAMPLES, Example, ExampleFolder
from dfutils.app.refusals import RefusedError
from dfutils.app.service import NOT_LOADED, Answer, Service
from dfutils.app.uploads import Uploads
from dfutils.errors import DfutilsError
from dfutils.report.verdict_page import detector_html, heat_html

logger = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"

INTRODUCTION = """<div class="df-intro"><h1>Is this face forged?</h1>
<p>Upload a video or an image of somebody. A detector examines the faces in it and says how likely it is that they were
swapped or re-enacted, how certain that is, and what it is based on. It is often wrong, and it says how often.</p>
<p class="df-small">Up to {megabytes:g} MB and {minutes:g} minutes. Uploads are deleted after the answer and shown to
nobody else.</p></div>"""

WEBCAM = (TEMPLATES / "webcam.js").read_text(encoding="utf-8")
PLAYER = (TEMPLATES / "player.js").read_text(encoding="utf-8")
GONE = "There is no upload to examine. Choose a file and wait for its upload; each is deleted after its answer."


class Token(GradioRootModel):
    """Data model of the file component: the guard replaces a file by a token, see `dfutils.app.guard`."""

    root: dict[str, str] | None


Shown = tuple[Any, ...]
"""New values of file, status, result, answer token, heat-map button and heat maps."""


@dataclass(frozen=True)
class Events:
    """Handlers of the page's events.

    Attributes:
        service: Gives the answers.
        uploads: The uploaded files.
        examples: Files of the example buttons.
    """

    service: Service
    uploads: Uploads
    examples: ExampleFolder

    def examine_upload(self, sent: Any) -> Iterator[Shown]:
        """Examine an uploaded file, which is deleted afterwards."""
        with self.uploads.taken(sent.get("token") if isinstance(sent, dict) else None) as path:
            if path is None:
                yield _status(GONE, busy=False)
            else:
                yield from self._answer(path, "upload")

    def examine_example(self, example: Example) -> Iterator[Shown]:
        """Make an example, and examine it."""
        yield _status("Making the example", busy=True)
        try:
            path = self.examples.path(example)
        except DfutilsError:
            logger.exception("An example could not be made")
            yield _status("The example could not be made. Try a file of your own.", busy=False)
        else:
            yield from self._answer(path, example.title, is_fake=example.is_fake, is_example=True)

    def _answer(
        self, path: Path, name: str, *, is_fake: bool | None = None, is_example: bool = False
    ) -> Iterator[Shown]:
        service = self.service
        try:
            for step in service.examine(path, name=name):
                if isinstance(step, Answer):
                    result = answer_html(
                        step,
                        service.detector,
                        file=path,
                        people=service.limits.people,
                        is_fake=is_fake,
                        is_example=is_example,
                    )
                    heat_button = gr.Button(visible=step.extraction is not None)
                    token = service.remember(step)
                    yield None, status_html("Done", busy=False), result, token, heat_button, ""
                else:
                    yield _status(step, busy=True)
        except RefusedError as error:
            yield _status(str(error), busy=False)

    def draw_heat_maps(self, token: str) -> Iterator[Shown]:
        """Show heat maps over the faces of an answer."""
        try:
            for step in self.service.heat_maps(token):
                if isinstance(step, str):
                    yield status_html(step, busy=True), gr.skip(), ""
                else:
                    yield status_html("Done", busy=False), gr.Button(visible=False), heat_html(step)
        except RefusedError as error:
            yield status_html(str(error), busy=False), gr.skip(), ""

    def describe_detector(self) -> Iterator[str]:
        """Show which detector answers, once it is loaded."""
        yield gr.skip() if not self.service.is_ready else ""
        try:
            yield f'<div class="df-answer">{detector_html(self.service.detector)}</div>'
        except RefusedError:
            yield status_html(NOT_LOADED, busy=False)


def build_page(events: Events) -> gr.Blocks:
    """Lay the page out.

    Gradio never opens uploads itself: the guard leaves a token of ours, which is looked up in our own folder.
    """
    limits = events.service.limits
    with gr.Blocks(title="Is this face forged?", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(INTRODUCTION.format(megabytes=limits.upload_megabytes, minutes=limits.max_seconds / 60))
        file = gr.File(label="Video or image", file_count="single", height=150, elem_id="df-file")
        file.data_model = Token
        webcam = gr.Button("Film 4 seconds with the webcam", size="sm", elem_id="df-film")
        gr.HTML('<div id="df-webcam" class="df-intro"><p class="df-small" role="status" aria-live="polite"></p></div>')
        examine = gr.Button("Examine", variant="primary", elem_id="df-examine")
        gr.HTML('<div class="df-intro"><p class="df-small">Or try an example, made by a program:</p></div>')
        with gr.Row():
            buttons = [
                gr.Button(example.title, min_width=130, elem_id=f"df-{example.name}", elem_classes="df-example")
                for example in EXAMPLES
            ]
        status = gr.HTML(status_html("", busy=False))
        result = gr.HTML()
        answer = gr.State("")
        heat_button = gr.Button("Show heat maps", visible=False, elem_id="df-heat")
        heat = gr.HTML()
        with gr.Accordion("About the detector", open=False):
            about = gr.HTML(status_html("Loading the detector", busy=True))

        common: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
        asking: dict[str, Any] = {"outputs": [file, status, result, answer, heat_button, heat], **common}
        webcam.click(None, js=WEBCAM)
        examine.click(events.examine_upload, [file], api_name="examine", preprocess=False, **asking)
        for button, example in zip(buttons, EXAMPLES, strict=True):
            button.click(functools.partial(events.examine_example, example), api_name=example.name, **asking)
        heat_button.click(events.draw_heat_maps, [answer], [status, heat_button, heat], api_name="heat", **common)
        page.load(events.describe_detector, None, [about], **common)
        page.load(None, js=PLAYER)
    return page


def _status(text: str, *, busy: bool) -> Shown:
    """Show a status, and clear the previous result."""
    return gr.skip(), status_html(text, busy=busy), "", "", gr.Button(visible=False), ""
