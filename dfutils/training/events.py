"""Training curves as event files, which TensorBoard shows; written without the package of that name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dfutils.training.backend import keras, tf

_METADATA = tf.compat.v1.SummaryMetadata
# What tf.summary.scalar would add, which needs the package; TensorBoard draws what is marked like this.
_SCALAR = _METADATA(plugin_data=_METADATA.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR")


class EventWriter(keras.callbacks.Callback):
    """Adds what an epoch gave to the event file of a folder, at once: TensorBoard can follow the training."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(folder))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """See Keras; ``epoch`` counts from 0."""
        with self._writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=_SCALAR)
        self._writer.flush()
