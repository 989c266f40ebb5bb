"""A TFLite file of any precision as float operators: each a model of its own, whose constants may be replaced."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mai_harness.errors import ModelContractError
from mai_harness.records import Op, Tensor
from mai_harness.tflite_graph.edit import packed, unpacked
from mai_harness.tflite_graph.view import read_graph

Array = npt.NDArray[np.float32]
#: Operators that change how values are stored, not what they are.
STORAGE = {"QUANTIZE", "DEQUANTIZE"}
_FLOATS = {"float16": "<f2", "float32": "<f4"}
_INTEGERS = {"int8": "i1", "uint8": "u1", "int16": "<i2", "int32": "<i4", "int64": "<i8"}


class FloatForm:
    """The operators of a file, to be run in float one by one.

    Args:
        path: TFLite of any precision.

    Raises:
        ModelContractError: the file is damaged, has several subgraphs, or keeps its weights outside the flatbuffer.
    """

    def __init__(self, path: Path) -> None:
        self.graph = read_graph(path)
        if self.graph.subgraphs != 1:
            raise ModelContractError(f"{path.name} has {self.graph.subgraphs} subgraphs and cannot be taken apart")
        self._model = unpacked(path.read_bytes())
        #: Float values of the constants that are quantised or float, by tensor.
        self.constants: dict[int, Array] = {}
        for tensor in self.graph.tensors:
            if tensor.is_constant and (values := self._dequantised(tensor)) is not None:
                self.constants[tensor.index] = values

    def is_real(self, index: int) -> bool:
        """Whether a tensor holds real numbers, quantised or not; shapes and axes are none."""
        tensor = self.graph.tensors[index]
        return bool(tensor.scales) or tensor.dtype in _FLOATS

    def operator(self, op: Op, constants: Mapping[int, Array]) -> bytes:
        """A float model of one operator: its inputs are the activations that it reads, once each, in order.

        Args:
            constants: in place of the file's, by tensor.
        """
        from ai_edge_litert import schema_py_generated as schema

        main = self._model.subgraphs[0]
        old = main.operators[op.index]
        kept = list(dict.fromkeys(i for i in (*op.inputs, *op.outputs) if i >= 0))
        place = {index: new for new, index in enumerate(kept)}
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.subgraphs = 3, [graph]
        model.operatorCodes = [self._model.operatorCodes[old.opcodeIndex]]
        model.buffers = [schema.BufferT()]
        graph.tensors = [self._tensor(index, constants, model.buffers) for index in kept]
        graph.inputs, graph.outputs = [place[i] for i in given(self, op)], [place[i] for i in op.outputs]
        new = copy.copy(old)
        new.opcodeIndex = 0
        new.inputs, new.outputs = ([place.get(i, -1) for i in indices] for indices in (op.inputs, op.outputs))
        graph.operators = [new]
        return packed(model)

    def _tensor(self, index: int, constants: Mapping[int, Array], buffers: list[Any]) -> Any:
        from ai_edge_litert import schema_py_generated as schema

        tensor = copy.copy(self._model.subgraphs[0].tensors[index])
        tensor.shapeSignature, tensor.buffer = None, 0
        data = self._model.buffers[self._model.subgraphs[0].tensors[index].buffer].data
        if self.is_real(index):
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
            values = constants.get(index, self.constants.get(index))
            data = (
                None if values is None else np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
            )
        if data is not None and len(data):
            buffer = schema.BufferT()
            buffer.data = data
            buffers.append(buffer)
            tensor.buffer = len(buffers) - 1
        return tensor

    def _dequantised(self, tensor: Tensor) -> Array | None:
        kind = _FLOATS.get(tensor.dtype) or (_INTEGERS.get(tensor.dtype) if tensor.scales else None)
        if kind is None:
            return None
        data: bytes = self._model.buffers[tensor.buffer].data.tobytes()
        codes: npt.NDArray[Any] = np.frombuffer(data, np.dtype(kind)).reshape(tensor.shape)
        if tensor.scales:
            axis = [1] * codes.ndim
            if len(tensor.scales) > 1:
                axis[tensor.quantised_dimension] = -1
            zero_points = np.resize(tensor.zero_points or (0,), len(tensor.scales))
            codes = (codes - zero_points.reshape(axis)) * np.asarray(tensor.scales, np.float64).reshape(axis)
        values: Array = codes.astype(np.float32)
        return values


def given(form: FloatForm, op: Op) -> tuple[int, ...]:
    """The activations that an operator reads, once each, in order."""
    return tuple(i for i in dict.fromkeys(op.inputs) if i >= 0 and not form.graph.tensors[i].is_constant)
