"""Inputs and result of one training run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfutils.extraction.dataset import FaceDataset
from dfutils.records import ClipRow, SplitName
from dfutils.runs.folder import RunFolder
from dfutils.runs.identity import RunIdentity
from dfutils.settings import TrainingSettings
from dfutils.training.backend import keras
from dfutils.training.model import ClipNetwork
from dfutils.training.progress import EventWriter


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """The clips of a run, all of one length: ``rows[i]`` is in ``splits[i]``."""

    dataset: FaceDataset
    rows: tuple[ClipRow, ...]
    splits: npt.NDArray[np.str_]

    @property
    def frames(self) -> int:
        """Crops per clip."""
        return self.rows[0].frames

    def in_splits(self, *names: SplitName) -> tuple[ClipRow, ...]:
        """Return the clips of these splits."""
        return tuple(row for row, split in zip(self.rows, self.splits, strict=True) if split in names)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingJob:
    """One training run: its data, its settings and the folder that it writes.

    Attributes:
        data: The clips and their splits.
        settings: All settings; `identity` holds those that affect the weights.
        run: The folder to write.
        identity: The identity that a checkpoint must have.
        began: When the time budget began, by `time.monotonic`.
        show_progress: Show bars on a terminal.
    """

    data: TrainingData
    settings: TrainingSettings
    run: RunFolder
    identity: RunIdentity
    began: float
    show_progress: bool = True

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Return the callbacks that the settings ask for at the end of each epoch."""
        return [EventWriter(self.run.tensorboard_folder)] if self.settings.tensorboard else []


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Result of a training run.

    Attributes:
        network: The network, with the weights of the epoch with the best validation AUC.
        images_per_second: Number of crops trained on per second.
        is_complete: False if the time budget ended training early.
    """

    network: ClipNetwork
    images_per_second: float
    is_complete: bool = True
