"""Read-only view of a TFLite file, and what follows from its graph: size, work and receptive field."""

import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import flatbuffers
import numpy as np

from mai_harness.errors import ModelContractError
from mai_harness.records import ModelFacts, Record

IDENTIFIER = b"TFL3"
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_ITEM_BYTES = {"float64": 8, "int64": 8, "uint64": 8, "complex64": 8, "float32": 4, "int32": 4, "uint32": 4}
_ITEM_BYTES |= {"float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1}
_MOST_VALUES = 64  # longer int32 constants are data, not shapes, paddings or axes
# What the flatbuffers accessors and numpy raise on offsets and lengths that make no sense.
_BROKEN = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError)

_WINDOW = ("Padding", "StrideH", "StrideW")
_DILATED = (*_WINDOW, "DilationHFactor", "DilationWFactor")
_POOL = (*_WINDOW, "FilterHeight", "FilterWidth")
# Operator -> (class of its options in the schema, accessors that the analyses need).
_OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": ("Conv2DOptions", _DILATED),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _DILATED),
    "TRANSPOSE_CONV": ("TransposeConvOptions", _WINDOW),
    "AVERAGE_POOL_2D": ("Pool2DOptions", _POOL),
    "MAX_POOL_2D": ("Pool2DOptions", _POOL),
    "L2_POOL_2D": ("Pool2DOptions", _POOL),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", ("AlignCorners", "HalfPixelCenters")),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", ("AlignCorners", "HalfPixelCenters")),
    "STRIDED_SLICE": ("StridedSliceOptions", ("BeginMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset")),
    "CONCATENATION": ("ConcatenationOptions", ("Axis",)),
    "GATHER": ("GatherOptions", ("Axis", "BatchDims")),
    "DEPTH_TO_SPACE": ("DepthToSpaceOptions", ("BlockSize",)),
    "SPACE_TO_DEPTH": ("SpaceToDepthOptions", ("BlockSize",)),
}
# Operator -> (position of its data input, of its weights, and of everything that counts as parameters).
_WEIGHTED: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "CONV_2D": (0, 1, (1, 2)),
    "DEPTHWISE_CONV_2D": (0, 1, (1, 2)),
    "TRANSPOSE_CONV": (2, 1, (1, 3)),
    "FULLY_CONNECTED": (0, 1, (1, 2)),
    "PRELU": (0, 1, (1,)),
    "ADD": (0, 1, (0, 1)),
    "SUB": (0, 1, (0, 1)),
    "MUL": (0, 1, (0, 1)),
    "DIV": (0, 1, (0, 1)),
}


class Tensor(Record, frozen=True):
    """One tensor of the main subgraph; activations are NHWC unless the network says otherwise."""

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]  #: the shape with -1 where it is dynamic
    dtype: str  #: 'uint8', 'int8', 'int32', 'float32', ...
    scales: tuple[float, ...]  #: one, or one a channel of ``quantised_dimension``; empty if not quantised
    zero_points: tuple[int, ...]
    quantised_dimension: int
    buffer: int  #: tensors of the same buffer share their bytes
    stored_bytes: int  #: bytes in the file; 0 for activations
    values: tuple[int, ...] | None  #: of short int32 constants: shapes, paddings, axes

    @property
    def is_constant(self) -> bool:
        """Whether the file holds the tensor's values."""
        return self.stored_bytes > 0

    @property
    def elements(self) -> int:
        """Product of the shape; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes in the file, or in memory for an activation (0 for a type of no fixed width)."""
        return self.stored_bytes or self.elements * _ITEM_BYTES.get(self.dtype, 0)


class Op(Record, frozen=True):
    """One operator. Inputs and outputs are tensor indices, -1 for an input left out."""

    index: int
    name: str  #: 'CONV_2D', ... or the name of a custom operator
    is_custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]  #: the schema's accessor names, such as 'StrideH'; only those that the analyses need


class Graph(Record, frozen=True):
    """The main subgraph of one file, operators in the order in which they run."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int
    size_bytes: int  #: of the file

    def operand(self, op: Op, position: int) -> Tensor | None:
        """The op's input at ``position``; ``None`` if it is left out."""
        index = op.inputs[position] if position < len(op.inputs) else -1
        return self.tensors[index] if index >= 0 else None


def read_graph(path: Path) -> Graph:
    """Read the main subgraph of a TFLite file.

    Raises:
        ModelContractError: the file is missing, damaged or no TFLite file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelContractError(f"{path} cannot be read: {error.strerror}") from None
    model = _model(data, str(path))
    try:
        return _graph(model, data)
    except _BROKEN as error:
        raise ModelContractError(f"{path} is no TFLite file: its tables are damaged ({error})") from None


def facts(graph: Graph) -> ModelFacts:
    """What the leaderboard tells of a file; shapes are signatures, -1 where dynamic, and empty if there is no tensor.

    ``macs`` counts convolutions, transposed convolutions and fully connected layers for one image.
    """
    source = graph.tensors[graph.inputs[0]] if graph.inputs else None
    result = graph.tensors[graph.outputs[0]] if graph.outputs else None
    dynamic = source is None or -1 in source.shape_signature[1:]
    return ModelFacts(
        input_shape=source.shape_signature if source else (),
        input_dtype=source.dtype if source else "none",
        output_shape=result.shape_signature if result else (),
        output_dtype=result.dtype if result else "none",
        output_scale=result.scales[0] if result and result.scales else None,
        output_zero_point=result.zero_points[0] if result and result.zero_points else None,
        parameters=_parameters(graph),
        macs=None if dynamic else sum(_macs(graph, op) for op in graph.ops),
        size_bytes=graph.size_bytes,
        receptive_radius=receptive_radius(graph),
    )


def with_dynamic_frame(model: bytes) -> bytes:
    """The same model with height and width of every 4-D input and output marked dynamic, as in ``model_none.tflite``.

    Shapes that the network itself holds as constants stay; such a model does not run at other sizes.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    _model(model, "the model")
    try:
        unpacked = schema.ModelT.InitFromPackedBuf(model)
        if any(buffer.offset > 1 for buffer in unpacked.buffers):
            raise ModelContractError(
                "the model keeps its weights outside the flatbuffer (over 2 GB), so it stays static"
            )
        for graph in unpacked.subgraphs:
            for index in {*map(int, graph.inputs), *map(int, graph.outputs)}:
                _free_frame(graph.tensors[index])
        builder = _AlignedBuilder(len(model) + 1024)
        builder.Finish(unpacked.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())
    except _BROKEN as error:
        raise ModelContractError(f"the model is no TFLite file: its tables are damaged ({error})") from None


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
    except (_Unknown, *_BROKEN, ZeroDivisionError):
        return None


# Reading


def _model(data: bytes, name: str) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    if len(data) < 8:
        raise ModelContractError(f"{name} is no TFLite file: it has {len(data)} bytes")
    if data[4:8] != IDENTIFIER:
        raise ModelContractError(f"{name} is no TFLite file: bytes 4 to 8 are {data[4:8]!r}, not {IDENTIFIER!r}")
    try:
        return schema.Model.GetRootAs(data, 0)
    except _BROKEN as error:
        raise ModelContractError(f"{name} is no TFLite file: its root table is damaged ({error})") from None


def _graph(model: Any, data: bytes) -> Graph:
    subgraphs = _length(model.SubgraphsLength(), data)
    if subgraphs == 0:
        raise ValueError("no subgraph")
    main = model.Subgraphs(0)
    names = _enum("TensorType")
    codes = _operators(model, data)
    tensors = tuple(
        _tensor(model, main.Tensors(index), index, names) for index in range(_length(main.TensorsLength(), data))
    )
    ops = tuple(_op(main.Operators(index), index, codes) for index in range(_length(main.OperatorsLength(), data)))
    inputs, outputs = _ints(main.InputsAsNumpy()), _ints(main.OutputsAsNumpy())
    _refuse_strays(len(tensors), -1, [index for op in ops for index in op.inputs])
    _refuse_strays(len(tensors), 0, [*inputs, *outputs, *(index for op in ops for index in op.outputs)])
    return Graph(tensors=tensors, ops=ops, inputs=inputs, outputs=outputs, subgraphs=subgraphs, size_bytes=len(data))


def _length(count: int, data: bytes) -> int:
    # A vector of tables takes four bytes an entry, so a longer one is damage, and would be walked for minutes.
    if count * 4 > len(data):
        raise ValueError(f"a list of {count} entries")
    return count


def _refuse_strays(tensors: int, least: int, indices: Sequence[int]) -> None:
    for index in indices:
        if not least <= index < tensors:
            raise ValueError(f"tensor {index} of {tensors}")


def _enum(name: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {value: key for key, value in vars(getattr(schema, name)).items() if not key.startswith("_")}


def _operators(model: Any, data: bytes) -> list[tuple[str, bool]]:
    builtin = _enum("BuiltinOperator")
    operators = []
    for index in range(_length(model.OperatorCodesLength(), data)):
        code = model.OperatorCodes(index)
        # Codes up to 126 are in the old one-byte field too; files of old converters have only that.
        name = builtin[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        is_custom = name == "CUSTOM"
        operators.append((_text(code.CustomCode()) or "unnamed" if is_custom else name, is_custom))
    return operators


def _tensor(model: Any, tensor: Any, index: int, names: dict[int, str]) -> Tensor:
    shape, signature = _ints(tensor.ShapeAsNumpy()), _ints(tensor.ShapeSignatureAsNumpy())
    if min(shape, default=0) < 0 or (signature and len(signature) != len(shape)):
        raise ValueError(f"tensor {index} has shape {shape} and signature {signature}")
    quantisation = tensor.Quantization()
    dtype = names[tensor.Type()].lower()
    buffer = model.Buffers(tensor.Buffer())
    return Tensor(
        index=index,
        name=_text(tensor.Name()),
        shape=shape,
        shape_signature=signature or shape,
        dtype=dtype,
        scales=tuple(map(float, np.atleast_1d(quantisation.ScaleAsNumpy()))) if _has(quantisation, "Scale") else (),
        zero_points=_ints(quantisation.ZeroPointAsNumpy()) if _has(quantisation, "ZeroPoint") else (),
        quantised_dimension=quantisation.QuantizedDimension() if quantisation else 0,
        buffer=tensor.Buffer(),
        # Files above 2 GB keep the data behind the flatbuffer, at ``Offset``.
        stored_bytes=buffer.DataLength() or (buffer.Size() if buffer.Offset() > 1 else 0),
        values=_values(dtype, buffer),
    )


def _has(quantisation: Any, field: str) -> bool:
    return quantisation is not None and not getattr(quantisation, f"{field}IsNone")()


def _values(dtype: str, buffer: Any) -> tuple[int, ...] | None:
    if dtype != "int32" or not 0 < buffer.DataLength() <= 4 * _MOST_VALUES:
        return None
    return _ints(np.frombuffer(buffer.DataAsNumpy().tobytes(), "<i4"))


def _op(op: Any, index: int, operators: Sequence[tuple[str, bool]]) -> Op:
    name, is_custom = operators[op.OpcodeIndex()]
    return Op(
        index=index,
        name=name,
        is_custom=is_custom,
        inputs=_ints(op.InputsAsNumpy()),
        outputs=_ints(op.OutputsAsNumpy()),
        options={} if is_custom or name not in _OPTIONS else _options(op, *_OPTIONS[name]),
    )


def _options(op: Any, kind: str, fields: tuple[str, ...]) -> dict[str, int]:
    from ai_edge_litert import schema_py_generated as schema

    table = op.BuiltinOptions()
    if table is None:
        return {}
    options = getattr(schema, kind)()
    options.Init(table.Bytes, table.Pos)
    return {field: int(getattr(options, field)()) for field in fields}


def _ints(values: Any) -> tuple[int, ...]:
    # The schema's accessors give 0, not an empty array, for a vector that is not there.
    return tuple(int(value) for value in values) if isinstance(values, np.ndarray) else ()


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")


# Writing


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802
        # The schema wants weights at multiples of 16 bytes; the generated Pack does not see to it.
        self.Prep(16, x.nbytes)
        return super().CreateNumpyVector(x)


def _free_frame(tensor: Any) -> None:
    if tensor.shape is not None and len(tensor.shape) == 4:
        channels = int(tensor.shape[3])
        tensor.shape = np.array([1, 1, 1, channels], np.int32)
        tensor.shapeSignature = np.array([1, -1, -1, channels], np.int32)


# Size and work


def _parameters(graph: Graph) -> int:
    # float16 files keep weights behind a DEQUANTIZE.
    origin = {op.outputs[0]: op.inputs[0] for op in graph.ops if op.name == "DEQUANTIZE" and op.inputs and op.outputs}
    counted: dict[int, int] = {}
    for op in graph.ops:
        for position in _WEIGHTED[op.name][2] if op.name in _WEIGHTED else ():
            tensor = graph.operand(op, position)
            if tensor is not None:
                tensor = graph.tensors[origin.get(tensor.index, tensor.index)]
                counted |= {tensor.buffer: tensor.elements} if tensor.is_constant else {}
    return sum(counted.values())


def _macs(graph: Graph, op: Op) -> int:
    if op.name not in (*CONVOLUTIONS, "FULLY_CONNECTED") or not op.outputs:
        return 0
    data, weights = (graph.operand(op, position) for position in _WEIGHTED[op.name][:2])
    if data is None or weights is None or not weights.shape:
        return 0
    result = graph.tensors[op.outputs[0]].elements
    if op.name == "TRANSPOSE_CONV":
        return data.elements * math.prod(weights.shape[:3])
    if op.name == "DEPTHWISE_CONV_2D":
        return result * math.prod(weights.shape[1:3])
    return result * math.prod(weights.shape[1:])  # the kernel's depth is input channels / groups


# Receptive field: element i of a tensor depends on LR pixels step * i + [low, high], on each axis.


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

    @property
    def positions(self) -> tuple[int, int]:
        return self.rows.position, self.columns.position


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
