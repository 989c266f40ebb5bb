"""Read-only view of a TFLite file: its tensors and operators, as this harness needs them."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mai_harness.errors import ModelContractError
from mai_harness.records import Graph, Op, Tensor

IDENTIFIER = b"TFL3"
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_MOST_VALUES = 64  # longer int32 constants are data, not shapes, paddings or axes
# What the flatbuffers accessors and numpy raise on offsets and lengths that make no sense.
BROKEN = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError)

_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
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


def read_graph(path: Path) -> Graph:
    """Read the main subgraph of a TFLite file.

    Raises:
        ModelContractError: the file is missing, damaged or no TFLite file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelContractError(f"{path} cannot be read: {error.strerror}") from None
    model = open_model(data, str(path))
    try:
        return _graph(model, data)
    except BROKEN as error:
        raise ModelContractError(f"{path} is no TFLite file: its tables are damaged ({error})") from None


def open_model(data: bytes, name: str) -> Any:
    """The root table in the schema's own classes.

    Raises:
        ModelContractError: the bytes are no TFLite file; ``name`` says which.
    """
    from ai_edge_litert import schema_py_generated as schema

    if len(data) < 8:
        raise ModelContractError(f"{name} is no TFLite file: it has {len(data)} bytes")
    if data[4:8] != IDENTIFIER:
        raise ModelContractError(f"{name} is no TFLite file: bytes 4 to 8 are {data[4:8]!r}, not {IDENTIFIER!r}")
    try:
        return schema.Model.GetRootAs(data, 0)
    except BROKEN as error:
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


def builtin_operators() -> dict[int, str]:
    """The schema's names of operators by their codes."""
    return _enum("BuiltinOperator")


def _operators(model: Any, data: bytes) -> list[tuple[str, bool]]:
    builtin = builtin_operators()
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
