"""Devices for training: the CPU or the GPUs of one machine, and the precision that suits them."""

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
"""Lowest compute capability of NVIDIA GPUs with tensor cores for float16; a T4 has 7.5."""

SEVERAL_WORKERS = "https://github.com/keras-team/keras/issues/20585"
"""The Keras team's statement that Keras 3 does not work with `tf.distribute.MultiWorkerMirroredStrategy`."""

CROSS_DEVICE: Mapping[str, Callable[[], Any]] = {
    "auto": lambda: None,
    "nccl": tf.distribute.NcclAllReduce,
    "hierarchical": tf.distribute.HierarchicalCopyAllReduce,
    "reduce_to_one": tf.distribute.ReductionToOneDevice,
}
"""Ways in which replicas sum their gradients, by their names in the settings."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices and precision of a training run.

    Attributes:
        names: ``CPU``, or the number and kind of the GPUs.
        strategy: ``none`` or ``mirrored``.
        replicas: Copies of the network that share each batch.
        cross_device: How replicas sum their gradients.
        precision: Keras' name of the precision.
    """

    names: str
    strategy: str
    replicas: int
    cross_device: str
    precision: str


@contextmanager
def training_devices(settings: TrainingSettings) -> Iterator[Devices]:
    """Build and train models inside this context: it mirrors their variables and sets their precision.

    Raises:
        RunError: The settings ask for NCCL, and there is no GPU.
    """
    own, gpus = settings.devices, tf.config.list_logical_devices("GPU")
    precision = choose_precision(settings.finetune.precision if settings.mode == "finetune" else "float32")
    strategy = None
    is_worth_it = settings.mode == "finetune" and len(gpus) > 1
    if own.strategy == "mirrored" or (own.strategy == "auto" and is_worth_it):
        if own.cross_device == "nccl" and not gpus:
            raise RunError("cross-device nccl: works between GPUs, but there is none. Choose auto or reduce_to_one.")
        devices = gpus or tf.config.list_logical_devices("CPU")
        strategy = mirrored_strategy(tuple(device.name for device in devices), own.cross_device)
    names = "CPU"
    if gpus:
        kinds = {tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in physical_gpus()}
        names = f"{len(gpus)} × {', '.join(sorted(kinds))}"
    before = keras.config.dtype_policy()
    # Keras' own mixed_bfloat16 casts around every layer and is slower than float32 on a CPU; oneDNN's rewrite of the
    # whole graph is not.
    keras.config.set_dtype_policy("float32" if precision == "cpu_bfloat16" else precision)
    tf.config.optimizer.set_experimental_options({_CPU_BFLOAT16: precision == "cpu_bfloat16"})
    try:
        with strategy.scope() if strategy else nullcontext():
            yield Devices(
                names=names,
                strategy="mirrored" if strategy else "none",
                replicas=strategy.num_replicas_in_sync if strategy else 1,
                cross_device=own.cross_device,
                precision=precision,
            )
    finally:
        keras.config.set_dtype_policy(before)
        tf.config.optimizer.set_experimental_options({_CPU_BFLOAT16: False})


@functools.cache
def mirrored_strategy(devices: tuple[str, ...], cross_device: str) -> tf.distribute.Strategy:
    """Return the process's only strategy: a second would number its reductions like the first, with other shapes."""
    return tf.distribute.MirroredStrategy(list(devices), cross_device_ops=CROSS_DEVICE[cross_device]())


def choose_precision(wanted: Literal["auto", "float32", "mixed_float16", "cpu_bfloat16"]) -> str:
    """Return the precision for a setting: for ``auto``, mixed_float16 if every GPU is fast at it, or float32."""
    if wanted != "auto":
        return wanted
    details = [tf.config.experimental.get_device_details(gpu) for gpu in physical_gpus()]
    quick = [tuple(detail.get("compute_capability", (0, 0))) >= QUICK_FLOAT16 for detail in details]
    return "mixed_float16" if quick and all(quick) else "float32"


def require_one_worker() -> None:
    """Raise an error if this is one of several machines.

    Raises:
        RunError: ``TF_CONFIG`` names several workers, or is not valid JSON.
    """
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        workers = [address for job in ("chief", "worker") for address in cluster.get(job, [])]
    except (ValueError, AttributeError) as error:
        raise RunError("TF_CONFIG: is not a JSON object with a cluster. Correct it, or unset it.") from error
    if len(workers) > 1:
        raise RunError(
            f"TF_CONFIG: names {len(workers)} workers, and Keras 3 cannot train on several machines with TensorFlow "
            f"({SEVERAL_WORKERS}). Unset it: the setting devices.strategy=mirrored uses all GPUs of one machine."
        )


def input_workers(settings: TrainingSettings) -> int:
    """Return the number of processes that make batches: as set, else one per core if there is a GPU, else 0."""
    wanted = settings.devices.input_workers
    if wanted is not None:
        return wanted
    return int(joblib.cpu_count()) if physical_gpus() else 0


def physical_gpus() -> list[tf.config.PhysicalDevice]:
    """Return the GPUs that TensorFlow sees."""
    return tf.config.list_physical_devices("GPU")
