"""Frame encoders by name: families of `keras.applications`, with their scaling and their blocks."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from dfutils.errors import RunError, WeightsError
from dfutils.files import sha256_of
from dfutils.settings import DEFAULT_BACKBONE
from dfutils.training.backend import keras
from dfutils.weights import WEIGHT_FILES, find_weights

logger = logging.getLogger(__name__)

Scaling: TypeAlias = Literal["-1..1", "own", "own, squared", "torch", "caffe"]

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's red, green and blue, as fractions of full scale."""

SCALINGS: Mapping[Scaling, tuple[float | list[float], float | list[float]]] = {
    "-1..1": (1 / 127.5, -1.0),
    "own": (1.0, 0.0),
    # EfficientNet's ImageNet weights expect colours divided by the standard deviation, but the network only divides by
    # its square root. Keras adds the missing factor after that, but only if it has fetched the weights itself; applied
    # before the network, the factor looks like this.
    "own, squared": (
        [deviation**-0.5 for deviation in _DEVIATION],
        [255 * mean * (1 - deviation**-0.5) for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
    ),
    "torch": (
        [1 / (255 * deviation) for deviation in _DEVIATION],
        [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
    ),
    "caffe": (1.0, [-103.939, -116.779, -123.68]),  # for blue, green, red
}
"""Factors and offsets from 0..255 to the range that a family was trained on: Keras' ``preprocess_input``. ``own``
families scale their inputs themselves."""


@dataclass(frozen=True, slots=True)
class Family:
    """A network of `keras.applications`.

    Attributes:
        size: Side of the images its ImageNet weights were trained with.
        scaling: One of `SCALINGS`.
        blocks: Regular expression that finds a block's name in the names of its layers.
        named_by_end: Whether only the last layer of each block carries the block's name; otherwise all its layers do.
        weights: Names in `dfutils.weights`, best first.
    """

    size: int
    scaling: Scaling
    blocks: str
    named_by_end: bool = False
    weights: tuple[str, ...] = ()


_RESIDUAL = r"^conv\d_block\d+"
_EFFICIENT = r"^block\d[a-z]+"

FAMILIES: Mapping[str, Family] = {
    "InceptionV3": Family(299, "-1..1", r"^mixed\d+$", named_by_end=True, weights=("imagenet", "nsfwjs")),
    "InceptionResNetV2": Family(299, "-1..1", r"^(mixed_\d[ab]|block\d+_\d+_ac|conv_7b_ac)$", named_by_end=True),
    "Xception": Family(299, "-1..1", r"^block\d+"),
    **{f"ResNet{layers}": Family(224, "caffe", _RESIDUAL) for layers in (50, 101, 152)},
    **{f"ResNet{layers}V2": Family(224, "-1..1", _RESIDUAL) for layers in (50, 101, 152)},
    **{f"DenseNet{layers}": Family(224, "torch", _RESIDUAL) for layers in (121, 169, 201)},
    "MobileNet": Family(224, "-1..1", r"^conv_(dw|pw)_\d+"),
    "MobileNetV2": Family(224, "-1..1", r"^block_\d+"),
    **{f"MobileNetV3{kind}": Family(224, "own", r"^expanded_conv(_\d+)?") for kind in ("Small", "Large")},
    **{
        f"EfficientNetB{number}": Family(size, "own, squared", _EFFICIENT)
        for number, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    },
    **{
        f"EfficientNetV2{kind}": Family(size, "own", _EFFICIENT)
        for kind, size in zip(("B0", "B1", "B2", "B3", "S", "M", "L"), (224, 240, 260, 300, 384, 480, 480), strict=True)
    },
    **{f"ConvNeXt{kind}": Family(224, "own", r"stage_\d_block_\d+") for kind in ("Tiny", "Small", "Base", "Large")},
    **{f"VGG{layers}": Family(224, "caffe", r"^block\d") for layers in (16, 19)},
}
"""Valid names of the setting ``backbone``."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frame encoder: uint8 RGB ``(N, size, size, 3)`` to float32 ``(N, channels)``.

    Attributes:
        model: Includes the scaling of its family and global pooling, so that callers cannot forget them.
        weights: ``imagenet``, ``nsfwjs``, ``random`` or a file name.
        checksum: SHA-256 of the weight file, or ``seed-<n>``.
        origin: One sentence for reports.
        family: Name in `FAMILIES`.
    """

    model: keras.Model
    weights: str
    checksum: str
    origin: str
    family: str = DEFAULT_BACKBONE


def build_backbone(weights: str, *, size: int, seed: int = 0, family: str = DEFAULT_BACKBONE) -> Backbone:
    """Build a frame encoder with the given weights.

    Args:
        weights: ``auto`` (ImageNet's file, or nsfwjs' if that is missing, or an error), a name from `Family.weights`,
            ``random``, or the path of a weight file without the top, as Keras publishes them.
        size: Side of a crop in pixels.
        seed: For ``random``.
        family: Name in `FAMILIES`.

    Raises:
        RunError: There is no such family, or it does not accept images of this size.
        WeightsError: The file cannot be found or is not what it claims to be.
    """
    known = _family(family)
    name, path = _resolve_weights(weights, family)
    keras.utils.set_random_seed(seed)
    build = getattr(keras.applications, family)
    try:
        network = build(
            weights=str(path) if path else None, include_top=False, input_shape=(size, size, 3), pooling="avg"
        )
    except ValueError as error:
        if path:
            raise WeightsError(
                f"{path}: does not fit {family} without its top ({_first_line(error)}). "
                "Use the file that Keras publishes for it."
            ) from error
        raise RunError(f"backbone {family}: cannot be built for {size} pixels ({_first_line(error)}).") from error
    if path and size != known.size:
        logger.info("%s: was trained on images of %d pixels, but these have %d", family, known.size, size)
    inputs = keras.Input((size, size, 3), dtype="uint8", name="crops")
    model = keras.Model(inputs, network(_scaled(inputs, known.scaling)), name="backbone")
    checksum = sha256_of(path) if path else f"seed-{seed}"
    origin = "random, never trained: for tests and the demo only"
    if path:
        origin = WEIGHT_FILES[name].origin if name in WEIGHT_FILES else f"the file {name}"
    return Backbone(model, name, checksum, origin, family)


def network_of(backbone: keras.Model) -> keras.Model:
    """Return the network of `keras.applications` inside a backbone."""
    return next(layer for layer in backbone.layers if isinstance(layer, keras.Model))


def encode(backbone: Backbone, crops: keras.KerasTensor) -> keras.KerasTensor:
    """Return the features of ``crops``, by the layers of a backbone that may have been built for another size."""
    # Use `call`, because calling the model itself would first compare the sizes.
    return network_of(backbone.model).call(_scaled(crops, _family(backbone.family).scaling))


def block_starts(network: keras.Model, family: str) -> dict[str, int]:
    """Return the index of each block's first layer, by the block's name, in order from the image to the features."""
    known, starts, start = _family(family), dict[str, int](), 0
    for index, layer in enumerate(network.layers):
        found = re.search(known.blocks, layer.name)
        if found and known.named_by_end:
            starts[found[0]], start = start, index + 1
        elif found:
            starts.setdefault(found[0], index)
    return starts


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise RunError(f"backbone: there is no {name!r}. Choose one of: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _scaled(crops: keras.KerasTensor, scaling: Scaling) -> keras.KerasTensor:
    if scaling == "caffe":
        crops = keras.ops.flip(crops, axis=-1)
    scale, offset = SCALINGS[scaling]
    return keras.layers.Rescaling(scale, offset=offset, name="preprocess")(crops)


def _resolve_weights(weights: str, family: str) -> tuple[str, Path | None]:
    known = FAMILIES[family].weights
    if weights == "random":
        return "random", None
    if weights in known:
        return weights, find_weights(weights)
    if weights != "auto":
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(
                f"backbone weights {weights!r}: neither a file nor one of {', '.join(('auto', *known, 'random'))}. "
                "Check the path."
            )
        return path.name, path
    problems = [] if known else [f"This package knows no file for {family}: give the path of Keras' file."]
    for name in known:
        try:
            return name, find_weights(name)
        except WeightsError as error:
            problems.append(str(error))
    raise WeightsError(
        "backbone weights: none could be found. " + " ".join(problems) + " To train from random weights instead (much "
        "worse), use --backbone-weights random."
    )
