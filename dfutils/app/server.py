"""The page as an ASGI application, and ``dfutils app``, which serves it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.types import ASGIApp

from dfutils.app.limits import PageLimits

logger = logging.getLogger(__name__)

SOCKET_SECONDS = 5
"""An idle connection is closed after this time."""


def build_site(model: Path | str | None = None, *, limits: PageLimits | None = None) -> ASGIApp:
    """The page, behind its guard; the detector loads in the background.

    Args:
        model: A run folder, or a name that ``dfutils models`` lists; None is the usual one.
        limits: Of the page.
    """
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

    limits = limits or PageLimits()
    uploads = Uploads(most=limits.uploads, keep_seconds=limits.keep_seconds)
    examples = ExampleFolder()
    service = Service(model, limits=limits)
    page = build_page(service, uploads, examples, limits=limits)
    page.queue(default_concurrency_limit=None, max_size=3 * limits.line + 20, api_open=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
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
