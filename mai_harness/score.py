"""Compare upscaled images with HR images. No submission's code runs here."""

import hashlib
import math
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mai_harness.datasets import Dataset, ImagePair, read_hr
from mai_harness.errors import ModelContractError, StageFailed
from mai_harness.isolate import stored_reply, unpack
from mai_harness.metrics import FIGURES, Library
from mai_harness.records import ImageScore, Place, Reading, Record, ScoreReport, UpscaleReport
from mai_harness.resize import Image


class ScoreRequest(Record, frozen=True):
    """Upscaled images, their HR images, how many border pixels to leave out, and the library for metrics."""

    upscaled: Place  #: the folder of the upscale stage
    dataset: Dataset
    shave: int = 0
    metrics: Library = "opencv"  #: that computes the metrics
    processes: int | None = None  #: at once, an image each; as many as there are cores by default


def score(request: ScoreRequest, _folder: Path) -> ScoreReport:
    """Every figure of every image, several images at a time.

    Raises:
        ModelContractError: ``shave`` leaves nothing of an image.
        StageFailed: the images were not upscaled.
    """
    reply = stored_reply(Path(request.upscaled))
    if reply is None:
        raise StageFailed(f"{request.upscaled} holds no upscaled images")
    upscaled = unpack(reply, UpscaleReport)
    jobs = [(request, upscaled, index) for index in range(len(request.dataset.pairs))]
    processes = min(request.processes or os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        scored = list(map(_score_image, jobs) if processes == 1 else pool.map(_score_image, jobs))
    return ScoreReport(
        dataset=request.dataset.name,
        dataset_fingerprint=request.dataset.fingerprint,
        shave=request.shave,
        method=upscaled.method,
        exact=upscaled.exact,
        images=tuple(image for image, _ in scored),
        output_sha256=hashlib.sha256(b"".join(digest for _, digest in scored)).hexdigest(),
    )


def _score_image(job: tuple[ScoreRequest, UpscaleReport, int]) -> tuple[ImageScore, bytes]:
    """The figures, and SHA-256 over the raw pixels and their shape."""
    request, upscaled, index = job
    pair = request.dataset.pairs[index]
    reference = _shaved(read_hr(pair.hr), request.shave, pair)
    computed: dict[tuple[str, str], float] = {}
    figures: dict[str, float | None] = {}
    for figure in FIGURES:
        path = _path(upscaled, figure.reading, index)
        if path is None:
            figures[figure.key] = None
            continue
        job_key = (figure.metric.title, str(path))
        if job_key not in computed:  # the same pixels under two readings
            compute = figure.metric.implemented_by(request.metrics)
            computed[job_key] = compute(_shaved(np.load(path), request.shave, pair), reference)
        value = computed[job_key]
        figures[figure.key] = value if math.isfinite(value) else None
    raw = np.load(Path(upscaled.folders["raw"]) / f"{index:04d}.npy")
    digest = hashlib.sha256(f"{raw.shape}".encode() + raw.tobytes()).digest()
    return ImageScore(name=pair.name, figures=figures), digest


def _path(upscaled: UpscaleReport, reading: Reading, index: int) -> Path | None:
    folder = upscaled.folders.get(reading)
    return None if folder is None else Path(folder) / f"{index:04d}.npy"


def _shaved(image: Image, shave: int, pair: ImagePair) -> Image:
    height, width = image.shape[:2]
    if min(height, width) - 2 * shave < 11:
        raise ModelContractError(f"{pair.name} is {height}x{width}: too small for SSIM with {shave} pixels left out")
    return image[shave : height - shave, shave : width - shave]
