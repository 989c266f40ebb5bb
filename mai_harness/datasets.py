"""LR/HR pairs to score on, photographs to calibrate on, and patches to train on."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from mai_harness.errors import DataNotFound
from mai_harness.records import LR_FRAME, SCALE, Record
from mai_harness.resize import Image, downscale

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
EMBEDDED_SCORED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg")
# motorcycle_right is the stereo twin of a scored image, so it may not calibrate either.
EMBEDDED_CALIBRATION = ("hubble_deep_field.jpg", "ihc.png", "camera.png", "brick.png", "grass.png", "gravel.png")
_LAYOUTS = (
    ("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X3"),
    ("HR", "LR_bicubic_X3"),
    ("HR", "LR_bicubic/X3"),
)


class ImagePair(Record):
    """One HR image and, where there is one, its published LR image."""

    name: str
    hr: str
    lr: str | None = None


class Dataset(Record):
    """A named set of pairs; the fingerprint is SHA-256 over the files' bytes."""

    name: str
    pairs: tuple[ImagePair, ...]
    fingerprint: str


def read_rgb(path: str | Path) -> Image:
    """Decode one image file as (H, W, 3) uint8 RGB; grey images are repeated over the channels.

    Raises:
        DataNotFound: the file is missing or no image.
    """
    try:
        with PillowImage.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
        raise DataNotFound(f"{path} cannot be read as an image: {error}") from None


def load_pair(pair: ImagePair) -> tuple[Image, Image]:
    """LR (H, W, 3) and HR (3H, 3W, 3), both uint8; HR is cropped to a multiple of the scale.

    Raises:
        DataNotFound: the LR image does not fit the HR image.
    """
    hr = read_rgb(pair.hr)
    hr = hr[: hr.shape[0] // SCALE * SCALE, : hr.shape[1] // SCALE * SCALE]
    lr = downscale(hr, SCALE) if pair.lr is None else read_rgb(pair.lr)
    if (lr.shape[0] * SCALE, lr.shape[1] * SCALE) != hr.shape[:2]:
        raise DataNotFound(f"{pair.lr} is {lr.shape[:2]}, but {pair.hr} needs LR of 1/{SCALE} of {hr.shape[:2]}")
    return lr, hr


def find_dataset(root: Path | None) -> Dataset:
    """The set to score on: DIV2K validation or image pairs under ``root``, else scikit-image's photographs.

    Raises:
        DataNotFound: ``root`` is given but holds no images.
    """
    if root is None:
        return _dataset("embedded photographs", _embedded(EMBEDDED_SCORED), [])
    for hr, lr in _LAYOUTS:
        for base in (root, root / "DIV2K"):
            if images := _images(base / hr):
                return _dataset(base.name if hr == "HR" else "DIV2K validation", images, _images(base / lr))
    if images := _images(root):
        return _dataset(root.name, images, [])
    if any(root.glob("*/HR")) or (root / "DIV2K").exists():
        # A folder of several sets, none of them DIV2K validation: the default stays comparable.
        return find_dataset(None)
    raise DataNotFound(f"{root} holds no images; expected DIV2K_valid_HR/, HR/ or image files ({sorted(SUFFIXES)})")


def calibration_frames(scored: Dataset) -> Iterator[tuple[str, Image]]:
    """Photographs that set the INT8 ranges: (name, LR frame (360, 640, 3) uint8); none is in ``scored``."""
    taken = {hashlib.sha256(Path(pair.hr).read_bytes()).hexdigest() for pair in scored.pairs}
    for path in _embedded(EMBEDDED_CALIBRATION):
        if hashlib.sha256(path.read_bytes()).hexdigest() not in taken:
            yield path.name, fill_frame(downscale(read_rgb(path), SCALE))


def fill_frame(image: Image) -> Image:
    """Mirror or crop an image to (360, 640, 3): mirroring makes no edge that photographs do not have."""
    height, width = LR_FRAME
    image = image[:height, :width]
    pad = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    return np.pad(image, pad, mode="symmetric")


def training_images(root: Path) -> list[Path]:
    """Every image below ``root/DIV2K/DIV2K_train_HR``, ``root/DIV2K_train_HR`` and ``root/train``, in sorted order.

    Raises:
        DataNotFound: there are none.
    """
    folders = (root / "DIV2K_train_HR", root / "train")
    images = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not images:
        raise DataNotFound(f"no training images in {folders[0]} or {folders[1]}; give the folder above with --data")
    return images


def _embedded(names: Sequence[str]) -> list[Path]:
    return [Path(str(files("skimage") / "data" / name)) for name in names]


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _dataset(name: str, hr: Sequence[Path], lr: Sequence[Path]) -> Dataset:
    by_stem = {path.stem.lower().removesuffix(f"x{SCALE}"): path for path in lr}
    pairs = []
    digest = hashlib.sha256()
    for path in hr:
        small = by_stem.get(path.stem.lower())
        pairs.append(ImagePair(name=path.stem, hr=str(path), lr=str(small) if small else None))
        for file in filter(None, (path, small)):
            digest.update(file.name.encode() + file.read_bytes())
    return Dataset(name=name, pairs=tuple(pairs), fingerprint=digest.hexdigest())
