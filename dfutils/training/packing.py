"""A run folder made small enough to come with the package: weights in half precision, nothing of the training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dfutils.files import replacing, sha256_of
from dfutils.runs.folder import read_detector
from dfutils.runs.record import DetectorRecord


def pack_detector(run: Path, folder: Path, **changes: Any) -> DetectorRecord:
    """Write ``model.weights.h5`` in half precision and ``detector.json`` into ``folder``.

    The format is that of any run folder, so that whatever reads one reads this: Keras widens the weights again.
    Vectors stay as they are: they are few, and statistics of features may be too small for half precision.

    Args:
        run: A finished run folder of one detector.
        folder: Where to, made if need be.
        changes: Fields of ``detector.json`` that differ, such as the name.

    Raises:
        RunError: ``run`` is not finished.
        OverflowError: A weight is beyond half precision's range.
    """
    settings = read_detector(run)
    folder.mkdir(parents=True, exist_ok=True)
    packed = folder / "model.weights.h5"
    with replacing(packed) as temporary, h5py.File(run / packed.name) as source, h5py.File(temporary, "w") as target:
        source.visititems(lambda name, item: _copy(name, item, target))
    settings = settings.model_copy(update={**changes, "weights_sha256": sha256_of(packed)})
    settings.write(folder / "detector.json")
    return settings


def _copy(name: str, item: h5py.Group | h5py.Dataset, target: h5py.File) -> None:
    if isinstance(item, h5py.Group):
        copied = target.require_group(name)
    else:
        values = item[()]
        if np.issubdtype(item.dtype, np.floating) and values.ndim > 1:
            with np.errstate(over="ignore"):  # refused in the next line
                values = values.astype(np.float16)
            if not np.isfinite(values).all():
                raise OverflowError(f"{name}: holds weights beyond half precision (65,504).")
        copied = target.create_dataset(name, data=values)
    for key, value in item.attrs.items():
        copied.attrs[key] = value
