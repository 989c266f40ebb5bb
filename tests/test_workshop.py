"""What earlier runs left is found again; timings on several backends; submissions at once."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from test_challenge import report

from mai_harness import pipeline
from mai_harness.backends import Choice
from mai_harness.benchmark import BenchmarkReport
from mai_harness.errors import HarnessError, StageFailed
from mai_harness.isolate import REPLY, Reply, run_isolated
from mai_harness.pipeline import TRIES, Converted, EvaluationRun, Owner, Settings, Workshop, each_at_once
from mai_harness.prepare import Prepared
from mai_harness.records import BackendReport, CalibrationFrame, Failure, Gain, Model, Rejection, Submission
from mai_harness.timing import NOISE

OWNER = Owner("net", "fingerprint")
REQUEST = Rejection(name="a", reason="b")


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Settings(out=tmp_path, timeout_s=60.0), lambda line: pytest.fail(f"started {line}"))


def leave(workshop: Workshop, reply: Reply) -> None:
    folder = workshop.folder(OWNER, "score", REQUEST)
    folder.mkdir(parents=True)
    (folder / REPLY).write_bytes(msgspec.json.encode(reply))


def test_nothing_is_found_where_nothing_was_left(workshop):
    assert workshop.finished(OWNER, "score", REQUEST, Rejection) is None


def test_a_report_is_reused(workshop):
    leave(workshop, Reply(report=REQUEST))
    assert workshop.finished(OWNER, "score", REQUEST, Rejection) == REQUEST
    assert workshop.run(OWNER, "score", REQUEST, Rejection) == REQUEST


@pytest.mark.parametrize("ask", ["finished", "run"])
def test_a_failure_that_is_reused_names_its_stage(workshop, ask):
    leave(workshop, Reply(error="too small"))
    with pytest.raises(StageFailed, match="too small") as caught:
        getattr(workshop, ask)(OWNER, "score", REQUEST, Rejection)
    assert caught.value.stage == "score"


@pytest.mark.parametrize(("limit", "again"), [(5.0, True), (60.0, False)])
def test_a_timeout_is_tried_again_with_more_time_only(workshop, limit, again):
    leave(workshop, Reply(error="still running", kind="timeout", timeout_s=limit))
    if again:
        assert workshop.finished(OWNER, "score", REQUEST, Rejection) is None
    else:
        with pytest.raises(StageFailed, match="still running"):
            workshop.finished(OWNER, "score", REQUEST, Rejection)


def test_a_key_follows_request_owner_and_stage(workshop):
    folders = {
        workshop.folder(OWNER, "score", REQUEST),
        workshop.folder(OWNER, "check", REQUEST),
        workshop.folder(Owner("net", "other"), "score", REQUEST),
        workshop.folder(OWNER, "score", Rejection(name="a", reason="c")),
    }
    assert len(folders) == 4


# Timing on several backends

CPU, NPU = Choice(name="cpu"), Choice(name="npu")
FILES = Converted(model=Model(static="model.tflite"))
PREPARED = Prepared(images=(), calibration=(CalibrationFrame(name="frame", path="frame.npy"),))
NETWORK = Submission(name="net", title="Net", kind="tflite", path="model.tflite", fingerprint="f")


def timing(ms: float, choice: Choice = CPU, *, noisy: bool = False) -> BenchmarkReport:
    latency = report(ms, reference_ms=(20.0,), uncertainty=2 * NOISE if noisy else 0.0)
    gain = Gain(backend=str(choice), rewrite="anchor-convolution", latency_ms=ms, without_ms=2 * ms)
    return BenchmarkReport(measured=BackendReport(backend=str(choice), reports=(latency,)), gains=(gain,))


class Bench:
    """In place of the benchmark's children: outcomes by backend, of which each run takes the next."""

    def __init__(self, folder: Path) -> None:
        self.outcomes: dict[str, list[BenchmarkReport | StageFailed]] = {}
        self.ran: list[str] = []
        self.away: set[str] = set()
        self.workshop = Workshop(Settings(out=folder, backends=(CPU, NPU)), lambda line: None)

    def find(self, name: str) -> Any:
        return SimpleNamespace(LOCAL=True, device=self.device)

    def device(self, choice: Choice) -> str:
        if choice.name in self.away:
            raise HarnessError(f"{choice.name} went away")
        return "made up"

    def run(self, call: str, request: Any, folder: Path, kind: Any, *_more: object) -> BenchmarkReport:
        assert call == "mai_harness.benchmark:benchmark"
        self.ran.append(request.choice.name)
        outcome = self.outcomes[request.choice.name].pop(0)
        if isinstance(outcome, StageFailed):
            raise outcome
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPLY).write_bytes(msgspec.json.encode(Reply(report=outcome)))
        return outcome

    def time(self, choice: Choice) -> float:
        """Of one backend."""
        timed = pipeline.benchmark(self.workshop, NETWORK, FILES, choice, PREPARED)
        return timed.measured.reports[0].latency_ms

    def evaluate(self, **found: Any) -> EvaluationRun:
        """On all backends of the settings."""
        run = EvaluationRun(self.workshop, NETWORK, PREPARED, FILES, dict(found))
        run.time()
        return run


@pytest.fixture
def bench(tmp_path, monkeypatch):
    made = Bench(tmp_path)
    monkeypatch.setattr(pipeline, "find", made.find)
    monkeypatch.setattr(pipeline, "run_isolated", made.run)
    return made


def test_a_noisy_timing_is_tried_again_and_only_the_quiet_one_is_kept(bench):
    bench.outcomes["cpu"] = [timing(50.0, noisy=True), timing(40.0)]
    assert [bench.time(CPU), bench.time(CPU)] == [40.0, 40.0]
    assert bench.ran == ["cpu", "cpu"]


def test_after_the_last_try_a_noisy_timing_is_told_but_not_kept(bench):
    bench.outcomes["cpu"] = [timing(ms, noisy=True) for ms in range(50, 50 + TRIES)] + [timing(40.0)]
    assert bench.time(CPU) == 50 + TRIES - 1
    assert bench.ran == ["cpu"] * TRIES
    assert bench.time(CPU) == 40.0


def test_an_estimate_is_never_noisy(bench):
    guess = msgspec.structs.replace(report(), estimate_ms=20.0)
    bench.outcomes["npu"] = [BenchmarkReport(measured=BackendReport(backend="npu", reports=(guess,)), gains=())]
    assert [bench.time(NPU), bench.time(NPU)] == [20.0, 20.0]
    assert bench.ran == ["npu"]


def test_timings_of_one_backend_discard_none_of_anothers(bench):
    bench.outcomes = {"cpu": [timing(40.0)], "npu": [timing(20.0)]}
    assert [bench.time(choice) for choice in (CPU, NPU, CPU, NPU)] == [40.0, 20.0, 40.0, 20.0]
    assert bench.ran == ["cpu", "npu"]


def test_a_forgotten_timing_is_taken_anew_on_that_backend_only(bench):
    bench.outcomes = {"cpu": [timing(40.0), timing(41.0)], "npu": [timing(20.0)]}
    for choice in (CPU, NPU):
        bench.time(choice)
    pipeline.forget_timing(bench.workshop, NETWORK, CPU)
    assert [bench.time(CPU), bench.time(NPU)] == [41.0, 20.0]


def test_another_plan_is_timed_anew(bench):
    bench.outcomes["cpu"] = [timing(40.0), timing(41.0)]
    bench.time(CPU)
    longer = msgspec.structs.replace(bench.workshop.settings.plan, runs=99)
    bench.workshop.settings = replace(bench.workshop.settings, plan=longer)
    assert bench.time(CPU) == 41.0


def test_every_backend_is_a_report_with_its_gains_in_their_order(bench):
    bench.outcomes = {"cpu": [timing(40.0)], "npu": [timing(20.0, NPU)]}
    evaluation = bench.evaluate().evaluation()
    assert [each.backend for each in evaluation.runtime] == ["cpu", "npu"]
    assert [(gain.backend, gain.latency_ms) for gain in evaluation.gains] == [("cpu", 40.0), ("npu", 20.0)]
    assert (evaluation.headline, evaluation.failure) == (evaluation.runtime[0].reports[0], None)
    assert evaluation.summary["latency_ms"] == 40.0


def test_a_further_backend_that_fails_costs_its_own_figures_only(bench):
    bench.outcomes = {"cpu": [timing(40.0)], "npu": [StageFailed("it has no such operator")]}
    evaluation = bench.evaluate().evaluation()
    assert evaluation.failure is None
    assert evaluation.summary["latency_ms"] == 40.0
    assert evaluation.runtime[1] == BackendReport(backend="npu", reports=(), refusals=("it has no such operator",))
    assert [gain.backend for gain in evaluation.gains] == ["cpu"]


def test_the_first_backend_that_fails_stops_the_submission(bench):
    bench.outcomes = {"cpu": [StageFailed("still running", "timeout")], "npu": [timing(20.0, NPU)]}
    evaluation = bench.evaluate().evaluation()
    assert evaluation.failure == Failure(stage="benchmark", kind="timeout", reason="still running")
    assert evaluation.runtime[0].refusals == ("still running",)
    assert (evaluation.headline, evaluation.summary["latency_ms"]) == (None, None)


@pytest.mark.parametrize(("away", "fails"), [("npu", False), ("cpu", True)])
def test_a_backend_that_went_away_meanwhile_costs_no_more_than_one_that_fails(bench, away, fails):
    bench.outcomes, bench.away = {"cpu": [timing(40.0)], "npu": [timing(20.0, NPU)]}, {away}
    evaluation = bench.evaluate().evaluation()
    assert (evaluation.failure is not None) == fails
    assert {each.backend: each.refusals for each in evaluation.runtime}[away] == (f"{away} went away",)


def test_what_failed_before_is_not_timed(bench):
    failure = Failure(stage="check", kind="error", reason="damaged")
    evaluation = bench.evaluate(failure=failure).evaluation()
    assert (evaluation.failure, evaluation.runtime, bench.ran) == (failure, (), [])


# Submissions at once

STAGES = """
import time
from pathlib import Path
from mai_harness.records import Rejection

def stays(request: Rejection, folder: Path) -> Rejection:
    (folder / "stays.txt").touch()
    time.sleep(60)
    return request
"""


ENDS_S = 10.0  # by itself; what is interrupted ends before


@pytest.fixture
def stays(tmp_path, monkeypatch) -> Callable[[str], None]:
    """Runs a stage that an interrupt ends, or else its limit of time."""
    (tmp_path / "endless.py").write_text(STAGES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(name: str) -> None:
        with suppress(StageFailed):
            run_isolated("endless:stays", REQUEST, tmp_path / name, Rejection, ENDS_S)

    return run


def children_in(folder: Path) -> list[str]:
    """Processes that work below a folder."""
    return [pid.name for pid in Path("/proc").glob("[0-9]*") if str(folder) in _working_folder(pid)]


def _working_folder(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except OSError:  # it ended, or is another's
        return ""


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_so_many_at_once_and_no_more(jobs):
    lock, running, most = threading.Lock(), 0, 0

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    each_at_once(jobs, [call] * 9)
    assert (running, most) == (0, jobs)


def test_one_at_a_time_goes_in_order():
    seen: list[int] = []
    each_at_once(1, [lambda i=i: seen.append(i) for i in range(9)])
    assert seen == list(range(9))


def interrupted(when: Callable[[], object], calls: Sequence[Callable[[], None]]) -> float:
    """Seconds from an interrupt to the end of all calls."""
    sent = 0.0

    def interrupt() -> None:
        nonlocal sent
        until(when)
        sent = time.monotonic()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    person = threading.Thread(target=interrupt)
    person.start()
    with pytest.raises(KeyboardInterrupt):
        each_at_once(2, calls)
    ended = time.monotonic()
    person.join()
    return ended - sent


def test_an_interrupt_ends_the_children_and_begins_no_further_one(stays, tmp_path):
    begun = [tmp_path / name / "stays.txt" for name in "ab"]
    calls = [lambda name=name: stays(name) for name in "abc"]
    assert interrupted(lambda: all(each.exists() for each in begun), calls) < ENDS_S / 2
    assert children_in(tmp_path) == []
    assert not (tmp_path / "c").exists()


def test_an_interrupt_ends_one_that_is_between_two_stages(stays, tmp_path, monkeypatch):
    between, killed, kill = threading.Event(), threading.Event(), pipeline.kill_children

    def kill_then_tell() -> None:
        kill()
        killed.set()

    def goes_on() -> None:
        between.set()
        assert killed.wait(ENDS_S)
        stays("a")

    monkeypatch.setattr(pipeline, "kill_children", kill_then_tell)
    seconds = interrupted(between.is_set, [goes_on])
    assert children_in(tmp_path) == []
    assert seconds < ENDS_S / 2


def test_an_error_of_one_is_raised_and_those_that_wait_do_not_begin():
    def fails() -> None:
        raise HarnessError("no space left")

    seen: list[int] = []
    with pytest.raises(HarnessError, match="no space left"):
        each_at_once(1, [fails, *(lambda i=i: (time.sleep(0.2), seen.append(i)) for i in range(9))])
    assert len(seen) <= 1  # one that began before it was known
