"""Results as self-contained HTML: a front page, a page per entry and per study. Pure text; the caller writes it."""

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jinja2

from mai_harness.challenge import FORMULAS
from mai_harness.metrics import FIGURES, GAP_LIMIT_DB, Figure
from mai_harness.records import Evaluation, LatencyReport, Precision, Reading, Results, ScoreReport
from mai_harness.render import diagnosis
from mai_harness.render.axis import Axis
from mai_harness.study import StudyResults, StudyRow
from mai_harness.timing import is_noisy

MISSING = "–"
APART_DB = 0.05  #: a dequantised PSNR that is further from the raw one is shown beside it

T = TypeVar("T")
Value = Callable[[Evaluation], float | None]
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Note(NamedTuple):
    """A remark below a figure; ``alert`` if it deserves attention."""

    text: str = ""
    alert: bool = False


def _no_note(_of: object) -> Note:
    return Note()


@dataclass(frozen=True, kw_only=True)
class Column(Generic[T]):
    """One figure of an evaluation or a study's row: how to get it, how to write it, and which way is better."""

    id: str
    group: str
    heading: str
    unit: str
    value: Callable[[T], float | None]
    form: str  #: format specification of the number
    direction: Literal["higher", "lower", "none"]
    meaning: str  #: one sentence for the reader
    total: Callable[[T], float | None] | None = None  #: written as value/total
    note: Callable[[T], Note] = _no_note
    terminal: str = ""  #: heading in the terminal's table, which leaves out columns without one

    def text(self, of: T) -> str:
        """The figure as written everywhere, without its unit; an en dash if there is none."""
        text = number(self.value(of), self.form)
        if self.total is None or text == MISSING:
            return text
        return f"{text}/{number(self.total(of), self.form)}"

    def best(self, several: Iterable[T]) -> str | None:
        """The best figure as written; ``None`` if nothing distinguishes them."""
        written = {value: self.text(each) for each in several if (value := self.value(each)) is not None}
        if self.direction == "none" or len(set(written.values())) < 2:
            return None
        return written[max(written) if self.direction == "higher" else min(written)]


def number(value: float | None, form: str) -> str:
    """``value`` by its format specification with a true minus sign; an en dash if missing."""
    if value is None or not math.isfinite(value):
        return MISSING
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def _mean(metric: str) -> Value:
    return lambda evaluation: None if evaluation.score is None else evaluation.score.mean(metric)


def _difference(left: Value, right: Value) -> Value:
    def value(evaluation: Evaluation) -> float | None:
        a, b = left(evaluation), right(evaluation)
        return None if a is None or b is None else a - b

    return value


def _runtime(precision: Precision, backend: str | None = None) -> Value:
    def value(evaluation: Evaluation) -> float | None:
        report = evaluation.latency(precision, backend)
        return None if report is None else report.latency_ms

    return value


def _runtime_note(backend: str | None = None) -> Callable[[Evaluation], Note]:
    def note(evaluation: Evaluation) -> Note:
        report = evaluation.latency("int8", backend)
        if report is None or report.estimate_ms is None:
            return Note()
        return Note(f"estimate, {number(report.by_rule_ms, '.1f')} by rule" if report.by_rule_ms else "estimate")

    return note


def _ratio(evaluation: Evaluation) -> float | None:
    report = evaluation.headline
    return None if report is None or report.ratio is None else report.ratio.value


def _ratio_note(evaluation: Evaluation) -> Note:
    report = evaluation.headline
    if report is None or report.ratio is None:
        return Note()
    return Note(f"± {100 * report.ratio.uncertainty:.1f} %", alert=is_noisy(report))


def _score(evaluation: Evaluation) -> float | None:
    return None if evaluation.challenge is None else evaluation.challenge.value


def _score_note(evaluation: Evaluation) -> Note:
    refusal = evaluation.challenge.refusal if evaluation.challenge else ""
    return Note(refusal.partition(":")[0], alert=True) if refusal else Note()


def _fact(field: str, divisor: float) -> Value:
    def value(evaluation: Evaluation) -> float | None:
        found = None if evaluation.check is None else getattr(evaluation.check.facts, field)
        return None if found is None else found / divisor

    return value


def _rules(*statuses: str) -> Value:
    def value(evaluation: Evaluation) -> float | None:
        return None if evaluation.check is None else sum(r.status in statuses for r in evaluation.check.rules)

    return value


def _gap_note(evaluation: Evaluation) -> Note:
    gap = _GAP(evaluation)
    return Note(f"over {GAP_LIMIT_DB:g} dB", alert=True) if gap is not None and abs(gap) > GAP_LIMIT_DB else Note()


def _rules_note(evaluation: Evaluation) -> Note:
    counts = Counter(() if evaluation.check is None else (rule.status for rule in evaluation.check.rules))
    words = [f"{counts[status]} {status}" for status in ("fail", "warn", "skip") if counts[status]]
    return Note(", ".join(words), alert=counts["fail"] > 0)


def _findings(evaluation: Evaluation) -> float | None:
    return len(evaluation.findings)


def _findings_note(evaluation: Evaluation) -> Note:
    counts = Counter(finding.severity for finding in evaluation.findings)
    words = [f"{counts[s]} {s}" for s in ("error", "warning", "info") if counts[s]]
    return Note(", ".join(words), alert=counts["error"] > 0)


_RAW, _FP32, _DEQUANTISED = _mean("psnr_raw_db"), _mean("psnr_fp32_db"), _mean("psnr_dequantised_db")
_GAP = _difference(_DEQUANTISED, _RAW)

# The front page, the entry pages and the terminal all follow this table: a new figure is one row.
COLUMNS: tuple[Column[Evaluation], ...] = (
    Column(
        id="score", group="Challenge", heading="Score", unit="", value=_score, form=",.5g", direction="higher",
        terminal="score", note=_score_note,
        meaning="The challenge's score of INT8 raw PSNR and runtime. Ranks the board.",
    ),
    Column(
        id="psnr_raw", group="Fidelity", heading="INT8 raw", unit="dB", value=_RAW, form="z.2f", direction="higher",
        terminal="INT8 raw dB",
        meaning="Mean RGB PSNR of the INT8 model, its output bytes taken as pixels.",
    ),
    Column(
        id="ssim_raw", group="Fidelity", heading="SSIM raw", unit="", value=_mean("ssim_raw"), form="z.4f",
        direction="higher", terminal="SSIM",
        meaning="Mean SSIM of the same pixels; 1 is identical.",
    ),
    Column(
        id="psnr_fp32", group="Fidelity", heading="FP32", unit="dB", value=_FP32, form="z.2f", direction="higher",
        terminal="FP32 dB",
        meaning="Mean RGB PSNR of the same network in float.",
    ),
    Column(
        id="drop", group="Fidelity", heading="Drop", unit="dB", value=_difference(_FP32, _RAW), form="z.2f",
        direction="lower", terminal="drop dB",
        meaning="FP32 less INT8 raw: what quantisation cost.",
    ),
    Column(
        id="psnr_dequantised", group="Fidelity", heading="Dequantised", unit="dB", value=_DEQUANTISED, form="z.2f",
        direction="higher", terminal="dequantised dB",
        meaning="Mean RGB PSNR when the output's scale and zero-point are applied first.",
    ),
    Column(
        id="gap", group="Fidelity", heading="Gap", unit="dB", value=_GAP, form="z.2f", direction="none",
        note=_gap_note,
        meaning="Dequantised less INT8 raw: what is lost only because the bytes are not pixels.",
    ),
    Column(
        id="runtime_int8", group="Runtime", heading="INT8", unit="ms", value=_runtime("int8"), form="z.1f",
        direction="lower", terminal="INT8 ms", note=_runtime_note(),
        meaning="Time of one frame, 360 × 640 to 1080 × 1920, INT8: median, or an estimate where it says so.",
    ),
    Column(
        id="ratio", group="Runtime", heading="Ratio", unit="×", value=_ratio, form=".3f", direction="lower",
        terminal="ratio", note=_ratio_note,
        meaning="INT8 time over that of the reference model, ABPN in INT8, timed in turns: median over the rounds, and "
        "half its 95 % confidence interval. A machine that was busy shifts both, so this is what ranks.",
    ),
    Column(
        id="runtime_fp32", group="Runtime", heading="FP32", unit="ms", value=_runtime("fp32"), form="z.1f",
        direction="lower", terminal="FP32 ms",
        meaning="Median time of the same frame in float.",
    ),
    Column(
        id="parameters", group="Model", heading="Params", unit="K", value=_fact("parameters", 1e3), form=",.1f",
        direction="lower", terminal="params K",
        meaning="Weights and biases, in thousands.",
    ),
    Column(
        id="macs", group="Model", heading="MACs", unit="G", value=_fact("macs", 1e9), form=",.2f", direction="lower",
        meaning="Multiply-accumulates of one frame, in thousand millions.",
    ),
    Column(
        id="size", group="Model", heading="Size", unit="kB", value=_fact("size_bytes", 1e3), form=",.1f",
        direction="lower", meaning="INT8 TFLite file, in thousand bytes.",
    ),
    Column(
        id="rules", group="Checks", heading="Rules", unit="", value=_rules("pass"), form=".0f", direction="none",
        terminal="rules passed",
        meaning="Challenge rules passed, of those checked.", total=_rules("pass", "warn", "fail", "skip"),
        note=_rules_note,
    ),
    Column(
        id="findings", group="Checks", heading="Findings", unit="", value=_findings, form=".0f", direction="none",
        meaning="Diagnoses made from the measurements.", note=_findings_note,
    ),
)  # fmt: skip

_BY_ID = {column.id: column for column in COLUMNS}


def board_columns(results: Results) -> tuple[Column[Evaluation], ...]:
    """``COLUMNS``, and behind their runtimes those of the other backends that these results have."""
    backends = dict.fromkeys(each.backend for e in results.submissions for each in e.runtime[1:])
    last = max(i for i, column in enumerate(COLUMNS) if column.group == "Runtime") + 1
    return (*COLUMNS[:last], *map(_backend_column, backends), *COLUMNS[last:])


def _backend_column(backend: str) -> Column[Evaluation]:
    return Column(
        id=f"runtime_on_{_slug(backend)}", group="Runtime", heading=backend, unit="ms", form="z.1f", direction="lower",
        value=_runtime("int8", backend), note=_runtime_note(backend), terminal=f"{backend} ms",
        meaning=f"INT8 time of the same frame by the backend {backend}.",
    )  # fmt: skip


def _slug(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) else _hashed(name).replace(".", "-")


_READINGS: dict[Reading, str] = {
    "raw": "INT8 raw",
    "dequantised": "INT8 dequantised",
    "mended": "INT8 with a clip",
    "fp32": "FP32",
}


def _figures(evaluation: Evaluation) -> list[Figure]:
    """Those that an entry may have: only a network without a clip can be mended by one."""
    images = evaluation.score.images if evaluation.score else ()
    mended = any(image.figures.get(f.key) is not None for image in images for f in FIGURES if f.reading == "mended")
    return [figure for figure in FIGURES if figure.reading != "mended" or mended]


def ranked(results: Results) -> tuple[list[Evaluation], list[Evaluation]]:
    """Evaluations by the challenge's score, best first, without one last; and those that failed, by name."""
    finished = [e for e in results.submissions if e.failure is None]
    failed = [e for e in results.submissions if e.failure is not None]
    return sorted(finished, key=_rank_key), sorted(failed, key=lambda e: e.name)


def _rank_key(evaluation: Evaluation) -> tuple[bool, float, str]:
    score = _score(evaluation)
    return (score is None, -(score or 0.0), evaluation.name)


@dataclass(frozen=True)
class Row:
    """An evaluation with its place on the board; ``rank`` is ``None`` if it was not scored or failed."""

    evaluation: Evaluation
    slug: str
    rank: int | None

    @property
    def worst(self) -> str | None:
        """The gravest severity among the findings, ``None`` if there is no error or warning."""
        severities = {finding.severity for finding in self.evaluation.findings}
        return next((s for s in diagnosis.GRAVE if s in severities), None)


def render(
    results: Results, studies: Sequence[StudyResults] = (), *, latencies: bool = False
) -> dict[PurePosixPath, str]:
    """The board's pages by their paths relative to the site.

    They are ``index.html``, ``failure-modes.html`` and ``entries/<slug>.html``.

    Args:
        studies: that the front page leads to; :func:`render_studies` makes their pages.
        latencies: whether it leads to ``metanodes.html`` too.
    """
    rows, failed = _rows(results)
    columns = board_columns(results)
    modes = diagnosis.failure_modes(rows + failed)
    shared: dict[str, Any] = {
        "results": results, "columns": columns, "groups": _groups(columns), "column": _BY_ID,
        "formula": FORMULAS[results.formula], "script_hash": script_hash(),
        "anchors": {mode.id: mode.anchor for mode in modes},
    }  # fmt: skip
    front = {**_front(rows, failed, columns), "studies": _by_slug(studies), "latencies": latencies}
    failures = {"modes": modes, "stopped": diagnosis.stopped(failed)}
    pages = {
        PurePosixPath("index.html"): template("index.html").render(front, **shared),
        PurePosixPath("failure-modes.html"): template("failure-modes.html").render(failures, **shared),
    }
    entry = template("entry.html")
    for row in rows + failed:
        context = {"row": row, "evaluation": row.evaluation, "figures": _figures(row.evaluation), "readings": _READINGS}
        context |= _examined(row.evaluation)
        pages[PurePosixPath("entries", f"{row.slug}.html")] = entry.render(context, **shared)
    return pages


def _examined(evaluation: Evaluation) -> dict[str, Any]:
    examine, appraise = evaluation.examine, evaluation.appraise
    if examine is None:
        return {"analysed": [], "trials": None}
    analysed = diagnosis.layer_rows(examine, appraise)
    return {
        "analysed": analysed, "trials": diagnosis.trials(examine, appraise),
        "sqnr": diagnosis.sqnr_chart(analysed), "gains": diagnosis.gain_chart(analysed),
    }  # fmt: skip


def script_hash() -> str:
    """Of the script in ``base.html``, for its Content-Security-Policy."""
    script = template("sort.js").render()
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _rows(results: Results) -> tuple[list[Row], list[Row]]:
    finished, failed = ranked(results)
    values = [_score(e) for e in finished]
    slugs = _slugs(e.name for e in finished + failed)
    rows = [
        Row(e, next(slugs), None if v is None else 1 + sum(u is not None and u > v for u in values))
        for e, v in zip(finished, values, strict=True)
    ]
    return rows, [Row(e, next(slugs), None) for e in failed]


def _front(rows: list[Row], failed: list[Row], columns: Iterable[Column[Evaluation]]) -> dict[str, Any]:
    evaluations = [row.evaluation for row in rows]
    cases = [row for severity in diagnosis.GRAVE for row in rows + failed if row.worst == severity]
    plotted = [row for row in rows if _point(row.evaluation)]
    leading = [report for e in evaluations if (report := e.headline)]
    return {
        "rows": rows, "failed": failed, "cases": cases,
        "alike": len({(report.backend, report.device, report.threads) for report in leading}) < 2,
        "best": {column.id: column.best(evaluations) for column in columns},
        "plots": [_plot(plotted, *size) for size in (("wide", 1100, 460), ("narrow", 380, 400))] if plotted else [],
        "unplotted": [row for row in rows if row not in plotted],
        "front": [plotted[i] for i in _front_indices([_point(row.evaluation) for row in plotted])],
        "scale": _psnr_scale([row.evaluation for row in cases]),
        "score_conditions": _score_conditions(e.score for e in evaluations if e.score),
        "latency_conditions": _latency_conditions(
            report for e in evaluations for each in e.runtime for report in each.reports[:1]
        ),
    }  # fmt: skip


def grouped(several: Iterable[T], group_of: Callable[[T], str]) -> dict[str, list[T]]:
    """Each under its group's name, in order."""
    groups: dict[str, list[T]] = {}
    for each in several:
        groups.setdefault(group_of(each), []).append(each)
    return groups


def _groups(columns: Iterable[Column[T]]) -> list[tuple[str, list[Column[T]]]]:
    return list(grouped(columns, lambda column: column.group).items())


def _score_conditions(scores: Iterable[ScoreReport]) -> list[dict[str, Any]]:
    """What the scores were taken on; more than one means that they cannot be compared."""
    found = {(s.dataset, len(s.images), s.shave, s.exact): None for s in scores}
    return [dict(zip(("dataset", "images", "shave", "exact"), key, strict=True)) for key in found]


def _latency_conditions(reports: Iterable[LatencyReport]) -> dict[str, list[dict[str, Any]]]:
    """By backend how runtimes were taken; where there is more than one way, they cannot be compared."""
    found: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        way = {"device": report.device, "threads": report.threads, "how": report.how}
        ways = found.setdefault(report.backend, [])
        if way not in ways:
            ways.append(way)
    return found


def _slugs(names: Iterable[str]) -> Iterator[str]:
    taken: set[str] = set()
    for name in names:
        slug = name if re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) and name.strip(".") else _hashed(name)
        # Two names may differ only in case, which some file systems do not tell apart.
        if slug.casefold() in taken:
            slug = _hashed(name)
        while slug.casefold() in taken:
            slug += "_"
        taken.add(slug.casefold())
        yield slug


def _hashed(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:40] or "entry"
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


# Studies


def _figure(name: str) -> Callable[[StudyRow], float | None]:
    return lambda row: getattr(row.figures, name)


def _held_against(name: str, group: str, ours: str, heading: str, form: str) -> tuple[Column[StudyRow], ...]:
    """Columns of one figure: ours, the paper's and the difference."""
    short = group.lower()
    return (
        Column(
            id=f"{name}_ours", group=group, heading=heading, unit="dB", value=_figure(f"{name}_db"), form=form,
            direction="none", meaning=ours, terminal=f"{short} dB",
        ),
        Column(
            id=f"{name}_paper", group=group, heading="Paper", unit="dB", form=form, direction="none",
            value=lambda row: getattr(row.paper, f"{name}_db"), meaning=f"{group} as the paper states it.",
            terminal="paper dB",
        ),
        Column(
            id=f"{name}_difference", group=group, heading="Diff.", unit="dB", form="+z.2f", direction="none",
            value=lambda row: getattr(row.difference, f"{name}_db"), meaning=f"{group}: ours less the paper's.",
        ),
    )  # fmt: skip


def _dequantised_note(method: str) -> Callable[[StudyRow], Note]:
    def note(row: StudyRow) -> Note:
        raw, dequantised = (getattr(row.figures, f"{method}{reading}_db") for reading in ("", "_dequantised"))
        if raw is None or dequantised is None or abs(dequantised - raw) <= APART_DB:
            return Note()
        return Note(f"dequantised {number(dequantised, 'z.2f')}", alert=True)

    return note


STUDY_COLUMNS: tuple[Column[StudyRow], ...] = (
    Column(
        id="fp32", group="PSNR", heading="FP32", unit="dB", value=_figure("fp32_db"), form="z.2f", direction="higher",
        meaning="Mean RGB PSNR of the float network, before quantisation-aware training.", terminal="FP32 dB",
    ),
    Column(
        id="ptq", group="PSNR", heading="PTQ", unit="dB", value=_figure("ptq_db"), form="z.2f", direction="higher",
        note=_dequantised_note("ptq"), terminal="PTQ dB",
        meaning="The same of INT8 after post-training quantisation: output bytes taken as pixels.",
    ),
    Column(
        id="qat", group="PSNR", heading="QAT", unit="dB", value=_figure("qat_db"), form="z.2f", direction="higher",
        note=_dequantised_note("qat"), terminal="QAT dB",
        meaning="The same of INT8 after quantisation-aware training.",
    ),
    *_held_against("ptq_loss", "PTQ loss", "FP32 less INT8 after post-training quantisation.", "Ours", "z.2f"),
    *_held_against("qat_loss", "QAT loss", "FP32 less INT8 after quantisation-aware training.", "Ours", "z.2f"),
    Column(
        id="fp32_gain", group="Gain", heading="FP32", unit="dB", value=_figure("fp32_gain_db"), form="+z.2f",
        direction="none", meaning="FP32 over the reference's FP32.",
    ),
    *_held_against("gain", "Gain", "INT8 after quantisation-aware training over the reference's.", "QAT", "+z.2f"),
    Column(
        id="parameters", group="Model", heading="Params", unit="K", form=",.1f", direction="lower",
        value=lambda row: None if row.facts is None else row.facts.parameters / 1e3, terminal="params K",
        meaning="Weights and biases of the INT8 model, in thousands.",
    ),
    Column(
        id="macs", group="Model", heading="MACs", unit="G", form=",.2f", direction="lower", terminal="MACs G",
        value=lambda row: None if row.facts is None or row.facts.macs is None else row.facts.macs / 1e9,
        meaning="Multiply-accumulates of one frame, in thousand millions.",
    ),
    Column(
        id="runtime", group="Model", heading="INT8", unit="ms", form="z.1f", direction="lower", terminal="INT8 ms",
        value=lambda row: None if row.latency is None else row.latency.latency_ms,
        meaning="Median time of one frame, 360 × 640 to 1080 × 1920, of the INT8 model after QAT, or else after PTQ.",
    ),
)  # fmt: skip

_PARTS = {"network": "the network", "ptq": "PTQ", "qat": "QAT", "runtime": "its runtime"}


def render_studies(studies: Sequence[StudyResults], *, board: bool) -> dict[PurePosixPath, str]:
    """Every study's page by its path relative to the site, ``studies/<slug>.html``.

    Args:
        board: whether there is a front page to lead back to.
    """
    page = template("study.html")
    shared = {"board": board, "script_hash": script_hash(), "parts": _PARTS, "apart_db": APART_DB}
    return {
        PurePosixPath("studies", f"{slug}.html"): page.render(_study(results), **shared)
        for slug, results in _by_slug(studies)
    }


def _by_slug(studies: Sequence[StudyResults]) -> list[tuple[str, StudyResults]]:
    return list(zip(_slugs(study.name for study in studies), studies, strict=True))


def _study(results: StudyResults) -> dict[str, Any]:
    rows = results.rows
    trainings = {row.training: [each for each in rows if each.training == row.training] for row in rows if row.training}
    drawn = [row for row in rows if row.paper.ptq_loss_db is not None]
    losses = [loss for row in drawn for _, loss in _losses(row) if loss is not None]
    return {
        "results": results, "columns": STUDY_COLUMNS, "groups": _groups(STUDY_COLUMNS),
        "row_groups": grouped(rows, lambda row: row.group),
        "best": {column.id: column.best(rows) for column in STUDY_COLUMNS},
        "reference": next((row for row in rows if row.name == results.reference), None),
        "failed": [(row, failure) for row in rows for failure in row.failures],
        "bars": [(row, _losses(row)) for row in drawn], "longest": max([*losses, 0.01]),
        "trainings": trainings,
        "score_conditions": _score_conditions(score for row in rows for score in (row.ptq, row.qat) if score),
        "latency_conditions": _latency_conditions(row.latency for row in rows if row.latency),
    }  # fmt: skip


def _losses(row: StudyRow) -> list[tuple[str, float | None]]:
    ours, paper = row.figures, row.paper
    lines = [("ours, PTQ", ours.ptq_loss_db), ("paper, PTQ", paper.ptq_loss_db), ("ours, QAT", ours.qat_loss_db)]
    return [*lines, ("paper, QAT", paper.qat_loss_db)] if paper.qat_loss_db is not None else lines


# The text layer


# Control characters, lone surrogates and direction overrides have no place in a published page.
_UNPRINTABLE = dict.fromkeys(
    [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A),
     *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}",
)  # fmt: skip


def template(name: str) -> jinja2.Template:
    """A template of the pages, escaping what it is given."""
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("mai_harness"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_finalise,
    )  # fmt: skip
    made.globals["missing"] = MISSING  # a literal none would be escaped before it is finalised
    made.filters |= {"number": number, "moment": _moment, "quantile": _quantile}
    made.filters |= {"share": diagnosis.share, "longest": diagnosis.longest}
    made.filters |= {"pictures": diagnosis.pictures, "histogram": diagnosis.histogram}
    return made


def _finalise(value: object) -> object:
    if value is None:
        return MISSING
    return value.translate(_UNPRINTABLE) if isinstance(value, str) else value


def _moment(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
        utc = moment if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return created
    return f"{utc:%Y-%m-%d %H:%M} UTC"


def _quantile(report: LatencyReport, tenths: int) -> float | None:
    if tenths == 5:
        return report.latency_ms
    return report.quantile_ms(tenths) if len(report.samples_ms) > 1 else None


# The plot: positions only, the words are in the template


class Point(NamedTuple):
    """Runtime in ms and PSNR in dB."""

    ms: float
    db: float


@dataclass(frozen=True)
class _Mark:
    row: Row
    x: float
    y: float
    fp32: tuple[float, float] | None
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class _Plot:
    id: str
    width: int
    height: int
    frame: Box
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    log: bool
    front: str
    marks: list[_Mark]


def _point(evaluation: Evaluation, precision: str = "int8") -> Point | None:
    ms = _BY_ID[f"runtime_{precision}"].value(evaluation)
    db = (_RAW if precision == "int8" else _FP32)(evaluation)
    # A runtime of zero is below the clock's resolution and has no place on a logarithmic axis.
    return None if ms is None or db is None or ms <= 0 else Point(ms, db)


def _plot(rows: Sequence[Row], name: str, width: int, height: int) -> _Plot:
    left, top, right, bottom = frame = (48.0, 12.0, width - 16.0, height - 48.0)
    int8 = [point for row in rows if (point := _point(row.evaluation))]
    fp32 = [_point(row.evaluation, "fp32") for row in rows]
    everything = int8 + [point for point in fp32 if point]
    x = _runtime_axis([p.ms for p in everything], left, right)
    y = _psnr_axis([p.db for p in everything], bottom, top)
    marks = [
        _Mark(row, x.at(p.ms), y.at(p.db), (x.at(f.ms), y.at(f.db)) if f else None)
        for row, p, f in zip(rows, int8, fp32, strict=True)
    ]
    return _Plot(
        id=name, width=width, height=height, frame=frame, log=x.log,
        x_ticks=[(x.at(v), f"{v:g}") for v in x.ticks()],
        y_ticks=[(y.at(v), f"{v:g}") for v in y.ticks()],
        front=_staircase([(marks[i].x, marks[i].y) for i in _front_indices(int8)], right, bottom),
        marks=_labelled(marks, frame),
    )  # fmt: skip


def _runtime_axis(values: list[float], start: float, end: float) -> Axis:
    if max(values) > 4 * min(values):
        return Axis(min(values) / 1.3, max(values) * 1.3, start, end, log=True)
    return Axis(0.0, max(values) * 1.15, start, end)


def _psnr_axis(values: list[float], start: float, end: float) -> Axis:
    margin = max(0.08 * (max(values) - min(values)), 0.25)
    return Axis(min(values) - margin, max(values) + margin, start, end)


def _front_indices(points: Sequence[Point | None]) -> list[int]:
    """Indices of the Pareto front, fastest first: no other point is both as fast and as good."""
    best, front = -math.inf, []
    for index, point in sorted(((i, p) for i, p in enumerate(points) if p), key=lambda item: (item[1].ms, -item[1].db)):
        if point.db > best:
            best = point.db
            front.append(index)
    return front


def _staircase(front: list[tuple[float, float]], right: float, bottom: float) -> str:
    path = f"M{front[0][0]:.1f} {bottom:.1f}"
    return path + "".join(f"H{x:.1f}V{y:.1f}" for x, y in front) + f"H{right:.1f}"


def _labelled(marks: list[_Mark], frame: Box) -> list[_Mark]:
    """Give each mark a label that overlaps nothing: its title, or where that finds no room its rank."""
    taken = [_around(m.x, m.y) for m in marks] + [_around(*m.fp32) for m in marks if m.fp32]
    labelled = []
    for mark in marks:
        title = mark.row.evaluation.title
        texts = (title if len(title) <= 24 else title[:23] + "…", str(mark.row.rank))
        options = [option for text in texts for option in _placements(mark, text)]
        free = (o for o in options if _inside(o[1], frame) and not any(_overlap(o[1], box) for box in taken))
        chosen, box = next(free, options[-1])
        taken.append(box)
        labelled.append(chosen)
    return labelled


def _placements(mark: _Mark, text: str) -> Iterator[tuple[_Mark, Box]]:
    width, height = 7.2 * len(text), 15.0
    for dx, dy, anchor in (
        (10, 4, "start"), (-10, 4, "end"), (0, 21, "middle"), (0, -12, "middle"), (8, 18, "start"), (8, -9, "start"),
        (-8, 18, "end"), (-8, -9, "end"),
    ):  # fmt: skip
        x, y = mark.x + dx, mark.y + dy
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        placed = _Mark(mark.row, mark.x, mark.y, mark.fp32, text, x, y, anchor)
        yield placed, (left, y - height + 3, left + width, y + 3)


def _around(x: float, y: float) -> Box:
    return (x - 6, y - 6, x + 6, y + 6)


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _psnr_scale(evaluations: Iterable[Evaluation]) -> Axis | None:
    """One scale in per cent for every case, so that their marks can be compared."""
    values = [v for e in evaluations for of in (_RAW, _DEQUANTISED, _FP32) if (v := of(e)) is not None]
    if not values:
        return None
    return Axis(math.floor(min(values) / 2) * 2 - 2, math.ceil(max(values) / 2) * 2 + 2, 0.0, 100.0)
