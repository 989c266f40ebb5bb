"""A grid shows in the error: the network works in tiles."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._operators import named
from mai_harness.diagnose._undone import LEAST_DB, samples, severity
from mai_harness.records import Evaluation, Finding, Seams

_TILING = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SPLIT", "SPLIT_V", "SLICE", "STRIDED_SLICE", "CONCATENATION")


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``seams``, by rows and columns where the error steps on nearly every sample."""
    seams = evaluation.appraise.seams if evaluation.appraise else ()
    if not seams:
        return
    cost = sum(each.at_stake_db for each in seams)
    ops = evaluation.examine.graph.ops if evaluation.examine else ()
    yield Finding(
        id="seams",
        severity=severity(max(cost, LEAST_DB)),
        title="Seams of tiles show",
        evidence=f"The error steps {'; '.join(_where(each) for each in seams)}, on nearly all of "
        f"{samples(evaluation)}; away from there PSNR is {db(cost)} higher.",
        explanation="Parts of the image are computed apart and do not see across their edges. "
        "So the pixels on both sides of a seam do not fit, and the eye finds straight lines at once.",
        remedy="Run the network on the whole image, or let tiles overlap by the receptive field and keep their "
        "middles only.",
        explained_db=cost,
        layer=next((op.label for op in ops if op.name in _TILING), ""),
    )


def _where(seams: Seams) -> str:
    places = named([str(place) for place in seams.places])
    return f"at HR {seams.axis} {places} by {seams.strength:.1f} times as much as elsewhere"
