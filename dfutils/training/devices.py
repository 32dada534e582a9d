"""What training runs on: none, one or many GPUs, and the precision that suits them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import keras
import tensorflow as tf

from dfutils.settings import TrainingSettings

_CPU_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"

QUICK_FLOAT16 = (7, 0)
"""Compute capability from which NVIDIA GPUs have tensor cores for float16; a T4 has 7.5."""


@contextmanager
def training_devices(settings: TrainingSettings) -> Iterator[None]:
    """Build and train models inside: their variables are mirrored and their precision chosen as ``settings`` say.

    Under MirroredStrategy the batch of a step is the global one: it is divided among the replicas.
    """
    own = settings.finetune
    before = keras.config.dtype_policy()
    precision = _precision(own.precision if settings.mode == "finetune" else "float32")
    # Keras' own mixed_bfloat16 casts around every layer and is slower than float32 on a CPU; oneDNN's rewrite of the
    # whole graph is not.
    keras.config.set_dtype_policy("float32" if precision == "cpu_bfloat16" else precision)
    tf.config.optimizer.set_experimental_options({_CPU_BFLOAT16: precision == "cpu_bfloat16"})
    try:
        strategy = _strategy(own.strategy) if settings.mode == "finetune" else None
        if strategy is None:
            yield
        else:
            with strategy.scope():
                yield
    finally:
        keras.config.set_dtype_policy(before)
        tf.config.optimizer.set_experimental_options({_CPU_BFLOAT16: False})


def devices_in_words() -> str:
    """The devices that training would use, for logs and notebooks."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return "CPU"
    names = {tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in _physical_gpus()}
    return f"{len(gpus)} × {', '.join(sorted(names))}"


def _strategy(wanted: Literal["auto", "none", "mirrored"]) -> tf.distribute.Strategy | None:
    gpus = tf.config.list_logical_devices("GPU")
    if wanted == "none" or (wanted == "auto" and len(gpus) < 2):
        return None
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _precision(wanted: Literal["auto", "float32", "mixed_float16", "cpu_bfloat16"]) -> str:
    if wanted != "auto":
        return wanted
    gpus = _physical_gpus()
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    quick = [tuple(detail.get("compute_capability", (0, 0))) >= QUICK_FLOAT16 for detail in details]
    return "mixed_float16" if quick and all(quick) else "float32"


def _physical_gpus() -> list[tf.config.PhysicalDevice]:
    return tf.config.list_physical_devices("GPU")
