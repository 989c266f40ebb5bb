"""Derive results once more, from nothing that is kept, and hold them against those in a file."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from mai_harness.datasets import Dataset
from mai_harness.diagnose import diagnose
from mai_harness.discover import discover
from mai_harness.errors import HarnessError
from mai_harness.machine import describe, versions
from mai_harness.pipeline import Settings, evaluate
from mai_harness.records import Evaluation, Record, Rejection, Results, Submission

TOLERANCE = 0.01  #: by which figures, in dB or grey levels, may differ on another machine
_BY_BYTES = {"sha256", "output_sha256", "pictures"}  # what is never nearly the same
_MISSING = "nothing"
Tell = Callable[[str], None]


class Difference(Record, frozen=True):
    """One place where what was derived now is not what the file holds."""

    field: str  #: such as 'score.images.0801.psnr_raw_db'
    then: Any
    now: Any


class Verdict(Record, frozen=True):
    """Of one submission: it is the same, or it differs, or an obstacle kept it from being compared."""

    name: str
    differences: tuple[Difference, ...] = ()
    obstacle: str = ""

    @property
    def outcome(self) -> Literal["same", "differs", "not compared"]:
        """In a word."""
        return "not compared" if self.obstacle else "differs" if self.differences else "same"


class Verification(Record, frozen=True):
    """All verdicts, and by how much figures were allowed to differ."""

    submissions: tuple[Verdict, ...]
    tolerance: float  #: 0 on the machine of the results
    remarks: tuple[str, ...] = ()


def verify(settings: Settings, results: Results, dataset: Dataset, names: Sequence[str], tell: Tell) -> Verification:
    """Hold results against what the same submissions and data give now, in a folder that is empty at first.

    Runtimes are not compared, but for the estimates of the settings' backends.

    Args:
        settings: ``out`` and ``shave`` are not used.
        names: of submissions; without any, all of the results.
        tell: called with a line for a person when something starts.

    Raises:
        HarnessError: the results have no such submission, or as in :func:`mai_harness.pipeline.evaluate`.
    """
    known = {each.name: each for each in results.submissions}
    missing = [name for name in names if name not in known]
    if missing:
        raise HarnessError(f"the results have no submission {missing[0]!r}; they have {', '.join(known)}")
    stored = [known[name] for name in dict.fromkeys(names)] or list(results.submissions)
    found, rejected = discover(settings.submissions)
    verdicts = {each.name: _unlike(each, results, dataset, found, rejected) for each in stored}
    to_derive = [each for each in stored if verdicts[each.name] is None]
    fresh = _derived(settings, results, dataset, [each.name for each in to_derive], tell) if to_derive else {}
    elsewhere = results.machine != describe()
    tolerance = TOLERANCE if elsewhere else 0.0
    for each in to_derive:
        verdicts[each.name] = compared(each, fresh[each.name], tolerance)
    remark = (
        f"made on another machine ({results.machine}): figures may differ by {TOLERANCE:g}, and files are not compared"
    )
    told = tuple(verdict for verdict in verdicts.values() if verdict is not None)
    return Verification(submissions=told, tolerance=tolerance, remarks=(remark,) if elsewhere else ())


def _unlike(
    stored: Evaluation,
    results: Results,
    dataset: Dataset,
    found: Sequence[Submission],
    rejected: Sequence[Rejection],
) -> Verdict | None:
    """What can be said without deriving anything."""
    reasons = {each.name: each.reason for each in rejected}
    fingerprints = {each.name: each.fingerprint for each in found}
    if stored.name in reasons:
        then = stored.failure.reason if stored.failure and stored.failure.stage == "discover" else _MISSING
        return Verdict(name=stored.name, differences=tuple(_differences("failure", then, reasons[stored.name], 0)))
    if stored.name not in fingerprints:
        return Verdict(name=stored.name, obstacle="the submission is no longer there")
    if stored.fingerprint != fingerprints[stored.name]:
        return Verdict(name=stored.name, obstacle="the submission's files are others now")
    obstacle = _other_circumstances(stored, results, dataset)
    return Verdict(name=stored.name, obstacle=obstacle) if obstacle else None


def _other_circumstances(stored: Evaluation, results: Results, dataset: Dataset) -> str:
    same_images = stored.score is None or stored.score.dataset_fingerprint == dataset.fingerprint
    if results.dataset != dataset.name or not same_images:
        return f"it was scored on {results.dataset}, and this is {_other(results.dataset, dataset.name)}"
    now = {name: version for name, version in versions().items() if version is not None}
    then = results.versions
    others = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    told = (f"{name} {then.get(name, _MISSING)}, now {now.get(name, _MISSING)}" for name in others)
    return f"it was made with other versions: {'; '.join(told)}" if others else ""


def _other(then: str, now: str) -> str:
    return f"{now} with other images" if then == now else now


def _derived(
    settings: Settings, results: Results, dataset: Dataset, names: Sequence[str], tell: Tell
) -> dict[str, Evaluation]:
    shave = next((each.score.shave for each in results.submissions if each.score), 0)
    with tempfile.TemporaryDirectory(prefix="mai-harness-verify-") as folder:
        fresh = replace(settings, out=Path(folder), shave=shave)
        return {each.name: each for each in evaluate(fresh, dataset, names, tell).submissions}


def compared(then: Evaluation, now: Evaluation, tolerance: float) -> Verdict:
    """Two evaluations of the same files; the runtimes of ``now`` are estimates, if it has any.

    Args:
        tolerance: by which figures may differ; with 0 files are compared too.
    """
    told_then, told_now = _told(then), _told(_with_runtimes(now, then))
    if now.runtime:
        told_then["runtime"], told_now["runtime"] = _estimates(then, now), _estimates(now, now)
    return Verdict(name=then.name, differences=tuple(_differences("", told_then, told_now, tolerance)))


def _with_runtimes(now: Evaluation, then: Evaluation) -> Evaluation:
    """Findings about runtimes are made of those of then, which are not measured again."""
    timed = {"runtime": then.runtime, "gains": then.gains, "challenge": then.challenge}
    both = msgspec.structs.replace(now, failure=_untimed(now), **timed)
    stopped = then.failure if both.failure is None and _untimed(then) is None else both.failure
    both = msgspec.structs.replace(both, failure=stopped)
    return msgspec.structs.replace(both, findings=diagnose(both))


def _untimed(evaluation: Evaluation) -> Any:
    failure = evaluation.failure
    return None if failure is None or failure.stage == "benchmark" else failure


def _told(evaluation: Evaluation) -> dict[str, Any]:
    """What has to be the same, by names that tell the place."""
    failure, check, score = _untimed(evaluation), evaluation.check, evaluation.score
    made = {stage: _plain(getattr(evaluation, stage)) for stage in ("export", "calibrate", "quantise", "gallery")}
    return {
        **made,
        "failure": failure and {"stage": failure.stage, "kind": failure.kind, "reason": failure.reason},
        "facts": _plain(check.facts) if check else None,
        "rules": {rule.rule: {"status": rule.status, "found": rule.found} for rule in check.rules} if check else None,
        "score": score
        and {
            "images": {image.name: image.figures for image in score.images},
            "output_sha256": score.output_sha256,
        },
        "findings": sorted(finding.id for finding in evaluation.findings),
    }


def _plain(record: Record | None) -> Any:
    return None if record is None else msgspec.json.decode(msgspec.json.encode(record))


def _estimates(evaluation: Evaluation, wanted: Evaluation) -> dict[str, Any]:
    """Of the backends that ``wanted`` has: estimates in ms by precision, or why there are none."""
    names = {each.backend for each in wanted.runtime}
    return {
        each.backend: {report.precision: report.estimate_ms for report in each.reports} | {"refusals": each.refusals}
        for each in evaluation.runtime
        if each.backend in names
    }


def _differences(field: str, then: Any, now: Any, tolerance: float) -> Iterator[Difference]:
    if tolerance and field.rpartition(".")[2] in _BY_BYTES:
        return
    if isinstance(then, list | tuple) and isinstance(now, list | tuple):
        then, now = dict(enumerate(then)), dict(enumerate(now))
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            inner = f"{field}.{key}" if field else str(key)
            yield from _differences(inner, then.get(key, _MISSING), now.get(key, _MISSING), tolerance)
    elif then != now and not _near(then, now, tolerance):
        yield Difference(field=field, then=then, now=now)


def _near(then: Any, now: Any, tolerance: float) -> bool:
    return isinstance(then, float) and isinstance(now, float) and abs(then - now) <= tolerance
