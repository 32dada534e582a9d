"""The optimiser of fine-tuning: AdamW whose result does not depend on how many devices share a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dfutils.settings import FinetuneSettings
from dfutils.training.backend import keras, tf


class ScaledAdamW(keras.optimizers.AdamW):
    """AdamW with a smaller learning rate for the backbone, a global gradient norm, and averaged weights on request.

    Keras clips the gradients of each replica before it sums them, so that two replicas would train another model than
    one: here the sum is clipped. Keras also puts averaged weights (``use_ema``) in place whenever ``fit`` returns:
    here training goes on from its own weights, and `averaged` lends the average.

    Args:
        backbone_paths: `keras.Variable.path` of each of the backbone's variables.
        backbone_lr_multiplier: Their learning rate as a multiple of the others'.
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
        """See Keras; remembers which variables are the backbone's."""
        paths = set(self.backbone_paths)
        self._slow = frozenset(index for index, variable in enumerate(variables) if variable.path in paths)
        super().build(variables)

    @property
    def schedule(self) -> Any:
        """What decides the learning rate of a step."""
        return self._learning_rate

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """See Keras: one variable's update, here with its own learning rate."""
        factor = self.backbone_lr_multiplier if self._get_variable_index(variable) in self._slow else 1.0
        super().update_step(gradient, variable, learning_rate * factor)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        summed = super()._all_reduce_sum_gradients(grads_and_vars)
        if math.isinf(self.clip_norm):
            return list(summed)
        clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in summed], self.clip_norm)
        return [(gradient, variable) for gradient, (_, variable) in zip(clipped, summed, strict=True)]

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """See Keras, which would put the averages in place here; `averaged` does it when they are wanted."""

    @contextmanager
    def averaged(self, variables: Sequence[keras.Variable]) -> Iterator[None]:
        """Put the averaged weights in place for a while; without ``use_ema`` nothing changes.

        Args:
            variables: Those that the optimiser was built with.
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
    """A learning rate that rises over the first steps and then stays where it is, but for a factor.

    Attributes:
        factor: A variable, 1 at first; see `plateau_factor`.
    """

    def __init__(self, rate: float, *, warmup: int) -> None:
        self.rate, self.warmup = rate, warmup
        self.factor = tf.Variable(1.0, trainable=False, dtype=tf.float32)

    def __call__(self, step: Any) -> tf.Tensor:
        """The rate of a step."""
        risen = tf.minimum(1.0, tf.cast(step, tf.float32) / self.warmup) if self.warmup else 1.0
        return self.rate * self.factor * risen

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {"rate": self.rate, "warmup": self.warmup}


def plateau_factor(aucs: Sequence[float], *, patience: int) -> float:
    """What is left of a learning rate that halves after every ``patience`` epochs in a row without a better AUC.

    It follows from the history alone, so that training that was interrupted goes on with the same.

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
    """Cross-entropy against targets that `FinetuneSettings.label_smoothing` keeps away from 0 and 1."""
    return keras.losses.BinaryCrossentropy(label_smoothing=own.label_smoothing)


def build_optimizer(
    rate: float, own: FinetuneSettings, *, weight_decay: float, steps: int, backbone: keras.Model
) -> ScaledAdamW:
    """AdamW with the learning rates that ``own`` asks for, over ``steps``."""
    return ScaledAdamW(
        _schedule(rate, own, steps),
        weight_decay=weight_decay,
        use_ema=own.ema_decay > 0,
        ema_momentum=own.ema_decay,
        clip_norm=own.clip_norm,
        backbone_paths=[variable.path for variable in backbone.variables],
        backbone_lr_multiplier=own.backbone_lr_multiplier,
    )


def _schedule(rate: float, own: FinetuneSettings, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = math.ceil(own.warmup_fraction * steps)
    if own.schedule == "plateau":
        return PlateauRate(rate, warmup=warmup)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else rate, max(1, steps - warmup), warmup_target=rate if warmup else None, warmup_steps=warmup
    )
