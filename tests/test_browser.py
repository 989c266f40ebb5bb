"""The whole site in a real browser, from disk and from a server: what it shows, what can be done with it, and to whom.

That hostile text stays text is in ``test_page``, the picture viewer in ``test_render_gallery``.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from browser import chromium, complaints, needs_chromium, served, tab, until, write_site
from site_checks import parsed, target

pytestmark = needs_chromium

#: One page of every kind.
KINDS = (
    "index.html", "entries/abpn.html", "entries/lossy.html", "entries/broken.html", "compare.html", "history.html",
    "failure-modes.html", "studies/residual.html", "metanodes.html",
)  # fmt: skip
RANKED = ["abpn", "wide", "twin-a", "twin-b", "lossy", "plain", "unscored", "untimed"]
APART = 2  #: entries against a rule
PLOTTED = 8  #: entries with a PSNR and a runtime on the CPU
PAPER = 1032  #: pixels across A4 on its side, within the margins


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return write_site(tmp_path_factory.mktemp("whole").resolve())


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(running, site) -> Iterator[Any]:
    """A tab at 1280 by 900; whatever it complains of fails the test."""
    with tab(running, viewport={"width": 1280, "height": 900}) as opened:
        heard = complaints(opened, site.as_uri())
        yield opened
        assert heard == []


@pytest.fixture
def front(page, site) -> Any:
    """The front page."""
    page.goto((site / "index.html").as_uri())
    return page


def paths(site: Path) -> list[str]:
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


# Loading


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_every_page_loads_without_a_word_and_asks_for_nothing_else(running, site, scheme):
    with ExitStack() as stack:
        root = site.as_uri() + "/" if scheme == "file" else stack.enter_context(served(site))
        opened = stack.enter_context(tab(running, viewport={"width": 1280, "height": 900}))
        heard = complaints(opened, root)
        for path in paths(site):
            opened.goto(root + path)
            all_pictures(opened)
            assert heard == [], path


def all_pictures(page: Any) -> None:
    """Ask for those too that wait until they are near, and wait for them."""
    page.evaluate("for (const each of document.images) each.loading = 'eager'")
    until(page, lambda: page.evaluate("[...document.images].every((each) => each.complete && each.naturalWidth > 0)"))


def test_every_link_leads_to_a_file_and_a_place_that_there_is(site):
    trees = {PurePosixPath(path): parsed((site / path).read_text()) for path in paths(site)}
    assert set(map(PurePosixPath, KINDS)) < set(trees)
    found = 0
    for path, tree in trees.items():
        for node in tree.walk():
            for name in {"href", "src", "xlink:href"} & set(node.attributes):
                address = node.attributes[name]
                if address.startswith("data:"):
                    continue
                there, place = target(path, address)
                assert (site / there).is_file(), (path, address)
                assert not place or place in trees[there].ids, (path, address)
                found += 1
    assert found > 300


def test_no_page_has_a_parse_error(site):
    html5lib = pytest.importorskip("html5lib")
    for path in paths(site):
        text = (site / path).read_text(encoding="utf-8")
        # html5lib knows no <template>: a bare row in one is read in a table.
        text = re.sub(r"<template\b[^>]*>(\s*<tr.*?)</template>", r"<table>\1</table>", text, flags=re.DOTALL)
        try:
            html5lib.HTMLParser(strict=True).parse(text)
        except html5lib.html5parser.ParseError as error:
            raise AssertionError(f"{path}: {error}") from error


def test_scripts_and_styles_are_light(site):
    assert sum(path.stat().st_size for path in (site / "assets").rglob("*") if path.is_file()) < 10**6


# To whom: without script, by keyboard, by ear, in the dark, on a phone and on paper


def test_without_script_the_front_page_tells_all(running, site):
    with tab(running, java_script_enabled=False, viewport={"width": 1280, "height": 900}) as page:
        page.goto((site / "index.html").as_uri())
        assert slugs(page) == RANKED
        assert page.locator("#disqualified").is_visible()
        assert page.locator("ul.reasons li").count() == APART
        assert "found" in page.locator("ul.reasons").inner_text()
        failed = page.locator("section[aria-labelledby=failed] tbody tr")
        assert ["stopped it" in failed.first.inner_text(), "line of a trace" in failed.last.inner_text()] == [
            True,
            True,
        ]
        assert [svg.is_visible() for svg in page.locator(".still svg.wide").all()] == [True, True]
        hidden = ("#tools", "#pareto-tools", "#pareto")
        assert [page.locator(each).is_visible() for each in hidden] == [False, False, False]


def test_without_script_the_page_of_an_entry_tells_all(running, site):
    with tab(running, java_script_enabled=False, viewport={"width": 1280, "height": 900}) as page:
        page.goto((site / "entries/abpn.html").as_uri())
        headings = {heading.get_attribute("id") for heading in page.locator("h2:visible").all()}
        parts = {"figures", "findings", "score", "rules", "images", "gallery", "network", "quantisation", "latency"}
        assert parts | {"conversion", "training", "files"} <= headings
        pictures = page.locator("#window-1 .layer img")
        assert [picture.is_visible() for picture in pictures.all()] == [True] * 8  # of two differences each has two
        assert page.locator(".together, .viewer-controls").first.is_hidden()


def test_the_first_tab_skips_to_the_content(front):
    front.keyboard.press("Tab")
    skip = front.locator(".skip")
    assert skip.evaluate("(link) => link === document.activeElement")
    assert skip.bounding_box()["x"] >= 0
    front.keyboard.press("Enter")
    front.keyboard.press("Tab")
    assert front.evaluate("document.activeElement.closest('main') !== null && location.hash === '#content'")


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"), (390, "dark"), pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_axe_finds_nothing(running, site, path, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    viewport = {"width": width, "height": 900}
    with tab(running, bypass_csp=True, viewport=viewport, color_scheme=scheme) as page:
        page.goto((site / path).as_uri())
        assert violations(axe.run(page)) == []


def violations(result: Any) -> list[str]:
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]}"
        for each in result.response["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("path", KINDS)
def test_dark_is_another_page(running, site, path):
    colours = []
    with tab(running) as page:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.goto((site / path).as_uri())
            colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(18, 20, 22)"]


def test_nothing_is_wider_than_the_window(running, site):
    wide = {}
    with tab(running) as page:
        for path in paths(site):
            page.goto((site / path).as_uri())
            for width in (390, 768, 1280, 1920):
                page.set_viewport_size({"width": width, "height": 900})
                if page.evaluate("document.documentElement.scrollWidth") > width:
                    wide.setdefault(path, []).append(width)
    assert wide == {}


def test_on_paper_the_ranking_is_whole(front):
    front.emulate_media(media="print")
    front.set_viewport_size({"width": PAPER, "height": 700})
    scroll = front.locator(".scroll").first
    assert scroll.evaluate("(e) => getComputedStyle(e).overflowX") == "visible"
    assert scroll.evaluate("(e) => e.scrollWidth") <= PAPER
    assert front.locator("#tools").is_hidden()


# Sorting


def slugs(page: Any) -> list[str]:
    """Of the rows of the ranking that are seen, in order."""
    return page.eval_on_selector_all(
        "section[aria-labelledby=ranking] tbody tr[data-slug]", "(rows) => rows.map((row) => row.dataset.slug)"
    )


def figures(page: Any, column: str) -> list[float | None]:
    """Of a column of the ranking, in order."""
    texts = page.eval_on_selector_all(
        f"section[aria-labelledby=ranking] td.{column}", "(cells) => cells.map((cell) => cell.dataset.order)"
    )
    return [float(text) if text else None for text in texts]


def in_order(values: list[float | None], *, falling: bool) -> bool:
    """Whether they are, with all that are missing behind them."""
    known = [value for value in values if value is not None]
    return values == [*sorted(known, reverse=falling), *[None] * (len(values) - len(known))]


def head(page: Any, column: str) -> Any:
    return page.locator(f"section[aria-labelledby=ranking] th[data-id={column}]")


def sorts(page: Any, column: str, *, falling: bool) -> None:
    """Wait until the heading says so: what a click asks for is done a moment later."""
    until(page, lambda: head(page, column).get_attribute("aria-sort") == ("descending" if falling else "ascending"))


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(front):
    columns = front.eval_on_selector_all(
        "section[aria-labelledby=ranking] th[data-id]", "(all) => all.map((each) => each.dataset.id)"
    )
    assert len(columns) > 10
    for column in columns:
        falling = head(front, column).get_attribute("data-first") == "desc"
        for direction in (falling, not falling):
            head(front, column).click()
            sorts(front, column, falling=direction)
            assert in_order(figures(front, column), falling=direction), column
    assert None in figures(front, "runtime_on_npu")
    assert front.locator("[aria-sort]").count() == 1
    front.locator("#tools [type=reset]").click()
    assert slugs(front) == RANKED
    assert front.locator("[aria-sort]").count() == 0


def test_names_sort_too(front):
    heading = front.locator("section[aria-labelledby=ranking] th.entry").first
    heading.click()
    until(front, lambda: heading.get_attribute("aria-sort") == "ascending")
    titles = front.locator("section[aria-labelledby=ranking] tbody th.entry a").all_inner_texts()
    assert [title for title in titles if title.isascii()] == [
        "ABPN", "Lossy", "Twins: the first", "Twins: the second", "UNSCORED", "UNTIMED", "WIDE",
    ]  # fmt: skip


def test_enter_and_space_on_a_heading_sort(front):
    button = head(front, "psnr_fp32").get_by_role("button")
    assert button.get_attribute("aria-label").startswith("FP32, dB:")
    button.focus()
    for key, falling in (("Enter", True), ("Space", False)):
        front.keyboard.press(key)
        sorts(front, "psnr_fp32", falling=falling)
        assert in_order(figures(front, "psnr_fp32"), falling=falling)


def test_a_heading_over_several_columns_sorts_nothing(front):
    group = front.locator("section[aria-labelledby=ranking] th.group").nth(1)
    assert group.get_by_role("button").count() == 0
    group.click()
    front.wait_for_timeout(100)
    assert slugs(front) == RANKED
    assert front.locator("[aria-sort]").count() == 0


def test_images_of_an_entry_sort_and_their_mean_stays_last(page, site):
    page.goto((site / "entries/abpn.html").as_uri())
    table = page.locator("table.images")
    heading = table.locator("thead th.numeric").first
    heading.click()
    until(page, lambda: heading.get_attribute("aria-sort") == "descending")
    cells = table.locator("tbody td:nth-child(2)").all_inner_texts()
    assert cells == sorted(cells, reverse=True)
    assert len(cells) == 10
    assert table.locator("tr").last.inner_text().startswith("Mean")


# Filters


def said(page: Any) -> str:
    return page.locator("#shown").inner_text()


def plotted(page: Any) -> set[str]:
    """Slugs of the entries that the plot has points of."""
    links = page.eval_on_selector_all("#pareto a", "(all) => all.map((each) => each.href.baseVal)")
    return {PurePosixPath(link).stem for link in links}


def test_what_is_typed_filters_both_tables_and_the_plot(front):
    assert said(front) == "All 10 entries."
    assert len(plotted(front)) == PLOTTED
    front.locator("[name=q]").press_sequentially("TWINS")
    assert slugs(front) == ["twin-a", "twin-b"]
    assert plotted(front) == {"twin-a", "twin-b"}
    assert front.locator("table.apart tr[data-slug]").count() == 0
    assert said(front) == "2 of 10 entries."
    front.locator("[name=q]").fill("float")
    assert (slugs(front), plotted(front)) == ([], {"float"})
    assert said(front) == "1 of 10 entries."
    front.locator("[name=q]").fill("no such thing")
    assert (slugs(front), plotted(front), said(front)) == ([], set(), "0 of 10 entries.")
    front.locator("[name=q]").fill("")
    assert (slugs(front), said(front)) == (RANKED, "All 10 entries.")


def test_formats_and_soundness_filter_together(front):
    front.locator("[name=kind]").select_option("tflite")
    assert (slugs(front), said(front)) == (["plain"], "2 of 10 entries.")
    front.locator("[name=kind]").select_option("torch")
    assert slugs(front) == ["abpn", "lossy", "unscored", "untimed"]
    front.locator("[name=sound]").check()
    assert slugs(front) == ["abpn", "unscored", "untimed"]
    assert said(front) == "3 of 10 entries."


# Columns


def over(page: Any, group: str) -> int:
    """How many columns a group's heading stands over; 0 without one."""
    heading = page.locator("section[aria-labelledby=ranking] th.group", has_text=group)
    return int(heading.get_attribute("colspan")) if heading.count() else 0


def box(page: Any, column: str) -> Any:
    return page.locator(f"#tools [name=column][value={column}]")


def test_a_column_that_is_switched_off_goes_with_its_cells(front):
    front.locator("details.columns summary").click()
    before = over(front, "Fidelity")
    box(front, "psnr_fp32").uncheck()
    assert front.locator("th[data-id=psnr_fp32], td.psnr_fp32").count() == 0
    assert over(front, "Fidelity") == before - 1
    box(front, "psnr_fp32").check()
    assert front.locator("th[data-id=psnr_fp32]").count() == 2
    assert front.locator("td.psnr_fp32").count() == len(RANKED) + APART
    assert over(front, "Fidelity") == before


def test_a_column_that_is_off_at_first_can_be_shown(front):
    front.locator("details.columns summary").click()
    off = front.locator("#tools [name=column]:not(:checked)").evaluate_all("(all) => all.map((each) => each.value)")
    assert off
    for column in off:
        assert front.locator(f"td.{column}").count() == 0
        box(front, column).check()
        assert front.locator(f"td.{column}:visible").count() == len(RANKED) + APART


def test_a_group_without_columns_goes_and_comes_back(front):
    front.locator("details.columns summary").click()
    for column in ("rules", "findings"):
        box(front, column).uncheck()
    assert over(front, "Checks") == 0
    across = "(row) => [...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0)"
    tables = front.eval_on_selector_all("table.board", f"(all) => all.map((each) => [...each.rows].map({across}))")
    for first, second, *rows in tables:
        assert {first, *rows} == {first}
        assert second < first  # the heads that stand in two rows
    box(front, "findings").check()
    assert over(front, "Checks") == 1


# The address


def address(page: Any) -> str:
    return page.evaluate("location.hash")


def state(page: Any) -> list[Any]:
    """All that a reader sees of what was chosen."""
    columns = page.eval_on_selector_all("th[data-id]", "(all) => all.map((e) => `${e.dataset.id} ${e.ariaSort}`)")
    backend = page.eval_on_selector_all("[name=backend]:checked", "(all) => all.map((e) => e.value)")
    return [slugs(page), said(page), columns, plotted(page), backend]


def test_what_was_chosen_is_in_the_address_and_comes_back_from_it(front, running, site):
    at_first = state(front)
    front.locator("details.columns summary").click()
    box(front, "psnr_fp32").uncheck()
    box(front, "macs").uncheck()
    front.locator("details.columns summary").click()
    front.locator("[name=q]").fill("t")
    front.locator("[name=kind]").select_option("onnx")
    front.locator("[name=sound]").check()
    for falling in (True, False):
        head(front, "score").click()
        sorts(front, "score", falling=falling)
    front.locator("[name=backend][value=npu]").check()
    front.locator("[name=best]").check()
    chosen = state(front)
    assert chosen != at_first
    with tab(running, viewport={"width": 1280, "height": 900}) as other:
        heard = complaints(other, site.as_uri())
        other.goto(front.url)
        assert state(other) == chosen
        assert address(other) == address(front)
        assert other.locator("[name=q]").input_value() == "t"
        assert other.locator("[name=best]").is_checked()
        other.locator("#tools [type=reset]").click()
        assert state(other) == at_first
        assert address(other) == ""
        assert heard == []


NOTHING = (
    "sort=nothing:asc", "sort=score", "sort=score:up", "sort=%0A[:asc", "sort=:asc", "sort=*:desc", "kind=nothing",
    "switched=,x,__proto__", "backend=nothing", "backend=", "=", "a=b=c&&&=", "%E0%A4%A=%", "q=",
)  # fmt: skip


def test_an_address_that_says_nothing_does_no_harm(front, site):
    at_first = state(front)
    for words in NOTHING:
        front.goto("about:blank")
        front.goto((site / "index.html").as_uri() + "#" + words)
        assert state(front) == at_first, words


def test_another_address_is_followed_without_loading_anew(front):
    front.evaluate("location.hash = 'q=twin'")
    until(front, lambda: slugs(front) == ["twin-a", "twin-b"])
    front.go_back()
    until(front, lambda: address(front) == "")


def test_places_in_the_page_still_work(front, site):
    front.locator("[name=q]").fill("twin")
    front.locator("caption a[href='#columns']").click()
    assert address(front) == "#columns"
    assert front.locator("#columns").evaluate("(e) => Math.abs(e.getBoundingClientRect().top) < innerHeight")
    assert slugs(front) == ["twin-a", "twin-b"]
    front.goto("about:blank")
    front.goto((site / "index.html").as_uri() + "#disqualified")
    assert (address(front), slugs(front)) == ("#disqualified", RANKED)
    assert front.evaluate("scrollY") > 300


# The plot


def points(page: Any) -> dict[str, float]:
    """By slug where the points of INT8 are, from the left."""
    found = page.eval_on_selector_all(
        "#pareto a:has(> :not(text))",
        "(all) => all.map((each) => [each.href.baseVal, each.firstElementChild.getBoundingClientRect().x])",
    )
    return {PurePosixPath(link).stem: x for link, x in found}


def test_each_backend_has_points_of_its_own(front):
    cpu = points(front)
    assert set(cpu) == plotted(front)
    front.locator("[name=backend][value=npu]").check()
    npu = points(front)
    assert set(npu) < set(cpu)
    assert "twin-b" not in npu
    assert all(abs(npu[slug] - cpu[slug]) > 1 for slug in npu if slug != min(npu, key=npu.__getitem__))
    front.locator("[name=backend][value=cpu]").check()
    assert points(front) == cpu


def test_points_lead_to_their_entries(front, site):
    front.locator("#pareto a[*|href='entries/wide.html']").first.click()
    front.wait_for_url((site / "entries/wide.html").as_uri())


def test_the_front_and_the_float_networks_are_drawn(front):
    line = front.locator("#pareto g[stroke-opacity='0.5'] path")
    assert line.count() == 1
    assert line.get_attribute("d").count("L") + line.get_attribute("d").count("H") >= 2
    hollow = front.locator("#pareto svg > g circle")
    fills = front.eval_on_selector_all(
        "#pareto svg > g > circle", "(all) => all.map((each) => getComputedStyle(each).fill)"
    )
    assert set(fills) == {"rgb(255, 255, 255)"}
    before = hollow.count()
    front.locator("[name=fp32]").uncheck()
    assert hollow.count() == before - len(fills)


def test_only_what_is_near_the_front_stays_if_wanted(front):
    front.locator("[name=best]").check()
    assert "twin-a" in plotted(front)
    assert plotted(front) < set(RANKED) | {"float", "x" * 80}


def test_labels_stay_inside_the_plot(page, site):
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto((site / "index.html").as_uri())
        right = page.eval_on_selector_all("#pareto text", "(all) => all.map((e) => e.getBoundingClientRect().right)")
        assert max(right) <= width, width
        left = page.eval_on_selector_all("#pareto text", "(all) => all.map((e) => e.getBoundingClientRect().left)")
        assert min(left) >= 0, width


def test_the_picture_that_stands_still_is_for_paper(front):
    assert (front.locator(".still").is_visible(), front.locator("#pareto").is_visible()) == (False, True)
    front.emulate_media(media="print")
    assert (front.locator(".still").is_visible(), front.locator("#pareto").is_visible()) == (True, False)
    assert all(len(path.get_attribute("d")) > 20 for path in front.locator(".still path.front").all())
