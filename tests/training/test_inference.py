"""A network as a function of arrays."""

import gc
import weakref

import numpy as np
from rounding import FEATURES

from dfutils.training.backend import keras
from dfutils.training.inference import infer


class Traced(keras.layers.Layer):
    """Counts how often it becomes part of a graph."""

    count = 0

    def call(self, inputs):
        Traced.count += 1
        return inputs * 2


def build():
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(Traced()(inputs)))
    Traced.count = 0  # building has called it too
    return model


def test_outputs_are_those_of_the_model_for_any_number_of_inputs_which_is_traced_once():
    model, rng = build(), np.random.default_rng(0)
    kernel = model.get_weights()[0]
    for count, frames in ((4, 2), (1, 2), (9, 2), (3, 5)):
        inputs = rng.random((count, frames, 3), np.float32)
        found = infer(model, inputs, batch_size=4)
        assert found.shape == (count, frames, 1)
        assert np.allclose(found, 2 * inputs @ kernel, rtol=0, atol=FEATURES * np.abs(found).max())
    assert Traced.count == 1


def test_weights_that_changed_are_used():
    model, inputs = build(), np.ones((2, 1, 3), np.float32)
    infer(model, inputs, batch_size=4)
    model.set_weights([np.ones((3, 1)), np.ones(1)])
    assert infer(model, inputs, batch_size=4).ravel().tolist() == [7, 7]


def test_a_model_that_is_no_longer_used_is_freed():
    model = build()
    infer(model, np.ones((2, 1, 3), np.float32), batch_size=4)
    known = weakref.ref(model)
    del model
    gc.collect()
    assert known() is None
