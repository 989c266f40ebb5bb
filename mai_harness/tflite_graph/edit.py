"""New TFLite files from old ones: free sizes, and ranges that are known without calibration."""

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np

from mai_harness.errors import ModelContractError
from mai_harness.tflite_graph.view import BROKEN, IDENTIFIER, builtin_operators, open_model

Range = tuple[float, float]  #: least and greatest value
# Operators that copy values: the range of what goes in is that of what comes out.
MOVEMENT = {
    "BATCH_TO_SPACE_ND", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "MIRROR_PAD", "RESHAPE", "SLICE",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE",
}  # fmt: skip


def with_dynamic_frame(model: bytes) -> bytes:
    """The same model with height and width of every 4-D input and output marked dynamic, as in ``model_none.tflite``.

    Shapes that the network itself holds as constants stay; such a model does not run at other sizes.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """

    def free(unpacked: Any) -> None:
        for graph in unpacked.subgraphs:
            for index in {*map(int, graph.inputs), *map(int, graph.outputs)}:
                _free_frame(graph.tensors[index])

    return _edited(model, free)


def with_ranges(model: bytes, source: Range, result: Range | None) -> bytes:
    """A calibrated float model whose input, and output if given, have these ranges instead of those that were seen.

    They hold as well for every tensor that only copies from the input, or is only copied to the output: INT8 copies
    keep the scale, so one tensor's calibrated range would overrule them.

    Args:
        model: float TFLite with ``min`` and ``max`` of its tensors, as ``TFLiteConverter`` leaves it to quantise.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """

    def fix(unpacked: Any) -> None:
        graph = unpacked.subgraphs[0]
        names = _operator_names(unpacked)
        fixed = {int(index): source for index in graph.inputs}
        for op in graph.operators:
            data = [int(i) for i in op.inputs if _is_activation(unpacked, graph.tensors[i])]
            if names[op.opcodeIndex] in MOVEMENT and data and all(fixed.get(i) == source for i in data):
                fixed |= {int(index): source for index in op.outputs}
        if result is not None:
            fixed |= {int(index): result for index in graph.outputs}
            for op in reversed(graph.operators):
                copied = all(fixed.get(int(index)) == result for index in op.outputs)
                if names[op.opcodeIndex] in MOVEMENT and copied:
                    fixed |= {int(i): result for i in op.inputs if _is_activation(unpacked, graph.tensors[i])}
        for index, limits in fixed.items():
            _set_range(graph.tensors[index], limits)

    return _edited(model, fix)


def _edited(model: bytes, change: Callable[[Any], None]) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    open_model(model, "the model")
    try:
        unpacked = schema.ModelT.InitFromPackedBuf(model)
        if any(buffer.offset > 1 for buffer in unpacked.buffers):
            raise ModelContractError("the model keeps its weights outside the flatbuffer (over 2 GB): not supported")
        change(unpacked)
        builder = _AlignedBuilder(len(model) + 1024)
        builder.Finish(unpacked.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())
    except BROKEN as error:
        raise ModelContractError(f"the model is no TFLite file: its tables are damaged ({error})") from None


def _operator_names(unpacked: Any) -> list[str]:
    names = builtin_operators()
    return [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in unpacked.operatorCodes]


def _is_activation(unpacked: Any, tensor: Any) -> bool:
    data = unpacked.buffers[tensor.buffer].data
    return data is None or len(data) == 0


def _set_range(tensor: Any, limits: Range) -> None:
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
