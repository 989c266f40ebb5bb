"""The network has parameters to learn, but came without weights."""

from collections.abc import Iterator

from mai_harness.records import Evaluation, Finding


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``untrained``, by what the export saw."""
    if evaluation.export is None or not evaluation.export.untrained:
        return
    yield Finding(
        id="untrained",
        severity="error",
        title="The weights are random",
        evidence="No weights file and no [train] section; the parameters are as the constructor drew them.",
        explanation="The figures are those of random weights. They say what the network costs, not how good it is.",
        remedy=f"Add weights.safetensors, or a [train] section and run: mai-harness train {evaluation.name}",
    )
