"""The network's output stops at a level inside [0, 255], where images go on."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db, grade
from mai_harness.diagnose._measured import result_analysis
from mai_harness.diagnose._undone import MOVING, behind, last_working, samples
from mai_harness.records import Evaluation, Finding, Plateau

_CLIPS = ("MINIMUM", "MAXIMUM", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1")
_TIGHT = 2.0  # levels by which the float output goes on, so that the INT8 range is what ends


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``output-clipped``, by plateaus; not where the range of INT8 ends earlier than the values in float."""
    plateaus = [
        each for each in (evaluation.appraise.plateaus if evaluation.appraise else ()) if _is_clip(each, evaluation)
    ]
    if not plateaus:
        return
    stake = sum(each.at_stake_db for each in plateaus)
    yield Finding(
        id="output-clipped",
        severity=grade(stake),
        title="The output is clipped inside [0, 255]",
        evidence=f"On {samples(evaluation)} the output never {' and never '.join(_told(each) for each in plateaus)}. "
        f"With these pixels right, PSNR would be {db(stake)} higher.",
        explanation="The network ends in a clip, or an activation, whose limits are not those of pixels. "
        "What is brighter or darker in the image is lost, and no range of quantisation brings it back.",
        remedy="Clip to [0, 255], in the units in which the network works, and train on if it learned with the other "
        "limits.",
        layer=_layer(evaluation),
        explained_db=stake,
        explains=("output-range-tight",),
    )


def _told(plateau: Plateau) -> str:
    way, side = ("rises above", "brighter") if plateau.end == "top" else ("falls below", "darker")
    return f"{way} level {plateau.level:.1f}, where {100 * plateau.share:.2f} % of the pixels ought to be {side}"


def _is_clip(plateau: Plateau, evaluation: Evaluation) -> bool:
    analysis = result_analysis(evaluation.examine) if evaluation.examine else None
    if analysis is None or not analysis.covered[1] > 5:  # levels of another kind than the plateau's
        return True
    low, high = analysis.used
    return high <= plateau.level + _TIGHT if plateau.end == "top" else low >= plateau.level - _TIGHT


def _layer(evaluation: Evaluation) -> str:
    if evaluation.examine is None:
        return ""
    for op in behind(evaluation.examine.graph):
        if op.name in _CLIPS:
            return op.label
        if op.name not in MOVING:
            break
    last = last_working(evaluation)
    return last.label if last else ""
