"""No dynamic model could be made."""

from collections.abc import Iterator

from mai_harness.records import Evaluation, Finding


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``fixed-size``, by what quantisation tried."""
    if evaluation.quantise is None or evaluation.quantise.dynamic:
        return
    yield Finding(
        id="fixed-size",
        severity="info",
        title="There is no model of free size",
        evidence=f"The static model {evaluation.quantise.dynamic_reason}.",
        explanation="So there is no model_none.tflite. Images of other sizes were scored through tiles of the frame.",
        remedy="A convolution with depth-to-space in place of a transposed convolution keeps the size free.",
    )
