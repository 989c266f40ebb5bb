"""What the picture viewer of an entry's page shows: windows of scored images, layer upon layer."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from mai_harness.records import GalleryReport, Window

_ORDER = ("lr", "fp32", "raw", "dequantised", "mended", "hr")
_FILE = re.compile(r"[A-Za-z0-9_-]+\.webp")  # whatever else results may name is no picture of ours
# Layers that the browser makes of two pictures, and how many times brighter: a gap is of a few grey levels.
_DIFFERENCES = {"error": ("hr", "raw", 8), "gap": ("fp32", "raw", 32)}


class Layer(NamedTuple):
    """One picture of a window, or the difference of two, which the browser blends."""

    key: str  #: as in ``Window.pictures``, or 'error' or 'gap'
    files: tuple[str, ...]  #: in ``pictures/``; two of a difference
    psnr: float | None = None  #: to HR, in dB; ``None`` of HR itself, of a difference, and where ``is_exact``
    is_exact: bool = False  #: the same pixels as HR
    brighter: int = 1  #: how many times a difference is made brighter


class View(NamedTuple):
    """One window with its layers, and the two that are compared at first."""

    number: int  #: on the page, from 1
    window: Window
    layers: tuple[Layer, ...]
    left: str  #: key of a layer; empty if there is none
    right: str
    lost_db: float | None  #: PSNR of FP32 over that of INT8 here


class Gallery(NamedTuple):
    """The windows of an entry in the order in which they are shown."""

    worst: tuple[View, ...]  #: the worst places of all images
    parts: tuple[View, ...]  #: a part of each image


def shown(report: GalleryReport | None) -> Gallery | None:
    """The windows with a picture, the worst places first; ``None`` if there is nothing to see."""
    windows = [window for window in report.windows if _layers(window)] if report else []
    ordered = sorted(windows, key=lambda window: window.found == "image")  # stable
    views = [_view(number, window) for number, window in enumerate(ordered, 1)]
    worst = tuple(view for view in views if view.window.found != "image")
    return Gallery(worst, tuple(views[len(worst) :])) if views else None


def _view(number: int, window: Window) -> View:
    layers = _layers(window)
    keys = [layer.key for layer in layers]
    right = _first(("raw", "hr", *reversed(keys)), keys)
    left = _first(("fp32", "hr", "lr", *keys), [key for key in keys if key != right])
    fp32, raw = window.psnr.get("fp32"), window.psnr.get("raw")
    lost = None if fp32 is None or raw is None else fp32 - raw
    return View(number, window, layers, left, right, lost)


def _layers(window: Window) -> tuple[Layer, ...]:
    files = {key: name for key, name in window.pictures.items() if _FILE.fullmatch(name)}
    single = [Layer(key, (files[key],), window.psnr.get(key), _is_exact(window, key)) for key in _ORDER if key in files]
    differences = [
        Layer(key, (files[a], files[b]), brighter=brighter)
        for key, (a, b, brighter) in _DIFFERENCES.items()
        if a in files and b in files
    ]
    return (*single, *differences)


def _is_exact(window: Window, key: str) -> bool:
    return key in window.psnr and window.psnr[key] is None


def _first(wanted: Iterable[str], keys: list[str]) -> str:
    return next((key for key in wanted if key in keys), "")
