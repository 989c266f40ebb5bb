"""Results survive a round trip, and a file that is damaged or of another version is refused in words."""

import hashlib
import json
import os
import re
from pathlib import Path

import msgspec
import pytest

from mai_harness.errors import ResultsUnreadable
from mai_harness.records import Evaluation, Failure, Results
from mai_harness.storage import (
    SCHEMA_VERSION,
    is_sealed,
    is_whole,
    part_of,
    read_results,
    sealed,
    write_bytes,
    write_results,
)

RESULTS = Results(
    schema_version=SCHEMA_VERSION, harness_version="0", created="2026-01-01T00:00:00+00:00", machine="m", versions={},
    dataset="d", formula="mai2021",
    submissions=(
        Evaluation(name="a", title="A", kind="onnx", failure=Failure(stage="check", kind="error", reason="r")),
    ),
)  # fmt: skip


def test_round_trip(tmp_path):
    write_results(RESULTS, tmp_path / "deep" / "results.json")
    assert read_results(tmp_path / "deep" / "results.json") == RESULTS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "schema_version"),
        (json.dumps({"schema_version": SCHEMA_VERSION}), "is damaged"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}), "update mai_harness"),
        (json.dumps({"schema_version": SCHEMA_VERSION - 1}), "run: mai-harness evaluate"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, content, words):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ResultsUnreadable, match=words):
        read_results(path)


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_bytes(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert not part_of(path).exists()  # it would take space where there is none


def test_file_and_folder_are_brought_to_the_disk(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), (tmp_path / "a").exists()))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", noted)
    write_bytes(tmp_path / "a", b"new")
    assert synced == [(str(part_of(tmp_path / "a")), False), (str(tmp_path), True)]


def test_the_checksum_is_of_the_file_with_none_in_its_place():
    data = sealed(RESULTS)
    empty = re.sub(rb'(\n "checksum": ")[0-9a-f]{64}', rb"\1", data)
    assert json.loads(data)["checksum"] == hashlib.sha256(empty).hexdigest()
    assert (is_whole(data), is_sealed(data), is_whole(empty), is_sealed(empty)) == (True, True, False, False)


def test_every_bit_counts():
    data = sealed(RESULTS)
    for place in range(0, len(data), 7):
        assert not is_whole(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]), place


def test_a_text_that_looks_like_a_checksum_is_none():
    text = '\n "checksum": "00",'
    hostile = msgspec.structs.replace(RESULTS, machine=text, dataset=' "checksum": "', versions={"checksum": "0"})
    data = sealed(hostile)
    assert is_whole(data)
    assert msgspec.json.decode(data, type=Results).machine == text


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"reason": "r"', '"reason": "s"', "was changed or damaged after it was written; run: mai-harness evaluate"),
        ('"checksum": "', '"checksum": "0', "was changed or damaged"),
        ('"dataset": "d",', '"dataset":  "d",', "was changed or damaged"),
        (None, "", "has no checksum"),
    ],
)
def test_a_file_that_was_changed_is_refused(tmp_path, before, after, words):
    path = tmp_path / "results.json"
    write_results(RESULTS, path)
    text = path.read_text()
    path.write_text(text.replace(before or json.loads(text)["checksum"], after, 1))
    with pytest.raises(ResultsUnreadable, match=words):
        read_results(path)


def test_the_documented_schema_is_that_of_the_records(repository):
    documented = json.loads((repository / "leaderboard" / "results.schema.json").read_text())
    current = json.loads(msgspec.json.encode(msgspec.json.schema(Results)))
    assert documented == current, "write it again: see CONTRIBUTING.md"


def test_every_field_of_an_evaluation_is_documented(repository):
    text = (repository / "leaderboard" / "README.md").read_text()
    for record in (Results, Evaluation):
        for field in record.__struct_fields__:
            assert f"`{field}`" in text, field
