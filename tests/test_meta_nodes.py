"""Meta-nodes hold the operators that they are named for, and the paper's findings follow from latencies alone."""

import re

import pytest

from mai_harness import meta_nodes
from mai_harness.errors import ModelContractError
from mai_harness.meta_nodes import FINDINGS, META_NODES, build
from mai_harness.records import LR_FRAME
from mai_harness.tflite_graph import facts, read_graph

SMALL = (12, 16)
NODES = {node.id: node for node in META_NODES}
EVERY = pytest.mark.parametrize("node", META_NODES, ids=lambda node: node.id)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return {node.id: build(node, folder, SMALL) for node in META_NODES}


def shapes(graph, indices):
    return sorted(graph.tensors[index].shape for index in indices)


# The table


def test_ids_are_unique_and_each_has_a_network():
    assert len(NODES) == len(META_NODES)
    assert set(NODES) == set(meta_nodes._NETWORKS)


def test_every_kind_of_operator_that_the_paper_names_is_there():
    ops = {op for node in META_NODES for op in node.ops}
    assert ops == {
        "CONCATENATION", "SPLIT", "ADD", "MUL", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "RELU", "LEAKY_RELU",
        "PRELU", "LOGISTIC", "MINIMUM", "MEAN", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", "DEPTH_TO_SPACE",
    }  # fmt: skip


@EVERY
def test_a_figure_names_its_source(node):
    assert node.paper_ms is None or re.search(r"arXiv 2105\.09750", node.paper)
    assert all("arXiv" in figure.source and figure.ms > 0 for figure in node.elsewhere)


def test_only_figures_that_the_papers_text_repeats_are_given():
    assert {node.id: node.paper_ms for node in META_NODES if node.paper_ms is not None} == {"add": 5.2}


@EVERY
def test_shapes_are_of_the_challenges_frame(node):
    for _, height, width, _ in (*node.inputs, *node.outputs):
        assert (height, width) in ((1, 1), LR_FRAME, (1080, 1920))


# Building


@EVERY
def test_a_file_holds_the_nodes_operators_and_integers_only(node, small):
    graph = read_graph(small[node.id])
    assert tuple(op.name for op in graph.ops) == node.ops
    assert {tensor.dtype for tensor in graph.tensors} <= {"int8", "int32"}
    assert {graph.tensors[index].dtype for index in (*graph.inputs, *graph.outputs)} == {"int8"}


def test_another_frame_leaves_pooled_vectors_and_scales_images(small):
    product, clip = read_graph(small["multiply-channels"]), read_graph(small["clip"])
    assert shapes(product, product.inputs) == [(1, 1, 1, 28), (1, 12, 16, 28)]
    assert shapes(clip, clip.outputs) == [(1, 36, 48, 3)]


@pytest.mark.parametrize(("id_", "kernel"), [
    ("conv1", (28, 1, 1, 28)), ("conv3", (28, 3, 3, 28)), ("conv3-relu", (28, 3, 3, 28)), ("conv5", (28, 5, 5, 28)),
    ("conv3-grouped", (28, 3, 3, 7)), ("conv3-depthwise", (1, 3, 3, 28)), ("conv-transposed", (3, 9, 9, 28)),
    ("nearest-convolution", (27, 1, 1, 3)),
])  # fmt: skip
def test_kernels_are_int8_and_quantised_by_channel(id_, kernel, small):
    graph = read_graph(small[id_])
    weights = graph.operand(graph.ops[0], 1)
    assert (weights.shape, weights.dtype) == (kernel, "int8")
    assert len(weights.scales) == (28 if id_ == "conv3-depthwise" else kernel[0])


def test_a_3x3_convolution_has_nine_times_the_work_of_a_1x1(small):
    assert facts(read_graph(small["conv3"])).macs == 9 * facts(read_graph(small["conv1"])).macs


def test_a_fused_relu_puts_out_nothing_below_zero(small):
    graph = read_graph(small["conv3-relu"])
    assert graph.tensors[graph.outputs[0]].zero_points == (-128,)


def test_the_nearest_convolution_is_nearest_interpolation(small):
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    outputs = []
    for id_ in ("resize-nearest", "nearest-convolution"):
        interpreter = Interpreter(str(small[id_]))
        interpreter.allocate_tensors()
        image = np.random.default_rng(0).integers(-128, 128, (1, *SMALL, 3)).astype(np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("id_", ["split", "conv3-grouped", "prelu"])
def test_bytes_follow_from_node_and_frame(id_, small, tmp_path):
    assert build(NODES[id_], tmp_path, SMALL).read_bytes() == small[id_].read_bytes()


@pytest.mark.parametrize(("network", "found"), [
    (lambda tf: lambda x: tf.nn.relu(x) + tf.nn.sigmoid(x), "ADD"),
    (lambda tf: lambda x: tf.nn.relu(x[:, 1:]), "STRIDED_SLICE"),
])  # fmt: skip
def test_another_graph_is_refused_and_leaves_no_file(network, found, tmp_path, monkeypatch):
    monkeypatch.setitem(meta_nodes._NETWORKS, "relu", network)
    with pytest.raises(ModelContractError, match=f"{found}.*expected RELU"):
        build(NODES["relu"], tmp_path, SMALL)
    assert not list(tmp_path.iterdir())


def test_another_shape_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(
        meta_nodes._NETWORKS, "resize-nearest", lambda tf: lambda x: tf.image.resize(x, (20, 20), "nearest")
    )
    with pytest.raises(ModelContractError, match=r"\(1, 20, 20, 3\).*expected"):
        build(NODES["resize-nearest"], tmp_path, SMALL)


def test_what_tensorflow_cannot_convert_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(meta_nodes._NETWORKS, "relu", lambda tf: tf.math.erfinv)
    with pytest.raises(ModelContractError, match="cannot convert meta-node relu"):
        build(NODES["relu"], tmp_path, SMALL)


@pytest.mark.slow
@EVERY
def test_nodes_are_built_at_the_challenges_frame(node, tmp_path):
    graph = read_graph(build(node, tmp_path))
    assert shapes(graph, graph.inputs) == sorted(node.inputs)
    assert shapes(graph, graph.outputs) == sorted(node.outputs)
    assert graph.size_bytes < 100_000


# Findings: latencies in ms of the Dolphin's kind, by which all of them hold, and a change by which one does not

HOLD = {
    **dict.fromkeys(NODES, 4.0), "conv1": 3.0, "add": 5.2, "concat": 10.0, "concat-anchor": 10.4, "split": 10.0,
    "global-pool": 9.0, "leaky-relu": 6.0, "resize-nearest": 60.0, "resize-bilinear": 130.0,
}  # fmt: skip
REFUTED = [
    ("add", {"add": 0.5}, 0.125),
    ("concat", {"concat": 0.9}, 0.225),
    ("split", {"split": 0.8}, 0.2),
    ("channel-attention", dict.fromkeys(("global-pool", "add-pooled", "conv1-pooled", "multiply-channels"), 0.25), 0.5),
    ("conv3", {"conv1": 1.0}, 4.0),
    ("relu", {"relu": 45.0}, 7.5),
    ("relu-fused", {"conv3-relu": 20.0}, 2.0),
    ("resize", {"resize-nearest": 5.2}, 0.5),
    ("anchor", {"resize-nearest": 15.6}, 1.0),
]


def found(latencies):
    return {finding.id: finding for finding in (rule(latencies) for rule in FINDINGS)}


def test_every_finding_has_a_case():
    assert [id_ for id_, _, _ in REFUTED] == list(found(HOLD))


def test_findings_hold_on_the_papers_kind_of_hardware():
    assert {id_: finding.holds for id_, finding in found(HOLD).items()} == dict.fromkeys(found(HOLD), True)
    assert found(HOLD)["anchor"].ratio == pytest.approx(15.6 / 60)
    assert found(HOLD)["channel-attention"].ratio == pytest.approx((4 + 4 + 2 * 9 + 4 * 4) / 4)


@pytest.mark.parametrize(("id_", "change", "ratio"), REFUTED)
def test_findings_are_refuted_by_what_is_measured(id_, change, ratio):
    finding = found(HOLD | change)[id_]
    assert finding.holds is False
    assert finding.ratio == pytest.approx(ratio)
    assert "not measured" not in finding.measured


@pytest.mark.parametrize("id_", [id_ for id_, _, _ in REFUTED])
def test_findings_without_a_latency_are_open(id_):
    for lacking in found(HOLD)[id_].ids:
        finding = found({node: ms for node, ms in HOLD.items() if node != lacking})[id_]
        assert finding.holds is None
        assert f"not measured: {lacking}" in finding.measured


def test_nothing_measured_leaves_all_open():
    assert {(finding.holds, finding.ratio) for finding in found({}).values()} == {(None, None)}


def test_one_slower_operator_refutes_that_resizing_is_slowest():
    finding = found({"resize-nearest": 20.0, "resize-bilinear": 6.0, "prelu": 64.0, "depth-to-space": 99.0})["resize"]
    assert (finding.holds, finding.ratio) == (False, 6 / 64)
    assert "prelu 64 ms, the slowest of 1 others" in finding.measured


def test_findings_use_only_nodes_of_the_table():
    assert {id_ for finding in found(HOLD).values() for id_ in finding.ids} <= set(NODES)


def test_a_latency_of_zero_gives_no_ratio():
    finding = found(HOLD | {"leaky-relu": 0.0})["relu"]
    assert (finding.ratio, finding.holds) == (None, False)


def test_counts_are_told():
    assert "2 x global-pool 9 ms" in found(HOLD)["channel-attention"].measured
