"""MATLAB-compatible bicubic downscaling: what made the published LR images of Set5, Set14 and B100, to the bit.

``imresize`` of a uint8 image works one dimension at a time, rows first, and rounds to uint8 after each. Leaving out
the rounding in between changes one pixel in eight. Beyond the border it repeats the edge pixel; today's MATLAB and
its ports mirror there, which changes one in four of the pixels within two of the border.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy import sparse

Image = npt.NDArray[np.uint8]

_KEYS_A = -0.5  # the parameter of Keys' cubic convolution kernel (1981) that MATLAB uses
_CUBIC_SUPPORT = 4


def downscale(image: Image, factor: int) -> Image:
    """Reduce ``image`` by an integer ``factor`` as MATLAB's ``imresize(image, 1/factor)`` does.

    Args:
        image: (H, W, C) uint8 in [0, 255].
        factor: how many times smaller, at least 2.

    Returns:
        (ceil(H / factor), ceil(W / factor), C) uint8.

    Raises:
        ValueError: the image is empty or not (H, W, C) uint8, or the factor is below 2.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"expected (H, W, C) uint8, found {image.shape} {image.dtype}")
    if factor < 2:
        raise ValueError(f"factor must be at least 2, found {factor}")
    rows = _reduce_first_axis(image, factor)
    return np.ascontiguousarray(_reduce_first_axis(rows.swapaxes(0, 1), factor).swapaxes(0, 1))


def _reduce_first_axis(image: Image, factor: int) -> Image:
    length, *rest = image.shape
    weights = _contributions(length, factor)
    reduced = weights @ image.reshape(length, -1).astype(np.float64)
    # MATLAB's uint8() rounds halves away from zero; numpy's round would go to even.
    rounded: Image = np.floor(np.clip(reduced, 0, 255) + 0.5).astype(np.uint8)
    return rounded.reshape(-1, *rest)


@lru_cache(maxsize=64)
def _contributions(length: int, factor: int) -> "sparse.csr_array":
    """The (ceil(length / factor), length) matrix of one pass, edge pixels repeated."""
    from scipy import sparse

    outputs = math.ceil(length / factor)
    width = _CUBIC_SUPPORT * factor
    centre = (np.arange(1, outputs + 1)) * factor + 0.5 * (1 - factor)
    left = np.floor(centre - width / 2)
    taps = left[:, None] + np.arange(width + 2)
    weights = cubic((centre[:, None] - taps) / factor)
    weights /= weights.sum(axis=1, keepdims=True)
    clamped = np.clip(taps.astype(np.int64) - 1, 0, length - 1)
    row = np.repeat(np.arange(outputs), taps.shape[1])
    return sparse.csr_array((weights.ravel(), (row, clamped.ravel())), shape=(outputs, length), dtype=np.float64)


def cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel (1981) with a = -0.5 at distance ``x`` in pixels, any shape."""
    x = np.abs(x)
    near = (_KEYS_A + 2) * x**3 - (_KEYS_A + 3) * x**2 + 1
    far = _KEYS_A * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
