"""What results were measured on and with: processor, operating system and package versions."""

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch", "onnx", "onnxruntime", "onnxsim", "onnx2tf", "tensorflow", "tf_keras", "keras", "ai-edge-litert",
    "lightning-fabric", "pytorch-optimizer", "scikit-image", "numpy", "scipy", "pillow", "msgspec", "jinja2",
)  # fmt: skip


def describe() -> str:
    """Processor, number of cores and operating system."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def versions() -> dict[str, str | None]:
    """Versions of Python and the packages that results depend on; ``None`` for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
