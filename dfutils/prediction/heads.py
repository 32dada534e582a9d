"""The heads of `dfutils.training.model` in numpy: small enough that nothing is gained by a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.runs.thresholds import Probabilities, sigmoid
from dfutils.settings import has_frame_head

if TYPE_CHECKING:
    import h5py

Floats: TypeAlias = npt.NDArray[np.float32]
Weights: TypeAlias = Mapping[str, tuple[Floats, ...]]
"""Of each layer, by the name that Keras saves it under."""

_EPSILON = 1e-7  # Keras' own, below which a deviation counts as this much


class NumpyHead:
    """Features to probabilities, as the Keras head of the same name gives them."""

    def __init__(self, model: str, weights: Weights) -> None:
        self._model, self._weights = model, weights

    def score(self, features: Floats) -> tuple[Probabilities, Probabilities | None]:
        """Raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``."""
        mean, variance = self._weights["normalization"][:2]
        standardised = ((features - mean) / np.maximum(np.sqrt(variance), _EPSILON)).astype(np.float32)
        logits = _LOGITS[self._model](standardised, self._weights)
        if not has_frame_head(self._model):
            return sigmoid(logits), None
        return sigmoid(logits.mean(axis=1)), sigmoid(logits)


def read_head(weights: h5py.File, model: str) -> NumpyHead:
    """Read the head called ``model`` from an open ``model.weights.h5``.

    Raises:
        RunError: The head is not known, or its weights are not there.
    """
    try:
        layers = weights["layers/functional/layers"]
        return NumpyHead(model, {name: _variables(layers[name]) for name in _LAYERS[model]})
    except KeyError as error:
        raise RunError(
            f"{weights.filename}: holds no head {model!r} that is known ({error}). Use the engine keras."
        ) from error


def _variables(layer: h5py.Group) -> tuple[Floats, ...]:
    variables = layer["cell/vars"] if "cell" in layer else layer["vars"]
    return tuple(variables[str(number)][()].astype(np.float32) for number in range(len(variables)))


def _frame_logits(features: Floats, weights: Weights) -> Floats:
    return _dense(features, weights["dense"])[..., 0]


def _gru_logits(features: Floats, weights: Weights) -> Floats:
    return _dense(_gru(features, *weights["gru"]), weights["dense"])[:, 0]


def _lstm_gru_logits(features: Floats, weights: Weights) -> Floats:
    state = _gru(_lstm(features, *weights["lstm"]), *weights["gru"])
    return _dense(np.maximum(_dense(state, weights["dense"]), 0), weights["dense_1"])[:, 0]


_LOGITS: dict[str, Callable[[Floats, Weights], Floats]] = {
    "inception_mean": _frame_logits,
    "inception_gru": _gru_logits,
    "inception_lstm_gru": _lstm_gru_logits,
}
_LAYERS = {
    "inception_mean": ("normalization", "dense"),
    "inception_gru": ("normalization", "gru", "dense"),
    "inception_lstm_gru": ("normalization", "lstm", "gru", "dense", "dense_1"),
}


def _dense(values: Floats, weights: tuple[Floats, ...]) -> Floats:
    kernel, bias = weights
    return values @ kernel + bias


def _gru(inputs: Floats, kernel: Floats, recurrent: Floats, bias: Floats) -> Floats:
    """Last state of Keras' GRU, which resets after the product (Cho et al. 2014, version 3): ``(N, units)``."""
    state = np.zeros((len(inputs), recurrent.shape[0]), np.float32)
    given = inputs @ kernel + bias[0]
    for step in range(inputs.shape[1]):
        update, reset, new = np.split(given[:, step], 3, axis=1)
        own_update, own_reset, own_new = np.split(state @ recurrent + bias[1], 3, axis=1)
        kept = _sigmoid(update + own_update)
        state = kept * state + (1 - kept) * np.tanh(new + _sigmoid(reset + own_reset) * own_new)
    return state


def _lstm(inputs: Floats, kernel: Floats, recurrent: Floats, bias: Floats) -> Floats:
    """All states of an LSTM (Hochreiter and Schmidhuber 1997): ``(N, T, units)``."""
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
