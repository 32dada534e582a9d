"""End-to-end training of backbone and head, on any number of devices, resumable at any step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from dfutils.errors import RunError
from dfutils.extraction.dataset import FaceDataset
from dfutils.files import write_csv
from dfutils.records import ClipRow
from dfutils.settings import FinetuneSettings, has_frame_head
from dfutils.training.backbones import Backbone, backbone_features, block_starts, encode, network_of
from dfutils.training.backend import keras, tf
from dfutils.training.batches import BatchLoader, BatchPlan, PairLoader
from dfutils.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from dfutils.training.devices import input_workers
from dfutils.training.input_pipeline import BatchSource, training_batches
from dfutils.training.job import Trained, TrainingJob
from dfutils.training.model import ClipNetwork, build_head, compose, standardise
from dfutils.training.optimizer import (
    PlateauRate,
    ReplicaModel,
    ScaledAdamW,
    build_loss,
    build_optimizer,
    plateau_factor,
)
from dfutils.training.progress import TrainingProgress, require_finite

logger = logging.getLogger(__name__)

BATCH_NORM_MOMENTUM = 0.98
"""Momentum of trained batch normalisation: with Keras' 0.99, averages lag in a short run and cost 2 points of AUC."""

NORMALISATION_CLIPS = 256
"""Training clips whose features set the head's standardisation before the first step."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The weights that training starts from.

    Attributes:
        backbone: The backbone, which is trained in place.
        head: A head of the same model; None for a new one.
    """

    backbone: Backbone
    head: keras.Model | None = None


def finetune(job: TrainingJob, start: Start) -> Trained:
    """Train backbone and head end to end, continuing from the checkpoint in the run folder if there is one.

    Writes ``history.csv`` into the run folder and, while training lasts, ``checkpoint.npz`` and ``best.npz``.

    Raises:
        RunError: The loss is not a number, or the time budget ended before the first validation; then repeating the
            call continues from the checkpoint.
    """
    data, settings, own = job.data, job.settings, job.settings.finetune
    rows = data.in_splits("train")
    frames = min(own.frames_per_clip or (1 if has_frame_head(settings.model) else data.frames), data.frames)
    keras.utils.set_random_seed(settings.seed)
    plan = BatchPlan(rows, batch_size=settings.batch_size, settings=own, seed=settings.seed)
    steps = own.steps_per_epoch or plan.steps_per_pass
    pairs = PairLoader(data.dataset, rows, frames=frames, settings=own)
    network, model = _build(job, start, frames=frames, size=pairs.size, steps=steps * settings.epochs)
    trainer = _Trainer(model, network, job, steps_per_epoch=steps)
    trainer.resume()
    images, callbacks = settings.batch_size * frames, job.callbacks()
    done = trainer.state.step * images
    with (
        BatchSource(BatchLoader(plan, pairs), workers=input_workers(settings)) as source,
        TrainingProgress(epochs=settings.epochs, images=steps * images, done=done, shown=job.show_progress) as bar,
        suppress(_TimeIsUpError),
    ):
        while trainer.goes_on:
            first, stop = trainer.state.step, trainer.end_of_epoch
            batches = training_batches(source, start=first, stop=stop, frames=frames, size=pairs.size)
            record = trainer.run_epoch(batches, stop - first, lambda logs: bar.advance(images, logs), images)
            bar.end_epoch(record["epoch"], record)
            for callback in callbacks:
                callback.on_epoch_end(record["epoch"], record)
            if trainer.is_time_up:
                break
    history = trainer.state.history
    if not history:
        raise RunError(
            f"{job.run}: the time budget of {own.time_budget_hours:g} h was used up before the first validation. "
            "Repeat the same command to continue."
        )
    trainer.restore_best()
    speed = float(np.median([record["images_per_second"] for record in history]))
    return Trained(network, speed, is_complete=not trainer.goes_on)


class _TimeIsUpError(Exception):
    """Raised to leave Keras' loop in the middle of an epoch."""


class _Trainer:
    """The training loop with its state, checkpoints and best weights."""

    def __init__(self, model: keras.Model, network: ClipNetwork, job: TrainingJob, *, steps_per_epoch: int) -> None:
        self._model, self._network, self._job, self._steps = model, network, job, steps_per_epoch
        self.state = TrainingState()
        # The policy that "auto" chose on these devices: other precisions have other variables.
        self._identity = replace(job.identity, precision=keras.config.dtype_policy().name)
        self._saved = time.monotonic()

    @property
    def _variables(self) -> list[keras.Variable]:
        return [*self._model.variables, *self._model.optimizer.variables]

    @property
    def optimizer(self) -> ScaledAdamW:
        optimizer = self._model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)  # mixed_float16 wraps it for loss scaling

    @property
    def epoch(self) -> int:
        return self.state.step // self._steps

    @property
    def end_of_epoch(self) -> int:
        return (self.epoch + 1) * self._steps

    @property
    def goes_on(self) -> bool:
        waited = self.epoch - 1 - self.state.best_epoch if self.state.history else 0
        return self.epoch < self._job.settings.epochs and waited < self._job.settings.patience

    @property
    def is_time_up(self) -> bool:
        budget = self._job.settings.finetune.time_budget_hours
        return budget is not None and time.monotonic() - self._job.began > 3600 * budget

    def resume(self) -> None:
        known = load_checkpoint(self._job.run.checkpoint_file, self._variables, identity=self._identity)
        if known is not None:
            self.state = known
            if known.history:  # the run may have been killed between writing the checkpoint and the history
                _write_history(self._job.run.history_file, known.history)
            logger.info("Continuing from step %d (epoch %d)", known.step, self.epoch + 1)

    def run_epoch(
        self, batches: tf.data.Dataset, count: int, after_step: Callable[[Mapping[str, float]], None], images: int
    ) -> dict[str, Any]:
        """Train for ``count`` steps of ``images`` crops, validate, and return the record of the epoch."""
        self.lower_rate()

        def on_train_batch_end(_batch: int, logs: Mapping[str, float] | None = None) -> None:
            require_finite(logs or {}, self._job.settings)
            after_step(logs or {})
            self.count_step()

        started = time.monotonic()
        done = self._model.fit(
            batches,
            epochs=1,
            steps_per_epoch=count,
            shuffle=False,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=on_train_batch_end)],
            verbose=0,
        )
        seconds = time.monotonic() - started
        with self.optimizer.averaged(self._model.trainable_variables):
            scores = self.validate()
            if scores["val_auc"] > self.state.best_auc:
                self.state.best_auc, self.state.best_epoch = scores["val_auc"], len(self.state.history)
                save_checkpoint(self._job.run.best_file, self.state, self._model.variables, identity=self._identity)
        record: dict[str, Any] = {
            "epoch": len(self.state.history),
            **{name: float(values[-1]) for name, values in done.history.items()},
            **scores,
            "learning_rate": float(self.optimizer.learning_rate),
            "images_per_second": count * images / seconds,
        }
        rounded = {name: value if isinstance(value, int) else float(f"{value:.6g}") for name, value in record.items()}
        self.state.history.append(rounded)
        self._save()
        _write_history(self._job.run.history_file, self.state.history)
        return record

    def restore_best(self) -> None:
        load_checkpoint(self._job.run.best_file, self._model.variables, identity=self._identity)

    def lower_rate(self) -> None:
        schedule = self.optimizer.schedule
        if isinstance(schedule, PlateauRate):
            aucs = [record["val_auc"] for record in self.state.history]
            schedule.factor.assign(plateau_factor(aucs, patience=max(1, self._job.settings.patience // 2)))

    def count_step(self) -> None:
        self.state.step += 1
        if self.state.step % self._steps == 0:
            return  # a finished epoch is validated before it is saved
        if self.is_time_up:
            self._save()
            raise _TimeIsUpError
        if time.monotonic() - self._saved > 60 * self._job.settings.finetune.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        save_checkpoint(self._job.run.checkpoint_file, self.state, self._variables, identity=self._identity)
        self._saved = time.monotonic()

    def validate(self) -> dict[str, float]:
        rows = self._job.data.in_splits("validation")
        probability, _ = self._network.score(_features(self._network.backbone, self._job.data.dataset, rows))
        require_finite({"the validation score": float(probability.sum())}, self._job.settings)
        is_fake = np.array([row.is_fake for row in rows])
        clipped = np.clip(probability, 1e-6, 1 - 1e-6)
        loss = float(-np.mean(np.log(np.where(is_fake, clipped, 1 - clipped))))
        accuracy = float(np.mean((probability >= 0.5) == is_fake))
        return {"val_loss": loss, "val_accuracy": accuracy, "val_auc": float(roc_auc_score(is_fake, probability))}


def _build(job: TrainingJob, start: Start, *, frames: int, size: int, steps: int) -> tuple[ClipNetwork, keras.Model]:
    """Return the network to keep, and the model that trains its weights on images of ``size`` pixels."""
    settings, own, data, backbone = job.settings, job.settings.finetune, job.data, start.backbone
    channels = backbone.model.output.shape[-1]
    head = build_head(
        settings.model, frames=frames if has_frame_head(settings.model) else data.frames, channels=channels
    )
    if start.head is not None:
        head.set_weights(start.head.get_weights())
        head.get_layer("standardise").finalize_state()  # without it, mean and variance would stay 0 and 1
    else:
        rows = data.in_splits("train")
        chosen = np.random.default_rng(settings.seed).permutation(len(rows))[:NORMALISATION_CLIPS]
        sample = _features(backbone.model, data.dataset, [rows[index] for index in chosen])
        standardise(head.get_layer("standardise"), sample, least=1.0)  # the backbone, and so all channels, will change
    network = compose(backbone.model, head, frames=data.frames, size=data.dataset.settings.size)
    unfreeze(backbone, own)
    # All frames of a batch in one backbone call: `keras.layers.TimeDistributed` makes one copy per frame.
    clips = keras.Input((frames, size, size, 3), dtype="uint8")
    features = encode(backbone, keras.ops.reshape(clips, (-1, size, size, 3)))
    model = ReplicaModel(clips, head(keras.ops.reshape(features, (-1, frames, channels))))
    model.compile(
        optimizer=build_optimizer(
            settings.learning_rate, own, weight_decay=settings.weight_decay, steps=steps, backbone=backbone.model
        ),
        loss=build_loss(own),
        # Metric objects, and an optimiser that is built here, have their variables before the first step. Otherwise
        # Keras makes them in it, and TensorFlow traces the step twice, which takes half a minute.
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")],
    )
    model.optimizer.build(model.trainable_variables)
    return network, model


def unfreeze(backbone: Backbone, settings: FinetuneSettings) -> None:
    """Make only those blocks of the backbone trainable that the settings ask for.

    Raises:
        RunError: There is no block of that name.
    """
    network = network_of(backbone.model)
    starts = block_starts(network, backbone.family)
    if settings.unfreeze != "all" and settings.unfreeze not in starts:
        raise RunError(
            f"unfreeze: {backbone.family} has no block {settings.unfreeze!r}. "
            f"Choose all or one of: {', '.join(starts)}."
        )
    first = 0 if settings.unfreeze == "all" else starts[settings.unfreeze]
    for index, layer in enumerate(network.layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and (settings.train_batch_norm or not is_norm)
        if is_norm and layer.trainable:
            layer.momentum = BATCH_NORM_MOMENTUM


def _features(backbone: keras.Model, dataset: FaceDataset, rows: Sequence[ClipRow]) -> np.ndarray:
    """Return features ``(N, T, channels)`` of clips, with few clips in memory at a time."""
    parts = []
    for start in range(0, len(rows), 16):
        clips = np.stack([dataset.load_clip(row) for row in rows[start : start + 16]])
        features = backbone_features(backbone, clips.reshape(-1, *clips.shape[2:]))
        parts.append(features.reshape(*clips.shape[:2], -1))
    return np.concatenate(parts)


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    write_csv(path, tuple(history[0]), history)
