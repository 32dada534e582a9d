"""Networks as functions of arrays, for inference."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dfutils.training.backend import keras, tf

_graphs: weakref.WeakKeyDictionary[keras.Model, Callable[[Any], Any]] = weakref.WeakKeyDictionary()


def infer(model: keras.Model, inputs: npt.NDArray[Any], *, batch_size: int) -> npt.NDArray[np.float32]:
    """Return the outputs ``(N, …)`` of a model with one input ``(N, …)`` and one output.

    `keras.Model.predict` traces a model anew for the second size of a batch, which takes four seconds for InceptionV3
    on a CPU; here it is traced once, for all sizes. Under a distribution strategy `keras.Model.predict` is called
    nevertheless, because it uses all devices.
    """
    if tf.distribute.has_strategy():
        return model.predict(inputs, batch_size=batch_size, verbose=0)
    if model not in _graphs:
        _graphs[model] = _graph_of(model)
    graph = _graphs[model]
    return np.concatenate(
        [graph(inputs[start : start + batch_size]).numpy() for start in range(0, len(inputs), batch_size)]
    )


def _graph_of(model: keras.Model) -> Callable[[Any], Any]:
    known = weakref.proxy(model)  # the graph must not keep its model alive
    signature = [tf.TensorSpec(model.input.shape, model.input.dtype)]
    return tf.function(lambda batch: known(batch, training=False), input_signature=signature, autograph=False)
