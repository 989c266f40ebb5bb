"""The output is the same whatever is fed."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._symptoms import OF_NO_PICTURE
from mai_harness.diagnose._tensors import file_of
from mai_harness.records import AppraiseReport, Evaluation, Finding, Graph, TensorAnalysis

_SPREAD = 1.0  # bytes, as a standard deviation: a photograph has tens
_REGAINED_DB = 3.0  # by undoing the value range


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``constant-output``, by the spread of the output bytes, or by a layer that nothing gets past.

    Not if a wrong value range is all there is to it: then the picture is there, but faint.
    """
    appraise, examine, file = evaluation.appraise, evaluation.examine, file_of(evaluation)
    raw = appraise.mean("raw") if appraise else None
    layer = examine.constant if examine else ""
    is_flat = appraise is not None and raw is not None and appraise.spread < _SPREAD
    is_cut = examine is not None and bool(layer) and _is_cut(examine.graph, layer)
    if not (is_flat or is_cut) or (appraise is not None and _is_faint(appraise)):
        return
    analysis = next((each for each in examine.tensors if each.layer == layer), None) if examine and layer else None
    yield Finding(
        id="constant-output",
        severity="error",
        title="The output is one flat colour",
        evidence=_evidence(appraise, raw, layer, analysis),
        explanation="The output hardly depends on the image that is fed. "
        "Either a layer gives one value for all, or its values fall outside the range that its codes cover.",
        remedy=f"Look at {layer or 'the layers one after another'}: weights that are all zero, units that never fire, "
        "or a quantisation range that does not hold its values. Calibrate on levels as they are fed, in [0, 255].",
        layer=layer,
        tensor=analysis.name if analysis else file.output_of(layer) if file and layer else "",
        explains=OF_NO_PICTURE,
    )


def _is_faint(appraise: AppraiseReport) -> bool:
    return any(undo.id == "value-range" and undo.gain_db > _REGAINED_DB for undo in appraise.undone)


def _is_cut(graph: Graph, layer: str) -> bool:
    """Whether all ways from the input to the output lead through this layer."""
    reached = set(graph.inputs)
    for op in graph.ops:
        if op.label != layer and reached.intersection(op.inputs):
            reached.update(op.outputs)
    return reached.isdisjoint(graph.outputs)


def _evidence(appraise: AppraiseReport | None, raw: float | None, layer: str, analysis: TensorAnalysis | None) -> str:
    told = []
    if appraise is not None and raw is not None:
        samples = len(appraise.psnr["raw"])
        told.append(
            f"Over {samples} samples the output bytes have a standard deviation of {appraise.spread:.2f}, and PSNR is "
            f"{db(raw)}."
        )
    if layer:
        told.append(f"{layer} is the first layer with one value in all places{_ranges(analysis)}.")
    return " ".join(told)


def _ranges(analysis: TensorAnalysis | None) -> str:
    if analysis is None:
        return ""
    (low, high), (least, most) = analysis.used, analysis.covered
    return f"; in float it has {low:.3g} to {high:.3g}, and its codes cover {least:.3g} to {most:.3g}"
