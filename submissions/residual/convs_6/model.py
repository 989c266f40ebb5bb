"""A row of the study; the network is part of the harness."""

from mai_harness.networks import ABPN

__all__ = ["ABPN"]
