"""Make full-integer INT8 TFLite of a calibrated graph: per-channel weights, uint8 in and out."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mai_harness.errors import InvalidSubmission, ModelContractError, gist
from mai_harness.interpreter import TFLiteModel, as_dequantised_pixels, as_raw_pixels
from mai_harness.metrics import psnr
from mai_harness.records import CalibrationFrame, GraphRewrite, Place, QuantiseReport, Record
from mai_harness.resize import Image
from mai_harness.tflite_graph import PIXEL_RANGE, with_dynamic_frame, with_ranges
from mai_harness.tflite_rewrites import rewrite

if TYPE_CHECKING:
    from mai_harness.fake_quant import FakeQuantNetwork

STATIC_FILE, DYNAMIC_FILE, MENDED_FILE = "model.tflite", "model_none.tflite", "mended.tflite"
UNROUNDED_FILE = "unrounded.tflite"


class QuantiseRequest(Record, frozen=True):
    """A calibrated graph and how to quantise it."""

    calibrated: Place
    float32: Place  #: its float twin
    clipped: bool  #: the network keeps its output in [0, 255]
    probe: CalibrationFrame
    learned: Place | None = None  #: weights and ranges of quantisation-aware training, instead of the calibrated ones
    without: tuple[str, ...] = ()  #: rewrites to leave out


def quantise(request: QuantiseRequest, folder: Path) -> QuantiseReport:
    """Write ``model.tflite``, ``unrounded.tflite``, and ``model_none.tflite`` where the graph runs at any size.

    Beside it are the files of :func:`without`, by which the gain of each rewrite is measured. Of a network that does
    not clip its output there is ``mended.tflite``, which saturates where a clip to [0, 255] would cut, to tell what
    that would give; the model itself stays as it was submitted.

    Raises:
        ModelContractError: TensorFlow cannot quantise the graph.
        InvalidSubmission: what was learned belongs to another graph.
    """
    calibrated = Path(request.calibrated).read_bytes()
    rewritten, rewrites = rewrite(calibrated, request.without)
    network = None if request.learned is None else _learned(rewritten, Path(request.learned))
    if network is not None:
        rewritten = network.write(rewritten)
    (folder / UNROUNDED_FILE).write_bytes(rewritten)
    (folder / STATIC_FILE).write_bytes(_full_integer(rewritten))
    if not request.clipped:
        (folder / MENDED_FILE).write_bytes(_full_integer(with_ranges(rewritten, PIXEL_RANGE, PIXEL_RANGE)))
    for name, left_out in without(rewrites).items():
        (folder / name).write_bytes(_full_integer(rewrite(calibrated, (*request.without, *left_out))[0]))
    int8, float32 = TFLiteModel(folder / STATIC_FILE), TFLiteModel(Path(request.float32))
    obstacle = _write_dynamic(int8, folder)
    probe = np.load(request.probe.path)
    reference = as_dequantised_pixels(float32.run(probe), float32.output)
    closeness = psnr(as_raw_pixels(int8.run(probe)), reference)
    return QuantiseReport(
        psnr_int8_to_float_db=closeness if math.isfinite(closeness) else None,
        learned_agreement=None if network is None else _agreement(network, int8, probe),
        rewrites=rewrites,
        dynamic=not obstacle,
        dynamic_reason=obstacle,
    )


def without(rewrites: Sequence[GraphRewrite]) -> dict[str, tuple[str, ...]]:
    """Files that lack a rewrite that was made, or all of several -> ids of those."""
    ids = tuple(dict.fromkeys(each.id for each in rewrites))
    return {f"without-{id_}.tflite": (id_,) for id_ in ids} | ({"without-all.tflite": ids} if len(ids) > 1 else {})


def _learned(graph: bytes, path: Path) -> "FakeQuantNetwork":
    from safetensors.torch import load_file

    from mai_harness.fake_quant import FakeQuantNetwork

    network = FakeQuantNetwork(graph)
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise InvalidSubmission(
            f"{path.name} was learned on another graph than the network now has ({str(error).splitlines()[0]}); "
            "learn it again with mai-harness train, or remove it to quantise after training"
        ) from None
    return network


def _agreement(network: "FakeQuantNetwork", int8: TFLiteModel, probe: Image) -> float:
    import torch

    with torch.no_grad():
        values = network(torch.from_numpy(probe).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    codes = np.rint(values / int8.output.scale) + int8.output.zero_point
    return float(np.mean(np.abs(codes - int8.run(probe)) <= 1))


def _full_integer(calibrated: bytes) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.python.util import modify_model_io_type

    try:
        model: bytes = modify_model_io_type(mlir_quantize(calibrated), tf.uint8, tf.uint8)
    except Exception as error:
        raise ModelContractError(f"TensorFlow cannot quantise the network: {gist(error)}") from None
    return model


def _write_dynamic(int8: TFLiteModel, folder: Path) -> str:
    """Write ``model_none.tflite`` and return why it does not do, removing it; empty if it does."""
    if int8.obstacle:
        return int8.obstacle
    path = folder / DYNAMIC_FILE
    path.write_bytes(with_dynamic_frame((folder / STATIC_FILE).read_bytes()))
    obstacle = TFLiteModel(path).obstacle
    if obstacle:
        path.unlink()
    return obstacle
