"""The heads of `dfutils.training.model` in numpy: too small to gain from a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.runs.probabilities import Probabilities, sigmoid
from dfutils.settings import has_frame_head

if TYPE_CHECKING:
    import h5py

Floats: TypeAlias = npt.NDArray[np.float32]
Weights: TypeAlias = Mapping[str, tuple[Floats, ...]]
"""Weights of each layer, by the name that Keras saves it under."""

_EPSILON = 1e-7  # the smallest standard deviation that Keras divides by


class NumpyHead:
    """Computes the probabilities that the Keras head of the same name gives."""

    def __init__(self, model: str, weights: Weights) -> None:
        self._model, self._weights = model, weights

    def score(self, features: Floats) -> tuple[Probabilities, Probabilities | None]:
        """Return raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``."""
        mean, variance = self._weights["normalization"][:2]
        standardised = ((features - mean) / np.maximum(np.sqrt(variance), _EPSILON)).astype(np.float32)
        if has_frame_head(self._model):
            frames = _dense(standardised, self._weights["dense"])[..., 0]
            return sigmoid(frames.mean(axis=1)), sigmoid(frames)
        if self._model == "inception_gru":
            logits = _dense(_gru(standardised, *self._weights["gru"]), self._weights["dense"])
        else:
            state = _gru(_lstm(standardised, *self._weights["lstm"]), *self._weights["gru"])
            logits = _dense(np.maximum(_dense(state, self._weights["dense"]), 0), self._weights["dense_1"])
        return sigmoid(logits[:, 0]), None


def read_head(weights: h5py.File, model: str) -> NumpyHead:
    """Read the head called ``model`` from an open ``model.weights.h5``.

    Raises:
        RunError: The head is unknown, or its weights are missing.
    """
    try:
        own: dict[str, tuple[Floats, ...]] = {}
        for name in _LAYERS[model]:
            layer = weights[f"layers/functional/layers/{name}"]
            variables = layer["cell/vars"] if "cell" in layer else layer["vars"]
            own[name] = tuple(variables[str(number)][()].astype(np.float32) for number in range(len(variables)))
        return NumpyHead(model, own)
    except KeyError as error:
        raise RunError(f"{weights.filename}: holds no known head {model!r} ({error}). Use the engine keras.") from error


_LAYERS = {
    "inception_mean": ("normalization", "dense"),
    "inception_gru": ("normalization", "gru", "dense"),
    "inception_lstm_gru": ("normalization", "lstm", "gru", "dense", "dense_1"),
}


def _dense(values: Floats, weights: tuple[Floats, ...]) -> Floats:
    kernel, bias = weights
    return values @ kernel + bias


def _gru(inputs: Floats, kernel: Floats, recurrent: Floats, bias: Floats) -> Floats:
    """Return the last state ``(N, units)`` of Keras' GRU, with the reset after the product (Cho et al. 2014, v3)."""
    state = np.zeros((len(inputs), recurrent.shape[0]), np.float32)
    given = inputs @ kernel + bias[0]
    for step in range(inputs.shape[1]):
        update, reset, new = np.split(given[:, step], 3, axis=1)
        own_update, own_reset, own_new = np.split(state @ recurrent + bias[1], 3, axis=1)
        kept = _sigmoid(update + own_update)
        state = kept * state + (1 - kept) * np.tanh(new + _sigmoid(reset + own_reset) * own_new)
    return state


def _lstm(inputs: Floats, kernel: Floats, recurrent: Floats, bias: Floats) -> Floats:
    """Return all states ``(N, T, units)`` of an LSTM (Hochreiter and Schmidhuber 1997)."""
    state = cell = np.zeros((len(inputs), recurrent.shape[0]), np.float32)
    given, states = inputs @ kernel + bias, []
    for step in range(inputs.shape[1]):
        enter, forget, new, leave = np.split(given[:, step] + state @ recurrent, 4, axis=1)
        cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(new)
        state = _sigmoid(leave) * np.tanh(cell)
        states.append(state)
    return np.stack(states, axis=1)


def _sigmoid(values: Floats) -> Floats:
    return (1 / (1 + np.exp(-np.clip(values, -80, 80)))).astype(np.float32)
