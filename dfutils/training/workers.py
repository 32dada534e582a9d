"""Batches made in worker processes: threads would wait for each other's Python, a third of the work, and for Keras'.

Workers are started by loky, which imports nothing of the main program: they hold no TensorFlow.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import TracebackType
from typing import Self

import cv2
from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

from dfutils.errors import DfutilsError, RunError
from dfutils.training.batches import Batch, BatchLoader

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One process a core: more threads would only fight."""


class BatchSource:
    """Makes batches by their step, in this process or in several others; the batches are the same.

    It is a context: with its end, whatever the reason, the processes end too.

    Args:
        loader: Is sent to every process once.
        workers: Processes; with less than 2, batches are made in this one.
    """

    def __init__(self, loader: BatchLoader, *, workers: int = 0) -> None:
        self.workers = workers if workers > 1 else 0
        self._loader = loader
        self._failure: Exception | None = None
        self._pool = (
            ProcessPoolExecutor(
                workers, initializer=_start_worker, initargs=(loader, os.getpid()), env=_ENVIRONMENT, timeout=None
            )
            if self.workers
            else None
        )

    def load(self, step: int) -> Batch:
        """The batch of a step; may be called from several threads at once.

        Raises:
            RunError: A worker was killed.
            DatasetError: A crop cannot be read.
        """
        try:
            return self._pool.submit(_load, step).result() if self._pool else self._loader.load(step)
        except Exception as error:
            self._failure = self._failure or error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        failure = self._failure  # of now: those that are still at work fail when they are stopped
        if self._pool:
            self._pool.shutdown(kill_workers=error is not None)
        if failure is None or not isinstance(error, Exception) or isinstance(error, DfutilsError):
            return
        # TensorFlow has made an error of its own of it, whose message is a page of traces.
        if isinstance(failure, BrokenProcessPool):
            raise RunError(
                f"input: a worker process was killed ({type(failure).__name__}); memory may be short. Give the same "
                "command to go on, with fewer devices.input_workers or a smaller batch_size."
            ) from failure
        raise failure from None


_loaders: list[BatchLoader] = []
"""Of a worker process: its own copy of what makes batches."""


def _start_worker(loader: BatchLoader, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the group; the parent decides what ends
    cv2.setNumThreads(1)
    _loaders[:] = [loader]
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended in a way that let it tell nobody."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _load(step: int) -> Batch:
    return _loaders[0].load(step)
