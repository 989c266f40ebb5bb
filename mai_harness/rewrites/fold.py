"""Fold what does not depend on the image: the shape arithmetic that exporters write."""

import numpy as np
from onnx import NodeProto

from mai_harness.rewrites.graph import Array, Graph, is_standard

_OF_SHAPE = {"Shape", "Size"}
# What exporters compute shapes and indices with. Random operators, which have no inputs either, stay out.
_ARITHMETIC = {
    "Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten", "Floor", "Gather",
    "Identity", "Max", "Min", "Mod", "Mul", "Range", "Reshape", "Slice", "Squeeze", "Sub", "Tile", "Transpose",
    "Unsqueeze", "Where",
}  # fmt: skip


def fold_constants(graph: Graph) -> tuple[str, ...]:
    """Nodes that compute with constants and static shapes alone become constants."""
    folded = 0
    for node in graph.nodes:
        if results := _results(graph, node):
            graph.freeze(node, results)
            folded += node.op_type != "Constant"  # which is one already
    if not folded:
        return ()
    graph.tidy()
    graph.infer_shapes()
    return (f"{folded} nodes folded",)


def _results(graph: Graph, node: NodeProto) -> dict[str, Array]:
    """The constants that a node makes; none if it needs the image, or is beyond ONNX's reference implementation."""
    if not graph.outputs.isdisjoint(node.output) or not is_standard(node):
        return {}
    feeds: dict[str, Array] = {}
    if node.op_type in _OF_SHAPE:
        shape = graph.shape(node.input[0])
        if shape is None:
            return {}
        feeds[node.input[0]] = np.broadcast_to(np.float32(0), shape)
    elif node.op_type not in _ARITHMETIC or not all(graph.is_constant(name) for name in node.input if name):
        return {}
    try:
        return graph.evaluate(node, feeds)
    except Exception:  # of any kind; the node stays as it is
        return {}
