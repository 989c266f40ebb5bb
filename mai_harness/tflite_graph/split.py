"""A TFLite file taken apart: each operator as a file of its own."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mai_harness.errors import ModelContractError
from mai_harness.records import Graph, Op, Record
from mai_harness.tflite_graph.edit import packed, unpacked
from mai_harness.tflite_graph.view import read_graph


class Alone(Record, frozen=True):
    """One operator with its constants, as a file; inputs and outputs have the shapes of the network."""

    name: str  #: the operator and its index in the whole file, such as 'CONV_2D 3'
    inputs: tuple[int, ...]  #: tensors of the whole file that are the inputs here, in order
    outputs: tuple[int, ...]
    model: bytes


def split(path: Path) -> Iterator[Alone]:
    """Every operator of the main subgraph, in the order in which they run.

    Raises:
        ModelContractError: the file is damaged, has several subgraphs, or keeps its weights outside the flatbuffer.
    """
    graph, tables = read_whole(path)
    for op in graph.ops:
        inputs, model = graph.activations(op), alone(graph, tables, op)
        yield Alone(name=op.label, inputs=inputs, outputs=op.outputs, model=model)


def read_whole(path: Path) -> tuple[Graph, Any]:
    """The view of a file that can be taken apart, and the schema's ``ModelT`` of it.

    Raises:
        ModelContractError: as in :func:`split`.
    """
    graph = read_graph(path)
    if graph.subgraphs != 1:
        raise ModelContractError(f"{path.name} has {graph.subgraphs} subgraphs and cannot be taken apart")
    return graph, unpacked(path.read_bytes())


Change = Callable[[int, Any, Any], Any]  #: tensor of the whole file, its ``TensorT`` and data; the data from now on


def alone(graph: Graph, tables: Any, op: Op, change: Change = lambda _index, _tensor, data: data) -> bytes:
    """One operator as a file whose inputs are the activations that it reads, once each, in order.

    Args:
        tables: the ``ModelT``, which stays as it is.
        change: called with a copy of each tensor, which it may change.
    """
    from ai_edge_litert import schema_py_generated as schema

    main = tables.subgraphs[0]
    model, part, operator = schema.ModelT(), schema.SubGraphT(), copy.copy(main.operators[op.index])
    model.version, model.subgraphs, part.operators = tables.version, [part], [operator]
    model.operatorCodes, operator.opcodeIndex = [tables.operatorCodes[operator.opcodeIndex]], 0
    kept = list(dict.fromkeys(i for i in (*op.inputs, *op.outputs) if i >= 0))
    place = {old: new for new, old in enumerate(kept)}
    part.inputs, part.outputs = [place[i] for i in graph.activations(op)], [place[i] for i in op.outputs]
    operator.inputs, operator.outputs = ([place.get(i, -1) for i in indices] for indices in (op.inputs, op.outputs))
    model.buffers, part.tensors = [schema.BufferT()], []  # by convention the first is empty
    for index in kept:
        tensor = copy.copy(main.tensors[index])
        data = change(index, tensor, tables.buffers[tensor.buffer].data)
        tensor.buffer = 0
        if data is not None and len(data):
            buffer = schema.BufferT()
            buffer.data, tensor.buffer = data, len(model.buffers)
            model.buffers.append(buffer)
        part.tensors.append(tensor)
    return packed(model)
