"""From an upload to an answer, step by step: waiting, stages, verdict; nothing of it knows Gradio."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from dfutils.app.limits import PageLimits
from dfutils.app.queue import Line, LineFullError, Ticket
from dfutils.extraction.faces import face_detector
from dfutils.prediction.detector import Detector, load_detector
from dfutils.records import Extraction, FaceClip, Image, Verdict

logger = logging.getLogger(__name__)

LOADING = "Loading the detector: the first answer after a start takes longer"
CUTTING = "Step 1 of 2: reading the file and looking for faces"
SCORING = "Step 2 of 2: scoring the faces"
DRAWING = "Drawing heat maps: the first ones after a start take longer"
POLL_SECONDS = 0.2


class RefusedError(Exception):
    """There is no answer; the message is for the visitor and names no path."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A verdict and what it rests on.

    Attributes:
        token: Names it while the server remembers it.
        verdict: Whose ``input`` says nothing of the server's folders.
        extraction: Faces and motion; None where nobody was found.
        seconds: From its turn to the verdict.
    """

    token: str
    verdict: Verdict
    extraction: Extraction | None
    seconds: float


@dataclass(slots=True)
class _Stage:
    text: str


class Service:
    """One detector for all visitors.

    Args:
        model: A run folder, or a name of `dfutils.pretrained`; None is the usual one.
        limits: Of the page.
    """

    def __init__(self, model: Path | str | None = None, *, limits: PageLimits) -> None:
        self.limits = limits
        self._model = model
        self._line = Line(limits.line)
        self._loaded: Future[Detector] = Future()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Load the detector in the background: the page is there meanwhile."""
        threading.Thread(target=self._load, name="load-detector", daemon=True).start()

    @property
    def detector(self) -> Detector:
        """Waits until it is loaded.

        Raises:
            DfutilsError: It could not be loaded.
        """
        return self._loaded.result()

    @property
    def is_ready(self) -> bool:
        """Whether the detector is loaded, or failed to."""
        return self._loaded.done()

    def examine(self, path: Path, *, name: str) -> Iterator[str | Answer]:
        """Yield what happens, in words, and at last the answer.

        Args:
            path: A file of any origin.
            name: What the answer calls it, instead of its path.

        Raises:
            RefusedError: Too many are waiting, it took too long, or something broke.
        """
        stage = _Stage(CUTTING if self.is_ready else LOADING)
        return self._follow(stage, lambda: self._examine(path, name, stage))

    def heat_maps(self, token: str) -> Iterator[str | list[list[Image]]]:
        """Yield what happens, and at last the faces of each person with heat maps over them.

        Raises:
            RefusedError: As `examine`; or the answer is forgotten.
        """
        with self._lock:
            answer = self._answers.get(token)
        if answer is None or answer.extraction is None:
            raise RefusedError("These faces are not kept any more. Upload the file again to see heat maps.")
        clips = answer.extraction.clips[: self.limits.people]
        return self._follow(_Stage(DRAWING), lambda: _heat_maps(self.detector, clips))

    def close(self) -> None:
        """Serve nobody any more."""
        self._line.close()

    def _load(self) -> None:
        try:
            detector = load_detector(self._model)
            face_detector(detector.settings.extraction.min_detection_score)  # a damaged file is told now, to the log
            limits = self.limits
            self._loaded.set_result(
                detector.limited(max_seconds=limits.max_seconds, max_pixels=limits.max_pixels, limits=limits.media)
            )
        except Exception as error:
            logger.exception("The detector could not be loaded")
            self._loaded.set_exception(error)

    def _examine(self, path: Path, name: str, stage: _Stage) -> Answer:
        detector = self.detector
        start = time.perf_counter()
        stage.text = CUTTING

        def after_cut() -> None:
            stage.text = SCORING

        verdict, extraction = detector.examine(path, after_cut=after_cut)
        detail = verdict.detail.replace(str(path), name).replace(path.name, name)
        named = Verdict(name, verdict.fake_probability, verdict.label, verdict.reason, detail, verdict.tracks)
        answer = Answer(secrets.token_urlsafe(32), named, extraction, time.perf_counter() - start)
        with self._lock:
            self._answers[answer.token] = answer
            while len(self._answers) > self.limits.answers:
                self._answers.popitem(last=False)
        return answer

    def _follow(self, stage: _Stage, work: Callable[[], Answer | list[list[Image]]]) -> Iterator:
        try:
            ticket: Ticket = self._line.enter(work)
        except LineFullError:
            raise RefusedError(
                f"Busy: {_people(self.limits.line)} waiting already. Please try again in a few minutes."
            ) from None
        try:
            yield from self._words(ticket, stage)
            yield self._result(ticket)
        finally:
            ticket.leave()

    def _words(self, ticket: Ticket, stage: _Stage) -> Iterator[str]:
        said, begun = "", None
        while not ticket.wait(POLL_SECONDS if said else 0):
            place = ticket.place
            words = f"Busy: you are number {place} in line" if place else stage.text
            if words != said:
                yield words
            said = words
            if place or not self.is_ready:
                continue
            begun = begun or time.monotonic()
            if time.monotonic() - begun > self.limits.job_seconds:
                raise RefusedError(f"This took more than {self.limits.job_seconds:g} s. Try a shorter or smaller clip.")

    def _result(self, ticket: Ticket) -> Answer | list[list[Image]]:
        try:
            return ticket.result()
        except Exception:
            logger.exception("An answer failed")
            raise RefusedError("Something broke on the server; nothing is known about this file. Try again.") from None


def _heat_maps(detector: Detector, clips: Sequence[FaceClip]) -> list[list[Image]]:
    from dfutils.prediction.explanation import grad_cam, overlay

    def drawn(clip: FaceClip) -> list[Image]:
        kept: dict[int, Image] = {}  # a short track has some frames twice
        for image, crop, heat in zip(clip.images, clip.crops, grad_cam(detector, clip.images), strict=True):
            kept[crop.frame_index] = overlay(image, heat / max(float(heat.max()), 1e-9))
        return list(kept.values())

    return [drawn(clip) for clip in clips]


def _people(number: int) -> str:
    return f"{number} {'person is' if number == 1 else 'people are'}"
