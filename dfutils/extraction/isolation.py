"""Extraction of untrusted files in a resource-limited child process, which malicious media can crash but not escape.

A child serves one file after another and is replaced only when it dies, so that its start-up of half a second is paid
once. Children are new interpreters and not forks: a process that runs TensorFlow must not fork.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from dfutils.errors import DecoderError, MediaError, TooLargeError, UnreadableError
from dfutils.extraction.messages import read_parts, unpack_credentials, unpack_error, unpack_extraction
from dfutils.extraction.provenance import trust_list
from dfutils.records import ContentCredentials, CredentialsState, Extraction
from dfutils.settings import ExtractionSettings, MediaLimits

logger = logging.getLogger(__name__)

ATTEMPTS = 2
"""A file whose child died is tried once more: the system may have been short of memory."""

CREDENTIALS_SECONDS = 10
"""Reading credentials takes milliseconds; the time that a file may take is for its faces."""

COMMAND = [sys.executable, "-P", "-m", "dfutils.extraction.child"]

_CPU_SIGNALS = {getattr(signal, "SIGXCPU", None)}
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""There is one child per core: more threads, each with its own memory arena, would only compete."""


def extract_clips_safely(
    path: Path,
    settings: ExtractionSettings,
    *,
    frames: Sequence[Path] = (),
    threads: int = 1,
    limited: bool = True,
) -> Extraction:
    """Run `dfutils.extraction.clips.extract_clips` in a child process, with the limits of ``settings``.

    ``limited=False`` sets no limits, for trusted files; ``threads=0`` lets FFmpeg choose the number of threads.

    Raises:
        MediaError: One of its subclasses: `TooLargeError` for a file that exceeds a limit, `UnreadableError` for one
            that crashes the decoder.
        WeightsError: The weight file of the face detector in the package is missing or damaged.
        DecoderError: The child process does not start on this machine.
    """
    request = {
        "task": "extract",
        "path": str(path),
        "frames": [str(frame) for frame in frames],
        "settings": settings.model_dump(mode="json"),
        "threads": threads,
        "limited": limited,
    }
    parts = _ask(request, path, settings.limits if limited else None)
    try:
        own_error = unpack_error(parts)
        if own_error is None:
            return unpack_extraction(parts)
    except (ValueError, RecursionError) as damage:
        raise UnreadableError(f"{path}: decoding failed ({damage}). Re-encode or skip the file.") from damage
    raise own_error


def read_credentials_safely(path: Path, settings: ExtractionSettings) -> ContentCredentials:
    """Run `dfutils.extraction.provenance.read_credentials` in a child process, within `CREDENTIALS_SECONDS`.

    A file that crashes the parser, or takes too long, has unreadable credentials: the answer is about its faces.

    Raises:
        UnreadableError: `close_children` ended the child meanwhile.
        DfutilsError: The list of trusted authorities cannot be read.
        DecoderError: The child process does not start on this machine.
    """
    limits = settings.limits.model_copy(
        update={
            name: min(getattr(settings.limits, name), CREDENTIALS_SECONDS) for name in ("cpu_seconds", "wall_seconds")
        }
    )
    request = {
        "task": "credentials",
        "path": str(path),
        "settings": settings.model_copy(update={"limits": limits}).model_dump(mode="json"),
        "trusted": trust_list(),
        "limited": True,
    }
    try:
        return unpack_credentials(_ask(request, path, limits))
    except _ClosedError:
        raise
    except (MediaError, ValueError, RecursionError) as error:
        logger.warning("%s: its content credentials cannot be read (%s)", path, error)
        return ContentCredentials(CredentialsState.UNREADABLE)


def _ask(request: dict[str, Any], path: Path, limits: MediaLimits | None) -> list[bytes]:
    """Return the answer of a child to a request about a file; None sets no time limit."""
    line = json.dumps({"folder": str(Path.cwd()), **request}).encode() + b"\n"
    for attempt in itertools.count(1):
        child = _take_child()
        try:
            parts = child.ask(line, limits.wall_seconds if limits else None)
        except _ChildEndedError as end:
            if not end.was_ready and end.returncode > 0:
                raise DecoderError(
                    f"the decoder process does not start ({_reason_of_failure() or end.name}). "
                    "Install the package again."
                ) from None
            error = end.media_error(path, limits or MediaLimits())
            if isinstance(error, TooLargeError) or end.is_closed or attempt == ATTEMPTS:
                raise error from None
            logger.warning("%s: the decoder process died (%s); trying once more", path, end.name)
        except BaseException:
            child.kill()
            raise
        else:
            _give_back(child)
            return parts
    raise AssertionError("the loop has no other end")


def start_child() -> None:
    """Start a child in the background while the caller does something else, unless one is idle already."""
    with _lock:
        if _idle:
            return
    _give_back(_Child())


def close_children() -> None:
    """End all children of this process, including busy ones; the next extraction starts new ones."""
    with _lock:
        for child in list(_alive):
            child.close()
        for child in _idle:
            child.kill()
        _idle.clear()


class _ChildEndedError(Exception):
    """The child died before it answered.

    Attributes:
        returncode: Return code as in `subprocess.Popen`.
        is_late: Whether the child was killed because it took too long.
        is_closed: Whether `close_children` ended it.
        was_ready: Whether it had started; otherwise no file is to blame.
    """

    def __init__(self, returncode: int, *, is_late: bool, is_closed: bool, was_ready: bool) -> None:
        super().__init__(returncode)
        self.returncode, self.is_late, self.is_closed, self.was_ready = returncode, is_late, is_closed, was_ready

    @property
    def name(self) -> str:
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.returncode).name
        return f"exit code {self.returncode}"

    def media_error(self, path: Path, limits: MediaLimits) -> MediaError:
        """Explain the end as an error of the file that the child worked on."""
        if self.is_late:
            return TooLargeError(
                f"{path}: took more than {limits.wall_seconds:g} s. Cut it, or raise limits.wall_seconds."
            )
        if self.returncode in {-number for number in _CPU_SIGNALS if number}:
            return TooLargeError(
                f"{path}: took more than {limits.cpu_seconds} s of CPU time. Cut it, or raise limits.cpu_seconds."
            )
        kind = _ClosedError if self.is_closed else UnreadableError
        return kind(f"{path}: the decoder crashed twice ({self.name}). Re-encode or skip the file.")


class _ClosedError(UnreadableError):
    """Raised instead of an answer that nobody waits for any more: `close_children` ended the child."""


class _Child:
    def __init__(self) -> None:
        self.environment = _relevant_environment()
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
        )
        self._is_late = self._is_closed = self._is_ready = False
        with _lock:
            _alive.add(self)

    def ask(self, request: bytes, wall_seconds: float | None) -> list[bytes]:
        """Send one line and wait for its answer; raise `_ChildEndedError` if none comes in time."""
        timer = threading.Timer(wall_seconds, self.time_out) if wall_seconds else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            assert self._process.stdin and self._process.stdout
            if not self._is_ready:
                read_parts(self._process.stdout)
                self._is_ready = True
            self._process.stdin.write(request)
            self._process.stdin.flush()
            return read_parts(self._process.stdout)
        except (EOFError, BrokenPipeError):
            self.kill()
            returncode = self._process.wait()
            raise _ChildEndedError(
                returncode, is_late=self._is_late, is_closed=self._is_closed, was_ready=self._is_ready
            ) from None
        finally:
            if timer:
                timer.cancel()

    def close(self) -> None:
        self._is_closed = True
        if self._process.poll() is None:
            self._process.kill()  # the thread that waits for its answer sees the pipe end, and closes it

    def is_usable(self) -> bool:
        return not self._is_late and self._process.poll() is None and self.environment == _relevant_environment()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None
        self._process.wait()

    def time_out(self) -> None:
        self._is_late = True
        self._process.kill()


_lock = threading.Lock()
_idle: list[_Child] = []
_alive: WeakSet[_Child] = WeakSet()
atexit.register(close_children)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # two processes must not talk to one child


def _take_child() -> _Child:
    """Return an idle child that is still usable, or a new one."""
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.is_usable():
                return child
            child.kill()
    return _Child()


def _give_back(child: _Child) -> None:
    with _lock:
        _idle.append(child)


def _environment() -> dict[str, str]:
    return {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _reason_of_failure() -> str:
    """Start a child once more with its errors on a pipe, and return the last line; empty if it starts."""
    done = subprocess.run(
        COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60, env=_environment()
    )
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def _relevant_environment() -> dict[str, str]:
    """Return the variables that decide which weights a child finds."""
    return {name: value for name, value in os.environ.items() if name.startswith("DFUTILS_")}
