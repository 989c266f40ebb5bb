"""The network's image lies beside its place, or is stretched."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._undone import severity, tried, undone
from mai_harness.records import SCALE, Evaluation, Finding, Undo

_NEAR = 0.1  # HR pixels within which a shift is called a whole or a half one


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``shift`` and ``stretch``, by outputs registered to HR."""
    for find, id_ in ((_shift, "shift"), (_stretch, "stretch")):
        if (undo := undone(evaluation, id_)) is not None:
            yield find(evaluation, undo)


def _shift(evaluation: Evaluation, undo: Undo) -> Finding:
    rows, columns = (undo.details.get(axis, 0.0) for axis in ("rows", "columns"))
    most = max(abs(rows), abs(columns))
    parts = [
        f"{abs(by):.2f} HR pixels ({abs(by) / SCALE:.2f} LR pixels) {way[by < 0]}"
        for by, way in ((rows, ("too low", "too high")), (columns, ("too far right", "too far left")))
        if abs(by) >= _NEAR
    ]
    if abs(most / SCALE - round(most / SCALE)) * SCALE <= _NEAR:
        kind, cause = "whole LR pixels", "Padding is on one side only, or a slice takes the wrong end, in LR space"
    elif abs(most - round(most)) <= _NEAR:
        kind = "whole pixels"
        cause = "An anchor or interpolation counts from the corner of a pixel and not from its centre, or LR images "
        cause += "were made in training by taking every third pixel"
    elif abs(most * 2 - round(most * 2)) <= 2 * _NEAR:
        kind, cause = "half a pixel", "A resize aligns pixels by corners where the LR images are aligned by centres"
    else:
        kind, cause = "part of a pixel", "A resize aligns pixels otherwise than the LR images are"
    return Finding(
        id="shift",
        severity=severity(undo.gain_db),
        title=f"The image is shifted by {kind}",
        evidence=f"Registered to HR, the image lies {' and '.join(parts)}. Moved back, PSNR inside rises from "
        f"{db(undo.before_db)} to {db(undo.after_db)}.",
        explanation="PSNR compares pixel with pixel, so an image beside its place loses at every edge it shows. "
        f"{cause}.",
        remedy="Use half-pixel centres (half_pixel_centers=True, align_corners=False) in every resize, pad "
        "convolutions alike on both sides, and train on LR images made by MATLAB's imresize.",
        explained_db=undo.gain_db,
        tried=tried(evaluation, undo),
        explains=("border",),
    )


def _stretch(evaluation: Evaluation, undo: Undo) -> Finding:
    rows, columns = (undo.details.get(axis, 0.0) for axis in ("rows", "columns"))
    return Finding(
        id="stretch",
        severity=severity(undo.gain_db),
        title="The image is stretched over its frame",
        evidence=f"Registered to HR, the shift changes by {rows:+.2f} HR pixels from top to bottom and by "
        f"{columns:+.2f} from left to right. Resampled, PSNR inside rises from {db(undo.before_db)} to "
        f"{db(undo.after_db)}.",
        explanation="A resize with corners aligned lays the outermost pixels of LR on those of HR, one HR pixel too "
        "far out or in. The middle of the image is in its place, and all else the less the nearer to an edge it is.",
        remedy="Set align_corners=False and half_pixel_centers=True in every resize, in training too.",
        layer=_resize(evaluation),
        explained_db=undo.gain_db,
        tried=tried(evaluation, undo),
        explains=("border",),
    )


def _resize(evaluation: Evaluation) -> str:
    ops = evaluation.examine.graph.ops if evaluation.examine else ()
    return next((op.label for op in ops if op.name.startswith("RESIZE_")), "")
