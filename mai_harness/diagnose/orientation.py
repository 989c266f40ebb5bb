"""The network gives its image mirrored, turned, or with rows for columns."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._undone import severity, tried, undone
from mai_harness.records import Evaluation, Finding


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``orientation``, by outputs turned and mirrored on the samples."""
    undo = undone(evaluation, "orientation")
    if undo is None:
        return
    yield Finding(
        id="orientation",
        severity=severity(undo.gain_db),
        title="The image is mirrored or turned",
        evidence=f"With {undo.what}, PSNR rises from {db(undo.before_db)} to {db(undo.after_db)}; "
        f"{100 * undo.share_better:.0f} % of the samples gain.",
        explanation="The picture is there, but not the way round in which it was fed. "
        "A conversion exchanged height and width, or an augmentation of the training was left in.",
        remedy="Look for a transpose or a flip that training had and the file has not, or the other way round; the "
        "input is (1, height, width, 3), and so is the output. In weights, flip the kernels with the image.",
        explained_db=undo.gain_db,
        tried=tried(evaluation, undo),
        explains=("border", "seams", "shift", "stretch"),
    )
