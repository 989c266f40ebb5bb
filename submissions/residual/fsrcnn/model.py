"""A row of the study; the network is part of the harness."""

from mai_harness.networks import FSRCNN

__all__ = ["FSRCNN"]
