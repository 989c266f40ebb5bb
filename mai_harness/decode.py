"""Decode training images once for all trainings: two memory-mapped files and an index."""

import hashlib
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np

from mai_harness.datasets import read_hr, read_shape
from mai_harness.errors import DataNotFound
from mai_harness.isolate import FILE_LIMIT_BYTES, die_with_parent
from mai_harness.patches import CHANNELS, HR_FILE, LR_FILE, Decoded, Picture
from mai_harness.records import SCALE, Place, Record
from mai_harness.resize import Image, downscale

TELL_EVERY_S = 10.0


class ImageFile(Record, frozen=True):
    """One image file as it was found; another size or time makes it another file."""

    path: Place
    size: int  #: in bytes
    mtime_ns: int

    @classmethod
    def at(cls, path: Path) -> "ImageFile":
        """The file at ``path``."""
        found = path.stat()
        return cls(path=str(path), size=found.st_size, mtime_ns=found.st_mtime_ns)


class DecodeRequest(Record, frozen=True):
    """HR images to decode, in this order."""

    images: tuple[ImageFile, ...]
    halves: bool = False  #: half-size copies of all come behind them


def decode(request: DecodeRequest, folder: Path) -> Decoded:
    """Write every HR image, cropped to a multiple of the scale, and its LR image by MATLAB bicubic.

    Raises:
        DataNotFound: there is no image, one is damaged or smaller than three pixels, or all are too large for a file.
    """
    if not request.images:
        raise DataNotFound("there are no training images")
    places: list[Picture] = []
    for factor in (1, 2) if request.halves else (1,):
        for image in request.images:
            height, width = (side // (SCALE * factor) for side in read_shape(image.path))
            offset = places[-1].offset + places[-1].height * places[-1].width if places else 0
            if factor == 1 or min(height, width) > 0:
                places.append(Picture(path=image.path, factor=factor, height=height, width=width, offset=offset))
    if places[-1].slices()[1].stop > FILE_LIMIT_BYTES:
        raise DataNotFound(f"decoded, the training images are more than {FILE_LIMIT_BYTES >> 30} GiB; give fewer")
    for name, end in zip((LR_FILE, HR_FILE), places[-1].slices(), strict=True):
        _mapped(folder / name, "w+", (end.stop,))
    jobs = [(place, folder) for place in places]
    pictures: list[Picture] = []
    told = time.monotonic()
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(jobs)), get_context("fork"), die_with_parent) as pool:
        for picture in pool.map(_write, jobs):
            pictures.append(picture)
            if time.monotonic() - told > TELL_EVERY_S or len(pictures) == len(jobs):
                told = time.monotonic()
                print(f"decoded {len(pictures)} of {len(jobs)} images", flush=True)
    return Decoded(pictures=tuple(pictures))


def _write(job: tuple[Picture, Path]) -> Picture:
    picture, folder = job
    hr = read_hr(picture.path)
    if picture.factor > 1:
        rows, columns = picture.height * SCALE * picture.factor, picture.width * SCALE * picture.factor
        hr = downscale(hr[:rows, :columns], picture.factor)
    if hr.shape != (picture.height * SCALE, picture.width * SCALE, CHANNELS):
        raise DataNotFound(f"{picture.path} changed while it was read; run again")
    for name, place, image in zip((LR_FILE, HR_FILE), picture.slices(), (downscale(hr, SCALE), hr), strict=True):
        _mapped(folder / name, "r+")[place] = image.reshape(-1)
    digest = hashlib.sha256(repr(hr.shape).encode() + hr.tobytes()).hexdigest()
    return msgspec.structs.replace(picture, sha256=digest)


def _mapped(path: Path, mode: str, shape: tuple[int] | None = None) -> Image:
    mapped: Image = np.lib.format.open_memmap(path, mode, np.uint8, shape)  # type: ignore[no-untyped-call]
    return mapped
