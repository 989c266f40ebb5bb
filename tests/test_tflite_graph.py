"""``tflite_graph`` on small files made by TensorFlow: LiteRT's own view, sums by hand, and pixels that are changed."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mai_harness.errors import ModelContractError
from mai_harness.records import ModelFacts
from mai_harness.tflite_graph import Graph, facts, read_graph, receptive_radius, with_dynamic_frame

FRAME = (14, 16)
SHAPE = (1, *FRAME, 3)
Network = Callable[["Layers", Any], Any]


class Layers:
    """Layers with positive weights: no change of a pixel cancels out, and no ReLU hides one."""

    def __init__(self) -> None:
        import tensorflow as tf

        self.tf = tf
        self.rng = np.random.default_rng(0)

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(0.5, 1, shape).astype(np.float32)

    def conv(
        self, x: Any, filters: int, kernel: int | tuple[int, int] = 3, stride: int = 1, padding: str = "SAME",
        dilation: int = 1, groups: int = 1, *, bias: bool = True,
    ) -> Any:  # fmt: skip
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        weights = self.weights(rows, columns, x.shape[-1] // groups, filters) / (rows * columns * x.shape[-1])
        y = self.tf.nn.conv2d(x, weights, stride, padding, dilations=dilation)
        return y + self.weights(filters) if bias else y

    def depthwise(self, x: Any, kernel: int, multiplier: int = 1) -> Any:
        weights = self.weights(kernel, kernel, x.shape[-1], multiplier) / kernel**2
        y = self.tf.nn.depthwise_conv2d(x, weights, (1, 1, 1, 1), "SAME")
        return y + self.weights(x.shape[-1] * multiplier)

    def transposed(self, x: Any, filters: int, kernel: int, stride: int, padding: str = "SAME") -> Any:
        more = kernel - stride if padding == "VALID" else 0
        shape = (1, x.shape[1] * stride + more, x.shape[2] * stride + more, filters)
        weights = self.weights(kernel, kernel, filters, x.shape[-1])
        return self.tf.nn.conv2d_transpose(x, weights, shape, stride, padding)

    def resize(self, x: Any, kind: str, *, align_corners: bool = False, half_pixel_centers: bool = False) -> Any:
        operator = {"bilinear": self.tf.raw_ops.ResizeBilinear, "nearest": self.tf.raw_ops.ResizeNearestNeighbor}[kind]
        size = (x.shape[1] * 3, x.shape[2] * 3)
        return operator(images=x, size=size, align_corners=align_corners, half_pixel_centers=half_pixel_centers)


def convert(
    network: Network, shape: tuple[int | None, ...] = SHAPE, *, integer: bool = False, half: bool = False
) -> bytes:
    import tensorflow as tf

    spec = tf.TensorSpec(shape, tf.float32, name="image")
    function = tf.function(lambda x: network(Layers(), x), input_signature=[spec]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if integer or half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if half:
        converter.target_spec.supported_types = [tf.float16]
    if integer:
        rng = np.random.default_rng(1)
        sizes = [size or FRAME[0] for size in shape]
        converter.representative_dataset = lambda: ([rng.uniform(0, 255, sizes).astype(np.float32)] for _ in range(3))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


@pytest.fixture
def graph_of(tmp_path) -> Callable[[bytes], Graph]:
    def read(model: bytes) -> Graph:
        (tmp_path / "model.tflite").write_bytes(model)
        return read_graph(tmp_path / "model.tflite")

    return read


def interpreter(model: bytes, *, delegate: bool = True) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    opened = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    opened.allocate_tensors()
    return opened


def run(opened: Any, image: np.ndarray) -> np.ndarray:
    source = opened.get_input_details()[0]
    if tuple(source["shape"]) != image.shape:
        opened.resize_tensor_input(source["index"], image.shape)
        opened.allocate_tensors()
    opened.set_tensor(source["index"], image)
    opened.invoke()
    return opened.get_tensor(opened.get_output_details()[0]["index"])


# A small network of the kind that is submitted


def small_abpn(layers: Layers, x: Any) -> Any:
    tf = layers.tf
    y = tf.nn.relu(layers.conv(x, 5))
    y = layers.conv(y, 27) + tf.concat([x] * 9, 3)
    return tf.clip_by_value(tf.nn.depth_to_space(y, 3), 0.0, 255.0)


@pytest.fixture(scope="session")
def float_model() -> bytes:
    return convert(small_abpn)


@pytest.fixture(scope="session")
def int8_model() -> bytes:
    return convert(small_abpn, integer=True)


@pytest.mark.parametrize("form", ["float_model", "int8_model"])
def test_tensors_are_those_that_litert_sees(request, graph_of, form):
    model = request.getfixturevalue(form)
    graph = graph_of(model)
    # Behind the file's own tensors LiteRT lists its scratch memory.
    details = {detail["index"]: detail for detail in interpreter(model, delegate=False).get_tensor_details()}
    assert len(graph.tensors) >= 8
    for tensor in graph.tensors:
        detail = details[tensor.index]
        quantisation = detail["quantization_parameters"]
        assert tensor.name == detail["name"]
        assert tensor.shape == tuple(detail["shape"])
        assert tensor.shape_signature == tuple(detail["shape_signature"])
        assert np.dtype(tensor.dtype) == detail["dtype"]
        np.testing.assert_array_equal(np.array(tensor.scales, np.float32), quantisation["scales"])
        # LiteRT may tell one zero-point for all channels.
        zero_points = np.broadcast_to(quantisation["zero_points"], len(tensor.zero_points))
        np.testing.assert_array_equal(tensor.zero_points, zero_points)
        if len(tensor.scales) > 1:
            assert tensor.quantised_dimension == quantisation["quantized_dimension"]


@pytest.mark.parametrize("form", ["float_model", "int8_model"])
def test_ops_are_those_that_litert_runs(request, graph_of, form):
    model = request.getfixturevalue(form)
    graph = graph_of(model)
    seen = interpreter(model, delegate=False)._get_ops_details()
    assert [op.name for op in graph.ops] == [op["op_name"] for op in seen]
    assert [op.outputs for op in graph.ops] == [tuple(op["outputs"]) for op in seen]
    assert [op.inputs for op in graph.ops] == [tuple(op["inputs"]) for op in seen]
    assert [op.index for op in graph.ops] == list(range(len(seen)))
    assert not any(op.is_custom for op in graph.ops)


def test_an_int8_model_is_quantised_in_every_way(graph_of, int8_model):
    """Guards the comparison above: per-channel weights, per-tensor activations and int32 biases all occur."""
    tensors = graph_of(int8_model).tensors
    assert any(t.dtype == "int8" and len(t.scales) == 27 for t in tensors)
    assert any(t.dtype == "int32" and len(t.scales) == 27 for t in tensors)
    assert any(t.dtype == "int8" and len(t.scales) == 1 and t.zero_points != (0,) for t in tensors)


def test_facts_of_an_int8_model(graph_of, int8_model):
    found = facts(graph_of(int8_model))
    result = interpreter(int8_model).get_output_details()[0]
    assert found == ModelFacts(
        input_shape=SHAPE,
        input_dtype="uint8",
        output_shape=(1, 42, 48, 3),
        output_dtype="uint8",
        output_scale=result["quantization"][0],
        output_zero_point=result["quantization"][1],
        parameters=(3 * 9 * 5 + 5) + (5 * 9 * 27 + 27),
        macs=14 * 16 * (3 * 9 * 5 + 5 * 9 * 27),
        size_bytes=len(int8_model),
        receptive_radius=2,
    )


def test_a_float_model_has_no_quantisation(graph_of, float_model):
    found = facts(graph_of(float_model))
    assert (found.input_dtype, found.output_dtype) == ("float32", "float32")
    assert found.output_scale is None
    assert found.output_zero_point is None


def test_sizes_of_tensors(graph_of, float_model):
    graph = graph_of(float_model)
    source = graph.tensors[graph.inputs[0]]
    assert not source.is_constant
    assert (source.elements, source.size_bytes) == (14 * 16 * 3, 14 * 16 * 3 * 4)
    weights = next(graph.operand(op, 1) for op in graph.ops if op.name == "CONV_2D")
    assert weights is not None
    assert weights.is_constant
    assert weights.size_bytes == weights.stored_bytes == 5 * 9 * 3 * 4


def test_an_operand_left_out_is_none(graph_of):
    graph = graph_of(convert(lambda layers, x: layers.conv(x, 4, bias=False)))
    (op,) = graph.ops
    assert graph.operand(op, 0) is graph.tensors[graph.inputs[0]]
    assert graph.operand(op, 9) is None
    assert graph.operand(msgspec.structs.replace(op, inputs=(op.inputs[0], -1)), 1) is None


def test_an_op_of_the_long_code_has_its_name(graph_of):
    """CUMSUM is 128: too large for the byte that older files have."""
    graph = graph_of(convert(lambda layers, x: layers.tf.cumsum(x, axis=1)))
    assert [op.name for op in graph.ops] == ["CUMSUM"]


def test_an_op_of_an_older_file_has_its_name(graph_of, float_model):
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    unpacked = schema.ModelT.InitFromPackedBuf(float_model)
    for code in unpacked.operatorCodes:
        code.builtinCode = 0
    builder = flatbuffers.Builder(0)
    builder.Finish(unpacked.Pack(builder), b"TFL3")
    assert graph_of(bytes(builder.Output())).ops == graph_of(float_model).ops


def test_options_and_short_constants_are_read(graph_of):
    graph = graph_of(
        convert(lambda layers, x: layers.tf.pad(layers.conv(x, 4, 3, 2, "VALID"), [[0, 0], [1, 2], [3, 4], [0, 0]]))
    )
    conv, pad = graph.ops
    expected = {"Padding": 1, "StrideH": 2, "StrideW": 2, "DilationHFactor": 1, "DilationWFactor": 1}
    assert conv.options == expected | {"FusedActivationFunction": 0}
    paddings = graph.operand(pad, 1)
    assert paddings is not None
    assert paddings.values == (0, 0, 1, 2, 3, 4, 0, 0)


# Parameters and multiply-accumulates

H, W = FRAME


def prelu(layers: Layers, x: Any) -> Any:
    tf = layers.tf
    y = layers.conv(x, 6)
    return tf.nn.relu(y) + -layers.weights(1, 1, 6) * tf.nn.relu(-y)


def shared(layers: Layers, x: Any) -> Any:
    weights = layers.weights(3, 3, 3, 3)
    return layers.tf.nn.conv2d(layers.tf.nn.relu(layers.tf.nn.conv2d(x, weights, 1, "SAME")), weights, 1, "SAME")


def fully_connected(layers: Layers, x: Any) -> Any:
    return layers.tf.matmul(layers.tf.reshape(x, (1, H * W * 3)), layers.weights(H * W * 3, 5)) + layers.weights(5)


@pytest.mark.parametrize(
    ("network", "op", "parameters", "macs"),
    [
        pytest.param(
            lambda layers, x: layers.conv(x, 4), "CONV_2D", 9 * 3 * 4 + 4, H * W * 4 * 9 * 3, id="convolution"
        ),
        pytest.param(
            lambda layers, x: layers.conv(x, 4, (3, 5), 2), "CONV_2D", 15 * 3 * 4 + 4, H // 2 * W // 2 * 4 * 15 * 3,
            id="stride",
        ),
        pytest.param(
            lambda layers, x: layers.conv(x, 4, 3, padding="VALID", dilation=2), "CONV_2D", 9 * 3 * 4 + 4,
            (H - 4) * (W - 4) * 4 * 9 * 3, id="dilation without padding",
        ),
        pytest.param(
            lambda layers, x: layers.conv(layers.conv(x, 6, 1), 8, groups=2), "CONV_2D", 3 * 6 + 6 + 9 * 3 * 8 + 8,
            H * W * (3 * 6 + 9 * 3 * 8), id="groups",
        ),
        pytest.param(
            lambda layers, x: layers.depthwise(x, 5, 2), "DEPTHWISE_CONV_2D", 25 * 6 + 6, H * W * 25 * 6, id="depthwise"
        ),
        pytest.param(
            lambda layers, x: layers.transposed(x, 4, 9, 3) + layers.weights(4), "TRANSPOSE_CONV", 81 * 3 * 4 + 4,
            H * W * 3 * 81 * 4, id="transposed",
        ),
        pytest.param(fully_connected, "FULLY_CONNECTED", H * W * 3 * 5 + 5, H * W * 3 * 5, id="fully connected"),
        pytest.param(prelu, "PRELU", 9 * 3 * 6 + 6 + 6, H * W * 6 * 9 * 3, id="PReLU"),
        pytest.param(
            lambda layers, x: layers.tf.nn.relu(x) * layers.weights(3), "MUL", 3, 0, id="scale by channel"
        ),
        # The converter gives a convolution without bias one of zeros.
        pytest.param(shared, "CONV_2D", 81 + 3, 2 * H * W * 81, id="weights used twice count once"),
        pytest.param(lambda layers, x: layers.tf.nn.depth_to_space(
            layers.tf.concat([x] * 9, 3), 3), "DEPTH_TO_SPACE", 0, 0, id="no weights"),
    ],
)  # fmt: skip
def test_parameters_and_macs_are_those_of_paper(graph_of, network, op, parameters, macs):
    graph = graph_of(convert(network))
    found = facts(graph)
    assert op in {each.name for each in graph.ops}
    assert (found.parameters, found.macs) == (parameters, macs)


def test_float16_weights_behind_dequantise_count(graph_of):
    graph = graph_of(convert(lambda layers, x: layers.conv(x, 8, 5), half=True))
    assert {op.name for op in graph.ops} == {"DEQUANTIZE", "CONV_2D"}
    assert facts(graph).parameters == 25 * 3 * 8 + 8


def test_of_a_dynamic_frame_no_macs_are_told(graph_of):
    found = facts(graph_of(convert(lambda layers, x: layers.conv(x, 4), (1, None, None, 3))))
    assert found.macs is None
    assert found.input_shape == (1, -1, -1, 3)
    assert found.parameters == 112


# Receptive field


class Seen(NamedTuple):
    """What changing each input pixel did: the farthest change from the output pixel's own LR pixel."""

    radius: int
    changed: int


def seen(model: bytes, *, channels_first: bool = False) -> Seen:
    opened = interpreter(model)
    base = np.random.default_rng(2).uniform(0.1, 1, (1, 3, *FRAME) if channels_first else SHAPE).astype(np.float32)
    rows, columns = (2, 3) if channels_first else (1, 2)
    before = run(opened, base).copy()
    scale = [Fraction(before.shape[axis], base.shape[axis]) for axis in (rows, columns)]
    radius = changed = 0
    for row, column in np.ndindex(*FRAME):
        image = base.copy()
        image[(0, slice(None), row, column) if channels_first else (0, row, column)] += 1e4
        where = np.nonzero((run(opened, image) != before).any(axis=(0, 1 if channels_first else 3)))
        changed += where[0].size
        for place, pixel, factor in zip(where, (row, column), scale, strict=True):
            own = place * factor.denominator // factor.numerator
            radius = max(radius, int(np.abs(own - pixel).max(initial=0)))
    return Seen(radius, changed)


def cropped_transposed(padding: int) -> Network:
    """FSRCNN's tail as torch has it: padding 4, output_padding 2."""

    def network(layers: Layers, x: Any) -> Any:
        y = layers.transposed(x, 3, 9, 3, "VALID")
        return y[:, padding : padding + 3 * H, padding : padding + 3 * W]

    return network


def shuffled_in_torch_order(layers: Layers, x: Any) -> Any:
    y = layers.tf.reshape(layers.conv(x, 27), (1, H, W, 3, 3, 3))
    return layers.tf.reshape(layers.tf.transpose(y, (0, 1, 4, 2, 5, 3)), (1, 3 * H, 3 * W, 3))


def padded(layers: Layers, x: Any, *paddings: tuple[int, int], mode: str = "CONSTANT") -> Any:
    return layers.tf.pad(x, [(0, 0), *paddings, (0, 0)], mode)


def pointwise(layers: Layers, x: Any) -> Any:
    tf = layers.tf
    y = tf.nn.leaky_relu(layers.conv(x, 6, 1), 0.1)
    a, b = tf.split(y, 2, axis=3)
    c = tf.gather(tf.concat([a, b], 3), [5, 1, 2], axis=3)
    mean = tf.reduce_mean(c, axis=3, keepdims=True)
    return tf.maximum(c * 0.5 + tf.nn.softmax(a), mean) * tf.sigmoid(tf.tile(mean, (1, 1, 1, 3)) * 1e-5)


# (network, radius by hand)
EXACT: dict[str, tuple[Network, int]] = {
    "1x1": (lambda layers, x: layers.conv(x, 3, 1), 0),
    "3x3": (lambda layers, x: layers.conv(x, 3), 1),
    "5x5, 3x3, 3x3": (
        lambda layers, x: layers.conv(layers.tf.nn.relu(layers.conv(layers.tf.nn.relu(layers.conv(x, 4, 5)), 4)), 3), 4
    ),
    "1x5 and 3x1": (lambda layers, x: layers.conv(layers.conv(x, 3, (1, 5)), 3, (3, 1)), 2),
    "4x4 pads one before and two after": (lambda layers, x: layers.conv(x, 3, 4), 2),
    "4x4, shifted by one": (lambda layers, x: layers.conv(x, 3, 4)[:, 1:, 1:], 3),
    "dilated": (lambda layers, x: layers.conv(x, 3, 3, dilation=2), 2),
    "depthwise": (lambda layers, x: layers.depthwise(x, 5), 2),
    "explicit padding": (lambda layers, x: layers.conv(padded(layers, x, (2, 2), (2, 2)), 3, 5, padding="VALID"), 2),
    "lopsided padding": (lambda layers, x: layers.conv(padded(layers, x, (1, 3), (3, 1)), 3, 5, padding="VALID"), 3),
    "mirrored padding": (
        lambda layers, x: layers.conv(padded(layers, x, (1, 1), (1, 1), mode="REFLECT"), 3, padding="VALID"), 1
    ),
    "shift": (lambda layers, x: padded(layers, x[:, 2:, :-1], (0, 2), (1, 0)), 2),
    "depth to space": (lambda layers, x: layers.tf.nn.depth_to_space(layers.conv(x, 27), 3), 1),
    "convolutions after depth to space": (
        # HR pixels reach 2: from the first of three that is one LR pixel below.
        lambda layers, x: layers.conv(layers.tf.nn.depth_to_space(layers.conv(x, 27), 3), 3, 5), 2
    ),
    "torch's pixel shuffle": (shuffled_in_torch_order, 1),
    "space to depth and back": (
        lambda layers, x: layers.tf.nn.depth_to_space(layers.conv(layers.tf.nn.space_to_depth(x, 2), 12), 2), 3
    ),
    "transposed 9x9": (lambda layers, x: layers.transposed(x, 3, 9, 3), 1),
    "transposed 9x9, cropped": (cropped_transposed(4), 2),
    "transposed 9x9, cropped nearer to the corner": (cropped_transposed(2), 2),
    "transposed 4x4 by 2": (lambda layers, x: layers.transposed(layers.conv(x, 4), 3, 4, 2), 2),
    "down and up": (lambda layers, x: layers.transposed(layers.conv(x, 4, 3, 2), 3, 4, 2), 3),
    "average pool": (lambda layers, x: layers.tf.nn.avg_pool2d(x, 2, 1, "SAME"), 1),
    "max pool": (lambda layers, x: layers.tf.nn.max_pool2d(x, 3, 1, "SAME"), 1),
    "branches": (lambda layers, x: layers.conv(x, 3, 5) + layers.conv(layers.conv(x, 4), 3, 1), 2),
    "anchor": (small_abpn, 2),
    "pointwise": (pointwise, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_radius_is_as_far_as_a_changed_pixel_reaches(graph_of, name):
    network, radius = EXACT[name]
    model = convert(network)
    measured = seen(model)
    assert measured.radius == radius
    assert measured.changed > H * W // 2
    assert receptive_radius(graph_of(model)) == radius


@pytest.mark.parametrize("kind", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    "corners",
    [{}, {"align_corners": True}, {"half_pixel_centers": True}],
    ids=["corner", "aligned corners", "half-pixel centres"],
)
def test_radius_of_a_resize_is_never_too_small_and_nearly_right(graph_of, kind, corners):
    """Of a resize the bound is loose by design: rounding differs between kernels."""
    model = convert(lambda layers, x: layers.conv(layers.resize(layers.conv(x, 3), kind, **corners), 3, 1))
    measured = seen(model)
    assert measured.radius >= 1
    assert measured.radius <= (receptive_radius(graph_of(model)) or 0) <= measured.radius + 2


def test_radius_of_an_nchw_network(graph_of):
    def network(layers: Layers, x: Any) -> Any:
        y = layers.tf.transpose(x, (0, 2, 3, 1))
        return layers.tf.transpose(layers.tf.nn.depth_to_space(layers.conv(y, 27, (3, 5)), 3), (0, 3, 1, 2))

    model = convert(network, (1, 3, *FRAME))
    assert seen(model, channels_first=True).radius == 2
    assert receptive_radius(graph_of(model)) == 2


@pytest.mark.parametrize("name", ["5x5, 3x3, 3x3", "transposed 9x9", "anchor"])
def test_radius_of_an_int8_network_is_that_of_the_float_one(graph_of, name):
    network, radius = EXACT[name]
    assert receptive_radius(graph_of(convert(network, integer=True))) == radius


def channel_attention(layers: Layers, x: Any) -> Any:
    return x * layers.tf.reduce_mean(x, axis=(1, 2), keepdims=True)


UNBOUNDED: dict[str, Network] = {
    "mean of the frame": channel_attention,
    "fully connected": fully_connected,
    "rows reversed": lambda layers, x: layers.tf.reverse(x, (1,)),
    "rows repeated": lambda layers, x: layers.tf.tile(x, (1, 2, 1, 1)),
    "frame beside frame": lambda layers, x: layers.tf.concat([x, layers.conv(x, 3)], 2),
    "softmax over columns": lambda layers, x: layers.tf.transpose(
        layers.tf.nn.softmax(layers.tf.transpose(x, (0, 1, 3, 2))), (0, 1, 3, 2)
    ),
    "rows gathered": lambda layers, x: layers.tf.gather(x, [*range(H - 1, -1, -1)], axis=1),
    "rows and columns swapped": lambda layers, x: x[:, :H, :H] + layers.tf.transpose(x[:, :H, :H], (0, 2, 1, 3)),
    "first pixel for all": lambda layers, x: x + x[:, :1, :1],
    "first row for all": lambda layers, x: x * layers.conv(x, 3, 1)[:, :1],
    "running sum": lambda layers, x: layers.tf.cumsum(x, axis=1),
}


@pytest.mark.parametrize("name", UNBOUNDED)
def test_no_radius_is_told_of_a_network_that_mixes_the_frame(graph_of, name):
    assert receptive_radius(graph_of(convert(UNBOUNDED[name]))) is None


def test_no_radius_of_a_convolution_without_weights(graph_of):
    graph = graph_of(convert(lambda layers, x: layers.conv(x, 3)))
    (op,) = graph.ops
    bare = msgspec.structs.replace(graph, ops=(msgspec.structs.replace(op, inputs=(op.inputs[0], -1, -1)),))
    assert receptive_radius(graph) == 1
    assert receptive_radius(bare) is None


@pytest.mark.parametrize("direction", ["inputs", "outputs"])
def test_no_radius_without_one_input_and_an_output(graph_of, float_model, direction):
    graph = graph_of(float_model)
    assert receptive_radius(msgspec.structs.replace(graph, **{direction: ()})) is None


def test_no_radius_of_two_inputs(graph_of, float_model):
    graph = graph_of(float_model)
    assert receptive_radius(msgspec.structs.replace(graph, inputs=graph.inputs * 2)) is None


def test_no_radius_where_a_dynamic_shape_hides_the_geometry(graph_of):
    def network(layers: Layers, x: Any) -> Any:
        size = layers.tf.shape(x)[1:3] * 3
        return layers.tf.raw_ops.ResizeBilinear(images=x, size=size, half_pixel_centers=True)

    assert receptive_radius(graph_of(convert(network, (1, None, None, 3)))) is None


def test_radius_of_a_dynamic_network_of_convolutions(graph_of):
    model = convert(lambda layers, x: layers.tf.nn.depth_to_space(layers.conv(x, 27, 5), 3), (1, None, None, 3))
    assert receptive_radius(graph_of(model)) == 2


# Dynamic frames


def reopened(model: bytes, frame: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and what the model makes of it."""
    opened = interpreter(model)
    dtype = opened.get_input_details()[0]["dtype"]
    image = np.random.default_rng(seed).integers(0, 256, (1, *frame, 3)).astype(dtype)
    return image, run(opened, image)


def test_a_dynamic_frame_is_marked_and_nothing_else_changes(graph_of, int8_model):
    static, dynamic = graph_of(int8_model), graph_of(with_dynamic_frame(int8_model))
    assert facts(dynamic).input_shape == (1, -1, -1, 3)
    assert facts(dynamic).output_shape == (1, -1, -1, 3)
    assert facts(dynamic).parameters == facts(static).parameters
    assert receptive_radius(dynamic) == receptive_radius(static)
    assert dynamic.ops == static.ops
    for before, after in zip(static.tensors, dynamic.tensors, strict=True):
        ends = before.index in (*static.inputs, *static.outputs)
        same = {"shape", "shape_signature"} if ends else set()
        for field in {*before.__struct_fields__} - same - {"buffer"}:
            assert getattr(after, field) == getattr(before, field), (before.name, field)


@pytest.mark.parametrize("form", ["float_model", "int8_model"])
def test_at_its_own_size_a_dynamic_model_gives_the_same_pixels(request, form):
    model = request.getfixturevalue(form)
    dynamic = with_dynamic_frame(model)
    np.testing.assert_array_equal(reopened(dynamic, FRAME, 3)[1], reopened(model, FRAME, 3)[1])


@pytest.mark.parametrize("frame", [(9, 33), (40, 11), (14, 17)])
def test_at_another_size_it_equals_the_network_converted_for_that_size(float_model, frame):
    """Float weights do not depend on the frame, so the reference is a conversion at that size."""
    image, found = reopened(with_dynamic_frame(float_model), frame, 4)
    expected = run(interpreter(convert(small_abpn, (1, *frame, 3))), image)
    assert found.shape == (1, frame[0] * 3, frame[1] * 3, 3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_at_a_larger_size_an_int8_model_gives_the_static_pixels_away_from_the_cut(int8_model):
    image, found = reopened(with_dynamic_frame(int8_model), (30, 40), 5)
    static = interpreter(int8_model)
    inner = slice(3 * 2, -3 * 2)  # two is the radius
    for top, left in ((0, 0), (7, 11), (16, 24)):
        part = run(static, image[:, top : top + H, left : left + W])[0, inner, inner]
        there = found[0, 3 * top : 3 * (top + H), 3 * left : 3 * (left + W)][inner, inner]
        np.testing.assert_array_equal(there, part)


def test_weights_of_a_dynamic_model_stay_aligned(int8_model):
    """LiteRT copies, or refuses, what does not lie at a multiple of 16 bytes."""
    from ai_edge_litert import schema_py_generated as schema

    dynamic = with_dynamic_frame(int8_model)
    model = schema.Model.GetRootAs(dynamic, 0)
    origin = address(np.frombuffer(dynamic, np.uint8))
    stored = [model.Buffers(index).DataAsNumpy() for index in range(model.BuffersLength())]
    offsets = [address(data) - origin for data in stored if isinstance(data, np.ndarray)]
    assert len(offsets) >= 4
    assert [offset % 16 for offset in offsets] == [0] * len(offsets)


def address(data: np.ndarray) -> int:
    return int(data.__array_interface__["data"][0])


# Damage


def only_contract_errors(path: Path) -> None:
    """Either the file reads, and then all that is asked of a graph answers, or a ModelContractError is raised."""
    try:
        found = facts(read_graph(path))
    except ModelContractError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert msgspec.json.decode(msgspec.json.encode(found), type=ModelFacts) == found
    try:
        changed = with_dynamic_frame(path.read_bytes())
    except ModelContractError as error:
        assert "the model" in str(error)  # noqa: PT017
    else:
        assert changed[4:8] == b"TFL3"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "has 0 bytes", id="empty"),
        pytest.param(b"TFL3", "has 4 bytes", id="short"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), "bytes 4 to 8 are b'", id="PNG"),
        pytest.param(b"PK\3\4" + bytes(100), "not b'TFL3'", id="zip"),
        pytest.param(b"\x1c\0\0\0TFL3", "damaged", id="header alone"),
        pytest.param(b"\xff\xff\xff\xffTFL3" + bytes(64), "damaged", id="root far away"),
        pytest.param(b"\x10\0\0\0TFL3" + bytes(64), "damaged", id="zeros"),
    ],
)
def test_what_is_no_tflite_file_is_told(tmp_path, content, words):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelContractError, match=words):
        read_graph(path)
    with pytest.raises(ModelContractError, match="the model is no TFLite file"):
        with_dynamic_frame(content)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(ModelContractError, match=r"none\.tflite cannot be read: No such file"):
        read_graph(tmp_path / "none.tflite")
    with pytest.raises(ModelContractError, match="cannot be read: Is a directory"):
        read_graph(tmp_path)


def test_a_truncated_file_is_told(tmp_path, int8_model):
    """Of every length; flatbuffers keep their tables behind the data, so no cut file reads."""
    path = tmp_path / "cut.tflite"
    for length in range(0, len(int8_model) - 64, 61):
        path.write_bytes(int8_model[:length])
        only_contract_errors(path)


SEEDED = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SEEDED
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=12))
@pytest.mark.parametrize("form", ["float_model", "int8_model"])
def test_flipped_bits_are_read_or_told(request, tmp_path, form, flips):
    content = bytearray(request.getfixturevalue(form))
    for place, mask in flips:
        content[8 + int(place * (len(content) - 8))] ^= mask
    path = tmp_path / "flipped.tflite"
    path.write_bytes(content)
    only_contract_errors(path)


@SEEDED
@given(body=st.binary(max_size=300))
@example(body=bytes(300))
@example(body=b"\xff" * 300)
def test_anything_behind_the_right_header_is_told(tmp_path, body):
    path = tmp_path / "made_up.tflite"
    path.write_bytes(b"\x10\0\0\0TFL3" + body)
    only_contract_errors(path)
