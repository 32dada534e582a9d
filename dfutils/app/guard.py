"""Filter in front of Gradio: let through only what the page needs, store uploads in our own folder, set headers.

Gradio serves files, fetches URLs and offers an API for all of its events. The page needs none of that: whatever is not
on the list below is not found.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
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
"""Bytes that an upload's form may have around the file."""

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


class _RefusalError(Exception):
    """Raised where a request is refused, with the status and text of the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Guard:
    """ASGI middleware.

    Args:
        app: Gradio's application.
        uploads: Folder of the uploads.
        limits: Limits of the page.
    """

    def __init__(self, app: ASGIApp, *, uploads: Uploads, limits: PageLimits) -> None:
        self._app, self.uploads, self._limits = app, uploads, limits
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, answer it here, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                kept: list[Any] = [
                    one for one in message.get("headers", []) if one[0].lower() not in {b"server", b"x-powered-by"}
                ]
                kept += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": kept}
            await send(message)

        try:
            response = await self._handle(scope, receive, send_with_headers)
        except _RefusalError as refusal:
            # If a body is too long, the rest of it is not read.
            headers = {"connection": "close"} if refusal.status == 413 else None
            response = PlainTextResponse(refusal.text, refusal.status, headers)
        except ClientDisconnect:
            logger.info("%s: the client disconnected before the request was complete", scope["path"])
            return
        except Exception:
            logger.exception("%s failed", scope["path"])
            response = PlainTextResponse("Something went wrong on the server.", 500)
        if response and not begun:
            await response(scope, receive, send_with_headers)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Return the response, or None if Gradio has given it."""
        method, path, limits = scope["method"], scope["path"], self._limits
        is_upload = path == UPLOAD
        limit = limits.upload_bytes + FORM_BYTES if is_upload else MAX_JSON_BYTES
        too_long = _RefusalError(413, self._too_large if is_upload else "Too long.")
        for name, value in scope["headers"]:
            if name == b"content-length" and not (value.isdigit() and len(value) < 20 and int(value) <= limit):
                raise too_long
        total = 0

        async def receive_counted() -> Message:
            """Receive the body, and refuse it once it is too long, whatever its header claimed."""
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > limit:
                raise too_long
            return message

        if (method, path) == ("POST", UPLOAD):
            return await self._store_upload(Request(scope, receive_counted))
        if (method, path) == ("GET", PROGRESS):
            # Gradio's page asks for this beside an upload; the browser's own progress bar is enough.
            return StreamingResponse(iter([f"data: {json.dumps({'msg': 'done'})}\n\n"]), media_type="text/event-stream")
        allowed = ALLOWED.get("GET" if method == "HEAD" else method)
        if allowed is None or not allowed.fullmatch(path) or ".." in path:
            raise _RefusalError(404, "Not found")
        is_event = path.rstrip("/") == JOIN
        await self._app(scope, await _without_files(scope, receive_counted) if is_event else receive_counted, send)
        return None

    @property
    def _too_large(self) -> str:
        return f"Larger than {self._limits.upload_megabytes:g} MB. Cut the clip or scale it down."

    async def _store_upload(self, request: Request) -> Response:
        busy = _RefusalError(503, "Busy: too many uploads are waiting for their answer. Please try again soon.")
        not_one_file = _RefusalError(400, "This is not an upload of a single file.")
        if self._arriving >= self._limits.uploads:
            raise busy
        self._arriving += 1
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                form = await MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=4).parse()
                try:
                    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
                    if len(files) != 1:
                        raise not_one_file
                    if (files[0].size or 0) > self._limits.upload_bytes:
                        raise _RefusalError(413, self._too_large)
                    token = await asyncio.to_thread(self.uploads.store, files[0].file, files[0].filename or "")
                    return JSONResponse([token])
                finally:
                    await form.close()
        except TimeoutError:
            raise _RefusalError(408, "The upload took too long.") from None
        except UploadsFullError:
            raise busy from None
        except (MultiPartException, KeyError, ValueError):
            raise not_one_file from None
        finally:
            self._arriving -= 1


async def _without_files(scope: Scope, receive: Receive) -> Receive:
    """Replace an event's body by one without anything that Gradio would open, copy or fetch as a file.

    A description of a file becomes ``{"token": …}``, which means nothing to Gradio and is looked up in our own folder.
    """
    refusal = _RefusalError(400, "This is not an event of the page.")
    try:
        event = json.loads(await Request(scope, receive).body())
        clean = {
            "data": [_without_file(value) for value in event["data"]],
            "fn_index": int(event["fn_index"]),
            "session_hash": str(event["session_hash"]),
            "trigger_id": None if event.get("trigger_id") is None else int(event["trigger_id"]),
            "event_data": None,
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise refusal from None
    if not re.fullmatch(r"\w{1,64}", str(clean["session_hash"]), re.ASCII):
        raise refusal
    body = json.dumps(clean).encode()
    scope["headers"] = [one for one in scope["headers"] if one[0] not in {b"content-length", b"content-type"}]
    scope["headers"] += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay


def _without_file(value: Any) -> Any:
    if isinstance(value, dict):
        return {"token": value["path"]} if isinstance(value.get("path"), str) else None
    return value if isinstance(value, str) else None
