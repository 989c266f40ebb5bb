"""What a network adds to: the image, features, or nothing."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mai_harness.records import Graph, Op
from mai_harness.tflite_graph.edit import SAME_SCALE

Residual = Literal["image", "feature", "none"]
_JOINS = {"ADD", "SUB", "CONCATENATION"}
_LINEAR = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
# What leaves an image an image.
_KEEPS = SAME_SCALE | {"QUANTIZE", "DEQUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "CAST", "MUL", "DIV"}
_MOST_LAYERS = 2  # linear layers behind the sum: with more, they have to carry the image themselves


def residual_of(graph: Graph, constants: Mapping[int, npt.NDArray[Any]]) -> Residual:
    """Whether features are added to the image (copied, resized, behind one linear layer), to features, or not at all.

    Args:
        constants: float values of the graph's constants, by tensor.
    """
    makers, image = graph.makers, _images(graph, constants)
    found: Residual = "none"
    # (tensor, linear layers between it and the output), from the output back.
    waiting, seen = [(index, 0) for index in graph.outputs], set[int]()
    while waiting:
        index, layers = waiting.pop()
        op = makers.get(index)
        if op is None or index in seen:
            continue
        seen.add(index)
        data = graph.activations(op)
        if op.name in _JOINS and len(data) > 1:
            if layers < _MOST_LAYERS and any(i in image for i in data) and not all(i in image for i in data):
                return "image"
            if op.name != "CONCATENATION" and not any(i in image for i in data):
                found = "feature"
        waiting += [(i, layers + (op.name in _LINEAR)) for i in data]
    return found


def _images(graph: Graph, constants: Mapping[int, npt.NDArray[Any]]) -> set[int]:
    """Tensors that still hold the image: copies of it, or one linear layer of it without activation."""
    images, once = set(graph.inputs), set[int]()
    readers: dict[int, list[Op]] = {}
    for op in graph.ops:
        for index in op.inputs:
            readers.setdefault(index, []).append(op)
    for op in graph.ops:
        data = [i for i in op.inputs if i >= 0 and not graph.tensors[i].is_constant]
        if not data or not all(i in images for i in data):
            continue
        if op.name in _KEEPS or (op.name in {"ADD", "SUB"} and len(data) == 1):
            images.update(op.outputs)
            once.update(op.outputs if any(i in once for i in data) else ())
        elif op.name in _LINEAR and not any(i in once for i in data) and _is_linear(op, constants, readers):
            images.update(op.outputs)
            once.update(op.outputs)
    return images


def _is_linear(op: Op, constants: Mapping[int, npt.NDArray[Any]], readers: Mapping[int, list[Op]]) -> bool:
    """Whether a layer on the image is its copy, or at least no layer of features: those are activated, or convolved."""
    weights = next((constants[i] for i in op.inputs if i in constants and constants[i].ndim == 4), None)
    if weights is not None and set(np.unique(np.round(weights, 3))) <= {0.0, 1.0}:
        return True
    behind = [reader.name for index in op.outputs for reader in readers.get(index, [])]
    return not op.options.get("FusedActivationFunction", 0) and all(n in _JOINS or n in SAME_SCALE for n in behind)
