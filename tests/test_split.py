"""A file taken apart computes what it computed whole."""

import copy
from pathlib import Path

import numpy as np
import pytest
import tiny

from mai_harness.errors import ModelContractError
from mai_harness.tflite_graph import read_graph, split
from mai_harness.tflite_graph.edit import edited

SHAPE = (1, 12, 16, 3)


@pytest.fixture(scope="module", params=[True, False], ids=["int8", "float"])
def model(request, tmp_path_factory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("split") / "m.tflite", tiny.upscaler, SHAPE, int8=request.param)


def run(model, *given):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), given, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def test_operator_by_operator_gives_the_bytes_of_the_whole(model, tmp_path):
    graph = read_graph(model)
    dtype = np.uint8 if graph.tensors[graph.inputs[0]].dtype == "uint8" else np.float32
    image = np.random.default_rng(2).integers(0, 256, SHAPE).astype(dtype)
    values = {graph.inputs[0]: image}
    for alone in split(model):
        path = tmp_path / "alone.tflite"
        path.write_bytes(alone.model)
        outputs = run(str(path), *(values[index] for index in alone.inputs))
        values |= dict(zip(alone.outputs, outputs, strict=True))
    (whole,) = run(str(model), image)
    np.testing.assert_array_equal(values[graph.outputs[0]], whole)


def test_each_is_one_operator_named_by_its_place(model, tmp_path):
    for op, alone in zip(read_graph(model).ops, split(model), strict=True):
        path = tmp_path / "alone.tflite"
        path.write_bytes(alone.model)
        found = read_graph(path)
        assert alone.name == f"{op.name} {op.index}"
        assert [each.name for each in found.ops] == [op.name]
        assert len(found.inputs) == len(alone.inputs) == len(set(alone.inputs))


def test_a_tensor_that_is_read_twice_is_given_once(model, tmp_path):
    graph, path = read_graph(model), tmp_path / "alone.tflite"
    (twice,) = (op for op in graph.ops if op.name == "ADD" and len(set(op.inputs)) == 1)
    (alone,) = (each for each in split(model) if each.name == f"ADD {twice.index}")
    path.write_bytes(alone.model)
    found = read_graph(path)
    assert alone.inputs == (twice.inputs[0],)
    assert found.ops[0].inputs == found.inputs * 2


def test_constants_come_along_and_nothing_else(model, tmp_path):
    path = tmp_path / "alone.tflite"
    for op, alone in zip(read_graph(model).ops, split(model), strict=True):
        path.write_bytes(alone.model)
        constants = [tensor.size_bytes for tensor in read_graph(path).tensors if tensor.is_constant]
        assert len(constants) == len(op.inputs) - op.inputs.count(alone.inputs[0])
        assert len(alone.model) < sum(constants) + 4000  # the schema's tables take the rest


def test_several_subgraphs_are_told(model, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(edited(model.read_bytes(), lambda m: m.subgraphs.append(copy.deepcopy(m.subgraphs[0]))))
    with pytest.raises(ModelContractError, match=r"m\.tflite has 2 subgraphs and cannot be taken apart"):
        list(split(path))


def test_damaged_files_are_told(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"1234TFL3" + b"\xff" * 40)
    with pytest.raises(ModelContractError, match="no TFLite file"):
        list(split(path))
