"""Diagnoses of ranges and rounding: each fires on its fault, alone, and is silent on a healthy submission."""

import re

import msgspec
import pytest
from evaluations import analysis, appraisal, evaluation, examination, graph, steps

from mai_harness.diagnose import diagnose, rules
from mai_harness.records import CalibrateReport, Evaluation, Finding, ImageScore, QuantiseReport, ScoreReport

RULES_TESTED = (
    "missing_clip", "output_range", "calibration", "quantisation_loss", "weights", "dead_channels", "learned_weights",
)  # fmt: skip
# Tensors of ABPN's graph: what its operators make.
MODEL = graph()
MADE = {op.label: op.outputs[0] for op in MODEL.ops}
FOURTH, ADD = "CONV_2D 4", "ADD 9"


def found(case: Evaluation) -> list[Finding]:
    return [finding for name in RULES_TESTED for finding in rules()[name].findings(case)]


def only(case: Evaluation) -> Finding:
    (finding,) = found(case)
    return finding


def ending(scale: float, zero_point: int):
    """ABPN with another grid at its output, in the order of its operators."""
    *body, add, shuffle, last = steps()
    moved = (add._replace(scale=scale, zero_point=zero_point - 128), shuffle._replace(scale=scale), last)
    moved = (
        moved[0],
        moved[1]._replace(zero_point=zero_point - 128),
        last._replace(scale=scale, zero_point=zero_point),
    )
    return graph(*body, *moved)


def examined(model=MODEL, result=None, recalibrated=None, **layers):
    """An examination whose last analysis is that of the sum, and others changed by their operator's label."""
    changes = {label.replace("_", " ").replace("CONV 2D", "CONV_2D"): change for label, change in layers.items()}
    tensors = []
    for op in model.ops:
        if op.name in ("CONV_2D", "ADD"):
            change = changes.get(op.label, {}) | ((result or {}) if op.name == "ADD" else {})
            tensors.append(analysis(model, op.outputs[0], **change))
    return examination(graph=model, tensors=tuple(tensors), recalibrated=recalibrated or {})


def scored(raw, dequantised, fp32, mended=None):
    figures = {"psnr_raw_db": raw, "psnr_dequantised_db": dequantised, "psnr_fp32_db": fp32, "psnr_mended_db": mended}
    return ScoreReport(
        dataset="d", dataset_fingerprint="f", shave=0, method="whole images", exact=True,
        images=(ImageScore(name="i", figures=figures),),
    )  # fmt: skip


SIMULATED = {"simulated": 30.0, "unrounded": 30.05, "float": 30.1}
NO_CLIP = evaluation(
    graph=ending(1.382, 20),
    examine=examined(ending(1.382, 20), {"covered": (-27.6, 324.8), "used": (-25.0, 310.0)}),
    score=scored(21.75, 29.95, 30.0, mended=29.9),
    calibrate=CalibrateReport(parity=(), frames=(), clipped_output=False, output_range=(-26.0, 320.0)),
    appraise=appraisal(psnr=SIMULATED | {"raw": 21.5, "clip": 29.99, "dequantised": 30.0}),
)
LOSING = SIMULATED | {"unrounded": 31.0, "float": 31.0, f"restored-{MADE[FOURTH]}": 30.7, f"restored-{MADE[ADD]}": 30.1}


def losing(residual):
    report = examined(CONV_2D_4={"used": (-900.0, 1100.0), "covered": (-950.0, 1200.0), "effective_bits": 7.4})
    report = msgspec.structs.replace(report, residual=residual)
    return evaluation(examine=report, appraise=appraisal(psnr=LOSING), score=scored(30.0, 30.0, 31.0))


def unit_graph():
    """Calibrated on [0, 1]: byte 255 is 1."""
    first, *rest = steps()
    return graph(first._replace(scale=1 / 255), *rest, source_scale=1 / 255)


CASES = {
    "missing-clip": NO_CLIP,
    "output-range-wide": evaluation(
        graph=ending(2.0, 0),
        examine=examined(ending(2.0, 0), {"covered": (0.0, 510.0), "used": (0.0, 255.0)}),
        score=scored(9.0, 29.9, 30.0),
        appraise=appraisal(psnr=SIMULATED | {"raw": 9.0, "clip": 30.0}),
    ),
    "output-range-tight": evaluation(
        graph=ending(200 / 255, 0),
        examine=examined(ending(200 / 255, 0), {"covered": (0.0, 200.0), "used": (0.0, 255.0), "saturated": 0.08}),
        score=scored(18.0, 22.0, 30.0),
        appraise=appraisal(psnr=SIMULATED | {"raw": 18.0, "clip": 30.0, "dequantised": 22.0}),
    ),
    "calibration-mismatch": evaluation(
        examine=examined(
            CONV_2D_4={"covered": (0.0, 90.0), "used": (0.0, 400.0), "saturated": 0.2},
            recalibrated={MADE[FOURTH]: (0.0, 420.0)},
        ),
        appraise=appraisal(psnr=SIMULATED | {"simulated": 27.0, "unrounded": 27.1, "recalibrated": 29.9}),
    ),
    "calibration-unit": evaluation(
        graph=unit_graph(),
        examine=msgspec.structs.replace(examined(unit_graph()), twin="derived"),
        score=scored(9.0, 9.0, None),
        appraise=appraisal(
            psnr=SIMULATED
            | {"raw": 9.0, "float": 8.0, "float levels": 30.0, "unrounded": 8.0, "simulated": 8.0}
            | {"recalibrated levels": 29.9}
        ),
    ),
    "high-dynamic-range": losing("none"),
    "feature-residual": losing("feature"),
    "quantisation-loss": losing("image"),
    "per-tensor-weights": evaluation(
        examine=examined(CONV_2D_4={"weight_scales": 1, "weight_ratio": 60.0}),
        appraise=appraisal(psnr=SIMULATED | {"per-channel": 30.9}),
    ),
    "outlier-channel": evaluation(
        examine=examined(CONV_2D_4={"channel_ratio": 40.0, "widest_channel": 11}),
        appraise=appraisal(psnr=SIMULATED | {f"restored-{MADE[FOURTH]}": 30.2, "equalised": 30.25}),
    ),
    "dead-channels": evaluation(examine=examined(CONV_2D_4={"dead_channels": 9})),
    "learned-weights": evaluation(
        quantise=QuantiseReport(
            psnr_int8_to_float_db=40.0, learned_agreement=0.99, rewrites=(), dynamic=True, dynamic_reason=""
        ),
        score=scored(29.9, 29.9, 31.9),
        appraise=appraisal(psnr=SIMULATED | {"float": 32.0}),
    ),
}


@pytest.mark.parametrize(("id_", "case"), CASES.items(), ids=CASES)
def test_each_fault_comes_first_and_alone(id_, case):
    assert [finding.id for finding in diagnose(case)] == [id_]


@pytest.mark.parametrize(("id_", "case"), CASES.items(), ids=CASES)
def test_every_finding_is_complete(id_, case):
    finding = next(each for each in found(case) if each.id == id_)
    assert finding.title
    assert re.search(r"\d", finding.evidence)
    assert len(re.findall(r"[.](?= [A-Z]|$)", finding.explanation)) == 2, finding.explanation
    assert finding.remedy.endswith(".")
    assert "None" not in str(finding.evidence + finding.explanation + finding.remedy)


GUILTY = {
    "missing-clip": ADD, "output-range-wide": ADD, "output-range-tight": ADD, "calibration-mismatch": FOURTH,
    "calibration-unit": "input", "high-dynamic-range": FOURTH, "feature-residual": ADD, "quantisation-loss": FOURTH,
    "per-tensor-weights": FOURTH, "outlier-channel": FOURTH, "dead-channels": FOURTH,
}  # fmt: skip


@pytest.mark.parametrize(("id_", "layer"), GUILTY.items(), ids=GUILTY)
def test_the_guilty_layer_is_named(id_, layer):
    assert diagnose(CASES[id_])[0].layer == layer


MENDS = {
    "missing-clip": (21.75, 29.9), "output-range-wide": (9.0, 30.0), "output-range-tight": (18.0, 30.0),
    "calibration-mismatch": (27.0, 29.9), "calibration-unit": (9.0, 29.9), "high-dynamic-range": (30.0, 30.7),
    "per-tensor-weights": (30.0, 30.9), "outlier-channel": (30.0, 30.25), "learned-weights": (30.05, 32.0),
}  # fmt: skip


@pytest.mark.parametrize(("id_", "figures"), MENDS.items(), ids=MENDS)
def test_the_mend_was_tried(id_, figures):
    (tried,) = diagnose(CASES[id_])[0].tried
    assert (tried.before_db, tried.after_db) == figures


def test_the_missing_clip_is_explained_by_what_was_measured():
    finding = diagnose(NO_CLIP)[0]
    for figure in ("1.382", "zero point 20", "level -27.6", "324.8", "21.75", "29.95", "-26, 320"):
        assert figure in finding.evidence
    assert finding.explained_db == pytest.approx(29.95 - 21.75)


HEALTHY = {
    "abpn": evaluation(appraise=appraisal(psnr=SIMULATED)),
    "nothing measured": Evaluation(name="n", title="t", kind="tflite"),
    "scored alone": msgspec.structs.replace(evaluation(), examine=None, appraise=None),
    "a loss at the limit": evaluation(appraise=appraisal(psnr=SIMULATED | {"unrounded": 30.29})),
    "a saturating sum": evaluation(
        examine=examined(result={"used": (-20.0, 300.0), "covered": (0.0, 255.0), "saturated": 0.01}),
        appraise=appraisal(psnr=SIMULATED | {"recalibrated": 29.9}),
    ),
    "levels in [0, 1] throughout": evaluation(
        graph=ending(1 / 255, 0),
        examine=examined(ending(1 / 255, 0), {"covered": (0.0, 1.0), "used": (0.0, 1.0)}),
        score=scored(30.0, 6.0, 6.0),
        appraise=appraisal(psnr=SIMULATED | {"dequantised": 6.0, "float": 6.0, "recalibrated": 29.9}),
    ),
    "ranges that saturate but lose nothing": evaluation(
        examine=examined(CONV_2D_4={"saturated": 0.1}), appraise=appraisal(psnr=SIMULATED | {"recalibrated": 29.8})
    ),
    "a wide channel that costs nothing": evaluation(
        examine=examined(CONV_2D_4={"channel_ratio": 12.0}), appraise=appraisal(psnr=SIMULATED | {"equalised": 30.01})
    ),
}


@pytest.mark.parametrize("case", HEALTHY.values(), ids=HEALTHY)
def test_no_false_alarm(case):
    assert found(case) == []


def test_balanced_weights_under_one_scale_are_no_more_than_a_remark():
    case = evaluation(
        examine=examined(CONV_2D_4={"weight_scales": 1, "weight_ratio": 3.0}),
        appraise=appraisal(psnr=SIMULATED | {"per-channel": 30.01}),
    )
    assert [finding.severity for finding in found(case)] == ["info"]


def test_a_ruinous_loss_is_an_error():
    case = evaluation(appraise=appraisal(psnr=LOSING | {"unrounded": 33.5}), score=scored(30.0, 30.0, 33.5))
    assert [finding.severity for finding in diagnose(case)] == ["error"]


def test_without_an_examination_a_loss_is_told_by_the_scores():
    case = msgspec.structs.replace(evaluation(score=scored(30.0, 30.0, 31.0)), examine=None, appraise=None)
    assert only(case).id == "quantisation-loss"
    assert "the scored set" in only(case).evidence
