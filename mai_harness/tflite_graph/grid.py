"""What a quantised tensor can hold: real values by codes, scale and zero point."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.records import Tensor

Array = npt.NDArray[Any]
#: Least and greatest code of the types that activations are quantised to.
CODES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
IDENTITY_TOLERANCE = 0.5 / 255  # of a scale of 1: half a grey level at the range's end


class Grid(NamedTuple):
    """The values that a tensor can hold: (code - zero_point) * scale, codes from ``least`` to ``most``."""

    scale: float
    zero_point: int
    least: int
    most: int

    @classmethod
    def of(cls, tensor: Tensor) -> "Grid | None":
        """A tensor's own; ``None`` if it is not quantised to one scale."""
        if len(tensor.scales) != 1 or tensor.dtype not in CODES:
            return None
        return cls(tensor.scales[0], (tensor.zero_points or (0,))[0], *CODES[tensor.dtype])

    def over(self, limits: tuple[float, float]) -> "Grid":
        """As many codes over another range, which is widened to hold 0."""
        low, high = min(limits[0], 0.0), max(limits[1], 0.0)
        scale = (high - low) / (self.most - self.least) or 1.0
        zero_point = min(max(round(self.least - low / scale), self.least), self.most)
        return Grid(scale, zero_point, self.least, self.most)

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value that a code stands for."""
        return (self.least - self.zero_point) * self.scale, (self.most - self.zero_point) * self.scale

    def same_values(self, other: "Grid") -> bool:
        """Whether both hold the same values, be it by other codes."""
        return self.scale == other.scale and self.least - self.zero_point == other.least - other.zero_point

    def values(self, codes: Array) -> Array:
        """What codes stand for, float32."""
        values: Array = (codes.astype(np.float32) - self.zero_point) * np.float32(self.scale)
        return values

    def __call__(self, values: Array) -> Array:
        """The nearest values that it holds, float32."""
        codes: Array = np.rint(values * np.float32(1 / self.scale))
        np.clip(codes, self.least - self.zero_point, self.most - self.zero_point, out=codes)
        codes *= np.float32(self.scale)
        return codes
