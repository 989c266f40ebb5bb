"""Submissions that give the same pixels: told of all results together, never in a row of its own.

A copy must not be able to put anything into the row of what it copies.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from mai_harness.records import Evaluation, ScoreReport


class Copies(NamedTuple):
    """Submissions whose every output byte is the same on every scored image, by name; who was first is not known."""

    names: tuple[str, ...]
    same_file: bool  #: whether their INT8 files are equal too


def copies(evaluations: Iterable[Evaluation]) -> list[Copies]:
    """All groups of two and more, in the order of their first names."""
    groups: dict[tuple[str, int, str], list[Evaluation]] = defaultdict(list)
    for each in sorted(evaluations, key=lambda evaluation: evaluation.name):
        if each.score is not None and each.score.output_sha256:
            groups[_key(each.score)].append(each)
    return [_copies(group) for group in groups.values() if len(group) > 1]


def _key(score: ScoreReport) -> tuple[str, int, str]:
    return score.dataset_fingerprint, len(score.images), score.output_sha256


def _copies(group: list[Evaluation]) -> Copies:
    files = {each.check.facts.sha256 if each.check else "" for each in group}
    return Copies(tuple(each.name for each in group), len(files) == 1 and "" not in files)
