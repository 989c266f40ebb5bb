"""Time two TFLite files against each other in one run."""

from pathlib import Path

from mai_harness.backends import Choice, find
from mai_harness.records import LatencyReport, Place, Ratio, Record
from mai_harness.timing import TimingPlan, compared


class CompareRequest(Record, frozen=True):
    """Two files, and where and how often to time them; both are of one shape if the ratio is to mean anything."""

    paths: tuple[Place, Place]
    choice: Choice
    plan: TimingPlan
    device: str


class CompareReport(Record, frozen=True):
    """Both latencies, and the first over the second."""

    reports: tuple[LatencyReport, LatencyReport]
    ratio: Ratio


def compare(request: CompareRequest, _folder: Path) -> CompareReport:
    """Latencies in turns, and their ratio.

    Raises:
        HarnessError: the backend cannot run here, or not these files.
    """
    a, b = find(request.choice.name).compare(request.choice, request.paths, request.plan)
    return CompareReport(reports=(a, b), ratio=compared(a, b))
