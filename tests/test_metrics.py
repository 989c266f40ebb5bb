"""Metrics against formulae written out here."""

import numpy as np
import pytest

from mai_harness.metrics import FIGURES, METRICS, luma, psnr, psnr_y, ssim


def noisy(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 256, (40, 52, 3), np.uint8)
    return np.clip(reference + rng.normal(0, 8, reference.shape), 0, 255).astype(np.uint8), reference


def test_psnr_is_that_of_all_pixels_and_channels_together():
    image, reference = noisy()
    squared = (image.astype(float) - reference.astype(float)) ** 2
    assert psnr(image, reference) == pytest.approx(20 * np.log10(255) - 10 * np.log10(squared.mean()))


def test_psnr_of_identical_images_is_infinite():
    assert psnr(*[noisy()[0]] * 2) == float("inf")


def test_ssim_is_the_mean_over_channels_with_the_standard_window():
    from scipy.ndimage import gaussian_filter

    image, reference = noisy()
    values = []
    for a, b in zip(image.transpose(2, 0, 1).astype(float), reference.transpose(2, 0, 1).astype(float), strict=True):
        blur = lambda x: gaussian_filter(x, 1.5, truncate=3.5)  # noqa: E731
        mean_a, mean_b = blur(a), blur(b)
        var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
        covariance = blur(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        index = top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        values.append(index[5:-5, 5:-5].mean())  # without the border that the window of 11 does not fill
    assert ssim(image, reference) == pytest.approx(np.mean(values), abs=1e-6)


def test_luma_of_white_black_and_primaries():
    colours = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(luma(colours), [[235, 16, 81.481, 144.553, 40.966]], atol=1e-3)  # BT.601


def test_psnr_y_ignores_what_luma_does_not_see():
    reference = np.full((20, 20, 3), 128, np.uint8)
    blue = reference.copy()
    blue[..., 2] += 9
    assert psnr_y(blue, reference) > psnr(blue, reference)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_refuses_images_of_two_shapes(metric):
    with pytest.raises(ValueError, match="cannot be compared"):
        metric.compute(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 1, 3), np.uint8))


def test_figures_bear_the_names_that_results_document():
    keys = {figure.key for figure in FIGURES}
    psnrs = {"psnr_raw_db", "psnr_dequantised_db", "psnr_mended_db", "psnr_fp32_db", "psnr_y_raw_db"}
    assert keys == psnrs | {"ssim_raw", "ssim_fp32"}
