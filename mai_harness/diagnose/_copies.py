"""Submissions that give the same pixels: told by all results together, on each of those that share them."""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from mai_harness.records import Evaluation, Finding, Results, ScoreReport

ID = "same-output"


def copies(evaluations: Iterable[Evaluation]) -> dict[str, tuple[str, ...]]:
    """Of each submission that is not alone with its pixels, the names of the others that give them, sorted."""
    groups: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for each in evaluations:
        if each.score is not None and each.score.output_sha256:
            groups[_key(each.score)].append(each.name)
    return {name: tuple(sorted(set(names) - {name})) for names in groups.values() if len(names) > 1 for name in names}


def _key(score: ScoreReport) -> tuple[str, int, str]:
    return score.dataset_fingerprint, len(score.images), score.output_sha256


def with_copies(results: Results) -> Results:
    """The results with a finding on each submission whose pixels another gives, and with no earlier such finding."""
    rows = {each.name: each for each in results.submissions}
    found = copies(rows.values())
    told = (_told(each, [rows[name] for name in found.get(each.name, ())]) for each in results.submissions)
    return msgspec.structs.replace(results, submissions=tuple(told))


def _told(evaluation: Evaluation, others: list[Evaluation]) -> Evaluation:
    findings = [finding for finding in evaluation.findings if finding.id != ID]
    if others:
        place = next((i for i, each in enumerate(findings) if each.severity == "info"), len(findings))
        findings.insert(place, _finding(evaluation, others))
    return msgspec.structs.replace(evaluation, findings=tuple(findings))


def _finding(evaluation: Evaluation, others: list[Evaluation]) -> Finding:
    own = _file(evaluation)
    same = [each.name for each in others if own and _file(each) == own]
    files = f"the INT8 file is that of {', '.join(same)} too" if same else "the INT8 files are others"
    return Finding(
        id=ID,
        severity="warning",
        title="Another submission gives the same pixels",
        evidence=f"On every scored image, each output byte is that of {', '.join(each.name for each in others)}; "
        f"{files}.",
        explanation="Networks that were trained apart never agree in every byte. "
        "So one is a copy of the other, or both are the same fixed interpolation.",
        remedy="Ask the authors; which of them was first is not told here.",
    )


def _file(evaluation: Evaluation) -> str:
    return evaluation.check.facts.sha256 if evaluation.check else ""
