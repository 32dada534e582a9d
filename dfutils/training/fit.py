"""Training of a head on cached backbone features."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dfutils.settings import TrainingSettings
from dfutils.training.backend import keras, tf
from dfutils.training.features import Features
from dfutils.training.model import build_head, standardise
from dfutils.training.optimizer import ReplicaModel
from dfutils.training.progress import TrainingProgress, require_finite

Flags = npt.NDArray[np.bool_]

LEAST_VARIANCE = 1e-4
"""Smallest variance of a channel, as a share of the median variance: above the rounding error of a constant channel,
below any weak signal."""

_METRICS = {
    "accuracy": keras.metrics.BinaryAccuracy,
    "precision": keras.metrics.Precision,
    "recall": keras.metrics.Recall,
    "auc": keras.metrics.AUC,
}


def fit_head(
    features: Features,
    is_fake: Flags,
    *,
    validation: tuple[Features, Flags],
    settings: TrainingSettings,
    history_file: Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> keras.Model:
    """Train a head on cached features; deterministic given the seed.

    Args:
        features: ``(N, T, channels)`` of the training clips.
        is_fake: ``(N,)``.
        validation: The same for the validation clips, which determine the learning rate, when to stop and which epoch
            is kept.
        settings: Model name, optimiser, patience and seed.
        history_file: Receives one row per epoch, written at once.
        callbacks: Further Keras callbacks.
        progress: Show a bar on a terminal.

    Returns:
        The head with the weights of the epoch with the best validation AUC.

    Raises:
        RunError: The loss is not a number.
    """
    keras.utils.set_random_seed(settings.seed)
    head = build_head(settings.model, frames=features.shape[1], channels=features.shape[2])
    standardise(head.get_layer("standardise"), features, least=LEAST_VARIANCE)
    model = ReplicaModel(head.input, head.output)
    model.compile(
        optimizer=keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[metric(name=name) for name, metric in _METRICS.items()],
    )
    model.optimizer.build(model.trainable_variables)  # so that the step is traced once; see `finetune._build`
    best = BestEpoch(patience=settings.patience)
    halving = keras.callbacks.ReduceLROnPlateau("val_accuracy", factor=0.5, patience=max(1, settings.patience // 2))
    csv_log = [keras.callbacks.CSVLogger(str(history_file))] if history_file else []
    images = features.shape[0] * features.shape[1]
    with (
        _deterministic(),
        _closed(csv_log),
        TrainingProgress(epochs=settings.epochs, images=images, shown=progress) as bar,
    ):

        def on_train_batch_end(_batch: int, logs: Mapping[str, float] | None = None) -> None:
            require_finite(logs or {}, settings)

        def on_epoch_end(epoch: int, logs: Mapping[str, float] | None = None) -> None:
            require_finite(logs or {}, settings)
            bar.advance(images, logs or {})
            bar.end_epoch(epoch, logs or {})

        counter = keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end, on_train_batch_end=on_train_batch_end)
        model.fit(
            features,
            is_fake.astype(np.float32),
            sample_weight=balancing_weights(is_fake) if settings.class_weights else None,
            validation_data=(validation[0], validation[1].astype(np.float32)),
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            shuffle=True,
            callbacks=[counter, halving, best, *callbacks, *csv_log],
            verbose=0,
        )
    model.set_weights(best.weights)
    return head


@contextmanager
def _closed(logs: Sequence[keras.callbacks.CSVLogger]) -> Iterator[None]:
    """Close the files of callbacks at the end; Keras leaves them open when training ends with an error."""
    try:
        yield
    finally:
        for log in logs:
            if (file := getattr(log, "csv_file", None)) is not None:
                file.close()


def balancing_weights(is_fake: Flags) -> npt.NDArray[np.float32]:
    """Return weights ``(N,)`` of mean 1 that give REAL and FAKE clips the same total; both labels must occur."""
    fakes = np.count_nonzero(is_fake)
    return np.where(is_fake, len(is_fake) / (2 * fakes), len(is_fake) / (2 * (len(is_fake) - fakes))).astype(np.float32)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Make operations deterministic inside this context only: later fine-tuning should not be slowed down by it."""
    # The public API can only switch it on.
    config = importlib.import_module("tensorflow.python.framework.config")
    before = config.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()


class BestEpoch(keras.callbacks.Callback):
    """Early stopping on validation AUC; among epochs with equal AUC, the one with the lower validation loss is better.

    On a small validation split, the best AUC often comes at once, when the head has hardly begun to learn.

    Attributes:
        weights: Weights of the best epoch.
    """

    def __init__(self, *, patience: int) -> None:
        super().__init__()
        self.weights: list[npt.NDArray[np.float32]] = []
        self._patience, self._best, self._waited = patience, (-np.inf, -np.inf), 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """See Keras."""
        values = logs or {}
        reached = (round(float(values["val_auc"]), 6), -float(values["val_loss"]))
        self._waited += 1
        if reached > self._best:
            self._best, self._waited, self.weights = reached, 0, self.model.get_weights()
        if self._waited >= self._patience:
            self.model.stop_training = True
