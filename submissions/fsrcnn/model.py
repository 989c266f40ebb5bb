"""FSRCNN(d=56, s=12, m=4); the network itself is part of the harness."""

from mai_harness.networks import FSRCNN

__all__ = ["FSRCNN"]
