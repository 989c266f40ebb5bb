"""Weights that are shipped are those that their cards tell of, made by the recipes that stand beside them."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from mai_harness.discover import read_submission
from mai_harness.pipeline import CARD_FILE, WeightsCard

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
    assert len(card.training.images_sha256) == 64
    assert (card.qat is None) == (recipe.qat is None) == (not (folder / "learned.safetensors").exists())
    if card.qat is not None:
        assert card.qat.learned_sha256 == sha256(folder / "learned.safetensors")
        assert card.qat.recipe == recipe.qat
        assert card.qat.images_sha256 == card.training.images_sha256


def test_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS) < 20e6
