"""Run one stage in a child process with limits on time and memory; its failure is data, never ours."""

import importlib
import os
import resource
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TypeVar, get_type_hints

import msgspec

from mai_harness.errors import HarnessError, StageFailed
from mai_harness.records import Record

MEMORY_LIMIT_BYTES = 12 << 30
R = TypeVar("R", bound=Record)


class Reply(Record):
    """What the child leaves behind: a report as JSON, or the reason there is none."""

    report: msgspec.Raw | None = None
    error: str | None = None
    kind: str = "error"


def run_isolated(stage: str, request: Record, folder: Path, report: type[R], timeout_s: float) -> R:
    """Call ``stage`` ("module:function") with ``request`` and ``folder`` in a child; files land in ``folder``.

    Raises:
        StageFailed: the stage raised, crashed, ran out of memory or outlived ``timeout_s``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "request.json").write_bytes(msgspec.json.encode(request))
    command = [sys.executable, "-m", "mai_harness.isolate", stage, str(folder.resolve())]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1"}
    with (folder / "log.txt").open("wb") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=env, start_new_session=True
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise StageFailed(f"still running after {timeout_s:g} s; raise --stage-timeout", "timeout") from None
        finally:
            _kill_group(child)
    path = folder / "reply.json"
    if not path.exists():
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise StageFailed(f"the process died ({name}) without a result; see {folder / 'log.txt'}", "crash")
    reply = msgspec.json.decode(path.read_bytes(), type=Reply)
    if reply.report is None:
        raise StageFailed(reply.error or "no reason was given", reply.kind)
    return msgspec.json.decode(reply.report, type=report)


def _kill_group(child: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def _answer(stage: str, folder: Path) -> Reply:
    module, function = stage.split(":")
    try:
        call = getattr(importlib.import_module(module), function)
        wanted = next(iter(get_type_hints(call).values()))
        request = msgspec.json.decode((folder / "request.json").read_bytes(), type=wanted)
        return Reply(report=msgspec.Raw(msgspec.json.encode(call(request, folder))))
    except HarnessError as error:
        return Reply(error=str(error))
    except MemoryError:
        return Reply(error=f"needs more than {MEMORY_LIMIT_BYTES >> 30} GiB of memory", kind="memory")
    except Exception as error:  # the submission's own code may raise anything
        traceback.print_exc()
        lines = str(error).strip().splitlines() or ["no message"]
        return Reply(error=f"{type(error).__name__}: {lines[0][:300]}")


def _main() -> None:
    stage, folder = sys.argv[1], Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reply = _answer(stage, folder)
    part = folder / "reply.part"
    part.write_bytes(msgspec.json.encode(reply))
    os.replace(part, folder / "reply.json")
    os._exit(0)  # a submission's threads and exit handlers have no say


if __name__ == "__main__":
    _main()
