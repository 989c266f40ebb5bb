"""The pages of studies."""

from collections.abc import Callable, Sequence
from typing import Any

from mai_harness.render.columns import Column, Note, number
from mai_harness.render.page import Pages, grouped, groups_of, latency_conditions, navigation, page, score_conditions
from mai_harness.render.slugs import slugs
from mai_harness.study import StudyResults, StudyRow

APART_DB = 0.05  #: a dequantised PSNR that is further from the raw one is shown beside it


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


def render_studies(studies: Sequence[StudyResults], *, board: bool, latencies: bool = False) -> Pages:
    """Every study's page by its path relative to the site, ``studies/<slug>.html``.

    Args:
        board: whether there is a front page to lead to.
        latencies: whether there is ``metanodes.html``.
    """
    nav = navigation(board=board, studies=by_slug(studies), latencies=latencies)
    shared = {"nav": nav, "parts": _PARTS, "apart_db": APART_DB}
    pages: Pages = {}
    for slug, results in by_slug(studies):
        pages |= page("study.html", f"studies/{slug}.html", **_study(results), **shared)
    return pages


def by_slug(studies: Sequence[StudyResults]) -> list[tuple[str, StudyResults]]:
    """Each with its file name."""
    return list(zip(slugs(study.name for study in studies), studies, strict=True))


def _study(results: StudyResults) -> dict[str, Any]:
    rows = results.rows
    trainings = {row.training: [each for each in rows if each.training == row.training] for row in rows if row.training}
    drawn = [row for row in rows if row.paper.ptq_loss_db is not None]
    losses = [loss for row in drawn for _, loss in _losses(row) if loss is not None]
    return {
        "results": results, "columns": STUDY_COLUMNS, "groups": groups_of(STUDY_COLUMNS),
        "row_groups": grouped(rows, lambda row: row.group),
        "best": {column.id: column.best(rows) for column in STUDY_COLUMNS},
        "reference": next((row for row in rows if row.name == results.reference), None),
        "failed": [(row, failure) for row in rows for failure in row.failures],
        "bars": [(row, _losses(row)) for row in drawn], "longest": max([*losses, 0.01]),
        "trainings": trainings,
        "score_conditions": score_conditions(score for row in rows for score in (row.ptq, row.qat) if score),
        "latency_conditions": latency_conditions(row.latency for row in rows if row.latency),
    }  # fmt: skip


def _losses(row: StudyRow) -> list[tuple[str, float | None]]:
    ours, paper = row.figures, row.paper
    lines = [("ours, PTQ", ours.ptq_loss_db), ("paper, PTQ", paper.ptq_loss_db), ("ours, QAT", ours.qat_loss_db)]
    return [*lines, ("paper, QAT", paper.qat_loss_db)] if paper.qat_loss_db is not None else lines
