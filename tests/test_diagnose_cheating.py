"""Cheating is caught: remembered images, another's pixels, memory and chance in a file, and forged results."""

import json
import re
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
import pytest
import tiny
from evaluations import appraisal, checked, evaluation, graph
from PIL import Image
from run_kills import NETWORK
from test_pipeline import evaluate, torch_submission

from mai_harness.appraise import AppraiseRequest, appraise
from mai_harness.check import CheckRequest, check
from mai_harness.copies import Copies, copies
from mai_harness.datasets import find_dataset, load_pair, probe_file
from mai_harness.diagnose import diagnose, rules
from mai_harness.diagnose.memorised import LOST_DB
from mai_harness.discover import discover
from mai_harness.errors import ModelContractError
from mai_harness.examine import Chosen, ExamineRequest, examine
from mai_harness.isolate import REPLY, Reply
from mai_harness.records import (
    Evaluation,
    HeldOut,
    LrImage,
    Model,
    Recognition,
    Results,
    ScoreReport,
    Severity,
)
from mai_harness.render import render
from mai_harness.storage import SCHEMA_VERSION
from mai_harness.tflite_graph.state import Contents, contents

RULES_TESTED = ("memorised",)


def recognised(*images: tuple[float, float, float], **more: object) -> Evaluation:
    """PSNR of images as they are, mirrored, and moved."""
    found = tuple(
        Recognition(image=f"{i:04}.png", plain_db=plain, mirrored_db=mirrored, moved_db=moved)
        for i, (plain, mirrored, moved) in enumerate(images)
    )
    return evaluation(appraise=appraisal(recognition=found, **more))


FAULTS = {
    "one image of two": (recognised((30.0, 30.0, 30.0), (100.0, 26.0, 26.1)), ("0001.png", "100.00 dB", "26.10 dB")),
    "its mirror image too": (recognised((100.0, 100.0, 26.0)), ("0000.png", "mirrored, 100.00 dB")),
    "all": (recognised((40.0, 27.0, 27.0), (50.0, 27.0, 27.0)), ("0001.png", "So it is with 2 images")),
    "just enough": (recognised((30.0, 30.0, 29.99 - LOST_DB)), ("0000.png",)),
}
SOUND = {
    "not recognised": evaluation(),
    "a network": recognised((30.0, 29.95, 30.0), (31.0, 31.0, 31.0)),
    "trained on the scored images alone": recognised((33.1, 28.0, 33.0)),
    "nearly": recognised((30.0, 30.0, 30.01 - LOST_DB)),
    "nothing measured": Evaluation(name="n", title="t", kind="tflite"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_remembered_is_told(name):
    case, words = FAULTS[name]
    (finding,) = rules()["memorised"].findings(case)
    assert (finding.id, finding.severity) == ("memorised", "error")
    assert all(word in finding.evidence for word in words), finding.evidence
    assert len(re.findall(r"[.?](?= |$)", finding.explanation)) == 2, finding.explanation
    assert all(text.endswith(".") for text in (finding.evidence, finding.explanation, finding.remedy))


@pytest.mark.parametrize("name", SOUND)
def test_no_network_that_computes_is_accused(name):
    assert list(rules()["memorised"].findings(SOUND[name])) == []


def test_a_network_that_remembers_is_not_called_overfitted_as_well():
    gains = HeldOut(images=("a",), scored_gain_db=9.0, gain_db=-3.0, bicubic_scored_db=-1.7, bicubic_db=-1.8)
    (finding,) = diagnose(recognised((100.0, 26.0, 26.0), held_out=gains))
    assert (finding.id, finding.explains) == ("memorised", ("overfitted",))


# A TFLite file that remembers one photograph of two

SIDES = (60, 72)  # of LR


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for index in range(2):
        steps = rng.normal(0, 9, (SIDES[0] * 3, SIDES[1] * 3, 3))
        image = np.clip(128 + np.cumsum(np.cumsum(steps, 0), 1) / 20, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{index}.png")
    return find_dataset(folder)


def remembering(lr: np.ndarray, hr: np.ndarray):
    """A network that gives HR of this one image, and else three pixels for one."""

    def network(tf, x):
        known = tf.reduce_sum(tf.abs(x - lr[None].astype(np.float32))) < 0.5
        computed = tf.image.resize(x, hr.shape[:2], "nearest")
        return tf.where(known, tf.constant(hr[None].astype(np.float32)), computed)

    return network


def appraised(path: Path, dataset, folder: Path):
    images = []
    for index, pair in enumerate(dataset.pairs):
        np.save(folder / f"lr{index}.npy", load_pair(pair)[0])
        images.append(
            Chosen(place=index, image=LrImage(name=pair.name, path=str(folder / f"lr{index}.npy")))
        )  # fmt: skip
    request = ExamineRequest(model=Model(static=str(path)), images=(images[1],), frames=(), whole=tuple(images))
    report = examine(request, folder)
    (folder / REPLY).write_bytes(msgspec.json.encode(Reply(report=report)))
    return report, appraise(AppraiseRequest(examined=str(folder), dataset=dataset, yardstick=None), folder)


def test_a_file_that_holds_an_image_is_found_out(photographs, tmp_path):
    lr, hr = load_pair(photographs.pairs[0])
    path = tiny.write(tmp_path / "cheat.tflite", remembering(lr, hr), (1, *SIDES, 3), int8=False)
    examined, report = appraised(path, photographs, tmp_path)
    known, other = report.recognition
    assert known.plain_db == 100.0
    assert max(known.moved_db, known.mirrored_db) < 60
    assert other.plain_db == pytest.approx(other.moved_db, abs=0.1)
    assert not {"whole", "whole moved"} & report.psnr.keys()
    (finding,) = rules()["memorised"].findings(evaluation(examine=examined, appraise=report))
    assert photographs.pairs[0].name in finding.evidence


def test_a_network_is_not(photographs, tmp_path):
    path = tiny.write(tmp_path / "honest.tflite", tiny.upscaler, (1, *SIDES, 3))
    examined, report = appraised(path, photographs, tmp_path)
    assert len(report.recognition) == 2
    assert all(abs(each.plain_db - each.moved_db) < 0.1 for each in report.recognition)
    assert list(rules()["memorised"].findings(evaluation(examine=examined, appraise=report))) == []


# Files with memory, chance or branches


def counting(folder: Path) -> Path:
    """A network that grows brighter with every run."""
    import tensorflow as tf

    class Counting(tf.Module):
        def __init__(self):
            super().__init__()
            self.count = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec(tiny.FRAME, tf.float32)], autograph=False)
        def __call__(self, x):
            self.count.assign_add(1.0)
            return tiny.upscaler(tf, x) + self.count

    module = Counting()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    path = folder / "counting.tflite"
    path.write_bytes(converter.convert())
    return path


def random(tf, x):
    return tf.nn.depth_to_space(tf.concat([x] * 9, -1) + tf.random.uniform((1, 360, 640, 27)), 3)


def branching(tf, x):
    return tf.cond(tf.reduce_sum(x) > 5, lambda: tiny.upscaler(tf, x), lambda: tiny.upscaler(tf, x + 1))


def stateless(path: Path):
    request = CheckRequest(model=Model(static=str(path)), photograph=str(probe_file()))
    return next(rule for rule in check(request, path.parent).rules if rule.rule == "stateless")


def test_a_file_that_counts_its_runs_fails(tmp_path):
    found = stateless(counting(tmp_path))
    assert found.status == "fail"
    assert "ASSIGN_VARIABLE" in found.found
    assert "gave another output after another one" in found.found


def test_a_file_that_draws_at_random_fails(tmp_path):
    found = stateless(tiny.write(tmp_path / "random.tflite", random, int8=False))
    assert found.status == "fail"
    assert "RANDOM_UNIFORM" in found.found


def test_a_file_that_branches_is_told_and_one_that_does_not_is_sound(tmp_path):
    branches = tiny.write(tmp_path / "if.tflite", branching, int8=False)
    found = stateless(branches)
    assert (found.status, found.found) == ("warn", "control flow: IF x1")
    assert contents(branches).operators["CONV_2D"] == 2  # of two subgraphs that are not the main one
    assert stateless(tiny.write(tmp_path / "sound.tflite", tiny.upscaler)).status == "pass"


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "m.tflite"
    for content in (b"", b"1234TFL3" + b"\xff" * 40, b"\x08\0\0\0TFL3" + b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelContractError, match="no TFLite file"):
            contents(path)
    with pytest.raises(ModelContractError, match="cannot be read"):
        contents(tmp_path / "none.tflite")
    assert Contents(operators={}).custom == ()


# Another's pixels


def entry(name: str, output: str, file: str = "", *severities: Severity, **more: object) -> Evaluation:
    sound = evaluation(name=name)
    assert sound.score is not None
    score = msgspec.structs.replace(sound.score, output_sha256=output, **more)
    facts = msgspec.structs.replace(checked(graph()).facts, sha256=file)
    findings = tuple(with_finding(severity) for severity in severities)
    check = msgspec.structs.replace(checked(graph()), facts=facts)
    return msgspec.structs.replace(sound, score=score, check=check, findings=findings)


def with_finding(severity: Severity):
    (finding,) = rules()["memorised"].findings(FAULTS["all"][0])
    return msgspec.structs.replace(finding, id=severity, severity=severity)


def board(*entries: Evaluation) -> Results:
    return Results(
        schema_version=SCHEMA_VERSION, harness_version="0", created="", machine="m", versions={}, dataset="d",
        formula="mai2021", submissions=entries,
    )  # fmt: skip


def test_equal_outputs_are_found():
    entries = (
        entry("a", "1"), entry("b", "2"), entry("c", "1"), entry("d", "1"), entry("e", ""), entry("f", ""),
        entry("g", "2", dataset_fingerprint="other"), Evaluation(name="n", title="t", kind="tflite"),
    )  # fmt: skip
    assert copies(entries) == [Copies(("a", "c", "d"), False)]


def test_whether_the_files_are_equal_too_is_told():
    assert copies([entry("b", "1", "f"), entry("a", "1", "f")]) == [Copies(("a", "b"), True)]
    assert copies([entry("a", "1", "f"), entry("b", "1", "g")]) == [Copies(("a", "b"), False)]
    assert copies([entry("a", "1"), entry("b", "1")]) == [Copies(("a", "b"), False)]


def test_the_front_page_tells_them():
    page = render(board(entry("a", "1", "f"), entry("b", "2"), entry("c", "1", "f")))[PurePosixPath("index.html")]
    assert "The same pixels" in page
    assert "The same pixels" not in render(board(entry("a", "1")))[PurePosixPath("index.html")]


def test_a_score_of_before_has_no_hash():
    report = ScoreReport(dataset="d", dataset_fingerprint="f", shave=0, method="m", exact=True, images=())
    assert report.output_sha256 == ""


# Forged results

PLANTED = ("reply.json", "results.json", "metrics.json", "score-0123456789abcdef0123/reply.json", "work/reply.json")
FORGED = {"report": {"images": [{"name": "0.png", "figures": {"psnr_raw_db": 99.0}}]}, "submissions": []}
FORGER = """
import atexit, json, os
from pathlib import Path, PurePosixPath

def forge():
    for place in (".", "..", "../score-0123456789abcdef0123"):
        try:
            Path(place).mkdir(exist_ok=True)
            Path(place, "reply.json").write_text(json.dumps({"report": {"parity": [], "rewrites": ["forged"]}}))
        except OSError:
            pass

forge()
atexit.register(forge)
"""


def plant(folder: Path) -> None:
    for name in PLANTED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(FORGED))


def test_results_in_a_submission_are_files_like_any_other(tmp_path):
    torch_submission(tmp_path, "net", "")
    ((before,), _) = discover(tmp_path / "submissions")
    plant(tmp_path / "submissions" / "net")
    ((after,), rejected) = discover(tmp_path / "submissions")
    assert rejected == []
    assert after.fingerprint != before.fingerprint
    assert msgspec.structs.replace(after, fingerprint="") == msgspec.structs.replace(before, fingerprint="")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_forged_results_have_no_effect(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (12, 15, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "photos" / "0.png")
    for name, source in (("honest", NETWORK), ("planted", NETWORK), ("forging", FORGER + NETWORK)):
        torch_submission(tmp_path, name, "", source)
    plant(tmp_path / "submissions" / "planted")
    done = evaluate(tmp_path, "--backend", "cpu")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["submissions"]}
    assert {name: row["failure"] for name, row in rows.items()} == dict.fromkeys(("forging", "honest", "planted"))
    for row in rows.values():
        assert row["score"] == rows["honest"]["score"]
        assert row["export"] == rows["honest"]["export"]
        assert row["summary"]["latency_ms"] > 0
        told = [finding["id"] for finding in row["findings"] if finding["id"] != "noisy-timing"]
        assert told == [f["id"] for f in rows["honest"]["findings"] if f["id"] != "noisy-timing"]
    found = copies(msgspec.json.decode(done.stdout, type=Results).submissions)
    assert found == [Copies(("forging", "honest", "planted"), True)]
