"""Scales: where on a page a value goes, and which values are written beside it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """From ``low`` at ``start`` to ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where ``value`` is."""
        low, high, value = map(math.log10, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values; of a scale that is not logarithmic about ``most``."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            candidates = [m * 10.0**decade for decade in decades for m in (1, 2, 5)]
        else:
            step = _step((self.high - self.low) / most)
            first = math.ceil(self.low / step)
            candidates = [step * (first + i) for i in range(12)]
        return [value for value in candidates if self.low <= value <= self.high]


def _step(least: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least)
