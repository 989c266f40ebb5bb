"""Run a submission's models on LR images: the only stage that does so for scoring, and it sees no HR image."""

from pathlib import Path

import numpy as np

from mai_harness.interpreter import TFLiteModel, as_dequantised_pixels, as_raw_pixels
from mai_harness.records import LrImage, Model, Reading, Record, UpscaleReport


class UpscaleRequest(Record, frozen=True):
    """Models and the images to run them on."""

    model: Model
    images: tuple[LrImage, ...]
    threads: int | None = None  #: of the interpreter; all cores by default


def upscale(request: UpscaleRequest, folder: Path) -> UpscaleReport:
    """Write (3H, 3W, 3) uint8 for every image and reading.

    Raises:
        ModelContractError: a model gives no image of three times the size.
    """
    int8 = TFLiteModel(Path(request.model.dynamic or request.model.static), request.threads)
    same = int8.output.is_identity and not int8.is_float
    folders: dict[Reading, str] = {"raw": "raw", "dequantised": "raw" if same else "dequantised"}
    float32 = TFLiteModel(Path(request.model.float32), request.threads) if request.model.float32 else None
    if float32:
        folders["fp32"] = "fp32"
    mended = TFLiteModel(Path(request.model.mended), request.threads) if request.model.mended else None
    if mended:
        folders["mended"] = "mended"
    paths: dict[Reading, Path] = {reading: folder / name for reading, name in folders.items()}
    for path in paths.values():
        path.mkdir(exist_ok=True)
    for index, image in enumerate(request.images):
        lr = np.load(image.path)
        output = int8.upscale(lr)
        np.save(paths["raw"] / f"{index:04d}.npy", as_raw_pixels(output))
        if not same:
            np.save(paths["dequantised"] / f"{index:04d}.npy", as_dequantised_pixels(output, int8.output))
        if mended:
            np.save(paths["mended"] / f"{index:04d}.npy", as_raw_pixels(mended.upscale(lr)))
        if float32:
            np.save(paths["fp32"] / f"{index:04d}.npy", as_dequantised_pixels(float32.upscale(lr), float32.output))
    return UpscaleReport(
        method=int8.method, exact=int8.is_exact, folders={reading: str(path) for reading, path in paths.items()}
    )
