"""The backend ``npu`` against Vela itself, run apart from it, and against sums by hand for what Vela does not cost."""

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mai_harness.backends import find, npu, parse
from mai_harness.errors import HarnessError, ModelContractError
from mai_harness.records import BackendReport, LatencyReport, Layer, Model
from mai_harness.tflite_graph import read_graph, split, with_dynamic_frame
from mai_harness.timing import TimingPlan

pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")

HEIGHT, WIDTH = 24, 40
ACCELERATORS = ("ethos-u85-2048", "ethos-u65-512", "ethos-u55-256")
DRAM = 12e9  # bytes a second, of Ethos_U85_SYS_DRAM_Mid: 16 a cycle at 1 GHz, three quarters of the time


class Networks:
    """Small ones, as TFLite files; TensorFlow is imported when the first is made."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self.tf, self.folder, self.rng = tf, folder, np.random.default_rng(0)

    def conv(self, x: Any, filters: int) -> Any:
        weights = self.rng.normal(0, 0.1, (3, 3, x.shape[-1], filters)).astype(np.float32)
        return self.tf.nn.conv2d(x, weights, 1, "SAME") + np.ones(filters, np.float32)

    def super_resolution(self, x: Any) -> Any:
        """ABPN in small: a residual before depth-to-space, so that an addition is there to be fused."""
        features = self.conv(self.tf.nn.relu(self.conv(x, 8)), 27)
        return self.tf.nn.depth_to_space(features + self.conv(x, 27), 3)

    def deconvolution(self, x: Any) -> Any:
        """As in FSRCNN: eight pixels more than 3x, which is no size that Vela takes of a 9x9 kernel."""
        weights = self.rng.normal(0, 0.1, (9, 9, 3, 8)).astype(np.float32)
        return self.tf.nn.conv2d_transpose(self.conv(x, 8), weights, (1, 3 * HEIGHT + 8, 3 * WIDTH + 8, 3), 3, "VALID")

    def write(self, name: str, network: Callable[[Any], Any], *, integer: bool = True) -> Path:
        tf = self.tf
        spec = tf.TensorSpec((1, HEIGHT, WIDTH, 3), tf.float32)
        function = tf.function(network, input_signature=[spec]).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        if integer:
            frames = self.rng.uniform(0, 255, (2, 1, HEIGHT, WIDTH, 3)).astype(np.float32)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([frame] for frame in frames)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        path = self.folder / name
        path.write_bytes(converter.convert())
        return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return Networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def path(networks: Networks) -> Path:
    return networks.write("model.tflite", networks.super_resolution)


def measured(path: Path, choice: str = "npu") -> BackendReport:
    return npu.measure(parse(choice), Model(static=str(path)), TimingPlan())


def report(path: Path, choice: str = "npu") -> LatencyReport:
    return measured(path, choice).reports[0]


def layer(found: LatencyReport, operator: str) -> Layer:
    (only,) = [each for each in found.layers if each.name.split(" ")[0] == operator]
    return only


def vela(path: Path, folder: Path, *options: str) -> tuple[dict[str, str], list[list[str]]]:
    """What Vela says by itself: its summary, and the rows of its table of layers, whose last column is a name."""
    command = [sys.executable, "-m", "ethosu.vela", "--verbose-performance", "--output-dir", str(folder), *options]
    subprocess.run([*command, str(path)], check=True, capture_output=True)
    with next(folder.glob("*_summary_*.csv")).open() as file:
        summary = next(csv.DictReader(file))
    rows = (folder / f"{path.stem}_per-layer.csv").read_text().splitlines()[1:]
    return summary, [row.split(",", 15) for row in rows]


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_figures_are_those_of_vela(path, tmp_path, accelerator):
    # Vela gets no system and no memory here, so this also holds DEFAULTS to its own.
    summary, rows = vela(path, tmp_path, "--accelerator-config", accelerator)
    found = report(path, f"npu:{accelerator}")
    cycles, clock_hz = int(summary["cycles_total"]), float(summary["core_clock"])
    assert cycles > 0
    assert found.estimate_ms - found.by_rule_ms == pytest.approx(cycles / clock_hz * 1e3, rel=1e-9)
    assert found.estimate_ms - found.by_rule_ms == pytest.approx(float(summary["inference_time"]) * 1e3, rel=1e-6)
    assert sum(each.cycles or 0 for each in found.layers) == sum(int(row[5]) for row in rows) == cycles
    assert sum(each.ms for each in found.layers) == pytest.approx(found.estimate_ms, rel=1e-9)
    assert {each.place for each in found.layers} == {row[2] for row in rows} == {"NPU", "CPU"}
    assert f"{summary['system_config']}, {summary['memory_mode']}" in found.device


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_traffic_is_that_of_vela_and_adds_up(path, tmp_path, accelerator):
    summary, _ = vela(path, tmp_path, "--accelerator-config", accelerator)
    found = report(path, f"npu:{accelerator}")
    columns = {"SRAM": "sram", "DRAM": "dram", "on-chip flash": "on_chip_flash", "off-chip flash": "off_chip_flash"}
    moved = {name: int(summary[f"{column}_total_bytes"]) for name, column in columns.items()}
    assert found.traffic_bytes == {name: count for name, count in moved.items() if count}
    for name, count in found.traffic_bytes.items():
        assert sum(each.traffic_bytes.get(name, 0) for each in found.layers) == count


def test_every_operator_is_in_one_layer_and_none_of_the_npu_is_free(path):
    found = report(path)
    names = [name for each in found.layers for name in each.name.split(" + ")]
    assert sorted(names) == sorted(f"{op.name} {op.index}" for op in read_graph(path).ops)
    assert all(each.cycles and each.traffic_bytes and not each.rule for each in found.layers if each.place == "NPU")
    # The addition is fused on U85, and is a row of its own on U55.
    fused = [each.name for each in found.layers if " + ADD " in each.name]
    assert len(fused) == 1
    assert fused[0].startswith("CONV_2D ")
    assert layer(report(path, "npu:ethos-u55-256"), "ADD").cycles


def test_what_the_cpu_moves_is_estimated_by_a_rule_and_shown(path):
    found = measured(path)
    shuffle = layer(found.reports[0], "DEPTH_TO_SPACE")
    assert shuffle.place == "CPU"
    assert shuffle.cycles is None
    assert shuffle.ms == pytest.approx(2 * HEIGHT * WIDTH * 27 / DRAM * 1e3, rel=1e-6)
    assert shuffle.rule.startswith("at least: 0.0518 MB in and out at 12 GB/s")
    assert found.reports[0].by_rule_ms == shuffle.ms
    assert "one operator that Vela leaves to the CPU" in found.reports[0].how
    assert found.refusals == (f"{shuffle.name} is left to the CPU: Unsupported opType",)


def test_what_the_cpu_multiplies_takes_longer_than_to_move_it(networks):
    found = measured(networks.write("deconvolution.tflite", networks.deconvolution))
    deconvolution = layer(found.reports[0], "TRANSPOSE_CONV")
    assert deconvolution.place == "CPU"
    assert deconvolution.ms == pytest.approx(HEIGHT * WIDTH * 8 * 9 * 9 * 3 / 16e9 * 1e3, rel=1e-9)
    assert "multiply-accumulates" in deconvolution.rule
    assert "Unsupported IFM/OFM shapes" in found.refusals[0]


def test_an_operator_alone_may_be_all_by_rule(path, tmp_path):
    (tmp_path / "alone.tflite").write_bytes(next(a.model for a in split(path) if a.name.startswith("DEPTH_TO_SPACE")))
    found = report(tmp_path / "alone.tflite")
    assert [(each.name, each.place) for each in found.layers] == [("DEPTH_TO_SPACE 0", "CPU")]
    assert found.estimate_ms == found.by_rule_ms > 0
    assert found.traffic_bytes == {}


def test_same_file_same_report(path):
    assert measured(path) == measured(path)


def test_accelerators_systems_and_memories_matter(path):
    choices = [f"npu:{accelerator}" for accelerator in ACCELERATORS]
    choices += ["npu,system=Ethos_U85_SYS_DRAM_Low", "npu,memory=Sram_Only"]
    assert len({report(path, choice).estimate_ms for choice in choices}) == len(choices)


def test_compare_gives_each_file_what_measure_gives_it(path, tmp_path):
    (tmp_path / "alone.tflite").write_bytes(next(split(path)).model)
    paths = [path, tmp_path / "alone.tflite", path]
    found = npu.compare(parse("npu"), [str(each) for each in paths], TimingPlan())
    assert [each.estimate_ms for each in found] == [report(each).estimate_ms for each in paths]
    assert [each.traffic_bytes for each in found] == [report(each).traffic_bytes for each in paths]
    assert found[1].estimate_ms < found[0].estimate_ms
    assert {(each.precision, each.threads, each.ratio) for each in found} == {("int8", None, None)}


def test_device_tells_what_the_estimate_depends_on():
    assert npu.device(parse("npu")) == (
        "Arm Ethos-U85-2048 at 1 GHz, Vela 5.2.0, Ethos_U85_SYS_DRAM_Mid, Dedicated_Sram_384KB"
    )
    assert npu.device(parse("npu:ethos-u55-64,system=Ethos_U55_Deep_Embedded,memory=Sram_Only")) == (
        "Arm Ethos-U55-64 at 0.2 GHz, Vela 5.2.0, Ethos_U55_Deep_Embedded, Sram_Only"
    )


def test_every_accelerator_of_vela_has_defaults():
    from ethosu.vela.architecture_features import Accelerator

    for name in Accelerator.member_list():
        assert npu.device(parse(f"npu:{name}")).lower().startswith(f"arm {name} at ")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("npu:ethos-u95", ["'ethos-u95'", "ethos-u55-32", "ethos-u85-2048"]),
        ("npu,system=Fast", ["'Fast'", "Ethos_U55_Deep_Embedded", "Ethos_U85_SYS_DRAM_High"]),
        ("npu,memory=Lots", ["'Lots'", "Shared_Sram", "Dedicated_Sram_512KB"]),
        ("npu,clock=2", ["no option 'clock'", "system, memory"]),
    ],
)
def test_unknown_choices_are_refused_with_what_there_is(choice, told):
    with pytest.raises(HarnessError) as caught:
        npu.device(parse(choice))
    assert all(each in str(caught.value) for each in told)


def test_float_is_refused(networks):
    with pytest.raises(HarnessError, match=r"CONV_2D 0 computes in float32; Vela compiles full-integer INT8 only"):
        measured(networks.write("float.tflite", networks.super_resolution, integer=False))


def test_free_sizes_are_refused(path, tmp_path):
    (tmp_path / "none.tflite").write_bytes(with_dynamic_frame(path.read_bytes()))
    with pytest.raises(HarnessError, match=r"none\.tflite: the size of tensor .* is free"):
        measured(tmp_path / "none.tflite")


def test_damaged_files_are_refused(path, tmp_path):
    damaged, data = tmp_path / "damaged.tflite", path.read_bytes()
    damaged.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelContractError, match="no TFLite file"):
        measured(damaged)
    # A name without its terminator is nothing to the harness's reader, but Vela verifies.
    name = read_graph(path).tensors[0].name.encode()
    damaged.write_bytes(data.replace(name + b"\0", name + b"x"))
    with pytest.raises(HarnessError, match=r"^Vela cannot compile damaged\.tflite: .*inconsistent"):
        measured(damaged)


def test_vela_may_not_take_forever(path, monkeypatch):
    monkeypatch.setattr(npu, "TIMEOUT_S", 0.01)
    with pytest.raises(HarnessError, match=r"still compiling model\.tflite after 0\.01 s"):
        measured(path)


def test_a_total_that_is_not_the_sum_of_its_layers_is_refused(path, monkeypatch):
    read = npu._read

    def one_more(*arguments: Any) -> Any:
        told = read(*arguments)
        return msgspec.structs.replace(told, summary={**told.summary, "cycles_total": str(told.cycles + 1)})

    monkeypatch.setattr(npu, "_read", one_more)
    with pytest.raises(HarnessError, match=r"Vela counts \d+ cycles for model\.tflite, but \d+ over its operators"):
        measured(path)


def test_without_vela_one_is_told_to_install_it(monkeypatch):
    for module in ("ethosu", "ethosu.vela"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HarnessError, match=r"pip install ethos-u-vela==5\.2\.0"):
        npu.device(parse("npu"))


def modules_after(code: str) -> Sequence[str]:
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return told.split()


def test_import_is_light():
    assert find("npu") is npu
    loaded = modules_after("import sys, mai_harness.backends.npu; print(*sys.modules)")
    assert "mai_harness.backends.npu" in loaded
    assert not {"ethosu", "tensorflow", "torch", "scipy", "ai_edge_litert"} & set(loaded)
