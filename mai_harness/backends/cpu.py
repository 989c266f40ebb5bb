"""This machine's CPU: the LiteRT interpreter with its XNNPACK kernels, one frame at a time."""

import time
from pathlib import Path

import numpy as np

from mai_harness.backends import TimingPlan
from mai_harness.interpreter import TFLiteModel
from mai_harness.machine import describe
from mai_harness.records import LR_FRAME, LatencyReport, Precision


def measure(path: str, precision: Precision, plan: TimingPlan) -> LatencyReport:
    """Wall-clock time of ``invoke`` alone, in ms: neither copying nor conversion of the image is counted.

    Raises:
        ModelContractError: the file does not run on a 360x640 frame.
    """
    model = TFLiteModel(Path(path), plan.threads)
    model.run(np.random.default_rng(0).integers(0, 256, (*LR_FRAME, 3), np.uint8))
    return LatencyReport(
        backend="cpu",
        precision=precision,
        device=describe(),
        threads=plan.threads,
        warmup_ms=tuple(_invoke_ms(model) for _ in range(plan.warmup)),
        samples_ms=tuple(_invoke_ms(model) for _ in range(plan.runs)),
    )


def _invoke_ms(model: TFLiteModel) -> float:
    start = time.perf_counter_ns()
    model.invoke()
    return (time.perf_counter_ns() - start) / 1e6
