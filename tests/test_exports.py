"""Tables of the board, read back as those would who take them."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import PurePosixPath
from typing import Any

import evaluations
import msgspec
import pytest

from mai_harness.challenge import with_scores
from mai_harness.records import Evaluation, Failure, ImageScore, Results, ScoreReport
from mai_harness.render.columns import MISSING, board_columns
from mai_harness.render.exports import (
    PAPER,
    TABLES,
    csv_table,
    exports,
    json_table,
    latex_table,
    markdown_table,
)
from mai_harness.storage import SCHEMA_VERSION, write_results

HOSTILE = (
    "a|b\\|c `code` <script>alert(1)</script> &amp; *bold* _under_ [link](x) ~~s~~ $x$ #1 100% {x} ^2\nnew\r\n\u2028",
    "\\", "\\\\", "`", "|", "%", "}", "{", "\\end{tabular}", "\\input{x}", "$$", "日本語 🙂", "\ud800\u202e\x00", "",
    "\N{MINUS SIGN}3 × 2 – x",
)  # fmt: skip


def entry(name: str, psnr: float | None = 30.0, ms: float = 20.0, **changes: Any) -> Evaluation:
    """One that competes, with these figures; ``psnr`` of ``None``: not scored."""
    figures = {"psnr_raw_db": psnr, "psnr_dequantised_db": psnr, "psnr_fp32_db": 30.05, "ssim_raw": 0.9}
    score = ScoreReport(
        dataset="d", dataset_fingerprint="f", shave=0, method="whole images", exact=True,
        images=(ImageScore(name="0000.png", figures=figures),),
    )  # fmt: skip
    given = {
        "name": name, "title": name.upper(), "score": None if psnr is None else score,
        "runtime": (evaluations.timed("cpu", {"CONV_2D 0": ms}), evaluations.timed("npu, fast=1", {"CONV_2D 0": 1.0})),
    }  # fmt: skip
    return evaluations.evaluation(**given | changes)


def failed(name: str, reason: str = "It did not work.") -> Evaluation:
    return entry(name, None, failure=Failure(stage="export", kind="error", reason=reason))


def against(name: str) -> Evaluation:
    return entry(name, check=evaluations.checked(evaluations.graph(), batch="two"))


def results(*submissions: Evaluation, **changes: Any) -> Results:
    made = Results(
        schema_version=SCHEMA_VERSION, formula="mai2021", harness_version="0.1", created="2021-06-01T12:00:00+00:00",
        machine="two cores", versions={}, dataset="DIV2K validation", submissions=submissions,
    )  # fmt: skip
    return with_scores(msgspec.structs.replace(made, **changes))


BOARD = results(failed("late", "two\nlines"), entry("slow", 30.0, 200.0), entry("fast", 29.123456789, 10.0),
                against("against"), entry("bare", None))  # fmt: skip
ORDER = ["fast", "slow", "bare", "against", "late"]


def csv_rows(board: Results) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_table(board), newline=""), strict=True))


def cells(line: str) -> list[str]:
    """Of a row of a Markdown table, as GitHub splits it."""
    inner = re.fullmatch(r"\|(.*)\|", line)
    assert inner
    parts, cell, escaped = [], "", False
    for c in inner[1]:
        if c == "|" and not escaped:
            parts.append(cell.strip())
            cell = ""
        else:
            cell += c
        escaped = c == "\\" and not escaped
    return [*parts, cell.strip()]


def markdown_rows(board: Results) -> tuple[list[list[str]], list[str]]:
    """Rows, the headings and the ruler first, and the remarks below."""
    table, *remarks = markdown_table(board).rstrip("\n").split("\n\n")
    return [cells(line) for line in table.split("\n")], remarks


def latex_rows(board: Results) -> list[list[str]]:
    body = latex_table(board).partition("\\toprule\n")[2].partition("  \\bottomrule")[0]
    lines = [line.strip() for line in body.splitlines() if line.strip() != "\\midrule"]
    assert all(line.endswith(" \\\\") for line in lines)
    return [re.split(r"(?<!\\) & ", line.removesuffix(" \\\\")) for line in lines]


def test_there_is_one_file_a_form():
    files = exports(BOARD)
    assert set(files) == {PurePosixPath("exports", f"leaderboard.{s}") for s in ("csv", "json", "md", "tex")}
    assert set(files.values()) == {table(BOARD) for table in TABLES.values()}


# CSV and JSON


def test_csv_has_the_board_in_order_and_in_full():
    rows = csv_rows(BOARD)
    assert [row["name"] for row in rows] == ORDER
    assert [row["rank"] for row in rows] == ["1", "2", "", "", ""]
    assert [row["status"] for row in rows] == ["ranked"] * 3 + ["disqualified", "failed"]
    fast = rows[0]
    assert fast["title"] == "FAST"
    assert float(fast["psnr_raw_db"]) == 29.123456789
    assert float(fast["runtime_int8_ms"]) == 10.0
    assert float(fast["macs_g"]) == 10.0
    assert (fast["rules"], fast["rules_total"]) == ("7", "7")
    assert float(fast["ratio"]) == 2.0
    assert (rows[3]["stage"], rows[3]["reason"]) == ("", "batch")
    assert (rows[4]["stage"], rows[4]["reason"]) == ("export", "two\nlines")


def test_csv_is_as_its_standard_says():
    text = csv_table(BOARD)
    heading, _, rest = text.partition("\r\n")
    assert heading.startswith("rank,name,title,status,score,psnr_raw_db,ssim_raw,")
    assert heading.endswith(",stage,reason")
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in heading.split(","))
    assert len(set(heading.split(","))) == len(heading.split(","))
    assert rest.count("\r\n") == len(ORDER)


def test_every_column_of_the_board_is_in_csv_and_json():
    heading = csv_table(BOARD).partition("\r\n")[0].split(",")
    for column in board_columns(BOARD):
        assert any(name.startswith(column.id) for name in heading)
    assert len([name for name in heading if name.startswith("runtime_on_npu")]) == 1
    assert [set(entry) for entry in json.loads(json_table(BOARD))["entries"]] == [set(heading)] * len(ORDER)


def test_what_is_missing_is_empty():
    rows = {row["name"]: row for row in csv_rows(BOARD)}
    assert rows["bare"]["psnr_raw_db"] == ""
    values = {row["name"]: row for row in json.loads(json_table(BOARD))["entries"]}
    assert values["bare"]["psnr_raw_db"] is None


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_is_never_a_formula(start):
    text = f'{start}cmd|" /C calc"!A0'
    board = results(entry("plain", title=text), failed(text, text))
    one, other = csv_rows(board)
    assert one["title"] == other["name"] == other["reason"] == f"'{text}"
    assert next(e["title"] for e in json.loads(json_table(board))["entries"]) == text


def test_a_negative_figure_is_a_figure():
    assert float(csv_rows(results(entry("net", 30.25)))[0]["drop_db"]) == pytest.approx(-0.2)


def test_json_tells_what_it_was_made_of():
    value = json.loads(json_table(BOARD))
    assert {key: value[key] for key in ("dataset", "created", "harness_version", "formula")} == {
        "dataset": "DIV2K validation", "created": "2021-06-01T12:00:00+00:00", "harness_version": "0.1",
        "formula": "mai2021",
    }  # fmt: skip
    assert [e["name"] for e in value["entries"]] == ORDER
    assert value["entries"][0]["psnr_raw_db"] == 29.123456789
    assert {c["field"] for c in value["columns"]} < set(value["entries"][0])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_come_back_whole_from_csv_and_json(text):
    board = results(entry("net", title=text), dataset=text)
    printable = text if text.isprintable() or "\ud800" not in text else "\N{REPLACEMENT CHARACTER}" * 3
    assert csv_rows(board)[0]["title"] == printable
    value = json.loads(json_table(board))
    assert (value["entries"][0]["title"], value["dataset"]) == (printable, printable)
    for content in exports(board).values():
        assert isinstance(content, str)
        content.encode()


# Markdown


def test_markdown_is_a_table_with_the_best_bold():
    (heads, ruler, *rows), remarks = markdown_rows(BOARD)
    assert heads[:5] == ["#", "Name", "Title", "Score", "INT8 raw (dB)"]
    assert ruler[:4] == ["---:", "---", "---", "---:"]
    assert {len(row) for row in (heads, ruler, *rows)} == {3 + len(board_columns(BOARD))}
    assert [row[0] for row in rows] == ["1", "2", *[MISSING] * 2]
    assert [row[1] for row in rows] == ORDER[:-1]
    runtime = heads.index("INT8 (ms)")
    assert [row[runtime] for row in rows][:2] == ["**10.0**", "200.0"]
    assert "DIV2K validation, measured 2021-06-01T12:00:00+00:00" in remarks[0]
    assert remarks[1:] == ["Without a rank, against the rules: against (batch).", "Left out, failed: late (export)."]


def test_what_does_not_compete_is_not_the_best():
    board = results(entry("a", 30.0), entry("b", 29.0), msgspec.structs.replace(against("c"), title="C"))
    (heads, _, *rows), _ = markdown_rows(board)
    column = heads.index("INT8 raw (dB)")
    assert [row[column] for row in rows] == ["**30.00**", "29.00", "30.00"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_in_their_cell_of_a_markdown_table(text):
    name = text or "net"
    board = results(entry(name, title=text), against(f"{name} 2"), failed(f"{name} 3"), dataset=text)
    (heads, _, *rows), remarks = markdown_rows(board)
    assert [len(row) for row in rows] == [len(heads)] * 2
    assert len(remarks) == 3
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", markdown_table(board))
    assert not re.search(r"[`<>~$]", bare)
    assert not re.search(r"&(?!amp;|lt;|gt;)", bare)


# LaTeX


def test_latex_is_a_tabular_of_a_papers_columns():
    text, (heads, *rows) = latex_table(BOARD), latex_rows(BOARD)
    assert text.startswith("% Mobile AI 2021")
    assert "DIV2K validation, measured 2021-06-01" in text.partition("\n")[0]
    assert "\\begin{tabular}{rlrrrrrrrr}\n  \\toprule\n" in text
    assert text.endswith("  \\bottomrule\n\\end{tabular}\n")
    assert heads[:3] == ["\\#", "Network", "PSNR INT8 (dB)"]
    assert {len(row) for row in (heads, *rows)} == {2 + len(PAPER)}
    assert [row[0] for row in rows] == ["1", "2", "--", "--"]
    assert [row[6] for row in rows[:2]] == ["\\textbf{10.0}", "200.0"]
    assert [row[5] for row in latex_rows(results(entry("net", 30.25)))[1:]] == ["$-$0.20"]
    assert text.count("\\midrule") == 2


def test_latex_leaves_out_the_second_rule_where_there_is_nothing_to_part():
    assert latex_table(results(entry("net"))).count("\\midrule") == 1
    assert latex_table(results(against("net"))).count("\\midrule") == 1


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*[{}]", text):
        depth += 1 if brace[-1] == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_in_their_cell_of_a_latex_table(text):
    name = text or "net"
    board = results(entry(name, title=text), against(f"{name} 2"), failed(f"{name} 3"), dataset=text)
    lines = latex_table(board).rstrip("\n").split("\n")
    comments, table = [x for x in lines if x.startswith("%")], [x for x in lines if not x.startswith("%")]
    assert len(comments) == 3
    assert [len(row) for row in latex_rows(board)] == [2 + len(PAPER)] * 3
    for line in table:
        assert balanced(line), line
        bare = re.sub(r"\\[{}$&#_%]", "", line)
        assert not re.search(r"[#%^~_]", bare), line
        known = r"\\(begin|end|toprule|midrule|bottomrule|textbf|times|pm|text[a-z]+|\\$)(?![a-z])"
        assert "\\" not in re.sub(known, "", bare), line
        assert bare.count("$") % 2 == 0
    assert sum("\\end{tabular}" in line for line in table) == 1


def test_an_empty_board_is_an_empty_table():
    board = results()
    assert csv_rows(board) == json.loads(json_table(board))["entries"] == []
    assert len(markdown_rows(board)[0]) == 2
    assert len(latex_rows(board)) == 1


# The command


def table(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "mai_harness", "table", *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def test_the_command_prints_the_files_of_the_site(tmp_path):
    write_results(BOARD, tmp_path / "results.json")
    for form, make in TABLES.items():
        done = table("--as", form, "--out", str(tmp_path))
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode() == make(BOARD)
    assert table("--out", str(tmp_path)).stdout.decode() == markdown_table(BOARD)


def test_the_command_tells_what_is_missing(tmp_path):
    done = table("--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"run: mai-harness evaluate" in done.stderr
    assert table("--as", "xlsx").returncode == 2
