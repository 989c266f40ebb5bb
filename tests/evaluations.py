"""Evaluations made by hand, for tests of the diagnoses: healthy as ABPN is, with whatever is to be different."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from mai_harness.records import (
    AppraiseReport,
    BackendReport,
    CalibrateReport,
    CheckReport,
    Evaluation,
    ExamineReport,
    ExportReport,
    Graph,
    ImageScore,
    LatencyReport,
    Layer,
    ModelFacts,
    Op,
    QuantiseReport,
    Ratio,
    RuleResult,
    Sample,
    ScoreReport,
    Tensor,
    TensorAnalysis,
    TensorFact,
)

FRAME, FEATURES, WIDE, HR = (1, 360, 640, 3), (1, 360, 640, 28), (1, 360, 640, 27), (1, 1080, 1920, 3)
DECIBELS = {"raw": 30.0, "dequantised": 30.0, "dynamic": 30.0}
# What abpn's operators take in leaderboard/results.json: measured on the CPU, estimated for the NPU.
CPU_MS = (0.4, 0.6, 1.6, 4.4, 4.7, 4.5, 4.6, 4.6, 4.4, 0.5, 0.9, 4.0)
NPU_MS = (0.12, 1.09, 3.48, 2.81, 2.81, 2.81, 1.79, 1.39, 1.62, 0.0, 1.04, 1.07)


class Constant(NamedTuple):
    """A tensor that the file holds; ``values`` of shapes and axes."""

    shape: tuple[int, ...]
    dtype: str = "int32"
    scales: tuple[float, ...] = ()
    values: tuple[int, ...] | None = None


class Step(NamedTuple):
    """One operator and the tensor that it makes.

    ``reads`` has the operators whose outputs it takes, by their places, -1 for the graph's input; by default the one
    before. A tensor of no integer type has no scales.
    """

    name: str
    shape: tuple[int, ...] = FEATURES
    dtype: str = "int8"
    reads: tuple[int, ...] | None = None
    constants: tuple[Constant, ...] = ()
    scale: float = 1.0
    zero_point: int = -128
    tensor: str = ""  #: its name; by default the operator's label
    custom: bool = False
    options: dict[str, int] | None = None


def convolution(
    shape: tuple[int, ...] = FEATURES,
    dtype: str = "int8",
    weights: str = "int8",
    *,
    kernel: int = 3,
    channels: int = 28,
    **more: Any,
) -> Step:
    """A CONV_2D from so many channels: weights of this dtype, with a scale per channel if int8, and a bias."""
    scales = (0.01,) * shape[-1] if weights == "int8" else ()
    bias = "int32" if dtype == "int8" else "float32"
    constants = (Constant((shape[-1], kernel, kernel, channels), weights, scales), Constant(shape[-1:], bias))
    return Step("CONV_2D", shape, dtype, constants=constants, **more)


def steps() -> tuple[Step, ...]:
    """ABPN: the operators of ``mai-harness convert abpn``."""
    return (
        Step("QUANTIZE", FRAME),
        convolution(WIDE, kernel=1, channels=3),
        convolution(channels=3, reads=(0,)),
        *(convolution() for _ in range(5)),
        convolution(WIDE),
        Step("ADD", WIDE, reads=(8, 1)),
        Step("DEPTH_TO_SPACE", HR, options={"BlockSize": 3}),
        Step("QUANTIZE", HR, "uint8", zero_point=0, tensor="output"),
    )


def graph(
    *ops: Step | str,
    source: tuple[int, ...] = FRAME,
    source_dtype: str = "uint8",
    source_scale: float = 1.0,
    source_zero_point: int = 0,
) -> Graph:
    """A graph of these operators, the last of which makes the output; ABPN without any.

    Args:
        ops: a name alone makes INT8 features, (1, 360, 640, 28).
        source: shape of the input, which is tensor 0 and named 'input'.
    """
    given = [Step(op) if isinstance(op, str) else op for op in ops] or list(steps())
    tensors = [_tensor(0, "input", source, source_dtype, (source_scale,), source_zero_point)]
    made, found = [0], []  # made[i + 1]: the tensor of op i
    for index, step in enumerate(given):
        inputs = [made[place + 1] for place in ((index - 1,) if step.reads is None else step.reads)]
        for constant in step.constants:
            inputs.append(len(tensors))
            tensors.append(_constant(len(tensors), f"{step.name} {index}/constant", constant))
        name = step.tensor or f"{step.name} {index}"
        tensors.append(_tensor(len(tensors), name, step.shape, step.dtype, (step.scale,), step.zero_point))
        made.append(tensors[-1].index)
        found.append(
            Op(
                index=index, name=step.name, is_custom=step.custom, inputs=tuple(inputs), outputs=(made[-1],),
                options=step.options or {},
            )
        )  # fmt: skip
    return Graph(
        tensors=tuple(tensors), ops=tuple(found), inputs=(0,), outputs=(made[-1],), subgraphs=1, size_bytes=50_000
    )


def _tensor(
    index: int, name: str, shape: tuple[int, ...], dtype: str, scales: tuple[float, ...], zero_point: int
) -> Tensor:
    quantised = dtype in ("int8", "uint8", "int16")
    return Tensor(
        index=index, name=name, shape=tuple(max(side, 1) for side in shape), shape_signature=shape, dtype=dtype,
        scales=scales if quantised else (), zero_points=(zero_point,) if quantised else (), quantised_dimension=0,
        buffer=index + 1, stored_bytes=0, values=None,
    )  # fmt: skip


def _constant(index: int, name: str, constant: Constant) -> Tensor:
    width = {"int8": 1, "float16": 2}.get(constant.dtype, 4)
    return Tensor(
        index=index, name=name, shape=constant.shape, shape_signature=constant.shape, dtype=constant.dtype,
        scales=constant.scales, zero_points=(0,) * len(constant.scales), quantised_dimension=0, buffer=index + 1,
        stored_bytes=width * math.prod(constant.shape), values=constant.values,
    )  # fmt: skip


def analysis(model: Graph, tensor: int, **changes: Any) -> TensorAnalysis:
    """A healthy activation of the graph: 8 bits in use, nothing saturated, no dead channel."""
    found = model.tensors[tensor]
    maker = next((op for op in model.ops if tensor in op.outputs), None)
    kernel = None if maker is None else model.operand(maker, 1)
    is_weighted = kernel is not None and kernel.is_constant and bool(kernel.scales)
    healthy = TensorAnalysis(
        tensor=tensor, layer="input" if maker is None else maker.label, name=found.name, scale=found.scales[0],
        zero_point=found.zero_points[0], covered=(0.0, 255.0), used=(0.0, 255.0), saturated=0.0, effective_bits=8.0,
        sqnr_db=40.0, injected_sqnr_db=45.0, channels=found.shape[-1], dead_channels=0, widest_channel=0,
        channel_ratio=1.2, weight_scales=len(kernel.scales) if kernel and is_weighted else 0,
        weight_ratio=2.0 if is_weighted else None,
    )  # fmt: skip
    return msgspec.structs.replace(healthy, **changes)


def examination(**changes: Any) -> ExamineReport:
    """A healthy examination of ``graph``, ABPN's by default; ``tensors`` are those of its quantised activations."""
    model = changes.pop("graph", None) or graph()
    makers = [index for op in model.ops for index in op.outputs if model.tensors[index].scales]
    healthy = ExamineReport(
        graph=model,
        layout="NHWC",
        factor=3.0,
        samples=tuple(
            Sample(image=i, name=f"{i:04}.png", top=0, left=0, height=120, width=120) for i in range(2)
        ),
        twin="given",
        agreement=1.0,
        residual="image",
        twin_psnr_db=60.0,
        dynamic_difference=0.0,
        tensors=tuple(analysis(model, index) for index in makers),
    )  # fmt: skip
    return msgspec.structs.replace(healthy, **changes)


def appraisal(**changes: Any) -> AppraiseReport:
    """A healthy appraisal. ``psnr`` adds to the trials raw, dequantised and dynamic, 30 dB each, or replaces them.

    A trial's value is one figure for both samples, a sequence with one each, or ``None`` to leave the trial out.
    """
    trials: dict[str, Any] = DECIBELS | changes.pop("psnr", {})
    psnr = {
        trial: tuple(values) if isinstance(values, Sequence) else (values, values)
        for trial, values in trials.items()
        if values is not None
    }
    return msgspec.structs.replace(AppraiseReport(psnr=psnr, spread=60.0), **changes)


def checked(model: Graph, **rules: str) -> CheckReport:
    """A report on the graph. ``rules``: id of a rule that failed, _ for -, and what was found; the others pass."""
    source, result = model.tensors[model.inputs[0]], model.tensors[model.outputs[0]]
    facts = ModelFacts(
        input_shape=source.shape_signature, input_dtype=source.dtype, output_shape=result.shape_signature,
        output_dtype=result.dtype, output_scale=result.scales[0] if result.scales else None,
        output_zero_point=result.zero_points[0] if result.scales else None, parameters=42_000, macs=10**10,
        size_bytes=model.size_bytes, receptive_radius=7,
    )  # fmt: skip
    failed = {rule.replace("_", "-"): found for rule, found in rules.items()}
    names = dict.fromkeys(("input-shape", "output-shape", "batch", "input-dtype", "output-dtype", "integer", "dynamic"))
    return CheckReport(
        facts=facts,
        rules=tuple(
            RuleResult(rule=rule, title=rule, status="fail" if rule in failed else "pass", found=failed.get(rule, ""))
            for rule in {**names, **failed}
        ),
        tensors=tuple(_fact(model, tensor) for tensor in model.tensors),
    )


def _fact(model: Graph, tensor: Tensor) -> TensorFact:
    maker = next((op.label for op in model.ops if tensor.index in op.outputs), "constant")
    return TensorFact(
        index=tensor.index, name=tensor.name, made_by="input" if tensor.index in model.inputs else maker,
        dtype=tensor.dtype, shape=tensor.shape_signature, scales=len(tensor.scales),
        scale=tensor.scales[0] if tensor.scales else None,
        zero_point=tensor.zero_points[0] if tensor.zero_points else None,
    )  # fmt: skip


def timed(backend: str, layers: dict[str, float] | None = None, *, by_rule: Sequence[str] = (), **changes: Any) -> Any:
    """A backend's report: layers and their ms, their sum the latency; ``by_rule`` are those that an NPU leaves out."""
    given = layers or {}
    report = LatencyReport(
        backend=backend, precision="int8", device="d", how="h", threads=1, samples_ms=(sum(given.values()) or 20.0,),
        layers=tuple(
            Layer(name=name, place="CPU" if name in by_rule else "NPU", ms=ms, rule="at least" * (name in by_rule))
            for name, ms in given.items()
        ),
        ratio=Ratio(value=2.0, low=1.98, high=2.02, rounds=9, outliers=1),
    )  # fmt: skip
    return BackendReport(backend=backend, reports=(msgspec.structs.replace(report, **changes),))


def runtime(model: Graph) -> tuple[BackendReport, ...]:
    """ABPN's layers on the backends cpu and npu; a graph of another length has no layers."""
    labels = [op.label for op in model.ops]
    if len(labels) != len(CPU_MS):
        return (timed("cpu"),)
    npu = dict(zip(labels, NPU_MS, strict=True))
    npu = {"CONV_2D 8 + ADD 9" if name == "CONV_2D 8" else name: ms for name, ms in npu.items() if name != "ADD 9"}
    by_rule = ("DEPTH_TO_SPACE 10",)
    return timed("cpu", dict(zip(labels, CPU_MS, strict=True))), timed("npu", npu, by_rule=by_rule, ratio=None)


def evaluation(**changes: Any) -> Evaluation:
    """A healthy evaluation of ``graph``, ABPN's by default; every other keyword is a field of ``Evaluation``."""
    model = changes.pop("graph", None) or graph()
    figures = {"psnr_raw_db": 30.0, "psnr_dequantised_db": 30.0, "psnr_fp32_db": 30.05}
    healthy = Evaluation(
        name="net",
        title="Net",
        kind="torch",
        export=ExportReport(parity=(), rewrites=()),
        calibrate=CalibrateReport(parity=(), frames=("a",), clipped_output=True, output_range=(0.0, 255.0)),
        quantise=QuantiseReport(
            psnr_int8_to_float_db=50.0, learned_agreement=None, rewrites=(), dynamic=True, dynamic_reason=""
        ),
        check=checked(model),
        score=ScoreReport(
            dataset="d", dataset_fingerprint="f", shave=0, method="whole images", exact=True,
            images=(ImageScore(name="0000.png", figures=figures), ImageScore(name="0001.png", figures=figures)),
        ),
        runtime=runtime(model),
        examine=examination(graph=model),
        appraise=appraisal(),
    )  # fmt: skip
    return msgspec.structs.replace(healthy, **changes)
