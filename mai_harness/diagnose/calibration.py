"""Ranges were set on other values than those that the network meets: other images, or [0, 1] in place of [0, 255]."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db, grade
from mai_harness.diagnose._measured import LOSSES, covered, inner, restored, span, tried, width
from mai_harness.records import AppraiseReport, Evaluation, ExamineReport, Finding, Tensor, TensorAnalysis
from mai_harness.undo import PICTURE_DB

SATURATED = 0.002  # share of a layer's values that a calibrated range does not cut off
WIDE = 2.0  # a range so many times wider than on photographs
GAIN_DB = 0.1
UNIT_TOP = 2.0  # greatest input value of a network that was calibrated on [0, 1] or [-1, 1]
NARROW_TOP = 200.0  # greatest input value of a network that was calibrated on no bright image
ALIKE = 1.6  # times by which ranges may differ that were set on other images of the same kind
_UNIT_TITLE = "It was calibrated on [0, 1], but takes [0, 255]"
_UNIT_REMEDY = (
    "Calibrate on images in [0, 255], as the network was trained; or put the division by 255 into the network and "
    "train it so."
)
_SYMPTOMS = (
    "value-range", "missing-clip", "output-range-tight", "output-range-wide", "constant-output", "output-clipped",
    "colour-order", "overfitted", "border", "seams", "dead-channels", *LOSSES,
)  # fmt: skip


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
    top = covered(source)[1] if len(source.scales) == 1 and source.dtype in ("uint8", "int8") else 255.0
    raw, anew = appraise.mean("raw"), appraise.mean("recalibrated levels")
    levels, natural = appraise.mean("float levels"), appraise.mean("float")
    if levels is None:  # the float twin's natural input is levels
        levels, natural = natural, appraise.mean("unrounded")
    if top > NARROW_TOP:
        return None
    if raw is None or anew is None or levels is None or natural is None:
        return None
    if levels < PICTURE_DB or levels < natural + 1 or anew < raw + 1:
        return None
    if top > UNIT_TOP:
        return _dark_input(evaluation, source, anew - raw, (natural, levels))
    return Finding(
        id="calibration-unit",
        severity="error",
        title=_UNIT_TITLE,
        evidence=f"Input scale {source.scales[0]:.4g}, so byte 255 stands for {top:.3g}. Fed with "
        f"such values the float network has {db(natural)}, fed with levels 0 to 255 {db(levels)}; raw INT8 {db(raw)}.",
        explanation="The images that set the ranges were divided by 255, but the network was made for levels 0 to 255. "
        "So every range is a 255th of what it should be, and biases outweigh the image.",
        remedy=_UNIT_REMEDY,
        layer="input",
        tensor=source.name,
        explained_db=anew - raw,
        tried=tried(evaluation, "recalibrated levels", "raw", "ranges set on photographs in [0, 255]"),
        explains=_SYMPTOMS,
    )


def _dark_input(evaluation: Evaluation, source: Tensor, gain: float, fed: tuple[float, float]) -> Finding:
    """The input's own range follows dark images, so that every byte stands for a darker level."""
    return Finding(
        id="calibration-mismatch",
        severity="error",
        title="The calibration images were darker than those that are scored",
        evidence=f"The input covers {span(covered(source))}, so byte 255 stands for {covered(source)[1]:.4g}. Fed with "
        f"such values the float network has {db(fed[0])}, fed with levels 0 to 255 {db(fed[1])}.",
        explanation="The brightest calibration image set the input's range, and bytes stand for darker levels than "
        f"they are. With ranges of whole photographs the same network gains {db(gain)}.",
        remedy="Calibrate on photographs that reach 0 and 255, or fix the input's range to [0, 255].",
        layer="input",
        tensor=source.name,
        explained_db=gain,
        tried=tried(evaluation, "recalibrated levels", "raw", "ranges set on photographs in [0, 255]"),
        explains=_SYMPTOMS,
    )


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
    over = "raw" if base == "clip" else "simulated"
    whole = appraise.gain("recalibrated", over)
    explained = gain if whole is None else whole
    if _as_on_unit(examine):
        return Finding(
            id="calibration-unit",
            severity=grade(explained),
            title=_UNIT_TITLE,
            evidence=f"{worst.layer} covers {span(worst.covered)}: what it gives for photographs over 255 is "
            f"{span(examine.recalibrated_unit[worst.tensor])}, for levels 0 to 255 {span(anew or worst.used)}. {fact}.",
            explanation="The images that set the ranges were divided by 255, but the network was made for levels 0 to "
            "255. Its layers are cut off far below the values that they have.",
            remedy=_UNIT_REMEDY,
            layer=worst.layer,
            tensor=worst.name,
            explained_db=explained,
            tried=tried(evaluation, "recalibrated", over, "ranges set on levels"),
            explains=_SYMPTOMS,
        )
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
        tried=tried(evaluation, "recalibrated", over, "ranges set on photographs"),
        explains=("output-range-tight", "output-range-wide", "output-clipped", "seams", *LOSSES),
    )


def _as_on_unit(examine: ExamineReport) -> bool:
    """Whether most layers have the range that images over 255 give, and not that of levels."""
    layers = [each for each in inner(examine) if each.tensor in examine.recalibrated_unit]
    alike = [
        each
        for each in layers
        if 1 / ALIKE < width(each.covered) / (width(examine.recalibrated_unit[each.tensor]) or 1.0) < ALIKE
        and width(examine.recalibrated.get(each.tensor, each.used)) > 2 * width(each.covered)
    ]
    return len(alike) * 2 > len(layers)


def _is_wide(each: TensorAnalysis, examine: ExamineReport) -> bool:
    anew = examine.recalibrated.get(each.tensor, each.used)
    needed = width((min(anew[0], each.used[0]), max(anew[1], each.used[1])))
    return each.covered[1] - each.covered[0] > WIDE * needed > 0
