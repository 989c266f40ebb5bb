"""Fidelity metrics on uint8 images, by OpenCV, with scikit-image as the reference; a new one is one row of METRICS."""

import math
from collections.abc import Callable
from functools import cache
from itertools import product
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.records import Reading
from mai_harness.resize import Image

DATA_RANGE = 255
GAP_LIMIT_DB = 0.5  # PSNR of dequantised less raw output; more is no rounding error
Library = Literal["opencv", "scikit-image"]
Array = npt.NDArray[Any]
_SIGMA, _RADIUS = 1.5, 5  # the window of Wang et al.: 11 taps
_WINDOW = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / (2 * _SIGMA**2))
_WINDOW /= _WINDOW.sum()
_C1, _C2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2
_TILE = 128, 256  # rows, columns: what is computed of a tile stays in the cache
_ALIKE_DB = 20  # from this PSNR on, float32 rounds squared differences so finely that SSIM changes by less than 1e-5


def psnr(image: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels, peak 255; infinite for identical images.

    Args:
        image: any shape, values in [0, 255].
        reference: of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same(image, reference)
    error = _mean_squared_error(image, reference)
    return 10 * math.log10(DATA_RANGE**2 / error) if error else math.inf


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity, mean over pixels and RGB channels: Wang et al. 2004, Gaussian window, sigma 1.5.

    Pixels within five of the edge, where the window of 11 is not filled, do not count.

    Args:
        image: (H, W, 3) uint8, both sides at least 11 pixels.
        reference: of the same shape.

    Raises:
        ValueError: the shapes differ, or the image is smaller than the window.
    """
    _require_same(image, reference)
    height, width = (side - 2 * _RADIUS for side in image.shape[:2])
    if min(height, width) < 1:
        raise ValueError(f"an image of {image.shape} is smaller than SSIM's window of {len(_WINDOW)} pixels")
    precise = psnr(image, reference) < _ALIKE_DB
    total = 0.0
    for top, left in product(range(0, height, _TILE[0]), range(0, width, _TILE[1])):
        tile = np.s_[top : top + _TILE[0] + 2 * _RADIUS, left : left + _TILE[1] + 2 * _RADIUS]
        total += _ssim_sum(image[tile], reference[tile], precise)
    return total / (height * width * image.shape[2])


def luma(image: Image) -> npt.NDArray[np.float64]:
    """BT.601 luma, (H, W) float64 in [16, 235], unrounded as in MATLAB's ``rgb2ycbcr`` on doubles.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    weighted: npt.NDArray[np.float64] = image.astype(np.float64) @ np.array([65.481, 128.553, 24.966])
    return 16 + weighted / 255


def psnr_y(image: Image, reference: Image) -> float:
    """PSNR in dB of the BT.601 luma, peak 255."""
    return psnr(luma(image), luma(reference))


def psnr_scikit_image(image: Array, reference: Array) -> float:
    """:func:`psnr` as scikit-image computes it; arguments and errors are the same."""
    from skimage.metrics import peak_signal_noise_ratio

    _require_same(image, reference)
    with np.errstate(divide="ignore"):  # identical images
        return float(peak_signal_noise_ratio(reference, image, data_range=DATA_RANGE))


def ssim_scikit_image(image: Image, reference: Image) -> float:
    """:func:`ssim` as scikit-image computes it, in float64; arguments and errors are the same."""
    from skimage.metrics import structural_similarity

    _require_same(image, reference)
    return float(
        structural_similarity(
            reference, image, data_range=DATA_RANGE, channel_axis=2, gaussian_weights=True, sigma=_SIGMA,
            use_sample_covariance=False,
        )
    )  # fmt: skip


def psnr_y_scikit_image(image: Image, reference: Image) -> float:
    """:func:`psnr_y` as scikit-image computes it."""
    return psnr_scikit_image(luma(image), luma(reference))


class Metric(NamedTuple):
    """A metric, and what tables need to know of it.

    ``scikit_image`` computes the same independently and slower; a metric without it has one implementation.
    """

    title: str
    compute: Callable[[Image, Image], float]
    unit: str
    form: str  #: format specification of its figures
    readings: tuple[Reading, ...]  #: of the output, for which it is computed
    scikit_image: Callable[[Image, Image], float] | None = None

    def implemented_by(self, library: Library) -> Callable[[Image, Image], float]:
        """The function that computes it with that library, if it has one that does."""
        return self.scikit_image if library == "scikit-image" and self.scikit_image else self.compute


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR", psnr, "dB", "z.3f", ("raw", "dequantised", "mended", "fp32"), psnr_scikit_image),
    "psnr_y": Metric("PSNR Y", psnr_y, "dB", "z.3f", ("raw",), psnr_y_scikit_image),
    "ssim": Metric("SSIM", ssim, "", "z.4f", ("raw", "fp32"), ssim_scikit_image),
}


class Figure(NamedTuple):
    """One metric of one reading; ``key`` is its name in results, such as ``psnr_raw_db``."""

    key: str
    metric: Metric
    reading: Reading


FIGURES = tuple(
    Figure(f"{name}_{reading}{'_db' if metric.unit == 'dB' else ''}", metric, reading)
    for name, metric in METRICS.items()
    for reading in metric.readings
)


def _require_same(image: Array, reference: Array) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"images of {image.shape} and {reference.shape} cannot be compared")


@cache
def _opencv() -> ModuleType:
    """OpenCV, imported when first needed, on one thread: scoring gives every image a process of its own."""
    import cv2

    cv2.setNumThreads(1)
    return cv2


def _mean_squared_error(image: Array, reference: Array) -> float:
    if image.dtype == reference.dtype == np.uint8:
        cv2 = _opencv()
        squares: float = cv2.norm(image, reference, cv2.NORM_L2SQR)
        return round(squares) / image.size  # the sum is whole, but OpenCV's is a rounded root squared
    return float(np.mean(np.square(np.subtract(image, reference, dtype=np.float64))))


def _ssim_sum(x: Image, y: Image, precise: bool) -> float:
    """SSIM summed over the pixels of a tile that are not in its margin of five.

    With s = x + y and d = x - y, 4xy = ss - dd and 2(xx + yy) = ss + dd, of means as of (co)variances. So four filtered
    images do for five, and of images that are alike, d is so small that float32 holds its square.
    """
    cv2 = _opencv()
    mean_s, variance_s = _moments(cv2.add(x, y, dtype=cv2.CV_64F))
    mean_d, variance_d = _moments(cv2.subtract(x, y, dtype=cv2.CV_64F if precise else cv2.CV_32F))
    mean_s += 2 * _C1
    variance_s += 2 * _C2
    index = (mean_s - mean_d) * (variance_s - variance_d) / ((mean_s + mean_d) * (variance_s + variance_d))
    return float(index[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS].sum(dtype=np.float64))


def _moments(values: Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Squared mean and variance in every pixel's window, computed in the precision of ``values``: float32, float64."""
    squared_mean = np.square(_blur(values))
    variance = _blur(np.square(values)) - squared_mean
    return squared_mean.astype(np.float32, copy=False), variance.astype(np.float32, copy=False)


def _blur(values: Array) -> Array:
    blurred: Array = _opencv().sepFilter2D(values, -1, _WINDOW, _WINDOW)
    return blurred
