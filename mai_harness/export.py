"""Bring a float submission to static ONNX at the challenge's LR frame: torch and exported programs, checked."""

from pathlib import Path
from typing import Any

import numpy as np

from mai_harness.datasets import EMBEDDED_CALIBRATION, _embedded, fill_frame, read_rgb
from mai_harness.errors import ModelContractError
from mai_harness.load import build_network
from mai_harness.records import LR_FRAME, SCALE, ExportReport, Parity, Submission
from mai_harness.resize import downscale

OPSET = 17


def probe_image() -> Any:
    """One LR photograph, (1, 3, 360, 640) float32 in [0, 255]; never a scored one."""
    frame = fill_frame(downscale(read_rgb(_embedded(EMBEDDED_CALIBRATION)[0]), SCALE))
    return frame.transpose(2, 0, 1)[None].astype(np.float32)


def export(submission: Submission, out: Path) -> ExportReport:
    """Write ``model.onnx``, (1, 3, 360, 640) to (1, 3, 1080, 1920) float32, and measure what it lost.

    Raises:
        ModelContractError: the network does not map LR to HR of three times the size.
    """
    import onnxruntime
    import torch

    probe = probe_image()
    if submission.kind == "torch":
        network: Any = build_network(submission)
    else:
        network = torch.export.load(submission.path).module()
    with torch.no_grad():
        expected = network(torch.from_numpy(probe)).numpy()
    wanted = (1, 3, LR_FRAME[0] * SCALE, LR_FRAME[1] * SCALE)
    if expected.shape != wanted:
        raise ModelContractError(f"the network maps (1, 3, 360, 640) to {expected.shape}; expected {wanted}")
    path = out / "model.onnx"
    torch.onnx.export(
        network, (torch.from_numpy(probe),), str(path), dynamo=False, opset_version=OPSET,
        input_names=["input"], output_names=["output"],
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    actual = session.run(None, {"input": probe})[0]
    difference = float(np.abs(actual - expected).max())
    return ExportReport(parity=(Parity(before="torch", after="onnx", max_abs_difference=difference),), rewrites=())
