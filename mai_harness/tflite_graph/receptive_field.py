"""How far an output pixel sees: element i of a tensor depends on LR pixels step * i + [low, high], on each axis."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from mai_harness.records import Graph, Op
from mai_harness.tflite_graph.view import BROKEN, CONVOLUTIONS


def receptive_radius(graph: Graph) -> int | None:
    """LR pixels to each side of an output pixel's own LR pixel that can change it, never too few.

    ``None`` if an operator mixes the whole frame, is not in the table, or hides its geometry in a dynamic shape.
    """
    if len(graph.inputs) != 1 or not graph.outputs:
        return None
    source = graph.tensors[graph.inputs[0]]
    if len(source.shape) != 4:
        return None
    rows = 2 if source.shape[1] == 3 and source.shape[3] != 3 else 1
    fields = {source.index: _Field(_Axis(rows), _Axis(rows + 1))}
    try:
        for op in graph.ops:
            _spread(graph, op, fields)
        return max(axis.radius for index in graph.outputs for axis in fields[index])
    except (_Unknown, *BROKEN, ZeroDivisionError):
        return None


class _Unknown(Exception):
    """The field of an operator is unbounded or not known."""


class _Axis(NamedTuple):
    position: int  # among the tensor's dimensions
    step: Fraction = Fraction(1)  # LR pixels from one element to the next
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    def through(self, step: Fraction | int, low: Fraction | int, high: Fraction | int) -> "_Axis":
        """Behind an operator whose output i reads input elements step * i + [low, high]."""
        if step <= 0:
            raise _Unknown
        return _Axis(self.position, self.step * step, self.low + self.step * low, self.high + self.step * high)

    @property
    def radius(self) -> int:
        # Output i belongs to LR pixel floor(step * i), up to 1 - step below step * i if 1 / step is whole.
        whole = self.step.numerator == 1
        slack = 1 - self.step if whole else max(Fraction(1), self.step)
        return max(0, math.floor(self.high + slack), math.floor(-self.low + (0 if whole else slack)))


class _Field(NamedTuple):
    rows: _Axis
    columns: _Axis


def _spread(graph: Graph, op: Op, fields: dict[int, _Field]) -> None:
    found = [fields[index] for index in op.inputs if index in fields]
    if not found or op.name == "SHAPE":
        return
    if op.name not in _SPATIAL or op.is_custom:
        raise _Unknown
    merged = _merged(found)
    if any(_is_repeated(graph, op, index, axis) for index in op.inputs if index in fields for axis in merged):
        raise _Unknown
    field = _Field(*(_SPATIAL[op.name](graph, op, axis) for axis in merged))
    fields.update(dict.fromkeys(op.outputs, field))


def _is_repeated(graph: Graph, op: Op, index: int, axis: _Axis) -> bool:
    # Broadcasting: one row or column meets all of them.
    if op.name not in _POINTWISE:
        return False
    before, after = (graph.tensors[i].shape_signature[axis.position] for i in (index, op.outputs[0]))
    return before == 1 and after != 1


def _merged(found: Sequence[_Field]) -> _Field:
    axes = []
    for same in zip(*found, strict=True):
        if len({(axis.position, axis.step) for axis in same}) > 1:
            raise _Unknown
        axes.append(same[0]._replace(low=min(a.low for a in same), high=max(a.high for a in same)))
    return _Field(*axes)


def _pointwise(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    ranks = {len(graph.tensors[index].shape) for index in op.outputs}
    ranks |= {len(tensor.shape) for tensor in map(graph.tensors.__getitem__, op.inputs[:1]) if not tensor.is_constant}
    if len(ranks) != 1:
        raise _Unknown  # broadcasting over ranks moves the axes
    return axis


def _option(op: Op, rows: str, columns: str, axis: _Axis) -> int:
    if axis.position not in (1, 2):
        raise _Unknown
    return op.options[rows if axis.position == 1 else columns]


def _window(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    stride = _option(op, "StrideH", "StrideW", axis)
    if op.name in CONVOLUTIONS:
        reach = (_kernel(graph, op, axis) - 1) * _option(op, "DilationHFactor", "DilationWFactor", axis)
    else:
        reach = _option(op, "FilterHeight", "FilterWidth", axis) - 1
    before = _padding(op, _extent(graph, op.inputs[0], axis), stride, reach + 1)
    return axis.through(stride, -before, reach - before)


def _transposed(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    stride, kernel = _option(op, "StrideH", "StrideW", axis), _kernel(graph, op, axis)
    before = _padding(op, _extent(graph, op.outputs[0], axis), stride, kernel)
    return axis.through(Fraction(1, stride), Fraction(before - kernel + 1, stride), Fraction(before, stride))


def _kernel(graph: Graph, op: Op, axis: _Axis) -> int:
    weights = graph.operand(op, 1)
    if weights is None:
        raise _Unknown
    return weights.shape[axis.position]


def _extent(graph: Graph, tensor: int, axis: _Axis) -> int:
    return graph.tensors[tensor].shape_signature[axis.position]


def _padding(op: Op, extent: int, stride: int, kernel: int) -> int:
    if op.options["Padding"] != 0:  # VALID
        return 0
    if extent < 1 and stride > 1:
        raise _Unknown
    return max(0, (-(-extent // stride) - 1) * stride + kernel - extent) // 2


def _resize(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    before, after = _extent(graph, op.inputs[0], axis), _extent(graph, op.outputs[0], axis)
    if min(before, after) < 1 or axis.position not in (1, 2):
        raise _Unknown
    ratio = Fraction(before, after)
    # Half-pixel centres read half a pixel lower; aligned corners drift by up to one over the frame.
    low = Fraction(-2) if op.options["AlignCorners"] else Fraction(-3, 2)
    return axis.through(ratio, low, max(Fraction(1), ratio))


def _depth_to_space(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    return _finer(axis, _option(op, "BlockSize", "BlockSize", axis))


def _space_to_depth(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    block = _option(op, "BlockSize", "BlockSize", axis)
    return axis.through(block, 0, block - 1)


def _finer(axis: _Axis, block: int) -> _Axis:
    return axis.through(Fraction(1, block), Fraction(1 - block, block), 0)


def _constant(graph: Graph, op: Op, position: int) -> tuple[int, ...]:
    tensor = graph.operand(op, position)
    if tensor is None or tensor.values is None:
        raise _Unknown
    return tensor.values


def _pad(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    before = _constant(graph, op, 1)[2 * axis.position]
    return axis.through(1, -before, -before)


def _slice(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    begin = _constant(graph, op, 1)[axis.position]
    return axis.through(1, begin, begin)


def _strided_slice(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    if any(op.options[mask] for mask in ("EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset")):
        raise _Unknown
    begin = 0
    if not op.options["BeginMask"] >> axis.position & 1:
        begin = _constant(graph, op, 1)[axis.position]
    if begin < 0:
        raise _Unknown
    return axis.through(_constant(graph, op, 3)[axis.position], begin, begin)


def _transpose(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    return axis._replace(position=_constant(graph, op, 1).index(axis.position))


def _reshape(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    old = graph.tensors[op.inputs[0]].shape_signature
    new = graph.tensors[op.outputs[0]].shape_signature
    if min(*old, *new) < 1:
        raise _Unknown
    # In row-major order an axis stays an axis where as many elements lie before it.
    before = math.prod(old[: axis.position])
    position = next((p for p in range(len(new)) if math.prod(new[:p]) == before and new[p] > 1), None)
    if position is None:
        raise _Unknown
    moved = axis._replace(position=position)
    extent, wanted = old[axis.position], new[position]
    if wanted % extent == 0:
        return _finer(moved, wanted // extent)
    if extent % wanted:
        raise _Unknown
    return moved.through(extent // wanted, 0, extent // wanted - 1)


def _along(axes: Callable[[Graph, Op], Sequence[int]]) -> "_Row":
    """A row for operators that mix along some axes and leave the others alone."""

    def row(graph: Graph, op: Op, axis: _Axis) -> _Axis:
        rank = len(graph.tensors[op.outputs[0]].shape)
        mixed = [position + rank if position < 0 else position for position in axes(graph, op)]
        if axis.position in mixed:
            raise _Unknown
        return axis

    return row


def _reduced(graph: Graph, op: Op, axis: _Axis) -> _Axis:
    rank = len(graph.tensors[op.inputs[0]].shape)
    # A reduced axis in front would move this one; SR networks reduce channels, the last axis.
    if min(position % rank for position in _constant(graph, op, 1)) <= axis.position:
        raise _Unknown
    return axis


def _gather_axes(graph: Graph, op: Op) -> tuple[int, ...]:
    if op.options["BatchDims"] or len(graph.tensors[op.inputs[1]].shape) != 1:
        raise _Unknown
    return (op.options["Axis"],)


def _tiled_axes(graph: Graph, op: Op) -> list[int]:
    return [position for position, times in enumerate(_constant(graph, op, 1)) if times != 1]


_Row = Callable[[Graph, Op, _Axis], _Axis]
_POINTWISE = {
    "ABS", "ADD", "ADD_N", "CAST", "CEIL", "CLAMP", "COS", "DEQUANTIZE", "DIV", "ELU", "EQUAL", "EXP", "FAKE_QUANT",
    "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS",
    "LESS_EQUAL", "LOG", "LOGISTIC", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "MAXIMUM", "MINIMUM", "MUL", "NEG",
    "NOT_EQUAL", "POW", "PRELU", "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SELECT",
    "SELECT_V2", "SIGN", "SIN", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH",
}  # fmt: skip
_SPATIAL: dict[str, _Row] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), _window),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize),
    # A mirrored border reads inside the frame, nearer than the window reached.
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), _reduced),
    **dict.fromkeys(
        ("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION"), _along(lambda graph, op: (-1,))
    ),
    "TRANSPOSE_CONV": _transposed,
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_DEPTH": _space_to_depth,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _along(lambda graph, op: (op.options["Axis"],)),
    "GATHER": _along(_gather_axes),
    "TILE": _along(_tiled_axes),
    "SPLIT": _along(lambda graph, op: _constant(graph, op, 0)),
    "SPLIT_V": _along(lambda graph, op: _constant(graph, op, 2)),
}
