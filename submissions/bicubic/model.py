"""Bicubic interpolation; nothing is learned."""

from mai_harness.networks import Bicubic

__all__ = ["Bicubic"]
