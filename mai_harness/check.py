"""Hold one TFLite file, and its dynamic twin, against the rules of the Mobile AI 2021 challenge.

A rule is one row of RULES: an id, a title, the rules it needs passed, and a function whose docstring says what it
looks for. All rules run and all that fail are told.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mai_harness.datasets import probe_frame
from mai_harness.errors import ModelContractError
from mai_harness.interpreter import TFLiteModel, as_raw_pixels
from mai_harness.records import LR_FRAME, SCALE, CheckReport, Model, ModelFacts, Place, Record, RuleResult, Status
from mai_harness.resize import Image
from mai_harness.tflite_graph import Graph, Tensor, facts, read_graph, tensor_facts
from mai_harness.tflite_graph.grid import IDENTITY_TOLERANCE
from mai_harness.tflite_graph.state import Contents, contents

INTEGERS = {"int8", "uint8", "int32", "int64", "bool"}  # int32 and int64: biases, shapes, axes
HEAVY_BYTES_PER_PARAMETER = 4  # what float32 weights take
OVERHEAD_BYTES = 1 << 16  # of tables, names and metadata
_TWINS = "convert both from the same network"
#: Operators that keep something from one run to the next, or draw at random.
KEEPING = {
    "ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE",
    "READ_VARIABLE", "VAR_HANDLE",
}  # fmt: skip
RANDOM = {"MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "STABLEHLO_RNG_BIT_GENERATOR"}
BRANCHING = {"IF", "STABLEHLO_CASE", "STABLEHLO_WHILE", "WHILE"}

Output = npt.NDArray[Any] | str  #: of a run; an error's text where the model did not run


class CheckRequest(Record, frozen=True):
    """Files to check; ``dynamic_reason`` says why there is no ``model_none.tflite``, if that is known."""

    model: Model
    photograph: Place  #: of the probe
    dynamic_reason: str = ""


class Verdict(NamedTuple):
    """A rule's answer: what was found, and what to do if it does not pass."""

    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Evidence:
    """What the rules look at. An output is an error's text where the model did not run."""

    graph: Graph
    contents: Contents
    facts: ModelFacts
    probe: Image  #: (360, 640, 3) uint8
    output: Output
    mirrored: Output  #: of the probe mirrored left to right
    again: tuple[Output, ...]  #: of the probe once more: after the mirrored one, and in an interpreter of its own
    dynamic: tuple[Output, Output] | None  #: of the probe and of the mirrored one; ``None`` without a dynamic model
    dynamic_reason: str

    @property
    def source(self) -> Tensor:
        """The first input."""
        return self.graph.tensors[self.graph.inputs[0]]

    @property
    def result(self) -> Tensor:
        """The first output."""
        return self.graph.tensors[self.graph.outputs[0]]


class Rule(NamedTuple):
    """One row of RULES."""

    id: str
    title: str
    judge: Callable[[Evidence], Verdict]
    needs: tuple[str, ...] = ()


def check(request: CheckRequest, _folder: Path) -> CheckReport:
    """All rules on one submission's files.

    Raises:
        ModelContractError: a file is damaged or no TFLite file.
    """
    return judge(gather(request))


def gather(request: CheckRequest) -> Evidence:
    """Read the files and run them on one photograph.

    Raises:
        ModelContractError: a file is damaged or no TFLite file.
    """
    path = Path(request.model.static)
    graph = read_graph(path)
    probe = probe_frame()
    frames = probe, np.ascontiguousarray(probe[:, ::-1])
    output, mirrored, again = _runs(path, *frames, probe)
    dynamic = None if request.model.dynamic is None else _runs(Path(request.model.dynamic), *frames)
    return Evidence(
        graph=graph,
        contents=contents(path),
        facts=msgspec.structs.replace(facts(graph), sha256=hashlib.sha256(path.read_bytes()).hexdigest()),
        probe=probe,
        output=output,
        mirrored=mirrored,
        again=(again, *_runs(path, probe)),
        dynamic=None if dynamic is None else (dynamic[0], dynamic[1]),
        dynamic_reason=request.dynamic_reason,
    )


def judge(evidence: Evidence) -> CheckReport:
    """Apply every rule; one whose needs did not pass is skipped and says so."""
    results: dict[str, RuleResult] = {}
    for rule in RULES:
        unmet = [need for need in rule.needs if results[need].status in ("fail", "skip")]
        verdict = Verdict("skip", f"not looked at because {unmet[0]} did not pass") if unmet else rule.judge(evidence)
        results[rule.id] = RuleResult(
            rule=rule.id, title=rule.title, status=verdict.status, found=verdict.found, remedy=verdict.remedy
        )
    return CheckReport(facts=evidence.facts, rules=tuple(results.values()), tensors=tensor_facts(evidence.graph))


def _runs(path: Path, *frames: Image) -> list[Output]:
    """Outputs of one interpreter, one frame after the other; after an error there is nothing but that error."""
    outputs: list[Output] = []
    try:
        model = TFLiteModel(path)
        for frame in frames:
            outputs.append(model.run(frame))
    except ModelContractError as error:
        outputs += [str(error)] * (len(frames) - len(outputs))
    return outputs


# The rules


def single_tensors(evidence: Evidence) -> Verdict:
    """One image goes in and one comes out."""
    counts = len(evidence.graph.inputs), len(evidence.graph.outputs)
    found = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in zip(counts, ("input", "output"), strict=True))
    return Verdict("pass", found) if counts == (1, 1) else Verdict("fail", found, "keep the LR input and the HR output")


def input_shape(evidence: Evidence) -> Verdict:
    """The input is one NHWC frame of 360x640 RGB pixels."""
    shape, wanted = evidence.facts.input_shape, (1, *LR_FRAME, 3)
    if shape == wanted:
        return Verdict("pass", _shape(shape))
    if shape[1:3] == (-1, -1) and shape[3:] == (3,):
        remedy = f"submit this as model_none.tflite, and {_shape(wanted)} beside it"
        return Verdict("warn", f"{_shape(shape)}: dynamic", remedy)
    if shape == (1, 3, *LR_FRAME):
        remedy = "convert to NHWC, which mobile NPUs and the challenge's script expect"
        return Verdict("fail", f"{_shape(shape)}: NCHW", remedy)
    return Verdict("fail", _shape(shape), f"export at {_shape(wanted)}")


def output_shape(evidence: Evidence) -> Verdict:
    """The output is one NHWC frame of 1080x1920 RGB pixels."""
    shape, wanted = evidence.facts.output_shape, (1, LR_FRAME[0] * SCALE, LR_FRAME[1] * SCALE, 3)
    if shape == wanted:
        return Verdict("pass", _shape(shape))
    if -1 in shape and len(shape) == 4:
        return Verdict("warn", f"{_shape(shape)}: dynamic", f"give {_shape(wanted)} in model.tflite")
    return Verdict("fail", _shape(shape), f"give {_shape(wanted)}")


def batch(evidence: Evidence) -> Verdict:
    """The batch axis is 1."""
    sizes = {evidence.facts.input_shape[:1], evidence.facts.output_shape[:1]}
    found = ", ".join(_shape(size) for size in sorted(sizes))
    return Verdict("pass", found) if sizes == {(1,)} else Verdict("fail", found, "export with a batch of 1")


def runs(evidence: Evidence) -> Verdict:
    """LiteRT runs it on a 360x640 photograph."""
    if isinstance(evidence.output, str):
        return Verdict(
            "fail", evidence.output, "use LiteRT's built-in operators alone, neither custom ones nor SELECT_TF"
        )
    return Verdict("pass", f"output {_shape(evidence.output.shape)}")


def input_dtype(evidence: Evidence) -> Verdict:
    """The input takes bytes, uint8: the challenge's script feeds the PNG's bytes cast to the input's type."""
    dtype = evidence.facts.input_dtype
    if dtype == "uint8":
        return Verdict("pass", dtype)
    why = "cast to int8, levels over 127 turn negative; " if dtype == "int8" else ""
    return Verdict("fail", dtype, f"{why}set inference_input_type = tf.uint8")


def output_dtype(evidence: Evidence) -> Verdict:
    """The output gives bytes, uint8."""
    dtype = evidence.facts.output_dtype
    remedy = "set inference_output_type = tf.uint8"
    return Verdict("pass", dtype) if dtype == "uint8" else Verdict("fail", dtype, remedy)


def fully_integer(evidence: Evidence) -> Verdict:
    """Every tensor is integer, and no operator needs more than LiteRT's built-in ones."""
    graph = evidence.graph
    strays = [tensor for tensor in graph.tensors if tensor.dtype not in INTEGERS]
    custom = [op for op in graph.ops if op.is_custom]
    counted = ", ".join(f"{name} x{count}" for name, count in Counter(op.name for op in graph.ops).items())
    if not strays and not custom:
        return Verdict("pass", f"{len(graph.ops)} operators ({counted}) and {len(graph.tensors)} tensors, all integer")
    parts = [f"operator {op.index} {op.name} is custom" for op in custom]
    parts += [_stray(tensor, graph) for tensor in strays]
    return Verdict(
        "fail", "; ".join(parts), "quantise every operator: TFLITE_BUILTINS_INT8 with a representative data set"
    )


def input_quantisation(evidence: Evidence) -> Verdict:
    """Bytes go in as they are: the input's zero point is 0."""
    source = evidence.source
    if not source.scales:
        return Verdict("fail", f"{source.dtype}, not quantised", "convert with a representative data set")
    found = f"scale {source.scales[0]:.6g}, zero point {source.zero_points[0]}"
    if source.zero_points[0] == 0:
        return Verdict("pass", found)
    remedy = "calibrate on images that reach 0, or fix the input's range to [0, 255] by fake quantisation"
    return Verdict("fail", f"{found}: byte 0 is not black", remedy)


def output_quantisation(evidence: Evidence) -> Verdict:
    """Output bytes are pixels: scale 1, zero point 0."""
    result = evidence.result
    if not result.scales:
        return Verdict("fail", f"{result.dtype}, not quantised", "convert with a representative data set")
    scale, zero_point = result.scales[0], result.zero_points[0]
    found = f"scale {scale:.6g}, zero point {zero_point}"
    if zero_point == 0 and abs(scale - 1) <= IDENTITY_TOLERANCE:
        return Verdict("pass", found)
    if zero_point == 0 and abs(scale * 255 - 1) <= IDENTITY_TOLERANCE:
        remedy = "give [0, 255], so that bytes are levels"
        return Verdict("warn", f"{found}: pixels, if the network gives [0, 1]", remedy)
    low, high = -zero_point * scale, (255 - zero_point) * scale
    remedy = "end the network in a clip to [0, 255] before it is quantised"
    return Verdict("fail", f"{found}: byte 0 is level {low:.1f}, byte 255 is level {high:.1f}", remedy)


def upscales(evidence: Evidence) -> Verdict:
    """The output is three times the input's height and width."""
    shape = np.shape(evidence.output)
    factors = shape[0] / LR_FRAME[0], shape[1] / LR_FRAME[1]
    return Verdict("pass" if factors == (SCALE, SCALE) else "fail", f"{factors[0]:g} x {factors[1]:g}")


def colour_order(evidence: Evidence) -> Verdict:
    """Red, green and blue come out as red, green and blue."""
    if isinstance(evidence.output, str):
        return Verdict("skip", evidence.output)
    pixels = as_raw_pixels(evidence.output)[1::SCALE, 1::SCALE].astype(np.float64)
    contrast = pixels - pixels.mean(2, keepdims=True)
    lr = evidence.probe - evidence.probe.mean(2, keepdims=True)
    if contrast.std() < 1:
        return Verdict("warn", "the output has no colour", "look at the output as a picture")
    errors = {order: float(np.square(contrast[..., order] - lr).mean()) for order in permutations(range(3))}
    best = min(errors, key=errors.__getitem__)
    if best == (0, 1, 2):
        return Verdict("pass", "RGB")
    found = "".join("RGB"[best.index(channel)] for channel in range(3))
    return Verdict("fail", f"the channels come out as {found}", "feed and return RGB; OpenCV reads BGR")


def dynamic_agrees(evidence: Evidence) -> Verdict:
    """``model_none.tflite`` gives the same pixels as ``model.tflite``."""
    if evidence.dynamic is None:
        if -1 in evidence.facts.input_shape[1:3]:
            return Verdict("pass", "the file itself is dynamic")
        reason = evidence.dynamic_reason or "there is no model_none.tflite"
        return Verdict("warn", reason, "replace the operator that fixes the size, or submit the static model alone")
    differences = []
    for static, dynamic in zip((evidence.output, evidence.mirrored), evidence.dynamic, strict=True):
        if isinstance(dynamic, str) or isinstance(static, str):
            return Verdict("fail", f"model_none.tflite {dynamic}" if isinstance(dynamic, str) else str(static), _TWINS)
        if dynamic.shape != static.shape:
            return Verdict("fail", f"shapes {dynamic.shape} and {static.shape}", _TWINS)
        differences.append(np.abs(dynamic.astype(np.float64) - static.astype(np.float64)).max())
    found = f"largest difference {max(differences):g} on one photograph, as it is and mirrored"
    return Verdict("pass", found) if max(differences) == 0 else Verdict("fail", found, _TWINS)


def stateless(evidence: Evidence) -> Verdict:
    """The output follows from the input alone: nothing is kept from one run to the next, and nothing is random."""
    held = _held(evidence.contents)
    changed = [
        each if isinstance(each, str) else f"the same photograph gave another output {when}"
        for each, when in zip(evidence.again, ("after another one", "when the file was opened again"), strict=True)
        if not isinstance(evidence.output, str)
        and (isinstance(each, str) or each.tobytes() != evidence.output.tobytes())
    ]
    if held or changed:
        remedy = "leave variables, random and custom operators out; the output may depend on the image alone"
        return Verdict("fail", "; ".join([*held, *changed]), remedy)
    branches = {name: count for name, count in evidence.contents.operators.items() if name in BRANCHING}
    if branches:
        told = ", ".join(f"{name} x{count}" for name, count in branches.items())
        return Verdict("warn", f"control flow: {told}", "compute the same on every image, so that timings hold for all")
    runs = "was not run twice" if isinstance(evidence.output, str) else "three runs gave the same bytes"
    return Verdict("pass", f"no variables, no random operators; {runs}")


def _held(held: Contents) -> list[str]:
    """What makes an output depend on more than the input."""
    found = [f"{name} x{count}" for name, count in held.operators.items() if name in KEEPING | RANDOM]
    found += [f"custom operator {name}" for name in held.custom]
    return found + [f"tensor {name!r} keeps its values from one run to the next" for name in held.variables]


def file_size(evidence: Evidence) -> Verdict:
    """The file holds no more than INT8 weights and its tables."""
    size, parameters = evidence.facts.size_bytes, evidence.facts.parameters
    found = f"{size:,} bytes for {parameters:,} parameters"
    if size <= HEAVY_BYTES_PER_PARAMETER * parameters + OVERHEAD_BYTES:
        return Verdict("pass", found)
    return Verdict("warn", found, "drop debug names, metadata and unused tensors; store weights as INT8")


RULES: tuple[Rule, ...] = (
    Rule("single", "One input, one output", single_tensors),
    Rule("input-shape", "Input is 1x360x640x3", input_shape, ("single",)),
    Rule("output-shape", "Output is 1x1080x1920x3", output_shape, ("single",)),
    Rule("batch", "Batch is 1", batch, ("single",)),
    Rule("input-dtype", "Input is uint8", input_dtype, ("single",)),
    Rule("output-dtype", "Output is uint8", output_dtype, ("single",)),
    Rule("integer", "Fully integer", fully_integer),
    Rule("input-quantisation", "Input bytes are pixels", input_quantisation, ("single",)),
    Rule("output-quantisation", "Output bytes are pixels", output_quantisation, ("single",)),
    Rule("runs", "Runs in LiteRT", runs, ("single", "input-shape")),
    Rule("scale", "Upscales by 3", upscales, ("runs",)),
    Rule("colour", "Colours are in RGB order", colour_order, ("runs", "scale")),
    Rule("dynamic", "Static and dynamic model agree", dynamic_agrees, ("runs",)),
    Rule("stateless", "Output depends on the input alone", stateless),
    Rule("size", "File size", file_size),
)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join("?" if size == -1 else str(size) for size in shape) or "none"


def _stray(tensor: Tensor, graph: Graph) -> str:
    maker = next((op for op in graph.ops if tensor.index in op.outputs), None)
    readers = [op for op in graph.ops if tensor.index in op.inputs]
    where = f"made by {maker.label}" if maker else f"read by {', '.join(op.label for op in readers[:2])}"
    return f"tensor {tensor.index} {tensor.name!r} is {tensor.dtype} ({where})"
