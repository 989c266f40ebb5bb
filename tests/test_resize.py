"""``resize`` against the genuine MATLAB images, and against exact rational arithmetic where there are none."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mai_harness.resize import Image, cubic, downscale

PAIRS = {"Set5": 5, "Set14": 14, "B100": 100}
SHARE_WITHIN_ONE = 0.999
SHARE_EQUAL = 0.98


# The genuine images


def pairs_of(name: str) -> list[tuple[Path, Path]]:
    """(HR, LR) of every image of a set below MAI_DATA_ROOT; skips where there is none."""
    root = os.environ.get("MAI_DATA_ROOT")
    if not root:
        pytest.skip("MAI_DATA_ROOT is not set: the folder of Set5, Set14 and B100")
    small = {path.stem.removesuffix("x3"): path for path in Path(root, name, "LR_bicubic_X3").glob("*.png")}
    pairs = [(path, small[path.stem]) for path in sorted(Path(root, name, "HR").glob("*.png")) if path.stem in small]
    if not pairs:
        pytest.skip(f"{root} has no {name}/HR and {name}/LR_bicubic_X3")
    return pairs


def read(path: Path) -> Image:
    with PillowImage.open(path) as image:
        return np.asarray(image.convert("RGB"))


def differences(name: str) -> dict[str, np.ndarray]:
    """Per image the largest difference over the channels, (H, W), between the genuine LR image and ours."""
    found = {}
    for hr_path, lr_path in pairs_of(name):
        hr, lr = read(hr_path), read(lr_path)
        hr = hr[: lr.shape[0] * 3, : lr.shape[1] * 3]
        found[hr_path.name] = np.abs(downscale(hr, 3).astype(int) - lr).max(axis=2)
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_equals_the_published_lr_images_of_matlab(name, record_property):
    found = differences(name)
    assert len(found) == PAIRS[name]
    pixels = np.concatenate([difference.ravel() for difference in found.values()])
    figures = {
        "within_one": float((pixels <= 1).mean()),
        "equal": float((pixels == 0).mean()),
        "least_within_one": min(((d <= 1).mean(), image) for image, d in found.items()),
        "least_equal": min(((d == 0).mean(), image) for image, d in found.items()),
    }
    for key, value in figures.items():
        record_property(key, value)
    assert figures["within_one"] >= SHARE_WITHIN_ONE, figures
    assert figures["equal"] >= SHARE_EQUAL, figures


@pytest.mark.parametrize("name", PAIRS)
def test_equals_the_published_lr_images_at_the_border(name):
    """Where the taps reach beyond the image: a mirrored border differs on a quarter of these pixels."""
    for image, difference in differences(name).items():
        border = np.ones(difference.shape, bool)
        border[2:-2, 2:-2] = False
        assert (difference[border] == 0).mean() >= SHARE_EQUAL, image


# Exact arithmetic


def keys(x: Fraction) -> Fraction:
    """Keys 1981, equation 15, with a = -1/2."""
    x = abs(x)
    if x < 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    if x < 2:
        return Fraction(-1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2
    return Fraction(0)


def exact_line(line: list[int], factor: int) -> list[Fraction]:
    """One pass over one line: output o lies at input position factor * o + (factor - 1) / 2, counted from zero."""
    result = []
    for o in range(-(-len(line) // factor)):
        centre = factor * o + Fraction(factor - 1, 2)
        reach = range(factor * (o - 2) - 1, factor * (o + 3) + 2)
        weights = {i: keys((centre - i) / factor) for i in reach}
        total = sum(weights.values())
        result.append(sum(w * line[min(max(i, 0), len(line) - 1)] for i, w in weights.items()) / total)
    return result


def rounded(value: Fraction) -> int:
    return min(max((2 * value.numerator + value.denominator) // (2 * value.denominator), 0), 255)


def exact(image: Image, factor: int) -> Image:
    """Rows, rounding, columns, rounding: one channel at a time, one line at a time."""
    planes = []
    for channel in range(image.shape[2]):
        plane = image[:, :, channel].tolist()
        columns = [[rounded(v) for v in exact_line(list(line), factor)] for line in zip(*plane, strict=True)]
        planes.append([[rounded(v) for v in exact_line(list(row), factor)] for row in zip(*columns, strict=True)])
    return np.array(planes, np.uint8).transpose(1, 2, 0)


def noise(*shape: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("size", [(24, 36), (25, 35), (7, 5), (3, 1), (1, 1), (2, 9)])
def test_equals_exact_arithmetic(size, factor):
    image = noise(*size, 3, seed=size[0] * 100 + size[1])
    np.testing.assert_array_equal(downscale(image, factor), exact(image, factor))


@pytest.mark.parametrize("factor", [2, 3])
def test_equals_exact_arithmetic_on_extremes(factor):
    """Black and white blocks only: the kernel overshoots at their edges, so both passes clip."""
    blocks = np.array([[0, 1, 1, 0], [1, 0, 1, 1], [0, 1, 0, 0]], np.uint8) * 255
    image = np.kron(blocks, np.ones((12, 8), np.uint8))[:, :, None]
    line = exact_line(image[:, 0, 0].tolist(), factor)
    assert min(line) < 0
    assert max(line) > 255
    np.testing.assert_array_equal(downscale(image, factor), exact(image, factor))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(line=st.lists(st.integers(0, 255), min_size=1, max_size=20), factor=st.integers(2, 5))
def test_any_line_is_the_rounded_exact_value(line, factor):
    image = np.array(line, np.uint8).reshape(-1, 1, 1)
    for found, value in zip(downscale(image, factor).ravel().tolist(), exact_line(line, factor), strict=True):
        # Doubles may fall to either side of an exact half.
        is_half = (value + Fraction(1, 2)).denominator == 1
        assert found == rounded(value) or (is_half and found == max(rounded(value) - 1, 0))


def test_halves_round_up():
    """Nine taps of a ramp of slope 1 at factor 2: every inner value lies at k + 1/2."""
    image = np.arange(40, dtype=np.uint8).reshape(-1, 1, 1)
    assert downscale(image, 2).ravel().tolist()[3:17] == [2 * o + 1 for o in range(3, 17)]


def test_rounds_between_the_passes():
    image = noise(48, 48, 1, seed=2)
    lines = np.array([exact_line(line, 3) for line in image[:, :, 0].T.tolist()], object).T
    unrounded = np.array([[rounded(v) for v in exact_line(list(row), 3)] for row in lines])
    differing = downscale(image, 3)[:, :, 0] != unrounded
    assert 0 < differing.mean() < 0.5


def test_rows_come_first():
    image = noise(48, 60, 3, seed=3)
    turned = downscale(image.swapaxes(0, 1), 3).swapaxes(0, 1)
    assert (turned != downscale(image, 3)).any()
    assert np.abs(turned.astype(int) - downscale(image, 3)).max() <= 2


@pytest.mark.parametrize("value", [0, 1, 127, 128, 254, 255])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_constant_images_stay(value, factor):
    assert (downscale(np.full((20, 31, 3), value, np.uint8), factor) == value).all()


@pytest.mark.parametrize(("slope", "factor"), [(2, 3), (3, 3), (1, 3), (2, 2)])
def test_a_ramp_stays_a_ramp_at_the_same_place(slope, factor):
    """Cubic convolution reproduces lines, so a shift by any part of a pixel would show."""
    image = np.repeat((np.arange(60) * slope).astype(np.uint8)[None, :, None], 6, axis=0)
    expected = np.array([rounded(slope * (factor * o + Fraction(factor - 1, 2))) for o in range(60 // factor)])
    inner = slice(3, 60 // factor - 3)
    np.testing.assert_array_equal(downscale(image, factor)[0, inner, 0], expected[inner])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_symmetric_image_gives_a_symmetric_result(axis):
    half = noise(30, 30, 3, seed=4)
    image = np.concatenate([half, np.flip(half, axis)], axis)
    result = downscale(image, 3)
    assert (result != result[:1, :1]).any()
    np.testing.assert_array_equal(result, np.flip(result, axis))


def test_channels_do_not_mix():
    image = noise(30, 33, 3, seed=6)
    alone = np.concatenate([downscale(np.ascontiguousarray(image[:, :, c : c + 1]), 3) for c in range(3)], axis=2)
    np.testing.assert_array_equal(downscale(image, 3), alone)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 4), (100, 101), (98, 99)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_sizes_round_up_and_the_result_is_contiguous(size, factor):
    result = downscale(noise(*size, 3), factor)
    assert result.shape == (-(-size[0] // factor), -(-size[1] // factor), 3)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous


def test_the_image_is_left_alone_and_may_be_a_view():
    image = noise(60, 60, 3)
    before = image.copy()
    view = image[::2, ::-2]
    np.testing.assert_array_equal(downscale(view, 3), downscale(np.ascontiguousarray(view), 3))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "factor", "words"),
    [
        pytest.param(np.zeros((9, 9), np.uint8), 3, r"\(9, 9\) uint8", id="grey"),
        pytest.param(np.zeros((1, 9, 9, 3), np.uint8), 3, r"\(1, 9, 9, 3\) uint8", id="batch"),
        pytest.param(np.zeros((9, 9, 3), np.float32), 3, r"\(9, 9, 3\) float32", id="float"),
        pytest.param(np.zeros((0, 9, 3), np.uint8), 3, r"\(0, 9, 3\) uint8", id="empty"),
        pytest.param(np.zeros((9, 9, 3), np.uint8), 1, "at least 2, found 1", id="same size"),
        pytest.param(np.zeros((9, 9, 3), np.uint8), -3, "at least 2, found -3", id="negative"),
    ],
)
def test_refuses(image, factor, words):
    with pytest.raises(ValueError, match=words):
        downscale(image, factor)


def test_cubic_equals_keys_and_sums_to_one():
    for twelfths in range(-40, 41):
        x = Fraction(twelfths, 12)
        assert cubic(np.array(float(x))) == pytest.approx(float(keys(x)), abs=1e-15)
    for phase in np.linspace(0, 1, 7):
        assert cubic(phase - np.arange(-2, 4)).sum() == pytest.approx(1, abs=1e-14)
    assert cubic(np.zeros((2, 3))).shape == (2, 3)
