"""The board's figures: one table that the pages, the terminal and the exports follow."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from mai_harness.metrics import GAP_LIMIT_DB
from mai_harness.records import Evaluation, Precision, Reading, Results
from mai_harness.storage import file_name
from mai_harness.timing import is_noisy

MISSING = "–"
#: How pages name what an output is taken for.
READINGS: dict[Reading, str] = {
    "raw": "INT8 raw",
    "dequantised": "INT8 dequantised",
    "mended": "INT8 with a clip",
    "fp32": "FP32",
}

T = TypeVar("T")
Value = Callable[[Evaluation], float | None]


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
    shown: bool = True  #: at first, where columns can be switched on and off

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


def score_of(evaluation: Evaluation) -> float | None:
    """The challenge's score, by which the board ranks."""
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


RAW, FP32, DEQUANTISED = _mean("psnr_raw_db"), _mean("psnr_fp32_db"), _mean("psnr_dequantised_db")
_GAP = _difference(DEQUANTISED, RAW)

# The front page, the entry pages and the terminal all follow this table: a new figure is one row.
COLUMNS: tuple[Column[Evaluation], ...] = (
    Column(
        id="score", group="Challenge", heading="Score", unit="", value=score_of, form=",.5g", direction="higher",
        terminal="score", note=_score_note,
        meaning="The challenge's score of INT8 raw PSNR and runtime. Ranks the board.",
    ),
    Column(
        id="psnr_raw", group="Fidelity", heading="INT8 raw", unit="dB", value=RAW, form="z.2f", direction="higher",
        terminal="INT8 raw dB",
        meaning="Mean RGB PSNR of the INT8 model, its output bytes taken as pixels.",
    ),
    Column(
        id="ssim_raw", group="Fidelity", heading="SSIM raw", unit="", value=_mean("ssim_raw"), form="z.4f",
        direction="higher", terminal="SSIM",
        meaning="Mean SSIM of the same pixels; 1 is identical.",
    ),
    Column(
        id="psnr_y_raw", group="Fidelity", heading="PSNR Y", unit="dB", value=_mean("psnr_y_raw_db"), form="z.2f",
        direction="higher", shown=False,
        meaning="Mean PSNR of the luma (BT.601) of the same pixels, as papers on super-resolution state it.",
    ),
    Column(
        id="psnr_fp32", group="Fidelity", heading="FP32", unit="dB", value=FP32, form="z.2f", direction="higher",
        terminal="FP32 dB",
        meaning="Mean RGB PSNR of the same network in float.",
    ),
    Column(
        id="drop", group="Fidelity", heading="Drop", unit="dB", value=_difference(FP32, RAW), form="z.2f",
        direction="lower", terminal="drop dB",
        meaning="FP32 less INT8 raw: what quantisation cost.",
    ),
    Column(
        id="psnr_dequantised", group="Fidelity", heading="Dequantised", unit="dB", value=DEQUANTISED, form="z.2f",
        direction="higher", terminal="dequantised dB",
        meaning="Mean RGB PSNR when the output's scale and zero-point are applied first.",
    ),
    Column(
        id="gap", group="Fidelity", heading="Gap", unit="dB", value=_GAP, form="z.2f", direction="none",
        note=_gap_note, shown=False,
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
        direction="lower", terminal="FP32 ms", shown=False,
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

BY_ID = {column.id: column for column in COLUMNS}


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
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) else file_name(name).replace(".", "-")
