"""Time a submission's models on one backend."""

from pathlib import Path

from mai_harness.backends import TimingPlan, find
from mai_harness.records import Gain, LatencyReport, Model, Record


class BenchmarkRequest(Record, frozen=True):
    """What to time, where, and how often."""

    model: Model
    without: dict[str, str]  #: rewrite of the graph -> the INT8 model without it
    backend: str
    plan: TimingPlan
    device: str  #: what the backend ran on; a result of another device is not reused


class BenchmarkReport(Record, frozen=True):
    """Latency of the INT8 model and, where there is one, of its float twin; what each rewrite gained."""

    latency: tuple[LatencyReport, ...]
    gains: tuple[Gain, ...]


def benchmark(request: BenchmarkRequest, _folder: Path) -> BenchmarkReport:
    """Latency on the challenge's frame.

    Raises:
        HarnessError: the backend cannot run here, or not this model.
    """
    backend = find(request.backend)
    reports = [backend.measure(request.model.static, "int8", request.plan)]
    if request.model.float32:
        reports.append(backend.measure(request.model.float32, "fp32", request.plan))
    gains: list[Gain] = []
    if request.without:
        with_all, *without = backend.compare([request.model.static, *request.without.values()], request.plan)
        gains = [
            Gain(rewrite=id_, latency_ms=with_all, without_ms=each)
            for id_, each in zip(request.without, without, strict=True)
        ]
    return BenchmarkReport(latency=tuple(reports), gains=tuple(gains))
