"""The way through: discover, train, export, quantise, check, upscale, score, gallery, benchmark, diagnose.

Every stage that touches a submission runs in a child process, and leaves its result in a folder named by a hash of
all that it depends on: a stage whose folder holds a result is not run again. No stage's logic is here.
"""

import fcntl
import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from mai_harness import __version__
from mai_harness.appraise import AppraiseRequest
from mai_harness.backends import Choice, find
from mai_harness.bench_loader import LoaderReport, LoaderRequest
from mai_harness.benchmark import BenchmarkReport, BenchmarkRequest
from mai_harness.calibrate import CALIBRATED_FILE, FLOAT_FILE, CalibrateRequest, NetworkKind
from mai_harness.challenge import with_scores
from mai_harness.check import CheckRequest
from mai_harness.compare import CompareReport, CompareRequest
from mai_harness.datasets import Dataset, probe_file, training_images
from mai_harness.decode import DecodeRequest, ImageFile
from mai_harness.diagnose import diagnose
from mai_harness.discover import LEARNED_FILE, discover, named
from mai_harness.errors import DataNotFound, HarnessError, InvalidSubmission, StageFailed, printable
from mai_harness.examine import Chosen, ExamineRequest
from mai_harness.export import ONNX_FILE, ExportRequest
from mai_harness.gallery import GalleryRequest
from mai_harness.isolate import Access, intact_reply, kill_children, run_isolated, unpack
from mai_harness.machine import describe, versions
from mai_harness.metrics import FIGURES, Library
from mai_harness.patches import Decoded
from mai_harness.prepare import Prepared
from mai_harness.qat import QatRequest
from mai_harness.quantise import DYNAMIC_FILE, MENDED_FILE, STATIC_FILE, UNROUNDED_FILE, QuantiseRequest, without
from mai_harness.records import (
    AppraiseReport,
    BackendReport,
    CalibrateReport,
    CheckReport,
    Evaluation,
    ExamineReport,
    ExportReport,
    Failure,
    Gain,
    GalleryReport,
    Model,
    QatReport,
    QuantiseReport,
    Record,
    Rejection,
    Results,
    ScoreReport,
    Submission,
    TrainRecipe,
    TrainReport,
    UpscaleReport,
    WeightsCard,
)
from mai_harness.score import ScoreRequest
from mai_harness.storage import SCHEMA_VERSION, file_name, write_bytes
from mai_harness.study import (
    STUDY_SCHEMA_VERSION,
    PlannedRow,
    RowFailure,
    StudyResults,
    StudyRow,
    Training,
    find_study,
    judged,
)
from mai_harness.timing import TimingPlan, is_noisy
from mai_harness.train import WEIGHTS_FILE, TrainRequest
from mai_harness.upscale import UpscaleRequest
from mai_harness.yardstick import YardstickReport, YardstickRequest

R = TypeVar("R", bound=Record)
Tell = Callable[[str], None]
CARD_FILE = "weights.json"
EXAMINED = 6  # images from which samples are taken
WHOLE_IMAGES = 2  # that are examined whole
TRIES = 3  # of a timing that comes out too noisy to rank
_YARDSTICK = Lock()
_PICTURES = Lock()
# Modules and packages without influence on a stage's result: a change there leaves stored results valid.
PRESENTATION = {
    "__main__", "bench_harness", "challenge", "copies", "diagnose", "download", "history", "metanodes", "pipeline",
    "render", "scaffold", "serve", "site", "storage", "study", "verify",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a person may choose for a run."""

    submissions: Path = Path("submissions")
    out: Path = Path("leaderboard")
    data: Path | None = None  #: DIV2K, or a folder of images or image pairs; the embedded photographs by default
    timeout_s: float = 600.0  #: of each stage but training
    shave: int = 0  #: border pixels left out of the scores
    metrics: Library = "opencv"  #: that computes PSNR and SSIM
    scoring_threads: int | None = None  #: of the interpreter, and images scored at once; all cores by default
    backends: tuple[Choice, ...] = (Choice(name="cpu"), Choice(name="npu"))  #: the first ranks
    plan: TimingPlan = field(default_factory=TimingPlan)
    formula: str = "mai2021"  #: of ``challenge.FORMULAS``
    jobs: int = 1  #: submissions at once, but for timing, which has the machine to itself
    without: tuple[str, ...] = ()  #: rewrites of the graph to leave out
    walls: bool = True  #: around stages; without them to tell what they cost, and for nothing else

    @property
    def work(self) -> Path:
        """Where stages leave their results."""
        return (self.out / "work").resolve()


class Owner(NamedTuple):
    """Whose stage it is, and a hash of its files."""

    folder: str
    fingerprint: str


class Workshop:
    """Runs stages in children, and remembers what they left.

    Args:
        settings: of the run.
        tell: called with a line for a person when a stage starts, or says something.
    """

    def __init__(self, settings: Settings, tell: Tell) -> None:
        self.settings = settings
        self.tell = tell
        self._code = _code_fingerprint()

    def run(
        self,
        owner: Owner,
        stage: str,
        request: Record,
        report: type[R],
        *,
        patient: bool = False,
        gpu: bool = False,
        sent: Record | None = None,
        photographs: bool = False,
        confined: bool = True,
    ) -> R:
        """The stage's report; its files are in :meth:`folder`.

        Args:
            stage: both the module and the name told to people.
            request: all that the report depends on.
            patient: no time limit, and the child's lines are told.
            gpu: the child sees the machine's GPUs.
            sent: what the child is given, if it is told more than its report depends on.
            photographs: the child sees those that come along, the scored ones too; for stages that run no model of a
                submission's.
            confined: as in :func:`mai_harness.isolate.run_isolated`.

        Raises:
            StageFailed: as in :func:`mai_harness.isolate.run_isolated`.
        """
        done = self.finished(owner, stage, request, report)
        if done is not None:
            return done
        with _named_in_failures(stage):
            folder = self.folder(owner, stage, request)
            self.discard(owner, stage, keep=folder)
            self.tell(f"{owner.folder}: {stage}")
            call = f"mai_harness.{stage}:{stage}"
            limit, on_line = (None, self.tell) if patient else (self.settings.timeout_s, None)
            walled = confined and self.settings.walls
            access = Access(gpu=gpu, photographs=photographs, confined=walled)
            return run_isolated(call, sent or request, folder, report, limit, on_line, access)

    def finished(self, owner: Owner, stage: str, request: Record, report: type[R]) -> R | None:
        """What an earlier run left, ``None`` if nothing; a stage that ran out of time may have more of it now.

        Raises:
            StageFailed: it failed then, in a way that it would again.
        """
        reply = intact_reply(self.folder(owner, stage, request))
        if reply is None or (reply.timeout_s is not None and reply.timeout_s < self.settings.timeout_s):
            return None
        with _named_in_failures(stage):
            return unpack(reply, report)

    def folder(self, owner: Owner, stage: str, request: Record) -> Path:
        """Where the stage's files are, or will be."""
        key = self._code + owner.fingerprint.encode() + stage.encode() + msgspec.json.encode(request)
        return self.settings.work / owner.folder / f"{stage}-{hashlib.sha256(key).hexdigest()[:20]}"

    def discard(self, owner: Owner, stage: str, keep: Path | None = None) -> None:
        """Remove what the stage left, but for one folder."""
        for old in (self.settings.work / owner.folder).glob(f"{stage}-*"):
            if old != keep:
                shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _named_in_failures(stage: str) -> Iterator[None]:
    try:
        yield
    except StageFailed as error:
        error.stage = stage
        raise


@cache
def _code_fingerprint() -> bytes:
    digest = hashlib.sha256(msgspec.json.encode(versions()))
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0].removesuffix(".py") not in PRESENTATION:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.digest()


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Keep a second run out of the same output folder; the lock goes when the process does.

    Raises:
        HarnessError: another run holds it.
    """
    settings.work.mkdir(parents=True, exist_ok=True)
    with (settings.work / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reason = f"another run is using {settings.out}; wait for its end or choose another --out"
            raise HarnessError(reason) from None
        yield


# What the commands are made of


def owner_of(submission: Submission) -> Owner:
    """The submission's folder name below ``work``, and what its results depend on."""
    return Owner(file_name(submission.name), submission.fingerprint)


def prepare(workshop: Workshop, dataset: Dataset) -> Prepared:
    """LR images and calibration frames on disk.

    Raises:
        StageFailed: an image cannot be used.
    """
    return workshop.run(Owner("data", dataset.fingerprint), "prepare", dataset, Prepared, photographs=True)


def train(workshop: Workshop, submission: Submission, devices: int | None = None) -> tuple[TrainReport, Path]:
    """Weights by the submission's own recipe: the report and the file.

    Args:
        devices: GPUs, or processes where there is none; by default all GPUs, or one process. Training may go on
            with other devices than it began with.

    Raises:
        StageFailed: it has no recipe, there are no training images, or training failed.
    """
    owner, blank, recipe = _to_train(submission)
    start = None if recipe.start is None else Path(submission.path).parent / recipe.start
    if start is not None and not start.is_file():
        raise StageFailed(f"{submission.name}: start = {recipe.start!r} is not there", stage="train")
    request = TrainRequest(
        submission=blank,
        recipe=recipe,
        images=str(_decoded(workshop, submission)),
        start=None if start is None else str(start),
        start_sha256="" if start is None else hashlib.sha256(start.read_bytes()).hexdigest(),
    )
    sent = msgspec.structs.replace(request, devices=devices)
    report = workshop.run(owner, "train", request, TrainReport, patient=True, gpu=True, sent=sent)
    return report, workshop.folder(owner, "train", request) / WEIGHTS_FILE


def bench_loader(workshop: Workshop, submission: Submission, steps: int) -> LoaderReport:
    """What loading costs a training step of the submission.

    Args:
        steps: how many are timed with the loader, and as many without.

    Raises:
        StageFailed: as in :func:`train`.
    """
    owner, blank, recipe = _to_train(submission)
    images = str(_decoded(workshop, submission))
    request = LoaderRequest(submission=blank, recipe=recipe, images=images, steps=steps)
    workshop.discard(owner, "bench_loader")
    return workshop.run(owner, "bench_loader", request, LoaderReport, gpu=True)


def _to_train(submission: Submission) -> tuple[Owner, Submission, TrainRecipe]:
    """Owner, submission and recipe, without all that has no say in how new weights come about.

    That is the weights that are there, what is to be done with the new ones, and the words of the description.
    """
    if submission.kind != "torch" or submission.train is None:
        raise StageFailed(f"{submission.name} has no [train] section in submission.toml", stage="train")
    source = hashlib.sha256(Path(submission.path).read_bytes()).hexdigest()
    recipe = msgspec.structs.replace(submission.train, qat=None)
    blank = msgspec.structs.replace(
        submission, weights=None, learned=None, train=recipe, fingerprint=source, title="", authors=(), description=""
    )
    return Owner(file_name(submission.name), source), blank, recipe


def _decoded(workshop: Workshop, submission: Submission) -> Path:
    """The training images' folder; they are decoded once for all submissions."""
    images = tuple(map(ImageFile.at, _training_images(workshop, submission)))
    request = DecodeRequest(images=images, halves=submission.train is not None and submission.train.halves)
    owner = Owner("data", "training images")
    workshop.run(owner, "decode", request, Decoded, patient=True)
    return workshop.folder(owner, "decode", request)


def _training_images(workshop: Workshop, submission: Submission) -> list[Path]:
    if workshop.settings.data is None:
        reason = (
            f"{submission.name} has no weights, and there is no data to train it on: give a folder that has "
            "DIV2K_train_HR with --data or MAI_DATA_ROOT, or fetch it with: mai-harness data download train"
        )
        raise StageFailed(reason, stage="train")
    try:
        return [path.resolve() for path in training_images(workshop.settings.data)]
    except DataNotFound as error:
        raise StageFailed(str(error), stage="train") from None


@dataclass(kw_only=True)
class Converted:
    """A submission's TFLite files, and the reports of the stages that made them; filled as they finish."""

    model: Model | None = None
    export: ExportReport | None = None
    calibrate: CalibrateReport | None = None
    quantise: QuantiseReport | None = None
    onnx: str | None = None  #: that the float TFLite file was made of
    without: dict[str, str] = field(default_factory=dict)  #: rewrite -> INT8 file without it

    @property
    def files(self) -> Model:
        """The TFLite files.

        Raises:
            StageFailed: there are none yet.
        """
        if self.model is None:
            raise StageFailed("there is no TFLite file", stage="quantise")
        return self.model


def as_submitted(submission: Submission) -> Model:
    """The files of a TFLite submission, taken as they are."""
    return Model(static=submission.path, dynamic=submission.dynamic_path)


def convert(workshop: Workshop, submission: Submission, prepared: Prepared, done: Converted) -> None:
    """Bring a submission to TFLite, filling ``done``.

    Raises:
        StageFailed: the submission cannot be brought there.
    """
    if submission.kind == "tflite":
        done.model = as_submitted(submission)
        return
    weights, learned = submission.weights, submission.learned
    if weights is None and submission.train is not None:
        made = train(workshop, submission)[1]
        weights, learned = str(made), None
        if submission.train.qat is not None:
            learned = str(learn(workshop, submission, made, prepared)[1])
    calibrated = calibrate(workshop, submission, weights, prepared, done)
    quantise(workshop, submission, calibrated, learned, prepared, done)


def quantise(
    workshop: Workshop,
    submission: Submission,
    calibrated: Path,
    learned: str | None,
    prepared: Prepared,
    done: Converted,
) -> None:
    """Make the INT8 TFLite files, filling ``done``.

    Args:
        calibrated: the folder that :func:`calibrate` names, which has filled ``done`` too.
        learned: weights and ranges of quantisation-aware training; ``None`` to quantise after training.

    Raises:
        StageFailed: the network cannot be quantised.
    """
    request = QuantiseRequest(
        calibrated=str(calibrated / CALIBRATED_FILE),
        float32=str(calibrated / FLOAT_FILE),
        clipped=done.calibrate is not None and done.calibrate.clipped_output,
        probe=prepared.calibration[0],
        learned=None if workshop.settings.without else learned,  # it is of the graph with all rewrites
        without=workshop.settings.without,
    )
    owner = owner_of(submission)
    done.quantise = workshop.run(owner, "quantise", request, QuantiseReport)
    folder = workshop.folder(owner, "quantise", request)
    done.without = {" and ".join(ids): str(folder / name) for name, ids in without(done.quantise.rewrites).items()}
    done.model = Model(
        static=str(folder / STATIC_FILE),
        dynamic=str(folder / DYNAMIC_FILE) if done.quantise.dynamic else None,
        float32=str(calibrated / FLOAT_FILE),
        mended=None if request.clipped else str(folder / MENDED_FILE),
        unrounded=str(folder / UNROUNDED_FILE),
    )


def calibrate(
    workshop: Workshop, submission: Submission, weights: str | None, prepared: Prepared, done: Converted
) -> Path:
    """The float TFLite files' folder, filling ``done``.

    Raises:
        StageFailed: the submission cannot be brought there.
    """
    owner = owner_of(submission)
    kind: NetworkKind
    if submission.kind == "keras" or submission.kind == "saved_model":
        kind, path = submission.kind, submission.path
    else:
        to_onnx = ExportRequest(
            submission=submission, weights=weights, probe=prepared.calibration[0], without=workshop.settings.without
        )
        done.export = workshop.run(owner, "export", to_onnx, ExportReport)
        done.onnx = str(workshop.folder(owner, "export", to_onnx) / ONNX_FILE)
        kind, path = "onnx", done.onnx
    request = CalibrateRequest(kind=kind, path=path, frames=prepared.calibration)
    done.calibrate = workshop.run(owner, "calibrate", request, CalibrateReport)
    return workshop.folder(owner, "calibrate", request)


def learn(
    workshop: Workshop, submission: Submission, weights: Path, prepared: Prepared, devices: int | None = None
) -> tuple[QatReport, Path]:
    """Quantisation-aware training by the submission's own recipe: the report and the file.

    Args:
        weights: of the float training that it goes on from.
        devices: as in :func:`train`.

    Raises:
        StageFailed: it has no recipe, there are no training images, or training failed.
    """
    owner, blank, _ = _to_train(submission)
    recipe = submission.train.qat if submission.train else None
    if recipe is None:
        raise StageFailed(f"{submission.name} has no [train.qat] section in submission.toml", stage="qat")
    owner = Owner(owner.folder, hashlib.sha256(owner.fingerprint.encode() + weights.read_bytes()).hexdigest())
    # Under a name of its own, so that this graph and the evaluated one do not discard each other.
    apart = msgspec.structs.replace(blank, name=f"{blank.name}.learn", fingerprint=owner.fingerprint)
    calibrated = calibrate(workshop, apart, str(weights), prepared, Converted())
    images = str(_decoded(workshop, submission))
    request = QatRequest(calibrated=str(calibrated / CALIBRATED_FILE), recipe=recipe, images=images)
    sent = msgspec.structs.replace(request, devices=devices)
    report = workshop.run(owner, "qat", request, QatReport, patient=True, gpu=True, sent=sent)
    return report, workshop.folder(owner, "qat", request) / LEARNED_FILE


def check(workshop: Workshop, submission: Submission, converted: Converted) -> CheckReport:
    """The challenge's rules on the submission's files.

    Raises:
        StageFailed: a file is damaged.
    """
    reason = converted.quantise.dynamic_reason if converted.quantise else ""
    request = CheckRequest(model=converted.files, photograph=str(probe_file()), dynamic_reason=reason)
    return workshop.run(owner_of(submission), "check", request, CheckReport)


def score(
    workshop: Workshop,
    submission: Submission,
    converted: Converted,
    dataset: Dataset,
    prepared: Prepared,
    *,
    keep: bool = False,
) -> ScoreReport:
    """Fidelity on the data set. The upscaled images, gigabytes on DIV2K, do not stay.

    Args:
        keep: they do, for :func:`gallery`.

    Raises:
        StageFailed: a model does not run on an image.
    """
    owner, to_upscale = owner_of(submission), _to_upscale(workshop, converted, prepared)
    folder = workshop.folder(owner, "upscale", to_upscale)
    to_score = ScoreRequest(
        upscaled=str(folder),
        dataset=dataset,
        shave=workshop.settings.shave,
        metrics=workshop.settings.metrics,
        processes=workshop.settings.scoring_threads,
    )
    report = workshop.finished(owner, "score", to_score, ScoreReport)
    if report is None:
        workshop.run(owner, "upscale", to_upscale, UpscaleReport)
        report = workshop.run(owner, "score", to_score, ScoreReport)
    if not keep:
        workshop.discard(owner, "upscale")
    return report


def gallery(
    workshop: Workshop, submission: Submission, converted: Converted, dataset: Dataset, prepared: Prepared
) -> tuple[GalleryReport, Path]:
    """Pictures of the upscaled images, which do not stay: the report, and the folder of its files.

    Raises:
        StageFailed: a model does not run on an image, or an image cannot be read.
    """
    owner, to_upscale = owner_of(submission), _to_upscale(workshop, converted, prepared)
    request = GalleryRequest(
        upscaled=str(workshop.folder(owner, "upscale", to_upscale)),
        dataset=dataset,
        images=prepared.images,
        processes=workshop.settings.scoring_threads,
    )
    try:
        report = workshop.finished(owner, "gallery", request, GalleryReport)
        if report is None:
            workshop.run(owner, "upscale", to_upscale, UpscaleReport)
            report = workshop.run(owner, "gallery", request, GalleryReport)
    finally:
        workshop.discard(owner, "upscale")
    return report, workshop.folder(owner, "gallery", request)


def _to_upscale(workshop: Workshop, converted: Converted, prepared: Prepared) -> UpscaleRequest:
    return UpscaleRequest(model=converted.files, images=prepared.images, threads=workshop.settings.scoring_threads)


def examine(
    workshop: Workshop,
    submission: Submission,
    converted: Converted,
    dataset: Dataset,
    prepared: Prepared,
    scored: ScoreReport | None,
) -> tuple[ExamineReport, AppraiseReport | None]:
    """Look for what went wrong: the file run in many ways, and what came out compared with HR.

    Args:
        scored: by which the images are chosen that lose most; the first ones if it is not known.

    Raises:
        StageFailed: the file is damaged.
    """
    owner = owner_of(submission)
    yardstick = _yardstick(workshop, dataset, prepared)
    images = tuple(Chosen(place=place, image=prepared.images[place]) for place in _telling(prepared, scored))
    to_examine = ExamineRequest(
        model=converted.files,
        images=images,
        frames=prepared.calibration,
        held_out=prepared.held_out,
        whole=tuple(Chosen(place=place, image=prepared.images[place]) for place in _known(prepared, scored, yardstick)),
        threads=workshop.settings.scoring_threads,
    )
    examined = workshop.finished(owner, "examine", to_examine, ExamineReport)
    folder = workshop.folder(owner, "examine", to_examine)
    reading = "dequantised" if converted.files.float32 is None else "fp32"
    to_appraise = AppraiseRequest(
        examined=str(folder),
        dataset=dataset,
        yardstick=yardstick,
        fp32=tuple(image.figures.get(f"psnr_{reading}_db") for image in scored.images) if scored else (),
        shave=workshop.settings.shave,
    )
    appraised = workshop.finished(owner, "appraise", to_appraise, AppraiseReport)
    if examined is None or appraised is None:
        workshop.discard(owner, "examine")
        examined = workshop.run(owner, "examine", to_examine, ExamineReport)
        appraised = workshop.run(owner, "appraise", to_appraise, AppraiseReport)
        for trial in examined.trials:  # tens of megabytes each
            shutil.rmtree(trial.folder, ignore_errors=True)
    return examined, appraised


def _telling(prepared: Prepared, scored: ScoreReport | None) -> list[int]:
    """Places of the images that tell most: those that lose most in INT8, and others all over the set."""
    places = range(len(prepared.images))
    if scored is None:
        return [*places][:EXAMINED]

    def lost(place: int) -> float:
        fp32, int8 = (scored.images[place].figures.get(f"psnr_{reading}_db") for reading in ("fp32", "raw"))
        return 0.0 if fp32 is None or int8 is None else int8 - fp32

    worst = sorted(places, key=lost)[: EXAMINED // 2]
    others = [place for place in places if place not in worst]
    spread = [others[i * len(others) // (EXAMINED - len(worst))] for i in range(EXAMINED - len(worst)) if others]
    return list(dict.fromkeys([*worst, *spread]))


def _known(prepared: Prepared, scored: ScoreReport | None, yardstick: YardstickReport) -> list[int]:
    """Places of the images that it does best on, beside the reference model: any that it knows are among them."""
    places = range(len(prepared.images))

    def gain(place: int) -> float:
        if scored is None:
            return 0.0
        figures, reference = scored.images[place].figures, yardstick.scored[place].reference_db
        reached = figures.get("psnr_raw_db")
        return math.inf if reached is None else reached - (reference or 0.0)  # None: identical to HR

    return sorted(places, key=gain, reverse=True)[:WHOLE_IMAGES]


def _yardstick(workshop: Workshop, dataset: Dataset, prepared: Prepared) -> YardstickReport:
    request = YardstickRequest(
        dataset=dataset, images=prepared.images, held_out=prepared.held_out, shave=workshop.settings.shave
    )
    with _YARDSTICK:  # submissions share it
        return workshop.run(Owner("data", dataset.fingerprint), "yardstick", request, YardstickReport, photographs=True)


def benchmark(
    workshop: Workshop, submission: Submission, converted: Converted, choice: Choice, prepared: Prepared
) -> BenchmarkReport:
    """Latency of the INT8 model, and of its float twin, on one backend.

    Raises:
        StageFailed: the backend does not run this model.
        HarnessError: the backend cannot run here.
    """
    request = BenchmarkRequest(
        model=converted.files,
        without=converted.without,
        choice=choice,
        plan=plan_for(workshop, prepared),
        device=find(choice.name).device(choice),
    )
    owner = _on_backend(submission, choice)
    for _ in range(TRIES):
        report = workshop.run(owner, "benchmark", request, BenchmarkReport, confined=find(choice.name).LOCAL)
        if not is_noisy(report.measured.reports[0]):
            break
        workshop.discard(owner, "benchmark")  # so that the next try, or the next run, times again
    return report


def forget_timing(workshop: Workshop, submission: Submission, choice: Choice) -> None:
    """Have the next :func:`benchmark` measure anew."""
    workshop.discard(_on_backend(submission, choice), "benchmark")


def compare(workshop: Workshop, paths: tuple[str, str], choice: Choice, prepared: Prepared) -> CompareReport:
    """Two TFLite files against each other; timed anew each time.

    Raises:
        StageFailed: the backend does not run a file.
        HarnessError: the backend cannot run here.
    """
    plan, owner = plan_for(workshop, prepared), Owner("compare", "")
    workshop.discard(owner, "compare")
    request = CompareRequest(paths=paths, choice=choice, plan=plan, device=find(choice.name).device(choice))
    return workshop.run(owner, "compare", request, CompareReport, confined=find(choice.name).LOCAL)


def _on_backend(submission: Submission, choice: Choice) -> Owner:
    """Of its own for each backend, so that none discards another's timings."""
    owner = owner_of(submission)
    return Owner(f"{owner.folder}.on-{file_name(str(choice))}", owner.fingerprint)


def plan_for(workshop: Workshop, prepared: Prepared) -> TimingPlan:
    """The settings' plan with a photograph to run on."""
    return msgspec.structs.replace(workshop.settings.plan, frame=prepared.calibration[0].path)


# The whole


def evaluate(settings: Settings, dataset: Dataset, names: Sequence[str], tell: Tell) -> Results:
    """Evaluate the submissions of these names, or all; what fails is a row of the results with its stage and reason.

    Args:
        tell: called with a line for a person when something starts.

    Raises:
        HarnessError: there is no such submission, an image cannot be used, a backend cannot run here, or another run
            is under way.
    """
    for choice in settings.backends:
        find(choice.name).device(choice)  # told now, and not when all else is done
    submissions, rejections = discover(settings.submissions)
    if names:
        submissions = [named(name, submissions, rejections) for name in dict.fromkeys(names)]
        rejections = []
    with locked(settings):
        prepared = prepare(Workshop(settings, tell), dataset)
        runs = [
            EvaluationRun(Workshop(settings, _placed(tell, index, len(submissions))), submission, prepared)
            for index, submission in enumerate(submissions, 1)
        ]
        each_at_once(settings.jobs, [partial(run.judge, dataset) for run in runs])
        for run in runs:
            run.time()
    done = {run.submission.name: run.evaluation() for run in runs} | {r.name: _rejected(r) for r in rejections}
    results = Results(
        schema_version=SCHEMA_VERSION,
        formula=settings.formula,
        submissions=tuple(done[name] for name in sorted(done)),
        **circumstances(dataset),
    )
    return with_scores(results)


def _placed(tell: Tell, index: int, count: int) -> Tell:
    return lambda line: tell(f"[{index}/{count}] {line}")


def each_at_once(jobs: int, calls: Sequence[Callable[[], None]]) -> None:
    """Call each, so many at once. Whatever ends this, no child goes on."""
    pool = ThreadPoolExecutor(jobs)
    futures = [pool.submit(call) for call in calls]
    try:
        for future in futures:
            future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Again and again, for one that was between two stages begins its next.
        while not all(future.done() for future in futures):
            kill_children()
            time.sleep(0.05)
        raise
    finally:
        pool.shutdown()


def circumstances(dataset: Dataset) -> dict[str, Any]:
    """The fields of :class:`mai_harness.records.Circumstances` but for the schema's version."""
    return {
        "harness_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "versions": {name: version for name, version in versions().items() if version is not None},
        "dataset": dataset.name,
    }


def failure(error: StageFailed) -> Failure:
    """What a row of the results says of it."""
    return Failure(
        stage=error.stage, kind=error.kind, reason=str(error), output_shape=error.output_shape,
        not_finite=error.not_finite,
    )  # fmt: skip


def _without_places(text: str, settings: Settings) -> str:
    """The text without the folders of this machine that the submissions and the results are in."""
    for folder in (settings.submissions, settings.out):
        text = text.replace(f"{folder}/", f"{folder.name}/")
    return text


@dataclass
class EvaluationRun:
    """One submission on its way through the stages, up to the first that fails; what was measured before is kept."""

    workshop: Workshop
    submission: Submission
    prepared: Prepared
    converted: Converted = field(default_factory=Converted)
    found: dict[str, Any] = field(default_factory=dict)
    given: str | None = None  #: float TFLite that a TFLite submission was made of

    def judge(self, dataset: Dataset) -> None:
        """Convert, check and score: what may share the machine with other submissions."""
        with self._survived():
            self._judge(dataset)

    def time(self) -> None:
        """Time it on every backend. One that cannot costs only its own figures, unless it is the one that ranks."""
        with self._survived():
            self._time()

    @contextmanager
    def _survived(self) -> Iterator[None]:
        """A fault of ours that a submission brings to light ends that submission, and not the run."""
        try:
            yield
        except (HarnessError, OSError):  # what a person has to mend first: a device, a full disk
            raise
        except Exception as error:
            reason = f"the harness itself failed, please report it: {type(error).__name__}: {str(error)[:300]}"
            self.found.setdefault("failure", Failure(stage="harness", kind="error", reason=printable(reason)))

    def _judge(self, dataset: Dataset) -> None:
        try:
            convert(self.workshop, self.submission, self.prepared, self.converted)
            if self.given is not None:
                self.converted.model = msgspec.structs.replace(self.converted.files, float32=self.given)
            self.found["check"] = check(self.workshop, self.submission, self.converted)
            self.found["score"] = score(
                self.workshop, self.submission, self.converted, dataset, self.prepared, keep=True
            )
            _package(self.workshop.settings, self.submission, self.converted)
        except StageFailed as error:
            self.found["failure"] = failure(error)
        self._picture(dataset)
        self._examine(dataset)

    def _picture(self, dataset: Dataset) -> None:
        """Lay pictures out of what was scored. If that fails itself, it is told and costs no more."""
        if "score" not in self.found:
            return
        try:
            report, folder = gallery(self.workshop, self.submission, self.converted, dataset, self.prepared)
            _hang(self.workshop.settings, report, folder)
            self.found["gallery"] = report
        except StageFailed as error:
            self.workshop.tell(f"{self.submission.name}: no pictures, {error.stage}: {error}")

    def _examine(self, dataset: Dataset) -> None:
        """Look for what went wrong, also where a stage failed. If that fails itself, it is told and costs no more."""
        failed: Failure | None = self.found.get("failure")
        if self.converted.model is None or (failed is not None and failed.stage == "check"):  # no TFLite file to open
            return
        try:
            found = examine(
                self.workshop, self.submission, self.converted, dataset, self.prepared, self.found.get("score")
            )
            self.found["examine"], self.found["appraise"] = found
        except StageFailed as error:
            self.workshop.tell(f"{self.submission.name}: not diagnosed, {error.stage}: {error}")

    def _time(self) -> None:
        if "failure" in self.found:
            return
        for choice in self.workshop.settings.backends:
            measured, gains = BackendReport(backend=str(choice), reports=()), tuple[Gain, ...]()
            try:
                timed = benchmark(self.workshop, self.submission, self.converted, choice, self.prepared)
                measured, gains = timed.measured, timed.gains
            except HarnessError as error:  # one of its device too, which may have gone meanwhile
                measured = msgspec.structs.replace(measured, refusals=(str(error),))
                if choice == self.workshop.settings.backends[0]:
                    kind = error.kind if isinstance(error, StageFailed) else "error"
                    self.found["failure"] = Failure(stage="benchmark", kind=kind, reason=str(error))
            self.found["runtime"] = (*self.found.get("runtime", ()), measured)
            self.found["gains"] = (*self.found.get("gains", ()), *gains)

    def evaluation(self) -> Evaluation:
        """What is known now, with findings."""
        if "failure" in self.found:  # it is published
            reason = _without_places(self.found["failure"].reason, self.workshop.settings)
            self.found["failure"] = msgspec.structs.replace(self.found["failure"], reason=reason)
        evaluation = Evaluation(
            name=self.submission.name,
            title=self.submission.title,
            kind=self.submission.kind,
            authors=self.submission.authors,
            description=self.submission.description,
            fingerprint=self.submission.fingerprint,
            training=training_of(self.submission),
            export=self.converted.export,
            calibrate=self.converted.calibrate,
            quantise=self.converted.quantise,
            **self.found,
        )
        return msgspec.structs.replace(evaluation, findings=diagnose(evaluation), summary=summary(evaluation))


def diagnosed(
    settings: Settings,
    submission: Submission,
    dataset: Dataset,
    twin: tuple[Settings, Submission] | None,
    tell: Tell,
) -> Evaluation:
    """One submission with its findings, outside the board; its runtime is taken from the backends as it is.

    Args:
        twin: the float network that a TFLite submission was made of, and where its stages lie.

    Raises:
        HarnessError: an image cannot be used, or a backend cannot run here.
    """
    workshop = Workshop(settings, tell)
    run = EvaluationRun(workshop, submission, prepare(workshop, dataset))
    if twin is not None:
        run.given = _float_twin(*twin, run.prepared, tell)
    run.judge(dataset)
    run.time()
    failed: Failure | None = run.found.get("failure")
    if failed is not None and failed.stage == "benchmark":  # no runtime is no failure of the network's pixels
        del run.found["failure"]
    return run.evaluation()


def _float_twin(settings: Settings, submission: Submission, prepared: Prepared, tell: Tell) -> str:
    if submission.kind == "tflite":
        return submission.path
    calibrated = calibrate(Workshop(settings, tell), submission, submission.weights, prepared, Converted())
    return str(calibrated / FLOAT_FILE)


def training_of(submission: Submission) -> WeightsCard | None:
    """The card beside the submission's weights; ``None`` without one, or if it is of other weights."""
    if submission.weights is None:
        return None
    weights = Path(submission.weights)
    try:
        card = msgspec.json.decode((weights.parent / CARD_FILE).read_bytes(), type=WeightsCard)
    except (OSError, msgspec.DecodeError):
        return None
    return card if hashlib.sha256(weights.read_bytes()).hexdigest() == card.training.weights_sha256 else None


def summary(evaluation: Evaluation) -> dict[str, float | None]:
    """The figures that tables show: means of the scores, and median latencies in ms; ``None`` where not measured."""
    means = {f.key: evaluation.score.mean(f.key) if evaluation.score else None for f in FIGURES}
    int8, fp32 = evaluation.latency("int8"), evaluation.latency("fp32")
    return {
        **means,
        "latency_ms": int8.latency_ms if int8 else None,
        "latency_fp32_ms": fp32.latency_ms if fp32 else None,
    }


def merged(results: Results, earlier: Results, settings: Settings) -> Results:
    """``results`` of some submissions with the earlier ones of others, where these would come out the same now.

    That is, where their files are what they were, and data, machine and versions are those of ``results``.
    """
    submissions, rejections = discover(settings.submissions)
    present = {s.name: s.fingerprint for s in submissions} | {r.name: "" for r in rejections}
    fresh = {evaluation.name for evaluation in results.submissions}
    kept = [e for e in earlier.submissions if e.name not in fresh and present.get(e.name) == e.fingerprint]
    if not _comparable(results, earlier):
        kept = []
    both = sorted([*results.submissions, *kept], key=lambda evaluation: evaluation.name)
    return with_scores(msgspec.structs.replace(results, submissions=tuple(both)))


def _comparable(results: Results, earlier: Results) -> bool:
    if any(getattr(results, field) != getattr(earlier, field) for field in ("machine", "versions", "dataset")):
        return False
    ways: tuple[Callable[[Evaluation], Any], ...] = (
        lambda e: e.score and (e.score.dataset_fingerprint, e.score.shave),
        lambda e: tuple(each.backend for each in e.runtime),
    )
    for way in ways:
        new, old = ({found for e in each.submissions if (found := way(e))} for each in (results, earlier))
        if new and old and new != old:  # a run in which all failed says nothing against the others
            return False
    return True


def _rejected(rejection: Rejection) -> Evaluation:
    failure = Failure(stage="discover", kind="error", reason=rejection.reason)
    return Evaluation(name=rejection.name, title=rejection.name, kind="unknown", failure=failure)


def _package(settings: Settings, submission: Submission, converted: Converted) -> None:
    """Lay the files out as the challenge takes them, and the network's ONNX form beside them."""
    folder = settings.out / "packages" / file_name(submission.name)
    model = converted.files
    for source, name in ((model.static, STATIC_FILE), (model.dynamic, DYNAMIC_FILE), (converted.onnx, ONNX_FILE)):
        if source is not None:
            write_bytes(folder / name, Path(source).read_bytes())
        else:
            (folder / name).unlink(missing_ok=True)


def _hang(settings: Settings, report: GalleryReport, folder: Path) -> None:
    """Lay the gallery's files out, but for those that are there: their names tell their bytes."""
    with _PICTURES:  # submissions have pictures in common
        for name in {name for window in report.windows for name in window.pictures.values()}:
            if not (settings.out / "pictures" / name).exists():
                write_bytes(settings.out / "pictures" / name, (folder / name).read_bytes())


# A study


def study(settings: Settings, name: str, dataset: Dataset, tell: Tell) -> StudyResults:
    """Measure every row of a study; what fails is told in its row.

    Args:
        tell: called with a line for a person when something starts.

    Raises:
        HarnessError: there is no such study, an image cannot be used, or another run is under way.
    """
    folder, manifest = find_study(settings.submissions, name)
    entries = {entry.name: entry for found in discover(folder) for entry in found}
    with locked(settings):
        prepared = prepare(Workshop(settings, tell), dataset)
        rows = []
        for index, planned in enumerate(manifest.rows, 1):
            place = f"[{index}/{len(manifest.rows)}]"
            workshop = Workshop(settings, lambda line, place=place: tell(f"{place} {line}"))  # type: ignore[misc]
            rows.append(study_row(workshop, name, planned, entries[planned.submission], dataset, prepared))
    return StudyResults(
        schema_version=STUDY_SCHEMA_VERSION,
        command=f"mai-harness study {name}" + (" --data DIR" if settings.data else ""),
        name=name,
        title=manifest.title,
        about=manifest.about,
        source=manifest.source,
        reference=manifest.reference,
        caveats=manifest.caveats,
        rows=judged(rows, manifest.reference),
        **circumstances(dataset),
    )


def study_row(
    workshop: Workshop,
    study: str,
    planned: PlannedRow,
    entry: Submission | Rejection,
    dataset: Dataset,
    prepared: Prepared,
) -> StudyRow:
    """One network of the study of that name as FP32, PTQ and QAT; what fails costs only what depends on it."""
    failures: list[RowFailure] = []
    found: dict[str, Any] = {"title": entry.name}
    with _noted(failures, "network"):
        if isinstance(entry, Rejection):
            raise InvalidSubmission(entry.reason)
        found |= {"title": entry.title, "fingerprint": entry.fingerprint}
        # Of its own name, for a submission of the board may be called the same.
        network = msgspec.structs.replace(entry, name=f"{study}.{entry.name}")
        _measure(workshop, network, dataset, prepared, found, failures)
    return StudyRow(
        name=planned.submission,
        group=planned.group,
        paper=planned.paper,
        remark=planned.remark,
        failures=tuple(failures),
        **found,
    )


def _measure(
    workshop: Workshop,
    network: Submission,
    dataset: Dataset,
    prepared: Prepared,
    found: dict[str, Any],
    failures: list[RowFailure],
) -> None:
    """Fill ``found`` with the fields of a :class:`StudyRow`, and ``failures``."""
    if network.kind == "tflite":
        raise StageFailed("it is quantised already; a study needs the float network", stage="quantise")
    # Its stages after calibration lie apart, so that neither way of quantising discards the other's.
    aware = msgspec.structs.replace(network, name=f"{network.name}.qat")
    weights, learned, to_learn = network.weights, network.learned, None
    found["training"] = _recorded(network)
    if weights is None and network.train is not None:
        report, made = train(workshop, network)
        found["training"] = Training(recipe=report.recipe, images=report.images, qat=network.train.qat)
        weights, learned, to_learn = str(made), None, made if network.train.qat else None
    to_float, timed = Converted(), None
    calibrated = calibrate(workshop, network, weights, prepared, to_float)
    found["untrained"] = to_float.export is not None and to_float.export.untrained
    with _noted(failures, "ptq"):
        quantise(workshop, network, calibrated, None, prepared, converted := replace(to_float))
        found["ptq"] = score(workshop, network, converted, dataset, prepared)
        timed = network, converted
    with _noted(failures, "qat"):
        if to_learn is not None:
            learned = str(learn(workshop, aware, to_learn, prepared)[1])
        if learned is not None:
            quantise(workshop, aware, calibrated, learned, prepared, converted := replace(to_float))
            found["qat"] = score(workshop, aware, converted, dataset, prepared)
            timed = aware, converted
    if timed is not None:
        with _noted(failures, "runtime"):
            found["facts"] = check(workshop, *timed).facts
            alone = Converted(model=msgspec.structs.replace(timed[1].files, float32=None))
            choice = workshop.settings.backends[0]
            found["latency"] = benchmark(workshop, timed[0], alone, choice, prepared).measured.reports[0]


def _recorded(network: Submission) -> Training | None:
    """How the weights came about by the card beside them; ``None`` if there is none, or it is of other weights."""
    card = training_of(network)
    if card is None:
        return None
    qat = card.qat.recipe if card.qat and network.learned else None
    return Training(recipe=card.training.recipe, images=card.training.images, qat=qat)


@contextmanager
def _noted(failures: list[RowFailure], part: Literal["network", "ptq", "qat", "runtime"]) -> Iterator[None]:
    """What fails inside is one more failure, and no more than that."""
    try:
        yield
    except StageFailed as error:
        failures.append(RowFailure(part=part, stage=error.stage, kind=error.kind, reason=str(error)))
    except HarnessError as error:
        failures.append(RowFailure(part=part, stage="discover", kind="error", reason=str(error)))
