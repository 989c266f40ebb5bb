"""The page of one entry."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec

from mai_harness.metrics import FIGURES, Figure
from mai_harness.records import Evaluation, Exhibit
from mai_harness.render import diagnosis
from mai_harness.render.board import Row
from mai_harness.render.columns import READINGS
from mai_harness.render.gallery import shown
from mai_harness.render.network import network
from mai_harness.render.page import Pages, page
from mai_harness.render.strip import strip

_WHAT = {
    "model.tflite": "INT8, for 360 × 640, as the challenge times it",
    "model_none.tflite": "INT8, for any size, as the challenge scores it",
    "model.onnx": "float, as it was exported",
}


class File(NamedTuple):
    """To be downloaded; ``path`` is relative to the site, ``size`` in bytes."""

    name: str
    path: str
    size: int
    what: str


def entry(row: Row, files: Mapping[str, Path], shared: Mapping[str, Any]) -> Pages:
    """The page, the files that it offers, and the pictures of its diagnosis.

    Args:
        files: of the model, by the names that they are offered under.
        shared: what the templates of all pages are given.
    """
    evaluation = row.evaluation
    result = _encoded(_without_pictures(evaluation))
    offered = {f"files/{row.slug}/{name}": path for name, path in files.items()}
    listed = [File(Path(to).name, to, path.stat().st_size, _WHAT[Path(to).name]) for to, path in offered.items()]
    listed.append(File("result.json", f"files/{row.slug}/result.json", len(result), "all that was measured"))
    return {
        **{PurePosixPath(to): path for to, path in offered.items()},
        PurePosixPath(listed[-1].path): result,
        **_exhibited(_specimen(row)),
        **page("entry.html", f"entries/{row.slug}.html", files=listed, **_context(row), **shared),
    }


def _context(row: Row) -> dict[str, Any]:
    evaluation = row.evaluation
    return {
        "row": row, "evaluation": evaluation, "figures": _figures(evaluation), "readings": READINGS,
        "pictures": shown(evaluation.gallery), "net": network(evaluation), "strip_plot": strip(evaluation.score),
        "specimen": _specimen(row),
        **_examined(evaluation),
    }  # fmt: skip


def _without_pictures(evaluation: Evaluation) -> Evaluation:
    if evaluation.appraise is None or evaluation.appraise.exhibit is None:
        return evaluation
    exhibit = msgspec.structs.replace(evaluation.appraise.exhibit, pictures={})
    return msgspec.structs.replace(evaluation, appraise=msgspec.structs.replace(evaluation.appraise, exhibit=exhibit))


def _encoded(evaluation: Evaluation) -> bytes:
    try:
        return msgspec.json.encode(evaluation)
    except UnicodeEncodeError:  # half a surrogate pair, which no file of results can hold
        return json.dumps(msgspec.to_builtins(evaluation, str_keys=True)).encode()


def _specimen(row: Row) -> Exhibit | None:
    """The patch that shows what went wrong; of a sound network the gallery shows as much."""
    evaluation = row.evaluation
    telling = row.worst is not None or evaluation.gallery is None
    return evaluation.appraise.exhibit if evaluation.appraise and telling else None


def _exhibited(exhibit: Exhibit | None) -> Pages:
    pictures = diagnosis.pictures(exhibit) if exhibit else []
    return {PurePosixPath("pictures", picture.file): picture.data for picture in pictures}


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
