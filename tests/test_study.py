"""A study: how its plan is read, what is made of its figures, its page, and the whole of it on small images."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from site_checks import Node, html, parsed, self_contained, well_made
from test_cli import run
from test_discover import MODEL, folder
from test_pipeline import NETWORK, ONE_THREAD
from test_render import INDEX, checked, entry, latency, results, score

from mai_harness.discover import discover, study_folders
from mai_harness.errors import InvalidSubmission, ResultsUnreadable
from mai_harness.records import LatencyReport, QatRecipe, TrainRecipe
from mai_harness.render import MISSING, STUDY_COLUMNS, render, render_studies
from mai_harness.storage import SCHEMA_VERSION, write_results
from mai_harness.study import (
    STUDY_SCHEMA_VERSION,
    Compared,
    Paper,
    RowFailure,
    StudyResults,
    StudyRow,
    Training,
    find_study,
    judged,
    read_study,
    read_study_results,
    study_path,
)
from mai_harness.timing import NOISE

MINUS = "\N{MINUS SIGN}"
PLAN = """
title = "A study"
reference = "anchor"

[[rows]]
submission = "none"
group = "Residual"
paper = { ptq_loss_db = 1.93, note = "large" }
remark = "short training"

[[rows]]
submission = "anchor"
"""


def plan(root: Path, toml: str = PLAN, name: str = "residual") -> Path:
    folder(root, name, study__toml=toml)
    for submission in ("anchor", "none"):
        folder(root / name, submission, model__py=MODEL)
    return root / name


# The plan


def test_a_plan_is_read_in_its_order(tmp_path):
    place, manifest = find_study(tmp_path, plan(tmp_path).name)
    assert (place, manifest.title, manifest.reference) == (tmp_path / "residual", "A study", "anchor")
    none, anchor = manifest.rows
    assert (none.submission, none.group, none.remark) == ("none", "Residual", "short training")
    assert none.paper == Paper(ptq_loss_db=1.93, note="large")
    assert (anchor.paper, anchor.group) == (Paper(), "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title =", "titel =", "did you mean 'title'"),
        ("ptq_loss_db = 1.93", "ptq_los_db = 1.93", "did you mean 'ptq_loss_db'"),
        ("1.93", '"much"', "Expected `float | null`, got `str`"),
        ('reference = "anchor"', 'reference = "none at all"', "'none at all' is none of the rows"),
        ('submission = "none"', 'submission = "anchor"', "rows name anchor more than once"),
        ('submission = "none"', 'submission = "nome"', "there is no submission 'nome' beside it; did you mean 'none'"),
        ('submission = "none"', 'submission = "../x"', "there is no submission '../x'"),
        ("[[rows]]", "[rows]", "study.toml"),
        (PLAN, 'title = "A"\nreference = "b"\nrows = []', "length >= 1"),
    ],
)
def test_a_faulty_plan_is_told_with_its_place(tmp_path, old, new, words):
    with pytest.raises(InvalidSubmission, match=r"^residual/study\.toml: ") as caught:
        read_study(plan(tmp_path, PLAN.replace(old, new)))
    assert words in str(caught.value)


def test_a_missing_study_is_told_with_those_that_there_are(tmp_path):
    plan(tmp_path)
    plan(tmp_path, name="a b")
    with pytest.raises(InvalidSubmission, match="did you mean 'residual'"):
        find_study(tmp_path, "residul")
    with pytest.raises(InvalidSubmission, match="rename its folder"):
        find_study(tmp_path, "a b")


def test_a_study_is_neither_a_submission_nor_rejected(tmp_path):
    folder(tmp_path, "net", model__py=MODEL)
    study = plan(tmp_path)
    found, rejected = discover(tmp_path)
    assert ([s.name for s in found], rejected) == (["net"], [])
    assert study_folders(tmp_path) == [study]
    found, rejected = discover(study)
    assert ([s.name for s in found], rejected) == (["anchor", "none"], [])


def test_the_shipped_study_names_every_submission_beside_it(repository):
    place, manifest = find_study(repository / "submissions", "residual")
    found, rejected = discover(place)
    assert ({s.name for s in found}, rejected) == ({row.submission for row in manifest.rows}, [])


# Figures


def row(name: str, paper: Paper | None = None, **more: Any) -> StudyRow:
    return StudyRow(
        **{"name": name, "title": name.upper(), "group": "", "paper": paper or Paper(), "remark": ""} | more
    )


def measured(name: str, fp32: float, ptq: float, qat: float | None = None, **more: Any) -> StudyRow:
    scores = {"ptq": score(ptq, psnr_fp32_db=fp32)}
    if qat is not None:
        scores["qat"] = score(qat, psnr_fp32_db=fp32)
    return row(name, **scores, **more)


def test_figures_and_their_differences_from_the_paper():
    paper = Paper(ptq_loss_db=1.93, gain_db=-2.0)
    anchor, none = judged(
        (measured("anchor", 30.0, 29.9, 29.95), measured("none", 29.0, 27.5, 28.95, paper=paper)), "anchor"
    )
    assert (none.figures.fp32_db, none.figures.ptq_db, none.figures.qat_db) == (29.0, 27.5, 28.95)
    assert none.figures.ptq_loss_db == pytest.approx(1.5)
    assert none.figures.qat_loss_db == pytest.approx(0.05)
    assert none.figures.gain_db == pytest.approx(-1.0)
    assert none.figures.fp32_gain_db == pytest.approx(-1.0)
    assert none.difference.ptq_loss_db == pytest.approx(1.5 - 1.93)
    assert none.difference.gain_db == pytest.approx(1.0)
    assert none.difference.qat_loss_db is None  # the paper states none
    assert (anchor.figures.gain_db, anchor.difference) == (None, Compared())


def test_what_was_not_measured_has_no_figure():
    paper = Paper(ptq_loss_db=1.0, qat_loss_db=1.0, gain_db=1.0)
    lost, half = judged((row("anchor", paper), measured("half", 30.0, 29.0, paper=paper)), "anchor")
    assert (lost.figures.fp32_db, lost.difference) == (None, Compared())
    assert half.difference == Compared(ptq_loss_db=0.0)


# The page


def study(*rows: StudyRow, **changes: Any) -> StudyResults:
    return StudyResults(
        **{
            "schema_version": STUDY_SCHEMA_VERSION, "harness_version": "0.1", "created": "2021-06-01T12:00:00+00:00",
            "machine": "two cores", "versions": {"numpy": "1.26.4"}, "dataset": "DIV2K validation",
            "command": "mai-harness study residual", "name": "residual", "title": "A study", "about": "About it.",
            "source": "Du et al.", "reference": "anchor", "caveats": ("Short training.",),
            "rows": judged(rows, "anchor"),
        } | changes
    )  # fmt: skip


TRAINED = Training(recipe=TrainRecipe(steps=3000, seed=7), images=355, qat=QatRecipe(steps=500))
STUDY = study(
    measured(
        "anchor", 30.0, 29.9, 29.95, paper=Paper(ptq_loss_db=0.13, qat_loss_db=0.07), facts=checked().facts,
        latency=latency(60, 61, 62), training=TRAINED, group="Residual",
    ),
    measured("none", 29.0, 27.0, 28.9, paper=Paper(ptq_loss_db=1.93, note="large"), group="Residual"),
    row("noclip", ptq=score(19.0, psnr_fp32_db=30.0, psnr_dequantised_db=29.8), group="Body", untrained=True),
    row(
        "broken", group="Body", remark="<b>hard</b>",
        failures=(RowFailure(part="network", stage="train", kind="error", reason="no <data>"),),
    ),
)  # fmt: skip


def page_of(results: StudyResults, *, board: bool = True) -> Node:
    (page,) = html(render_studies([results], board=board)).values()
    return parsed(page)


def cells(page: Node, name: str) -> dict[str, str]:
    (found,) = (
        tr for tr in page.section("figures").all("tr") if any(span.text == name for span in tr.all("span", "name"))
    )
    texts = [td.text for td in found.all("td")]
    return {column.id: text for column, text in zip(STUDY_COLUMNS, texts, strict=True)}


def test_ours_stand_beside_the_papers():
    found = cells(page_of(STUDY), "anchor")
    assert [found[id_] for id_ in ("fp32", "ptq", "qat")] == ["30.00", "29.90", "29.95"]
    assert [found[f"ptq_loss_{part}"] for part in ("ours", "paper", "difference")] == ["0.10", "0.13", f"{MINUS}0.03"]
    assert [found[f"qat_loss_{part}"] for part in ("ours", "paper", "difference")] == ["0.05", "0.07", f"{MINUS}0.02"]
    assert (found["parameters"], found["macs"], found["runtime"]) == ("42.5", "9.77", "61.0")
    assert cells(page_of(STUDY), "none")["gain_ours"] == f"{MINUS}1.05"


def test_what_is_missing_is_a_dash_and_told():
    page = page_of(STUDY)
    assert set(cells(page, "broken").values()) == {MISSING}
    assert cells(page, "none")["qat_loss_paper"] == MISSING
    (told,) = page.section("failed").one("tbody").all("tr")
    assert [td.text for td in told.all("td")] == ["the network", "train", "error", "no <data>"]
    assert "failed" not in {n.attributes.get("id") for n in page_of(study(*STUDY.rows[:2])).walk()}


def test_dequantised_is_told_where_it_is_apart():
    page = page_of(STUDY)
    assert cells(page, "noclip")["ptq"] == "19.00dequantised 29.80"
    assert "dequantised" not in cells(page, "anchor")["ptq"]
    assert "random weights" in page.section("figures").text


def test_bars_are_of_the_losses_that_the_paper_states():
    section = page_of(STUDY).section("losses")
    assert [th.text for th in section.all("th") if th.attributes["scope"] == "rowgroup"] == ["ANCHOR", "NONE"]
    widths = [float(re.sub(r"[^\d.]", "", i.attributes["style"])) for i in section.all("i")]
    assert widths == pytest.approx([5.0, 6.5, 2.5, 3.5, 100.0, 96.5, 5.0])
    assert "losses" not in {n.attributes.get("id") for n in page_of(study(row("anchor"))).walk()}


def test_it_is_told_how_it_was_made():
    text = " ".join(page_of(STUDY).section("made").text.split())
    assert "mai-harness study residual" in text
    assert "3,000 steps of 16 patches of 64 × 64" in text
    assert "355 images, seed 7; then 500 steps" in text
    assert "Not recorded" in text


@pytest.mark.parametrize("board", [True, False])
def test_the_page_is_well_made(board):
    pages = well_made(render_studies([STUDY], board=board), beside=render(results()) if board else None)
    self_contained(pages)
    (page,) = pages.values()
    assert board == any(a.attributes["href"] == "../index.html" for a in page.all("a"))
    assert page.text.count("Short training.") == 1
    assert not page.all("b") or {b.text for b in page.all("b")} == {"Bold"}


def test_every_page_leads_to_the_studies():
    for page in html(render(results(entry("a", 30.0)), [STUDY])).values():
        (link,) = (a for a in parsed(page).one("nav").all("a") if a.text == STUDY.title)
        there = PurePosixPath(link.attributes["href"].removeprefix("../"))
        assert there in render_studies([STUDY], board=True)
    assert "studies/" not in render(results())[INDEX]


# On disk and at the command line


def test_results_survive_a_round_trip_and_another_version_is_refused(tmp_path):
    path = study_path(tmp_path, "residual")
    write_results(STUDY, path)
    assert read_study_results(path) == STUDY
    write_results(msgspec.structs.replace(STUDY, schema_version=STUDY_SCHEMA_VERSION + 1), path)
    with pytest.raises(ResultsUnreadable, match="update mai_harness"):
        read_study_results(path)


def test_render_makes_the_pages_of_studies_again(tmp_path):
    out = tmp_path / "leaderboard"
    write_results(STUDY, study_path(out, "residual"))
    assert run("render", cwd=tmp_path).returncode == 0
    page = out / "site" / "studies" / "residual.html"
    assert "../index.html" not in page.read_text()
    write_results(results(entry("a", 30.0), schema_version=SCHEMA_VERSION), out / "results.json")
    (page.parent / "stale.html").write_text("")
    assert run("render", cwd=tmp_path).returncode == 0
    assert "../index.html" in page.read_text()
    assert "studies/residual.html" in (out / "site" / "index.html").read_text()
    assert [each.name for each in page.parent.iterdir()] == ["residual.html"]


def test_a_study_that_cannot_be_read_costs_its_own_page_only(tmp_path):
    out = tmp_path / "leaderboard"
    write_results(results(entry("a", 30.0), schema_version=SCHEMA_VERSION), out / "results.json")
    study_path(out, "torn").parent.mkdir()
    study_path(out, "torn").write_text("{")
    done = run("render", cwd=tmp_path)
    assert (done.returncode, "run: mai-harness study torn" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "words"), [(("residul",), "did you mean 'residual'"), (("residual", "--data", "no"), "not a folder")]
)
def test_wrong_use_is_told(tmp_path, arguments, words):
    plan(tmp_path / "submissions")
    done = run("study", *arguments, cwd=tmp_path)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_completion_knows_studies_from_submissions(tmp_path):
    plan(tmp_path / "submissions")
    folder(tmp_path / "submissions", "rest", model__py=MODEL)
    words = {"_MAI_HARNESS_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    assert run(cwd=tmp_path, **words, COMP_WORDS="mai-harness study r").stdout == "plain,residual\n"
    assert run(cwd=tmp_path, **words, COMP_WORDS="mai-harness evaluate r").stdout == "plain,rest\n"


def test_the_study_module_imports_no_framework():
    code = "import sys, mai_harness.study; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "tensorflow", "onnx", "onnxruntime", "ai_edge_litert", "skimage"} & set(found)


# The whole


TINY = """
title = "Tiny"
reference = "trained"
rows = [
    { submission = "broken" },
    { submission = "trained", paper = { ptq_loss_db = 0.1 } },
    { submission = "random" },
]
"""
COMMAND = (sys.executable, "-m", "mai_harness", "study", "tiny", "--data", "data", "--runs", "3", "--warmup", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    for name in ("HR/a", "HR/b", "train/a", "train/b"):
        path = root / "data" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth = np.kron(rng.integers(0, 256, (12, 15, 3)), np.ones((12, 12, 1))).astype(np.uint8)
        Image.fromarray(smooth).save(path)
    tiny = folder(root / "submissions", "tiny", study__toml=TINY)
    folder(tiny, "broken", model__py="raise ValueError('on purpose')\n")
    recipe = "[train]\nsteps = 20\nbatch = 2\npatch = 8\nseed = 5\n[train.qat]\nsteps = 10\nbatch = 2\npatch = 8\n"
    folder(tiny, "trained", recipe, model__py=NETWORK)
    folder(tiny, "random", model__py=NETWORK)
    return root


def measure(place: Path) -> tuple[dict[str, Any], str]:
    done = subprocess.run([*COMMAND, "--json"], cwd=place, env=ONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def uncertainty(latency: dict[str, Any]) -> float:
    return msgspec.convert(latency, LatencyReport).ratio.uncertainty


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_run_again_every_row_that_can_be_measured_is(place):
    for seconds, how in ((12, signal.SIGKILL), (20, signal.SIGINT)):
        killed = subprocess.Popen(COMMAND, cwd=place, env=ONE_THREAD, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        killed.send_signal(how)
        killed.wait()
    first, _ = measure(place)
    rows = {each["name"]: each for each in first["rows"]}
    assert list(rows) == ["broken", "trained", "random"]
    (failure,) = rows["broken"]["failures"]
    assert (failure["part"], failure["stage"], "on purpose" in failure["reason"]) == ("network", "export", True)
    assert rows["trained"]["failures"] == rows["random"]["failures"] == []
    assert rows["trained"]["training"]["recipe"]["seed"] == 5
    assert rows["trained"]["training"]["qat"]["steps"] == 10
    assert (rows["trained"]["untrained"], rows["random"]["untrained"]) == (False, True)
    absent = {name: {key for key, value in rows[name]["figures"].items() if value is None} for name in rows}
    assert absent["trained"] == {"gain_db", "fp32_gain_db"}  # it is the reference
    assert absent["random"] == {"qat_db", "qat_dequantised_db", "qat_loss_db", "gain_db"}
    for name in ("trained", "random"):
        assert rows[name]["latency"]["precision"] == "int8"
        assert rows[name]["latency"]["backend"] == "cpu"  # a study has one runtime: that of the first
        assert rows[name]["latency"]["ratio"]["rounds"] == 3
        assert rows[name]["facts"]["parameters"] > 0
    assert rows["trained"]["difference"]["ptq_loss_db"] is not None
    assert (place / "leaderboard" / "site" / "studies" / "tiny.html").is_file()
    kept = json.loads(study_path(place / "leaderboard", "tiny").read_text())
    assert kept | {"checksum": ""} == first


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_run_repeats_nothing(place):
    first, _ = measure(place)
    again, told = measure(place)
    # A noisy timing is not kept, so the next run repeats it, and nothing else.
    noisy = {row["name"] for row in first["rows"] if row["latency"] and uncertainty(row["latency"]) > NOISE}
    for before, after in zip(first["rows"], again["rows"], strict=True):
        skipped = {"latency"} if before["name"] in noisy else set()
        assert {k: v for k, v in after.items() if k not in skipped} == {
            k: v for k, v in before.items() if k not in skipped
        }
    started = [line for line in told.splitlines() if not line.startswith("data: ")]
    assert [line for line in started if not (noisy and line.endswith(": benchmark"))] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_evaluate_tells_of_studies_and_leaves_them_alone(place):
    folder(place / "submissions", "garbage", model__tflite="x")
    done = run("evaluate", "--data", "data", "--json", cwd=place)
    assert [entry["name"] for entry in json.loads(done.stdout)["submissions"]] == ["garbage"]
    assert "studies: tiny (3 submissions): mai-harness study tiny" in done.stderr.splitlines()
    index = (place / "leaderboard" / "site" / "index.html").read_text()
    assert "studies/tiny.html" in index
