"""Every rule, on hand-made facts: once silent, and once for each way in which it fires."""

import numpy as np
import pytest

from mai_harness.check import RULES, Evidence, judge
from mai_harness.records import RuleResult
from mai_harness.tflite_graph import Graph, Op, Tensor, facts
from mai_harness.tflite_graph.state import Contents

PROBE = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
HEALTHY = PROBE.repeat(3, 0).repeat(3, 1)
MIRRORED = HEALTHY[:, ::-1]


def tensor(index: int, name: str, shape: tuple[int, ...], dtype: str, scale: float | None, zero: int = 0) -> Tensor:
    return Tensor(
        index=index, name=name, shape=tuple(abs(n) for n in shape), shape_signature=shape, dtype=dtype,
        scales=() if scale is None else (scale,), zero_points=() if scale is None else (zero,), quantised_dimension=0,
        buffer=index, stored_bytes=0, values=None,
    )  # fmt: skip


def evidence(
    source=(1, 360, 640, 3), result=(1, 1080, 1920, 3), dtypes=("uint8", "int8", "uint8"), scales=(1.0, 0.5, 1.0),
    zeros=(0, 0, 0), output=HEALTHY, dynamic=(HEALTHY, MIRRORED), dynamic_reason="", custom=False, size_bytes=60_000,
    outputs=(2,), again=None, operators=(), variables=(), custom_operators=(),
) -> Evidence:  # fmt: skip
    shapes = (source, (1, 360, 640, 27), result)
    names = ("input", "features", "output")
    tensors = tuple(tensor(i, *row) for i, row in enumerate(zip(names, shapes, dtypes, scales, zeros, strict=True)))
    ops = tuple(
        Op(index=i, name=name, is_custom=custom and i == 1, inputs=(i,), outputs=(i + 1,), options={})
        for i, name in enumerate(("CONV_2D", "DEPTH_TO_SPACE"))
    )
    graph = Graph(tensors=tensors, ops=ops, inputs=(0,), outputs=outputs, subgraphs=1, size_bytes=size_bytes)
    return Evidence(
        graph=graph, facts=facts(graph), probe=PROBE, output=output,
        mirrored=output if isinstance(output, str) else output[:, ::-1],
        again=(output, output) if again is None else again, dynamic=dynamic, dynamic_reason=dynamic_reason,
        contents=Contents(operators=dict(operators), custom=custom_operators, variables=variables),
    )  # fmt: skip


def result(case: Evidence, rule: str) -> RuleResult:
    return next(row for row in judge(case).rules if row.rule == rule)


# rule, status, a word that must be among what was found, evidence
CASES = [
    ("single", "pass", "1 input, 1 output", evidence()),
    ("single", "fail", "2 outputs", evidence(outputs=(1, 2))),
    ("input-shape", "pass", "1x360x640x3", evidence()),
    ("input-shape", "warn", "dynamic", evidence(source=(1, -1, -1, 3))),
    ("input-shape", "fail", "NCHW", evidence(source=(1, 3, 360, 640))),
    ("input-shape", "fail", "1x640x360x3", evidence(source=(1, 640, 360, 3))),
    ("output-shape", "pass", "1x1080x1920x3", evidence()),
    ("output-shape", "warn", "dynamic", evidence(result=(1, -1, -1, 3))),
    ("output-shape", "fail", "1x720x1280x3", evidence(result=(1, 720, 1280, 3))),
    ("batch", "pass", "1", evidence()),
    ("batch", "fail", "4", evidence(source=(4, 360, 640, 3))),
    ("input-dtype", "pass", "uint8", evidence()),
    ("input-dtype", "fail", "int8", evidence(dtypes=("int8", "int8", "uint8"))),
    ("output-dtype", "pass", "uint8", evidence()),
    ("output-dtype", "fail", "float32", evidence(dtypes=("uint8", "int8", "float32"))),
    ("integer", "pass", "CONV_2D x1", evidence()),
    ("integer", "fail", "'features' is float32 (made by CONV_2D 0)", evidence(dtypes=("uint8", "float32", "uint8"))),
    ("integer", "fail", "'features' is int16", evidence(dtypes=("uint8", "int16", "uint8"))),
    ("integer", "fail", "operator 1 DEPTH_TO_SPACE is custom", evidence(custom=True)),
    ("input-quantisation", "pass", "scale 1, zero point 0", evidence()),
    ("input-quantisation", "fail", "byte 0 is not black", evidence(zeros=(3, 0, 0))),
    ("input-quantisation", "fail", "not quantised", evidence(scales=(None, 0.5, 1.0))),
    ("output-quantisation", "pass", "scale 1, zero point 0", evidence()),
    ("output-quantisation", "pass", "scale 1.0015", evidence(scales=(1.0, 0.5, 1.0015))),  # under half a level
    ("output-quantisation", "fail", "byte 255 is level 255.8", evidence(scales=(1.0, 0.5, 1.003))),
    ("output-quantisation", "warn", "[0, 1]", evidence(scales=(1.0, 0.5, 1 / 255))),
    ("output-quantisation", "fail", "byte 0 is level -27.6", evidence(scales=(1.0, 0.5, 1.382), zeros=(0, 0, 20))),
    ("output-quantisation", "fail", "not quantised", evidence(scales=(1.0, 0.5, None))),
    ("runs", "pass", "1080x1920x3", evidence()),
    ("runs", "fail", "no such operator", evidence(output="no such operator")),
    ("scale", "pass", "3 x 3", evidence()),
    ("scale", "fail", "2 x 2", evidence(output=PROBE.repeat(2, 0).repeat(2, 1))),
    ("colour", "pass", "RGB", evidence()),
    ("colour", "pass", "RGB", evidence(output=(HEALTHY // 2 + 40).astype(np.uint8))),
    ("colour", "fail", "BGR", evidence(output=HEALTHY[..., ::-1])),
    ("colour", "fail", "GBR", evidence(output=HEALTHY[..., [1, 2, 0]])),
    ("colour", "warn", "no colour", evidence(output=np.full_like(HEALTHY, 9))),
    ("dynamic", "pass", "difference 0", evidence()),
    ("dynamic", "fail", "difference 1", evidence(dynamic=(HEALTHY ^ 1, MIRRORED))),
    ("dynamic", "fail", "difference 1", evidence(dynamic=(HEALTHY, MIRRORED ^ 1))),
    ("dynamic", "fail", "shapes (3, 3, 3)", evidence(dynamic=(np.zeros((3, 3, 3)), MIRRORED))),
    ("dynamic", "fail", "does not run", evidence(dynamic=("does not run at 360x640",) * 2)),
    ("dynamic", "warn", "TRANSPOSE_CONV", evidence(dynamic=None, dynamic_reason="TRANSPOSE_CONV fixes it")),
    ("dynamic", "warn", "no model_none", evidence(dynamic=None)),
    ("dynamic", "pass", "itself", evidence(dynamic=None, source=(1, -1, -1, 3))),
    ("stateless", "pass", "three runs gave the same bytes", evidence()),
    ("stateless", "pass", "was not run twice", evidence(output="no such operator")),
    ("stateless", "fail", "VAR_HANDLE x2", evidence(operators={"CONV_2D": 3, "VAR_HANDLE": 2})),
    ("stateless", "fail", "RANDOM_UNIFORM x1", evidence(operators={"RANDOM_UNIFORM": 1})),
    ("stateless", "fail", "custom operator Clock", evidence(custom_operators=("Clock",))),
    ("stateless", "fail", "tensor 'counter' keeps", evidence(variables=("counter",))),
    ("stateless", "fail", "after another one", evidence(again=(HEALTHY ^ 1, HEALTHY))),
    ("stateless", "fail", "opened again", evidence(again=(HEALTHY, HEALTHY ^ 1))),
    ("stateless", "fail", "does not run", evidence(again=("does not run", HEALTHY))),
    ("stateless", "warn", "control flow: IF x1", evidence(operators={"IF": 1})),
    ("size", "pass", "60,000 bytes", evidence()),
    ("size", "warn", "900,000 bytes", evidence(size_bytes=900_000)),
]


@pytest.mark.parametrize(("rule", "status", "word", "case"), CASES, ids=[f"{c[0]} {c[1]}: {c[2]}" for c in CASES])
def test_rule(rule, status, word, case):
    found = result(case, rule)
    assert (found.status, word in found.found) == (status, True), found
    if status in ("warn", "fail") and rule != "scale":
        assert found.remedy


def test_every_rule_is_shown_firing_and_silent():
    for rule in RULES:
        assert rule.judge.__doc__
        statuses = {status for name, status, _, _ in CASES if name == rule.id}
        assert "pass" in statuses, rule.id
        assert statuses & {"warn", "fail"}, rule.id


def test_a_rule_whose_needs_fail_is_skipped_and_says_why():
    report = judge(evidence(output="no such operator"))
    statuses = {row.rule: row.status for row in report.rules}
    assert statuses["runs"] == "fail"
    assert statuses["scale"] == statuses["colour"] == statuses["dynamic"] == "skip"
    assert "runs did not pass" in result(evidence(output="x"), "scale").found
    assert report.failed


def test_needs_name_rules_that_come_before():
    for index, rule in enumerate(RULES):
        assert set(rule.needs) <= {earlier.id for earlier in RULES[:index]}
