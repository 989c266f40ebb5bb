"""Evaluations in the order of the board."""

from dataclasses import dataclass

from mai_harness.records import Evaluation, Results
from mai_harness.render import diagnosis
from mai_harness.render.columns import score_of
from mai_harness.render.slugs import slugs


def ranked(results: Results) -> tuple[list[Evaluation], list[Evaluation]]:
    """Evaluations by the challenge's score, best first, without one last; and those that failed, by name."""
    finished = [e for e in results.submissions if e.failure is None]
    failed = [e for e in results.submissions if e.failure is not None]
    return sorted(finished, key=_rank_key), sorted(failed, key=lambda e: e.name)


def _rank_key(evaluation: Evaluation) -> tuple[bool, float, str]:
    score = score_of(evaluation)
    return (score is None, -(score or 0.0), evaluation.name)


@dataclass(frozen=True)
class Row:
    """An evaluation with its place on the board; ``rank`` is ``None`` if it was not scored or failed."""

    evaluation: Evaluation
    slug: str
    rank: int | None

    @property
    def worst(self) -> str | None:
        """The gravest severity among the findings, ``None`` if there is no error or warning."""
        severities = {finding.severity for finding in self.evaluation.findings}
        return next((s for s in diagnosis.GRAVE if s in severities), None)


def placed(results: Results) -> tuple[list[Row], list[Row]]:
    """As :func:`ranked`, with ranks; equal scores share one."""
    finished, failed = ranked(results)
    values = [score_of(e) for e in finished]
    names = slugs(e.name for e in finished + failed)
    rows = [
        Row(e, next(names), None if v is None else 1 + sum(u is not None and u > v for u in values))
        for e, v in zip(finished, values, strict=True)
    ]
    return rows, [Row(e, next(names), None) for e in failed]
