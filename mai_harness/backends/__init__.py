"""Runtime backends: one module each, named as on the command line, with a ``measure`` function. Found by name."""

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Protocol, cast

from mai_harness.errors import HarnessError
from mai_harness.records import LatencyReport, Precision, Record


class TimingPlan(Record, frozen=True):
    """How often to run: untimed warm-up runs, then timed ones, on so many threads."""

    warmup: int = 5
    runs: int = 30
    threads: int = 1


class Backend(Protocol):
    """What a backend module offers."""

    def measure(self, path: str, precision: Precision, plan: TimingPlan) -> LatencyReport:
        """Single-stream latency of one TFLite file on the challenge's frame.

        Raises:
            HarnessError: the backend cannot run here, or not this file; the message says what to do.
        """
        ...

    def compare(self, paths: Sequence[str], plan: TimingPlan) -> list[float]:
        """Median latency of each of these TFLite files in ms, timed in turns, so that they can be divided.

        Raises:
            HarnessError: as in :meth:`measure`.
        """
        ...


def names() -> list[str]:
    """Every backend, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Backend:
    """The backend of that name; only its own module is imported.

    Raises:
        HarnessError: there is none.
    """
    if name not in names():
        raise HarnessError(f"there is no backend {name!r}; choose from {', '.join(names())}")
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))
