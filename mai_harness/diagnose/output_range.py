"""The output's range is not that of its values: too tight and they saturate, too wide and codes are idle."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db, grade
from mai_harness.diagnose._measured import bytes_are_pixels, covered, output_of, result_analysis, span, tried
from mai_harness.diagnose.missing_clip import float_range, is_wider, overshoots
from mai_harness.records import Evaluation, Finding, Tensor

MARGIN = 2.0  # grey levels that a range may lack at an end


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``output-range-tight`` and ``output-range-wide``, where a range of [0, 255] would do better."""
    result, used = output_of(evaluation), float_range(evaluation)
    appraise = evaluation.appraise
    if result is None or used is None or appraise is None or bytes_are_pixels(result):
        return
    gain, limits = appraise.gain("clip", "raw"), covered(result)
    if gain is None or gain < 0.1:
        return
    low, high = max(used[0], 0.0), min(used[1], 255.0)
    if limits[0] > low + MARGIN or limits[1] < high - MARGIN:
        yield _finding(evaluation, result, used, gain, "tight")
    elif is_wider(limits, used) or not overshoots(used):
        yield _finding(evaluation, result, used, gain, "wide")


def _finding(evaluation: Evaluation, result: Tensor, used: tuple[float, float], gain: float, how: str) -> Finding:
    analysis = result_analysis(evaluation.examine) if evaluation.examine else None
    raw = evaluation.appraise.mean("raw") if evaluation.appraise else None
    saturated = f" {100 * analysis.saturated:.2f} % of the float values lie beyond." if analysis else ""
    tight = how == "tight"
    return Finding(
        id=f"output-range-{how}",
        severity=grade(gain),
        title=f"The output's range is too {how}",
        evidence=f"Output scale {result.scales[0]:.4g}, zero point {(result.zero_points or (0,))[0]}: codes cover "
        f"{span(covered(result))}, the float output {span(used)}.{saturated if tight else ''}"
        f"{'' if raw is None else f' Raw {db(raw)} on the samples.'}",
        explanation=(
            "Levels beyond the range are cut off, and as the scale is not 1 all bytes are stretched. "
            if tight
            else "Codes stand for levels that no pixel has, so fewer are left for those that occur, and bytes are no "
            "pixels. "
        )
        + f"With a range of [0, 255] the same network gains {db(gain)}.",
        remedy="Give the output the range [0, 255] when you quantise: a clip at the end of the network and images in "
        "the calibration set that reach 0 and 255, or a fake-quantisation node with that range.",
        layer=analysis.layer if analysis else "",
        tensor=result.name,
        explained_db=gain,
        tried=tried(evaluation, "clip", "raw", "an output range of [0, 255]"),
    )
