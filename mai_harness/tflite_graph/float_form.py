"""A TFLite file of any precision as float operators: each a model of its own, whose constants may be replaced."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mai_harness.records import Op, Tensor
from mai_harness.tflite_graph.split import alone, read_whole

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
        self.graph, self._tables = read_whole(path)
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

        def in_float(index: int, tensor: Any, data: Any) -> Any:
            tensor.shapeSignature = None
            if not self.is_real(index):
                return data
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
            values = constants.get(index, self.constants.get(index))
            return None if values is None else np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)

        return alone(self.graph, self._tables, op, in_float)

    def _dequantised(self, tensor: Tensor) -> Array | None:
        kind = _FLOATS.get(tensor.dtype) or (_INTEGERS.get(tensor.dtype) if tensor.scales else None)
        if kind is None:
            return None
        data: bytes = self._tables.buffers[tensor.buffer].data.tobytes()
        codes: npt.NDArray[Any] = np.frombuffer(data, np.dtype(kind)).reshape(tensor.shape)
        if tensor.scales:
            axis = [1] * codes.ndim
            if len(tensor.scales) > 1:
                axis[tensor.quantised_dimension] = -1
            zero_points = np.resize(tensor.zero_points or (0,), len(tensor.scales))
            codes = (codes - zero_points.reshape(axis)) * np.asarray(tensor.scales, np.float64).reshape(axis)
        values: Array = codes.astype(np.float32)
        return values
