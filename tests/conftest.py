"""Fixtures that several test files share. TensorFlow is imported only by tests that need a model made."""

import os
from pathlib import Path

# onnx2tf makes networks of Keras 2; must be set before anything imports TensorFlow.
os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def seeded() -> None:
    np.random.seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def set14() -> Path:
    root = os.environ.get("MAI_DATA_ROOT")
    if root is None or not (Path(root) / "Set14" / "HR").is_dir():
        pytest.skip("needs Set14 below MAI_DATA_ROOT")
    return Path(root) / "Set14"
