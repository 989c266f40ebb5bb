"""Bring a float network to one form: static NCHW ONNX at the challenge's frame, rewritten for NPUs, checked on the way.

torch modules, torch exported programs and ONNX files of either layout enter here.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from mai_harness.errors import ModelContractError
from mai_harness.load import build_network
from mai_harness.records import LR_FRAME, SCALE, CalibrationFrame, ExportReport, Kind, Parity, Place, Record, Submission
from mai_harness.rewrites import rewrite

OPSET = 17
INPUT_SHAPE = (1, 3, *LR_FRAME)
OUTPUT_SHAPE = (1, 3, LR_FRAME[0] * SCALE, LR_FRAME[1] * SCALE)
ONNX_FILE = "model.onnx"
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)

Array = npt.NDArray[np.float32]


class ExportRequest(Record, frozen=True):
    """A float submission, its weights, and the frame on which to compare its forms."""

    submission: Submission
    weights: Place | None
    probe: CalibrationFrame
    without: tuple[str, ...] = ()  #: rewrites to leave out


def export(request: ExportRequest, folder: Path) -> ExportReport:
    """Write ``model.onnx``, (1, 3, 360, 640) to (1, 3, 1080, 1920) float32 RGB in [0, 255].

    Raises:
        InvalidSubmission: the network cannot be built.
        ModelContractError: it does not map LR to HR of three times the size.
    """
    probe = np.load(request.probe.path).transpose(2, 0, 1)[None].astype(np.float32)
    source, name, expected, untrained = _SOURCES[request.submission.kind](request, probe, folder)
    simple = _simplified(source)
    rewritten, changes = rewrite(simple, request.without)
    onnx.save(rewritten, folder / ONNX_FILE)
    actual = _run(rewritten, probe)
    parity = Parity(before=name, after="onnx", max_abs_difference=float(np.abs(actual - expected).max()))
    return ExportReport(parity=(parity,), rewrites=changes, untrained=untrained)


Source = tuple[onnx.ModelProto, str, Array, bool]  # model, what it came from, its output on the probe, untrained


def _from_module(request: ExportRequest, probe: Array, folder: Path) -> Source:
    network = build_network(request.submission, request.weights)
    untrained = request.weights is None and any(p.requires_grad for p in network.parameters())
    model, expected = _traced(network, probe, folder)
    return model, "torch", expected, untrained


def _from_program(request: ExportRequest, probe: Array, folder: Path) -> Source:
    import torch

    try:
        program = torch.export.load(request.submission.path)
    except Exception as error:
        raise ModelContractError(f"torch.export.load cannot read it: {error}") from None
    # Guards and hooks refuse every size but the one that the program was exported at; what comes out is checked.
    network = program.module(check_guards=False)
    network._forward_pre_hooks.clear()
    network.train = lambda mode=True: network  # type: ignore[method-assign]  # it raises, and the tracer calls it
    try:
        model, expected = _traced(network, probe, folder)
    except RuntimeError as error:
        raise ModelContractError(f"the program does not run at 360x640: {str(error).splitlines()[0][:300]}") from None
    return model, "pt2", expected, False


def _traced(network: Any, probe: Array, folder: Path) -> tuple[onnx.ModelProto, Array]:
    import torch

    given = torch.from_numpy(probe)
    with torch.no_grad():
        expected = network(given)
    if not isinstance(expected, torch.Tensor):
        raise ModelContractError(f"the network returns {type(expected).__name__}; expected one tensor")
    _require_image(expected.numpy())
    path = folder / "traced.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's advice is to its developers, not to entrants
        torch.onnx.export(
            network, (given,), str(path), dynamo=False, opset_version=OPSET, input_names=["input"],
            output_names=["output"],
        )  # fmt: skip
    return onnx.load(path), expected.float().numpy()


def _from_onnx(request: ExportRequest, probe: Array, folder: Path) -> Source:
    try:
        given = onnx.load(request.submission.path)
    except Exception as error:
        raise ModelContractError(f"{Path(request.submission.path).name} cannot be read as ONNX: {error}") from None
    inputs = _true_inputs(given)
    if len(inputs) != 1 or len(given.graph.output) != 1:
        found = f"{len(inputs)} inputs and {len(given.graph.output)} outputs"
        raise ModelContractError(f"the graph has {found}; expected one of each")
    if inputs[0].type.tensor_type.elem_type not in _FLOATS:
        kind = onnx.TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type)
        raise ModelContractError(f"the input is {kind}; expected a float network (INT8 is made here)")
    failures, shape, not_finite = [], tuple[int, ...](), False
    for layout in _layouts(inputs[0]):
        model = _canonical(given, layout)
        try:
            expected = _run(model, probe)
            _require_image(expected)
            return model, f"onnx as submitted, {layout}", expected, False
        except ModelContractError as error:
            failures.append(f"{layout}: {error}")
            shape, not_finite = error.output_shape, error.not_finite
        except Exception as error:  # ONNX Runtime raises bare exceptions of many kinds
            failures.append(f"{layout}: {str(error).splitlines()[0][:200]}")
    reason = f"the graph does not run at 360x640 ({'; '.join(failures)})"
    raise ModelContractError(reason, output_shape=shape, not_finite=not_finite)


_SOURCES: dict[Kind, Callable[[ExportRequest, Array, Path], Source]] = {
    "torch": _from_module,
    "pt2": _from_program,
    "onnx": _from_onnx,
}


def _require_image(output: Array) -> None:
    if output.shape != OUTPUT_SHAPE:
        reason = f"the network maps {INPUT_SHAPE} to {output.shape}; expected {OUTPUT_SHAPE}"
        raise ModelContractError(reason, output_shape=output.shape)
    if not np.isfinite(output).all():
        reason = "the network's output has NaN or infinite values on a photograph; look at its weights"
        raise ModelContractError(reason, not_finite=True)


def _true_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def _layouts(value: onnx.ValueInfoProto) -> list[str]:
    """Layouts to try, the likelier first: the axis of three is the colours."""
    sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    if len(sizes) == 4 and (sizes[1] == 3) != (sizes[3] == 3):
        return ["NCHW"] if sizes[1] == 3 else ["NHWC"]
    return ["NCHW", "NHWC"]


def _canonical(given: onnx.ModelProto, layout: str) -> onnx.ModelProto:
    """The graph behind an NCHW float32 input of the challenge's frame, with an NCHW float32 output."""
    model = onnx.ModelProto()
    model.CopyFrom(given)
    graph = model.graph
    source, result = _true_inputs(model)[0], graph.output[0]
    kinds = source.type.tensor_type.elem_type, result.type.tensor_type.elem_type
    head = _adapter("harness_input", source.name, layout, _TO_NHWC, kinds[0])
    tail = _adapter(result.name, "harness_output", layout, _TO_NCHW, onnx.TensorProto.FLOAT)
    nodes = [*head, *graph.node, *tail]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(onnx.helper.make_tensor_value_info("harness_input", onnx.TensorProto.FLOAT, INPUT_SHAPE))
    graph.output.append(onnx.helper.make_tensor_value_info("harness_output", onnx.TensorProto.FLOAT, OUTPUT_SHAPE))
    return model


def _adapter(before: str, after: str, layout: str, order: tuple[int, ...], kind: int) -> list[onnx.NodeProto]:
    turned = f"{after}_turned"
    turn = onnx.helper.make_node("Transpose", [before], [turned], perm=order)
    keep = onnx.helper.make_node("Identity", [before], [turned])
    return [turn if layout == "NHWC" else keep, onnx.helper.make_node("Cast", [turned], [after], to=kind)]


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxsim

    simple: onnx.ModelProto = onnxsim.simplify(model)[0]
    return simple


def _run(model: onnx.ModelProto, probe: Array) -> Array:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    output: Array = session.run(None, {session.get_inputs()[0].name: probe})[0]
    return output
