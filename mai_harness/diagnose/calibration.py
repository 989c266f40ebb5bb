"""Ranges were set on other values than those that the network meets: other images, or [0, 1] in place of [0, 255]."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db, grade
from mai_harness.diagnose._measured import LOSSES, inner, restored, span, tried
from mai_harness.records import AppraiseReport, Evaluation, ExamineReport, Finding, TensorAnalysis

SATURATED = 0.002  # share of a layer's values that a calibrated range does not cut off
WIDE = 2.0  # a range so many times wider than on photographs
GAIN_DB = 0.1
UNIT_TOP = 2.0  # greatest input value of a network that was calibrated on [0, 1] or [-1, 1]
PICTURE_DB = 20.0  # below is no picture


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``calibration-unit`` and ``calibration-mismatch``, where ranges set anew do better."""
    examine, appraise = evaluation.examine, evaluation.appraise
    if examine is None or appraise is None or not examine.tensors:
        return
    unit = _unit(evaluation, examine, appraise)
    if unit is not None:
        yield unit
    elif (other := _mismatch(evaluation, examine, appraise)) is not None:
        yield other


def _unit(evaluation: Evaluation, examine: ExamineReport, appraise: AppraiseReport) -> Finding | None:
    source = examine.graph.tensors[examine.graph.inputs[0]]
    raw, anew = appraise.mean("raw"), appraise.mean("recalibrated levels")
    levels, natural = appraise.mean("float levels"), appraise.mean("float")
    if levels is None:  # the float twin's natural input is levels
        levels, natural = natural, appraise.mean("unrounded")
    if not source.scales or source.scales[0] * 255 > UNIT_TOP:
        return None
    if raw is None or anew is None or levels is None or natural is None:
        return None
    if levels < PICTURE_DB or levels < natural + 1 or anew < raw + 1:
        return None
    return Finding(
        id="calibration-unit",
        severity="error",
        title="It was calibrated on [0, 1], but takes [0, 255]",
        evidence=f"Input scale {source.scales[0]:.4g}, so byte 255 stands for {source.scales[0] * 255:.3g}. Fed with "
        f"such values the float network has {db(natural)}, fed with levels 0 to 255 {db(levels)}; raw INT8 {db(raw)}.",
        explanation="The images that set the ranges were divided by 255, but the network was made for levels 0 to 255. "
        "So every range is a 255th of what it should be, and biases outweigh the image.",
        remedy="Calibrate on images in [0, 255], as the network was trained; or put the division by 255 into the "
        "network and train it so.",
        layer="input",
        tensor=source.name,
        explained_db=anew - raw,
        tried=tried(evaluation, "recalibrated levels", "raw", "ranges set on photographs in [0, 255]"),
        explains=(
            "value-range", "missing-clip", "output-range-tight", "output-range-wide", "constant-output",
            "output-clipped", "colour-order", "overfitted", "border", "seams", *LOSSES,
        ),
    )  # fmt: skip


def _mismatch(evaluation: Evaluation, examine: ExamineReport, appraise: AppraiseReport) -> Finding | None:
    base = "clip" if "clip" in appraise.psnr else "simulated"
    gain = appraise.gain("recalibrated", base)
    odd = [each for each in inner(examine) if each.saturated > SATURATED or _is_wide(each, examine)]
    if gain is None or gain < GAIN_DB or not odd:
        return None
    worst = max(odd, key=lambda each: (restored(appraise, each), each.saturated))
    anew = examine.recalibrated.get(worst.tensor)
    fact = (
        f"{100 * worst.saturated:.2f} % of its float values saturate"
        if worst.saturated > SATURATED
        else f"{worst.effective_bits:.1f} of 8 bits are used"
    )
    photographs = f", on photographs {span(anew)}" if anew else ""
    before = appraise.mean("raw") if base == "clip" else appraise.mean("simulated")
    after = appraise.mean("recalibrated")
    explained = gain if before is None or after is None else after - before
    return Finding(
        id="calibration-mismatch",
        severity=grade(explained),
        title="The calibration images were unlike those that are scored",
        evidence=f"{worst.layer} covers {span(worst.covered)}, its float values are {span(worst.used)}{photographs}: "
        f"{fact}. {len(odd)} of {len(examine.tensors)} layers have such a range.",
        explanation="Ranges follow the calibration images, and these had other brightness or contrast. "
        f"With ranges set on photographs the same network gains {db(explained)}.",
        remedy="Calibrate on a hundred varied photographs that reach black, white and saturated colours, prepared as "
        "the network's input is.",
        layer=worst.layer,
        tensor=worst.name,
        explained_db=explained,
        tried=tried(evaluation, "recalibrated", "raw" if base == "clip" else "simulated", "ranges set on photographs"),
        explains=("output-range-tight", "output-range-wide", "output-clipped", *LOSSES),
    )


def _is_wide(each: TensorAnalysis, examine: ExamineReport) -> bool:
    anew = examine.recalibrated.get(each.tensor, each.used)
    needed = max(anew[1], each.used[1], 0.0) - min(anew[0], each.used[0], 0.0)
    return each.covered[1] - each.covered[0] > WIDE * needed > 0
