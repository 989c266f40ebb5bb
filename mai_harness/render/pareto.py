"""Runtime against fidelity: positions only, the words are in the template."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mai_harness.records import Evaluation, Precision
from mai_harness.render.axis import Axis
from mai_harness.render.board import Row, is_disqualified
from mai_harness.render.columns import BY_ID

Box = tuple[float, float, float, float]  # left, top, right, bottom
_LABELLED = 24  # entries at most, the best; of more there is no room
_SIZES = (("wide", 1100, 460), ("narrow", 380, 400))
_PSNR: dict[Precision, Callable[[Evaluation], float | None]] = {
    "int8": BY_ID["psnr_raw"].value,
    "fp32": BY_ID["psnr_fp32"].value,
}


class Point(NamedTuple):
    """Runtime in ms and PSNR in dB."""

    ms: float
    db: float


@dataclass(frozen=True)
class Mark:
    """An entry in the plot, with its label."""

    row: Row
    point: Point
    x: float
    y: float
    fp32: tuple[float, float] | None
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Plot:
    """One drawing, in pixels."""

    id: str
    width: int
    height: int
    frame: Box
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    log: bool
    front: str
    marks: list[Mark]


@dataclass(frozen=True)
class Pareto:
    """All entries by one backend, in two sizes; ``front`` has those that none beats, fastest first."""

    backend: str
    estimated: bool  #: whether any runtime is
    plots: list[Plot]
    front: list[tuple[Row, Point]]
    unplotted: list[Row]


def pareto(rows: Sequence[Row], backend: str, number: int) -> Pareto | None:
    """The plot of a backend; ``None`` if no row has both PSNR and a runtime on it.

    Args:
        number: of the backend, from 1, for ids.
    """
    points = {row.slug: point for row in rows if (point := _point(row.evaluation, backend, "int8"))}
    plotted = [row for row in rows if row.slug in points]
    if not plotted:
        return None
    int8 = [points[row.slug] for row in plotted]
    reports = [row.evaluation.latency("int8", backend) for row in plotted]
    return Pareto(
        backend=backend, estimated=any(report is not None and report.estimate_ms is not None for report in reports),
        plots=[_plot(plotted, int8, backend, (f"{name}-{number}", width, height)) for name, width, height in _SIZES],
        front=[(plotted[i], int8[i]) for i in _front(plotted, int8)],
        unplotted=[row for row in rows if row.slug not in points],
    )  # fmt: skip


def points(rows: Sequence[Row], backends: Sequence[str]) -> list[dict[str, Any]]:
    """What the script draws: every entry with its points by backend and precision."""
    return [
        {
            "slug": row.slug, "title": row.evaluation.title, "rank": row.rank,
            "points": {
                precision: {b: point for b in backends if (point := _point(row.evaluation, b, precision))}
                for precision in _PSNR
            },
        }
        for row in rows
    ]  # fmt: skip


def _point(evaluation: Evaluation, backend: str, precision: Precision) -> Point | None:
    report, db = evaluation.latency(precision, backend), _PSNR[precision](evaluation)
    # A runtime of zero is below the clock's resolution and has no place on a logarithmic axis.
    return None if report is None or db is None or report.latency_ms <= 0 else Point(report.latency_ms, db)


def _plot(rows: Sequence[Row], int8: list[Point], backend: str, form: tuple[str, int, int]) -> Plot:
    name, width, height = form
    left, top, right, bottom = frame = (48.0, 12.0, width - 16.0, height - 48.0)
    fp32 = [_point(row.evaluation, backend, "fp32") for row in rows]
    everything = int8 + [point for point in fp32 if point]
    x = _runtime_axis([p.ms for p in everything], left, right)
    y = _psnr_axis([p.db for p in everything], bottom, top)
    marks = [
        Mark(row, p, x.at(p.ms), y.at(p.db), (x.at(f.ms), y.at(f.db)) if f else None)
        for row, p, f in zip(rows, int8, fp32, strict=True)
    ]
    return Plot(
        id=name, width=width, height=height, frame=frame, log=x.log,
        x_ticks=[(x.at(v), f"{v:g}") for v in x.ticks()],
        y_ticks=[(y.at(v), f"{v:g}") for v in y.ticks()],
        front=_staircase([(marks[i].x, marks[i].y) for i in _front(rows, int8)], right, bottom),
        marks=_labelled(marks, frame),
    )  # fmt: skip


def _runtime_axis(values: list[float], start: float, end: float) -> Axis:
    if max(values) > 4 * min(values):
        return Axis(min(values) / 1.3, max(values) * 1.3, start, end, log=True)
    return Axis(0.0, max(values) * 1.15, start, end)


def _psnr_axis(values: list[float], start: float, end: float) -> Axis:
    margin = max(0.08 * (max(values) - min(values)), 0.25)
    return Axis(min(values) - margin, max(values) + margin, start, end)


def _front(rows: Sequence[Row], points: Sequence[Point]) -> list[int]:
    """Indices of the Pareto front, fastest first: nothing that competes is both as fast and as good."""
    best, front = -math.inf, []
    for index, point in sorted(enumerate(points), key=lambda item: (item[1].ms, -item[1].db)):
        if point.db > best and not is_disqualified(rows[index].evaluation):
            best = point.db
            front.append(index)
    return front


def _staircase(front: list[tuple[float, float]], right: float, bottom: float) -> str:
    if not front:
        return ""
    path = f"M{front[0][0]:.1f} {bottom:.1f}"
    return path + "".join(f"H{x:.1f}V{y:.1f}" for x, y in front) + f"H{right:.1f}"


def _labelled(marks: list[Mark], frame: Box) -> list[Mark]:
    """Give the best marks a label that overlaps nothing: title, or where that finds no room rank, or else none."""
    taken = [_around(m.x, m.y) for m in marks] + [_around(*m.fp32) for m in marks if m.fp32]
    labelled = []
    for mark in marks[:_LABELLED]:
        title = mark.row.evaluation.title
        texts = [title if len(title) <= 24 else title[:23] + "…", *([str(mark.row.rank)] if mark.row.rank else ())]
        options = [option for text in texts for option in _placements(mark, text)]
        free = (o for o in options if _inside(o[1], frame) and not any(_overlap(o[1], box) for box in taken))
        chosen, box = next(free, (mark, None))
        labelled.append(chosen)
        taken += [box] if box else []
    return labelled + marks[_LABELLED:]


def _placements(mark: Mark, text: str) -> Iterator[tuple[Mark, Box]]:
    width, height = 7.2 * len(text), 15.0
    for dx, dy, anchor in (
        (10, 4, "start"), (-10, 4, "end"), (0, 21, "middle"), (0, -12, "middle"), (8, 18, "start"), (8, -9, "start"),
        (-8, 18, "end"), (-8, -9, "end"),
    ):  # fmt: skip
        x, y = mark.x + dx, mark.y + dy
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        placed = replace(mark, label=text, label_x=x, label_y=y, anchor=anchor)
        yield placed, (left, y - height + 3, left + width, y + 3)


def _around(x: float, y: float) -> Box:
    return (x - 6, y - 6, x + 6, y + 6)


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
