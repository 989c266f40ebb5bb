"""INT8 loses more than the reference design does, even when its output is read rightly; which layer did it."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import DROP_DB, RUINED_DB, db
from mai_harness.diagnose._measured import guiltiest, reading, restored, span, tried
from mai_harness.records import Evaluation, Finding, Graph, Op, Severity

DESIGN_DB = 0.05  # from which on a loss is told that follows from the design
_CAUSES = {
    "none": (
        "high-dynamic-range",
        "Without a residual every tensor carries the whole image",
        "No residual brings the image to the end, so every tensor must carry brightness and detail at once. Eight bits "
        "do not hold both, and each rounding shows in the output.",
        "Add an anchor residual: the input repeated nine times, added before depth-to-space (arXiv 2105.09750, "
        "section 3.2). The layers then carry small differences only.",
    ),
    "feature": (
        "feature-residual",
        "The residual joins features, not the image",
        "The skip connection adds features of an early layer, whose range is as wide as the image's. What is behind it "
        "has that range too, and is rounded as coarsely.",
        "Add the input itself, repeated nine times, before depth-to-space (arXiv 2105.09750, section 3.2), in place of "
        "a feature-space residual.",
    ),
    "image": (
        "quantisation-loss",
        "Rounding costs more than usual",
        "Eight bits do not hold the range of some tensor. The image residual is in place, so the cause is this layer "
        "and not the design.",
        "Train with quantisation in the loop; or narrow the layer's range by a clip, weight decay or batch norm before "
        "it.",
    ),
}  # fmt: skip


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``high-dynamic-range``, ``feature-residual`` or ``quantisation-loss``, by the residual that the network has."""
    before, after, where = _loss(evaluation)
    examine, appraise = evaluation.examine, evaluation.appraise
    by_design = examine is not None and examine.residual in ("none", "feature")
    least = DESIGN_DB if by_design else DROP_DB
    if before is None or after is None or before - after <= least or not _on_the_whole_set(evaluation, least):
        return
    guilty, loss = guiltiest(evaluation), before - after
    id_, title, explanation, remedy = _CAUSES[(examine and examine.residual) or "image"]
    if examine is None or examine.residual is None:
        explanation = "Eight bits do not hold the range of some tensor. Which one was not measured."
    evidence = f"In float {db(before)}, in INT8 {db(after)} on {where}: {db(loss)} lost."
    if guilty is not None and appraise is not None:
        bits = f"{guilty.effective_bits:.1f} bits used"
        noise = "" if guilty.injected_sqnr_db is None else f", its rounding alone {guilty.injected_sqnr_db:.1f} dB SQNR"
        evidence += (
            f" Most by {guilty.layer}: left in float it gives {db(restored(appraise, guilty))} back; its values are "
            f"{span(guilty.used)}, its codes cover {span(guilty.covered)}, {bits}{noise}."
        )
    if evaluation.quantise is None or evaluation.quantise.learned_agreement is None:
        remedy += " Quantisation-aware training regains part of it."
    severity: Severity = "error" if loss >= RUINED_DB else "warning" if loss > DROP_DB else "info"
    joins = _joins(examine.graph) if examine and examine.residual == "feature" else []
    if joins:
        evidence += f" Features are joined by {', '.join(op.label for op in joins[-3:])}."
    words = f"{guilty.layer} left in float" if guilty else ""
    yield Finding(
        id=id_,
        severity=severity,
        title=title,
        evidence=evidence,
        explanation=explanation,
        remedy=remedy,
        layer=joins[-1].label if joins else guilty.layer if guilty else "",
        tensor=examine.graph.tensors[joins[-1].outputs[0]].name if examine and joins else guilty.name if guilty else "",
        explained_db=loss,
        tried=tried(evaluation, f"restored-{guilty.tensor}", "simulated", words) if guilty else (),
    )


def _joins(graph: Graph) -> list[Op]:
    """Sums of two tensors that are made when the network runs."""
    return [op for op in graph.ops if op.name == "ADD" and not any(graph.tensors[i].is_constant for i in op.inputs)]


def _on_the_whole_set(evaluation: Evaluation, least: float) -> bool:
    """Whether the loss shows there too; samples are taken of images that lose most."""
    fp32, int8 = (
        evaluation.score.mean(f"psnr_{key}_db") if evaluation.score else None for key in ("fp32", "dequantised")
    )
    return fp32 is None or int8 is None or fp32 - int8 > least


def _loss(evaluation: Evaluation) -> tuple[float | None, float | None, str]:
    """Float and INT8, read rightly, and on what."""
    appraise = evaluation.appraise
    if appraise is not None and appraise.mean("unrounded") is not None:
        int8 = [value for trial in ("simulated", "clip") if (value := appraise.mean(trial)) is not None]
        return appraise.mean("unrounded"), max(int8, default=None), "the samples"
    fp32, where = reading(evaluation, "fp32", "float")
    return fp32, reading(evaluation, "dequantised", "dequantised")[0], where
