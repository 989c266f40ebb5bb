"""Every image as a dot, in float and in INT8: positions only, the words are in the template."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from mai_harness.records import ImageScore, Reading, ScoreReport
from mai_harness.render.axis import Axis
from mai_harness.render.diagnosis import finite

_ORDER: tuple[Reading, ...] = ("fp32", "raw", "dequantised", "mended")
_ALIKE_DB = 0.005  # readings and images that differ by less are written with the same figures
_TOP, _PITCH, _BELOW = 16, 60, 36  # in px: of the first line, between lines, and below the last
_MARGIN = 0.06  # share of the span that is left free at each end
_NARROWEST_DB = 0.2


class Dot(NamedTuple):
    """One image in one reading."""

    name: str
    db: float
    x: float  #: in per cent of the width
    greatest: bool  #: of the image that loses most


class Band(NamedTuple):
    """One reading: a line with its dots."""

    reading: Reading
    y: int  #: in px
    dots: tuple[Dot, ...]  #: that of the image that loses most is last, above the others
    mean: float | None  #: as in the table of images: ``None`` if one of them has no figure
    mean_x: float | None
    missing: int  #: images without a figure: no such form, or infinite


class Fall(NamedTuple):
    """An image from FP32 to INT8 raw."""

    name: str
    db: float  #: FP32 less INT8 raw
    from_x: float
    to_x: float


@dataclass(frozen=True)
class Strip:
    """The bands on one scale, FP32 first."""

    bands: tuple[Band, ...]
    ticks: tuple[tuple[float, float], ...]  #: place in per cent and value
    falls: tuple[Fall, ...]  #: that of the greatest is last, so that it is drawn above the others
    greatest: Fall | None  #: ``None`` if no image loses anything
    ends: tuple[int, int]  #: heights of the bands that the falls connect, in px
    height: int  #: in px
    images: int


def strip(score: ScoreReport | None) -> Strip | None:
    """PSNR of every image; ``None`` if there is no figure at all."""
    values = {reading: _values(score.images, reading) for reading in _ORDER} if score else {}
    shown = [reading for reading in _ORDER if _worth_showing(reading, values)]
    known = [value for reading in shown for value in values[reading] if value is not None]
    if score is None or not known:
        return None
    axis = _axis(known)
    falls = _falls(score.images, values, axis)
    greatest = falls[-1] if falls and falls[-1].db >= _ALIKE_DB else None
    place = {reading: _TOP + _PITCH * i for i, reading in enumerate(shown)}
    return Strip(
        bands=tuple(_band(score, reading, values[reading], place[reading], axis, greatest) for reading in shown),
        ticks=tuple((round(axis.at(value), 2), value) for value in axis.ticks()), falls=tuple(falls),
        greatest=greatest, ends=(place.get("fp32", 0), place.get("raw", 0)),
        height=_TOP + _PITCH * (len(shown) - 1) + _BELOW, images=len(score.images),
    )  # fmt: skip


def _key(reading: Reading) -> str:
    return f"psnr_{reading}_db"


def _values(images: Iterable[ImageScore], reading: Reading) -> list[float | None]:
    return [finite(image.figures.get(_key(reading))) for image in images]


def _worth_showing(reading: Reading, values: dict[Reading, list[float | None]]) -> bool:
    """Whether it has figures, and others than the raw bytes."""
    own = values.get(reading, [])
    if all(value is None for value in own):
        return False
    if reading in ("fp32", "raw"):
        return True
    pairs = zip(own, values["raw"], strict=True)
    return any(a is not None and (b is None or abs(a - b) >= _ALIKE_DB) for a, b in pairs)


def _axis(known: Sequence[float]) -> Axis:
    span = max(max(known) - min(known), _NARROWEST_DB)
    middle, half = (max(known) + min(known)) / 2, span * (0.5 + _MARGIN)
    return Axis(middle - half, middle + half, 0.0, 100.0)


def _falls(images: Sequence[ImageScore], values: dict[Reading, list[float | None]], axis: Axis) -> list[Fall]:
    falls = [
        Fall(image.name, a - b, round(axis.at(a), 2), round(axis.at(b), 2))
        for image, a, b in zip(images, values["fp32"], values["raw"], strict=True)
        if a is not None and b is not None
    ]
    greatest = max(range(len(falls)), key=lambda i: falls[i].db, default=None)
    return falls if greatest is None else [*falls[:greatest], *falls[greatest + 1 :], falls[greatest]]


def _band(
    score: ScoreReport, reading: Reading, values: Sequence[float | None], y: int, axis: Axis, greatest: Fall | None
) -> Band:
    dots = [
        Dot(image.name, value, round(axis.at(value), 2), greatest is not None and image.name == greatest.name)
        for image, value in zip(score.images, values, strict=True)
        if value is not None
    ]
    dots.sort(key=lambda dot: dot.greatest)
    missing = len(score.images) - len(dots)
    mean = None if missing else fmean(dot.db for dot in dots)
    mean_x = None if mean is None else round(axis.at(mean), 2)
    return Band(reading, y, tuple(dots), mean, mean_x, missing)
