"""The network does worse at the image's edge than the image accounts for."""

import math
from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._undone import samples, severity
from mai_harness.records import SCALE, Border, Evaluation, Finding, Tried

MIRRORED_DB = 0.1  # gained by whole samples if they are mirrored at their edges before they are fed
BEYOND_BICUBIC_DB = 3.0  # by which the edge is worse than the inside, over what it is for bicubic


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``border``, by PSNR at the edge and inside, beside those of bicubic and of mirrored samples."""
    border = evaluation.appraise.border if evaluation.appraise else None
    if border is None:
        return
    own, usual = border.inside_db - border.border_db, border.bicubic_inside_db - border.bicubic_border_db
    regained = 0.0 if border.mirrored_db is None else border.mirrored_db - border.whole_db
    if regained < MIRRORED_DB and own - usual <= BEYOND_BICUBIC_DB:
        return
    evidence = (
        f"Within {border.width} HR pixels of the edge PSNR is {db(border.border_db)}, inside it is "
        f"{db(border.inside_db)}; bicubic has {db(border.bicubic_border_db)} and {db(border.bicubic_inside_db)}."
    )
    mend: tuple[Tried, ...] = ()
    if border.mirrored_db is not None:
        evidence += f" Mirrored at the edge before it is fed, a whole sample has {db(border.mirrored_db)}, not "
        evidence += f"{db(border.whole_db)}."
        how = f"{samples(evaluation)} mirrored at their edges, upscaled and cropped"
        mend = (
            Tried(what="mirrored edges", before_db=border.whole_db, after_db=border.mirrored_db, how=how),
        )  # fmt: skip
    cost = max(regained, _cost(evaluation, border, own - usual))
    yield Finding(
        id="border",
        severity=severity(cost),
        title="The edge of the image is wrong",
        evidence=evidence,
        explanation="What a layer pads with is no part of the image, or rows and columns at the edge are left out "
        "and filled. The error reaches as far inside as the network sees, on all four sides of every image.",
        remedy="Pad each convolution by SAME, alike on both sides; if that is not enough, mirror the input at its "
        "edges (MIRROR_PAD) and crop the output. Never fill missing rows with zeros.",
        layer=_layer(evaluation),
        explained_db=cost,
        tried=mend,
        explains=("seams",),  # where the error ends inside
    )


def _cost(evaluation: Evaluation, border: Border, beyond_db: float) -> float:
    """PSNR that the samples would gain if the edge were as good beside the inside as bicubic's is."""
    sizes = (
        [(each.height * SCALE, each.width * SCALE) for each in evaluation.examine.samples] if evaluation.examine else []
    )
    total = sum(height * width for height, width in sizes)
    if not total:
        return 0.0
    inner = sum(max(0, h - 2 * border.width) * max(0, w - 2 * border.width) for h, w in sizes) / total
    edge_error, inside_error = (10 ** (-level / 10) for level in (border.border_db, border.inside_db))
    mended = inner * inside_error + (1 - inner) * min(edge_error, edge_error * 10 ** (-beyond_db / 10))
    return 10 * math.log10((inner * inside_error + (1 - inner) * edge_error) / mended)


def _layer(evaluation: Evaluation) -> str:
    ops = evaluation.examine.graph.ops if evaluation.examine else ()
    return next((op.label for op in reversed(ops) if op.name in ("PAD", "PADV2")), "")
