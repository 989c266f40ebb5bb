"""This machine's CPU: the LiteRT interpreter with its XNNPACK kernels, in turns with a reference model."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from mai_harness.backends import Choice
from mai_harness.errors import HarnessError, ModelContractError
from mai_harness.interpreter import TFLiteModel
from mai_harness.machine import describe, versions
from mai_harness.records import LR_FRAME, BackendReport, LatencyReport, Layer, Model, Precision
from mai_harness.tflite_graph import Alone, filled, precision, read_graph, split
from mai_harness.timing import TimingPlan, ratio

LOCAL = True

#: ABPN as `mai-harness convert abpn` makes it. It stays what it is, so that ratios can be compared over versions.
REFERENCE = Path(__file__).with_name("reference.tflite")
FEWEST_ROUNDS = 5  # however long they take
FLOAT_SHARE = 3  # the float twin does not rank, so it is timed in a third of the rounds
LAYER_RUNS, SLOW_MS = 9, 500
_HOW = "measured: wall-clock time of LiteRT's invoke alone, one run a round in turns with others"
_LAYERS_HOW = "measured: each operator timed alone on the values that it gets in the network, median of several runs"


def device(choice: Choice) -> str:
    """Processor, cores, operating system and LiteRT's version.

    Raises:
        HarnessError: the choice has a target or options.
    """
    choice.refuse_unknown_options(())
    if choice.target:
        raise HarnessError(f"the backend cpu is this machine; it has no target {choice.target!r}")
    return f"{describe()}, LiteRT {versions()['ai-edge-litert']}"


def measure(choice: Choice, model: Model, plan: TimingPlan) -> BackendReport:
    """INT8 and FP32 on each number of threads; the layers of INT8 on the first.

    Raises:
        HarnessError: the file does not run on a 360x640 frame.
    """
    where = device(choice)
    files: list[tuple[Precision, str, int]] = [("int8", model.static, 1)]
    if model.float32:
        files.append(("fp32", model.float32, FLOAT_SHARE))
    reports = [
        _beside_reference(choice, where, precision, path, threads, _shortened(plan, share))
        for threads in plan.threads
        for precision, path, share in files
    ]
    layers = _layers(Path(model.static), plan)
    reports[0] = msgspec.structs.replace(reports[0], layers=layers, layers_how=_LAYERS_HOW, layers_alone=True)
    return BackendReport(backend=str(choice), reports=tuple(reports))


def compare(choice: Choice, paths: Sequence[str], plan: TimingPlan) -> tuple[LatencyReport, ...]:
    """Every file runs once a round. A file of free size runs at 360x640, another at its own.

    Raises:
        HarnessError: a file does not run.
    """
    where, threads = device(choice), plan.threads[0]
    rounds = _in_turns([_AnyModel(Path(path), threads, plan.frame) for path in paths], plan)
    return tuple(
        _report(choice, where, precision(read_graph(Path(path))), threads, plan, samples)
        for path, samples in zip(paths, rounds, strict=True)
    )


Values = npt.NDArray[Any]


class _Runs(Protocol):
    def invoke(self) -> None: ...


class _OnFrame(TFLiteModel):
    """A model open on the frame to time, and what it gave when it ran on it first."""

    def __init__(self, path: Path, threads: int, frame: str) -> None:
        super().__init__(path, threads)
        noise = np.random.default_rng(0).integers(0, 256, (*LR_FRAME, 3), np.uint8)
        self.first = self.run(np.load(frame) if frame else noise)

    def last(self) -> Values:
        """What its last run gave, without the batch axis."""
        output: Values = self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])[0]
        return output


def _beside_reference(
    choice: Choice, where: str, precision: Precision, path: str, threads: int, plan: TimingPlan
) -> LatencyReport:
    model, reference = (_OnFrame(each, threads, plan.frame) for each in (Path(path), REFERENCE))
    samples, others = _in_turns([model, reference], plan)
    if precision == "int8":
        _refuse_change(model, _OnFrame(Path(path), threads, plan.frame))
    report = _report(choice, where, precision, threads, plan, samples)
    timed, beside = report.samples_ms, others[plan.warmup :]
    return msgspec.structs.replace(report, reference_ms=beside, ratio=ratio(timed, beside))


def _report(
    choice: Choice, where: str, precision: Precision, threads: int, plan: TimingPlan, samples: tuple[float, ...]
) -> LatencyReport:
    return LatencyReport(
        backend=str(choice),
        precision=precision,
        device=where,
        threads=threads,
        how=_HOW,
        versions={"ai-edge-litert": versions()["ai-edge-litert"] or "unknown"},
        warmup_ms=samples[: plan.warmup],
        samples_ms=samples[plan.warmup :],
    )


def _refuse_change(timed: _OnFrame, fresh: _OnFrame) -> None:
    """Hold a model that was timed against itself, for what is timed must be what is scored.

    Raises:
        ModelContractError: its output is not what it was before, or not that of the file opened again.
    """
    if timed.last().tobytes() != timed.first.tobytes():
        raise ModelContractError("its output changed between the first and the last timed run, on the same frame")
    if fresh.first.tobytes() != timed.first.tobytes():
        raise ModelContractError("its output is another each time that the file is opened, on the same frame")


def _shortened(plan: TimingPlan, share: int) -> TimingPlan:
    return msgspec.structs.replace(plan, runs=max(min(FEWEST_ROUNDS, plan.runs), plan.runs // share))


def _in_turns(models: Sequence[_Runs], plan: TimingPlan) -> list[tuple[float, ...]]:
    """Samples of each model in ms, warm-up first. Of slow models there are fewer rounds than planned."""
    rounds: list[list[float]] = []
    start = time.perf_counter()
    while len(rounds) < plan.warmup + plan.runs:
        late = time.perf_counter() - start > plan.seconds
        if late and len(rounds) >= plan.warmup + min(FEWEST_ROUNDS, plan.runs):
            break
        rounds.append([_invoke_ms(model) for model in models])
    return list(zip(*rounds, strict=True))


def _invoke_ms(model: _Runs) -> float:
    start = time.perf_counter_ns()
    model.invoke()
    return (time.perf_counter_ns() - start) / 1e6


class _AnyModel:
    """A TFLite file with any inputs and outputs, open on what it is given: arrays, or else the frame or noise."""

    def __init__(self, path: Path, threads: int, frame: str = "", given: Sequence[Values] = ()) -> None:
        from ai_edge_litert.interpreter import Interpreter

        read_graph(path)  # refuses damaged files, of which LiteRT dies
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            details = self._interpreter.get_input_details()
            for detail in details:
                self._interpreter.resize_tensor_input(detail["index"], filled(detail["shape_signature"]))
            self._interpreter.allocate_tensors()
            for detail, values in zip(details, given or [_input(d, frame) for d in details], strict=True):
                self._interpreter.set_tensor(detail["index"], values)
            self.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelContractError(f"{path.name} does not run in LiteRT: {error}") from None

    def invoke(self) -> None:
        self._interpreter.invoke()

    def inputs(self) -> list[Values]:
        return [self._interpreter.get_tensor(each["index"]) for each in self._interpreter.get_input_details()]

    def outputs(self) -> list[Values]:
        return [self._interpreter.get_tensor(each["index"]) for each in self._interpreter.get_output_details()]

    def delegated(self) -> set[int]:
        """Operators that XNNPACK runs."""
        # The delegate's nodes stand behind the file's operators, and read and write the same tensors.
        nodes = self._interpreter._get_ops_details()
        makers = {int(i): n for n, node in enumerate(nodes) if node["op_name"] != "DELEGATE" for i in node["outputs"]}
        found: set[int] = set()
        for node in nodes:
            if node["op_name"] == "DELEGATE":
                wanted, given = [int(i) for i in node["outputs"]], {int(i) for i in node["inputs"]}
                while wanted:
                    index = wanted.pop()
                    if index in makers and index not in given and makers[index] not in found:
                        found.add(makers[index])
                        wanted += [int(i) for i in nodes[makers[index]]["inputs"]]
        return found


def _input(detail: dict[str, Any], frame: str) -> Values:
    shape, dtype = filled(detail["shape_signature"]), detail["dtype"]
    photograph = frame and shape == (1, *LR_FRAME, 3)
    values = np.load(frame)[None] if photograph else np.random.default_rng(0).integers(0, 256, shape)
    return np.asarray(values - 128.0 if dtype == np.int8 else values, dtype)


def _layers(path: Path, plan: TimingPlan) -> tuple[Layer, ...]:
    """Each operator alone, on the values that it gets in the network, for its time may depend on them."""
    threads, graph = plan.threads[0], read_graph(path)
    whole = _AnyModel(path, threads, plan.frame)
    delegated = whole.delegated()
    last_use = {index: op.index for op in graph.ops for index in op.inputs}
    values = dict(zip(graph.inputs, whole.inputs(), strict=True))
    layers = []
    for op, alone in zip(graph.ops, split(path), strict=True):
        ms, outputs = _alone(alone, threads, [values[index] for index in alone.inputs])
        values |= dict(zip(alone.outputs, outputs, strict=True))
        values = {index: each for index, each in values.items() if last_use.get(index, -1) > op.index}
        place = "XNNPACK" if op.index in delegated else "built-in kernel"
        layers.append(Layer(name=alone.name, place=place, ms=ms))
    return tuple(layers)


def _alone(op: Alone, threads: int, given: Sequence[Values]) -> tuple[float, list[Values]]:
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        Path(file.name).write_bytes(op.model)
        model = _AnyModel(Path(file.name), threads, given=given)
    first = _invoke_ms(model)
    runs = LAYER_RUNS if first < SLOW_MS else FEWEST_ROUNDS
    return statistics.median([first, *(_invoke_ms(model) for _ in range(runs - 1))]), model.outputs()
