"""Samples: parts of images that are looked into, LR and HR alike."""

import numpy as np
import numpy.typing as npt

from mai_harness.records import Sample
from mai_harness.resize import Image


def cut(image: Image, sample: Sample, scale: int = 1) -> Image:
    """A sample's part of an image, (height * scale, width * scale, 3); beyond its edges the image is mirrored.

    Args:
        image: LR, or HR with its scale.
    """
    rows, columns = (
        _mirrored(np.arange(start * scale, (start + extent) * scale), size)
        for start, extent, size in zip(
            (sample.top, sample.left), (sample.height, sample.width), image.shape[:2], strict=True
        )
    )
    return np.ascontiguousarray(image[rows][:, columns])


def _mirrored(places: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    places = places % (2 * size)
    return np.where(places < size, places, 2 * size - 1 - places)
