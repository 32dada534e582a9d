"""Checkpoints: one file with everything that training needs to continue as if it had never been interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from dfutils.errors import RunError
from dfutils.files import replacing
from dfutils.runs.identity import RunIdentity
from dfutils.training.backend import keras


@dataclass(slots=True)
class TrainingState:
    """Progress of a training run.

    Attributes:
        step: Steps done.
        best_auc: Best validation AUC so far.
        best_epoch: Epoch of that AUC, from 0; -1 before the first.
        history: One record per epoch.
    """

    step: int = 0
    best_auc: float = -1.0
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(
    path: Path, state: TrainingState, variables: Sequence[keras.Variable], *, identity: RunIdentity
) -> None:
    """Write the state and the values of ``variables``, atomically."""
    document = {**asdict(state), "identity": identity.document()}
    arrays = {f"v{index}": keras.ops.convert_to_numpy(variable) for index, variable in enumerate(variables)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, progress=np.array(json.dumps(document)), **arrays)


def load_checkpoint(path: Path, variables: Sequence[keras.Variable], *, identity: RunIdentity) -> TrainingState | None:
    """Restore ``variables`` in place and return the state; None if there is no checkpoint.

    Raises:
        RunError: The checkpoint belongs to other settings or data, or to another precision.
    """
    if not path.is_file():
        return None
    with np.load(path) as kept:
        document = json.loads(str(kept["progress"]))
        if RunIdentity.parse(document.pop("identity"), source=str(path)) != identity:
            raise RunError(
                f"{path}: belongs to a run with other settings or data, or in another precision. "
                "Choose another --out, or delete the folder."
            )
        for index, variable in enumerate(variables):
            variable.assign(kept[f"v{index}"])
    return TrainingState(**document)
