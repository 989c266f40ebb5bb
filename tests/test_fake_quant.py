"""The torch network computes what the INT8 file computes, whatever the operators, and its ranges reach the file."""

import numpy as np
import pytest
import torch

from mai_harness.errors import ModelContractError
from mai_harness.fake_quant import FakeQuantNetwork, Quantiser, Weights
from mai_harness.interpreter import TFLiteModel
from mai_harness.tflite_graph import read_graph, with_ranges
from mai_harness.tflite_rewrites import rewrite

tf = pytest.importorskip("tensorflow")
FRAME = (24, 32)
rng = np.random.default_rng(0)


def kernel(*shape, spread=1.0):
    """He-scaled weights, so that ranges stay those of images."""
    values = rng.normal(size=shape).astype(np.float32) * spread / np.sqrt(np.prod(shape[:3]))
    return tf.constant(values)


K3, K8, KLAST = kernel(3, 3, 3, 8), kernel(3, 3, 8, 8), kernel(3, 3, 8, 27)
DEPTHWISE, POINT = kernel(3, 3, 8, 1), kernel(1, 1, 8, 8)
BIAS = tf.constant(rng.normal(size=8).astype(np.float32) * 10)
SLOPE = tf.constant(rng.uniform(0.05, 0.4, (1, 1, 8)).astype(np.float32))


def conv(x, weights, bias=None, strides=1, padding="SAME"):
    y = tf.nn.conv2d(x, weights, strides, padding)
    return y if bias is None else y + bias


def head(x):
    return tf.nn.relu(conv(x, K3, BIAS))


def tail(y, x=None):
    y = conv(y, KLAST)
    if x is not None:
        y = y + tf.concat([x] * 9, -1)
    return tf.clip_by_value(tf.nn.depth_to_space(y, 3), 0.0, 255.0)


def prelu(y):
    return tf.nn.relu(y) + -SLOPE * tf.nn.relu(-y)


def deconvolved(y):
    y = tf.nn.conv2d_transpose(y, kernel(9, 9, 3, 8), (1, FRAME[0] * 3 + 6, FRAME[1] * 3 + 6, 3), 3, "VALID")
    return tf.clip_by_value(y[:, 4 : 4 + FRAME[0] * 3, 4 : 4 + FRAME[1] * 3], 0.0, 255.0)


def resized(x, method):
    size = (FRAME[0] * 3, FRAME[1] * 3)
    if method == "nearest":
        return tf.compat.v1.image.resize_nearest_neighbor(x, size)
    return tf.compat.v1.image.resize_bilinear(x, size, half_pixel_centers=True)


def shuffled(y):
    """A pixel shuffle of six dimensions, as converters leave it where no rewrite knew it."""
    y = tf.reshape(conv(y, KLAST), (1, *FRAME, 3, 3, 3))
    y = tf.transpose(y, (0, 1, 4, 2, 5, 3))
    return tf.clip_by_value(tf.reshape(y, (1, FRAME[0] * 3, FRAME[1] * 3, 3)), 0.0, 255.0)


NETWORKS = {
    "anchor": lambda x: tail(conv(head(x), K8, BIAS), x),
    "no residual": lambda x: tail(tf.nn.relu(conv(head(x), K8))),
    "feature residual": lambda x: tail(conv(head(x), K8) + head(x)),
    "nearest": lambda x: tf.clip_by_value(
        tf.nn.depth_to_space(conv(head(x), KLAST), 3) + resized(x, "nearest"), 0, 255
    ),
    "bilinear": lambda x: tf.clip_by_value(
        tf.nn.depth_to_space(conv(head(x), KLAST), 3) + resized(x, "bilinear"), 0, 255
    ),
    "no clip": lambda x: tf.nn.depth_to_space(conv(head(x), KLAST), 3),
    "leaky ReLU": lambda x: tail(tf.nn.leaky_relu(conv(x, K3, BIAS), 0.1), x),
    "PReLU": lambda x: tail(prelu(conv(x, K3, BIAS)), x),
    "ReLU6": lambda x: tail(tf.nn.relu6(conv(x / 25, K3)), x),
    "depthwise": lambda x: tail(conv(tf.nn.depthwise_conv2d(head(x), DEPTHWISE, (1, 1, 1, 1), "SAME"), POINT), x),
    "valid and padded": lambda x: tail(conv(tf.pad(head(x), ((0, 0), (1, 1), (1, 1), (0, 0))), K8, padding="VALID"), x),
    "mirrored": lambda x: tail(conv(tf.pad(head(x), ((0, 0), (1, 1), (1, 1), (0, 0)), "REFLECT"), K8, padding="VALID")),
    "dense": lambda x: tail(conv(tf.concat([x, head(x)], -1), kernel(3, 3, 11, 8)), x),
    "two branches": lambda x: tail(conv(tf.concat([head(x), conv(x, K3)], -1), kernel(3, 3, 16, 8)), x),
    "split": lambda x: tail(tf.concat(tf.split(head(x), 2, -1)[::-1], -1), x),
    "uneven split": lambda x: tail(tf.concat(tf.split(head(x), [3, 5], -1)[::-1], -1), x),
    "slice": lambda x: tail(tf.concat([head(x)[..., 4:], head(x)[..., :4]], -1), x),
    "transposed convolution": lambda x: deconvolved(head(x)),
    "shuffle in six dimensions": lambda x: shuffled(head(x)),
    "space to depth": lambda x: tail(
        tf.nn.depth_to_space(conv(tf.nn.space_to_depth(head(x), 2), kernel(3, 3, 32, 32)), 2)
    ),
    "scaled input": lambda x: tail(conv((x - 127.5) * (1 / 64), K3, BIAS), x),
    "product": lambda x: tail(conv(x, K3) * tf.sigmoid(conv(x / 50, K3)), x),
    "difference": lambda x: tail(head(x) - conv(x, K3), x),
    "tanh": lambda x: tail(tf.tanh(conv(x / 100, K3)) * 50, x),
    "attention": lambda x: tail(
        head(x) * tf.sigmoid(conv(tf.reduce_mean(head(x), (1, 2), keepdims=True) / 50, POINT)), x
    ),
    "average pool": lambda x: tail(
        tf.nn.depth_to_space(conv(tf.nn.avg_pool2d(head(x), 2, 2, "VALID"), kernel(3, 3, 8, 32)), 2), x
    ),
    "max pool": lambda x: tail(
        tf.nn.depth_to_space(conv(tf.nn.max_pool2d(head(x), 2, 2, "VALID"), kernel(3, 3, 8, 32)), 2), x
    ),
    "strides": lambda x: tail(tf.nn.depth_to_space(conv(head(x), kernel(3, 3, 8, 32), strides=2), 2), x),
    "dilated": lambda x: tail(tf.nn.conv2d(head(x), K8, 1, "SAME", dilations=2), x),
}


def calibrated(network):
    """The graph as the harness quantises it: ranges set, rewritten."""
    spec = tf.TensorSpec((1, *FRAME, 3), tf.float32, name="input")
    function = tf.function(network, input_signature=[spec], autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image(seed)[None].astype(np.float32)] for seed in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    clipped = network is not NETWORKS["no clip"]
    return rewrite(with_ranges(converter.convert(), (0.0, 255.0), (0.0, 255.0) if clipped else None))[0]


def image(seed):
    """Smooth (24, 32, 3) uint8, as photographs are."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (6, 8, 3))
    return np.kron(coarse, np.ones((4, 4, 1))).astype(np.uint8)


def int8(model, path):
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.util import modify_model_io_type

    path.write_bytes(modify_model_io_type(mlir_quantize(model), tf.uint8, tf.uint8))
    return TFLiteModel(path)


def learned(model):
    """As training would leave it: other weights, biases and scales."""
    network = FakeQuantNetwork(model).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                noise = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype) - 0.5
                parameter.add_(0.05 * noise * (1 if parameter.numel() == 1 else parameter.abs()))
    return network


def codes(network, lr, model):
    with torch.no_grad():
        values = network(torch.from_numpy(lr).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    return np.clip(np.rint(values / model.output.scale) + model.output.zero_point, 0, 255)


@pytest.mark.parametrize("name", NETWORKS)
def test_bytes_and_scales_are_those_of_the_int8_file(name, tmp_path):
    graph = calibrated(NETWORKS[name])
    network = learned(graph)
    model = int8(network.write(graph), tmp_path / "model.tflite")
    made = [op.outputs for op in read_graph(tmp_path / "model.tflite").ops if op.name != "QUANTIZE"]
    scales = [model.graph.tensors[index].scales[0] for outputs in made for index in outputs]
    expected = [float(network._quantiser(index).scale) for op in network._ops for index in op.outputs]
    assert scales == pytest.approx(expected, rel=1e-5)
    source = model.graph.tensors[model.graph.inputs[0]]
    assert (source.scales, source.zero_points) == ((1.0,), (0,))
    differences = [np.abs(codes(network, image(seed), model) - model.run(image(seed))) for seed in range(10, 20)]
    assert np.mean(np.stack(differences) <= 1) >= 0.995


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "attention"])
def test_other_sizes_are_the_same_network(name):
    """Patches see what frames see: away from the border, the same pixels."""
    network = FakeQuantNetwork(calibrated(NETWORKS[name])).eval()
    x = torch.from_numpy(np.stack([image(1), image(2)])).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        whole, part = network(x), network(x[:, :, 4:20, 4:28].contiguous())
    assert part.shape == (2, 3, 48, 72)
    assert torch.equal(whole[:, :, 30:42, 30:66], part[:, :, 18:30, 18:54])


def test_every_weight_and_free_scale_gets_a_gradient():
    network = FakeQuantNetwork(calibrated(NETWORKS["anchor"]))
    network(torch.from_numpy(image(0)).permute(2, 0, 1)[None].float()).square().mean().backward()
    trained = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in trained.values())
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert len([name for name in frozen if name.endswith("weight")]) == 1  # the anchor
    assert len([name for name in frozen if "scale" in name]) == 3  # input, its copies, output


def test_an_operator_that_cannot_be_trained_is_named():
    with pytest.raises(ModelContractError, match=r"operator \d+ \(\w+\) cannot be trained"):
        FakeQuantNetwork(calibrated(lambda x: tail(tf.math.exp(conv(x / 500, K3)), x)))


def test_a_quantiser_rounds_to_its_codes():
    quantiser = Quantiser(-10.0, 245.0, learned=True)
    assert quantiser.zero_point.item() == -118
    assert quantiser(torch.tensor([-99.0, 0.4, 0.6, 300.0])).tolist() == pytest.approx([-10, 0, 1, 245])
    assert quantiser.limits == pytest.approx((-10.0, 245.0))


def test_kernels_leave_the_least_code_out():
    weights = Weights(np.array([[[[-1.0, 0.3]]], [[[0.5, 0.1]]]], np.float32), np.array([0.011, 0.0], np.float32), 0)
    kernel_, bias = weights(torch.tensor([1.0]))
    assert kernel_.flatten().tolist() == pytest.approx([-1, 38 / 127, 0.5, 25 / 254])
    assert bias.tolist() == pytest.approx([1 / 127, 0])
