"""Operators in findings: how several are named, and what they cost on every backend that tells of layers."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from mai_harness.records import Evaluation, LatencyReport

_SHOWN = 3


class Cost(NamedTuple):
    """What some operators take on one backend, in ms, and all layers together."""

    backend: str
    ms: float
    total_ms: float
    estimated: bool
    dearest: str  #: label of the operator that takes most

    @property
    def share(self) -> float:
        """Of the layers' sum."""
        return self.ms / self.total_ms

    def __str__(self) -> str:
        told = ", estimated" if self.estimated else ""
        return f"{ms(self.ms)} of {ms(self.total_ms)} on {self.backend} ({100 * self.share:.0f} %{told})"


def costs(evaluation: Evaluation, labels: Collection[str]) -> list[Cost]:
    """What the operators of these labels cost, one row a backend, greatest share first.

    A backend that times no layers, or none of these, has no row. Where an NPU makes several operators one, the row
    counts as the first: what is fused into that is free.
    """
    found = (_cost(report, labels) for each in evaluation.runtime for report in each.reports)
    return sorted((cost for cost in found if cost), key=lambda cost: -cost.share)


def _cost(report: LatencyReport, labels: Collection[str]) -> Cost | None:
    spent = {layer.name.split(" + ")[0]: layer.ms for layer in report.layers}
    concerned = {label: spent[label] for label in labels if label in spent}
    total = sum(spent.values())
    if report.precision != "int8" or not concerned or total <= 0:
        return None
    dearest = max(concerned, key=concerned.__getitem__)
    estimated = report.estimate_ms is not None
    return Cost(report.backend, sum(concerned.values()), total, estimated, dearest)


def named(labels: Sequence[str]) -> str:
    """The first few by name, the rest by their count."""
    shown, rest = labels[:_SHOWN], len(labels) - _SHOWN
    if rest > 0:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def ms(value: float) -> str:
    """A latency, as written in findings."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"
