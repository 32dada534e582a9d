"""Keras layers as ONNX nodes: those of the heads and backbones that `dfutils.training` builds, and no others.

Keras' own ONNX export goes through tf2onnx, which is looking for a maintainer and turns the constants of
`keras.layers.Normalization` into inputs of the graph. This module needs nothing but ``onnx``, and is checked in every
export, because the file is only kept if it computes what Keras computes.

Values of four dimensions are ``(N, channels, height, width)`` here, as ONNX has them; all others are as in Keras.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.training.backbones import network_of
from dfutils.training.backend import keras
from dfutils.training.families import FAMILIES, SCALINGS

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8
"""Old enough for onnxruntime 1.12 and for browsers."""

LONG_CONSTANT = 1000
"""Constants of more numbers are stored in half precision if that holds each of them exactly, as it does the weights of
included detectors: the file is half as large, and computes the same."""

Floats: TypeAlias = npt.NDArray[np.float32]
Value: TypeAlias = "str | float | npt.NDArray[Any]"
"""Input of a node: the name of another node's output, or a constant."""


class GraphBuilder:
    """Nodes and constants of a graph that is being built.

    Attributes:
        nodes: The nodes so far, in an order in which they can be computed.
        constants: The constants that they use.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: Value, name: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output.

        Args:
            kind: An operator of ONNX.
            inputs: Its inputs; a number becomes a float32 constant.
            name: Name of its output, if it is one of the graph.
            attributes: Attributes of the operator.
        """
        from onnx import helper

        given = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [output], name=output, **attributes))
        return output

    def _constant(self, value: float | npt.NDArray[Any]) -> str:
        from onnx import TensorProto, numpy_helper

        name = f"constant_{len(self.constants)}"
        array = np.array(value, None if isinstance(value, np.ndarray) else np.float32, order="C")
        is_long = array.dtype == np.float32 and array.size > LONG_CONSTANT
        with np.errstate(over="ignore"):
            halved = array.astype(np.float16) if is_long else None
        if halved is None or not np.array_equal(halved.astype(np.float32), array):
            self.constants.append(numpy_helper.from_array(array, name))
            return name
        self.constants.append(numpy_helper.from_array(halved, name))
        return self.add("Cast", name, to=TensorProto.FLOAT)


def add_backbone(graph: GraphBuilder, backbone: keras.Model, family: str, pixels: str) -> str:
    """Add a frame encoder and return its features ``(N, channels)``.

    Args:
        graph: Receives the nodes.
        backbone: A model of `dfutils.training.backbones.build_backbone`.
        family: Its name in `FAMILIES`.
        pixels: float32 RGB ``(N, 3, size, size)`` in 0..255.
    """
    scaling = FAMILIES[family].scaling
    if scaling == "caffe":  # blue, green, red
        pixels = graph.add("Gather", pixels, np.array([2, 1, 0]), axis=1)
    scaled = _rescaled(graph, pixels, *SCALINGS[scaling], rank=4)
    network = network_of(backbone)
    return add_layers(graph, network, scaled)[id(network.outputs[0])]


def add_layers(graph: GraphBuilder, model: keras.Model, given: str) -> Mapping[int, str]:
    """Add the layers of a functional model and return the names of its values, by ``id`` of the symbolic tensor.

    Args:
        graph: Receives the nodes.
        model: A model with one input, whose layers are called once.
        given: Name of the value that it is given.

    Raises:
        RunError: A layer is of a kind that this module does not know.
    """
    names = {id(model.inputs[0]): given}
    for operation in getattr(model, "_functional", model).operations:  # Keras' Sequential wraps such a model
        node = operation._inbound_nodes[0]
        if node.is_input:
            continue
        inputs = [names.get(id(one), one) for one in keras.tree.flatten(node.arguments.args)]
        if isinstance(operation, keras.Model):
            names[id(node.outputs[0])] = add_layers(graph, operation, inputs[0])[id(operation.outputs[0])]
            continue
        kind = type(operation).__name__
        if kind not in _LAYERS:
            raise RunError(
                f"layer {operation.name}: {kind} has no counterpart in the ONNX export. "
                "Use another backbone, or export for OpenVINO."
            )
        names[id(node.outputs[0])] = _LAYERS[kind](graph, operation, inputs)
    return names


def _per_channel(values: Floats, *, rank: int) -> Floats:
    """Return values of channels in a shape that is added to or multiplied with one of so many dimensions."""
    return values.reshape(1, -1, 1, 1) if rank == 4 else values.reshape(-1)


def _rescaled(graph: GraphBuilder, value: str, scale: npt.ArrayLike, offset: npt.ArrayLike, *, rank: int) -> str:
    factor, shift = (_per_channel(np.array(one, np.float32).reshape(-1), rank=rank) for one in (scale, offset))
    return graph.add("Add", graph.add("Mul", value, factor), shift)


def _numbers(variable: Any) -> Floats:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _rank(layer: Any) -> int:
    return len(layer.input.shape)


def _pads(layer: Any, window: tuple[int, int], strides: tuple[int, int]) -> list[int]:
    """Return the padding at top, left, bottom and right that TensorFlow's ``same`` stands for."""
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    whole = [
        max((math.ceil(size / stride) - 1) * stride + wide - size, 0)
        for size, wide, stride in zip(layer.input.shape[1:3], window, strides, strict=True)
    ]
    before = [one // 2 for one in whole]
    return [*before, *(one - first for one, first in zip(whole, before, strict=True))]


def _activated(graph: GraphBuilder, layer: Any, value: str) -> str:
    name = keras.activations.serialize(layer.activation)
    match name:
        case "linear":
            return value
        case "relu" | "sigmoid" | "tanh":
            return graph.add({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[name], value)
        case "silu":
            return graph.add("Mul", value, graph.add("Sigmoid", value))
        case "hard_silu":
            return graph.add("HardSwish", value)
        case "gelu":
            part = graph.add("Erf", graph.add("Mul", value, math.sqrt(0.5)))
            return graph.add("Mul", graph.add("Mul", value, 0.5), graph.add("Add", part, 1.0))
    raise RunError(
        f"layer {layer.name}: the activation {name} has no counterpart in the ONNX export. "
        "Use another backbone, or export for OpenVINO."
    )


def _filtered(
    graph: GraphBuilder, layer: Any, value: str, filters: Floats, *, groups: int, pads: list[int], strides: list[int]
) -> str:
    bias = [_numbers(layer.bias)] if layer.use_bias else []
    return graph.add("Conv", value, filters, *bias, group=groups, pads=pads, strides=strides)


def _convolution(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        filters, groups = _each_channel(layer.kernel), layer.input.shape[-1]
    else:
        filters, groups = _numbers(layer.kernel).transpose(3, 2, 0, 1), layer.groups
    pads = _pads(layer, layer.kernel_size, layer.strides)
    out = _filtered(graph, layer, inputs[0], filters, groups=groups, pads=pads, strides=list(layer.strides))
    return _activated(graph, layer, out)


def _separable(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    filters, groups = _each_channel(layer.depthwise_kernel), layer.input.shape[-1]
    pads = _pads(layer, layer.kernel_size, layer.strides)
    parts = graph.add("Conv", inputs[0], filters, group=groups, pads=pads, strides=list(layer.strides))
    mixed = _numbers(layer.pointwise_kernel).transpose(3, 2, 0, 1)
    out = _filtered(graph, layer, parts, mixed, groups=1, pads=[0, 0, 0, 0], strides=[1, 1])
    return _activated(graph, layer, out)


def _each_channel(kernel: Any) -> Floats:
    """Return the filters ``(channels × multiplier, 1, height, width)`` of a depthwise convolution."""
    filters = _numbers(kernel).transpose(2, 3, 0, 1)
    return filters.reshape(-1, 1, *filters.shape[2:])


def _dense(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    kernel = _numbers(layer.kernel)
    if _rank(layer) == 4:
        filters = kernel.T[:, :, None, None]
        out = _filtered(graph, layer, inputs[0], filters, groups=1, pads=[0, 0, 0, 0], strides=[1, 1])
    else:
        out = graph.add("MatMul", inputs[0], kernel)
        out = graph.add("Add", out, _numbers(layer.bias)) if layer.use_bias else out
    return _activated(graph, layer, out)


def _pooled(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    pads = _pads(layer, layer.pool_size, layer.strides)
    window: dict[str, Any] = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides), "pads": pads}
    if isinstance(layer, keras.layers.MaxPooling2D):
        return graph.add("MaxPool", inputs[0], **window)
    return graph.add("AveragePool", inputs[0], **window, count_include_pad=0)


def _global_average(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    mean = graph.add("GlobalAveragePool", inputs[0])
    return mean if layer.keepdims else graph.add("Flatten", mean, axis=1)


def _batch_normalised(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    mean, variance = _numbers(layer.moving_mean), _numbers(layer.moving_variance)
    gamma = _numbers(layer.gamma) if layer.scale else np.ones_like(mean)
    beta = _numbers(layer.beta) if layer.center else np.zeros_like(mean)
    return graph.add("BatchNormalization", inputs[0], gamma, beta, mean, variance, epsilon=float(layer.epsilon))


def _layer_normalised(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    rank = _rank(layer)
    axes = [1 if rank == 4 else -1]
    centred = graph.add("Sub", inputs[0], graph.add("ReduceMean", inputs[0], axes=axes))
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=axes)
    deviation = graph.add("Sqrt", graph.add("Add", variance, float(layer.epsilon)))
    scaled = graph.add("Mul", graph.add("Div", centred, deviation), _per_channel(_numbers(layer.gamma), rank=rank))
    return graph.add("Add", scaled, _per_channel(_numbers(layer.beta), rank=rank))


def _standardised(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    rank = _rank(layer)
    mean, variance = (_per_channel(_numbers(one), rank=rank) for one in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), np.float32(keras.config.epsilon()))
    return graph.add("Div", graph.add("Sub", inputs[0], mean), deviation)


def _padded(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    (top, bottom), (left, right) = layer.padding
    return graph.add("Pad", inputs[0], np.array([0, 0, top, left, 0, 0, bottom, right]))


def _gru(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    weights = [_numbers(one) for one in (layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias)]
    return _recurrent(graph, layer, inputs[0], weights, linear_before_reset=1)


def _lstm(graph: GraphBuilder, layer: Any, inputs: list[Any]) -> str:
    weights = []
    for one in (layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias):
        enter, forget, cell, leave = np.split(_numbers(one), 4, axis=-1)
        weights.append(np.concatenate([enter, leave, forget, cell], axis=-1))  # the order of ONNX
    weights[2] = np.stack([weights[2], np.zeros_like(weights[2])])
    return _recurrent(graph, layer, inputs[0], weights)


def _recurrent(graph: GraphBuilder, layer: Any, value: str, weights: list[Floats], **attributes: Any) -> str:
    """Add a recurrent layer, given its kernel, recurrent kernel and both biases ``(2, gates × units)``."""
    kernel, recurrent, biases = weights
    steps = graph.add("Transpose", value, perm=[1, 0, 2])
    own = (kernel.T[None], recurrent.T[None], biases.reshape(1, -1))
    states = graph.add(type(layer).__name__, steps, *own, hidden_size=layer.units, **attributes)
    states = graph.add("Transpose", graph.add("Squeeze", states, np.array([1])), perm=[1, 0, 2])
    return states if layer.return_sequences else graph.add("Gather", states, np.array(-1), axis=1)


_Converter: TypeAlias = Callable[[GraphBuilder, Any, list[Any]], str]

_LAYERS: Mapping[str, _Converter] = {
    "Activation": lambda graph, layer, inputs: _activated(graph, layer, inputs[0]),
    "Add": lambda graph, _, inputs: graph.add("Add", *inputs),
    "AveragePooling2D": _pooled,
    "BatchNormalization": _batch_normalised,
    "Concatenate": lambda graph, _, inputs: graph.add("Concat", *inputs, axis=1),
    "Conv2D": _convolution,
    "CustomScaleLayer": lambda graph, layer, inputs: graph.add(  # in the blocks of InceptionResNetV2
        "Add", inputs[0], graph.add("Mul", inputs[1], float(layer.scale))
    ),
    "Dense": _dense,
    "DepthwiseConv2D": _convolution,
    "Dropout": lambda _graph, _layer, inputs: inputs[0],
    "GRU": _gru,
    "GlobalAveragePooling1D": lambda graph, _, inputs: graph.add("ReduceMean", inputs[0], axes=[1], keepdims=0),
    "GlobalAveragePooling2D": _global_average,
    "LSTM": _lstm,
    "LayerNormalization": _layer_normalised,
    "LayerScale": lambda graph, layer, inputs: graph.add(
        "Mul", inputs[0], _per_channel(_numbers(layer.gamma), rank=_rank(layer))
    ),
    "MaxPooling2D": _pooled,
    "Multiply": lambda graph, _, inputs: graph.add("Mul", *inputs),
    "Normalization": _standardised,
    "ReLU": lambda graph, layer, inputs: (
        graph.add("Relu", inputs[0]) if layer.max_value is None else graph.add("Clip", inputs[0], 0.0, layer.max_value)
    ),
    "Rescaling": lambda graph, layer, inputs: _rescaled(graph, inputs[0], layer.scale, layer.offset, rank=_rank(layer)),
    "Reshape": lambda graph, layer, inputs: graph.add(  # features to an image of one pixel, for squeeze-and-excitation
        "Reshape", inputs[0], np.array([-1, layer.target_shape[2], *layer.target_shape[:2]])
    ),
    "SeparableConv2D": _separable,
    "ZeroPadding2D": _padded,
}
"""How each kind of layer is added. Images have their channels at 1, which is where concatenation joins them."""
