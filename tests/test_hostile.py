"""Hostile submissions are rows with a reason, and harm nobody; the whole corpus is for ``run_hostile.py``."""
# ruff: noqa: E501

import os
import tempfile
from pathlib import Path

import pytest
import run_hostile
from hostile import CORPUS, HEALTHY, NETWORK, Trap
from hypothesis import given, settings
from hypothesis import strategies as st

from mai_harness.discover import MAX_MANIFEST_BYTES, discover, read_submission
from mai_harness.errors import InvalidSubmission

REJECTED = [hostile for hostile in CORPUS if hostile.outcome == "rejected"]
#: Run behind the walls here; the others take longer.
NASTIEST = (
    "code fork bomb", "code endless", "code flood", "code kill all", "code hr images", "code write others", "code connect",
    "code daemon", "code reply link", "code deep folder", "pickle system pt", "onnx external 0.onnx", "tflite huge shapes.tflite",
    "toml huge integer", "code log folder",
)  # fmt: skip


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own():
    assert len(CORPUS) >= 300
    assert len({hostile.entry for hostile in CORPUS}) == len(CORPUS)
    assert {hostile.entry for hostile in CORPUS} >= set(NASTIEST)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rejections by name, and names of what is left, of one look at all that are to be rejected and two that are not."""
    root = tmp_path_factory.mktemp("submissions")
    (root / f"{HEALTHY[0]}.tflite").write_bytes(b"x")
    (root / HEALTHY[1]).mkdir()
    (root / HEALTHY[1] / "model.py").write_text(NETWORK)
    for hostile in REJECTED:
        hostile.make(root, Trap(root.parent / "marker"))
    found, rejected = discover(root)
    return {rejection.name: rejection.reason for rejection in rejected}, [submission.name for submission in found]


@pytest.mark.parametrize("hostile", REJECTED, ids=lambda hostile: ascii(hostile.entry[:40]))
def test_what_is_rejected_is_told_why(rows, hostile):
    reasons = [rows[0][name] for name in dict.fromkeys(hostile.rows) if name in rows[0]]
    assert len(reasons) == 1
    assert hostile.words in reasons[0]
    assert reasons[0].isprintable()
    assert 0 < len(reasons[0]) <= 500


def test_the_healthy_ones_beside_them_are_found(rows):
    assert rows[1] == [*HEALTHY]
    assert len(rows[0]) == len(REJECTED)
    assert all(name.isprintable() for name in rows[0])


KEYS = st.sampled_from(
    ["name", "model", "authors", "description", "factory", "arguments", "weights", "train", "x.y", '"é"']
)
VALUES = st.recursive(
    st.one_of(
        st.text(max_size=20).map(repr), st.integers().map(str), st.floats().map(str), st.sampled_from(["true", "2020-01-01", "'../x'"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda d: "{" + ", ".join(f"{k} = {v}" for k, v in d.items()) + "}"),
    ),
    max_leaves=8,
)  # fmt: skip
TOMLS = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.tuples(KEYS, VALUES), max_size=5).map(
        lambda lines: "\n".join(f"{k} = {v}" for k, v in lines).encode("utf-8", "surrogatepass")
    ),
)


def said_of(path: Path) -> str:
    """The reason against it, which is fit to be shown; empty if it is taken."""
    try:
        read_submission(path)
    except InvalidSubmission as error:
        reason = str(error)
    else:
        reason = ""
    assert reason.isprintable()
    return reason


@settings(max_examples=300, deadline=None)
@given(TOMLS)
def test_any_manifest_is_read_or_rejected(content):
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "model.py").touch()
        (Path(name) / "submission.toml").write_bytes(content)
        said_of(Path(name))


NAMES = st.one_of(
    st.sampled_from(["model.py", "submission.toml", "weights.pt", "model.tflite", "saved_model.pb", "__pycache__", "study.toml"]),
    st.binary(min_size=1, max_size=8).filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..")).map(os.fsdecode),
)  # fmt: skip
TREES = st.recursive(
    st.one_of(
        st.binary(max_size=50), st.just("pipe"), st.sampled_from(["..", "/etc/passwd", "model.py", ".", "gone", "../.."]).map(lambda to: ("link", to))
    ),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


def grow(path: Path, tree) -> None:
    """Make what the tree says."""
    if isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            grow(path / name, inner)
    elif isinstance(tree, bytes):
        path.write_bytes(tree)
    elif tree == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tree[1])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, TREES, max_size=5))
def test_any_folder_is_looked_through_without_an_end_of_the_others(tree):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "submissions"
        grow(root, tree)
        (root / "~healthy.onnx").write_bytes(b"x")
        found, rejected = discover(root)
        assert "~healthy" in [submission.name for submission in found]
        names = [each.name for each in (*found, *rejected)]
        assert len(names) == len(set(names))
        assert all(each.name.isprintable() and each.reason.isprintable() for each in rejected)


@pytest.mark.parametrize(
    "text",
    ["a." * 50_000 + "a = 1", '"\\"".' * 20_000 + "a = 1", 'x = "' + '\\"' * 60_000, 'x = """' + '\\"""' * 30_000, "x=" + "'" * 200_000],
    ids=["key", "quoted", "escapes", "lines", "quotes"],
)  # fmt: skip
@pytest.mark.timeout(30)
def test_no_manifest_takes_long(tmp_path, text):
    (tmp_path / "model.py").touch()
    (tmp_path / "submission.toml").write_text(text)
    assert len(text) < MAX_MANIFEST_BYTES
    assert said_of(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_nastiest_end_in_rows_and_harm_nobody(tmp_path):
    chosen = [hostile for hostile in CORPUS if hostile.entry in NASTIEST]
    summary = run_hostile.run(chosen, tmp_path, again=True)
    assert summary["problems"] == []
