"""What a network is and costs: shapes, parameters and multiply-accumulates."""

import math
from collections.abc import Sequence

from mai_harness.records import LR_FRAME, Graph, ModelFacts, Op, Precision, TensorFact
from mai_harness.tflite_graph.receptive_field import receptive_radius
from mai_harness.tflite_graph.view import CONVOLUTIONS

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
        macs=None if dynamic else sum(macs(graph, op) for op in graph.ops),
        size_bytes=graph.size_bytes,
        receptive_radius=receptive_radius(graph),
    )


def tensor_facts(graph: Graph) -> tuple[TensorFact, ...]:
    """Every tensor as reports list it."""
    makers = {index: op.label for index, op in graph.makers.items()} | dict.fromkeys(graph.inputs, "input")
    return tuple(
        TensorFact(
            index=tensor.index,
            name=tensor.name,
            made_by=makers.get(tensor.index, "constant"),
            dtype=tensor.dtype,
            shape=tensor.shape_signature,
            scales=len(tensor.scales),
            scale=tensor.scales[0] if tensor.scales else None,
            zero_point=tensor.zero_points[0] if tensor.zero_points else None,
        )
        for tensor in graph.tensors
    )


def precision(graph: Graph) -> Precision:
    """What the file computes in: INT8 if any of its activations is quantised."""
    return "int8" if any(tensor.scales for tensor in graph.tensors if not tensor.is_constant) else "fp32"


def filled(signature: Sequence[int]) -> tuple[int, ...]:
    """A shape for a signature: height and width of an image are the challenge's frame where they are free, others 1."""
    free = iter(LR_FRAME if len(signature) == 4 else ())
    return tuple(size if size >= 0 else next(free, 1) for size in signature)


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


def macs(graph: Graph, op: Op) -> int:
    """Multiply-accumulates of one operator, for one image if its shapes are; 0 if it is no convolution or the like."""
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
