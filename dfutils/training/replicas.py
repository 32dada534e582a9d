"""A training step whose result does not depend on how many devices share its batch."""

from __future__ import annotations

from typing import Any

from dfutils.training.backend import keras, tf


class ReplicaModel(keras.Model):
    """A functional model whose replicas count by the clips that they were given.

    Keras gives each replica the mean loss of its own part of the batch and averages those means. Where the parts
    differ in size, as in the last batch of an epoch, clips of a smaller part would count for more.
    """

    def train_step(self, data: tuple[Any, ...]) -> dict[str, Any]:
        """See Keras; on one device it is Keras' own."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas == 1:
            return dict(super().train_step(data))
        clips, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        own = tf.cast(tf.shape(clips)[0], tf.float32)
        all_clips = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)
        with tf.GradientTape() as tape:
            predicted = self(clips, training=True)
            # Keras divides by the number of replicas what they are about to add up.
            loss = replicas * self.compute_loss(clips, targets, predicted, weights, training=True)
            share = self.optimizer.scale_loss(loss * tf.cast(own / all_clips, loss.dtype))
        self._loss_tracker.update_state(loss, sample_weight=own)
        gradients = _finite_on_all(tape.gradient(share, self.trainable_weights), replicas)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return dict(self.compute_metrics(clips, targets, predicted, weights))

    def _maybe_symbolic_build(self, iterator: object = None, data_batch: object = None) -> None:  # noqa: ARG002
        """Build metrics and loss for what the model takes and gives.

        Keras would learn the shapes from a first batch, whose parts it adds up: that fails where they differ in size.
        """
        if self._distribute_strategy is not None:
            with self._distribute_strategy.scope():
                self._symbolic_build(data_batch=(self.input, self.output))


def _finite_on_all(gradients: list[tf.Tensor], replicas: int) -> list[tf.Tensor]:
    """The gradients of one replica, made NaN where those of another overflowed.

    With a scaled loss an overflow is usual, and the step is then left out. Keras asks the first replica alone whether
    there was one, before it adds up what all of them found.
    """
    own = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    context = tf.distribute.get_replica_context()
    fine = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(own, tf.float32)) >= replicas
    return [tf.where(fine, gradient, tf.constant(float("nan"), gradient.dtype)) for gradient in gradients]
