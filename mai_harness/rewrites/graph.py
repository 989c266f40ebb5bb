"""One ONNX graph, opened for the passes to work on."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class Graph:
    """Nodes in topological order, constants and static shapes.

    Nodes are replaced, never edited, so copies share them. An initializer that is also a graph input
    can be overridden by whoever runs the model, so it is no constant.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.inputs = frozenset(value.name for value in model.graph.input)
        self.outputs = frozenset(value.name for value in model.graph.output)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in self.inputs}
        self._shapes: dict[str, Shape] = {}
        self.infer_shapes()

    def copy(self) -> "Graph":
        """An independent graph of the same content."""
        twin = copy.copy(self)
        twin.nodes, twin._tensors, twin._shapes = list(self.nodes), dict(self._tensors), dict(self._shapes)
        return twin

    def adopt(self, changed: "Graph") -> None:
        """Take over the content of a copy."""
        self.nodes, self._tensors, self._shapes = changed.nodes, changed._tensors, changed._shapes

    def model(self) -> onnx.ModelProto:
        """A model of this graph, its shapes inferred anew; what no node needs is left out."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        made = set(itertools.chain.from_iterable(node.output for node in self.nodes))
        used = set(itertools.chain.from_iterable(node.input for node in self.nodes)) | self.outputs
        overridable = [tensor for tensor in model.graph.initializer if tensor.name in self.inputs]
        values = [value for value in model.graph.value_info if value.name in made]
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(overridable)
        model.graph.initializer.extend(tensor for name, tensor in self._tensors.items() if name in used)
        model.graph.value_info.extend(values)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)

    # Questions

    def producer(self, name: str) -> NodeProto | None:
        """The node that makes a tensor; ``None`` for graph inputs and constants."""
        return next((node for node in self.nodes if name in node.output), None)

    def consumers(self, name: str) -> list[NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if name in node.input]

    def shape(self, name: str) -> Shape | None:
        """The static shape of a tensor; ``None`` if it is unknown."""
        return tuple(self._tensors[name].dims) if name in self._tensors else self._shapes.get(name)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is stored in the graph."""
        return name in self._tensors

    def constant(self, name: str) -> Array:
        """The values of a constant."""
        return numpy_helper.to_array(self._tensors[name])

    def is_forwardable(self, source: str, target: str) -> bool:
        """Whether one tensor can stand in for another without an Identity: not if both names have to stay."""
        return target not in self.outputs or self._is_internal(source)

    def evaluate(self, node: NodeProto, values: Mapping[str, Array]) -> dict[str, Array]:
        """What one node makes of ``values`` and constants.

        Raises:
            Exception: of any kind, if ONNX's reference implementation cannot run the node.
        """
        feeds = {name: values[name] if name in values else self.constant(name) for name in node.input if name}
        body = helper.make_graph([node], "node", [], [onnx.ValueInfoProto(name=name) for name in node.output])
        opsets = {entry.domain: entry.version for entry in self._model.opset_import}
        results = ReferenceEvaluator(body, opsets=opsets).run(None, feeds)
        return {name: np.asarray(result) for name, result in zip(node.output, results, strict=True)}

    # Changes

    def infer_shapes(self) -> None:
        """Bring the shapes up to date."""
        graph = self.model().graph
        for value in itertools.chain(graph.input, graph.value_info, graph.output):
            axes = value.type.tensor_type.shape.dim
            if value.type.tensor_type.HasField("shape") and all(axis.HasField("dim_value") for axis in axes):
                self._shapes[value.name] = tuple(axis.dim_value for axis in axes)

    def store(self, values: Array, stem: str) -> str:
        """The name of a new constant."""
        name = self._fresh(stem)
        self._tensors[name] = numpy_helper.from_array(values, name)
        return name

    def freeze(self, node: NodeProto, results: Mapping[str, Array]) -> None:
        """Put constants in the place of a node."""
        self._tensors |= {name: numpy_helper.from_array(values, name) for name, values in results.items()}
        self.replace(node)

    def derive(self, op: str, inputs: Sequence[str], shape: Shape, **attributes: Any) -> str:
        """The output of a node that reads ``inputs[0]``: of a new one unless there already is its like."""
        node = helper.make_node(op, inputs, [self._fresh(f"{inputs[0]}_{op}")], **attributes)
        node = next((other for other in self.consumers(inputs[0]) if self._is_alike(node, other)), node)
        self.nodes = [other for other in self.nodes if other is not node]
        self._insert(node)
        output: str = node.output[0]
        self._shapes[output] = shape
        return output

    def replace(self, node: NodeProto, *others: NodeProto) -> None:
        """Put other nodes where one was."""
        self.nodes = list(itertools.chain(*(others if known is node else [known] for known in self.nodes)))

    def forward(self, source: str, target: str) -> None:
        """Let ``source`` stand in for ``target``, an equal tensor that is made of it."""
        unused = {target: self._fresh(f"{target}_unused")}
        self.nodes = [renamed(node, unused) if target in node.output else node for node in self.nodes]
        if self._is_internal(source):
            self._rename(source, target)
        elif target not in self.outputs:
            self._rename(target, source)
        else:
            self._insert(helper.make_node("Identity", [source], [target]))

    def tidy(self) -> None:
        """Drop the nodes that no graph output needs."""
        needed, alive = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                alive.append(node)
        self.nodes = alive[::-1]

    def _insert(self, node: NodeProto) -> None:
        """Put a node right behind what it reads first, so ahead of whatever is going to read it."""
        behind = (position for position, other in enumerate(self.nodes, 1) if node.input[0] in other.output)
        self.nodes.insert(next(behind, 0), node)

    def _rename(self, old: str, new: str) -> None:
        self.nodes = [renamed(node, {old: new}) for node in self.nodes]
        if old in self._shapes:
            self._shapes[new] = self._shapes[old]

    def _is_internal(self, name: str) -> bool:
        return self.producer(name) is not None and name not in self.outputs

    def _is_alike(self, node: NodeProto, other: NodeProto) -> bool:
        return (
            (node.op_type, node.domain, len(node.input)) == (other.op_type, other.domain, len(other.input))
            and attributes(node) == attributes(other)
            and all(map(self._are_equal, node.input, other.input))
        )

    def _are_equal(self, name: str, other: str) -> bool:
        if name == other or not (self.is_constant(name) and self.is_constant(other)):
            return name == other
        return np.array_equal(self.constant(name), self.constant(other))

    def _fresh(self, stem: str) -> str:
        taken = set(itertools.chain.from_iterable([*node.input, *node.output] for node in self.nodes))
        taken |= self._tensors.keys() | self.inputs
        names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
        return next(name for name in names if name not in taken)


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes that a node states."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def is_standard(node: NodeProto) -> bool:
    """Whether a node is of ONNX's own operators."""
    return node.domain in ("", "ai.onnx")


def renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    """The node with its inputs and outputs renamed; the very node if it has none of them."""
    if names.keys().isdisjoint([*node.input, *node.output]):
        return node
    twin = NodeProto()
    twin.CopyFrom(node)
    twin.input[:] = [names.get(name, name) for name in node.input]
    twin.output[:] = [names.get(name, name) for name in node.output]
    return twin
