"""How far a training is: a bar on a terminal, and everywhere a line for each epoch that takes long.

A notebook gets the lines and no bar, which would be left on its page in a hundred pieces.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self

from tqdm import tqdm

logger = logging.getLogger(__name__)

LONG_SECONDS = 20.0
"""Epochs that take this long get a line."""

ON_BAR = ("loss", "auc", "val_auc")
IN_LINE = ("loss", "auc", "val_loss", "val_auc")


class TrainingProgress:
    """Counts images, over all epochs, so that the time left is that of the training; early stopping may end it before.

    Args:
        epochs: Most epochs.
        images: Crops of an epoch.
        done: Crops that an earlier part of this training has seen.
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
        """So many more crops were trained on."""
        self._trained = time.monotonic()
        self._show(logs)
        self._bar.update(images)

    def end_epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """An epoch, counted from 0, was trained and validated."""
        self._show(logs)
        seconds = time.monotonic() - self._began
        if seconds >= LONG_SECONDS:
            with tqdm.external_write_mode():  # the bar makes room
                logger.info("%s", self._line(epoch, logs, seconds))
        self._begin(epoch + 1)

    def _begin(self, epoch: int) -> None:
        self._began = self._trained = time.monotonic()
        self._bar.set_description(f"epoch {min(epoch + 1, self._epochs)} of {self._epochs}", refresh=False)

    def _show(self, logs: Mapping[str, float]) -> None:
        self._shown |= {name: f"{logs[name]:.3f}" for name in ON_BAR if name in logs}
        self._bar.set_postfix(self._shown, refresh=False)

    def _line(self, epoch: int, logs: Mapping[str, float], seconds: float) -> str:
        values = ", ".join(f"{name} {logs[name]:.3f}" for name in IN_LINE if name in logs)
        speed = self._images / max(self._trained - self._began, 1e-9)
        left = timedelta(seconds=round((self._epochs - epoch - 1) * seconds))
        return f"epoch {epoch + 1} of {self._epochs}: {values}; {speed:.0f} images/s, at most {left} left"
