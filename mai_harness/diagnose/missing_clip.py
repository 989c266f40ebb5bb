"""The network overshoots [0, 255] and has no clip, so that its output bytes are no pixels."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._measured import (
    bytes_are_pixels,
    covered,
    output_of,
    reading,
    result_analysis,
    span,
    tried,
    width,
)
from mai_harness.metrics import GAP_LIMIT_DB
from mai_harness.records import Evaluation, Finding, Tried

OVERSHOOT = 1.0  # grey levels beyond [0, 255] that a float output takes without a clip
WIDER = 1.25  # a range that exceeds the values by more was not calibrated on them


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``missing-clip``, where raw bytes lose against their dequantised values and the float output overshoots."""
    result = output_of(evaluation)
    raw, where = reading(evaluation, "raw", "raw")
    right, _ = reading(evaluation, "dequantised", "dequantised")
    if result is None or raw is None or right is None or right - raw <= GAP_LIMIT_DB or bytes_are_pixels(result):
        return
    used, low_high = float_range(evaluation), covered(result)
    if used is None or not overshoots(used) or is_wider(low_high, used):
        return
    scale, zero_point = result.scales[0], (result.zero_points or (0,))[0]
    mended = evaluation.score.mean("psnr_mended_db") if evaluation.score else None
    trials = tried(evaluation, "clip", "raw", "a clip to [0, 255]")
    if mended is not None:
        how = f"the INT8 file made with a clip, on {where}"
        trials = (Tried(what="a clip to [0, 255]", before_db=raw, after_db=mended, how=how),)
    yield Finding(
        id="missing-clip",
        severity="error",
        title="The final clip is missing",
        evidence=f"Output scale {scale:.4g}, zero point {zero_point}: byte 0 stands for level {low_high[0]:.1f} and "
        f"byte 255 for {low_high[1]:.1f}, as the float output spans {span(used)}. Raw {db(raw)}, dequantised "
        f"{db(right)} on {where}.",
        explanation=f"The network kept its detail: with scale and zero point applied it has {db(right)}. But the "
        f"challenge takes output bytes as pixels, and these are shifted and compressed, which costs {db(right - raw)}.",
        remedy="End the network in a clip to [0, 255] before it is quantised; its output then has scale 1 and zero "
        "point 0. No retraining is needed.",
        layer=_maker(evaluation),
        tensor=result.name,
        explained_db=max([right, *(each.after_db for each in trials)]) - raw,
        tried=trials,
        explains=("output-range-wide", "output-range-tight"),
    )


def float_range(evaluation: Evaluation) -> tuple[float, float] | None:
    """Least and greatest value of the float output, on samples and calibration images; ``None`` if not known."""
    ranges = []
    if evaluation.examine and (analysis := result_analysis(evaluation.examine)):
        ranges.append(analysis.used)
        ranges += [found for i, found in evaluation.examine.recalibrated.items() if i == analysis.tensor]
    if evaluation.calibrate:
        ranges.append(evaluation.calibrate.output_range)
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def overshoots(used: tuple[float, float]) -> bool:
    """Whether values leave [0, 255]."""
    return used[0] < -OVERSHOOT or used[1] > 255 + OVERSHOOT


def is_wider(limits: tuple[float, float], used: tuple[float, float]) -> bool:
    """Whether a range is far wider than the values that it is for."""
    return limits[1] - limits[0] > WIDER * width(used)


def _maker(evaluation: Evaluation) -> str:
    analysis = result_analysis(evaluation.examine) if evaluation.examine else None
    return analysis.layer if analysis else ""
