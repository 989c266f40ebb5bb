"""Time a submission's models on one backend."""

from pathlib import Path

from mai_harness.backends import Choice, find
from mai_harness.records import BackendReport, Gain, Model, Place, Record
from mai_harness.timing import TimingPlan


class BenchmarkRequest(Record, frozen=True):
    """What to time, where, and how often."""

    model: Model
    without: dict[str, Place]  #: rewrite of the graph -> the INT8 model without it
    choice: Choice
    plan: TimingPlan
    device: str  #: what the backend runs on; a result of another device is not reused


class BenchmarkReport(Record, frozen=True):
    """Latency on the backend; what each rewrite gained there."""

    measured: BackendReport
    gains: tuple[Gain, ...]


def benchmark(request: BenchmarkRequest, _folder: Path) -> BenchmarkReport:
    """Latency on the challenge's frame.

    Raises:
        HarnessError: the backend cannot run here, or not this model.
    """
    backend = find(request.choice.name)
    measured = backend.measure(request.choice, request.model, request.plan)
    gains: list[Gain] = []
    if request.without:
        files = [request.model.static, *request.without.values()]
        with_all, *without = backend.compare(request.choice, files, request.plan)
        gains = [
            Gain(backend=measured.backend, rewrite=id_, latency_ms=with_all.latency_ms, without_ms=each.latency_ms)
            for id_, each in zip(request.without, without, strict=True)
        ]
    return BenchmarkReport(measured=measured, gains=tuple(gains))
