"""What `mai-harness bench-harness` tells is made of what it times; no speed is asserted."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image
from test_pipeline import NETWORK, harness, torch_submission

from mai_harness import bare_score as bare_module
from mai_harness import bench_harness as module
from mai_harness.bare_score import BareScoreRequest, bare_score
from mai_harness.bench_harness import HarnessReport
from mai_harness.datasets import Dataset, ImagePair, load_pair
from mai_harness.errors import ModelContractError, StageFailed
from mai_harness.interpreter import TFLiteModel
from mai_harness.metrics import METRICS
from mai_harness.pipeline import Settings
from mai_harness.records import Failure, LrImage, Model, Submission


def report(**more: Any) -> HarnessReport:
    return HarnessReport(
        **{
            "machine": "two cores", "submission": "a", "other": "b", "dataset": "photographs", "images": 6,
            "stages_s": {"export": 4.0, "score": 2.0}, "scoring_s": 6.0, "bare_s": 5.0,
            "metrics_s": {"opencv": 0.25, "scikit-image": 2.0},
            "conversions_per_minute": {"one at a time": 4.0, "two at once": 6.0},
            "one_after_the_other_s": 40.0, "at_once_s": 30.0, "walled_s": 11.0, "open_s": 10.0,
        } | more
    )  # fmt: skip


def ticking() -> SimpleNamespace:
    """A clock by which a second goes by whenever it is read."""
    return SimpleNamespace(perf_counter=itertools.count(0.0).__next__)


@pytest.mark.parametrize(
    ("ratio", "value"), [("overhead", 1.2), ("metrics_ratio", 8.0), ("at_once_ratio", 0.75), ("isolation_ratio", 1.1)]
)
def test_ratios(ratio, value):
    assert getattr(report(), ratio) == pytest.approx(value)


# Metrics


def test_both_libraries_are_timed_on_a_pair(monkeypatch):
    monkeypatch.setattr(module, "PAIR", (48, 64, 3))
    monkeypatch.setattr(module, "ROUNDS", 2)
    found = module._metrics()
    assert set(found) == {"opencv", "scikit-image"}
    assert min(found.values()) > 0


def test_the_least_of_the_rounds_counts_by_library(monkeypatch):
    rounds = iter([{"opencv": 2.0, "scikit-image": 9.0}, {"opencv": 3.0, "scikit-image": 8.0}])
    pairs = []
    monkeypatch.setattr(module, "PAIR", (48, 64, 3))
    monkeypatch.setattr(module, "ROUNDS", 2)
    monkeypatch.setattr(module, "_metric_times", lambda *pair: pairs.append(pair) or next(rounds))
    assert module._metrics() == {"opencv": 2.0, "scikit-image": 8.0}
    for image, reference in pairs:
        assert image.shape == reference.shape == (48, 64, 3)
        assert image.dtype == reference.dtype == np.uint8
        assert 25 < METRICS["psnr"].compute(image, reference) < 40  # alike, as scored images are


def test_each_library_computes_psnr_and_ssim(monkeypatch):
    asked = []
    metrics = {
        name: SimpleNamespace(implemented_by=lambda library, name=name: lambda *_: asked.append((library, name)))
        for name in METRICS
    }
    monkeypatch.setattr(module, "METRICS", metrics)
    monkeypatch.setattr(module, "time", ticking())
    image = np.zeros((12, 12, 3), np.uint8)
    assert module._metric_times(image, image) == {"opencv": 1.0, "scikit-image": 1.0}
    assert asked == [(library, name) for library in ("opencv", "scikit-image") for name in ("psnr", "ssim")]


# What cannot be left out

SHAPE = (1, 24, 32, 3)


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> BareScoreRequest:
    """Two images, and a network of INT8 with a float twin."""
    root = tmp_path_factory.mktemp("scored")
    pairs, images = [], []
    for name in ("a", "b"):
        pixels = np.kron(np.random.default_rng(ord(name)).integers(0, 256, (12, 16, 3)), np.ones((6, 6, 1)))
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{name}.png")
        pairs.append(ImagePair(name=name, hr=str(root / f"{name}.png")))
        np.save(root / f"{name}.npy", load_pair(pairs[-1])[0])
        images.append(LrImage(name=name, path=str(root / f"{name}.npy")))
    files = [tiny.write(root / f"{int8}.tflite", tiny.upscaler, SHAPE, int8=int8) for int8 in (True, False)]
    return BareScoreRequest(
        model=Model(static=str(files[0]), float32=str(files[1])), images=tuple(images),
        dataset=Dataset(name="two", pairs=tuple(pairs), fingerprint="f"),
    )  # fmt: skip


def changed(request: BareScoreRequest, **model: Any) -> BareScoreRequest:
    return BareScoreRequest(
        model=Model(**{"static": request.model.static} | model), images=request.images, dataset=request.dataset
    )


def test_interpreter_and_metrics_are_both_timed(scored):
    found = bare_score(scored, Path("/nowhere"))
    assert found.interpreter_s > 0
    assert found.metrics_s > 0
    assert found.seconds == found.interpreter_s + found.metrics_s


def test_each_image_is_upscaled_by_both_networks_and_every_figure_computed(scored, monkeypatch):
    monkeypatch.setattr(bare_module, "time", ticking())
    found = bare_score(scored, Path("/nowhere"))
    of_int8, of_float = (sum(reading in metric.readings for metric in METRICS.values()) for reading in ("raw", "fp32"))
    assert (found.interpreter_s, found.metrics_s) == (2 * 2, 2 * (of_int8 + of_float))
    assert of_int8 > of_float > 0


def test_without_a_float_twin_there_is_half_to_do(scored, monkeypatch):
    monkeypatch.setattr(bare_module, "time", ticking())
    found = bare_score(changed(scored), Path("/nowhere"))
    assert (found.interpreter_s, found.metrics_s) == (
        2,
        2 * sum("raw" in metric.readings for metric in METRICS.values()),
    )


def test_the_dynamic_file_is_taken_where_there_is_one(scored):
    assert bare_score(changed(scored, static="/gone.tflite", dynamic=scored.model.static), Path("/nowhere")).seconds > 0


def test_a_network_of_another_scale_is_told(scored, tmp_path):
    path = tiny.write(tmp_path / "m.tflite", lambda tf, x: tf.nn.relu(x), SHAPE)
    with pytest.raises(ModelContractError, match="not to"):
        bare_score(changed(scored, static=str(path)), Path("/nowhere"))


def test_metrics_are_given_the_images_that_are_scored(scored, monkeypatch):
    """Raw bytes of INT8 and rounded values of its twin, against HR."""
    given = []

    def seen(pixels: Any, hr: Any) -> float:
        given.append((pixels, hr))
        return 0.0

    monkeypatch.setattr(bare_module, "METRICS", {"psnr": METRICS["psnr"]._replace(compute=seen)})
    bare_score(scored, Path("/nowhere"))
    assert {pixels.dtype for pixels, _ in given} == {np.dtype(np.uint8)}
    for pair, image, of_int8, of_float in zip(
        scored.dataset.pairs, scored.images, given[::2], given[1::2], strict=True
    ):
        hr, lr = np.asarray(Image.open(pair.hr)), np.load(image.path)
        for (pixels, reference), path in zip(
            (of_int8, of_float), (scored.model.static, scored.model.float32), strict=True
        ):
            np.testing.assert_array_equal(reference, hr)
            output = TFLiteModel(Path(path)).upscale(lr).astype(np.float64)
            values = output if path == scored.model.static else np.rint(output).clip(0, 255)
            np.testing.assert_array_equal(pixels, values)


# The stages of one submission

DATASET = Dataset(name="photographs", pairs=(), fingerprint="f")
SUBMISSION = Submission(name="net", title="net", kind="torch", path="", fingerprint="")


class Run:
    """In place of ``EvaluationRun``: tells stages, and fails if it is told to."""

    failure: Failure | None = None

    def __init__(self, workshop: Any, submission: Submission, prepared: str) -> None:
        self.workshop, self.submission, self.prepared, self.converted = workshop, submission, prepared, "files"
        self.found = {"failure": self.failure} if self.failure else {}

    def judge(self, _dataset: Dataset) -> None:
        for stage in ("export", "score"):
            self.workshop.tell(f"net: {stage}")

    def time(self) -> None:
        for _ in range(2):  # one that was too noisy is taken again
            self.workshop.tell("net.on-cpu: benchmark")


@pytest.fixture
def bench(tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(module, "prepare", lambda workshop, _: workshop.tell("data: prepare") or "prepared")
    monkeypatch.setattr(module, "EvaluationRun", Run)
    monkeypatch.setattr(module, "time", ticking())
    return module._Bench(Settings(out=tmp_path / "out"), tmp_path / "bench", DATASET, told.append), told


def test_stages_are_timed_from_line_to_line(bench):
    bench, told = bench
    seconds, left = bench.stages(SUBMISSION)
    assert seconds == {"prepare": 1.0, "export": 1.0, "score": 1.0, "benchmark": 2.0}
    assert left == ("prepared", "files")
    assert told[:2] == ["data: prepare", "net: export"]


def test_a_submission_that_fails_is_told_with_its_stage(bench, monkeypatch):
    monkeypatch.setattr(Run, "failure", Failure(stage="score", kind="timeout", reason="too slow"))
    with pytest.raises(StageFailed, match="too slow") as caught:
        bench[0].stages(SUBMISSION)
    assert (caught.value.stage, caught.value.kind) == ("score", "timeout")


def test_two_submissions_are_timed_in_turn_and_at_once_from_nothing(bench, monkeypatch):
    bench, _ = bench
    jobs, seen = [], []

    def part(run: Run) -> None:
        out = run.workshop.settings.out
        seen.append((run.submission.name, out.exists()))
        (out / run.submission.name).mkdir(parents=True)

    def at_once(count: int, calls: Any) -> None:
        jobs.append(count)
        seen.append("start")
        out = bench._folder / "out"
        assert not out.exists()
        for call in calls:
            call()

    monkeypatch.setattr(module, "each_at_once", at_once)
    other = Submission(name="other", title="other", kind="torch", path="", fingerprint="")
    assert bench.two((SUBMISSION, other), part) == (1.0, 1.0)
    assert jobs == [1, 2]
    assert seen == ["start", ("net", False), ("other", True)] * 2


# The whole


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_tells_all_of_it(tmp_path):
    (tmp_path / "photos").mkdir()
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (12, 15, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    for name in ("one", "other"):
        torch_submission(tmp_path, name, "", NETWORK)
    done = harness(
        tmp_path, "bench-harness", "one", "other", "--json", "--data", "photos", "--backend", "cpu", "--threads", "1",
        "--runs", "2", "--warmup", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["submission"], found["other"], found["dataset"], found["images"]) == ("one", "other", "photos", 1)
    judged = ["upscale", "score", "gallery", "yardstick", "examine", "appraise"]
    stages = ["prepare", "export", "calibrate", "quantise", "check", *judged, "benchmark"]
    assert list(found["stages_s"]) == stages
    for key in (
        "scoring_s",
        "bare_s",
        "one_after_the_other_s",
        "at_once_s",
        *("overhead", "metrics_ratio", "isolation_ratio"),
    ):
        assert found[key] > 0, key
    for key in ("stages_s", "metrics_s", "conversions_per_minute"):
        assert min(found[key].values()) > 0, key
    assert found["at_once_ratio"] == pytest.approx(found["at_once_s"] / found["one_after_the_other_s"])
    left = {path.name for path in (tmp_path / "leaderboard").rglob("*") if path.is_file()}
    assert left == {".lock"}  # all else was made in a folder that is gone
