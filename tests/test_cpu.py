"""The backend ``cpu`` on small networks. Nothing here asserts how fast anything is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_cli import run

from mai_harness.backends import cpu, parse
from mai_harness.errors import HarnessError, ModelContractError
from mai_harness.records import Model
from mai_harness.tflite_graph import read_graph, with_dynamic_frame
from mai_harness.timing import TimingPlan

CPU = parse("cpu")
PLAN = TimingPlan(warmup=1, runs=6, threads=(1, 2))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("cpu")
    int8 = tiny.write(folder / "int8.tflite", tiny.upscaler)
    return Model(static=str(int8), float32=str(tiny.write(folder / "float.tflite", tiny.upscaler, int8=False)))


@pytest.fixture(scope="module")
def measured(models):
    return cpu.measure(CPU, models, PLAN)


def test_both_precisions_on_each_number_of_threads_the_first_ranks(measured):
    found = [(report.precision, report.threads, len(report.samples_ms)) for report in measured.reports]
    assert found == [("int8", 1, 6), ("fp32", 1, 5), ("int8", 2, 6), ("fp32", 2, 5)]
    for report in measured.reports:
        assert report.ratio is not None
        assert report.ratio.low <= report.ratio.value <= report.ratio.high
        assert len(report.reference_ms) == len(report.samples_ms) == report.ratio.rounds
        assert len(report.warmup_ms) == 1
        assert report.how.startswith("measured")
        assert report.versions["ai-edge-litert"]


def test_every_operator_is_a_layer_with_what_ran_it(models, measured):
    first, *others = measured.reports
    names = [f"{op.name} {op.index}" for op in read_graph(Path(models.static)).ops]
    assert [layer.name for layer in first.layers] == names
    assert first.layers_alone
    places = {layer.name.split()[0]: layer.place for layer in first.layers}
    assert places["CONV_2D"] == places["DEPTH_TO_SPACE"] == "XNNPACK"
    assert places["MIRROR_PAD"] == "built-in kernel"  # XNNPACK has none for INT8
    assert all(layer.ms > 0 for layer in first.layers)
    assert not any(report.layers for report in others)


def test_the_operators_make_up_the_whole(measured):
    """A wide bound: it is the unit and the meaning that is tested, not the clock."""
    first = measured.reports[0]
    assert first.latency_ms / 3 < sum(layer.ms for layer in first.layers) < 3 * first.latency_ms


class Turn:
    """A model that only notes when it is its turn."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self.name, self.turns = name, turns

    def invoke(self) -> None:
        self.turns.append(self.name)


@pytest.mark.parametrize(
    ("runs", "seconds", "rounds"), [(9, 60.0, 9), (9, 0.0, cpu.FEWEST_ROUNDS), (3, 60.0, 3), (3, 0.0, 3)]
)
def test_models_take_turns_for_as_many_rounds_as_there_is_time_for(runs, seconds, rounds):
    turns: list[str] = []
    samples = cpu._in_turns([Turn("a", turns), Turn("b", turns)], TimingPlan(warmup=2, runs=runs, seconds=seconds))
    assert turns == ["a", "b"] * (2 + rounds)
    assert [len(each) for each in samples] == [2 + rounds] * 2


def test_slow_models_get_fewer_rounds_but_some(models):
    plan = TimingPlan(warmup=1, runs=50, seconds=0.0)
    (report,) = cpu.measure(CPU, Model(static=models.static), plan).reports
    assert len(report.samples_ms) == cpu.FEWEST_ROUNDS


def test_the_photograph_is_what_runs(models, tmp_path):
    frame = tmp_path / "frame.npy"
    np.save(frame, np.full((360, 640, 3), 7, np.uint8))
    model = cpu._AnyModel(Path(models.static), 1, str(frame))
    assert (model.inputs()[0] == 7).all()
    assert len(np.unique(cpu._AnyModel(Path(models.static), 1).inputs()[0])) > 200  # else noise


def test_model_and_reference_are_measured_on_the_photograph(models, tmp_path, monkeypatch):
    frame, given = tmp_path / "frame.npy", []
    np.save(frame, np.full((360, 640, 3), 7, np.uint8))

    class Seen(cpu._OnFrame):
        def run(self, image):
            given.append((self._path, np.unique(image).tolist()))
            return super().run(image)

    monkeypatch.setattr(cpu, "_OnFrame", Seen)
    cpu.measure(CPU, Model(static=models.static), TimingPlan(warmup=0, runs=2, frame=str(frame)))
    # The model once more when all is timed, to see whether it gives what it gave.
    assert given == [(Path(models.static), [7]), (cpu.REFERENCE, [7]), (Path(models.static), [7])]


@pytest.mark.parametrize(
    ("changed", "words"), [("last", "changed between the first and the last"), ("fresh", "each time that the file")]
)
def test_a_model_that_changes_while_it_is_timed_is_refused(models, monkeypatch, changed, words):
    class Unsteady(cpu._OnFrame):
        opened = 0

        def __init__(self, path, threads, frame):
            super().__init__(path, threads, frame)
            Unsteady.opened += 1
            if changed == "fresh" and Unsteady.opened == 3:
                self.first = self.first ^ 1

        def last(self):
            return super().last() ^ 1 if changed == "last" else super().last()

    monkeypatch.setattr(cpu, "_OnFrame", Unsteady)
    with pytest.raises(ModelContractError, match=words):
        cpu.measure(CPU, Model(static=models.static), TimingPlan(warmup=0, runs=2))


def test_a_file_of_free_size_is_compared_on_the_challenges_frame(models, tmp_path):
    free = tmp_path / "free.tflite"
    free.write_bytes(with_dynamic_frame(cpu.REFERENCE.read_bytes()))
    assert read_graph(free).tensors[read_graph(free).inputs[0]].shape_signature == (1, -1, -1, 3)
    assert cpu._AnyModel(free, 1).inputs()[0].shape == tiny.FRAME
    (report,) = cpu.compare(CPU, [str(free)], TimingPlan(warmup=0, runs=2))
    assert (len(report.samples_ms), report.precision) == (2, "int8")


def test_any_shapes_are_compared_and_their_arithmetic_told(models, tmp_path):
    small = tiny.write(tmp_path / "small.tflite", lambda tf, x: tf.nn.relu6(x), (1, 8, 9, 5))
    a, b = cpu.compare(CPU, [str(small), models.float32 or ""], PLAN)
    assert (a.precision, b.precision) == ("int8", "fp32")
    assert len(a.samples_ms) == len(b.samples_ms) == 6
    assert a.threads == 1
    assert a.latency_ms < b.latency_ms  # 360 numbers, and 17 M multiply-accumulates


@pytest.mark.parametrize("text", ["cpu:somewhere", "cpu,speed=9"])
def test_there_is_nothing_to_choose(text):
    with pytest.raises(HarnessError):
        cpu.device(parse(text))


def test_a_file_that_does_not_run_is_told(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"1234TFL3" + b"\xff" * 40)
    with pytest.raises(HarnessError, match=r"m\.tflite"):
        cpu.compare(CPU, [str(path)], PLAN)


def test_what_cannot_be_measured_is_told(models, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"1234TFL3" + b"\xff" * 40)
    with pytest.raises(HarnessError, match=r"m\.tflite"):
        cpu.measure(CPU, Model(static=str(path)), PLAN)
    with pytest.raises(HarnessError, match="no target 'somewhere'"):
        cpu.measure(parse("cpu:somewhere"), models, PLAN)
    with pytest.raises(HarnessError, match="no option 'speed'"):
        cpu.compare(parse("cpu,speed=9"), [models.static], PLAN)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_reference_is_what_the_shipped_abpn_converts_to(repository, tmp_path):
    """Its weights and ranges may be older; what there is to compute is the same."""
    command = [sys.executable, "-m", "mai_harness", "convert", "abpn", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)

    def operators(path: Path) -> list[tuple[object, ...]]:
        graph = read_graph(path)
        tensors = [[graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0] for op in graph.ops]
        return [
            (op.name, op.options, *((each.dtype, each.shape) for each in of))
            for op, of in zip(graph.ops, tensors, strict=True)
        ]

    assert operators(cpu.REFERENCE) == operators(Path(json.loads(done.stdout)["model"]["static"]))


def test_two_files_on_the_command_line(models, tmp_path):
    done = run(
        "bench", models.static, models.float32 or "", "--json", "--runs", "5", "--warmup", "1", "--threads", "1",
        "--backend", "cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ratio = json.loads(done.stdout)["ratio"]
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert ratio["rounds"] == 5
