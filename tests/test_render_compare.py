"""The page that compares two entries: the statistics, the page as it stands, and what its script makes of it."""

import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_render import entry, failed, latency, on, parsed, results, score

from mai_harness.metrics import FIGURES
from mai_harness.records import Evaluation, ImageScore, Results
from mai_harness.render import assets
from mai_harness.render.board import board
from mai_harness.render.columns import BY_ID, COLUMNS, MISSING, board_columns, number
from mai_harness.render.page import Link, groups_of, page
from mai_harness.render.paired import MEASURES, compare, pair, paired

HOSTILE = "</script><script>console.error(1)</script><img src=x onerror=console.error(2)>&<!--"
NAMES = tuple(f"{801 + i:04}" for i in range(12))


def measured(name: str, shift: float, seed: int, names: tuple[str, ...] = NAMES, **more: Any) -> Evaluation:
    """An entry whose figures differ from image to image."""
    noise = np.random.default_rng(seed)
    images = tuple(
        ImageScore(
            name=image,
            figures={
                f.key: float(28 + i % 5 + shift + noise.normal(0, 0.2))
                if f.metric.unit
                else float(noise.uniform(0.8, 1))
                for f in FIGURES
                if f.reading != "mended"
            },
        )
        for i, image in enumerate(names)
    )
    taken = msgspec.structs.replace(score(), images=images, **more.pop("scored", {}))
    return entry(name, score=taken, runtime=(on(latency(40.0 - shift)),), **more)


def context(made: Results) -> dict[str, Any]:
    return compare(board(made), board_columns(made))


def written(made: Results) -> str:
    columns = board_columns(made)
    shared = {
        "results": made, "columns": columns, "groups": groups_of(columns), "column": BY_ID,
        "nav": [Link("compare.html", "Compare")],
    }  # fmt: skip
    (text,) = page("compare.html", "compare.html", **context(made), **shared).values()
    return text


def several() -> Results:
    others = ("a", "b", "c")
    return results(
        measured("best", 1.0, 1), measured("next", 0.9, 2, title=HOSTILE), measured("third", 0.1, 3),
        measured("shaved", 0.5, 4, scored={"shave": 3}), measured("elsewhere", 0.5, 5, others), failed("broken"),
    )  # fmt: skip


# Statistics


@given(st.integers(2, 60), st.integers(0, 10**6), st.floats(-2, 2))
def test_the_interval_is_that_of_scipy(n, seed, shift):
    noise = np.random.default_rng(seed)
    a = noise.normal(30, 3, n)
    b = a + noise.normal(shift, 0.5, n)
    found = paired(list(a), list(b))
    assert found is not None
    low, high = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert found.mean == pytest.approx(np.mean(b - a))
    assert found.deviation == pytest.approx(np.std(b - a, ddof=1))
    assert found.verdict == ("not shown" if low <= 0 <= high else "real")
    assert found.n == n == found.higher + found.lower + found.equal


def test_differences_that_are_all_alike_have_no_width():
    found = paired([1.0, 2.0, 3.0], [1.5, 2.5, 3.5])
    assert found is not None
    assert (found.low, found.mean, found.high, found.deviation) == (0.5, 0.5, 0.5, 0.0)
    assert (found.higher, found.lower, found.equal, found.verdict) == (3, 0, 0, "real")


def test_no_difference_is_not_shown():
    found = paired([1.0, 2.0], [1.0, 2.0])
    assert found is not None
    assert (found.low, found.high, found.equal, found.verdict) == (0.0, 0.0, 2, "not shown")


def test_one_image_is_no_sample():
    assert paired([], []) is paired([1.0], [2.0]) is None
    with pytest.raises(ValueError, match="zip"):
        paired([1.0, 2.0], [1.0])


# Pairs


def pair_of(a: Evaluation, b: Evaluation, measure: str = "psnr_raw_db"):
    made = results(a, b)
    rows = {row.evaluation.name: row for row in board(made)}
    (chosen,) = (m for m in MEASURES if m.key == measure)
    return pair(rows[a.name], rows[b.name], board_columns(made), chosen)


def test_who_is_better_follows_from_the_figure():
    better, worse = measured("better", 1.0, 1), measured("worse", 0.0, 2)
    assert (pair_of(worse, better).state, pair_of(worse, better).better) == ("up", "b")
    assert (pair_of(better, worse).state, pair_of(better, worse).better) == ("down", "a")
    lossy = msgspec.structs.replace(worse, score=_raw_shifted(worse, -1.0))
    assert pair_of(better, lossy, "drop_db").state == "up"
    assert pair_of(better, lossy, "drop_db").better == "a"


def _raw_shifted(evaluation: Evaluation, shift: float):
    images = tuple(
        msgspec.structs.replace(i, figures=i.figures | {"psnr_raw_db": i.figures["psnr_raw_db"] + shift})
        for i in evaluation.score.images
    )
    return msgspec.structs.replace(evaluation.score, images=images)


def test_lines_have_signed_differences_and_mark_the_better():
    found = pair_of(entry("a", 30.0, 50.0), entry("b", 30.5, 60.0))
    lines = {line.column.id: line for line in found.lines}
    assert (number(lines["psnr_raw"].difference, "+z.2f"), lines["psnr_raw"].better) == ("+0.50", "b")
    assert (number(lines["runtime_int8"].difference, "+z.1f"), lines["runtime_int8"].better) == ("+10.0", "a")
    assert lines["gap"].better is None
    assert lines["ssim_raw"].better is None
    assert lines["macs"].difference is None


@pytest.mark.parametrize(
    "other",
    [
        measured("b", 0.5, 2, scored={"shave": 3}),
        measured("b", 0.5, 2, scored={"dataset_fingerprint": "e" * 64}),
        measured("b", 0.5, 2, NAMES[:-1]),
    ],
    ids=["shave", "data set", "images"],
)
def test_what_was_scored_on_other_pixels_is_not_compared(other):
    found = pair_of(measured("a", 0.0, 1), other)
    assert (found.state, found.found, found.plot) == ("apart", None, None)
    for line in found.lines:
        assert (line.difference is None) >= (line.column.group in {"Challenge", "Fidelity"})
    assert next(line for line in found.lines if line.column.id == "runtime_int8").difference is not None


def test_runtimes_that_were_taken_otherwise_are_not_subtracted():
    slow = msgspec.structs.replace(latency(90.0), device="another")
    found = pair_of(measured("a", 0.0, 1), msgspec.structs.replace(measured("b", 0.5, 2), runtime=(on(slow),)))
    lines = {line.column.id: line.difference for line in found.lines}
    assert not found.alike
    assert lines["score"] is lines["runtime_int8"] is None
    assert lines["psnr_raw"] is not None


def test_images_without_the_figure_are_left_out():
    a, b = measured("a", 0.0, 1), measured("b", 0.5, 2)
    gone = msgspec.structs.replace(b.score.images[0], figures=b.score.images[0].figures | {"psnr_raw_db": None})
    b = msgspec.structs.replace(b, score=msgspec.structs.replace(b.score, images=(gone, *b.score.images[1:])))
    found = pair_of(a, b)
    assert (found.found.n, found.left_out, len(found.plot.marks)) == (11, 1, 11)
    assert pair_of(a, b, "psnr_mended_db").state == "few"


def test_the_plot_is_sorted_and_stays_on_its_axes():
    plot = pair_of(measured("a", 0.0, 1), measured("b", 0.1, 2)).plot
    differences = [mark.difference for mark in plot.marks]
    assert differences == sorted(differences, reverse=True)
    for mark in [*plot.marks, plot.mean]:
        assert 0 <= min(mark.at_a, mark.at_b) <= max(mark.at_a, mark.at_b) <= 100
        assert (mark.apart.middle > plot.differences.zero) == (mark.difference > 0)
        assert 0 <= mark.apart.left <= mark.apart.left + mark.apart.width <= 100


def test_each_is_held_against_the_nearest_above_it_on_its_images():
    made = several()
    ladder = {rung.row.evaluation.name: rung for rung in context(made)["ladder"]}
    above = {name: rung.above.evaluation.name if rung.above else None for name, rung in ladder.items()}
    assert above == {
        "best": None, "next": "best", "third": "next", "shaved": None, "elsewhere": None, "broken": None,
    }  # fmt: skip
    assert ladder["third"].state == "down"
    assert ladder["broken"].state == "unscored"
    assert ladder["shaved"].state is None


def test_a_broken_entry_does_not_squeeze_the_axis():
    made = results(*(measured(f"n{i}", 5 - i / 20 - 20 * (i == 9), i) for i in range(10)))
    rungs = context(made)["ladder"]
    assert [rung.span.beyond for rung in rungs if rung.span] == [""] * 8 + ["low"]


# The page


def test_the_page_stands_without_its_script():
    made = several()
    text = written(made)
    tree = parsed(text)
    for evaluation in made.submissions:
        assert evaluation.title in tree.section("ladder").text
    for column in COLUMNS:
        assert column.heading in tree.section("pair").text
    assert len(next(n for n in tree.all("table") if n.attributes.get("id") == "images").one("tbody").all("tr")) == 12
    assert "stopped at export" in tree.section("ladder").text
    assert "sample of images like these" in tree.text
    assert "other kinds of images" in tree.text


def test_titles_stay_text():
    text = written(several())
    tree = parsed(text)
    assert not tree.all("img")
    assert [node.attributes.get("type") for node in tree.all("script")] == [None, "application/json"]
    assert tree.text.count(HOSTILE) >= 3
    for node in tree.walk():
        assert re.fullmatch(r"[a-z0-9-]*", node.attributes.get("id", ""))
        assert not [name for name in node.attributes if name.startswith("on")]


def test_the_data_are_whole_and_small():
    made = several()
    (block,) = (n for n in parsed(written(made)).all("script") if n.attributes.get("id") == "data")
    data = json.loads(block.text)
    assert [each["title"] for each in data["entries"]][1] == HOSTILE
    assert data["t"] == [pytest.approx(stats.t.ppf(0.975, n - 1), abs=1e-6) for n in range(2, 13)]
    assert {len(each["figures"]) for each in data["entries"]} == {len(data["columns"])}
    assert data["entries"][-1]["images"] == {}
    for values in data["entries"][0]["images"].values():
        assert all(value is None or len(str(value)) <= 8 for value in values)


def test_every_form_is_one_that_the_script_can_write():
    for form in [column.form for column in board_columns(several())] + [measure.form for measure in MEASURES]:
        assert re.fullmatch(r"z?,?\.\d+[fg]", form)


@pytest.mark.parametrize("count", [0, 1])
def test_a_comparison_takes_two(count):
    tree = parsed(written(results(*[entry("alone", 30.0, 50.0)][:count])))
    assert "A comparison takes two." in tree.text
    assert not [n for n in tree.all("script") if n.attributes.get("type")]


def test_two_without_a_score_are_told():
    tree = parsed(written(results(failed("a"), entry("b"))))
    assert "Not compared image by image." in tree.section("pair").text
    assert MISSING in tree.section("pair").text


# The script, in a browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium on PATH")
    flags = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for relative, source in assets().items():
        if PurePosixPath("assets/vendor") not in relative.parents:
            (folder / relative).parent.mkdir(exist_ok=True)
            shutil.copy(source, folder / relative)
    (folder / "compare.html").write_text(written(several()))
    return folder


@pytest.fixture
def show(browser, site):
    """Opens the page at a fragment; what it complains of fails the test."""
    complaints: list[str] = []
    tab = browser.new_page()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))

    def at(fragment: str = ""):
        tab.goto(f"{(site / 'compare.html').as_uri()}{fragment}")
        return tab

    yield at
    tab.close()
    assert complaints == []


SNAPSHOT = """() => [...document.querySelectorAll("#comparison *")].filter((e) => e.checkVisibility()).map((e) => [
  e.tagName, e.className, e.style.left, e.style.width, e.style.getPropertyValue("--zero"), e.getAttribute("href"),
  e.children.length ? "" : e.textContent])"""


def test_the_script_makes_what_the_page_began_with(browser, site, show):
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto((site / "compare.html").as_uri())
    static = plain.evaluate(SNAPSHOT)
    assert len(static) > 300
    assert static == show().evaluate(SNAPSHOT)
    assert plain.locator("#controls").is_hidden()
    plain.context.close()


def filled(tab, name: str) -> float:
    text = tab.locator(f"[data-fill={name}]").first.text_content()
    return float(text.replace("\N{MINUS SIGN}", "-"))


@pytest.mark.parametrize("measure", ["psnr_raw_db", "ssim_fp32", "drop_db"])
def test_a_deep_link_shows_its_pair_as_python_would(show, measure):
    tab = show(f"#a=third&b=best&metric={measure}")
    assert tab.locator("#entry-a option:checked").text_content() == "THIRD (third)"
    assert tab.locator("#entry-b option:checked").text_content() == "BEST (best)"
    by_name = {e.name: e for e in several().submissions}
    expected = pair_of(by_name["third"], by_name["best"], measure)
    for key in ("mean", "low", "high"):
        assert filled(tab, key) == pytest.approx(getattr(expected.found, key), abs=6e-4)
    assert tab.locator("#outcome > p:visible").first.get_attribute("data-state") in {"up down", "unshown"}
    for line in expected.lines:
        row = tab.locator("#figures [data-line]").nth(expected.lines.index(line))
        assert row.locator(".difference").text_content() == number(line.difference, "+" + line.column.form)
        assert row.locator(".best").count() == (line.better is not None)
    ticks = tab.locator("#images .ticks").nth(1).locator("span").all_text_contents()
    assert ticks == [text for _, text in expected.plot.differences.ticks]


def test_a_change_is_shown_and_told_in_the_address(show):
    tab = show()
    before = filled(tab, "mean")
    tab.locator("#entry-b").select_option(label="THIRD (third)")
    tab.wait_for_function("location.hash.includes('b=third')")
    tab.wait_for_function(f"!document.querySelector('[data-fill=mean]').textContent.includes('{abs(before):.3f}')")
    assert tab.locator("#figures [data-link=b]").get_attribute("href") == "entries/third.html"
    tab.locator("#measure").select_option(label="SSIM INT8 raw")
    tab.wait_for_function("location.hash.endsWith('metric=ssim_raw')")
    assert "SSIM INT8 raw" in tab.locator("#images caption").text_content()
    tab.go_back()
    tab.wait_for_function("document.querySelector('#images caption').textContent.includes('PSNR INT8 raw')")


def test_swapping_turns_the_difference_round(show):
    tab = show("#a=best&b=third")
    mean, low, high = (filled(tab, key) for key in ("mean", "low", "high"))
    tab.locator("#swap").click()
    tab.wait_for_function("location.hash.startsWith('#a=third&b=best')")
    tab.wait_for_function("document.querySelector('#entry-a option:checked').textContent.includes('third')")
    assert (filled(tab, "mean"), filled(tab, "low"), filled(tab, "high")) == (-mean, -high, -low)


def test_what_the_address_does_not_know_is_told(show):
    tab = show("#a=best&b=%3Cimg%20src%3Dx%3E&metric=__proto__")
    assert tab.locator("#unknown").is_visible()
    assert "b=<img src=x>, metric=__proto__" in tab.locator("#unknown").text_content()
    assert tab.locator("#entry-a option:checked").text_content() == "BEST (best)"
    tab.evaluate("location.hash = '#a=third'")
    tab.locator("#unknown").wait_for(state="hidden")


@pytest.mark.parametrize(
    ("fragment", "state"),
    [("#a=best&b=shaved", "apart"), ("#a=best&b=broken", "unscored"), ("#a=best&b=best", "same")],
)
def test_what_cannot_be_compared_is_told(show, fragment, state):
    tab = show(fragment)
    assert tab.locator("#outcome > p:visible").first.get_attribute("data-state") == state
    assert tab.locator("#paired").is_hidden()
    differences = tab.locator('#figures [data-line="1"] .difference').text_content()
    assert differences == ("+0.00" if state == "same" else MISSING)


def test_a_row_of_the_ladder_leads_to_its_pair(show):
    tab = show()
    tab.locator("#rungs .pick").nth(1).click()
    tab.wait_for_function("location.hash.startsWith('#a=next&b=third')")
    assert tab.locator("#entry-b option:checked").text_content() == "THIRD (third)"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(show, width):
    tab = show()
    tab.set_viewport_size({"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
