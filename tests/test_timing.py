"""Ratios of timings that were taken in turns."""

import msgspec
import numpy as np
import pytest
from test_challenge import report

from mai_harness.timing import NOISE, compared, is_noisy, ratio


def test_the_median_of_the_quotients():
    found = ratio([10.0, 20.0, 90.0], [10.0, 10.0, 10.0])
    assert found.value == 2.0
    assert found.rounds == 3


def test_a_machine_that_slows_down_in_between_does_not_move_it():
    rng = np.random.default_rng(0)
    a, b, load = rng.normal(40, 1, 30), rng.normal(20, 0.5, 30), rng.uniform(1, 5, 30)
    assert ratio(a * load, b * load).value == pytest.approx(ratio(a, b).value)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        found = ratio(rng.lognormal(np.log(40), 0.05, 30), rng.lognormal(np.log(20), 0.05, 30))
        held += found.low <= 2.0 <= found.high
    assert 0.93 <= held / 400 <= 0.98  # of 30 rounds the order statistics give 95.7 %


def test_the_interval_narrows_with_more_rounds():
    rng = np.random.default_rng(2)
    few, many = (ratio(rng.normal(40, 2, n), rng.normal(20, 1, n)).uncertainty for n in (10, 200))
    assert many < few / 2


def test_few_rounds_are_bounded_by_what_was_seen():
    found = ratio([1.0, 3.0], [1.0, 1.0])
    assert (found.low, found.value, found.high) == (1.0, 2.0, 3.0)


def test_outliers_are_counted_and_do_not_move_the_ratio():
    samples = [20.0 + 0.01 * i for i in range(28)] + [100.0, 400.0]
    found = ratio(samples, [10.0] * 30)
    assert found.outliers == 2
    assert found.value == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize(("uncertainty", "noisy"), [(NOISE - 1e-6, False), (NOISE + 1e-6, True)])
def test_noisy_beyond_the_limit(uncertainty, noisy):
    assert is_noisy(report(40.0, reference_ms=(20.0,), uncertainty=uncertainty)) == noisy


def test_without_a_reference_nothing_is_called_noisy():
    assert not is_noisy(report(1.0, 100.0))


def test_estimates_compare_as_a_point():
    a, b = (msgspec.structs.replace(report(), estimate_ms=ms) for ms in (30.0, 20.0))
    found = compared(a, b)
    assert (found.value, found.low, found.high, found.rounds) == (1.5, 1.5, 1.5, 0)
