"""Say what went wrong and what to do, from measured values alone. A diagnosis is one row of RULES."""

from collections.abc import Callable

from mai_harness.metrics import GAP_LIMIT_DB
from mai_harness.records import Evaluation, Finding
from mai_harness.timing import NOISE, is_noisy

DROP_DB = 0.3  # FP32 less dequantised INT8: ABPN loses 0.07 to 0.13 by quantisation (arXiv 2105.09750, tables 4 and 5)


def diagnose(evaluation: Evaluation) -> tuple[Finding, ...]:
    """Every finding, errors first."""
    order = ("error", "warning", "info")
    found = [finding for rule in RULES if (finding := rule(evaluation))]
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def bytes_are_no_pixels(evaluation: Evaluation) -> Finding | None:
    """The challenge reads output bytes as pixels, but the output's scale and zero point make other numbers of them."""
    if evaluation.score is None or evaluation.check is None:
        return None
    raw, dequantised = evaluation.score.mean("psnr_raw_db"), evaluation.score.mean("psnr_dequantised_db")
    facts = evaluation.check.facts
    if raw is None or dequantised is None or facts.output_scale is None or facts.output_zero_point is None:
        return None
    if dequantised - raw <= GAP_LIMIT_DB:
        return None
    scale, zero = facts.output_scale, facts.output_zero_point
    range_ = f"byte 0 stands for level {-zero * scale:.1f} and byte 255 for {(255 - zero) * scale:.1f}"
    overshoot = ""
    if evaluation.calibrate and not evaluation.calibrate.clipped_output:
        low, high = evaluation.calibrate.output_range
        overshoot = f" The float output spans {low:.1f} to {high:.1f} on the calibration images and has no clip."
    mended = evaluation.score.mean("psnr_mended_db")
    measured = "" if mended is None else f" Measured so, it has {mended:.2f} dB."
    return Finding(
        id="bytes-are-no-pixels",
        severity="error",
        evidence=f"Output scale {scale:.4g}, zero point {zero}: {range_}. "
        f"Raw {raw:.2f} dB, dequantised {dequantised:.2f} dB.{overshoot}",
        explanation=f"The network kept its detail: with scale and zero point applied it reaches {dequantised:.2f} dB. "
        f"But the challenge takes the output bytes as pixels, and these are shifted and compressed, which costs "
        f"{dequantised - raw:.2f} dB.",
        remedy="End the network in a clip to [0, 255] before it is quantised; its output then has scale 1 and zero "
        f"point 0. No retraining is needed.{measured}",
    )


def quantisation_is_costly(evaluation: Evaluation) -> Finding | None:
    """INT8 loses more than the reference design does, even when its output is read rightly."""
    if evaluation.score is None:
        return None
    fp32, int8 = evaluation.score.mean("psnr_fp32_db"), evaluation.score.mean("psnr_dequantised_db")
    if fp32 is None or int8 is None or fp32 - int8 <= DROP_DB:
        return None
    return Finding(
        id="quantisation-drop",
        severity="warning",
        evidence=f"FP32 {fp32:.2f} dB, INT8 dequantised {int8:.2f} dB: {fp32 - int8:.2f} dB lost; "
        f"more than {DROP_DB:g} dB is unusual.",
        explanation="Eight bits do not hold the range of some tensor. Without a residual onto the input every tensor "
        "must carry the whole image, so each rounding shows.",
        remedy="Add an anchor residual (the input repeated nine times before depth-to-space), or train with "
        "quantisation in the loop.",
    )


def untrained(evaluation: Evaluation) -> Finding | None:
    """The network has parameters to learn, but came without weights."""
    if evaluation.export is None or not evaluation.export.untrained:
        return None
    return Finding(
        id="untrained",
        severity="warning",
        evidence="No weights file and no [train] section; the parameters are as the constructor drew them.",
        explanation="The figures are those of random weights.",
        remedy=f"Add weights.safetensors, or a [train] section and run: mai-harness train {evaluation.name}",
    )


def size_is_fixed(evaluation: Evaluation) -> Finding | None:
    """No dynamic model could be made."""
    if evaluation.quantise is None or evaluation.quantise.dynamic:
        return None
    return Finding(
        id="fixed-size",
        severity="info",
        evidence=f"The static model {evaluation.quantise.dynamic_reason}.",
        explanation="There is no model_none.tflite, so images of other sizes were scored through tiles of the frame.",
        remedy="A convolution with depth-to-space in place of a transposed convolution keeps the size free.",
    )


def timing_is_noisy(evaluation: Evaluation) -> Finding | None:
    """The machine was too busy for the runtime to rank."""
    report = evaluation.headline
    if report is None or report.ratio is None or not is_noisy(report):
        return None
    ratio = report.ratio
    return Finding(
        id="noisy-timing",
        severity="warning",
        evidence=f"The ratio to the reference model is {ratio.value:.3f}, between {ratio.low:.3f} and {ratio.high:.3f} "
        f"(95 %, {ratio.rounds} rounds, {ratio.outliers} outliers): uncertain by {100 * ratio.uncertainty:.1f} %, more "
        f"than {100 * NOISE:g} %.",
        explanation="Other work ran beside the timing, so this runtime is uncertain and does not rank.",
        remedy=f"On a quiet machine run again: mai-harness evaluate {evaluation.name}. Noisy timings are not kept.",
    )


RULES: tuple[Callable[[Evaluation], Finding | None], ...] = (
    bytes_are_no_pixels,
    quantisation_is_costly,
    untrained,
    size_is_fixed,
    timing_is_noisy,
)
