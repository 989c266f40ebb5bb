"""How often to time, and what timings that were taken in turns say of one another."""

import math
from collections.abc import Sequence

from mai_harness.records import LatencyReport, Place, Ratio, Record

CONFIDENCE = 0.95
NOISE = 0.03  #: a ratio whose uncertainty is more does not rank


class TimingPlan(Record, frozen=True):
    """How often to run: untimed warm-up rounds, then timed ones, on so many threads."""

    warmup: int = 3
    runs: int = 30
    seconds: float = 60.0  #: slow models get fewer rounds than ``runs``, but not fewer than a handful
    threads: tuple[int, ...] = (1,)  #: the first ranks
    #: a photograph, .npy of (360, 640, 3) uint8, for kernels whose time depends on what they are given: PReLU of INT8
    #: takes a quarter more for noise. Without one, noise.
    frame: Place = ""


def ratio(samples: Sequence[float], others: Sequence[float]) -> Ratio:
    """How ``samples`` compare with ``others``, round by round.

    A machine that slows down slows both of a round, so the quotient stays. The interval is the distribution-free one
    of a median, from order statistics (Conover 1999, section 3.2); it takes rounds for independent.

    Args:
        samples: latencies in ms, one a round, all above 0.
        others: of the same rounds.
    """
    import numpy as np
    from scipy.stats import quantile_test

    quotients = np.asarray(samples, np.float64) / np.asarray(others, np.float64)
    low, high = quantile_test(quotients, p=0.5).confidence_interval(CONFIDENCE)
    first, third = np.quantile(quotients, (0.25, 0.75))
    reach = 1.5 * (third - first)
    return Ratio(
        value=float(np.median(quotients)),
        # Few rounds bound nothing: then what was seen does.
        low=float(low if math.isfinite(low) else quotients.min()),
        high=float(high if math.isfinite(high) else quotients.max()),
        rounds=len(quotients),
        outliers=int(((quotients < first - reach) | (quotients > third + reach)).sum()),
    )


def compared(report: LatencyReport, other: LatencyReport) -> Ratio:
    """How two latencies of one run compare. Of estimates, which do not vary, the interval is a point of no rounds."""
    if report.samples_ms and other.samples_ms:
        return ratio(report.samples_ms, other.samples_ms)
    value = report.latency_ms / other.latency_ms
    return Ratio(value=value, low=value, high=value, rounds=0, outliers=0)


def is_noisy(report: LatencyReport) -> bool:
    """Whether the machine was too busy for this runtime to rank."""
    return report.ratio is not None and report.ratio.uncertainty > NOISE
