"""The challenge's score against the rows that the organisers published, and what it is given."""

import msgspec
import pytest

from mai_harness.challenge import FORMULAS, score, with_scores
from mai_harness.records import BackendReport, Evaluation, ImageScore, LatencyReport, Ratio, Results, ScoreReport
from mai_harness.timing import NOISE


@pytest.mark.parametrize(
    ("psnr_db", "runtime_ms", "published"),
    [(29.58, 44.85, 51.02), (29.41, 38.32, 47.18), (29.52, 62.25, 33.82)],
)
def test_published_rows_of_2021(psnr_db, runtime_ms, published):
    assert score("mai2021", psnr_db, runtime_ms) == pytest.approx(published, rel=2e-4)


def test_a_decibel_is_worth_a_factor_of_four_and_half_the_runtime_one_of_two():
    base = score("mai2021", 30.0, 40.0)
    assert score("mai2021", 31.0, 40.0) == pytest.approx(4 * base)
    assert score("mai2021", 30.0, 20.0) == pytest.approx(2 * base)


def test_every_formula_says_what_it_is():
    for formula in FORMULAS.values():
        assert formula.title
        assert formula.source
        assert formula.text
        assert formula.compute(30.0, 10.0) > formula.compute(30.0, 20.0)


def report(*samples_ms: float, reference_ms: tuple[float, ...] = (), uncertainty: float = 0.0, **more) -> LatencyReport:
    ratio = None
    if reference_ms:
        value = samples_ms[0] / reference_ms[0]
        ratio = Ratio(
            value=value,
            low=value * (1 - uncertainty),
            high=value * (1 + uncertainty),
            rounds=len(samples_ms),
            outliers=0,
        )
    return LatencyReport(
        backend="cpu", precision="int8", device="d", how="h", samples_ms=samples_ms, reference_ms=reference_ms,
        ratio=ratio, **more,
    )  # fmt: skip


def entry(name: str, psnr_db: float | None, *reports: LatencyReport) -> Evaluation:
    images = (ImageScore(name="i", figures={"psnr_raw_db": psnr_db}),)
    scored = ScoreReport(
        dataset="d", dataset_fingerprint="f", shave=0, method="whole images", exact=True, images=images
    )
    runtime = (BackendReport(backend="cpu", reports=reports),) if reports else ()
    return Evaluation(name=name, title=name, kind="onnx", score=scored, runtime=runtime)


def scored(*evaluations: Evaluation):
    results = Results(
        schema_version=1, harness_version="0", created="", machine="m", versions={}, dataset="d", formula="mai2021",
        submissions=evaluations,
    )  # fmt: skip
    return [each.challenge for each in with_scores(results).submissions]


def test_the_ratio_counts_and_not_the_machine_that_was_slow_for_one_of_them():
    quiet, busy = report(40.0, 40.0, reference_ms=(20.0, 20.0)), report(80.0, 80.0, reference_ms=(40.0, 40.0))
    a, b = scored(entry("a", 30.0, quiet), entry("b", 30.0, busy))
    assert a.value == b.value == pytest.approx(score("mai2021", 30.0, 60.0))  # twice the median of 20, 20, 40, 40
    assert a.runtime_ms == 60.0
    assert "2.000 times" in a.runtime_from
    assert "30.00 ms" in a.runtime_from


@pytest.mark.parametrize(("uncertainty", "ranks"), [(NOISE - 1e-6, True), (NOISE + 1e-6, False)])
def test_a_timing_that_is_too_noisy_has_no_score(uncertainty, ranks):
    (found,) = scored(entry("a", 30.0, report(40.0, reference_ms=(20.0,), uncertainty=uncertainty)))
    assert (found.value is not None) == ranks
    assert ("too noisy" in found.refusal) != ranks


def test_estimates_and_plain_medians_count_as_they_are():
    estimate = msgspec.structs.replace(report(), estimate_ms=20.0)
    a, b = scored(entry("a", 30.0, estimate), entry("b", 30.0, report(9.0, 10.0, 11.0)))
    assert (a.runtime_ms, a.runtime_from) == (20.0, "estimate")
    assert (b.runtime_ms, b.runtime_from) == (10.0, "median")


def test_the_float_twin_never_ranks():
    """A phone may refuse INT8 on each delegate and still run float."""
    float_twin = msgspec.structs.replace(report(10.0), precision="fp32")
    assert scored(entry("a", 30.0, float_twin)) == [None]
    (found,) = scored(entry("a", 30.0, float_twin, report(40.0)))
    assert found.runtime_ms == 40.0


def test_without_a_psnr_or_a_runtime_there_is_no_score():
    assert scored(entry("a", None, report(9.0)), entry("b", 30.0), entry("c", 30.0, report())) == [None] * 3


def test_a_runtime_of_zero_is_refused():
    (found,) = scored(entry("a", 30.0, report(0.0)))
    assert found.value is None
    assert "resolution" in found.refusal
