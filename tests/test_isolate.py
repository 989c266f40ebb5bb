"""What a stage does in its child never reaches the parent but as a reason."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mai_harness.errors import StageFailed
from mai_harness.isolate import run_isolated, stored_reply
from mai_harness.records import Rejection

STAGES = """
import os, signal, sys, time
from pathlib import Path
from mai_harness.errors import ModelContractError
from mai_harness.records import Rejection

def answers(request: Rejection, folder: Path) -> Rejection:
    (folder / "made.txt").write_text("here")
    return Rejection(name=request.name.upper(), reason="done")

def refuses(request: Rejection, folder: Path) -> Rejection:
    raise ModelContractError("maps 3 to 4; expected 3")

def raises(request: Rejection, folder: Path) -> Rejection:
    raise ZeroDivisionError("by nought\\nsecond line")

def exits(request: Rejection, folder: Path) -> Rejection:
    sys.exit(0)

def segfaults(request: Rejection, folder: Path) -> Rejection:
    os.kill(os.getpid(), signal.SIGSEGV)

def loops(request: Rejection, folder: Path) -> Rejection:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    name = "grandchild.txt" if os.fork() == 0 else "child.txt"
    while True:
        with (folder / name).open("a") as file:
            file.write("alive ")
        time.sleep(0.05)

def devours(request: Rejection, folder: Path) -> Rejection:
    return bytearray(64 << 30)

def speaks(request: Rejection, folder: Path) -> Rejection:
    print("one"); print("two")
    return request
"""
REQUEST = Rejection(name="a", reason="b")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    (tmp_path / "some_stages.py").write_text(STAGES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(name: str, timeout_s: float = 60.0, **more):
        return run_isolated(f"some_stages:{name}", REQUEST, tmp_path / "work", Rejection, timeout_s, **more)

    return run


def test_a_report_comes_back_and_files_stay(stage, tmp_path):
    assert stage("answers") == Rejection(name="A", reason="done")
    assert (tmp_path / "work" / "made.txt").read_text() == "here"
    reply = stored_reply(tmp_path / "work")
    assert reply is not None
    assert reply.report is not None


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("refuses", "error", "maps 3 to 4; expected 3"),
        ("raises", "error", "ZeroDivisionError: by nought"),
        ("exits", "error", "SystemExit"),
        ("segfaults", "crash", "SIGSEGV"),
        ("devours", "memory", "GiB of memory"),
        ("missing", "error", "AttributeError"),
    ],
)
def test_every_end_has_its_reason(stage, name, kind, reason):
    with pytest.raises(StageFailed, match=reason) as caught:
        stage(name)
    assert caught.value.kind == kind


def test_an_endless_loop_and_its_children_are_killed(stage, tmp_path):
    with pytest.raises(StageFailed, match="still running after 2 s") as caught:
        stage("loops", timeout_s=2.0)
    assert caught.value.kind == "timeout"
    reply = stored_reply(tmp_path / "work")
    assert reply is not None
    assert reply.timeout_s == 2.0
    assert not alive(tmp_path / "work")


def test_lines_are_relayed(stage):
    heard: list[str] = []
    stage("speaks", on_line=heard.append)
    assert heard == ["one", "two"]


def test_a_killed_parent_leaves_no_child(tmp_path):
    (tmp_path / "some_stages.py").write_text(STAGES)
    code = (
        "from pathlib import Path; from mai_harness.isolate import run_isolated\n"
        "from mai_harness.records import Rejection\n"
        f"folder = Path({str(tmp_path / 'work')!r})\n"
        "run_isolated('some_stages:loops', Rejection(name='a', reason='b'), folder, Rejection, 99)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)})
    until((tmp_path / "work" / "grandchild.txt").exists)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not alive(tmp_path / "work"))


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(folder: Path) -> bool:
    """Whether the stage or its child still writes."""
    sizes = [(folder / name).stat().st_size for name in ("child.txt", "grandchild.txt")]
    time.sleep(0.5)
    return sizes != [(folder / name).stat().st_size for name in ("child.txt", "grandchild.txt")]
