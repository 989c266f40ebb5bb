"""Rewrites keep the function and leave the operators that NPUs run fast."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import onnxsim
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import Tensor, nn

from mai_harness.networks import ABPN, FSRCNN, Bicubic
from mai_harness.rewrites import PASSES, rewrite

Array = npt.NDArray[np.float32]
SHAPE = (1, 3, 8, 12)
GREY_LEVELS = 1e-4  # what two orders of the same float32 sums may differ by, on images in [0, 255]
FORMS = pytest.mark.parametrize("simplified", [True, False], ids=["simplified", "as exported"])


class Net(nn.Module):
    """A network of the given layers, with random weights and statistics."""

    def __init__(self, forward: Callable[["Net", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)
        for layer in layers.values():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # tables of cases are built before the seed is set
            if isinstance(layer, nn.BatchNorm2d | nn.PReLU):
                for value in [*layer.parameters(), *layer.buffers()]:
                    value.data.copy_(torch.rand(value.shape) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(7)


def conv(inputs: int, outputs: int, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def exported(
    network: nn.Module, *, simplified: bool = True, shape: tuple[int, ...] = SHAPE, opset: int = 17
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.rand(shape),), buffer, opset_version=opset, dynamo=False, input_names=["input"],
            output_names=["output"],
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    return onnxsim.simplify(model)[0] if simplified else model


def image(shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(3).uniform(0, 255, shape).astype(np.float32)


def run(model: onnx.ModelProto, *inputs: Array) -> list[Array]:
    """The outputs of the very operators of the model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in [*session.get_inputs(), *session.get_overridable_initializers()]]
    return session.run(None, dict(zip(names, inputs or (image(),), strict=False)))


def ops(model: onnx.ModelProto) -> list[str]:
    """Operators in alphabetical order, DepthToSpace with its mode."""
    return sorted(label(node) for node in model.graph.node if node.op_type != "Constant")


def label(node: onnx.NodeProto) -> str:
    """The operator, and of DepthToSpace the mode: DCR or CRD."""
    modes = [attribute.s.decode() for attribute in node.attribute if attribute.name == "mode"]
    return modes[0] if node.op_type == "DepthToSpace" else node.op_type


def checked(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Rewrite, and see that all that must hold for every model does."""
    before = model.SerializeToString()
    rewritten, changes = rewrite(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(rewritten, full_check=True)
    assert [v.name for v in rewritten.graph.input] == [v.name for v in model.graph.input]
    assert [v.name for v in rewritten.graph.output] == [v.name for v in model.graph.output]
    assert bool(changes) == (rewritten != model)
    again, more = rewrite(rewritten)
    assert not more
    assert again == rewritten
    return rewritten, changes


def assert_becomes(network: nn.Module, expected: str, *, simplified: bool) -> None:
    """The network's function is kept, to the bit, in the expected operators."""
    model = exported(network, simplified=simplified)
    rewritten, _ = checked(model)
    assert ops(rewritten) == sorted(expected.split())
    with torch.no_grad():
        reference = network(torch.from_numpy(image())).numpy()
    (result,) = run(rewritten)
    np.testing.assert_allclose(result, reference, rtol=0, atol=GREY_LEVELS * max(1.0, np.abs(reference).max() / 255))
    np.testing.assert_array_equal(result, run(model)[0])


# Pixel shuffles and anchors, as they are written


def crd_by_view(y: Tensor) -> Tensor:
    n, c, h, w = y.shape
    return y.view(n, c // 9, 3, 3, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 9, h * 3, w * 3)


def dcr_by_view(y: Tensor) -> Tensor:
    n, c, h, w = y.shape
    return y.view(n, 3, 3, c // 9, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 9, h * 3, w * 3)


def dcr_in_nhwc(y: Tensor) -> Tensor:
    n, c, h, w = y.shape
    blocks = y.permute(0, 2, 3, 1).reshape(n, h, w, 3, 3, c // 9).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h * 3, w * 3, c // 9).permute(0, 3, 1, 2)


def crd_axis_by_axis(y: Tensor) -> Tensor:
    n, c, h, w = y.shape
    wide = y.reshape(n, c // 3, 3, h, w).permute(0, 1, 3, 4, 2).reshape(n, c // 3, h, w * 3)
    return wide.reshape(n, c // 9, 3, h, w * 3).permute(0, 1, 3, 2, 4).reshape(n, c // 9, h * 3, w * 3)


SHUFFLES = [nn.PixelShuffle(3), crd_by_view, dcr_by_view, dcr_in_nhwc, crd_axis_by_axis]

INTERLEAVED = {
    "repeat_interleave": lambda x: x.repeat_interleave(9, 1),
    "stack": lambda x: torch.stack([x] * 9, 2).flatten(1, 2),
    "expand": lambda x: x.unsqueeze(2).expand(-1, -1, 9, -1, -1).reshape(1, 27, *x.shape[2:]),
    "index": lambda x: x[:, [0] * 9 + [1] * 9 + [2] * 9],
    "slices": lambda x: torch.cat([x[:, :1]] * 9 + [x[:, 1:2]] * 9 + [x[:, 2:]] * 9, 1),
    "chunk": lambda x: torch.cat([c for c in x.chunk(3, 1) for _ in range(9)], 1),
    "split": lambda x: torch.cat([c.repeat(1, 9, 1, 1) for c in x.split(1, 1)], 1),
    "cat": lambda x: torch.cat([x.unsqueeze(2)] * 9, 2).view(1, 27, *x.shape[2:]),
    "upsampled": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x.repeat_interleave(9, 1), 3), 3),
}
TILED = {
    "repeat": lambda x: x.repeat(1, 9, 1, 1),
    "cat": lambda x: torch.cat([x] * 9, 1),
    "expand": lambda x: x.unsqueeze(1).expand(-1, 9, -1, -1, -1).reshape(1, 27, *x.shape[2:]),
    "index": lambda x: x[:, [0, 1, 2] * 9],
}


@FORMS
@pytest.mark.parametrize("shuffle", SHUFFLES, ids=lambda s: getattr(s, "__name__", "PixelShuffle"))
def test_every_pixel_shuffle_becomes_one_depth_to_space(shuffle, simplified):
    network = Net(lambda n, x: shuffle(n.conv(x)), conv=conv(3, 27))
    assert_becomes(network, "Conv DCR", simplified=simplified)


@FORMS
@pytest.mark.parametrize("anchor", INTERLEAVED.values(), ids=INTERLEAVED)
def test_every_interleaved_anchor_becomes_one_concat(anchor, simplified):
    network = Net(lambda n, x: n.shuffle(n.conv(x) + anchor(x)), conv=conv(3, 27), shuffle=nn.PixelShuffle(3))
    assert_becomes(network, "Add Concat Conv DCR", simplified=simplified)


@FORMS
@pytest.mark.parametrize("anchor", TILED.values(), ids=TILED)
def test_every_tiled_anchor_becomes_one_concat(anchor, simplified):
    network = Net(lambda n, x: dcr_by_view(n.conv(x) + anchor(x)), conv=conv(3, 27))
    assert_becomes(network, "Add Concat Conv DCR", simplified=simplified)


# What a permutation meets on its way up


WAYS: dict[str, tuple[str, Callable[[Net, Tensor], Tensor], dict[str, nn.Module]]] = {
    "PReLU": ("Conv PRelu DCR", lambda n, x: n.shuffle(n.prelu(n.conv(x))), {"prelu": nn.PReLU(27)}),
    "PReLU of one slope": ("Conv PRelu DCR", lambda n, x: n.shuffle(n.prelu(n.conv(x))), {"prelu": nn.PReLU()}),
    "clip before": ("Conv Clip DCR", lambda n, x: n.shuffle(n.conv(x).clamp(0, 255)), {}),
    "clip after": ("Conv Clip DCR", lambda n, x: n.shuffle(n.conv(x)).clamp(0, 255), {}),
    "folded BatchNorm": ("Div Conv DCR", lambda n, x: n.shuffle(n.norm(n.conv(x / 8))), {"norm": nn.BatchNorm2d(27)}),
    "BatchNorm": (
        "Conv Relu BatchNormalization DCR",
        lambda n, x: n.shuffle(n.norm(n.conv(x).relu())),
        {"norm": nn.BatchNorm2d(27)},
    ),
    "scale": ("Conv Relu Mul DCR", lambda n, x: n.shuffle(n.conv(x).relu() * torch.arange(27.0).view(27, 1, 1)), {}),
    "offset": (
        "Conv Relu Sub DCR",
        lambda n, x: n.shuffle(torch.arange(27.0).view(1, 27, 1, 1) - n.conv(x).relu()),
        {},
    ),
    "SiLU": ("Conv Sigmoid Mul DCR", lambda n, x: n.shuffle(F.silu(n.conv(x))), {}),
    "one operand twice": ("Conv Add DCR", lambda n, x: n.shuffle((y := n.conv(x)) + y), {}),
    "two branches": ("Conv Conv Add DCR", lambda n, x: n.shuffle(n.conv(x) + n.other(x)), {"other": conv(3, 27)}),
    "spatial attention": (
        "Div Conv Conv Sigmoid Mul DCR",
        lambda n, x: n.shuffle(n.conv(x) * n.gate(x / 255).sigmoid()),
        {"gate": conv(3, 1)},
    ),
    "transposed convolution": (
        "Conv ConvTranspose DCR",
        lambda n, x: n.shuffle(n.up(n.conv(x))),
        {"up": nn.ConvTranspose2d(27, 27, 3, padding=1)},
    ),
    "depthwise": ("Conv Conv DCR", lambda n, x: n.shuffle(n.deep(n.conv(x))), {"deep": conv(27, 27, groups=27)}),
    "whole groups": (
        "Conv Conv",
        lambda n, x: n.deep(n.conv(x))[:, [*range(9, 27), *range(8, -1, -1)]],
        {"deep": conv(27, 27, groups=3)},
    ),
    "mixed groups": (
        "Conv Conv Gather DCR",
        lambda n, x: n.shuffle(n.deep(n.conv(x))),
        {"deep": conv(27, 27, groups=3)},
    ),
    "channel shuffle": ("Conv", lambda n, x: n.conv(x).unflatten(1, (3, 9)).transpose(1, 2).flatten(1, 2), {}),
    "BGR": ("Conv DCR", lambda n, x: n.shuffle(n.conv(x))[:, [2, 1, 0]], {}),
    "BGR of a clip": ("Conv Clip DCR", lambda n, x: n.shuffle(n.conv(x)).clamp(0, 255)[:, [2, 1, 0]], {}),
    "shuffle and unshuffle": ("Conv", lambda n, x: F.pixel_unshuffle(n.shuffle(n.conv(x)), 3), {}),
    "crop": ("Conv DCR Slice", lambda n, x: n.shuffle(n.conv(x))[:, :, 1:-1], {}),
    "crop before": ("Conv Slice Gather DCR", lambda n, x: n.shuffle(n.conv(x)[:, :, 1:]), {}),
    "two stages": (
        "Conv DCR Conv DCR",
        lambda n, x: F.pixel_shuffle(n.middle(n.shuffle(n.conv(x))), 2),
        {"middle": conv(3, 12)},
    ),
    "two stages in one": ("Conv DCR", lambda n, x: F.pixel_shuffle(n.shuffle(n.wide(x)), 2), {"wide": conv(3, 108)}),
    "shuffled twice": ("Conv DCR Relu Add", lambda n, x: n.shuffle(y := n.conv(x)) + crd_by_view(y).relu(), {}),
    "read twice": ("Conv Gather DCR ReduceMean Add", lambda n, x: n.shuffle(y := n.conv(x)) + y.mean(), {}),
    "one branch read twice": (
        "Conv Relu Conv Add Gather DCR ReduceMean Add",
        lambda n, x: n.shuffle((y := n.conv(x)).relu() + n.other(x)) + y.mean(),
        {"other": conv(3, 27)},
    ),
}


@FORMS
@pytest.mark.parametrize(("expected", "forward", "layers"), WAYS.values(), ids=WAYS)
def test_permutations_sink_into_weights(expected, forward, layers, simplified):
    network = Net(forward, conv=conv(3, 27), shuffle=nn.PixelShuffle(3), **layers)
    assert_becomes(network, expected, simplified=simplified)


# Networks of the harness


@FORMS
def test_abpn_is_convolutions_one_concat_one_add_and_one_depth_to_space(simplified):
    expected = "Conv " * 7 + "Relu " * 6 + "Concat Add DCR Clip"
    assert_becomes(ABPN(), expected, simplified=simplified)


def test_abpn_says_what_was_done():
    _, changes = rewrite(exported(ABPN()))
    assert changes == (
        "pixel shuffle: DepthToSpace (CRD) to Gather, DepthToSpace (DCR)",
        "order of channels: permuted in Add, Conv instead of by Gather",
        "copies of channels: Unsqueeze, Tile, Reshape, Gather to Concat",
    )


def test_every_pass_says_what_it_is_and_fires_on_abpn_as_exported():
    _, changes = rewrite(exported(ABPN(features=4, layers=1), simplified=False))
    assert all(row.apply.__doc__ for row in PASSES)
    assert {change.split(":")[0] for change in changes} == {row.title for row in PASSES}
    assert len({row.id for row in PASSES}) == len(PASSES)


def test_bicubic_is_one_convolution_and_one_depth_to_space():
    assert_becomes(Bicubic(), "Pad Conv DCR Clip", simplified=True)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(FSRCNN(), id="FSRCNN"),
        pytest.param(Net(lambda n, x: n.conv(x).relu(), conv=conv(3, 8)), id="convolution"),
        pytest.param(Net(lambda n, x: F.pixel_unshuffle(x, 2)), id="PixelUnshuffle"),
        pytest.param(Net(lambda n, x: x.transpose(2, 3)), id="Transpose"),
        pytest.param(Net(lambda n, x: n.conv(x)[:, 2:7], conv=conv(3, 9)), id="Slice"),
        pytest.param(Net(lambda n, x: sum(n.conv(x).chunk(3, 1)), conv=conv(3, 9)), id="chunk"),
    ],
)
def test_nothing_to_do_is_nothing_done(network):
    model = exported(network)
    rewritten, changes = checked(model)
    assert changes == ()
    assert rewritten == model


@pytest.mark.parametrize("opset", [11, 13, 20])
def test_opsets_differ_in_writing_only(opset):
    rewritten, _ = checked(exported(ABPN(features=4, layers=1), opset=opset, simplified=False))
    assert ops(rewritten) == sorted(["Conv"] * 4 + ["Relu"] * 3 + ["Concat", "Add", "DCR", "Clip"])


# Graphs that torch does not write

SHUFFLE = 'DepthToSpace <blocksize = 3, mode = "CRD">'


def graph(text: str, **constants: Array) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "own" : 1]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model


def weights(outputs: int = 27) -> Array:
    return np.random.default_rng(5).normal(size=(outputs, 3, 1, 1)).astype(np.float32)


HAND_WRITTEN = {
    "weights of two convolutions": (
        "Conv Conv DCR",
        f"""g (float[1,3,8,12] x) => (float[1,3,24,36] y, float[1,27,8,12] z) {{
            a = Conv (x, w)
            y = {SHUFFLE} (a)
            z = Conv (x, w)
        }}""",
    ),
    "a graph output": (
        "Conv Gather DCR",
        f"""g (float[1,3,8,12] x) => (float[1,3,24,36] y, float[1,27,8,12] a) {{
            a = Conv (x, w)
            y = {SHUFFLE} (a)
        }}""",
    ),
    "two equal graph outputs": (
        "Conv DCR Identity",
        f"""g (float[1,3,8,12] x) => (float[1,3,24,36] y, float[1,3,24,36] z) {{
            a = Conv (x, w)
            y = {SHUFFLE} (a)
            z = {SHUFFLE} (a)
        }}""",
    ),
    "names that the passes give": (
        "Conv Relu Neg DCR",
        f"""g (float[1,3,8,12] x) => (float[1,3,24,36] y) {{
            a = Conv (x, w)
            w_permuted = Relu (a)
            w_permuted_Gather = Neg (w_permuted)
            y = {SHUFFLE} (w_permuted_Gather)
        }}""",
    ),
    "there and back": (
        "Conv",
        """g (float[1,3,8,12] x) => (float[1,27,8,12] y) {
            a = Conv (x, w)
            b = Identity (a)
            c = Transpose <perm = [0, 2, 3, 1]> (b)
            d = Identity (c)
            y = Transpose <perm = [0, 3, 1, 2]> (d)
        }""",
    ),
    "the input as output": (
        "Identity",
        """g (float[1,3,8,12] x) => (float[1,3,8,12] y) {
            a = Transpose (x)
            y = Transpose (a)
        }""",
    ),
    "channels counted from the end": (
        "Abs Conv DCR",
        f"""g (float[1,3,8,12] x) => (float[1,3,24,36] y) <int64[3] i = {{-1, -2, -3}}> {{
            a = Conv (x, w)
            b = {SHUFFLE} (a)
            c = Abs (b)
            y = Gather <axis = -3> (c, i)
        }}""",
    ),
}


@pytest.mark.parametrize(("expected", "text"), HAND_WRITTEN.values(), ids=HAND_WRITTEN)
def test_graphs_by_hand_keep_names_and_values(text, expected):
    model = graph(text, w=weights())
    rewritten, _ = checked(model)
    assert ops(rewritten) == sorted(expected.split())
    for result, reference in zip(run(rewritten), run(model), strict=True):
        np.testing.assert_array_equal(result, reference)


def test_a_batch_is_shuffled_image_by_image():
    model = exported(Net(lambda n, x: crd_by_view(n.conv(x)), conv=conv(3, 27)), shape=(2, 3, 4, 5))
    rewritten, _ = checked(model)
    assert ops(rewritten) == ["Conv", "DCR"]
    batch = image((2, 3, 4, 5))
    np.testing.assert_array_equal(run(rewritten, batch)[0], run(model, batch)[0])


def test_weights_that_the_caller_may_override_stay():
    text = f"g (float[1,3,8,12] x, float[27,3,1,1] w) => (float[1,3,24,36] y) {{ a = Conv (x, w) y = {SHUFFLE} (a) }}"
    model = graph(text, w=weights())
    rewritten, _ = checked(model)
    assert ops(rewritten) == ["Conv", "DCR", "Gather"]
    for given_weights in (weights(), -weights()):
        results = [run(form, image(), given_weights)[0] for form in (model, rewritten)]
        np.testing.assert_array_equal(*results)


NOT_UNDERSTOOD = {
    "dynamic shape": f"""g (float[1,3,H,W] x) => (float[1,3,I,J] y) {{
        a = Conv (x, w)
        y = {SHUFFLE} (a)
    }}""",
    "operator of another domain": f"""g (float[1,3,8,12] x) => (float[1,3,24,36] y) {{
        a = own.Conv (x, w)
        y = {SHUFFLE} (a)
    }}""",
    "shape as an input": """g (float[1,3,8,12] x, int64[6] shape) => (float[1,3,1,8,1,12] y) {
        y = Reshape (x, shape)
    }""",
    "branches that read outer tensors": f"""g (float[1,27,8,12] x, bool c) => (float[1,3,24,36] y) {{
        a = Relu (x)
        b = {SHUFFLE} (a)
        y = If (c) <
            then_branch = t () => (float[1,3,24,36] u) {{ u = Relu (b) }},
            else_branch = e () => (float[1,3,24,36] v) {{ v = {SHUFFLE} (a) }}
        >
    }}""",
    "input to output": "g (float[1,3,8,12] x) => (float[1,3,8,12] y) { y = Identity (x) }",
    "wrong shape": """g (float[1,3,8,12] x) => (float[1,3,8,12] y) <int64[2] s = {5, 7}> {
        a = Reshape (x, s)
        y = Relu (a)
    }""",
}


@pytest.mark.parametrize("text", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_is_not_understood_is_left_alone(text):
    model = graph(text, w=weights())
    rewritten, changes = rewrite(model)
    assert changes == ()
    assert rewritten == model


# Any network


STEPS: dict[str, Callable[[int, int, int], nn.Module | None]] = {
    "conv": lambda c, size, k: conv(c, (4, 9, 12, 27)[k]),
    "depthwise": lambda c, size, k: conv(c, c, groups=c),
    "grouped": lambda c, size, k: conv(c, c, groups=3) if c % 3 == 0 else None,
    "transposed": lambda c, size, k: nn.ConvTranspose2d(c, c, 3, padding=1),
    "relu": lambda c, size, k: nn.ReLU(),
    "clip": lambda c, size, k: nn.Hardtanh(-1.0, 50.0),
    "silu": lambda c, size, k: nn.SiLU(),
    "prelu": lambda c, size, k: Net(lambda n, x: n.prelu(x), prelu=nn.PReLU(c)),
    "norm": lambda c, size, k: Net(lambda n, x: n.norm(x), norm=nn.BatchNorm2d(c)),
    "scale": lambda c, size, k: Net(lambda n, x: x * torch.linspace(-1, 1, c).view(c, 1, 1)),
    "residual": lambda c, size, k: Net(lambda n, x: x + n.conv(x), conv=conv(c, c)),
    "gated": lambda c, size, k: Net(lambda n, x: x * n.conv(x).sigmoid(), conv=conv(c, 1)),
    "shuffle": lambda c, size, k: nn.PixelShuffle(3) if c % 9 == 0 and size <= 8 else None,
    "dcr": lambda c, size, k: Net(lambda n, x: dcr_by_view(x)) if c % 9 == 0 and size <= 8 else None,
    "unshuffle": lambda c, size, k: nn.PixelUnshuffle(2) if size % 2 == 0 and c <= 9 else None,
    "channel shuffle": lambda c, size, k: (
        Net(lambda n, x: x.unflatten(1, (3, -1)).transpose(1, 2).flatten(1, 2)) if c % 3 == 0 else None
    ),
    "roll": lambda c, size, k: Net(lambda n, x: x[:, [*range(k, c), *range(min(k, c))]]),
    "flip": lambda c, size, k: Net(lambda n, x: x.flip(1 + k % 3)),
    "repeat": lambda c, size, k: Net(lambda n, x: torch.cat([x] * 3, 1)) if c <= 12 else None,
    "interleave": lambda c, size, k: Net(lambda n, x: x.repeat_interleave(3, 1)) if c <= 12 else None,
    "halves": lambda c, size, k: Net(lambda n, x: torch.cat(x.chunk(2, 1)[::-1], 1)),
    "sum": lambda c, size, k: Net(lambda n, x: sum(x.chunk(3, 1)[1:], x.chunk(3, 1)[0])) if c % 3 == 0 else None,
}


@given(steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3)), min_size=2, max_size=9))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_network_keeps_its_function(steps):
    torch.manual_seed(7)
    layers: list[nn.Module] = []
    x = torch.from_numpy(image((1, 3, 4, 8)))
    for name, k in steps:
        layer = STEPS[name](x.shape[1], x.shape[2], k)
        if layer is not None:
            layers.append(layer.eval())
            x = layer(x).detach()
    model = exported(nn.Sequential(*layers), shape=(1, 3, 4, 8), simplified=False)
    rewritten, _ = checked(model)
    assert "CRD" not in ops(rewritten)
    probe = image((1, 3, 4, 8))
    np.testing.assert_array_equal(run(rewritten, probe)[0], run(model, probe)[0])


# What it is for


@pytest.mark.slow
def test_abpn_converts_to_one_concatenation_and_one_depth_to_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.chdir(tmp_path)
    # onnx2tf would fetch this file from the network.
    np.save("calibration_image_sample_data_20x128x128x3_float32.npy", np.full((20, 128, 128, 3), 0.5, np.float32))
    import onnx2tf
    import tensorflow as tf

    rewritten, _ = rewrite(exported(ABPN()))
    keras = onnx2tf.convert(onnx_graph=rewritten, disable_model_save=True, non_verbose=True)
    content = tf.lite.TFLiteConverter.from_keras_model(keras).convert()
    interpreter = tf.lite.Interpreter(model_content=content)
    operators = [operator["op_name"] for operator in interpreter._get_ops_details()]
    assert operators.count("DEPTH_TO_SPACE") == operators.count("CONCATENATION") == 1
    assert "TRANSPOSE" not in operators
