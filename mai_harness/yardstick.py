"""What the reference model and bicubic upscaling reach on a data set, and on photographs that are not in it."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mai_harness.backends.cpu import REFERENCE
from mai_harness.datasets import Dataset, Yardstick, YardstickReport, enlarge, held_out_pairs, read_hr
from mai_harness.errors import DataNotFound
from mai_harness.interpreter import TFLiteModel, as_raw_pixels
from mai_harness.metrics import psnr
from mai_harness.records import LrImage, Record
from mai_harness.resize import Image

__all__ = ["YardstickReport", "YardstickRequest", "yardstick"]


class YardstickRequest(Record, frozen=True):
    """A data set, its LR images and those of the photographs that are held out, and how many border pixels to shave."""

    dataset: Dataset
    images: tuple[LrImage, ...]
    held_out: tuple[LrImage, ...]
    shave: int = 0  #: of the scored images alone


def yardstick(request: YardstickRequest, folder: Path) -> YardstickReport:
    """Run the reference model and bicubic upscaling on every image.

    Raises:
        DataNotFound: an image cannot be read, or the photographs are others than those that were prepared.
    """
    model = TFLiteModel(REFERENCE)
    scored = [
        _measure(model, image, read_hr(pair.hr), request.shave)
        for image, pair in zip(request.images, request.dataset.pairs, strict=True)
    ]
    return YardstickReport(scored=tuple(scored), held_out=tuple(_held_out(model, request, folder)))


def _held_out(model: TFLiteModel, request: YardstickRequest, folder: Path) -> Iterator[Yardstick]:
    found = [(name, hr) for name, _, hr in held_out_pairs(request.dataset)]
    if [name for name, _ in found] != [image.name for image in request.held_out]:
        raise DataNotFound("the photographs that are held out changed; run again")
    for index, (image, (_, hr)) in enumerate(zip(request.held_out, found, strict=True)):
        path = folder / f"hr-{index:02d}.npy"
        np.save(path, hr)
        yield _measure(model, image, hr, 0, str(path))


def _measure(model: TFLiteModel, image: LrImage, hr: Image, shave: int, path: str = "") -> Yardstick:
    lr = np.load(image.path)
    inside = np.s_[shave : hr.shape[0] - shave, shave : hr.shape[1] - shave]
    height, width = hr.shape[:2]
    return Yardstick(
        name=image.name,
        reference_db=_finite(psnr(as_raw_pixels(model.upscale(lr))[inside], hr[inside])),
        bicubic_db=_finite(psnr(enlarge(lr, (height, width))[inside], hr[inside])),
        hr=path,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
