"""Writing and reading the files of a run folder."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dfutils
from dfutils.errors import RunError
from dfutils.files import read_json, replacing, write_csv, write_json
from dfutils.records import ClipRow
from dfutils.runs.folder import BELIEVED, PREDICTION_COLUMNS, checked_weights, checksums, read_detector
from dfutils.runs.record import DetectorRecord
from dfutils.settings import DEFAULT_BACKBONE
from dfutils.training.backbones import Backbone, build_backbone
from dfutils.training.backend import keras, tf
from dfutils.training.leaks import LeakReport
from dfutils.training.model import ClipNetwork, build_head, compose


def is_finished(run: Path, identity: Mapping[str, Any]) -> bool:
    """Whether ``run`` holds a finished run of these very settings and data; not one that its time budget ended.

    Raises:
        RunError: It holds a finished run of others.
    """
    if not (run / "run.json").is_file():
        return False
    about = read_json(run / "run.json")
    before = about["identity"]
    if before == identity:
        return bool(about.get("is_complete", True))
    what = "settings" if before["settings"] != identity["settings"] else "data or splits"
    raise RunError(f"{run}: holds a finished run with other {what}. Choose another --out, or delete the folder.")


def load_network(
    run: Path, *, backbones: Mapping[str, keras.Model] | None = None
) -> tuple[ClipNetwork, DetectorRecord]:
    """Load a run's network: weights only, into a model that this package builds, after a checksum.

    Args:
        run: The run folder of one detector.
        backbones: Backbones that are loaded already, by their checksum: a run with one of them shares it.

    Raises:
        RunError: The folder is incomplete or an ensemble's, or its weights are not those it was finished with.
    """
    settings = read_detector(run)
    if settings.members:
        raise RunError(
            f"{run}: is an ensemble, and one network is needed. Name one of its members, such as "
            f"{run / settings.members[0].folder}."
        )
    weights = checked_weights(run, settings)
    frames, size = settings.extraction.frames, settings.extraction.size
    backbone = (backbones or {}).get(settings.backbone_checksum)
    network = read_network(
        weights, model=settings.model, frames=frames, size=size, family=settings.backbone, backbone=backbone
    )
    return network, settings


def read_network(
    weights: Path,
    *,
    model: str,
    frames: int,
    size: int,
    family: str = DEFAULT_BACKBONE,
    backbone: keras.Model | None = None,
) -> ClipNetwork:
    """Build a network in float32 on one device, as prediction has it, and read its weights.

    Args:
        weights: A ``model.weights.h5``.
        model: Name of the head.
        frames: Crops per clip.
        size: Side of a crop in pixels.
        family: Name of the backbone.
        backbone: To be shared instead of built; it must be the one that ``weights`` hold.
    """
    if backbone is None:
        backbone = build_backbone("random", size=size, family=family).model
    head = build_head(model, frames=frames, channels=backbone.output.shape[-1])
    network = compose(backbone, head, frames=frames, size=size)
    network.clip_model.load_weights(weights)
    return network


def write_weights(run: Path, network: ClipNetwork) -> None:
    """Write ``model.weights.h5``, what this package loads, atomically."""
    with replacing(run / "model.weights.h5") as temporary:
        keras_named = temporary.with_name(f"{temporary.name}.weights.h5")  # Keras insists on this ending
        network.clip_model.save_weights(keras_named)
        keras_named.rename(temporary)


def write_keras_model(run: Path, network: ClipNetwork) -> None:
    """Write ``model.keras``, for Keras users, atomically."""
    with replacing(run / "model.keras") as temporary:
        network.clip_model.save(temporary)


def write_predictions(
    run: Path,
    rows: Sequence[ClipRow],
    sides: npt.NDArray[np.str_],
    raw_probability: npt.NDArray[np.floating],
    fake_probability: npt.NDArray[np.floating],
) -> None:
    """Write ``predictions.csv``: every clip of the run with its side, raw and calibrated probability."""
    columns = zip(rows, sides, raw_probability, fake_probability, strict=True)
    values = (
        (row.clip_id, row.video, side, str(row.is_fake).lower(), f"{raw:.9g}", f"{probability:.9g}")
        for row, side, raw, probability in columns
    )
    write_csv(
        run / "predictions.csv", PREDICTION_COLUMNS, (dict(zip(PREDICTION_COLUMNS, one, strict=True)) for one in values)
    )


def mark_finished(
    run: Path,
    identity: Mapping[str, Any],
    rows: Sequence[ClipRow],
    backbone: Backbone,
    leaks: LeakReport,
    *,
    about: Mapping[str, Any],
    seconds: float,
) -> None:
    """Write ``run.json``, last: its presence says that the run is finished; ``about`` says what it ran on."""
    write_json(
        run / "run.json",
        {
            "identity": identity,
            "clips": len(rows),
            "groups": len({row.group for row in rows}),
            "backbone": {
                "family": backbone.family,
                "weights": backbone.weights,
                "checksum": backbone.checksum,
                "origin": backbone.origin,
            },
            "leaks": leaks.lines(),
            "seconds": round(seconds, 1),
            **about,
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "versions": {
                "dfutils": dfutils.__version__,
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
            },
            "commit": _git_commit(),
            "files": checksums(run, BELIEVED),
        },
    )


def _git_commit() -> str | None:
    """The commit of the source the package runs from, if it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
