"""``render`` on hand-made records; its pages are read back by ``html.parser``."""

import re
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import FEW
from site_checks import (
    HREF,
    PART,
    Node,
    Trees,
    entries,
    harmless,
    html,
    parsed,
    self_contained,
    shown,
    skeleton,
    target,
    well_made,
)

from mai_harness.__main__ import _board
from mai_harness.challenge import with_scores
from mai_harness.metrics import FIGURES
from mai_harness.records import (
    BackendReport,
    CalibrateReport,
    CheckReport,
    Evaluation,
    ExportReport,
    Failure,
    Finding,
    Gain,
    GraphRewrite,
    ImageScore,
    LatencyReport,
    Layer,
    ModelFacts,
    Parity,
    QuantiseReport,
    Ratio,
    Results,
    RuleResult,
    ScoreReport,
    TensorFact,
    Tried,
)
from mai_harness.render import COLUMNS, MISSING, Pages, assets, board_columns, number, render
from mai_harness.render.board import board as ordered

INDEX = PurePosixPath("index.html")
FAILURES = PurePosixPath("failure-modes.html")


# Records


def score(psnr: float | None = 30.0, images: tuple[str, ...] = ("0801", "0802"), **changes: Any) -> ScoreReport:
    figures = {figure.key: psnr if figure.metric.unit == "dB" else 0.9 for figure in FIGURES} | changes
    return ScoreReport(
        dataset="DIV2K validation", dataset_fingerprint="f" * 64, shave=0, method="whole images", exact=True,
        images=tuple(ImageScore(name=name, figures=figures) for name in images),
    )  # fmt: skip


def latency(*samples_ms: float, precision: Any = "int8", backend: str = "cpu") -> LatencyReport:
    return LatencyReport(
        backend=backend, precision=precision, device="made up", how="measured: made up", threads=2, warmup_ms=(9.0,),
        samples_ms=samples_ms,
    )  # fmt: skip


def on(*reports: LatencyReport, refusals: tuple[str, ...] = ()) -> BackendReport:
    return BackendReport(backend=reports[0].backend if reports else "npu", reports=reports, refusals=refusals)


LAYERS = (
    Layer(name="CONV_2D 0", place="XNNPACK", ms=30.0, traffic_bytes={"DRAM": 2_000_000}),
    Layer(name="DEPTH_TO_SPACE 1", place="CPU", ms=20.0, rule="at least: 12 MB at 12 GB/s"),
)


def checked(*statuses: Any, facts: ModelFacts | None = None, words: str = "found") -> CheckReport:
    facts = facts or ModelFacts(
        input_shape=(1, 360, 640, 3), input_dtype="uint8", output_shape=(1, 1080, 1920, 3), output_dtype="uint8",
        output_scale=1.0, output_zero_point=0, parameters=42_540, macs=9_765_000_000, size_bytes=56_700,
        receptive_radius=7,
    )  # fmt: skip
    rules = (RuleResult(rule=words, title=words, status=s, found=words, remedy=words) for s in statuses)
    tensor = TensorFact(
        index=3, name=words, made_by=words, dtype="int8", shape=(28, 3, 3, 3), scales=28, scale=0.0123456, zero_point=0
    )
    plain = TensorFact(
        index=4, name="shape", made_by="constant", dtype="int32", shape=(4,), scales=0, scale=None, zero_point=None
    )
    return CheckReport(facts=facts, rules=tuple(rules), tensors=(tensor, plain))


def finding(severity: Any = "error", words: str = "raw-bytes") -> Finding:
    return Finding(
        id=words, severity=severity, title=words, evidence=words, explanation=words, remedy=words, layer=words,
        tensor=words, explained_db=1.5, tried=(Tried(what=words, before_db=28.0, after_db=29.5, how=words),),
        explains=(words,),
    )  # fmt: skip


def entry(name: str, psnr: float | None = None, ms: float | None = None, **more: Any) -> Evaluation:
    more.setdefault("score", None if psnr is None else score(psnr))
    more.setdefault("runtime", () if ms is None else (on(latency(ms)),))
    return Evaluation(**{"name": name, "title": name.upper(), "kind": "torch"} | more)


def failed(name: str, stage: str = "export", kind: str = "error", reason: str = "It did not work.") -> Evaluation:
    return entry(name, failure=Failure(stage=stage, kind=kind, reason=reason))


def results(*evaluations: Evaluation, **changes: Any) -> Results:
    made = Results(
        **{
            "schema_version": 1, "formula": "mai2021", "harness_version": "0.1", "created": "2021-06-01T12:00:00+00:00",
            "machine": "two cores", "versions": {"numpy": "1.26.4"}, "dataset": "DIV2K validation",
            "submissions": evaluations,
        } | changes
    )  # fmt: skip
    return with_scores(made)


def index(*evaluations: Evaluation, **changes: Any) -> Node:
    return parsed(render(results(*evaluations, **changes))[INDEX])


def page_of(evaluation: Evaluation) -> Node:
    (page,) = entries(render(results(evaluation))).values()
    return parsed(page)


def complete(name: str = "abpn", words: str = "words", psnr: float = 30.0) -> Evaluation:
    """Every field set; every text of an entrant or a machine is ``words``."""
    return Evaluation(
        name=name, title=words, kind="torch", authors=(words, words), description=words, fingerprint="a" * 64,
        export=ExportReport(
            parity=(Parity(before=words, after=words, max_abs_difference=0.5),), rewrites=(words, words)
        ),
        calibrate=CalibrateReport(
            parity=(Parity(before=words, after=words, max_abs_difference=1e-3),), frames=(words, words),
            clipped_output=True, output_range=(-12.0, 271.5),
        ),
        quantise=QuantiseReport(
            psnr_int8_to_float_db=45.0, learned_agreement=0.9985, rewrites=(GraphRewrite(id=words, text=words),),
            dynamic=False, dynamic_reason=words,
        ),
        gains=(Gain(backend=words, rewrite=words, latency_ms=50.0, without_ms=80.0),),
        check=checked("pass", "warn", "fail", "skip", words=words),
        score=msgspec.structs.replace(score(psnr, (words, words)), dataset=words, method=words),
        runtime=(
            on(
                msgspec.structs.replace(
                    latency(50, 51, 52), backend=words, device=words, how=words, layers=LAYERS, layers_how=words,
                    reference_ms=(49.0, 50.0, 51.0),
                    ratio=Ratio(value=1.02, low=1.01, high=1.03, rounds=3, outliers=0),
                    traffic_bytes={"DRAM": 3_000_000},
                ),
                latency(90, 91, precision="fp32"),
                refusals=(words,),
            ),
        ),
        findings=(finding("error", words), finding("warning", words), finding("info", words)),
    )  # fmt: skip


def stopped(name: str = "broken", words: str = "words") -> Evaluation:
    return msgspec.structs.replace(complete(name, words), failure=Failure(stage="score", kind=words, reason=words))


def board(page: Node) -> list[list[str]]:
    """Rows of the ranking, ranks without their medals; the entry's cell is its title and name."""
    rows = page.section("ranking").one("tbody").all("tr")
    texts = [[cell.text.strip() for cell in row.children if isinstance(cell, Node)] for row in rows]
    return [[rank.partition(" ")[0], *rest] for rank, *rest in texts]


def cell(page: Node, row: int, column: str) -> Node:
    return page.section("ranking").one("tbody").all("tr")[row].one("td", column)


EVERYTHING = (
    complete("abpn", "Some words"), complete("x" * 120, "Other words " * 30), entry("fast", 28.0, 3.0),
    entry("slow", 31.0, 400.0), entry("untimed", 29.0), entry("unscored", None, 20.0), entry("bare"), failed("late"),
    stopped(), failed("long", reason="line\n" * 200), entry("gap", score=score(20.0, psnr_dequantised_db=31.0)),
)  # fmt: skip


# Pages are well made


@pytest.fixture(scope="module")
def site() -> Trees:
    return well_made(render(results(*EVERYTHING)))


def test_there_are_a_front_page_failure_modes_and_one_page_an_entry(site):
    assert {INDEX, FAILURES} < set(site)
    assert len([path for path in site if path.parts[0] == "entries"]) == len(EVERYTHING)
    headings = [page.one("h1").text for path, page in site.items() if path.parts[0] == "entries"]
    assert sorted(headings) == sorted(evaluation.title for evaluation in EVERYTHING)


def test_every_page_can_be_reached_from_the_front_page(site):
    reached, waiting = set(), [INDEX]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        links = [node.attributes.get("href", "data:,") for node in site[path].all("a")]
        waiting += [there for link in links if (there := target(path, link)[0]) in site]
    assert reached == set(site)


def test_nothing_is_loaded_from_anywhere_and_no_script_stands_in_a_page(site):
    self_contained(site)


def test_all_files_have_plain_paths(site):
    for path in render(results(*EVERYTHING)):
        assert all(re.fullmatch(PART, part) for part in path.parts), path


OWN = {path: file.read_text() for path, file in assets().items() if "vendor" not in path.parts}


@pytest.mark.parametrize("path", [path for path in OWN if path.suffix in {".js", ".css"}], ids=str)
def test_our_scripts_and_styles_ask_for_nothing_and_write_no_markup(path):
    text = OWN[path].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|[\"'`(]//|@import|@font-face", text)
    if path.suffix == ".js":
        made = r"\b(fetch|eval|import|Function|XMLHttpRequest|WebSocket|EventSource|sendBeacon)\s*\("
        assert not re.search(rf"{made}|(inner|outer)HTML|insertAdjacentHTML|document\.write|srcdoc|\.html\(", text)
        assert text.startswith('"use strict";')


def test_the_same_results_give_the_same_pages():
    assert render(results(*EVERYTHING)) == render(results(*EVERYTHING))


def test_of_no_results_a_page_is_made():
    page = index()
    assert "No submission has been scored yet." in page.text
    assert "Ranked: 0. Disqualified: 0. Failed: 0." in page.one("p", "lede").text
    assert page.all("svg") == []


# Injection


def everywhere(words: str) -> list[Pages]:
    """A board where all is known, and one where nothing is: the front page then tells other things."""
    about = {"machine": words, "dataset": words, "harness_version": words, "created": words, "versions": {words: words}}
    full = results(complete("abpn", words), complete(words, words, 29.0), stopped("broken", words), **about)
    empty = results(entry("bare", title=words), **about)
    return [render(full), render(empty)]


@pytest.mark.parametrize("payload", FEW, ids=range(len(FEW)))
def test_no_text_becomes_anything_but_text(payload):
    """The same elements and attributes stand on the page whatever the words are."""
    for pages, plain in zip(everywhere(payload), everywhere(harmless(payload)), strict=True):
        for (path, page), reference in zip(html(pages).items(), html(plain).values(), strict=True):
            page.encode()
            tree = parsed(page)
            assert skeleton(tree) == skeleton(parsed(reference)), path
            assert all(re.fullmatch(r"[a-z0-9-]+", id_) for id_ in tree.ids)
            assert all(re.fullmatch(HREF, node.attributes.get("href", "")) for node in tree.walk())
        for path in pages:
            assert all(re.fullmatch(PART, part) for part in path.parts), path


@pytest.mark.parametrize("payload", FEW, ids=range(len(FEW)))
def test_every_text_stays_readable(payload):
    """What was written is shown, but for characters that a page may not hold."""
    words = shown(payload).replace("\r\n", "\n")
    page = render(results(complete("abpn", payload)))[PurePosixPath("entries", "abpn.html")].replace("\r\n", "\n")
    tree = parsed(page)
    assert tree.one("h1").text == words
    assert tree.one("p", "description").text == words
    assert tree.section("findings").all("dd")[0].text == words
    assert words in tree.one("head").one("title").text
    assert words in tree.section("images").one("tbody").all("th")[0].text
    stopped_ = render(results(stopped("broken", payload)))[PurePosixPath("entries", "broken.html")]
    assert parsed(stopped_.replace("\r\n", "\n")).one("pre").text == words


# Ranking


def test_the_board_is_ranked_by_score_and_failed_entries_stand_apart():
    page = index(  # 29 dB in a fifth of the time are worth more than 30
        failed("f2"), entry("c", 28.0, 50.0), entry("bare"), entry("b", 30.0, 50.0), failed("f1"),
        entry("a", 29.0, 10.0),
    )  # fmt: skip
    assert [row[:2] for row in board(page)] == [["1", "Aa"], ["2", "Bb"], ["3", "Cc"], [MISSING, "BAREbare"]]
    assert "Ranked: 3. Disqualified: 0. Failed: 2." in page.one("p", "lede").text
    assert "A leads with 29.00 dB" in page.one("p", "lede").text
    rows = page.section("failed").one("tbody").all("tr")
    assert [row.one("a").text for row in rows] == ["F1", "F2"]


def test_the_first_three_have_medals_that_are_words_too():
    page = index(*(entry(name, db, 50.0) for name, db in zip("abcde", (30.0, 29.0, 28.0, 28.0, 27.0), strict=True)))
    ranks = [row.one("td", "rank") for row in page.section("ranking").one("tbody").all("tr")]
    assert [rank.text for rank in ranks] == ["1 gold", "2 silver", "3 bronze", "3 bronze", "5"]


def test_who_is_against_a_rule_stands_apart_with_the_reason():
    page = index(entry("a", 29.0, 50.0), entry("b", 31.0, 50.0, check=checked("pass", "fail", words="no <int>")))
    assert [row[:2] for row in board(page)] == [["1", "Aa"]]
    apart = page.section("disqualified")
    assert [row.one("th").text.strip() for row in apart.one("tbody").all("tr")] == ["Bb"]
    assert "no <int>" in apart.one("ul", "reasons").text


def test_ties_share_a_rank_and_go_by_name():
    page = index(*(entry(name, db, 50.0) for name, db in zip("dcabe", (29.0, 30.0, 30.0, 31.0, 28.0), strict=True)))
    assert [(row[0], row[1][0]) for row in board(page)] == [("1", "B"), ("2", "A"), ("2", "C"), ("4", "D"), ("5", "E")]


def test_more_digits_than_are_shown_still_rank():
    page = index(entry("a", 30.001, 50.0), entry("b", 30.002, 50.0))
    assert [(row[0], row[1][0], row[3]) for row in board(page)] == [("1", "B", "30.00"), ("2", "A", "30.00")]


def test_ranking_follows_raw_bytes_not_dequantised_values():
    clipped = entry("a", 29.0, 50.0)
    unclipped = entry("b", ms=50.0, score=score(21.0, psnr_dequantised_db=31.0, psnr_fp32_db=31.0))
    found = ordered(results(unclipped, clipped))
    assert [row.evaluation.name for row in found.ranked] == ["a", "b"]
    assert found.disqualified == found.failed == []


def test_a_failed_entry_that_was_scored_is_not_ranked():
    page = index(entry("a", 29.0), stopped("broken"))
    assert [row[1] for row in board(page)] == ["Aa"]
    assert page.section("failed").one("tbody").all("tr")[0].one("span", "name").text == "broken"


def test_a_failed_row_has_stage_kind_and_reason():
    page = index(failed("f", "quantise", "timeout", "It took over 600 s & was <stopped>."))
    cells = page.section("failed").one("tbody").all("td")
    assert [cell.text.strip() for cell in cells] == ["quantise", "timeout", "It took over 600 s & was <stopped>."]


def test_a_long_reason_is_cut_on_the_front_page_and_whole_on_its_own():
    reason = "reason " * 100
    evaluation = failed("f", reason=reason)
    found = index(evaluation).section("failed").one("tbody").all("td")[2]
    assert found.text.startswith(reason[:260])
    assert len(found.text) < 300
    assert found.one("a").attributes["href"] == "entries/f.html#failure"
    page = page_of(evaluation)
    assert page.one("pre").text == reason
    assert "Stopped at export." in page.one("p", "lede").text


def test_without_failures_there_is_no_such_section():
    assert all(n.attributes.get("aria-labelledby") != "failed" for n in index(entry("a", 29.0)).all("section"))


# Figures


def test_figures_of_a_board_row():
    evaluation = entry(
        "a", score=score(29.5, psnr_fp32_db=30.25, psnr_dequantised_db=29.0, ssim_raw=0.87654),
        runtime=(on(latency(50.0, 52.0, 60.0), latency(99.0), latency(120.25, precision="fp32")),),
        check=checked("pass", "pass", "warn", "skip"), findings=(finding("error"), finding("info")),
    )  # fmt: skip
    page = index(evaluation)
    expected = {
        "score": f"{2 ** (59 - 48) / 52:.5g}", "ratio": MISSING, "psnr_y_raw": "29.50",
        "psnr_raw": "29.50", "ssim_raw": "0.8765", "psnr_fp32": "30.25", "drop": "0.75", "psnr_dequantised": "29.00",
        "gap": "\N{MINUS SIGN}0.50", "runtime_int8": "52.0", "runtime_fp32": "120.2", "parameters": "42.5",
        "macs": "9.77", "size": "56.7", "rules": "2/41 warn, 1 skip", "findings": "21 error, 1 info",
    }  # fmt: skip
    assert set(expected) == {column.id for column in COLUMNS}
    assert {column: cell(page, 0, column).text for column in expected} == expected


def test_figures_that_were_not_measured_are_en_dashes_never_zeros():
    page = index(entry("bare"))
    zero = {"findings"}  # of these none is known
    for column in COLUMNS:
        found = cell(page, 0, column.id)
        assert found.text == ("0" if column.id in zero else MISSING)
        assert found.attributes["data-order"] == ("0" if column.id in zero else "")
    assert cell(page, 0, "rank").text == MISSING
    single = page_of(entry("bare"))
    assert single.one("div", "psnr_raw").one("dd").text == MISSING
    for words in ("Not scored.", "No score:", "Not checked.", "Not timed.", "Nothing was converted."):
        assert words in single.text
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", single.one("main").text.replace("None.", ""))


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, ".2f", "–"),
        (float("nan"), ".2f", "–"),
        (float("inf"), ".2f", "–"),
        (0.0, ".2f", "0.00"),
        (-0.004, "z.2f", "0.00"),
        (-1.5, ".1f", "\N{MINUS SIGN}1.5"),
        (12345.678, ",.1f", "12,345.7"),
        (1e-7, ".2g", "1e\N{MINUS SIGN}07"),
    ],
)
def test_numbers_are_written_for_people(value, form, text):
    assert number(value, form) == text


def test_an_image_without_a_figure_leaves_the_mean_out():
    """PSNR of identical images is infinite, and stored as none."""
    one = score(30.0, ("a",)).images[0]
    other = msgspec.structs.replace(one, name="b", figures=one.figures | {"psnr_raw_db": None})
    evaluation = entry("e", score=msgspec.structs.replace(score(), images=(one, other)))
    table = page_of(evaluation).section("images")
    column = 1 + [figure.key for figure in FIGURES].index("psnr_raw_db")
    rows = [[c.text for c in row.walk() if c.tag in {"th", "td"}] for row in table.all("tr")[1:]]
    assert [row[column] for row in rows] == ["30.000", MISSING, MISSING]
    other_column = 1 + [figure.key for figure in FIGURES].index("psnr_fp32_db")
    assert [row[other_column] for row in rows] == ["30.000", "30.000", "30.000"]


def test_the_image_table_has_every_figure_with_its_unit():
    heads = page_of(complete()).section("images").one("thead").all("th")
    assert len(heads) == 1 + len(FIGURES)
    for head, figure in zip(heads[1:], FIGURES, strict=True):
        assert head.text.startswith(figure.metric.title)
        assert head.text.endswith(figure.metric.unit)


def test_the_best_of_each_column_is_marked_and_only_where_there_is_a_choice():
    page = index(entry("a", 30.0, 60.0), entry("b", 29.0, 40.0), entry("c", 30.0))  # by score a, b, and c without
    best = {column.id: [("best" in cell(page, row, column.id).classes) for row in range(3)] for column in COLUMNS}
    assert best["score"] == [True, False, False]
    assert best["psnr_raw"] == [True, False, True]
    assert best["runtime_int8"] == [False, True, False]
    assert best["drop"] == best["ssim_raw"] == best["rules"] == best["runtime_fp32"] == [False] * 3


def test_the_headline_is_the_first_report_of_its_precision_with_samples():
    first, second = latency(50.0), latency(40.0)
    evaluation = entry("a", runtime=(on(latency(90.0, precision="fp32"), latency(), first, second),))
    assert evaluation.latency("int8") is first
    assert entry("b", runtime=(on(latency()),)).latency("int8") is None


def test_the_latency_table_has_median_and_deciles():
    samples = [float(n) for n in range(101, 112)]
    row = page_of(entry("a", runtime=(on(latency(*samples), latency(7.0)),))).section("latency").one("tbody").all("tr")
    said = [MISSING, MISSING]  # no ratio, so no outliers either
    how = "measured: made upmade up"
    assert [c.text for c in row[0].all("td")] == ["INT8", "2", "106.0", "102.0", "110.0", *said, "11after 1", how]
    assert [c.text for c in row[1].all("td")] == ["INT8", "2", "7.0", MISSING, MISSING, *said, "1after 1", how]


def test_a_ratio_is_told_with_its_interval_and_layers_with_what_ran_them():
    latency_ = page_of(complete()).section("latency")
    cells = latency_.all("tbody")[0].all("tr")[0].all("td")
    assert [cells[i].text for i in (5, 6)] == ["1.0201.010 to 1.030", "0"]
    rows = latency_.one("details").one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == ["CONV_2D 0", "DEPTH_TO_SPACE 1"]
    assert [c.text for c in rows[0].all("td")] == ["XNNPACK", "30.000", "60.0", "", "2.00"]
    assert "at least: 12 MB at 12 GB/s" in rows[1].text
    assert ["paper" in row.one("i").classes for row in rows] == [False, True]


def test_the_score_is_shown_with_its_inputs():
    section = page_of(entry("a", 30.0, 50.0)).section("score")
    assert "2^(2 PSNR) / (2^48 runtime in ms)" in section.text
    assert [words in section.text for words in (f"{2**12 / 50:.5g}", "30.000 dB", "50.00 ms: median")] == [True] * 3
    in_turns = page_of(complete()).section("score").text
    assert "51.00 ms: 1.020 times the reference model's 50.00 ms, by the backend words" in in_turns
    assert f"{2**12 / 51:.5g}" in in_turns


def noisy(name: str) -> Evaluation:
    ratio = Ratio(value=1.0, low=0.9, high=1.1, rounds=30, outliers=9)
    report = msgspec.structs.replace(latency(50.0), ratio=ratio, reference_ms=(50.0,))
    return entry(name, 30.0, runtime=(on(report),))


def test_a_noisy_timing_does_not_rank_and_says_so():
    page = index(noisy("a"), entry("b", 20.0, 50.0))
    assert [row[:2] for row in board(page)] == [["1", "Bb"], [MISSING, "Aa"]]
    assert cell(page, 1, "score").one("span", "alert").text == "too noisy to rank"
    assert "too noisy to rank: the ratio to the reference model" in page_of(noisy("a")).section("score").text


def test_each_further_backend_has_its_column_and_tells_estimates():
    guess = LatencyReport(
        backend="npu", precision="int8", device="d", how="estimated", estimate_ms=20.0, layers=LAYERS, layers_how="h"
    )
    several = entry("a", 30.0, runtime=(on(latency(50.0)), on(guess, refusals=("DEPTH_TO_SPACE is left to the CPU",))))
    page = index(several, entry("b", 29.0, 50.0))
    assert cell(page, 0, "runtime_on_npu").text == "20.0estimate, 20.0 by rule"
    assert cell(page, 1, "runtime_on_npu").text == MISSING
    assert "DEPTH_TO_SPACE is left to the CPU" in page_of(several).section("latency").text
    assert not index(entry("b", 29.0, 50.0)).all("td", "runtime_on_npu")


def test_columns_of_further_backends_stand_behind_the_runtimes():
    both = entry("a", 30.0, runtime=(on(latency(50.0)), on(latency(40.0, backend="npu:x/1")), on(latency(9.0))))
    ids = [column.id for column in board_columns(results(entry("b", 29.0, 50.0), both))]
    place = ids.index("runtime_fp32")
    (npu, cpu) = ids[place + 1 : place + 3]
    assert [*ids[: place + 1], *ids[place + 3 :]] == [column.id for column in COLUMNS]
    assert re.fullmatch(r"runtime_on_npu-x-1-[0-9a-f]{12}", npu)  # it is a class of the page, too
    assert cpu == "runtime_on_cpu"
    page = index(both)
    assert [cell(page, 0, npu).text, cell(page, 0, "runtime_int8").text] == ["40.0", "50.0"]
    assert [th.text for th in page.section("ranking").all("th", npu)] == ["npu:x/1ms"]


def test_a_backend_that_refused_all_is_told_without_a_figure():
    refused = entry("a", 30.0, runtime=(on(latency(50.0)), on(refusals=("it computes in float",))))
    assert cell(index(refused), 0, "runtime_on_npu").text == MISSING
    (told,) = page_of(refused).section("latency").all("p", "caution")
    assert told.text == "npu refused: it computes in float"


def test_it_is_told_by_backend_how_runtimes_were_taken():
    guess = LatencyReport(backend="npu", precision="int8", device="an NPU", how="estimated", estimate_ms=20.0)
    other = msgspec.structs.replace(latency(90.0), threads=1)  # it is on the entry's page, and not on the board
    page = index(entry("a", 30.0, runtime=(on(latency(50.0), other), on(guess))))
    text = " ".join(page.one("details", "protocol").text.split())
    assert "Runtime, cpuThis backend ranks. measured: made up, made up, 2 threads." in text
    assert "Runtime, npuShown beside it. An estimate;" in text
    assert "Score2^(2 PSNR) / (2^48 runtime in ms)" in text
    assert page.all("p", "caution") == []  # two backends are no mixture


def test_a_busy_machine_is_told_beside_the_ratio():
    page = index(noisy("a"), msgspec.structs.replace(complete("b"), check=checked("pass")))
    assert [cell(page, row, "ratio").text for row in (0, 1)] == ["1.020± 1.0 %", "1.000± 10.0 %"]
    assert [bool(cell(page, row, "ratio").all("span", "alert")) for row in (0, 1)] == [False, True]


def test_the_terminal_shows_what_the_board_does():
    guess = LatencyReport(backend="npu", precision="int8", device="d", how="estimated", estimate_ms=20.0)
    found = results(
        entry("slow", 31.0, 400.0), entry("fast", 30.0, runtime=(on(latency(50.0)), on(guess))), failed("gone")
    )
    lines = _board(found).splitlines()
    heads = lines[2].split()
    assert (heads[:3], heads[-2:]) == (["#", "submission", "score"], ["K", "passed"])
    assert "npu" in lines[1].split()
    assert [line.split()[:3] for line in lines[3:5]] == [
        ["1", "fast", f"{2**12 / 50:.5g}"], ["2", "slow", f"{2**14 / 400:.5g}"],
    ]  # fmt: skip
    assert lines[5] == "gone: FAILED at export (error): It did not work."


@pytest.mark.parametrize(("dequantised", "alert"), [(30.4, False), (30.6, True), (29.4, True), (30.0, False)])
def test_a_gap_between_raw_and_dequantised_is_flagged_beyond_half_a_decibel(dequantised, alert):
    page = index(entry("a", score=score(30.0, psnr_dequantised_db=dequantised)))
    assert bool(cell(page, 0, "gap").all("span", "alert")) == alert


def test_entries_are_told_with_their_gravest_finding():
    page = index(
        entry("warned", 31.0, findings=(finding("warning"),)), entry("fine", 30.0, findings=(finding("info"),)),
        entry("wrong", 29.0, findings=(finding("info"), finding("error"), finding("warning"))),
    )  # fmt: skip
    rows = page.section("troubles").one("tbody").all("tr")
    assert [row.one("th").one("a").text for row in rows] == ["WARNED", "WRONG"]  # as on the board
    assert [row.all("span", "status")[0].classes for row in rows] == [{"status", "warning"}, {"status", "error"}]
    assert ["and 1 more" in row.text for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("changes", "cautions"),
    [
        ({}, 0),
        ({"dataset": "Set14"}, 1),
        ({"shave": 4}, 1),
        ({"exact": False}, 1),
        ({"method": "overlapping tiles, exact inside"}, 0),
    ],
)
def test_scores_not_taken_alike_are_flagged(changes, cautions):
    other = entry("b", score=msgspec.structs.replace(score(), **changes))
    assert len(index(entry("a", 29.0), other).all("p", "caution")) == cautions


def test_runtimes_not_taken_alike_are_flagged():
    other = entry("b", 29.0, runtime=(on(latency(50.0, backend="phone")),))
    (caution,) = index(entry("a", 29.0, 50.0), other).all("p", "caution")
    assert "Runtimes were not all taken alike." in caution.text


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("2021-06-01T12:30:00+00:00", "2021-06-01 12:30 UTC"),
        ("2021-06-01T14:30:00+02:00", "2021-06-01 12:30 UTC"),
        ("yesterday", "yesterday"),
    ],
)
def test_the_moment_of_measuring_is_told_in_utc(created, shown):
    assert f"Measured{shown}" in index(created=created).one("header", "masthead").text


# The plot


def marks(page: Node, size: str = "wide") -> dict[str, tuple[float, float]]:
    """Where the INT8 point of each entry is, by its title."""
    found = {}
    for mark in page.one("svg", size).all("a", "mark"):
        point = mark.all("circle")[-1]
        found[mark.one("title").text.partition(":")[0]] = (float(point.attributes["cx"]), float(point.attributes["cy"]))
    return found


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_faster_is_left_and_better_is_up(size):
    found = marks(index(entry("slow", 31.0, 100.0), entry("mid", 30.0, 60.0), entry("fast", 28.0, 40.0)), size)
    (slow_x, slow_y), (mid_x, mid_y), (fast_x, fast_y) = found["SLOW"], found["MID"], found["FAST"]
    assert fast_x < mid_x < slow_x
    assert fast_y > mid_y > slow_y
    # Up to a factor of four in runtime both axes are linear.
    assert (slow_x - mid_x) / (mid_x - fast_x) == pytest.approx(2, abs=0.02)
    assert (mid_y - slow_y) / (fast_y - mid_y) == pytest.approx(0.5, abs=0.02)


def test_a_wide_range_of_runtimes_is_drawn_logarithmically():
    page = index(entry("a", 31.0, 1000.0), entry("b", 30.0, 100.0), entry("c", 28.0, 10.0))
    (a, _), (b, _), (c, _) = (marks(page)[name] for name in "ABC")
    assert a - b == pytest.approx(b - c, abs=0.2)
    assert "Runtime, ms, logarithmic" in page.one("svg", "wide").text


def test_all_that_is_drawn_lies_within_the_frame(site):
    for drawing in site[INDEX].all("svg", "plot"):
        _, _, width, height = map(float, drawing.attributes["viewbox"].split())
        for circle in drawing.all("circle"):
            assert 0 <= float(circle.attributes["cx"]) <= width
            assert 0 <= float(circle.attributes["cy"]) <= height


def test_the_front_names_what_no_other_entry_beats():
    page = index(
        entry("best", 31.0, 100.0), entry("beaten", 30.0, 120.0), entry("fast", 28.0, 40.0), entry("twin", 28.0, 41.0)
    )
    description = page.one("svg", "wide").one("desc").text
    assert "Entries: 4." in description
    assert re.findall(r"[A-Z]{4,}", description.partition("fastest first:")[2]) == ["FAST", "BEST"]


def test_what_cannot_be_drawn_is_named():
    page = index(
        entry("a", 30.0, 50.0), entry("untimed", 29.0), entry("unscored", None, 20.0), entry("zero", 28.0, 0.0)
    )
    assert set(marks(page)) == {"A"}
    assert "for want of a score or a runtime: UNSCORED, UNTIMED, ZERO." in " ".join(page.one("figcaption").text.split())


def test_without_points_there_is_no_plot():
    assert index(entry("a", 30.0), entry("b")).all("svg") == []


@pytest.mark.parametrize("count", [1, 2, 12])
def test_equal_points_do_not_break_the_plot(count):
    page = index(*(entry(f"entry{n}", 30.0, 50.0) for n in range(count)))
    assert len(page.one("svg", "wide").all("a", "mark")) == count


# File names

NAMES = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(["a", "A", "a_", ".", "..", "", "../../etc/passwd", "a/b", "a b", "a-b", "ß", "SS", "x" * 300]),
    ),
    min_size=1, max_size=8, unique=True,
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(names=NAMES)
def test_every_name_gets_a_page_of_its_own(names):
    pages = render(results(*(entry(name, 30.0) for name in names)))
    paths = list(entries(pages))
    assert len({str(path).casefold() for path in paths}) == len(names)
    for path in paths:
        assert re.fullmatch(r"entries/[A-Za-z0-9._-]+\.html", str(path))
        assert path.stem.strip(".")
        assert len(path.name) < 200
    linked = {node.attributes["href"] for node in parsed(pages[INDEX]).section("ranking").one("tbody").all("a")}
    assert linked == {str(path) for path in paths}


def test_plain_names_are_kept():
    assert {str(path) for path in entries(render(results(entry("abpn_v2.1-x"), failed("other"))))} == {
        "entries/abpn_v2.1-x.html", "entries/other.html",
    }  # fmt: skip


def test_names_that_a_file_system_confuses_get_different_pages():
    pages = render(results(entry("ABPN", 30.0), entry("abpn", 30.0)))
    assert len({str(path).casefold() for path in entries(pages)}) == 2


def test_a_name_may_look_like_the_page_of_another():
    """``a b`` is hashed; an entry may be called what it is hashed to."""
    (taken,) = (path.stem for path in entries(render(results(entry("a b")))))
    assert len(entries(render(results(entry("a b"), entry(taken))))) == 2
