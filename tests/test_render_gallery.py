"""The picture viewer: what it shows, its HTML, and, where there is a browser, what its script does."""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from site_checks import Node, parsed

import mai_harness
from mai_harness.records import GalleryReport, Window
from mai_harness.render.gallery import shown
from mai_harness.render.page import _environment

ASSETS = Path(mai_harness.__file__).parent / "assets"
HOSTILE = '"><script>console.error(1)</script><img src=x onerror=console.error(2)>'
SIDE = 60
PAGE = """{% extends "base.html" %}
{% from "gallery.html" import gallery with context %}
{% block scripts %}
<link rel="stylesheet" href="{{ root }}assets/viewer.css">
<script defer src="{{ root }}assets/vendor/panzoom.min.js"></script>
<script defer src="{{ root }}assets/viewer.js"></script>
{% endblock %}
{% block main %}{{ gallery(shown) }}{% endblock %}
"""


def window(found: Any = "image", image: str = "0801.png", without: tuple[str, ...] = (), **changes: Any) -> Window:
    keys = [key for key in ("hr", "raw", "fp32", "lr") if key not in without]
    decibels = {"raw": 29.0, "fp32": 31.5, "lr": 27.0}
    made = {
        "image": image, "top": 30, "left": 60, "height": SIDE, "width": SIDE, "found": found,
        "pictures": {key: f"{key}.webp" for key in keys},
        "psnr": {key: decibels[key] for key in keys if key != "hr"},
    }  # fmt: skip
    return Window(**made | changes)


def html(*windows: Window) -> str:
    results = {"harness_version": "0", "created": "2026-01-01T00:00:00+00:00"}
    gallery = shown(GalleryReport(windows=windows))
    return _environment().from_string(PAGE).render(
        shown=gallery, root="../", here="entries/x.html", nav=[], results=results
    )  # fmt: skip


def figures(page: Node) -> list[Node]:
    return page.all("figure", "window")


def names(figure: Node) -> list[str]:
    return [" ".join(each.one("figcaption").text.split()) for each in figure.all("figure", "layer")]


# What is shown


@pytest.mark.parametrize("report", [None, GalleryReport(windows=()), GalleryReport(windows=(window(pictures={}),))])
def test_without_pictures_there_is_nothing(report):
    assert shown(report) is None
    page = _environment().from_string('{% from "gallery.html" import gallery with context %}{{ gallery(shown) }}')
    assert page.render(shown=shown(report), root="").strip() == ""


def test_the_worst_places_come_first_and_keep_their_order():
    kinds = ("image", "error", "image", "gap", "error")
    gallery = shown(GalleryReport(windows=tuple(window(kind, f"{n}") for n, kind in enumerate(kinds))))
    assert gallery is not None
    assert [(view.number, view.window.image) for view in gallery.worst] == [(1, "1"), (2, "3"), (3, "4")]
    assert [(view.number, view.window.image) for view in gallery.parts] == [(4, "0"), (5, "2")]


@pytest.mark.parametrize(
    ("without", "layers", "sides"),
    [
        ((), ["lr", "fp32", "raw", "hr", "error", "gap"], ("fp32", "raw")),
        (("fp32",), ["lr", "raw", "hr", "error"], ("hr", "raw")),
        (("hr",), ["lr", "fp32", "raw", "gap"], ("fp32", "raw")),
        (("raw",), ["lr", "fp32", "hr"], ("fp32", "hr")),
        (("raw", "fp32", "lr"), ["hr"], ("", "hr")),
    ],
)
def test_a_form_that_is_missing_is_left_out(without, layers, sides):
    gallery = shown(GalleryReport(windows=(window(without=without),)))
    assert gallery is not None
    (view,) = gallery.parts
    assert [layer.key for layer in view.layers] == layers
    assert (view.left, view.right) == sides


def test_what_int8_lost_is_told_where_both_are_known():
    views = shown(GalleryReport(windows=(window(), window(without=("fp32",)), window(psnr={"raw": 30, "fp32": None}))))
    assert views is not None
    assert [view.lost_db for view in views.parts] == [2.5, None, None]


# The page without script


def test_each_picture_is_named_measured_and_lazy():
    (figure,) = figures(parsed(html(window("gap", without=("lr",), psnr={"raw": 29.0, "fp32": None}))))
    assert names(figure) == [
        "FP32 same as HR", "INT8 29.00 dB", "HR original", "Error of INT8 8 times brighter",
        "FP32 against INT8 32 times brighter",
    ]  # fmt: skip
    pictures = figure.all("img")
    assert [p.attributes["alt"] for p in pictures[:3]] == [
        f"{name}: 0801.png, row 30, column 60, 60 × 60 pixels" for name in ("FP32", "INT8", "HR")
    ]
    for picture in pictures:
        assert picture.attributes["loading"] == "lazy"
        assert (picture.attributes["width"], picture.attributes["height"]) == (str(SIDE), str(SIDE))
        assert re.fullmatch(r"\.\./pictures/\w+\.webp", picture.attributes["src"])
    assert "Largest gap between FP32 and INT8" in figure.one("p").text


def test_a_difference_is_of_two_pictures_and_read_as_one():
    error, gap = figures(parsed(html(window())))[0].all("div", "difference")
    for difference, pair in ((error, ("hr", "raw")), (gap, ("fp32", "raw"))):
        assert [p.attributes["src"] for p in difference.all("img")] == [f"../pictures/{key}.webp" for key in pair]
        assert [p.attributes["alt"] for p in difference.all("img")] == ["", ""]
    assert (error.attributes["role"], gap.attributes["role"]) == ("img", "img")
    assert error.attributes["aria-label"].startswith("Error of INT8: 0801.png")


def test_windows_have_sections_and_addresses():
    page = parsed(html(window(image="b"), window("error", image="a")))
    assert [figure.attributes["id"] for figure in figures(page)] == ["window-1", "window-2"]
    assert [figure.one("h4").text for figure in figures(page.section("worst"))] == ["a"]
    assert [figure.one("h4").text for figure in figures(page.section("parts"))] == ["b"]


@pytest.mark.parametrize(
    ("fp32", "words"), [(31.5, "2.50 dB below"), (28.0, "1.00 dB above"), (29.0, "INT8 is as good as FP32")]
)
def test_int8_is_told_beside_fp32(fp32, words):
    (figure,) = figures(parsed(html(window(psnr={"raw": 29.0, "fp32": fp32}))))
    assert words in figure.one("p").text


def test_hostile_names_are_text():
    page = parsed(html(window("error", HOSTILE, pictures={"hr": HOSTILE, "fp32": "../a.webp", "raw": "a.webp"})))
    (figure,) = figures(page)
    assert figure.one("h4").text == HOSTILE
    assert [p.attributes["src"] for p in page.all("img")] == ["../pictures/a.webp"]
    assert all(set(p.attributes) == {"src", "width", "height", "loading", "decoding", "alt"} for p in page.all("img"))
    assert all(script.attributes.get("src") for script in page.all("script"))


# The page with script


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ASSETS, folder / "assets")
    (folder / "pictures").mkdir()
    (folder / "entries").mkdir()
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE))[..., None] * (1, 1, 0)
    for step, key in enumerate(("hr", "raw", "fp32", "lr")):
        file = io.BytesIO()
        Image.fromarray(np.add(ramp, (0, 0, 10 * step)).astype(np.uint8)).save(file, "WEBP", lossless=True, exact=True)
        (folder / "pictures" / f"{key}.webp").write_bytes(file.getvalue())
    page = folder / "entries" / "x.html"
    windows = (window("gap"), window("error", HOSTILE), *(window() for _ in range(8)), window(without=("fp32",)))
    page.write_text(html(*windows), encoding="utf-8")
    return page.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium on PATH")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]
        made = driver.chromium.launch(executable_path=path, args=flags)
        yield made
        made.close()


@pytest.fixture
def page(browser, address) -> Iterator[Any]:
    """The page at 1280 by 900; whatever it complains of fails the test."""
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    made.on("console", lambda message: complaints.append(message.text))
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.set_default_timeout(5000)
    made.goto(address)
    made.wait_for_selector("#window-1 [data-do=in]")
    yield made
    made.close()
    assert complaints == []


def transforms(page: Any, number: int = 1) -> list[str]:
    """Of all layers of a window, once two frames have been drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    return page.eval_on_selector_all(
        f"#window-{number} .sheet", "(all) => all.map((each) => getComputedStyle(each).transform)"
    )


def style(page: Any, selector: str, name: str) -> str:
    return page.eval_on_selector(selector, f"(e) => getComputedStyle(e).getPropertyValue('{name}')")


def until(page: Any, is_so: Callable[[], bool]) -> None:
    """Wait; Playwright's own ``wait_for_function`` evaluates text, which the page's policy forbids."""
    for _ in range(100):
        if is_so():
            return
        page.wait_for_timeout(30)
    raise AssertionError("it did not come about in 3 s")


def scaled(factor: float, x: float = 0, y: float = 0) -> list[str]:
    return [f"matrix({factor:g}, 0, 0, {factor:g}, {x:g}, {y:g})"] * 6


def test_the_slider_moves_the_line_between_the_pictures(page):
    assert style(page, "#window-1 .left", "clip-path") == "inset(0px 50% 0px 0px)"
    page.locator("#window-1 input[type=range]").focus()
    page.keyboard.press("End")
    assert style(page, "#window-1 .left", "clip-path") == "inset(0px 0% 0px 0px)"
    box = page.locator("#window-1 .stack").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.mouse.up()
    assert page.locator("#window-1 input[type=range]").input_value() == "25"
    assert style(page, "#window-1 .left", "clip-path") == "inset(0px 75% 0px 0px)"


def test_zoom_and_pan_are_shared_by_all_layers(page):
    assert transforms(page) == scaled(6)  # 60 pixels in a column of 384
    page.locator("#window-1 [data-do=in]").click()
    assert transforms(page) == scaled(8)
    page.locator("#window-1 .stack").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert transforms(page) == scaled(8, -32, -32)
    box = page.locator("#window-1 .stack").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 800, box["y"] + 60, steps=4)
    page.mouse.up()
    assert transforms(page) == scaled(8, 60, -22)  # not beyond its edge
    page.locator("#window-1 [data-do=true]").click()
    assert transforms(page) == scaled(1)
    assert page.locator("#window-1 output").text_content() == "1×"
    page.keyboard.press("+")
    assert transforms(page) == scaled(2)
    assert transforms(page, 2) == scaled(6)


def test_ctrl_and_the_wheel_zoom_to_the_pointer_and_the_wheel_alone_scrolls(page):
    box = page.locator("#window-1 .stack").bounding_box()
    page.mouse.move(box["x"] + 90, box["y"] + 180)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    assert transforms(page) == scaled(8, 30, 0)  # what lies 90 px left of the middle stays there
    page.mouse.wheel(0, 200)
    until(page, lambda: page.evaluate("scrollY") > 100)
    assert transforms(page) == scaled(8, 30, 0)


def test_flicker_shows_left_and_right_in_turns(page):
    button = page.locator("#window-1 [data-do=flicker]")
    page.locator("#window-1 .stack").focus()
    page.keyboard.press("f")
    assert button.get_attribute("aria-pressed") == "true"
    assert style(page, "#window-1 .left", "clip-path") == "inset(0px 0% 0px 0px)"
    until(page, lambda: style(page, "#window-1 .left", "clip-path") == "inset(0px 100% 0px 0px)")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert style(page, "#window-1 .left", "clip-path") == "inset(0px 50% 0px 0px)"


def test_two_different_layers_are_chosen(page):
    left, right = (page.locator(f"#window-1 select[data-side={side}]") for side in ("left", "right"))
    assert (left.input_value(), right.input_value()) == ("fp32", "raw")
    assert left.locator("option").all_text_contents()[:2] == ["LR, bicubic 27.00 dB", "FP32 31.50 dB"]
    left.select_option("raw")
    assert (left.input_value(), right.input_value()) == ("raw", "fp32")
    right.select_option("error")
    visible = "(all) => all.filter((e) => getComputedStyle(e).visibility === 'visible').map((e) => e.dataset.key)"
    assert page.eval_on_selector_all("#window-1 .layer", visible) == ["raw", "error"]


def test_side_by_side_shows_all_layers_at_one_zoom(page):
    page.locator("#window-1 [data-do=apart]").click()
    for layer in page.locator("#window-1 .layer").all():
        assert layer.is_visible()
        assert layer.bounding_box()["width"] == 360
    page.locator("#window-1 .layer").nth(4).scroll_into_view_if_needed()
    box = page.locator("#window-1 .layer").nth(4).bounding_box()
    page.mouse.move(box["x"] + 270, box["y"] + 180)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    assert transforms(page) == scaled(8, -30, 0)
    page.locator("#window-1 [data-do=apart]").click()
    assert page.locator("#window-1 .layer:visible").count() <= 6
    assert style(page, "#window-1 .layer", "position") == "absolute"


def test_all_go_together_if_wanted(page):
    page.locator("#zoom-together").check()
    page.locator("#window-2 [data-do=in]").click()
    page.locator("#window-2 .stack").focus()
    page.keyboard.press("ArrowLeft")
    assert transforms(page, 1) == transforms(page, 2) == scaled(8, 32, 0)
    page.locator("#window-11").scroll_into_view_if_needed()
    page.wait_for_selector("#window-11 [data-do=in]")
    assert transforms(page, 11) == scaled(8, 32, 0)[:4]


def test_controls_are_made_when_a_window_comes_near(page, address):
    assert page.locator("#window-11 button").count() == 0
    page.goto("about:blank")
    page.goto(address + "#window-11")
    page.wait_for_selector("#window-11 [data-do=in]")
    bottom = "document.querySelector('#window-11').getBoundingClientRect().bottom - innerHeight"
    until(page, lambda: page.evaluate(bottom) <= 1)


def test_differences_are_of_the_pixels(page):
    page.locator("#window-1 select[data-side=right]").select_option("error")
    page.locator("#window-1 input[type=range]").fill("0")
    page.wait_for_timeout(200)
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#window-1 .stack").screenshot())).convert("RGB"))
    assert np.abs(shot[20:120, 60:300].astype(int) - (0, 0, 80)).max() <= 1  # 8 times 10 grey levels of blue


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_it_whole(browser, address, width):
    phone = browser.new_page(viewport={"width": width, "height": 800})
    phone.goto(address)
    phone.wait_for_selector("#window-1 [data-do=in]")
    assert phone.evaluate("document.documentElement.scrollWidth") == width
    phone.locator("#window-1 [data-do=apart]").click()
    assert phone.evaluate("document.documentElement.scrollWidth") == width
    phone.close()
