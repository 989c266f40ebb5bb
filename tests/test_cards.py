"""Weights that are shipped are those that their cards tell of, made by the recipes that stand beside them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mai_harness.datasets import find_dataset, load_pair
from mai_harness.discover import read_submission
from mai_harness.fake_quant import FakeQuantNetwork
from mai_harness.interpreter import TFLiteModel
from mai_harness.pipeline import CARD_FILE, WeightsCard
from mai_harness.tflite_rewrites import rewrite

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
WEIGHTS = sorted(SUBMISSIONS.rglob("*.safetensors"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("folder", sorted({path.parent for path in WEIGHTS}), ids=lambda folder: folder.name)
def test_weights_are_those_of_the_card(folder):
    card = msgspec.json.decode((folder / CARD_FILE).read_bytes(), type=WeightsCard)
    recipe = read_submission(folder).train
    assert card.command == f"mai-harness train {folder.name} --data DIR"
    assert card.training.weights_sha256 == sha256(folder / "weights.safetensors")
    assert card.training.recipe == msgspec.structs.replace(recipe, qat=None)
    assert card.training.validation_psnr_db > 25
    if recipe.start is not None:
        first = msgspec.json.decode((folder / recipe.start).with_suffix(".json").read_bytes(), type=WeightsCard)
        assert first.training.weights_sha256 == sha256(folder / recipe.start)
    assert len(card.training.images_sha256) == 64
    assert (card.qat is None) == (recipe.qat is None) == (not (folder / "learned.safetensors").exists())
    if card.qat is not None:
        assert card.qat.learned_sha256 == sha256(folder / "learned.safetensors")
        assert card.qat.recipe == recipe.qat
        assert card.qat.images_sha256 == card.training.images_sha256


def test_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS) < 20e6


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> dict:
    """What ``mai-harness convert abpn --json`` says."""
    out = str(tmp_path_factory.mktemp("out"))
    command = [sys.executable, "-m", "mai_harness", "convert", "abpn", "--json", "--out", out]
    done = subprocess.run(command, cwd=SUBMISSIONS.parent, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["embedded", "set14"])
def test_bytes_of_the_shipped_network_are_those_that_torch_learned(name, shipped, request):
    root = None if name == "embedded" else request.getfixturevalue("set14")
    int8 = TFLiteModel(Path(shipped["model"]["dynamic"]))
    calibrated = next(Path(shipped["model"]["float32"]).parent.glob("calibrated.tflite"))
    network = FakeQuantNetwork(rewrite(calibrated.read_bytes())[0])
    network.load_state_dict(load_file(SUBMISSIONS / "abpn" / "learned.safetensors"))
    within, values = 0, 0
    for pair in find_dataset(root).pairs:
        lr = load_pair(pair)[0]
        with torch.no_grad():
            expected = network(torch.from_numpy(lr.copy()).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
        difference = np.abs(np.rint(expected) - int8.run(lr))
        within, values = within + np.count_nonzero(difference <= 1), values + difference.size
    assert within / values >= 0.995
