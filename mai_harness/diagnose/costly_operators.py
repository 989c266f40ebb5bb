"""Operators that take long for what they do, where another form of the network does the same for less."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from mai_harness.diagnose._operators import Cost, costs, ms, named
from mai_harness.diagnose._tensors import File, file_of
from mai_harness.records import SCALE, Evaluation, Finding, Graph, Op, TensorFact

_HEAVY = 0.1  # of the layers' sum
_COPIES = 4  # of one tensor in a concatenation
_DIMENSIONS = 4  # that accelerators transpose
_PAPER = "ABPN's paper (arXiv 2105.09750)"
_ELEMENT_WISE = {
    "ABS", "ADD", "CLIP", "DIV", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC",
    "MAXIMUM", "MINIMUM", "MUL", "NEG", "POW", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SQRT",
    "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH",
}  # fmt: skip
_COPYING = {"QUANTIZE", "RELU", "RESHAPE"}  # of these a copy has the same values, in other codes or another shape


class _Kind(NamedTuple):
    id: str
    title: str
    pick: Callable[[File], list[str]]  # labels, a guilty one first
    explanation: str
    remedy: str


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """By what operators do, and what they take on every backend that tells of layers.

    ``resize-operator``, ``transpose-6d``, ``transposed-convolution``, ``prelu``, ``concatenation-copies`` and
    ``element-wise``; ``stays-off-npu`` for what else the NPU leaves to the CPU, if that takes long.
    """
    file = file_of(evaluation)
    if file is None:
        return
    told: set[str] = set()
    for kind in _KINDS:
        labels = [label for label in kind.pick(file) if label not in told]
        told.update(labels)
        if labels:
            yield _finding(evaluation, file, kind, labels)
    yield from _off_npu(evaluation, file, [label for label in file.operators if label not in told])


def _finding(evaluation: Evaluation, file: File, kind: _Kind, labels: Sequence[str]) -> Finding:
    found = costs(evaluation, labels)
    guilty = _dearest(found, labels)
    takes = " and ".join(map(str, found)) if found else "what each layer takes is not known"
    alone = found[0].spent.get(guilty, 0.0) if found and labels[1:] else 0.0
    most = f" {guilty} takes {ms(alone)}." if alone else ""
    return Finding(
        id=kind.id,
        severity="warning" if found and found[0].share >= _HEAVY else "info",
        title=kind.title,
        evidence=f"{_counted(labels)}: {takes}.{most}",
        explanation=kind.explanation,
        remedy=kind.remedy,
        layer=guilty,
        tensor=file.output_of(guilty),
        cost_ms=found[0].ms if found else None,
    )


def _dearest(found: Sequence[Cost], labels: Sequence[str]) -> str:
    """The operator that takes most, of those with the name of the first."""
    alike = [label for label in labels if label.rpartition(" ")[0] == labels[0].rpartition(" ")[0]]
    return max(alike, key=lambda label: found[0].spent.get(label, 0.0)) if found else labels[0]


def _counted(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{len(labels)} operators ({named(labels)})"


def _off_npu(evaluation: Evaluation, file: File, rest: Sequence[str]) -> Iterator[Finding]:
    """What no other kind explains and the NPU leaves to the CPU, on the first backend where it takes long."""
    for backend in evaluation.runtime:
        left = [layer.name.split(" + ")[0] for report in backend.reports for layer in report.layers if layer.rule]
        labels = [label for label in rest if label in left]
        cost = next(iter(costs(msgspec.structs.replace(evaluation, runtime=(backend,)), labels)), None)
        if cost is None or cost.share < _HEAVY:
            continue
        guilty = max(labels, key=lambda label: cost.spent.get(label, 0.0))
        reasons = [told.rstrip(".") for label in labels for told in backend.refusals if told.startswith(f"{label} ")]
        yield Finding(
            id="stays-off-npu",
            severity="warning",
            title="Operators stay off the NPU",
            evidence=". ".join([f"{_counted(labels)}: at least {cost}", *reasons[:2]]) + ".",
            explanation="The NPU's compiler does not take these operators and leaves them to the CPU. "
            "Values go there and back, and the NPU waits.",
            remedy="Replace them by operators that the compiler takes, such as convolutions, or give them the shape, "
            "type or option that it names as its reason.",
            layer=guilty,
            tensor=file.output_of(guilty),
            cost_ms=cost.ms,
        )
        return


# What each kind looks for.


def _by_name(*prefixes: str) -> Callable[[File], list[str]]:
    return lambda file: [label for label in file.operators if label.startswith(prefixes)]


def _resizes(file: File) -> list[str]:
    """And the additions of what they make, which go with them."""
    resizes = [label for label in file.operators if label.startswith("RESIZE_")]
    ops = file.graph.ops if file.graph else ()
    made = {index for op in ops if op.label in resizes for index in op.outputs}
    return resizes + [op.label for op in ops if op.name == "ADD" and made.intersection(op.inputs)]


def _transpositions(file: File) -> list[str]:
    """Of more than four dimensions, or between two reshapes; and these reshapes."""
    graph = file.graph
    if graph is None:
        makers = (tensor.made_by for tensor in file.activations if len(tensor.shape) > _DIMENSIONS)
        return [label for label in makers if label.startswith("TRANSPOSE ")]
    transposed, reshaped = [], []
    for op in graph.ops:
        data = graph.operand(op, 0)
        if op.name != "TRANSPOSE" or data is None:
            continue
        before = [each.label for each in graph.ops if each.name == "RESHAPE" and data.index in each.outputs]
        after = [each.label for each in graph.ops if each.name == "RESHAPE" and set(op.outputs) & set(each.inputs)]
        if len(data.shape) > _DIMENSIONS or (before and after):
            transposed.append(op.label)
            reshaped += before + after
    return list(dict.fromkeys(transposed + reshaped))


def _copying(file: File) -> list[str]:
    graph = file.graph
    if graph is None:
        return []
    return [
        op.label
        for op in graph.ops
        if (op.name == "CONCATENATION" and _copies(graph, op) >= _COPIES) or (op.name == "TILE" and _tiled(graph, op))
    ]


def _tiled(graph: Graph, op: Op) -> bool:
    times = graph.operand(op, 1)
    return times is None or times.values is None or math.prod(times.values) >= _COPIES


def _copies(graph: Graph, op: Op) -> int:
    """How often a concatenation reads the tensor that it reads most, or copies of it."""
    makers = graph.makers

    def origin(index: int) -> int:
        while index in makers and makers[index].name in _COPYING:
            index = makers[index].inputs[0]
        return index

    return max(Counter(map(origin, op.inputs)).values(), default=0)


def _on_hr(file: File) -> list[str]:
    """Element-wise operators whose output has at least as many pixels as the HR image."""
    if file.source is None:
        return []
    is_nchw = len(file.source.shape) == 4 and file.source.shape[1] == 3 and file.source.shape[3] != 3
    rows = 2 if is_nchw else 1

    def pixels(tensor: TensorFact) -> int:
        shape = tensor.shape
        return shape[rows] * shape[rows + 1] if len(shape) == 4 and min(shape[1:]) > 0 else 0

    least = SCALE**2 * pixels(file.source)
    large = [tensor.made_by for tensor in file.activations if pixels(tensor) >= least > 0]
    return [label for label in large if label.rpartition(" ")[0] in _ELEMENT_WISE]


_KINDS = (
    _Kind(
        "resize-operator",
        "The network resizes an image",
        _resizes,
        "The image is enlarged by interpolation and travels through memory at nine times its size. "
        f"{_PAPER} puts its anchor, copies of the input added before the pixel shuffle, at about a quarter of nearest "
        "interpolation.",
        "Repeat the input nine times along the channels, by a 1x1 convolution with weights of 0 and 1, add that to the "
        "output of the last convolution (27 channels), and end in one DEPTH_TO_SPACE of block size 3. This equals "
        "nearest interpolation; in place of another one, train again.",
    ),
    _Kind(
        "transpose-6d",
        "Pixels are shuffled by a transposition",
        _transpositions,
        "A general transposition moves every value of the frame, and few accelerators take one of more than four "
        "dimensions. A pixel shuffle needs none, for one DEPTH_TO_SPACE does the same.",
        "Use DEPTH_TO_SPACE (tf.nn.depth_to_space, block size 3). Coming from torch's pixel_shuffle, put the output "
        "channels of the convolution before it in depth-column-row order, which costs nothing.",
    ),
    _Kind(
        "transposed-convolution",
        "The network enlarges by a transposed convolution",
        _by_name("TRANSPOSE_CONV "),
        "It computes in the HR space, and NPUs that do not have this operator leave it to the CPU. "
        "A convolution in the LR space with depth-to-space makes the same pixels.",
        "Replace it by a convolution to 27 channels (3 colours x 3 x 3) and DEPTH_TO_SPACE of block size 3, as ABPN "
        "does. The weights can be rearranged: a kernel of 9x9 and stride 3 becomes one of 3x3.",
    ),
    _Kind(
        "prelu",
        "The activation is PReLU",
        _by_name("PRELU "),
        "PReLU is an operator of its own, which reads and writes all features once more. "
        "A ReLU is part of the convolution before it and takes no time.",
        "Put ReLU in its place, as ABPN does, and train again.",
    ),
    _Kind(
        "concatenation-copies",
        "A concatenation copies one tensor",
        _copying,
        "The concatenation writes the same values several times, each a copy through memory. "
        "A 1x1 convolution with weights of 0 and 1 gives the same.",
        "Make the copies by such a convolution, in INT8 with the scale of the concatenation; mai-harness convert does "
        "so with networks that it quantises itself.",
    ),
    _Kind(
        "element-wise",
        "Element-wise operators run over the HR image",
        _on_hr,
        "Each of these reads and writes every value of the HR image once more. "
        "What saturation or the convolution before can do takes no time.",
        "Leave a clip to the saturation of the INT8 output, whose range is [0, 255]; take a ReLU into its convolution; "
        "fold factors and offsets into its weights and bias; add a residual before DEPTH_TO_SPACE.",
    ),
)
