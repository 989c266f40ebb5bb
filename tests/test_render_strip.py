"""Every image as a dot: positions, and what its drawing says."""

import importlib
import math

import msgspec
import pytest
from evaluations import evaluation
from hypothesis import given, settings
from hypothesis import strategies as st
from site_checks import Node, parsed

from mai_harness.records import ImageScore, ScoreReport
from mai_harness.render.strip import Strip, strip

PAGE = importlib.import_module("mai_harness.render.page")


def scored(
    *pairs: tuple[float | None, float | None], names: str = "image {}", **more: list[float | None]
) -> ScoreReport:
    """A report of images with these PSNR in FP32 and in INT8 raw; ``more`` are those of other readings."""
    images = tuple(
        ImageScore(
            name=names.format(i),
            figures={"psnr_fp32_db": fp32, "psnr_raw_db": raw}
            | {f"psnr_{reading}_db": values[i] for reading, values in more.items()},
        )
        for i, (fp32, raw) in enumerate(pairs)
    )
    score = evaluation().score
    assert score
    return msgspec.structs.replace(score, images=images)


def drawn(score: ScoreReport) -> tuple[Strip, Node]:
    made = strip(score)
    assert made
    return made, parsed(str(PAGE._environment().get_template("strip.html").module.strip(made)))


def test_nothing_is_drawn_without_figures():
    assert strip(None) is None
    assert strip(scored()) is None
    assert strip(scored((None, None), (math.inf, math.nan))) is None
    assert not str(PAGE._environment().get_template("strip.html").module.strip(None)).strip()


def test_every_image_is_a_dot_in_each_reading_and_the_greatest_drop_is_told():
    made, page = drawn(scored((30.0, 29.9), (32.0, 28.0), (35.0, 34.0)))
    assert [(band.reading, len(band.dots)) for band in made.bands] == [("fp32", 3), ("raw", 3)]
    assert made.greatest
    assert (made.greatest.name, made.greatest.db) == ("image 1", 4.0)
    assert made.falls[-1] == made.greatest
    assert made.bands[0].mean == pytest.approx(97 / 3)
    label = page.one("svg").attributes["aria-label"]
    assert "FP32 32.33 dB, INT8 raw 30.63 dB." in label
    assert "Largest drop from FP32 to INT8 raw: image 1, 4.00 dB." in label
    assert len(page.all("line", "fall")) == 3
    assert "image 1: 28.00 dB" in [title.text for title in page.all("title")]
    assert page.one("span", "worst").text == "image 1 \N{MINUS SIGN}4.00 dB"


def test_readings_that_do_not_differ_from_raw_are_left_out():
    same, other = [30.0, 31.0], [30.0, 31.5]
    pairs = [(31.0, 30.0), (32.0, 31.0)]
    assert [band.reading for band in drawn(scored(*pairs, dequantised=same))[0].bands] == ["fp32", "raw"]
    made, _ = drawn(scored(*pairs, dequantised=other, mended=other))
    assert [band.reading for band in made.bands] == ["fp32", "raw", "dequantised", "mended"]
    assert len({band.y for band in made.bands}) == 4
    assert all(0 < band.y < made.height for band in made.bands)


def test_one_image_and_equal_values():
    for pairs in ([(30.0, 30.0)], [(30.0, 30.0)] * 5):
        made, page = drawn(scored(*pairs))
        assert {dot.x for band in made.bands for dot in band.dots} == {50.0}
        assert made.ticks
        assert made.greatest is None
        assert not page.all("span", "worst")
        assert "Largest" not in page.one("svg").attributes["aria-label"]


def test_figures_that_are_missing_or_infinite_are_not_drawn_but_told():
    made, page = drawn(scored((30.0, None), (math.inf, 29.0), (31.0, 30.5)))
    assert [(len(band.dots), band.missing, band.mean) for band in made.bands] == [(2, 1, None), (2, 1, None)]
    assert [fall.name for fall in made.falls] == ["image 2"]
    assert len(page.all("line", "mean")) == 0
    assert [note.text for note in page.all("p", "note")] == [
        f"{reading}: 1 image is not drawn: identical to HR, or no such form." for reading in ("FP32", "INT8 raw")
    ]


def test_one_reading_alone():
    made, page = drawn(scored((None, 29.0), (None, 31.0)))
    assert [band.reading for band in made.bands] == ["raw"]
    assert made.falls == ()
    assert "INT8 raw 30.00 dB." in page.one("svg").attributes["aria-label"]


def test_names_are_escaped():
    _, page = drawn(scored((30.0, 29.0), (30.0, 29.5), names="<script>alert(1)</script>\"'&{}"))
    assert not page.all("script")
    assert "<script>alert(1)</script>\"'&0, 1.00 dB" in page.one("svg").attributes["aria-label"]


DB = st.none() | st.floats(-5, 120) | st.sampled_from([math.inf, -math.inf, math.nan])


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(DB, DB), max_size=100))
def test_all_places_are_in_range(pairs):
    made = strip(scored(*pairs))
    for band in made.bands if made else ():
        assert all(0 <= dot.x <= 100 for dot in band.dots)
        assert band.mean_x is None or 0 <= band.mean_x <= 100
        assert len(band.dots) + band.missing == len(pairs)
    assert all(0 <= x <= 100 for x, _ in (made.ticks if made else ()))
