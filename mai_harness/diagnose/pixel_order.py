"""Depth-to-space takes its channels in another order than the network was made for."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._measured import LOSSES
from mai_harness.diagnose._undone import behind, severity, tried, undone
from mai_harness.records import Evaluation, Finding

_SHUFFLES = ("DEPTH_TO_SPACE", "BATCH_TO_SPACE_ND", "TRANSPOSE", "RESHAPE")


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``pixel-order``, by sub-pixels regrouped on the samples."""
    undo = undone(evaluation, "pixel-order")
    if undo is None:
        return
    to_crd, to_dcr = (bool(undo.details.get(each)) for each in ("DCR to CRD", "CRD to DCR"))
    if to_crd:
        why = "The last layer gives colour by colour, as PyTorch's PixelShuffle takes it, but TFLite's DEPTH_TO_SPACE "
        why += "takes pixel by pixel. So colours and sub-pixels end in one another's places."
        cure = "Put the output channels of the last layer, weights and bias, in the order of DEPTH_TO_SPACE"
        cure += " (rows, columns, colours): channel c * 9 + k becomes k * 3 + c"
    elif to_dcr:
        why = "The last layer gives pixel by pixel, as TFLite's DEPTH_TO_SPACE takes it, but a shuffle in the order of "
        why += "PyTorch took it colour by colour. So colours and sub-pixels end in one another's places."
        cure = "Replace the shuffle by a DEPTH_TO_SPACE of block size 3, which takes the channels as they are"
    else:
        why = "Each LR pixel becomes 3 x 3 pixels, and these are put in each other's places. "
        why += "The mean of each block is right, so that the image looks well from afar, but its detail is noise."
        cure = "Put the output channels of the last layer in the order rows, columns, colours of the sub-pixels"
    graph = evaluation.examine.graph if evaluation.examine else None
    shuffle = next((op for op in behind(graph) if op.name in _SHUFFLES), None) if graph else None
    yield Finding(
        id="pixel-order",
        severity=severity(undo.gain_db),
        title="The sub-pixels are in the wrong order",
        evidence=f"With {undo.what}, PSNR rises from {db(undo.before_db)} to {db(undo.after_db)}; "
        f"{100 * undo.share_better:.0f} % of the samples gain.",
        explanation=why,
        remedy=f"{cure}. No retraining is needed, and no time is lost.",
        layer=shuffle.label if shuffle else "",
        explained_db=undo.gain_db,
        tried=tried(evaluation, undo),
        explains=("seams", "border", "output-clipped", "shift", "stretch", *LOSSES),
    )
