"""Everything that can be dropped into ``submissions/``, and what is said of the rest."""

import hashlib
import os

import pytest

from mai_harness import discover as module
from mai_harness.discover import discover, named, read_submission, study_folders
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
    assert {r.name for r in rejected} == {"empty", "net (2)", "good.onnx", "loop", "caf\N{REPLACEMENT CHARACTER}.onnx"}
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


def test_a_fingerprint_stays_what_it_was_when_results_were_committed(tmp_path):
    path = folder(tmp_path, "net", 'name = "x"', model__py=MODEL, weights__safetensors="w" * 3_000_000)
    (path / "sub").mkdir()
    (path / "sub" / "a.bin").write_bytes(b"\0\xff")
    (path / "sub.txt").write_text("sorted by parts")
    (path / "copy.txt").symlink_to("sub/a.bin")
    (path / "again").symlink_to("sub")
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "model.pyc").write_bytes(b"x")
    assert read_submission(path).fingerprint == as_it_was(path)
    (tmp_path / "net.onnx").write_bytes(b"x" * 2_000_000)
    assert read_submission(tmp_path / "net.onnx").fingerprint == as_it_was(tmp_path / "net.onnx")


def as_it_was(path):
    inside = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else inside:
        digest.update(str(file.relative_to(path.parent)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def test_the_repositorys_own_submissions_have_the_fingerprints_that_they_had(repository):
    found, rejected = discover(repository / "submissions")
    assert (len(found), rejected) == (4, [])
    for study in study_folders(repository / "submissions"):
        inside, rejected = discover(study)
        assert rejected == []
        found += inside
    assert all(s.fingerprint == as_it_was(module.Path(s.root)) for s in found)


def test_a_rejection_never_has_the_name_of_another_row(tmp_path):
    folder(tmp_path, "net", model__py=MODEL)
    folder(tmp_path, "net.tflite.v", model__py=MODEL)
    (tmp_path / "net.tflite.onnx").write_bytes(b"x")
    folder(tmp_path, "net.tflite")
    folder(tmp_path, "caf\N{REPLACEMENT CHARACTER}")
    for name in (b"caf\xe9", b"caf\xff", b"caf\x01"):
        (tmp_path / os.fsdecode(name)).mkdir()
    found, rejected = discover(tmp_path)
    names = [each.name for each in (*found, *rejected)]
    assert len(names) == len(set(names)) == 8
    assert {"net.tflite", "net.tflite (2)"} <= set(names)
    assert all(each.name.isprintable() and each.reason for each in rejected)


@pytest.mark.parametrize("other", ["NET_1", "n\u00e9t_1", "n\u0435t_1", "\uff4eet_1", "net _1"])
def test_of_names_that_look_alike_one_is_left(tmp_path, other):
    folder(tmp_path, "net_1", model__py=MODEL)
    folder(tmp_path, other, model__py=MODEL)
    found, rejected = discover(tmp_path)
    assert len(found) == len(rejected) == 1
    assert f"named like {found[0].name!r}" in rejected[0].reason
    if not other.isascii():
        assert found[0].name == "net_1"


def test_no_name_is_the_folder_in_which_another_keeps_its_results(tmp_path):
    kept = f"my-net-{hashlib.sha256(b'my net').hexdigest()[:12]}"
    for name in ("my net", kept):
        folder(tmp_path, name, model__py=MODEL)
    found, rejected = discover(tmp_path)
    assert ([s.name for s in found], [r.name for r in rejected]) == (["my net"], [kept])
    folder(tmp_path, "abpn.learn", model__py=MODEL)
    assert "the harness's own" in discover(tmp_path)[1][0].reason


@pytest.mark.parametrize("title", ["abpn", "ABPN", "\u0430bpn", "ab\u200bpn"])
def test_a_title_that_is_anothers_gives_way_to_the_name(tmp_path, title):
    folder(tmp_path, "abpn", 'name = "The winner"', model__py=MODEL)
    folder(tmp_path, "mine", f'name = "{title}"', model__py=MODEL)
    folder(tmp_path, "other", 'name = "Other"', model__py=MODEL)
    titles = {s.name: s.title for s in discover(tmp_path)[0]}
    assert titles["mine"] == "mine"
    assert titles["other"] == "Other"


def test_words_are_freed_of_what_does_not_print(tmp_path):
    toml = r"""
        name = " A\u001b[31m\u202e  net\u0000\n"
        authors = ["\u0007", "me\tand\nyou", "\uFEFFshe"]
        description = "one\r\ntwo\u0085\u0000\tthree \U0001F469\u200D\U0001F52C"
    """
    found = read_submission(folder(tmp_path, "net", toml, model__py=MODEL))
    assert found.title == "A[31m net"
    assert found.authors == ("me and you", "she")
    assert found.description == "one\ntwo\tthree \U0001f469\u200d\U0001f52c"
    nothing = read_submission(folder(tmp_path, "blank", 'name = "\\u0000 "', model__py=MODEL))
    assert nothing.title == "blank"


def test_links_within_a_submission_are_followed_and_others_are_not(tmp_path):
    path = folder(tmp_path, "net", model__py=MODEL, weights_1__safetensors="w")
    (path / "weights.safetensors").symlink_to("weights_1.safetensors")
    assert read_submission(path).weights == str(path / "weights.safetensors")
    (tmp_path / "same").symlink_to("net")
    (tmp_path / "out").symlink_to("/etc")
    found, rejected = discover(tmp_path)
    assert [s.name for s in found] == ["net", "same"]
    assert "leads out" in rejected[0].reason
    (path / "extra").symlink_to("/etc/hostname")
    with pytest.raises(InvalidSubmission, match=r"net/extra is a link that leads out of the submission"):
        read_submission(path)


def test_a_study_is_a_plain_folder_with_a_plain_file(tmp_path):
    folder(tmp_path, "study", model__py=MODEL, study__toml="x")
    folder(tmp_path, "net", model__py=MODEL)
    os.mkfifo(tmp_path / "net" / "study.toml")
    (tmp_path / "linked").symlink_to("/etc")
    assert [path.name for path in study_folders(tmp_path)] == ["study"]
    found, rejected = discover(tmp_path)
    assert found == []
    assert {r.name for r in rejected} == {"net", "linked"}


def test_limits_hold_and_are_told(tmp_path, monkeypatch):
    path = folder(tmp_path, "net", model__py=MODEL)
    for limit, value, words in (
        ("MAX_BYTES", 10, "has more than 0 MiB"),
        ("MAX_FILES", 0, "has more than 0 files and folders"),
        ("MAX_DEPTH", 0, "net/model.py is deeper than 0 folders"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, limit, value)
            with pytest.raises(InvalidSubmission, match=words):
                read_submission(path)
    read_submission(path)


def test_no_error_of_one_entry_loses_the_others(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        folder(tmp_path, name, model__py=MODEL)
    errors = iter([MemoryError(), RecursionError("deep"), PermissionError(13, "Permission denied")])
    real = module.parts_of

    def parts_of(path):
        if path.name == "b":
            return real(path)
        raise next(errors)

    monkeypatch.setattr(module, "parts_of", parts_of)
    found, rejected = discover(tmp_path)
    assert [s.name for s in found] == ["b"]
    assert [r.reason for r in rejected] == ["a cannot be read: MemoryError", "c cannot be read: deep"]
