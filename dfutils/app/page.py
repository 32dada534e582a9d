"""The page itself, in Gradio: what there is to click, and what each click shows."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import GradioRootModel

from dfutils.app.answer_page import answer_html, detector_html, heat_html, status_html
from dfutils.app.examples import EXAMPLES, Example, ExampleFolder
from dfutils.app.limits import PageLimits
from dfutils.app.service import Answer, RefusedError, Service
from dfutils.app.uploads import Uploads
from dfutils.errors import DfutilsError

logger = logging.getLogger(__name__)

INTRODUCTION = """<div class="df-intro"><h1>Is this face forged?</h1>
<p>Upload a video or image of somebody. A detector looks at the faces in it and says how likely it is that they were
swapped or re-enacted, how sure it may be, and what it looked at. It is wrong often; it says how often.</p>
<p class="df-small">Up to {megabytes:g} MB and {minutes:g} minutes. Uploads are deleted after the answer and shown to
nobody else.</p></div>"""

WEBCAM = (Path(__file__).parent / "templates" / "webcam.js").read_text(encoding="utf-8")
GONE = "There is no upload to look at. Choose a file and wait until it is uploaded; each is deleted after its answer."


class Token(GradioRootModel):
    """What arrives of a file here, see `dfutils.app.guard`."""

    root: dict[str, str] | None


Shown = tuple[Any, ...]


def build_page(service: Service, uploads: Uploads, examples: ExampleFolder, *, limits: PageLimits) -> gr.Blocks:
    """Lay the page out.

    Of a file Gradio is given nothing to open: the guard leaves a token of ours, looked up in our own folder.

    Args:
        service: Answers.
        uploads: Where uploads lie.
        examples: Of the buttons.
        limits: Of the page.
    """
    with gr.Blocks(title="Is this face forged?", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(INTRODUCTION.format(megabytes=limits.upload_megabytes, minutes=limits.max_seconds / 60))
        file = gr.File(label="Video or image", file_count="single", height=150, elem_id="df-file")
        file.data_model = Token
        webcam = gr.Button("Film 4 seconds with the webcam", size="sm", elem_id="df-film")
        gr.HTML('<div id="df-webcam" class="df-intro"><p class="df-small" role="status" aria-live="polite"></p></div>')
        look = gr.Button("Look at it", variant="primary", elem_id="df-look")
        gr.HTML('<div class="df-intro"><p class="df-small">Or try one of these, made by a program:</p></div>')
        with gr.Row():
            buttons = [gr.Button(example.title, size="sm", min_width=130) for example in EXAMPLES]
        status = gr.HTML(status_html("", busy=False))
        result = gr.HTML()
        answer = gr.State("")
        heat_button = gr.Button("Show heat maps", visible=False, elem_id="df-heat")
        heat = gr.HTML()
        with gr.Accordion("About the detector", open=False):
            about = gr.HTML(status_html("Loading the detector", busy=True))

        outputs = [file, status, result, answer, heat_button, heat]
        asking: dict[str, Any] = {"outputs": outputs, "show_progress": "hidden", "concurrency_limit": None}
        webcam.click(None, js=WEBCAM)
        look.click(
            functools.partial(_look_at_upload, service, uploads), [file], api_name="look", preprocess=False, **asking
        )
        for button, example in zip(buttons, EXAMPLES, strict=True):
            event = functools.partial(_look_at_example, service, examples, example)
            button.click(event, api_name=example.name, **asking)
        heat_button.click(
            functools.partial(_show_heat, service),
            [answer],
            [status, heat_button, heat],
            api_name="heat",
            show_progress="hidden",
            concurrency_limit=None,
        )
        page.load(functools.partial(_about, service), None, [about], show_progress="hidden", concurrency_limit=None)
    return page


def _look_at_upload(service: Service, uploads: Uploads, sent: Any) -> Iterator[Shown]:
    token = sent.get("token") if isinstance(sent, dict) else None
    with uploads.taken(token) as path:
        if path is None:
            yield _shown(GONE, busy=False)
        else:
            yield from _steps(service, path, "upload")


def _look_at_example(service: Service, examples: ExampleFolder, example: Example) -> Iterator[Shown]:
    yield _shown("Making the example", busy=True)
    try:
        path = examples.path(example)
    except DfutilsError:
        logger.exception("An example could not be made")
        yield _shown("The example could not be made. Try a file of your own.", busy=False)
    else:
        yield from _steps(service, path, example.title, is_fake=example.is_fake)


def _steps(service: Service, path: Path, name: str, *, is_fake: bool | None = None) -> Iterator[Shown]:
    try:
        for step in service.examine(path, name=name):
            yield _answered(service, step, is_fake) if isinstance(step, Answer) else _shown(step, busy=True)
    except RefusedError as error:
        yield _shown(str(error), busy=False)


def _shown(text: str, *, busy: bool) -> Shown:
    """A status and nothing else; what an earlier answer showed goes."""
    return gr.skip(), status_html(text, busy=busy), "", "", gr.Button(visible=False), ""


def _answered(service: Service, answer: Answer, is_fake: bool | None) -> Shown:
    result = answer_html(answer, service.detector, people=service.limits.people, is_fake=is_fake)
    has_faces = answer.extraction is not None
    return None, status_html("Done", busy=False), result, answer.token, gr.Button(visible=has_faces), ""


def _show_heat(service: Service, token: str) -> Iterator[Shown]:
    try:
        for step in service.heat_maps(token):
            if isinstance(step, str):
                yield status_html(step, busy=True), gr.skip(), ""
            else:
                yield status_html("Done", busy=False), gr.Button(visible=False), heat_html(step)
    except RefusedError as error:
        yield status_html(str(error), busy=False), gr.skip(), ""


def _about(service: Service) -> Iterator[str]:
    yield gr.skip() if not service.is_ready else ""
    try:
        yield f'<div class="df-answer">{detector_html(service.detector)}</div>'
    except Exception:
        yield status_html("The detector could not be loaded; the server's log says why.", busy=False)
