"""Everything a training needs to go on as if it had never been interrupted, in one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.errors import RunError
from dfutils.files import replacing
from dfutils.training.backend import keras

CHECKPOINTS = ("checkpoint.npz", "best.npz")
"""Files of a run folder while training goes on: where it is, and the weights of the best epoch."""


@dataclass(slots=True)
class Progress:
    """How far a training is.

    Attributes:
        step: Steps done.
        best_auc: Best validation AUC so far.
        best_epoch: When that was.
        history: A record an epoch.
        identity: Settings and data that the training belongs to.
    """

    step: int = 0
    best_auc: float = -1.0
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)
    identity: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, progress: Progress, variables: Sequence[keras.Variable]) -> None:
    """Write progress and the values of ``variables``, atomically."""
    arrays = {f"v{index}": keras.ops.convert_to_numpy(variable) for index, variable in enumerate(variables)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, progress=np.array(json.dumps(asdict(progress))), **arrays)


def load_checkpoint(path: Path, variables: Sequence[keras.Variable], *, identity: dict[str, Any]) -> Progress | None:
    """Restore ``variables`` in place and return the progress; None where there is no checkpoint.

    Raises:
        RunError: The checkpoint belongs to other settings or data, or to another precision.
    """
    if not path.is_file():
        return None
    with np.load(path) as kept:
        progress = Progress(**json.loads(str(kept["progress"])))
        if progress.identity != identity:
            raise RunError(
                f"{path}: belongs to a training with other settings or data, or in another precision. "
                "Choose another --out, or delete the folder."
            )
        for index, variable in enumerate(variables):
            variable.assign(kept[f"v{index}"])
    return progress
