"""Evaluate the corpus of hostile submissions in one run beside healthy ones, and tell what it did.

    python tests/run_hostile.py --to DIR [--only REGEX] [--limit N] [--jobs 2] [--stage-timeout 40] [--again]

Prints a table, writes DIR/summary.json, and exits with 1 if anything came out as it should not.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psutil
from hostile import CORPUS, HARM, HEALTHY, Hostile, Trap, healthy
from PIL import Image

import mai_harness

PACKAGE = Path(mai_harness.__file__).parent
HASHED_BYTES = 64 << 20  # larger files are holes


def laid_out(at: Path) -> None:
    """The folders of a run: two data sets' worth of what is secret, and a home."""
    for name in ("secrets/HR", "home/.ssh", "marker", "submissions", "alone"):
        (at / name).mkdir(parents=True, exist_ok=True)
    (at / "home" / ".ssh" / "id_rsa").write_text("hush")
    (at / "secrets" / "key.txt").write_text("hush")
    blocks = np.random.default_rng(0).integers(0, 256, (12, 14, 3))
    Image.fromarray(np.kron(blocks, np.ones((12, 12, 1))).astype(np.uint8)).save(at / "secrets" / "HR" / "blocks.png")


def listing(root: Path) -> dict[str, tuple[Any, ...]]:
    """A folder and everything below it: kind, size, time of change and content."""
    found: dict[str, tuple[Any, ...]] = {ascii(str(root)): (root.lstat().st_mode,)}
    for parent, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*folders, *files):
            path = Path(parent, name)
            status = path.lstat()
            plain = path.is_file() and not path.is_symlink() and status.st_size < HASHED_BYTES
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
            found[ascii(str(path))] = (status.st_mode, status.st_size, status.st_mtime_ns, digest)
    return found


def changed(before: dict[str, tuple[Any, ...]], after: dict[str, tuple[Any, ...]]) -> list[str]:
    """What came, went or is not what it was."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


@contextmanager
def listening(heard: list[str]) -> Iterator[int]:
    """A port of 127.0.0.1, TCP and UDP; who comes is added to ``heard``."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(server.getsockname())
        for each, wait in ((server, server.accept), (datagrams, lambda: datagrams.recvfrom(9))):
            Thread(target=_hear, args=(each, wait, heard), daemon=True).start()
        yield server.getsockname()[1]
        for each in (server, datagrams):
            each.settimeout(0)


def _hear(of: socket.socket, wait: Any, heard: list[str]) -> None:
    while True:
        try:
            heard.append(f"{of.type.name}: {wait()}")
        except OSError:
            return


def evaluate(at: Path, submissions: str, out: str, jobs: int, timeout_s: float) -> dict[str, dict[str, Any]]:
    """Rows by name of one run of the command line; its messages go to ``OUT.log``.

    Raises:
        RuntimeError: it did not end as it should.
    """
    command = [
        sys.executable, "-m", "mai_harness", "evaluate", "--json", "--submissions", submissions, "--out", out,
        "--data", "secrets", "--backend", "npu", "--stage-timeout", str(timeout_s), "--jobs", str(jobs),
    ]  # fmt: skip
    own = {"SECRET_TOKEN": "hush", "HOME": str(at / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAI_")}
    with (at / f"{out}.log").open("wb") as log:
        done = subprocess.run(command, cwd=at, env=kept | own, stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"evaluate ended with {done.returncode}; see {at / out}.log")
    rows = json.loads(done.stdout)["submissions"]
    by_name = {row["name"]: row for row in rows}
    if len(by_name) != len(rows):
        raise RuntimeError("two rows have one name")
    return by_name


def run(
    corpus: Sequence[Hostile], at: Path, jobs: int = 2, timeout_s: float = 40.0, *, again: bool = False
) -> dict[str, Any]:
    """One run of these beside the healthy ones, held against a run of the healthy ones alone; ``problems`` says all.

    Args:
        again: run a second time, on what the first has left, and judge that.
    """
    laid_out(at)
    healthy(at / "alone")
    healthy(at / "submissions")
    alone = evaluate(at, "alone", "out_alone", 1, 600.0)
    heard: list[str] = []
    with listening(heard) as port:
        trap = Trap(at / "marker", port, at / "secrets", at / "submissions", at / "out")
        for hostile in corpus:
            hostile.make(at / "submissions", trap)
        guarded = [PACKAGE, *(at / name for name in ("submissions", "secrets", "home", "marker", "alone"))]
        before = [listing(folder) for folder in guarded]
        started = time.monotonic()
        rows = evaluate(at, "submissions", "out", jobs, timeout_s)
        seconds = time.monotonic() - started
        if again:
            rows = evaluate(at, "submissions", "out", jobs, timeout_s)
        left = running_below(at)
        time.sleep(1)
    after = [listing(folder) for folder in guarded]
    problems = [f"changed: {name}" for one, other in zip(before, after, strict=True) for name in changed(one, other)]
    problems += [f"heard {each}" for each in heard] + [f"left running: {each}" for each in left]
    problems += [f"{name}: differs in {parts}" for name in HEALTHY if (parts := differences(rows[name], alone[name]))]
    problems += [problem for hostile in corpus for problem in judged(hostile, rows)]
    if len(rows) != len(corpus) + len(HEALTHY):
        problems.append(f"{len(corpus)} hostile and {len(HEALTHY)} healthy submissions have {len(rows)} rows")
    return {"hostile": len(corpus), "seconds": seconds, "problems": problems, "rows": [told(h, rows) for h in corpus]}


def running_below(at: Path) -> list[str]:
    """Processes that work in the run's folders after its end."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and str(at / "out") in " ".join((process.cwd(), *process.cmdline())):
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return found


def differences(row: dict[str, Any], alone: dict[str, Any]) -> list[str]:
    """Fields in which a healthy row is not what it is alone.

    Names of folders are put aside.
    """

    def plain(value: Any) -> str:
        return re.sub(r"/(out|out_alone|submissions|alone)/|-[0-9a-f]{20}\b", "/", json.dumps(value, sort_keys=True))

    return [field for field in row if plain(row[field]) != plain(alone.get(field))]


def row_of(hostile: Hostile, rows: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The row of one of them."""
    return next((rows[name] for name in hostile.rows if name in rows and name not in HEALTHY), None)


def judged(hostile: Hostile, rows: dict[str, dict[str, Any]]) -> list[str]:
    """What is not as it should be with its row."""
    shown, row = ascii(hostile.entry), row_of(hostile, rows)
    if row is None:
        return [f"{shown}: has no row"]
    failure = row["failure"] or {"stage": "", "reason": ""}
    reason, came = failure["reason"], failure["stage"]
    problems = []
    if row["failure"] is not None and (not reason.strip() or "Traceback" in reason):
        problems.append(f"{shown}: its reason is {reason!r}")
    if not reason.isprintable():
        problems.append(f"{shown}: its reason does not print: {reason[:200]!r}")
    if HARM in json.dumps(row):
        problems.append(f"{shown}: did harm: {reason}")
    allowed = {
        "rejected": came == "discover",
        "failed": came not in ("", "discover"),
        "either": came != "",
        "any": True,
    }
    if not allowed[hostile.outcome]:
        problems.append(f"{shown}: expected {hostile.outcome}, came to {came or 'the end'}: {reason[:200]}")
    if hostile.words not in reason:
        problems.append(f"{shown}: its reason lacks {hostile.words!r}: {reason[:200]}")
    return problems


def told(hostile: Hostile, rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What came of one of them."""
    row = row_of(hostile, rows) or {}
    failure = row.get("failure") or {"stage": "", "kind": "finished", "reason": ""}
    parts = {key: failure[key] for key in ("stage", "kind", "reason")}
    return {"entry": ascii(hostile.entry)[1:-1], "outcome": hostile.outcome, **parts}


def _table(summary: dict[str, Any]) -> Iterator[str]:
    for row in summary["rows"]:
        yield f"{row['entry'][:34]:34} {row['stage']:10} {row['kind']:9} {ascii(row['reason'])[1:101]}"
    counts = Counter((row["stage"] or "-", row["kind"]) for row in summary["rows"])
    yield from (f"{count:5} {stage} {kind}" for (stage, kind), count in sorted(counts.items()))
    yield f"{summary['hostile']} hostile submissions in {summary['seconds']:.0f} s; {len(summary['problems'])} problems"
    yield from summary["problems"]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="folder to fill; removed first")
    parser.add_argument("--only", default="", help="regular expression that their names match")
    parser.add_argument("--limit", type=int, default=len(CORPUS), help="so many of them, at random")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--stage-timeout", type=float, default=40.0)
    parser.add_argument("--again", action="store_true", help="run a second time on what the first has left")
    given = parser.parse_args()
    chosen = [hostile for hostile in CORPUS if re.search(given.only, hostile.entry)]
    random.Random(0).shuffle(chosen)
    at = given.to.absolute()
    shutil.rmtree(at, ignore_errors=True)
    summary = run(chosen[: given.limit], at, given.jobs, given.stage_timeout, again=given.again)
    (at / "summary.json").write_text(json.dumps(summary, indent=1))
    sys.stdout.write("\n".join(_table(summary)) + "\n")
    return 1 if summary["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
