"""An Android phone: TensorFlow Lite's benchmark_model over adb, on its CPU, GPU and NNAPI.

Formats are those of tensorflow/lite/tools/benchmark, .../delegates, .../profiling and xla/tsl/util/stats_calculator;
``tests/data/benchmark_model/README.md`` names the versions. A delegate counts only if the log says that it took part.
"""

import contextlib
import hashlib
import math
import re
import secrets
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mai_harness.backends import Choice
from mai_harness.errors import HarnessError
from mai_harness.records import LR_FRAME, BackendReport, LatencyReport, Layer, Model, Precision
from mai_harness.tflite_graph import filled, precision, read_graph
from mai_harness.timing import TimingPlan

LOCAL = False
RUNS_A_START = 3  # benchmark_model tells first, last and mean of its runs; of three these give each
FEWEST_STARTS = 2  # however long they take
PROFILED_RUNS = 10
COMMAND_S, PUSH_S = 30.0, 300.0
INIT_S = 120.0  # a GPU compiles its kernels first
WARMUP_S = 0.5  # at least, for the clocks to rise; benchmark_model's default
NNAPI_TELLS_SDK = 29  # from Android 10 on, NNAPI can be kept from its own CPU code
PHONE_FOLDER = "/data/local/tmp"
DOWNLOAD = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/"
    "android_aarch64_benchmark_model"
)
_MARK = "mai_harness_exit="
_OPTIONS = ("benchmark_model", "delegate", "adb")
_LAYERS_HOW = f"measured: benchmark_model's own profile, mean of {PROFILED_RUNS} runs that are not in the samples"
_MODELS, _BINARY = "{}.tflite", "benchmark_model"


class Finished(NamedTuple):
    """How a program ended."""

    code: int | None  #: ``None`` if it was stopped because its time was over
    text: str  #: both of its outputs


Runner = Callable[[Sequence[str], float], Finished]  #: runs a command for at most so many seconds


def run_process(command: Sequence[str], seconds: float) -> Finished:
    """The command on this machine, with this process's environment."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return Finished(None, _text(late.output or b""))
    return Finished(done.returncode, _text(done.stdout))


def device(choice: Choice, runner: Runner = run_process) -> str:
    """Phone, SoC, Android, serial number, and which benchmark_model.

    Raises:
        HarnessError: no benchmark_model was given, or the phone cannot be reached.
    """
    setup = _setup(choice)
    return _describe(_find_phone(setup, runner), setup)


def measure(choice: Choice, model: Model, plan: TimingPlan, runner: Runner = run_process) -> BackendReport:
    """INT8 on each delegate, the float twin on CPU and GPU; the CPU on each number of threads.

    Raises:
        HarnessError: the phone cannot be reached or went away, or every delegate refuses.
    """
    setup = _setup(choice)
    jobs = _jobs(setup, model, plan)
    reports: list[LatencyReport] = []
    refusals: list[str] = []
    with _on_phone(_find_phone(setup, runner), setup, [job.path for job in jobs], plan) as bench:
        for job in jobs:
            try:
                logs = _in_turns(bench, [job], plan)[0]
                samples = _samples([logs])[0]
                reports.append(_report(choice, bench, job, logs, samples, _layers(bench, job, plan)))
                refusals += [f"{job}: {left}" for left in [_left_over(job.delegate, logs[0])] if left]
            except _Refused as refused:
                refusals.append(f"{job}: {refused}")
    if not reports:
        raise HarnessError(f"{bench.phone.name} runs none of it: {'; '.join(refusals)}")
    return BackendReport(backend=str(choice), reports=tuple(reports), refusals=tuple(refusals))


def compare(
    choice: Choice, paths: Sequence[str], plan: TimingPlan, runner: Runner = run_process
) -> tuple[LatencyReport, ...]:
    """Every file is started once a round, on the chosen delegate or else the CPU; a round gives each three samples.

    Raises:
        HarnessError: the phone cannot be reached or went away, or a file does not run there.
    """
    setup = _setup(choice)
    delegate = setup.delegates[0]
    jobs = [_Job(precision(read_graph(Path(path))), delegate, plan.threads[0], path) for path in paths]
    with _on_phone(_find_phone(setup, runner), setup, paths, plan) as bench:
        try:
            logs = _in_turns(bench, jobs, plan)
            each = zip(jobs, logs, _samples(logs), strict=True)
            return tuple(_report(choice, bench, job, own, samples) for job, own, samples in each)
        except _Refused as refused:
            raise HarnessError(f"{bench.phone.name}, {delegate.label}: {refused}") from None


class _Refused(Exception):
    """A delegate does not run this model; the reason."""


class Delegate(NamedTuple):
    """Where benchmark_model can run a model."""

    label: str  #: as its log has it
    flags: tuple[str, ...]
    node: str  #: beginning of the name of the node that stands for all that it took


DELEGATES = {
    # Without flags TensorFlow Lite applies XNNPACK by itself, as in an app.
    "cpu": Delegate("CPU", (), "TfLiteXNNPackDelegate"),
    "gpu": Delegate("GPU", ("--use_gpu=true",), "TfLiteGpuDelegate"),
    "nnapi": Delegate("NNAPI", ("--use_nnapi=true", "--disable_nnapi_cpu=true"), "TfLiteNnapiDelegate"),
}


class _Setup(NamedTuple):
    serial: str
    binary: Path
    identity: str  #: of the binary: latencies depend on its version, which it does not tell
    delegates: tuple[Delegate, ...]
    adb: str


def _setup(choice: Choice) -> _Setup:
    choice.refuse_unknown_options(_OPTIONS)
    named = choice.options.get("delegate")
    if named is not None and named not in DELEGATES:
        raise HarnessError(f"the backend adb has no delegate {named!r}; choose from {', '.join(DELEGATES)}, or none")
    delegates = (DELEGATES[named],) if named else tuple(DELEGATES.values())
    binary = _binary(choice)
    with binary.open("rb") as file:
        identity = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    return _Setup(choice.target, binary, identity, delegates, choice.options.get("adb", "adb"))


def _binary(choice: Choice) -> Path:
    given = choice.options.get("benchmark_model")
    if not given:
        raise HarnessError(
            "the backend adb needs TensorFlow Lite's benchmark_model for Android: download the one for 64-bit ARM from "
            f"{DOWNLOAD}, or build it (bazel build -c opt --config=android_arm64 "
            "//tensorflow/lite/tools/benchmark:benchmark_model), and give it as "
            f"{choice},benchmark_model=/path/to/android_aarch64_benchmark_model"
        )
    path = Path(given).expanduser()
    if not path.is_file():
        raise HarnessError(f"benchmark_model={given}: there is no such file; it is to be had from {DOWNLOAD}")
    if not path.is_absolute():
        raise HarnessError(f"benchmark_model={given}: stages run in folders of their own; give {path.resolve()}")
    return path


class _Job(NamedTuple):
    precision: Precision
    delegate: Delegate
    threads: int
    path: str

    def __str__(self) -> str:
        threads = f" with {self.threads} threads" if self.delegate.label == "CPU" and self.threads > 1 else ""
        return f"{self.precision} on {self.delegate.label}{threads}"


def _jobs(setup: _Setup, model: Model, plan: TimingPlan) -> list[_Job]:
    files: list[tuple[Precision, str | None]] = [("int8", model.static), ("fp32", model.float32)]
    return [
        _Job(precision, delegate, threads, path)
        for precision, path in files
        for delegate in setup.delegates
        # NNAPI is for INT8 here; and only the CPU has a use for more threads.
        if path and not (precision == "fp32" and delegate.label == "NNAPI")
        for threads in (plan.threads if delegate.label == "CPU" else plan.threads[:1])
    ]


# The phone


class _Phone:
    """One phone, over adb."""

    def __init__(self, adb: str, serial: str, runner: Runner) -> None:
        self._command, self.serial, self._runner = (adb, "-s", serial), serial, runner
        self.properties = dict(re.findall(r"^\[(.+?)\]: \[(.*)\]$", self.shell("getprop"), _LINES))

    @property
    def name(self) -> str:
        maker, model = self._known("ro.product.manufacturer"), self._known("ro.product.model")
        chip = self._known("ro.soc.model", "ro.board.platform", "ro.hardware")
        return f"{maker} {model} ({chip}), Android {self.android}, serial {self.serial}"

    @property
    def android(self) -> str:
        """Version and build: drivers change with the build."""
        return f"{self._known('ro.build.version.release')} {self._known('ro.build.id')}"

    @property
    def sdk(self) -> int:
        """Android's API level; 0 if unknown."""
        level = self._known("ro.build.version.sdk")
        return int(level) if level.isdecimal() else 0

    @property
    def abi(self) -> str:
        return self._known("ro.product.cpu.abi")

    def _known(self, *keys: str) -> str:
        return next((self.properties[key] for key in keys if self.properties.get(key)), "unknown")

    def call(self, arguments: Sequence[str], seconds: float) -> Finished:
        return _call(self._runner, [*self._command, *arguments], seconds)

    def run(self, command: str, seconds: float) -> Finished:
        """A command on the phone: its exit code, which old phones' adb does not pass on, and what it wrote."""
        done = self.call(["shell", f"{command} 2>&1; echo {_MARK}$?"], seconds)
        if done.code is None:
            return done
        text, mark, code = done.text.rpartition(_MARK)
        if not mark or not code.strip().isdecimal():
            raise HarnessError(f"the phone {self.serial} went away; adb said: {_complaint(done.text)}")
        return Finished(int(code), text)

    def shell(self, command: str) -> str:
        """What a short command wrote.

        Raises:
            HarnessError: it failed, or took too long.
        """
        done = self.run(command, COMMAND_S)
        if done.code is None:
            raise HarnessError(f"the phone {self.serial} has not answered for {COMMAND_S:g} s; unlock or replug it")
        if done.code:
            raise HarnessError(f"the phone {self.serial} refuses {command!r}: {_last(done.text)}")
        return done.text

    def push(self, path: Path, remote: str) -> None:
        done = self.call(["push", str(path), remote], PUSH_S)
        if done.code == 0:
            return
        if "No space left" in done.text:
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            raise HarnessError(f"the phone {self.serial} has no space in {PHONE_FOLDER} for {path.name}, {size}")
        why = f"it took longer than {PUSH_S:g} s" if done.code is None else f"adb said: {_complaint(done.text)}"
        raise HarnessError(f"{path.name} cannot be copied to the phone {self.serial}; {why}")

    def push_bytes(self, content: bytes, remote: str) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self.push(Path(file.name), remote)


def _call(runner: Runner, command: Sequence[str], seconds: float) -> Finished:
    try:
        done = runner(command, seconds)
    except OSError as error:
        raise HarnessError(
            f"{command[0]} cannot be run ({error.strerror or error}); install it (apt install adb, or Android's "
            "platform-tools) or give its path as adb=/path/to/adb"
        ) from None
    return Finished(done.code, done.text.replace("\r", ""))


def _find_phone(setup: _Setup, runner: Runner) -> _Phone:
    done = _call(runner, [setup.adb, "devices"], COMMAND_S)
    if done.code != 0:
        raise HarnessError(f"adb does not list its phones; it said: {_last(done.text)}")
    seen = dict(re.findall(r"^(\S+)\t(.+)$", done.text, _LINES))
    serial = setup.serial or _only(seen)
    if serial not in seen:
        there = ", ".join(f"{each} ({state})" for each, state in seen.items()) or "none"
        raise HarnessError(f"adb sees no phone {serial}, of these: {there}. Plug it in, or: adb connect {serial}")
    if seen[serial] != "device":
        raise HarnessError(f"the phone {serial} {_trouble(seen[serial])}")
    return _Phone(setup.adb, serial, runner)


def _only(seen: dict[str, str]) -> str:
    if not seen:
        raise HarnessError(
            "adb sees no phone: switch on USB debugging in its developer options and plug it in, or adb connect "
            "HOST:PORT; adb devices must list it"
        )
    if len(seen) > 1:
        raise HarnessError(f"adb sees several phones: {', '.join(seen)}; choose one, as in adb:{next(iter(seen))}")
    return next(iter(seen))


def _trouble(state: str) -> str:
    if state in ("unauthorized", "authorizing"):
        return (
            "does not trust this computer: unlock it and accept the dialog 'Allow USB debugging?'; if there is none, "
            "run adb kill-server and plug it in again"
        )
    if state == "offline":
        return "is offline: unlock it and plug it in again, or: adb reconnect offline"
    if state.startswith("no permissions"):
        return (
            f"may not be opened by this user ({state}): install its udev rules (apt install "
            "android-sdk-platform-tools-common), join the group plugdev, and plug it in again"
        )
    return f"is in the state {state!r}; start Android on it"


def _describe(phone: _Phone, setup: _Setup) -> str:
    return f"{phone.name}, benchmark_model {setup.identity}"


# One run of benchmark_model


class _Bench(NamedTuple):
    """A folder on the phone with the binary, the models and their inputs."""

    phone: _Phone
    setup: _Setup
    folder: str
    seconds: float  #: limit of warm-up and of timed runs
    inputs: dict[str, tuple[str, ...]]  #: local path of a model -> the flags that say what to feed it

    def run(self, job: _Job, plan: TimingPlan, *, profile: bool = False) -> str:
        """What benchmark_model wrote.

        Raises:
            _Refused: it failed, or did not use the delegate.
            HarnessError: the phone went away, or cannot run the binary at all.
        """
        command = run_command(self.folder, [*self._flags(job, plan, profile), *job.delegate.flags])
        try:
            done = self.phone.run(command, INIT_S + 3 * self.seconds)
        except KeyboardInterrupt:
            self.stop()
            raise
        if done.code is None:
            self.stop()
            raise _Refused(f"benchmark_model did not end within {INIT_S + 3 * self.seconds:g} s")
        if "not executable" in done.text:
            found = f"is for another processor ({_last(done.text)}); the phone's is {self.phone.abi}"
            raise HarnessError(f"benchmark_model={self.setup.binary} {found}")
        if _LITERT_NEXT in done.text:
            found = "is LiteRT's for its CompiledModel; take TensorFlow Lite's for the Interpreter, from"
            raise HarnessError(f"benchmark_model={self.setup.binary} {found} {DOWNLOAD}")
        reason = refusal(job.delegate, done)
        if reason:
            raise _Refused(reason)
        return done.text

    def stop(self) -> None:
        """Kill the benchmark_model that is still at work; that the phone went away is told."""
        self.phone.shell(f"kill -9 $(cat {self.folder}/pid) 2>/dev/null; true")

    def _flags(self, job: _Job, plan: TimingPlan, profile: bool) -> list[str]:
        return [
            f"--graph={_MODELS.format(list(self.inputs).index(job.path))}",
            f"--num_threads={job.threads}",
            f"--num_runs={PROFILED_RUNS if profile else min(RUNS_A_START, plan.runs)}",
            "--min_secs=0",
            f"--max_secs={self.seconds:g}",
            f"--warmup_runs={plan.warmup}",
            f"--warmup_min_secs={WARMUP_S}",
            *self.inputs[job.path],
            *(["--enable_op_profiling=true"] if profile else []),
        ]


def run_command(folder: str, flags: Sequence[str]) -> str:
    """Shell command that starts benchmark_model in its folder and leaves its process's number there meanwhile."""
    script = f"echo $$ > pid; exec ./{_BINARY} {shlex.join(flags)}"
    return f"cd {folder} && sh -c {shlex.quote(script)}"


@contextlib.contextmanager
def _on_phone(phone: _Phone, setup: _Setup, paths: Sequence[str], plan: TimingPlan) -> Iterator[_Bench]:
    """A folder of its own on the phone, which is gone afterwards whatever happens."""
    folder = f"{PHONE_FOLDER}/mai_harness-{secrets.token_hex(4)}"
    fed = {path: input_flags(Path(path), plan.frame) for path in paths}
    try:
        phone.shell(f"mkdir {folder}")
        phone.push(setup.binary, f"{folder}/{_BINARY}")
        phone.shell(f"chmod 755 {folder}/{_BINARY}")
        for number, path in enumerate(fed):
            phone.push(Path(path), f"{folder}/{_MODELS.format(number)}")
        for dtype in {dtype for _, dtype in fed.values() if dtype}:
            phone.push_bytes(photograph_bytes(plan.frame, dtype), f"{folder}/{dtype}")
        yield _Bench(phone, setup, folder, plan.seconds, {path: flags for path, (flags, _) in fed.items()})
    finally:
        # Of a phone that went away the first error is told, not that it cannot be tidied either.
        with contextlib.suppress(HarnessError):
            phone.shell(f"rm -rf {folder}")


def input_flags(path: Path, frame: str) -> tuple[tuple[str, ...], str]:
    """Flags that give a file of free size its frame and a frame's network the photograph; and the latter's dtype.

    Otherwise benchmark_model takes the file's own shapes and random values.
    """
    graph = read_graph(path)
    tensors = [graph.tensors[index] for index in graph.inputs]
    shapes = [filled(tensor.shape_signature) for tensor in tensors]
    photograph = frame and shapes == [(1, *LR_FRAME, 3)]
    if not photograph and shapes == [tensor.shape_signature for tensor in tensors]:
        return (), ""
    # The names need not be the file's, which may hold the flags' own separators.
    names = [f"input{number}" for number in range(len(shapes))]
    sizes = ":".join(",".join(map(str, shape)) for shape in shapes)
    flags = (f"--input_layer={','.join(names)}", f"--input_layer_shape={sizes}")
    if not photograph:
        return flags, ""
    return (*flags, f"--input_layer_value_files={names[0]}:{tensors[0].dtype}"), tensors[0].dtype


def photograph_bytes(frame: str, dtype: str) -> bytes:
    """The photograph's pixels as an input of that dtype, in which [0, 255] is the whole range of INT8."""
    import numpy as np

    pixels = np.load(frame).astype(np.int16) - (128 if dtype == "int8" else 0)
    return bytes(pixels.astype(dtype).tobytes())


# What benchmark_model writes

_LINES = re.MULTILINE
_STAT = re.compile(
    r"^(?:INFO: )?count=(\d+)(?: first=(\d+))? curr=(\d+)(?:\(all same\))?(?: min=(\d+) max=(\d+) avg=([\d.e+]+))?",
    _LINES,
)
_TAKEN = re.compile(r"Replacing (\d+)(?: out of (\d+))? node\(s\) with delegate \((\w+)\) node, yielding")
_APPLIED = r"[Aa]pplied {} delegate, and the model graph will be (completely|partially) executed"
_LITERT_NEXT = "benchmark_litert_model"
# Type, start (not in newer versions), first, mean in ms, share, shares so far, memory, calls a run, name.
_ROW = re.compile(
    r"\s*(?P<type>\S.*?)(?:\s+[\d.]+){1,2}\s+(?P<each>[\d.]+)\s+\S+%\s+\S+%\s+[\d.]+\s+(?P<times>\d+)\s+(?P<name>\S.*)"
)
_PROFILE = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_INIT_PROFILE = "Profiling Info for Benchmark Initialization:"


def refusal(delegate: Delegate, done: Finished) -> str:
    """Why this run is none of that delegate's; empty if it is one."""
    text = done.text
    if done.code and done.code > 128:
        return f"benchmark_model crashed ({_signal(done.code - 128)}): {_last(text)}"
    if done.code:
        return f"benchmark_model failed: {_errors(text) or _last(text)}"
    unknown = re.search(r"Unconsumed cmdline flags: (.*)", text)
    if unknown:
        return f"this benchmark_model does not know {unknown[1]}; take another version of it"
    if len(_STAT.findall(text)) < 2:
        return f"benchmark_model told no runs; its last words: {_last(text)}"
    if _accelerators(text) == "nnapi-reference":
        return "NNAPI has no accelerator on this phone, only its own CPU code, nnapi-reference"
    if delegate.flags and not _took_part(delegate, text):
        return f"{delegate.label} took none of the operators: {_errors(text) or 'the log does not say why'}"
    return ""


def _accelerators(text: str) -> str:
    found = re.search(r"NNAPI accelerators available: \[(.*)\]", text)
    return found[1] if found else ""


def _took_part(delegate: Delegate, text: str) -> bool:
    if "Restored original execution plan" in text or f"Though {delegate.label} delegate is explicitly" in text:
        return False
    return bool(_taken(delegate, text)[0] or re.search(_APPLIED.format(delegate.label), text))


def _left_over(delegate: Delegate, text: str) -> str:
    """What the delegate left to the CPU, if it took part."""
    taken, total = _taken(delegate, text)
    if not delegate.flags or total is None or taken == total:
        return ""
    return f"{total - taken} of {total} operators ran on the CPU: {_errors(text) or 'the log does not say why'}"


def _taken(delegate: Delegate, text: str) -> tuple[int, int | None]:
    """How many operators the delegate took, of how many; old versions do not tell of how many, or nothing."""
    for taken, total, node in _TAKEN.findall(text):
        if node.startswith(delegate.node):
            return int(taken), int(total) if total else None
    return 0, None


def timed_ms(text: str) -> tuple[float, ...]:
    """Each timed run of a log, in ms.

    Raises:
        _Refused: there are more than the log tells one by one.
    """
    count, first, last, least, most, mean = _STAT.findall(text)[1]
    runs = int(count)
    if not first:  # one run, or all took the same
        return (int(last) / 1e3,) * runs
    if runs == 2:
        return int(first) / 1e3, int(last) / 1e3
    if runs > RUNS_A_START:
        raise _Refused(f"this benchmark_model made {runs} timed runs instead of {RUNS_A_START}; take another version")
    middle = runs * float(mean) - int(first) - int(last)
    # The mean has six digits, least and greatest have all.
    return int(first) / 1e3, min(max(middle, int(least)), int(most)) / 1e3, int(last) / 1e3


def first_ms(text: str) -> float:
    """The first run of the warm-up, in ms."""
    _, first, last, *_ = _STAT.findall(text)[0]
    return int(first or last) / 1e3


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _errors(text: str) -> str:
    """What the log says of a failure, without the last word, which says only that there was one."""
    block = re.search(r"operations are not supported by \w+ delegate:\n((?:.+\n)*?).+ will run on the", text)
    told = block[1].split("\n") if block else []
    told += re.findall(r"^ERROR: ((?!Benchmarking failed|Following operations).+)", text, _LINES)
    told += re.findall(r"^(?:WARN: )?(.+ acceleration is unsupported .+)", text, _LINES)
    return "; ".join(dict.fromkeys(line.strip() for line in told if line.strip()))[:300]


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")[:300]


def _complaint(text: str) -> str:
    """The client's own words, which may stand among the phone's."""
    return next((line for line in reversed(text.splitlines()) if line.startswith(("error: ", "adb: "))), "nothing")


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")


class _Row(NamedTuple):
    """A line of the profile's table in the order of runs."""

    type: str
    name: str
    ms: float


def layers(text: str, delegate: Delegate) -> tuple[Layer, ...]:
    """The profile's operators in the order in which they ran; a delegate's node stands for all that it took.

    XNNPACK alone tells what is inside its nodes: beside the operators, or, in older versions, in a table of its own.
    """
    main, inside = _profile(text)
    nodes = [row for row in main if row.type.startswith(DELEGATES["cpu"].node)]
    if inside and nodes:
        at = main.index(nodes[0])
        main = [*main[:at], *inside, *(row for row in main[at:] if row not in nodes)]
    return tuple(Layer(name=_name(row, at), place=_place(row, delegate), ms=row.ms) for at, row in enumerate(main))


def _profile(text: str) -> tuple[list[_Row], list[_Row]]:
    """Rows of the main graph, and those inside XNNPACK that have a table of their own."""
    # The oldest versions have one profile without a title; a title without ours is that of the initialisation.
    told = text.rpartition(_PROFILE)[2] if _PROFILE in text or _INIT_PROFILE not in text else ""
    rows: dict[str, list[_Row]] = {}
    part, is_table = "", False
    for line in told.splitlines():
        if line.startswith("====="):
            is_table = "Run Order" in line
        elif line.startswith(("Delegate internal:", "Subgraph (")):
            part = line.split()[0]
        elif is_table and (found := _ROW.match(line)):
            ms = float(found["each"]) * max(1, int(found["times"]))
            rows.setdefault(part, []).append(_Row(found["type"], found["name"], ms))
    return rows.get("", []), rows.get("Delegate", [])


def _place(row: _Row, delegate: Delegate) -> str:
    if row.type.startswith(DELEGATES["cpu"].node) or row.name.startswith("Delegate/"):
        return "XNNPACK"
    known = next((each for each in DELEGATES.values() if row.type.startswith(each.node)), None)
    if row.type == "DELEGATE":  # before TensorFlow 2.1 whatever delegate it was
        known = delegate
    return f"{known.label} delegate" if known else "CPU"


def _name(row: _Row, position: int) -> str:
    """Such as 'CONV_2D 3'; the profile's names end with the operator's index, except in old versions."""
    name, colon, index = row.name.rpartition(":")
    kind = name.removeprefix("Delegate/") if row.name.startswith("Delegate/") else row.type.partition("/")[0]
    return f"{kind} {index if colon and index.isdecimal() else position}"


# Samples


def _layers(bench: _Bench, job: _Job, plan: TimingPlan) -> tuple[Layer, ...]:
    """From a start of their own, for profiling costs time; a latency stands without them."""
    try:
        return layers(bench.run(job, plan, profile=True), job.delegate)
    except _Refused:
        return ()


def _in_turns(bench: _Bench, jobs: Sequence[_Job], plan: TimingPlan) -> list[tuple[str, ...]]:
    """Logs of each job, a start of each a round. Of slow models there are fewer rounds."""
    wanted = math.ceil(plan.runs / RUNS_A_START)
    rounds: list[list[str]] = []
    start = time.monotonic()
    while len(rounds) < wanted:
        if len(rounds) >= FEWEST_STARTS and time.monotonic() - start > plan.seconds:
            break
        rounds.append([bench.run(job, plan) for job in jobs])
    return list(zip(*rounds, strict=True))


def _samples(logs: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
    """Timed runs of each job in ms, of a round as many of each, so that they pair up."""
    rounds = zip(*([timed_ms(log) for log in own] for own in logs), strict=True)
    # One that takes longer than a start may has fewer runs in it.
    return list(zip(*(pair for each in rounds for pair in zip(*each, strict=False)), strict=True))


def _report(
    choice: Choice,
    bench: _Bench,
    job: _Job,
    logs: Sequence[str],
    samples: tuple[float, ...],
    shown: tuple[Layer, ...] = (),
) -> LatencyReport:
    option = next(key for key, value in DELEGATES.items() if value is job.delegate)
    return LatencyReport(
        backend=str(Choice(name=choice.name, target=choice.target, options={**choice.options, "delegate": option})),
        precision=job.precision,
        device=_describe(bench.phone, bench.setup),
        threads=job.threads,
        how=_how(bench, job, logs),
        versions={"benchmark_model": bench.setup.identity, "android": bench.phone.android},
        warmup_ms=tuple(first_ms(log) for log in logs),
        samples_ms=samples,
        layers=shown,
        layers_how=_LAYERS_HOW if shown else "",
    )


def _how(bench: _Bench, job: _Job, logs: Sequence[str]) -> str:
    parts = [
        f"measured on the phone: wall-clock time of TensorFlow Lite's invoke alone, {len(logs)} starts of "
        f"benchmark_model with up to {RUNS_A_START} timed runs each",
        _share(job.delegate, logs[0]),
    ]
    if job.delegate.label == "GPU":
        parts.append("the GPU may compute in half precision")
    if job.delegate.label == "NNAPI":
        parts.append(f"accelerators {_accelerators(logs[0]) or 'unknown'}")
        if bench.phone.sdk < NNAPI_TELLS_SDK:
            parts.append("before Android 10 NNAPI may have used the CPU without telling")
    return "; ".join(part for part in parts if part)


def _share(delegate: Delegate, log: str) -> str:
    taken, total = _taken(delegate, log)
    who = "XNNPACK" if delegate.label == "CPU" else f"the {delegate.label} delegate"
    if taken:
        return f"{who} took {taken}{f' of {total}' if total else ''} operators"
    found = re.search(_APPLIED.format(delegate.label), log)
    return f"{who} took the graph {found[1]}" if found else ""
