"""Cut pictures of the scored images out of the upscaled ones: a part of each, and the worst places of all."""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.datasets import Dataset, ImagePair, enlarge, lossless_webp, read_hr
from mai_harness.errors import StageFailed
from mai_harness.isolate import stored_reply, unpack
from mai_harness.metrics import psnr
from mai_harness.records import SCALE, GalleryReport, LrImage, Place, Reading, Record, UpscaleReport, Window
from mai_harness.resize import Image

PIXELS = 60_000  # HR pixels that the parts of all images have together, about
SIDES = (96, 300)  # HR pixels to a side of such a part, least and most
PATCH, WORST = 48, 3  # HR pixels to a side of the worst places, and how many there are of a kind
_READINGS: tuple[Reading, ...] = ("raw", "fp32", "dequantised", "mended")

Found = Literal["image", "gap", "error"]


class GalleryRequest(Record, frozen=True):
    """Upscaled images, and the HR and LR images that they are shown beside."""

    upscaled: Place  #: the folder of the upscale stage
    dataset: Dataset
    images: tuple[LrImage, ...]
    processes: int | None = None  #: at once, an image each; as many as there are cores by default


def gallery(request: GalleryRequest, folder: Path) -> GalleryReport:
    """Write the pictures into ``folder``, each under the SHA-256 of its bytes, so that equal ones are one file.

    Raises:
        DataNotFound: an image cannot be read.
        StageFailed: the images were not upscaled.
    """
    reply = stored_reply(Path(request.upscaled))
    if reply is None:
        raise StageFailed(f"{request.upscaled} holds no upscaled images")
    jobs = _jobs(request, unpack(reply, UpscaleReport))
    processes = min(request.processes or os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        found = list(map(_look, jobs) if processes == 1 else pool.map(_look, jobs))
    views = [view for of_one_image in found for view in of_one_image]
    shown = [*_worst(views, "gap"), *_worst(views, "error"), *(v for v in views if v.window.found == "image")]
    for view in shown:
        for name, data in view.files.items():
            (folder / name).write_bytes(data)
    return GalleryReport(windows=tuple(view.window for view in shown))


class _Job(NamedTuple):
    """One image: its upscaled forms by reading, the side of its part, and how many worst places may be in it."""

    pair: ImagePair
    lr: str
    upscaled: dict[Reading, Path]
    side: int
    worst: int


class _View(NamedTuple):
    """A window, its files by name, and the mean squared difference for which it was chosen."""

    window: Window
    files: dict[str, bytes]
    difference: float


def _jobs(request: GalleryRequest, upscaled: UpscaleReport) -> list[_Job]:
    folders = {reading: upscaled.folders[reading] for reading in _READINGS if reading in upscaled.folders}
    own = {reading: name for reading, name in folders.items() if reading == "raw" or name != folders["raw"]}
    count = len(request.dataset.pairs)
    return [
        _Job(
            pair=pair,
            lr=image.path,
            upscaled={reading: Path(name) / f"{index:04d}.npy" for reading, name in own.items()},
            side=_side(count),
            worst=1 if count >= WORST else WORST,
        )
        for index, (pair, image) in enumerate(zip(request.dataset.pairs, request.images, strict=True))
    ]


def _side(count: int) -> int:
    least, most = SIDES
    return min(max(math.isqrt(PIXELS // count) // 6 * 6, least), most)


def _worst(views: Sequence[_View], found: Found) -> list[_View]:
    places = [view for view in views if view.window.found == found]
    return sorted(places, key=lambda view: -view.difference)[:WORST]


def _look(job: _Job) -> list[_View]:
    """All windows of one image that may be shown."""
    hr = read_hr(job.pair.hr)
    pixels = {"hr": hr, "lr": enlarge(np.load(job.lr), (hr.shape[0], hr.shape[1]))}
    pixels |= {reading: np.load(path) for reading, path in job.upscaled.items()}
    peaks: list[tuple[Found, _Peak]] = [("image", peak) for peak in islice(_peaks(pixels["lr"], hr, job.side), 1)]
    if "fp32" in pixels:
        peaks += [("gap", peak) for peak in islice(_peaks(pixels["raw"], pixels["fp32"], PATCH), job.worst)]
    peaks += [("error", peak) for peak in islice(_peaks(pixels["raw"], hr, PATCH), job.worst)]
    return [
        _view(job.pair.name, found, peak, pixels) for found, peak in peaks if peak.difference > 0 or found == "image"
    ]


class _Peak(NamedTuple):
    difference: float  #: mean squared, in grey levels
    top: int
    left: int
    height: int
    width: int


def _peaks(image: Image, other: Image, side: int) -> Iterator[_Peak]:
    """Where two images differ most, and then most of what does not overlap that, at whole LR pixels.

    Sums are of whole numbers, so that they are the same on every machine.
    """
    rows, columns = (min(side, extent) // SCALE for extent in image.shape[:2])
    sums = np.pad(_squares(image, other), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    height, width = rows * SCALE, columns * SCALE
    while boxes.max() >= 0:
        row, column = divmod(int(boxes.argmax()), boxes.shape[1])
        difference = int(boxes[row, column]) / (height * width * image.shape[2])
        yield _Peak(difference, row * SCALE, column * SCALE, height, width)
        boxes[max(0, row - rows + 1) : row + rows, max(0, column - columns + 1) : column + columns] = -1


def _squares(image: Image, other: Image) -> npt.NDArray[np.int64]:
    """Squared differences summed over each LR pixel's place, (H, W)."""
    height, width = (extent // SCALE for extent in image.shape[:2])
    squares = np.square(np.subtract(image, other, dtype=np.int32))
    summed: npt.NDArray[np.int64] = squares.reshape(height, SCALE, width, -1).sum(axis=(1, 3), dtype=np.int64)
    return summed


def _view(name: str, found: Found, peak: _Peak, pixels: dict[str, Image]) -> _View:
    window = np.s_[peak.top : peak.top + peak.height, peak.left : peak.left + peak.width]
    cut = {key: np.ascontiguousarray(image[window]) for key, image in pixels.items()}
    encoded = {key: lossless_webp(picture) for key, picture in cut.items()}
    names = {key: f"{hashlib.sha256(data).hexdigest()[:20]}.webp" for key, data in encoded.items()}
    decibels = {key: psnr(picture, cut["hr"]) for key, picture in cut.items() if key != "hr"}
    return _View(
        window=Window(
            image=name, top=peak.top, left=peak.left, height=peak.height, width=peak.width, found=found,
            pictures=names, psnr={key: value if math.isfinite(value) else None for key, value in decibels.items()},
        ),
        files={names[key]: data for key, data in encoded.items()},
        difference=peak.difference,
    )  # fmt: skip
