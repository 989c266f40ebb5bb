"""Runtime against fidelity: positions only, the words are in the template."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mai_harness.records import Evaluation
from mai_harness.render.axis import Axis
from mai_harness.render.board import Row
from mai_harness.render.columns import BY_ID

Box = tuple[float, float, float, float]  # left, top, right, bottom


class Point(NamedTuple):
    """Runtime in ms and PSNR in dB."""

    ms: float
    db: float


@dataclass(frozen=True)
class _Mark:
    row: Row
    x: float
    y: float
    fp32: tuple[float, float] | None
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class _Plot:
    id: str
    width: int
    height: int
    frame: Box
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    log: bool
    front: str
    marks: list[_Mark]


def point_of(evaluation: Evaluation, precision: str = "int8") -> Point | None:
    """Its place in the plot; ``None`` without PSNR or runtime."""
    ms = BY_ID[f"runtime_{precision}"].value(evaluation)
    db = BY_ID["psnr_raw" if precision == "int8" else "psnr_fp32"].value(evaluation)
    # A runtime of zero is below the clock's resolution and has no place on a logarithmic axis.
    return None if ms is None or db is None or ms <= 0 else Point(ms, db)


def plot(rows: Sequence[Row], name: str, width: int, height: int) -> _Plot:
    """The plot of rows that all have a place in it."""
    left, top, right, bottom = frame = (48.0, 12.0, width - 16.0, height - 48.0)
    int8 = [point for row in rows if (point := point_of(row.evaluation))]
    fp32 = [point_of(row.evaluation, "fp32") for row in rows]
    everything = int8 + [point for point in fp32 if point]
    x = _runtime_axis([p.ms for p in everything], left, right)
    y = _psnr_axis([p.db for p in everything], bottom, top)
    marks = [
        _Mark(row, x.at(p.ms), y.at(p.db), (x.at(f.ms), y.at(f.db)) if f else None)
        for row, p, f in zip(rows, int8, fp32, strict=True)
    ]
    return _Plot(
        id=name, width=width, height=height, frame=frame, log=x.log,
        x_ticks=[(x.at(v), f"{v:g}") for v in x.ticks()],
        y_ticks=[(y.at(v), f"{v:g}") for v in y.ticks()],
        front=_staircase([(marks[i].x, marks[i].y) for i in front_indices(int8)], right, bottom),
        marks=_labelled(marks, frame),
    )  # fmt: skip


def _runtime_axis(values: list[float], start: float, end: float) -> Axis:
    if max(values) > 4 * min(values):
        return Axis(min(values) / 1.3, max(values) * 1.3, start, end, log=True)
    return Axis(0.0, max(values) * 1.15, start, end)


def _psnr_axis(values: list[float], start: float, end: float) -> Axis:
    margin = max(0.08 * (max(values) - min(values)), 0.25)
    return Axis(min(values) - margin, max(values) + margin, start, end)


def front_indices(points: Sequence[Point | None]) -> list[int]:
    """Indices of the Pareto front, fastest first: no other point is both as fast and as good."""
    best, front = -math.inf, []
    for index, point in sorted(((i, p) for i, p in enumerate(points) if p), key=lambda item: (item[1].ms, -item[1].db)):
        if point.db > best:
            best = point.db
            front.append(index)
    return front


def _staircase(front: list[tuple[float, float]], right: float, bottom: float) -> str:
    path = f"M{front[0][0]:.1f} {bottom:.1f}"
    return path + "".join(f"H{x:.1f}V{y:.1f}" for x, y in front) + f"H{right:.1f}"


def _labelled(marks: list[_Mark], frame: Box) -> list[_Mark]:
    """Give each mark a label that overlaps nothing: its title, or where that finds no room its rank."""
    taken = [_around(m.x, m.y) for m in marks] + [_around(*m.fp32) for m in marks if m.fp32]
    labelled = []
    for mark in marks:
        title = mark.row.evaluation.title
        texts = (title if len(title) <= 24 else title[:23] + "…", str(mark.row.rank))
        options = [option for text in texts for option in _placements(mark, text)]
        free = (o for o in options if _inside(o[1], frame) and not any(_overlap(o[1], box) for box in taken))
        chosen, box = next(free, options[-1])
        taken.append(box)
        labelled.append(chosen)
    return labelled


def _placements(mark: _Mark, text: str) -> Iterator[tuple[_Mark, Box]]:
    width, height = 7.2 * len(text), 15.0
    for dx, dy, anchor in (
        (10, 4, "start"), (-10, 4, "end"), (0, 21, "middle"), (0, -12, "middle"), (8, 18, "start"), (8, -9, "start"),
        (-8, 18, "end"), (-8, -9, "end"),
    ):  # fmt: skip
        x, y = mark.x + dx, mark.y + dy
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        placed = _Mark(mark.row, mark.x, mark.y, mark.fp32, text, x, y, anchor)
        yield placed, (left, y - height + 3, left + width, y + 3)


def _around(x: float, y: float) -> Box:
    return (x - 6, y - 6, x + 6, y + 6)


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


_READINGS = tuple(BY_ID[id_].value for id_ in ("psnr_raw", "psnr_dequantised", "psnr_fp32"))


def psnr_scale(evaluations: Iterable[Evaluation]) -> Axis | None:
    """One scale in per cent for every case, so that their marks can be compared."""
    values = [v for e in evaluations for of in _READINGS if (v := of(e)) is not None]
    if not values:
        return None
    return Axis(math.floor(min(values) / 2) * 2 - 2, math.ceil(max(values) / 2) * 2 + 2, 0.0, 100.0)
