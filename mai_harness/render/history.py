"""The page of all runs that were kept: positions and figures, the words are in the template."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mai_harness.history import Change, Run, RunEntry, changes, comparable, gone, last_comparable, timed_alike
from mai_harness.render.axis import Axis

Box = tuple[float, float, float, float]  # left, top, right, bottom
Values = Sequence[float | None]

LISTED = 50  #: runs in the table, the newest
DRAWN = 20  #: runs in a chart
NAMED = 12  #: entries with a name in the charts, the best of the newest run
DEEPEST = 20  #: rank that is drawn; those behind it lie on one line
TOLD = 6  #: entries in a list of what changed, before it is cut short
_LINE = 16.0  # between labels, in pixels


class Named(NamedTuple):
    """An entry; ``slug`` is its page's file name, ``None`` if it has none any more."""

    title: str
    slug: str | None


class Told(NamedTuple):
    """One entry of what changed, with its figures before and now."""

    who: Named
    before: float | None = None
    now: float | None = None


class News(NamedTuple):
    """What changed in one way: the first entries, and how many more."""

    kind: str  #: ranks, psnr, score, new, gone, failed, disqualified, recovered or files
    told: list[Told]
    more: int


@dataclass(frozen=True)
class RunRow:
    """A run, and what changed since ``against``, the last one that it compares with."""

    run: Run
    against: Run | None
    is_next: bool  #: whether there is no other run between them
    timed_alike: bool
    ranked: int
    leaders: list[Named]  #: of equal scores all
    news: list[News]


@dataclass(frozen=True)
class Standing:
    """An entry of the newest run over the runs that are drawn."""

    who: Named
    rank: int | None
    best: int | None
    worst: int | None
    psnr_db: float | None
    since_first_db: (
        float | None
    )  #: INT8 PSNR now less that of the first of these runs that has it; ``None`` if that is it
    runs: int  #: that have it


@dataclass(frozen=True)
class Line:
    """An entry in a chart; ``told`` are its figures, oldest first."""

    who: Named
    leads: bool
    path: str
    points: list[tuple[float, float]]
    label: str
    label_y: float
    told: list[float | None]


@dataclass(frozen=True)
class Chart:
    """One drawing, in pixels. ``rest`` is the path of all entries that have no name in it."""

    id: str
    width: int
    height: float
    frame: Box
    x_ticks: list[tuple[float, str, str]]  #: place, moment, anchor of the text
    part: slice  #: of a moment as it is written on pages
    y_ticks: list[tuple[float, str]]
    rest: str
    lines: list[Line]


@dataclass(frozen=True)
class _Size:
    name: str
    width: int
    gutter: int  # right of the frame, for labels
    letters: int  # of a label
    runs: int
    ticks: int


_SIZES = (_Size("wide", 1100, 190, 24, DRAWN, 5), _Size("narrow", 380, 112, 14, 10, 2))


def history_page(runs: Sequence[Run], slugs: Mapping[str, str]) -> dict[str, Any]:
    """What the template ``history.html`` is given, but for what all pages are.

    Args:
        runs: oldest first.
        slugs: the file name of every page of an entry that there is, by the entry's name.
    """
    places = range(len(runs))[-LISTED:]
    ranks, fidelity = _comparable_runs(runs, timed=True), _comparable_runs(runs, timed=False)
    named = _best(runs[-1]) if runs else []
    return {
        "runs": len(runs), "newest": runs[-1] if runs else None, "oldest": runs[0] if runs else None,
        "rows": [_row(runs, place, slugs) for place in reversed(places)],
        "rank_charts": _charts("ranks", ranks, named, slugs), "rank_runs": len(ranks),
        "psnr_charts": _charts("fidelity", fidelity, named, slugs), "psnr_runs": len(fidelity),
        "standings": _standings(ranks, fidelity, slugs), "named": NAMED, "few": _SIZES[-1].runs,
    }  # fmt: skip


def _comparable_runs(runs: Sequence[Run], *, timed: bool) -> list[Run]:
    """The last runs that compare with the newest, itself included."""
    newest = runs[-1:]
    alike = [r for r in runs for now in newest if comparable(r, now) and (not timed or timed_alike(r, now))]
    return alike[-DRAWN:]


def _best(run: Run) -> list[RunEntry]:
    """Entries that have a name in the charts, best first."""
    worthy = [entry for entry in run.entries if entry.rank is not None or entry.psnr_raw_db is not None]
    return sorted(worthy, key=lambda e: (e.rank is None, e.rank or 0, -(e.psnr_raw_db or 0.0), e.name))[:NAMED]


def _who(entry: RunEntry, slugs: Mapping[str, str]) -> Named:
    return Named(entry.title, slugs.get(entry.name))


# The table of runs


def _row(runs: Sequence[Run], place: int, slugs: Mapping[str, str]) -> RunRow:
    run = runs[place]
    against = last_comparable(runs[:place], run)
    return RunRow(
        run=run, against=against, is_next=against is not None and against is runs[place - 1],
        timed_alike=against is not None and timed_alike(against, run),
        ranked=sum(entry.rank is not None for entry in run.entries),
        leaders=[_who(entry, slugs) for entry in run.entries if entry.rank == 1],
        news=_news(against, run, slugs),
    )  # fmt: skip


def _news(before: Run | None, now: Run, slugs: Mapping[str, str]) -> list[News]:
    known = {entry.name: entry for entry in now.entries}
    found = [(_who(known[name], slugs), change) for name, change in changes(before, now).items()]
    ranked = [(who, change.ranks) for who, change in found if change.ranks and not _stopped(change)]
    return _told_first({
        "ranks": [Told(who, *ranks) for who, ranks in sorted(ranked, key=lambda each: _nearest(each[1]))],
        "psnr": [Told(who, now=c.psnr_db) for who, c in found if c.psnr_db is not None],
        "score": [Told(who, now=100 * c.score) for who, c in found if c.score is not None],
        "new": [Told(who) for who, change in found if change.new],
        "gone": [Told(_who(entry, slugs)) for entry in gone(before, now)],
        "failed": [Told(who) for who, change in found if change.failed_at],
        "disqualified": [Told(who) for who, change in found if change.disqualified],
        "recovered": [Told(who) for who, change in found if change.recovered],
        "files": [Told(who) for who, change in found if change.files],
    })  # fmt: skip


def _told_first(kinds: Mapping[str, list[Told]]) -> list[News]:
    return [News(kind, told[:TOLD], max(len(told) - TOLD, 0)) for kind, told in kinds.items() if told]


def _stopped(change: Change) -> bool:
    """Whether a rank was lost for a reason that is told anyway."""
    return bool(change.failed_at) or change.disqualified


def _nearest(ranks: tuple[int | None, int | None]) -> int:
    """The better one: changes at the top come first."""
    return min(rank for rank in ranks if rank is not None)


# The table of entries


def _standings(ranks: Sequence[Run], fidelity: Sequence[Run], slugs: Mapping[str, str]) -> list[Standing]:
    if len(fidelity) < 2:
        return []
    by_rank, by_psnr = _by_name(ranks), _by_name(fidelity)
    entries = sorted(fidelity[-1].entries, key=lambda e: (e.rank is None, e.rank or 0, e.name))
    return [_standing(e, by_rank.get(e.name, []), by_psnr.get(e.name, []), slugs) for e in entries]


def _by_name(runs: Iterable[Run]) -> dict[str, list[RunEntry]]:
    """Every entry of every run, oldest first."""
    found: dict[str, list[RunEntry]] = {}
    for run in runs:
        for entry in run.entries:
            found.setdefault(entry.name, []).append(entry)
    return found


def _standing(
    entry: RunEntry, ranked: Sequence[RunEntry], scored: Sequence[RunEntry], slugs: Mapping[str, str]
) -> Standing:
    ranks = [each.rank for each in ranked if each.rank is not None]
    levels = [each.psnr_raw_db for each in scored if each.psnr_raw_db is not None]
    compared = entry.psnr_raw_db is not None and len(levels) > 1
    return Standing(
        who=_who(entry, slugs), rank=entry.rank, best=min(ranks, default=None), worst=max(ranks, default=None),
        psnr_db=entry.psnr_raw_db, since_first_db=levels[-1] - levels[0] if compared else None, runs=len(scored),
    )  # fmt: skip


# The charts


def _charts(kind: str, runs: Sequence[Run], named: Sequence[RunEntry], slugs: Mapping[str, str]) -> list[Chart]:
    """The same in every size; none if there is nothing to compare."""
    if len(runs) < 2 or not any(_figure(kind, entry) is not None for entry in named):
        return []
    draw = _rank_chart if kind == "ranks" else _psnr_chart
    return [draw(size, runs[-size.runs :], named, slugs) for size in _SIZES]


def _figure(kind: str, entry: RunEntry) -> float | None:
    return entry.rank if kind == "ranks" else entry.psnr_raw_db


def _series(kind: str, runs: Sequence[Run]) -> dict[str, list[float | None]]:
    """By name the figure in every run; ``None`` where it has none."""
    series: dict[str, list[float | None]] = {}
    for place, run in enumerate(runs):
        for entry in run.entries:
            series.setdefault(entry.name, [None] * len(runs))[place] = _figure(kind, entry)
    return series


def _rank_chart(size: _Size, runs: Sequence[Run], named: Sequence[RunEntry], slugs: Mapping[str, str]) -> Chart:
    series = _series("ranks", runs)
    last = max(int(rank) for values in series.values() for rank in values if rank is not None)
    rows = max(min(last, DEEPEST + 1), 2)
    shallow = {n: values for n, values in series.items() if any(v is not None and v <= DEEPEST for v in values)}
    clipped = {name: [None if v is None else min(v, rows) for v in values] for name, values in shallow.items()}
    frame = (44.0, 14.0, float(size.width - size.gutter), 14.0 + 24.0 * (max(rows, len(named)) - 1))
    scale = Axis(1, rows, frame[1], frame[3])
    ticks = [(scale.at(rank), str(rank)) for rank in range(1, min(rows, DEEPEST) + 1)]
    ticks += [(scale.at(rows), f">{DEEPEST}")] if rows > DEEPEST else []
    return _chart("ranks", size, frame, runs, clipped, scale, ticks, named, slugs)


def _psnr_chart(size: _Size, runs: Sequence[Run], named: Sequence[RunEntry], slugs: Mapping[str, str]) -> Chart:
    series = _series("fidelity", runs)
    mine = {entry.name: series[entry.name] for entry in named}
    levels = [level for values in mine.values() for level in values if level is not None]
    margin = max(0.06 * (max(levels) - min(levels)), 0.05)
    frame = (44.0, 14.0, float(size.width - size.gutter), 14.0 + max(300.0, _LINE * len(named)))
    scale = Axis(min(levels) - margin, max(levels) + margin, frame[3], frame[1])
    ticks = [(scale.at(level), f"{level:.10g}") for level in scale.ticks()]
    return _chart("fidelity", size, frame, runs, mine, scale, ticks, named, slugs)


def _chart(
    id_: str, size: _Size, frame: Box, runs: Sequence[Run], series: Mapping[str, Values], scale: Axis,
    y_ticks: list[tuple[float, str]], named: Sequence[RunEntry], slugs: Mapping[str, str],
) -> Chart:  # fmt: skip
    across = Axis(0, len(runs) - 1, frame[0] + 10, frame[2] - 10)
    placed = {name: _placed(values, across, scale) for name, values in series.items()}
    drawn = [entry for entry in named if entry.name in placed and placed[entry.name][-1]]
    heights = _spread([point[1] for entry in drawn if (point := placed[entry.name][-1])], frame)
    rest = placed.keys() - {entry.name for entry in named}
    return Chart(
        id=f"{id_}-{size.name}", width=size.width, height=frame[3] + 40, frame=frame, y_ticks=y_ticks,
        x_ticks=_moments(runs, across, size.ticks), part=_part(size, runs),
        rest="".join(_path(placed[name]) for name in sorted(rest)),
        lines=[
            _line(entry, placed[entry.name], y, series[entry.name], size.letters, slugs)
            for entry, y in zip(drawn, heights, strict=True)
        ],
    )  # fmt: skip


def _placed(values: Values, across: Axis, scale: Axis) -> list[tuple[float, float] | None]:
    return [None if v is None else (across.at(place), scale.at(v)) for place, v in enumerate(values)]


def _line(
    entry: RunEntry, placed: Sequence[tuple[float, float] | None], label_y: float, values: Values, letters: int,
    slugs: Mapping[str, str],
) -> Line:  # fmt: skip
    title = entry.title if len(entry.title) <= letters else entry.title[: letters - 1] + "…"
    points = [point for point in placed if point]
    return Line(_who(entry, slugs), entry.rank == 1, _path(placed), points, title, label_y, list(values))


def _path(placed: Sequence[tuple[float, float] | None]) -> str:
    """A line through the points, with gaps; one that stands alone is a line of no length, which is drawn as a dot."""
    path, before = "", None
    for index, point in enumerate(placed):
        if point is not None:
            path += f"{'L' if before else 'M'}{point[0]:.1f} {point[1]:.1f}"
            alone = before is None and (index + 1 == len(placed) or placed[index + 1] is None)
            path += "h0" if alone else ""
        before = point
    return path


def _spread(wanted: Sequence[float], frame: Box) -> list[float]:
    """Heights of labels, as near to those wanted as may be without one on another."""
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    heights = [0.0] * len(wanted)
    least = -_LINE
    for place in order:
        heights[place] = least = max(wanted[place], least + _LINE)
    most = frame[3] + _LINE
    for place in reversed(order):
        heights[place] = most = min(heights[place], most - _LINE)
    return heights


def _moments(runs: Sequence[Run], across: Axis, most: int) -> list[tuple[float, str, str]]:
    """The newest run, and others at even steps before it."""
    last = len(runs) - 1
    anchors = {0: "start", last: "end"}
    places = range(last, -1, -math.ceil(last / (most - 1)))
    return [(across.at(place), runs[place].created, anchors.get(place, "middle")) for place in places]


def _part(size: _Size, runs: Sequence[Run]) -> slice:
    """What there is room for: date and time, or else the date, or the time of runs of one day."""
    if size.ticks > 2:
        return slice(16)
    return slice(11, 16) if len({run.created[:10] for run in runs}) == 1 else slice(10)
