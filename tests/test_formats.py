"""One network dropped in as every format: all give the same pixels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MODEL = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 27, 3, padding=1)
        self.shuffle = nn.PixelShuffle(3)

    def forward(self, x):
        y = torch.relu(self.first(x))
        return self.shuffle(self.last(y) + x.repeat_interleave(9, 1)).clamp(0.0, 255.0)
"""

# In a process of its own: exporting changes modes and threads of the importing process.
TORCH = """
import sys, torch
sys.path.insert(0, "submissions/as_torch")
from model import Network

network = Network().eval()
frame = torch.rand(1, 3, 360, 640) * 255
small = torch.rand(1, 3, 48, 64) * 255
named = dict(dynamo=False, opset_version=17, input_names=["lr"], output_names=["sr"])
torch.onnx.export(network, (frame,), "submissions/as_onnx_nchw.onnx", **named)
axes = {"lr": {0: "n", 2: "h", 3: "w"}, "sr": {0: "n", 2: "h", 3: "w"}}
torch.onnx.export(network, (small,), "submissions/as_onnx_any_size.onnx", dynamic_axes=axes, **named)
torch.export.save(torch.export.export(network, (small,)), "submissions/as_pt2.pt2")

class Nhwc(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

torch.onnx.export(Nhwc().eval(), (frame.permute(0, 2, 3, 1).contiguous(),), "submissions/as_onnx_nhwc.onnx", **named)
torch.save(network.state_dict(), "weights.pt")
"""

KERAS = """
import os, sys
legacy = sys.argv[1] == "2"
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
os.environ |= {"TF_USE_LEGACY_KERAS": "1"} if legacy else {}
import numpy as np, tensorflow as tf, torch
if legacy:
    import tf_keras as keras
else:
    import keras
state = {k: v.numpy() for k, v in torch.load("weights.pt", weights_only=True).items()}
# torch's order of channels is colour first, TensorFlow's depth-to-space has it last.
order = np.arange(27).reshape(3, 9).T.ravel()
x = keras.Input((None, None, 3))
first = keras.layers.Conv2D(8, 3, padding="same", activation="relu")
last = keras.layers.Conv2D(27, 3, padding="same")
y = keras.layers.Add()([last(first(x)), keras.layers.Concatenate()([x] * 9)])
first.set_weights([state["first.weight"].transpose(2, 3, 1, 0), state["first.bias"]])
last.set_weights([state["last.weight"][order].transpose(2, 3, 1, 0), state["last.bias"][order]])
if legacy:
    y = keras.layers.ReLU(255.0)(tf.nn.depth_to_space(y, 3))
    model = keras.Model(x, y)
    model.save("submissions/as_keras_2.keras")
    tf.saved_model.save(model, "submissions/as_saved_model")
else:
    y = keras.layers.ReLU(255.0)(y)
    frame = keras.layers.Reshape((360, 640, 3, 3, 3))
    fixed = keras.Input((360, 640, 3))
    z = frame(keras.Model(x, y)(fixed))
    z = keras.layers.Permute((1, 3, 2, 4, 5))(z)
    model = keras.Model(fixed, keras.layers.Reshape((1080, 1920, 3))(z))
    model.save("submissions/as_keras_3.keras")
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> dict:
    root = tmp_path_factory.mktemp("formats")
    (root / "photos").mkdir()
    blocks = np.random.default_rng(0).integers(0, 256, (20, 26, 3))
    Image.fromarray(np.kron(blocks, np.ones((9, 9, 1))).astype(np.uint8)).save(root / "photos" / "blocks.png")
    (root / "submissions" / "as_torch").mkdir(parents=True)
    (root / "submissions" / "as_torch" / "model.py").write_text(MODEL)
    for code, *arguments in ((TORCH,), (KERAS, "2"), (KERAS, "3")):
        script(code, *arguments, cwd=root)
    first = evaluate(root)
    package = root / "leaderboard" / "packages" / "as_torch"
    (package / "model.tflite").rename(root / "submissions" / "as_tflite.tflite")
    return first | evaluate(root, "as_tflite")


def script(code: str, *arguments: str, cwd: Path) -> None:
    path = cwd / "make.py"
    path.write_text(code)
    done = subprocess.run([sys.executable, path, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def evaluate(root: Path, *names: str) -> dict:
    command = [sys.executable, "-m", "mai_harness", "evaluate", *names, "--json", "--data", "photos", "--runs", "2"]
    kept = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(command, cwd=root, env=kept, capture_output=True, text=True, check=True)
    return {entry["name"]: entry for entry in json.loads(done.stdout)["submissions"]}


FORMATS = {
    "as_torch": "torch", "as_onnx_nchw": "onnx", "as_onnx_any_size": "onnx", "as_onnx_nhwc": "onnx", "as_pt2": "pt2",
    "as_keras_2": "keras", "as_keras_3": "keras", "as_saved_model": "saved_model", "as_tflite": "tflite",
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), FORMATS.items(), ids=FORMATS)
def test_every_format_is_evaluated_to_the_end(rows, name, kind):
    row = rows[name]
    assert row["failure"] is None
    assert row["kind"] == kind
    assert not [rule for rule in row["check"]["rules"] if rule["status"] == "fail"]
    reference = rows["as_torch"]["summary"]
    assert row["summary"]["psnr_raw_db"] == pytest.approx(reference["psnr_raw_db"], abs=0.05)
    if kind != "tflite":
        assert row["summary"]["psnr_fp32_db"] == pytest.approx(reference["psnr_fp32_db"], abs=1e-3)
        assert all(parity["max_abs_difference"] < 0.01 for parity in row["calibrate"]["parity"])


def test_torch_and_onnx_become_one_and_the_same_network(rows):
    kinds = {name: row["check"]["tensors"] for name, row in rows.items() if row["kind"] in ("torch", "onnx", "pt2")}
    operators = {name: sorted(t["made_by"].split()[0] for t in tensors) for name, tensors in kinds.items()}
    assert all(found == operators["as_torch"] for found in operators.values()), operators
    assert {"DEPTH_TO_SPACE", "CONV_2D", "ADD"} < set(operators["as_torch"])
    assert not {"TRANSPOSE", "GATHER", "RESHAPE", "TILE", "CONCATENATION"} & set(operators["as_torch"])


def test_a_tflite_file_has_no_float_twin_and_is_taken_as_it_is(rows):
    assert rows["as_tflite"]["summary"]["psnr_fp32_db"] is None
    assert rows["as_tflite"]["summary"]["psnr_raw_db"] == rows["as_torch"]["summary"]["psnr_raw_db"]
    assert rows["as_tflite"]["check"]["facts"] == rows["as_torch"]["check"]["facts"]
