"""Results as a static site: every file of it by its path. Nothing is written here."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mai_harness.challenge import FORMULAS
from mai_harness.records import Results
from mai_harness.render import diagnosis
from mai_harness.render.board import board as ordered
from mai_harness.render.columns import BY_ID, COLUMNS, MISSING, board_columns, number
from mai_harness.render.entry import entry
from mai_harness.render.front import front
from mai_harness.render.page import Pages, groups_of, navigation, page
from mai_harness.render.studies import STUDY_COLUMNS, by_slug, render_studies
from mai_harness.study import StudyResults

__all__ = [
    "COLUMNS", "MISSING", "STUDY_COLUMNS", "Pages", "assets", "board_columns", "number", "ordered", "render",
    "render_studies",
]  # fmt: skip

_ASSETS = Path(__file__).parent.parent / "assets"


def assets() -> Pages:
    """Styles and scripts that the pages ask for, the bundled libraries and their licences among them."""
    files = sorted(path for path in _ASSETS.rglob("*") if path.is_file())
    return {PurePosixPath("assets", *path.relative_to(_ASSETS).parts): path for path in files}


def render(results: Results, studies: Sequence[StudyResults] = (), *, latencies: bool = False) -> Pages:
    """The board's pages by their paths relative to the site.

    They are ``index.html``, ``failure-modes.html`` and ``entries/<slug>.html``.

    Args:
        studies: that the pages lead to; :func:`render_studies` makes their pages.
        latencies: whether they lead to ``metanodes.html`` too.
    """
    board = ordered(results)
    columns = board_columns(results)
    modes = diagnosis.failure_modes(list(board))
    shared: dict[str, Any] = {
        "results": results, "columns": columns, "groups": groups_of(columns), "column": BY_ID,
        "formula": FORMULAS[results.formula], "anchors": {mode.id: mode.anchor for mode in modes},
        "nav": navigation(board=True, studies=by_slug(studies), latencies=latencies),
    }  # fmt: skip
    stopped = diagnosis.stopped(board.failed)
    pages = page("index.html", "index.html", **front(board, columns), **shared)
    pages |= page("failure-modes.html", "failure-modes.html", modes=modes, stopped=stopped, **shared)
    for row in board:
        pages |= page("entry.html", f"entries/{row.slug}.html", **entry(row), **shared)
    return pages
