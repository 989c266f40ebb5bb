"""The challenge's score: what PSNR and runtime are worth together. A formula is one row of FORMULAS."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from mai_harness.records import ChallengeScore, Evaluation, LatencyReport, Results
from mai_harness.timing import NOISE, is_noisy


class Formula(NamedTuple):
    """One challenge's score, from PSNR in dB and runtime in ms."""

    title: str
    source: str
    text: str
    compute: Callable[[float, float], float]


FORMULAS: dict[str, Formula] = {
    "mai2021": Formula(
        "Mobile AI 2021, real-time INT8 x3 super-resolution",
        "arXiv 2105.07825; C is what its published rows imply, to 2e-4",
        "2^(2 PSNR) / (2^48 runtime in ms)",
        lambda psnr_db, runtime_ms: 2.0 ** (2 * psnr_db - 48) / runtime_ms,
    ),
}


def score(formula: str, psnr_db: float, runtime_ms: float) -> float:
    """The challenge's score by this row of ``FORMULAS``; higher is better.

    Args:
        psnr_db: of the INT8 model, its output bytes taken as pixels.
        runtime_ms: of one frame; above 0.
    """
    return FORMULAS[formula].compute(psnr_db, runtime_ms)


def with_scores(results: Results) -> Results:
    """The results with every evaluation's score, or with the reason that it has none, on the first backend.

    Runtimes that were measured in turns with a reference model count as their ratio to it times its median over all
    evaluations, so that a machine that was slow for one of them does not rank it.
    """
    reference_ms = _reference_ms(results)
    scored = (
        msgspec.structs.replace(each, challenge=_scored(each, results.formula, reference_ms))
        for each in results.submissions
    )
    return msgspec.structs.replace(results, submissions=tuple(scored))


def _reference_ms(results: Results) -> float | None:
    leading = [each.headline for each in results.submissions]
    samples = [ms for report in leading if report for ms in report.reference_ms]
    return statistics.median(samples) if samples else None


def _scored(evaluation: Evaluation, formula: str, reference_ms: float | None) -> ChallengeScore | None:
    report = evaluation.headline
    psnr_db = evaluation.score.mean("psnr_raw_db") if evaluation.score else None
    if report is None or psnr_db is None:
        return None
    found = ChallengeScore(formula=formula, backend=report.backend, psnr_db=psnr_db)
    if is_noisy(report):
        reason = "too noisy to rank: the ratio to the reference model is uncertain by more than"
        return msgspec.structs.replace(found, refusal=f"{reason} {100 * NOISE:g} %")
    runtime_ms, origin = _runtime(report, reference_ms)
    if runtime_ms <= 0:
        return msgspec.structs.replace(found, refusal="the runtime is below the clock's resolution")
    value = score(formula, psnr_db, runtime_ms)
    return msgspec.structs.replace(found, runtime_ms=runtime_ms, runtime_from=origin, value=value)


def _runtime(report: LatencyReport, reference_ms: float | None) -> tuple[float, str]:
    if report.ratio is not None and reference_ms is not None:
        origin = f"{report.ratio.value:.3f} times the reference model's {reference_ms:.2f} ms"
        return report.ratio.value * reference_ms, origin
    return report.latency_ms, "estimate" if report.estimate_ms is not None else "median"
