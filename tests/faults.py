"""Synthetic submissions: networks with trained weights, each with one planted fault, and healthy ones beside them.

Networks are written in TensorFlow, (1, H, W, 3) to (1, 3H, 3W, 3) RGB in [0, 255], and quantised as the harness does.
A fault is one row of FAULTS: the finding that must come first, its operator, and what makes the file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mai_harness.datasets import calibration_frames, find_dataset, load_pair
from mai_harness.records import LR_FRAME, SCALE
from mai_harness.resize import cubic
from mai_harness.tflite_graph.edit import PIXEL_RANGE, Range, edited, operator_names, with_dynamic_frame, with_ranges
from mai_harness.tflite_rewrites import rewrite

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
UNIT, SIGNED_UNIT = (0.0, 1.0), (-1.0, 1.0)
PHASES = SCALE**2
CHANNELS = 3 * PHASES  # of the tensor that depth-to-space makes an image of, in DCR order: row, column, colour

Frame = tuple[int, int]
Network = Callable[[Any, Any], Any]  #: TensorFlow and an image to an image
Array = np.ndarray


class Conv(NamedTuple):
    """A convolution's kernel (height, width, in, out) and bias (out,), in grey levels."""

    kernel: Array
    bias: Array

    def scaled(self, outputs: Any = 1.0, inputs: Any = 1.0) -> "Conv":
        """Input and output channels multiplied by so much; a number, or one for each channel."""
        scales = np.asarray(inputs, np.float32).reshape(-1, 1) * np.asarray(outputs, np.float32)
        return Conv((self.kernel * scales).astype(np.float32), (self.bias * outputs).astype(np.float32))

    def taking(self, order: Sequence[int]) -> "Conv":
        """Input channels in another order."""
        return Conv(self.kernel[:, :, order], self.bias)

    def giving(self, order: Sequence[int]) -> "Conv":
        """Output channels in another order."""
        return Conv(self.kernel[..., order], self.bias[order])


class Made(NamedTuple):
    """A submission, and the float network that it is said to be made of."""

    path: Path
    twin: Path | None = None


@dataclass(frozen=True)
class Fault:
    """What a planted fault is to be called, and where; ``make`` is called with an empty folder and the LR frame."""

    id: str  #: of the finding that must come first
    make: Callable[[Path, Frame], Made]
    layer: str = ""  #: the guilty operator, if one is


# Weights


@cache
def convolutions(name: str) -> tuple[Conv, ...]:
    """The body of a trained ABPN, the last convolution's channels in DCR order.

    Args:
        name: of a folder in ``submissions/``.
    """
    from safetensors.numpy import load_file

    return convolutions_of(load_file(SUBMISSIONS / name / "weights.safetensors"))


def convolutions_of(state: Mapping[str, Array]) -> tuple[Conv, ...]:
    """The same, of a state dict."""
    places = sorted({int(key.split(".")[1]) for key in state if key.startswith("body.")})
    convs = [
        Conv(state[f"body.{i}.weight"].transpose(2, 3, 1, 0), state[f"body.{i}.bias"] * np.float32(255)) for i in places
    ]
    return (*convs[:-1], convs[-1].giving(DCR))


DCR = np.arange(CHANNELS).reshape(3, PHASES).T.ravel()  # place in PixelShuffle's order of each channel in DCR order


@cache
def interpolation(scale: int = SCALE, shift: float = 0.0) -> Conv:
    """Keys' bicubic interpolation as a 5x5 convolution, its picture moved down and right by so many HR pixels."""
    taps = np.arange(-2, 3)
    rows = np.stack([cubic((phase - (scale - 1) / 2 - shift) / scale - taps.astype(float)) for phase in range(scale)])
    kernel = np.einsum("cd,pi,qj->ijdpqc", np.eye(3), rows, rows).reshape(5, 5, 3, 3 * scale**2)
    return Conv(kernel.astype(np.float32), np.zeros(3 * scale**2, np.float32))


def identity(inputs: int, order: Sequence[int]) -> Conv:
    """A 1x1 convolution that puts out input channels in that order, exact in INT8."""
    kernel = np.eye(inputs, dtype=np.float32)[:, order]
    return Conv(kernel[None, None], np.zeros(len(order), np.float32))


def moved(pixels: int) -> Conv:
    """A 3x3 convolution on the 27 channels that become pixels: the picture moved down and right, by up to 3 pixels."""
    kernel = np.zeros((3, 3, CHANNELS, CHANNELS), np.float32)
    for row in range(SCALE):
        for column in range(SCALE):
            from_row, from_column = row - pixels, column - pixels
            tap = kernel[from_row // SCALE + 1, from_column // SCALE + 1]
            for colour in range(3):
                source = (from_row % SCALE * SCALE + from_column % SCALE) * 3 + colour
                tap[source, (row * SCALE + column) * 3 + colour] = 1
    return Conv(kernel, np.zeros(CHANNELS, np.float32))


def random_convolution(seed: int, size: int, narrow: int, wide: int, gain: float = 1.0) -> Conv:
    """He's initialisation."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, gain * np.sqrt(2 / (size * size * narrow)), (size, size, narrow, wide))
    return Conv(kernel.astype(np.float32), np.zeros(wide, np.float32))


# Networks


def convolve(tf: Any, x: Any, conv: Conv, padding: str = "SAME") -> Any:
    """One convolution; ``padding`` is SAME, VALID, or a mode of ``tf.pad``."""
    height, width = conv.kernel.shape[:2]
    if padding not in ("SAME", "VALID"):
        x, padding = tf.pad(x, ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0)), padding), "VALID"
    return tf.nn.conv2d(x, conv.kernel, 1, padding) + conv.bias


def body(tf: Any, x: Any, convs: Sequence[Conv], activation: Any = None, padding: str = "SAME") -> Any:
    """Convolutions with an activation, by default ReLU, behind all but the last."""
    for conv in convs[:-1]:
        x = (activation or tf.nn.relu)(convolve(tf, x, conv, padding))
    return convolve(tf, x, convs[-1], padding)


def clipped(tf: Any, y: Any, limits: Range | None) -> Any:
    """A clip, unless there are no limits."""
    return y if limits is None else tf.clip_by_value(y, *limits)


def shuffled(tf: Any, y: Any) -> Any:
    """Depth to space."""
    return tf.nn.depth_to_space(y, SCALE)


def anchored(
    tf: Any,
    x: Any,
    *,
    convs: Sequence[Conv],
    limits: Range | None = PIXEL_RANGE,
    activation: Any = None,
    padding: str = "SAME",
    tail: Callable[[Any, Any], Any] = shuffled,
) -> Any:
    """ABPN: the input nine times over is added to the body, in the LR space."""
    residual = body(tf, x, convs, activation, padding)
    return tail(tf, clipped(tf, residual + tf.concat([x] * PHASES, -1), limits))


def plain(tf: Any, x: Any, *, convs: Sequence[Conv], limits: Range | None = PIXEL_RANGE) -> Any:
    """No residual."""
    return shuffled(tf, clipped(tf, body(tf, x, convs), limits))


def feature_residual(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """The first convolution's features are added to those of the last one of the body."""
    first = tf.nn.relu(convolve(tf, x, convs[0]))
    last = tf.nn.relu(body(tf, first, convs[1:-2])) + first
    return shuffled(tf, clipped(tf, body(tf, last, convs[-2:]), PIXEL_RANGE))


def resized(tf: Any, x: Any, *, convs: Sequence[Conv], method: str) -> Any:
    """The input, resized in the HR space, is added."""
    size = (x.shape[1] * SCALE, x.shape[2] * SCALE)
    return clipped(tf, shuffled(tf, body(tf, x, convs)) + tf.image.resize(x, size, method), PIXEL_RANGE)


def leaky(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """Leaky ReLU of slope 0.1."""
    return anchored(tf, x, convs=convs, activation=lambda y: tf.nn.leaky_relu(y, 0.1))


def bicubic(tf: Any, x: Any, *, scale: int = SCALE, shift: float = 0.0) -> Any:
    """Bicubic interpolation as one convolution, its border mirrored."""
    y = convolve(tf, x, interpolation(scale, shift), "SYMMETRIC")
    return tf.nn.depth_to_space(tf.clip_by_value(y, *PIXEL_RANGE), scale)


def mixing(tf: Any, x: Any) -> Any:
    """As XLSR, groups of channels and 1x1 convolutions between them, with random weights and a small residual."""
    y = tf.nn.relu(convolve(tf, x, random_convolution(0, 3, 3, 32)))
    for seed in (1, 2):
        parts = [
            convolve(tf, part, random_convolution(10 * seed + i, 3, 8, 8)) for i, part in enumerate(tf.split(y, 4, -1))
        ]
        y = tf.nn.relu(convolve(tf, tf.concat(parts, -1), random_convolution(seed, 1, 32, 32)))
    residual = convolve(tf, y, random_convolution(3, 3, 32, CHANNELS, 0.004))
    return shuffled(tf, clipped(tf, residual + tf.concat([x] * PHASES, -1), PIXEL_RANGE))


def in_units(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """The anchored network on [0, 1]."""
    return anchored(tf, x, convs=[Conv(kernel, bias / 255) for kernel, bias in convs], limits=UNIT)


def in_signed_units(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """The anchored network on [-1, 1]."""
    halves = [Conv(kernel, bias / 127.5) for kernel, bias in convs]
    first = Conv(halves[0].kernel, halves[0].bias + halves[0].kernel.sum((0, 1, 2)))
    residual = body(tf, x, [first, *halves[1:]])
    return shuffled(tf, clipped(tf, residual + tf.concat([x] * PHASES, -1), SIGNED_UNIT))


def through_tanh(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """The anchored network, brought to [-1, 1] by a hyperbolic tangent that two convolutions undo beforehand."""
    knots = np.array([0, 0.35, 0.6, 0.78, 0.88, 0.94, 0.975, 0.99])
    slopes = np.diff(np.diff(np.arctanh(knots)) / np.diff(knots), prepend=0)
    knots, units = knots[:-1], 2 * (len(knots) - 1)
    eye = np.eye(CHANNELS)
    # What goes in is in grey levels, 127.5 of which are 1.
    spread = np.concatenate([sign * eye / 127.5 for sign in (1, -1) for _ in knots], 1)
    starts = np.concatenate([np.full(CHANNELS, -sign - knot) for sign in (1, -1) for knot in knots])
    gather = np.concatenate([sign * slope * eye for sign in (1, -1) for slope in slopes], 0)
    assert spread.shape == (CHANNELS, CHANNELS * units)
    undo = Conv(spread[None, None].astype(np.float32), starts.astype(np.float32))
    redo = Conv(gather[None, None].astype(np.float32), np.zeros(CHANNELS, np.float32))
    y = body(tf, x, convs) + tf.concat([x] * PHASES, -1)
    return shuffled(tf, tf.tanh(body(tf, y, [undo, redo])))


# Files


@cache
def photographs() -> tuple[Array, ...]:
    """(360, 640, 3) float32 LR frames that calibrate; none of a scored photograph."""
    return tuple(frame.astype(np.float32) for _, frame in calibration_frames(find_dataset(None)))


def calibration(frame: Frame) -> list[Array]:
    """(1, H, W, 3) float32 from the middle of each, and from the first rows and columns if that is another part."""
    height, width = frame
    found = []
    for photograph in photographs():
        image = photograph if height <= LR_FRAME[0] else photograph.transpose(1, 0, 2)
        places = {(0, 0), ((image.shape[0] - height) // 2, (image.shape[1] - width) // 2)}
        found += [image[None, top : top + height, left : left + width] for top, left in sorted(places)]
    return found


def converter_of(network: Network, shape: Sequence[int]) -> Any:
    """Of the network, called with TensorFlow and its input."""
    import tensorflow as tf

    spec = tf.TensorSpec(shape, tf.float32, name="input")
    function = tf.function(lambda x: network(tf, x), input_signature=[spec], autograph=False).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())


def write(
    path: Path,
    network: Network,
    frame: Frame,
    *,
    shape: Sequence[int] | None = None,
    feed: Callable[[Array], Array] = lambda frame: frame,
    source: Range | None = PIXEL_RANGE,
    result: Range | None = PIXEL_RANGE,
    without: Sequence[str] = (),
    change: Callable[[bytes], bytes] = lambda model: model,
    types: tuple[str, str] = ("uint8", "uint8"),
    **quantiser: Any,
) -> Path:
    """Full-integer INT8 TFLite, as the harness makes it but for what is asked otherwise.

    Args:
        shape: of the input; (1, H, W, 3) by default.
        feed: applied to every calibration frame.
        source: range of the input; ``None`` leaves both ends to calibration.
        result: range of the output; ``None`` leaves it to calibration.
        without: exact rewrites to leave out.
        change: of the calibrated model.
        types: of input and output.
        quantiser: arguments of TensorFlow's quantiser.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.util import modify_model_io_type

    converter = converter_of(network, shape or (1, *frame, 3))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([feed(image)] for image in calibration(frame))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    converter._experimental_calibrate_only = True
    model = converter.convert()
    if source is not None:
        model = rewrite(with_ranges(model, source, result), without)[0]
    whole = mlir_quantize(change(model), **quantiser)
    path.write_bytes(modify_model_io_type(whole, *(getattr(tf, kind) for kind in types)))
    return path


def write_float(path: Path, network: Network, frame: Frame, **options: Any) -> Path:
    """TFLite by the converter alone, whose attributes are given; float by default."""
    converter = converter_of(network, (1, *frame, 3))
    targets = ("supported_ops", "supported_types")
    for name, value in options.items():
        setattr(converter.target_spec if name in targets else converter, name, value)
    path.write_bytes(converter.convert())
    return path


def write_onnx(path: Path, name: str, frame: Frame, change: Callable[[Any], None] = lambda network: None) -> Path:
    """A submission's torch network as ONNX, NCHW, of that frame; ``change`` may first change it in place."""
    import tomllib

    import torch
    from safetensors.torch import load_file

    from mai_harness import networks

    folder = SUBMISSIONS / name
    manifest = tomllib.loads((folder / "submission.toml").read_text())
    network = getattr(networks, manifest["factory"])(**manifest.get("arguments", {}))
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    change(network.eval())
    torch.onnx.export(
        network, (torch.zeros(1, 3, *frame),), str(path), dynamo=False, opset_version=17, input_names=["input"],
        output_names=["output"],
    )  # fmt: skip
    return path


def tensor_of(model: bytes, operator: str, place: int = 0) -> str:
    """Name of what the ``place``-th such operator of a TFLite file puts out."""
    found = []

    def look(unpacked: Any) -> None:
        graph, names = unpacked.subgraphs[0], operator_names(unpacked)
        found.extend(graph.tensors[op.outputs[0]].name for op in graph.operators if names[op.opcodeIndex] == operator)

    edited(model, look)
    return bytes(found[place]).decode()


# What faults are made of


def quantised(network: Network, **options: Any) -> Callable[[Path, Frame], Made]:
    """Made by :func:`write` with these options."""
    return lambda folder, frame: Made(write(folder / "model.tflite", network, frame, **options))


def with_twin(network: Network, twin: str, **options: Any) -> Callable[[Path, Frame], Made]:
    """The same, beside a submission's float network."""

    def make(folder: Path, frame: Frame) -> Made:
        path = write(folder / "model.tflite", network, frame, **options)
        return Made(path, write_onnx(folder / "float.onnx", twin, frame))

    return make


def converted(network: Network, **options: Any) -> Callable[[Path, Frame], Made]:
    """Made by :func:`write_float` with these options."""
    return lambda folder, frame: Made(write_float(folder / "model.tflite", network, frame, **options))


def abpn(name: str = "abpn", **options: Any) -> Network:
    """An anchored network with the weights of a submission, loaded when it is called."""
    return lambda tf, x: anchored(tf, x, **{"convs": convolutions(name), **options})


def by(network: Callable[..., Any], name: str, **options: Any) -> Network:
    """Another one, likewise."""
    return lambda tf, x: network(tf, x, convs=convolutions(name), **options)


def altered(alter: Callable[[tuple[Conv, ...]], Sequence[Conv]], name: str = "abpn", **options: Any) -> Network:
    """An anchored network whose weights are changed first."""
    return lambda tf, x: anchored(tf, x, convs=alter(convolutions(name)), **options)


def outlier(convs: Sequence[Conv], *, layer: int, channel: int, factor: float) -> list[Conv]:
    """One channel of features larger, and its weights in the next layer smaller: the same function."""
    scales = np.ones(convs[layer].bias.shape, np.float32)
    scales[channel] = factor
    return [
        *convs[:layer],
        convs[layer].scaled(outputs=scales),
        convs[layer + 1].scaled(inputs=1 / scales),
        *convs[layer + 2 :],
    ]


def spoiled(convs: Sequence[Conv], *, layer: int, value: float) -> list[Conv]:
    """One weight is replaced."""
    kernel = convs[layer].kernel.copy()
    kernel[0, 0, 0, 0] = value
    return [*convs[:layer], Conv(kernel, convs[layer].bias), *convs[layer + 1 :]]


def silenced(convs: Sequence[Conv], *, layer: int) -> list[Conv]:
    """No feature of that layer ever fires."""
    return [*convs[:layer], Conv(convs[layer].kernel, np.full_like(convs[layer].bias, -1e4)), *convs[layer + 1 :]]


def swapped_colours(tf: Any, x: Any, *, convs: Sequence[Conv], inputs: bool, outputs: bool) -> Any:
    """Blue comes first, in the input or in the output or in both; told by the weights alone."""
    first = convs[0].taking([2, 1, 0]) if inputs else convs[0]
    order = np.arange(CHANNELS).reshape(PHASES, 3)[:, ::-1].ravel()
    last = convs[-1].giving(order) if outputs else convs[-1]
    colours = [2, 1, 0] if inputs != outputs else [0, 1, 2]
    anchor = convolve(tf, x, identity(3, colours * PHASES))
    return shuffled(tf, clipped(tf, body(tf, x, [first, *convs[1:-1], last]) + anchor, PIXEL_RANGE))


def ordered_pixels(tf: Any, x: Any, *, convs: Sequence[Conv], order: Sequence[int]) -> Any:
    """The channels that become pixels in another order, of the residual as of the anchor."""
    anchor = convolve(tf, x, identity(3, [int(channel) % 3 for channel in order]))
    return shuffled(tf, clipped(tf, body(tf, x, [*convs[:-1], convs[-1].giving(order)]) + anchor, PIXEL_RANGE))


CRD = np.argsort(DCR)  # depth-to-space takes for DCR what was laid out for PixelShuffle
ROWS_AND_COLUMNS = np.arange(CHANNELS).reshape(SCALE, SCALE, 3).transpose(1, 0, 2).ravel()


def shift_tail(tf: Any, y: Any, *, pixels: int) -> Any:
    """The picture moved before it is one."""
    return shuffled(tf, convolve(tf, y, moved(pixels), "SYMMETRIC"))


def hr_shift_tail(tf: Any, y: Any, *, pixels: int) -> Any:
    """The picture moved up and left, its border repeated."""
    image = shuffled(tf, y)[:, pixels:, pixels:]
    return tf.pad(image, ((0, 0), (0, pixels), (0, pixels), (0, 0)), "SYMMETRIC")


def crd_network(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """ABPN in PixelShuffle's order of channels, which is then written out in six dimensions."""
    height, width = x.shape[1:3]
    anchor = convolve(tf, x, identity(3, [channel // PHASES for channel in range(CHANNELS)]))
    y = clipped(tf, body(tf, x, [*convs[:-1], convs[-1].giving(CRD)]) + anchor, PIXEL_RANGE)
    y = tf.transpose(tf.reshape(y, (1, height, width, 3, SCALE, SCALE)), (0, 1, 4, 2, 5, 3))
    return tf.reshape(y, (1, height * SCALE, width * SCALE, 3))


def transposed_tail(tf: Any, y: Any) -> Any:
    """Depth to space as a transposed convolution with weights of 0 and 1."""
    kernel = np.eye(CHANNELS, dtype=np.float32).reshape(SCALE, SCALE, 3, CHANNELS)
    shape = (1, y.shape[1] * SCALE, y.shape[2] * SCALE, 3)
    return tf.nn.conv2d_transpose(y, kernel, shape, SCALE, "VALID")


def added_in_hr(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """Body and anchor are added as images."""
    anchor = shuffled(tf, convolve(tf, x, identity(3, [0, 1, 2] * PHASES)))
    return clipped(tf, shuffled(tf, body(tf, x, convs)) + anchor, PIXEL_RANGE)


def with_sine(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """A sine, which TFLite has in float alone, too small beside the features to matter."""
    first = tf.nn.relu(convolve(tf, x, convs[0]))
    residual = body(tf, first + tf.sin(first), convs[1:])
    return shuffled(tf, clipped(tf, residual + tf.concat([x] * PHASES, -1), PIXEL_RANGE))


def with_tensorflow_resize(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """The input, resized by an operator that only TensorFlow has, is added."""
    size = (x.shape[1] * SCALE, x.shape[2] * SCALE)
    base = tf.raw_ops.ResizeBicubic(images=x, size=size, half_pixel_centers=True)
    return clipped(tf, shuffled(tf, body(tf, x, convs)) + base, PIXEL_RANGE)


def without_padding(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """No convolution is padded; the picture is, with black."""
    lost = sum(conv.kernel.shape[0] // 2 for conv in convs)
    y = body(tf, x, convs, padding="VALID") + tf.concat([x[:, lost:-lost, lost:-lost]] * PHASES, -1)
    return shuffled(tf, tf.pad(clipped(tf, y, PIXEL_RANGE), ((0, 0), (lost,) * 2, (lost,) * 2, (0, 0))))


def black_border_tail(tf: Any, y: Any) -> Any:
    """The outermost rows and columns of LR are black."""
    return shuffled(tf, tf.pad(y[:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1), (0, 0))))


def in_tiles(tf: Any, x: Any, *, convs: Sequence[Conv], rows: int, columns: int) -> Any:
    """Tiles, each with a padded border of its own, go through the network and are put together again."""
    height, width = x.shape[1] // rows, x.shape[2] // columns
    tiles = tf.transpose(tf.reshape(x, (rows, height, columns, width, 3)), (0, 2, 1, 3, 4))
    tiles = tf.reshape(tiles, (rows * columns, height, width, 3))
    y = clipped(tf, body(tf, tiles, convs) + tf.concat([tiles] * PHASES, -1), PIXEL_RANGE)
    y = tf.transpose(tf.reshape(y, (rows, columns, height, width, CHANNELS)), (0, 2, 1, 3, 4))
    return shuffled(tf, tf.reshape(y, (1, rows * height, columns * width, CHANNELS)))


def nchw(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """(1, 3, H, W) to (1, 3, 3H, 3W)."""
    return tf.transpose(anchored(tf, tf.transpose(x, (0, 2, 3, 1)), convs=convs), (0, 3, 1, 2))


def all_black(tf: Any, x: Any, *, convs: Sequence[Conv]) -> Any:
    """What is clipped lies far below 0."""
    return plain(tf, x, convs=[*convs[:-1], Conv(convs[-1].kernel, convs[-1].bias - 1e4)])


def dark(image: Array) -> Array:
    """An eighth of the light."""
    return np.rint(image / 8)


def grey(image: Array) -> Array:
    """One flat grey."""
    return np.full_like(image, 128)


def int16(folder: Path, frame: Frame) -> Made:
    """INT8 weights and INT16 activations; depth-to-space is a transposed convolution, for it has no INT16 kernel."""
    import tensorflow as tf

    return Made(
        write_float(
            folder / "model.tflite", abpn(tail=transposed_tail), frame,
            optimizations=[tf.lite.Optimize.DEFAULT],
            representative_dataset=lambda: ([image] for image in calibration(frame)),
            supported_ops=[tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8],
            inference_input_type=tf.int16, inference_output_type=tf.int16,
        )
    )  # fmt: skip


def float16(folder: Path, frame: Frame) -> Made:
    """Weights in half precision."""
    import tensorflow as tf

    options = {"optimizations": [tf.lite.Optimize.DEFAULT], "supported_types": [tf.float16]}
    return Made(write_float(folder / "model.tflite", abpn(), frame, **options))


def dynamic_range(folder: Path, frame: Frame) -> Made:
    """Weights in INT8, activations in float."""
    import tensorflow as tf

    return Made(write_float(folder / "model.tflite", abpn(), frame, optimizations=[tf.lite.Optimize.DEFAULT]))


def flex(folder: Path, frame: Frame) -> Made:
    """An operator of TensorFlow's."""
    import tensorflow as tf

    sets = tf.lite.OpsSet
    return Made(
        write_float(
            folder / "model.tflite", by(with_tensorflow_resize, "residual/bilinear"), frame,
            supported_ops=[sets.TFLITE_BUILTINS_INT8, sets.TFLITE_BUILTINS, sets.SELECT_TF_OPS],
            optimizations=[tf.lite.Optimize.DEFAULT],
            representative_dataset=lambda: ([image] for image in calibration(frame)),
            inference_input_type=tf.uint8, inference_output_type=tf.uint8,
        )
    )  # fmt: skip


def custom(folder: Path, frame: Frame) -> Made:
    """Depth-to-space under a name that nobody knows."""
    from ai_edge_litert import schema_py_generated as schema

    def rename(unpacked: Any) -> None:
        place = operator_names(unpacked).index("DEPTH_TO_SPACE")
        code = unpacked.operatorCodes[place]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"PixelShuffle"
        for op in unpacked.subgraphs[0].operators:
            if op.opcodeIndex == place:
                op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.NONE, None

    path = write(folder / "model.tflite", abpn(), frame)
    path.write_bytes(edited(path.read_bytes(), rename))
    return Made(path)


def float_island(folder: Path, frame: Frame, *, layer: int) -> Made:
    """One convolution is left in float."""
    path = folder / "model.tflite"
    whole = write(path, abpn(), frame).read_bytes()
    return Made(write(path, abpn(), frame, denylisted_nodes=[tensor_of(whole, "CONV_2D", layer)]))


def other_dynamic(folder: Path, frame: Frame) -> Made:
    """A package whose dynamic model has other weights."""
    write(folder / "model.tflite", abpn(), frame)
    other = write(folder / "other.tflite", abpn("residual/anchor"), frame)
    (folder / "model_none.tflite").write_bytes(with_dynamic_frame(other.read_bytes()))
    other.unlink()
    return Made(folder)


def not_finite_onnx(folder: Path, _frame: Frame) -> Made:
    """A float network with one weight that is no number; of the challenge's frame."""

    def spoil(network: Any) -> None:
        network.body[4].weight.data[0, 0, 0, 0] = float("nan")

    return Made(write_onnx(folder / "model.onnx", "abpn", LR_FRAME, spoil))


def portrait(folder: Path, _frame: Frame) -> Made:
    """Width before height, of the challenge's frame."""
    return Made(write(folder / "model.tflite", abpn(), LR_FRAME[::-1]))


@cache
def memorised() -> tuple[Conv, ...]:
    """ABPN after half a minute more of training, on the scored photographs alone."""
    import torch
    from safetensors.torch import load_file

    from mai_harness.networks import ABPN

    torch.manual_seed(0)
    network = ABPN()
    network.load_state_dict(load_file(SUBMISSIONS / "abpn" / "weights.safetensors"))
    pairs = [
        [torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) for image in load_pair(pair)]
        for pair in find_dataset(None).pairs
        if pair.name != "retina"  # larger than all others together
    ]
    rng, steps, side = np.random.default_rng(0), 1500, 48
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train().to(memory_format=torch.channels_last)  # which halves the time, as bfloat16 does
    for _ in range(steps):
        patches = []
        for lr, hr in (pairs[rng.integers(len(pairs))] for _ in range(8)):
            top, left = (int(rng.integers(extent - side + 1)) for extent in lr.shape[1:])
            bounds = slice(top, top + side), slice(left, left + side)
            hr_bounds = (slice(each.start * SCALE, each.stop * SCALE) for each in bounds)
            patches.append((lr[:, *bounds], hr[:, *hr_bounds]))
        lr, hr = map(torch.stack, zip(*patches, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            given = network(lr.contiguous(memory_format=torch.channels_last))
        loss = torch.nn.functional.mse_loss(given.float(), hr)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 100.0)
        optimiser.step()
        schedule.step()
    return convolutions_of({key: value.detach().numpy() for key, value in network.state_dict().items()})


# The tables

_KEPT = {"without": ("saturating-tail",)}  # the clip stays an operator, which the output's range may not fit
_SHIFT = partial(shift_tail, pixels=1)

FAULTS: Mapping[str, Fault] = {
    # Ranges and calibration
    "missing-clip": Fault("missing-clip", quantised(abpn(limits=None), result=None)),
    "missing-clip/at-300": Fault("missing-clip", quantised(abpn(limits=(0, 300)), result=None, **_KEPT)),
    "missing-clip/twin": Fault(
        "missing-clip",
        with_twin(abpn("residual/anchor_noclip", limits=None), "residual/anchor_noclip", result=None),
    ),
    "output-range-wide": Fault("output-range-wide", quantised(abpn(), result=(-100, 400), **_KEPT)),
    "output-range-wide/twice": Fault("output-range-wide", quantised(abpn(), result=(0, 510), **_KEPT)),
    "output-range-tight": Fault("output-range-tight", quantised(abpn(), result=(0, 200), **_KEPT)),
    "output-range-tight/video": Fault("output-range-tight", quantised(abpn(), result=(16, 235), **_KEPT)),
    "output-range-tight/twin": Fault("output-range-tight", with_twin(abpn(), "abpn", result=(0, 210), **_KEPT)),
    "calibration-mismatch/dark": Fault("calibration-mismatch", quantised(abpn(), feed=dark)),
    "calibration-mismatch/grey": Fault("calibration-mismatch", quantised(abpn(), feed=grey)),
    "calibration-mismatch/twin": Fault(
        "calibration-mismatch", with_twin(abpn("residual/anchor"), "residual/anchor", feed=dark)
    ),
    "calibration-unit": Fault("calibration-unit", quantised(abpn(), feed=lambda image: image / 255)),
    "calibration-unit/all": Fault("calibration-unit", quantised(abpn(), feed=lambda image: image / 255, source=None)),
    # Quantisation
    "high-dynamic-range": Fault("high-dynamic-range", quantised(by(plain, "residual/none"))),
    "feature-residual": Fault("feature-residual", quantised(by(feature_residual, "residual/feature")), "ADD"),
    "per-tensor-weights": Fault(
        "per-tensor-weights",
        # A feature that never fires, so that large weights harm nothing but a scale that others share with them.
        quantised(altered(partial(outlier, layer=3, channel=16, factor=100)), disable_per_channel=True),
        "CONV_2D",
    ),
    "outlier-channel": Fault(
        "outlier-channel", quantised(altered(partial(outlier, layer=4, channel=27, factor=40))), "CONV_2D"
    ),
    # What the pixels mean
    "colour-order/in": Fault("colour-order", quantised(by(swapped_colours, "abpn", inputs=True, outputs=False))),
    "colour-order/out": Fault("colour-order", quantised(by(swapped_colours, "abpn", inputs=False, outputs=True))),
    "colour-order/both": Fault("colour-order", quantised(by(swapped_colours, "abpn", inputs=True, outputs=True))),
    "value-range": Fault("value-range", quantised(by(in_units, "abpn"), result=UNIT)),
    "value-range/signed": Fault("value-range", quantised(by(in_signed_units, "abpn"), result=SIGNED_UNIT)),
    "tanh-output": Fault("tanh-output", quantised(by(through_tanh, "abpn"), result=None), "TANH"),
    "nchw": Fault(
        "nchw",
        lambda folder, frame: quantised(
            by(nchw, "abpn"), shape=(1, 3, *frame), feed=lambda image: image.transpose(0, 3, 1, 2)
        )(folder, frame),
    ),
    "swapped-frame": Fault("swapped-frame", portrait),
    "wrong-scale/2": Fault("wrong-scale", quantised(partial(bicubic, scale=2))),
    "wrong-scale/4": Fault("wrong-scale", quantised(partial(bicubic, scale=4))),
    "shift/1": Fault("shift", quantised(abpn(tail=_SHIFT))),
    "shift/half": Fault("shift", quantised(partial(bicubic, shift=0.5))),
    "shift/3": Fault("shift", quantised(abpn(tail=partial(shift_tail, pixels=3)))),
    "pixel-order/crd": Fault("pixel-order", quantised(by(ordered_pixels, "abpn", order=CRD))),
    "pixel-order/transposed": Fault("pixel-order", quantised(by(ordered_pixels, "abpn", order=ROWS_AND_COLUMNS))),
    "batch": Fault(
        "batch",
        lambda folder, frame: quantised(abpn(), shape=(4, *frame, 3), feed=lambda image: np.repeat(image, 4, 0))(
            folder, frame
        ),
    ),
    # Precision
    "float-model": Fault("float-model", converted(abpn())),
    "float16-weights": Fault("float16-weights", float16),
    "dynamic-range": Fault("dynamic-range", dynamic_range),
    "float-islands": Fault("float-islands", partial(float_island, layer=3), "CONV_2D"),
    "float-islands/sine": Fault("float-islands", quantised(by(with_sine, "abpn")), "SIN"),
    "int16-activations": Fault("int16-activations", int16),
    "signed-input": Fault("signed-input", quantised(abpn(), types=("int8", "uint8"))),
    "signed-output": Fault("signed-output", quantised(abpn(), types=("uint8", "int8"))),
    # Operators
    "select-tf": Fault("select-tf", flex, "FlexResizeBicubic"),
    "custom-operators": Fault("custom-operators", custom, "PixelShuffle"),
    "resize-operator/nearest": Fault(
        "resize-operator", quantised(by(resized, "residual/nearest", method="nearest")), "RESIZE_NEAREST_NEIGHBOR"
    ),
    "resize-operator/bilinear": Fault(
        "resize-operator", quantised(by(resized, "residual/bilinear", method="bilinear")), "RESIZE_BILINEAR"
    ),
    "transpose-6d": Fault("transpose-6d", quantised(by(crd_network, "abpn")), "TRANSPOSE"),
    "transposed-convolution": Fault("transposed-convolution", quantised(abpn(tail=transposed_tail)), "TRANSPOSE_CONV"),
    "concatenation-copies": Fault(
        "concatenation-copies", quantised(abpn(), without=("anchor-convolution",)), "CONCATENATION"
    ),
    "element-wise": Fault("element-wise", quantised(by(added_in_hr, "abpn")), "ADD"),
    # Pictures
    "border/unpadded": Fault("border", quantised(by(without_padding, "abpn"))),
    "border/black": Fault("border", quantised(abpn(tail=black_border_tail))),
    "seams": Fault("seams", quantised(by(in_tiles, "abpn", rows=4, columns=4))),
    "constant-output": Fault(
        "constant-output", quantised(lambda tf, x: plain(tf, x, convs=silenced(convolutions("residual/none"), layer=3)))
    ),
    "constant-output/black": Fault("constant-output", quantised(by(all_black, "residual/none"))),
    "output-clipped": Fault("output-clipped", quantised(abpn(limits=(0, 200)), **_KEPT)),
    "overfitted": Fault("overfitted", quantised(lambda tf, x: anchored(tf, x, convs=memorised()))),
    # Files
    "not-finite": Fault("not-finite", not_finite_onnx),
    "not-finite/tflite": Fault(
        "not-finite", converted(altered(partial(spoiled, layer=2, value=float("nan")))), "CONV_2D"
    ),
    "static-dynamic": Fault("static-dynamic", other_dynamic),
    "other-network": Fault("other-network", with_twin(abpn("residual/anchor"), "residual/convs_4")),
}

HEALTHY: Mapping[str, Callable[[Path, Frame], Made]] = {
    "abpn": quantised(abpn()),
    "abpn/twin": with_twin(abpn(), "abpn"),
    "abpn/operators": quantised(abpn(), without=("saturating-tail", "anchor-convolution")),
    "abpn/mirrored": quantised(abpn(padding="REFLECT")),
    "abpn/unit": quantised(by(in_units, "abpn"), source=UNIT, result=UNIT, feed=lambda image: image / 255),
    "anchor": quantised(abpn("residual/anchor")),
    "nearest": quantised(by(resized, "residual/nearest", method="nearest")),
    "bilinear": quantised(by(resized, "residual/bilinear", method="bilinear")),
    "leaky_relu": quantised(by(leaky, "residual/leaky_relu")),
    "convs_3": quantised(abpn("residual/convs_3")),
    "kernel_1x1": quantised(abpn("residual/kernel_1x1")),
    "bicubic": quantised(bicubic),
    "mixing": quantised(mixing),
}
