"""The network takes or gives its colours in another order than RGB."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._undone import severity, tried, undone
from mai_harness.records import Evaluation, Finding

_REVERSED = (2.0, 1.0, 0.0)


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``colour-order``, by channels put in another order on the samples."""
    undo = undone(evaluation, "colour-order")
    if undo is None:
        return
    order = tuple(undo.details.get(f"output {place}", float(place)) for place in range(3))
    wrong_input, wrong_output = bool(undo.details.get("input", 0)), order != (0.0, 1.0, 2.0)
    if wrong_input and wrong_output:
        where, cure = "takes and gives", "the input channels of its first layer and the output channels of its last"
    elif wrong_input:
        where, cure = "takes", "the input channels of its first layer"
    else:
        where, cure = "gives", "the output channels of its last layer"
    colours = "BGR" if order in (_REVERSED, (0.0, 1.0, 2.0)) else "its colours in another order"
    yield Finding(
        id="colour-order",
        severity=severity(undo.gain_db),
        title=f"The network {where} {colours}",
        evidence=f"With {undo.what}, PSNR rises from {db(undo.before_db)} to {db(undo.after_db)}; "
        f"{100 * undo.share_better:.0f} % of the samples gain.",
        explanation="The challenge feeds RGB and compares with RGB, but OpenCV reads images as BGR. "
        + (
            "The network learned from such images, so it now sees red for blue."
            if wrong_input
            else "So red and blue are exchanged in its images, and only grey things come out right."
        ),
        remedy=f"Reverse {cure} in the weights, which costs no time, or convert what it learns from with "
        "cv2.cvtColor(image, cv2.COLOR_BGR2RGB) and train again.",
        explained_db=undo.gain_db,
        tried=tried(evaluation, undo),
        explains=("output-range-tight", "output-range-wide") if wrong_output else (),
    )
