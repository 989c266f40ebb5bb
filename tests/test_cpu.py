"""The backend ``cpu`` on small networks. Nothing here asserts how fast anything is."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_cli import run

from mai_harness.backends import cpu, parse
from mai_harness.errors import HarnessError
from mai_harness.records import Model
from mai_harness.tflite_graph import read_graph
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


def test_two_files_on_the_command_line(models, tmp_path):
    done = run(
        "bench", models.static, models.float32 or "", "--json", "--runs", "5", "--warmup", "1", "--threads", "1",
        "--backend", "cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ratio = json.loads(done.stdout)["ratio"]
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert ratio["rounds"] == 5
