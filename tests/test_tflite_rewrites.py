"""Rewrites before quantisation: equal as float, and as INT8 no worse, for every way in which clips and anchors come."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mai_harness.errors import ModelContractError
from mai_harness.metrics import psnr
from mai_harness.tflite_graph import Graph, read_graph, with_ranges
from mai_harness.tflite_graph.edit import edited, set_range
from mai_harness.tflite_rewrites import PASSES, PIXEL_RANGE, rewrite

pytestmark = pytest.mark.filterwarnings("ignore")

TAIL, ANCHOR = (row.id for row in PASSES)
FRAME = (24, 32)
Network = Callable[[Any, Any], Any]  #: TensorFlow and (1, H, W, 3) to (1, 3H, 3W, 3)


def photographs() -> list[np.ndarray]:
    """(1, 24, 32, 3) float32 crops, dark, bright and of every colour between."""
    import skimage

    return [
        np.ascontiguousarray(getattr(skimage.data, name)()[None, 60:300:10, 40:360:10]).astype(np.float32)
        for name in ("astronaut", "coffee", "rocket", "chelsea")
    ]


def calibrated(network: Network) -> bytes:
    """What the passes are given: the converter's float model, with the harness's ranges at both ends."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec((1, *FRAME, 3), tf.float32, name="input")
    traced = tf.function(lambda x: network(tf, x), input_signature=[spec], autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [convert_variables_to_constants_v2(traced)], tf.Module()
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([frame] for frame in photographs())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    return with_ranges(converter.convert(), PIXEL_RANGE, PIXEL_RANGE)


def int8(model: bytes) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.util import modify_model_io_type

    return modify_model_io_type(mlir_quantize(model), tf.uint8, tf.uint8)


def outputs(model: bytes) -> np.ndarray:
    """Of every photograph, and of noise that overshoots on both sides."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for frame in (*photographs(), np.random.default_rng(0).integers(0, 2, (1, *FRAME, 3)) * 255.0):
        interpreter.set_tensor(source["index"], frame.astype(source["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"]))
    return np.concatenate(found)


def graph_of(model: bytes, folder: Path) -> Graph:
    (folder / "model.tflite").write_bytes(model)
    return read_graph(folder / "model.tflite")


def operators(model: bytes, folder: Path) -> Counter[str]:
    return Counter(op.name for op in graph_of(model, folder).ops)


def weights(*shape: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, 0.02, shape).astype(np.float32)


def convolution(tf: Any, x: Any, filters: int = 27, mean: float = 0.0) -> Any:
    return tf.nn.conv2d(x, weights(3, 3, x.shape[-1], filters, mean=mean), 1, "SAME")


def residual(tf: Any, x: Any) -> Any:
    """A convolution on nine copies of the image: (1, H, W, 27), some of it outside [0, 255]."""
    return convolution(tf, x) + tf.concat([x] * 9, -1)


def shuffled(tf: Any, x: Any) -> Any:
    return tf.nn.depth_to_space(residual(tf, x), 3)


def deconvolution(tf: Any, x: Any) -> Any:
    """A transposed convolution and a crop, as onnx2tf writes FSRCNN's last layer."""
    shape = (1, FRAME[0] * 3 + 6, FRAME[1] * 3 + 6, 3)
    y = tf.nn.conv2d_transpose(x, weights(9, 9, 3, 3, mean=0.02), shape, 3, "VALID")
    return y[:, 3:-3, 3:-3]


def clipped_concatenation(tf: Any, x: Any) -> Any:
    """Movement alone makes the values, and their scale is not its own to choose."""
    return tf.clip_by_value(tf.nn.depth_to_space(tf.concat([x] * 9, -1), 3), 0, 255)


def clipped_for_two(tf: Any, x: Any) -> Any:
    """The second output is of what the first one clips."""
    y = residual(tf, x)
    return tf.nn.depth_to_space(tf.clip_by_value(y, 0, 255), 3), tf.exp(y / 255)


def clipped_and_split(tf: Any, x: Any) -> Any:
    """One of two outputs of an operator."""
    return tf.nn.depth_to_space(tf.split(tf.clip_by_value(convolution(tf, x, 32), 0, 255), [27, 5], -1)[0], 3)


def constants_beside(tf: Any, x: Any) -> Any:
    """The clip does not bound what is concatenated behind it."""
    clipped = tf.clip_by_value(residual(tf, x)[..., :26], 0, 255)
    return tf.nn.depth_to_space(tf.concat([clipped, np.full((1, *FRAME, 1), 300, np.float32)], -1), 3)


# Name -> network and the operator to which its clip is left.
CLIPS: dict[str, tuple[Network, str]] = {
    "clamp, clip_by_value": (lambda tf, x: tf.clip_by_value(shuffled(tf, x), 0, 255), "ADD"),
    "clip before the shuffle": (
        lambda tf, x: tf.nn.depth_to_space(tf.clip_by_value(residual(tf, x), 0, 255), 3),
        "ADD",
    ),
    "a maximum that no ReLU replaces": (lambda tf, x: tf.maximum(tf.minimum(shuffled(tf, x), 255.0), -0.0), "ADD"),
    "relu, then minimum": (lambda tf, x: tf.minimum(255.0, tf.nn.relu(shuffled(tf, x))), "ADD"),
    "relu before, minimum behind the shuffle": (
        lambda tf, x: tf.minimum(tf.nn.depth_to_space(tf.nn.relu(residual(tf, x)), 3), [255.0, 255.0, 255.0]),
        "ADD",
    ),
    "minimum before, relu behind the shuffle": (
        lambda tf, x: tf.nn.relu(tf.nn.depth_to_space(tf.minimum(residual(tf, x), 255.0), 3)),
        "ADD",
    ),
    "Keras ReLU(max_value=255)": (lambda tf, x: tf.keras.layers.ReLU(max_value=255)(shuffled(tf, x)), "ADD"),
    "clip before and behind the shuffle": (
        lambda tf, x: tf.clip_by_value(tf.nn.depth_to_space(tf.clip_by_value(residual(tf, x), 0, 255), 3), 0, 255),
        "ADD",
    ),
    "convolution": (
        lambda tf, x: tf.nn.depth_to_space(tf.clip_by_value(convolution(tf, x, mean=0.04), 0, 255), 3),
        "CONV_2D",
    ),
    "transposed convolution": (lambda tf, x: tf.clip_by_value(deconvolution(tf, x), 0, 255), "TRANSPOSE_CONV"),
    "product": (lambda tf, x: tf.clip_by_value(shuffled(tf, x / 255) * 255, 0, 255), "MUL"),
    "difference": (lambda tf, x: tf.clip_by_value(255 - shuffled(tf, x), 0, 255), "SUB"),
}
NO_CLIPS: dict[str, Network] = {
    "none": shuffled,
    "below only": lambda tf, x: tf.nn.relu(shuffled(tf, x)),
    "above only": lambda tf, x: tf.minimum(shuffled(tf, x), 255.0),
    "another bound": lambda tf, x: tf.clip_by_value(shuffled(tf, x), 0, 254),
    "bounds that differ": lambda tf, x: tf.nn.relu(tf.minimum(shuffled(tf, x), [255.0, 255.0, 254.0])),
    "behind ReLU6": lambda tf, x: tf.minimum(tf.nn.relu(tf.nn.relu6(shuffled(tf, x))), 255.0),
    "of copies": clipped_concatenation,
    "of a tensor that is read elsewhere": clipped_for_two,
    "beside constants": constants_beside,
    "before a split": clipped_and_split,
}
# Name -> network and how many copies it makes of how many channels.
ANCHORS: dict[str, tuple[Network, tuple[int, int]]] = {
    "CONCATENATION": (lambda tf, x: tf.clip_by_value(shuffled(tf, x), 0, 255), (9, 3)),
    "TILE": (lambda tf, x: tf.nn.depth_to_space(convolution(tf, x) + tf.tile(x, (1, 1, 1, 9)), 3), (9, 3)),
    "CONCATENATION of features": (
        lambda tf, x: convolution(tf, tf.concat([convolution(tf, x, 5, mean=0.04)] * 4, -1), 3),
        (4, 5),
    ),
}
NO_ANCHORS: dict[str, Network] = {
    "too few": lambda tf, x: convolution(tf, tf.concat([x] * 3, -1), 3),
    "too wide": lambda tf, x: convolution(tf, tf.concat([convolution(tf, x, 17)] * 4, -1), 3),
    "rows": lambda tf, x: convolution(tf, tf.concat([x] * 4, 1), 3),
    "tiled rows": lambda tf, x: convolution(tf, tf.tile(x, (1, 4, 1, 4)), 3),
    "unlike tensors": lambda tf, x: convolution(tf, tf.concat([x, x, x, convolution(tf, x)], -1), 3),
}


@pytest.mark.parametrize(("network", "producer"), CLIPS.values(), ids=CLIPS)
def test_a_clip_is_left_to_saturation(network, producer, tmp_path):
    before = calibrated(network)
    after, changes = rewrite(before, without=[ANCHOR])
    assert [change.id for change in changes] == [TAIL]
    assert changes[0].text.endswith(f"left to the saturation of {producer}")
    assert not {"MINIMUM", "MAXIMUM", "RELU"} & set(operators(after, tmp_path))
    np.testing.assert_array_equal(outputs(after).clip(0, 255), outputs(before))

    quantised = int8(after)
    graph = graph_of(quantised, tmp_path)
    last = max(op.index for op in graph.ops if op.name == producer)
    assert {graph.tensors[op.outputs[0]].scales for op in graph.ops[last:]} == {(1.0,)}
    float32, plain, saturated = outputs(before), outputs(int8(before)), outputs(quantised)
    assert psnr(saturated, float32) >= psnr(plain, float32) - 0.01
    assert (np.abs(saturated.astype(int) - plain) > 1).mean() < 0.01


@pytest.mark.parametrize("network", NO_CLIPS.values(), ids=NO_CLIPS)
def test_what_does_not_bound_the_output_stays(network, tmp_path):
    before = calibrated(network)
    after, changes = rewrite(before, without=[ANCHOR])
    assert changes == ()
    assert operators(after, tmp_path) == operators(before, tmp_path)


@pytest.mark.parametrize(("network", "expected"), ANCHORS.values(), ids=ANCHORS)
def test_copies_become_a_convolution(network, expected, tmp_path):
    before = calibrated(network)
    after, changes = rewrite(before, without=[TAIL])
    copies, channels = expected
    assert [change.id for change in changes] == [ANCHOR]
    assert f"of {channels} channels, {copies} times" in changes[0].text
    saved = operators(before, tmp_path) - operators(after, tmp_path)
    assert operators(after, tmp_path) - operators(before, tmp_path) == Counter(CONV_2D=1)
    assert saved in (Counter(CONCATENATION=1), Counter(TILE=1))
    assert {tensor.name.rpartition("/")[2] for tensor in graph_of(after, tmp_path).tensors} >= {"identity", "zero"}
    np.testing.assert_array_equal(outputs(after), outputs(before))
    np.testing.assert_array_equal(outputs(int8(after)), outputs(int8(before)))


@pytest.mark.parametrize("network", NO_ANCHORS.values(), ids=NO_ANCHORS)
def test_other_copies_stay(network, tmp_path):
    before = calibrated(network)
    after, changes = rewrite(before)
    assert changes == ()
    assert operators(after, tmp_path) == operators(before, tmp_path)


def test_copies_of_an_unknown_range_stay():
    import tensorflow as tf

    function = tf.function(
        lambda x: tf.concat([tf.nn.relu(x)] * 9, -1), input_signature=[tf.TensorSpec((1, *FRAME, 3), tf.float32)]
    ).get_concrete_function()
    plain = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert()
    assert rewrite(plain)[1] == ()


def test_ranges_are_what_the_rewrites_need_whatever_calibration_saw(tmp_path):
    def narrow(model: Any) -> None:
        graph = model.subgraphs[0]
        for op in graph.operators:
            set_range(graph.tensors[op.outputs[0]], (-10.0, 200.0))

    before = edited(calibrated(CLIPS["clamp, clip_by_value"][0]), narrow)
    graph = graph_of(int8(rewrite(before)[0]), tmp_path)
    first, anchor, *tail = graph.ops[1:]
    assert [op.name for op in tail] == ["ADD", "DEPTH_TO_SPACE", "QUANTIZE"]
    scales = [graph.tensors[op.outputs[0]].scales for op in (first, anchor, *tail)]
    assert scales == [(pytest.approx(210 / 255),), (1.0,), (1.0,), (1.0,), (1.0,)]


def test_nothing_unused_is_left_in_the_file(tmp_path):
    rewritten, changes = rewrite(calibrated(CLIPS["clamp, clip_by_value"][0]))
    assert [change.id for change in changes] == [TAIL, ANCHOR]
    graph = graph_of(int8(rewritten), tmp_path)
    assert Counter(op.name for op in graph.ops) == Counter(QUANTIZE=2, CONV_2D=2, ADD=1, DEPTH_TO_SPACE=1)
    assert {index for op in graph.ops for index in (*op.inputs, *op.outputs)} == {t.index for t in graph.tensors}
    assert {tensor.dtype for tensor in graph.tensors} == {"int8", "uint8", "int32"}


def test_passes_left_out_do_nothing(tmp_path):
    before = calibrated(CLIPS["clamp, clip_by_value"][0])
    after, changes = rewrite(before, without=[row.id for row in PASSES])
    assert changes == ()
    assert operators(after, tmp_path) == operators(before, tmp_path)


def test_damage_is_told():
    with pytest.raises(ModelContractError, match="no TFLite file"):
        rewrite(b"not a model at all")


@pytest.mark.slow
def test_abpn_as_the_harness_exports_it(repository, tmp_path):
    """Trained weights: the clip costs no pixel more than one level, and the anchor none at all."""
    import onnx
    import onnxsim
    import torch
    from safetensors.torch import load_file

    from mai_harness import rewrites
    from mai_harness.calibrate import _from_onnx
    from mai_harness.networks import ABPN

    network = ABPN()
    network.load_state_dict(load_file(repository / "submissions" / "abpn" / "weights.safetensors"))
    path = tmp_path / "abpn.onnx"
    torch.onnx.export(network.eval(), (torch.zeros(1, 3, *FRAME),), str(path), dynamo=False, opset_version=17)
    onnx.save(rewrites.rewrite(onnxsim.simplify(onnx.load(path))[0])[0], path)
    model = _from_onnx(path, tmp_path)
    before = calibrated(lambda tf, x: model(x))
    after, changes = rewrite(before)
    assert [change.id for change in changes] == [TAIL, ANCHOR]
    np.testing.assert_array_equal(outputs(after).clip(0, 255), outputs(before))
    plain, saturated = outputs(int8(before)), outputs(int8(after))
    assert np.abs(saturated.astype(int) - plain).max() <= 1
    assert psnr(saturated, outputs(before)) >= psnr(plain, outputs(before)) - 0.01
    np.testing.assert_array_equal(outputs(int8(rewrite(before, without=[TAIL])[0])), plain)
