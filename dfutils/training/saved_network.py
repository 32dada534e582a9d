"""Save, load and pack the network of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dfutils.errors import RunError
from dfutils.files import replacing, sha256_of
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.settings import DEFAULT_BACKBONE
from dfutils.training.backbones import build_backbone
from dfutils.training.backend import keras
from dfutils.training.model import ClipNetwork, build_head, compose


def load_network(
    run: Path, *, backbones: Mapping[str, keras.Model] | None = None
) -> tuple[ClipNetwork, DetectorRecord]:
    """Load a run's network: only its weights, verified by checksum, into a model that this package builds.

    Args:
        run: The run folder of one detector.
        backbones: Backbones already in memory, by checksum; a run with one of them shares it.

    Raises:
        RunError: The folder is incomplete or an ensemble's, or its weights were altered since training.
    """
    folder = RunFolder(run)
    detector = folder.detector()
    if detector.members:
        raise RunError(
            f"{run}: is an ensemble, but a single network is needed. Name one of its members, such as "
            f"{run / detector.members[0].folder}."
        )
    network = read_network(
        folder.checked_weights(detector),
        model=detector.model,
        frames=detector.extraction.frames,
        size=detector.extraction.size,
        family=detector.backbone,
        backbone=(backbones or {}).get(detector.backbone_checksum),
    )
    return network, detector


def read_network(
    weights: Path,
    *,
    model: str,
    frames: int,
    size: int,
    family: str = DEFAULT_BACKBONE,
    backbone: keras.Model | None = None,
) -> ClipNetwork:
    """Build a network in float32 on one device, as for prediction, and read its weights.

    Args:
        weights: A ``model.weights.h5``.
        model: Name of the head.
        frames: Crops per clip.
        size: Side of a crop in pixels.
        family: Name of the backbone.
        backbone: A backbone to share instead of building one; it must be the one that ``weights`` holds.
    """
    if backbone is None:
        backbone = build_backbone("random", size=size, family=family).model
    head = build_head(model, frames=frames, channels=backbone.output.shape[-1])
    network = compose(backbone, head, frames=frames, size=size)
    network.clip_model.load_weights(weights)
    return network


def write_weights(run: Path, network: ClipNetwork) -> None:
    """Write ``model.weights.h5``, which this package loads, atomically."""
    with replacing(RunFolder(run).weights_file) as temporary:
        keras_named = temporary.with_name(f"{temporary.name}.weights.h5")  # Keras insists on this ending
        network.clip_model.save_weights(keras_named)
        keras_named.rename(temporary)


def write_keras_model(run: Path, network: ClipNetwork) -> None:
    """Write ``model.keras``, for Keras users, atomically."""
    with replacing(RunFolder(run).keras_file) as temporary:
        network.clip_model.save(temporary)


def pack_detector(run: Path, folder: Path, **changes: Any) -> DetectorRecord:
    """Write a detector that is small enough for the package: weights in half precision, and no training data.

    The result is a run folder like any other; Keras widens the weights again. Vectors keep single precision: they are
    few, and feature statistics may be too small for half precision.

    Args:
        run: A finished run folder of one detector.
        folder: The folder to write.
        changes: Fields of ``detector.json`` that differ, such as the name.

    Raises:
        RunError: ``run`` is not finished.
        OverflowError: A weight exceeds the range of half precision.
    """
    source_run, packed = RunFolder(run), RunFolder(folder)
    detector = source_run.detector()
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing(packed.weights_file) as temporary,
        h5py.File(source_run.weights_file) as source,
        h5py.File(temporary, "w") as target,
    ):

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                copied = target.require_group(name)
            else:
                values = item[()]
                if np.issubdtype(item.dtype, np.floating) and values.ndim > 1:
                    with np.errstate(over="ignore"):  # checked in the next line
                        values = values.astype(np.float16)
                    if not np.isfinite(values).all():
                        raise OverflowError(f"{name}: holds weights beyond half precision (65,504).")
                copied = target.create_dataset(name, data=values)
            for key, value in item.attrs.items():
                copied.attrs[key] = value

        source.visititems(copy)
    detector = detector.model_copy(update={**changes, "weights_sha256": sha256_of(packed.weights_file)})
    detector.write(packed.detector_file)
    return detector
