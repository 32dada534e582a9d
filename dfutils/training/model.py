"""The models by name, in functional Keras 3: a temporal head on top of a frame backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfutils.errors import DfutilsError
from dfutils.records import Crops
from dfutils.runs.probabilities import Probabilities, sigmoid
from dfutils.settings import DEFAULT_BACKBONE, has_frame_head
from dfutils.training.backbones import backbone_features
from dfutils.training.backend import keras
from dfutils.training.inference import infer

CLIPS_AT_ONCE = 256
"""Batch size of a head in inference."""


@dataclass(frozen=True, slots=True)
class ClipNetwork:
    """A clip model and its parts, which share their weights with the whole.

    Attributes:
        clip_model: uint8 ``(N, T, size, size, 3)`` to probability ``(N, 1)``.
        backbone: uint8 ``(N, size, size, 3)`` to features ``(N, channels)``.
        head: Features ``(N, T, channels)`` to probability ``(N, 1)``.
        logits: Features ``(N, T, channels)`` to logits ``(N, 1)``, the head without its sigmoid.
        frame_logits: The same features to logits of frames ``(N, T, 1)``; None for recurrent models.
    """

    clip_model: keras.Model
    backbone: keras.Model
    head: keras.Model
    logits: keras.Model
    frame_logits: keras.Model | None

    def features(self, images: Crops) -> npt.NDArray[np.float32]:
        """Return features ``(N, channels)`` of images ``(N, size, size, 3)``."""
        return backbone_features(self.backbone, images)

    def score(self, features: npt.NDArray[np.float32]) -> tuple[Probabilities, Probabilities | None]:
        """Return raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``.

        They are computed from the logits in double precision: calibration converts them back to logits, and in single
        precision probabilities near 1 would become indistinguishable.
        """
        clips = sigmoid(infer(self.logits, features, batch_size=CLIPS_AT_ONCE)[:, 0])
        if self.frame_logits is None:
            return clips, None
        frames = infer(self.frame_logits, features, batch_size=CLIPS_AT_ONCE)[:, :, 0]
        return clips, sigmoid(frames)


def build_head(name: str, *, frames: int, channels: int) -> keras.Model:
    """Build the head called ``name``: standardised features ``(N, T, channels)`` to probabilities of FAKE ``(N, 1)``.

    Raises:
        DfutilsError: There is no such model.
    """
    if name not in HEADS:
        raise DfutilsError(f"model: there is no {name!r}. Choose one of: {', '.join(HEADS)}.")
    return HEADS[name](frames, channels)


def standardise(layer: keras.layers.Normalization, features: npt.NDArray[np.floating], *, least: float) -> None:
    """Set a head's mean and variance from features ``(N, T, channels)``, with a lower limit for the variance.

    A channel that is almost constant in these clips may vary in others: divided by its tiny deviation, it would drown
    out all other channels there.

    Args:
        layer: The head's ``standardise`` layer.
        features: Features of the training clips.
        least: Smallest variance, as a share of the median variance.
    """
    layer.adapt(features.reshape(1, -1, features.shape[-1]))
    variance = keras.ops.convert_to_numpy(layer.adapt_variance)
    layer.adapt_variance.assign(np.maximum(variance, least * np.median(variance)))
    layer.finalize_state()


def compose(backbone: keras.Model, head: keras.Model, *, frames: int, size: int) -> ClipNetwork:
    """Join a backbone and a head into one clip model that shares their weights."""
    clips = keras.Input((frames, size, size, 3), dtype="uint8", name="clips")
    features = keras.layers.TimeDistributed(backbone, name="each_frame")(clips)
    clip_model = keras.Model(clips, head(features), name=head.name)
    logits = keras.Model(head.input, head.get_layer("fake_probability").input)
    frame_logits = None
    if has_frame_head(head.name):
        frame_logits = keras.Model(head.input, head.get_layer("frame_logits").output)
    return ClipNetwork(clip_model, backbone, head, logits, frame_logits)


def detector_name(model: str, family: str) -> str:
    """Return the name of a detector: its head, with its backbone if that is not the default.

    Example:
        >>> detector_name("inception_gru", "InceptionV3"), detector_name("inception_gru", "Xception")
        ('inception_gru', 'xception_gru')
    """
    return model if family == DEFAULT_BACKBONE else model.replace("inception", family.lower())


def mean_head(_frames: int, channels: int) -> keras.Model:
    """Build the baseline for recurrent models: the mean logit of a linear classifier over any number of frames."""
    features = keras.Input((None, channels), name="features")
    frame_logits = keras.layers.Dense(1, name="frame_logits")(_standardised(features))
    mean_logit = keras.layers.GlobalAveragePooling1D(name="mean_logit")(frame_logits)
    return keras.Model(features, _probability(mean_logit), name="inception_mean")


def gru_head(frames: int, channels: int) -> keras.Model:
    """Build a GRU over the frames."""
    features = keras.Input((frames, channels), name="features")
    state = keras.layers.GRU(128, name="gru")(_standardised(features))
    logit = keras.layers.Dense(1, name="logit")(keras.layers.Dropout(0.5, name="dropout")(state))
    return keras.Model(features, _probability(logit), name="inception_gru")


def lstm_gru_head(frames: int, channels: int) -> keras.Model:
    """Build an LSTM and a GRU over the frames, followed by a dense layer."""
    features = keras.Input((frames, channels), name="features")
    states = keras.layers.LSTM(128, return_sequences=True, name="lstm")(_standardised(features))
    state = keras.layers.GRU(128, name="gru")(states)
    dense = keras.layers.Dense(64, activation="relu", name="dense")(keras.layers.Dropout(0.5, name="dropout")(state))
    logit = keras.layers.Dense(1, name="logit")(dense)
    return keras.Model(features, _probability(logit), name="inception_lstm_gru")


HEADS: dict[str, Callable[[int, int], keras.Model]] = {
    "inception_lstm_gru": lstm_gru_head,
    "inception_gru": gru_head,
    "inception_mean": mean_head,
}


def _standardised(features: keras.KerasTensor) -> keras.KerasTensor:
    """Scale to zero mean and unit variance of the training split, so that any backbone suits the optimiser."""
    return keras.layers.Normalization(name="standardise")(features)


def _probability(logit: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Activation("sigmoid", dtype="float32", name="fake_probability")(logit)
