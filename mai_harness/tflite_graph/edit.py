"""New TFLite files from old ones: free sizes, and ranges that are known without calibration."""

import copy
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt

from mai_harness.errors import ModelContractError
from mai_harness.tflite_graph.view import BROKEN, IDENTIFIER, builtin_operators, open_model

Range = tuple[float, float]  #: least and greatest value
PIXEL_RANGE: Range = (0.0, 255.0)
# Operators that copy values: the range of what goes in is that of what comes out.
MOVEMENT = {
    "BATCH_TO_SPACE_ND", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "MIRROR_PAD", "RESHAPE", "SLICE",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE",
}  # fmt: skip
# Operators whose INT8 kernels put out the scale that they take in: MINIMUM compares codes, resizing interpolates them.
SAME_SCALE = MOVEMENT | {
    "AVERAGE_POOL_2D", "MAX_POOL_2D", "MAXIMUM", "MINIMUM", "PACK", "PAD", "PADV2", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2", "UNPACK",
}  # fmt: skip


def with_dynamic_frame(model: bytes) -> bytes:
    """The same model with height and width of every 4-D input and output marked dynamic, as in ``model_none.tflite``.

    Shapes that the network itself holds as constants stay; such a model does not run at other sizes.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """

    def free(tables: Any) -> None:
        for graph in tables.subgraphs:
            for index in {*map(int, graph.inputs), *map(int, graph.outputs)}:
                _free_frame(graph.tensors[index])

    return edited(model, free)


def with_ranges(model: bytes, source: Range, result: Range | None) -> bytes:
    """A calibrated float model whose input, and output if given, have these ranges instead of those that were seen.

    Tensors that share a scale in INT8 get one range, so that none overrules another: that of the input or output if
    one of them is among them, or else what holds all of them. Where a concatenation would bind the input to features
    of another range, a RELU comes between, which in INT8 goes from one scale to another.

    Args:
        model: float TFLite with ``min`` and ``max`` of its tensors, as ``TFLiteConverter`` leaves it to quantise.
        source: of the input; from 0.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """

    def fix(tables: Any) -> None:
        graph = tables.subgraphs[0]
        fixed = {int(index): source for index in graph.inputs}
        if result is not None:
            fixed |= {int(index): result for index in graph.outputs}
        _unbind(tables, {int(index) for index in graph.inputs})
        groups = scale_groups(tables)
        members: dict[int, list[int]] = {}
        for index, group in groups.items():
            members.setdefault(group, []).append(index)
        for bound in members.values():
            limits = next((fixed[i] for i in bound if i in fixed), None) or _union(graph, bound)
            if limits is not None:
                for index in bound:
                    set_range(graph.tensors[index], limits)

    return edited(model, fix)


def scale_groups(tables: Any) -> dict[int, int]:
    """Activation of a ``ModelT`` -> least index of those that share its INT8 scale with it.

    Operators that hand codes on as they are bind their inputs and outputs together.
    """
    graph, names = tables.subgraphs[0], operator_names(tables)
    activations = {i for i, tensor in enumerate(graph.tensors) if is_activation(tables, tensor)}
    group = {index: index for index in activations}
    for op in graph.operators:
        if names[op.opcodeIndex] in SAME_SCALE:
            bound = {group[int(i)] for i in (*op.inputs, *op.outputs) if int(i) in activations}
            group = {index: min(bound) if each in bound else each for index, each in group.items()}
    return group


def _union(graph: Any, indices: list[int]) -> Range | None:
    ranges = [limits for index in indices if (limits := range_of(graph.tensors[index])) is not None]
    return (min(least for least, _ in ranges), max(most for _, most in ranges)) if ranges else None


def _unbind(tables: Any, inputs: set[int]) -> None:
    """Put a RELU before each concatenation of the input, or of copies of it, with something else."""
    graph, names = tables.subgraphs[0], operator_names(tables)
    copies, operators = set(inputs), []
    for op in graph.operators:
        data = [int(i) for i in op.inputs if is_activation(tables, graph.tensors[i])]
        same_scale = names[op.opcodeIndex] in SAME_SCALE
        if same_scale and data and copies.issuperset(data):
            copies |= set(map(int, op.outputs))
        elif same_scale:
            for index in sorted(copies.intersection(data)):
                operators.append(_rescaled(tables, index))
                op.inputs = [len(graph.tensors) - 1 if i == index else i for i in op.inputs]
        operators.append(op)
    graph.operators = operators


def _rescaled(tables: Any, index: int) -> Any:
    """A RELU from the tensor to a new one, the last, of the same shape and range."""
    from ai_edge_litert import schema_py_generated as schema

    graph = tables.subgraphs[0]
    twin = copy.deepcopy(graph.tensors[index])
    twin.name = bytes(twin.name or b"") + b"/rescaled"
    graph.tensors.append(twin)
    op = schema.OperatorT()
    op.opcodeIndex = operator_code(tables, "RELU")
    op.inputs, op.outputs = [index], [len(graph.tensors) - 1]
    return op


def edited(model: bytes, change: Callable[[Any], None]) -> bytes:
    """The model after ``change`` has been made to its tables, the schema's ``ModelT``.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """
    try:
        tables = unpacked(model)
        change(tables)
        return packed(tables, len(model) + 1024)
    except BROKEN as error:
        raise ModelContractError(f"the model is no TFLite file: its tables are damaged ({error})") from None


def unpacked(model: bytes) -> Any:
    """The schema's ``ModelT``.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    open_model(model, "the model")
    try:
        tables = schema.ModelT.InitFromPackedBuf(model)
    except BROKEN as error:
        raise ModelContractError(f"the model is no TFLite file: its tables are damaged ({error})") from None
    if any(buffer.offset > 1 for buffer in tables.buffers):
        raise ModelContractError("the model keeps its weights outside the flatbuffer (over 2 GB): not supported")
    return tables


def packed(tables: Any, size: int = 1024) -> bytes:
    """The file of a ``ModelT``; ``size`` is a guess of its length in bytes."""
    builder = _AlignedBuilder(size)
    builder.Finish(tables.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def operator_names(tables: Any) -> list[str]:
    """The schema's names of a ``ModelT``'s operator codes, such as 'CONV_2D', by ``opcodeIndex``."""
    names = builtin_operators()
    return [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in tables.operatorCodes]


def operator_code(tables: Any, name: str) -> int:
    """Where a ``ModelT`` lists an operator by this name, which it does from now on if it did not."""
    from ai_edge_litert import schema_py_generated as schema

    names = operator_names(tables)
    if name not in names:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 1
        tables.operatorCodes.append(code)
    return [*names, name].index(name)


def add_constant(tables: Any, name: bytes, values: npt.NDArray[np.float32]) -> int:
    """A new float32 tensor that a ``ModelT`` holds; its index."""
    from ai_edge_litert import schema_py_generated as schema

    graph, buffer, tensor = tables.subgraphs[0], schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    tensor.name, tensor.shape = name, np.array(values.shape, np.int32)
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, len(tables.buffers)
    tables.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def is_activation(tables: Any, tensor: Any) -> bool:
    """Whether the values of a ``TensorT`` are made when the model runs, and not held by the file."""
    data = tables.buffers[tensor.buffer].data
    return data is None or len(data) == 0


def range_of(tensor: Any) -> Range | None:
    """The ``min`` and ``max`` of a ``TensorT``; ``None`` if it was not calibrated."""
    limits = tensor.quantization
    return None if limits is None or limits.min is None else (float(limits.min[0]), float(limits.max[0]))


def set_range(tensor: Any, limits: Range) -> None:
    """Give a ``TensorT`` the ``min`` and ``max`` that the quantiser will go by."""
    from ai_edge_litert import schema_py_generated as schema

    quantisation = tensor.quantization or schema.QuantizationParametersT()
    quantisation.min, quantisation.max = (np.array([limit], np.float32) for limit in limits)
    tensor.quantization = quantisation


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
