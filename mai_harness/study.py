"""A study: submissions that are compared with one another, each as FP32, PTQ and QAT, beside a paper's figures."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mai_harness.discover import STUDY_FILE, did_you_mean, discover, study_folders, unknown_field_hint
from mai_harness.errors import InvalidSubmission
from mai_harness.records import (
    Circumstances,
    Failure,
    LatencyReport,
    ModelFacts,
    QatRecipe,
    Record,
    ScoreReport,
    TrainRecipe,
)
from mai_harness.storage import read_versioned

# 1, 2026-11-25: the first.
# 2, 2026-11-25: the ratio of a latency to the reference model, and its layers.
STUDY_SCHEMA_VERSION = 2

# The plan: study.toml


class Compared(Record, frozen=True):
    """What is held against a paper, in dB; ``None`` where it was not measured, or the paper does not state it."""

    ptq_loss_db: float | None = None  #: FP32 less INT8 after post-training quantisation
    qat_loss_db: float | None = None  #: FP32 less INT8 after quantisation-aware training
    gain_db: float | None = None  #: INT8 less that of the study's reference; ours after quantisation-aware training


class Paper(Compared, frozen=True):
    """What the paper states of a row, and in words what a number would not say honestly."""

    note: str = ""


class PlannedRow(Record, frozen=True):
    """One of ``[[rows]]``: a submission in the study's folder."""

    submission: str
    group: str = ""
    paper: Paper = Paper()
    remark: str = ""  #: why ours may differ


class StudyManifest(Record, frozen=True):
    """``study.toml``; rows are shown in their order."""

    title: str
    reference: str  #: the submission that gains are over
    rows: Annotated[tuple[PlannedRow, ...], msgspec.Meta(min_length=1)]
    about: str = ""
    source: str = ""  #: citation of the paper
    caveats: tuple[str, ...] = ()  #: why ours may differ, of all rows

    def __post_init__(self) -> None:
        names = [row.submission for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rows name {', '.join(twice)} more than once")
        if self.reference not in names:
            raise ValueError(f"reference = {self.reference!r} is none of the rows")


def find_study(root: Path, name: str) -> tuple[Path, StudyManifest]:
    """The folder and the plan of the study of that name.

    Raises:
        InvalidSubmission: there is none, or as in :func:`read_study`.
    """
    known = {folder.name: folder for folder in study_folders(root)}
    if name not in known:
        raise InvalidSubmission(f"there is no study {name!r} in {root}; {did_you_mean(name, known)}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise InvalidSubmission(
            f"{name!r} cannot name a study's files; rename its folder to letters, digits, . _ and -"
        )
    return known[name], read_study(known[name])


def read_study(folder: Path) -> StudyManifest:
    """Read ``study.toml``.

    Raises:
        InvalidSubmission: it is missing or faulty, or names a submission that is not there.
    """
    place = f"{folder.name}/{STUDY_FILE}"
    try:
        manifest = msgspec.toml.decode((folder / STUDY_FILE).read_bytes(), type=StudyManifest)
    except OSError as error:
        raise InvalidSubmission(f"{place} cannot be read: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = unknown_field_hint(str(error), StudyManifest, PlannedRow, Paper)
        raise InvalidSubmission(f"{place}: {error}{hint}") from None
    submissions, rejections = discover(folder)
    entries = [*(entry.name for entry in submissions), *(entry.name for entry in rejections)]
    for row in manifest.rows:
        if row.submission not in entries:
            reason = f"there is no submission {row.submission!r} beside it; {did_you_mean(row.submission, entries)}"
            raise InvalidSubmission(f"{place}: {reason}")
    return manifest


# The outcome: studies/NAME.json


class Figures(Compared, frozen=True):
    """What was measured of a row: mean RGB PSNR in dB. INT8 is raw, output bytes as pixels, where nothing else is said.

    FP32 is the network before quantisation-aware training.
    """

    fp32_db: float | None = None
    ptq_db: float | None = None
    qat_db: float | None = None
    ptq_dequantised_db: float | None = None
    qat_dequantised_db: float | None = None
    fp32_gain_db: float | None = None  #: FP32 less that of the study's reference


class Training(Record, frozen=True):
    """How a row's weights came about."""

    recipe: TrainRecipe  #: of the float training
    images: int
    qat: QatRecipe | None = None  #: of what followed it


class RowFailure(Failure, frozen=True, kw_only=True):
    """Why a part of a row is missing."""

    part: Literal["network", "ptq", "qat", "runtime"]


class StudyRow(Record, frozen=True):
    """One network, up to what failed."""

    name: str
    title: str
    group: str
    paper: Paper
    remark: str
    fingerprint: str = ""
    untrained: bool = False  #: it has parameters to train but came without weights
    training: Training | None = None  #: ``None`` if nothing tells
    ptq: ScoreReport | None = None
    qat: ScoreReport | None = None
    facts: ModelFacts | None = None  #: of the INT8 model that was timed
    latency: LatencyReport | None = None  #: of the INT8 model after QAT, or else after PTQ
    failures: tuple[RowFailure, ...] = ()
    figures: Figures = Figures()  #: derived
    difference: Compared = Compared()  #: derived: ours less the paper's


class StudyResults(Circumstances, frozen=True):
    """``studies/NAME.json``: one row per network, failed ones included."""

    command: str
    name: str
    title: str
    about: str
    source: str
    reference: str
    caveats: tuple[str, ...]
    rows: tuple[StudyRow, ...]


def judged(rows: Iterable[StudyRow], reference: str) -> tuple[StudyRow, ...]:
    """The rows with their figures, and with what these differ from the paper's."""
    measured = [(row, _measured(row)) for row in rows]
    against = next((figures for row, figures in measured if row.name == reference), Figures())
    return tuple(_judged(row, own, Figures() if row.name == reference else against) for row, own in measured)


def _measured(row: StudyRow) -> Figures:
    def mean(score: ScoreReport | None, reading: str) -> float | None:
        return None if score is None else score.mean(f"psnr_{reading}_db")

    fp32, ptq, qat = mean(row.ptq or row.qat, "fp32"), mean(row.ptq, "raw"), mean(row.qat, "raw")
    return Figures(
        fp32_db=fp32,
        ptq_db=ptq,
        qat_db=qat,
        ptq_dequantised_db=mean(row.ptq, "dequantised"),
        qat_dequantised_db=mean(row.qat, "dequantised"),
        ptq_loss_db=_less(fp32, ptq),
        qat_loss_db=_less(fp32, qat),
    )


def _judged(row: StudyRow, own: Figures, against: Figures) -> StudyRow:
    gains = {"gain_db": _less(own.qat_db, against.qat_db), "fp32_gain_db": _less(own.fp32_db, against.fp32_db)}
    figures = msgspec.structs.replace(own, **gains)
    compared = {
        field: _less(getattr(figures, field), getattr(row.paper, field)) for field in Compared.__struct_fields__
    }
    return msgspec.structs.replace(row, figures=figures, difference=Compared(**compared))


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def study_path(out: Path, name: str) -> Path:
    """Where the results of a study are, below the folder for results."""
    return out / "studies" / f"{name}.json"


def read_study_results(path: Path) -> StudyResults:
    """What was written to :func:`study_path`.

    Raises:
        ResultsUnreadable: as in :func:`mai_harness.storage.read_versioned`.
    """
    return read_versioned(path, StudyResults, STUDY_SCHEMA_VERSION, f"mai-harness study {path.stem}")
