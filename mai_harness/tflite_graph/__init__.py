"""TFLite files: what is in them, what follows from it, and the few changes that the harness makes to them."""

from mai_harness.records import Graph, Op, Tensor
from mai_harness.tflite_graph.edit import PIXEL_RANGE, with_dynamic_frame, with_ranges
from mai_harness.tflite_graph.receptive_field import receptive_radius
from mai_harness.tflite_graph.split import Alone, split
from mai_harness.tflite_graph.view import read_graph
from mai_harness.tflite_graph.work import facts, filled, macs, precision, tensor_facts

__all__ = [
    "PIXEL_RANGE",
    "Alone",
    "Graph",
    "Op",
    "Tensor",
    "facts",
    "filled",
    "macs",
    "precision",
    "read_graph",
    "receptive_radius",
    "split",
    "tensor_facts",
    "with_dynamic_frame",
    "with_ranges",
]
