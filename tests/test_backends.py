"""The seam of the backends: how one is chosen, and that each offers all of it."""

import inspect

import pytest

from mai_harness.backends import Backend, Choice, find, names, parse
from mai_harness.errors import HarnessError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", Choice(name="cpu")),
        ("npu:ethos-u65-512", Choice(name="npu", target="ethos-u65-512")),
        ("adb:127.0.0.1:5555,benchmark_model=/a=b,delegate=gpu",
         Choice(name="adb", target="127.0.0.1:5555", options={"benchmark_model": "/a=b", "delegate": "gpu"})),
        ("adb,delegate=cpu", Choice(name="adb", options={"delegate": "cpu"})),
    ],
)  # fmt: skip
def test_a_choice_is_read_and_written_back(text, expected):
    assert parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [("tpu", "choose from adb, cpu, npu"), ("", "choose from"), ("adb,delegate", "'delegate' is no KEY=VALUE"),
     ("cpu,=x", "no KEY=VALUE")],
)  # fmt: skip
def test_a_choice_that_cannot_be_read_is_told(text, words):
    with pytest.raises(HarnessError, match=words):
        parse(text)


def test_an_unknown_option_is_told_with_the_known_ones():
    with pytest.raises(HarnessError, match="no option 'speed'; its options are system, memory"):
        parse("npu,speed=9").refuse_unknown_options(("system", "memory"))
    with pytest.raises(HarnessError, match="it has none"):
        parse("cpu,speed=9").refuse_unknown_options(())


def test_an_unknown_backend_is_not_found():
    with pytest.raises(HarnessError, match="there is no backend 'x'"):
        find("x")


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("function", ["device", "measure", "compare"])
def test_every_backend_offers_the_whole_seam(name, function):
    wanted = [p for p in inspect.signature(getattr(Backend, function)).parameters if p != "self"]
    given = inspect.signature(getattr(find(name), function)).parameters
    assert list(given)[: len(wanted)] == wanted
    assert all(parameter.default is not parameter.empty for parameter in list(given.values())[len(wanted) :])
