"""From an upload to an answer: waiting, stages, verdict. Nothing here depends on Gradio."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from dfutils.app.limits import PageLimits
from dfutils.app.queue import JobQueue, QueueFullError, Ticket
from dfutils.extraction.faces import face_detector
from dfutils.prediction.detector import Detector, load_detector
from dfutils.records import Extraction, Image, Verdict
from dfutils.report.verdict_page import people_who_count

logger = logging.getLogger(__name__)

LOADING = "Loading the detector: the first answer after a start takes longer"
CUTTING = "Step 1 of 2: reading the file and looking for faces"
SCORING = "Step 2 of 2: scoring the faces"
DRAWING = "Drawing heat maps: the first ones after a start take longer"
POLL_SECONDS = 0.2


class RefusedError(Exception):
    """Raised when there is no answer; the message is for the visitor and contains no path."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A verdict with its evidence.

    Attributes:
        token: Key of the answer while the server remembers it.
        verdict: The verdict; its ``input`` and ``detail`` contain no path of the server.
        extraction: Faces and motion; None if no face was found.
        seconds: Time from the visitor's turn to the verdict.
    """

    token: str
    verdict: Verdict
    extraction: Extraction | None
    seconds: float


@dataclass(slots=True)
class _Stage:
    """What the detector is doing for a visitor, in words."""

    text: str


class Service:
    """One detector for all visitors.

    Args:
        model: A run folder, or a name of `dfutils.pretrained`; None is the included detector.
        limits: Limits of the page.
    """

    def __init__(self, model: Path | str | None = None, *, limits: PageLimits) -> None:
        self.limits = limits
        self._model = model
        self._queue = JobQueue(limits.waiting)
        self._loaded: Future[Detector] = Future()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

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
            DfutilsError: It could not be loaded.
        """
        return self._loaded.result()

    @property
    def is_ready(self) -> bool:
        """Whether loading has ended, successfully or not."""
        return self._loaded.done()

    def examine(self, path: Path, *, name: str) -> Iterator[str | Answer]:
        """Yield the progress in words and, at last, the answer.

        Args:
            path: A file from any source.
            name: Name of the file in the answer, instead of its path.

        Raises:
            RefusedError: Too many visitors are waiting, it took too long, or something went wrong.
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
            verdict = replace(verdict, input=name, detail=detail)
            answer = Answer(secrets.token_urlsafe(32), verdict, extraction, time.perf_counter() - start)
            with self._lock:
                self._answers[answer.token] = answer
                while len(self._answers) > self.limits.answers:
                    self._answers.popitem(last=False)
            return answer

        return self._follow(stage, work)

    def heat_maps(self, token: str) -> Iterator[str | dict[int, list[Image]]]:
        """Yield the progress in words and, at last, the faces with heat maps over them, by the person's number from 0.

        Raises:
            RefusedError: As for `examine`, or the answer is forgotten.
        """
        with self._lock:
            answer = self._answers.get(token)
        if answer is None or answer.extraction is None:
            raise RefusedError("These faces are no longer kept. Upload the file again to see heat maps.")
        shown, clips = people_who_count(answer.verdict)[: self.limits.people], answer.extraction.clips

        def work() -> dict[int, list[Image]]:
            from dfutils.prediction.explanation import heat_images

            return dict(zip(shown, heat_images(self.detector, [clips[person] for person in shown]), strict=True))

        return self._follow(_Stage(DRAWING), work)

    def close(self) -> None:
        """Shut down."""
        self._queue.close()

    def _follow(self, stage: _Stage, work: Callable[[], Answer | dict[int, list[Image]]]) -> Iterator:
        """Queue the work, yield position and stage whenever they change, and at last the result."""
        limits = self.limits
        try:
            ticket: Ticket = self._queue.enter(work)
        except QueueFullError:
            people = f"{limits.waiting} {'person is' if limits.waiting == 1 else 'people are'}"
            raise RefusedError(f"Busy: {people} waiting already. Please try again in a few minutes.") from None
        said, begun = "", None
        try:
            while not ticket.wait(POLL_SECONDS if said else 0):
                position = ticket.position
                words = f"Busy: you are number {position} in the queue" if position else stage.text
                if words != said:
                    yield words
                said = words
                if position or not self.is_ready:
                    continue
                begun = begun or time.monotonic()
                if time.monotonic() - begun > limits.job_seconds:
                    raise RefusedError(f"This took more than {limits.job_seconds:g} s. Try a shorter or smaller clip.")
            try:
                result = ticket.result()
            except Exception:
                logger.exception("An answer failed")
                raise RefusedError(
                    "Something went wrong on the server, so there is no verdict on this file. Try again."
                ) from None
            yield result
        finally:
            ticket.leave()
