"""End-to-end training of backbone and head, on whatever devices there are, resumable at any step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from dfutils.errors import RunError
from dfutils.extraction.dataset import FaceDataset
from dfutils.files import write_csv
from dfutils.records import ClipRow
from dfutils.settings import FinetuneSettings, TrainingSettings, has_frame_head
from dfutils.training.backbones import Backbone, block_starts, encode, network_of
from dfutils.training.backend import keras, tf
from dfutils.training.batches import BatchLoader, BatchPlan, PairLoader
from dfutils.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from dfutils.training.devices import input_workers
from dfutils.training.model import ClipNetwork, build_head, compose, standardise
from dfutils.training.optimizer import PlateauRate, ScaledAdamW, build_loss, build_optimizer, plateau_factor
from dfutils.training.pipeline import training_batches
from dfutils.training.progress import TrainingProgress
from dfutils.training.replicas import ReplicaModel
from dfutils.training.workers import BatchSource

logger = logging.getLogger(__name__)

BATCH_NORM_MOMENTUM = 0.98
"""Of trained batch normalisation: with Keras' 0.99 its averages lag behind a short run, which cost 2 points of AUC."""

NORMALISATION_CLIPS = 256
"""Training clips whose features set the head's standardisation before the first step."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What training starts from.

    Attributes:
        backbone: Is changed in place.
        head: Of the same model; None for a new one.
    """

    backbone: Backbone
    head: keras.Model | None = None


@dataclass(frozen=True, slots=True)
class Finetuned:
    """What training gives.

    Attributes:
        network: That of the epoch with the best validation AUC.
        is_complete: False where the time budget ended training early.
    """

    network: ClipNetwork
    is_complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneData:
    """What a fine-tuning sees: clips to train on and to validate on."""

    dataset: FaceDataset
    train: tuple[ClipRow, ...]
    validation: tuple[ClipRow, ...]


def finetune(
    data: FinetuneData,
    start: Start,
    *,
    settings: TrainingSettings,
    run: Path,
    identity: dict[str, Any],
    since: float | None = None,
    events: keras.callbacks.Callback | None = None,
    progress: bool = True,
) -> Finetuned:
    """Train backbone and head end to end, going on from a checkpoint where ``run`` has one.

    Args:
        data: Rows are clips of one length.
        start: Its backbone is changed in place.
        settings: ``settings.finetune`` holds what is special to this mode.
        run: Gets ``history.csv``, and ``checkpoint.npz`` and ``best.npz`` while training goes on.
        identity: What a checkpoint must belong to.
        since: When the time budget began, by `time.monotonic`; by default now.
        events: Is told of every epoch.
        progress: Show a bar on a terminal.

    Raises:
        RunError: The time budget was used up before the first validation: the same command goes on from the checkpoint.
    """
    own = settings.finetune
    frames = own.frames_per_clip or (1 if has_frame_head(settings.model) else data.train[0].frames)
    frames = min(frames, data.train[0].frames)
    keras.utils.set_random_seed(settings.seed)
    plan = BatchPlan(data.train, batch_size=settings.batch_size, settings=own, seed=settings.seed)
    steps = own.steps_per_epoch or plan.steps_per_pass
    pairs = PairLoader(data.dataset, data.train, frames=frames, settings=own)
    network, model = _build(start, settings, data, frames=frames, size=pairs.size, steps=steps * settings.epochs)
    trainer = _Trainer(
        model, network, data, settings=settings, run=run, identity=identity, since=since, steps_per_epoch=steps
    )
    trainer.resume()
    images = settings.batch_size * frames
    with (
        BatchSource(BatchLoader(plan, pairs), workers=input_workers(settings)) as source,
        TrainingProgress(
            epochs=settings.epochs, images=steps * images, done=trainer.state.step * images, shown=progress
        ) as bar,
        suppress(_TimeIsUpError),
    ):
        while trainer.goes_on:
            done, stop = trainer.state.step, trainer.end_of_epoch
            batches = training_batches(source, start=done, stop=stop, frames=frames, size=pairs.size)
            record = trainer.run_epoch(batches, stop - done, lambda logs: bar.advance(images, logs), images)
            bar.end_epoch(record["epoch"], record)
            if events is not None:
                events.on_epoch_end(record["epoch"], record)
            if trainer.is_time_up:
                break
    if not trainer.state.history:
        raise RunError(
            f"{run}: the time budget of {own.time_budget_hours:g} h was used up before the first validation. "
            "Give the same command to go on."
        )
    trainer.restore_best()
    return Finetuned(network, is_complete=not trainer.goes_on)


class _TimeIsUpError(Exception):
    """Leaves Keras' loop in the middle of an epoch."""


class _Trainer:
    """The loop's state: progress, checkpoints and the best weights."""

    def __init__(
        self,
        model: keras.Model,
        network: ClipNetwork,
        data: FinetuneData,
        *,
        settings: TrainingSettings,
        run: Path,
        identity: dict[str, Any],
        since: float | None,
        steps_per_epoch: int,
    ) -> None:
        self._model, self._network, self._data = model, network, data
        self._settings, self._run, self._steps = settings, run, steps_per_epoch
        # What "auto" chose on these devices: other precisions have other variables.
        self.state = Progress(identity={**identity, "precision": keras.config.dtype_policy().name})
        self._saved = time.monotonic()
        self._started = self._saved if since is None else since

    @property
    def _variables(self) -> list[keras.Variable]:
        return [*self._model.variables, *self._model.optimizer.variables]

    @property
    def _optimizer(self) -> ScaledAdamW:
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
        return self.epoch < self._settings.epochs and waited < self._settings.patience

    @property
    def is_time_up(self) -> bool:
        budget = self._settings.finetune.time_budget_hours
        return budget is not None and time.monotonic() - self._started > 3600 * budget

    def resume(self) -> None:
        known = load_checkpoint(self._run / "checkpoint.npz", self._variables, identity=self.state.identity)
        if known is not None:
            self.state = known
            if known.history:  # killed after a checkpoint and before its history was written
                _write_history(self._run / "history.csv", known.history)
            logger.info("Going on from step %d (epoch %d)", known.step, self.epoch + 1)

    def run_epoch(
        self, batches: tf.data.Dataset, count: int, after_step: Callable[[Mapping[str, float]], None], images: int
    ) -> dict[str, Any]:
        """Train ``count`` steps of ``images`` crops, validate, and return the record of the epoch."""
        self._lower_rate()
        started = time.monotonic()
        done = self._model.fit(
            batches,
            epochs=1,
            steps_per_epoch=count,
            shuffle=False,
            callbacks=[_AfterStep(after_step, self._after_step)],
            verbose=0,
        )
        seconds = time.monotonic() - started
        with self._optimizer.averaged(self._model.trainable_variables):
            scores = self._validate()
            if scores["val_auc"] > self.state.best_auc:
                self.state.best_auc, self.state.best_epoch = scores["val_auc"], len(self.state.history)
                save_checkpoint(self._run / "best.npz", self.state, self._model.variables)
        record: dict[str, Any] = {
            "epoch": len(self.state.history),
            **{name: float(values[-1]) for name, values in done.history.items()},
            **scores,
            "learning_rate": float(self._optimizer.learning_rate),
            "images_per_second": count * images / seconds,
        }
        self.state.history.append({name: _rounded(value) for name, value in record.items()})
        self._save()
        _write_history(self._run / "history.csv", self.state.history)
        return record

    def restore_best(self) -> None:
        load_checkpoint(self._run / "best.npz", self._model.variables, identity=self.state.identity)

    def _lower_rate(self) -> None:
        schedule = self._optimizer.schedule
        if isinstance(schedule, PlateauRate):
            aucs = [record["val_auc"] for record in self.state.history]
            schedule.factor.assign(plateau_factor(aucs, patience=max(1, self._settings.patience // 2)))

    def _after_step(self, _logs: Mapping[str, float]) -> None:
        self.state.step += 1
        if self.state.step % self._steps == 0:
            return  # an epoch that is over is validated first, and then saved
        if self.is_time_up:
            self._save()
            raise _TimeIsUpError
        if time.monotonic() - self._saved > 60 * self._settings.finetune.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        save_checkpoint(self._run / "checkpoint.npz", self.state, self._variables)
        self._saved = time.monotonic()

    def _validate(self) -> dict[str, float]:
        rows = self._data.validation
        features = _features(self._network.backbone, self._data.dataset, rows)
        probability, _ = self._network.score(features)
        is_fake = np.array([row.is_fake for row in rows])
        clipped = np.clip(probability, 1e-6, 1 - 1e-6)
        loss = float(-np.mean(np.log(np.where(is_fake, clipped, 1 - clipped))))
        accuracy = float(np.mean((probability >= 0.5) == is_fake))
        return {"val_loss": loss, "val_accuracy": accuracy, "val_auc": float(roc_auc_score(is_fake, probability))}


def _build(
    start: Start, settings: TrainingSettings, data: FinetuneData, *, frames: int, size: int, steps: int
) -> tuple[ClipNetwork, keras.Model]:
    """The network that is kept, and the one that trains its weights on images of ``size`` pixels."""
    own, backbone = settings.finetune, start.backbone
    head = build_head(
        settings.model,
        frames=data.train[0].frames if not has_frame_head(settings.model) else frames,
        channels=backbone.model.output.shape[-1],
    )
    if start.head is not None:
        head.set_weights(start.head.get_weights())
        head.get_layer("standardise").finalize_state()  # or it would go on with mean 0 and variance 1
    else:
        chosen = np.random.default_rng(settings.seed).permutation(len(data.train))[:NORMALISATION_CLIPS]
        sample = _features(backbone.model, data.dataset, [data.train[index] for index in chosen])
        standardise(head.get_layer("standardise"), sample, least=1.0)  # the backbone, and so all channels, will change
    network = compose(backbone.model, head, frames=data.train[0].frames, size=data.dataset.settings.size)
    _unfreeze(backbone, own)
    model = _training_model(backbone, head, frames=frames, size=size)
    model.compile(
        optimizer=build_optimizer(
            settings.learning_rate, own, weight_decay=settings.weight_decay, steps=steps, backbone=backbone.model
        ),
        loss=build_loss(own),
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
    )
    model.optimizer.build(model.trainable_variables)
    return network, model


def _training_model(backbone: Backbone, head: keras.Model, *, frames: int, size: int) -> keras.Model:
    """The clip model with all frames of a batch in one backbone call: `keras.layers.TimeDistributed` makes T copies."""
    clips = keras.Input((frames, size, size, 3), dtype="uint8")
    flat = keras.ops.reshape(clips, (-1, size, size, 3))
    features = keras.ops.reshape(encode(backbone, flat), (-1, frames, backbone.model.output.shape[-1]))
    return ReplicaModel(clips, head(features))


def _unfreeze(backbone: Backbone, own: FinetuneSettings) -> None:
    network = network_of(backbone.model)
    starts = block_starts(network, backbone.family)
    if own.unfreeze != "all" and own.unfreeze not in starts:
        raise RunError(
            f"unfreeze: {backbone.family} has no block {own.unfreeze!r}. Choose all or one of: {', '.join(starts)}."
        )
    first = 0 if own.unfreeze == "all" else starts[own.unfreeze]
    for index, layer in enumerate(network.layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and (own.train_batch_norm or not is_norm)
        if is_norm and layer.trainable:
            layer.momentum = BATCH_NORM_MOMENTUM


def _features(backbone: keras.Model, dataset: FaceDataset, rows: Sequence[ClipRow]) -> np.ndarray:
    """Features ``(N, T, channels)`` of clips, of which few are in memory at a time."""
    return np.concatenate(
        [_features_at_once(backbone, dataset, rows[start : start + 16]) for start in range(0, len(rows), 16)]
    )


def _features_at_once(backbone: keras.Model, dataset: FaceDataset, rows: Sequence[ClipRow]) -> np.ndarray:
    clips = np.stack([dataset.load_clip(row) for row in rows])
    flat = clips.reshape(-1, *clips.shape[2:])
    # Not predict_on_batch: under MirroredStrategy it joins the replicas' results along the wrong axis.
    return backbone.predict(flat, batch_size=32, verbose=0).reshape(*clips.shape[:2], -1)


class _AfterStep(keras.callbacks.Callback):
    def __init__(self, *actions: Callable[[Mapping[str, float]], None]) -> None:
        super().__init__()
        self._actions = actions

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        for act in self._actions:
            act(logs or {})


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    write_csv(path, tuple(history[0]), history)
