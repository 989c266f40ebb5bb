"""The network as rails: a row an operator, a lane for every tensor that is still needed. Words are in the template."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Literal, NamedTuple

from mai_harness.records import Evaluation, Finding, Graph, LatencyReport, Op, Tensor
from mai_harness.render.diagnosis import GRAVE, LayerRow, layer_rows
from mai_harness.tflite_graph import macs, precision

LANES = 8  #: drawn at most; the last stands for all further ones
ROWS = 600  #: drawn at most
DOT_Y = 20  #: of a row's node, in px below the row's upper edge
_CURVE = 20  # height of a branch, in px
_PITCH, _MARGIN = 14, 9  # of the lanes, in px
_CODES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_INDICES = ("int32", "int64", "uint32", "bool")  # of shapes, paddings and axes, and of biases
_BIASED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
_BIAS = 2  # where a bias is at the earliest
_ACTIVATIONS = {1: "ReLU", 2: "ReLU \N{MINUS SIGN}1 to 1", 3: "ReLU6", 4: "tanh", 5: "sign"}
_NAMED = 4  # operators that a row reads and constants that it holds, told by name


# Rails


class Line(NamedTuple):
    """A vertical line in px, down to ``bottom`` or to the row's lower edge."""

    x: int
    top: int
    bottom: int | None
    several: bool  #: whether it stands for more than one tensor


@dataclass(frozen=True)
class Rail:
    """One row of the drawing, by lanes from 0: where its node is, and what is at its borders."""

    node: int
    passing: frozenset[int]  #: lanes that go through, for later rows
    into: frozenset[int]  #: lanes at the upper border whose tensors the node reads
    out: frozenset[int]  #: lanes at the lower border that the node's tensors take
    several: bool = False  #: the last lane stands for more than one tensor

    @property
    def above(self) -> frozenset[int]:
        """Lanes at the upper border."""
        return self.passing | self.into

    @property
    def below(self) -> frozenset[int]:
        """Lanes at the lower border."""
        return self.passing | self.out

    @property
    def x(self) -> int:
        """Of the node, in px."""
        return _x(self.node)

    @property
    def lines(self) -> list[Line]:
        """All that is vertical."""
        ends: list[tuple[int, int, int | None]] = [(lane, 0, None) for lane in sorted(self.passing)]
        ends += [(lane, 0, DOT_Y) for lane in self.into & {self.node}]
        ends += [(lane, DOT_Y + _CURVE * (lane != self.node), None) for lane in sorted(self.out)]
        return [Line(_x(lane), top, end, self.several and lane == LANES - 1) for lane, top, end in ends]

    @property
    def curves(self) -> str:
        """SVG path in px of the edges that change lanes."""
        into = "".join(_curve(lane, 0, self.node, DOT_Y) for lane in sorted(self.into - {self.node}))
        return into + "".join(_curve(self.node, DOT_Y, lane, DOT_Y + _CURVE) for lane in sorted(self.out - {self.node}))


def _x(lane: int) -> int:
    return _MARGIN + _PITCH * lane


def _curve(lane: int, top: int, to: int, bottom: int) -> str:
    near, far = top + 0.65 * (bottom - top), top + 0.35 * (bottom - top)
    return f"M{_x(lane)} {top}C{_x(lane)} {near:g} {_x(to)} {far:g} {_x(to)} {bottom}"


class _Lanes:
    """Who is on which lane. A tensor gets the leftmost free one, or goes on in that of a tensor not needed further."""

    def __init__(self, last: dict[int, int]) -> None:
        self._last = last  # row that reads a tensor last
        self._lane: dict[int, int] = {}
        self._free: list[int] = []
        self._opened = 0

    def step(self, row: int, reads: Sequence[int], makes: Sequence[int]) -> Rail:
        """The next row. Tensors that no row made are not drawn."""
        read = [tensor for tensor in reads if tensor in self._lane]
        several, into = self._several(), _shown(self._lane[tensor] for tensor in read)
        ended = sorted(self._lane.pop(tensor) for tensor in read if self._last[tensor] <= row)
        passing = _shown(self._lane.values())
        for lane in ended[1:]:
            heappush(self._free, lane)
        node = ended[0] if ended else self._take()
        out = self._place([tensor for tensor in makes if self._last.get(tensor, -1) > row], node)
        return Rail(_capped(node), passing, into, out, several or self._several())

    def _place(self, tensors: Sequence[int], node: int) -> frozenset[int]:
        fresh = [tensor for tensor in dict.fromkeys(tensors) if tensor not in self._lane]
        if not fresh:
            heappush(self._free, node)
        for i, tensor in enumerate(fresh):
            self._lane[tensor] = self._take() if i else node
        return _shown(self._lane[tensor] for tensor in tensors)

    def _take(self) -> int:
        if self._free:
            return heappop(self._free)
        self._opened += 1
        return self._opened - 1

    def _several(self) -> bool:
        return sum(lane >= LANES - 1 for lane in self._lane.values()) > 1


def _capped(lane: int) -> int:
    return min(lane, LANES - 1)


def _shown(lanes: Iterable[int]) -> frozenset[int]:
    return frozenset(map(_capped, lanes))


# What stands beside them


class Held(NamedTuple):
    """A tensor as a row tells it."""

    name: str
    shape: str  #: such as '360 × 640 × 28', batch left out if it is one image; '?' where free
    dtype: str
    scales: int  #: 0 not quantised, 1 per tensor, more per channel
    covered: tuple[float, float] | None  #: least and greatest real value of its codes, if there is one finite scale


class Time(NamedTuple):
    """What a backend needs for an operator; of operators that it joined, the first has the time."""

    ms: float | None  #: ``None`` for the others
    share: float | None  #: of the sum over layers, in per cent
    bar: float  #: of the slowest layer, in per cent
    joined: tuple[str, ...]  #: the operators with which it is one, the first of them first
    rule: str  #: how it was estimated, if not by the backend


class Timing(NamedTuple):
    """A backend whose layers are told."""

    backend: str
    estimated: bool
    times: dict[str, Time]  #: by label


@dataclass(frozen=True, kw_only=True)
class Node:
    """One row: an input, an operator or an output of the graph."""

    kind: Literal["input", "operator", "output"]
    label: str  #: as reports name it: 'input', 'CONV_2D 3', 'output'
    rail: Rail
    reads: tuple[str, ...]  #: labels of what it reads
    unnamed: int  #: how many more it reads
    follows: bool  #: reads the row above and nothing else
    result: Held | None  #: its first output
    further: int = 0  #: outputs beside the first
    kernel: tuple[int, ...] = ()  #: height and width
    stride: tuple[int, ...] = ()  #: if not 1
    block: int | None = None
    activation: str = ""  #: fused
    parameters: int | None = None  #: ``None`` if it has none
    weights: Held | None = None
    constants: tuple[Held, ...] = ()
    macs: int | None = None
    analysed: LayerRow | None = None
    times: tuple[Time | None, ...] = ()  #: by ``Network.timings``
    findings: tuple[Finding, ...] = ()

    @property
    def is_grave(self) -> bool:
        """Whether an error or a warning names it."""
        return any(finding.severity in GRAVE for finding in self.findings)


@dataclass(frozen=True)
class Network:
    """All rows in order of execution."""

    nodes: tuple[Node, ...]
    operators: int  #: of the file, drawn or not
    lanes: int  #: drawn
    several: bool  #: whether the last lane stands for more than one tensor somewhere
    left_out: int  #: rows
    timings: tuple[Timing, ...]

    @property
    def width(self) -> int:
        """Of the drawing, in px."""
        return _x(self.lanes - 1) + _MARGIN


def network(evaluation: Evaluation) -> Network | None:
    """The graph of the examined file; ``None`` if none was examined, or it has no operators."""
    if evaluation.examine is None or not evaluation.examine.graph.ops:
        return None
    graph = evaluation.examine.graph
    context = _Context(evaluation, graph)
    nodes = tuple(islice(_nodes(context), ROWS))
    return Network(
        nodes=nodes, operators=len(graph.ops),
        lanes=1 + max((lane for n in nodes for lane in {n.rail.node, *n.rail.above, *n.rail.below}), default=0),
        several=any(node.rail.several for node in nodes),
        left_out=len(graph.inputs) + len(graph.ops) + len(graph.outputs) - len(nodes), timings=context.timings,
    )  # fmt: skip


class _Context:
    """What rows look up, by tensor or by label."""

    def __init__(self, evaluation: Evaluation, graph: Graph) -> None:
        self.graph = graph
        self.makers = dict.fromkeys(graph.inputs, "input") | {index: op.label for index, op in graph.makers.items()}
        self.counts_macs = all(-1 not in graph.tensors[index].shape_signature[1:] for index in graph.inputs)
        analysed = layer_rows(evaluation.examine, None) if evaluation.examine else []
        self.analysed = {row.of.tensor: row for row in analysed}
        self.findings: dict[str, list[Finding]] = {}
        for finding in evaluation.findings:
            self.findings.setdefault(finding.layer, []).append(finding)
        labels = {op.label for op in graph.ops}
        self.timings = tuple(_timing(report, labels) for report in _reports(evaluation, graph))

    def last_reads(self) -> dict[int, int]:
        """Tensor -> the last row that reads it."""
        graph, first = self.graph, len(self.graph.inputs)
        last = {index: first + row for row, op in enumerate(graph.ops) for index in op.inputs}
        return last | {index: first + len(graph.ops) + row for row, index in enumerate(graph.outputs)}


def _nodes(context: _Context) -> Iterator[Node]:
    graph, lanes = context.graph, _Lanes(context.last_reads())
    above = ""
    for row, index in enumerate(graph.inputs):
        above = "input"
        yield _end(context, "input", index, lanes.step(row, (), (index,)), above)
    for row, op in enumerate(graph.ops, len(graph.inputs)):
        yield _operator(context, op, lanes.step(row, graph.activations(op), op.outputs), above)
        above = op.label
    for row, index in enumerate(graph.outputs, len(graph.inputs) + len(graph.ops)):
        yield _end(context, "output", index, lanes.step(row, (index,), ()), above)
        above = "output"


def _end(context: _Context, kind: Literal["input", "output"], index: int, rail: Rail, above: str) -> Node:
    reads = (context.makers.get(index, ""),) if kind == "output" and index in context.makers else ()
    return Node(
        kind=kind, label=kind, rail=rail, reads=reads, unnamed=0, follows=reads == (above,),
        result=_held(context.graph.tensors[index]), findings=tuple(context.findings.get(kind, ())),
        analysed=context.analysed.get(index) if kind == "input" else None, times=(None,) * len(context.timings),
    )  # fmt: skip


def _operator(context: _Context, op: Op, rail: Rail, above: str) -> Node:
    graph, makers = context.graph, context.makers
    reads = [makers[index] for index in graph.activations(op) if index in makers]
    parameters = _parameters(graph, op)
    first = op.outputs[0] if op.outputs else -1
    return Node(
        kind="operator", label=op.label, rail=rail, reads=tuple(reads[:_NAMED]), unnamed=max(len(reads) - _NAMED, 0),
        follows=reads == [above], result=_held(graph.tensors[first]) if op.outputs else None,
        further=max(len(op.outputs) - 1, 0), kernel=_kernel(graph, op), stride=_stride(op),
        block=op.options.get("BlockSize"), activation=_activation(op),
        parameters=sum(each.elements for each in parameters) if parameters else None,
        weights=_held(parameters[0]) if parameters else None, constants=tuple(map(_held, parameters[:_NAMED])),
        macs=(macs(graph, op) or None) if context.counts_macs else None, analysed=context.analysed.get(first),
        times=tuple(timing.times.get(op.label) for timing in context.timings),
        findings=tuple(context.findings.get(op.label, ())),
    )  # fmt: skip


def _held(tensor: Tensor) -> Held:
    sides = tensor.shape_signature
    if len(sides) > 1 and sides[0] in (1, -1):
        sides = sides[1:]
    shape = " × ".join("?" if side < 0 else str(side) for side in sides)
    return Held(tensor.name, shape, tensor.dtype, len(tensor.scales), _covered(tensor))


def _covered(tensor: Tensor) -> tuple[float, float] | None:
    codes = _CODES.get(tensor.dtype)
    if codes is None or len(tensor.scales) != 1 or len(tensor.zero_points) > 1:
        return None
    zero_point = tensor.zero_points[0] if tensor.zero_points else 0
    low, high = (tensor.scales[0] * (code - zero_point) for code in codes)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _parameters(graph: Graph, op: Op) -> list[Tensor]:
    """Constants that are weights, biases or values, in order."""
    held = [(position, graph.operand(op, position)) for position in range(len(op.inputs))]
    return [
        tensor
        for position, tensor in held
        if tensor is not None and tensor.is_constant
        if tensor.dtype not in _INDICES or tensor.scales or (op.name in _BIASED and position >= _BIAS)
    ]


def _kernel(graph: Graph, op: Op) -> tuple[int, ...]:
    if "FilterHeight" in op.options:
        return op.options["FilterHeight"], op.options.get("FilterWidth", 1)
    weights = graph.operand(op, 1) if op.name in _BIASED else None
    return weights.shape[1:3] if weights is not None and len(weights.shape) == 4 else ()


def _activation(op: Op) -> str:
    return _ACTIVATIONS.get(op.options.get("FusedActivationFunction", 0), "")


def _stride(op: Op) -> tuple[int, ...]:
    stride = (op.options.get("StrideH", 1), op.options.get("StrideW", 1))
    return () if stride == (1, 1) else stride


# Latency


def _reports(evaluation: Evaluation, graph: Graph) -> list[LatencyReport]:
    """Of each backend the first with layers, of the graph's own precision: other files have other operators."""
    own = precision(graph)
    several = (
        next((report for report in each.reports if report.layers and report.precision == own), None)
        for each in evaluation.runtime
    )
    return [report for report in several if report]


def _timing(report: LatencyReport, labels: set[str]) -> Timing:
    total, slowest = sum(layer.ms for layer in report.layers), max(layer.ms for layer in report.layers)
    times: dict[str, Time] = {}
    for layer in report.layers:
        joined = (layer.name,) if layer.name in labels else tuple(layer.name.split(" + "))
        share, bar = _percent(layer.ms, total), _percent(layer.ms, slowest) or 0.0
        first = Time(layer.ms, share, bar, joined, layer.rule)
        rest = first._replace(ms=None, share=None, bar=0.0, rule="")
        if all(label in labels for label in joined):
            times |= dict.fromkeys(joined, rest) | {joined[0]: first}
    return Timing(report.backend, report.estimate_ms is not None, times)


def _percent(part: float, of: float) -> float | None:
    return 100 * part / of if 0 < of < math.inf and math.isfinite(part) else None
