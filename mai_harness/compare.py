"""Time two TFLite files against each other in one run."""

from pathlib import Path

from mai_harness.backends import Choice, find
from mai_harness.records import LatencyReport, Ratio, Record
from mai_harness.timing import TimingPlan, ratio


class CompareRequest(Record, frozen=True):
    """Two files, and where and how often to time them; both are of one shape if the ratio is to mean anything."""

    paths: tuple[str, str]
    choice: Choice
    plan: TimingPlan
    device: str


class CompareReport(Record, frozen=True):
    """Both latencies, and the first over the second."""

    reports: tuple[LatencyReport, LatencyReport]
    ratio: Ratio


def compare(request: CompareRequest, _folder: Path) -> CompareReport:
    """Latencies in turns. Of estimates, which do not vary, the interval is a point.

    Raises:
        HarnessError: the backend cannot run here, or not these files.
    """
    a, b = find(request.choice.name).compare(request.choice, request.paths, request.plan)
    if a.samples_ms and b.samples_ms:
        return CompareReport(reports=(a, b), ratio=ratio(a.samples_ms, b.samples_ms))
    value = a.latency_ms / b.latency_ms
    return CompareReport(reports=(a, b), ratio=Ratio(value=value, low=value, high=value, rounds=0, outliers=0))
