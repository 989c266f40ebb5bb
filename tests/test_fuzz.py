"""Files of the organiser's that are damaged: images, layouts of data sets, results. Each ends in words."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_render import entry, results

from mai_harness.datasets import find_dataset, load_pair, read_rgb
from mai_harness.errors import DataNotFound, HarnessError, ResultsUnreadable
from mai_harness.storage import SCHEMA_VERSION, read_results, write_results
from mai_harness.tflite_graph import read_graph

T = TypeVar("T")
BOUNDED = settings(max_examples=150, deadline=None, derandomize=True)


def encoded(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 33, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


IMAGES = {kind: encoded(kind) for kind in ("png", "jpeg", "webp", "bmp")}


def tried(call: Callable[[], T], *errors: type[Exception]) -> tuple[T | None, str]:
    """What comes back, or the words of one of these errors."""
    try:
        return call(), ""
    except errors as error:
        return None, str(error) or "no words"


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut, with bytes changed, repeated, or with others in front."""
    changed = bytearray(data)
    for place, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=6)):
        changed[place] = value
    return draw(st.binary(max_size=3)) + bytes(changed[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=3))


@BOUNDED
@given(st.data())
def test_a_damaged_image_is_an_image_or_refused_in_words(tmp_path_factory, data):
    kind = data.draw(st.sampled_from(sorted(IMAGES)))
    path = tmp_path_factory.mktemp("image") / f"x.{kind}"
    path.write_bytes(data.draw(damaged(IMAGES[kind])))
    read, words = tried(lambda: read_rgb(path), DataNotFound)
    if read is None:
        assert path.name in words
    else:
        assert read.dtype == np.uint8
        assert read.shape[2] == 3


NAMES = st.sampled_from(
    [
        "DIV2K_valid_HR",
        "DIV2K_valid_LR_bicubic",
        "X3",
        "HR",
        "LR_bicubic_X3",
        "0801.png",
        "0801x3.png",
        "a.png",
        "b.txt",
    ]
)


@BOUNDED
@given(
    st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.sampled_from(["good", "bad", "empty"]), max_size=8
    )
)
def test_any_layout_is_a_data_set_or_refused_in_words(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("data")
    content = {"good": IMAGES["png"], "bad": IMAGES["png"][:40], "empty": b""}
    for place, kind in tree.items():
        path = root.joinpath(*place)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content[kind])
        except OSError:  # a file where a folder should be, or the other way round
            continue
    dataset, words = tried(lambda: find_dataset(root), HarnessError)
    assert words != "no words"
    for pair in dataset.pairs if dataset else ():
        if Path(pair.hr).is_relative_to(root):
            assert tried(lambda pair=pair: load_pair(pair), HarnessError)[1] != "no words"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("results") / "results.json"
    board = msgspec.structs.replace(results(entry("a", 30.0, 5.0)), schema_version=SCHEMA_VERSION)
    write_results(board, path)
    assert read_results(path).submissions[0].name == "a"
    return path.read_bytes()


@BOUNDED
@given(st.data())
def test_damaged_results_are_never_read(tmp_path_factory, written, data):
    path = tmp_path_factory.mktemp("results") / "results.json"
    given_ = data.draw(damaged(written))
    path.write_bytes(given_)
    found, words = tried(lambda: read_results(path), ResultsUnreadable)
    if found is None:
        assert str(path) in words
    else:  # the same, but for blanks around it
        assert msgspec.json.decode(given_) == msgspec.json.decode(written)


@BOUNDED
@given(st.data())
def test_a_damaged_tflite_file_is_a_graph_or_refused_in_words(tmp_path_factory, data):
    model = Path(__file__).parents[1] / "mai_harness" / "backends" / "reference.tflite"
    path = tmp_path_factory.mktemp("model") / "x.tflite"
    path.write_bytes(data.draw(damaged(model.read_bytes())))
    graph, words = tried(lambda: read_graph(path), HarnessError)
    if graph is None:
        assert path.name in words
    else:
        assert graph.size_bytes == path.stat().st_size
