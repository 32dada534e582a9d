"""Page and HTTP API as one ASGI application, and the server that ``dfutils app`` and ``dfutils serve`` run."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dfutils.app.access import ApiKeys
from dfutils.app.guard import Guard
from dfutils.app.limits import ServerLimits
from dfutils.app.receiving import Intake
from dfutils.app.service import Service
from dfutils.app.uploads import Uploads
from dfutils.errors import ServeError
from dfutils.extraction.isolation import close_children
from dfutils.pretrained import DEFAULT, resolve_detector

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dfutils.app.examples import ExampleFolder
    from dfutils.app.jobs import Jobs

logger = logging.getLogger(__name__)

AFTER_THE_PAGE = 0.3
"""Seconds after the start of the server at which the detector starts to load."""
SOCKET_SECONDS = 5
"""An idle connection is closed after this time."""
DRAIN_SECONDS = 30
"""Time for a verdict that is under way when the server is told to end."""
CLOSE_SECONDS = 2
"""Time after that for connections to end, such as the one that an open page keeps."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a server serves.

    Attributes:
        application: The ASGI application.
        service: Gives the answers.
        uploads: The uploaded files.
    """

    application: Guard
    service: Service
    uploads: Uploads


def build_site(
    model: Path | str | None = None,
    *,
    limits: ServerLimits | None = None,
    page: bool = True,
    api: bool = False,
    keys: ApiKeys | None = None,
) -> Site:
    """Return page, API or both behind their guard; the detector loads in the background.

    Args:
        model: A run folder, or a name that ``dfutils models`` lists; None is the included detector.
        limits: Limits of page and API.
        page: Serve the web page.
        api: Serve the HTTP API.
        keys: Who may use the API; None is everybody. The page asks for no key.
    """
    from fastapi import FastAPI

    if api:
        from dfutils.app.api import Api
        from dfutils.app.jobs import Jobs
        from dfutils.app.metrics import Metrics
    if page:
        for name, value in {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}.items():
            os.environ.setdefault(name, value)  # no telemetry and no downloads
        import gradio  # noqa: F401 - if it is missing, no folder is made
    limits = limits or ServerLimits()
    uploads = Uploads(most=limits.uploads, keep_seconds=limits.keep_seconds)
    intake = Intake(uploads, limits)
    to_close: list[Uploads | ExampleFolder | Jobs] = [uploads]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Serve the first page before the detector's libraries are imported: both need Python's interpreter lock.
        asyncio.get_running_loop().call_later(AFTER_THE_PAGE, service.start)
        yield
        service.stop()
        for one in to_close:
            one.close()

    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    if api:
        metrics = Metrics()
        service = Service(model, limits=limits, on_answer=metrics.count_answer)
        jobs = Jobs(service, uploads)
        to_close.append(jobs)
        metrics.show("dfutils_queue_files", "Files that are examined or wait.", lambda: service.queue_length)
        metrics.show("dfutils_uploads_stored", "Uploads on the disk.", lambda: len(uploads))
        metrics.show("dfutils_verdicts_kept", "Verdicts that can be fetched.", lambda: len(jobs.finished))
        metrics.show("dfutils_ready", "1 if the server gives verdicts, otherwise 0.", lambda: service.state == "ok")
        own = Api(service, intake, jobs, metrics, keys).application()
        site = Guard(outer, intake=intake, has_page=page, api=own, metrics=metrics)
    else:
        service = Service(model, limits=limits)
        site = Guard(outer, intake=intake)
    if page:
        to_close.append(_mount_page(outer, service, uploads))
    return Site(site, service, uploads)


def _mount_page(outer: FastAPI, service: Service, uploads: Uploads) -> ExampleFolder:
    """Mount the page, and return the folder of its examples, which is to be closed."""
    import gradio as gr

    from dfutils.app.answer_page import STYLE
    from dfutils.app.examples import ExampleFolder, pictures_css
    from dfutils.app.page import Events, build_page

    limits = service.limits
    examples = ExampleFolder()
    page = build_page(Events(service, uploads, examples))
    page.queue(default_concurrency_limit=None, max_size=3 * limits.waiting + 20, api_open=False)
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
    return examples


def serve(
    *,
    model: Path | str | None,
    host: str,
    port: int,
    limits: ServerLimits | None = None,
    page: bool = True,
    api: bool = False,
    keys: ApiKeys | None = None,
) -> None:
    """Serve page, API or both until interrupted; see `build_site`.

    At the end no more files are taken, and a verdict that is under way has half a minute to get to its client.

    Raises:
        ServeError: The address is not one of this machine, or its port is in use.
        RunError: There is no such model.
    """
    import uvicorn

    # Once: a name on the Hub may mean another commit later. An error now is not only in the log of a running server.
    model = resolve_detector(DEFAULT if model is None else model)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        code = getattr(error, "errno", None) or 0
        reason = os.strerror(code) if code > 0 else error
        raise ServeError(f"{host}:{port}: cannot be served ({reason}). Choose another --port or --host.") from error
    with listening:
        site = build_site(model, limits=limits, page=page, api=api, keys=keys)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                site.service.stop()
                for _ in range(DRAIN_SECONDS * 10):
                    if self.force_exit or not site.service.queue_length:
                        break
                    await asyncio.sleep(0.1)
                await super().shutdown(sockets)

        what = "Page and API" if page and api else "The page" if page else "The API"
        logger.info("%s: http://%s:%d (end with Ctrl-C)", what, host, listening.getsockname()[1])
        config = uvicorn.Config(
            site.application,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=SOCKET_SECONDS,
            timeout_graceful_shutdown=CLOSE_SECONDS,
            limit_concurrency=500,
        )
        try:
            Server(config).run(sockets=[listening])
        finally:
            close_children()  # otherwise this process would wait for a file that is being decoded
