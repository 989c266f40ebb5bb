"""The network works on another range of values than the levels of pixels."""

from collections.abc import Iterator
from typing import NamedTuple

from mai_harness.diagnose._grades import db, grade
from mai_harness.diagnose._measured import LOSSES
from mai_harness.diagnose._undone import last_working, tried, undone
from mai_harness.records import Evaluation, Finding, Op, Undo

_SYMPTOMS = (
    "missing-clip", "output-range-tight", "output-range-wide", "calibration-mismatch", "calibration-unit",
    "constant-output", "output-clipped", "dead-channels", *LOSSES,
)  # fmt: skip

_TANH_TITLE = "The output ends in a tanh"
_TANH_REMEDY = (
    "Replace the tanh by a clip to [0, 255] and train on: the last layer then gives levels. A clip becomes saturation "
    "in INT8 and takes no time."
)
_SIGNED = 2  # the place of [-1, 1] among the ranges of outputs


class _Range(NamedTuple):
    """What a range is called, and how the network is brought to levels."""

    name: str
    remedy: str


_INPUTS = {
    1: _Range("levels in [0, 255]", "Take levels as they are: no scaling before the first layer"),
    2: _Range("values in [0, 1]", "Divide the weights of the first layer by 255, so that it takes levels"),
    3: _Range(
        "values in [-1, 1]",
        "Divide the weights of the first layer by 127.5, less their sum from its bias, so that it takes levels "
        "(with edges padded by 127.5)",
    ),
}
_OUTPUTS = {
    1: _Range("values in [0, 1]", "Multiply the weights and the bias of the last layer by 255"),
    2: _Range("values in [-1, 1]", "Add 1 to the output and multiply it by 127.5, in the weights of the last layer"),
    3: _Range("levels around 0", "Add 127.5 to the bias of the last layer"),
    4: _Range("values before a tanh", "Put the tanh back, or better a clip that is trained with the network"),
    5: _Range("values before a sigmoid", "Put the sigmoid back and multiply by 255, or better train with a clip"),
    6: _Range("a negative", "Change the sign of the last layer's weights and bias, and add 255 to the bias"),
}


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``value-range``, by values scaled otherwise on the samples; ``tanh-output`` if a TANH makes them."""
    undo, last = undone(evaluation, "value-range"), last_working(evaluation)
    if undo is None:
        if last is not None and last.name == "TANH":
            yield _tanh_read_rightly(evaluation, last)
        return
    if undo.details.get("output") == _SIGNED and last is not None and last.name == "TANH":
        yield _tanh(evaluation, undo, last)
    elif not undo.details.get("sized"):  # else the bytes are levels, of whatever precision
        yield _range(evaluation, undo, last)


def _tanh(evaluation: Evaluation, undo: Undo, tanh: Op) -> Finding:
    if undo.details.get("sized"):
        loss = "In INT8 its steps are 1/128, and what goes in must reach far to make black and white of it, so that "
        loss += "every tone is rounded coarsely."
    else:
        loss = "The challenge takes levels in [0, 255], so nearly all of the picture is lost in rounding."
    return Finding(
        id="tanh-output",
        severity=grade(undo.gain_db),
        title=_TANH_TITLE,
        evidence=f"{_as_it_is(undo)}; in float, with {undo.what}, it has {db(undo.after_db)}.",
        explanation=f"A tanh gives values in [-1, 1], as generators are trained. {loss}",
        remedy=_TANH_REMEDY,
        layer=tanh.label,
        explained_db=undo.gain_db,
        tried=tried(evaluation, undo),
        explains=_SYMPTOMS,
    )


def _tanh_read_rightly(evaluation: Evaluation, tanh: Op) -> Finding:
    raw = evaluation.appraise.mean("raw") if evaluation.appraise else None
    return Finding(
        id="tanh-output",
        severity="warning",
        title=_TANH_TITLE,
        evidence=f"{tanh.label} makes the output, whose steps are 1/128"
        + (f"; its bytes read as levels have {db(raw)}." if raw is not None else "."),
        explanation="A tanh gives values in [-1, 1], as generators are trained. To make black and white of it what "
        "goes in must reach far, so that eight bits round every tone coarsely.",
        remedy=_TANH_REMEDY,
        layer=tanh.label,
    )


def _range(evaluation: Evaluation, undo: Undo, last: Op | None) -> Finding:
    taken, given = (int(undo.details.get(side, 0)) for side in ("input", "output"))
    ends = [found for found in (_INPUTS.get(taken), _OUTPUTS.get(given)) if found]
    same = taken in _INPUTS and given in _OUTPUTS and _INPUTS[taken].name == _OUTPUTS[given].name
    parts = [
        f"expects {_INPUTS[taken].name}" if taken in _INPUTS else "",
        f"gives {_OUTPUTS[given].name}" if given in _OUTPUTS else "",
    ]
    if taken:
        loss = "Fed with these, the network works far from the values that it learned from."
    else:
        loss = "Read as levels, what the network gives is no picture."
    return Finding(
        id="value-range",
        severity=grade(undo.gain_db),
        title=f"The network works on {_INPUTS[taken].name}"
        if same
        else f"The network {' and '.join(filter(None, parts))}",
        evidence=f"{_as_it_is(undo)}; {undo.what}, it has {db(undo.after_db)}.",
        explanation=f"The challenge feeds levels in [0, 255] and compares with such levels. {loss}",
        remedy=f"{'. '.join(found.remedy for found in ends)}. Calibrate on levels and quantise again.",
        layer=last.label if last is not None and given else "",
        explained_db=undo.gain_db,
        tried=tried(evaluation, undo),
        # Levels where the file's own scale makes [0, 1] of bytes are how it was calibrated, and no other network.
        explains=tuple(id_ for id_ in _SYMPTOMS if not id_.startswith("calibration") or taken != 1),
    )


def _as_it_is(undo: Undo) -> str:
    return f"As it is, the better of bytes and values has {db(undo.before_db)} on the samples"
