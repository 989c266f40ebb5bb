"""What the pages show of diagnoses: layers, trials, exhibits and failure modes. Positions; templates have the words."""

import hashlib
import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from mai_harness.records import (
    HELD_OUT,
    AppraiseReport,
    Evaluation,
    ExamineReport,
    Exhibit,
    Finding,
    Severity,
    TensorAnalysis,
    Trial,
)
from mai_harness.render.axis import Axis

if TYPE_CHECKING:
    from mai_harness.render.board import Row

FIRST = "missing-clip"  #: the failure that the page of failure modes begins with
GRAVE: tuple[Severity, ...] = ("error", "warning")  #: what counts as a failure, gravest first
_TRACK = (15.0, 85.0)  # where the covered range lies in its cell, in per cent
_TAIL = 1e-3  # share of the bytes at each end that a histogram's span leaves out
_SHOWN_DB = 0.005  # below it a gain is written as zero
_LABELS = 16  # at most below a chart
_TAKEN = ("content", "glance", "stopped")  # places of the page of failure modes that are no failure's


def finite(value: float | None) -> float | None:
    """The value, or ``None`` if it is no number."""
    return value if value is not None and math.isfinite(value) else None


# Layer by layer


class Stretch(NamedTuple):
    """Part of a bar, in per cent of its cell; ``beyond`` if no code stands for the values there."""

    left: float
    width: float
    beyond: bool = False


class LayerRow(NamedTuple):
    """One tensor with its place in the order of execution, from 1."""

    number: int
    of: TensorAnalysis
    used: tuple[Stretch, ...]  #: the range in float, where the covered one takes the whole track
    gain: float | None  #: dB, if this layer alone is not rounded
    bar: Stretch | None  #: of the gain
    greatest: bool


def layer_rows(examine: ExamineReport, appraise: AppraiseReport | None) -> list[LayerRow]:
    """The analysed tensors in order of execution; the one that restoring helps most is marked."""
    gains = [_restored(each, appraise) for each in examine.tensors]
    known = [gain for gain in gains if gain is not None]
    greatest = max(known, default=0.0)
    axis = _bar_axis(known)
    first = gains.index(greatest) if greatest >= _SHOWN_DB else -1
    return [
        LayerRow(i + 1, each, _used(each), gain, None if gain is None else _bar(axis, gain), i == first)
        for i, (each, gain) in enumerate(zip(examine.tensors, gains, strict=True))
    ]


def _restored(each: TensorAnalysis, appraise: AppraiseReport | None) -> float | None:
    return finite(appraise.gain(f"restored-{each.tensor}", "simulated")) if appraise else None


def _bar_axis(values: Sequence[float]) -> Axis:
    low, high = min([0.0, *values]), max([0.0, *values])
    return Axis(low, high if high > low else low + 1.0, 0.0, 100.0)


def _bar(axis: Axis, value: float) -> Stretch:
    left, right = sorted((axis.at(0.0), axis.at(value)))
    return Stretch(left, right - left)


def _used(each: TensorAnalysis) -> tuple[Stretch, ...]:
    (low, high), (least, greatest) = each.covered, each.used
    if not all(map(math.isfinite, (low, high, least, greatest))) or low >= high or least > greatest:
        return ()
    axis = Axis(low, high, *_TRACK)
    # Far outside the range only the direction is told: the cell ends.
    left, right = (min(max(axis.at(value), 0.0), 100.0) for value in (least, greatest))
    cuts = [left, *(cut for cut in _TRACK if left < cut < right), right]
    pieces = [Stretch(a, b - a, b <= _TRACK[0] or a >= _TRACK[1]) for a, b in pairwise(cuts)]
    return tuple(piece for piece in pieces if piece.width > 0 or not piece.beyond)


class Chart(NamedTuple):
    """Values by layer in a square of 100 by 100, which the page stretches; ``line``, ``dots``, ... are SVG paths."""

    rules: list[tuple[float, float]]  #: height and value
    labels: list[tuple[float, int]]  #: place and number of the layer
    line: str = ""
    dots: str = ""
    hollow: str = ""  #: dots of the other series
    bars: str = ""
    zero: float = 100.0  #: height of the line that bars stand on
    peak: tuple[float, float] | None = None  #: where the tallest bar ends


def sqnr_chart(rows: Sequence[LayerRow]) -> Chart | None:
    """Signal to quantisation noise, accumulated and injected; ``None`` if there is none."""
    total = [finite(row.of.sqnr_db) for row in rows]
    injected = [finite(row.of.injected_sqnr_db) for row in rows]
    known = [value for value in total + injected if value is not None]
    if not known:
        return None
    margin = max(0.08 * (max(known) - min(known)), 1.0)
    axis = Axis(min(known) - margin, max(known) + margin, 100.0, 0.0)
    points = _points(total, axis)
    return Chart(
        _rules(axis), _labels(len(rows)), line=_polyline(points), dots=_dots(points),
        hollow=_dots(_points(injected, axis)),
    )  # fmt: skip


def gain_chart(rows: Sequence[LayerRow]) -> Chart | None:
    """What restoring each layer gains; ``None`` if it was not tried."""
    known = [row.gain for row in rows if row.gain is not None]
    if not known:
        return None
    tight = _bar_axis(known)
    # Room for the words above the tallest bar; rounding noise must not look like a result.
    high = max(1.25 * tight.high, 0.1)
    axis = Axis(min(1.1 * tight.low, 0.0), high, 100.0, 0.0)
    zero, wide = axis.at(0.0), 100 / len(rows)
    bars = [
        f"M{(i + 0.2) * wide:.2f} {zero:.2f}V{axis.at(row.gain):.2f}h{0.6 * wide:.2f}V{zero:.2f}Z"
        for i, row in enumerate(rows)
        if row.gain is not None
    ]
    peak = next(((_middle(i, len(rows)), axis.at(row.gain or 0.0)) for i, row in enumerate(rows) if row.greatest), None)
    return Chart(_rules(axis), _labels(len(rows)), bars="".join(bars), zero=zero, peak=peak)


def _middle(index: int, of: int) -> float:
    return 100 * (index + 0.5) / of


def _points(values: Sequence[float | None], axis: Axis) -> list[tuple[float, float] | None]:
    return [None if v is None else (_middle(i, len(values)), axis.at(v)) for i, v in enumerate(values)]


def _polyline(points: Iterable[tuple[float, float] | None]) -> str:
    path, pen = "", "M"
    for point in points:
        path += f"{pen}{point[0]:.2f} {point[1]:.2f}" if point else ""
        pen = "L" if point else "M"  # a gap where a value is missing
    return path


def _dots(points: Iterable[tuple[float, float] | None]) -> str:
    """Lines of no length: with round ends they are dots, whatever the drawing is stretched to."""
    return "".join(f"M{point[0]:.2f} {point[1]:.2f}h0" for point in points if point)


def _rules(axis: Axis) -> list[tuple[float, float]]:
    return [(axis.at(value), value) for value in axis.ticks(4)]


def _labels(count: int) -> list[tuple[float, int]]:
    step = next(m * 10**power for power in range(20) for m in (1, 2, 5) if count <= _LABELS * m * 10**power)
    return [(_middle(i, count), i + 1) for i in range(count) if (i + 1) % step == 0]


# What was tried


class TrialRow(NamedTuple):
    """A trial with its mean PSNR on the samples."""

    trial: Trial
    psnr: float | None
    gain: float | None  #: over the baseline
    place: float | None  #: among all, in per cent


class Trials(NamedTuple):
    """All trials but those that restore one layer, and those of other pictures than the samples."""

    rows: list[TrialRow]
    baseline: str  #: id of the trial that gains are over; empty if none
    scale: Axis | None


def trials(examine: ExamineReport, appraise: AppraiseReport | None) -> Trials:
    """Trials in the order in which they ran."""
    tried = [trial for trial in examine.trials if trial.tensor is None and trial.id != HELD_OUT]
    means = {trial.id: finite(appraise.mean(trial.id)) if appraise else None for trial in tried}
    known = [mean for mean in means.values() if mean is not None]
    baseline = next((id_ for id_ in ("raw", "simulated") if means.get(id_) is not None), "")
    base = means.get(baseline)
    scale = Axis(math.floor(min(known)) - 1, math.ceil(max(known)) + 1, 0.0, 100.0) if known else None
    rows = [
        TrialRow(
            trial, mean := means[trial.id], None if mean is None or base is None else mean - base,
            None if mean is None or scale is None else scale.at(mean),
        )
        for trial in tried
    ]  # fmt: skip
    return Trials(rows, baseline, scale)


# Exhibits


class Picture(NamedTuple):
    """One picture of an exhibit."""

    key: str
    label: str
    what: str
    file: str  #: its name in ``pictures/``
    data: bytes
    size: tuple[int, int] | None  #: width and height in pixels, if its bytes tell


_PICTURES = {
    "raw": ("As it came out", "INT8, raw bytes"),
    "mended": ("As mended", "INT8"),
    "fp32": ("In float", "the same network, FP32"),
    "hr": ("As it should be", "HR"),
    "error": ("Where it is wrong", "raw bytes against HR; black: equal"),
}


def pictures(exhibit: Exhibit) -> list[Picture]:
    """The pictures of an exhibit, those of every exhibit first and in one order."""
    keys = [*_PICTURES, *(key for key in exhibit.pictures if key not in _PICTURES)]
    made = []
    for key in keys:
        if data := exhibit.pictures.get(key):
            label, what = _PICTURES.get(key, (key, ""))
            what = exhibit.mended if key == "mended" and exhibit.mended else what
            file = f"{hashlib.sha256(data).hexdigest()[:20]}.webp"
            made.append(Picture(key, label, what, file, data, _webp_size(data)))
    return made


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a lossless WebP file: 14 bits each, less one, behind the signature of its only chunk."""
    if len(data) < 25 or data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8L" or data[20] != 0x2F:
        return None
    (bits,) = struct.unpack_from("<I", data, 21)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


class Bytes(NamedTuple):
    """How often each byte occurs: an SVG path in a box of 256 by 100, and the span of all but the rarest ends."""

    path: str
    least: int
    greatest: int


class Histogram(NamedTuple):
    """Bytes of the output and of HR on one scale, the square root of their share."""

    output: Bytes
    hr: Bytes | None


def histogram(exhibit: Exhibit) -> Histogram | None:
    """The output's bytes beside those of HR; ``None`` if they were not counted."""
    output, hr = (_shares(counts) for counts in (exhibit.histogram, exhibit.histogram_hr))
    if output is None:
        return None
    tallest = max([*output, *(hr or ())])
    return Histogram(_bytes(output, tallest, closed=True), _bytes(hr, tallest, closed=False) if hr else None)


def _shares(counts: Sequence[int]) -> list[float] | None:
    total = sum(counts)
    return [count / total for count in counts] if len(counts) == 256 and total > 0 and min(counts) >= 0 else None


def _bytes(shares: Sequence[float], tallest: float, *, closed: bool) -> Bytes:
    heights = [100 - 100 * math.sqrt(share / tallest) for share in shares]
    steps = "".join(f"V{height:.1f}H{i + 1}" for i, height in enumerate(heights))
    below = list(accumulate(shares))
    least = next(i for i, share in enumerate(below) if share > _TAIL)
    greatest = next((i for i, share in enumerate(below) if share >= 1 - _TAIL), 255)
    return Bytes(f"M0 100{steps}V100Z" if closed else f"M0 {heights[0]:.1f}{steps}", least, max(least, greatest))


# Failure modes


class Case(NamedTuple):
    """One submission with a failure."""

    row: "Row"
    findings: tuple[Finding, ...]  #: of this failure
    exhibit: Exhibit | None  #: its pictures, once on the page
    elsewhere: str  #: id of the failure where the pictures are, if not here
    further: tuple[Finding, ...]  #: its other failures, where its pictures are


@dataclass(frozen=True)
class Mode:
    """A failure, and the submissions that have it."""

    id: str
    anchor: str  #: its place on the page
    title: str
    severity: Severity  #: the gravest
    explained_db: float | None  #: the most
    explanation: str  #: empty if each case has its own
    remedy: str  #: likewise
    cases: tuple[Case, ...]


def grave(evaluation: Evaluation) -> list[Finding]:
    """Its errors and warnings, in order."""
    return [finding for finding in evaluation.findings if finding.severity in GRAVE]


def failure_modes(rows: Sequence["Row"]) -> list[Mode]:
    """Errors and warnings by id: ``FIRST``, and then those that explain the most dB."""
    by_id: dict[str, list[Finding]] = {}
    for row in rows:
        for finding in grave(row.evaluation):
            by_id.setdefault(finding.id, []).append(finding)
    ordered = sorted(by_id, key=lambda id_: (id_ != FIRST, *_gravest_first(by_id[id_]), id_))
    places = _anchors(ordered)
    return [_mode(id_, places[id_], by_id[id_], rows) for id_ in ordered]


def _gravest_first(findings: Iterable[Finding]) -> tuple[float, int]:
    several = list(findings)
    return -(_most_db(several) or 0.0), min(GRAVE.index(finding.severity) for finding in several)


def _most_db(findings: Iterable[Finding]) -> float | None:
    return max((db for finding in findings if (db := finite(finding.explained_db)) is not None), default=None)


def _anchors(ids: Iterable[str]) -> dict[str, str]:
    taken, places = set(_TAKEN), dict[str, str]()
    for number, id_ in enumerate(ids, 1):
        place = id_ if re.fullmatch(r"[a-z][a-z0-9-]{0,60}", id_) else f"failure-{number}"
        while place in taken:
            place += "-"
        taken.add(place)
        places[id_] = place
    return places


def _mode(id_: str, anchor: str, findings: Sequence[Finding], rows: Sequence["Row"]) -> Mode:
    cases = [_case(row, own, id_) for row in rows if (own := _of(row.evaluation, id_))]
    cases.sort(key=lambda case: (case.exhibit is None, *_gravest_first(case.findings)))
    explanations, remedies = ({getattr(each, field) for each in findings} for field in ("explanation", "remedy"))
    return Mode(
        id=id_, anchor=anchor, title=cases[0].findings[0].title, explained_db=_most_db(findings),
        severity=min((finding.severity for finding in findings), key=GRAVE.index),
        explanation=explanations.pop() if len(explanations) == 1 else "",
        remedy=remedies.pop() if len(remedies) == 1 else "", cases=tuple(cases),
    )  # fmt: skip


def _of(evaluation: Evaluation, id_: str) -> tuple[Finding, ...]:
    return tuple(finding for finding in grave(evaluation) if finding.id == id_)


def _case(row: "Row", findings: tuple[Finding, ...], id_: str) -> Case:
    others = grave(row.evaluation)
    exhibit = row.evaluation.appraise.exhibit if row.evaluation.appraise else None
    # Pictures belong to a submission and not to one of its failures: they stand at the gravest.
    home = FIRST if any(finding.id == FIRST for finding in others) else others[0].id
    if home != id_:
        return Case(row, findings, None, home if exhibit else "", ())
    further = {finding.id: finding for finding in others if finding.id != id_}
    return Case(row, findings, exhibit, "", tuple(further.values()))


def stopped(rows: Iterable["Row"]) -> list["Row"]:
    """Submissions that stopped, and that no diagnosis explains."""
    return [row for row in rows if row.evaluation.failure and not grave(row.evaluation)]


def longest(finding: Finding) -> float:
    """The greatest PSNR of the mends that were tried, which their bars are drawn against."""
    values = [value for tried in finding.tried for value in (tried.before_db, tried.after_db)]
    return max([1.0, *(value for value in values if math.isfinite(value))])


def share(value: float, of: float) -> float:
    """``value`` as a share of ``of`` in per cent, within 0 to 100; 0 if it is no number."""
    return min(max(100 * value / of, 0.0), 100.0) if math.isfinite(value) and of > 0 else 0.0
