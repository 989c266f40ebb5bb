"""A TFLite file taken apart: each operator as a file of its own, to be timed alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mai_harness.errors import ModelContractError
from mai_harness.records import Record
from mai_harness.tflite_graph.edit import edited
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
    whole, graph = path.read_bytes(), read_graph(path)
    if graph.subgraphs != 1:
        raise ModelContractError(f"{path.name} has {graph.subgraphs} subgraphs and cannot be taken apart")
    for op in graph.ops:
        given = tuple(i for i in dict.fromkeys(op.inputs) if i >= 0 and not graph.tensors[i].is_constant)
        yield Alone(
            name=f"{op.name} {op.index}", inputs=given, outputs=op.outputs, model=_alone(whole, op.index, given)
        )


def _alone(whole: bytes, index: int, given: Sequence[int]) -> bytes:
    def keep(unpacked: Any) -> None:
        graph = unpacked.subgraphs[0]
        op = graph.operators[index]
        kept = list(dict.fromkeys(int(i) for i in (*op.inputs, *op.outputs) if i >= 0))
        place = {old: new for new, old in enumerate(kept)}
        graph.inputs, graph.outputs = [place[i] for i in given], [place[int(i)] for i in op.outputs]
        graph.tensors = [graph.tensors[i] for i in kept]
        op.inputs, op.outputs = ([place.get(int(i), -1) for i in indices] for indices in (op.inputs, op.outputs))
        graph.operators = [op]
        _drop_the_rest(unpacked, op)

    return edited(whole, keep)


def _drop_the_rest(unpacked: Any, op: Any) -> None:
    """Buffers and operator codes that nothing refers to any more, and what names tensors by their old numbers."""
    unpacked.signatureDefs, unpacked.metadata, unpacked.metadataBuffer = None, None, None
    unpacked.operatorCodes, op.opcodeIndex = [unpacked.operatorCodes[op.opcodeIndex]], 0
    buffers = [unpacked.buffers[0]]  # by convention the empty one
    for tensor in unpacked.subgraphs[0].tensors:
        if tensor.buffer != 0:
            buffers.append(unpacked.buffers[tensor.buffer])
            tensor.buffer = len(buffers) - 1
    unpacked.buffers = buffers
