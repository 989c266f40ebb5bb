"""Results on disk: one versioned JSON file, replaced as a whole or not at all."""

import os
from pathlib import Path

import msgspec

from mai_harness.errors import ResultsUnreadable
from mai_harness.records import Results

# 1, 2026-11-25: the first.
SCHEMA_VERSION = 1


class _Header(msgspec.Struct):
    schema_version: int


def write_results(results: Results, path: Path) -> None:
    """Replace ``path`` in one step, so that a killed run leaves the old file or the new one."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(results), indent=1))


def read_results(path: Path) -> Results:
    """What :func:`write_results` wrote.

    Raises:
        ResultsUnreadable: the file is missing, damaged or of another schema version.
    """
    try:
        data = path.read_bytes()
        found = msgspec.json.decode(data, type=_Header).schema_version
    except FileNotFoundError:
        raise ResultsUnreadable(f"{path} is not there; run: mai-harness evaluate") from None
    except (OSError, msgspec.DecodeError) as error:
        raise ResultsUnreadable(f"{path} is damaged ({error}); run: mai-harness evaluate") from None
    if found != SCHEMA_VERSION:
        advice = "update mai_harness" if found > SCHEMA_VERSION else "run: mai-harness evaluate"
        raise ResultsUnreadable(f"{path} has schema version {found}, this harness reads {SCHEMA_VERSION}; {advice}")
    try:
        return msgspec.json.decode(data, type=Results)
    except msgspec.DecodeError as error:
        raise ResultsUnreadable(f"{path} is damaged ({error}); run: mai-harness evaluate") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically and durably, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
