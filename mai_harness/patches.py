"""Decoded images in two memory-mapped files, and the random patches that training draws from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mai_harness.errors import DataNotFound, StageFailed
from mai_harness.isolate import stored_reply, unpack
from mai_harness.records import SCALE, Record
from mai_harness.resize import Image

if TYPE_CHECKING:
    from torch import Tensor

LR_FILE, HR_FILE = "lr.npy", "hr.npy"  # flat uint8: (pixels * 3,)
CHANNELS = 3
HELD_OUT = 8  # images that training validates on
HELD_OUT_FROM = 64  # images; of fewer none can be spared

Pair = tuple[Image, Image]  #: LR (H, W, 3) and HR (3H, 3W, 3), uint8


class Picture(Record, frozen=True):
    """Where an LR image lies in ``lr.npy``; its HR image is nine times as far into ``hr.npy``."""

    path: str
    height: int  #: of the LR image, in pixels
    width: int
    offset: int  #: LR pixels before it
    factor: int = 1  #: how many times smaller than in the file it is taken
    sha256: str = ""  #: over the HR image's height, width and pixels

    def slices(self) -> tuple[slice, slice]:
        """Its bytes in ``lr.npy`` and in ``hr.npy``."""
        first, last = self.offset * CHANNELS, (self.offset + self.height * self.width) * CHANNELS
        return slice(first, last), slice(first * SCALE**2, last * SCALE**2)


class Decoded(Record, frozen=True):
    """The index of both files, in the order of the images that were asked for."""

    pictures: tuple[Picture, ...]


class Images(Sequence[Pair]):
    """Pairs of LR (H, W, 3) and HR (3H, 3W, 3), read-only uint8 views of the files in ``folder``."""

    def __init__(self, folder: Path, pictures: Sequence[Picture]) -> None:
        self.folder = folder
        self.pictures = tuple(pictures)
        self._lr, self._hr = (np.asarray(np.load(folder / name, mmap_mode="r")) for name in (LR_FILE, HR_FILE))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Pair:  # type: ignore[override]  # no slices: see ``of``
        picture = self.pictures[index]
        lr, hr = picture.slices()
        shape = np.array([picture.height, picture.width])
        return self._lr[lr].reshape(*shape, CHANNELS), self._hr[hr].reshape(*shape * SCALE, CHANNELS)

    def __reduce__(self) -> tuple[Any, ...]:
        return Images, (self.folder, self.pictures)  # another process maps the files, and is not sent what they hold

    def of(self, pictures: Sequence[Picture]) -> "Images":
        """The same files with these pictures only."""
        return Images(self.folder, pictures)

    def holding(self, patch: int) -> "Images":
        """Those of at least one patch.

        Args:
            patch: side of the LR patch, in pixels.

        Raises:
            DataNotFound: there is none.
        """
        large = [picture for picture in self.pictures if min(picture.height, picture.width) >= patch]
        if not large:
            raise DataNotFound(
                f"none of {len(self)} training images has {patch * SCALE} pixels to a side, which a patch takes"
            )
        return self.of(large)

    def split(self) -> "tuple[Images, Images]":
        """Images to train on and to validate on: eight spread evenly over 64 or more, else none; no smaller copies."""
        whole = [picture for picture in self.pictures if picture.factor == 1]
        spread = range(HELD_OUT if len(whole) >= HELD_OUT_FROM else 0)
        held = [whole[(2 * i + 1) * len(whole) // (2 * HELD_OUT)] for i in spread]
        paths = {picture.path for picture in held}
        return self.of([picture for picture in self.pictures if picture.path not in paths]), self.of(held)


def opened(folder: Path) -> Images:
    """What the decode stage left in ``folder``.

    Raises:
        StageFailed: it did not finish there.
    """
    reply = stored_reply(folder)
    if reply is None:
        raise StageFailed(f"{folder} holds no decoded images")
    return Images(folder, unpack(reply, Decoded).pictures)


class PatchDataset:
    """Endless random patches; the i-th follows from seed and i alone, so that a resumed run replays nothing.

    Images are drawn in proportion to their areas, places evenly, and each patch is turned or mirrored in one of the
    eight ways.

    Args:
        images: each of at least one patch.
        patch: side of the LR patch, in pixels.
        seed: in [0, 2**64).
    """

    def __init__(self, images: Images, patch: int, seed: int) -> None:
        self.images, self.patch, self.seed = images, patch, seed
        areas = np.array([picture.height * picture.width for picture in images.pictures], dtype=np.float64)
        self._shares = np.cumsum(areas) / areas.sum()

    def __getitem__(self, index: int) -> "tuple[Tensor, Tensor]":
        """LR (3, P, P) and HR (3, 3P, 3P), uint8."""
        import torch

        # The counter's first word counts blocks within a patch: no two patches share a draw.
        draws = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, index, 0, 0])).random(4)
        lr, hr = self.images[int(np.searchsorted(self._shares[:-1], draws[0], side="right"))]
        y, x = (int(draw * (side - self.patch + 1)) for draw, side in zip(draws[1:3], lr.shape, strict=False))
        way = int(draws[3] * 8)
        crops = []
        for image, scale in ((lr, 1), (hr, SCALE)):
            crop = image[y * scale : (y + self.patch) * scale, x * scale : (x + self.patch) * scale]
            crop = _seen(np.ascontiguousarray(crop), way)  # copied twice: out of the file rows are fast, columns slow
            crops.append(torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))))
        return crops[0], crops[1]


def _seen(image: Image, way: int) -> Image:
    """A view in one of the eight ways, 0 to 7, that a square has of being turned and mirrored."""
    turned = np.rot90(image, way % 4)
    return turned[:, ::-1] if way >= 4 else turned
