"""What earlier runs left is found again, failures with the stage that they belong to."""

import msgspec
import pytest

from mai_harness.errors import StageFailed
from mai_harness.isolate import REPLY, Reply
from mai_harness.pipeline import Owner, Settings, Workshop
from mai_harness.records import Rejection

OWNER = Owner("net", "fingerprint")
REQUEST = Rejection(name="a", reason="b")


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Settings(out=tmp_path, timeout_s=60.0), lambda line: pytest.fail(f"started {line}"))


def leave(workshop: Workshop, reply: Reply) -> None:
    folder = workshop.folder(OWNER, "score", REQUEST)
    folder.mkdir(parents=True)
    (folder / REPLY).write_bytes(msgspec.json.encode(reply))


def test_nothing_is_found_where_nothing_was_left(workshop):
    assert workshop.finished(OWNER, "score", REQUEST, Rejection) is None


def test_a_report_is_reused(workshop):
    leave(workshop, Reply(report=REQUEST))
    assert workshop.finished(OWNER, "score", REQUEST, Rejection) == REQUEST
    assert workshop.run(OWNER, "score", REQUEST, Rejection) == REQUEST


@pytest.mark.parametrize("ask", ["finished", "run"])
def test_a_failure_that_is_reused_names_its_stage(workshop, ask):
    leave(workshop, Reply(error="too small"))
    with pytest.raises(StageFailed, match="too small") as caught:
        getattr(workshop, ask)(OWNER, "score", REQUEST, Rejection)
    assert caught.value.stage == "score"


@pytest.mark.parametrize(("limit", "again"), [(5.0, True), (60.0, False)])
def test_a_timeout_is_tried_again_with_more_time_only(workshop, limit, again):
    leave(workshop, Reply(error="still running", kind="timeout", timeout_s=limit))
    if again:
        assert workshop.finished(OWNER, "score", REQUEST, Rejection) is None
    else:
        with pytest.raises(StageFailed, match="still running"):
            workshop.finished(OWNER, "score", REQUEST, Rejection)


def test_a_key_follows_request_owner_and_stage(workshop):
    folders = {
        workshop.folder(OWNER, "score", REQUEST),
        workshop.folder(OWNER, "check", REQUEST),
        workshop.folder(Owner("net", "other"), "score", REQUEST),
        workshop.folder(OWNER, "score", Rejection(name="a", reason="c")),
    }
    assert len(folders) == 4
