"""The network as rails: lanes that hang together, and what each row tells."""

import importlib
import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from evaluations import HR, Constant, Step, analysis, convolution, evaluation, examination, graph, timed
from hypothesis import given, settings
from hypothesis import strategies as st
from site_checks import Node, parsed

from mai_harness.records import Evaluation, Finding, Graph, Op
from mai_harness.render.network import DOT_Y, LANES, ROWS, Network, network
from mai_harness.render.network import Node as Row

PAGE = importlib.import_module("mai_harness.render.page")


def drawn(evaluation: Evaluation) -> Network:
    made = network(evaluation)
    assert made
    return made


def of(model: Graph, **changes: Any) -> Network:
    """A network whose tensors were not analysed, as of a file that is not simulated."""
    return drawn(evaluation(graph=model, examine=examination(graph=model, tensors=()), **changes))


def page(made: Network | None) -> Node:
    return parsed(str(PAGE._environment().get_template("network.html").module.network(made)))


def row(made: Network, label: str) -> Row:
    (found,) = (node for node in made.nodes if node.label == label)
    return found


def finding(layer: str, severity: str = "error", title: str = "The final clip is missing") -> Finding:
    return Finding(id="x", severity=severity, title=title, evidence="", explanation="", remedy="", layer=layer)


def hangs_together(made: Network) -> None:
    """Rows meet at their borders, and nothing comes from above the first or goes below the last."""
    rails = [node.rail for node in made.nodes]
    assert rails[0].above == frozenset()
    assert rails[-1].below == frozenset()
    for upper, lower in pairwise(rails):
        assert upper.below == lower.above
        assert lower.into <= upper.below
    for rail in rails:
        assert all(0 <= lane < made.lanes <= LANES for lane in {rail.node, *rail.above, *rail.below})
        assert all(0 < line.x < made.width and (line.bottom is None or line.top < line.bottom) for line in rail.lines)


# Rails


def test_the_long_way_round_is_a_lane_of_its_own():
    made = drawn(evaluation())
    hangs_together(made)
    assert (made.operators, made.lanes, made.left_out, made.several) == (12, 2, 0, False)
    assert [node.rail.node for node in made.nodes] == [0, 0, 1, *[0] * 11]  # CONV_2D 1 is beside the trunk
    join = row(made, "ADD 9")
    assert join.reads == ("CONV_2D 8", "CONV_2D 1")
    assert (join.rail.into, join.rail.passing, join.rail.out) == ({0, 1}, set(), {0})
    assert row(made, "CONV_2D 4").rail.passing == {1}
    assert join.rail.curves.startswith("M23 0C")
    assert join.rail.curves.endswith(f"9 {DOT_Y}")


def test_inputs_that_later_rows_need_go_on():
    made = of(graph("A", Step("B", reads=(-1,)), Step("ADD", reads=(0, 1))))
    hangs_together(made)
    assert row(made, "A 0").rail.passing == {0}
    assert row(made, "A 0").rail.node == 1
    assert row(made, "B 1").follows is False
    assert row(made, "A 0").follows is True


def test_several_outputs_fan_out_and_unused_ones_end():
    split = Op(index=0, name="SPLIT", is_custom=False, inputs=(0,), outputs=(1, 2, 3), options={})
    join = Op(index=1, name="ADD", is_custom=False, inputs=(1, 3), outputs=(4,), options={})
    base = graph("A", "B", "C", "D")
    made = of(msgspec.structs.replace(base, ops=(split, join), outputs=(4,)))
    hangs_together(made)
    assert row(made, "SPLIT 0").rail.out == {0, 1}
    assert row(made, "SPLIT 0").further == 2
    assert "and 2 more" in page(made).text


def test_lanes_beyond_the_last_are_one():
    wide = [Step("A", reads=(-1,)) for _ in range(30)]
    made = of(graph(*wide, Step("CONCATENATION", reads=tuple(range(30)))))
    hangs_together(made)
    assert made.lanes == LANES
    assert made.several
    join = row(made, "CONCATENATION 30")
    assert (len(join.reads), join.unnamed) == (4, 26)
    assert page(made).all("line", "several")
    assert "The dashed line stands for several tensors." in page(made).text


def test_tensors_that_nothing_makes_or_that_come_later_are_not_drawn():
    base = graph("A", "B", "C")
    ops = tuple(
        msgspec.structs.replace(op, inputs=inputs)
        for op, inputs in zip(base.ops, ((0, 3), (-1, 1), (2, 2)), strict=True)
    )
    made = of(msgspec.structs.replace(base, ops=ops))
    hangs_together(made)
    assert row(made, "B 1").rail.into == {0}


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_rails_of_any_graph_hang_together(data):
    count = data.draw(st.integers(1, 40))
    inputs = data.draw(st.integers(1, 3))
    tensors, ops = inputs, []
    for index in range(count):
        made = data.draw(st.integers(1, 3))
        reads = data.draw(st.lists(st.integers(-1, tensors - 1), max_size=4))
        makes = tuple(range(tensors, tensors + made))
        ops.append(
            Op(index=index, name="X", is_custom=True, inputs=tuple(reads), outputs=makes, options={}),
        )
        tensors += made
    outputs = tuple(data.draw(st.lists(st.integers(0, tensors - 1), min_size=1, max_size=3)))
    blank = graph("A").tensors[0]
    model = Graph(
        tensors=tuple(msgspec.structs.replace(blank, index=i, name=f"t{i}") for i in range(tensors)),
        ops=tuple(ops), inputs=tuple(range(inputs)), outputs=outputs, subgraphs=1, size_bytes=1,
    )  # fmt: skip
    made = drawn(evaluation(examine=examination(graph=model, tensors=()), runtime=()))
    hangs_together(made)
    assert len(made.nodes) == inputs + count + len(outputs)
    for node, op in zip(made.nodes[inputs:], ops, strict=False):
        assert bool(node.rail.into) == any(index >= 0 for index in op.inputs)


def test_large_graphs():
    steps = [convolution() if i % 4 else Step("ADD", reads=(i - 1, max(i - 4, -1))) for i in range(200)]
    made = of(graph(*steps))
    hangs_together(made)
    assert len(page(made).all("tr")) == 1 + 202
    huge = of(graph(*["A"] * (ROWS + 100)))
    assert (len(huge.nodes), huge.left_out, huge.operators) == (ROWS, 102, ROWS + 100)
    assert "102 further rows are left out." in page(huge).text


# Rows


def test_what_a_row_tells():
    made = drawn(evaluation())
    found = row(made, "CONV_2D 3")
    assert (found.kernel, found.stride, found.parameters) == ((3, 3), (), 28 * 3 * 3 * 28 + 28)
    assert found.macs == 360 * 640 * 28 * 9 * 28
    assert found.weights
    assert found.weights.scales == 28
    assert found.result
    assert (found.result.shape, found.result.dtype, found.result.covered) == ("360 × 640 × 28", "int8", (0.0, 255.0))
    assert (row(made, "ADD 9").macs, row(made, "ADD 9").parameters) == (None, None)
    assert row(made, "DEPTH_TO_SPACE 10").block == 3
    text = page(made).text
    for words in ("360 × 640 × 28", "1,626", "7,084", "per channel, 28", "40.0", "used 0 to 255", "block 3"):
        assert words in text


def test_options_and_constants():
    options = {"StrideH": 2, "StrideW": 2, "FusedActivationFunction": 3}
    shape, values = Constant((4,), values=(1, 1, 2, 3)), Constant((1, 1, 28), "int8", (0.5,))
    made = of(
        graph(convolution(options=options), Step("RESHAPE", constants=(shape,)), Step("MUL", constants=(values,)))
    )
    assert (row(made, "CONV_2D 0").stride, row(made, "CONV_2D 0").activation) == ((2, 2), "ReLU6")
    assert row(made, "RESHAPE 1").parameters is None
    assert row(made, "MUL 2").parameters == 28
    assert "stride 2 × 2" in page(made).text


def test_free_sizes_have_no_cost():
    free = (-1, -1, -1, 3)
    made = of(graph(convolution((-1, -1, -1, 28)), source=free))
    found = row(made, "CONV_2D 0")
    assert found.macs is None
    assert found.result
    assert found.result.shape == "? × ? × 28"


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, 1e308, 0.0])
def test_scales_that_are_no_numbers(scale):
    model = graph(Step("A", scale=scale), Step("B"))
    tensor = analysis(
        model, 1, scale=scale, covered=(scale, scale), used=(math.nan, math.inf), saturated=math.nan, sqnr_db=math.inf
    )
    made = drawn(evaluation(graph=model, examine=examination(graph=model, tensors=(tensor,))))
    text = page(made).text
    assert "nan" not in text
    assert "inf" not in text


def test_saturation_is_told():
    model = graph()
    tensor = analysis(model, model.ops[3].outputs[0], saturated=0.034, used=(-40.0, 300.0))
    text = page(drawn(evaluation(examine=examination(graph=model, tensors=(tensor,))))).text
    assert "used \N{MINUS SIGN}40 to 300, 3.40 % saturated" in text


def test_latencies_go_to_their_operators():
    made = drawn(evaluation())
    assert [timing.backend for timing in made.timings] == ["cpu", "npu"]
    cpu, npu = row(made, "CONV_2D 8").times
    assert cpu and npu  # noqa: PT018
    assert (cpu.ms, npu.ms, npu.joined) == (4.4, 1.62, ("CONV_2D 8", "ADD 9"))
    assert cpu.share == pytest.approx(100 * 4.4 / 35.2)
    joined = row(made, "ADD 9").times[1]
    assert joined
    assert (joined.ms, joined.joined[0]) == (None, "CONV_2D 8")
    text = page(made).text
    assert "with ADD 9" in text
    assert "in CONV_2D 8" in text
    assert "by rule" in text


def test_layers_of_other_names_or_of_no_time_are_left_out():
    layers = timed("cpu", {"CONV_2D 3": 0.0, "FUSED 77": 0.0, "ADD 9 + FUSED 2": 0.0})
    made = drawn(evaluation(runtime=(layers, timed("npu"))))
    assert [timing.backend for timing in made.timings] == ["cpu"]
    assert [node.label for node in made.nodes if node.times[0]] == ["CONV_2D 3"]
    page(made)
    fp32 = timed("cpu", {"CONV_2D 3": 1.0}, precision="fp32")
    assert drawn(evaluation(runtime=(fp32,))).timings == ()


def test_findings_stand_at_their_layer():
    made = drawn(
        evaluation(
            findings=(finding("ADD 9"), finding("CONV_2D 3", "info", "Hint"), finding("", title="Elsewhere")),
        )
    )
    assert [node.label for node in made.nodes if node.is_grave] == ["ADD 9"]
    tree = page(made)
    (grave,) = tree.all("tr", "grave")
    assert "error The final clip is missing" in " ".join(grave.text.split())
    assert [link.attributes["href"] for link in tree.all("a", "found")] == ["#findings", "#findings"]
    assert "Elsewhere" not in tree.text
    assert len(tree.all("rect")) == 1


def test_sources_are_words_too():
    rails = [cell.text for cell in page(drawn(evaluation())).all("td", "rail")]
    assert rails[0].strip() == "nothing"
    assert "CONV_2D 8, CONV_2D 1" in rails[10]


def test_names_are_escaped():
    evil = "</td><script>alert(1)</script>\"'&"
    model = graph(Step("A", HR, tensor=evil), Step(evil, HR, custom=True, tensor=evil))
    made = of(model, findings=(finding(f"{evil} 1", title=evil),), runtime=(timed(evil, {"A 0": 1.0}),))
    tree = page(made)
    assert not tree.all("script")
    assert tree.text.count(evil) >= 4


def test_nothing_is_drawn_where_nothing_was_examined():
    assert network(evaluation(examine=None)) is None
    assert page(None).text.strip() == "Not examined."


def test_a_graph_without_operators_is_not_drawn():
    empty = msgspec.structs.replace(graph("A"), ops=(), inputs=(), outputs=())
    assert network(evaluation(examine=examination(graph=empty, tensors=()), runtime=())) is None
