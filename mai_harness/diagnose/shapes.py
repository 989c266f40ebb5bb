"""The network takes or gives frames of another layout or size than the challenge has."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from mai_harness.diagnose._grades import db
from mai_harness.records import LR_FRAME, SCALE, Evaluation, Finding, Tried

_INPUT, _OUTPUT = (1, *LR_FRAME, 3), (1, LR_FRAME[0] * SCALE, LR_FRAME[1] * SCALE, 3)


class _Frames(NamedTuple):
    """Shapes of input and output, and the names of their tensors where they are known."""

    source: tuple[int, ...] = ()
    result: tuple[int, ...] = ()
    source_name: str = ""
    result_name: str = ""


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """``nchw``, ``swapped-frame``, ``wrong-scale``, ``wrong-output-shape`` and ``batch``, by the shapes."""
    frames = _frames(evaluation)
    ids = _layout(evaluation, frames)
    if "nchw" in ids:
        yield _nchw(evaluation, frames)
    if "swapped-frame" in ids:
        yield _swapped(evaluation, frames)
    if "wrong-scale" in ids:
        yield _wrong_scale(evaluation, frames)
    if "wrong-output-shape" in ids:
        yield _wrong_output(evaluation, frames)
    yield from _batch(frames)


def _frames(evaluation: Evaluation) -> _Frames:
    failed = evaluation.failure.output_shape if evaluation.failure and _failed(evaluation) else ()
    if evaluation.examine is not None:
        graph = evaluation.examine.graph
        source, result = ([graph.tensors[index] for index in ends[:1]] for ends in (graph.inputs, graph.outputs))
        return _Frames(
            source[0].shape_signature if source else (),
            failed or (result[0].shape_signature if result else ()),
            source[0].name if source else "",
            result[0].name if result else "",
        )
    if evaluation.check is not None:
        return _Frames(evaluation.check.facts.input_shape, failed or evaluation.check.facts.output_shape)
    return _Frames(result=failed)


def _layout(evaluation: Evaluation, frames: _Frames) -> set[str]:
    examine, found = evaluation.examine, set()
    layout = examine.layout if examine else "unknown"
    if layout == "NCHW" or (layout == "unknown" and _is_nchw(frames.source)):
        found.add("nchw")
    if layout == "swapped" or (layout == "unknown" and frames.source[1:] == (*LR_FRAME[::-1], 3)):
        found.add("swapped-frame")
    if examine and examine.factor not in (None, SCALE):
        found.add("wrong-scale")
    if _failed(evaluation):
        found.add(_of_failure(frames))
    return found - {"batch"}


def _is_nchw(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] == 3 and shape[3] != 3


def _of_failure(frames: _Frames) -> str:
    """The id for an output that another shape was expected of."""
    shape, fed = frames.result, _size(frames.source) or LR_FRAME
    size = _size(shape)
    if size is None:
        several = len(shape) == 4 and _size((1, *shape[1:])) == (fed[0] * SCALE, fed[1] * SCALE)
        return "batch" if several else "wrong-output-shape"
    if size == (fed[1] * SCALE, fed[0] * SCALE):
        return "swapped-frame"
    factors = {size[0] / fed[0], size[1] / fed[1]}
    return "wrong-scale" if len(factors) == 1 and factors != {SCALE} else "wrong-output-shape"


def _size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of a picture of three channels, last or first, if it is one."""
    if len(shape) < 3 or math.prod(shape[:-3]) != 1 or min(shape) < 1:
        return None
    first, second, third = shape[-3:]
    if third == 3:
        return first, second
    return (second, third) if first == 3 else None


def _nchw(evaluation: Evaluation, frames: _Frames) -> Finding:
    tried, told = _adapted(evaluation, "fed as NCHW", "Fed as NCHW")
    return Finding(
        id="nchw",
        severity="error",
        title="Channels come before rows",
        evidence=f"The input is {_text(frames.source)}, NCHW; {_text(_INPUT)} was expected.{told}",
        explanation="The file takes planes of one colour, as torch and ONNX order them. "
        "The challenge's script and mobile NPUs take NHWC, the three colours of a pixel together.",
        remedy="Convert from ONNX with a tool that turns the whole graph to NHWC, such as onnx2tf, or give the torch "
        "or ONNX network to mai-harness. A TRANSPOSE in front alone would copy every frame.",
        tensor=frames.source_name,
        tried=tried,
    )


def _swapped(evaluation: Evaluation, frames: _Frames) -> Finding:
    turned = evaluation.examine is not None and evaluation.examine.layout == "swapped"
    tried, told = _adapted(evaluation, "fed with rows and columns swapped", "Fed with rows and columns swapped")
    shown, wanted = ("output", _OUTPUT) if _failed(evaluation) and not turned else ("input", _INPUT)
    shape = frames.result if shown == "output" else frames.source
    return Finding(
        id="swapped-frame",
        severity="error",
        title="Width and height are swapped",
        evidence=f"The {shown} is {_text(shape)}; {_text(wanted)} was expected.{told}",
        explanation="Frames are stored row by row, so their height comes before their width. "
        "Image tools tell a size as width by height, which is easily taken for a shape.",
        remedy=f"Export at {LR_FRAME[0]} rows and {LR_FRAME[1]} columns: {_text(_INPUT)} in, {_text(_OUTPUT)} out. A "
        "convolutional network needs no training for that.",
        tensor=frames.result_name if shown == "output" else frames.source_name,
        tried=tried,
    )


def _wrong_scale(evaluation: Evaluation, frames: _Frames) -> Finding:
    factor = evaluation.examine.factor if evaluation.examine else None
    size, fed = _size(frames.result), _size(frames.source) or LR_FRAME
    if factor is None and size is not None:
        factor = size[0] / fed[0]
    before = f" from {_text(frames.source)}" if frames.source else ""
    tried, told = _adapted(evaluation, f"output resized to {SCALE} x", f"Resized to {SCALE} x")
    return Finding(
        id="wrong-scale",
        severity="error",
        title=f"The network does not enlarge by {SCALE}",
        evidence=f"The output is {_text(frames.result)}{before}: {factor or 0:g} x in height, not {SCALE} x.{told}",
        explanation=f"The challenge is about images {SCALE} times as high and wide. "
        "A network for another factor cannot be scored against its HR images.",
        remedy=f"Give the last convolution {3 * SCALE**2} channels and DEPTH_TO_SPACE a block size of {SCALE}, then "
        "train again; weights of the layers before can be kept as a start.",
        tensor=frames.result_name,
        tried=tried,
    )


def _wrong_output(evaluation: Evaluation, frames: _Frames) -> Finding:
    wanted = (1, 3, *_OUTPUT[1:3]) if evaluation.kind in ("torch", "onnx", "pt2") else _OUTPUT
    return Finding(
        id="wrong-output-shape",
        severity="error",
        title="The output is no HR frame",
        evidence=f"The output is {_text(frames.result)}; {_text(wanted)} was expected.",
        explanation="The network ran, but what it gives has another shape than an HR frame of three colours. "
        "Rows, columns, channels or the batch went astray in it.",
        remedy="Look at the last reshape, pixel shuffle or slice: it has to give one image of three channels, three "
        "times as high and wide as the input.",
        tensor=frames.result_name,
    )


def _batch(frames: _Frames) -> Iterator[Finding]:
    ends = (("input", frames.source, frames.source_name), ("output", frames.result, frames.result_name))
    wrong = [(end, shape, name) for end, shape, name in ends if len(shape) == 4 and shape[0] not in (1, -1)]
    if not wrong:
        return
    told = " and ".join(f"the {end} is {_text(shape)}" for end, shape, _ in wrong)
    yield Finding(
        id="batch",
        severity="error",
        title="The batch is not 1",
        evidence=f"{told[0].upper()}{told[1:]}; a batch of 1 was expected.",
        explanation="The challenge feeds one frame and times one frame. "
        "A file for several takes more memory and does not run with one.",
        remedy="Export with a batch of 1; the weights stay as they are.",
        tensor=wrong[0][2],
    )


def _failed(evaluation: Evaluation) -> bool:
    """Whether the shape that ended the evaluation is all that is known of the output."""
    examined = evaluation.examine is not None and evaluation.examine.factor is not None
    return evaluation.failure is not None and bool(evaluation.failure.output_shape) and not examined


def _adapted(evaluation: Evaluation, what: str, told: str) -> tuple[tuple[Tried, ...], str]:
    """What the network reaches through an adapter: beside the score if there is one, and in words."""
    appraise = evaluation.appraise
    after = (appraise.mean("raw") or appraise.mean("dequantised")) if appraise else None
    if appraise is None or after is None:
        return (), ""
    before = evaluation.score.mean("psnr_raw_db") if evaluation.score else None
    if before is None:
        return (), f" {told} it reaches {db(after)} on the samples."
    samples = max(map(len, appraise.psnr.values()))
    return (Tried(what=what, before_db=before, after_db=after, how=f"LiteRT on {samples} samples"),), ""


def _text(shape: tuple[int, ...]) -> str:
    return "x".join("?" if size == -1 else str(size) for size in shape) or "of no shape"
