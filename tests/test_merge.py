"""A run of some submissions keeps the rows of the others, as long as they still tell the truth."""

import msgspec
import pytest
from test_challenge import report

from mai_harness.challenge import score, with_scores
from mai_harness.discover import discover
from mai_harness.pipeline import Settings, merged
from mai_harness.records import BackendReport, Evaluation, ImageScore, Results, ScoreReport
from mai_harness.storage import SCHEMA_VERSION


@pytest.fixture
def settings(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_text(name)
    (tmp_path / "empty").mkdir()
    return Settings(submissions=tmp_path)


def results(settings, *names, shave=0, fingerprint="f", backends=("cpu",), **changes) -> Results:
    prints = {s.name: s.fingerprint for s in discover(settings.submissions)[0]}
    score = ScoreReport(
        dataset="d", dataset_fingerprint=fingerprint, shave=shave, method="whole images", exact=True,
        images=(ImageScore(name="i", figures={}),),
    )  # fmt: skip
    runtime = tuple(BackendReport(backend=backend, reports=()) for backend in backends)
    rows = tuple(
        Evaluation(name=n, title=n, kind="onnx", fingerprint=prints.get(n, ""), score=score, runtime=runtime)
        for n in names
    )
    made = Results(
        schema_version=SCHEMA_VERSION, harness_version="0", created="", machine="m", versions={}, dataset="d",
        formula="mai2021",
        submissions=rows,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def names(found: Results) -> list[str]:
    return [evaluation.name for evaluation in found.submissions]


def test_rows_of_others_stay(settings):
    assert names(merged(results(settings, "a"), results(settings, "a", "b", "empty"), settings)) == ["a", "b", "empty"]


def test_a_failed_run_of_one_costs_no_other_its_row(settings):
    new = results(settings, "a")
    failed = msgspec.structs.replace(
        new, submissions=(msgspec.structs.replace(new.submissions[0], score=None, runtime=()),)
    )
    assert names(merged(failed, results(settings, "a", "b"), settings)) == ["a", "b"]


def test_a_row_whose_files_changed_or_went_does_not_stay(settings):
    earlier = results(settings, "a", "b", "gone")
    (settings.submissions / "b.onnx").write_text("changed")
    assert names(merged(results(settings, "a"), earlier, settings)) == ["a"]


@pytest.mark.parametrize(
    "changes", [{"machine": "other"}, {"dataset": "other"}, {"versions": {"torch": "1"}}, {"shave": 4},
                {"fingerprint": "g"}, {"backends": ("npu", "cpu")}],
    ids=str,
)  # fmt: skip
def test_rows_measured_otherwise_do_not_stay(settings, changes):
    assert names(merged(results(settings, "a"), results(settings, "a", "b", **changes), settings)) == ["a"]


def test_scores_are_made_anew_over_all_rows(settings):
    """Each run has its own reference, and a score is by the reference of all."""

    def timed(found: Results, reference_ms: float) -> Results:
        latency = report(2 * reference_ms, 2 * reference_ms, reference_ms=(reference_ms, reference_ms))
        row = msgspec.structs.replace(
            found.submissions[0],
            runtime=(BackendReport(backend="cpu", reports=(latency,)),),
            score=msgspec.structs.replace(
                found.submissions[0].score, images=(ImageScore(name="i", figures={"psnr_raw_db": 30.0}),)
            ),
        )
        return with_scores(msgspec.structs.replace(found, submissions=(row,)))

    new, earlier = timed(results(settings, "a"), 20.0), timed(results(settings, "b"), 40.0)
    assert [each.submissions[0].challenge.runtime_ms for each in (new, earlier)] == [40.0, 80.0]
    both = merged(new, earlier, settings).submissions
    assert [each.challenge.runtime_ms for each in both] == [60.0, 60.0]
    assert both[0].challenge.value == both[1].challenge.value == pytest.approx(score("mai2021", 30.0, 60.0))
