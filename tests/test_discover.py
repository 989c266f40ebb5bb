"""Everything that can be dropped into ``submissions/``, and what is said of the rest."""

import os

import pytest

from mai_harness.discover import discover, named, read_submission
from mai_harness.errors import InvalidSubmission

MODEL = "from torch import nn\nclass Network(nn.Module): ...\n"


def folder(root, name, toml=None, **files):
    (root / name).mkdir(parents=True)
    if toml is not None:
        (root / name / "submission.toml").write_text(toml)
    for file, content in files.items():
        (root / name / file.replace("__", ".")).write_text(content)
    return root / name


@pytest.mark.parametrize("kind", ["onnx", "pt2", "keras", "tflite"])
def test_single_files(tmp_path, kind):
    (tmp_path / f"net.{kind}").write_bytes(b"x")
    found = read_submission(tmp_path / f"net.{kind}")
    assert (found.name, found.kind) == ("net", kind)


def test_torch_folder_with_manifest(tmp_path):
    toml = """
        name = "A net"
        authors = ["a", "b"]
        description = "d"
        factory = "Network"
        arguments = { width = 3 }
        [train]
        steps = 5
    """
    found = read_submission(folder(tmp_path, "net", toml, model__py=MODEL, weights__safetensors="w"))
    assert (found.name, found.title, found.kind, found.authors) == ("net", "A net", "torch", ("a", "b"))
    assert found.arguments == {"width": 3}
    assert found.weights == str(tmp_path / "net" / "weights.safetensors")
    assert found.train is not None
    assert found.train.steps == 5


def test_torch_folder_needs_no_manifest(tmp_path):
    found = read_submission(folder(tmp_path, "net", model__py=MODEL))
    assert (found.kind, found.title, found.weights) == ("torch", "net", None)


def test_one_author_may_be_a_string(tmp_path):
    assert read_submission(folder(tmp_path, "net", 'authors = "me"', model__py=MODEL)).authors == ("me",)


def test_manifest_may_name_another_format(tmp_path):
    assert read_submission(folder(tmp_path, "net", 'model = "net.onnx"', net__onnx="x")).kind == "onnx"


def test_challenge_package(tmp_path):
    found = read_submission(folder(tmp_path, "team", model__tflite="x", model_none__tflite="y"))
    assert (found.kind, found.dynamic_path) == ("tflite", str(tmp_path / "team" / "model_none.tflite"))


def test_saved_model_folder(tmp_path):
    assert read_submission(folder(tmp_path, "saved", saved_model__pb="x")).kind == "saved_model"


def test_fingerprint_follows_every_byte(tmp_path):
    path = folder(tmp_path, "net", "", model__py=MODEL)
    before = read_submission(path).fingerprint
    assert read_submission(path).fingerprint == before
    (path / "helper.txt").write_text("more")
    assert read_submission(path).fingerprint != before


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('autors = ["me"]', "did you mean 'authors'"),
        ("name = 3", "Expected `str"),
        ("name = [", "submission.toml"),
        ('model = "other.py"', "'other.py' is not there"),
        ('model = "../net/model.py/../../x.py"', "leaves the submission's folder"),
        ('weights = "w.pt"', "'w.pt' is not there"),
        ("[train]\nsteps = 5\nlearningrate = 1", "did you mean 'learning_rate'"),
        ("[train]\nsteps = -5", "steps"),
    ],
)
def test_a_faulty_manifest_is_told_with_its_place(tmp_path, toml, words):
    with pytest.raises(InvalidSubmission) as caught:
        read_submission(folder(tmp_path, "net", toml, model__py=MODEL))
    assert words in str(caught.value)


def test_rejections_do_not_hide_the_others(tmp_path):
    folder(tmp_path, "good", model__py=MODEL)
    folder(tmp_path, "empty")
    folder(tmp_path, "net")
    (tmp_path / "net.onnx").write_bytes(b"x")
    (tmp_path / "good.onnx").write_bytes(b"x")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "README.md").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / os.fsdecode(b"caf\xe9.onnx")).write_bytes(b"x")
    found, rejected = discover(tmp_path)
    assert [s.name for s in found] == ["good", "net"]
    assert {r.name for r in rejected} == {"empty", "net", "good.onnx", "loop", "caf\N{REPLACEMENT CHARACTER}.onnx"}
    assert "already named 'good'" in next(r.reason for r in rejected if r.name == "good.onnx")


def test_a_missing_folder_and_a_missing_name(tmp_path):
    with pytest.raises(InvalidSubmission, match="is not a folder"):
        discover(tmp_path / "nowhere")
    folder(tmp_path, "abpn", model__py=MODEL)
    folder(tmp_path, "empty")
    with pytest.raises(InvalidSubmission, match="did you mean 'abpn'"):
        named("abqn", *discover(tmp_path))
    with pytest.raises(InvalidSubmission, match="is no submission"):
        named("empty", *discover(tmp_path))
