"""Training progress: a bar on a terminal, a log line for each long epoch, and event files for TensorBoard.

A notebook gets only the lines: a bar would leave a hundred fragments on its page.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from dfutils.errors import RunError
from dfutils.settings import TrainingSettings
from dfutils.training.backend import keras, tf

logger = logging.getLogger(__name__)

LONG_SECONDS = 20.0
"""Epochs that take at least this long get a log line."""

_METADATA = tf.compat.v1.SummaryMetadata
# Marks values for TensorBoard to draw, as tf.summary.scalar would, which needs the package tensorboard.
_SCALAR = _METADATA(plugin_data=_METADATA.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR")

ON_BAR = ("loss", "auc", "val_auc")
IN_LINE = ("loss", "auc", "val_loss", "val_auc")


def require_finite(logs: Mapping[str, float], settings: TrainingSettings) -> None:
    """Raise if training has diverged; continuing would be useless.

    Raises:
        RunError: A value is infinite or not a number.
    """
    if odd := [name for name, value in logs.items() if not math.isfinite(value)]:
        raise RunError(
            f"training has diverged: {odd[0]} is not finite at a learning rate of {settings.learning_rate:g}. "
            "Lower learning_rate, and train into a new folder."
        )


class TrainingProgress:
    """Counts images over all epochs, so that the time left is for the whole run; early stopping may end it sooner.

    Args:
        epochs: Largest number of epochs.
        images: Crops per epoch.
        done: Crops that were trained on before an interruption.
        shown: Show a bar on a terminal.
    """

    def __init__(self, *, epochs: int, images: int, done: int = 0, shown: bool = True) -> None:
        self._epochs, self._images = epochs, images
        self._bar = tqdm(total=epochs * images, initial=done, unit="img", disable=None if shown else True)
        self._shown: dict[str, str] = {}
        self._begin(done // images)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, images: int, logs: Mapping[str, float]) -> None:
        """Count crops that were trained on."""
        self._trained = time.monotonic()
        self._show(logs)
        self._bar.update(images)

    def end_epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Log an epoch, counted from 0, that was trained and validated."""
        self._show(logs)
        seconds = time.monotonic() - self._began
        if seconds >= LONG_SECONDS:
            with tqdm.external_write_mode():  # the bar makes room
                values = ", ".join(f"{name} {logs[name]:.3f}" for name in IN_LINE if name in logs)
                speed = self._images / max(self._trained - self._began, 1e-9)
                left = timedelta(seconds=round((self._epochs - epoch - 1) * seconds))
                line = "epoch %d of %d: %s; %.0f images/s, at most %s left"
                logger.info(line, epoch + 1, self._epochs, values, speed, left)
        self._begin(epoch + 1)

    def _begin(self, epoch: int) -> None:
        self._began = self._trained = time.monotonic()
        self._bar.set_description(f"epoch {min(epoch + 1, self._epochs)} of {self._epochs}", refresh=False)

    def _show(self, logs: Mapping[str, float]) -> None:
        self._shown |= {name: f"{logs[name]:.3f}" for name in ON_BAR if name in logs}
        self._bar.set_postfix(self._shown, refresh=False)


class EventWriter(keras.callbacks.Callback):
    """Appends the metrics of each epoch to an event file at once, so that TensorBoard can follow the training."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(folder))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """See Keras; ``epoch`` counts from 0."""
        with self._writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=_SCALAR)
        self._writer.flush()
