"""The HTTP API: a file in, the document of ``dfutils predict --json`` out."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import dfutils
from dfutils.app.access import ApiKeys, RateLimit
from dfutils.app.documents import (
    AboutDocument,
    ErrorDocument,
    HealthDocument,
    LimitsDocument,
    ProgressDocument,
    VerdictDocument,
    response,
)
from dfutils.app.guard import API_UPLOAD
from dfutils.app.jobs import Job, Jobs
from dfutils.app.metrics import CONTENT_TYPE, Metrics
from dfutils.app.receiving import Intake
from dfutils.app.refusals import RefusedError
from dfutils.app.service import Service
from dfutils.report import verdict_words as words

MAX_WAIT = 60.0
CHECK_SECONDS = 0.5
"""Time between two looks at whether a waiting client is still there."""
NO_STORE = {"cache-control": "no-store"}


class Patience(BaseModel):
    """The parameters of a request for a verdict."""

    model_config = ConfigDict(extra="forbid")  # a mistyped one is not ignored

    wait: float = Field(
        0,
        ge=0,
        le=MAX_WAIT,
        allow_inf_nan=False,
        description="Seconds to wait for the verdict. Without it, or if it takes longer, the answer is 202.",
    )


Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Security(HTTPBearer(auto_error=False, scheme_name="key", description="One of the server's API keys.")),
]

UPLOAD_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {"file": {"type": "string", "format": "binary", "description": "Video or image."}},
            }
        }
    },
}

_MEANINGS = {
    400: "The body is not a form with one file.",
    401: "The key is missing or wrong.",
    404: "There is no such verdict, or it is forgotten.",
    408: "The upload took too long.",
    413: "The file is too large.",
    415: "The body is not multipart/form-data.",
    422: "A parameter or the form's field is wrong.",
    429: "Too many files in a minute.",
    500: "The server failed at this file.",
    503: "Too many files wait, the detector is not loaded (yet), or the server is stopping.",
}


def _responses(*statuses: int, **others: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Describe refusals by their status, and other responses by ``_`` and their status."""
    refusals: dict[int | str, dict[str, Any]] = {
        status: response(ErrorDocument, _MEANINGS[status]) for status in statuses
    }
    return {int(name.removeprefix("_")): entry for name, entry in others.items()} | refusals


VERDICT = response(VerdictDocument, "The verdict.", Location="Where the verdict is kept.")
PROGRESS = response(
    ProgressDocument, "Not answered yet.", Location="Where the verdict will be.", Retry_After="Seconds."
)


class Api:
    """The operations of the API.

    Args:
        service: Gives the answers.
        intake: Receives the uploads.
        jobs: What was sent.
        metrics: The figures to show.
        keys: Who may use the API; None is everybody.
    """

    def __init__(self, service: Service, intake: Intake, jobs: Jobs, metrics: Metrics, keys: ApiKeys | None) -> None:
        self._service, self._intake, self._jobs, self._metrics, self._keys = service, intake, jobs, metrics, keys
        self._rate = RateLimit(service.limits.per_minute)

    def application(self) -> FastAPI:
        """Return the ASGI application."""
        app = FastAPI(
            title="dfutils",
            version=dfutils.__version__,
            description="Verdicts on whether the faces in a video or image are forged.",
            docs_url=None,  # its scripts would come from another server
            redoc_url=None,
            redirect_slashes=False,
        )
        for kind in (RefusedError, HTTPException, RequestValidationError, Exception):
            app.add_exception_handler(kind, _show_error)
        router = APIRouter(dependencies=[] if self._keys is None else [Depends(self.check_key)])
        who = [] if self._keys is None else [401]
        place = f"{API_UPLOAD}/{{verdict_id}}"
        router.add_api_route(
            API_UPLOAD,
            self.examine,
            methods=["POST"],
            openapi_extra={"requestBody": UPLOAD_FORM},
            responses=_responses(*who, 400, 408, 413, 415, 422, 429, 500, 503, _200=VERDICT, _202=PROGRESS),
        )
        router.add_api_route(
            place, self.verdict, responses=_responses(*who, 404, 422, 500, 503, _200=VERDICT, _202=PROGRESS)
        )
        router.add_api_route(
            place,
            self.forget,
            methods=["DELETE"],
            status_code=204,
            responses=_responses(*who, 404, 422, _204={"description": "Forgotten."}),
        )
        about = response(AboutDocument, "The detector.")
        router.add_api_route("/v1/detector", self.detector, responses=_responses(*who, 503, _200=about))
        figures = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."}
        router.add_api_route(
            "/metrics", self.figures, response_class=Response, responses=_responses(*who, _200=figures)
        )
        app.include_router(router)
        healthy = response(HealthDocument, "The server gives verdicts.")
        ill = response(HealthDocument, "It gives none; `status` says why.")
        app.add_api_route("/healthz", self.health, responses=_responses(_200=healthy, _503=ill))
        return app

    async def check_key(self, request: Request, credentials: Credentials) -> None:
        """Find out who asks.

        Raises:
            RefusedError: The key is missing or wrong.
        """
        owner = self._keys.owner(credentials.credentials) if self._keys and credentials else None
        if owner is None:
            refusal = RefusedError(
                "The API key is missing or wrong. Send one of the server's keys as 'Authorization: Bearer KEY'.",
                status=401,
            )
            refusal.headers["www-authenticate"] = "Bearer"
            raise refusal
        request.state.owner = owner

    async def examine(self, request: Request, patience: Annotated[Patience, Query()]) -> Response:
        """Send a file, and get the verdict or where it will be.

        The file is deleted as soon as the verdict is there.
        """
        seconds = self._rate.seconds_to_wait(_owner(request) or (request.client.host if request.client else ""))
        if seconds:
            raise RefusedError(
                f"More than {self._service.limits.per_minute} files in a minute. Try again in {math.ceil(seconds)} s.",
                status=429,
                retry_seconds=math.ceil(seconds),
            )
        sent = request.headers.get("content-type", "")
        if sent.partition(";")[0].strip().lower() != "multipart/form-data":
            raise RefusedError(
                f"The content type must be multipart/form-data, with the file in the field 'file'. Received: {sent!r}.",
                status=415,
            )
        job = self._jobs.start(await self._intake.receive(request, field="file"), owner=_owner(request))
        try:
            return await self._answer(request, job, patience.wait)
        except ClientDisconnect:
            self._jobs.forget(job)  # nobody knows its id
            raise

    async def verdict(self, request: Request, verdict_id: str, patience: Annotated[Patience, Query()]) -> Response:
        """Get a verdict, or how far it is."""
        return await self._answer(request, self._jobs.find(verdict_id, owner=_owner(request)), patience.wait)

    async def forget(self, request: Request, verdict_id: str) -> Response:
        """Forget a verdict; a file that still waits for it is not examined."""
        self._jobs.forget(self._jobs.find(verdict_id, owner=_owner(request)))
        return Response(status_code=204)

    async def detector(self) -> AboutDocument:
        """Get the detector, what was measured of it, and the limits of this server."""
        if not self._service.is_ready:
            raise RefusedError("The detector is being loaded. Try again in a few seconds.", retry_seconds=2)
        detector, limits = self._service.detector, self._service.limits
        shown = limits.model_dump(include=set(LimitsDocument.model_fields))
        return AboutDocument.model_validate(
            {
                "detector": detector.about,
                "measured": words.measurements(detector.folder),
                "weaknesses": words.weaknesses(detector.folder),
                "limits": shown,
            }
        )

    async def figures(self) -> Response:
        """Get the figures of the server for Prometheus."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def health(self) -> JSONResponse:
        """Learn whether the server gives verdicts; needs no key."""
        state = self._service.state
        return JSONResponse({"status": state}, 200 if state == "ok" else 503, NO_STORE)

    async def _answer(self, request: Request, job: Job, wait: float) -> Response:
        """Return the verdict if it is there in time, otherwise how far it is."""
        place = {"location": f"{API_UPLOAD}/{job.id}", **NO_STORE}
        if wait and not job.verdict.done():
            verdict, clock = asyncio.wrap_future(job.verdict), asyncio.get_running_loop().time
            verdict.add_done_callback(asyncio.Future.exception)  # otherwise asyncio logs one that nobody asked for
            until = clock() + wait
            while not verdict.done() and (left := until - clock()) > 0:
                await asyncio.wait({verdict}, timeout=min(CHECK_SECONDS, left))
                if await request.is_disconnected():
                    raise ClientDisconnect
        if job.verdict.done():
            return Response(job.verdict.result(), media_type="application/json", headers=place)
        progress = ProgressDocument(id=job.id, position=job.following.position, progress=job.following.words)
        return JSONResponse(progress.model_dump(), 202, {**place, "retry-after": "1"})


def _owner(request: Request) -> str:
    return getattr(request.state, "owner", "")


def _error(status: int, text: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"status": status, "error": text}, status, headers)


async def _show_error(request: Request, error: Exception) -> Response:
    match error:
        case RefusedError():
            return _error(error.status, str(error), error.headers)
        case HTTPException():
            texts = {404: "There is nothing here", 405: f"{request.method} is not possible here"}
            text = f"{texts.get(error.status_code, error.detail)}. /openapi.json describes what is."
            return _error(error.status_code, text, error.headers)
        case RequestValidationError():
            first = error.errors()[0]
            name, value = first["loc"][-1], str(first.get("input"))[:100]
            return _error(422, f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}. Received: {value!r}.")
    return _error(500, "Something went wrong on the server; its log says what.")
