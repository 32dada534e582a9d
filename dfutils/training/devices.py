"""What training runs on: none, one or many GPUs of one machine, and the precision that suits them."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import joblib

from dfutils.errors import RunError
from dfutils.settings import TrainingSettings
from dfutils.training.backend import keras, tf

_CPU_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"

QUICK_FLOAT16 = (7, 0)
"""Compute capability from which NVIDIA GPUs have tensor cores for float16; a T4 has 7.5."""

SEVERAL_WORKERS = "https://github.com/keras-team/keras/issues/20585"
"""Where the Keras team says that Keras 3 does not work with `tf.distribute.MultiWorkerMirroredStrategy`."""

CROSS_DEVICE: Mapping[str, Callable[[], Any]] = {
    "auto": lambda: None,
    "nccl": tf.distribute.NcclAllReduce,
    "hierarchical": tf.distribute.HierarchicalCopyAllReduce,
    "reduce_to_one": tf.distribute.ReductionToOneDevice,
}
"""How replicas add up their gradients, by the names that the settings have for it."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What a training runs on.

    Attributes:
        names: ``CPU``, or how many GPUs of which kind.
        strategy: ``none`` or ``mirrored``.
        replicas: Copies of the network that share the batch of a step.
        cross_device: How replicas add up their gradients.
        precision: Keras' name for it.
    """

    names: str
    strategy: str
    replicas: int
    cross_device: str
    precision: str


@contextmanager
def training_devices(settings: TrainingSettings) -> Iterator[Devices]:
    """Build and train models inside: their variables are mirrored and their precision chosen as ``settings`` say.

    Raises:
        RunError: NCCL is asked for where there is no GPU.
    """
    precision = _precision(settings.finetune.precision if settings.mode == "finetune" else "float32")
    strategy = _strategy(settings)
    before = keras.config.dtype_policy()
    # Keras' own mixed_bfloat16 casts around every layer and is slower than float32 on a CPU; oneDNN's rewrite of the
    # whole graph is not.
    keras.config.set_dtype_policy("float32" if precision == "cpu_bfloat16" else precision)
    tf.config.optimizer.set_experimental_options({_CPU_BFLOAT16: precision == "cpu_bfloat16"})
    try:
        with strategy.scope() if strategy else nullcontext():
            yield Devices(
                names=_names(),
                strategy="mirrored" if strategy else "none",
                replicas=strategy.num_replicas_in_sync if strategy else 1,
                cross_device=settings.devices.cross_device,
                precision=precision,
            )
    finally:
        keras.config.set_dtype_policy(before)
        tf.config.optimizer.set_experimental_options({_CPU_BFLOAT16: False})


def require_one_worker() -> None:
    """Refuse to be one of several machines.

    Raises:
        RunError: ``TF_CONFIG`` names several workers, or is no JSON.
    """
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        workers = [address for job in ("chief", "worker") for address in cluster.get(job, [])]
    except (ValueError, AttributeError) as error:
        raise RunError("TF_CONFIG: is no JSON object with a cluster. Mend it, or unset it.") from error
    if len(workers) > 1:
        raise RunError(
            f"TF_CONFIG: names {len(workers)} workers, and Keras 3 cannot train on several machines with TensorFlow "
            f"({SEVERAL_WORKERS}). Unset it: the setting devices.strategy=mirrored uses all GPUs of one machine."
        )


def input_workers(settings: TrainingSettings) -> int:
    """Processes that make batches: as set, else one a core where there is a GPU to feed."""
    wanted = settings.devices.input_workers
    if wanted is not None:
        return wanted
    return int(joblib.cpu_count()) if physical_gpus() else 0


def _strategy(settings: TrainingSettings) -> tf.distribute.Strategy | None:
    own, gpus = settings.devices, tf.config.list_logical_devices("GPU")
    worth_it = settings.mode == "finetune" and len(gpus) > 1
    if own.strategy == "none" or (own.strategy == "auto" and not worth_it):
        return None
    if own.cross_device == "nccl" and not gpus:
        raise RunError("cross-device nccl: works between GPUs, and there is none. Choose auto or reduce_to_one.")
    devices = gpus or tf.config.list_logical_devices("CPU")
    return _mirrored(tuple(device.name for device in devices), own.cross_device)


@functools.cache
def _mirrored(devices: tuple[str, ...], cross_device: str) -> tf.distribute.Strategy:
    """One strategy a process: a second would number its reductions like the first, whose tensors had other shapes."""
    return tf.distribute.MirroredStrategy(list(devices), cross_device_ops=CROSS_DEVICE[cross_device]())


def _names() -> str:
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return "CPU"
    names = {tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in physical_gpus()}
    return f"{len(gpus)} × {', '.join(sorted(names))}"


def _precision(wanted: Literal["auto", "float32", "mixed_float16", "cpu_bfloat16"]) -> str:
    if wanted != "auto":
        return wanted
    gpus = physical_gpus()
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    quick = [tuple(detail.get("compute_capability", (0, 0))) >= QUICK_FLOAT16 for detail in details]
    return "mixed_float16" if quick and all(quick) else "float32"


def physical_gpus() -> list[tf.config.PhysicalDevice]:
    """The GPUs that TensorFlow sees."""
    return tf.config.list_physical_devices("GPU")
