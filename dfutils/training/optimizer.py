"""Optimiser and training step whose results do not depend on how many devices share a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dfutils.settings import FinetuneSettings
from dfutils.training.backend import keras, tf


class ReplicaModel(keras.Model):
    """A functional model whose replicas are weighted by the number of clips that they received.

    Keras gives each replica the mean loss of its own part of the batch and averages those means. Where the parts
    differ in size, as in the last batch of an epoch, clips of the smaller part would count for more.
    """

    def train_step(self, data: tuple[Any, ...]) -> dict[str, Any]:
        """See Keras; with one replica this is Keras' own step."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas == 1:
            return dict(super().train_step(data))
        clips, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        own = tf.cast(tf.shape(clips)[0], tf.float32)
        context = tf.distribute.get_replica_context()
        all_clips = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
        with tf.GradientTape() as tape:
            predicted = self(clips, training=True)
            # Keras divides the loss by the number of replicas, whose gradients it then adds up.
            loss = replicas * self.compute_loss(clips, targets, predicted, weights, training=True)
            share = self.optimizer.scale_loss(loss * tf.cast(own / all_clips, loss.dtype))
        self._loss_tracker.update_state(loss, sample_weight=own)
        gradients = tape.gradient(share, self.trainable_weights)
        # With a scaled loss overflows are common, and the step is then skipped. Keras checks the first replica alone,
        # before it sums the gradients of all; here, an overflow in any replica makes the gradients of all of them NaN.
        is_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        finite = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(is_finite, tf.float32))
        gradients = [tf.where(finite >= replicas, one, tf.constant(math.nan, one.dtype)) for one in gradients]
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return dict(self.compute_metrics(clips, targets, predicted, weights))

    def _maybe_symbolic_build(self, iterator: object = None, data_batch: object = None) -> None:  # noqa: ARG002
        """Build metrics and loss from the model's inputs and outputs.

        Keras would take the shapes from a first batch, whose parts it adds up: that fails if they differ in size.
        """
        if self._distribute_strategy is not None:
            with self._distribute_strategy.scope():
                self._symbolic_build(data_batch=(self.input, self.output))


class ScaledAdamW(keras.optimizers.AdamW):
    """AdamW with a separate learning rate for the backbone, a global gradient norm, and averaged weights on request.

    Keras clips the gradients of each replica before it sums them, so two replicas would train a different model than
    one; here the sum is clipped. Keras also puts averaged weights (``use_ema``) in place whenever ``fit`` returns;
    here training continues from its own weights, and `averaged` puts the average in place temporarily.

    Args:
        backbone_paths: `keras.Variable.path` of each of the backbone's variables.
        backbone_lr_multiplier: Learning rate of those variables, as a multiple of that of the others.
        clip_norm: Gradients are scaled down to at most this global norm.
    """

    def __init__(
        self,
        *args: Any,
        backbone_paths: Sequence[str] = (),
        backbone_lr_multiplier: float = 1.0,
        clip_norm: float = math.inf,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.backbone_paths, self.backbone_lr_multiplier = list(backbone_paths), backbone_lr_multiplier
        self.clip_norm = clip_norm
        self._slow: frozenset[int] = frozenset()

    def build(self, variables: list[keras.Variable]) -> None:
        """See Keras; remember which variables are the backbone's."""
        paths = set(self.backbone_paths)
        self._slow = frozenset(index for index, variable in enumerate(variables) if variable.path in paths)
        super().build(variables)

    @property
    def schedule(self) -> Any:
        """The schedule of the learning rate."""
        return self._learning_rate

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """See Keras: update one variable, here with its own learning rate."""
        if self._use_weight_decay(variable):
            variable.assign_sub(variable * self.weight_decay * learning_rate)
        factor = self.backbone_lr_multiplier if self._get_variable_index(variable) in self._slow else 1.0
        super().update_step(gradient, variable, learning_rate * factor)

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Do nothing: `update_step` applies the decay. Keras would evaluate the schedule again for every variable."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        summed = super()._all_reduce_sum_gradients(grads_and_vars)
        if math.isinf(self.clip_norm):
            return list(summed)
        clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in summed], self.clip_norm)
        return [(gradient, variable) for gradient, (_, variable) in zip(clipped, summed, strict=True)]

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """See Keras, which would put the averages in place here; `averaged` does so on request."""

    @contextmanager
    def averaged(self, variables: Sequence[keras.Variable]) -> Iterator[None]:
        """Put the averaged weights in place inside this context; without ``use_ema`` nothing changes.

        Args:
            variables: The variables that the optimiser was built with.
        """
        if not self.use_ema or not int(np.asarray(self.iterations)):
            yield
            return
        own = [keras.ops.convert_to_numpy(variable) for variable in variables]
        super().finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(variables, own, strict=True):
                variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {
            **super().get_config(),
            "backbone_paths": self.backbone_paths,
            "backbone_lr_multiplier": self.backbone_lr_multiplier,
            "clip_norm": self.clip_norm,
        }


class PlateauRate(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises over the first steps and then stays constant, times a factor.

    Attributes:
        factor: A variable that starts at 1; see `plateau_factor`.
    """

    def __init__(self, rate: float, *, warmup: int) -> None:
        self.rate, self.warmup = rate, warmup
        self.factor = tf.Variable(1.0, trainable=False, dtype=tf.float32)

    def __call__(self, step: Any) -> tf.Tensor:
        """Return the rate of a step."""
        risen = tf.minimum(1.0, tf.cast(step, tf.float32) / self.warmup) if self.warmup else 1.0
        return self.rate * self.factor * risen

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {"rate": self.rate, "warmup": self.warmup}


def plateau_factor(aucs: Sequence[float], *, patience: int) -> float:
    """Return the factor of a learning rate that halves after every ``patience`` epochs in a row without a better AUC.

    It depends on the history alone, so that an interrupted run continues with the same factor.

    Example:
        >>> plateau_factor([0.6, 0.7, 0.7, 0.65], patience=2)
        0.5
    """
    best, waited, factor = -math.inf, 0, 1.0
    for auc in aucs:
        waited += 1
        if auc > best:
            best, waited = auc, 0
        elif waited >= patience:
            factor, waited = factor / 2, 0
    return factor


def build_loss(own: FinetuneSettings) -> keras.losses.Loss:
    """Return cross-entropy with `FinetuneSettings.label_smoothing`."""
    return keras.losses.BinaryCrossentropy(label_smoothing=own.label_smoothing)


def build_optimizer(
    rate: float, own: FinetuneSettings, *, weight_decay: float, steps: int, backbone: keras.Model
) -> ScaledAdamW:
    """Return AdamW with the learning rates of ``own``, scheduled over ``steps``."""
    warmup = math.ceil(own.warmup_fraction * steps)
    if own.schedule == "plateau":
        schedule = PlateauRate(rate, warmup=warmup)
    else:
        start, target = (0.0, rate) if warmup else (rate, None)
        schedule = keras.optimizers.schedules.CosineDecay(
            start, max(1, steps - warmup), warmup_target=target, warmup_steps=warmup
        )
    return ScaledAdamW(
        schedule,
        weight_decay=weight_decay,
        use_ema=own.ema_decay > 0,
        ema_momentum=own.ema_decay,
        clip_norm=own.clip_norm,
        backbone_paths=[variable.path for variable in backbone.variables],
        backbone_lr_multiplier=own.backbone_lr_multiplier,
    )
