"""The output is the same whatever is fed."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._symptoms import OF_NO_PICTURE
from mai_harness.diagnose._tensors import file_of
from mai_harness.records import AppraiseReport, Evaluation, Finding, TensorAnalysis

_SPREAD = 1.0  # bytes, as a standard deviation: a photograph has tens
_REGAINED_DB = 3.0  # by undoing the value range: then the picture is there, and only too faint


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``constant-output``, by the spread of the output bytes; not if a wrong value range is all there is to it."""
    appraise, examine = evaluation.appraise, evaluation.examine
    raw = appraise.mean("raw") if appraise else None
    if appraise is None or raw is None or appraise.spread >= _SPREAD or _is_faint(appraise):
        return
    file = file_of(evaluation)
    layer = examine.constant if examine else ""
    analysis = next((each for each in examine.tensors if each.layer == layer), None) if examine and layer else None
    yield Finding(
        id="constant-output",
        severity="error",
        title="The output is one flat colour",
        evidence=f"Over {len(appraise.psnr['raw'])} samples the output bytes have a standard deviation of "
        f"{appraise.spread:.2f}; PSNR is {db(raw)}.{_told(layer, analysis)}",
        explanation="The output hardly depends on the image that is fed. "
        "Either a layer gives one value for all, or its values fall outside the range that its codes cover.",
        remedy=f"Look at {layer or 'the layers one after another'}: weights that are all zero, units that never fire, "
        "or a quantisation range that does not hold its values. Calibrate on levels as they are fed, in [0, 255].",
        layer=layer,
        tensor=analysis.name if analysis else file.output_of(layer) if file and layer else "",
        explains=OF_NO_PICTURE,
    )


def _is_faint(appraise: AppraiseReport) -> bool:
    return any(
        undo.id == "value-range" and undo.after_db - undo.before_db > _REGAINED_DB for undo in appraise.undone
    )  # fmt: skip


def _told(layer: str, analysis: TensorAnalysis | None) -> str:
    if not layer:
        return ""
    told = f" {layer} is the first layer with one value in all places"
    if analysis is None:
        return f"{told}."
    (low, high), (least, most) = analysis.used, analysis.covered
    return f"{told}; in float it has {low:.3g} to {high:.3g}, and its codes cover {least:.3g} to {most:.3g}."
