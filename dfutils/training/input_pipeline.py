"""Input pipeline: training batches, made in threads or worker processes and read through tf.data.

Python code is a third of the work; threads would wait for one another, and for Keras, to run it. Worker processes are
started by loky, which does not import the main program, and TensorFlow is not imported at the top of this module, so
that they run without it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

from dfutils.errors import DfutilsError, RunError
from dfutils.training.batches import Batch, BatchLoader

if TYPE_CHECKING:
    from dfutils.training.backend import tf

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""There is one process per core: more threads would only compete."""


def training_batches(source: BatchSource, *, start: int, stop: int, frames: int, size: int) -> tf.data.Dataset:
    """Read batches of steps ``start`` to ``stop``: crops ``(B, frames, size, size, 3)`` uint8, targets ``(B, 1)``."""
    from dfutils.training.backend import tf

    def load(step: np.int64) -> Batch:
        return source.load(int(step))

    def load_in_graph(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        crops, targets = tf.numpy_function(load, [step], (tf.uint8, tf.float32))
        crops.set_shape((None, frames, size, size, 3))
        targets.set_shape((None, 1))
        return crops, targets

    # One more than there are workers, so that none waits for the next step.
    at_once = source.workers + 1 if source.workers else tf.data.AUTOTUNE
    batches = tf.data.Dataset.range(start, stop).map(load_in_graph, num_parallel_calls=at_once, deterministic=True)
    if source.workers:
        options = tf.data.Options()
        # These threads only wait: in TensorFlow's own pool, with one thread per core, they would block training.
        options.threading.private_threadpool_size = at_once + 1
        batches = batches.with_options(options)
    return batches.prefetch(tf.data.AUTOTUNE)


class BatchSource:
    """Makes the batch of any step, in this process or in several others; the batches are the same.

    Use it as a context manager: its processes end when the block ends, for whatever reason.

    Args:
        loader: Sent to every process once.
        workers: Number of processes; with fewer than 2, batches are made in this one.
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
        """Return the batch of a step; may be called from several threads at once.

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
        failure = self._failure  # read before the shutdown, which makes the workers that are still busy fail
        if self._pool:
            self._pool.shutdown(kill_workers=error is not None)
        if failure is None or not isinstance(error, Exception) or isinstance(error, DfutilsError):
            return
        # TensorFlow has wrapped it in an error of its own, whose message is a page of traces.
        if isinstance(failure, BrokenProcessPool):
            raise RunError(
                f"input: a worker process was killed ({type(failure).__name__}); memory may be short. Repeat the same "
                "command to continue, with fewer devices.input_workers or a smaller batch_size."
            ) from failure
        raise failure from None


_loaders: list[BatchLoader] = []
"""A worker process's own copy of the loader."""


def _start_worker(loader: BatchLoader, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    cv2.setNumThreads(1)
    _loaders[:] = [loader]

    def end_with_parent() -> None:  # a killed parent cannot stop its workers
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _load(step: int) -> Batch:
    return _loaders[0].load(step)
