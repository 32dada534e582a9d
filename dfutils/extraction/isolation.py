"""Extraction of untrusted files: in a child process with limits, which hostile media can end but not leave.

A child serves one file after the other and is started anew only when it died, so that its start (half a second) is
paid once. Children are started as new interpreters rather than forked: a process that runs TensorFlow must not fork.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO
from weakref import WeakSet

from dfutils.errors import MediaError, TooLargeError, UnreadableError
from dfutils.extraction.messages import LENGTH_BYTES, unpack_error, unpack_extraction
from dfutils.records import Extraction
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 2**31
ATTEMPTS = 2
"""A child that died for no reason of its own (the system may be short of memory) is given the file once more."""

_CPU_SIGNALS = {getattr(signal, "SIGXCPU", None)}
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One child a core: more threads, each with its own memory arena, would only fight."""


def extract_clips_safely(
    path: Path, settings: ExtractionSettings, *, threads: int = 1, limited: bool = True
) -> Extraction:
    """`dfutils.extraction.clips.extract_clips` in a child process, with the limits of ``settings``.

    Args:
        path: A video or an image of any origin.
        settings: How crops are cut.
        threads: Decoder threads; 0 lets FFmpeg choose.
        limited: False sets no limits: a process of its own for files that are trusted.

    Raises:
        MediaError: One of its kinds; a file that breaks a limit is a `TooLargeError`, one that breaks the decoder an
            `UnreadableError`.
        WeightsError: The package's file of the face detector is missing or damaged.
    """
    request = {
        "folder": str(Path.cwd()),
        "path": str(path),
        "settings": settings.model_dump(mode="json"),
        "threads": threads,
        "limited": limited,
    }
    for attempt in range(1, ATTEMPTS + 1):
        child = _take()
        try:
            parts = child.ask(json.dumps(request).encode() + b"\n", settings.limits.wall_seconds if limited else None)
        except _ChildEndedError as end:
            error = _refusal(path, end, settings)
            if isinstance(error, TooLargeError) or end.is_closed or attempt == ATTEMPTS:
                raise error from None
            logger.warning("%s: the decoding process ended (%s); trying once more", path, end.name)
            continue
        except BaseException:
            child.kill()
            raise
        _give_back(child)
        return _opened(path, parts)
    raise AssertionError("unreachable")


def start_child() -> None:
    """Have one ready, so that its start goes on while the caller does something else; nothing if one waits already."""
    with _lock:
        if _idle:
            return
    _give_back(_Child())


def close_children() -> None:
    """End all children of this process, those at work too; the next extraction starts new ones."""
    with _lock:
        for child in list(_alive):
            child.close()
        for child in _idle:
            child.kill()
        _idle.clear()


class _ChildEndedError(Exception):
    """The child died before it answered.

    Attributes:
        returncode: As `subprocess.Popen` gives it.
        is_late: It was killed because its time was up.
        is_closed: It was ended by `close_children`.
    """

    def __init__(self, returncode: int, *, is_late: bool, is_closed: bool) -> None:
        super().__init__(returncode)
        self.returncode, self.is_late, self.is_closed = returncode, is_late, is_closed

    @property
    def name(self) -> str:
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.returncode).name
        return f"exit code {self.returncode}"


class _Child:
    def __init__(self) -> None:
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-P", "-m", "dfutils.extraction.child"]
        self.environment = _relevant_environment()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._is_late = self._is_closed = False
        with _lock:
            _alive.add(self)

    def ask(self, request: bytes, wall_seconds: float | None) -> list[bytes]:
        """Send one line and wait for its answer; raises `_ChildEndedError` when there is none in time."""
        clock = threading.Timer(wall_seconds, self._be_late) if wall_seconds else None
        if clock:
            clock.daemon = True
            clock.start()
        try:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(request)
            self._process.stdin.flush()
            return _read_answer(self._process.stdout)
        except (EOFError, BrokenPipeError):
            self.kill()
            returncode = self._process.wait()
            raise _ChildEndedError(returncode, is_late=self._is_late, is_closed=self._is_closed) from None
        finally:
            if clock:
                clock.cancel()

    def close(self) -> None:
        self._is_closed = True
        if self._process.poll() is None:
            self._process.kill()  # whoever waits for its answer reads the end of the pipe, and closes it

    def is_usable(self) -> bool:
        return not self._is_late and self._process.poll() is None and self.environment == _relevant_environment()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None
        self._process.wait()

    def _be_late(self) -> None:
        self._is_late = True
        self._process.kill()


_lock = threading.Lock()
_idle: list[_Child] = []
_alive: WeakSet[_Child] = WeakSet()
atexit.register(close_children)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # two processes must not talk to one child


def _take() -> _Child:
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


def _relevant_environment() -> dict[str, str]:
    """What decides which weights a child finds."""
    return {name: value for name, value in os.environ.items() if name.startswith("DFUTILS_")}


def _read_answer(stream: IO[bytes]) -> list[bytes]:
    count = _read_length(stream)
    lengths = [_read_length(stream) for _ in range(min(count, 10_000))]
    if sum(lengths) > MAX_ANSWER_BYTES:
        raise EOFError
    return [_read_exactly(stream, length) for length in lengths]


def _read_length(stream: IO[bytes]) -> int:
    return int.from_bytes(_read_exactly(stream, LENGTH_BYTES), "big")


def _read_exactly(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _opened(path: Path, parts: list[bytes]) -> Extraction:
    try:
        error = unpack_error(parts)
        if error is None:
            return unpack_extraction(parts)
    except (ValueError, RecursionError) as damage:
        raise UnreadableError(f"{path}: decoding failed ({damage}). Re-encode or skip the file.") from damage
    raise error


def _refusal(path: Path, end: _ChildEndedError, settings: ExtractionSettings) -> MediaError:
    limits = settings.limits
    if end.is_late:
        return TooLargeError(f"{path}: took more than {limits.wall_seconds:g} s. Cut it, or raise limits.wall_seconds.")
    if end.returncode in {-number for number in _CPU_SIGNALS if number}:
        return TooLargeError(
            f"{path}: took more than {limits.cpu_seconds} s of computing. Cut it, or raise limits.cpu_seconds."
        )
    return UnreadableError(f"{path}: the decoder crashed twice ({end.name}). Re-encode or skip the file.")
