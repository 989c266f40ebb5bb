"""ABPN without its clip (submission.toml says so); the network itself is part of the harness."""

from mai_harness.networks import ABPN

__all__ = ["ABPN"]
