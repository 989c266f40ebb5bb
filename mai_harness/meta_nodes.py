"""Meta-nodes: operators alone, as INT8 TFLite files, and what ABPN's paper finds when it times them.

ABPN (arXiv 2105.09750, section 3.1) takes SR networks apart and times each kind of operator on the Synaptics Dolphin
NPU. No text of its table was at hand: the summary that was (notes of 2023-02-05 on AIWalker's post of 2022-03-30) has
it as a picture. So the rows here follow the summary's words: tensor operators, convolutions, activations and resizing,
of EDSR, CARN, IDN, IMDN and LatticeNet. Of its latencies only those that the running text repeats are known, of shapes
that are not told. What is not known is ``None``; nothing is read off or guessed. Sections after 3.1 are numbered by the
order of the summary's headings.

Channels, which the summary does not tell either, are those of the published ABPN: 3 of an image, 28 of features, 27
before depth-to-space. Groups, kernels and slopes are told where they were chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mai_harness.errors import ModelContractError, gist
from mai_harness.records import LR_FRAME, SCALE, Record
from mai_harness.tflite_graph import Graph, read_graph

Group = Literal["tensor", "convolution", "activation", "pooling", "resize", "rearrangement"]
Shape = tuple[int, int, int, int]  #: NHWC
Latencies = Mapping[str, float]  #: id of a meta-node -> ms; those that were not measured are missing

WIDTH = 28
IMAGE: Shape = (1, *LR_FRAME, 3)
FEATURES: Shape = (1, *LR_FRAME, WIDTH)
POOLED: Shape = (1, 1, 1, WIDTH)
SUBPIXELS: Shape = (1, *LR_FRAME, 3 * SCALE**2)
OUTPUT: Shape = (1, LR_FRAME[0] * SCALE, LR_FRAME[1] * SCALE, 3)
PIXELS = (0.0, 255.0)

GROUPED = 4  # as XLSR's root modules have
SLOPE = 0.05  # of Leaky ReLU, as implementations of LatticeNet have it
HARDLY = 1.5  # "hardly slower": a 3x3 convolution has 9 times the multiply-accumulates of a 1x1
QUARTER = 0.5  # "about a quarter": within a factor of two

_ABPN = "arXiv 2105.09750, section 3.2, by way of a published summary"
_NCNET = "NCNet, arXiv 2208.11609; README of github.com/Algolzw/NCNet"


class Figure(Record, frozen=True):
    """A latency that another paper gives for the node; on hardware that is told only in these words."""

    hardware: Literal["CPU", "GPU", "NPU"]
    ms: float
    source: str


class MetaNode(Record, frozen=True):
    """One operator, or two that only come together, as a network of its own."""

    id: str
    group: Group
    title: str
    what: str  #: what it does, and why this one
    inputs: tuple[Shape, ...]  #: at the challenge's frame, 360x640; in no order
    outputs: tuple[Shape, ...]
    ops: tuple[str, ...]  #: TFLite operators of the file, all of them
    values: tuple[float, float] = (-0.5, 1.0)  #: least and greatest input that the INT8 ranges are calibrated on
    paper_ms: float | None = None  #: ABPN's, on the Dolphin NPU
    paper: str = ""  #: what ABPN's paper says of its latency, and where
    elsewhere: tuple[Figure, ...] = ()


def _ncnet(cpu: float, gpu: float, npu: float) -> tuple[Figure, ...]:
    return (
        Figure(hardware="CPU", ms=cpu, source=_NCNET),
        Figure(hardware="GPU", ms=gpu, source=_NCNET),
        Figure(hardware="NPU", ms=npu, source=_NCNET),
    )


META_NODES: tuple[MetaNode, ...] = (
    MetaNode(
        id="concat", group="tensor", title="Concatenation", ops=("CONCATENATION",),
        what="two feature maps side by side, as CARN, IDN and IMDN bring features together",
        inputs=(FEATURES, FEATURES), outputs=((*FEATURES[:3], 2 * WIDTH),),
    ),
    MetaNode(
        id="concat-anchor", group="tensor", title="Concatenation, nine times the image", ops=("CONCATENATION",),
        what="the anchor of ABPN's residual: the LR image, nine times side by side",
        inputs=(IMAGE,), outputs=(SUBPIXELS,), values=PIXELS,
        paper=f"with an add, the anchor residual takes 15.6 ms, about a quarter of nearest interpolation ({_ABPN})",
    ),
    MetaNode(
        id="split", group="tensor", title="Split", ops=("SPLIT",),
        what="channels in two halves, as IDN and IMDN distil features; halves, since SPLIT makes equal parts",
        inputs=(FEATURES,), outputs=((*FEATURES[:3], WIDTH // 2),) * 2,
    ),
    MetaNode(
        id="add", group="tensor", title="Add", ops=("ADD",),
        what="sum of two feature maps, element by element: a residual in feature space",
        inputs=(FEATURES, FEATURES), outputs=(FEATURES,),
        paper_ms=5.2, paper=f"the residual in feature space, which is one add, takes 5.2 ms ({_ABPN})",
    ),
    MetaNode(
        id="add-pooled", group="tensor", title="Add, pooled", ops=("ADD",),
        what="sum of two vectors of one value a channel, inside channel attention",
        inputs=(POOLED, POOLED), outputs=(POOLED,),
    ),
    MetaNode(
        id="multiply", group="tensor", title="Multiply", ops=("MUL",),
        what="product of two feature maps, element by element",
        inputs=(FEATURES, FEATURES), outputs=(FEATURES,),
    ),
    MetaNode(
        id="multiply-channels", group="tensor", title="Multiply, by channel", ops=("MUL",),
        what="features times one value a channel: how channel attention is applied",
        inputs=(FEATURES, POOLED), outputs=(FEATURES,),
    ),
    MetaNode(
        id="conv1", group="convolution", title="Convolution 1x1", ops=("CONV_2D",),
        what="28 to 28 channels, with a bias", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="conv3", group="convolution", title="Convolution 3x3", ops=("CONV_2D",),
        what="28 to 28 channels, with a bias: a layer of ABPN without its ReLU",
        inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="conv3-relu", group="convolution", title="Convolution 3x3 with ReLU", ops=("CONV_2D",),
        what="a layer of ABPN: the ReLU is fused, and costs no operator", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="conv5", group="convolution", title="Convolution 5x5", ops=("CONV_2D",),
        what="28 to 28 channels, with a bias", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="conv3-grouped", group="convolution", title="Convolution 3x3, grouped", ops=("CONV_2D",),
        what="four groups of 7 channels, as many as XLSR has; TFLite's CONV_2D with a kernel that is 7 deep",
        inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="conv3-depthwise", group="convolution", title="Convolution 3x3, depthwise", ops=("DEPTHWISE_CONV_2D",),
        what="each of 28 channels by itself, with a bias", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="conv-transposed", group="convolution", title="Transposed convolution 9x9", ops=("TRANSPOSE_CONV",),
        what="28 channels to 3 at three times the size: FSRCNN's last layer, 9x9 with stride 3",
        inputs=(FEATURES,), outputs=(OUTPUT,),
    ),
    MetaNode(
        id="conv1-pooled", group="convolution", title="Convolution 1x1, pooled", ops=("CONV_2D",),
        what="28 to 28 channels of a single pixel, inside channel attention", inputs=(POOLED,), outputs=(POOLED,),
    ),
    MetaNode(
        id="relu", group="activation", title="ReLU", ops=("RELU",),
        what="alone; behind a convolution it is fused", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="leaky-relu", group="activation", title="Leaky ReLU", ops=("LEAKY_RELU",),
        what=f"slope {SLOPE}, as implementations of LatticeNet have it", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="prelu", group="activation", title="PReLU", ops=("PRELU",),
        what="a slope for each channel, as FSRCNN has it", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="sigmoid", group="activation", title="Sigmoid", ops=("LOGISTIC",),
        what="of features", inputs=(FEATURES,), outputs=(FEATURES,),
    ),
    MetaNode(
        id="clip", group="activation", title="Clip to [0, 255]", ops=("MINIMUM", "RELU"),
        what="of the HR image, as ABPN ends; TFLite has no operator for it, so these are two",
        inputs=(OUTPUT,), outputs=(OUTPUT,), values=(-64.0, 320.0),
    ),
    MetaNode(
        id="global-pool", group="pooling", title="Global average pooling", ops=("MEAN",),
        what="mean of each channel over the frame, at the head of channel attention",
        inputs=(FEATURES,), outputs=(POOLED,),
    ),
    MetaNode(
        id="resize-nearest", group="resize", title="Resize, nearest", ops=("RESIZE_NEAREST_NEIGHBOR",),
        what="the image to three times its size", inputs=(IMAGE,), outputs=(OUTPUT,), values=PIXELS,
        paper=f"the anchor residual's 15.6 ms are about a quarter of it ({_ABPN})",
        elsewhere=_ncnet(23.1, 19.0, 55.0),
    ),
    MetaNode(
        id="resize-bilinear", group="resize", title="Resize, bilinear", ops=("RESIZE_BILINEAR",),
        what="the image to three times its size, pixels by their centres", inputs=(IMAGE,), outputs=(OUTPUT,),
        values=PIXELS, elsewhere=_ncnet(77.7, 21.0, 128.2),
    ),
    MetaNode(
        id="depth-to-space", group="rearrangement", title="Depth to space", ops=("DEPTH_TO_SPACE",),
        what="27 channels to 3 at three times the size: a pixel shuffle",
        inputs=(SUBPIXELS,), outputs=(OUTPUT,), values=PIXELS,
    ),
    MetaNode(
        id="conv3-depth-to-space", group="rearrangement", title="Convolution 3x3, depth to space",
        ops=("CONV_2D", "DEPTH_TO_SPACE"), what="the image to 27 channels, and these to an image three times its size",
        inputs=(IMAGE,), outputs=(OUTPUT,), values=PIXELS, elsewhere=_ncnet(30.8, 26.5, 43.8),
    ),
    MetaNode(
        id="nearest-convolution", group="rearrangement", title="Nearest convolution, depth to space",
        ops=("CONV_2D", "DEPTH_TO_SPACE"),
        what="nearest interpolation without a resize: the anchor as a 1x1 convolution with weights of 0 and 1",
        inputs=(IMAGE,), outputs=(OUTPUT,), values=PIXELS, elsewhere=_ncnet(15.9, 20.3, 14.8),
    ),
)  # fmt: skip


# Building

Network = Callable[..., Any]  #: float tensors to one, or a list of them


def build(node: MetaNode, folder: Path, frame: tuple[int, int] = LR_FRAME) -> Path:
    """Write ``ID.tflite``: int8 in and out, weights per channel, the node's operators and nothing else.

    The bytes follow from node and frame alone: weights and calibration values are random with a fixed seed.

    Args:
        frame: height and width of the LR frame, in place of 360x640.

    Raises:
        ModelContractError: TensorFlow cannot convert the node, or makes other operators of it.
    """
    path = folder / f"{node.id}.tflite"
    path.write_bytes(_converted(node, [_at(shape, frame) for shape in node.inputs]))
    found = _strays(node, read_graph(path), frame)
    if found:
        path.unlink()
        raise ModelContractError(f"TensorFlow makes another graph of meta-node {node.id}: {found}")
    return path


def _at(shape: Shape, frame: tuple[int, int]) -> Shape:
    """The shape with another LR frame; what is one pixel high or wide stays so."""
    batch, height, width, channels = shape
    scale = max(height // LR_FRAME[0], 1)
    return shape if (height, width) == (1, 1) else (batch, scale * frame[0], scale * frame[1], channels)


def _converted(node: MetaNode, shapes: Sequence[Shape]) -> bytes:
    import tensorflow as tf

    specs = [tf.TensorSpec(shape, tf.float32, name=f"input_{index}") for index, shape in enumerate(shapes)]
    network = _NETWORKS[node.id](tf)
    function = tf.function(network, input_signature=specs, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([[_sample(shape, node.values) for shape in shapes]])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        model: bytes = converter.convert()
    except Exception as error:
        raise ModelContractError(f"TensorFlow cannot convert meta-node {node.id}: {gist(error)}") from None
    return model


def _sample(shape: Shape, values: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Noise that reaches both ends, so that inputs which are brought together have one scale and need no QUANTIZE."""
    sample = np.random.default_rng(0).uniform(*values, shape).astype(np.float32)
    sample.flat[:2] = values
    return sample


def _strays(node: MetaNode, graph: Graph, frame: tuple[int, int]) -> str:
    """What in the graph was not meant; empty if all was."""
    ops = tuple(op.name for op in graph.ops)
    if ops != node.ops or graph.subgraphs != 1:
        return f"{', '.join(ops)} in {graph.subgraphs} subgraph(s); expected {', '.join(node.ops)}"
    types = sorted({tensor.dtype for tensor in graph.tensors} - {"int8", "int32"})
    if types:
        return f"it has {', '.join(types)} tensors; expected int8, and int32 of biases and sizes"
    for indices, expected in ((graph.inputs, node.inputs), (graph.outputs, node.outputs)):
        found = sorted((graph.tensors[index].shape, graph.tensors[index].dtype) for index in indices)
        if found != sorted((_at(shape, frame), "int8") for shape in expected):
            return f"it goes from or to {found}; expected int8 of {expected} at {frame[0]}x{frame[1]}"
    return ""


def _weights(tf: Any, *shape: int) -> Any:
    return tf.constant(np.random.default_rng(1).normal(0, 0.1, shape).astype(np.float32))


def _convolution(tf: Any, kernel: int, source: int = WIDTH, result: int = WIDTH, groups: int = 1) -> Network:
    weights, bias = _weights(tf, kernel, kernel, source // groups, result), _weights(tf, result)
    return lambda x: tf.nn.bias_add(tf.nn.conv2d(x, weights, 1, "SAME"), bias)


def _depthwise(tf: Any) -> Network:
    weights, bias = _weights(tf, 3, 3, WIDTH, 1), _weights(tf, WIDTH)
    return lambda x: tf.nn.bias_add(tf.nn.depthwise_conv2d(x, weights, (1, 1, 1, 1), "SAME"), bias)


def _transposed(tf: Any) -> Network:
    weights, bias = _weights(tf, 9, 9, 3, WIDTH), _weights(tf, 3)

    def network(x: Any) -> Any:
        size = (1, x.shape[1] * SCALE, x.shape[2] * SCALE, 3)
        return tf.nn.bias_add(tf.nn.conv2d_transpose(x, weights, size, SCALE, "SAME"), bias)

    return network


def _prelu(tf: Any) -> Network:
    slopes = tf.constant(np.linspace(-0.5, -0.05, WIDTH, dtype=np.float32)[None, None])
    # The one form that the converter knows for PRELU, with the slopes negated beforehand.
    return lambda x: tf.nn.relu(x) + slopes * tf.nn.relu(-x)


def _resize(tf: Any, method: str) -> Network:
    return lambda x: tf.image.resize(x, (x.shape[1] * SCALE, x.shape[2] * SCALE), method)


def _shuffled(tf: Any, network: Network) -> Network:
    return lambda x: tf.nn.depth_to_space(network(x), SCALE)


def _anchor(tf: Any) -> Network:
    identity = tf.constant(np.tile(np.eye(3, dtype=np.float32), SCALE**2)[None, None])
    return lambda x: tf.nn.conv2d(x, identity, 1, "SAME")


def _with_relu(tf: Any, network: Network) -> Network:
    return lambda x: tf.nn.relu(network(x))


# Id -> what makes its network, given TensorFlow, which is not imported before it is needed.
_NETWORKS: dict[str, Callable[[Any], Network]] = {
    "concat": lambda tf: lambda x, y: tf.concat((x, y), 3),
    "concat-anchor": lambda tf: lambda x: tf.concat([x] * SCALE**2, 3),
    "split": lambda tf: lambda x: tf.split(x, 2, 3),
    "add": lambda _: lambda x, y: x + y,
    "add-pooled": lambda _: lambda x, y: x + y,
    "multiply": lambda _: lambda x, y: x * y,
    "multiply-channels": lambda _: lambda x, y: x * y,
    "conv1": lambda tf: _convolution(tf, 1),
    "conv3": lambda tf: _convolution(tf, 3),
    "conv3-relu": lambda tf: _with_relu(tf, _convolution(tf, 3)),
    "conv5": lambda tf: _convolution(tf, 5),
    "conv3-grouped": lambda tf: _convolution(tf, 3, groups=GROUPED),
    "conv3-depthwise": _depthwise,
    "conv-transposed": _transposed,
    "conv1-pooled": lambda tf: _convolution(tf, 1),
    "relu": lambda tf: tf.nn.relu,
    "leaky-relu": lambda tf: lambda x: tf.nn.leaky_relu(x, SLOPE),
    "prelu": _prelu,
    "sigmoid": lambda tf: tf.nn.sigmoid,
    "clip": lambda tf: lambda x: tf.clip_by_value(x, *PIXELS),
    "global-pool": lambda tf: lambda x: tf.reduce_mean(x, (1, 2), keepdims=True),
    "resize-nearest": lambda tf: _resize(tf, "nearest"),
    "resize-bilinear": lambda tf: _resize(tf, "bilinear"),
    "depth-to-space": lambda tf: lambda x: tf.nn.depth_to_space(x, SCALE),
    "conv3-depth-to-space": lambda tf: _shuffled(tf, _convolution(tf, 3, 3, 3 * SCALE**2)),
    "nearest-convolution": lambda tf: _shuffled(tf, _anchor(tf)),
}


# Findings


class PaperFinding(Record, frozen=True):
    """One statement of ABPN's paper beside what was measured."""

    id: str
    states: str  #: in a sentence of our own
    section: str  #: of arXiv 2105.09750
    test: str  #: when the measurement bears it out; the yardstick is ours
    ids: tuple[str, ...]  #: meta-nodes that it was taken from
    measured: str  #: the latencies, or what is missing
    ratio: float | None  #: as ``test`` has it; ``None`` if a latency is missing, or what it is over is 0
    holds: bool | None  #: ``None`` if what was measured does not decide


def add_beside_convolution(latencies: Latencies) -> PaperFinding:
    """An add moves three feature maps and computes next to nothing."""
    return _compared(
        latencies, {"add": 1}, "above", 1, {"conv3": 1},
        name="add", states="An element-wise add is slower than a highly optimised convolution.",
        test="an add takes longer than a 3x3 convolution",
    )  # fmt: skip


def concat_beside_convolution(latencies: Latencies) -> PaperFinding:
    """Concatenation computes nothing at all."""
    return _compared(
        latencies, {"concat": 1}, "above", 1, {"conv3": 1},
        name="concat", states="Concatenations, as of CARN, IDN and IMDN, are hard to deploy on a mobile NPU.",
        test="a concatenation takes longer than a 3x3 convolution",
    )  # fmt: skip


def split_beside_convolution(latencies: Latencies) -> PaperFinding:
    """A split computes nothing at all."""
    return _compared(
        latencies, {"split": 1}, "above", 1, {"conv3": 1},
        name="split", states="Splits, as of IDN and IMDN, are hard to deploy on a mobile NPU.",
        test="a split takes longer than a 3x3 convolution",
    )  # fmt: skip


def attention_beside_convolution(latencies: Latencies) -> PaperFinding:
    """A module of LatticeNet, in the paper's count: an add, a multiply, two poolings, four convolutions.

    Implementations of LatticeNet pool the features twice (mean and standard deviation, for which the mean stands here),
    put two 1x1 convolutions behind each, add the two vectors and multiply the features by them. So this is the least
    that the module can cost.
    """
    module = {"add-pooled": 1, "multiply-channels": 1, "global-pool": 2, "conv1-pooled": 4}
    return _compared(
        latencies, module, "above", 1, {"conv3": 1},
        name="channel-attention",
        states="Channel attention, in LatticeNet 16 modules of an add, a multiply, two poolings and four convolutions, "
        "is too heavy a burden.",
        test="a module, as the sum of its nodes, takes longer than a 3x3 convolution",
    )  # fmt: skip


def kernel_3_beside_1(latencies: Latencies) -> PaperFinding:
    """What parallel hardware makes of nine times the work."""
    return _compared(
        latencies, {"conv3": 1}, "below", HARDLY, {"conv1": 1},
        name="conv3", states="A 3x3 convolution is hardly slower than a 1x1, of which it is nine times the parameters.",
        test=f"a 3x3 convolution takes less than {HARDLY:g} times as long as a 1x1",
    )  # fmt: skip


def relu_beside_leaky(latencies: Latencies) -> PaperFinding:
    """The operators alone, as the paper's table has them."""
    return _compared(
        latencies, {"relu": 1}, "below", 1, {"leaky-relu": 1},
        name="relu", states="ReLU is faster than Leaky ReLU.",
        test="ReLU alone takes less time than Leaky ReLU alone",
    )  # fmt: skip


def fused_relu_beside_leaky(latencies: Latencies) -> PaperFinding:
    """The operators as networks have them: TFLite fuses a ReLU into the convolution before it, a Leaky ReLU never."""
    return _compared(
        latencies, {"conv3-relu": 1}, "below", 1, {"conv3": 1, "leaky-relu": 1},
        name="relu-fused", states="ReLU is faster than Leaky ReLU.",
        test="a 3x3 convolution with its ReLU takes less time than one and a Leaky ReLU behind it",
    )  # fmt: skip


def resize_beside_all(latencies: Latencies) -> PaperFinding:
    """The faster resize beside the slowest of all that the paper sets it against.

    One slower operator refutes it; to bear it out takes all of them.
    """
    resizes = ("resize-nearest", "resize-bilinear")
    others = tuple(node.id for node in META_NODES if node.group in ("tensor", "convolution", "activation"))
    known = [id_ for id_ in others if id_ in latencies]
    missing = [id_ for id_ in (*resizes, *others) if id_ not in latencies]
    text, ratio, holds = _missing(missing), None, None
    if known and all(id_ in latencies for id_ in resizes):
        faster, slowest = min(resizes, key=latencies.__getitem__), max(known, key=latencies.__getitem__)
        text = _told(latencies, dict.fromkeys((*resizes, slowest), 1)) + f", the slowest of {len(known)} others"
        text += f"; {_missing(missing)}" if missing else ""
        ratio = latencies[faster] / latencies[slowest] if latencies[slowest] else None
        slower = latencies[faster] > latencies[slowest]
        holds = slower if not (slower and missing) else None
    return PaperFinding(
        id="resize",
        states="Resizing is too slow, because of the mapping of coordinates: a single one is not real-time.",
        section="3.1",
        test="nearest and bilinear resize both take longer than every tensor operator, convolution and activation",
        ids=(*resizes, *others),
        measured=text,
        ratio=ratio,
        holds=holds,
    )


def anchor_beside_resize(latencies: Latencies) -> PaperFinding:
    """What ABPN has in place of a resize: 15.6 ms, of which an add is 5.2 ms, on the Dolphin NPU."""
    return _compared(
        latencies, {"concat-anchor": 1, "add": 1}, "below", QUARTER, {"resize-nearest": 1},
        name="anchor", section="3.2",
        states="The anchor residual, a concatenation and an add, takes about a quarter of nearest interpolation.",
        test=f"concatenation and add take less than {QUARTER:g} times as long as the resize",
    )  # fmt: skip


#: Each takes latencies in ms, all measured on one backend, and tells nothing but what follows from them.
FINDINGS: tuple[Callable[[Latencies], PaperFinding], ...] = (
    add_beside_convolution,
    concat_beside_convolution,
    split_beside_convolution,
    attention_beside_convolution,
    kernel_3_beside_1,
    relu_beside_leaky,
    fused_relu_beside_leaky,
    resize_beside_all,
    anchor_beside_resize,
)


def _compared(
    latencies: Latencies,
    cost: Mapping[str, int],
    side: Literal["above", "below"],
    limit: float,
    beside: Mapping[str, int],
    *,
    name: str,
    states: str,
    test: str,
    section: str = "3.1",
) -> PaperFinding:
    """Whether nodes, each so many times, take ``side`` of ``limit`` times as long as others."""
    missing = [id_ for id_ in (*cost, *beside) if id_ not in latencies]
    text, ratio, holds = _missing(missing), None, None
    if not missing:
        ours, theirs = (sum(latencies[id_] * count for id_, count in ids.items()) for ids in (cost, beside))
        text = f"{_told(latencies, cost)} beside {_told(latencies, beside)}"
        ratio = ours / theirs if theirs else None
        holds = ours > limit * theirs if side == "above" else ours < limit * theirs
    return PaperFinding(
        id=name,
        states=states,
        section=section,
        test=test,
        ids=(*cost, *beside),
        measured=text,
        ratio=ratio,
        holds=holds,
    )


def _told(latencies: Latencies, ids: Mapping[str, int]) -> str:
    return ", ".join(f"{f'{count} x ' if count > 1 else ''}{id_} {latencies[id_]:.3g} ms" for id_, count in ids.items())


def _missing(ids: Sequence[str]) -> str:
    return f"not measured: {', '.join(ids)}"
