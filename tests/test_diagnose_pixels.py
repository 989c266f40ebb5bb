"""Diagnoses of what the pixels mean and show: each fires on its measurements and is silent on healthy ones."""

import re
from typing import Any

import pytest
from evaluations import HR, WIDE, Step, appraisal, convolution, evaluation, examination, graph

from mai_harness.diagnose import diagnose, rules
from mai_harness.diagnose.border import BEYOND_BICUBIC_DB, MIRRORED_DB
from mai_harness.diagnose.overfitted import ERROR_DB, WARNING_DB
from mai_harness.records import Border, Evaluation, Finding, HeldOut, Plateau, Seams, Undo

RULES_TESTED = (
    "border", "colour_order", "orientation", "output_clipped", "overfitted", "pixel_order", "seams", "shift",
    "value_range",
)  # fmt: skip


def undo(
    id_: str, what: str = "something changed", before: float = 20.0, after: float = 30.0, **details: float
) -> Undo:
    return Undo(
        id=id_, what=what, carrier="int8", before_db=before, after_db=after, share_better=1.0, details=details
    )  # fmt: skip


def undone(id_: str, **given: Any) -> Evaluation:
    return evaluation(appraise=appraisal(undone=(undo(id_, **given),)))


def colours(source: float, *order: float) -> dict[str, float]:
    return {"input": source, **{f"output {place}": from_ for place, from_ in enumerate(order)}}


def bordered(
    border: float = 29.0, inside: float = 30.0, mirrored: float | None = 30.0, whole: float = 30.0
) -> Evaluation:
    found = Border(
        width=6, border_db=border, inside_db=inside, bicubic_border_db=27.0, bicubic_inside_db=28.0,
        mirrored_db=mirrored, whole_db=whole,
    )  # fmt: skip
    return evaluation(appraise=appraisal(border=found))


def stopped(*plateaus: Plateau, used: tuple[float, float] = (0.0, 200.0)) -> Evaluation:
    examined = examination()
    last = examined.tensors[-1]
    analysed = type(last)(**{name: getattr(last, name) for name in last.__struct_fields__} | {"used": used})
    examined = examination(tensors=(*examined.tensors[:-1], analysed))
    return evaluation(examine=examined, appraise=appraisal(plateaus=plateaus))


def compared(scored: float, other: float) -> Evaluation:
    gains = HeldOut(
        images=("a", "b"), scored_gain_db=scored, gain_db=other, bicubic_scored_db=-1.7, bicubic_db=-1.8
    )  # fmt: skip
    return evaluation(appraise=appraisal(held_out=gains))


TOP = Plateau(end="top", level=200.0, share=0.12, at_stake_db=5.5)
BOTTOM = Plateau(end="bottom", level=30.0, share=0.05, at_stake_db=0.5)
END = Step("DEPTH_TO_SPACE", HR), Step("QUANTIZE", HR, "uint8", zero_point=0)
TANH = graph(convolution(WIDE), Step("TANH", WIDE), *END)
CLIP = graph(convolution(WIDE), Step("MINIMUM", WIDE), *END)
TILES = graph("SPACE_TO_BATCH_ND", convolution(WIDE), Step("BATCH_TO_SPACE_ND", WIDE), *END)

#: What is measured, the id and gravity that follow, and what the finding must tell.
FAULTS: dict[str, tuple[Evaluation, str, str, tuple[str, ...]]] = {
    "BGR given": (
        undone("colour-order", what="the output's channels reversed", **colours(0, 2, 1, 0)),
        "colour-order", "error", ("gives BGR", "20.00 dB to 30.00 dB", "output channels of its last"),
    ),
    "BGR taken": (
        undone("colour-order", **colours(1, 0, 1, 2)),
        "colour-order", "error", ("takes BGR", "input channels of its first"),
    ),
    "BGR taken and given": (
        undone("colour-order", before=30.0, after=30.03, **colours(1, 2, 1, 0)),
        "colour-order", "warning", ("takes and gives BGR", "30.03 dB"),
    ),
    "GBR given": (
        undone("colour-order", **colours(0, 2, 0, 1)), "colour-order", "error", ("its colours in another order",),
    ),
    "[0, 1]": (
        undone("value-range", what="its output multiplied by 255", input=0, output=1, sized=0),
        "value-range", "error", ("gives values in [0, 1]", "by 255"),
    ),
    "fed with [0, 1]": (
        undone("value-range", what="fed with [0, 1]", input=2, output=0, sized=0),
        "value-range", "error", ("expects values in [0, 1]", "Divide the weights of the first layer by 255"),
    ),
    "[-1, 1]": (
        undone("value-range", input=3, output=2, sized=0), "value-range", "error", ("works on values in [-1, 1]",),
    ),
    "tanh": (
        evaluation(graph=TANH, appraise=appraisal(undone=(undo("value-range", input=0, output=2, sized=0),))),
        "tanh-output", "error", ("TANH 1", "clip to [0, 255]", "lost in rounding"),
    ),
    "tanh that is quantised": (
        evaluation(
            graph=TANH, appraise=appraisal(undone=(undo("value-range", "", 29.0, 30.8, input=0, output=2, sized=1),))
        ),
        "tanh-output", "error", ("1/128", "29.00 dB", "30.80 dB"),
    ),
    "CRD": (
        undone("pixel-order", what="sub-pixels regrouped from DCR to CRD", **{"DCR to CRD": 1.0}),
        "pixel-order", "error", ("DEPTH_TO_SPACE 10", "PixelShuffle", "k * 3 + c"),
    ),
    "DCR": (undone("pixel-order", **{"CRD to DCR": 1.0}), "pixel-order", "error", ("Replace the shuffle",)),
    "sub-pixels": (
        undone("pixel-order", before=29.5, after=30.0), "pixel-order", "warning", ("put in each other's places",),
    ),
    "mirrored": (
        undone("orientation", what="the output mirrored left to right"), "orientation", "error", ("left to right",),
    ),
    "shift by a pixel": (
        undone("shift", rows=1.0, columns=-1.0),
        "shift", "error", ("whole pixels", "1.00 HR pixels (0.33 LR pixels) too low", "too far left"),
    ),
    "shift by 3": (undone("shift", rows=0.0, columns=3.0), "shift", "error", ("whole LR pixels", "(1.00 LR pixels)")),
    "shift by a half": (
        undone("shift", before=29.5, rows=-0.5, columns=0.0), "shift", "warning", ("half a pixel", "too high"),
    ),
    "shift by a quarter": (undone("shift", rows=0.3, columns=0.0), "shift", "error", ("part of a pixel",)),
    "stretch": (undone("stretch", rows=2.0, columns=2.0), "stretch", "error", ("+2.00", "align_corners=False")),
    "border that mirroring mends": (
        bordered(mirrored=30.0 + MIRRORED_DB), "border", "warning", ("30.10 dB", "27.00 dB and 28.00 dB"),
    ),
    "black border": (
        bordered(border=10.0, mirrored=None), "border", "error", ("Within 6 HR pixels", "10.00 dB"),
    ),
    "seams": (
        evaluation(graph=TILES, appraise=appraisal(seams=(Seams(axis="rows", places=(270, 540), strength=1.4),))),
        "seams", "warning", ("HR rows 270 and 540", "1.4 times", "SPACE_TO_BATCH_ND 0"),
    ),
    "clipped": (stopped(TOP), "output-clipped", "error", ("level 200.0", "12.00 %", "5.50 dB")),
    "clipped below": (stopped(BOTTOM, used=(30.0, 255.0)), "output-clipped", "warning", ("falls below level 30.0",)),
    "clipped by an operator": (
        evaluation(graph=CLIP, examine=examination(graph=CLIP, tensors=()), appraise=appraisal(plateaus=(TOP,))),
        "output-clipped", "error", ("MINIMUM 1",),
    ),
    "overfitted": (compared(2.0, 0.5), "overfitted", "warning", ("+2.00 dB", "+0.50 dB", "-1.70 dB", "1.50 dB less")),
    "overfitted much": (compared(3.0, 0.0), "overfitted", "error", ("2 other photographs",)),
}  # fmt: skip


def text(finding: Finding) -> str:
    parts = (finding.title, finding.evidence, finding.explanation, finding.remedy, finding.layer)
    return " | ".join(parts)


def own(case: Evaluation) -> list[Finding]:
    """What the rules of this file find."""
    return [finding for name in RULES_TESTED for finding in rules()[name].findings(case)]


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_what_was_measured(name):
    case, id_, severity, words = FAULTS[name]
    (finding,) = own(case)
    assert (finding.id, finding.severity) == (id_, severity)
    for word in words:
        assert word in text(finding), text(finding)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_comes_first(name):
    case, id_, _, _ = FAULTS[name]
    assert diagnose(case)[0].id == id_


@pytest.mark.parametrize("name", FAULTS)
def test_an_explanation_is_two_sentences(name):
    (finding,) = own(FAULTS[name][0])
    assert len(re.findall(r"[.!?](?= |$)", finding.explanation)) == 2, finding.explanation
    assert finding.remedy.endswith((".", ")"))


def test_every_rule_has_its_fault():
    fired = {name for name in RULES_TESTED for case, *_ in FAULTS.values() if [*rules()[name].findings(case)]}
    assert fired == set(RULES_TESTED)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(evaluation(), id="healthy"),
        pytest.param(Evaluation(name="n", title="t", kind="tflite"), id="nothing measured"),
        pytest.param(evaluation(examine=None), id="not examined"),
        pytest.param(evaluation(appraise=None), id="not appraised"),
        pytest.param(bordered(mirrored=30.0 + MIRRORED_DB - 0.01), id="a border that mirroring hardly mends"),
        pytest.param(bordered(border=29.0 - BEYOND_BICUBIC_DB), id="a border that is as bad as allowed"),
        pytest.param(compared(2.0, 2.0 - WARNING_DB), id="a gain that holds elsewhere"),
        pytest.param(compared(-1.0, 0.5), id="worse on the scored set"),
        pytest.param(stopped(TOP, used=(0.0, 255.0)), id="a range of INT8 that ends early"),
        pytest.param(
            undone("value-range", before=22.0, input=0, output=1, sized=1), id="a range of INT8 made for [0, 1]"
        ),
    ],
)
def test_no_false_alarm(case):
    assert own(case) == []


def test_the_gain_is_what_the_fault_explains():
    (finding,) = own(FAULTS["BGR given"][0])
    assert finding.explained_db == 10.0
    (tried,) = finding.tried
    assert (tried.what, tried.before_db, tried.after_db) == ("the output's channels reversed", 20.0, 30.0)
    assert tried.how == "undone on the INT8 output of 2 samples"


def test_a_border_without_a_mend_costs_what_bicubic_would_not_lose():
    (finding,) = own(bordered(border=10.0, mirrored=None))
    assert 5 < finding.explained_db < 20
    assert finding.tried == ()


def test_symptoms_of_a_wrong_range_are_not_told():
    (finding,) = own(FAULTS["[0, 1]"][0])
    assert {"missing-clip", "output-range-wide", "calibration-mismatch", "quantisation-loss"} <= set(finding.explains)


def test_symptoms_of_a_wrong_pixel_order_are_not_told():
    (finding,) = own(FAULTS["CRD"][0])
    assert {"border", "seams", "quantisation-loss"} <= set(finding.explains)


def test_the_thresholds_of_overfitting():
    assert own(compared(ERROR_DB, 0.0))[0].severity == "warning"
    assert own(compared(ERROR_DB + 0.01, 0.0))[0].severity == "error"
