"""The page as an ASGI application, and ``dfutils app``, which serves it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.types import ASGIApp

from dfutils.app.limits import PageLimits

logger = logging.getLogger(__name__)

AFTER_THE_PAGE = 0.3
"""Seconds after the start of the server at which the detector starts to load."""
SOCKET_SECONDS = 5
"""An idle connection is closed after this time."""


def build_site(model: Path | str | None = None, *, limits: PageLimits | None = None) -> ASGIApp:
    """Return the page behind its guard; the detector loads in the background.

    Args:
        model: A run folder, or a name that ``dfutils models`` lists; None is the included detector.
        limits: Limits of the page.
    """
    limits = limits or PageLimits()
    for name, value in {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}.items():
        os.environ.setdefault(name, value)  # no telemetry and no downloads
    import gradio as gr
    from fastapi import FastAPI

    from dfutils.app.answer_page import STYLE
    from dfutils.app.examples import ExampleFolder, pictures_css
    from dfutils.app.guard import Guard
    from dfutils.app.page import Events, build_page
    from dfutils.app.service import Service
    from dfutils.app.uploads import Uploads

    uploads = Uploads(most=limits.uploads, keep_seconds=limits.keep_seconds)
    examples = ExampleFolder()
    service = Service(model, limits=limits)
    page = build_page(Events(service, uploads, examples))
    page.queue(default_concurrency_limit=None, max_size=3 * limits.waiting + 20, api_open=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Serve the first page before the detector's libraries are imported: both need Python's interpreter lock.
        asyncio.get_running_loop().call_later(AFTER_THE_PAGE, service.start)
        yield
        for one in (service, uploads, examples):
            one.close()

    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    system = ["system-ui", "sans-serif"]  # no font is downloaded
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
        css=STYLE + pictures_css(),
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
