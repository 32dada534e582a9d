"""In front of Gradio: only what the page needs gets through, uploads end in a folder of ours, headers are set.

Gradio serves files, fetches addresses and offers an API for all of its events. None of that is needed here: what is not
on the list below does not exist.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dfutils.app.limits import PageLimits
from dfutils.app.uploads import Uploads, UploadsFullError

logger = logging.getLogger(__name__)

ALLOWED = {
    "GET": re.compile(
        r"/|/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json)/?"
        r"|/(assets|static|svelte)/[\w./-]+"
        r"|/gradio_api/(queue/data|startup-events|info|app_id/?|theme\.css|heartbeat/\w+)"
    ),
    "POST": re.compile(r"/gradio_api/(queue/join|cancel|reset)/?"),
}
UPLOAD, PROGRESS = "/gradio_api/upload", "/gradio_api/upload_progress"
JOIN = "/gradio_api/queue/join"
MAX_JSON_BYTES = 65_536
FORM_BYTES = 10_000
"""Of an upload, for what surrounds the file."""

HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
}

Answering: TypeAlias = Callable[[Request], Awaitable[Response]]


class _TooLargeError(Exception):
    pass


class _NonsenseError(Exception):
    pass


class Guard:
    """ASGI middleware.

    Args:
        app: Gradio's.
        uploads: Where uploads go.
        limits: Of the page.
    """

    def __init__(self, app: ASGIApp, *, uploads: Uploads, limits: PageLimits) -> None:
        self._app, self.uploads, self._limits = app, uploads, limits
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, answer it here, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        own: dict[tuple[str, str], Answering] = {("POST", UPLOAD): self._upload, ("GET", PROGRESS): _progress}
        limit = self._limits.upload_bytes + FORM_BYTES if path == UPLOAD else MAX_JSON_BYTES
        allowed = ALLOWED.get("GET" if method == "HEAD" else method)
        if _claimed_length(scope) > limit:
            response: Response = self._too_large()
        elif (method, path) in own:
            response = await own[method, path](Request(scope, _counted(receive, limit)))
        elif allowed is None or not allowed.fullmatch(path) or ".." in path:
            response = PlainTextResponse("Not found", 404)
        else:
            await self._pass_on(scope, _counted(receive, limit), send, is_question=path.rstrip("/") == JOIN)
            return
        await response(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, *, is_question: bool) -> None:
        """Gradio's answer; an error of its own tells nothing."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, await _harmless(scope, receive) if is_question else receive, noted)
        except _TooLargeError:
            response: Response = PlainTextResponse("Too long.", 413)
        except _NonsenseError:
            response = PlainTextResponse("This is no question that the page asks.", 400)
        except Exception:
            logger.exception("%s failed", scope["path"])
            response = PlainTextResponse("Something broke on the server.", 500)
        else:
            return
        if not begun:
            await response(scope, receive, send)

    async def _upload(self, request: Request) -> Response:
        if self._arriving >= self._limits.uploads:
            return _busy()
        self._arriving += 1
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                return await self._stored(request)
        except TimeoutError:
            return PlainTextResponse("The upload took too long.", 408)
        except _TooLargeError:
            return self._too_large()
        except UploadsFullError:
            return _busy()
        except (MultiPartException, KeyError, ValueError):
            return PlainTextResponse("This is no upload of one file.", 400)
        finally:
            self._arriving -= 1

    async def _stored(self, request: Request) -> Response:
        parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=4)
        form = await parser.parse()
        try:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if len(files) != 1:
                return PlainTextResponse("This is no upload of one file.", 400)
            (file,) = files
            if (file.size or 0) > self._limits.upload_bytes:
                return self._too_large()
            token = await asyncio.to_thread(self.uploads.store, file.file, file.filename or "")
            return JSONResponse([token])
        finally:
            await form.close()

    def _too_large(self) -> Response:
        text = f"Larger than {self._limits.upload_megabytes:g} MB. Cut the clip or scale it down."
        return PlainTextResponse(text, 413, headers={"connection": "close"})


async def _harmless(scope: Scope, receive: Receive) -> Receive:
    """A question to Gradio without anything that it would open, copy or fetch as a file.

    What describes a file becomes ``{"token": …}``, which means nothing to Gradio and is looked up in our own folder.
    """
    try:
        asked = json.loads(await Request(scope, receive).body())
        clean = {
            "data": [_no_file(value) for value in asked["data"]],
            "fn_index": int(asked["fn_index"]),
            "session_hash": _short_text(asked["session_hash"]),
            "trigger_id": None if asked.get("trigger_id") is None else int(asked["trigger_id"]),
            "event_data": None,
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _NonsenseError from None
    body = json.dumps(clean).encode()
    scope["headers"] = [one for one in scope["headers"] if one[0] not in {b"content-length", b"content-type"}]
    scope["headers"] += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    given = False

    async def replaying() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


def _no_file(value: Any) -> Any:
    if isinstance(value, dict):
        return {"token": value["path"]} if isinstance(value.get("path"), str) else None
    return value if isinstance(value, str) else None


def _short_text(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\w{1,64}", value, re.ASCII):
        raise ValueError
    return value


async def _progress(_: Request) -> Response:
    """What Gradio's page asks for beside an upload; the browser's own bar is enough."""
    return StreamingResponse(iter([f"data: {json.dumps({'msg': 'done'})}\n\n"]), media_type="text/event-stream")


def _busy() -> Response:
    return PlainTextResponse("Busy: too many uploads wait for their answer. Please try again soon.", 503)


def _claimed_length(scope: Scope) -> int:
    """Of ``content-length``; anything that is no number is as if it were too large."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 2**63
    return 0


def _counted(receive: Receive, limit: int) -> Receive:
    """The request's body, which ends in an error once it is too long, whatever its header claimed."""
    total = 0

    async def counting() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise _TooLargeError
        return message

    return counting


def _with_headers(send: Send) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept: list[Any] = [
                one for one in message.get("headers", []) if one[0].lower() not in {b"server", b"x-powered-by"}
            ]
            kept += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": kept}
        await send(message)

    return adding
