"""Frame encoders: networks of `keras.applications` with their weights, scaling and blocks."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError, WeightsError
from dfutils.files import sha256_of
from dfutils.pretrained import default_model
from dfutils.records import Crops
from dfutils.settings import DEFAULT_BACKBONE
from dfutils.training.backend import keras
from dfutils.training.families import FAMILIES, SCALINGS, Family, Scaling, family_of, keras_name
from dfutils.training.inference import infer
from dfutils.weights import WEIGHT_FILES, find_weights

logger = logging.getLogger(__name__)

BATCH_SIZE = 16
"""Batch size of a backbone in inference."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frame encoder: uint8 RGB ``(N, size, size, 3)`` to float32 ``(N, channels)``.

    Attributes:
        model: Includes the scaling of its family and global pooling, so that callers cannot forget them.
        weights: ``imagenet``, ``nsfwjs``, ``random`` or a file name.
        checksum: SHA-256 of the weight file, or ``he-normal-<seed>``.
        origin: One sentence for reports.
        family: Name in `FAMILIES`.
    """

    model: keras.Model
    weights: str
    checksum: str
    origin: str
    family: str = DEFAULT_BACKBONE

    def features(self, images: Crops) -> npt.NDArray[np.float32]:
        """Return features ``(N, channels)`` of images ``(N, size, size, 3)``."""
        return backbone_features(self.model, images)


def backbone_features(backbone: keras.Model, images: Crops) -> npt.NDArray[np.float32]:
    """Return features ``(N, channels)`` of uint8 images ``(N, size, size, 3)``."""
    return infer(backbone, images, batch_size=BATCH_SIZE)


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
    known = family_of(family)
    name, path = _resolve_weights(weights, family)
    keras.utils.set_random_seed(seed)
    build = getattr(keras.applications, keras_name(family))
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
    if not path:
        _draw_kernels(network, seed)
    if known.pools_blocks:
        network = _with_pooled_blocks(network, known)
    if path and size != known.size:
        logger.info("%s: was trained on images of %d pixels, but these have %d", family, known.size, size)
    inputs = keras.Input((size, size, 3), dtype="uint8", name="crops")
    model = keras.Model(inputs, network(_scaled(inputs, known.scaling)), name="backbone")
    checksum = sha256_of(path) if path else f"he-normal-{seed}"
    origin = "random, never trained: for tests and the demo only"
    if path:
        origin = WEIGHT_FILES[name].origin if name in WEIGHT_FILES else f"the file {name}"
    return Backbone(model, name, checksum, origin, family)


def rebuilt_as(family: str, backbone: keras.Model, *, size: int) -> keras.Model:
    """Rebuild a backbone as another family with the same network, keeping its weights."""
    other = build_backbone("random", size=size, family=family).model
    other.set_weights(backbone.get_weights())
    return other


def network_of(backbone: keras.Model) -> keras.Model:
    """Return the network of `keras.applications` inside a backbone."""
    return next(layer for layer in backbone.layers if isinstance(layer, keras.Model))


def encode(backbone: Backbone, crops: keras.KerasTensor) -> keras.KerasTensor:
    """Return the features of ``crops``, by the layers of a backbone that may have been built for another size."""
    # Use `call`, because calling the model itself would first compare the sizes.
    return network_of(backbone.model).call(_scaled(crops, family_of(backbone.family).scaling))


def pooled_maps(network: keras.Model, family: str) -> list[keras.KerasTensor]:
    """Return the feature maps ``(N, height, width, channels)`` whose means, one after the other, are the features."""
    if family_of(family).pools_blocks:
        return [pooled._keras_history.operation.input for pooled in network.layers[-1].input]
    return [network.layers[-1].input]


def block_starts(network: keras.Model, family: str) -> dict[str, int]:
    """Return the index of each block's first layer, by the block's name, in order from the image to the features."""
    known, starts, start = family_of(family), dict[str, int](), 0
    for index, layer in enumerate(network.layers):
        found = re.search(known.blocks, layer.name)
        if found and known.named_by_end:
            starts[found[0]], start = start, index + 1
        elif found:
            starts.setdefault(found[0], index)
    return starts


def _with_pooled_blocks(network: keras.Model, known: Family) -> keras.Model:
    """Return the same layers as a model whose features are the means of each block's output."""
    ends = [layer for layer in network.layers if re.search(known.blocks, layer.name)]
    pooled = [keras.layers.GlobalAveragePooling2D(name=f"mean_of_{end.name}")(end.output) for end in ends]
    return keras.Model(network.input, keras.layers.Concatenate(name="features")(pooled), name=network.name)


def _draw_kernels(network: keras.Model, seed: int) -> None:
    """Draw kernels that keep the variance of their inputs ([He et al. 2015](https://arxiv.org/abs/1502.01852)).

    With the kernels that Keras draws, signals fade from layer to layer: MobileNet's features would be 1e-20, and a head
    on them could learn nothing.
    """
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        for kernel in layer.trainable_variables:
            if kernel.name.endswith("kernel"):
                is_depthwise = "depthwise" in kernel.name or isinstance(layer, keras.layers.DepthwiseConv2D)
                inputs = np.prod(kernel.shape[:-2] if is_depthwise else kernel.shape[:-1])
                kernel.assign(rng.normal(0, np.sqrt(2 / inputs), kernel.shape).astype(np.float32))


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
    default = default_model()
    without_it = f"give --init-from {default} to start from the included detector" if default else ""
    if weights in known:
        return weights, find_weights(weights, without_it=without_it)
    if weights != "auto":
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(
                f"backbone weights {weights!r}: neither a file nor one of {', '.join(('auto', *known, 'random'))}. "
                "Check the path."
            )
        return path.name, path
    problems: list[WeightsError] = []
    for name in known:
        try:
            return name, find_weights(name, without_it=without_it)
        except WeightsError as error:
            problems.append(error)
    if problems:
        raise problems[0]  # of the best file
    raise WeightsError(
        f"backbone weights: no file is known for {family}. Give the path of the one that Keras publishes as "
        "--backbone-weights; or random, which is much worse."
    )
