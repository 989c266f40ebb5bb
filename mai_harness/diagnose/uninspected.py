"""The file could not be looked into."""

from collections.abc import Iterator

from mai_harness.records import Evaluation, Finding


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``not-analysed``, by what the examination says of itself."""
    examine = evaluation.examine
    if examine is None or not (examine.obstacle or examine.unsimulated):
        return
    what = "It does not run" if examine.obstacle else "Its layers cannot be computed one by one"
    yield Finding(
        id="not-analysed",
        severity="info",
        title="There is no layer-by-layer analysis",
        evidence=f"{what}: {(examine.obstacle or examine.unsimulated).rstrip('.')}.",
        explanation="Which layer loses what is found by computing the file in float and in INT8 side by side. "
        "That was not possible here, so that no layer is named for what the output lacks.",
        remedy="Give a file of built-in INT8 operators alone, or the network itself in torch, ONNX or Keras.",
    )
