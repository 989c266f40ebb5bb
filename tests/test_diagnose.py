"""Every diagnosis fires on its fault, alone, and is silent on a healthy submission."""

import ast
import re
from pathlib import Path

import msgspec
import pytest
from evaluations import (
    FRAME,
    HR,
    WIDE,
    Constant,
    Step,
    analysis,
    appraisal,
    checked,
    convolution,
    evaluation,
    examination,
    graph,
    steps,
    timed,
)

from mai_harness import diagnose as package
from mai_harness.diagnose import diagnose, rules
from mai_harness.records import (
    CalibrateReport,
    Evaluation,
    ExportReport,
    Failure,
    Finding,
    Graph,
    Parity,
    QuantiseReport,
    Ratio,
    Undo,
)
from mai_harness.timing import NOISE

# A test below asks for every rule in one of the files test_diagnose*.py.
RULES_TESTED = (
    "untrained", "fixed_size", "noisy_timing", "not_integer", "costly_operators", "shapes", "not_finite",
    "constant_output", "disagreement", "uninspected",
)  # fmt: skip


def found(case: Evaluation) -> list[Finding]:
    """What the rules tested here find, by themselves: no symptom is dropped."""
    return [finding for name in RULES_TESTED for finding in rules()[name].findings(case)]


def only(case: Evaluation) -> Finding:
    """The one finding there is."""
    (finding,) = found(case)
    return finding


# Faults, one a case.


def replaced(**changes: Step) -> tuple[Step, ...]:
    """ABPN's operators with some others: ``_10=Step(...)``."""
    given = {int(place.removeprefix("_")): step for place, step in changes.items()}
    return tuple(given.get(place, step) for place, step in enumerate(steps()))


def spent(share: float, labels: list[str]) -> dict[str, float]:
    """100 ms of layers, of which these operators take so large a share together."""
    return {"CONV_2D 99": 100 * (1 - share)} | {label: 100 * share / len(labels) for label in labels}


def costing(model: Graph, name: str, share: float = 0.5, **changes: object) -> Evaluation:
    """A graph whose operators of this name take a share of the time on the CPU."""
    layers = spent(share, [op.label for op in model.ops if op.name == name])
    return evaluation(graph=model, runtime=(timed("cpu", layers),), **changes)


def ratio(uncertainty: float) -> Ratio:
    return Ratio(value=2.0, low=2 - 2 * uncertainty, high=2 + 2 * uncertainty, rounds=9, outliers=1)


def noisy(uncertainty: float) -> Evaluation:
    return evaluation(runtime=(timed("cpu", ratio=ratio(uncertainty)),))


def failed(*shape: int, **more: object) -> Evaluation:
    """An export that gave an output of another shape."""
    failure = Failure(stage="export", kind="ModelContractError", reason="another shape", output_shape=shape)
    return Evaluation(name="net", title="Net", kind="torch", failure=msgspec.structs.replace(failure, **more))


def differing(difference: float) -> Evaluation:
    parity = (Parity(before="torch", after="ONNX", max_abs_difference=difference),)
    return evaluation(export=ExportReport(parity=parity, rewrites=()))


def flat(**changes: object) -> Evaluation:
    return evaluation(appraise=appraisal(spread=0.3, psnr={"raw": 9.5}, **changes))


def floats(weights: str = "float32") -> Graph:
    return graph(
        convolution(dtype="float32", weights=weights), convolution(WIDE, "float32", weights),
        Step("DEPTH_TO_SPACE", HR, "float32"), source_dtype="float32",
    )  # fmt: skip


HALVES = graph(
    Step("DEQUANTIZE", (27, 3, 3, 28), "float32", reads=(), constants=(Constant((27, 3, 3, 28), "float16"),)),
    Step("CONV_2D", WIDE, "float32", reads=(-1, 0)),
    Step("DEPTH_TO_SPACE", HR, "float32"),
    source_dtype="float32",
)
ISLAND = graph(
    *steps()[:9],
    Step("DEQUANTIZE", WIDE, "float32"),
    Step("ERF", WIDE, "float32", tensor="erf"),
    Step("QUANTIZE", WIDE),
    *steps()[10:],
)
FLOAT_ENDS = graph(*steps()[:-1], Step("DEQUANTIZE", HR, "float32", tensor="levels"), source_dtype="float32")
CUSTOM, FLEX = (Step(name, WIDE, reads=(8, 1), custom=True) for name in ("MyAdd", "FlexAddV2"))
CUSTOMISED = graph(*replaced(_9=CUSTOM))
FLEXED = graph(*replaced(_8=Step("DEQUANTIZE", WIDE, "float32"), _9=FLEX._replace(dtype="float32")))
SIX = (1, 360, 640, 3, 3, 3)
SHUFFLE = graph(
    *steps()[:10], Step("RESHAPE", SIX), Step("TRANSPOSE", SIX), Step("RESHAPE", HR), Step("QUANTIZE", HR, "uint8"),
)  # fmt: skip
FSRCNN = graph(
    *(step for _ in range(7) for step in (convolution(), Step("PRELU"))),
    Step("TRANSPOSE_CONV", HR, tensor="upsampled"),
    Step("QUANTIZE", HR, "uint8"),
)
TRANSPOSED = graph(convolution(), Step("TRANSPOSE_CONV", HR), Step("QUANTIZE", HR, "uint8"))
RESIZED = graph(
    convolution(WIDE), Step("DEPTH_TO_SPACE", HR), Step("RESIZE_NEAREST_NEIGHBOR", HR, reads=(-1,)), convolution(HR),
    Step("QUANTIZE", HR, "uint8"),
)  # fmt: skip
COPIES = graph(
    Step("CONCATENATION", WIDE, reads=(-1,) * 9), convolution(WIDE, reads=(-1,)), Step("ADD", WIDE, reads=(0, 1)),
    Step("DEPTH_TO_SPACE", HR), Step("QUANTIZE", HR, "uint8"),
)  # fmt: skip
CLIPPED = graph(*steps()[:11], Step("MINIMUM", HR), Step("RELU", HR), Step("QUANTIZE", HR, "uint8"))
TALL, TALL_HR = (1, 640, 360, 3), (1, 1920, 1080, 3)


def turned(**changes: object) -> Evaluation:
    model = graph(Step("CONV_2D", (1, 640, 360, 27)), Step("DEPTH_TO_SPACE", TALL_HR, "uint8"), source=TALL)
    return evaluation(**{"graph": model, "examine": examination(graph=model, layout="swapped")} | changes)


def planes(**changes: object) -> Evaluation:
    """A network in NCHW, in INT8."""
    model = graph(
        Step("CONV_2D", (1, 27, 360, 640)), Step("DEPTH_TO_SPACE", (1, 3, 1080, 1920), "uint8"),
        source=(1, 3, 360, 640),
    )  # fmt: skip
    return evaluation(**{"graph": model, "examine": examination(graph=model, layout="NCHW")} | changes)


def doubled(**changes: object) -> Evaluation:
    model = graph(convolution((1, 360, 640, 12)), Step("DEPTH_TO_SPACE", (1, 720, 1280, 3), "uint8"))
    return evaluation(**{"graph": model, "examine": examination(graph=model, factor=2.0)} | changes)


HEALTHY = evaluation()
FAULTS: dict[str, list[Evaluation]] = {
    "untrained": [evaluation(export=ExportReport(parity=(), rewrites=(), untrained=True))],
    "fixed-size": [
        evaluation(
            quantise=QuantiseReport(
                psnr_int8_to_float_db=50.0, learned_agreement=None, rewrites=(), dynamic=False,
                dynamic_reason="does not run at 40x56",
            )
        )
    ],
    "noisy-timing": [noisy(NOISE + 0.001)],
    "float-model": [evaluation(graph=floats()), evaluation(graph=floats(), examine=None)],
    "float16-weights": [evaluation(graph=HALVES), evaluation(graph=HALVES, examine=None)],
    "dynamic-range": [evaluation(graph=floats("int8")), evaluation(graph=floats("int8"), examine=None)],
    "float-islands": [
        evaluation(graph=ISLAND),
        evaluation(graph=ISLAND, examine=None),
        evaluation(graph=graph(*steps()[:9], Step("DEQUANTIZE", WIDE, "float32"), Step("ERF", HR, "float32"))),
    ],
    "float-io": [
        evaluation(graph=FLOAT_ENDS),
        evaluation(graph=FLOAT_ENDS, examine=None),
        evaluation(graph=graph(source_dtype="float32")),
    ],
    "int16-activations": [
        evaluation(graph=graph(*replaced(_3=convolution(dtype="int16")))),
        evaluation(graph=graph(*replaced(_3=convolution(dtype="int16"))), examine=None),
    ],
    "signed-input": [
        evaluation(graph=graph(*steps()[1:2], *steps()[10:], source_dtype="int8")),
        evaluation(graph=graph(*steps()[1:2], *steps()[10:], source_dtype="int8"), examine=None),
    ],
    "signed-output": [evaluation(graph=graph(*steps()[:-1])), evaluation(graph=graph(*steps()[:-1]), examine=None)],
    "select-tf": [evaluation(graph=FLEXED), evaluation(graph=FLEXED, examine=None)],
    "custom-operators": [evaluation(graph=CUSTOMISED), evaluation(graph=CUSTOMISED, examine=None)],
    "resize-operator": [costing(RESIZED, "RESIZE_NEAREST_NEIGHBOR")],
    "transpose-6d": [costing(SHUFFLE, "TRANSPOSE"), costing(SHUFFLE, "TRANSPOSE", examine=None)],
    "transposed-convolution": [costing(TRANSPOSED, "TRANSPOSE_CONV")],
    "prelu": [costing(graph(*replaced(_3=Step("PRELU"))), "PRELU")],
    "concatenation-copies": [costing(COPIES, "CONCATENATION")],
    "element-wise": [costing(CLIPPED, "MINIMUM"), costing(CLIPPED, "MINIMUM", examine=None)],
    "stays-off-npu": [
        evaluation(runtime=(timed("npu", {"CONV_2D 1": 8.0, "DEPTH_TO_SPACE 10": 1.0}, by_rule=["DEPTH_TO_SPACE 10"]),))
    ],
    "nchw": [planes(), planes(examine=None)],
    "swapped-frame": [turned(), turned(examine=None), failed(1, 3, 1920, 1080), failed(1, *TALL_HR[1:])],
    "wrong-scale": [doubled(), failed(1, 3, 720, 1280), failed(1, 1440, 2560, 3), failed(360, 640, 3)],
    "wrong-output-shape": [
        failed(1, 27, 360, 640), failed(1, 3, 1078, 1918), failed(1, 1080, 1920, 3), failed(1080, 1920),
        failed(1, 3, 0, 0),
    ],
    "batch": [
        evaluation(graph=graph(*replaced(_11=Step("QUANTIZE", (2, *HR[1:]), "uint8")), source=(2, *FRAME[1:]))),
        evaluation(graph=graph(source=(4, *FRAME[1:])), examine=None),
        failed(2, 3, 1080, 1920),
    ],
    "not-finite": [
        evaluation(examine=examination(not_finite="CONV_2D 3")),
        failed(not_finite=True),
    ],
    "constant-output": [
        flat(),
        evaluation(examine=examination(constant="DEPTH_TO_SPACE 10")),
        evaluation(examine=examination(constant="DEPTH_TO_SPACE 10"), appraise=None),
    ],
    "static-dynamic": [
        evaluation(examine=examination(dynamic_difference=3.0)),
        evaluation(check=checked(graph(), dynamic="largest difference 3 on one photograph"), examine=None),
    ],
    "conversion-differs": [
        differing(2.0),
        evaluation(
            calibrate=CalibrateReport(
                parity=(Parity(before="ONNX", after="TensorFlow", max_abs_difference=9.0),), frames=(),
                clipped_output=True, output_range=(0.0, 255.0),
            )
        ),
    ],
    "other-network": [evaluation(examine=examination(twin_psnr_db=25.0))],
    "not-analysed": [
        evaluation(examine=examination(obstacle="the file is damaged.")),
        evaluation(examine=examination(unsimulated="CUMSUM 3 is not known")),
    ],
}  # fmt: skip
CASES = [pytest.param(id_, case, id=f"{id_}-{i}") for id_, cases in FAULTS.items() for i, case in enumerate(cases)]
SOUND = {
    "as it is": HEALTHY,
    "without an examination": evaluation(examine=None, appraise=None),
    "a timing just certain enough": noisy(NOISE - 1e-6),
    "not scored": evaluation(score=None, check=None),
    "nothing measured": Evaluation(name="n", title="t", kind="tflite"),
    "failed for another reason": evaluation(failure=Failure(stage="train", kind="Killed", reason="memory")),
    "a free size": evaluation(
        graph=graph(*replaced(_11=Step("QUANTIZE", (1, -1, -1, 3), "uint8")), source=(1, -1, -1, 3))
    ),
    "a free batch": evaluation(
        graph=graph(*replaced(_11=Step("QUANTIZE", (-1, *HR[1:]), "uint8")), source=(-1, *FRAME[1:]))
    ),
    "conversions alike": differing(1.0),
    "a twin that is the same": evaluation(examine=examination(twin_psnr_db=30.0)),
    "no float file": evaluation(examine=examination(twin="derived", twin_psnr_db=None)),
    "no dynamic file": evaluation(
        examine=examination(dynamic_difference=None), appraise=appraisal(psnr={"dynamic": None})
    ),
    "a layer that does nothing beside others that do": evaluation(examine=examination(constant="CONV_2D 3")),
    "a faint output": flat(
        undone=(Undo(id="value-range", what="x255", carrier="int8", before_db=9.5, after_db=29.0, share_better=1.0),)
    ),
    "a concatenation of different features": evaluation(
        graph=graph(*replaced(_3=Step("CONCATENATION", WIDE, reads=(0, 2, 2, 2))))
    ),
    "a transposition in four dimensions": evaluation(graph=graph(*replaced(_3=Step("TRANSPOSE")))),
    "a pixel shuffle that the NPU leaves out": evaluation(
        runtime=(timed("npu", {"CONV_2D 1": 19.0, "DEPTH_TO_SPACE 10": 1.0}, by_rule=["DEPTH_TO_SPACE 10"]),)
    ),
    "clips among the features": evaluation(graph=graph(*replaced(_3=Step("MINIMUM"), _4=Step("RELU")))),
}  # fmt: skip


@pytest.mark.parametrize("case", SOUND.values(), ids=SOUND)
def test_no_false_alarm(case):
    assert found(case) == []


@pytest.mark.parametrize(("id_", "case"), CASES)
def test_each_fault_is_named_and_no_other(id_, case):
    assert [finding.id for finding in found(case)] == [id_]


@pytest.mark.parametrize(("id_", "case"), CASES)
def test_findings_are_written_alike(id_, case):
    for finding in found(case):
        assert len(re.findall(r"[.?](?= |$)", finding.explanation)) == 2, finding.explanation
        for text in (finding.evidence, finding.explanation, finding.remedy):
            assert text.endswith((".", "train net", "evaluate net"))
            assert not re.search(r"!|  |\.\.|\bNone\b(?! of)|\[\]|\(\)", text), text
        assert not finding.title.endswith(".")


def test_every_rule_is_tested():
    tested = set()
    for path in Path(__file__).parent.glob("test_diagnose*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and any(ast.unparse(name) == "RULES_TESTED" for name in node.targets):
                tested.update(ast.literal_eval(node.value))
    assert tested == set(rules())


def test_every_id_of_the_rules_here_has_a_case():
    written = set()
    for name in RULES_TESTED:
        tree = ast.parse(Path(package.__file__).with_name(f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Finding", "_Kind"):
                given = [each.value for each in node.keywords if each.arg == "id"] or node.args
                written |= {each.value for each in given[:1] if isinstance(each, ast.Constant)}
    assert written == set(FAULTS)


# The engine.


class Fixed:
    """A rule that finds what it is told to."""

    def __init__(self, *given: Finding) -> None:
        self.given = given

    def findings(self, evaluation: Evaluation) -> tuple[Finding, ...]:
        return self.given


def finding(id_: str, severity: str = "warning", **more: object) -> Finding:
    return Finding(id=id_, severity=severity, title="", evidence="", explanation="", remedy="", **more)


def told(monkeypatch, *given: Finding) -> list[str]:
    monkeypatch.setattr(package, "rules", lambda: {each.id: Fixed(each) for each in given})
    return [each.id for each in diagnose(HEALTHY)]


def test_the_gravest_comes_first_then_the_db_then_the_ms(monkeypatch):
    order = [
        finding("a", "error", explained_db=0.1), finding("b", explained_db=3.0), finding("c", explained_db=1.0),
        finding("d", cost_ms=9.0), finding("e", cost_ms=2.0), finding("f"), finding("g", "info", explained_db=9.0),
    ]  # fmt: skip
    assert told(monkeypatch, *reversed(order)) == list("abcfdeg")  # pixels before time


def test_symptoms_are_dropped(monkeypatch):
    given = finding("cause", explains=("symptom", "symptom of the symptom")), finding("symptom"), finding("another")
    assert told(monkeypatch, *given, finding("symptom of the symptom")) == ["another", "cause"]


def test_rules_are_the_modules_of_the_package():
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
    assert set(rules()) == {name for name in modules if not name.startswith("_")}


def test_a_file_that_is_not_analysed_for_its_floats_is_told_of_those_alone():
    case = evaluation(graph=floats(), examine=examination(graph=floats(), unsimulated="CONV_2D 0 computes in float"))
    assert {each.id for each in found(case)} == {"float-model", "not-analysed"}
    ids = [each.id for each in diagnose(case)]
    assert "float-model" in ids
    assert "not-analysed" not in ids


# What the findings say.


def test_a_noisy_timing_is_explained_by_its_ratio():
    noise = only(noisy(0.04))
    for figure in ("2.000, between 1.920 and 2.080", "9 rounds, 1 outliers", "uncertain by 4.0 %", "more than 3 %"):
        assert figure in noise.evidence
    assert "mai-harness evaluate net" in noise.remedy


def test_only_the_runtime_that_ranks_is_called_noisy():
    quiet, loud = HEALTHY.runtime, noisy(1.0).runtime
    assert found(evaluation(runtime=quiet + loud)) == []
    assert only(evaluation(runtime=loud + quiet)).id == "noisy-timing"


def test_float_operators_are_named_with_their_time():
    case = evaluation(graph=ISLAND, runtime=(timed("cpu", {"CONV_2D 1": 9.0, "ERF 10": 3.0}),))
    island = only(case)
    assert (island.layer, island.tensor, island.severity) == ("ERF 10", "erf", "error")
    assert island.evidence == "1 of 14 operators is float: ERF 10; it takes 3.00 ms of 12.0 ms on cpu (25 %)."


def test_float_ends_are_named():
    ends = only(evaluation(graph=FLOAT_ENDS))
    assert ends.title == "Input and output are float"
    assert (ends.layer, ends.tensor) == ("QUANTIZE 0", "input")
    assert "The input 'input' is float32 and the output 'levels' is float32" in ends.evidence


def test_a_signed_input_costs_what_was_measured():
    model = graph(*steps()[1:2], *steps()[10:], source_dtype="int8", source_zero_point=-128)
    signed = only(evaluation(graph=model, appraise=appraisal(psnr={"raw": 8.0, "dequantised": 29.5})))
    assert signed.explained_db == 21.5
    assert [(each.before_db, each.after_db, each.how) for each in signed.tried] == [(8.0, 29.5, "LiteRT on 2 samples")]
    assert signed.evidence.startswith(
        "Input 'input' is int8 with zero point -128; fed and read as bytes it reaches 8.00"
    )


def test_the_loss_of_signed_ends_is_counted_once():
    model = graph(convolution(WIDE, channels=3), Step("DEPTH_TO_SPACE", HR), source_dtype="int8")
    signed = found(evaluation(graph=model, appraise=appraisal(psnr={"raw": 8.0})))
    assert [(each.id, each.explained_db) for each in signed] == [("signed-input", 22.0), ("signed-output", None)]


def test_both_kinds_of_foreign_operators_are_told():
    model = graph(*replaced(_8=CUSTOM._replace(reads=(7,)), _9=FLEX))
    assert {each.id: each.layer for each in found(evaluation(graph=model))} == {
        "select-tf": "FlexAddV2 9", "custom-operators": "MyAdd 8",
    }  # fmt: skip


PRELUS = {f"PRELU {i}": 28.96 for i in range(1, 14, 2)}
CONVOLUTIONS = {f"CONV_2D {i}": 2.1 for i in range(0, 13, 2)}
NPU = {f"PRELU {i}": 3.23 for i in range(1, 14, 2)} | {"CONV_2D 0": 8.9, "QUANTIZE 15": 8.3}


def test_fsrcnn_is_told_of_its_transposed_convolution_and_of_its_activations():
    """With the latencies of leaderboard/results.json, roughly."""
    runtime = (
        timed("cpu", {**CONVOLUTIONS, **PRELUS, "TRANSPOSE_CONV 14": 77.4, "QUANTIZE 15": 4.1}),
        timed("npu", {**NPU, "TRANSPOSE_CONV 14": 196.0}, by_rule=["TRANSPOSE_CONV 14"], estimate_ms=235.9),
    )
    transposed, prelu = found(evaluation(graph=FSRCNN, runtime=runtime))
    assert (transposed.id, transposed.severity) == ("transposed-convolution", "warning")
    assert (transposed.layer, transposed.tensor) == ("TRANSPOSE_CONV 14", "upsampled")
    assert transposed.cost_ms == 196.0
    assert transposed.evidence == (
        "TRANSPOSE_CONV 14: 196.0 ms of 235.8 ms on npu (83 %, estimated) and 77.4 ms of 298.9 ms on cpu (26 %)."
    )
    assert (prelu.id, prelu.severity, prelu.layer) == ("prelu", "warning", "PRELU 1")
    assert prelu.cost_ms == pytest.approx(7 * 28.96)
    assert prelu.evidence.startswith(
        "7 operators (PRELU 1, PRELU 3, PRELU 5 and 4 more): 202.7 ms of 298.9 ms on cpu (68 %)"
    )


@pytest.mark.parametrize(
    "runtime", [(), (timed("cpu"),), (timed("gpu", {"DELEGATE": 4.0}),)], ids=["none", "no layers", "others"]
)
def test_an_operator_whose_time_is_not_known_is_only_told(runtime):
    told = found(evaluation(graph=FSRCNN, runtime=runtime))
    assert [(each.id, each.severity, each.cost_ms) for each in told] == [
        ("transposed-convolution", "info", None), ("prelu", "info", None),
    ]  # fmt: skip
    assert told[1].evidence.startswith("7 operators (PRELU 1")


@pytest.mark.parametrize(("share", "severity"), [(0.099, "info"), (0.101, "warning")])
def test_an_operator_is_as_grave_as_its_time(share, severity):
    assert only(costing(SHUFFLE, "TRANSPOSE", share)).severity == severity


def test_latency_in_float_does_not_count():
    assert (
        only(evaluation(graph=SHUFFLE, runtime=(timed("cpu", {"TRANSPOSE 11": 9.0}, precision="fp32"),))).severity
        == "info"
    )


def test_what_is_fused_into_an_operator_is_free():
    model = graph(*steps()[:11], Step("MUL", HR), Step("QUANTIZE", HR, "uint8"))
    runtime = (timed("npu", {"CONV_2D 1": 9.0, "CONV_2D 8 + MUL 11": 9.0}),)
    fused = only(evaluation(graph=model, runtime=runtime))
    assert (fused.severity, fused.cost_ms) == ("info", 0.0)
    assert fused.evidence == "MUL 11: 0.00 ms of 18.0 ms on npu (0 %)."


def test_the_addition_of_a_resized_image_goes_with_the_resize():
    model = graph(
        convolution(WIDE), Step("DEPTH_TO_SPACE", HR), Step("RESIZE_BILINEAR", HR, reads=(-1,), tensor="resized"),
        Step("ADD", HR, reads=(1, 2)), Step("QUANTIZE", HR, "uint8"),
    )  # fmt: skip
    layers = {"CONV_2D 0": 7.0, "RESIZE_BILINEAR 2": 1.0, "ADD 3": 2.0}
    resized = only(evaluation(graph=model, runtime=(timed("npu", layers),)))
    assert (resized.id, resized.layer, resized.tensor) == ("resize-operator", "RESIZE_BILINEAR 2", "resized")
    assert resized.cost_ms == 3.0
    assert resized.evidence.endswith("3.00 ms of 10.0 ms on npu (30 %). RESIZE_BILINEAR 2 takes 1.00 ms.")


def test_the_reason_of_the_npu_is_told():
    runtime = FAULTS["stays-off-npu"][0].runtime[0]
    why = "DEPTH_TO_SPACE 10 is left to the CPU: block size 3"
    off = only(evaluation(runtime=(msgspec.structs.replace(runtime, refusals=(why, "CONV_2D 1 too")),)))
    assert off.evidence == f"DEPTH_TO_SPACE 10: at least 1.00 ms of 9.00 ms on npu (11 %). {why}."
    assert (off.layer, off.cost_ms) == ("DEPTH_TO_SPACE 10", 1.0)


def test_a_layout_is_tried_beside_the_score():
    (tried,) = only(planes(appraise=appraisal(psnr={"raw": 30.12}))).tried
    assert (tried.what, tried.before_db, tried.after_db) == ("fed as NCHW", 30.0, 30.12)


def test_a_layout_is_tried_without_a_score():
    planar = only(planes(score=None, appraise=appraisal(psnr={"raw": 30.12})))
    assert planar.tried == ()
    assert planar.evidence == (
        "The input is 1x3x360x640, NCHW; 1x360x640x3 was expected. Fed as NCHW it reaches 30.12 dB on the samples."
    )


def test_shapes_of_a_failure_are_told():
    assert only(failed(1, 3, 720, 1280)).evidence == "The output is 1x3x720x1280: 2 x in height, not 3 x."
    assert only(failed(1, 1080, 1920, 3)).evidence == "The output is 1x1080x1920x3; 1x3x1080x1920 was expected."
    assert only(failed(1, 3, 1920, 1080)).evidence == "The output is 1x3x1920x1080; 1x1080x1920x3 was expected."


def test_a_failure_says_nothing_beside_an_examination_that_ran():
    failure = Failure(stage="score", kind="e", reason="r", output_shape=(1, 300, 300, 3))
    assert only(doubled(failure=failure)).evidence == (
        "The output is 1x720x1280x3 from 1x360x640x3: 2 x in height, not 3 x."
    )


def test_a_failure_is_held_against_the_input_of_the_file():
    model = graph(Step("DEPTH_TO_SPACE", (1, 192, 240, 3), "uint8"), source=(1, 96, 120, 3))
    examine = examination(graph=model, factor=None, obstacle="it gives (1, 192, 240, 3)")
    failure = Failure(stage="score", kind="e", reason="r", output_shape=(1, 192, 240, 3))
    ids = [each.id for each in found(evaluation(graph=model, examine=examine, failure=failure))]
    assert ids == ["wrong-scale", "not-analysed"]


def test_the_first_layer_without_finite_values_is_named():
    broken = only(evaluation(examine=examination(not_finite="CONV_2D 3")))
    assert (broken.layer, broken.tensor) == ("CONV_2D 3", "CONV_2D 3")


def test_a_constant_output_is_laid_to_its_layer_and_explains_the_pixels():
    model = graph()
    stuck = analysis(model, model.ops[3].outputs[0], used=(-900.0, -20.0), covered=(0.0, 6.0))
    examine = examination(constant="CONV_2D 3", tensors=(stuck,))
    constant = only(msgspec.structs.replace(flat(), examine=examine))
    assert constant.layer == constant.tensor == "CONV_2D 3"
    for figure in ("deviation of 0.30", "9.50 dB", "has -900 to -20", "cover 0 to 6"):
        assert figure in constant.evidence
    assert {"missing-clip", "colour-order", "quantisation-loss"} <= set(constant.explains)


def test_a_difference_of_the_dynamic_model_costs_what_was_measured():
    case = evaluation(
        examine=examination(dynamic_difference=12.0), appraise=appraisal(psnr={"dynamic": 28.5}),
        check=checked(graph(), dynamic="largest difference 9 on one photograph"),
    )  # fmt: skip
    differs = only(case)
    assert differs.explained_db == 1.5
    assert differs.evidence == (
        "Rule 'dynamic': largest difference 9 on one photograph. On the samples the outputs differ by up to 12 codes. "
        "The static model reaches 30.00 dB, the dynamic one 28.50 dB."
    )


def test_conversions_and_twins_are_as_grave_as_their_difference():
    assert [only(differing(value)).severity for value in (1.1, 8.1)] == ["warning", "error"]
    assert "torch to ONNX: up to 8.1 grey levels" in only(differing(8.1)).evidence
    twins = [only(evaluation(examine=examination(twin_psnr_db=db))).severity for db in (29.9, 19.9)]
    assert twins == ["warning", "error"]
