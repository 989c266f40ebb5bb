"""The network does better on the images that it is scored on than on others."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.records import Evaluation, Finding

WARNING_DB, ERROR_DB = 1.0, 2.5  # of the gain over the reference model that is gone on other photographs


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``overfitted``, by gains over the reference model on the scored set and on photographs that are not in it."""
    held_out = evaluation.appraise.held_out if evaluation.appraise else None
    if held_out is None:
        return
    gap = held_out.scored_gain_db - held_out.gain_db
    if gap <= WARNING_DB:
        return
    yield Finding(
        id="overfitted",
        severity="error" if gap > ERROR_DB else "warning",
        title="The network knows the images that it is scored on",
        evidence=f"Over the reference model it gains {held_out.scored_gain_db:+.2f} dB on the scored set, but "
        f"{held_out.gain_db:+.2f} dB on {len(held_out.images)} other photographs: {db(gap)} less. Bicubic, which "
        f"learned nothing, has {held_out.bicubic_scored_db:+.2f} dB and {held_out.bicubic_db:+.2f} dB.",
        explanation="A network that learned to upscale gains about as much on any photograph. "
        "This one gains on the scored images alone, as if it had been trained on them or on too few others.",
        remedy="Leave the scored images, and other copies of them, out of the training set; train on more images "
        "(DIV2K has 800), with random crops, turns and mirroring.",
    )
