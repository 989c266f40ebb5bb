"""LR/HR pairs to score on, photographs to calibrate on, and patches to train on."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from mai_harness.errors import DataNotFound
from mai_harness.records import LR_FRAME, SCALE, Place, Record
from mai_harness.resize import Image, downscale

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
EMBEDDED_SCORED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg")
# (file, how many times smaller): reduced frames have the sharpness of LR images, one scene fills a full-size one, and
# the colour wheel and the logo bring saturated colours, black and white. The first is the probe of parity checks.
# Never motorcycle_right.png: it is the stereo twin of a scored image.
CALIBRATION = (
    ("ihc.png", SCALE), ("camera.png", SCALE), ("hubble_deep_field.jpg", SCALE), ("grass.png", SCALE),
    ("gravel.png", SCALE), ("brick.png", SCALE), ("coins.png", SCALE), ("color.png", SCALE), ("logo.png", SCALE),
    ("ihc.png", 1), ("camera.png", 1), ("hubble_deep_field.jpg", 1),
)  # fmt: skip
# Of these the photographs show how a network does on images that it was not scored on; the middle of each.
_DRAWN = {"color.png", "logo.png"}
HELD_OUT_SIDE = 200  # LR pixels at most
# Folder of HR images -> where their published LR images may be.
_LAYOUTS = {"DIV2K_valid_HR": ("DIV2K_valid_LR_bicubic/X3",), "HR": ("LR_bicubic_X3", "LR_bicubic/X3")}
_TRAINING = ("DIV2K/DIV2K_train_HR", "DIV2K_train_HR", "train")
# What Pillow raises on damaged files, beside OSError.
_BROKEN = (ValueError, SyntaxError)


class ImagePair(Record, frozen=True):
    """One HR image and, where there is one, its published LR image."""

    name: str
    hr: Place
    lr: Place | None = None


class Dataset(Record, frozen=True):
    """A named set of pairs; the fingerprint is SHA-256 over the files' bytes."""

    name: str
    pairs: tuple[ImagePair, ...]
    fingerprint: str


class Yardstick(Record, frozen=True):
    """What the reference model, ABPN in INT8, and bicubic reach on one image; ``None`` where infinite."""

    name: str
    reference_db: float | None
    bicubic_db: float | None
    hr: Place = ""  #: of a photograph that is held out: its HR pixels, an .npy file


class YardstickReport(Record, frozen=True):
    """Every scored image, and every photograph that is held out, in the order in which they were prepared."""

    scored: tuple[Yardstick, ...]
    held_out: tuple[Yardstick, ...]


def read_rgb(path: str | Path) -> Image:
    """Decode one image file as (H, W, 3) uint8 RGB; grey images are repeated over the channels.

    Raises:
        DataNotFound: the file is missing, damaged or no image of 8 bits a channel.
    """
    try:
        with PillowImage.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"it has {image.mode} pixels, not 8 bits a channel")
            return np.asarray(image.convert("RGB"))
    except (OSError, PillowImage.DecompressionBombError, *_BROKEN) as error:
        raise DataNotFound(f"{path} cannot be read as an image: {error}") from None


def read_shape(path: str | Path) -> tuple[int, int]:
    """Height and width from the file's head alone: decoding a whole set takes long.

    Raises:
        DataNotFound: the file is missing or no image.
    """
    try:
        with PillowImage.open(path) as image:
            return image.height, image.width
    except (OSError, PillowImage.DecompressionBombError, *_BROKEN) as error:
        raise DataNotFound(f"{path} cannot be read as an image: {error}") from None


def crop_to_scale(image: Image) -> Image:
    """The image without the last rows and columns that are no multiple of the scale."""
    return image[: image.shape[0] // SCALE * SCALE, : image.shape[1] // SCALE * SCALE]


def read_hr(path: str | Path) -> Image:
    """One HR image, (3H, 3W, 3) uint8: cropped to a multiple of the scale.

    Raises:
        DataNotFound: it cannot be read, or nothing of it is left.
    """
    hr = crop_to_scale(read_rgb(path))
    if hr.size == 0:
        raise DataNotFound(f"{path} has less than {SCALE} pixels to a side")
    return hr


def load_pair(pair: ImagePair) -> tuple[Image, Image]:
    """LR (H, W, 3) and HR (3H, 3W, 3), both uint8; LR is made by MATLAB bicubic where none is published.

    Raises:
        DataNotFound: an image cannot be read, or LR does not fit HR.
    """
    hr = read_hr(pair.hr)
    lr = downscale(hr, SCALE) if pair.lr is None else read_rgb(pair.lr)
    if (lr.shape[0] * SCALE, lr.shape[1] * SCALE) != hr.shape[:2]:
        found, wanted = (f"{h}x{w}" for h, w in (lr.shape[:2], (hr.shape[0] // SCALE, hr.shape[1] // SCALE)))
        raise DataNotFound(f"{pair.lr} is {found}, but {pair.hr} needs {wanted}")
    return lr, hr


def find_dataset(root: Path | None) -> Dataset:
    """The set to score on: DIV2K validation or image pairs under ``root``, else scikit-image's photographs.

    Those stand in too where ``root`` holds only training images, or several sets (see :func:`sets_below`).

    Raises:
        DataNotFound: ``root`` is given but holds no images, or lacks the LR image of an HR image.
    """
    if root is None:
        return _dataset("embedded photographs", embedded_images(EMBEDDED_SCORED), [])
    for base in (root, root / "DIV2K"):
        for hr, places in _LAYOUTS.items():
            if images := _images(base / hr):
                small = next(filter(None, (_images(base / lr) for lr in places)), [])
                return _dataset(base.resolve().name if hr == "HR" else "DIV2K validation", images, small)
    if images := _images(root):
        return _dataset(root.resolve().name, images, [])
    if any(_images(folder / "HR") for folder in _folders(root)) or any((root / name).is_dir() for name in _TRAINING):
        return find_dataset(None)
    hint = f"; did you mean {' or '.join(str(root / name) for name in sets_below(root))}?" if sets_below(root) else ""
    what = "holds no images" if root.is_dir() else "is no folder"
    raise DataNotFound(f"{root} {what}; expected DIV2K_valid_HR/, HR/ or image files ({sorted(SUFFIXES)}){hint}")


def sets_below(root: Path) -> list[str]:
    """Subfolders of ``root``, by name, that :func:`find_dataset` would score on; training images are not offered."""
    return [
        folder.name
        for folder in _folders(root)
        if folder.name not in _TRAINING and any(_images(folder / hr) for hr in (".", *_LAYOUTS))
    ]


def calibration_frames(scored: Dataset) -> Iterator[tuple[str, Image]]:
    """Photographs that set the INT8 ranges: (name, LR frame (360, 640, 3) uint8); none is in ``scored``.

    Images are compared by their pixels, so a scored copy of another name or format counts too.

    Raises:
        DataNotFound: ``scored`` holds all of them, or an image that cannot be read.
    """
    free = _not_scored(scored, _calibration_files())
    if not free:
        raise DataNotFound(f"{scored.name} holds every photograph that could calibrate; score on fewer images")
    for name, factor in CALIBRATION:
        if name in free:
            yield name if factor == 1 else f"{name} (1/{factor})", _frame(free[name], factor)


def held_out_pairs(scored: Dataset) -> Iterator[tuple[str, Image, Image]]:
    """Photographs that are not in ``scored``, to tell whether a network does as well there: (name, LR, HR), uint8.

    HR is the middle of a calibration photograph, at most three times ``HELD_OUT_SIDE`` to a side; LR is made of it by
    MATLAB bicubic.

    Raises:
        DataNotFound: an image of ``scored`` cannot be read.
    """
    files = {name: path for name, path in _calibration_files().items() if name not in _DRAWN}
    for name, photograph in _not_scored(scored, files).items():
        height, width = (min(side // SCALE, HELD_OUT_SIDE) * SCALE for side in photograph.shape[:2])
        top, left = (photograph.shape[0] - height) // 2, (photograph.shape[1] - width) // 2
        hr = photograph[top : top + height, left : left + width]
        yield name, downscale(hr, SCALE), hr


def lossless_webp(picture: Image) -> bytes:
    """The file that shows these pixels exactly; equal pixels give equal bytes.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    file = io.BytesIO()
    # With method 6 it takes 40 times as long, and is no smaller.
    PillowImage.fromarray(np.ascontiguousarray(picture)).save(file, "WEBP", lossless=True)
    return file.getvalue()


def probe_file() -> Path:
    """The photograph of :func:`probe_frame`; it is never scored."""
    return _calibration_files()[CALIBRATION[0][0]]


def probe_frame() -> Image:
    """The LR frame on which two forms of a network are compared: (360, 640, 3) uint8."""
    return _frame(read_rgb(probe_file()), CALIBRATION[0][1])


def fill_frame(image: Image) -> Image:
    """The middle of an image as (360, 640, 3), filled by mirroring: that makes no edge that photographs do not have."""
    height, width = LR_FRAME
    top, left = max(0, image.shape[0] - height) // 2, max(0, image.shape[1] - width) // 2
    image = image[top : top + height, left : left + width]
    pad = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    return np.pad(image, pad, mode="symmetric")


def enlarge(image: Image, size: tuple[int, int]) -> Image:
    """Keys' bicubic interpolation (a = -0.5) to ``size`` on the half-pixel grid, edges repeated: MATLAB's ``imresize``.

    Args:
        image: (H, W, 3) uint8.
        size: height and width of the result, the same whole multiple of H and of W.

    Raises:
        ValueError: the size is no such multiple.
    """
    factor = size[0] // image.shape[0]
    if size != (image.shape[0] * factor, image.shape[1] * factor) or factor < 1:
        raise ValueError(f"{size} is no multiple of {image.shape[:2]}")
    edge = 2  # pixels that the kernel reaches; Pillow's own edge would leave them out
    padded = PillowImage.fromarray(np.pad(image, ((edge, edge), (edge, edge), (0, 0)), mode="edge"))
    enlarged = padded.resize((padded.width * factor, padded.height * factor), PillowImage.Resampling.BICUBIC)
    inside = edge * factor
    return np.asarray(enlarged)[inside : inside + size[0], inside : inside + size[1]]


def training_images(root: Path) -> list[Path]:
    """Every image below ``root/DIV2K/DIV2K_train_HR``, ``root/DIV2K_train_HR`` and ``root/train``, in sorted order.

    Raises:
        DataNotFound: there are none.
    """
    folders = [root / name for name in _TRAINING]
    images = sorted(path for folder in folders for path in folder.rglob("*") if _is_image(path))
    if not images:
        places = ", ".join(map(str, folders))
        raise DataNotFound(f"no training images in {places}; give the folder above with --data")
    return images


def embedded_images(names: Sequence[str]) -> list[Path]:
    """Files of those names that come with scikit-image."""
    return [Path(str(files("skimage") / "data" / name)) for name in names]


def _calibration_files() -> dict[str, Path]:
    names = list(dict.fromkeys(name for name, _ in CALIBRATION))
    return dict(zip(names, embedded_images(names), strict=True))


def _not_scored(scored: Dataset, photographs: dict[str, Path]) -> dict[str, Image]:
    read = {name: read_rgb(path) for name, path in photographs.items()}
    shapes = {photograph.shape[:2] for photograph in read.values()}
    taken = {_pixels(read_rgb(pair.hr)) for pair in scored.pairs if read_shape(pair.hr) in shapes}
    return {name: photograph for name, photograph in read.items() if _pixels(photograph) not in taken}


def _frame(photograph: Image, factor: int) -> Image:
    return fill_frame(photograph if factor == 1 else downscale(photograph, factor))


def _pixels(image: Image) -> tuple[tuple[int, ...], str]:
    return image.shape, hashlib.sha256(image.tobytes()).hexdigest()


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_image(path)) if folder.is_dir() else []


def _is_image(path: Path) -> bool:
    # Archives made on macOS bring '._name.png' along, which is no image.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _dataset(name: str, hr: Sequence[Path], lr: Sequence[Path]) -> Dataset:
    small = {path.stem.lower(): path for path in lr}
    pairs = []
    digest = hashlib.sha256()
    for path in hr:
        stem = path.stem.lower()
        partner = small.get(f"{stem}x{SCALE}") or small.get(stem)
        if lr and partner is None:
            raise DataNotFound(f"{path} has no LR image {path.stem}x{SCALE} or {path.stem} in {lr[0].parent}")
        pairs.append(ImagePair(name=path.stem, hr=str(path), lr=str(partner) if partner else None))
        for file in filter(None, (path, partner)):
            digest.update(file.name.encode() + file.read_bytes())
    return Dataset(name=name, pairs=tuple(pairs), fingerprint=digest.hexdigest())
