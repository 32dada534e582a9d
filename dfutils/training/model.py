"""The models by name, as functional Keras 3: a frame backbone, a head over time, and the two composed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow starts to talk of absent GPUs

import keras
import numpy as np
import numpy.typing as npt

from dfutils.errors import DfutilsError, WeightsError
from dfutils.files import sha256_of
from dfutils.weights import WEIGHT_FILES, find_weights

FEATURES = 2048
"""Channels of InceptionV3's last block after global average pooling."""

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Backbone:
    """InceptionV3 as a frame encoder: uint8 RGB ``(N, size, size, 3)`` to float32 ``(N, 2048)``.

    Attributes:
        model: Scales to −1..1 (Keras' ``preprocess_input`` for Inception) and pools globally; that is inside the
            model so that nobody can forget it.
        weights: ``imagenet``, ``stand-in``, ``random`` or a file name.
        checksum: Of the weight file, or ``seed-<n>``.
        origin: One sentence for reports.
    """

    model: keras.Model
    weights: str
    checksum: str
    origin: str


@dataclass(frozen=True, slots=True)
class ClipNetwork:
    """A clip model and the parts it is composed of; the parts share their weights with the whole.

    Attributes:
        clip_model: uint8 ``(N, T, size, size, 3)`` to probability ``(N, 1)``.
        backbone: uint8 ``(N, size, size, 3)`` to features ``(N, 2048)``.
        head: Features ``(N, T, 2048)`` to probability ``(N, 1)``.
        frame_head: Features ``(N, T, 2048)`` to probabilities ``(N, T, 1)``; None for recurrent models.
    """

    clip_model: keras.Model
    backbone: keras.Model
    head: keras.Model
    frame_head: keras.Model | None


def build_backbone(weights: str, *, size: int, seed: int = 0) -> Backbone:
    """Build InceptionV3 with the weights that were asked for.

    Args:
        weights: ``auto`` (ImageNet's file, else the stand-in, else an error), ``imagenet``, ``stand-in``,
            ``random``, or the path of a weight file.
        size: Side of a crop in pixels.
        seed: For ``random``.

    Raises:
        WeightsError: The file cannot be found or is not what it claims to be.
    """
    name, path = _resolve_weights(weights)
    keras.utils.set_random_seed(seed)
    inception = keras.applications.InceptionV3(
        weights=str(path) if path else None, include_top=False, input_shape=(size, size, 3), pooling="avg"
    )
    inputs = keras.Input((size, size, 3), dtype="uint8", name="crops")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="preprocess")(inputs)
    model = keras.Model(inputs, inception(scaled), name="backbone")
    checksum = sha256_of(path) if path else f"seed-{seed}"
    return Backbone(model, name, checksum, _origin(name))


def build_head(name: str, *, frames: int) -> keras.Model:
    """Build the head called ``name``: standardised features ``(N, T, 2048)`` to the probability of FAKE ``(N, 1)``.

    Raises:
        DfutilsError: There is no such model.
    """
    if name not in HEADS:
        raise DfutilsError(f"model: there is no {name!r}. Choose one of: {', '.join(HEADS)}.")
    return HEADS[name](frames)


def compose(backbone: keras.Model, head: keras.Model, *, frames: int, size: int) -> ClipNetwork:
    """Join a backbone and a head to one clip model that shares their weights."""
    clips = keras.Input((frames, size, size, 3), dtype="uint8", name="clips")
    features = keras.layers.TimeDistributed(backbone, name="each_frame")(clips)
    clip_model = keras.Model(clips, head(features), name=head.name)
    return ClipNetwork(clip_model, backbone, head, _frame_head(head))


def score_features(
    network: ClipNetwork, features: npt.NDArray[np.float32]
) -> tuple[Probabilities, Probabilities | None]:
    """Raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``."""
    clips = network.head.predict(features, batch_size=256, verbose=0)[:, 0]
    if network.frame_head is None:
        return clips, None
    return clips, network.frame_head.predict(features, batch_size=256, verbose=0)[:, :, 0]


def has_frame_head(name: str) -> bool:
    """Whether the model scores single frames, and so still images."""
    return name in FRAME_MODELS


def _mean_head(_frames: int) -> keras.Model:
    """The frame average that any recurrent model has to beat: mean logit of a linear frame classifier."""
    features = keras.Input((None, FEATURES), name="features")
    frame_logits = keras.layers.Dense(1, name="frame_logits")(_standardised(features))
    mean_logit = keras.layers.GlobalAveragePooling1D(name="mean_logit")(frame_logits)
    return keras.Model(features, _probability(mean_logit), name="inception_mean")


def _gru_head(frames: int) -> keras.Model:
    features = keras.Input((frames, FEATURES), name="features")
    state = keras.layers.GRU(128, name="gru")(_standardised(features))
    logit = keras.layers.Dense(1, name="logit")(keras.layers.Dropout(0.5, name="dropout")(state))
    return keras.Model(features, _probability(logit), name="inception_gru")


def _lstm_gru_head(frames: int) -> keras.Model:
    features = keras.Input((frames, FEATURES), name="features")
    states = keras.layers.LSTM(128, return_sequences=True, name="lstm")(_standardised(features))
    state = keras.layers.GRU(128, name="gru")(states)
    dense = keras.layers.Dense(64, activation="relu", name="dense")(keras.layers.Dropout(0.5, name="dropout")(state))
    logit = keras.layers.Dense(1, name="logit")(dense)
    return keras.Model(features, _probability(logit), name="inception_lstm_gru")


HEADS: dict[str, Callable[[int], keras.Model]] = {
    "inception_lstm_gru": _lstm_gru_head,
    "inception_gru": _gru_head,
    "inception_mean": _mean_head,
}
FRAME_MODELS = frozenset({"inception_mean"})


def _standardised(features: keras.KerasTensor) -> keras.KerasTensor:
    """Zero mean and unit variance by the training split, so that any backbone's scale suits the optimiser."""
    return keras.layers.Normalization(name="standardise")(features)


def _probability(logit: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Activation("sigmoid", dtype="float32", name="fake_probability")(logit)


def _frame_head(head: keras.Model) -> keras.Model | None:
    if not has_frame_head(head.name):
        return None
    frame_logits = head.get_layer("frame_logits").output
    return keras.Model(head.input, keras.layers.Activation("sigmoid", dtype="float32")(frame_logits))


def _resolve_weights(weights: str) -> tuple[str, Path | None]:
    if weights == "random":
        return "random", None
    if weights == "auto":
        return _first_available("imagenet", "stand-in")
    if weights in WEIGHT_FILES:
        return weights, find_weights(weights)
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"backbone weights {weights!r}: neither a file nor one of auto, imagenet, stand-in, random. Check the path."
        )
    return path.name, path


def _first_available(*names: str) -> tuple[str, Path]:
    problems = []
    for name in names:
        try:
            return name, find_weights(name)
        except WeightsError as error:
            problems.append(str(error))
    raise WeightsError(
        "backbone weights: none could be found. " + " ".join(problems) + " To train without any (much worse), "
        "ask for it with --backbone-weights random."
    )


def _origin(name: str) -> str:
    if name == "random":
        return "random, never trained: for tests and the demo only"
    return WEIGHT_FILES[name].origin if name in WEIGHT_FILES else f"the file {name}"
