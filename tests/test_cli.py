"""The command line as a person or a program uses it, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

COMMANDS = ("bench", "bench-harness", "bench-loader", "check", "completion", "convert", "data", "doctor", "evaluate",
            "list", "metanodes", "new", "render", "score", "serve", "study", "table", "train",
            "verify")  # fmt: skip


def run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAI_")}
    return subprocess.run(
        [sys.executable, "-m", "mai_harness", *map(str, arguments)],
        cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), ("data", "download")])
def test_help_is_worth_reading(command, tmp_path):
    done = run(*command, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: mai-harness" in done.stdout
    assert len(done.stdout.splitlines()) >= 6


def test_the_help_lists_every_command(tmp_path):
    text = run("--help", cwd=tmp_path).stdout
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluat",), "No such command"),
        (("evaluate", "--runs", "0"), "--runs"),
        (("evaluate", "--jobs", "0"), "--jobs"),
        (("evaluate", "--threads", "1", "--threads", "0"), "--threads"),
        (("evaluate", "--metrics", "pillow"), "'opencv', 'scikit-image'"),
        (("evaluate", "--backend", "cpu", "--backend", "tpu"), "there is no backend 'tpu'; choose from"),
        (("evaluate", "--backend", "cpu:x"), "it has no target 'x'"),
        (("evaluate", "--backend", "npu,speed=9"), "no option 'speed'"),
        (("bench", "net", "--backend", "cpu,speed"), "'speed' is no KEY=VALUE"),
        (("bench", "missing.tflite", "other.tflite"), "there is no submission or file 'missing.tflite'"),
        (("evaluate", "--formula", "mai2031"), "no such formula; there are mai2021"),
        (("evaluate", "--data", "nowhere"), "nowhere is not a folder"),
        (("evaluate", "--submissions", "nowhere"), "is not a folder"),
        (("score", "nothing"), "there is no submission or file 'nothing'"),
        (("check", "missing.tflite"), "there is no submission or file 'missing.tflite'"),
        (("render",), "run: mai-harness evaluate"),
        (("data", "download", "--to", "x", "--from", "ftp://127.0.0.1/"), "no http or https URL"),
        (("new", "../up"), "cannot name a submission"),
    ],
)
def test_wrong_use_is_told_without_a_traceback(arguments, words, tmp_path):
    (tmp_path / "submissions").mkdir()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_are_json_too(tmp_path):
    done = run("score", "nothing", "--json", "--submissions", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing" in json.loads(done.stdout)["error"]


def test_new_makes_a_submission_that_list_shows(tmp_path):
    assert run("new", "my_net", cwd=tmp_path).returncode == 0
    found = json.loads(run("list", "--json", cwd=tmp_path).stdout)
    assert [s["name"] for s in found["submissions"]] == ["my_net"]
    assert found["submissions"][0]["train"]["steps"] > 0
    again = run("new", "my_net", cwd=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_doctor_tells_packages_data_and_submissions(tmp_path):
    run("new", "my_net", cwd=tmp_path)
    done = run("doctor", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (0, True), done.stdout
    found = {line["what"]: line["found"] for line in report["lines"]}
    assert found["submissions"] == "my_net"
    assert "6 images" in found["data to score on"]
    assert {"torch", "onnx2tf", "tensorflow", "scikit-image"} <= set(found)


def test_doctor_says_no_where_something_is_missing(tmp_path):
    done = run("doctor", "--json", cwd=tmp_path, MAI_DATA_ROOT=str(tmp_path))
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    assert {line["what"] for line in report["lines"] if not line["ok"]} == {"submissions", "data to score on"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell, tmp_path):
    done = run("completion", shell, cwd=tmp_path)
    assert done.returncode == 0
    assert "_MAI_HARNESS_COMPLETE" in done.stdout


def test_completion_knows_the_submissions(tmp_path):
    run("new", "my_net", cwd=tmp_path)
    words = {"_MAI_HARNESS_COMPLETE": "bash_complete", "COMP_WORDS": "mai-harness score m", "COMP_CWORD": "2"}
    assert "my_net" in run(cwd=tmp_path, **words).stdout


def test_a_damaged_tflite_file_is_refused_with_its_stage(tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"hello, I am no model")
    done = run("check", "net.tflite", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith("check: ")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    """A folder with a.tflite, which is small, and photos to score on."""
    root = tmp_path_factory.mktemp("shapes")
    tiny.write(root / "a.tflite", tiny.upscaler)
    (root / "photos").mkdir()
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (10, 12, 3)), np.ones((12, 12, 1)))
    Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / "a.png")
    return root


def test_both_libraries_score_alike(shapes):
    options = ("--json", "--data", "photos")
    usual, reference = (
        json.loads(run("score", "a.tflite", *options, *more, cwd=shapes).stdout)
        for more in ((), ("--metrics", "scikit-image"))
    )
    assert usual["psnr_raw_db"] == pytest.approx(reference["psnr_raw_db"], abs=1e-9)
    assert usual["ssim_raw"] == pytest.approx(reference["ssim_raw"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_backend_that_is_named_times_on_the_threads_that_are_named(shapes):
    given = ("--backend", "cpu", "--backend", "npu", "--threads", "2", "--threads", "1", "--runs", "2", "--warmup", "1")
    done = run("bench", "a.tflite", "--json", *given, cwd=shapes)
    assert done.returncode == 0, done.stderr
    cpu, npu = json.loads(done.stdout)["runtime"]
    assert [(each["backend"], each["threads"]) for each in cpu["reports"]] == [("cpu", 2), ("cpu", 1)]
    assert npu["reports"][0]["estimate_ms"] > 0
    words = run("bench", "a.tflite", *given, cwd=shapes).stdout
    for told in ("cpu int8: median", "times the reference model, ABPN in INT8", "[XNNPACK]", "npu int8: estimate"):
        assert told in words


def test_a_second_run_on_the_same_output_is_refused(tmp_path):
    import fcntl

    run("new", "my_net", cwd=tmp_path)
    lock = tmp_path / "leaderboard" / "work" / ".lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run("evaluate", cwd=tmp_path)
    assert (done.returncode, "another run is using" in done.stderr) == (2, True)
