"""Tell whether this machine can run the harness: packages, data and submissions."""

from importlib import metadata
from pathlib import Path

from mai_harness.datasets import find_dataset, training_images
from mai_harness.discover import discover
from mai_harness.errors import DataNotFound, HarnessError
from mai_harness.machine import describe
from mai_harness.records import Record
from mai_harness.sandbox import LEVELS, level


class Line(Record, frozen=True):
    """One thing looked at."""

    what: str
    found: str
    ok: bool = True


class Examination(Record, frozen=True):
    """All that was looked at; ``ok`` unless something needed is missing."""

    ok: bool
    lines: tuple[Line, ...]


def examine(submissions: Path, data: Path | None) -> Examination:
    """Look at packages, data and submissions; nothing is raised, whatever is wrong."""
    lines = (
        Line(what="machine", found=describe()),
        Line(what="isolation", found=LEVELS[level()]),
        *_packages(),
        _scored(data),
        _training(data),
        *_entries(submissions),
    )
    return Examination(ok=all(line.ok for line in lines), lines=lines)


def _packages() -> list[Line]:
    from packaging.requirements import Requirement

    lines = []
    for text in metadata.requires("mai-harness") or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            lines.append(Line(what=wanted.name, found=f"not installed; run: pip install '{wanted}'", ok=False))
            continue
        fits = wanted.specifier.contains(version, prereleases=True) or version.split("+")[0] in str(wanted.specifier)
        found = version if fits else f"{version}; run: pip install '{wanted}'"
        lines.append(Line(what=wanted.name, found=found, ok=fits))
    return lines


def _scored(data: Path | None) -> Line:
    try:
        dataset = find_dataset(data)
    except DataNotFound as error:
        return Line(what="data to score on", found=str(error), ok=False)
    return Line(what="data to score on", found=f"{dataset.name}, {len(dataset.pairs)} images")


def _training(data: Path | None) -> Line:
    if data is None:
        return Line(what="data to train on", found="none; set MAI_DATA_ROOT or give --data")
    try:
        return Line(what="data to train on", found=f"{len(training_images(data))} images")
    except DataNotFound as error:
        return Line(what="data to train on", found=f"none: {error}")


def _entries(submissions: Path) -> list[Line]:
    try:
        found, rejected = discover(submissions)
    except HarnessError as error:
        return [Line(what="submissions", found=str(error), ok=False)]
    names = ", ".join(submission.name for submission in found) or "none"
    return [
        Line(what="submissions", found=names),
        *(Line(what=r.name, found=f"rejected: {r.reason}") for r in rejected),
    ]
