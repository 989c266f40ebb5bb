"""What a stage cannot reach, at every level that this machine has."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from mai_harness import isolate
from mai_harness.errors import StageFailed
from mai_harness.isolate import Access, run_isolated
from mai_harness.records import Place, Record
from mai_harness.sandbox import level, python_files

STAGES = """
import os, signal, socket, subprocess, sys, time
from pathlib import Path
from tests.test_sandbox import Told, Wish

def does(request: Wish, folder: Path) -> Told:
    try:
        said = str(eval(compile(request.code, "wish", "eval")) if request.evaluated else exec(request.code, globals()))
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    return Told(said=said)
"""


class Wish(Record, frozen=True):
    """What a stage is to try."""

    code: str
    evaluated: bool = True
    file: Place = ""
    unseen: str = ""


class Told(Record, frozen=True):
    """What came of it."""

    said: str


def strongest_first() -> list[str]:
    levels = ["bubblewrap", "landlock", "limits"]
    return levels[levels.index(level()) :]


LEVELS = strongest_first()
WALLED = [each for each in LEVELS if each != "limits"]


@pytest.fixture
def stage(tmp_path, monkeypatch):
    code = tmp_path / "code"
    code.mkdir()
    (code / "wishes.py").write_text(STAGES)
    monkeypatch.setenv("PYTHONPATH", f"{code}{os.pathsep}{Path(__file__).parents[1]}")
    monkeypatch.setenv("SECRET_TOKEN", "hush")

    def run(code: str, at: str, timeout_s: float = 60.0, folder: str = "work", **wish) -> str:
        wished, access = Wish(code=code, **wish), Access(level=at)
        return run_isolated("wishes:does", wished, tmp_path / folder, Told, timeout_s, access=access).said

    return run


@pytest.mark.parametrize("at", LEVELS)
def test_it_reads_what_its_request_names_and_writes_in_its_folder(stage, tmp_path, at):
    (tmp_path / "given.txt").write_text("given")
    read = "Path(request.file).read_text() + str(Path('own.txt').write_text('own'))"
    assert stage(read, at, file=str(tmp_path / "given.txt")) == "given3"
    assert (tmp_path / "work" / "own.txt").read_text() == "own"


@pytest.mark.parametrize("at", WALLED)
@pytest.mark.parametrize(
    "code",
    [
        "Path(request.unseen).read_text()",
        "os.listdir(Path(request.unseen).parent)",
        "Path(request.unseen).write_text('x')",
        "open('/etc/shadow').read()",
        "(os.symlink(request.unseen, 'link'), open('link').read())",
        "os.link(request.unseen, 'hard')",
        "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
        "os.open('/proc/sysrq-trigger', os.O_WRONLY)",
        "open(Path(__import__('skimage').__file__).parent / 'data/coffee.png', 'rb').read()",
    ],
    ids=["read", "list", "write", "shadow", "symlink", "link", "kernel", "sysrq", "photographs"],
)
def test_it_reaches_no_other_file(stage, tmp_path, at, code):
    other = tmp_path / "other"
    other.mkdir()
    (other / "secret.txt").write_text("secret")
    said = stage(code, at, unseen=str(other / "secret.txt"))
    assert "Error" in said, said
    assert "secret'" not in said
    assert (other / "secret.txt").read_text() == "secret"


@pytest.mark.parametrize("at", WALLED)
def test_the_harness_and_python_cannot_be_written(stage, at):
    for folder in python_files():
        assert "Error" in stage(f"Path({str(folder)!r}, 'planted.py').write_text('x')", at)


@pytest.mark.parametrize("at", WALLED)
def test_it_has_no_network(stage, at):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "Error" in stage(f"socket.create_connection(('127.0.0.1', {port}), 2)", at)


@pytest.mark.parametrize("at", LEVELS)
def test_its_environment_is_empty(stage, at):
    assert stage("'SECRET_TOKEN' in os.environ", at) == "False"


@pytest.mark.parametrize("at", LEVELS)
@pytest.mark.parametrize(
    "made", ["os.symlink('/etc/passwd', 'reply')", "os.mkfifo('pipe')", "os.symlink('/', 'folder')"]
)
def test_what_is_no_plain_file_does_not_stay(stage, tmp_path, at, made):
    stage(made, at)
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"log.txt", "reply.json", "request.json"}


@pytest.mark.parametrize("at", LEVELS)
def test_too_many_processes_end_it(stage, monkeypatch, at):
    monkeypatch.setattr(isolate, "PROCESS_LIMIT", 20)
    sleeper = "import time; time.sleep(60)"
    code = f"[subprocess.Popen([sys.executable, '-c', {sleeper!r}]) for _ in range(40)] and time.sleep(60)"
    with pytest.raises(StageFailed, match="more than 20 processes") as caught:
        stage(code, at)
    assert caught.value.kind == "processes"


@pytest.mark.parametrize("at", LEVELS)
def test_too_much_memory_of_all_together_ends_it(stage, monkeypatch, at):
    monkeypatch.setattr(isolate, "MEMORY_LIMIT_BYTES", 400 << 20)
    hog = "import time; held = bytearray(100 << 20); time.sleep(60)"
    code = f"[subprocess.Popen([sys.executable, '-c', {hog!r}]) for _ in range(8)] and time.sleep(60)"
    with pytest.raises(StageFailed, match="memory") as caught:
        stage(code, at)
    assert caught.value.kind == "memory"


@pytest.mark.parametrize("at", LEVELS)
def test_too_much_disk_ends_it(stage, monkeypatch, at):
    monkeypatch.setattr(isolate, "DISK_LIMIT_BYTES", 20 << 20)
    code = "[Path(f'{i}.bin').write_bytes(os.urandom(1 << 20)) for i in range(60)] and time.sleep(60)"
    with pytest.raises(StageFailed, match="wrote more than") as caught:
        stage(code, at)
    assert caught.value.kind == "disk"


@pytest.mark.parametrize("at", LEVELS)
def test_a_flood_of_words_is_cut(stage, tmp_path, at):
    stage("[print('x' * 1000) for _ in range(5000)] and 1", at)
    assert (tmp_path / "work" / "log.txt").stat().st_size <= isolate.LOG_LIMIT_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces")
@pytest.mark.parametrize("at", LEVELS)
def test_a_child_that_leaves_its_session_dies_too(stage, tmp_path, at):
    beat = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        for _ in range(600):\n"
        "            open('beat', 'a').write('x'); time.sleep(0.02)\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)\n"
    )
    stage(beat, at, evaluated=False)
    time.sleep(0.2)
    size = (tmp_path / "work" / "beat").stat().st_size
    time.sleep(0.5)
    assert (tmp_path / "work" / "beat").stat().st_size == size


@pytest.mark.parametrize("at", LEVELS)
def test_a_reply_of_its_own_making_is_read_as_its_report_or_not_at_all(stage, tmp_path, at):
    forged = "Path('reply.json').write_text('[' * 200000)"
    assert stage(f"{forged} and 'done'", at) == "done"
    with pytest.raises(StageFailed, match="without a result"):
        stage(f"({forged}, os._exit(0))", at, folder="second")


@pytest.mark.parametrize("at", LEVELS)
def test_folders_without_end_are_removed(stage, tmp_path, at):
    deep = "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')"
    stage(deep, at, evaluated=False)
    assert not (tmp_path / "work" / Path(*["d"] * 70)).exists()


@pytest.mark.skipif("bubblewrap" not in LEVELS, reason="Landlock does not govern permissions")
def test_it_changes_no_permissions_of_others(stage, tmp_path):
    (tmp_path / "other").mkdir()
    assert "Error" in stage("os.chmod(request.unseen, 0)", "bubblewrap", unseen=str(tmp_path / "other"))
    assert "Error" in stage("os.chmod('/usr', 0)", "bubblewrap")
