"""Move permutations of channels against the flow, until the weights that make the channels take them in."""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from onnx import NodeProto

from mai_harness.rewrites.graph import Array, Graph, Shape, attributes, is_standard
from mai_harness.rewrites.movement import gather, is_movement


class _Taken(NamedTuple):
    """An input has to be read in this order along an axis."""

    axis: int
    order: Array


#: One per input, ``None`` for an input that stays as it is.
_Plan = Sequence[_Taken | None]


def sink_permutations(graph: Graph) -> tuple[str, ...]:
    """A Gather that permutes channels goes if the weights above it can be permuted instead.

    It passes elementwise operators and normalisations, and convolutions take it in. A tensor that
    something else reads too keeps its order, and the Gather behind it.
    """
    lines = []
    for name in [node.output[0] for node in graph.nodes if _permutation(graph, node) is not None]:
        trial = graph.copy()
        passed = _sink(trial, name)
        if _stranded(trial) < _stranded(graph):
            graph.adopt(trial)
            lines.append(f"permuted in {', '.join(passed)} instead of by Gather")
    return tuple(lines)


def _permutation(graph: Graph, node: NodeProto | None) -> Array | None:
    """The order in which a Gather permutes the channels of (N, C, H, W); ``None`` for any other node."""
    if node is None or node.op_type != "Gather" or attributes(node).get("axis") not in (1, -3):
        return None
    shape = graph.shape(node.input[0])
    if shape is None or len(shape) != 4 or not is_movement(graph, node):
        return None
    order = graph.constant(node.input[1]) % shape[1]
    is_permutation = order.ndim == 1 and np.array_equal(np.sort(order), np.arange(shape[1]))
    return order if is_permutation else None


def _stranded(graph: Graph) -> int:
    """How many permutations follow a node that they will not merge with."""
    makers = [graph.producer(node.input[0]) for node in graph.nodes if _permutation(graph, node) is not None]
    return sum(maker is None or not is_movement(graph, maker) for maker in makers)


def _sink(graph: Graph, name: str) -> list[str]:
    """Push a Gather, and those it splits into, up as far as they go; returns the operators on the way."""
    moving, passed = [name], []
    while push := next(filter(None, (_push(graph, name) for name in moving)), None):
        passed.append(push.operator)
        moving += push.gathers
    return passed


class _Push(NamedTuple):
    operator: str
    gathers: list[str]  #: their outputs


def _push(graph: Graph, name: str) -> _Push | None:
    """Swap the Gather that makes a tensor with the node before it; ``None`` if that cannot be."""
    node = graph.producer(name)
    order = _permutation(graph, node)
    if node is None or order is None:
        return None
    read = node.input[0]
    maker = graph.producer(read)
    if maker is None or len(maker.output) > 1 or read in graph.outputs or len(graph.consumers(read)) > 1:
        return None
    plan = _plan(graph, maker, order)
    if plan is None:
        return None
    inputs = [_take(graph, name, taken) for name, taken in zip(maker.input, plan, strict=True)]
    twin = NodeProto()
    twin.CopyFrom(maker)
    twin.input[:], twin.output[:] = inputs, [name]
    graph.replace(maker, twin)
    graph.replace(node)
    return _Push(maker.op_type, [name for name in inputs if _permutation(graph, graph.producer(name)) is not None])


def _take(graph: Graph, name: str, taken: _Taken | None) -> str:
    if taken is None:
        return name
    if graph.is_constant(name):
        return graph.store(np.take(graph.constant(name), taken.order, taken.axis), f"{name}_permuted")
    return gather(graph, name, tuple(taken.order.tolist()))


# What a permuted output asks of the inputs; ``None`` where it cannot be had


def _plan(graph: Graph, node: NodeProto, order: Array) -> _Plan | None:
    rule = _RULES.get(node.op_type) if is_standard(node) else None
    shapes = [graph.shape(name) if name else () for name in node.input]
    if rule is None or None in shapes:
        return None
    plan = rule(node, [shape for shape in shapes if shape is not None], order)
    return plan if plan and all(map(_is_possible, repeat(graph), node.input, plan)) else None


def _is_possible(graph: Graph, name: str, taken: _Taken | None) -> bool:
    """Constants are permuted along any axis, tensors (N, C, H, W) along their channels."""
    return taken is None or graph.is_constant(name) or (taken.axis == 1 and len(graph.shape(name) or ()) == 4)


def _elementwise(_node: NodeProto, shapes: Sequence[Shape], order: Array) -> _Plan:
    """Inputs are aligned at their last axes, and an axis of one is the same for all channels."""
    return [_Taken(len(shape) - 3, order) if len(shape) > 2 and shape[-3] > 1 else None for shape in shapes]


def _normalisation(_node: NodeProto, shapes: Sequence[Shape], order: Array) -> _Plan:
    """The other inputs hold one number a channel."""
    return [_Taken(1, order), *[_Taken(0, order)] * (len(shapes) - 1)]


def _convolution(node: NodeProto, shapes: Sequence[Shape], order: Array) -> _Plan | None:
    """Kernels (C, C_in / groups, ...) and biases are permuted; whole groups take their input channels along."""
    groups = attributes(node).get("group", 1)
    owners = order.reshape(groups, -1) // (len(order) // groups)
    if (owners != owners[:, :1]).any():
        return None
    width = shapes[1][1]
    read = (owners[:, :1] * width + np.arange(width)).ravel()
    source = None if np.array_equal(read, np.arange(len(read))) else _Taken(1, read)
    return [source, *[_Taken(0, order)] * (len(shapes) - 1)]


def _transposed_convolution(node: NodeProto, shapes: Sequence[Shape], order: Array) -> _Plan | None:
    """Kernels (C_in, C, ...) and biases are permuted."""
    return [None, _Taken(1, order), _Taken(0, order)][: len(shapes)] if attributes(node).get("group", 1) == 1 else None


_ELEMENTWISE = {
    "Abs", "Add", "Cast", "Ceil", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu",
    "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu",
    "Where",
}  # fmt: skip

_Rule = Callable[[NodeProto, Sequence[Shape], Array], _Plan | None]
_RULES: Mapping[str, _Rule] = MappingProxyType(
    dict.fromkeys(_ELEMENTWISE, _elementwise)
    | {
        "BatchNormalization": _normalisation,
        "InstanceNormalization": _normalisation,
        "Conv": _convolution,
        "ConvTranspose": _transposed_convolution,
    }
)
