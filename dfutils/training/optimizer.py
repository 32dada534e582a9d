"""The optimiser of fine-tuning: AdamW whose result does not depend on how many devices share a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dfutils.settings import FinetuneSettings


class ScaledAdamW(keras.optimizers.AdamW):
    """AdamW with a smaller learning rate for the backbone, a global gradient norm, and averaged weights on request.

    Keras clips the gradients of each replica before it sums them, so that two replicas would train another model than
    one: here the sum is clipped. Keras also puts averaged weights (``use_ema``) in place whenever ``fit`` returns:
    here training goes on from its own weights, and `averaged` lends the average.

    Args:
        backbone_paths: `keras.Variable.path` of each of the backbone's variables.
        backbone_rate: Their learning rate as a fraction of the others'.
        gradient_norm: Gradients are scaled down to at most this global norm.
    """

    def __init__(
        self,
        *args: Any,
        backbone_paths: Sequence[str] = (),
        backbone_rate: float = 1.0,
        gradient_norm: float = math.inf,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.backbone_paths, self.backbone_rate = list(backbone_paths), backbone_rate
        self.gradient_norm = gradient_norm
        self._slow: frozenset[int] = frozenset()

    def build(self, variables: list[keras.Variable]) -> None:
        """See Keras; remembers which variables are the backbone's."""
        paths = set(self.backbone_paths)
        self._slow = frozenset(index for index, variable in enumerate(variables) if variable.path in paths)
        super().build(variables)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """See Keras: one variable's update, here with its own learning rate."""
        factor = self.backbone_rate if self._get_variable_index(variable) in self._slow else 1.0
        super().update_step(gradient, variable, learning_rate * factor)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        summed = super()._all_reduce_sum_gradients(grads_and_vars)
        if math.isinf(self.gradient_norm):
            return list(summed)
        clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in summed], self.gradient_norm)
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
            "backbone_rate": self.backbone_rate,
            "gradient_norm": self.gradient_norm,
        }


def build_optimizer(
    rate: float, own: FinetuneSettings, *, weight_decay: float, steps: int, backbone: keras.Model
) -> ScaledAdamW:
    """AdamW with warm-up and cosine decay over ``steps``."""
    return ScaledAdamW(
        _schedule(rate, own, steps),
        weight_decay=weight_decay,
        use_ema=own.weight_average > 0,
        ema_momentum=own.weight_average,
        gradient_norm=own.gradient_norm,
        backbone_paths=[variable.path for variable in backbone.variables],
        backbone_rate=own.backbone_rate,
    )


def _schedule(rate: float, own: FinetuneSettings, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = math.ceil(own.warmup_fraction * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else rate, max(1, steps - warmup), warmup_target=rate if warmup else None, warmup_steps=warmup
    )
