"""Families of frame encoders by name: scaling, blocks and weights. They can be read without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from dfutils.errors import RunError

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
        network: Name in `keras.applications`, if it differs from the family's.
        pools_blocks: Whether the features are the pooled outputs of all blocks, not of the last one alone, so that the
            head can use traces of a forgery that later blocks discard. Needs ``named_by_end``.
    """

    size: int
    scaling: Scaling
    blocks: str
    named_by_end: bool = False
    weights: tuple[str, ...] = ()
    network: str | None = None
    pools_blocks: bool = False


_INCEPTION = Family(299, "-1..1", r"^mixed\d+$", named_by_end=True, weights=("imagenet", "nsfwjs"))
_RESIDUAL = r"^conv\d_block\d+"
_EFFICIENT = r"^block\d[a-z]+"

FAMILIES: Mapping[str, Family] = {
    "InceptionV3": _INCEPTION,
    "InceptionV3Blocks": replace(_INCEPTION, network="InceptionV3", pools_blocks=True),
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


def keras_name(family: str) -> str:
    """Return the name in `keras.applications` of a family's network; families with the same one share weights.

    Example:
        >>> keras_name("InceptionV3Blocks")
        'InceptionV3'

    Raises:
        RunError: There is no such family.
    """
    return family_of(family).network or family


def family_of(name: str) -> Family:
    """Return a family by its name.

    Raises:
        RunError: There is no such family.
    """
    if name not in FAMILIES:
        raise RunError(f"backbone: there is no {name!r}. Choose one of: {', '.join(FAMILIES)}.")
    return FAMILIES[name]
