"""Say what went wrong and what to do, from measured values alone: one module a diagnosis, found by itself.

A module offers ``findings(evaluation)``, which yields what it finds; modules whose names begin with an underscore are
shared by others. Nothing is measured here: what a rule needs, ``examine`` and ``appraise`` have measured.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import Protocol, cast, get_args

import msgspec

from mai_harness.records import Evaluation, Finding, Severity

_ORDER = {severity: place for place, severity in enumerate(reversed(get_args(Severity)))}


class Rule(Protocol):
    """What a module of this package offers."""

    def findings(self, evaluation: Evaluation) -> Iterable[Finding]:
        """What it finds; nothing where the evaluation lacks what it needs."""
        ...


def diagnose(evaluation: Evaluation) -> tuple[Finding, ...]:
    """Every finding that is not but a symptom of another: gravest first, then by dB, then by ms."""
    found = [finding for rule in rules().values() for finding in rule.findings(evaluation)]
    kept = [finding for finding in found if not _explained(finding, found)]
    for finding in sorted(found, key=_key):  # of those that explain each other, the gravest
        if finding not in kept and not _explained(finding, kept):
            kept.append(finding)
    dropped = {finding.id for finding in found if finding not in kept}
    told = [msgspec.structs.replace(each, explains=tuple(i for i in each.explains if i in dropped)) for each in kept]
    return tuple(sorted(told, key=_key))


def _explained(finding: Finding, by: Iterable[Finding]) -> bool:
    return any(finding.id in other.explains for other in by if other.id != finding.id)


def _key(finding: Finding) -> tuple[int, bool, float, float, str]:
    costs_time = finding.explained_db is None and finding.cost_ms is not None
    return (
        _ORDER[finding.severity], costs_time, -(finding.explained_db or 0.0), -(finding.cost_ms or 0.0), finding.id,
    )  # fmt: skip


@cache
def rules() -> dict[str, Rule]:
    """Every rule by its module's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: cast(Rule, importlib.import_module(f"{__name__}.{name}")) for name in names}
