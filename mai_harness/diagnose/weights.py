"""Ranges that one scale does not hold: weights of unlike channels, or one channel far wider than the rest."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db, grade
from mai_harness.diagnose._measured import LOSSES, restored, span, tried
from mai_harness.records import AppraiseReport, Evaluation, ExamineReport, Finding

UNLIKE = 8.0  # ranges of channels under one scale: the narrowest has three bits less
GAIN_DB = 0.1


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``per-tensor-weights`` and ``outlier-channel``."""
    examine, appraise = evaluation.examine, evaluation.appraise
    if examine is None or appraise is None:
        return
    yield from _per_tensor(evaluation, examine, appraise)
    yield from _outlier(evaluation, examine, appraise)


def _per_tensor(evaluation: Evaluation, examine: ExamineReport, appraise: AppraiseReport) -> Iterator[Finding]:
    found = [each for each in examine.tensors if each.weight_scales == 1 and each.channels > 1]
    gain = appraise.gain("per-channel", "simulated")
    # Without their float values a layer that is restored still has the weights that were rounded.
    known = gain is not None
    worst = max(found, key=lambda each: (known * restored(appraise, each), each.weight_ratio or 0), default=None)
    if worst is None:
        return
    unlike = [each for each in found if (each.weight_ratio or 1) > UNLIKE]
    matters = gain >= 0.05 if gain is not None else bool(unlike)
    measured = "" if gain is None else f" By channel it gains {db(gain)}."
    unknown = "" if gain is not None else " Their float values are not known, so a gain cannot be measured."
    yield Finding(
        id="per-tensor-weights",
        severity=(grade(gain) if gain is not None and gain >= GAIN_DB else "warning") if matters else "info",
        title="Weights have one scale for all channels",
        evidence=f"{len(found)} layers have per-tensor weights; in {worst.layer} the widest channel's range is "
        f"{worst.weight_ratio or 1:.3g} times the narrowest's.{measured}{unknown}",
        explanation="One scale has to hold the widest channel, so that channels of small weights are left with few "
        "steps. INT8 convolutions take a scale a channel at no cost.",
        remedy="Quantise weights per channel, which TensorFlow Lite does unless it is told otherwise "
        "(_experimental_disable_per_channel, or a quantiser that is per tensor only).",
        layer=worst.layer,
        tensor=worst.name,
        explained_db=gain,
        tried=tried(evaluation, "per-channel", "simulated", "weights quantised by channel"),
        explains=(*LOSSES, "border") if matters else (),
    )


def _outlier(evaluation: Evaluation, examine: ExamineReport, appraise: AppraiseReport) -> Iterator[Finding]:
    found = [each for each in examine.tensors if each.has_wide_channel]
    worst = max(found, key=lambda each: restored(appraise, each), default=None)
    if worst is None:
        return
    gain, alone = appraise.gain("equalised", "simulated"), restored(appraise, worst)
    explained = max(gain or 0.0, alone)
    if explained < GAIN_DB:
        return
    measured = "" if gain is None else f" With channels brought to one range it gains {db(gain)}."
    yield Finding(
        id="outlier-channel",
        severity=grade(explained),
        title="One channel is far wider than the rest",
        evidence=f"In {worst.layer} channel {worst.widest_channel} has {worst.channel_ratio:.3g} times the median "
        f"channel's range; codes cover {span(worst.covered)}. Left in float this layer gives {db(alone)} back."
        f"{measured}",
        explanation="A tensor has one scale, and a single channel sets it. The other channels are left with few codes.",
        remedy="Divide the channel's weights and bias by its excess and multiply the next layer's weights for it "
        "(cross-layer equalisation, Nagel et al. 2019, arXiv 1906.04721, section 4.1); or train with quantisation in "
        "the loop.",
        layer=worst.layer,
        tensor=worst.name,
        explained_db=explained,
        tried=tried(evaluation, "equalised", "simulated", "channels brought to one range"),
        explains=LOSSES,
    )
