"""Fidelity metrics on uint8 images, scikit-image's implementations; a new one is one row of METRICS."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.records import Reading
from mai_harness.resize import Image

DATA_RANGE = 255
GAP_LIMIT_DB = 0.5  # PSNR of dequantised less raw output; more is no rounding error


def psnr(image: npt.NDArray[np.generic], reference: npt.NDArray[np.generic]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels, peak 255; infinite for identical images.

    Args:
        image: any shape, values in [0, 255].
        reference: of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    from skimage.metrics import peak_signal_noise_ratio

    _require_same(image, reference)
    with np.errstate(divide="ignore"):  # identical images
        return float(peak_signal_noise_ratio(reference, image, data_range=DATA_RANGE))


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity, mean over pixels and RGB channels: Wang et al. 2004, Gaussian window, sigma 1.5.

    Args:
        image: (H, W, C) uint8, both sides at least 11 pixels.
        reference: of the same shape.

    Raises:
        ValueError: the shapes differ, or the image is smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _require_same(image, reference)
    return float(
        structural_similarity(
            reference, image, data_range=DATA_RANGE, channel_axis=2, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
    )  # fmt: skip


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


class Metric(NamedTuple):
    """A metric, and what tables need to know of it."""

    title: str
    compute: Callable[[Image, Image], float]
    unit: str
    form: str  #: format specification of its figures
    readings: tuple[Reading, ...]  #: of the output, for which it is computed


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR", psnr, "dB", "z.3f", ("raw", "dequantised", "mended", "fp32")),
    "psnr_y": Metric("PSNR Y", psnr_y, "dB", "z.3f", ("raw",)),
    "ssim": Metric("SSIM", ssim, "", "z.4f", ("raw", "fp32")),
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


def _require_same(image: npt.NDArray[np.generic], reference: npt.NDArray[np.generic]) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"images of {image.shape} and {reference.shape} cannot be compared")
