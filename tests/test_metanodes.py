"""The way through of `mai-harness metanodes`: what fails costs its own row, and the whole of it on single operators."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from browser import chromium, complaints, needs_chromium, tab
from test_latency_study import PAGE, everything, nodes, report, study
from test_meta_nodes import HOLD
from test_pipeline import ONE_THREAD
from test_render import parsed

from mai_harness import __main__ as command_line
from mai_harness import metanodes as module
from mai_harness.backends import Choice
from mai_harness.build_nodes import BuildNodesReport, BuildNodesRequest, build_nodes
from mai_harness.datasets import Dataset
from mai_harness.errors import HarnessError, StageFailed
from mai_harness.latency_study import (
    LATENCY_SCHEMA_VERSION,
    Decomposition,
    LatencyResults,
    Outcome,
    latency_results_path,
    read_latency_results,
)
from mai_harness.meta_nodes import META_NODES
from mai_harness.metanodes import NETWORK_ROUNDS, PARTS, metanodes
from mai_harness.pipeline import Settings, Workshop
from mai_harness.prepare import Prepared
from mai_harness.published_networks import PUBLISHED
from mai_harness.records import CalibrationFrame
from mai_harness.residual_forms import FORMS
from mai_harness.storage import write_results
from mai_harness.time_files import TimeFilesReport
from mai_harness.timing import TimingPlan

DATASET = Dataset(name="photographs", pairs=(), fingerprint="f")


# The way through, without its stages


class Stages:
    """In place of ``Workshop.run``: answers at once, and notes what it was asked."""

    def __init__(self, folder: Path, refuses: str = "") -> None:
        self.folder, self.refuses = folder, refuses
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, owner: Any, stage: str, request: Any, _report: Any) -> Any:
        self.asked.append((owner.folder, stage, request))
        if stage == "prepare":
            return Prepared(images=(), calibration=(CalibrationFrame(name="a", path="a.npy"),))
        if stage == "build_nodes":
            return BuildNodesReport(files={node.id: self.file(node.id) for node in META_NODES})
        if request.choice.name == self.refuses:
            raise StageFailed(f"{self.refuses} is busy", stage=stage)
        if stage == "time_files":
            return TimeFilesReport(outcomes={id_: Outcome(report=report(5.0)) for id_ in request.files})
        return Decomposition(whole=report(7.0))

    def file(self, name: str) -> str:
        path = self.folder / f"{name}.tflite"
        path.write_text(name)
        return str(path)

    def of(self, stage: str) -> list[Any]:
        return [request for _, each, request in self.asked if each == stage]


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Measures parts on two backends; with what was asked of the stages."""

    def call(*parts: Any, refuses: str = "", fails: str = "", gone: str = "") -> tuple[LatencyResults, Stages]:
        stages, asked = Stages(tmp_path, refuses), []

        def device(choice: Choice) -> str:
            asked.append(choice.name)
            if choice.name == gone and asked.count(gone) > 1:
                raise HarnessError(f"{gone} is gone")
            return f"the {choice}"

        def converted(_workshop: Any, built: dict[str, Any], without: Any, _prepared: Any) -> str:
            if built["factory"] == fails:
                raise StageFailed("no such operator", "crash", "calibrate")
            return stages.file(f"{built['factory']} {built['arguments']} {without}".replace("/", "-"))

        monkeypatch.setattr(Workshop, "run", lambda _self, *given, **_access: stages(*given))
        monkeypatch.setattr(module, "_converted", converted)
        monkeypatch.setattr(module, "_operators", lambda path: {Path(path).read_text(): 1})
        monkeypatch.setattr(module, "read_graph", lambda path: path)
        monkeypatch.setattr(module, "facts", lambda path: SimpleNamespace(macs=len(path.name)))
        monkeypatch.setattr(module, "find", lambda name: SimpleNamespace(device=device))
        settings = Settings(
            out=tmp_path / "out", backends=(Choice(name="cpu"), Choice(name="adb", target="a:1")),
            plan=TimingPlan(runs=50, warmup=9, threads=(2, 1)),
        )  # fmt: skip
        return metanodes(settings, parts, DATASET, lambda line: None), stages

    return call


def test_parts_that_are_not_asked_for_are_empty(measure):
    found, stages = measure("nodes")
    assert (len(found.nodes), found.forms, found.networks) == (len(META_NODES), (), ())
    assert found.command == "mai-harness metanodes nodes"
    assert found.backends == {"cpu": "the cpu", "adb:a:1": "the adb:a:1"}
    assert (found.schema_version, found.dataset) == (LATENCY_SCHEMA_VERSION, "photographs")
    assert [stage for _, stage, _ in stages.asked] == ["prepare", "build_nodes", "time_files", "time_files"]
    everything_, _ = measure(*PARTS)
    assert everything_.command == "mai-harness metanodes"
    assert all(getattr(everything_, part) for part in PARTS)


def test_the_command_line_knows_the_parts():
    assert command_line.LATENCY_PARTS == PARTS == tuple(module._MEASURE)


def test_every_node_is_timed_on_every_backend(measure):
    found, stages = measure("nodes")
    assert [row.node for row in found.nodes] == list(META_NODES)
    assert all(row.outcomes == dict.fromkeys(found.backends, Outcome(report=report(5.0))) for row in found.nodes)
    for request, choice in zip(stages.of("time_files"), ("cpu", "adb:a:1"), strict=True):
        assert (str(request.choice), request.device, request.against) == (choice, f"the {choice}", {})
        assert (request.plan.runs, request.plan.threads, request.plan.frame) == (50, (2, 1), "a.npy")
    folders = [folder for folder, stage, _ in stages.asked if stage == "time_files"]
    assert len(set(folders)) == 2  # so that neither backend discards the other's timings
    assert all(re.fullmatch(r"[\w.-]+", folder) for folder in folders)


@pytest.mark.parametrize("how", [{"refuses": "adb"}, {"gone": "adb"}], ids=["a stage fails", "the device goes away"])
def test_a_backend_that_fails_costs_its_own_figures(how, measure):
    found, _ = measure("nodes", "networks", **how)
    assert all(row.outcomes["cpu"].report for row in found.nodes)
    (refusal,) = {row.outcomes["adb:a:1"].refusal for row in found.nodes}
    assert refusal == ("adb is busy" if "refuses" in how else "adb is gone")
    assert {row.outcomes["adb:a:1"].report for row in found.nodes} == {None}
    assert all(row.decompositions["cpu"].whole for row in found.networks)
    assert all(row.decompositions["adb:a:1"] == Decomposition(refusal=refusal) for row in found.networks)


def test_forms_are_held_against_the_one_of_their_group_that_ships(measure):
    found, stages = measure("forms")
    assert [row.form for row in found.forms] == list(FORMS)
    references = {row.form.id: row.reference for row in found.forms}
    assert references["fsrl"] == "abrl-convolution"
    assert references["clip-none"] == "clip-saturation"
    (request, _) = stages.of("time_files")
    assert (request.against, list(request.files)) == (references, list(references))
    assert found.forms[0].operators == {"ABPN {'residual': 'none'} ()": 1}
    clip = next(row for row in found.forms if row.form.id == "clip-operator")
    assert list(clip.operators) == ["ABPN {} ('saturating-tail',)"]


def test_a_form_that_cannot_be_converted_is_told_in_its_row(measure):
    found, stages = measure("forms", fails="NearestAnchorABPN")
    (lost,) = (row for row in found.forms if row.failure)
    assert (lost.form.id, lost.operators, lost.outcomes) == ("abrl-nearest", {}, {})
    assert (lost.failure.stage, lost.failure.kind, lost.failure.reason) == ("calibrate", "crash", "no such operator")
    assert all(len(request.files) == len(FORMS) - 1 for request in stages.of("time_files"))
    assert all(row.outcomes["cpu"].report for row in found.forms if row is not lost)


def test_networks_are_taken_apart_in_few_rounds(measure):
    found, stages = measure("networks")
    assert [row.name for row in found.networks] == [row.name for row in PUBLISHED]
    for row in found.networks:
        assert set(row.decompositions) == {"cpu", "adb:a:1"}
        assert row.macs > 0
        assert len(row.operators) == 1
    plans = {(plan.warmup, plan.runs, plan.threads) for plan in (each.plan for each in stages.of("decompose"))}
    assert plans == {(1, NETWORK_ROUNDS, (2,))}
    folders = [folder for folder, stage, _ in stages.asked if stage == "decompose"]
    assert len(set(folders)) == 2 * len(PUBLISHED)


def test_a_network_that_cannot_be_converted_is_told_in_its_row(measure):
    fails = PUBLISHED[0].factory
    found, _ = measure("networks", fails=fails)
    lost = [row for row, published in zip(found.networks, PUBLISHED, strict=True) if published.factory == fails]
    assert [row for row in found.networks if row.failure] == lost
    for row in lost:
        assert (row.failure.stage, row.failure.reason) == ("calibrate", "no such operator")
        assert (row.decompositions, row.operators, row.macs) == ({}, {}, None)
        assert row.parameters > 0


def test_a_backend_that_is_not_there_is_told_before_anything_starts(tmp_path, monkeypatch):
    def nowhere(_name: str) -> Any:
        raise HarnessError("there is no phone")

    monkeypatch.setattr(module, "find", nowhere)
    with pytest.raises(HarnessError, match="no phone"):
        metanodes(Settings(out=tmp_path / "out"), PARTS, DATASET, pytest.fail)
    assert not (tmp_path / "out").exists()


def test_nodes_are_built_by_their_ids(tmp_path, monkeypatch):
    monkeypatch.setattr("mai_harness.build_nodes.build", lambda node, folder: folder / node.id)
    files = build_nodes(BuildNodesRequest(), tmp_path).files
    assert files == {node.id: str(tmp_path / node.id) for node in META_NODES}


# What an earlier run measured


def merged(now: LatencyResults, earlier: LatencyResults | None, out: Path) -> LatencyResults:
    if earlier is not None:
        write_results(earlier, latency_results_path(out))
    return command_line._with_other_parts(now, out)


ALL = everything()
NOW = msgspec.structs.replace(ALL, nodes=nodes(cpu=dict.fromkeys(HOLD, 1.0)), forms=(), networks=())


def test_parts_of_an_earlier_run_stay(tmp_path):
    found = merged(NOW, ALL, tmp_path)
    assert (found.nodes, found.forms, found.networks) == (NOW.nodes, ALL.forms, ALL.networks)
    assert found.created == NOW.created


def test_without_an_earlier_run_there_is_what_was_measured(tmp_path, capsys):
    assert merged(NOW, None, tmp_path) == NOW
    latency_results_path(tmp_path).write_text("{")
    assert merged(NOW, None, tmp_path) == NOW
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [{"machine": "another"}, {"versions": {"numpy": "2"}}, {"backends": {"cpu": "another"}}, {"dataset": "DIV2K"}],
    ids=lambda change: next(iter(change)),
)
def test_parts_from_elsewhere_do_not(change, tmp_path):
    assert merged(NOW, msgspec.structs.replace(ALL, **change), tmp_path) == NOW


# The whole


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where another part was measured before."""
    root = tmp_path_factory.mktemp("metanodes")
    done = command(root)
    assert done.returncode == 0, done.stderr
    first = read_latency_results(latency_results_path(root / "X"))
    write_results(msgspec.structs.replace(first, nodes=(), forms=ALL.forms), latency_results_path(root / "X"))
    return root


def command(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    told = ("nodes", "--backend", "cpu", "--runs", "2", "--warmup", "1", "--out", "X", *more)
    return subprocess.run(
        [sys.executable, "-m", "mai_harness", "metanodes", *told],
        cwd=root, env=ONE_THREAD, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured(place) -> dict[str, Any]:
    done = command(place, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_node_has_a_latency(place, measured):
    assert {row["node"]["id"] for row in measured["nodes"]} == {node.id for node in META_NODES}
    for row in measured["nodes"]:
        (found,) = (outcome["report"] for outcome in row["outcomes"].values())
        assert (found["backend"], found["precision"]) == ("cpu", "int8")
        assert (len(found["samples_ms"]), len(found["warmup_ms"])) == (2, 1)
        assert min(found["samples_ms"]) > 0
    stored = read_latency_results(latency_results_path(place / "X"))
    assert json.loads(msgspec.json.encode(stored)) == measured
    assert len(stored.findings("cpu")) > 0
    assert {finding.holds for finding in stored.findings("cpu")} <= {True, False}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_part_that_was_measured_before_stays(measured):
    assert [row["form"]["id"] for row in measured["forms"]] == [row.form.id for row in ALL.forms]
    assert measured["networks"] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_run_repeats_nothing_and_tells_a_table(place, measured):
    done = command(place)
    assert [line for line in done.stderr.splitlines() if not line.startswith("data: ")] == []
    lines = done.stdout.splitlines()
    assert lines[0] == "Meta-nodes, INT8, ms"
    assert all(any(node.title in line for line in lines) for node in META_NODES)
    assert lines[-1].endswith("metanodes.html")


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_chromium
def test_its_page_opens_without_a_word_on_the_console(place, measured):
    page = place / "X" / "site" / PAGE
    with chromium() as running, tab(running) as opened:
        heard = complaints(opened, page.parent.as_uri())
        opened.goto(page.as_uri())
        assert heard == []
        assert opened.locator("table").count() == page.read_text().count("<table")
    shown = parsed(page.read_text()).section("nodes")
    assert all(node.title in shown.text for node in META_NODES)


def test_a_study_of_nothing_is_a_page_too():
    assert not any(getattr(study(), part) for part in PARTS)
    assert command_line._latency_tables(study()) == ""
