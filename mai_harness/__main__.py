"""The command line: the only module that prints, reads the environment and chooses exit codes.

Exit codes: 0 done; 1 the answer is no (a rule failed, a model could not be brought that far); 2 wrong use, or
something that a person has to mend first; 3 `diagnose` has warnings, but no error; 130 interrupted.
"""

import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import click

from mai_harness import __version__
from mai_harness.errors import HarnessError, StageFailed

if TYPE_CHECKING:
    from mai_harness.datasets import Dataset
    from mai_harness.latency_study import LatencyResults
    from mai_harness.pipeline import Converted, Settings, Workshop
    from mai_harness.prepare import Prepared
    from mai_harness.records import (
        Finding,
        LatencyReport,
        Model,
        QatReport,
        Ratio,
        Results,
        RuleResult,
        Submission,
        TrainReport,
    )
    from mai_harness.study import StudyResults
    from mai_harness.verify import Verdict

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
NO = 1
MISUSE = 2
WARNED = 3
INTERRUPTED = 130
DOWNLOAD_PARTS = ("valid", "train")
LATENCY_PARTS = ("nodes", "forms", "networks")


# What every command shares


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _answer(as_json: bool, value: Any, text: str) -> None:
    """One object on stdout, or words for a person."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode() if as_json else text)


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _submission_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from mai_harness.discover import STUDY_FILE

    root = Path(ctx.params.get("submissions") or "submissions")
    found = [path for path in root.glob("*") if not (path / STUDY_FILE).is_file()] if root.is_dir() else []
    names = [path.stem if path.is_file() else path.name for path in found]
    return sorted(name for name in names if name.startswith(incomplete) and not name.startswith((".", "_")))


def _study_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from mai_harness.discover import study_folders

    names = [folder.name for folder in study_folders(Path(ctx.params.get("submissions") or "submissions"))]
    return [name for name in names if name.startswith(incomplete)]


_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout; messages go to stderr.")
_SUBMISSIONS = click.option(
    "--submissions", type=_PATH, default=Path("submissions"), show_default=True, help="Folder of submissions."
)
_DATA = click.option(
    "--data",
    type=_PATH,
    envvar="MAI_DATA_ROOT",
    show_envvar=True,
    help="DIV2K, or a folder of HR images or of HR and LR_bicubic_X3; without it, photographs that come along.",
)
_OUT = click.option(
    "--out", type=_PATH, default=Path("leaderboard"), show_default=True, help="Folder for results, site and packages."
)
_TIMEOUT = click.option(
    "--stage-timeout", type=click.FloatRange(min=0.1), default=600.0, show_default=True, metavar="S",
    help="Seconds that each stage of a submission may take; training has no limit.",
)  # fmt: skip
_SHAVE = click.option(
    "--shave", type=click.IntRange(min=0), default=0, show_default=True, help="Border pixels left out of the scores."
)
_METRICS = click.option(
    "--metrics", type=click.Choice(["opencv", "scikit-image"]), default="opencv", show_default=True,
    help="Library that computes PSNR and SSIM; scikit-image is the reference, and slower.",
)  # fmt: skip
_TIMING = _options(
    click.option(
        "--backend", "backends", multiple=True, metavar="NAME[:TARGET][,KEY=VALUE]", default=("cpu", "npu"),
        show_default=True, help="Where to take runtimes; may be repeated, and the first ranks.",
    ),
    click.option(
        "--threads", type=click.IntRange(min=1), multiple=True, default=tuple(sorted({1, os.cpu_count() or 1})),
        show_default="1 and all cores", help="Of the interpreter; may be repeated, and the first ranks.",
    ),
    click.option("--runs", type=click.IntRange(min=2), default=30, show_default=True, help="Timed runs."),
    click.option("--warmup", type=click.IntRange(min=0), default=3, show_default=True, help="Runs before them."),
)  # fmt: skip
_WITHOUT = click.option(
    "--without", multiple=True, metavar="REWRITE",
    help="Leave a rewrite of the graph out, such as saturating-tail or anchor-convolution; may be repeated.",
)  # fmt: skip
_COMMON = _options(_SUBMISSIONS, _DATA, _OUT, _TIMEOUT, _JSON)
_NAME = click.argument("name", shell_complete=_submission_names)
_TARGET = click.argument("target", metavar="NAME|FILE", shell_complete=_submission_names)


def _settings(**given: Any) -> "Settings":
    from mai_harness.backends import parse
    from mai_harness.pipeline import Settings
    from mai_harness.timing import TimingPlan

    data: Path | None = given["data"]
    if data is not None and not data.is_dir():
        raise click.UsageError(f"--data {data} is not a folder")
    if "formula" in given:
        from mai_harness.challenge import FORMULAS

        if given["formula"] not in FORMULAS:
            raise click.UsageError(f"--formula {given['formula']}: no such formula; there are {', '.join(FORMULAS)}")
    timing = {key: given[key] for key in ("warmup", "runs", "threads") if key in given}
    chosen: dict[str, Any] = {key: given[key] for key in ("shave", "formula", "metrics", "jobs") if key in given}
    if "backends" in given:
        chosen["backends"] = tuple(map(parse, dict.fromkeys(given["backends"])))
    return Settings(
        submissions=given["submissions"].absolute(),
        out=given["out"].absolute(),
        data=None if data is None else data.absolute(),
        timeout_s=given["stage_timeout"],
        plan=TimingPlan(**timing),
        without=_known_rewrites(given.get("without", ())),
        **chosen,
    )


def _known_rewrites(names: tuple[str, ...]) -> tuple[str, ...]:
    if names:
        from mai_harness import rewrites, tflite_rewrites

        known = [*(row.id for row in rewrites.PASSES), *(row.id for row in tflite_rewrites.PASSES)]
        for name in names:
            if name not in known:
                raise click.UsageError(f"--without {name}: no such rewrite; there are {', '.join(known)}")
    return tuple(sorted(set(names)))


def _find(settings: "Settings", target: str) -> tuple["Settings", "Submission"]:
    """A submission by name or by path; one by path keeps its stages apart from those of the board."""
    from mai_harness.discover import discover, named, read_submission

    path = Path(target)
    is_name = path.name == target and not path.suffix
    if path.exists() and not (is_name and (settings.submissions / target).exists()):
        submission = read_submission(path.absolute())
        key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
        return dataclasses.replace(settings, out=settings.out / "work" / "files" / key), submission
    return settings, named(target, *discover(settings.submissions))


def _workshop(settings: "Settings") -> "Workshop":
    from mai_harness.pipeline import Workshop

    return Workshop(settings, _tell)


class _Ready(NamedTuple):
    """What a command needs that works on a submission's TFLite files."""

    workshop: "Workshop"
    converted: "Converted"
    dataset: "Dataset"
    prepared: "Prepared"


def _ready(settings: "Settings", submission: "Submission", dataset: "Dataset | None" = None) -> _Ready:
    from mai_harness import pipeline
    from mai_harness.datasets import find_dataset

    workshop, dataset = _workshop(settings), dataset or find_dataset(settings.data)
    prepared, done = pipeline.prepare(workshop, dataset), pipeline.Converted()
    pipeline.convert(workshop, submission, prepared, done)
    return _Ready(workshop, done, dataset, prepared)


# The commands


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mai-harness")
def cli() -> None:
    """Evaluate real-time INT8 x3 super-resolution networks as the Mobile AI 2021 challenge does.

    Drop a model into submissions/ and run "mai-harness evaluate": it is converted to full-integer TFLite, held
    against the rules, scored in RGB as INT8 and FP32, timed, and ranked on an HTML leaderboard.

    Exit codes: 0 done, 1 the answer is no, 2 wrong use, 130 interrupted.
    """


@cli.command()
@click.argument("names", nargs=-1, shell_complete=_submission_names)
@_COMMON
@_WITHOUT
@_SHAVE
@_METRICS
@_TIMING
@click.option("--formula", default="mai2021", show_default=True, help="Of the challenge's score, which ranks.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=min(2, os.cpu_count() or 1), show_default=True,
    help="Submissions at once; each is timed alone.",
)  # fmt: skip
def evaluate(names: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Evaluate all submissions, or those of NAMES, and write the leaderboard.

    Stages that an earlier run finished are not repeated. A submission that fails is a row with its reason.
    """
    from mai_harness import history, pipeline
    from mai_harness.site import publish, sweep
    from mai_harness.storage import write_results

    settings = _settings(**given)
    _tell_studies(settings.submissions)
    results = pipeline.evaluate(settings, _told_data(settings), names, _tell)
    path = settings.out / "results.json"
    if names and (earlier := _earlier(settings.out)):
        results = pipeline.merged(results, earlier, settings)
    write_results(results, path)
    history.remember(history.run_of(results), settings.out)
    sweep(results, settings.out)
    page = publish(results, settings.out, _tell) / "index.html"
    _answer(as_json, results, f"{_board(results)}\nResults: {path}\nLeaderboard: {page}")


def _tell_studies(submissions: Path) -> None:
    """Studies are no rows of the board: tell how to run them."""
    from mai_harness.discover import discover, study_folders

    folders = study_folders(submissions)
    if folders:
        words = [f"{folder.name} ({len(discover(folder)[0])} submissions)" for folder in folders]
        name = folders[0].name if len(folders) == 1 else "NAME"
        _tell(f"studies: {', '.join(words)}: mai-harness study {name}")


def _told_data(settings: "Settings") -> "Dataset":
    """The data set to score on, told."""
    from mai_harness.datasets import find_dataset, sets_below

    dataset = find_dataset(settings.data)
    _tell(f"data: {dataset.name}, {len(dataset.pairs)} images")
    below = sets_below(settings.data) if settings.data and dataset == find_dataset(None) else []
    if settings.data and below:
        _tell(f"      {settings.data} holds {', '.join(below)}: choose one with --data {settings.data / below[0]}")
    return dataset


def _earlier(out: Path) -> "Results | None":
    from mai_harness.errors import ResultsUnreadable
    from mai_harness.storage import read_results

    path = out / "results.json"
    try:
        return read_results(path)
    except ResultsUnreadable as error:
        if path.exists():
            _tell(f"earlier results are left out: {error}")
        return None


def _board(results: "Results") -> str:
    from mai_harness.copies import copies
    from mai_harness.render import board, board_columns

    places = board(results)
    finished = [row.evaluation for row in places.finished]
    columns = [column for column in board_columns(results) if column.terminal]
    heads = ["#", "submission", *(column.terminal for column in columns)]
    rows = [
        [str(row.rank or ""), row.evaluation.name, *(c.text(row.evaluation) for c in columns)]
        for row in places.finished
    ]
    text = _table(heads, rows)
    text += "".join(f"\n{row.evaluation.name}: DISQUALIFIED: {row.reasons}" for row in places.disqualified)
    for names, same_file in copies(finished):
        files = "the same file" if same_file else "different files"
        text += f"\nthe same pixels on every scored image: {', '.join(names)} ({files})"
    for e in finished:
        text += "".join(f"\n{e.name}: {f.severity}: {f.id}: {f.evidence}" for f in e.findings if f.severity != "info")
    for e in (row.evaluation for row in places.failed):
        if e.failure:
            text += f"\n{e.name}: FAILED at {e.failure.stage} ({e.failure.kind}): {e.failure.reason}"
    return text


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Text columns; headings are broken into lines of one word."""
    words = [head.split() for head in heads]
    height = max(map(len, words))
    lines = [[word[i - height + len(word)] if i >= height - len(word) else "" for word in words] for i in range(height)]
    body = [*lines, *map(list, rows)]
    widths = [max(len(line[i]) for line in body) for i in range(len(heads))]
    return "\n".join(
        "  ".join(line[i].ljust(width) if i == 1 else line[i].rjust(width) for i, width in enumerate(widths))
        for line in body
    )


@cli.command()
@_NAME
@_COMMON
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    help="GPUs to train on, or processes where there is none; by default all GPUs, or one process.",
)
def train(name: str, as_json: bool, devices: int | None, **given: Any) -> None:
    """Train NAME by the recipe in its submission.toml and write weights.safetensors beside it.

    With [train.qat] it is then trained with the rounding of INT8 in its graph, which leaves learned.safetensors.
    Needs --data with DIV2K_train_HR/ or train/. Stopped, it goes on from its last checkpoint. weights.json tells how
    the weights came about; TensorBoard shows the curves.
    """
    import msgspec

    from mai_harness import pipeline
    from mai_harness.datasets import find_dataset
    from mai_harness.discover import LEARNED_FILE
    from mai_harness.machine import describe
    from mai_harness.records import WeightsCard
    from mai_harness.storage import write_bytes
    from mai_harness.train import WEIGHTS_FILE

    settings, submission = _find(_settings(**given), name)
    folder, workshop, learned = Path(submission.path).parent, _workshop(settings), None
    with pipeline.locked(settings):
        report, weights = pipeline.train(workshop, submission, devices)
        text = f"{folder / WEIGHTS_FILE}: {report.recipe.steps} steps on {report.images} images, {_outcome(report)}"
        if submission.train is not None and submission.train.qat is not None:
            _tell(text)
            prepared = pipeline.prepare(workshop, find_dataset(settings.data))
            learned, file = pipeline.learn(workshop, submission, weights, prepared, devices)
            write_bytes(folder / LEARNED_FILE, file.read_bytes())
            text = f"{folder / LEARNED_FILE}: {learned.recipe.steps} steps more, {_outcome(learned)}"
    command = f"mai-harness train {submission.name} --data DIR"
    card = WeightsCard(command=command, machine=describe(), training=report, qat=learned)
    write_bytes(folder / WEIGHTS_FILE, weights.read_bytes())
    write_bytes(folder / pipeline.CARD_FILE, msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    _answer(as_json, card, text)


def _outcome(report: "TrainReport | QatReport") -> str:
    text = f"loss {report.final_loss:.3f} grey levels"
    if report.validation_psnr_db is None:
        return text
    return f"{text}, {report.validation_psnr_db:.2f} dB on {report.validation_images} others"


@cli.command()
@_NAME
@_COMMON
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True, help="Steps of each kind to time.")
def bench_loader(name: str, as_json: bool, steps: int, **given: Any) -> None:
    """Tell what loading costs a training step of NAME.

    Times steps with the loader and steps on one fixed batch, in turns, on one device.
    """
    import msgspec

    from mai_harness import pipeline

    settings, submission = _find(_settings(**given), name)
    with pipeline.locked(settings):
        report = pipeline.bench_loader(_workshop(settings), submission, steps)
    text = (
        f"with the loader {report.with_loader_ms:.2f} ms a step, without {report.fixed_batch_ms:.2f} ms: "
        f"{report.ratio:.3f} times ({report.device}, {report.threads} threads, {report.workers} workers, "
        f"medians of {report.steps} steps)"
    )
    _answer(as_json, {"name": submission.name, **msgspec.structs.asdict(report), "ratio": report.ratio}, text)


@cli.command()
@_TARGET
@_COMMON
@_WITHOUT
def convert(target: str, as_json: bool, **given: Any) -> None:
    """Convert a submission to full-integer INT8 TFLite and tell where the files are."""
    from mai_harness import pipeline

    settings, submission = _find(_settings(**given), target)
    with pipeline.locked(settings):
        done = _ready(settings, submission).converted
    model = done.files
    lines = [f"{kind}: {path}" for kind, path in _named_files(model) if path]
    for report in (done.export, done.calibrate):
        for p in report.parity if report else ():
            lines.append(f"{p.before} against {p.after}: largest difference {p.max_abs_difference:.3g} grey levels")
    for change in done.export.rewrites if done.export else ():
        lines.append(f"rewritten: {change}")
    if done.quantise:
        lines += [f"rewritten: {change.text} ({change.id})" for change in done.quantise.rewrites]
        if done.quantise.learned_agreement is not None:
            share = f"{100 * done.quantise.learned_agreement:.2f} %"
            lines.append(f"learned with quantisation in the loop: {share} of the bytes within 1 of torch's")
        lines.append(f"INT8 against float: {done.quantise.psnr_int8_to_float_db or float('inf'):.2f} dB")
        lines += [f"no model_none.tflite: {done.quantise.dynamic_reason}"] if not done.quantise.dynamic else []
    value = {
        "name": submission.name,
        "model": model,
        "export": done.export,
        "calibrate": done.calibrate,
        "quantise": done.quantise,
    }
    _answer(as_json, value, "\n".join(lines))


def _named_files(model: "Model") -> list[tuple[str, str | None]]:
    return [("model.tflite", model.static), ("model_none.tflite", model.dynamic), ("float32.tflite", model.float32)]


@cli.command()
@_TARGET
@_COMMON
@_WITHOUT
def check(target: str, as_json: bool, **given: Any) -> None:
    """Hold a TFLite file or a submission against the rules; exit with 1 if one fails.

    With --json every tensor and operator is listed too.
    """
    import msgspec

    from mai_harness import pipeline

    settings, submission = _find(_settings(**given), target)
    with pipeline.locked(settings):
        if submission.kind == "tflite":
            workshop, done = _workshop(settings), pipeline.Converted(model=pipeline.as_submitted(submission))
        else:
            workshop, done = _ready(settings, submission)[:2]
        report = pipeline.check(workshop, submission, done)
    value = {"name": submission.name, "passed": not report.failed, **msgspec.structs.asdict(report)}
    _answer(as_json, value, "\n".join(map(_rule_line, report.rules)))
    if report.failed:
        raise click.exceptions.Exit(NO)


def _rule_line(rule: "RuleResult") -> str:
    remedy = f"\n       {rule.remedy}" if rule.remedy else ""
    return f"{rule.status.upper():4}   {rule.title}: {rule.found}{remedy}"


@cli.command()
@_TARGET
@_COMMON
@_WITHOUT
@_SHAVE
@_METRICS
def score(target: str, as_json: bool, **given: Any) -> None:
    """Score a submission or a file: PSNR and SSIM in RGB, raw INT8 bytes, dequantised and FP32."""
    from mai_harness import pipeline

    settings, submission = _find(_settings(**given), target)
    dataset = _told_data(settings)
    with pipeline.locked(settings):
        ready = _ready(settings, submission, dataset)
        report = pipeline.score(ready.workshop, submission, ready.converted, ready.dataset, ready.prepared)
    means = {key: report.mean(key) for key in report.images[0].figures}
    rows = [[str(i), image.name, *map(_figure, image.figures.values())] for i, image in enumerate(report.images, 1)]
    rows.append(["", "mean", *map(_figure, means.values())])
    table = _table(["#", "image", *(key.replace("_", " ") for key in means)], rows)
    value = {
        "name": submission.name, "dataset": report.dataset, "shave": report.shave, "method": report.method, **means,
        "images": [{"name": image.name, **image.figures} for image in report.images],
    }  # fmt: skip
    _answer(as_json, value, f"{table}\n{report.dataset}, {report.method}, {report.shave} border pixels left out")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


@cli.command()
@_TARGET
@_COMMON
@_WITHOUT
@_SHAVE
@_METRICS
@click.option(
    "--float",
    "twin",
    type=click.Path(path_type=Path, exists=True, dir_okay=True),
    metavar="FILE",
    help="The float network that a TFLite file was made of: .onnx, .pt2, .keras, a SavedModel or float .tflite.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME[:TARGET][,KEY=VALUE]",
    default=("npu",),
    show_default=True,
    help="Where to take the runtimes of operators; may be repeated.",
)
def diagnose(target: str, as_json: bool, twin: Path | None, **given: Any) -> None:
    """Say what is wrong with a submission or any TFLite file: which layer, which range, which byte, and the mend.

    Findings come gravest first, then by the dB that they explain; mends that could be tried are measured. Exit codes:
    0 nothing worse than info, 3 warnings, 1 errors, 2 wrong use.
    """
    from mai_harness import pipeline

    settings, submission = _find(_settings(**given), target)
    float_network = None if twin is None else _find(settings, str(twin.absolute()))
    dataset = _told_data(settings)
    with pipeline.locked(settings):
        evaluation = pipeline.diagnosed(settings, submission, dataset, float_network, _tell)
    text = "\n\n".join(map(_finding_text, evaluation.findings)) or "nothing found"
    if evaluation.failure:
        text = f"stopped at {evaluation.failure.stage}: {evaluation.failure.reason}\n\n{text}"
    value = {"name": submission.name, "findings": evaluation.findings, "evaluation": evaluation}
    _answer(as_json, value, text)
    severities = {finding.severity for finding in evaluation.findings}
    if evaluation.failure or "error" in severities:
        raise click.exceptions.Exit(NO)
    if "warning" in severities:
        raise click.exceptions.Exit(WARNED)


def _finding_text(finding: "Finding") -> str:
    cost = [f"{finding.explained_db:.2f} dB"] if finding.explained_db is not None else []
    cost += [f"{finding.cost_ms:.2f} ms"] if finding.cost_ms is not None else []
    where = f" [{finding.layer}]" if finding.layer else ""
    lines = [f"{finding.severity.upper()}  {finding.title}{where}  {', '.join(cost)}".rstrip() + f"  ({finding.id})"]
    lines += [finding.explanation, f"Evidence: {finding.evidence}", f"Mend: {finding.remedy}"]
    for each in finding.tried:
        words = f"with {each.what}: {each.after_db:.2f} dB instead of {each.before_db:.2f}"
        lines.append(f"Tried: {words} ({each.how})")
    return "\n    ".join(lines)


@cli.command()
@_TARGET
@click.argument("other", metavar="[NAME|FILE]", required=False, shell_complete=_submission_names)
@_COMMON
@_WITHOUT
@_TIMING
def bench(target: str, other: str | None, as_json: bool, **given: Any) -> None:
    """Time a submission or a file on one frame of 360x640, or two against each other.

    Of one, every backend tells its latency and its layers. Two take turns in one run, and the first backend tells the
    ratio of their latencies with its 95 % confidence interval.
    """
    from mai_harness import pipeline

    settings, submission = _find(_settings(**given), target)
    if other is not None:
        _bench_two(settings, submission, *_find(_settings(**given), other), as_json=as_json)
        return
    with pipeline.locked(settings):
        ready = _ready(settings, submission)
        timed = []
        for choice in settings.backends:
            pipeline.forget_timing(ready.workshop, submission, choice)
            timed.append(pipeline.benchmark(ready.workshop, submission, ready.converted, choice, ready.prepared))
    reports = [report for each in timed for report in each.measured.reports]
    lines = [line for report in reports for line in _latency_lines(report)]
    lines += [f"refused: {reason}" for each in timed for reason in each.measured.refusals]
    lines += [
        f"{g.backend}, {g.rewrite}: {g.latency_ms:.2f} ms with it, {g.without_ms:.2f} without: {g.ratio:.3f} times"
        for each in timed
        for g in each.gains
    ]
    value = {
        "name": submission.name, "latency_ms": reports[0].latency_ms,
        "latency_fp32_ms": next((r.latency_ms for r in timed[0].measured.reports if r.precision == "fp32"), None),
        "runtime": [each.measured for each in timed], "gains": [gain for each in timed for gain in each.gains],
    }  # fmt: skip
    _answer(as_json, value, "\n".join(lines))


def _latency_lines(report: "LatencyReport") -> list[str]:
    threads = f", {report.threads} threads" if report.threads else ""
    lines = [f"{report.backend} {report.precision}: {_latency(report)} ({report.device}{threads})"]
    if report.ratio:
        lines.append(f"    {_ratio(report.ratio)} times the reference model, ABPN in INT8")
    lines += [f"    {layer.ms:9.3f} ms  {layer.name}  [{layer.place}] {layer.rule}".rstrip() for layer in report.layers]
    return lines


def _latency(report: "LatencyReport") -> str:
    if report.estimate_ms is not None:
        apart = f", of which {report.by_rule_ms:.2f} by a rule of ours" if report.by_rule_ms else ""
        return f"estimate {report.estimate_ms:.2f} ms{apart}"
    spread = f"p10 {report.quantile_ms(1):.2f}, p90 {report.quantile_ms(9):.2f}"
    return f"median {report.latency_ms:.2f} ms, {spread}, {len(report.samples_ms)} runs after {len(report.warmup_ms)}"


def _ratio(ratio: "Ratio") -> str:
    noisy = f", uncertain by {100 * ratio.uncertainty:.1f} %" if ratio.rounds else ""
    return f"{ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]{noisy}"


def _bench_two(settings: "Settings", a: "Submission", others: "Settings", b: "Submission", *, as_json: bool) -> None:
    from mai_harness import pipeline

    with pipeline.locked(settings):
        first = _ready(settings, a)
        with nullcontext() if others.out == settings.out else pipeline.locked(others):
            second = _ready(others, b)
            files = first.converted.files.static, second.converted.files.static
            report = pipeline.compare(first.workshop, files, settings.backends[0], first.prepared)
    lines = [f"{name}: {_latency(each)}" for name, each in zip((a.name, b.name), report.reports, strict=True)]
    lines.append(f"{a.name} / {b.name}: {_ratio(report.ratio)} ({report.reports[0].device})")
    value = {"names": [a.name, b.name], "ratio": report.ratio, "reports": report.reports}
    _answer(as_json, value, "\n".join(lines))


@cli.command()
@click.argument("name", shell_complete=_study_names)
@_COMMON
@_SHAVE
@_TIMING
def study(name: str, as_json: bool, **given: Any) -> None:
    """Measure the study NAME, a folder with study.toml, and write its page.

    Every row is measured as FP32, PTQ and QAT, beside the paper's figures. A row without weights is trained, which
    needs --data with DIV2K_train_HR/ or train/. Stopped, it goes on; a row that fails is shown with its reason.
    """
    from mai_harness import pipeline
    from mai_harness.site import publish
    from mai_harness.storage import write_results
    from mai_harness.study import study_path

    settings = _settings(**given)
    results = pipeline.study(settings, name, _told_data(settings), _tell)
    path = study_path(settings.out, name)
    write_results(results, path)
    page = publish(_earlier(settings.out), settings.out, _tell) / "studies" / f"{name}.html"
    _answer(as_json, results, f"{_study_table(results)}\nResults: {path}\nPage: {page}")


def _study_table(results: "StudyResults") -> str:
    from mai_harness.render import STUDY_COLUMNS

    shown = [column for column in STUDY_COLUMNS if column.terminal]
    heads = ["#", "network", *(column.terminal for column in shown)]
    rows = [[str(i), row.name, *(column.text(row) for column in shown)] for i, row in enumerate(results.rows, 1)]
    failures = [
        f"\n{row.name}: {f.part} FAILED at {f.stage} ({f.kind}): {f.reason}"
        for row in results.rows
        for f in row.failures
    ]
    return _table(heads, rows) + "".join(failures)


@cli.command()
@click.argument("parts", nargs=-1, type=click.Choice(LATENCY_PARTS))
@_COMMON
@_TIMING
def metanodes(parts: tuple[Any, ...], as_json: bool, **given: Any) -> None:
    """Time single operators, forms of the residual, and published networks taken apart, and write a page.

    The parts are nodes, forms and networks; by default all. Networks have random weights and take minutes each, once.
    """
    from mai_harness.latency_study import latency_results_path
    from mai_harness.metanodes import metanodes as measure
    from mai_harness.site import publish
    from mai_harness.storage import write_results

    settings = _settings(**given)
    results = measure(settings, parts or LATENCY_PARTS, _told_data(settings), _tell)
    results = _with_other_parts(results, settings.out)
    path = latency_results_path(settings.out)
    write_results(results, path)
    page = publish(_earlier(settings.out), settings.out, _tell) / "metanodes.html"
    _answer(as_json, results, f"{_latency_tables(results)}\nResults: {path}\nPage: {page}")


def _with_other_parts(results: "LatencyResults", out: Path) -> "LatencyResults":
    """The parts that were not measured now, from an earlier run on the same machine, versions and backends."""
    import msgspec

    from mai_harness.site import kept_latencies

    earlier = kept_latencies(out, _tell)
    same = ("machine", "versions", "backends", "dataset")
    if earlier is None or any(getattr(results, field) != getattr(earlier, field) for field in same):
        return results
    kept = {part: getattr(earlier, part) for part in LATENCY_PARTS if not getattr(results, part)}
    return msgspec.structs.replace(results, **kept)


def _latency_tables(results: "LatencyResults") -> str:
    from mai_harness.render.latency import latency_tables

    return "\n\n".join(f"{title}\n{_table(heads, rows)}" for title, heads, rows in latency_tables(results))


@cli.command()
@click.argument("name", default="abpn", shell_complete=_submission_names)
@click.argument("other", default="fsrcnn", shell_complete=_submission_names)
@_COMMON
@_TIMING
def bench_harness(name: str, other: str, as_json: bool, **given: Any) -> None:
    """Tell how fast the harness itself is, on NAME, and with OTHER beside it.

    The stages of an evaluation; scoring over what the interpreter and the metrics alone take; the metrics over
    scikit-image's; two submissions at once over one after the other; isolation over none. Takes minutes.
    """
    import msgspec

    from mai_harness.bench_harness import bench_harness as measure

    settings, one = _find(_settings(**given), name)
    report = measure(settings, (one, _find(settings, other)[1]), _told_data(settings), _tell)
    lines = [f"{seconds:8.2f} s  {stage}" for stage, seconds in report.stages_s.items()]
    conversions = ", ".join(f"{n:.1f} {how}" for how, n in report.conversions_per_minute.items())
    lines += [
        f"{sum(report.stages_s.values()):8.2f} s  {report.submission} in all, on {report.dataset}",
        f"scoring on one thread: {report.scoring_s:.2f} s, interpreter and metrics alone {report.bare_s:.2f} s: "
        f"{report.overhead:.3f} times",
        f"PSNR and SSIM of a 2040x1356 pair: {1e3 * report.metrics_s['opencv']:.0f} ms, scikit-image's "
        f"{1e3 * report.metrics_s['scikit-image']:.0f} ms: {report.metrics_ratio:.2f} times as fast",
        f"conversions a minute: {conversions}",
        f"{report.submission} and {report.other}, all but their timing: at once {report.at_once_s:.1f} s, one after "
        f"the other {report.one_after_the_other_s:.1f} s: {report.at_once_ratio:.3f} times",
        f"{report.submission}, all but its timing: isolated {report.walled_s:.1f} s, not isolated "
        f"{report.open_s:.1f} s: {report.isolation_ratio:.3f} times",
    ]
    keys = ("overhead", "metrics_ratio", "at_once_ratio", "isolation_ratio")
    ratios = {key: getattr(report, key) for key in keys}
    _answer(as_json, {**msgspec.structs.asdict(report), **ratios}, "\n".join([*lines, report.machine]))


@cli.command()
@_OUT
@_JSON
def render(out: Path, as_json: bool) -> None:
    """Write the pages of the leaderboard and of studies again from their results; nothing is measured."""
    from mai_harness.latency_study import latency_results_path
    from mai_harness.site import publish
    from mai_harness.storage import read_results
    from mai_harness.study import study_path

    path = out / "results.json"
    others = latency_results_path(out).exists() or any(study_path(out, "x").parent.glob("*.json"))
    results = read_results(path) if path.exists() or not others else None
    page = publish(results, out, _tell) / ("index.html" if results else "")
    value = {"page": str(page), "submissions": len(results.submissions) if results else 0}
    _answer(as_json, value, f"{'Leaderboard' if results else 'Studies'}: {page}")


@cli.command()
@click.argument("targets", metavar="[RESULTS] [NAMES]...", nargs=-1)
@_SUBMISSIONS
@_DATA
@_TIMEOUT
@_JSON
@_WITHOUT
@_METRICS
@click.option(
    "--backend", "backends", type=click.Choice(["npu"]), multiple=True, help="Compare this backend's estimates too."
)
def verify(targets: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Derive the results in RESULTS once more and tell whether they are the same.

    RESULTS is leaderboard/results.json, or another file that ends in .json; NAMES are submissions of it, by default
    all. Nothing that an earlier run left is used, and nothing of this one stays. Rewrites and metrics have to be
    those of the run; runtimes are not compared. Exits with 1 if something differs, 2 if something cannot be compared.
    """
    import msgspec

    from mai_harness.storage import read_results
    from mai_harness.verify import verify as derive_again

    own = bool(targets) and targets[0].endswith(".json")
    path = Path(targets[0]) if own else Path("leaderboard/results.json")
    results, settings = read_results(path), _settings(out=path.parent, **given)
    found = derive_again(settings, results, _told_data(settings), targets[own:], _tell)
    lines = [*found.remarks, *(line for verdict in found.submissions for line in _verdict_lines(verdict))]
    rows = [{"outcome": each.outcome, **msgspec.structs.asdict(each)} for each in found.submissions]
    _answer(as_json, {"results": str(path), **msgspec.structs.asdict(found), "submissions": rows}, "\n".join(lines))
    outcomes = {verdict.outcome for verdict in found.submissions}
    if outcomes - {"same"}:
        raise click.exceptions.Exit(NO if "differs" in outcomes else MISUSE)


def _verdict_lines(verdict: "Verdict") -> list[str]:
    if verdict.obstacle:
        return [f"{verdict.name}: {verdict.outcome}: {verdict.obstacle}"]
    changes = [f"    {each.field}: {each.then}, now {each.now}" for each in verdict.differences]
    return [f"{verdict.name}: {verdict.outcome}", *changes]


@cli.command()
@click.option(
    "--as", "form", type=click.Choice(["csv", "json", "markdown", "latex"]), default="markdown", show_default=True,
    help="CSV and JSON have every figure in full; LaTeX has a paper's columns.",
)  # fmt: skip
@_OUT
def table(form: str, out: Path) -> None:
    """Print the leaderboard as a table to take elsewhere; nothing is measured.

    The site has the same files in exports/.
    """
    from mai_harness.render.exports import TABLES
    from mai_harness.storage import read_results

    click.echo(TABLES[form](read_results(out / "results.json")), nl=False)


@cli.command()
@_OUT
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes any that is free."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address; one that other machines reach has no password."
)
@click.option("--open/--no-open", "opens", default=False, show_default=True, help="Open it in the browser.")
@_JSON
def serve(out: Path, port: int, host: str, opens: bool, as_json: bool) -> None:
    """Serve the leaderboard on this machine until Ctrl-C; open pages load again when results change.

    Results that do not exist yet are waited for. The site in DIR/site is written again from changed results.
    """
    from threading import Event

    from mai_harness.serve import serve as run

    def ready(url: str) -> None:
        _tell(f"{url} serves {out / 'site'}; Ctrl-C ends it")
        if as_json:
            _answer(True, {"url": url, "site": str(out / "site")}, "")
        if opens:
            click.launch(url)

    try:
        run(out, host, port, _tell, ready, Event())
    except KeyboardInterrupt:
        _tell("no longer served")


@cli.command()
@click.argument("name")
@_SUBMISSIONS
@_JSON
def new(name: str, submissions: Path, as_json: bool) -> None:
    """Scaffold submissions/NAME: a small network and its submission.toml, ready to change."""
    from mai_harness.scaffold import scaffold

    folder = scaffold(submissions, name)
    text = f"{folder}: edit model.py, then run: mai-harness train {name} --data DIR && mai-harness evaluate {name}"
    _answer(as_json, {"name": name, "folder": str(folder)}, text)


@cli.command(name="list")
@_SUBMISSIONS
@_JSON
def list_(submissions: Path, as_json: bool) -> None:
    """List the submissions, and what is none and why."""
    from mai_harness.discover import discover

    found, rejected = discover(submissions)
    lines = [f"{s.name}  {s.kind}  {s.title}" for s in found] + [f"{r.name}  rejected: {r.reason}" for r in rejected]
    _answer(as_json, {"submissions": found, "rejected": rejected}, "\n".join(lines) or f"{submissions} is empty")


@cli.command()
@_SUBMISSIONS
@_DATA
@_JSON
def doctor(submissions: Path, data: Path | None, as_json: bool) -> None:
    """Tell what is installed, which data and submissions are found; exit with 1 if something is missing."""
    from mai_harness.doctor import examine

    report = examine(submissions, data)
    lines = [f"{'ok' if line.ok else 'NO':4} {line.what}: {line.found}" for line in report.lines]
    _answer(as_json, report, "\n".join(lines))
    if not report.ok:
        raise click.exceptions.Exit(NO)


@cli.group()
def data() -> None:
    """Fetch the challenge's data set."""


@data.command()
@click.argument("parts", nargs=-1, type=click.Choice(DOWNLOAD_PARTS))
@click.option("--to", type=_PATH, envvar="MAI_DATA_ROOT", show_envvar=True, required=True, help="Folder to fill.")
@click.option("--from", "base_url", help="Another server with the same archives.")
@click.option("--keep", is_flag=True, help="Keep the archives.")
@_JSON
def download(parts: tuple[str, ...], to: Path, base_url: str | None, keep: bool, as_json: bool) -> None:
    """Fetch DIV2K and verify it: "valid" (default, 0.5 GB) or "train" (3.5 GB). A broken download is taken up again."""
    from mai_harness.download import BASE_URL
    from mai_harness.download import download as fetch

    report = fetch(parts or ("valid",), to, progress=_Meter(), base_url=base_url or BASE_URL, keep=keep)
    what = ", ".join(report.unpacked) or "nothing to do"
    _answer(as_json, report, f"{report.root}: {what}; {report.fetched_bytes / 1e6:.1f} MB fetched")


class _Meter:
    """Tells a download's progress by whole per cents."""

    def __init__(self) -> None:
        self._told = ("", -1)

    def __call__(self, name: str, done: int, total: int | None) -> None:
        state = (name, 100 * done // total if total else done >> 27)
        if state != self._told:
            self._told = state
            _tell(f"{name}: {done / 1e6:.0f} MB" + (f" of {total / 1e6:.0f}, {state[1]} %" if total else ""))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@_JSON
def completion(shell: str, as_json: bool) -> None:
    """Print a completion script; for bash: eval "$(mai-harness completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        script = kind(cli, {}, "mai-harness", "_MAI_HARNESS_COMPLETE").source()
        _answer(as_json, {"shell": shell, "script": script}, script)


# Errors and exit codes


def _fail(message: str, code: int) -> NoReturn:
    if "--json" in sys.argv:
        _answer(True, {"error": message}, "")
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        code = cli.main(standalone_mode=False, prog_name="mai-harness")
    except StageFailed as error:
        _fail(f"{error.stage}: {error}" if error.stage else str(error), NO)
    except HarnessError as error:
        _fail(str(error), MISUSE)
    except click.UsageError as error:
        hint = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        _fail(f"{error.format_message()}{hint}", MISUSE)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; the same command goes on where it was", INTERRUPTED)
    except BrokenPipeError:
        sys.exit(NO)
    except OSError as error:  # a full disk, a folder that cannot be written
        _fail(str(error), MISUSE)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
