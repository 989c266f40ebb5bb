"""The machine was too busy for the runtime to rank."""

from collections.abc import Iterator

from mai_harness.records import Evaluation, Finding
from mai_harness.timing import NOISE, is_noisy


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``noisy-timing``, by the confidence interval of the ratio that ranks."""
    report = evaluation.headline
    if report is None or report.ratio is None or not is_noisy(report):
        return
    ratio = report.ratio
    yield Finding(
        id="noisy-timing",
        severity="warning",
        title="The machine was busy",
        evidence=f"The ratio to the reference model is {ratio.value:.3f}, between {ratio.low:.3f} and {ratio.high:.3f} "
        f"(95 %, {ratio.rounds} rounds, {ratio.outliers} outliers): uncertain by {100 * ratio.uncertainty:.1f} %, more "
        f"than {100 * NOISE:g} %.",
        explanation="Other work ran beside the timing. So this runtime is uncertain and does not rank.",
        remedy=f"On a quiet machine run again: mai-harness evaluate {evaluation.name}. Noisy timings are not kept.",
    )
