"""From an upload to an answer: waiting, stages, verdict. Page and API share it; nothing here depends on either."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from dfutils.app.kept import Kept
from dfutils.app.limits import ServerLimits
from dfutils.app.queue import JobQueue, QueueClosedError, QueueFullError, Ticket
from dfutils.app.refusals import RefusedError
from dfutils.extraction.faces import face_detector
from dfutils.prediction.detector import Detector, load_detector
from dfutils.records import Extraction, Image, Verdict
from dfutils.report.verdict_page import people_who_count

logger = logging.getLogger(__name__)

LOADING = "Loading the detector: the first answer after a start takes longer"
CUTTING = "Step 1 of 2: reading the file and looking for faces"
SCORING = "Step 2 of 2: scoring the faces"
DRAWING = "Drawing heat maps: the first ones after a start take longer"
NOT_LOADED = "The detector could not be loaded; the server's log says why."
STOPPING = "The server is stopping. Please send the file again in a minute."
POLL_SECONDS = 0.2
RETRY_SECONDS = 30
"""Time after which a client who met a full queue may try again."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A verdict with its evidence.

    Attributes:
        verdict: The verdict; its ``input`` and ``detail`` contain no path of the server.
        extraction: Faces and motion; None if no face was found.
        seconds: Time from the client's turn to the verdict.
    """

    verdict: Verdict
    extraction: Extraction | None
    seconds: float


@dataclass(slots=True)
class _Stage:
    """What the detector is doing for a client, in words."""

    text: str


class Following(Generic[Result]):
    """Work in the queue: iterating yields its progress in words whenever that changes and, at last, its result.

    Iterating raises `RefusedError` if the work took too long, went wrong or was cancelled.

    Args:
        ticket: The client's place.
        stage: Says what happens once it is their turn.
        service: The detector's service.
    """

    def __init__(self, ticket: Ticket[Result], stage: _Stage, service: Service) -> None:
        self._ticket, self._stage, self._service = ticket, stage, service

    @property
    def position(self) -> int:
        """Number of clients in front; 0 while being served."""
        return self._ticket.position

    @property
    def words(self) -> str:
        """Say what is happening."""
        position = self.position
        return f"Busy: you are number {position} in the queue" if position else self._stage.text

    def leave(self) -> None:
        """Give up the place. Work that has begun is finished."""
        self._ticket.leave()

    def __iter__(self) -> Iterator[str | Result]:
        ticket, limits = self._ticket, self._service.limits
        said, begun = "", None
        try:
            while not ticket.wait(POLL_SECONDS if said else 0):
                if (words := self.words) != said:
                    yield words
                said = words
                if ticket.position or not self._service.is_ready:
                    continue
                begun = begun or time.monotonic()
                if time.monotonic() - begun > limits.job_seconds:
                    raise RefusedError(f"This took more than {limits.job_seconds:g} s. Try a shorter or smaller clip.")
            try:
                result = ticket.result()
            except RefusedError:
                raise
            except CancelledError:
                raise RefusedError(STOPPING, retry_seconds=RETRY_SECONDS) from None
            except Exception:
                logger.exception("An answer failed")
                raise RefusedError(
                    "Something went wrong on the server, so there is no verdict on this file. Try again.", status=500
                ) from None
            yield result
        finally:
            ticket.leave()


class Service:
    """One detector for all clients.

    Args:
        model: A run folder, or a name of `dfutils.pretrained`; None is the included detector.
        limits: Limits of page and API.
        on_answer: Called with every answer, to count it.
    """

    def __init__(
        self,
        model: Path | str | None = None,
        *,
        limits: ServerLimits,
        on_answer: Callable[[Answer], None] = lambda _: None,
    ) -> None:
        self.limits = limits
        self._model, self._on_answer = model, on_answer
        self._queue = JobQueue(limits.waiting)
        self._loaded: Future[Detector] = Future()
        self._answers: Kept[Answer] = Kept(most=limits.answers, seconds=limits.result_seconds)
        self._is_stopping = False

    def start(self) -> None:
        """Load the detector in the background, while the page is already served."""

        def load() -> None:
            limits = self.limits
            try:
                detector = load_detector(self._model)
                face_detector(detector.settings.extraction.min_detection_score)  # so that a damaged file fails now
                self._loaded.set_result(
                    detector.limited(max_seconds=limits.max_seconds, max_pixels=limits.max_pixels, limits=limits.media)
                )
            except Exception as error:
                logger.exception("The detector could not be loaded")
                self._loaded.set_exception(error)

        threading.Thread(target=load, name="load-detector", daemon=True).start()

    @property
    def detector(self) -> Detector:
        """The detector; waits until it is loaded.

        Raises:
            RefusedError: It could not be loaded.
        """
        if self._loaded.exception():
            raise RefusedError(NOT_LOADED)
        return self._loaded.result()

    @property
    def is_ready(self) -> bool:
        """Whether loading has ended, successfully or not."""
        return self._loaded.done()

    @property
    def state(self) -> Literal["loading", "ok", "failed", "stopping"]:
        """Whether the service gives verdicts, and if not, why."""
        if self._is_stopping:
            return "stopping"
        if not self.is_ready:
            return "loading"
        return "failed" if self._loaded.exception() else "ok"

    @property
    def queue_length(self) -> int:
        """Number of clients who are served or wait."""
        return len(self._queue)

    def examine(self, path: Path, *, name: str) -> Following[Answer]:
        """Queue a file, and return what follows its progress to the answer.

        Args:
            path: A file from any source.
            name: Name of the file in the answer, instead of its path.

        Raises:
            RefusedError: Too many clients are waiting, or the server is stopping.
        """
        stage = _Stage(CUTTING if self.is_ready else LOADING)

        def after_cut() -> None:
            stage.text = SCORING

        def work() -> Answer:
            detector = self.detector
            start = time.perf_counter()
            stage.text = CUTTING
            verdict, extraction = detector.examine(path, after_cut=after_cut)
            detail = verdict.detail.replace(str(path), name).replace(path.name, name)
            answer = Answer(replace(verdict, input=name, detail=detail), extraction, time.perf_counter() - start)
            self._on_answer(answer)
            return answer

        return self._enter(stage, work)

    def remember(self, answer: Answer) -> str:
        """Keep an answer for a while, for `heat_maps`, and return its key."""
        token = secrets.token_urlsafe(32)
        self._answers.put(token, answer)
        return token

    def heat_maps(self, token: str) -> Following[dict[int, dict[int, Image]]]:
        """Queue `dfutils.prediction.explanation.heat_images` of an answer's people, by their numbers from 0.

        Raises:
            RefusedError: As for `examine`, or the answer is forgotten.
        """
        answer = self._answers.get(token)
        if answer is None or answer.extraction is None:
            raise RefusedError("These faces are no longer kept. Upload the file again to see heat maps.")
        shown, clips = people_who_count(answer.verdict)[: self.limits.people], answer.extraction.clips

        def work() -> dict[int, dict[int, Image]]:
            from dfutils.prediction.explanation import heat_images

            return {person: heat_images(self.detector, clips[person]) for person in shown}

        return self._enter(_Stage(DRAWING), work)

    def stop(self) -> None:
        """Take no more work, and cancel what waits; what has begun is finished."""
        self._is_stopping = True
        self._queue.close()

    def _enter(self, stage: _Stage, work: Callable[[], Result]) -> Following[Result]:
        try:
            return Following(self._queue.enter(work), stage, self)
        except QueueFullError:
            waiting = self.limits.waiting
            people = f"{waiting} {'person is' if waiting == 1 else 'people are'}"
            raise RefusedError(
                f"Busy: {people} waiting already. Please try again in a few minutes.", retry_seconds=RETRY_SECONDS
            ) from None
        except QueueClosedError:
            raise RefusedError(STOPPING, retry_seconds=RETRY_SECONDS) from None
