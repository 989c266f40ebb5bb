"""Exact rewrites between calibration and quantisation: what INT8 arithmetic does by itself needs no operator.

They work on the float model, with ``min`` and ``max`` of its tensors, that ``TFLiteConverter`` leaves to quantise.
Ranges are what they reason by, so ``with_ranges`` comes first.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mai_harness.records import GraphRewrite
from mai_harness.tflite_graph.edit import (
    MOVEMENT,
    PIXEL_RANGE,
    add_constant,
    edited,
    is_activation,
    operator_code,
    operator_names,
    range_of,
    set_range,
)

# Operator that clips -> the bound that it sets; MAXIMUM and MINIMUM hold theirs as a second input.
_CLIPS = {"RELU": PIXEL_RANGE[0], "MAXIMUM": PIXEL_RANGE[0], "MINIMUM": PIXEL_RANGE[1]}
# Operators whose INT8 kernels bring a wider number to the scale of their output, and saturate there.
_SATURATING = {"ADD", "SUB", "MUL", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"}
_FEWEST_COPIES = 4
_MOST_CHANNELS = 16  # each value costs as many multiplications, all but one of them by 0


class Graph:
    """The main subgraph of a ``ModelT``, which the passes change in place; operators in the order in which they run."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.main = model.subgraphs[0]

    def kind(self, op: Any) -> str:
        """The operator's name in the schema."""
        return operator_names(self.model)[int(op.opcodeIndex)]

    def writer(self, index: int) -> Any | None:
        """The operator that makes a tensor; ``None`` for inputs and constants."""
        return next((op for op in self.main.operators if index in op.outputs), None)

    def readers(self) -> Counter[int]:
        """How often every tensor is read, by operators or as an output of the graph."""
        return Counter(map(int, np.concatenate([self.main.outputs, *(op.inputs for op in self.main.operators)])))

    def is_float(self, index: int) -> bool:
        """Whether a tensor, constant or not, is float32."""
        from ai_edge_litert.schema_py_generated import TensorType

        return index >= 0 and self.main.tensors[index].type == TensorType.FLOAT32

    def constant(self, index: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The values that the file holds of a tensor of this dtype, without their shape; none for an activation."""
        tensor = self.main.tensors[index]
        data = b"" if is_activation(self.model, tensor) else self.model.buffers[tensor.buffer].data.tobytes()
        return np.frombuffer(data, dtype)


def saturating_tail(graph: Graph) -> tuple[str, ...]:
    """A clip to [0, 255] at the output goes: the operator that makes what it clips saturates at these bounds in INT8.

    The clip may be in parts, before or behind operators that only move values. The float model is no longer clipped:
    it is on its way to the quantiser, and a clip of its output is the output that it had. Half a clip bounds nothing
    and stays.
    """
    return tuple(text for index in graph.main.outputs if (text := _unclipped(graph, int(index))))


def _unclipped(graph: Graph, output: int) -> str:
    from ai_edge_litert.schema_py_generated import ActivationFunctionType

    tail = _tail(graph, output)
    clips = [graph.kind(op) for op in tail if graph.kind(op) in _CLIPS]
    if not clips or graph.kind(tail[-1]) not in _SATURATING:
        return ""
    fused = tail[-1].builtinOptions.fusedActivationFunction
    if fused not in (ActivationFunctionType.NONE, ActivationFunctionType.RELU):
        return ""
    if {_CLIPS[kind] for kind in (*clips, *["RELU"] * (fused == ActivationFunctionType.RELU))} != set(PIXEL_RANGE):
        return ""
    for op in tail:
        set_range(graph.main.tensors[op.outputs[0]], PIXEL_RANGE)
    for op, before in pairwise(tail):
        if graph.kind(op) in _CLIPS:
            before.outputs = op.outputs
            graph.main.operators.remove(op)
    return f"{' of '.join(clips)} left to the saturation of {graph.kind(tail[-1])}"


def _tail(graph: Graph, output: int) -> list[Any]:
    """Operators from an output back to the first that does more than move or clip; none if anything else reads them."""
    readers, tail, index = graph.readers(), list[Any](), output
    while readers[index] == 1 and (op := graph.writer(index)) is not None:
        tail.append(op)
        if not _passes_on(graph, op):
            return tail
        index = int(op.inputs[0])
    return []


def _passes_on(graph: Graph, op: Any) -> bool:
    """Whether an operator's output is its first input, moved, or clipped at 0 or at 255."""
    kind = graph.kind(op)
    if kind in MOVEMENT:
        # A second float input, say of a concatenation, would bring values that nothing has clipped.
        return len(op.outputs) == 1 and [i for i in op.inputs if graph.is_float(int(i))] == [op.inputs[0]]
    return kind == "RELU" or (
        kind in _CLIPS and graph.constant(int(op.inputs[1]), np.float32).tolist() == [_CLIPS[kind]]
    )


def anchor_convolution(graph: Graph) -> tuple[str, ...]:
    """Copies of all channels side by side become a 1x1 convolution with frozen weights of 0 and 1.

    Copies move memory; the multiply-accumulate unit makes the same values as it goes. In INT8 a weight of 1 is 127 at
    scale 1 / 127, and the output has the input's range, so the copies stay exact.
    """
    return tuple(text for op in graph.main.operators if (text := _as_convolution(graph, op)))


def _as_convolution(graph: Graph, op: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    kind, copies = graph.kind(op), _copies_of_channels(graph, op)
    if copies < _FEWEST_COPIES:
        return ""
    index = int(op.inputs[0])
    source, result = graph.main.tensors[index], graph.main.tensors[op.outputs[0]]
    channels, limits = int(source.shape[3]), range_of(source)
    if channels > _MOST_CHANNELS or limits is None:
        return ""
    weights = np.tile(np.eye(channels, dtype=np.float32), (copies, 1)).reshape(-1, 1, 1, channels)
    identity = add_constant(graph.model, result.name + b"/identity", weights)
    zero = add_constant(graph.model, result.name + b"/zero", np.zeros(len(weights), np.float32))
    op.inputs = np.array([index, identity, zero], np.int32)
    op.opcodeIndex = operator_code(graph.model, "CONV_2D")
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.Conv2DOptions, schema.Conv2DOptionsT()
    op.builtinOptions.strideH = op.builtinOptions.strideW = 1
    set_range(result, limits)
    return f"{kind} of {channels} channels, {copies} times, to CONV_2D"


def _copies_of_channels(graph: Graph, op: Any) -> int:
    """How often an operator repeats the channels of its first input, (N, H, W, C); 0 if it does something else."""
    kind = graph.kind(op)
    if kind not in ("CONCATENATION", "TILE") or len(graph.main.tensors[op.inputs[0]].shape) != 4:
        return 0
    if kind == "TILE":
        *others, copies = graph.constant(int(op.inputs[1]), np.int32).tolist() or [0]
        return int(copies) if others == [1, 1, 1] else 0
    alike = op.builtinOptions.axis in (3, -1) and len(set(op.inputs)) == 1
    return len(op.inputs) if alike else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One kind of rewrite; ``apply`` changes the graph and returns a line for each change."""

    id: str
    apply: Callable[[Graph], tuple[str, ...]]


PASSES: tuple[Pass, ...] = (
    Pass(id="saturating-tail", apply=saturating_tail),
    Pass(id="anchor-convolution", apply=anchor_convolution),
)


def rewrite(model: bytes, without: Collection[str] = ()) -> tuple[bytes, tuple[GraphRewrite, ...]]:
    """Apply every pass but those whose ids are in ``without``.

    Args:
        model: calibrated float TFLite whose ranges are set (``with_ranges``), on its way to the quantiser.

    Returns:
        A model that quantises to the same function, and what was changed. What no pass understands is left as it is.

    Raises:
        ModelContractError: the bytes are no TFLite file, or keep their weights outside the flatbuffer.
    """
    changes: list[GraphRewrite] = []

    def change(unpacked: Any) -> None:
        graph = Graph(unpacked)
        for row in PASSES:
            if row.id not in without:
                changes.extend(GraphRewrite(id=row.id, text=text) for text in row.apply(graph))

    return edited(model, change), tuple(changes)
