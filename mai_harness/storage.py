"""Results on disk: one versioned JSON file with its checksum, replaced as a whole or not at all."""

import hashlib
import os
import re
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
# 6, 2026-11-25: a checksum of the file, and the SHA-256 of the INT8 model.
SCHEMA_VERSION = 6
# The outermost one: a text has no line break within, and what is deeper is indented further.
_CHECKSUM = re.compile(rb'^ "checksum": "([^"]*)"', re.MULTILINE)


class _Header(msgspec.Struct):
    schema_version: int


def write_results(results: Record, path: Path) -> None:
    """Replace ``path`` in one step, so that a killed run leaves the old file or the new one.

    Args:
        results: with the field ``checksum``; see :func:`sealed`.
    """
    write_bytes(path, sealed(results))


def sealed(record: Record) -> bytes:
    """JSON whose ``checksum`` is the SHA-256 of all the file's other bytes: of the file with ``""`` in its place."""
    empty = msgspec.structs.replace(record, checksum="")
    data = msgspec.json.format(msgspec.json.encode(empty), indent=1)
    found = _CHECKSUM.search(data)
    if found is None:
        raise ValueError(f"{type(record).__name__} has no checksum")
    return data[: found.start(1)] + hashlib.sha256(data).hexdigest().encode() + data[found.end(1) :]


def is_sealed(data: bytes) -> bool:
    """Whether there is a checksum at all."""
    found = _CHECKSUM.search(data)
    return found is not None and bool(found[1])


def is_whole(data: bytes) -> bool:
    """Whether these are the very bytes that :func:`sealed` gave."""
    found = _CHECKSUM.search(data)
    if found is None:
        return False
    rest = hashlib.sha256(data[: found.start(1)] + data[found.end(1) :])
    return found[1] == rest.hexdigest().encode()


def read_results(path: Path) -> Results:
    """What :func:`write_results` wrote.

    Raises:
        ResultsUnreadable: the file is missing, damaged or of another schema version.
    """
    return read_versioned(path, Results, SCHEMA_VERSION, "mai-harness evaluate")


def read_versioned(path: Path, kind: type[R], version: int, command: str, *, unsealed: bool = False) -> R:
    """A record with a ``schema_version`` that :func:`write_results` wrote; its ``checksum`` is empty again.

    Args:
        command: what makes the file again, for the message.
        unsealed: a file without a checksum is read too.

    Raises:
        ResultsUnreadable: the file is missing, changed, damaged or of another schema version.
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
        record = msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise ResultsUnreadable(f"{path} is damaged ({error}); run: {command}") from None
    if not is_whole(data) and (is_sealed(data) or not unsealed):
        what = "was changed or damaged after it was written" if is_sealed(data) else "is damaged: it has no checksum"
        raise ResultsUnreadable(f"{path} {what}; run: {command}")
    return msgspec.structs.replace(record, checksum="")


def file_name(name: str) -> str:
    """A safe name for a file or folder, as like ``name`` as may be; no other name has it."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
    if safe == name and 0 < len(name) <= 100 and not name.startswith("."):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe.lstrip('.-')[:40].rstrip('.-') or 'entry'}-{digest[:12]}"


def part_of(path: Path) -> Path:
    """Where :func:`write_bytes` writes before it renames."""
    return path.with_name(f".{path.name}.part")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically and durably, making its folder; after an error nothing is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Have the names in a folder survive a power cut too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
