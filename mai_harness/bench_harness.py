"""How fast the harness itself is: stages of one submission, what scoring costs around the interpreter, two at once."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from mai_harness.bare_score import BareScoreReport, BareScoreRequest
from mai_harness.datasets import Dataset
from mai_harness.errors import StageFailed
from mai_harness.machine import describe
from mai_harness.metrics import METRICS, Library
from mai_harness.pipeline import (
    Converted,
    EvaluationRun,
    Owner,
    Settings,
    Tell,
    Workshop,
    convert,
    each_at_once,
    locked,
    prepare,
    score,
)
from mai_harness.prepare import Prepared
from mai_harness.records import Record, Submission
from mai_harness.resize import Image

PAIR = (1356, 2040, 3)  # of DIV2K's validation images, most of which are about so large
ROUNDS = 5


class HarnessReport(Record, frozen=True):
    """Seconds, and ratios of two things that were timed in turns in one run."""

    machine: str
    submission: str
    other: str  #: the submission that shares the machine with it
    dataset: str
    images: int
    stages_s: dict[str, float]  #: of one submission from nothing, its runtime included
    scoring_s: float  #: upscale and score on one thread, processes and files included
    bare_s: float  #: interpreter and metrics alone, on one thread
    metrics_s: dict[str, float]  #: PSNR and SSIM of a 2040x1356 pair by each library, on one thread
    conversions_per_minute: dict[str, float]  #: one at a time, and two at once
    one_after_the_other_s: float  #: two submissions, all but their timing
    at_once_s: float
    walled_s: float  #: one submission, all but its timing, behind the walls of its isolation
    open_s: float  #: the same without them

    @property
    def isolation_ratio(self) -> float:
        """With walls over without."""
        return self.walled_s / self.open_s

    @property
    def overhead(self) -> float:
        """What scoring takes, over what cannot be left out."""
        return self.scoring_s / self.bare_s

    @property
    def metrics_ratio(self) -> float:
        """How many times as fast the metrics are as scikit-image's."""
        return self.metrics_s["scikit-image"] / self.metrics_s["opencv"]

    @property
    def at_once_ratio(self) -> float:
        """Two at once over one after the other."""
        return self.at_once_s / self.one_after_the_other_s


def bench_harness(
    settings: Settings, submissions: tuple[Submission, Submission], dataset: Dataset, tell: Tell
) -> HarnessReport:
    """Measure all of it, in a folder that goes afterwards.

    Raises:
        HarnessError: a submission cannot be evaluated.
    """
    one, other = submissions
    with tempfile.TemporaryDirectory(prefix="mai_harness-") as folder, locked(settings):
        bench = _Bench(settings, Path(folder), dataset, tell)
        stages, (prepared, converted) = bench.stages(one)
        scoring_s, bare_s = bench.overhead(one, prepared, converted)
        in_turn_s, at_once_s = bench.two(submissions, lambda run: run.judge(dataset))
        walled_s, open_s = bench.walls(one)
        one_at_a_time_s, two_at_once_s = bench.two(submissions, _only_convert)
    return HarnessReport(
        machine=describe(),
        submission=one.name,
        other=other.name,
        dataset=dataset.name,
        images=len(dataset.pairs),
        stages_s=stages,
        scoring_s=scoring_s,
        bare_s=bare_s,
        metrics_s=_metrics(),
        conversions_per_minute={"one at a time": 120 / one_at_a_time_s, "two at once": 120 / two_at_once_s},
        one_after_the_other_s=in_turn_s,
        at_once_s=at_once_s,
        walled_s=walled_s,
        open_s=open_s,
    )


class _Bench:
    def __init__(self, settings: Settings, folder: Path, dataset: Dataset, tell: Tell) -> None:
        self._settings = settings
        self._folder = folder
        self._dataset = dataset
        self._tell = tell

    @contextmanager
    def _fresh(self, **changes: object) -> Iterator[Workshop]:
        """A workshop in which nothing is done yet."""
        out = self._folder / "out"
        yield Workshop(replace(self._settings, out=out, **changes), self._tell)  # type: ignore[arg-type]
        shutil.rmtree(out, ignore_errors=True)

    def stages(self, submission: Submission) -> tuple[dict[str, float], tuple[Prepared, Converted]]:
        """Seconds by stage, and what they left, in a folder that stays."""
        seconds: dict[str, float] = {}
        last: list[tuple[str, float]] = []

        def stamp(line: str) -> None:
            now = time.perf_counter()
            if last:
                name, since = last.pop()
                seconds[name] = seconds.get(name, 0.0) + now - since
            last.append((line.rpartition(": ")[2], now))
            self._tell(line)

        workshop = Workshop(replace(self._settings, out=self._folder / "kept"), stamp)
        run = EvaluationRun(workshop, submission, prepare(workshop, self._dataset))
        run.judge(self._dataset)
        run.time()
        stamp("end")
        if "failure" in run.found:
            failure = run.found["failure"]
            raise StageFailed(failure.reason, failure.kind, failure.stage)
        return seconds, (run.prepared, run.converted)

    def overhead(self, submission: Submission, prepared: Prepared, converted: Converted) -> tuple[float, float]:
        """Least seconds of scoring on one thread, by the harness and bare, in turns."""
        request = BareScoreRequest(model=converted.files, images=prepared.images, dataset=self._dataset)
        harness, bare = [], []
        for _ in range(3):
            with self._fresh(scoring_threads=1) as workshop:
                start = time.perf_counter()
                score(workshop, submission, converted, self._dataset, prepared)
                harness.append(time.perf_counter() - start)
                bare.append(workshop.run(Owner("bare", ""), "bare_score", request, BareScoreReport).seconds)
        return min(harness), min(bare)

    def walls(self, submission: Submission) -> tuple[float, float]:
        """Least seconds of one submission behind walls and without, in turns."""
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(3):
            for walls in seconds:
                with self._fresh(walls=walls) as workshop:
                    run = EvaluationRun(workshop, submission, prepare(workshop, self._dataset))
                    start = time.perf_counter()
                    run.judge(self._dataset)
                    seconds[walls].append(time.perf_counter() - start)
        return min(seconds[True]), min(seconds[False])

    def two(self, submissions: Sequence[Submission], part: Callable[[EvaluationRun], None]) -> tuple[float, float]:
        """Seconds for both submissions, one after the other and at once."""
        seconds = []
        for jobs in (1, 2):
            with self._fresh() as workshop:
                prepared = prepare(workshop, self._dataset)
                runs = [EvaluationRun(workshop, submission, prepared) for submission in submissions]
                start = time.perf_counter()
                each_at_once(jobs, [partial(part, run) for run in runs])
                seconds.append(time.perf_counter() - start)
        return seconds[0], seconds[1]


def _only_convert(run: EvaluationRun) -> None:
    convert(run.workshop, run.submission, run.prepared, run.converted)


def _metrics() -> dict[str, float]:
    """Least seconds of PSNR and SSIM by library, in turns."""
    import numpy as np

    rng = np.random.default_rng(0)
    reference = np.repeat(np.repeat(rng.integers(0, 256, (PAIR[0] // 4, PAIR[1] // 4, 3)), 4, 0), 4, 1)
    image = np.clip(reference + rng.normal(0, 6, PAIR), 0, 255).astype(np.uint8)
    rounds = [_metric_times(image, reference.astype(np.uint8)) for _ in range(ROUNDS)]
    return {library: min(each[library] for each in rounds) for library in rounds[0]}


def _metric_times(image: Image, reference: Image) -> dict[Library, float]:
    libraries: tuple[Library, ...] = ("opencv", "scikit-image")
    seconds: dict[Library, float] = {}
    for library in libraries:
        start = time.perf_counter()
        for name in ("psnr", "ssim"):
            METRICS[name].implemented_by(library)(image, reference)
        seconds[library] = time.perf_counter() - start
    return seconds
