"""Networks of entrants: found, built and filled, and nothing run that weights should not run."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from mai_harness.discover import read_submission
from mai_harness.errors import InvalidSubmission
from mai_harness.load import build_network

MODEL = """
from torch import nn
from helper import WIDTH

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 1)

class Network(nn.Module):
    def __init__(self, blocks=1):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))

def make(blocks):
    return Network(blocks)

def number():
    return 3
"""


@pytest.fixture
def build(tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "helper.py").write_text("WIDTH = 5\n")

    def build(manifest: str = ""):
        (folder / "submission.toml").write_text(manifest)
        submission = read_submission(folder)
        return build_network(submission, submission.weights)

    build.folder = folder
    return build


def test_the_last_module_is_the_network_and_may_import_its_neighbours(build):
    network = build()
    assert type(network).__name__ == "Network"
    assert not network.training
    assert network.blocks[0].conv.in_channels == 5


def test_a_factory_and_its_arguments(build):
    assert len(build('factory = "make"\narguments = { blocks = 3 }').blocks) == 3


def test_fresh_networks_of_a_seed_are_equal(build):
    first, second = (build("[train]\nsteps = 1\nseed = 7").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_weights_of_either_form_are_found_and_loaded(build, suffix):
    state = {name: torch.full_like(value, 0.5) for name, value in build().state_dict().items()}
    path = build.folder / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    assert all((value == 0.5).all() for value in build().state_dict().values())


class Payload:
    """Unpickled by the ordinary loader, it would leave a file."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_would_run_code_is_refused_unrun(build):
    target = build.folder.parent / "ran"
    (build.folder / "weights.pt").write_bytes(pickle.dumps(Payload(target)))
    with pytest.raises(InvalidSubmission, match=r"weights\.pt does not fit"):
        build()
    assert not target.exists()


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ('factory = "missing"', "defines no 'missing'"),
        ('factory = "number"', "returns int; expected a torch.nn.Module"),
        ('weights = "other.safetensors"', "does not fit the network"),
    ],
)
def test_what_does_not_fit_is_told(build, manifest, words):
    save_file({"x": torch.zeros(1)}, build.folder / "other.safetensors")
    with pytest.raises(InvalidSubmission, match=words):
        build(manifest)


def test_a_model_without_a_module_is_told(build):
    (build.folder / "model.py").write_text("x = 1\n")
    with pytest.raises(InvalidSubmission, match=r"defines no torch\.nn\.Module"):
        build()
