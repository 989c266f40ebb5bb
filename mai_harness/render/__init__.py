"""Results as a static site: every file of it by its path. Nothing is written here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mai_harness.challenge import FORMULAS
from mai_harness.history import Run, changes, last_comparable
from mai_harness.records import Results
from mai_harness.render import diagnosis
from mai_harness.render.board import Board, board
from mai_harness.render.card import card
from mai_harness.render.columns import BY_ID, COLUMNS, MISSING, board_columns, number
from mai_harness.render.entry import entry
from mai_harness.render.exports import exports
from mai_harness.render.front import front
from mai_harness.render.history import history_page
from mai_harness.render.page import Content, Pages, groups_of, navigation, page
from mai_harness.render.paired import compare
from mai_harness.render.studies import STUDY_COLUMNS, by_slug, render_studies
from mai_harness.study import StudyResults

__all__ = [
    "COLUMNS", "MISSING", "STUDY_COLUMNS", "Beside", "Content", "Pages", "assets", "board", "board_columns", "number",
    "render", "render_studies",
]  # fmt: skip

_ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is kept beside the results, as far as it is there."""

    runs: Sequence[Run] = ()  #: oldest first; the last may be that of the results
    models: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)  #: by entry: files by their names
    pictures: Path | None = None  #: the folder of those that galleries name


def assets() -> Pages:
    """Styles and scripts that the pages ask for, the bundled libraries and their licences among them."""
    files = sorted(path for path in _ASSETS.rglob("*") if path.is_file())
    return {PurePosixPath("assets", *path.relative_to(_ASSETS).parts): path for path in files}


def render(
    results: Results,
    studies: Sequence[StudyResults] = (),
    *,
    latencies: bool = False,
    beside: Beside = Beside(),  # frozen, and empty
) -> Pages:
    """The board's pages by their paths relative to the site, and the files that they offer.

    They are ``index.html``, ``compare.html``, ``history.html``, ``failure-modes.html`` and ``entries/<slug>.html``.

    Args:
        studies: that the pages lead to; :func:`render_studies` makes their pages.
        latencies: whether they lead to ``metanodes.html`` too.
    """
    places, columns = board(results), board_columns(results)
    modes = diagnosis.failure_modes(list(places))
    shared: dict[str, Any] = {
        "results": results, "columns": columns, "groups": groups_of(columns), "column": BY_ID,
        "formula": FORMULAS[results.formula], "anchors": {mode.id: mode.anchor for mode in modes},
        "nav": navigation(board=True, studies=by_slug(studies), latencies=latencies),
    }  # fmt: skip
    slugs = {row.evaluation.name: row.slug for row in places}
    pages = page("index.html", "index.html", changes=_changes(beside.runs), **front(places, columns), **shared)
    pages |= page("compare.html", "compare.html", **compare(places, columns), **shared)
    pages |= page("history.html", "history.html", **history_page(beside.runs, slugs), **shared)
    stopped = diagnosis.stopped(places.failed)
    pages |= page("failure-modes.html", "failure-modes.html", modes=modes, stopped=stopped, **shared)
    for row in places:
        pages |= entry(row, beside.models.get(row.evaluation.name, {}), shared)
    return pages | _pictures(places, beside.pictures) | exports(results) | _card(results, places)


def _changes(runs: Sequence[Run]) -> dict[str, Any]:
    return changes(last_comparable(runs[:-1], runs[-1]), runs[-1]) if runs else {}


def _pictures(places: Board, folder: Path | None) -> Pages:
    """Those of the galleries; one that is not there any more is left out, and the page says what it would show."""
    if folder is None:
        return {}
    windows = (window for row in places if row.evaluation.gallery for window in row.evaluation.gallery.windows)
    names = {name for window in windows for name in window.pictures.values() if re.fullmatch(r"[0-9a-f]+\.webp", name)}
    return {PurePosixPath("pictures", name): folder / name for name in sorted(names) if (folder / name).is_file()}


def _card(results: Results, places: Board) -> Pages:
    return {PurePosixPath("card.png"): card(results, places.ranked)}
