"""The front page."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mai_harness.copies import copies
from mai_harness.records import Evaluation, Finding, LatencyReport
from mai_harness.render import diagnosis
from mai_harness.render.board import Board, Row
from mai_harness.render.columns import Column
from mai_harness.render.page import latency_conditions, score_conditions
from mai_harness.render.pareto import pareto, points

MEDALS = {1: "gold", 2: "silver", 3: "bronze"}


class Trouble(NamedTuple):
    """An entry's gravest finding, and how many more it has."""

    row: Row
    finding: Finding
    more: int


def front(board: Board, columns: Sequence[Column[Evaluation]]) -> dict[str, Any]:
    """What its template is given."""
    evaluations = [row.evaluation for row in board.finished]
    leading = [report for e in evaluations if (report := e.headline)]
    backends = list(dict.fromkeys(each.backend for e in evaluations for each in e.runtime))
    paretos = [pareto(board.finished, backend, number) for number, backend in enumerate(backends, 1)]
    return {
        "board": board, "medals": MEDALS, "alike_outputs": _alike(board), "troubles": _troubles(board),
        "kinds": sorted({e.kind for e in evaluations}),
        "alike": len({(report.backend, report.device, report.threads) for report in leading}) < 2,
        "best": {column.id: column.best(row.evaluation for row in board.ranked) for column in columns},
        "paretos": [found for found in paretos if found],
        "points": points(board.finished, backends),
        "score_conditions": score_conditions(e.score for e in evaluations if e.score),
        "latency_conditions": latency_conditions(_first_of_each(evaluations)),
    }  # fmt: skip


def _alike(board: Board) -> list[tuple[list[Row], bool]]:
    rows = {row.evaluation.name: row for row in board}
    return [([rows[name] for name in group.names], group.same_file) for group in copies(e.evaluation for e in board)]


def _troubles(board: Board) -> list[Trouble]:
    grave = [(row, diagnosis.grave(row.evaluation)) for row in board]
    return [Trouble(row, findings[0], len(findings) - 1) for row, findings in grave if findings]


def _first_of_each(evaluations: Iterable[Evaluation]) -> list[LatencyReport]:
    return [report for e in evaluations for each in e.runtime for report in each.reports[:1]]
