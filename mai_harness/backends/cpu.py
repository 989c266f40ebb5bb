"""This machine's CPU: the LiteRT interpreter with its XNNPACK kernels, one frame at a time."""

import statistics
import time
from collections.abc import Sequence
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
    model = _ready(path, plan)
    return LatencyReport(
        backend="cpu",
        precision=precision,
        device=describe(),
        threads=plan.threads,
        warmup_ms=tuple(_invoke_ms(model) for _ in range(plan.warmup)),
        samples_ms=tuple(_invoke_ms(model) for _ in range(plan.runs)),
    )


def compare(paths: Sequence[str], plan: TimingPlan) -> list[float]:
    """Medians in ms of as many rounds as the plan has runs; every file runs once a round.

    Raises:
        ModelContractError: a file does not run on a 360x640 frame.
    """
    models = [_ready(path, plan) for path in paths]
    rounds = [[_invoke_ms(model) for model in models] for _ in range(plan.warmup + plan.runs)][plan.warmup :]
    return [statistics.median(samples) for samples in zip(*rounds, strict=True)]


def _ready(path: str, plan: TimingPlan) -> TFLiteModel:
    model = TFLiteModel(Path(path), plan.threads)
    model.run(np.random.default_rng(0).integers(0, 256, (*LR_FRAME, 3), np.uint8))
    return model


def _invoke_ms(model: TFLiteModel) -> float:
    start = time.perf_counter_ns()
    model.invoke()
    return (time.perf_counter_ns() - start) / 1e6
