"""The phone backend: benchmark_model's logs, and the real adb against a stand-in for a phone on loopback."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from adb_device import AdbDevice, Benchmark, Phone

from mai_harness.backends import Choice, adb, parse
from mai_harness.backends.adb import DELEGATES, Finished
from mai_harness.errors import HarnessError
from mai_harness.records import Model
from mai_harness.timing import TimingPlan

LOGS = Path(__file__).parent / "data" / "benchmark_model"
INT8 = Path(adb.__file__).with_name("reference.tflite")
PROPERTIES = {
    "ro.product.manufacturer": "Xiaomi", "ro.product.model": "Mi 5", "ro.board.platform": "msm8996",
    "ro.hardware": "qcom", "ro.build.version.release": "8.0.0", "ro.build.id": "OPR1.170623.032",
    "ro.build.version.sdk": "26", "ro.product.cpu.abi": "arm64-v8a",
}  # fmt: skip
CPU, GPU, NNAPI = DELEGATES.values()
PLAN = TimingPlan(warmup=3, runs=6, seconds=60)


def log(name: str) -> str:
    return (LOGS / f"{name}.txt").read_text()


# Logs


def test_three_runs_are_told_one_by_one():
    assert adb.timed_ms(log("cpu")) == pytest.approx((67.620, 67.481, 67.733), abs=1e-3)
    assert adb.timed_ms(log("nnapi")) == pytest.approx((12.531, 12.793, 12.625), abs=1e-3)
    assert adb.first_ms(log("nnapi")) == 637.079


@pytest.mark.parametrize(
    ("told", "runs"),
    [
        ("count=1 curr=1381510 p5=1381510 median=1381510 p95=1381510", (1381.51,)),
        ("count=2 first=6449 curr=6510 min=6449 max=6510 avg=6479.5 std=30", (6.449, 6.51)),
        ("count=3 curr=30011(all same)", (30.011,) * 3),
        # Of long runs the mean is rounded, so that the middle one would be greater than the greatest.
        ("count=3 first=2345678 curr=2345677 min=2345677 max=2345679 avg=2.34568e+06 std=0",
         (2345.678, 2345.679, 2345.677)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("level", ["INFO: ", ""])
def test_runs_of_every_number_and_version(level, told, runs):
    assert adb.timed_ms(f"{level}count=8 first=9 curr=9 min=8 max=9 avg=8.5 std=1\n\n{level}{told}\n") == runs


def test_older_versions_are_read():
    assert adb.timed_ms(log("2020_gpu_profile")) == pytest.approx((38.325, 40.016, 37.863), abs=1e-3)
    assert adb.timed_ms(log("2019_cpu_profile")) == (79.449, 81.35)
    assert adb.refusal(GPU, Finished(0, log("2020_gpu_profile"))) == ""


@pytest.mark.parametrize(
    ("delegate", "code", "name", "reason"),
    [
        (CPU, 0, "cpu", ""),
        (GPU, 0, "gpu", ""),
        (GPU, 0, "gpu_fp32", ""),
        (NNAPI, 0, "nnapi", ""),
        (
            GPU,
            0,
            "gpu_none",
            "took none of the operators: ADD: OP is supported, but tensor type/shape isn't compatible",
        ),
        (GPU, 0, "silent", "GPU took none of the operators: GPU acceleration is unsupported on this platform."),
        (GPU, 0, "cpu", "GPU took none of the operators: the log does not say why"),
        (NNAPI, 0, "cpu", "NNAPI took none of the operators"),
        (GPU, 0, "nnapi", "GPU took none of the operators"),
        (NNAPI, 0, "nnapi_none", "NNAPI took none of the operators"),
        (NNAPI, 0, "nnapi_reference", "no accelerator on this phone, only its own CPU code, nnapi-reference"),
        (NNAPI, 0, "unknown_flag", "does not know --use_nnapi=true --disable_nnapi_cpu=true"),
        (GPU, 1, "gpu_failed", "failed: Can not open OpenCL library on this device"),
        (NNAPI, 139, "nnapi_crash", "crashed (SIGSEGV): Segmentation fault"),
        (CPU, 137, "litert_next", "crashed (SIGKILL)"),
    ],
)
def test_a_run_counts_only_if_its_delegate_took_part(delegate, code, name, reason):
    found = adb.refusal(delegate, Finished(code, log(name)))
    assert reason in found
    assert bool(found) == bool(reason)


def test_a_log_that_breaks_off_is_no_measurement():
    text = log("cpu")
    found = adb.refusal(
        CPU, Finished(0, text[: text.index("INFO: Running benchmark for at least 3 iterations and at least 0 s")])
    )
    assert "told no runs; its last words: INFO: count=8" in found


def test_runs_that_are_not_told_one_by_one_are_refused():
    with pytest.raises(adb._Refused, match="made 10 timed runs instead of 3"):
        adb.timed_ms(log("gpu_profile"))


def test_a_delegate_that_was_taken_back_took_no_part():
    text = log("gpu").replace("INFO: Created 1 GPU", "ERROR: Restored original execution plan\nINFO: Created 1 GPU")
    assert "took none" in adb.refusal(GPU, Finished(0, text))


def test_layers_of_xnnpack_are_those_inside_its_node():
    found = adb.layers(log("cpu_profile"), CPU)
    assert [(layer.name, layer.place) for layer in found[:2]] == [
        ("Convert (NC, QU8, QS8) 0", "XNNPACK"),
        ("Convolution (NHWC, QC8) IGEMM 1", "XNNPACK"),
    ]
    assert len(found) == 12
    assert sum(layer.ms for layer in found) == pytest.approx(67.967, abs=0.01)


def test_layers_of_a_graph_in_parts():
    found = adb.layers(log("gpu_profile"), GPU)
    assert [(layer.name, layer.place, layer.ms) for layer in found] == [
        ("Convert (NC, QU8, QS8) 0", "XNNPACK", 0.611),
        ("TfLiteGpuDelegateV2 12", "GPU delegate", 29.742),
        ("Convert (NC, QS8, QU8) 0", "XNNPACK", 2.187),
    ]
    assert [layer.place for layer in adb.layers(log("nnapi_profile"), NNAPI)] == ["NNAPI delegate"]


def test_layers_of_older_versions():
    assert [(layer.name, layer.place, layer.ms) for layer in adb.layers(log("2020_gpu_profile"), GPU)] == [
        ("QUANTIZE 0", "CPU", 1.713),
        ("TfLiteGpuDelegateV2 12", "GPU delegate", 34.317),
        ("QUANTIZE 11", "CPU", 2.398),
    ]
    assert [(layer.name, layer.ms) for layer in adb.layers(log("2019_cpu_profile"), CPU)] == [
        ("CONV_2D 0", 4.269),
        ("ADD 1", 2.15),
        ("DEPTH_TO_SPACE 2", 6.107),
    ]
    assert [(layer.name, layer.place) for layer in adb.layers(log("2022_cpu_profile"), CPU)] == [
        ("QUANTIZE 0", "CPU"),
        ("Convolution (NHWC, QC8) IGEMM 0", "XNNPACK"),
        ("Convolution (NHWC, QC8) IGEMM 1", "XNNPACK"),
        ("QUANTIZE 11", "CPU"),
    ]


def test_an_operator_that_is_called_often_counts_as_often():
    row = (
        "\t Convolution (NHWC, QC8) DWConv\t 0.428\t 0.051\t 4.317%\t 8.304%\t 0.000\t 13\tDelegate/Conv (NHWC, QC8):1"
    )
    text = log("cpu_profile").replace("\n\n===", f"\n{row}\n\n===")
    assert adb.layers(text, CPU)[-1].ms == pytest.approx(0.663)


def test_without_a_profile_there_are_no_layers():
    assert adb.layers(log("cpu"), CPU) == ()
    text = log("cpu_profile")
    assert adb.layers(text[: text.index("INFO: Operator-wise")], CPU) == ()


# Commands


def test_a_real_shell_runs_the_command(tmp_path):
    program = tmp_path / "benchmark_model"
    program.write_text('#!/bin/sh\necho "$@"; test "$(cat pid)" = $$ && exit 3\n')
    program.chmod(0o755)
    flags = ["--graph=0.tflite", "--input_layer=it's; $HOME"]
    done = subprocess.run(
        f"{adb.run_command(str(tmp_path), flags)} 2>&1; echo code=$?",
        shell=True, capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert done.stdout == "--graph=0.tflite --input_layer=it's; $HOME\ncode=3\n"


def test_the_photograph_is_fed_as_the_file_wants_it(tmp_path):
    frame = tmp_path / "frame.npy"
    pixels = np.arange(360 * 640 * 3).reshape(360, 640, 3).astype(np.uint8)
    np.save(frame, pixels)
    assert adb.photograph_bytes(str(frame), "uint8") == pixels.tobytes()
    int8 = np.frombuffer(adb.photograph_bytes(str(frame), "int8"), np.int8)
    assert np.array_equal(int8.astype(int) + 128, pixels.ravel())
    assert np.array_equal(np.frombuffer(adb.photograph_bytes(str(frame), "float32"), np.float32), pixels.ravel())
    flags, dtype = adb.input_flags(INT8, str(frame))
    assert dtype == "uint8"
    assert flags == (
        "--input_layer=input0", "--input_layer_shape=1,360,640,3", "--input_layer_value_files=input0:uint8"
    )  # fmt: skip
    assert adb.input_flags(INT8, "") == ((), "")


def test_a_file_of_free_size_is_given_the_frame(tmp_path):
    from mai_harness.tflite_graph import with_dynamic_frame

    free = tmp_path / "free.tflite"
    free.write_bytes(with_dynamic_frame(INT8.read_bytes()))
    assert adb.input_flags(free, "") == (("--input_layer=input0", "--input_layer_shape=1,360,640,3"), "")


# The client


@pytest.fixture
def binary(tmp_path) -> Path:
    path = tmp_path / "android_aarch64_benchmark_model"
    path.write_bytes(b"\x7fELF" + bytes(4096))
    return path


@pytest.fixture
def float32(tmp_path) -> Path:
    # Any TFLite file does: the stand-in does not run it.
    return Path(shutil.copy(INT8, tmp_path / "float32.tflite"))


def says(text: str, code: int | None = 0) -> adb.Runner:
    return lambda command, seconds: Finished(code, text)


@pytest.mark.parametrize(
    ("target", "listed", "reason"),
    [
        ("", "", "sees no phone: switch on USB debugging"),
        ("", "a1\tdevice\n127.0.0.1:5555\tdevice\n", "several phones: a1, 127.0.0.1:5555; choose one, as in adb:a1"),
        ("b2", "a1\tdevice\nc3\toffline\n", "no phone b2, of these: a1 (device), c3 (offline)"),
        ("a1", "a1\tunauthorized\n", "accept the dialog"),
        ("a1", "a1\toffline\n", "is offline"),
        (
            "a1",
            "a1\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://x]\n",
            "udev rules",
        ),
        ("a1", "a1\trecovery\n", "state 'recovery'"),
    ],
)
def test_phones_that_cannot_be_used_are_told(binary, target, listed, reason):
    choice = Choice(name="adb", target=target, options={"benchmark_model": str(binary)})
    with pytest.raises(HarnessError) as told:
        adb.device(choice, says(f"* daemon started successfully\nList of devices attached\n{listed}\n"))
    assert reason in str(told.value)


def test_an_adb_that_is_not_there_or_fails_is_told(binary):
    missing = Choice(name="adb", options={"benchmark_model": str(binary), "adb": "/no/such/adb"})
    with pytest.raises(HarnessError, match=r"/no/such/adb cannot be run .*apt install adb"):
        adb.device(missing)
    with pytest.raises(HarnessError, match="does not list its phones; it said: error: cannot connect to daemon"):
        adb.device(
            Choice(name="adb", options={"benchmark_model": str(binary)}), says("error: cannot connect to daemon", 1)
        )


def test_options_are_checked_before_the_phone(binary, tmp_path, monkeypatch):
    def unused(command: Sequence[str], seconds: float) -> Finished:
        raise AssertionError(command)

    with pytest.raises(HarnessError, match=r"download .*android_aarch64_benchmark_model.*adb:a1,benchmark_model="):
        adb.device(parse("adb:a1"), unused)
    with pytest.raises(HarnessError, match="there is no such file"):
        adb.device(parse("adb,benchmark_model=/no/such/file"), unused)
    with pytest.raises(HarnessError, match="no delegate 'npu'; choose from cpu, gpu, nnapi"):
        adb.device(parse(f"adb,benchmark_model={binary},delegate=npu"), unused)
    with pytest.raises(HarnessError, match="no option 'theads'"):
        adb.device(parse(f"adb,benchmark_model={binary},theads=4"), unused)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match=f"give {binary}"):
        adb.device(parse(f"adb,benchmark_model={binary.name}"), unused)


# The real client


class Server:
    """An adb server of the tests' own, which sees no USB and no emulators."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        own = {"HOME": str(home), "ANDROID_ADB_SERVER_PORT": str(port), "ANDROID_ADB_LOG_PATH": str(home / "adb.log")}
        self.environment = {**own, "ADB_USB": "0", "ADB_MDNS": "0", "ADB_EMU": "0"}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["adb", *arguments],
            env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    if shutil.which("adb") is None:
        pytest.skip("needs adb: apt install adb")
    server = Server(tmp_path_factory.mktemp("home"))
    yield server
    server("kill-server")


def replay(**named: str) -> Benchmark:
    """benchmark_model that writes the log of that name for each delegate, a pair of exit code and name, or a name."""

    def run(flags: list[str]) -> tuple[int, str]:
        delegate = next((key for key in ("gpu", "nnapi") if f"--use_{key}=true" in flags), "cpu")
        code, _, name = named.get(delegate, delegate).rpartition(" ")
        profiled = LOGS / f"{name}_profile.txt"
        if "--enable_op_profiling=true" in flags and profiled.exists():
            return int(code or 0), profiled.read_text()
        return int(code or 0), log(name)

    return run


@pytest.fixture
def attach(server, binary, monkeypatch):
    for key, value in server.environment.items():
        monkeypatch.setenv(key, value)
    devices: list[AdbDevice] = []

    def connect(options: str = "", **phone: object) -> tuple[Phone, Choice]:
        made = Phone(**{"properties": PROPERTIES, "benchmark": replay(), **phone})
        devices.append(AdbDevice(made))
        server("connect", devices[-1].serial)
        return made, parse(f"adb:{devices[-1].serial},benchmark_model={binary}{options}")

    yield connect
    for each in devices:
        server("disconnect", each.serial)
        each.close()


def test_device(attach):
    _, choice = attach()
    told = adb.device(choice)
    assert told.startswith(
        f"Xiaomi Mi 5 (msm8996), Android 8.0.0 OPR1.170623.032, serial {choice.target}, benchmark_model "
    )
    assert adb.device(choice) == told


def test_a_newer_phone_tells_its_soc_and_keeps_nnapi_from_the_cpu(attach):
    newer = {**PROPERTIES, "ro.soc.model": "SM8650", "ro.build.version.sdk": "34"}
    _, choice = attach(",delegate=nnapi", properties=newer)
    report = adb.measure(choice, Model(static=str(INT8)), PLAN).reports[0]
    assert "(SM8650)" in report.device
    assert "may have used the CPU" not in report.how


def test_a_single_phone_needs_no_serial(attach):
    _, choice = attach()
    alone = Choice(name="adb", options=choice.options)
    assert choice.target in adb.device(alone)


@pytest.mark.parametrize("modern", [False, True], ids=["shell", "shell,v2"])
def test_measure_all_delegates(attach, float32, modern):
    phone, choice = attach(modern=modern)
    told = adb.measure(choice, Model(static=str(INT8), float32=str(float32)), PLAN)
    assert told.backend == str(choice)
    assert [(report.precision, report.backend.rpartition("=")[2]) for report in told.reports] == [
        ("int8", "cpu"), ("int8", "gpu"), ("int8", "nnapi"), ("fp32", "cpu"), ("fp32", "gpu"),
    ]  # fmt: skip
    cpu, gpu, nnapi, *_ = told.reports
    assert cpu.samples_ms == pytest.approx((67.620, 67.481, 67.733) * 2, abs=1e-3)
    assert cpu.latency_ms == pytest.approx(67.620, abs=1e-3)
    assert cpu.warmup_ms == (91.32, 91.32)
    assert cpu.threads == 1
    assert cpu.device == adb.device(choice)
    assert cpu.versions["android"] == "8.0.0 OPR1.170623.032"
    assert "2 starts of benchmark_model" in cpu.how
    assert "XNNPACK took 12 of 12 operators" in cpu.how
    assert "the GPU delegate took 10 of 12 operators; the GPU may compute in half precision" in gpu.how
    assert "accelerators qti-default,qti-dsp" in nnapi.how
    assert "before Android 10" in nnapi.how
    assert len(cpu.layers) == 12
    assert "profile" in cpu.layers_how
    assert [layer.place for layer in gpu.layers] == ["XNNPACK", "GPU delegate", "XNNPACK"]
    assert told.refusals == tuple(
        f"{precision} on GPU: 2 of 12 operators ran on the CPU: QUANTIZE: Operation is not supported."
        for precision in ("int8", "fp32")
    )
    assert phone.left_behind() == []


def test_what_the_phone_is_asked_to_run(attach, tmp_path):
    np.save(tmp_path / "frame.npy", np.zeros((360, 640, 3), np.uint8))
    phone, choice = attach(",delegate=nnapi")
    plan = TimingPlan(warmup=4, runs=3, seconds=7.5, threads=(2, 4), frame=str(tmp_path / "frame.npy"))
    report = adb.measure(choice, Model(static=str(INT8)), plan).reports[0]
    timed, profiled = phone.starts
    assert timed == [
        "--graph=0.tflite", "--num_threads=2", "--num_runs=3", "--min_secs=0", "--max_secs=7.5", "--warmup_runs=4",
        "--warmup_min_secs=0.5", "--input_layer=input0", "--input_layer_shape=1,360,640,3",
        "--input_layer_value_files=input0:uint8", "--use_nnapi=true", "--disable_nnapi_cpu=true",
    ]  # fmt: skip
    assert {"--num_runs=10", "--enable_op_profiling=true"} <= set(profiled)
    assert report.threads == 2
    assert phone.left_behind() == []


def test_the_files_arrive_as_they_are(attach, binary):
    there: dict[str, bytes] = {}
    run = replay()

    def look(flags: list[str]) -> tuple[int, str]:
        there.update({path.rpartition("/")[2]: content for path, content in phone.files.items()})
        return run(flags)

    phone, choice = attach(",delegate=cpu", benchmark=look)
    adb.measure(choice, Model(static=str(INT8)), PLAN)
    assert there == {"benchmark_model": binary.read_bytes(), "0.tflite": INT8.read_bytes(), "pid": b"4711\n"}


def test_the_cpu_runs_on_each_number_of_threads(attach):
    phone, choice = attach()
    plan = TimingPlan(runs=3, threads=(1, 4))
    told = adb.measure(choice, Model(static=str(INT8)), plan)
    assert [(report.backend.rpartition("=")[2], report.threads) for report in told.reports] == [
        ("cpu", 1), ("cpu", 4), ("gpu", 1), ("nnapi", 1),
    ]  # fmt: skip
    assert sum("--num_threads=4" in flags for flags in phone.starts) == 2


@pytest.mark.parametrize(
    ("logs", "reason"),
    [
        ({"gpu": "gpu_none"}, "int8 on GPU: GPU took none of the operators: ADD: OP is supported"),
        ({"gpu": "1 gpu_failed"}, "int8 on GPU: benchmark_model failed: Can not open OpenCL library"),
        ({"gpu": "silent"}, "int8 on GPU: GPU took none of the operators"),
        ({"nnapi": "nnapi_reference"}, "int8 on NNAPI: NNAPI has no accelerator on this phone"),
        ({"nnapi": "139 nnapi_crash"}, "int8 on NNAPI: benchmark_model crashed (SIGSEGV)"),
        ({"nnapi": "unknown_flag"}, "int8 on NNAPI: this benchmark_model does not know --use_nnapi=true"),
    ],
)
def test_a_delegate_that_refuses_is_told_and_has_no_figures(attach, logs, reason):
    phone, choice = attach(benchmark=replay(**logs))
    told = adb.measure(choice, Model(static=str(INT8)), TimingPlan(runs=3))
    assert [each for each in told.refusals if each.startswith(reason)]
    assert [report.backend.rpartition("=")[2] for report in told.reports] == [
        key for key in DELEGATES if key not in logs
    ]
    assert phone.left_behind() == []


def test_where_all_refuse_there_is_an_error(attach):
    phone, choice = attach(",delegate=gpu", benchmark=replay(gpu="1 gpu_failed"))
    with pytest.raises(HarnessError, match=r"Xiaomi Mi 5.* runs none of it: int8 on GPU: benchmark_model failed"):
        adb.measure(choice, Model(static=str(INT8)), PLAN)
    assert phone.left_behind() == []


def test_a_profile_that_fails_costs_the_layers_alone(attach):
    run = replay()
    _, choice = attach(
        ",delegate=cpu",
        benchmark=lambda flags: (134, "Aborted") if "--enable_op_profiling=true" in flags else run(flags),
    )
    told = adb.measure(choice, Model(static=str(INT8)), PLAN)
    assert told.reports[0].layers == ()
    assert told.reports[0].layers_how == ""
    assert len(told.reports[0].samples_ms) == 6


def test_compare_runs_in_turns(attach, float32):
    phone, choice = attach(",delegate=gpu")
    told = adb.compare(choice, [str(INT8), str(float32)], PLAN)
    assert [flags[0] for flags in phone.starts] == ["--graph=0.tflite", "--graph=1.tflite"] * 2
    assert all("--use_gpu=true" in flags for flags in phone.starts)
    assert [len(report.samples_ms) for report in told] == [6, 6]
    assert [report.precision for report in told] == ["int8", "int8"]
    assert [report.layers for report in told] == [(), ()]
    assert phone.left_behind() == []


def test_compare_pairs_runs_of_a_file_that_is_too_slow_for_all(attach, float32):
    def run(flags: list[str]) -> tuple[int, str]:
        text = log("cpu")
        if "--graph=1.tflite" not in flags:
            return 0, text
        told = next(line for line in text.splitlines() if "count=3" in line)
        return 0, text.replace(told, "INFO: count=1 curr=40000000 p5=40000000 median=40000000 p95=40000000")

    _, choice = attach(benchmark=run)
    fast, slow = adb.compare(choice, [str(INT8), str(float32)], PLAN)
    assert fast.samples_ms == (67.62, 67.62)
    assert slow.samples_ms == (40000.0, 40000.0)


def test_compare_raises_where_measure_refuses(attach, float32):
    _, choice = attach(",delegate=nnapi", benchmark=replay(nnapi="nnapi_none"))
    with pytest.raises(HarnessError, match="NNAPI: NNAPI took none of the operators"):
        adb.compare(choice, [str(INT8), str(float32)], PLAN)


def test_slow_models_get_fewer_starts(attach):
    phone, choice = attach(",delegate=cpu")
    told = adb.compare(choice, [str(INT8)], TimingPlan(runs=300, seconds=0.0))
    assert len(phone.starts) == adb.FEWEST_STARTS
    assert len(told[0].samples_ms) == 6


def test_a_phone_that_does_not_trust_this_computer_is_told(attach):
    _, choice = attach(unauthorised=True)
    with pytest.raises(HarnessError, match="does not trust this computer: unlock it and accept the dialog"):
        adb.device(choice)


@pytest.mark.parametrize("modern", [False, True], ids=["shell", "shell,v2"])
def test_a_phone_that_was_unplugged_is_told(attach, modern):
    _, choice = attach(vanish=True, modern=modern)
    with pytest.raises(HarnessError, match=f"the phone {choice.target} went away"):
        adb.measure(choice, Model(static=str(INT8)), PLAN)
    with pytest.raises(HarnessError, match=r"is offline|sees no phone"):
        adb.device(choice)


def test_a_phone_without_space_is_told(attach):
    phone, choice = attach(free_bytes=5000)
    with pytest.raises(HarnessError, match=r"no space in /data/local/tmp for reference.tflite, 0.1 MB"):
        adb.measure(choice, Model(static=str(INT8)), PLAN)
    assert phone.left_behind() == []


def test_a_binary_for_another_processor_is_told(attach):
    phone, choice = attach(executable=False)
    with pytest.raises(
        HarnessError, match=r"for another processor \(.*not executable: 64-bit ELF file\); .* arm64-v8a"
    ):
        adb.measure(choice, Model(static=str(INT8)), PLAN)
    assert phone.left_behind() == []


def test_another_program_of_that_name_is_told(attach):
    _, choice = attach(benchmark=replay(cpu="litert_next"))
    with pytest.raises(HarnessError, match="LiteRT's for its CompiledModel; take TensorFlow Lite's"):
        adb.measure(choice, Model(static=str(INT8)), PLAN)


def test_a_benchmark_that_hangs_is_killed_and_told(attach, monkeypatch):
    monkeypatch.setattr(adb, "INIT_S", 0.5)
    phone, choice = attach(",delegate=cpu", hang_s=60.0)
    with pytest.raises(HarnessError, match=r"did not end within 0\.5 s"):
        adb.measure(choice, Model(static=str(INT8)), TimingPlan(runs=3, seconds=0.0))
    assert any("kill -9" in command for command in phone.commands)
    assert phone.left_behind() == []


def test_interrupted_by_its_user_it_leaves_nothing_on_the_phone(attach):
    phone, choice = attach()

    def interrupted(command: Sequence[str], seconds: float) -> Finished:
        if "./benchmark_model" in command[-1]:
            assert phone.left_behind()
            raise KeyboardInterrupt
        return adb.run_process(command, seconds)

    with pytest.raises(KeyboardInterrupt):
        adb.measure(choice, Model(static=str(INT8)), PLAN, interrupted)
    assert phone.left_behind() == []


def test_a_model_that_is_no_tflite_file_never_reaches_the_phone(attach, tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"nothing")
    phone, choice = attach()
    with pytest.raises(HarnessError, match="is no TFLite file"):
        adb.measure(choice, Model(static=str(tmp_path / "broken.tflite")), PLAN)
    assert phone.files == {}
