"""Recipes, schedules, the optimiser, and training that a kill does not change."""

import math
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import nn

from mai_harness import fit as loop
from mai_harness.decode import DecodeRequest, ImageFile, decode
from mai_harness.discover import read_submission
from mai_harness.errors import HarnessError, InvalidSubmission
from mai_harness.fit import Trainer, fit, launch, patch_loader
from mai_harness.isolate import Reply, _environment
from mai_harness.optimiser import make_optimisers
from mai_harness.patches import Decoded, Images
from mai_harness.records import Phase, TrainRecipe
from mai_harness.train import TrainRequest, train


class Small(nn.Module):
    """A network with kernels, biases and numbers drawn in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.Dropout(0.1), nn.Conv2d(8, 27, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pixel_shuffle(self.body(x) + x.repeat_interleave(9, 1), 3)


def phase(**given) -> Phase:
    return Phase(**{"steps": 12, "batch": 4, "patch": 8, "seed": 3, **given})


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    files = []
    for index in range(3):
        smooth = np.kron(rng.integers(0, 256, (12, 14, 3)), np.ones((6, 6, 1))).astype(np.uint8)
        Image.fromarray(smooth).save(folder / f"{index}.png")
        files.append(ImageFile.at(folder / f"{index}.png"))
    return Images(folder, decode(DecodeRequest(images=tuple(files)), folder).pictures)


def trained(images: Images, folder: Path, validate: bool = False, tell=lambda _: None, **given) -> tuple:
    folder.mkdir(exist_ok=True)
    network = Small()
    nothing = images.of([])
    done = fit(
        Fabric(accelerator="cpu"), network, images, images if validate else nothing, phase(**given), folder, tell
    )
    return network.state_dict(), done


def equal(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# Recipes


def recipe(tmp_path: Path, toml: str) -> TrainRecipe:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "model.py").write_text("")
    (folder / "submission.toml").write_text(toml)
    found = read_submission(folder).train
    assert found is not None
    return found


def test_desk_is_the_base_without_a_preset(tmp_path):
    found = recipe(tmp_path, "[train]\nsteps = 45000\nlearning_rate = 2e-3\nseed = 1\n")
    assert (found.preset, found.steps, found.learning_rate, found.seed) == ("desk", 45000, 2e-3, 1)
    assert (found.optimiser, found.schedule, found.bfloat16, found.float32_share) == ("soap", "cosine", True, 0.1)
    assert found.qat is None


def test_paper_is_the_published_configuration(tmp_path):
    found = recipe(tmp_path, '[train]\npreset = "paper"\n[train.qat]\nseed = 5\n')
    assert (found.steps, found.batch, found.patch, found.learning_rate) == (1_000_000, 16, 64, 1e-3)
    assert (found.optimiser, found.schedule, found.halve_every, found.bfloat16) == ("adam", "halving", 200_000, False)
    assert found.qat is not None
    assert (found.qat.steps, found.qat.learning_rate, found.qat.halve_every, found.qat.seed) == (
        200_000,
        1e-4,
        50_000,
        5,
    )


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('preset = "fast"', "'fast' - at `$.train.preset`; known are desk, paper"),
        ('optimiser = "sgd"', "'sgd' - at `$.train.optimiser`; known are adam, soap"),
        ('[train.qat]\nschedule = "step"', "'step' - at `$.train.qat.schedule`; known are cosine, halving"),
        ("learning_rat = 1", "did you mean 'learning_rate'"),
        ("[train.qat]\nstep = 1", "did you mean 'steps'"),
        ("batch = 0", "`int` >= 1 - at `$.train.batch`"),
        ("l2_share = 1.5", "<= 1.0 - at `$.train.l2_share`"),
        ('schedule = "halving"', "needs halve_every"),
        ("preset = 3", "Expected `str`"),
    ],
)
def test_a_faulty_recipe_is_told_with_its_place(tmp_path, toml, words):
    with pytest.raises(InvalidSubmission) as caught:
        recipe(tmp_path, f"[train]\n{toml}\n")
    assert words in str(caught.value)


def test_cosine_rises_and_falls_to_nothing():
    found = phase(steps=1000, warmup=0.05)
    assert [found.rate(step) for step in (0, 24, 49, 50)] == pytest.approx([0.02, 0.5, 1, 1])
    assert found.rate(525) == pytest.approx(0.5)
    assert found.rate(999) < 1e-5
    assert phase(steps=1, warmup=0).rate(0) == 1


def test_halving_halves():
    found = phase(steps=1000, schedule="halving", halve_every=200)
    assert [found.rate(step) for step in (0, 199, 200, 999)] == [1, 1, 0.5, 0.0625]


# The optimiser


def test_soap_leaves_what_is_no_kernel_to_adam():
    network = Small()
    groups = [{"params": list(network.parameters()), "lr": 0.5}]
    soap, adam = make_optimisers(phase(optimiser="soap"), groups)
    assert {p.ndim for group in soap.param_groups for p in group["params"]} == {4}
    assert {p.ndim for p in adam.param_groups[0]["params"]} == {1}
    assert soap.param_groups[0]["lr"] == adam.param_groups[0]["lr"] == 0.5
    groups = [*soap.param_groups, *adam.param_groups]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


# The loop


def test_a_network_learns(images, tmp_path):
    given = {"steps": 120, "learning_rate": 1e-2, "optimiser": "soap", "bfloat16": True}
    lines: list[str] = []
    _, done = trained(images, tmp_path, validate=True, tell=lines.append, **given)
    first = trained(images, tmp_path / "short", steps=1)[1]
    assert done.final_loss < first.final_loss * 0.8
    assert done.validation_psnr_db is not None
    assert any(line.startswith("step 120 of 120, loss ") and line.endswith(" 0 s left") for line in lines)
    again = trained(images, tmp_path, validate=True, **given)[1]
    assert (again.final_loss, again.validation_psnr_db) == (done.final_loss, done.validation_psnr_db)
    assert again.seconds == done.seconds
    assert "tensorflow" not in sys.modules or "tensorboard.compat.notf" in sys.modules


def test_validation_and_logging_leave_the_trajectory_alone(images, tmp_path, monkeypatch):
    plain = trained(images, tmp_path / "plain")[0]
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(loop, "VALIDATE_EVERY", 2)
    assert equal(plain, trained(images, tmp_path / "watched", validate=True)[0])


def test_curves_go_on_in_the_same_folder(images, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 4)

    class Stopped(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("step 6 "):
            raise Stopped

    monkeypatch.setattr(loop, "TELL_EVERY_S", 0.0)
    with pytest.raises(Stopped):
        trained(images, tmp_path, tell=stop)
    trained(images, tmp_path)
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("loss in grey levels")] == [2, 4, 6, 8, 10, 12]
    assert set(curves.Tags()["scalars"]) == {"loss in grey levels", "learning rate", "steps per second"}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import pickle, test_train

def kill(line):
    if line.startswith("step 9 "):
        os.kill(os.getpid(), signal.SIGKILL)

test_train.trained_often_saved(pickle.loads({images!r}), Path({folder!r}), {optimiser!r}, kill)
"""


def trained_often_saved(images: Images, folder: Path, optimiser: str, tell=lambda _: None) -> tuple:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_EVERY", 3)
        patch.setattr(loop, "LOG_EVERY", 3)
        patch.setattr(loop, "TELL_EVERY_S", 0.0)
        torch.set_num_threads(1)
        return trained(images, folder, tell=tell, optimiser=optimiser, bfloat16=True, l2_share=0.2)


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_killed_training_ends_with_the_weights_of_an_unbroken_one(images, tmp_path, optimiser):
    unbroken, done = trained_often_saved(images, tmp_path / "unbroken", optimiser)
    folder = tmp_path / "broken"
    code = KILLED.format(
        tests=str(Path(__file__).parent), images=pickle.dumps(images), folder=str(folder), optimiser=optimiser
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 6
    broken, done_too = trained_often_saved(images, folder, optimiser)
    assert equal(unbroken, broken)
    assert done_too.final_loss == done.final_loss
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("left", [b"", b"PK" * 5000, bytes(10_000)])
def test_a_damaged_checkpoint_is_begun_anew(images, tmp_path, left):
    unbroken, _ = trained_often_saved(images, tmp_path / "unbroken", "adam")
    checkpoint = tmp_path / "broken" / "checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(left)
    again, _ = trained_often_saved(images, checkpoint.parent, "adam")
    assert equal(unbroken, again)


def test_the_last_share_has_squares_for_a_loss(images, tmp_path):
    """One step of plain descent tells which gradient it had."""
    lr, hr = (torch.from_numpy(image[None].copy()).permute(0, 3, 1, 2) for image in images[0])
    for step, exponent in ((4, 1), (5, 2)):
        trainer = Trainer(Fabric(accelerator="cpu"), Small().eval(), phase(steps=10, l2_share=0.5))
        trainer.network.eval()
        told = trainer.step(step, lr, hr).item()
        twin = Small().eval()
        error = (twin(lr.float()) - hr.float()).abs()
        assert told == pytest.approx(error.mean().item(), rel=1e-5)
        error.pow(exponent).mean().backward()
        for own, expected in zip(trainer.network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(own.grad, expected.grad, rtol=1e-3, atol=1e-4)


def test_squares_begin_with_fresh_moments():
    trainer = Trainer(Fabric(accelerator="cpu"), Small(), phase(steps=10, l2_share=0.5))
    lr, hr = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.full((1, 3, 24, 24), 99, dtype=torch.uint8)
    counts = []
    for step in range(4, 7):
        trainer.step(step, lr, hr)
        counts.append(int(next(iter(trainer.optimisers[0].state.values()))["step"]))
    assert counts == [1, 1, 2]


def test_groups_keep_their_own_rate_and_frozen_weights_stay():
    network = Small()
    first, last = network.body[0], network.body[3]
    before = last.weight.clone()
    groups = [{"params": list(first.parameters()), "lr": 0.25}]
    trainer = Trainer(Fabric(accelerator="cpu"), network, phase(steps=10, warmup=0.5), parameters=groups)
    trainer.step(0, torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 24, 24, dtype=torch.uint8))
    assert trainer.optimisers[0].param_groups[0]["lr"] == pytest.approx(0.25 / 5)
    assert torch.equal(last.weight, before)


def test_a_loss_that_is_no_number_ends_training(images, tmp_path):
    with pytest.raises(HarnessError, match="no longer finite by step 12; try a lower learning_rate"):
        trained(images, tmp_path, learning_rate=1e30)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_batch_that_devices_cannot_share_is_told(images):
    class Three:
        world_size, global_rank = 3, 0

    with pytest.raises(HarnessError, match="batch of 4 cannot be shared out evenly to 3 devices"):
        patch_loader(Three(), images, phase(), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("confined", [True, False])
def test_only_training_sees_gpus(monkeypatch, tmp_path, confined):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert _environment(tmp_path, gpu=False, confined=confined)["CUDA_VISIBLE_DEVICES"] == "-1"
    assert _environment(tmp_path, gpu=True, confined=confined)["CUDA_VISIBLE_DEVICES"] == "2,3"


def on_each(fabric: Fabric, images: Images, folder: Path) -> tuple:
    network = Small()
    network.body[2] = nn.Identity()  # processes drop out different numbers
    done = fit(fabric, network, images, images, phase(steps=40, learning_rate=1e-4), folder, lambda _: None)
    return {name: value.numpy() for name, value in network.state_dict().items()}, done


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_two_processes_take_the_steps_of_one(images, tmp_path):
    results = []
    for devices in (1, 2):
        (tmp_path / str(devices)).mkdir()
        results.append(launch(on_each, devices, images, tmp_path / str(devices)))
    (one, alone), (two, together) = results
    # Adam divides by the gradient's size: where that is rounding alone, so is the step.
    assert together.final_loss == pytest.approx(alone.final_loss, rel=2e-4)
    assert together.validation_psnr_db == pytest.approx(alone.validation_psnr_db, abs=1e-2)
    assert one.keys() == two.keys()
    assert math.isfinite(together.seconds)


def test_training_goes_on_from_given_weights(images, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "model.py").write_text(
        "from torch import nn\n\nclass Network(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(nn.Conv2d(3, 27, 3, padding=1), nn.PixelShuffle(3))\n"
    )
    given = {"0.weight": torch.rand(27, 3, 3, 3), "0.bias": torch.rand(27)}
    save_file(given, folder / "start.safetensors")
    toml = '[train]\nstart = "start.safetensors"\nsteps = 1\npatch = 8\nlearning_rate = 1e-9\noptimiser = "adam"\n'
    (folder / "submission.toml").write_text(toml)
    (images.folder / "reply.json").write_bytes(msgspec.json.encode(Reply(report=Decoded(pictures=images.pictures))))
    submission = read_submission(folder)
    request = TrainRequest(
        submission=submission,
        recipe=submission.train,
        images=str(images.folder),
        start=str(folder / "start.safetensors"),
    )
    train(request, tmp_path)
    made = load_file(tmp_path / "weights.safetensors")
    assert all(torch.allclose(made[name], given[name], atol=1e-6) for name in given)
