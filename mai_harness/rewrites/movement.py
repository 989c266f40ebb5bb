"""Recognise data movement by what it does, not by how it is written.

A chain of reshapes, transposes, concatenations, ... of one tensor (N, C, H, W) is run on the numbers 0, 1, 2, ...
instead of values. The result says of every element where it comes from, which is the whole truth about the chain.
"""

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from mai_harness.rewrites.graph import Graph, Shape, attributes, is_standard

Order = tuple[int, ...]  #: the source channel of every channel
Indices = npt.NDArray[np.int32]

_MOVEMENT = {
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
_GATHER, _CONCAT, _DEPTH_TO_SPACE = "Gather", "Concat", "DepthToSpace (DCR)"
_CHANNEL_COPIES = {_GATHER, _CONCAT, "Slice", "Split"}  # each as good as a Gather
_LARGEST_PROBE = 2**28  # elements, 1 GiB


class Layout(NamedTuple):
    """Channels copied in some order, then depth-to-space (DCR) in blocks of ``block`` x ``block``, 1 for none."""

    block: int
    order: Order


def depth_to_space(graph: Graph) -> tuple[str, ...]:
    """Pixel shuffles of every kind become DepthToSpace (DCR), behind a Gather of channels where it needs one."""
    return _rewritten(graph, shuffles=True)


def channel_copies(graph: Graph) -> tuple[str, ...]:
    """Channels copied in roundabout ways become one Gather, one Concat, or nothing at all."""
    return _rewritten(graph, shuffles=False)


def is_movement(graph: Graph, node: NodeProto) -> bool:
    """Whether a node only moves, repeats or drops elements of the tensors it reads."""
    settings = [] if node.op_type == "Concat" else node.input[1:]
    return (
        is_standard(node)
        and node.op_type in _MOVEMENT
        and not graph.is_constant(node.input[0])
        and all(graph.is_constant(name) for name in settings if name)
    )


def gather(graph: Graph, name: str, order: Order) -> str:
    """The channels of a tensor (N, C, H, W) in another order, each any number of times."""
    batch, _, height, width = graph.shape(name) or ()
    indices = graph.store(np.array(order, np.int64), f"{name}_order")
    return graph.derive("Gather", [name, indices], (batch, len(order), height, width), axis=1)


def _rewritten(graph: Graph, *, shuffles: bool) -> tuple[str, ...]:
    lines: list[str] = []
    seen: set[str] = set()
    while (end := next((name for name in _ends(graph) if name not in seen), None)) is not None:
        seen.add(end)
        movement = _improvable(graph, end)
        if movement is not None and (movement.layout.block > 1) == shuffles:
            lines.append(_emit(graph, movement))
            graph.tidy()
    return tuple(lines)


# Chains of data movement


def _sources(graph: Graph) -> dict[str, str]:
    """For every tensor the one whose elements it holds, across data movement; itself if none."""
    sources: dict[str, str] = {}
    for node in graph.nodes:
        read = node.input if node.op_type == "Concat" else node.input[:1]
        origins = {sources.get(name, name) for name in read}
        moved = is_movement(graph, node) and len(origins) == 1
        sources |= {name: next(iter(origins)) if moved else name for name in node.output}
    return sources


def _ends(graph: Graph) -> Iterator[str]:
    """Tensors made by data movement that something else reads."""
    sources = _sources(graph)
    for name, source in sources.items():
        readers = (sources[node.output[0]] for node in graph.consumers(name))
        if source != name and (name in graph.outputs or any(reader != source for reader in readers)):
            yield name


def _chain(graph: Graph, source: str, target: str) -> list[NodeProto]:
    wanted = {target}
    chain = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.output):
            wanted.update(name for name in node.input if name != source)
            chain.append(node)
    return chain[::-1]


# What a chain does


class _Movement(NamedTuple):
    source: str
    shape: Shape  #: of the source, (N, C, H, W)
    target: str
    layout: Layout
    chain: list[NodeProto]

    @property
    def wanted(self) -> list[str]:
        """The operators that do it best."""
        channels, (block, order) = self.shape[1], self.layout
        repeats = len(order) // channels
        if order != tuple(range(channels)) * repeats:
            copies = [_GATHER]
        elif repeats > 1:
            copies = [_CONCAT]
        else:
            copies = []
        return copies + [_DEPTH_TO_SPACE] * (block > 1)


def _improvable(graph: Graph, end: str) -> _Movement | None:
    """The first and longest stretch of the chain up to ``end`` that can be written better."""
    source = _sources(graph)[end]
    inner = itertools.chain.from_iterable(node.output for node in _chain(graph, source, end)[:-1])
    movements = (_movement(graph, start, end) for start in (source, *inner))
    return next((found for found in movements if found and not _is_settled(graph, found)), None)


def _movement(graph: Graph, source: str, end: str) -> _Movement | None:
    """The longest stretch from ``source`` towards ``end`` that has a layout."""
    if [_label(node) for node in _chain(graph, source, end)] == [_DEPTH_TO_SPACE]:
        return None  # settled; the probe of a wide layer costs a second
    shape = graph.shape(source)
    if shape is None or len(shape) != 4 or not 0 < math.prod(shape) <= _LARGEST_PROBE:
        return None
    for target, indices in reversed(_probed(graph, source, shape, end).items()):
        layout = _layout(shape, indices)
        if layout is not None:
            return _Movement(source, shape, target, layout, _chain(graph, source, target))
    return None


def _probed(graph: Graph, source: str, shape: Shape, end: str) -> dict[str, Indices]:
    """For every tensor of the chain the indices of its elements in the flattened source."""
    values: dict[str, Indices] = {source: np.arange(math.prod(shape), dtype=np.int32).reshape(shape)}
    with contextlib.suppress(Exception):  # what ONNX's reference implementation cannot run ends the chain
        for node in _chain(graph, source, end):
            values |= graph.evaluate(node, values)
    del values[source]
    return values


def _layout(shape: Shape, indices: Indices) -> Layout | None:
    """The layout that explains every single index; ``None`` if there is none."""
    batch, channels, height, width = shape
    if indices.ndim != 4 or not indices.size:
        return None
    block = indices.shape[2] // height
    if block < 1 or indices.shape != (batch, indices.shape[1], block * height, block * width):
        return None
    corner, plane = indices[0, :, :block, :block], np.arange(height * width, dtype=np.int32)
    images = np.arange(batch, dtype=np.int32) * (channels * height * width)
    expected = (
        images.reshape(batch, 1, 1, 1, 1, 1)
        + corner.reshape(1, -1, 1, block, 1, block)
        + plane.reshape(1, 1, height, 1, width, 1)
    )
    order, offset = np.divmod(corner.transpose(1, 2, 0).ravel(), height * width)
    if offset.any() or order.max() >= channels or not np.array_equal(indices.reshape(expected.shape), expected):
        return None
    return Layout(block, tuple(order.tolist()))


# The same, written shortly


def _is_settled(graph: Graph, movement: _Movement) -> bool:
    """Whether the chain is as good as it gets."""
    *_, last = movement.chain
    written = [_label(node) for node in movement.chain]
    if last.op_type == "Identity" and not graph.is_forwardable(last.input[0], movement.target):
        written.pop()  # it gives the tensor another name that has to be
    if _GATHER in movement.wanted and written and written[0] in _CHANNEL_COPIES:
        written[0] = _GATHER
    return written == movement.wanted


def _emit(graph: Graph, movement: _Movement) -> str:
    """Replace the chain; returns what it was and what it is."""
    batch, channels, height, width = movement.shape
    block, order = movement.layout
    name, wanted = movement.source, movement.wanted
    if _GATHER in wanted:
        name = gather(graph, name, order)
    if _CONCAT in wanted:
        copies = [name] * (len(order) // channels)
        name = graph.derive("Concat", copies, (batch, len(order), height, width), axis=1)
    if _DEPTH_TO_SPACE in wanted:
        shape = (batch, len(order) // block**2, height * block, width * block)
        name = graph.derive("DepthToSpace", [name], shape, blocksize=block, mode="DCR")
    graph.forward(name, movement.target)
    return f"{_listed(map(_label, movement.chain))} to {_listed(wanted) or 'nothing'}"


def _label(node: NodeProto) -> str:
    if node.op_type != "DepthToSpace":
        return node.op_type
    mode: bytes = attributes(node).get("mode", b"DCR")
    return f"DepthToSpace ({mode.decode()})"


def _listed(operators: Iterable[str]) -> str:
    runs = [(operator, len(list(run))) for operator, run in itertools.groupby(operators)]
    return ", ".join(operator if count == 1 else f"{count} {operator}" for operator, count in runs)
