"""InceptionV3 as an OpenVINO graph, built from a ``model.weights.h5`` without Keras.

Batch normalisation is folded into the preceding convolution. Kernel sizes and channels follow from the weights; this
module describes how the layers are connected (Szegedy et al. 2015, as in `keras.applications.InceptionV3`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.settings import DEFAULT_BACKBONE
from dfutils.training.families import FAMILIES, keras_name

if TYPE_CHECKING:
    import h5py

    from dfutils.prediction.openvino_backend import ov

Kernel: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Filters ``(out, in, height, width)`` and bias ``(1, out, 1, 1)`` of a convolution with folded batch normalisation."""

STEM = "svcmvvm"
"""One letter per layer: ``c`` convolution with same padding, ``v`` with valid padding, ``s`` also with stride 2, ``m``
maximum pooling with stride 2, ``a`` average pooling with same padding, ``f`` two parallel convolutions."""
_SMALL, _FACTORED, _WIDE = ("c", "cc", "ccc", "ac"), ("c", "ccc", "ccccc", "ac"), ("c", "cf", "ccf", "ac")
BLOCKS = (
    *[_SMALL] * 3,
    ("s", "ccs", "m"),
    *[_FACTORED] * 4,
    ("cs", "cccs", "m"),
    *[_WIDE] * 2,
)
"""The branches of ``mixed0`` to ``mixed10``, in the order in which their channels are concatenated."""

CONVOLUTIONS = 94
LAYERS = "layers/time_distributed/layer/layers/functional/layers"
"""Where Keras saves the layers of a backbone inside `TimeDistributed`."""

_BATCH_NORM_EPSILON = 1e-3
_LAYERS_OF_A_CONVOLUTION = 3  # the convolution, its batch normalisation and its activation


def is_inception(backbone: str) -> bool:
    """Return whether `build_inception` builds the backbone of this name."""
    return backbone in FAMILIES and keras_name(backbone) == DEFAULT_BACKBONE


def build_inception(weights: h5py.File, *, size: int, backbone: str = DEFAULT_BACKBONE) -> ov.Model:
    """Build the frame encoder: uint8 RGB ``(1, size, size, 3)`` to float32 features ``(1, channels)``.

    Args:
        weights: An open ``model.weights.h5`` of this package.
        size: Side of a crop in pixels.
        backbone: Its name in `FAMILIES`.

    Raises:
        RunError: The weights are not those of InceptionV3, or not where Keras saves them.
    """
    from dfutils.prediction.openvino_backend import ops, ov

    kernels = iter(_read_kernels(weights))
    crops = ops.parameter([1, size, size, 3], np.uint8, name="crops")
    pixels = ops.transpose(ops.convert(crops, np.float32), np.array([0, 3, 1, 2]))
    scaled = ops.subtract(ops.multiply(pixels, np.float32(1 / 127.5)), np.float32(1))
    out = _branch(scaled, STEM, [next(kernels) for _ in _convolutions(STEM)])
    means = []
    for block in BLOCKS:
        own: dict[tuple[int, int], Kernel] = {place: next(kernels) for place in _order(block)}
        branches = [
            _branch(out, letters, [own[number, index] for index in range(len(_convolutions(letters)))])
            for number, letters in enumerate(block)
        ]
        out = ops.concat(branches, axis=1)
        means.append(ops.reduce_mean(out, np.array([2, 3])))
    features = ops.concat(means, axis=1) if FAMILIES[backbone].pools_blocks else means[-1]
    return ov.Model([features], [crops], "inception_v3")


def _branch(data: Any, letters: str, kernels: list[Kernel]) -> Any:
    from dfutils.prediction.openvino_backend import ops

    waiting = iter(kernels)
    for letter in letters:
        if letter == "m":
            data = ops.max_pool(data, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3], "floor", "valid").output(0)
        elif letter == "a":
            data = ops.avg_pool(data, [1, 1], [0, 0], [0, 0], [3, 3], True, "floor", "same_upper")
        elif letter == "f":
            data = ops.concat([_convolution(data, "c", next(waiting)) for _ in range(2)], axis=1)
        else:
            data = _convolution(data, letter, next(waiting))
    return data


def _convolution(data: Any, letter: str, kernel: Kernel) -> Any:
    from dfutils.prediction.openvino_backend import op, ops

    # Explicit constants: arrays would be converted through lists of Python numbers.
    filters, bias = (op.Constant(values, shared_memory=True) for values in kernel)
    strides, padding = [2, 2] if letter == "s" else [1, 1], "same_upper" if letter == "c" else "valid"
    out = ops.convolution(data, filters, strides, [0, 0], [0, 0], [1, 1], padding)
    return ops.relu(ops.add(out, bias))


def _convolutions(letters: str) -> list[str]:
    """Return the convolutions of a branch from input to output; a fork has two."""
    return [letter for letter in letters.replace("f", "ff") if letter not in "ma"]


def _order(block: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the convolutions of a block, as (branch, index), in the order in which Keras saves them.

    Keras numbers layers by their distance from the output, the farthest first. Layers at the same distance are numbered
    in the order in which Keras reaches them on its way back from the output: branch by branch.
    """
    found: list[tuple[int, int, int]] = []
    for number, letters in enumerate(block):
        distance, index = 0, len(_convolutions(letters))
        for letter in reversed(letters):
            if letter == "f":
                index -= 2
                found += [(distance + 1, number, index), (distance + 1, number, index + 1)]
                distance += 1 + _LAYERS_OF_A_CONVOLUTION
            elif letter in "ma":
                distance += 1
            else:
                index -= 1
                found.append((distance, number, index))
                distance += _LAYERS_OF_A_CONVOLUTION
    return [(number, index) for _, number, index in sorted(found, key=lambda one: -one[0])]


def _read_kernels(weights: h5py.File) -> Iterator[Kernel]:
    """Yield all kernels in the order of the file."""
    layers = weights.get(LAYERS, {})
    if sum(name.startswith("conv2d") for name in layers) != CONVOLUTIONS:
        raise RunError(f"{weights.filename}: its weights are not InceptionV3's. Use the engine keras.")
    for number in range(CONVOLUTIONS):
        ending = f"_{number}" if number else ""
        filters = layers[f"conv2d{ending}/vars/0"][()].astype(np.float32)
        norm = layers[f"batch_normalization{ending}/vars"]
        beta, mean, variance = (norm[key][()].astype(np.float64) for key in "012")
        factor = 1 / np.sqrt(variance + _BATCH_NORM_EPSILON)
        folded = np.ascontiguousarray((filters * factor.astype(np.float32)).transpose(3, 2, 0, 1))
        yield folded, (beta - mean * factor).astype(np.float32).reshape(1, -1, 1, 1)
