"""The file computes with numbers other than 8-bit integers, or asks for operators that LiteRT does not have."""

from collections.abc import Iterator

from mai_harness.diagnose._grades import db
from mai_harness.diagnose._operators import costs, named
from mai_harness.diagnose._tensors import File, file_of
from mai_harness.records import Evaluation, Finding, TensorFact, Tried
from mai_harness.tflite_graph.grid import CODES

_CONVERT = (
    "Convert with optimizations = [tf.lite.Optimize.DEFAULT], a representative_dataset of LR images, supported_ops = "
    "[tf.lite.OpsSet.TFLITE_BUILTINS_INT8] and inference_input_type = inference_output_type = tf.uint8."
)
_FLEX = "Flex"  # with which the names of TensorFlow's own operators begin


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """By the types of tensors and operators.

    ``float-model``, ``float16-weights`` or ``dynamic-range`` of a file that computes in float; ``float-islands``,
    ``float-io`` and ``int16-activations`` of one that does not throughout; ``signed-input`` and ``signed-output``;
    ``select-tf`` and ``custom-operators``.
    """
    file = file_of(evaluation)
    if file is None:
        return
    yield from _foreign_operators(file)
    if any(_is_quantised(tensor) for tensor in file.activations):
        yield from _float_islands(evaluation, file)
        yield from _float_ends(file)
    elif any(_is_float(tensor) for tensor in file.activations):
        yield _float_model(file)
    yield from _int16(file)
    yield from _signed(evaluation, file)


def _is_quantised(tensor: TensorFact) -> bool:
    return tensor.scales > 0 and tensor.dtype in CODES


def _is_float(tensor: TensorFact) -> bool:
    return tensor.dtype.startswith(("float", "bfloat"))


def _kind(label: str) -> str:
    return label.rpartition(" ")[0]


def _share(labels: list[str], file: File) -> str:
    return f"{len(labels)} of {len(file.operators)} operators {'are' if labels[1:] else 'is'}"


def _float_model(file: File) -> Finding:
    """What kind of float file it is, by its weights; no activation is quantised."""
    half = [tensor for tensor in file.constants if tensor.dtype in ("float16", "bfloat16")]
    coded = [tensor for tensor in file.constants if _is_quantised(tensor)]
    computing = [label for label in _float_makers(file) if _kind(label) != "DEQUANTIZE"]
    layer = next(iter(computing), "")
    activations = f"none of the {len(file.activations)} activations is quantised"
    if half:
        return Finding(
            id="float16-weights",
            severity="error",
            title="Only the weights were made smaller, to 16-bit floats",
            evidence=f"{_tensors(half)} {'is' if len(half) == 1 else 'are'} {half[0].dtype}; {activations}.",
            explanation="The weights are stored as 16-bit floats and every operator computes in float. "
            "The challenge asks for integers throughout, and an integer NPU does not run this.",
            remedy=_CONVERT,
            layer=layer,
            tensor=half[0].name,
            explains=("not-analysed",),
        )
    if coded:
        return Finding(
            id="dynamic-range",
            severity="error",
            title="Only the weights are quantised",
            evidence=f"{_tensors(coded)} {'is' if len(coded) == 1 else 'are'} {coded[0].dtype} with scales; "
            f"{activations}.",
            explanation="This is dynamic-range quantisation: ranges of activations were not fixed when it was "
            "converted. Activations stay in float between operators, and an integer NPU does not run this.",
            remedy=f"Without a representative data set the converter stops here. {_CONVERT}",
            layer=layer,
            tensor=coded[0].name,
            explains=("not-analysed",),
        )
    source, result = (end.dtype if end else "unknown" for end in (file.source, file.result))
    return Finding(
        id="float-model",
        severity="error",
        title="The file is a float model",
        evidence=f"None of the {len(file.tensors)} tensors is quantised; the input is {source}, the output {result}.",
        explanation="The network was converted without quantisation. "
        "The challenge asks for integers throughout, and an integer NPU does not run this.",
        remedy=f"{_CONVERT} Or give the network in float to mai-harness, which quantises it.",
        layer=layer,
        tensor=next(tensor.name for tensor in file.activations if _is_float(tensor)),
        explains=("not-analysed",),
    )


def _tensors(found: list[TensorFact]) -> str:
    return f"Weight {found[0].name!r}" if len(found) == 1 else f"{len(found)} weights, the first {found[0].name!r},"


def _float_makers(file: File) -> list[str]:
    makers = (tensor.made_by for tensor in file.activations if _is_float(tensor))
    return list(dict.fromkeys(maker for maker in makers if maker != "input"))


def _float_islands(evaluation: Evaluation, file: File) -> Iterator[Finding]:
    foreign = _custom(file)  # of which another finding tells
    labels = [label for label in _float_makers(file) if _kind(label) != "DEQUANTIZE" and label not in foreign]
    if not labels:
        return
    found = costs(evaluation, labels)
    spent = f"; {'they take' if labels[1:] else 'it takes'} {found[0]}" if found else ""
    yield Finding(
        id="float-islands",
        severity="error",
        title="Parts of the network run in float",
        evidence=f"{_share(labels, file)} float: {named(labels)}{spent}.",
        explanation="The converter found no integer form for these operators, or was allowed to keep them in float. "
        "Values go to float and back around them, and an integer NPU leaves that to the CPU.",
        remedy=f"Replace {named(labels)} by operators with an INT8 kernel, or take them out of the network. "
        "With supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8] alone the converter refuses instead of mixing.",
        layer=labels[0],
        tensor=next(tensor.name for tensor in file.activations if tensor.made_by == labels[0]),
        explains=("not-analysed",),
    )


def _float_ends(file: File) -> Iterator[Finding]:
    """An input that is only quantised, and an output that is only dequantised."""
    ends = []
    if file.source is not None and _is_float(file.source) and set(file.readers(file.source) or ()) <= {"QUANTIZE"}:
        ends.append(("input", file.source))
    if file.result is not None and _is_float(file.result) and _kind(file.result.made_by) == "DEQUANTIZE":
        ends.append(("output", file.result))
    if not ends:
        return
    told = " and ".join(f"the {end} {tensor.name!r} is {tensor.dtype}" for end, tensor in ends)
    yield Finding(
        id="float-io",
        severity="error",
        title=f"{' and '.join(end for end, _ in ends).capitalize()} {'are' if ends[1:] else 'is'} float",
        evidence=f"{told[0].upper()}{told[1:]}; the operators between compute in integers.",
        explanation="The network itself is quantised, but takes or gives floats through a conversion at its end. "
        "The challenge feeds bytes and reads bytes, uint8.",
        remedy="Convert again with inference_input_type = tf.uint8 and inference_output_type = tf.uint8, on a "
        "network that takes and gives levels in [0, 255].",
        layer=_first(file, ends[0][1]) if ends[0][0] == "input" else ends[0][1].made_by,
        tensor=ends[0][1].name,
    )


def _first(file: File, source: TensorFact) -> str:
    ops = file.graph.ops if file.graph else ()
    return next((op.label for op in ops if source.index in op.inputs), "")


def _int16(file: File) -> Iterator[Finding]:
    wide = [tensor for tensor in file.activations if _is_quantised(tensor) and tensor.dtype == "int16"]
    if not wide:
        return
    makers = list(dict.fromkeys(tensor.made_by for tensor in wide if tensor.made_by != "input"))
    yield Finding(
        id="int16-activations",
        severity="error",
        title="Activations have 16 bits",
        evidence=f"{len(wide)} of {len(file.activations)} activations are int16, the first {wide[0].name!r}.",
        explanation="The file was converted to 8-bit weights with 16-bit activations. "
        "The challenge asks for 8 bits, and most integer NPUs compute 16 bits more slowly or not at all.",
        remedy="Convert with tf.lite.OpsSet.TFLITE_BUILTINS_INT8 in place of "
        "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8.",
        layer=next(iter(makers), ""),
        tensor=wide[0].name,
        # Such a conversion has float ends by default, and symmetric ranges.
        explains=("not-analysed", "float-io", "output-range-wide", "output-range-tight", "missing-clip", "value-range"),
    )


def _signed(evaluation: Evaluation, file: File) -> Iterator[Finding]:
    """The loss is that of input and output together, so where both are signed it stands with the input."""
    loss, tried, told = _measured(evaluation)
    if file.source is not None and file.source.dtype == "int8":
        yield Finding(
            id="signed-input",
            severity="error",
            title="The input is signed",
            evidence=f"Input {file.source.name!r} is int8{_zero(file.source)}{told}.",
            explanation="The challenge's script feeds the picture's bytes, cast to the input's type. "
            "Cast to int8, levels over 127 turn negative.",
            remedy="Convert again with inference_input_type = tf.uint8.",
            tensor=file.source.name,
            explained_db=loss,
            tried=tried,
            explains=("value-range",),
        )
        loss, tried, told = None, (), ""
    if file.result is not None and file.result.dtype == "int8":
        yield Finding(
            id="signed-output",
            severity="error",
            title="The output is signed",
            evidence=f"Output {file.result.name!r} is int8{_zero(file.result)}{told}.",
            explanation="The challenge's script takes the output's numbers for levels of a picture. "
            "An int8 output ends at 127, and half of its codes are negative.",
            remedy="Convert again with inference_output_type = tf.uint8.",
            layer=file.result.made_by,
            tensor=file.result.name,
            explained_db=loss,
            tried=tried,
            explains=("value-range",),
        )


def _zero(tensor: TensorFact) -> str:
    return "" if tensor.zero_point is None else f" with zero point {tensor.zero_point}"


def _measured(evaluation: Evaluation) -> tuple[float | None, tuple[Tried, ...], str]:
    """PSNR that is lost when bytes are fed and read without scale and zero point, as a mend, and in words."""
    appraise = evaluation.appraise
    if appraise is None:
        return None, (), ""
    raw, dequantised = appraise.mean("raw"), appraise.mean("dequantised")
    if raw is None or dequantised is None or dequantised <= raw:
        return None, (), ""
    tried = Tried(
        what="bytes fed and read by scale and zero point",
        before_db=raw,
        after_db=dequantised,
        how=f"LiteRT on {len(appraise.psnr['raw'])} samples",
    )
    return dequantised - raw, (tried,), f"; fed and read as bytes it reaches {db(raw)}, by scale {db(dequantised)}"


def _custom(file: File) -> list[str]:
    if file.graph is None:
        return [label for label in file.operators if _kind(label) != _kind(label).upper()]  # LiteRT's are in capitals
    return [op.label for op in file.graph.ops if op.is_custom]


def _foreign_operators(file: File) -> Iterator[Finding]:
    custom = _custom(file)
    flex = [label for label in custom if label.startswith(_FLEX)]
    others = [label for label in custom if label not in flex]
    if flex:
        yield Finding(
            id="select-tf",
            severity="error",
            title="The file needs TensorFlow's own operators",
            evidence=f"{_share(flex, file)} of SELECT_TF_OPS: {named(flex)}.",
            explanation="LiteRT has no such operator and hands it to the Flex delegate, which is TensorFlow itself. "
            "The challenge's runtime and NPUs have none, so that the file does not run there.",
            remedy=f"Replace {named(flex)} by built-in operators, and convert without tf.lite.OpsSet.SELECT_TF_OPS.",
            layer=flex[0],
            explains=("not-analysed",),
        )
    if others:
        yield Finding(
            id="custom-operators",
            severity="error",
            title="The file needs custom operators",
            evidence=f"{_share(others, file)} custom: {named(others)}.",
            explanation="A custom operator runs only where its kernel was compiled into the runtime. "
            "The challenge's runtime and NPUs have none, so that the file does not run there.",
            remedy=f"Replace {named(others)} by built-in operators, and convert with allow_custom_ops = False.",
            layer=others[0],
            explains=("not-analysed",),
        )
