"""Any two entries side by side, and whether their difference is real: positions and figures, no words."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

from mai_harness.metrics import FIGURES
from mai_harness.records import Evaluation, ImageScore
from mai_harness.render.axis import Axis
from mai_harness.render.board import Row
from mai_harness.render.columns import READINGS, Column, number
from mai_harness.timing import CONFIDENCE

#: What a comparison comes to. ``up``: b's figure is really higher; ``down``: lower; ``unshown``: the interval holds
#: zero; ``same``: one entry twice; ``unscored``: one has no score; ``apart``: other images; ``few``: fewer than two
#: images with both figures.
State = Literal["up", "down", "unshown", "same", "unscored", "apart", "few"]
Side = Literal["a", "b"]
_LEADING = "psnr_raw_db"
_IMAGE_GROUPS, _RUNTIME_GROUPS = ("Challenge", "Fidelity"), ("Challenge", "Runtime")
_REACH = 4  # median intervals on the axis of neighbours: a broken entry would squeeze all others to nothing


@dataclass(frozen=True)
class Paired:
    """The differences, b less a, over ``n`` images: mean with its 95 % confidence interval, and standard deviation."""

    n: int
    mean: float
    low: float
    high: float
    deviation: float
    higher: int  #: images of which b's figure is the higher one
    lower: int
    equal: int

    @property
    def verdict(self) -> Literal["real", "not shown"]:
        """Whether the interval leaves out zero."""
        return "not shown" if self.low <= 0 <= self.high else "real"


def paired(a: Sequence[float], b: Sequence[float]) -> Paired | None:
    """The interval of Student's paired t for the mean of b less a; ``None`` if there are fewer than two images.

    It is the mean plus and minus t, of one degree of freedom less than images, times the standard deviation over the
    root of their number: C. H. Goulden, Methods of Statistical Analysis, 2nd ed., Wiley 1956, pp. 50-55, as told by
    mathworld.wolfram.com/Pairedt-Test.html. Differences are taken for independent and normally distributed; the
    interval of differences that are all alike has no width.

    Args:
        a: a figure of one entry, one an image.
        b: of another entry, of the same images in the same order.

    Raises:
        ValueError: the lengths differ.
    """
    differences = [y - x for x, y in zip(a, b, strict=True)]
    n = len(differences)
    if n < 2:
        return None
    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    half = quantile(n) * deviation / math.sqrt(n)
    higher, lower = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Paired(n, mean, mean - half, mean + half, deviation, higher, lower, n - higher - lower)


@cache
def quantile(n: int) -> float:
    """Student's t that 95 % of ``n`` observations' means keep within on both sides; ``n`` is at least 2."""
    from scipy.stats import t  # slow to import, and only this page needs it

    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1))


class Measure(NamedTuple):
    """A figure that every image has. ``digits`` are what its values are rounded to."""

    key: str
    title: str
    unit: str
    form: str
    direction: Literal["higher", "lower"]
    digits: int
    of: Callable[[ImageScore], float | None]


def _figure(key: str) -> Callable[[ImageScore], float | None]:
    return lambda image: image.figures.get(key)


def _drop(image: ImageScore) -> float | None:
    fp32, raw = image.figures.get("psnr_fp32_db"), image.figures.get(_LEADING)
    return None if fp32 is None or raw is None else fp32 - raw


MEASURES = (
    *(
        Measure(
            f.key, f"{f.metric.title} {READINGS[f.reading]}", f.metric.unit, f.metric.form, "higher",
            4 if f.metric.unit else 6, _figure(f.key),
        )
        for f in FIGURES
    ),
    Measure("drop_db", "Drop, FP32 less INT8 raw", "dB", "z.3f", "lower", 4, _drop),
)  # fmt: skip
_RANKING = next(measure for measure in MEASURES if measure.key == _LEADING)


class ImageSet(NamedTuple):
    """What a score was taken on; only figures of one set can be compared."""

    dataset: str
    fingerprint: str
    shave: int
    names: tuple[str, ...]


def _images(evaluation: Evaluation) -> ImageSet | None:
    score = evaluation.score
    if score is None:
        return None
    return ImageSet(score.dataset, score.dataset_fingerprint, score.shave, tuple(image.name for image in score.images))


def _way(evaluation: Evaluation) -> tuple[str, str, int | None] | None:
    """How its runtimes were taken."""
    report = evaluation.headline
    return None if report is None else (report.backend, report.device, report.threads)


def _values(evaluation: Evaluation, measure: Measure) -> list[float | None]:
    """One an image, as the page's script has them too, so that both find the same."""
    images = evaluation.score.images if evaluation.score else ()
    return [_rounded(measure.of(image), measure.digits) for image in images]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


class _Common(NamedTuple):
    """An image of which both entries have the figure."""

    name: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        return self.b - self.a


def _common(a: Evaluation, b: Evaluation, measure: Measure) -> list[_Common]:
    images = _images(a)
    if images is None or images != _images(b):
        return []
    each = zip(images.names, _values(a, measure), _values(b, measure), strict=True)
    return [_Common(name, x, y) for name, x, y in each if x is not None and y is not None]


def _compared(common: Sequence[_Common]) -> Paired | None:
    return paired([image.a for image in common], [image.b for image in common])


def _state(a: Row, b: Row, found: Paired | None) -> State:
    if a.slug == b.slug:
        return "same"
    if a.evaluation.score is None or b.evaluation.score is None:
        return "unscored"
    if _images(a.evaluation) != _images(b.evaluation):
        return "apart"
    if found is None:
        return "few"
    return "unshown" if found.verdict == "not shown" else "up" if found.mean > 0 else "down"


@dataclass(frozen=True)
class Span:
    """Where on an axis an interval and its middle are, in per cent; ``beyond`` is where the axis ends before it."""

    left: float
    width: float
    middle: float
    beyond: Literal["", "low", "high"] = ""


@dataclass(frozen=True)
class Scale:
    """An axis in per cent: its ticks, and where zero is."""

    ticks: list[tuple[float, str]]
    zero: float


def _span(axis: Axis, low: float, middle: float, high: float) -> Span:
    left, centre, right = (min(max(axis.at(value), 0.0), 100.0) for value in (low, middle, high))
    beyond: Literal["", "low", "high"] = "low" if middle < axis.low else "high" if middle > axis.high else ""
    return Span(left, right - left, centre, beyond)


def _axis(values: Iterable[float]) -> Axis:
    values = list(values)
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.01 * max(abs(low), abs(high)) or 0.01
    return Axis(low - margin, high + margin, 0.0, 100.0)


def _scale(axis: Axis) -> Scale:
    return Scale([(axis.at(v), number(v, "g")) for v in axis.ticks(3)], min(max(axis.at(0.0), 0.0), 100.0))


@dataclass(frozen=True)
class Mark:
    """An image, or the mean: both figures, where they are, and the difference with its interval."""

    name: str
    a: float
    b: float
    difference: float
    pair: Span
    apart: Span
    at_a: float
    at_b: float


@dataclass(frozen=True)
class Plot:
    """Both figures of every image on one axis, and their differences on another; the greatest difference is first."""

    marks: list[Mark]
    mean: Mark
    figures: Scale
    differences: Scale


def _plot(common: Sequence[_Common], found: Paired) -> Plot:
    figures = _axis(value for image in common for value in (image.a, image.b))
    differences = _axis([0.0, found.low, found.high, *(image.difference for image in common)])
    mean = _Common("", statistics.fmean(i.a for i in common), statistics.fmean(i.b for i in common))
    ordered = sorted(common, key=lambda image: -image.difference)
    return Plot(
        [_mark(image, 0.0, image.difference, figures, differences) for image in ordered],
        _mark(mean, found.low, found.high, figures, differences), _scale(figures), _scale(differences),
    )  # fmt: skip


def _mark(image: _Common, start: float, end: float, figures: Axis, differences: Axis) -> Mark:
    low, high = sorted((start, end))
    return Mark(
        image.name, image.a, image.b, image.difference,
        _span(figures, min(image.a, image.b), image.a, max(image.a, image.b)),
        _span(differences, low, image.difference, high), figures.at(image.a), figures.at(image.b),
    )  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One column of the board for both entries; without a difference where the two were not measured alike."""

    column: Column[Evaluation]
    difference: float | None
    better: Side | None


def _line(column: Column[Evaluation], a: Evaluation, b: Evaluation) -> Line:
    x, y = (_rounded(column.value(each), 6) for each in (a, b))
    if x is None or y is None or not _alike(column.group, a, b):
        return Line(column, None, None)
    distinct = column.direction != "none" and column.text(a) != column.text(b)
    better: Side = "b" if (y > x) == (column.direction == "higher") else "a"
    return Line(column, y - x, better if distinct else None)


def _alike(group: str, a: Evaluation, b: Evaluation) -> bool:
    """Whether what they have of this group was measured in the same way."""
    images, ways = {_images(a), _images(b)}, {_way(a), _way(b)}
    return (group not in _IMAGE_GROUPS or len(images - {None}) < 2) and (
        group not in _RUNTIME_GROUPS or len(ways - {None}) < 2
    )


@dataclass(frozen=True)
class Pair:
    """Two entries side by side in all figures, and in one measure image by image."""

    a: Row
    b: Row
    measure: Measure
    state: State
    lines: list[Line]
    found: Paired | None
    left_out: int  #: images without the figure of one or the other
    plot: Plot | None
    alike: bool  #: runtimes were taken in the same way

    @property
    def better(self) -> Side | None:
        """Which of them is really better; ``None`` if that is not shown."""
        if self.state not in ("up", "down"):
            return None
        return "b" if (self.state == "up") == (self.measure.direction == "higher") else "a"


def pair(a: Row, b: Row, columns: Iterable[Column[Evaluation]], measure: Measure = _RANKING) -> Pair:
    """Compare two entries; the differences are b less a."""
    common = _common(a.evaluation, b.evaluation, measure)
    found = _compared(common)
    state = _state(a, b, found)
    images = _images(a.evaluation)
    return Pair(
        a, b, measure, state, [_line(column, a.evaluation, b.evaluation) for column in columns],
        found, len(images.names) - len(common) if images else 0,
        _plot(common, found) if found and state in ("up", "down", "unshown") else None,
        _alike("Runtime", a.evaluation, b.evaluation),
    )  # fmt: skip


@dataclass(frozen=True)
class Rung:
    """An entry against the nearest one above it that was scored on the same images, in PSNR of INT8 raw."""

    row: Row
    above: Row | None
    state: State | None  #: ``None`` with nothing above it
    found: Paired | None = None
    span: Span | None = None


def _rungs(rows: Iterable[Row]) -> list[Rung]:
    latest: dict[ImageSet, Row] = {}
    rungs = []
    for row in rows:
        images = _images(row.evaluation)
        above = latest.get(images) if images else None
        rungs.append(_rung(row, above))
        if images:
            latest[images] = row
    return rungs


def _rung(row: Row, above: Row | None) -> Rung:
    if above is None:
        return Rung(row, None, None if row.evaluation.score else "unscored")
    found = _compared(_common(above.evaluation, row.evaluation, _RANKING))
    return Rung(row, above, _state(above, row, found), found)


def _ladder(rows: Iterable[Row]) -> tuple[list[Rung], Scale | None]:
    """Each with its place on the common axis; ``None`` if nothing was compared."""
    rungs = _rungs(rows)
    extents = [max(abs(rung.found.low), abs(rung.found.high)) for rung in rungs if rung.found]
    if not extents:
        return rungs, None
    reach = min(max(extents), _REACH * statistics.median(extents))
    axis = _axis((-reach, 0.0, reach))
    return [_placed(rung, axis) for rung in rungs], _scale(axis)


def _placed(rung: Rung, axis: Axis) -> Rung:
    found = rung.found
    span = _span(axis, found.low, found.mean, found.high) if found else None
    return Rung(rung.row, rung.above, rung.state, found, span)


def _distinct(several: Iterable[Any]) -> list[Any]:
    return [each for each in dict.fromkeys(several) if each is not None]


def compare(rows: Iterable[Row], columns: Sequence[Column[Evaluation]]) -> dict[str, Any]:
    """What the page's template is given.

    Args:
        rows: all entries in the order of the board, those that failed among them.
        columns: of the board.
    """
    rows = list(rows)
    ladder, scale = _ladder(rows)
    measures = [m for m in MEASURES if any(v is not None for row in rows for v in _values(row.evaluation, m))]
    sets = _distinct(_images(row.evaluation) for row in rows)
    return {
        "entries": rows, "ladder": ladder, "ladder_scale": scale, "measures": measures or [_RANKING],
        "image_sets": sets, "pair_sets": [_number_of(sets, row) for row in rows[:2]],
        "pair": pair(rows[0], rows[1], columns) if len(rows) > 1 else None,
        "data": _data(rows, columns, measures or [_RANKING], sets),
    }  # fmt: skip


def _number_of(sets: list[ImageSet], row: Row) -> int | None:
    """Of its image set, counted from 1."""
    images = _images(row.evaluation)
    return None if images is None else sets.index(images) + 1


def _data(
    rows: list[Row], columns: Sequence[Column[Evaluation]], measures: list[Measure], sets: list[ImageSet]
) -> dict[str, Any]:
    """All that the page's script needs to compare any two; ``t`` has the quantile of n images at n less 2."""
    ways = _distinct(_way(row.evaluation) for row in rows)
    most = max((len(images.names) for images in sets), default=1)
    return {
        "columns": [_column_data(column) for column in columns],
        "measures": [{"key": m.key, "unit": m.unit, "form": m.form, "lower": m.direction == "lower"} for m in measures],
        "sets": [images.names for images in sets],
        "t": [round(quantile(n), 6) for n in range(2, most + 1)],
        "entries": [_entry_data(row, columns, measures, sets, ways) for row in rows],
    }  # fmt: skip


def _column_data(column: Column[Evaluation]) -> dict[str, Any]:
    return {
        "form": column.form, "direction": column.direction, "byImages": column.group in _IMAGE_GROUPS,
        "byRuntime": column.group in _RUNTIME_GROUPS,
    }  # fmt: skip


def _entry_data(
    row: Row, columns: Sequence[Column[Evaluation]], measures: list[Measure], sets: list[ImageSet], ways: list[Any]
) -> dict[str, Any]:
    """``figures``: value, text, note and whether it is an alert, one of each a column. ``set`` counts from 1."""
    e = row.evaluation
    number_of_set, way = _number_of(sets, row), _way(e)
    return {
        "slug": row.slug, "title": e.title, "name": e.name, "stopped": e.failure.stage if e.failure else None,
        "set": number_of_set, "way": None if way is None else ways.index(way),
        "figures": [[_rounded(c.value(e), 6), c.text(e), *c.note(e)] for c in columns],
        "images": {} if number_of_set is None else {m.key: _values(e, m) for m in measures},
    }  # fmt: skip
