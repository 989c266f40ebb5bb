"""The page of one entry."""

from typing import Any

from mai_harness.metrics import FIGURES, Figure
from mai_harness.records import Evaluation, Reading
from mai_harness.render import diagnosis
from mai_harness.render.board import Row

_READINGS: dict[Reading, str] = {
    "raw": "INT8 raw",
    "dequantised": "INT8 dequantised",
    "mended": "INT8 with a clip",
    "fp32": "FP32",
}


def entry(row: Row) -> dict[str, Any]:
    """What its template is given."""
    evaluation = row.evaluation
    return {
        "row": row, "evaluation": evaluation, "figures": _figures(evaluation), "readings": _READINGS,
        **_examined(evaluation),
    }  # fmt: skip


def _figures(evaluation: Evaluation) -> list[Figure]:
    """Those that an entry may have: only a network without a clip can be mended by one."""
    images = evaluation.score.images if evaluation.score else ()
    mended = any(image.figures.get(f.key) is not None for image in images for f in FIGURES if f.reading == "mended")
    return [figure for figure in FIGURES if figure.reading != "mended" or mended]


def _examined(evaluation: Evaluation) -> dict[str, Any]:
    examine, appraise = evaluation.examine, evaluation.appraise
    if examine is None:
        return {"analysed": [], "trials": None}
    analysed = diagnosis.layer_rows(examine, appraise)
    return {
        "analysed": analysed, "trials": diagnosis.trials(examine, appraise),
        "sqnr": diagnosis.sqnr_chart(analysed), "gains": diagnosis.gain_chart(analysed),
    }  # fmt: skip
