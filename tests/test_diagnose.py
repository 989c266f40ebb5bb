"""Every diagnosis fires on its fault and is silent on a healthy submission."""

import msgspec
import pytest

from mai_harness.diagnose import DROP_DB, RULES, diagnose
from mai_harness.metrics import GAP_LIMIT_DB
from mai_harness.records import (
    BackendReport,
    CalibrateReport,
    CheckReport,
    Evaluation,
    ExportReport,
    ImageScore,
    LatencyReport,
    ModelFacts,
    QuantiseReport,
    Ratio,
    ScoreReport,
)
from mai_harness.timing import NOISE


def evaluation(
    raw=30.0, dequantised=30.0, fp32=30.1, scale=1.0, zero_point=0, clipped=True, dynamic=True, untrained=False,
    uncertainty=0.01,
) -> Evaluation:  # fmt: skip
    figures = {"psnr_raw_db": raw, "psnr_dequantised_db": dequantised, "psnr_fp32_db": fp32}
    model = ModelFacts(
        input_shape=(1, 360, 640, 3), input_dtype="uint8", output_shape=(1, 1080, 1920, 3), output_dtype="uint8",
        output_scale=scale, output_zero_point=zero_point, parameters=1, macs=1, size_bytes=1, receptive_radius=1,
    )  # fmt: skip
    return Evaluation(
        name="net",
        title="Net",
        kind="torch",
        export=ExportReport(parity=(), rewrites=(), untrained=untrained),
        calibrate=CalibrateReport(parity=(), frames=(), clipped_output=clipped, output_range=(-30.0, 310.0)),
        quantise=QuantiseReport(
            psnr_int8_to_float_db=50.0, learned_agreement=None, rewrites=(),
            dynamic=dynamic, dynamic_reason="" if dynamic else "does not run at 40x56",
        ),
        check=CheckReport(facts=model, rules=(), tensors=()),
        score=ScoreReport(
            dataset="d", dataset_fingerprint="f", shave=0, method="whole images", exact=True,
            images=(ImageScore(name="i", figures=figures),),
        ),
        runtime=(
            BackendReport(
                backend="cpu",
                reports=(
                    LatencyReport(
                        backend="cpu", precision="int8", device="d", how="h", threads=1, samples_ms=(20.0,),
                        ratio=Ratio(value=2.0, low=2 - 2 * uncertainty, high=2 + 2 * uncertainty, rounds=9, outliers=1),
                    ),
                ),
            ),
        ),
    )  # fmt: skip


HEALTHY = evaluation()
FAULTS = {
    "bytes-are-no-pixels": evaluation(raw=21.75, dequantised=30.0, scale=1.382, zero_point=20, clipped=False),
    "quantisation-drop": evaluation(raw=29.0, dequantised=29.0, fp32=29.0 + DROP_DB + 0.01),
    "untrained": evaluation(untrained=True),
    "fixed-size": evaluation(dynamic=False),
    "noisy-timing": evaluation(uncertainty=NOISE + 0.001),
}


def test_a_healthy_submission_has_no_findings():
    assert diagnose(HEALTHY) == ()


@pytest.mark.parametrize(("id_", "case"), FAULTS.items(), ids=FAULTS)
def test_each_fault_is_named_and_no_other(id_, case):
    assert [finding.id for finding in diagnose(case)] == [id_]


def test_every_rule_has_its_fault():
    assert len(RULES) == len(FAULTS)
    assert {rule(case) is not None for rule, case in zip(RULES, FAULTS.values(), strict=True)} == {True}


def test_the_missing_clip_is_explained_by_what_was_measured():
    evidence = diagnose(FAULTS["bytes-are-no-pixels"])[0].evidence
    for figure in ("1.382", "zero point 20", "level -27.6", "324.8", "21.75", "30.00", "-30.0 to 310.0", "no clip"):
        assert figure in evidence


def test_a_noisy_timing_is_explained_by_its_ratio():
    (found,) = diagnose(evaluation(uncertainty=0.04))
    for figure in ("2.000, between 1.920 and 2.080", "9 rounds, 1 outliers", "uncertain by 4.0 %", "more than 3 %"):
        assert figure in found.evidence
    assert "mai-harness evaluate net" in found.remedy


def on_two(first: Evaluation, second: Evaluation) -> Evaluation:
    """Timed on the backends of both."""
    return msgspec.structs.replace(first, runtime=first.runtime + second.runtime)


def test_only_the_runtime_that_ranks_is_called_noisy():
    noisy = evaluation(uncertainty=1.0)
    assert diagnose(on_two(HEALTHY, noisy)) == ()
    assert [finding.id for finding in diagnose(on_two(noisy, HEALTHY))] == ["noisy-timing"]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(evaluation(raw=30.0, dequantised=30.0 + GAP_LIMIT_DB), id="a gap at the limit"),
        pytest.param(evaluation(raw=30.5, dequantised=30.0), id="raw above dequantised"),
        pytest.param(evaluation(fp32=None), id="no float twin"),
        pytest.param(evaluation(uncertainty=NOISE - 1e-6), id="a timing just certain enough"),
        pytest.param(msgspec.structs.replace(HEALTHY, score=None, check=None), id="not scored"),
        pytest.param(Evaluation(name="n", title="t", kind="tflite"), id="nothing measured"),
    ],
)
def test_no_false_alarm(case):
    assert diagnose(case) == ()


def test_errors_come_before_the_rest():
    case = evaluation(raw=20.0, scale=2.0, zero_point=9, untrained=True, dynamic=False)
    assert [finding.severity for finding in diagnose(case)] == ["error", "warning", "info"]
