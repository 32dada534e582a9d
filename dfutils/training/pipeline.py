"""Training batches as a tf.data pipeline."""

from __future__ import annotations

import numpy as np

from dfutils.training.backend import tf
from dfutils.training.batches import Batch
from dfutils.training.workers import BatchSource


def training_batches(source: BatchSource, *, start: int, stop: int, frames: int, size: int) -> tf.data.Dataset:
    """Batches of the steps ``start`` to ``stop``: crops ``(B, frames, size, size, 3)`` uint8 and targets ``(B, 1)``."""

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
        # These threads only wait: in TensorFlow's own pool, of one thread a core, training would wait with them.
        options.threading.private_threadpool_size = at_once + 1
        batches = batches.with_options(options)
    return batches.prefetch(tf.data.AUTOTUNE)
