"""Faults that ``appraise`` undid on the outputs: what several diagnoses say of them."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import grade
from mai_harness.records import Evaluation, Graph, Op, Severity, Tried, Undo

LEAST_DB = 0.02  # from which on a fault of the contract is worth a warning, however little it costs
#: Operators that put values elsewhere and change none.
MOVING = {
    "BATCH_TO_SPACE_ND", "CAST", "CONCATENATION", "DEPTH_TO_SPACE", "DEQUANTIZE", "EXPAND_DIMS", "GATHER", "GATHER_ND",
    "MIRROR_PAD", "PACK", "PAD", "PADV2", "QUANTIZE", "RESHAPE", "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND",
    "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK",
}  # fmt: skip


def undone(evaluation: Evaluation, id_: str) -> Undo | None:
    """What was undone under this name."""
    found = evaluation.appraise.undone if evaluation.appraise else ()
    return next((undo for undo in found if undo.id == id_), None)


def severity(loss_db: float) -> Severity:
    """How grave a fault of the contract is."""
    graded = grade(loss_db)
    return "warning" if graded == "info" and loss_db >= LEAST_DB else graded


def tried(evaluation: Evaluation, undo: Undo) -> tuple[Tried, ...]:
    """The undoing as a mend."""
    output = "INT8" if undo.carrier == "int8" else "float"
    how = f"undone on the {output} output of {samples(evaluation)}"
    return (Tried(what=undo.what, before_db=undo.before_db, after_db=undo.after_db, how=how),)


def samples(evaluation: Evaluation) -> str:
    """How many samples were looked at, in words."""
    count = len(evaluation.examine.samples) if evaluation.examine else 0
    return f"{count} samples" if count > 1 else "1 sample" if count else "the samples"


def behind(graph: Graph) -> Iterator[Op]:
    """Operators from the output back to the input, along the first input that an operator makes."""
    makers = graph.makers
    op = makers.get(graph.outputs[0]) if graph.outputs else None
    while op is not None:
        yield op
        op = next((makers[index] for index in op.inputs if index in makers), None)


def last_working(evaluation: Evaluation) -> Op | None:
    """The last operator that changes values; ``None`` if there is none, or the graph is not known."""
    if evaluation.examine is None:
        return None
    return next((op for op in behind(evaluation.examine.graph) if op.name not in MOVING), None)
