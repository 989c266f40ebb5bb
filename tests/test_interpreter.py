"""Tiles against whole runs, and the two readings of an output."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mai_harness.errors import ModelContractError
from mai_harness.interpreter import Quantisation, as_dequantised_pixels, as_raw_pixels, tiled


def upscaler(radius: int):
    """A network with a receptive field of exactly ``radius``: a box sum with zero padding, then nearest x3."""

    def run(lr: np.ndarray) -> np.ndarray:
        padded = np.pad(lr.astype(np.int64), ((radius, radius), (radius, radius), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1), (0, 1))
        return windows.sum((3, 4)).repeat(3, 0).repeat(3, 1)

    return run


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(8, 70), width=st.integers(8, 70), radius=st.integers(0, 4),
    frame=st.tuples(st.integers(9, 40), st.integers(9, 40)), seed=st.integers(0, 9),
)  # fmt: skip
def test_tiles_give_the_pixels_of_a_whole_run(height, width, radius, frame, seed):
    lr = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    run = upscaler(radius)

    def in_frame(tile: np.ndarray) -> np.ndarray:
        assert tile.shape == (*frame, 3)
        return run(tile)

    np.testing.assert_array_equal(tiled(in_frame, lr, frame, radius), run(lr))


def test_a_margin_too_small_shows_seams():
    lr = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    assert (tiled(upscaler(4), lr, (24, 24), 0) != upscaler(4)(lr)).any()


def test_tiles_keep_the_grid_of_a_network_that_reduces_inside():
    def on_blocks(lr: np.ndarray) -> np.ndarray:  # every block of 4x4 becomes its sum: shifted by one, another image
        blocks = lr.reshape(lr.shape[0] // 4, 4, lr.shape[1] // 4, 4, 3).sum((1, 3))
        return blocks.repeat(12, 0).repeat(12, 1)

    lr = np.random.default_rng(0).integers(0, 256, (100, 72, 3), np.uint8)
    np.testing.assert_array_equal(tiled(on_blocks, lr, (40, 80), 3), on_blocks(lr))


def test_a_frame_within_the_receptive_field_is_refused():
    with pytest.raises(ModelContractError, match="too small for tiles"):
        tiled(upscaler(1), np.zeros((30, 30, 3), np.uint8), (8, 8), 4)


def test_raw_reading_takes_stored_numbers_as_pixels():
    np.testing.assert_array_equal(as_raw_pixels(np.array([-9.0, 1.9, 300.0])), [0, 1, 255])  # a cast truncates
    np.testing.assert_array_equal(as_raw_pixels(np.array([-128, 127], np.int8)), [0, 127])


def test_dequantised_reading_applies_scale_and_zero_point():
    stored = np.array([0, 20, 121, 255], np.uint8)
    np.testing.assert_array_equal(as_dequantised_pixels(stored, Quantisation(1.5, 20)), [0, 0, 152, 255])
    np.testing.assert_array_equal(as_dequantised_pixels(stored, Quantisation(1.0, 0)), stored)
