"""Results survive a round trip, and a file that is damaged or of another version is refused in words."""

import json

import msgspec
import pytest

from mai_harness.errors import ResultsUnreadable
from mai_harness.records import Evaluation, Failure, Results
from mai_harness.storage import SCHEMA_VERSION, read_results, write_bytes, write_results

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


def test_the_documented_schema_is_that_of_the_records(repository):
    documented = json.loads((repository / "leaderboard" / "results.schema.json").read_text())
    current = json.loads(msgspec.json.encode(msgspec.json.schema(Results)))
    assert documented == current, "write it again: see CONTRIBUTING.md"


def test_every_field_of_an_evaluation_is_documented(repository):
    text = (repository / "leaderboard" / "README.md").read_text()
    for record in (Results, Evaluation):
        for field in record.__struct_fields__:
            assert f"`{field}`" in text, field
