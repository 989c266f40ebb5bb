"""The board as tables to take elsewhere: CSV and JSON for programs, Markdown and LaTeX for people.

CSV and JSON have every figure in full precision. Markdown and LaTeX have figures as the pages write them, with the
best of a column bold. All have the order of the board: those that compete, then those against the rules, then (CSV
and JSON) those that failed, with stage and reason.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from mai_harness.records import Evaluation, Results
from mai_harness.render.board import Board, Row
from mai_harness.render.board import board as ordered
from mai_harness.render.columns import BY_ID, MISSING, Column, board_columns
from mai_harness.render.page import _UNPRINTABLE, Pages

Columns = Sequence[Column[Evaluation]]
Cell = str | int | float | None

# What a paper's table has, by the columns' ids, with headings that stand alone.
PAPER = {
    "psnr_raw": "PSNR INT8", "ssim_raw": "SSIM INT8", "psnr_fp32": "PSNR FP32", "drop": "Drop",
    "runtime_int8": "Runtime", "score": "Score", "parameters": "Params", "macs": "MACs",
}  # fmt: skip

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]|~$"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "{}$&#_%"} | {
        "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
        ">": r"\textgreater{}", "|": r"\textbar{}", "\N{MINUS SIGN}": "$-$", "–": "--", "—": "---", "×": r"$\times$",
        "±": r"$\pm$",
    }
)  # fmt: skip


def exports(results: Results) -> Pages:
    """``exports/leaderboard.csv``, ``.json``, ``.md`` and ``.tex``, by their paths relative to the site."""
    made = {"csv": csv_table, "json": json_table, "md": markdown_table, "tex": latex_table}
    return {PurePosixPath("exports", f"leaderboard.{suffix}"): table(results) for suffix, table in made.items()}


def csv_table(results: Results) -> str:
    """RFC 4180 with a line of headings; empty where a figure is missing.

    A heading is the column's id and unit: ``psnr_raw_db``. Spreadsheets take a text that begins with ``=``, ``+``,
    ``-``, ``@``, a tab or a line's end for a formula, so such a text gets an apostrophe in front. JSON has it as it is.
    """
    columns = board_columns(results)
    file = io.StringIO()
    writer = csv.DictWriter(file, _fields(columns))
    writer.writeheader()
    for record in _records(ordered(results), columns):
        writer.writerow({field: _harmless(value) for field, value in record.items()})
    return file.getvalue()


def _harmless(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def json_table(results: Results) -> str:
    """What the board was made of, what its columns mean, and a flat object per entry, by the names of the CSV file."""
    columns = board_columns(results)
    value = {
        "dataset": _clean(results.dataset), "created": _clean(results.created),
        "harness_version": results.harness_version, "formula": results.formula,
        "columns": [
            {"field": _field(c), "unit": c.unit, "better": c.direction, "meaning": _clean(c.meaning)} for c in columns
        ],
        "entries": _records(ordered(results), columns),
    }  # fmt: skip
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _fields(columns: Columns) -> list[str]:
    figures = [name for c in columns for name in (_field(c), *([f"{c.id}_total"] if c.total else []))]
    return ["rank", "name", "title", "status", *figures, "stage", "reason"]


def _field(column: Column[Evaluation]) -> str:
    unit = column.unit.lower()
    return f"{column.id}_{unit}" if unit.isascii() and unit.isalnum() else column.id


def _records(board: Board, columns: Columns) -> list[dict[str, Cell]]:
    parts = (("ranked", board.ranked), ("disqualified", board.disqualified), ("failed", board.failed))
    return [_record(row, status, columns) for status, rows in parts for row in rows]


def _record(row: Row, status: str, columns: Columns) -> dict[str, Cell]:
    e = row.evaluation
    record: dict[str, Cell] = dict.fromkeys(_fields(columns))
    record |= {"rank": row.rank, "name": _clean(e.name), "title": _clean(e.title), "status": status}
    for column in columns:
        record[_field(column)] = _finite(column.value(e))
        if column.total:
            record[f"{column.id}_total"] = _finite(column.total(e))
    if e.failure is not None:
        record |= {"stage": _clean(e.failure.stage), "reason": _clean(e.failure.reason)}
    elif status == "disqualified":
        record["reason"] = _against(e)
    return record


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _against(evaluation: Evaluation) -> str:
    rules = [] if evaluation.check is None else evaluation.check.rules
    return _clean(", ".join(rule.rule for rule in rules if rule.status == "fail"))


def markdown_table(results: Results) -> str:
    """A table in GitHub's Markdown and a line on its origin; those that failed are named below it, not in it."""
    board, columns = ordered(results), board_columns(results)
    heads = ["#", "Name", "Title", *(_markdown(_heading(c.heading, c.unit)) for c in columns)]
    ruler = ["---:", "---", "---", *("---:" for _ in columns)]
    rows = [
        [_rank(row), _markdown(row.evaluation.name), _markdown(row.evaluation.title), *figures]
        for row, figures in _written(board, columns, _markdown, "**{}**".format)
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, ruler, *rows)]
    return "\n".join([*lines, *(f"\n{_markdown(line)}" for line in _remarks(results, board))]) + "\n"


def latex_table(results: Results) -> str:
    r"""A ``tabular`` for a paper with the columns of :data:`PAPER`; it needs ``\usepackage{booktabs}``.

    Those against the rules stand below a line of their own, those that failed are named in a comment. Letters beyond
    ASCII are left as they are: XeLaTeX and LuaLaTeX set them, pdfLaTeX only those that its fonts have.
    """
    board, columns = ordered(results), [BY_ID[id_] for id_ in PAPER]
    heads = [r"\#", "Network", *(_latex(_heading(PAPER[c.id], c.unit)) for c in columns)]
    rows = [
        _latex_row([_latex(_rank(row)), _latex(row.evaluation.title), *figures])
        for row, figures in _written(board, columns, _latex, r"\textbf{{{}}}".format)
    ]
    if board.ranked and board.disqualified:
        rows.insert(len(board.ranked), r"  \midrule")
    comments = [f"% {_line(remark)}" for remark in _remarks(results, board)]
    head = [rf"\begin{{tabular}}{{rl{'r' * len(columns)}}}", r"  \toprule", _latex_row(heads), r"  \midrule"]
    return "\n".join([*comments, *head, *rows, r"  \bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return f"  {' & '.join(cells)} \\\\"


def _written(
    board: Board, columns: Columns, escape: Callable[[str], str], bold: Callable[[str], str]
) -> list[tuple[Row, list[str]]]:
    """Rows that came to the end, each with its figures; the best of those that compete bold."""
    best = {c.id: c.best(row.evaluation for row in board.ranked) for c in columns}

    def figure(column: Column[Evaluation], row: Row) -> str:
        text = column.text(row.evaluation)
        is_best = row in board.ranked and text == best[column.id]
        return bold(escape(text)) if is_best else escape(text)

    return [(row, [figure(c, row) for c in columns]) for row in board.finished]


def _heading(words: str, unit: str) -> str:
    return f"{words} ({unit})" if unit else words


def _rank(row: Row) -> str:
    return MISSING if row.rank is None else str(row.rank)


def _remarks(results: Results, board: Board) -> list[str]:
    remarks = [
        f"Mobile AI 2021, real-time INT8 ×3 super-resolution: {results.dataset}, measured {results.created}, "
        f"mai_harness {results.harness_version}, formula {results.formula}."
    ]
    against = ", ".join(f"{row.evaluation.name} ({_against(row.evaluation)})" for row in board.disqualified)
    stopped = ", ".join(f"{e.name} ({e.failure.stage})" for row in board.failed if (e := row.evaluation).failure)
    remarks += [f"Without a rank, against the rules: {against}."] if against else []
    return remarks + ([f"Left out, failed: {stopped}."] if stopped else [])


def _clean(text: str) -> str:
    return text.translate(_UNPRINTABLE)


def _line(text: str) -> str:
    """One line: a new one would end a table's row, or a comment."""
    return re.sub(r"\s+", " ", _clean(text)).strip()


def _markdown(text: str) -> str:
    return _line(text).translate(_MARKDOWN)


def _latex(text: str) -> str:
    return _line(text).translate(_LATEX)


# As ``mai-harness table --as`` names them.
TABLES: dict[str, Callable[[Results], str]] = {
    "csv": csv_table, "json": json_table, "markdown": markdown_table, "latex": latex_table,
}  # fmt: skip
