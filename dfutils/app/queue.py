"""FIFO queue in front of the detector: one visitor is served at a time, and everyone can see their position."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Generic, TypeVar

Result = TypeVar("Result")


class QueueFullError(Exception):
    """Raised when the queue is full."""


class QueueClosedError(Exception):
    """Raised when the queue takes no more jobs."""


class Ticket(Generic[Result]):
    """A visitor's place in the queue and, later, their result."""

    def __init__(self, queue: JobQueue, future: Future[Result]) -> None:
        self._queue, self._future = queue, future

    @property
    def position(self) -> int:
        """Number of visitors in front; 0 while being served."""
        return self._queue.position_of(self._future)

    def wait(self, seconds: float) -> bool:
        """Wait for at most ``seconds``, and return whether the work has ended or was cancelled."""
        wait([self._future], seconds)  # which does not notice that a job was cancelled
        return self._future.done()

    def result(self) -> Result:
        """Return the result, or raise the error with which the work ended."""
        return self._future.result()

    def leave(self) -> None:
        """Give up the place. Work that has begun is finished."""
        self._queue.remove(self._future)


class JobQueue:
    """Run jobs one at a time, in the order of arrival.

    Args:
        waiting: Number of visitors who may wait while one is served.
    """

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="queue")
        self._lock = threading.Lock()
        self._jobs: deque[Future] = deque()
        self._is_closed = False

    def __len__(self) -> int:
        with self._lock:
            return len(self._jobs)

    def enter(self, work: Callable[[], Result]) -> Ticket[Result]:
        """Take the last place.

        Raises:
            QueueFullError: Too many are waiting already.
            QueueClosedError: The queue is closed.
        """
        with self._lock:
            if self._is_closed:
                raise QueueClosedError
            if len(self._jobs) > self._waiting:
                raise QueueFullError
            future = self._pool.submit(work)
            self._jobs.append(future)
        future.add_done_callback(self.remove)
        return Ticket(self, future)

    def position_of(self, future: Future) -> int:
        """Return the number of jobs in front; 0 for one that runs or is done."""
        with self._lock:
            return self._jobs.index(future) if future in self._jobs else 0

    def remove(self, future: Future) -> None:
        """Remove a job; one that runs keeps its place until it ends."""
        future.cancel()
        if future.done():
            with self._lock, suppress(ValueError):
                self._jobs.remove(future)

    def close(self) -> None:
        """Stop taking jobs, and cancel those that wait; one that runs is finished."""
        with self._lock:
            self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
