"""From torch to INT8 in one process: ranges, readings, and tiles against whole runs, on small networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from mai_harness.calibrate import CALIBRATED_FILE, FLOAT_FILE, CalibrateRequest, calibrate
from mai_harness.datasets import calibration_frames, find_dataset
from mai_harness.errors import InvalidSubmission, ModelContractError
from mai_harness.fake_quant import FakeQuantNetwork
from mai_harness.interpreter import TFLiteModel
from mai_harness.metrics import psnr
from mai_harness.quantise import MENDED_FILE, STATIC_FILE, QuantiseRequest, quantise
from mai_harness.records import CalibrationFrame
from mai_harness.rewrites import rewrite
from mai_harness.tflite_graph import read_graph
from mai_harness.tflite_rewrites import rewrite as tflite_rewrite

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Network(nn.Module):
    """A convolution onto an anchor, depth-to-space, and a tail of choice."""

    def __init__(self, tail, scale: float = 1.0) -> None:
        super().__init__()
        self.tail, self.scale = tail, scale
        self.conv = nn.Conv2d(3, 27, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=0.05)

    def forward(self, x):
        x = x * self.scale
        return self.tail(self.conv(x) + x.repeat_interleave(9, 1))


class Deconvolution(nn.Module):
    """A transposed convolution, which fixes the size in the TFLite file."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 3, 9, stride=3, padding=4, output_padding=2)

    def forward(self, x):
        return self.up(F.relu(self.conv(x))).clamp(0, 255)


def shuffle(x):
    return F.pixel_shuffle(x, 3)


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> tuple[CalibrationFrame, ...]:
    folder = tmp_path_factory.mktemp("frames")
    found = []
    for name, frame in list(calibration_frames(find_dataset(None)))[:3]:
        path = folder / f"{len(found)}.npy"
        np.save(path, frame)
        found.append(CalibrationFrame(name=name, path=str(path)))
    return tuple(found)


def converted(network: nn.Module, frames, folder: Path):
    import onnx
    import onnxsim

    torch.manual_seed(0)
    path = folder / "net.onnx"
    given = torch.zeros(1, 3, 360, 640)
    torch.onnx.export(network.eval(), (given,), str(path), dynamo=False, opset_version=17)
    onnx.save(rewrite(onnxsim.simplify(onnx.load(path))[0])[0], path)
    calibration = calibrate(CalibrateRequest(kind="onnx", path=str(path), frames=frames), folder)
    return calibration, quantised(folder, frames, clipped=calibration.clipped_output)


def quantised(folder: Path, frames, *, clipped=True, **options):
    paths = {"calibrated": str(folder / CALIBRATED_FILE), "float32": str(folder / FLOAT_FILE)}
    return quantise(QuantiseRequest(**paths, clipped=clipped, probe=frames[0], **options), folder)


BOUNDED = {
    "clip behind the shuffle": Network(lambda x: shuffle(x).clamp(0, 255)),
    "clip before the shuffle": Network(lambda x: shuffle(x.clamp(0, 255))),
    "clip to [0, 1], then times 255": Network(lambda x: shuffle(x).clamp(0, 1) * 255, 1 / 255),
    "sigmoid, then times 255": Network(lambda x: torch.sigmoid(shuffle(x)) * 255, 1 / 255),
    "minimum and maximum": Network(lambda x: torch.minimum(F.relu(shuffle(x)), torch.tensor(255.0))),
}


@pytest.mark.parametrize("network", BOUNDED.values(), ids=BOUNDED)
def test_an_output_bounded_by_the_network_has_bytes_that_are_pixels(network, frames, tmp_path):
    calibration, report = converted(network, frames, tmp_path)
    int8 = TFLiteModel(tmp_path / STATIC_FILE)
    assert calibration.clipped_output
    assert int8.output == (1.0, 0)
    assert report.psnr_int8_to_float_db > 45  # a fake quantisation at the output left 24 dB of the third
    source = int8.graph.tensors[int8.graph.inputs[0]]
    assert (source.dtype, source.scales, source.zero_points) == ("uint8", (1.0,), (0,))
    assert {tensor.dtype for tensor in int8.graph.tensors} <= {"int8", "uint8", "int32"}
    assert report.dynamic
    assert calibration.parity[0].max_abs_difference < 0.01


@pytest.mark.parametrize("tail", [shuffle, lambda x: shuffle(F.relu(x))], ids=["no clip", "clipped below only"])
def test_an_unbounded_output_keeps_the_range_that_it_has(tail, frames, tmp_path):
    calibration, _ = converted(Network(tail), frames, tmp_path)
    assert not calibration.clipped_output
    low, high = calibration.output_range
    output = TFLiteModel(tmp_path / STATIC_FILE).output
    assert output.scale == pytest.approx((high - min(low, 0)) / 255, rel=0.02)
    assert output != (1.0, 0)
    lr = np.load(frames[0].path)
    given, mended = TFLiteModel(tmp_path / STATIC_FILE), TFLiteModel(tmp_path / MENDED_FILE)
    assert mended.output == (1.0, 0)
    pixels = np.clip(TFLiteModel(tmp_path / FLOAT_FILE).run(lr), 0, 255)
    assert psnr(mended.run(lr), pixels) > psnr(given.run(lr), pixels) + 3


def test_tiles_of_a_fixed_size_model_are_the_pixels_of_one_big_run(frames, tmp_path):
    network = Deconvolution()
    _, report = converted(network, frames, tmp_path)
    assert not report.dynamic
    model = TFLiteModel(tmp_path / FLOAT_FILE)
    for height, width in ((40, 90), (400, 300), (375, 700)):
        lr = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        with torch.no_grad():
            whole = network(torch.from_numpy(lr.transpose(2, 0, 1)[None].astype(np.float32)))
        expected = whole[0].numpy().transpose(1, 2, 0)
        np.testing.assert_allclose(model.upscale(lr), expected, atol=0.01)
    assert "overlapping tiles" in model.method


def test_rewrites_are_listed_and_can_be_left_out(frames, tmp_path):
    _, report = converted(BOUNDED["clip behind the shuffle"], frames, tmp_path)
    made = [rewrite_.id for rewrite_ in report.rewrites]
    assert made == ["saturating-tail", "anchor-convolution"]
    names = {id_: [op.name for op in read_graph(tmp_path / f"without-{id_}.tflite").ops] for id_ in made}
    assert "CONCATENATION" in names["anchor-convolution"]
    assert "MINIMUM" not in names["anchor-convolution"]
    assert "MINIMUM" in names["saturating-tail"]
    assert "CONCATENATION" not in names["saturating-tail"]
    plain = quantised(tmp_path, frames, without=tuple(made))
    assert plain.rewrites == ()
    assert {"MINIMUM", "CONCATENATION"} <= {op.name for op in read_graph(tmp_path / STATIC_FILE).ops}


def test_what_was_learned_reaches_the_file_and_another_graph_refuses_it(frames, tmp_path):
    converted(BOUNDED["clip behind the shuffle"], frames, tmp_path)
    graph = tflite_rewrite((tmp_path / CALIBRATED_FILE).read_bytes())[0]
    network = FakeQuantNetwork(graph)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + 0.03 * parameter.requires_grad)
    learned = tmp_path / "learned.safetensors"
    save_file(network.state_dict(), learned)
    report = quantised(tmp_path, frames, learned=str(learned))
    assert 0.995 <= report.learned_agreement <= 1
    model = read_graph(tmp_path / STATIC_FILE)
    (add,) = (op for op in model.ops if op.name == "ADD")
    (own,) = (op for op in network._ops if op.name == "ADD")
    scale = float(network._quantiser(own.inputs[0]).scale.detach())
    assert scale in [pytest.approx(model.tensors[index].scales[0], rel=1e-5) for index in add.inputs]
    with pytest.raises(InvalidSubmission, match="learned on another graph"):
        quantised(tmp_path, frames, learned=str(learned), without=("anchor-convolution", "saturating-tail"))


def test_nan_is_told(frames, tmp_path):
    with pytest.raises(ModelContractError, match="NaN"):
        converted(Network(lambda x: shuffle(x) * float("nan")), frames, tmp_path)
