"""The network computes NaN or infinite values."""

from collections.abc import Iterator

from mai_harness.diagnose._symptoms import OF_NO_PICTURE
from mai_harness.diagnose._tensors import file_of
from mai_harness.records import Evaluation, Finding

_NEXT = ("constant-output", "dynamic-range", "float-model", "float16-weights", "other-network", "static-dynamic")


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``not-finite``, by the float values of every layer or by an export that failed."""
    layer = evaluation.examine.not_finite if evaluation.examine else ""
    file = file_of(evaluation)
    failed = evaluation.failure is not None and evaluation.failure.not_finite
    if not layer and not failed:
        return
    told = ["The float output of the network has NaN or infinite values."] if failed else []
    told += [f"{layer} is the first layer with NaN or infinite values in float."] if layer else []
    yield Finding(
        id="not-finite",
        severity="error",
        title="The network computes NaN or infinite values",
        evidence=" ".join(told),
        explanation="A training that diverged leaves such weights, and a division by zero or an overflow such values. "
        "One of them spoils every value that depends on it, and nothing that was measured behind it means anything.",
        remedy=f"Look for NaN in the weights{f' of {layer}' if layer else ''}. If there is any, train again with a "
        "lower learning rate or clipped gradients; if not, look for a division, logarithm, root or exponential there.",
        layer=layer,
        tensor=file.output_of(layer) if file and layer else "",
        # Types and sizes come after: there has to be a network first.
        explains=(*OF_NO_PICTURE, *_NEXT),
    )
