"""Evaluation harness for real-time INT8 x3 super-resolution (Mobile AI challenge)."""

__version__ = "0.1.0"
