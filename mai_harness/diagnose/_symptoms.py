"""Findings that say nothing where an output has no picture in it."""

#: Ids of findings that compare pixels with pixels, or ranges with the ranges of pictures.
OF_NO_PICTURE = (
    "border",
    "calibration-mismatch",
    "calibration-unit",
    "colour-order",
    "dead-channels",
    "feature-residual",
    "high-dynamic-range",
    "missing-clip",
    "output-clipped",
    "output-range-tight",
    "output-range-wide",
    "pixel-order",
    "quantisation-loss",
    "seams",
    "shift",
    "value-range",
)
