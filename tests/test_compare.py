"""Stages that time several files: two against each other, many in turns, and a network taken apart."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import tiny
from test_challenge import report

from mai_harness import benchmark, compare, decompose, time_files
from mai_harness.backends import Choice
from mai_harness.benchmark import BenchmarkRequest
from mai_harness.compare import CompareRequest
from mai_harness.decompose import DecomposeRequest
from mai_harness.errors import HarnessError
from mai_harness.records import BackendReport, LatencyReport, Layer, Model
from mai_harness.time_files import TimeFilesRequest
from mai_harness.timing import TimingPlan

CPU, PLAN = Choice(name="cpu"), TimingPlan(runs=3)


class Made:
    """A backend that makes its samples up: 10, 20 and 30 ms times what stands in the file's name."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.together: list[list[str]] = []
        self.estimates = False
        self.layers_alone = False

    def compare(self, _choice: Choice, paths: Sequence[str], _plan: TimingPlan) -> tuple[LatencyReport, ...]:
        names = [Path(path).stem for path in paths]
        self.together.append(names)
        for name in names:
            if name in self.refused:
                raise HarnessError(f"{name} does not run")
        return tuple(self._of(float(name) if name.isdigit() else 1.0) for name in names)

    def _of(self, times: float) -> LatencyReport:
        made = report(10 * times, 20 * times, 30 * times)
        return msgspec.structs.replace(made, samples_ms=(), estimate_ms=20 * times) if self.estimates else made

    def measure(self, choice: Choice, model: Model, plan: TimingPlan) -> BackendReport:
        (whole,) = self.compare(choice, [model.static], plan)
        whole = msgspec.structs.replace(
            whole, layers=(Layer(name="CONV_2D 0", place="XNNPACK", ms=1.5),), layers_alone=self.layers_alone
        )
        return BackendReport(backend="cpu", reports=(whole,))


@pytest.fixture
def backend(monkeypatch):
    made = Made()
    for module in (benchmark, compare, decompose, time_files):
        monkeypatch.setattr(module, "find", lambda name: made)
    return made


@pytest.mark.parametrize(("estimates", "rounds"), [(False, 3), (True, 0)])
def test_the_first_over_the_second(backend, estimates, rounds):
    backend.estimates = estimates
    request = CompareRequest(paths=("6.tflite", "3.tflite"), choice=CPU, plan=PLAN, device="d")
    found = compare.compare(request, Path())
    assert [each.latency_ms for each in found.reports] == [120.0, 60.0]
    assert (found.ratio.value, found.ratio.rounds) == (2.0, rounds)
    assert backend.together == [["6", "3"]]  # in one run, or they would not take turns


def timed(files: Sequence[str], against: dict[str, str]) -> time_files.TimeFilesReport:
    request = TimeFilesRequest(
        files={f"id{name}": f"{name}.tflite" for name in files}, against=against, choice=CPU, plan=PLAN, device="d"
    )
    return time_files.time_files(request, Path())


def test_all_files_take_turns_and_have_ratios_to_their_references(backend):
    found = timed("123", {"id1": "id1", "id3": "id1"}).outcomes
    assert backend.together == [["1", "2", "3"]]
    assert {id_: each.report.latency_ms for id_, each in found.items()} == {"id1": 20.0, "id2": 40.0, "id3": 60.0}
    assert {id_: each.ratio and each.ratio.value for id_, each in found.items()} == {
        "id1": None, "id2": None, "id3": 3.0,
    }  # fmt: skip


def test_one_that_is_refused_costs_the_turns_but_no_other_its_latency(backend):
    backend.refused = {"2"}
    found = timed("123", {"id3": "id1"}).outcomes
    assert backend.together[1:] == [["1"], ["2"], ["3"]]
    assert found["id2"] == time_files.Outcome(refusal="2 does not run")
    assert [found[id_].report.latency_ms for id_ in ("id1", "id3")] == [20.0, 60.0]
    assert found["id3"].ratio is None


def test_what_a_rewrite_gains_is_timed_in_turns_with_the_model(backend):
    request = BenchmarkRequest(
        model=Model(static="1.tflite"), without={"anchor": "2.tflite", "anchor and tail": "4.tflite"}, choice=CPU,
        plan=PLAN, device="d",
    )  # fmt: skip
    gains = benchmark.benchmark(request, Path()).gains
    assert backend.together == [["1"], ["1", "2", "4"]]
    assert [(gain.backend, gain.rewrite, gain.ratio) for gain in gains] == [
        ("cpu", "anchor", 0.5), ("cpu", "anchor and tail", 0.25),
    ]  # fmt: skip


def test_without_rewrites_nothing_is_compared(backend):
    request = BenchmarkRequest(model=Model(static="1.tflite"), without={}, choice=CPU, plan=PLAN, device="d")
    found = benchmark.benchmark(request, Path())
    assert (found.gains, backend.together) == ((), [["1"]])


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("network") / "net.tflite", tiny.upscaler, (1, 12, 16, 3), int8=False)


def taken_apart(network: Path) -> decompose.Decomposition:
    request = DecomposeRequest(path=str(network), choice=CPU, plan=PLAN, device="d")
    return decompose.decompose(request, Path())


def test_operators_that_the_backend_timed_alone_are_taken_as_they_are(backend, network):
    backend.layers_alone = True
    found = taken_apart(network)
    assert found.operators == found.whole.layers
    assert (found.predicted_ms, found.quotient) == (1.5, 1.5 / 20)
    assert backend.together == [["net"]]


def test_else_each_is_a_file_of_its_own(backend, network):
    found = taken_apart(network)
    assert [layer.name.split()[0] for layer in found.operators] == ["MIRROR_PAD", "CONV_2D", "ADD", "DEPTH_TO_SPACE"]
    assert backend.together == [["net"], *[["alone"]] * 4]
    assert (found.predicted_ms, found.refused) == (80.0, ())


def test_an_operator_that_is_refused_leaves_no_prediction(backend, network):
    backend.refused = {"alone"}
    found = taken_apart(network)
    assert found.refused[0] == "MIRROR_PAD 0: alone does not run"
    assert (len(found.refused), found.operators, found.predicted_ms, found.quotient) == (4, (), None, None)
