"""Results on disk: one versioned JSON file, replaced as a whole or not at all."""

import hashlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from mai_harness.errors import ResultsUnreadable
from mai_harness.records import Record, Results

R = TypeVar("R", bound=Record)

# 1, 2026-11-25: the first.
# 2, 2026-11-25: calibrate apart from quantise; rewrites of the TFLite graph and their gains.
# 3, 2026-11-25: runtimes of several backends, with layers and the ratio to a reference model; the challenge's score.
# 4, 2026-11-25: examination, appraisal, and findings with what was tried.
# 5, 2026-11-25: pictures of the images, and of the places where they are worst.
SCHEMA_VERSION = 5


class _Header(msgspec.Struct):
    schema_version: int


def write_results(results: Record, path: Path) -> None:
    """Replace ``path`` in one step, so that a killed run leaves the old file or the new one."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(results), indent=1))


def read_results(path: Path) -> Results:
    """What :func:`write_results` wrote.

    Raises:
        ResultsUnreadable: the file is missing, damaged or of another schema version.
    """
    return read_versioned(path, Results, SCHEMA_VERSION, "mai-harness evaluate")


def read_versioned(path: Path, kind: type[R], version: int, command: str) -> R:
    """A record with a ``schema_version`` that :func:`write_results` wrote.

    Args:
        command: what makes the file again, for the message.

    Raises:
        ResultsUnreadable: the file is missing, damaged or of another schema version.
    """
    try:
        data = path.read_bytes()
        found = msgspec.json.decode(data, type=_Header).schema_version
    except FileNotFoundError:
        raise ResultsUnreadable(f"{path} is not there; run: {command}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise ResultsUnreadable(f"{path} is damaged ({error}); run: {command}") from None
    if found != version:
        advice = "update mai_harness" if found > version else f"run: {command}"
        raise ResultsUnreadable(f"{path} has schema version {found}, this harness reads {version}; {advice}")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise ResultsUnreadable(f"{path} is damaged ({error}); run: {command}") from None


def file_name(name: str) -> str:
    """A safe name for a file or folder, as like ``name`` as may be; no other name has it."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
    if safe == name and 0 < len(name) <= 100 and not name.startswith("."):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe.lstrip('.-')[:40].rstrip('.-') or 'entry'}-{digest[:12]}"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically and durably, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
