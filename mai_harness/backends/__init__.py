"""Runtime backends: one module each, named as on the command line. Found by name; only the chosen one is imported."""

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Protocol, cast

import msgspec

from mai_harness.errors import HarnessError
from mai_harness.records import BackendReport, LatencyReport, Model, Record
from mai_harness.timing import TimingPlan


class Choice(Record, frozen=True):
    """A backend as chosen on the command line: ``NAME[:TARGET][,KEY=VALUE]...``."""

    name: str
    target: str = ""  #: such as an accelerator's configuration or a phone's serial number
    options: dict[str, str] = msgspec.field(default_factory=dict)

    def __str__(self) -> str:
        target = f":{self.target}" if self.target else ""
        return self.name + target + "".join(f",{key}={value}" for key, value in self.options.items())

    def refuse_unknown_options(self, known: Sequence[str]) -> None:
        """Call from a backend that takes these options and no others.

        Raises:
            HarnessError: another was given.
        """
        for key in self.options:
            if key not in known:
                there = f"its options are {', '.join(known)}" if known else "it has none"
                raise HarnessError(f"the backend {self.name} has no option {key!r}; {there}")


class Backend(Protocol):
    """What a backend module offers."""

    LOCAL: bool  #: whether it needs nothing beside this machine, and so neither network nor other files

    def device(self, choice: Choice) -> str:
        """What it runs on, with the versions that a latency depends on; a result of another device is not reused.

        Raises:
            HarnessError: the backend cannot run here; the message says what to do.
        """
        ...

    def measure(self, choice: Choice, model: Model, plan: TimingPlan) -> BackendReport:
        """Single-stream latency of a submission's INT8 file, and its float twin if the backend has a use for it.

        Frames are the challenge's, 360x640. What one part of the backend refuses is told in the report.

        Raises:
            HarnessError: the backend cannot run here, or nothing of this model.
        """
        ...

    def compare(self, choice: Choice, paths: Sequence[str], plan: TimingPlan) -> tuple[LatencyReport, ...]:
        """Latency of each of these TFLite files, of any shape, in turns, on the plan's first number of threads.

        Reports are without reference, and without layers if these would take further runs. Precision is that of the
        file's arithmetic.

        Raises:
            HarnessError: as in :meth:`measure`.
        """
        ...


def names() -> list[str]:
    """Every backend, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def parse(text: str) -> Choice:
    """A choice from ``NAME[:TARGET][,KEY=VALUE]...``; a target may hold colons, as in ``adb:127.0.0.1:5555``.

    Raises:
        HarnessError: there is no such backend, or an option is no KEY=VALUE.
    """
    head, *rest = text.split(",")
    name, _, target = head.partition(":")
    _require_known(name)
    options = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise HarnessError(f"backend {text!r}: {part!r} is no KEY=VALUE")
        options[key] = value
    return Choice(name=name, target=target, options=options)


def find(name: str) -> Backend:
    """The backend of that name.

    Raises:
        HarnessError: there is none.
    """
    _require_known(name)
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))


def _require_known(name: str) -> None:
    if name not in names():
        raise HarnessError(f"there is no backend {name!r}; choose from {', '.join(names())}")
