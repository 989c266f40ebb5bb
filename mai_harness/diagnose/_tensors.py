"""A file's tensors, by its graph or else by the list that the check makes of it."""

from typing import NamedTuple

from mai_harness.records import Evaluation, Graph, TensorFact
from mai_harness.tflite_graph import tensor_facts


class File(NamedTuple):
    """Tensors of one file; of the check's list the output is told by its shape and type."""

    tensors: tuple[TensorFact, ...]
    source: TensorFact | None
    result: TensorFact | None
    graph: Graph | None

    @property
    def activations(self) -> list[TensorFact]:
        """All that is no constant: what goes in, and what operators make."""
        return [tensor for tensor in self.tensors if tensor.made_by != "constant"]

    @property
    def constants(self) -> list[TensorFact]:
        """Weights, biases, shapes and the like."""
        return [tensor for tensor in self.tensors if tensor.made_by == "constant"]

    @property
    def operators(self) -> list[str]:
        """Labels of all operators, in order."""
        if self.graph is not None:
            return [op.label for op in self.graph.ops]
        makers = (tensor.made_by for tensor in self.activations if tensor.made_by != "input")
        return list(dict.fromkeys(makers))

    def output_of(self, label: str) -> str:
        """Name of the tensor that the operator of this label makes; empty if there is none."""
        return next((tensor.name for tensor in self.tensors if tensor.made_by == label), "")

    def readers(self, tensor: TensorFact) -> list[str] | None:
        """Names of the operators that read the tensor; ``None`` if that is not known."""
        return None if self.graph is None else [op.name for op in self.graph.ops if tensor.index in op.inputs]


def file_of(evaluation: Evaluation) -> File | None:
    """The INT8 file, or whatever was given for one; ``None`` if nothing is known of it."""
    if evaluation.examine is not None:
        return _by_graph(evaluation.examine.graph)
    if evaluation.check is None:
        return None
    facts, tensors = evaluation.check.facts, evaluation.check.tensors
    ends = [each for each in tensors if (each.dtype, each.shape) == (facts.output_dtype, facts.output_shape)]
    source = next((each for each in tensors if each.made_by == "input"), None)
    result = next((each for each in reversed(ends) if each.made_by not in ("input", "constant")), None)
    return File(tensors, source, result, None)


def _by_graph(graph: Graph) -> File:
    tensors = tensor_facts(graph)
    source, result = (tensors[ends[0]] if ends else None for ends in (graph.inputs, graph.outputs))
    return File(tensors, source, result, graph)
