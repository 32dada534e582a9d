"""The line in front of the detector: one is served at a time, everybody knows their place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Generic, TypeVar

Result = TypeVar("Result")


class LineFullError(Exception):
    """Nobody else may wait."""


class Ticket(Generic[Result]):
    """One person's place and, later, their answer."""

    def __init__(self, line: Line, future: Future[Result]) -> None:
        self._line, self._future = line, future

    @property
    def place(self) -> int:
        """How many are in front; 0 when it is this one's turn."""
        return self._line.place_of(self._future)

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether the answer is there."""
        return bool(wait([self._future], seconds).done)

    def result(self) -> Result:
        """The answer, or the error that the work ended with."""
        return self._future.result()

    def leave(self) -> None:
        """Give up the place; what has begun is finished."""
        self._line.remove(self._future)


class Line:
    """Serves one at a time, in the order of arrival.

    Args:
        longest: How many may wait while one is served.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="line")
        self._lock = threading.Lock()
        self._all: deque[Future] = deque()

    def enter(self, work: Callable[[], Result]) -> Ticket[Result]:
        """Take the last place.

        Raises:
            LineFullError: There is none.
        """
        with self._lock:
            if len(self._all) > self._longest:
                raise LineFullError
            future = self._pool.submit(work)
            self._all.append(future)
        future.add_done_callback(self.remove)
        return Ticket(self, future)

    def place_of(self, future: Future) -> int:
        """How many are in front; 0 when it is served, or was."""
        with self._lock:
            return self._all.index(future) if future in self._all else 0

    def remove(self, future: Future) -> None:
        """Forget a place."""
        future.cancel()
        if not future.done():
            return  # it is being served: it keeps its place until it ends
        with self._lock, suppress(ValueError):
            self._all.remove(future)

    def close(self) -> None:
        """Serve nobody any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
