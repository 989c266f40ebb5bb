"""Run one stage in a child process with limits on time, memory and disk; its failure is data, never ours."""

import ctypes
import importlib
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar, get_type_hints

import msgspec

from mai_harness.errors import HarnessError, ModelContractError, StageFailed
from mai_harness.records import Record

_PHYSICAL_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MEMORY_LIMIT_BYTES = min(12 << 30, _PHYSICAL_BYTES * 3 // 4)
FILE_LIMIT_BYTES = 8 << 30
LOG = "log.txt"
REPLY = "reply.json"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
R = TypeVar("R", bound=Record)
_running: "set[subprocess.Popen[bytes]]" = set()


class Reply(Record, frozen=True):
    """What a stage leaves behind: its report, or the reason there is none."""

    report: Any = None
    error: str | None = None
    kind: str = "error"
    timeout_s: float | None = None  #: the limit that it outlived
    output_shape: tuple[int, ...] = ()
    not_finite: bool = False


def run_isolated(
    stage: str,
    request: Record,
    folder: Path,
    report: type[R],
    timeout_s: float | None,
    on_line: Callable[[str], None] | None = None,
    gpu: bool = False,
) -> R:
    """Call ``stage`` ("module:function") with ``request`` and ``folder`` in a child; files land in ``folder``.

    Args:
        on_line: called with each line that the child writes; without it they go to ``log.txt``.
        gpu: whether the child sees the machine's GPUs.

    Raises:
        StageFailed: the stage raised, crashed, ran out of memory or outlived ``timeout_s``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "request.json").write_bytes(msgspec.json.encode(request))
    code = _run_child(stage, folder, timeout_s, on_line, gpu)
    reply = stored_reply(folder)
    if reply is None:
        raise StageFailed(_obituary(code, folder), "crash")
    return unpack(reply, report)


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
    """What a finished stage left in ``folder``; ``None`` if it did not finish."""
    try:
        return msgspec.json.decode((folder / REPLY).read_bytes(), type=Reply)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _run_child(
    stage: str, folder: Path, timeout_s: float | None, on_line: Callable[[str], None] | None, gpu: bool
) -> int:
    command = [sys.executable, "-m", "mai_harness.isolate", stage, str(folder.resolve())]
    with (folder / LOG).open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if on_line else log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(gpu),
            start_new_session=True,
        )
        _running.add(child)
        try:
            if on_line and child.stdout:
                _relay(child.stdout, on_line)
            return child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            reason = f"still running after {timeout_s:g} s; raise --stage-timeout"
            _write_reply(Reply(error=reason, kind="timeout", timeout_s=timeout_s), folder)
            raise StageFailed(reason, "timeout") from None
        finally:
            _kill_group(child)
            _running.discard(child)


def kill_children() -> None:
    """End every stage that other threads wait for; each of them fails."""
    for child in list(_running):
        _kill_group(child)


def _environment(gpu: bool) -> dict[str, str]:
    package = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    hidden = {} if gpu else {"CUDA_VISIBLE_DEVICES": "-1"}
    # onnx2tf makes networks of Keras 2, which TensorFlow hands out only if asked before its import.
    keras = {"TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "tensorflow"}
    return {**os.environ, **quiet, **hidden, **keras, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _relay(lines: IO[bytes], on_line: Callable[[str], None]) -> None:
    for line in lines:
        on_line(line.decode("utf-8", "replace").rstrip())


def _obituary(code: int, folder: Path) -> str:
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the process died ({name}) without a result; see {folder / LOG}"


def _kill_group(child: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _answer(stage: str, folder: Path) -> Reply:
    module, function = stage.split(":")
    try:
        call = getattr(importlib.import_module(module), function)
        wanted = next(iter(get_type_hints(call).values()))
        request = msgspec.json.decode((folder / "request.json").read_bytes(), type=wanted)
        return Reply(report=call(request, folder))
    except ModelContractError as error:
        return Reply(error=str(error), output_shape=error.output_shape, not_finite=error.not_finite)
    except HarnessError as error:
        return Reply(error=str(error))
    except MemoryError:
        return Reply(error=f"needs more than {MEMORY_LIMIT_BYTES >> 30} GiB of memory", kind="memory")
    except (Exception, SystemExit) as error:  # the submission's own code may raise anything
        traceback.print_exc()
        return Reply(error=f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return lines[0][:300]


def _write_reply(reply: Reply, folder: Path) -> None:
    part = folder / f"{REPLY}.part"
    with part.open("wb") as file:
        file.write(msgspec.json.encode(reply))
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / REPLY)


def die_with_parent() -> None:
    """End this process when its parent ends, on Linux: a run killed by SIGKILL must leave no child that writes on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _main() -> None:
    stage, folder = sys.argv[1], Path(sys.argv[2])
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _write_reply(_answer(stage, folder), folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a submission's threads and exit handlers have no say


if __name__ == "__main__":
    _main()
