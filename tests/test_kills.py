"""What is damaged is never taken for finished, and runs that are stopped in any way end as undisturbed ones do."""

import os
import random
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
import run_kills
from run_kills import damage, ended, evaluating, faults, killed, make, outcome

from mai_harness import isolate
from mai_harness.errors import StageFailed
from mai_harness.isolate import ANSWER, REPLY, LeftFile, Reply, intact_reply, run_isolated, stored_reply
from mai_harness.pipeline import Owner, Settings, Workshop
from mai_harness.records import Rejection
from mai_harness.storage import part_of, sealed

HOW = ["halved", "emptied", "zeroed", "gone", "one bit turned"]
REQUEST = Rejection(name="a", reason="b")
STAGES = """
import errno, os, time
from pathlib import Path
from mai_harness.records import Rejection

def leaves(request: Rejection, folder: Path) -> Rejection:
    with open("runs.txt", "a") as file:
        file.write("run ")
    Path("model.bin").write_bytes(bytes(range(256)))
    Path("trial").mkdir(exist_ok=True)
    Path("trial/0.npy").write_bytes(b"much")
    return Rejection(name=Path("runs.txt").read_text(), reason="done")

def links(request: Rejection, folder: Path) -> Rejection:
    for name in ("reply.json", ".reply.json.part", "request.json", "log.txt", "answer.json"):
        Path(name).unlink(missing_ok=True)
        os.symlink(request.reason, name)
    time.sleep(60)

def folders(request: Rejection, folder: Path) -> Rejection:
    for name in ("reply.json", ".reply.json.part"):
        Path(name).mkdir()
    Path(os.fsdecode(b"\\xff")).write_text("not UTF-8")
    return request

def has_no_space(request: Rejection, folder: Path) -> Rejection:
    raise OSError(errno.ENOSPC, "No space left on device")
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    (tmp_path / "leaving.py").write_text(STAGES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(name: str = "leaves", timeout_s: float = 60.0, request: Rejection = REQUEST) -> Rejection:
        return run_isolated(f"leaving:{name}", request, tmp_path / "work", Rejection, timeout_s)

    return run


@pytest.fixture
def left(tmp_path) -> Path:
    """A folder with a file and a reply that knows it."""
    folder = tmp_path / "left"
    (folder / "trial").mkdir(parents=True)
    (folder / "model.bin").write_bytes(bytes(range(256)))
    (folder / "trial" / "0.npy").write_bytes(b"much")
    isolate._keep(Reply(report=REQUEST), folder)
    return folder


def test_what_is_as_it_was_left_is_intact(left):
    reply = intact_reply(left)
    assert reply is not None
    assert set(reply.files) == {"model.bin", "trial/0.npy"}
    assert msgspec.convert(reply.report, Rejection) == REQUEST


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", [REPLY, "model.bin", "trial/0.npy"])
def test_what_is_damaged_is_not_finished(left, name, how):
    damage(left / name, how)
    assert intact_reply(left) is None
    assert (stored_reply(left) is None) == (name == REPLY)


def test_a_folder_that_was_removed_as_a_whole_is_not_missed(left):
    damage(left / "trial" / "0.npy", "gone")
    (left / "trial").rmdir()
    assert intact_reply(left) is not None


def test_of_large_files_the_size_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(isolate, "HASH_LIMIT_BYTES", 100)
    (tmp_path / "large.bin").write_bytes(bytes(101))
    isolate._keep(Reply(report=REQUEST), tmp_path)
    reply = intact_reply(tmp_path)
    assert reply is not None
    assert (reply.files["large.bin"].size, reply.files["large.bin"].sha256) == (101, "")
    damage(tmp_path / "large.bin", "halved")
    assert intact_reply(tmp_path) is None


def test_every_bit_of_a_reply_counts(left):
    whole = (left / REPLY).read_bytes()
    for place in range(0, len(whole), 5):
        (left / REPLY).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert stored_reply(left) is None, place


def test_a_damaged_stage_runs_again_without_what_was_damaged(stage, tmp_path):
    assert stage().name == "run "
    damage(tmp_path / "work" / "runs.txt", "one bit turned")
    damage(tmp_path / "work" / "model.bin", "zeroed")
    assert intact_reply(tmp_path / "work") is None
    assert stage().name == "run "  # the damaged one was not gone on from
    assert intact_reply(tmp_path / "work") is not None
    assert not (tmp_path / "work" / ANSWER).exists()


def test_the_workshop_does_not_take_it_for_finished(left, tmp_path):
    workshop = Workshop(Settings(out=tmp_path), lambda line: None)
    owner = Owner("net", "f")
    folder = workshop.folder(owner, "score", REQUEST)
    folder.parent.mkdir(parents=True)
    left.rename(folder)
    assert workshop.finished(owner, "score", REQUEST, Rejection) == REQUEST
    damage(folder / "model.bin", "halved")
    assert workshop.finished(owner, "score", REQUEST, Rejection) is None


def test_no_link_of_a_child_is_written_through(stage, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    for _ in range(2):  # the second begins with what the first left
        with pytest.raises(StageFailed, match="still running"):
            stage("links", 2.0, Rejection(name="a", reason=str(outside)))
    assert outside.read_text() == "mine"


def test_links_of_a_run_that_was_killed_are_not_written_through(stage, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    work = tmp_path / "work"
    work.mkdir()
    for name in (REPLY, part_of(work / REPLY).name, "request.json", "log.txt", ANSWER):
        (work / name).symlink_to(outside)
    assert stage().reason == "done"
    assert outside.read_text() == "mine"


def test_a_reply_of_a_childs_own_making_has_nothing_removed_elsewhere(stage, tmp_path):
    outside, work = tmp_path / "outside.txt", tmp_path / "work"
    outside.write_text("mine")
    work.mkdir()
    files = {name: LeftFile(size=1) for name in ("../outside.txt", str(outside), "model.bin")}
    (work / REPLY).write_bytes(sealed(Reply(report=REQUEST, files=files)))  # its parent was killed before it ended
    assert stage().reason == "done"
    assert outside.read_text() == "mine"


def test_folders_and_names_of_a_childs_making_are_no_obstacle(stage, tmp_path):
    assert stage("folders") == REQUEST
    assert intact_reply(tmp_path / "work") is not None


def test_a_lack_of_space_is_no_lasting_failure(stage, tmp_path, monkeypatch):
    with pytest.raises(StageFailed, match="No space left"):
        stage("has_no_space")
    assert stored_reply(tmp_path / "work") is None
    monkeypatch.setattr(isolate, "FULL_BYTES", 1 << 60)
    with pytest.raises(OSError, match="No space left"):
        stage()
    assert stored_reply(tmp_path / "work") is None


def test_a_reply_is_json_with_its_checksum(left):
    reply = stored_reply(left)
    assert reply is not None
    assert (left / REPLY).read_bytes() == sealed(reply)


# End to end


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="module")
def right(place) -> Path:
    """The folder of an undisturbed evaluation; but for a second run, which is refused."""
    out = place / "right"
    first = subprocess.Popen(evaluating(out), cwd=place, env=run_kills.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while not (out / "work" / "data").exists():
        assert first.poll() is None
        time.sleep(0.05)
    second = ended(evaluating(out), place)
    assert (second.returncode, "another run is using" in second.stderr) == (2, True)
    told = first.communicate()[1]
    assert first.returncode == 0, told
    return out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_five_times_nothing_is_lost(place, right):
    out, draw = place / "killed", random.Random(os.getpid())
    for seconds in (draw.uniform(0, 12) for _ in range(5)):
        killed(evaluating(out), place, seconds)
        assert faults(out, right) == [], seconds
    done = ended(evaluating(out), place)
    assert (done.returncode, faults(out, right)) == (0, []), done.stderr
    assert outcome(out) == outcome(right)
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_power_cut_damaged_is_mended_and_nothing_else_runs(place, right):
    before, work = outcome(right), right / "work"
    damaged = {
        "data/prepare-*/*.npy": "zeroed", "net/export-*/model.onnx": "halved", "net/calibrate-*/reply.json": "halved",
        "net/quantise-*/model.tflite": "emptied", "net/score-*/reply.json": "zeroed", "net/gallery-*/*.webp": "gone",
    }  # fmt: skip
    for pattern, how in damaged.items():
        damage(next(iter(work.glob(pattern))), how)
    done = ended(evaluating(right), place)
    assert done.returncode == 0, done.stderr
    assert (outcome(right) == before, faults(right, right)) == (True, [])
    ran = {line.partition("] ")[2].partition(": ")[2] or line for line in done.stderr.splitlines()}
    stages = {"prepare", "export", "calibrate", "quantise", "score", "upscale", "gallery"}
    assert ran & {"check", "examine", "appraise", "benchmark", "yardstick"} == set()
    assert stages - {"prepare"} <= ran
