"""A file taken apart computes what it computed whole."""

from pathlib import Path

import numpy as np
import pytest
import tiny

from mai_harness.errors import ModelContractError
from mai_harness.tflite_graph import read_graph, split

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


def test_a_tensor_that_is_read_twice_is_given_once(model):
    assert any(op.name == "ADD" and len(set(op.inputs)) == 1 for op in read_graph(model).ops)


def test_damaged_files_are_told(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"1234TFL3" + b"\xff" * 40)
    with pytest.raises(ModelContractError, match="no TFLite file"):
        list(split(path))
