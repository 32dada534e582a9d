"""The page as an ASGI application, and ``dfutils app``, which serves it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from starlette.types import ASGIApp

from dfutils.app.limits import PageLimits

logger = logging.getLogger(__name__)

AFTER_THE_PAGE = 0.3
"""Seconds from the start of the server to that of the detector."""
SOCKET_SECONDS = 5
"""An idle connection is closed after this time."""


def build_site(model: Path | str | None = None, *, limits: PageLimits | None = None) -> ASGIApp:
    """The page, behind its guard; the detector loads in the background.

    Args:
        model: A run folder, or a name that ``dfutils models`` lists; None is the usual one.
        limits: Of the page.
    """
    with _collector_off():
        return _build_site(model, limits or PageLimits())


@contextmanager
def _collector_off() -> Iterator[None]:
    """Hardly anything that a start makes is garbage: looking for it took a fifth of the time until the page answers."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _build_site(model: Path | str | None, limits: PageLimits) -> ASGIApp:
    for name, value in {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}.items():
        os.environ.setdefault(name, value)  # nothing is told to anybody, and nothing is fetched
    import gradio as gr
    from fastapi import FastAPI

    from dfutils.app.answer_page import STYLE
    from dfutils.app.examples import ExampleFolder
    from dfutils.app.guard import Guard
    from dfutils.app.page import build_page
    from dfutils.app.service import Service
    from dfutils.app.uploads import Uploads

    uploads = Uploads(most=limits.uploads, keep_seconds=limits.keep_seconds)
    examples = ExampleFolder()
    service = Service(model, limits=limits)
    page = build_page(service, uploads, examples, limits=limits)
    page.queue(default_concurrency_limit=None, max_size=3 * limits.line + 20, api_open=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The first page goes out before the detector's libraries are loaded: both want Python's one interpreter lock.
        asyncio.get_running_loop().call_later(AFTER_THE_PAGE, service.start)
        yield
        for one in (service, uploads, examples):
            one.close()

    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    system = ["system-ui", "sans-serif"]  # no font is fetched
    gr.mount_gradio_app(
        outer,
        page,
        path="/",
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        max_file_size=limits.upload_bytes,
        theme=gr.themes.Default(primary_hue="slate", font=system, font_mono=["ui-monospace", "monospace"]),
        css=STYLE,
    )
    return Guard(outer, uploads=uploads, limits=limits)


def serve(*, model: Path | str | None, host: str, port: int, limits: PageLimits | None = None) -> None:
    """Serve the page until interrupted."""
    import uvicorn

    logger.info("The page: http://%s:%d (end with Ctrl-C)", host, port)
    uvicorn.run(
        build_site(model, limits=limits),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=SOCKET_SECONDS,
        limit_concurrency=500,
    )
