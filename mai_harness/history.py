"""What became of each evaluation: a small record of every run that finished, and what changed from one to another."""

import math
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import msgspec

from mai_harness.challenge import FORMULAS, score
from mai_harness.errors import ResultsUnreadable
from mai_harness.records import Evaluation, LatencyReport, Record, Results
from mai_harness.storage import read_versioned, write_results

# 1, 2026-11-25: the first.
HISTORY_SCHEMA_VERSION = 1
VISIBLE_DB = 0.005  #: a PSNR that differs by less is the same to two decimals
VISIBLE_SHARE = 0.0005  #: a score that differs by less, as a share, is the same to a tenth of a per cent

Count = Annotated[int, msgspec.Meta(ge=0)]


class RunEntry(Record, frozen=True, omit_defaults=True):
    """What is kept of one submission; a figure that was not measured is ``None``."""

    name: str
    title: str
    fingerprint: str = ""  #: of its files
    rank: Annotated[int, msgspec.Meta(ge=1)] | None = None  #: by score; equal scores share one
    score: float | None = None
    psnr_raw_db: float | None = None
    psnr_fp32_db: float | None = None
    ssim_raw: float | None = None
    ratio: float | None = None  #: INT8 latency over the reference model's
    #: half the confidence interval of the runtime, as a share of it; 0 of an estimate, ``None`` where it is not known
    uncertainty: float | None = None
    latency_ms: float | None = None
    failed_at: str = ""  #: the stage at which it stopped
    rules_failed: Count = 0
    findings: Count = 0  #: errors and warnings


class Run(Record, frozen=True, kw_only=True):
    """``history/MOMENT.json``: an evaluation of all or some submissions, failed ones included."""

    schema_version: int
    checksum: str = ""  #: in a file, SHA-256 of its other bytes
    created: str  #: ISO 8601, UTC
    harness_version: str
    machine: str
    dataset: str
    dataset_fingerprint: str  #: empty if nothing was scored, as is what follows where it is not known
    shave: int | None  #: border pixels left out of the scores
    formula: str  #: of ``challenge.FORMULAS``
    backend: str  #: that ranks
    device: str  #: of that backend
    threads: int | None
    entries: tuple[RunEntry, ...]


def run_of(results: Results) -> Run:
    """What is kept of these results. Who broke a rule of the challenge, or failed, has no rank."""
    scored = next((e.score for e in results.submissions if e.score), None)
    leading = next((report for e in results.submissions if (report := e.headline)), None)
    competing = [value for e in results.submissions if (value := _competing_score(e)) is not None]
    return Run(
        schema_version=HISTORY_SCHEMA_VERSION, created=results.created, harness_version=results.harness_version,
        machine=results.machine, dataset=results.dataset, formula=results.formula,
        dataset_fingerprint=scored.dataset_fingerprint if scored else "", shave=scored.shave if scored else None,
        backend=next((each.backend for e in results.submissions for each in e.runtime[:1]), ""),
        device=leading.device if leading else "", threads=leading.threads if leading else None,
        entries=tuple(_entry(e, competing) for e in results.submissions),
    )  # fmt: skip


def _competing_score(evaluation: Evaluation) -> float | None:
    if evaluation.failure is not None or _rules_failed(evaluation) or evaluation.challenge is None:
        return None
    return evaluation.challenge.value


def _rules_failed(evaluation: Evaluation) -> int:
    return sum(rule.status == "fail" for rule in evaluation.check.rules) if evaluation.check else 0


def _entry(evaluation: Evaluation, competing: Sequence[float]) -> RunEntry:
    mean = evaluation.score.mean if evaluation.score else lambda figure: None
    report, own = evaluation.headline, _competing_score(evaluation)
    return RunEntry(
        name=evaluation.name, title=evaluation.title, fingerprint=evaluation.fingerprint,
        rank=None if own is None else 1 + sum(other > own for other in competing),
        score=evaluation.challenge.value if evaluation.challenge else None,
        psnr_raw_db=mean("psnr_raw_db"), psnr_fp32_db=mean("psnr_fp32_db"), ssim_raw=mean("ssim_raw"),
        ratio=report.ratio.value if report and report.ratio else None, uncertainty=_uncertainty(report),
        latency_ms=report.latency_ms if report else None,
        failed_at=evaluation.failure.stage if evaluation.failure else "", rules_failed=_rules_failed(evaluation),
        findings=sum(finding.severity != "info" for finding in evaluation.findings),
    )  # fmt: skip


def _uncertainty(report: LatencyReport | None) -> float | None:
    if report is None or report.ratio is not None:
        return report.ratio.uncertainty if report and report.ratio else None
    return None if report.estimate_ms is None else 0.0


# On disk


def remember(run: Run, out: Path) -> Path:
    """Keep a run below the folder for results, in the place of the newest one if that was made at the same moment.

    Raises:
        ValueError: ``created`` is no moment.
    """
    kept_paths = _paths(out)
    again = bool(kept_paths) and _created(kept_paths[-1]) == run.created
    path = kept_paths[-1] if again else next(place for place in _places(run, out) if not place.exists())
    write_results(run, path)
    return path


def kept(out: Path, tell: Callable[[str], None]) -> list[Run]:
    """All runs that were kept, oldest first.

    Args:
        tell: called with a line for a person about a file that cannot be read, and so is left out.
    """
    runs = []
    for path in _paths(out):
        try:
            runs.append(_read(path))
        except ResultsUnreadable as error:
            tell(f"left out of the history: {error}")
    return runs


def _read(path: Path) -> Run:
    # The first had no checksums, and no run comes again.
    return read_versioned(path, Run, HISTORY_SCHEMA_VERSION, f"rm {shlex.quote(str(path))}", unsealed=True)


def _created(path: Path) -> str | None:
    try:
        return _read(path).created
    except ResultsUnreadable:
        return None


def _places(run: Run, out: Path) -> Iterator[Path]:
    """Where the run may go: the name of its moment, or with the first number that is free."""
    moment = datetime.fromisoformat(run.created)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    name = f"{moment:%Y%m%dT%H%M%SZ}"
    yield _folder(out) / f"{name}.json"
    yield from (_folder(out) / f"{name}-{number}.json" for number in count(2))


def _paths(out: Path) -> list[Path]:
    return sorted(_folder(out).glob("*.json"), key=_order)


def _order(path: Path) -> tuple[str, int]:
    numbered = re.fullmatch(r"(.*Z)-([0-9]{1,9})", path.stem)
    return (numbered[1], int(numbered[2])) if numbered else (path.stem, 1)


def _folder(out: Path) -> Path:
    return out / "history"


# What changed


def comparable(a: Run, b: Run) -> bool:
    """Whether PSNR compares: same images, border, formula and backend. What a failed run does not know may be so."""
    if a.dataset_fingerprint and b.dataset_fingerprint:
        same_images = (a.dataset_fingerprint, a.shave) == (b.dataset_fingerprint, b.shave)
    else:
        same_images = a.dataset == b.dataset
    return same_images and a.formula == b.formula and (not a.backend or not b.backend or a.backend == b.backend)


def timed_alike(a: Run, b: Run) -> bool:
    """Whether runtimes compare, and so scores and ranks: same device, its software included, and threads."""
    return (a.device, a.threads) == (b.device, b.threads)


def last_comparable(earlier: Sequence[Run], now: Run) -> Run | None:
    """The newest of earlier runs, oldest first, that ``now`` compares with."""
    return next((run for run in reversed(earlier) if comparable(run, now)), None)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is different in one entry; false if nothing is."""

    new: bool = False
    ranks: tuple[int | None, int | None] | None = None  #: before and now, where they differ
    psnr_db: float | None = None  #: difference of INT8 raw, where it shows at two decimals
    #: difference of the score as a share of the one before, where it is more than the timing's noise
    score: float | None = None
    files: bool = False  #: the submission's files are others
    failed_at: str = ""  #: the stage, if it did not fail before
    recovered: bool = False  #: it failed before, and does not now
    disqualified: bool = False  #: it breaks a rule of the challenge, and did not before

    def __bool__(self) -> bool:
        return self != Change()

    @property
    def places(self) -> int:
        """How many ranks it rose, below 0 if it fell; 0 if it had or has none."""
        before, now = self.ranks or (None, None)
        return 0 if before is None or now is None else before - now


def changes(before: Run | None, now: Run) -> dict[str, Change]:
    """By name what changed in the entries of ``now``; those in which nothing did are left out.

    Args:
        before: as :func:`last_comparable` finds it; without one nothing changed. Where it was not timed alike, ranks
            and scores are not compared.
    """
    if before is None:
        return {}
    known = {entry.name: entry for entry in before.entries}
    formula = now.formula if timed_alike(before, now) else None
    found = {
        entry.name: _change(known[entry.name], entry, formula) if entry.name in known else Change(new=True)
        for entry in now.entries
    }
    return {name: change for name, change in found.items() if change}


def gone(before: Run | None, now: Run) -> tuple[RunEntry, ...]:
    """Entries of ``before`` that ``now`` has not."""
    names = {entry.name for entry in now.entries}
    return tuple(entry for entry in before.entries if entry.name not in names) if before else ()


def _change(before: RunEntry, now: RunEntry, formula: str | None) -> Change:
    psnr_db = _difference(before.psnr_raw_db, now.psnr_raw_db)
    return Change(
        ranks=(before.rank, now.rank) if formula and before.rank != now.rank else None,
        psnr_db=psnr_db if psnr_db is not None and abs(psnr_db) >= VISIBLE_DB else None,
        score=_score_share(before, now, formula) if formula else None,
        files=bool(before.fingerprint and now.fingerprint) and before.fingerprint != now.fingerprint,
        failed_at=now.failed_at if not before.failed_at else "",
        recovered=bool(before.failed_at) and not now.failed_at,
        disqualified=now.rules_failed > 0 and before.rules_failed == 0,
    )


def _difference(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else now - before


def _score_share(before: RunEntry, now: RunEntry, formula: str) -> float | None:
    """By how much PSNR and runtime move the score, as a share; ``None`` if that may be noise."""
    runtimes = _runtimes(before, now)
    known = (before.psnr_raw_db, now.psnr_raw_db, before.uncertainty, now.uncertainty)
    if runtimes is None or None in known or formula not in FORMULAS:
        return None
    psnr_before, psnr_now, *uncertain = (value for value in known if value is not None)
    share = score(formula, psnr_now, runtimes[1]) / score(formula, psnr_before, runtimes[0]) - 1
    return share if abs(share) > max(math.hypot(*uncertain), VISIBLE_SHARE) else None


def _runtimes(before: RunEntry, now: RunEntry) -> tuple[float, float] | None:
    """Of two runs. Ratios to the reference model where there are, for how fast the machine was is no one's merit."""
    pairs: Iterable[tuple[float | None, float | None]] = (
        (before.ratio, now.ratio), (before.latency_ms, now.latency_ms),
    )  # fmt: skip
    return next(((a, b) for a, b in pairs if a and b and a > 0 and b > 0), None)
