"""Channels that do nothing: they cost time and teach the wrong lesson about a network's size."""

from collections.abc import Iterator

from mai_harness.records import Evaluation, Finding

SHARE = 0.25


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``dead-channels``, where a quarter of a layer or more is constant on every sample."""
    examine = evaluation.examine
    found = [e for e in examine.tensors if e.channels > 3 and e.dead_channels >= SHARE * e.channels] if examine else []
    if not found or examine is None:
        return
    worst = max(found, key=lambda each: each.dead_channels / each.channels)
    yield Finding(
        id="dead-channels",
        severity="info",
        title="Channels that never change",
        evidence=f"In {worst.layer} {worst.dead_channels} of {worst.channels} channels have one value on all "
        f"{len(examine.samples)} samples, in float. {len(found)} layers have a quarter or more of such channels.",
        explanation="They are computed in every frame and tell nothing of the image. A narrower layer would give the "
        "same pixels sooner.",
        remedy="Remove them and fold their constant into the next bias; or train with a lower learning rate or a leaky "
        "activation, under which fewer die.",
        layer=worst.layer,
        tensor=worst.name,
    )
