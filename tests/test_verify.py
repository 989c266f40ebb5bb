"""What is derived once more is the same, or it is told where it is not, or why it cannot be known."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from run_kills import ended, evaluating, hashes, make, outcome
from test_render import complete, score

from mai_harness import verify as module
from mai_harness.datasets import Dataset
from mai_harness.diagnose import diagnose
from mai_harness.machine import describe, versions
from mai_harness.pipeline import Settings
from mai_harness.records import (
    BackendReport,
    Evaluation,
    Failure,
    LatencyReport,
    Rejection,
    Results,
    RuleResult,
    ScoreReport,
    Submission,
)
from mai_harness.storage import SCHEMA_VERSION, read_results, write_results
from mai_harness.verify import TOLERANCE, compared, verify

DATA = Dataset(name="d", pairs=(), fingerprint="images")
NET = msgspec.structs.replace(
    complete("net"), fingerprint="files", score=msgspec.structs.replace(score(30.0), dataset_fingerprint="images")
)
NET = msgspec.structs.replace(NET, findings=diagnose(NET))


def changed(evaluation: Evaluation, by: float) -> Evaluation:
    """With the first figure of the first image so much greater."""
    first = evaluation.score.images[0]
    figures = first.figures | {"psnr_raw_db": first.figures["psnr_raw_db"] + by}
    images = (msgspec.structs.replace(first, figures=figures), *evaluation.score.images[1:])
    return msgspec.structs.replace(evaluation, score=msgspec.structs.replace(evaluation.score, images=images))


def results(*submissions: Evaluation, **fields: object) -> Results:
    known = {name: version for name, version in versions().items() if version is not None}
    given = {
        "schema_version": SCHEMA_VERSION, "harness_version": "0", "created": "", "machine": describe(),
        "versions": known, "dataset": "d", "formula": "mai2021", "submissions": submissions,
    }  # fmt: skip
    return Results(**{**given, **fields})


@pytest.fixture
def again(monkeypatch, tmp_path):
    """Verifies results where the submissions and what they give now are made up; tells which were derived."""

    def run(stored: Results, now: Evaluation = NET, names=(), present=("files",), rejected=()):
        derived: list[Settings] = []

        def evaluate(settings, dataset, wanted, tell):
            derived.append(settings)
            assert not any(settings.out.iterdir())
            return replace_names(results(now), wanted)

        found = [
            Submission(name="net", title="Net", kind="onnx", path="net.onnx", fingerprint=fingerprint)
            for fingerprint in present
        ]
        monkeypatch.setattr(module, "discover", lambda root: (found, list(rejected)))
        monkeypatch.setattr(module, "evaluate", evaluate)
        settings = Settings(out=tmp_path, backends=())
        return verify(settings, stored, DATA, names, lambda line: None), derived

    return run


def replace_names(found: Results, wanted) -> Results:
    assert list(wanted) == [each.name for each in found.submissions]
    return found


def test_the_same_is_the_same(again, tmp_path):
    found, derived = again(results(NET))
    assert [(each.name, each.outcome) for each in found.submissions] == [("net", "same")]
    assert (found.tolerance, found.remarks) == (0.0, ())
    assert derived[0].out != tmp_path
    assert not derived[0].out.exists()


def test_a_figure_that_differs_is_told_with_both_values(again):
    found, _ = again(results(NET), changed(NET, 1e-9))
    (verdict,) = found.submissions
    name, then = NET.score.images[0].name, NET.score.images[0].figures["psnr_raw_db"]
    assert verdict.outcome == "differs"
    told = [(each.field, each.then, each.now) for each in verdict.differences]
    assert told == [(f"score.images.{name}.psnr_raw_db", then, then + 1e-9)]


@pytest.mark.parametrize(("by", "outcome"), [(TOLERANCE / 2, "same"), (TOLERANCE * 2, "differs")])
def test_on_another_machine_the_last_digits_may_differ(again, by, outcome):
    found, _ = again(results(NET, machine="another"), changed(NET, by))
    assert found.submissions[0].outcome == outcome
    assert (found.tolerance, "made on another machine (another)" in found.remarks[0]) == (TOLERANCE, True)


def test_rules_files_and_failures_are_compared():
    facts = msgspec.structs.replace(NET.check.facts, sha256="other")
    rules = (RuleResult(rule="new", title="New", status="fail", found="x"),)
    check = msgspec.structs.replace(NET.check, facts=facts, rules=rules)
    failure = Failure(stage="score", kind="error", reason="r")
    now = msgspec.structs.replace(NET, check=check, failure=failure)
    fields = {each.field for each in compared(NET, now, 0.0).differences}
    assert {"facts.sha256", "rules.new", "failure"} <= fields
    assert "facts.sha256" not in {each.field for each in compared(NET, now, TOLERANCE).differences}


def test_runtimes_are_not_compared_but_for_estimates():
    def timed(name: str, **figures: object) -> BackendReport:
        latency = LatencyReport(backend=name, precision="int8", device="d", how="h", **figures)
        return BackendReport(backend=name, reports=(latency,))

    measured = timed("cpu", samples_ms=(1.0, 2.0))
    then = msgspec.structs.replace(NET, runtime=(measured, timed("npu", estimate_ms=5.0)))
    assert compared(then, msgspec.structs.replace(NET, runtime=()), 0.0).outcome == "same"
    other = msgspec.structs.replace(NET, runtime=(timed("npu", estimate_ms=6.0),))
    assert [each.field for each in compared(then, other, 0.0).differences] == ["runtime.npu.int8"]


def test_what_failed_in_its_timing_alone_is_the_same():
    then = msgspec.structs.replace(NET, failure=Failure(stage="benchmark", kind="error", reason="r"))
    assert compared(then, NET, 0.0).outcome == "same"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dataset": "DIV2K"}, "it was scored on DIV2K, and this is d"),
        ({"versions": {**versions(), "numpy": "0.1"}}, "numpy 0.1, now"),
    ],
)
def test_other_circumstances_keep_from_comparing(again, fields, words):
    found, derived = again(results(NET, **fields))
    assert words in found.submissions[0].obstacle
    assert (found.submissions[0].outcome, derived) == ("not compared", [])


def test_the_same_name_with_other_images_keeps_from_comparing(again):
    other: ScoreReport = msgspec.structs.replace(NET.score, dataset_fingerprint="others")
    found, _ = again(results(msgspec.structs.replace(NET, score=other)))
    assert "d with other images" in found.submissions[0].obstacle


@pytest.mark.parametrize(("present", "words"), [((), "no longer there"), (("changed",), "files are others")])
def test_other_files_keep_from_comparing(again, present, words):
    found, derived = again(results(NET), present=present)
    assert words in found.submissions[0].obstacle
    assert derived == []


@pytest.mark.parametrize(("reason", "outcome"), [("no model", "same"), ("another", "differs")])
def test_what_was_rejected_has_to_be_rejected_again(again, reason, outcome):
    failure = Failure(stage="discover", kind="error", reason="no model")
    stored = Evaluation(name="net", title="net", kind="unknown", failure=failure)
    found, derived = again(results(stored), present=(), rejected=[Rejection(name="net", reason=reason)])
    assert (found.submissions[0].outcome, derived) == (outcome, [])


def test_only_what_is_named_is_derived(again):
    other = msgspec.structs.replace(NET, name="other")
    found, _ = again(results(NET, other), names=("net",))
    assert [each.name for each in found.submissions] == ["net"]
    with pytest.raises(module.HarnessError, match="have no submission 'none'; they have net"):
        again(results(NET), names=("none",))


def test_the_border_left_out_is_that_of_the_results(again):
    stored = msgspec.structs.replace(NET, score=msgspec.structs.replace(NET.score, shave=7))
    _, derived = again(results(stored), stored)
    assert derived[0] == replace(derived[0], shave=7)


# End to end


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> list[Path]:
    """The same submission and data, evaluated in two places of different names."""
    roots = [make(tmp_path_factory.mktemp("one")), make(tmp_path_factory.mktemp("another") / "deeper")]
    for root, name in zip(roots, ("out", "elsewhere"), strict=True):
        done = ended(evaluating(root / name), root)
        assert done.returncode == 0, done.stderr
        (root / name).rename(root / "out")
    return roots


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_submission_gives_the_same_bytes_anywhere(places):
    packages, pictures = ([hashes(root / "out" / name) for root in places] for name in ("packages", "pictures"))
    assert set(packages[0]) == {"net/model.tflite", "net/model_none.tflite", "net/model.onnx"}
    assert packages[0] == packages[1]
    assert pictures[0] == pictures[1]
    one, another = (json.loads(outcome(root / "out")) for root in places)
    for field in ("export", "calibrate", "quantise", "check", "score", "runtime", "appraise", "gallery", "findings"):
        assert one["submissions"][0][field] == another["submissions"][0][field], field


def verified(root: Path, *more: str):
    options = ["--data", "photos", "--backend", "npu", "--json", *more]
    return ended([sys.executable, "-m", "mai_harness", "verify", "altered.json", *options], root)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_altered_is_found_and_nothing_else(places):
    root = places[0]
    stored = read_results(root / "out" / "results.json")
    altered = changed(stored.submissions[0], 0.25)
    write_results(msgspec.structs.replace(stored, submissions=(altered,)), root / "altered.json")
    done = verified(root)
    (row,) = json.loads(done.stdout)["submissions"]
    assert done.returncode == 1
    assert [(row["name"], row["outcome"])] == [("net", "differs")]
    assert [each["field"] for each in row["differences"]] == ["score.images.a.psnr_raw_db"]
    (places[1] / "submissions" / "net" / "more.txt").write_text("other files")
    done = verified(root, "--submissions", str(places[1] / "submissions"))
    (row,) = json.loads(done.stdout)["submissions"]
    assert (done.returncode, "files are others" in row["obstacle"]) == (2, True)
