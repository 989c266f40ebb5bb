"""Metrics against formulae written out here, and OpenCV's against scikit-image's."""

import subprocess
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mai_harness.datasets import embedded_images, read_rgb
from mai_harness.metrics import FIGURES, METRICS, Metric, luma, psnr, psnr_scikit_image, psnr_y, ssim, ssim_scikit_image


def noisy(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 256, (40, 52, 3), np.uint8)
    return np.clip(reference + rng.normal(0, 8, reference.shape), 0, 255).astype(np.uint8), reference


def photograph(name: str) -> np.ndarray:
    return read_rgb(embedded_images([name])[0])


def with_noise(image: np.ndarray, spread: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, spread, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def flat(value: int, height: int = 150, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def opposite_noise() -> tuple[np.ndarray, np.ndarray]:
    """A bright and a dark half; noise is in the difference alone, so the sum's variance is all rounding."""
    base = np.where(np.arange(300) < 150, 17, 238)[None, :, None]
    noise = np.random.default_rng(2).normal(0, 5, (200, 300, 3)).round().astype(int)
    return np.clip(base + noise, 0, 255).astype(np.uint8), np.clip(base - noise, 0, 255).astype(np.uint8)


CAT = photograph("chelsea.png")  # 300x451: several tiles, and odd
PAIRS = {
    "photograph, slight noise": (with_noise(CAT, 3), CAT),
    "photograph, strong noise": (with_noise(CAT, 60), CAT),
    "photograph, shifted": (CAT[1:, 1:], CAT[:-1, :-1]),
    "photograph, coarse": (photograph("coffee.png") // 16 * 16, photograph("coffee.png")),
    "photograph, negative": (255 - CAT, CAT),
    "photograph, bright corner": (CAT[-100:, -100:] // 8 + 220, CAT[-100:, -100:] // 8 + 215),
    "two photographs": (photograph("astronaut.png")[:300, :451], CAT),
    "identical": (CAT, CAT),
    "noise": (noisy(1)[1], noisy(2)[1]),
    "opposite noise": opposite_noise(),
    "black and white": (flat(0), flat(255)),
    "white and nearly white": (flat(254), flat(255)),
    "grey and light": (flat(128), flat(253)),
    "light and lighter": (flat(230), flat(250)),
    "white and white": (flat(255), flat(255)),
    **{f"{height}x{width}": (with_noise(CAT[:height, :width], 8), CAT[:height, :width])
       for height, width in ((11, 11), (12, 13), (11, 300), (200, 11), (138, 266), (139, 267), (137, 265))},
}  # fmt: skip
IMAGE_PAIRS = st.tuples(st.integers(11, 24), st.integers(11, 24), st.just(3)).flatmap(
    lambda shape: st.tuples(hnp.arrays(np.uint8, shape), hnp.arrays(np.uint8, shape))
)


def assert_agrees(image: np.ndarray, reference: np.ndarray) -> None:
    for name, metric in METRICS.items():
        found, wanted = (metric.implemented_by(library)(image, reference) for library in ("opencv", "scikit-image"))
        assert found == pytest.approx(wanted, rel=0, abs=1e-5 if name == "ssim" else 1e-6), name


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_opencv_agrees_with_scikit_image(pair):
    assert_agrees(*pair)


@settings(max_examples=60, deadline=None)
@given(pair=IMAGE_PAIRS)
def test_opencv_agrees_with_scikit_image_on_any_pair(pair):
    assert_agrees(*pair)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), contrast=st.integers(0, 255), base=st.integers(0, 255), spread=st.floats(0, 40))
def test_opencv_agrees_with_scikit_image_on_images_that_are_alike(seed, contrast, base, spread):
    rng = np.random.default_rng(seed)
    reference = np.clip(base + rng.uniform(-contrast, contrast, (*rng.integers(11, 40, 2), 3)), 0, 255).astype(np.uint8)
    assert_agrees(np.clip(reference + rng.normal(0, spread, reference.shape), 0, 255).astype(np.uint8), reference)


def test_views_and_images_that_cannot_be_written_are_read_as_they_are():
    image, reference = with_noise(CAT, 8), CAT
    image.flags.writeable = False
    for view in (np.s_[4:-4, 4:-4], np.s_[::2, ::-3], np.s_[..., ::-1]):
        assert_agrees(image[view], reference[view])
        assert ssim(image[view], reference[view]) == ssim(image[view].copy(), reference[view].copy())
    np.testing.assert_array_equal(image, with_noise(CAT, 8))
    np.testing.assert_array_equal(reference, photograph("chelsea.png"))


@pytest.mark.parametrize("shape", [(7,), (4, 1), (3, 5), (2, 4, 5, 3)])
def test_psnr_of_any_shape(shape):
    image, reference = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    assert psnr(image, reference) == pytest.approx(psnr_scikit_image(image, reference), rel=0, abs=1e-6)


@pytest.mark.parametrize("dtypes", [(np.uint8, np.float64), (np.int16, np.int16), (np.int64, np.uint8)])
def test_psnr_of_other_numbers_wraps_nowhere(dtypes):
    low, high = np.zeros((9, 9), dtypes[0]), np.full((9, 9), 255, dtypes[1])
    assert psnr(low, high) == psnr(high, low) == 0


def test_psnr_sums_large_images_without_overflow_or_rounding():
    white = flat(255, 1356, 2040)
    assert psnr(white, white - 255) == 0
    nearly = white.copy()
    nearly[-1, -1, -1] = 254
    assert psnr(nearly, white) == pytest.approx(10 * np.log10(255**2 * white.size), rel=1e-15)


def test_identical_images_have_ssim_of_one():
    assert ssim(CAT, CAT) == 1


def test_ssim_takes_one_thread():
    import cv2

    ssim(*noisy())
    assert cv2.getNumThreads() == 1


def test_importing_metrics_imports_no_library_of_images():
    code = "import sys, mai_harness.metrics; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cv2", "skimage"} & set(found)


@pytest.mark.parametrize("psnr", [psnr, psnr_scikit_image])
def test_psnr_is_that_of_all_pixels_and_channels_together(psnr):
    image, reference = noisy()
    squared = (image.astype(float) - reference.astype(float)) ** 2
    assert psnr(image, reference) == pytest.approx(20 * np.log10(255) - 10 * np.log10(squared.mean()))


@pytest.mark.parametrize("psnr", [psnr, psnr_scikit_image])
def test_psnr_of_identical_images_is_infinite(psnr):
    assert psnr(*[noisy()[0]] * 2) == float("inf")


@pytest.mark.parametrize("ssim", [ssim, ssim_scikit_image])
def test_ssim_is_the_mean_over_channels_with_the_standard_window(ssim):
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
    assert ssim(image, reference) == pytest.approx(np.mean(values), abs=1e-7)


def test_luma_of_white_black_and_primaries():
    colours = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(luma(colours), [[235, 16, 81.481, 144.553, 40.966]], atol=1e-3)  # BT.601


def test_psnr_y_ignores_what_luma_does_not_see():
    reference = np.full((20, 20, 3), 128, np.uint8)
    blue = reference.copy()
    blue[..., 2] += 9
    assert psnr_y(blue, reference) > psnr(blue, reference)


@pytest.mark.parametrize("shape", [(10, 40, 3), (40, 10, 3)])
@pytest.mark.parametrize(("ssim", "message"), [(ssim, "smaller than SSIM's window"), (ssim_scikit_image, "win_size")])
def test_ssim_refuses_an_image_smaller_than_its_window(ssim, message, shape):
    with pytest.raises(ValueError, match=message):
        ssim(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("library", ["opencv", "scikit-image"])
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_refuses_images_of_two_shapes(metric, library):
    with pytest.raises(ValueError, match="cannot be compared"):
        metric.implemented_by(library)(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 1, 3), np.uint8))


def test_every_metric_has_two_implementations_and_a_new_one_may_have_one():
    assert all(metric.scikit_image not in (None, metric.compute) for metric in METRICS.values())
    assert METRICS["ssim"].implemented_by("opencv") is ssim
    assert METRICS["ssim"].implemented_by("scikit-image") is ssim_scikit_image
    assert Metric("New", psnr, "dB", "z.3f", ("raw",)).implemented_by("scikit-image") is psnr


def test_figures_bear_the_names_that_results_document():
    keys = {figure.key for figure in FIGURES}
    psnrs = {"psnr_raw_db", "psnr_dequantised_db", "psnr_mended_db", "psnr_fp32_db", "psnr_y_raw_db"}
    assert keys == psnrs | {"ssim_raw", "ssim_fp32"}
