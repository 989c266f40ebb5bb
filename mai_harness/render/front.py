"""The front page."""

from collections.abc import Iterable
from typing import Any

from mai_harness.records import Evaluation
from mai_harness.render import diagnosis
from mai_harness.render.board import Row
from mai_harness.render.columns import Column
from mai_harness.render.page import latency_conditions, score_conditions
from mai_harness.render.pareto import front_indices, plot, point_of, psnr_scale


def front(rows: list[Row], failed: list[Row], columns: Iterable[Column[Evaluation]]) -> dict[str, Any]:
    """What its template is given."""
    evaluations = [row.evaluation for row in rows]
    cases = [row for severity in diagnosis.GRAVE for row in rows + failed if row.worst == severity]
    plotted = [row for row in rows if point_of(row.evaluation)]
    leading = [report for e in evaluations if (report := e.headline)]
    return {
        "rows": rows, "failed": failed, "cases": cases,
        "alike": len({(report.backend, report.device, report.threads) for report in leading}) < 2,
        "best": {column.id: column.best(evaluations) for column in columns},
        "plots": [plot(plotted, *size) for size in (("wide", 1100, 460), ("narrow", 380, 400))] if plotted else [],
        "unplotted": [row for row in rows if row not in plotted],
        "front": [plotted[i] for i in front_indices([point_of(row.evaluation) for row in plotted])],
        "scale": psnr_scale([row.evaluation for row in cases]),
        "score_conditions": score_conditions(e.score for e in evaluations if e.score),
        "latency_conditions": latency_conditions(
            report for e in evaluations for each in e.runtime for report in each.reports[:1]
        ),
    }  # fmt: skip
