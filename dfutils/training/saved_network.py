"""Save and load the network of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dfutils.errors import RunError
from dfutils.files import replacing
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
        backbones: Backbones already in memory, by `DetectorRecord.backbone_key`; a run with one of them shares it.

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
        backbone=(backbones or {}).get(detector.backbone_key),
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
