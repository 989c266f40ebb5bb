"""Evaluations in the order of the board."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mai_harness.records import Evaluation, Results
from mai_harness.render import diagnosis
from mai_harness.render.columns import score_of
from mai_harness.render.slugs import slugs


@dataclass(frozen=True)
class Row:
    """An evaluation with its place on the board; ``rank`` is ``None`` if it has no score, or may not compete."""

    evaluation: Evaluation
    slug: str
    rank: int | None

    @property
    def worst(self) -> str | None:
        """The gravest severity among the findings, ``None`` if there is no error or warning."""
        severities = {finding.severity for finding in self.evaluation.findings}
        return next((s for s in diagnosis.GRAVE if s in severities), None)

    @property
    def reasons(self) -> str:
        """The rules that failed, and what was found; empty if none did."""
        check = self.evaluation.check
        return "; ".join(f"{r.title}: {r.found}" for r in check.rules if r.status == "fail") if check else ""


@dataclass(frozen=True)
class Board:
    """Those that compete by score, best first, without one last; those against the rules, likewise; failed by name."""

    ranked: list[Row]
    disqualified: list[Row]
    failed: list[Row]

    @property
    def finished(self) -> list[Row]:
        """All that came to the end."""
        return self.ranked + self.disqualified

    def __iter__(self) -> Iterator[Row]:
        return iter(self.finished + self.failed)


def is_disqualified(evaluation: Evaluation) -> bool:
    """Whether it came to the end, and a rule of the challenge failed."""
    return evaluation.failure is None and evaluation.check is not None and evaluation.check.failed


def board(results: Results) -> Board:
    """All evaluations in order; equal scores share a rank."""
    evaluations = sorted(results.submissions, key=_order)
    names = dict(zip((e.name for e in evaluations), slugs(e.name for e in evaluations), strict=True))
    failed = [e for e in evaluations if e.failure is not None]
    disqualified = [e for e in evaluations if is_disqualified(e)]
    ranked = [e for e in evaluations if e.failure is None and not is_disqualified(e)]
    ranks = _ranks([score_of(e) for e in ranked])
    return Board(
        [Row(e, names[e.name], rank) for e, rank in zip(ranked, ranks, strict=True)],
        [Row(e, names[e.name], None) for e in disqualified],
        [Row(e, names[e.name], None) for e in failed],
    )


def _order(evaluation: Evaluation) -> tuple[int, bool, float, str]:
    if evaluation.failure is not None:
        return (2, False, 0.0, evaluation.name)
    score = score_of(evaluation)
    return (int(is_disqualified(evaluation)), score is None, -(score or 0.0), evaluation.name)


def _ranks(scores: Sequence[float | None]) -> list[int | None]:
    """Of scores in descending order."""
    first: dict[float, int] = {}
    for place, value in enumerate(scores, 1):
        if value is not None:
            first.setdefault(value, place)
    return [None if value is None else first[value] for value in scores]
