"""Time any number of TFLite files in turns on one backend."""

from pathlib import Path

from mai_harness.backends import Choice, find
from mai_harness.errors import HarnessError
from mai_harness.latency_study import Outcome
from mai_harness.records import LatencyReport, Place, Record
from mai_harness.timing import TimingPlan, compared


class TimeFilesRequest(Record, frozen=True):
    """Files by their ids, and where and how often to time them."""

    files: dict[str, Place]
    against: dict[str, str]  #: id -> id of the file that its ratio is to; others have none
    choice: Choice
    plan: TimingPlan
    device: str


class TimeFilesReport(Record, frozen=True):
    """Id -> its latency, or why there is none."""

    outcomes: dict[str, Outcome]


def time_files(request: TimeFilesRequest, _folder: Path) -> TimeFilesReport:
    """All files take turns; if the backend refuses one of them, each is timed by itself and there are no ratios."""
    try:
        reports = find(request.choice.name).compare(request.choice, list(request.files.values()), request.plan)
    except HarnessError:
        return TimeFilesReport(outcomes={id_: _by_itself(request, path) for id_, path in request.files.items()})
    by_id = dict(zip(request.files, reports, strict=True))
    return TimeFilesReport(outcomes={id_: _outcome(request, by_id, id_) for id_ in by_id})


def _by_itself(request: TimeFilesRequest, path: str) -> Outcome:
    try:
        (report,) = find(request.choice.name).compare(request.choice, [path], request.plan)
    except HarnessError as error:
        return Outcome(refusal=str(error))
    return Outcome(report=report)


def _outcome(request: TimeFilesRequest, reports: dict[str, LatencyReport], id_: str) -> Outcome:
    report, other = reports[id_], reports.get(request.against.get(id_, ""))
    if other is None or other is report:
        return Outcome(report=report)
    return Outcome(report=report, ratio=compared(report, other))
