"""What scoring costs at the least: the interpreter and the metrics, and nothing around them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mai_harness.datasets import Dataset, read_hr
from mai_harness.interpreter import TFLiteModel, as_dequantised_pixels, as_raw_pixels
from mai_harness.metrics import METRICS
from mai_harness.records import LrImage, Model, Record

T = TypeVar("T")


class BareScoreRequest(Record, frozen=True):
    """A submission's models, and images to score them on."""

    model: Model
    images: tuple[LrImage, ...]
    dataset: Dataset


class BareScoreReport(Record, frozen=True):
    """Seconds over all images, on one thread."""

    interpreter_s: float
    metrics_s: float

    @property
    def seconds(self) -> float:
        """Both."""
        return self.interpreter_s + self.metrics_s


def bare_score(request: BareScoreRequest, _folder: Path) -> BareScoreReport:
    """Time the calls that cannot be left out, in one process that has all imported, opened and read.

    Raises:
        ModelContractError: a model gives no image of three times the size.
    """
    spent = {"interpreter": 0.0, "metrics": 0.0}

    def timed(part: str, call: Callable[..., T], *given: Any) -> T:
        start = time.perf_counter()
        result = call(*given)
        spent[part] += time.perf_counter() - start
        return result

    int8 = TFLiteModel(Path(request.model.dynamic or request.model.static), 1)
    float32 = TFLiteModel(Path(request.model.float32), 1) if request.model.float32 else None
    models = [model for model in (int8, float32) if model]
    for model in models:
        _ = model.obstacle  # found out once, at the first image
    for image, pair in zip(request.images, request.dataset.pairs, strict=True):
        lr, hr = np.load(image.path), read_hr(pair.hr)
        for model in models:
            output = timed("interpreter", model.upscale, lr)
            is_int8 = model is int8
            pixels = as_raw_pixels(output) if is_int8 else as_dequantised_pixels(output, model.output)
            for metric in METRICS.values():
                if ("raw" if is_int8 else "fp32") in metric.readings:
                    timed("metrics", metric.compute, pixels, hr)
    return BareScoreReport(interpreter_s=spent["interpreter"], metrics_s=spent["metrics"])
