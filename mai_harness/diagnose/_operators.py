"""Operators in findings: how several are named, and what they cost on every backend that tells of layers."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from mai_harness.records import Evaluation, LatencyReport

_SHOWN = 3


class Cost(NamedTuple):
    """What some operators take on one backend, and all layers together, in ms."""

    backend: str
    total_ms: float
    estimated: bool
    spent: dict[str, float]  #: by operator

    @property
    def ms(self) -> float:
        """Of the operators together."""
        return sum(self.spent.values())

    @property
    def share(self) -> float:
        """Of the layers' sum."""
        return self.ms / self.total_ms

    def __str__(self) -> str:
        told = ", estimated" if self.estimated else ""
        return f"{ms(self.ms)} of {ms(self.total_ms)} on {self.backend} ({100 * self.share:.0f} %{told})"


def costs(evaluation: Evaluation, labels: Collection[str]) -> list[Cost]:
    """What the operators of these labels cost, one row a backend, greatest share first.

    A backend that times no layers, or none of these, has no row. Where an NPU makes several operators one, the time is
    that of the first: what is fused into that is free.
    """
    found = (_cost(report, labels) for each in evaluation.runtime for report in each.reports)
    return sorted((cost for cost in found if cost), key=lambda cost: -cost.share)


def _cost(report: LatencyReport, labels: Collection[str]) -> Cost | None:
    rows = [(layer.name.split(" + "), layer.ms) for layer in report.layers]
    fused = {label: 0.0 for names, _ in rows for label in names[1:]}
    spent = fused | {names[0]: taken for names, taken in rows}
    concerned, total = {label: spent[label] for label in labels if label in spent}, sum(spent.values())
    if report.precision != "int8" or not concerned or total <= 0:
        return None
    return Cost(report.backend, total, report.estimate_ms is not None, concerned)


def named(labels: Sequence[str]) -> str:
    """The first few by name, the rest by their count."""
    shown, rest = labels[:_SHOWN], len(labels) - _SHOWN
    if rest > 0:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def ms(value: float) -> str:
    """A latency, as written in findings."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"
