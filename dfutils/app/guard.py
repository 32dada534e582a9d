"""Filter in front of page and API: count what arrives, let through only what the page needs, set headers.

Gradio serves files, fetches URLs and offers an API for all of its events. The page needs none of that: whatever is not
on the list below is not found, and its uploads are stored in our own folder. The API has its own routes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dfutils.app.receiving import Intake
from dfutils.app.refusals import RefusedError
from dfutils.app.service import STOPPING

if TYPE_CHECKING:
    from dfutils.app.metrics import Metrics

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
API_UPLOAD = "/v1/verdicts"
API = re.compile(r"/v1(/.*)?|/(healthz|metrics|openapi\.json)", re.DOTALL)
"""Paths that the API answers beside the page; without a page, it answers all."""
MAX_JSON_BYTES = 65_536
CLIENT_GONE = 499
"""Status under which a request is counted whose client has gone, as in nginx."""

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


class Guard:
    """ASGI middleware.

    Args:
        outer: Application of the server's start and end, and of the page.
        intake: Receives the uploads.
        has_page: Whether the page is served.
        api: The application that answers the paths `API`, and all others if there is no page; None without an API.
        metrics: Counts the requests to the API.
    """

    def __init__(
        self,
        outer: ASGIApp,
        *,
        intake: Intake,
        has_page: bool = True,
        api: ASGIApp | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._outer, self._has_page, self._api, self._metrics = outer, has_page, api, metrics
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, answer it here, or refuse it."""
        if scope["type"] == "lifespan":
            await self._outer(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        is_upload = (scope["method"], scope["path"]) in {("POST", UPLOAD), ("POST", API_UPLOAD)}
        is_for_api = self._api is not None and (not self._has_page or API.fullmatch(scope["path"]))
        body = _CountedBody(scope, receive, self._intake, is_upload=is_upload)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                kept: list[Any] = [
                    one for one in message.get("headers", []) if one[0].lower() not in {b"server", b"x-powered-by"}
                ]
                kept += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if status >= 400 and not body.is_read:
                    kept.append((b"connection", b"close"))  # the rest of the body is not read
                message = {**message, "headers": kept}
            await send(message)

        try:
            if is_for_api and self._api is not None:
                await self._api(scope, body.receive, send_with_headers)
                response = None
            else:
                response = await self._handle_page(scope, body.receive, send_with_headers)
        except RefusedError as refusal:
            response = PlainTextResponse(str(refusal), refusal.status, refusal.headers)
        except ClientDisconnect:
            logger.info("%s: the client disconnected before the request was complete", scope["path"])
            response, status = None, CLIENT_GONE
        except asyncio.CancelledError:  # the server ends, and has waited for as long as it can
            response = JSONResponse({"status": 503, "error": STOPPING}, 503)
        except Exception:
            logger.exception("%s failed", scope["path"])
            response = PlainTextResponse("Something went wrong on the server.", 500)
        if response and not status:
            await response(scope, receive, send_with_headers)
        if is_for_api and self._metrics is not None:
            self._metrics.count_request(scope["method"], getattr(scope.get("route"), "path", "other"), status)

    async def _handle_page(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Return the response, or None if Gradio has given it."""
        method, path = scope["method"], scope["path"]
        if (method, path) == ("POST", UPLOAD):
            return JSONResponse([(await self._intake.receive(Request(scope, receive), field="files")).token])
        if (method, path) == ("GET", PROGRESS):
            # Gradio's page asks for this beside an upload; the browser's own progress bar is enough.
            return StreamingResponse(iter([f"data: {json.dumps({'msg': 'done'})}\n\n"]), media_type="text/event-stream")
        allowed = ALLOWED.get("GET" if method == "HEAD" else method)
        if allowed is None or not allowed.fullmatch(path) or ".." in path:
            raise RefusedError("Not found", status=404)
        is_event = path.rstrip("/") == JOIN
        await self._outer(scope, await _without_files(scope, receive) if is_event else receive, send)
        return None


class _CountedBody:
    """The body of a request, which is refused once it is too long, whatever its header claims."""

    def __init__(self, scope: Scope, receive: Receive, intake: Intake, *, is_upload: bool) -> None:
        self._receive, self._total = receive, 0
        self._limit = intake.body_limit if is_upload else MAX_JSON_BYTES
        self._too_long = intake.too_large if is_upload else RefusedError("Too long.", status=413)
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self._claims_too_much = not (length.isdigit() and len(length) < 20 and int(length) <= self._limit)
        self.is_read = length == b"0" and b"transfer-encoding" not in headers

    async def receive(self) -> Message:
        if self._claims_too_much:
            raise self._too_long
        message = await self._receive()
        self._total += len(message.get("body", b""))
        if self._total > self._limit:
            raise self._too_long
        self.is_read = self.is_read or not message.get("more_body", False)
        return message


async def _without_files(scope: Scope, receive: Receive) -> Receive:
    """Replace an event's body by one without anything that Gradio would open, copy or fetch as a file.

    A description of a file becomes ``{"token": …}``, which means nothing to Gradio and is looked up in our own folder.
    """
    refusal = RefusedError("This is not an event of the page.", status=400)
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
