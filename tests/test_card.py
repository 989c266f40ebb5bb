"""The picture of the board for links that are shared."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_exports import against, entry, failed, results

from mai_harness.records import Results
from mai_harness.render.board import board
from mai_harness.render.card import SIZE, card, fitted, readable

HOSTILE = [
    "W" * 100_000,
    "超解像ネットワーク",
    "\ud800\u202e\x00",
    "",
    " \n ",
    "<script>",
    "🙂" * 50,
    "é" * 500,
    "\u0301" * 40,
    "\uffff",
]


def drawn(made: Results) -> bytes:
    return card(made, board(made).finished)


def pixels(png: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size, image.mode) == ("PNG", SIZE, "RGB")
        return np.asarray(image)


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_it_is_a_png_of_the_usual_size_and_the_same_each_time(count):
    made = results(*(entry(f"net-{i}", 25.0 + i / 10) for i in range(count)))
    png = drawn(made)
    assert pixels(png).shape == (630, 1200, 3)
    assert drawn(made) == png
    assert len(png) < 200_000


def test_only_the_first_five_with_a_rank_are_shown():
    names = [f"net-{i}" for i in range(6)]
    five = [entry(name, 30.0 - i) for i, name in enumerate(names[:5])]
    more = results(*five, entry(names[5], 20.0), against("against"), failed("late"), entry("bare", None))
    table = slice(0, 560)  # the line below it counts the entries
    assert np.array_equal(pixels(drawn(results(*five)))[table], pixels(drawn(more))[table])


def test_without_a_score_it_says_so():
    empty = drawn(results())
    assert drawn(results(entry("bare", None), failed("late"), against("against"))) == empty
    assert empty != drawn(results(entry("net")))


def test_data_set_and_day_are_on_it():
    assert len({drawn(results(**changes)) for changes in ({}, {"dataset": "x"}, {"created": "2022-01-01"})}) == 3


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_within_their_cell(text):
    made = results(entry("net", title=text), dataset=text, created=text)
    other = results(entry("net"), dataset=text, created=text)
    found, plain = pixels(drawn(made)), pixels(drawn(other))
    changed = np.argwhere((found != plain).any(axis=2))
    if len(changed):
        (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
        assert top > 300
        assert bottom < 360
        assert left >= 110
        assert right <= 655
    assert (found[:, :60] == 255).all()
    assert (found[:, 1140:] == 255).all()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("plain", "plain"), ("Naïve Åse", "Naive Ase"), ("a \N{MINUS SIGN} b – c", "a - b - c"), ("×3", "x3"),
        ("Straße", "Strasse"), ("\uff26\uff35", "FU"), ("日本 net", "?? net"), ("日本", "slug"), ("", "slug"),
        ("?!", "slug"),
        ("a\n\tb", "a b"), ("\u202e\ud800x", "??x"),
    ],
)  # fmt: skip
def test_letters_that_the_font_lacks_are_replaced(text, read):
    assert readable(text, "slug") == read


def test_a_text_is_cut_where_it_no_longer_fits():
    assert fitted("short", 30, 500) == "short"
    cut = fitted("W" * 300, 30, 500)
    assert cut.endswith("…")
    assert 5 < len(cut) < 40
    assert fitted("wide", 30, 0) == "…"
