"""Run one stage in a child process behind walls and with limits; its failure is data, never ours."""

import ctypes
import errno
import hashlib
import importlib
import math
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Any, TypeVar, get_type_hints

import msgspec
import psutil

from mai_harness.errors import HarnessError, ModelContractError, StageFailed, printable
from mai_harness.records import Record, places
from mai_harness.sandbox import Level, Walls, command, confine, environment, leave_network, level
from mai_harness.storage import is_sealed, is_whole, part_of, sealed, write_bytes

_PHYSICAL_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MEMORY_LIMIT_BYTES = min(12 << 30, _PHYSICAL_BYTES * 3 // 4)  # of one process, and of all together
FILE_LIMIT_BYTES = 2 << 30
DISK_LIMIT_BYTES = 16 << 30  # of all that a stage leaves; DIV2K upscaled in four ways is 3.3 GB
PROCESS_LIMIT = 256
DEEPEST = 64  # folders in folders that a stage may leave
LOG_LIMIT_BYTES = 1 << 20  # what is kept of it
REPLY_LIMIT_BYTES = 64 << 20
LINE_LIMIT = 100_000  # lines that are relayed
HASH_LIMIT_BYTES = 64 << 20  # of larger files only the size is kept
FULL_BYTES = 1 << 20  # a disk with less left is full: what a stage then says or leaves is not to be relied on
_WATCH_S = 0.25
_END_S = 10.0
LOG = "log.txt"
SCRATCH = "scratch"  # folder for what a child forgets
REQUEST = "request.json"
ANSWER = "answer.json"  # what the child says, before it is sealed
REPLY = "reply.json"
_NO_SPACE = "space"  # another time there may be some
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
R = TypeVar("R", bound=Record)
_MEMORY = f"needs more than {MEMORY_LIMIT_BYTES >> 30} GiB of memory"
_running: "set[subprocess.Popen[bytes]]" = set()


class Access(Record, frozen=True):
    """What a child sees beside what its request names."""

    gpu: bool = False  #: the machine's GPUs
    photographs: bool = False  #: those that come with scikit-image, some of which are scored
    #: ``False`` for what needs a device beside this machine: it has files and network as we have
    confined: bool = True
    level: Level | None = None  #: a weaker one than the strongest that works here


class LeftFile(Record, frozen=True):
    """One file that a stage left."""

    size: int  #: in bytes
    sha256: str = ""  #: empty where it is too large


class Reply(Record, frozen=True):
    """What a stage leaves behind: its report, or the reason there is none."""

    checksum: str = ""  #: in the file, SHA-256 of its other bytes
    report: Any = None
    error: str | None = None
    kind: str = "error"
    timeout_s: float | None = None  #: the limit that it outlived
    output_shape: tuple[int, ...] = ()
    not_finite: bool = False
    files: dict[str, LeftFile] = msgspec.field(default_factory=dict)  #: beside it, by path in the folder


def run_isolated(
    stage: str,
    request: Record,
    folder: Path,
    report: type[R],
    timeout_s: float | None,
    on_line: Callable[[str], None] | None = None,
    access: Access = Access(),  # noqa: B008  # frozen
) -> R:
    """Call ``stage`` ("module:function") with ``request`` and ``folder`` in a child; files land in ``folder``.

    The child reads what fields of the type :data:`mai_harness.records.Place` in the request name, and nothing else.

    Args:
        on_line: called with each line that the child writes; without it they go to ``log.txt``.
        access: what more it sees.

    Raises:
        StageFailed: the stage raised, crashed, ran out of memory, disk or processes, or outlived ``timeout_s``.
        OSError: the disk is full; nothing is kept, and the stage will run again.
    """
    folder = folder.resolve()
    _make_ready(folder)
    (folder / REQUEST).write_bytes(msgspec.json.encode(request))
    walls = _walls(request, folder, access) if access.confined else None
    reply, code = None, 0
    try:
        code = _run_child(stage, walls, folder, timeout_s, on_line, access.gpu)
    except StageFailed as error:
        reply = Reply(error=str(error), kind=error.kind, timeout_s=timeout_s)
    finally:
        _tidy(folder)
    reply = reply or _read(folder / ANSWER)
    _keep(reply, folder)
    if reply is None:
        raise StageFailed(_obituary(code, folder), "crash")
    return unpack(reply, report)


def _make_ready(folder: Path) -> None:
    """An empty folder, or what a killed run left of it to go on from: none of its links, and nothing damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    reply, there = stored_reply(folder), _files(folder)
    for name in _damaged(reply, folder) if reply else ():
        if name in there:  # and not what else a reply of a child's own making may name
            _remove(there[name])
    for name in (REQUEST, ANSWER, LOG, REPLY, part_of(folder / REPLY).name):
        _remove(folder / name)
    (folder / SCRATCH).mkdir(exist_ok=True)


def _keep(reply: Reply | None, folder: Path) -> None:
    """Seal a reply with the files beside it; of none, see that the child has not left one of its own making."""
    for path in (folder / ANSWER, folder / REPLY, part_of(folder / REPLY)):
        _remove(path)
    if shutil.disk_usage(folder).free < FULL_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    if reply is not None and reply.kind != _NO_SPACE:
        files = {name: _left(path) for name, path in _files(folder).items()}
        write_bytes(folder / REPLY, sealed(msgspec.structs.replace(reply, files=files)))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # Whatever its depth: Python's own way recurses.
        subprocess.run(["rm", "-rf", "--", str(path)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    else:
        path.unlink(missing_ok=True)


def _files(folder: Path) -> dict[str, Path]:
    """What a stage left, by a name that is text whatever the file's is."""
    own = {folder / name for name in (REQUEST, LOG, REPLY)}
    paths = [path for path, _ in _walk(folder) if path.is_symlink() or not path.is_dir()]
    return {_text(path.relative_to(folder)): path for path in sorted(paths) if path not in own}


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """All that a folder holds with its depth, from 0, down to ``DEEPEST``; links are not followed."""
    waiting = [(folder, 0)]
    while waiting:
        place, depth = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:  # it is gone meanwhile, or cannot be read
            continue
        for entry in entries:
            yield Path(entry.path), depth
            if depth < DEEPEST and entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), depth + 1))


def _text(path: Path) -> str:
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _left(path: Path, *, hashed: bool = True) -> LeftFile:
    size, digest = path.lstat().st_size, ""
    if hashed and size <= HASH_LIMIT_BYTES:
        with suppress(OSError), path.open("rb") as file:  # one that may not be read is told by its size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return LeftFile(size=size, sha256=digest)


def _damaged(reply: Reply, folder: Path) -> list[str]:
    """The files that are not what the stage left. A folder that is gone as a whole was no longer needed."""
    found = _files(folder)
    return [
        name
        for name, left in reply.files.items()
        if (folder / name.partition("/")[0]).exists() or "/" not in name
        if name not in found or _left(found[name], hashed=bool(left.sha256)) != left
    ]


def _walls(request: Record, folder: Path, access: Access) -> Walls:
    return Walls(
        level=access.level or level(), reads=places(request), writes=folder, gpu=access.gpu,
        photographs=access.photographs,
    )  # fmt: skip


def _tidy(folder: Path) -> None:
    """Leave plain files and folders alone: we read them, and a link or a pipe would lead us elsewhere."""
    _remove(folder / SCRATCH)
    for path, depth in list(_walk(folder)):
        mode = path.lstat().st_mode
        if depth == DEEPEST or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            _remove(path)
    log = folder / LOG
    if log.is_file() and log.stat().st_size > LOG_LIMIT_BYTES:
        with log.open("r+b") as file:
            file.truncate(LOG_LIMIT_BYTES)


def unpack(reply: Reply, report: type[R]) -> R:
    """The report in a reply.

    Raises:
        StageFailed: the reply holds a reason instead.
    """
    if reply.report is None:
        reason = reply.error or "no reason was given"
        raise StageFailed(reason, reply.kind, output_shape=reply.output_shape, not_finite=reply.not_finite)
    try:
        return msgspec.convert(reply.report, report, str_keys=True)
    except msgspec.ValidationError as error:
        raise StageFailed(f"its report makes no sense: {error}") from None


def stored_reply(folder: Path) -> Reply | None:
    """What a finished stage left in ``folder``; ``None`` if it did not finish, or its reply is damaged."""
    return _read(folder / REPLY)


def intact_reply(folder: Path) -> Reply | None:
    """The same, and ``None`` too if a file that the stage left is gone, or another: it has to run again."""
    reply = stored_reply(folder)
    return None if reply is None or _damaged(reply, folder) else reply


def _read(path: Path) -> Reply | None:
    try:
        if path.stat().st_size > REPLY_LIMIT_BYTES:
            return None
        data = path.read_bytes()
        return msgspec.json.decode(data, type=Reply) if is_whole(data) or not is_sealed(data) else None
    except (OSError, msgspec.DecodeError, RecursionError):
        return None


def _run_child(
    stage: str,
    walls: Walls | None,
    folder: Path,
    timeout_s: float | None,
    on_line: Callable[[str], None] | None,
    gpu: bool,
) -> int:
    inner = [sys.executable, "-m", "mai_harness.isolate", stage, str(folder)]
    if walls is not None:
        cpu_s = None if timeout_s is None else math.ceil(timeout_s * (os.cpu_count() or 1)) + 1
        reads = tuple(map(str, walls.reads))
        inside = Inside(level=walls.level, reads=reads, photographs=walls.photographs, cpu_s=cpu_s)
        inner.append(msgspec.json.encode(inside).decode())
    with (folder / LOG).open("wb") as log:
        child = subprocess.Popen(
            inner if walls is None else command(inner, walls),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if on_line else log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(folder, gpu, confined=walls is not None),
            start_new_session=True,
        )
        _running.add(child)
        try:
            if on_line and child.stdout:
                Thread(target=_relay, args=(child.stdout, on_line), daemon=True).start()
            return _wait(child, folder, timeout_s)
        finally:
            _kill_group(child)
            _running.discard(child)


def _wait(child: "subprocess.Popen[bytes]", folder: Path, timeout_s: float | None) -> int:
    """Its exit code.

    Raises:
        StageFailed: it had to be stopped.
    """
    started = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(_WATCH_S)
        if timeout_s is not None and time.monotonic() - started > timeout_s:
            raise StageFailed(f"still running after {timeout_s:g} s; raise --stage-timeout", "timeout")
        _measure(child.pid, folder)


def _measure(pid: int, folder: Path) -> None:
    """Hold a child and its children against the limits that the kernel does not know of all together.

    Raises:
        StageFailed: they exceed one.
    """
    with suppress(psutil.Error):
        family = psutil.Process(pid).children(recursive=True)
        if len(family) > PROCESS_LIMIT:
            raise StageFailed(f"started more than {PROCESS_LIMIT} processes", "processes")
        if sum(_resident(each) for each in family) > MEMORY_LIMIT_BYTES:
            raise StageFailed(_MEMORY, "memory")
    if _bytes_in(folder) > DISK_LIMIT_BYTES:
        raise StageFailed(f"wrote more than {DISK_LIMIT_BYTES >> 30} GiB", "disk")


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    return 0


def _bytes_in(folder: Path) -> int:
    total = 0
    for path, _ in _walk(folder):
        with suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def kill_children() -> None:
    """End every stage that other threads wait for; each of them fails."""
    for child in list(_running):
        _kill_group(child)


def _environment(folder: Path, gpu: bool, *, confined: bool) -> dict[str, str]:
    package = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    chosen = {k: v for k, v in os.environ.items() if k == "CUDA_VISIBLE_DEVICES"}
    hidden = chosen if gpu else {"CUDA_VISIBLE_DEVICES": "-1"}
    # onnx2tf makes networks of Keras 2, which TensorFlow hands out only if asked before its import.
    keras = {"TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "tensorflow"}
    own = {**quiet, **hidden, **keras, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    scratch = str(folder / SCRATCH)
    return environment({**own, "HOME": scratch, "TMPDIR": scratch}) if confined else {**os.environ, **own}


def _relay(lines: IO[bytes], on_line: Callable[[str], None]) -> None:
    """Tell what it says, until it says too much: then it may go on, unheard."""
    for count, line in enumerate(iter(lambda: lines.readline(1000), b"")):
        if count < LINE_LIMIT:
            on_line(printable(line.decode("utf-8", "replace").rstrip()))


def _obituary(code: int, folder: Path) -> str:
    number = -code if code < 0 else code - 128  # as a shell tells it, and bubblewrap
    name = signal.Signals(number).name if number in set(signal.Signals) else f"exit code {code}"
    return f"the process died ({name}) without a result; see {folder / LOG}"


def _kill_group(child: "subprocess.Popen[bytes]") -> None:
    family: list[psutil.Process] = []
    with suppress(psutil.Error):
        family = psutil.Process(child.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for each in family:
        with suppress(psutil.Error):
            each.kill()
    child.wait()
    psutil.wait_procs(family, _END_S)  # they may write for a moment more


def _answer(stage: str, folder: Path) -> Reply:
    module, function = stage.split(":")
    try:
        call = getattr(importlib.import_module(module), function)
        wanted = next(iter(get_type_hints(call).values()))
        request = msgspec.json.decode((folder / REQUEST).read_bytes(), type=wanted)
        return Reply(report=call(request, folder))
    except ModelContractError as error:
        return Reply(error=str(error), output_shape=error.output_shape, not_finite=error.not_finite)
    except HarnessError as error:
        return Reply(error=str(error))
    except MemoryError:
        return Reply(error=_MEMORY, kind="memory")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        traceback.print_exc()
        return Reply(error=f"{type(error).__name__}: {_first_line(error)}", kind=_NO_SPACE if full else "error")
    except (Exception, SystemExit) as error:  # the submission's own code may raise anything
        traceback.print_exc()
        return Reply(error=f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return lines[0][:300]


def die_with_parent() -> None:
    """End this process when its parent ends, on Linux: a run killed by SIGKILL must leave no child that writes on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Inside(Record, frozen=True):
    """What a child has to know of its walls."""

    level: Level
    reads: tuple[str, ...]
    photographs: bool
    cpu_s: int | None


def _shut_in(folder: Path, inside: Inside) -> None:
    """What is left to do within: nothing but limits behind bubblewrap's walls."""
    if inside.level != "bubblewrap" and leave_network():
        die_with_parent()
    if inside.level == "landlock":
        reads = tuple(map(Path, inside.reads))
        confine(Walls(level=inside.level, reads=reads, writes=folder, photographs=inside.photographs))
    if inside.cpu_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (inside.cpu_s, inside.cpu_s))


def _main() -> None:
    stage, folder = sys.argv[1], Path(sys.argv[2])
    die_with_parent()
    if len(sys.argv) > 3:
        _shut_in(folder, msgspec.json.decode(sys.argv[3], type=Inside))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    (folder / ANSWER).write_bytes(msgspec.json.encode(_answer(stage, folder)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a submission's threads and exit handlers have no say


if __name__ == "__main__":
    _main()
