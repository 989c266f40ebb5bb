"""The board in one picture, for links that are shared (``og:image``)."""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from mai_harness.records import Results
from mai_harness.render.board import Row
from mai_harness.render.columns import BY_ID

SIZE = (1200, 630)  #: width and height in pixels, as sites that show such cards ask for

_INK, _SOFT, _HAIR, _ACCENT = "#14171a", "#545b62", "#dde0e3", "#b3300f"  # style.css, light
_LEFT, _RIGHT, _TOP, _STEP = 64, 1136, 304, 50
_ENTRIES = 5
_TITLE_LEFT, _TITLE_RIGHT = 120, 650
_COLUMNS = (("psnr_raw", "PSNR INT8, dB", 810), ("runtime_int8", "Runtime, ms", 960), ("score", "Score", _RIGHT))
_SUBSTITUTES = {"\N{MINUS SIGN}": "-", "–": "-", "—": "-", "×": "x", "ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "µ": "u"}
_LONGEST = 300  # characters of a text that are looked at; far more than fit

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Anchor = Literal["ls", "rs"]  # left or right end of the baseline


def card(results: Results, rows: Sequence[Row]) -> bytes:
    """A PNG of :data:`SIZE` with the first five that have a rank; the same bytes for the same results.

    The font is the one in Pillow, which has little more than ASCII: accents are left out, and for other letters there
    are question marks. A title without a letter or digit that can be drawn gives way to the name of the entry's page.

    Args:
        rows: in the order of the board.
    """
    image = Image.new("RGB", SIZE, "#fff")
    pen = _Pen(ImageDraw.Draw(image))
    _head(pen)
    ranked = [row for row in rows if row.rank is not None]
    _table(pen, ranked[:_ENTRIES]) if ranked else pen.text(_LEFT, 400, "No entry has a score yet.", 36, _SOFT)
    _foot(pen, results, len(ranked))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


@dataclass(frozen=True)
class _Pen:
    """Writes on a picture; x and y are pixels, y of the baseline."""

    draw: ImageDraw.ImageDraw

    def text(
        self, x: float, y: float, text: str, size: int, ink: str = _INK, *, anchor: _Anchor = "ls", bold: bool = False
    ) -> None:
        weight = size / 45 if bold else 0.0  # the font has one weight
        self.draw.text((x, y), text, ink, _font(size), anchor, stroke_width=weight, stroke_fill=ink)

    def cross(self, x: int, y: int, side: int) -> None:
        """A multiplication sign, which the font lacks; x and y are its upper left corner."""
        for ends in ((x, y, x + side, y + side), (x, y + side, x + side, y)):
            self.draw.line(ends, _INK, 7)

    def rule(self, y: int, thickness: int, ink: str) -> None:
        self.draw.rectangle((_LEFT, y, _RIGHT - 1, y + thickness - 1), ink)


def _head(pen: _Pen) -> None:
    pen.rule(48, 12, _INK)
    pen.text(_LEFT, 100, "mai_harness", 26, _SOFT)
    pen.text(_LEFT, 170, "Mobile AI 2021: real-time INT8", 60, bold=True)
    pen.cross(_LEFT + 4, 203, 24)
    pen.text(_LEFT + 36, 232, "3 super-resolution", 60, bold=True)


def _table(pen: _Pen, rows: Sequence[Row]) -> None:
    for _, heading, right in _COLUMNS:
        pen.text(right, _TOP - 16, heading, 20, _SOFT, anchor="rs")
    pen.rule(_TOP, 2, _INK)
    for place, row in enumerate(rows):
        if place:
            pen.rule(_TOP + place * _STEP, 1, _HAIR)
        _entry(pen, row, _TOP + place * _STEP + 36)


def _entry(pen: _Pen, row: Row, y: int) -> None:
    is_first = row.rank == 1
    ink = _ACCENT if is_first else _INK
    pen.text(_LEFT, y, str(row.rank), 30, ink, bold=is_first)
    title = fitted(readable(row.evaluation.title, row.slug), 30, _TITLE_RIGHT - _TITLE_LEFT)
    pen.text(_TITLE_LEFT, y, title, 30, ink, bold=is_first)
    for id_, _, right in _COLUMNS:
        pen.text(right, y, readable(BY_ID[id_].text(row.evaluation), "-"), 30, ink, anchor="rs", bold=is_first)


def _foot(pen: _Pen, results: Results, count: int) -> None:
    day = readable(results.created[:10], "")
    pen.text(_RIGHT, 600, f"{count} {'entry' if count == 1 else 'entries'}   {day}", 22, _SOFT, anchor="rs")
    pen.text(_LEFT, 600, fitted(readable(results.dataset, ""), 22, 720), 22, _SOFT)


def readable(text: str, otherwise: str) -> str:
    """``text`` in characters that the font has, on one line; ``otherwise`` if no letter or digit is left of it."""
    drawn = "".join(_drawable(c) for c in " ".join(text[:_LONGEST].split()))
    return drawn if any(c.isalnum() for c in drawn) else otherwise


def _drawable(character: str) -> str:
    if character in _SUBSTITUTES:
        return _SUBSTITUTES[character]
    parts = [c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c)]
    return "".join(c if _is_drawn(c) else "?" for c in parts)


@cache
def _is_drawn(character: str) -> bool:
    """Whether the font has it: what it lacks looks like a character that is none."""
    return character == " " or _glyph(character) != _glyph("\uffff")


def _glyph(character: str) -> tuple[tuple[int, int], bytes]:
    mask = _font(32).getmask(character)
    return mask.size, bytes(mask)


def fitted(text: str, size: int, width: float) -> str:
    """The longest beginning of ``text`` that is no wider than ``width`` pixels, with an ellipsis if it is cut."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    kept = next((n for n in range(len(text), 0, -1) if font.getlength(text[:n].rstrip() + "…") <= width), 0)
    return text[:kept].rstrip() + "…"


@cache
def _font(size: int) -> _Font:
    return ImageFont.load_default(size)
