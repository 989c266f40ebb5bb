"""Arm's Ethos-U NPUs, estimated: the Vela compiler turns an INT8 file into commands and counts cycles; nothing is run.

What Vela cannot put on the NPU stays with the CPU, and Vela puts that at nothing. Here it is added, by a rule that
gives the least that it can take.
"""

import csv
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import NoReturn

from mai_harness.backends import Choice
from mai_harness.errors import HarnessError, gist
from mai_harness.records import BackendReport, LatencyReport, Layer, Model, Record
from mai_harness.tflite_graph import Graph, Op, macs, read_graph
from mai_harness.timing import TimingPlan

LOCAL = True
PACKAGE = "ethos-u-vela"
INSTALL = f"pip install {PACKAGE}==5.2.0"
ACCELERATOR = "ethos-u85-2048"
#: System configuration and memory mode by family: those that Vela takes itself when it is given none.
DEFAULTS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}
#: What an Arm Cortex-A55 core multiplies at most at 1 GHz: it issues one 128-bit SDOT a cycle, which occupies both of
#: its vector pipes (LLVM, AArch64SchedA55.td, CortexA55WriteDotVq_4) and does 16 INT8 multiply-accumulates.
CPU_MACS_PER_S = 16e9
TIMEOUT_S = 300  # a network of the challenge takes less than a second

_CONFIG = "Arm/vela.ini"  # inside the package
_LEFT_TO_THE_CPU = "Passthrough"  # Vela's name for an operator that it does not compile
_MEMORIES = {"Sram": "SRAM", "Dram": "DRAM", "OnChipFlash": "on-chip flash", "OffChipFlash": "off-chip flash"}
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")  # float values may come in and go out, if INT8 lies between
_LAYERS_HOW = (
    "estimated: of an operator's cycles on the NPU and those of its busiest memory, the more;"
    " operators that Vela makes one share a row"
)


def device(choice: Choice) -> str:
    """Accelerator, clock, Vela's version, system configuration and memory mode; nothing is compiled for it.

    Raises:
        HarnessError: Vela is not installed, or does not know the accelerator, system or memory.
    """
    return str(_setup(choice))


def measure(choice: Choice, model: Model, plan: TimingPlan) -> BackendReport:
    """Vela's estimate for the INT8 file, with its layers; the plan does not matter, for nothing is timed.

    Raises:
        HarnessError: as in :func:`device`; or the file computes in float, has a free size, or does not compile.
    """
    path = Path(model.static)
    setup, graph = _setup(choice), _readable(path)
    told = _compile(setup, path)
    layers = _layers(graph, told)
    return BackendReport(
        backend=str(choice),
        reports=(_report(choice, setup, told, layers, _layers_how(graph, layers)),),
        refusals=tuple(_refusals(graph, told, layers)),
    )


def compare(choice: Choice, paths: Sequence[str], plan: TimingPlan) -> tuple[LatencyReport, ...]:
    """An estimate of each file at its own size. One file always gets the same, so there are no turns to take.

    Raises:
        HarnessError: as in :func:`measure`.
    """
    return tuple(measure(choice, Model(static=path), plan).reports[0] for path in paths)


# What is asked of Vela.


class _Setup(Record, frozen=True):
    accelerator: str
    system: str
    memory: str
    clock_hz: float
    version: str

    def __str__(self) -> str:
        name = "-".join(part.capitalize() for part in self.accelerator.split("-"))
        return f"Arm {name} at {self.clock_hz / 1e9:g} GHz, Vela {self.version}, {self.system}, {self.memory}"


def _setup(choice: Choice) -> _Setup:
    choice.refuse_unknown_options(("system", "memory"))
    accelerators, config, version = _vela()
    accelerator = _known("accelerator", choice.target or ACCELERATOR, accelerators)
    system, memory = next(usual for family, usual in DEFAULTS.items() if accelerator.startswith(family))
    system = _known("system", choice.options.get("system", system), _sections(config, "System_Config."))
    memory = _known("memory", choice.options.get("memory", memory), _sections(config, "Memory_Mode."))
    clock_hz = config.getfloat(f"System_Config.{system}", "core_clock")
    return _Setup(accelerator=accelerator, system=system, memory=memory, clock_hz=clock_hz, version=version)


def _vela() -> tuple[list[str], ConfigParser, str]:
    """Accelerators that Vela knows, its file of systems and memories, and its version."""
    try:
        from importlib.metadata import version

        from ethosu.vela import architecture_features

        told = version(PACKAGE)
    except ImportError as error:
        raise HarnessError(f"the backend npu needs Arm's compiler Vela ({error}): {INSTALL}") from None
    config = ConfigParser()
    config.read(Path(architecture_features.CONFIG_FILES_PATH) / _CONFIG)
    return list(architecture_features.Accelerator.member_list()), config, told


def _sections(config: ConfigParser, kind: str) -> list[str]:
    return [section.removeprefix(kind) for section in config.sections() if section.startswith(kind)]


def _known(what: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise HarnessError(f"the backend npu: Vela has no {what} {name!r}; it has {', '.join(names)}")
    return name


def _readable(path: Path) -> Graph:
    """The file's graph, if Vela's estimate can mean something."""
    graph = read_graph(path)
    if graph.subgraphs != 1:
        raise HarnessError(f"{path.name} has {graph.subgraphs} subgraphs; the backend npu takes files of one")
    for op in graph.ops:
        dtypes = [graph.tensors[index].dtype for index in op.outputs if op.name not in _CONVERSIONS]
        if any(dtype.startswith("float") for dtype in dtypes):
            _refuse(path, f"{op.label} computes in {dtypes[0]}", "full-integer INT8", "quantise it in full")
    for tensor in graph.tensors:
        # Vela leaves to the CPU whatever touches a free size; of a free batch it takes one image.
        if -1 in tensor.shape_signature[1:]:
            _refuse(path, f"the size of tensor {tensor.name!r} is free", "fixed sizes", "give its static twin")
    return graph


def _refuse(path: Path, found: str, wanted: str, remedy: str) -> NoReturn:
    raise HarnessError(f"{path.name}: {found}; Vela compiles {wanted} only: {remedy}, or take the backend cpu")


# What Vela tells.

_Rows = list[dict[str, str]]


class _Told(Record, frozen=True):
    name: str  #: of the file
    summary: dict[str, str]  #: Vela's summary: name of the figure -> figure
    tables: dict[str, _Rows]  #: of its debug database: 'perf', 'perf_debug', 'group', 'source', ...
    reasons: dict[str, str]  #: name of an operator's output -> why Vela leaves the operator to the CPU

    @property
    def clock_hz(self) -> float:
        return float(self.summary["core_clock"])

    @property
    def cycles(self) -> int:
        return int(self.summary["cycles_total"])


def _compile(setup: _Setup, path: Path) -> _Told:
    # A process of its own, for Vela is C++ and dies of damaged files.
    with tempfile.TemporaryDirectory(prefix="vela-") as folder:
        out = _run(
            ("--accelerator-config", setup.accelerator, "--system-config", setup.system),
            ("--memory-mode", setup.memory, "--output-dir", folder, str(path.resolve())),
            name=path.name,
        )
        try:
            return _read(Path(folder), path.name, out)
        except (OSError, StopIteration, csv.Error) as error:
            raise HarnessError(f"Vela's report on {path.name} cannot be read: {error!r}") from None


def _run(*arguments: Sequence[str], name: str) -> str:
    command = [sys.executable, "-P", "-m", "ethosu.vela", "--config", _CONFIG, "--enable-debug-db"]
    for more in arguments:
        command += more
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise HarnessError(f"Vela was still compiling {name} after {TIMEOUT_S} s") from None
    if done.returncode:
        died = f"{signal.Signals(-done.returncode).name}, " if done.returncode < 0 else ""
        reason = gist(RuntimeError(done.stderr if done.stderr.strip() else done.stdout))
        raise HarnessError(f"Vela cannot compile {name}: {died}{reason}")
    return done.stdout


def _read(folder: Path, name: str, out: str) -> _Told:
    with next(folder.glob("*_summary_*.csv")).open(newline="") as file:
        summary = next(csv.DictReader(file))
    database = next(folder.glob("*_debug.xml")).read_text("utf-8", "replace")
    # XML outside, but each table is one text of comma-separated values.
    tables = re.findall(r'<table name="(\w+)">\s*<!\[CDATA\[\n(.*?)\]\]>', database, re.DOTALL)
    reasons = re.findall(r"^Warning \(supported operators\).* ofm: '(.*)'\nReason: (.*)$", out, re.MULTILINE)
    return _Told(
        name=name,
        summary=summary,
        tables={table: list(csv.DictReader(text.split("\n"))) for table, text in tables},
        reasons=dict(reasons),
    )


# What is made of it.


class _Part(Record, frozen=True):
    """One row of Vela's table: an operator, or one of those that it was broken into."""

    id: str
    leader: str  #: id of the row that it was fused into, or its own
    label: str
    op: Op | None  #: of the file; ``None`` if Vela made it up
    on_cpu: bool
    cycles: int
    traffic_bytes: dict[str, int]


def _layers(graph: Graph, told: _Told) -> tuple[Layer, ...]:
    try:
        parts = _parts(graph, told.tables)
        layers = tuple(_layer(graph, told, members) for members in _merged(parts))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise HarnessError(f"Vela's report on {told.name} makes no sense: {error!r}") from None
    counted = sum(part.cycles for part in parts)
    if counted != told.cycles:
        raise HarnessError(f"Vela counts {told.cycles} cycles for {told.name}, but {counted} over its operators")
    return layers


def _parts(graph: Graph, tables: dict[str, _Rows]) -> list[_Part]:
    places = {row["id"]: int(row["ext_key"]) for row in tables["source"]}
    leaders = {row["id"]: row["group_id"] for row in tables.get("group", [])}
    parts = []
    for row, accesses in zip(tables["perf"], tables["perf_debug"], strict=True):
        place = places.get(row["source_id"])
        op = None if place is None else graph.ops[place]
        parts.append(
            _Part(
                id=row["id"],
                leader=leaders.get(row["id"], row["id"]),
                label=op.label if op else row["operator"],
                op=op,
                on_cpu=row["operator"] == _LEFT_TO_THE_CPU,
                cycles=int(row["op_cycles"]),
                traffic_bytes=_accessed(accesses),
            )
        )
    return parts


def _accessed(row: dict[str, str]) -> dict[str, int]:
    """Bytes of each memory, from columns such as 'DramFeatureMap_read'."""
    found = {}
    for key, name in _MEMORIES.items():
        columns = re.compile(f"{key}(Lut|FeatureMap|Weights|Scales)_(read|write)")
        found[name] = sum(int(value) for column, value in row.items() if value and columns.fullmatch(column))
    return {name: count for name, count in found.items() if count}


def _merged(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Parts of one operator together, and with them what was fused into it, which Vela puts at no cycles."""
    labels = {part.id: part.label for part in parts}
    layers: dict[str, list[_Part]] = {}
    for part in parts:
        layers.setdefault(labels.get(part.leader, part.label), []).append(part)
    return list(layers.values())


def _layer(graph: Graph, told: _Told, parts: Sequence[_Part]) -> Layer:
    name = " + ".join(dict.fromkeys(part.label for part in parts))
    first = parts[0]
    if first.on_cpu and first.op:
        ms, rule = _by_rule(graph, first.op, told.summary)
        return Layer(name=name, place="CPU", ms=ms, rule=rule)
    cycles = sum(part.cycles for part in parts)
    traffic = _total([part.traffic_bytes for part in parts])
    return Layer(name=name, place="NPU", ms=cycles / told.clock_hz * 1e3, cycles=cycles, traffic_bytes=traffic)


def _total(traffic: Sequence[dict[str, int]]) -> dict[str, int]:
    names = [name for name in _MEMORIES.values() if any(name in each for each in traffic)]
    return {name: sum(each.get(name, 0) for each in traffic) for name in names}


def _by_rule(graph: Graph, op: Op, summary: dict[str, str]) -> tuple[float, str]:
    """The least that an operator takes on a CPU, in ms, and why."""
    area = summary["feature_map_storage_area"]
    # Vela writes GB/s, and divides by 2**30.
    bandwidth = float(summary[f"{_column(area)}_bandwidth"]) * 2**30
    moved = sum(graph.tensors[index].size_bytes for index in (*op.inputs, *op.outputs) if index >= 0)
    work = macs(graph, op)
    moving_ms, working_ms = moved / bandwidth * 1e3, work / CPU_MACS_PER_S * 1e3
    if moving_ms >= working_ms:
        return moving_ms, f"at least: {moved / 1e6:.3g} MB in and out at {bandwidth / 1e9:.3g} GB/s, the peak of {area}"
    rate = f"{CPU_MACS_PER_S / 1e9:g} G a second, the peak of an Arm Cortex-A55 core at 1 GHz"
    return working_ms, f"at least: {work / 1e9:.3g} G multiply-accumulates at {rate}"


def _report(choice: Choice, setup: _Setup, told: _Told, layers: tuple[Layer, ...], layers_how: str) -> LatencyReport:
    by_rule = [layer.ms for layer in layers if layer.rule]
    return LatencyReport(
        backend=str(choice),
        precision="int8",
        device=str(setup),
        how=_how(told, by_rule),
        versions={PACKAGE: setup.version},
        estimate_ms=told.cycles / told.clock_hz * 1e3 + sum(by_rule),
        traffic_bytes=_traffic(told.summary),
        layers=layers,
        layers_how=layers_how,
    )


def _how(told: _Told, by_rule: Sequence[float]) -> str:
    used = {name: float(told.summary[f"{_column(name)}_memory_used"]) for name in _MEMORIES.values()}
    memory = " and ".join(f"{_size(kib)} of {name}" for name, kib in used.items() if kib)
    said = (
        f"estimated, nothing was run: cycles that Vela counts, one operator after another,"
        f" at {told.clock_hz / 1e9:g} GHz with {memory} in use"
    )
    if not by_rule:
        return said
    count = "one operator" if len(by_rule) == 1 else f"{len(by_rule)} operators"
    rest = f"{count} that Vela leaves to the CPU and puts at 0"
    return f"{said}; and by a rule for {rest}, at least {sum(by_rule):.3g} ms"


def _size(kib: float) -> str:
    return f"{kib / 1024:.1f} MiB" if kib >= 1024 else f"{kib:.3g} KiB"


def _traffic(summary: dict[str, str]) -> dict[str, int]:
    moved = {name: int(summary[f"{_column(name)}_total_bytes"]) for name in _MEMORIES.values()}
    return {name: count for name, count in moved.items() if count}


def _column(memory: str) -> str:
    return re.sub("[- ]", "_", memory).lower()


def _layers_how(graph: Graph, layers: Sequence[Layer]) -> str:
    shown = {name for layer in layers for name in layer.name.split(" + ")}
    gone = [op.label for op in graph.ops if op.label not in shown]
    return f"{_LAYERS_HOW}; {', '.join(gone)}: made part of others, and in no row" if gone else _LAYERS_HOW


def _refusals(graph: Graph, told: _Told, layers: Sequence[Layer]) -> list[str]:
    """What stays with the CPU, and Vela's reason."""
    left = {layer.name for layer in layers if layer.rule}
    return [f"{op.label} is left to the CPU: {_reason(graph, op, told)}" for op in graph.ops if op.label in left]


def _reason(graph: Graph, op: Op, told: _Told) -> str:
    names = [graph.tensors[index].name for index in op.outputs]
    return next((told.reasons[name] for name in names if name in told.reasons), "Vela does not tell why")
