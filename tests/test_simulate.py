"""INT8 arithmetic simulated in float: LiteRT's where all is rounded, the float network's where nothing is."""

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from mai_harness.errors import ModelContractError
from mai_harness.interpreter import TFLiteModel
from mai_harness.simulate import Rounding, Simulation, matched
from mai_harness.tflite_graph.edit import edited
from mai_harness.tflite_graph.float_form import FloatForm
from mai_harness.tflite_graph.grid import Grid

SHAPE = (1, 24, 32, 3)
GRID = Grid(0.5, -100, -128, 127)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("simulate")


@pytest.fixture(scope="module")
def int8(folder):
    return tiny.write(folder / "int8.tflite", tiny.upscaler, SHAPE)


@pytest.fixture(scope="module")
def float32(folder):
    return tiny.write(folder / "float.tflite", tiny.upscaler, SHAPE, int8=False)


@pytest.fixture(scope="module")
def simulation(int8):
    return Simulation(int8)


def photograph(seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(np.cumsum(rng.normal(0, 9, SHAPE[1:]), 0) + 128, 0, 255).astype(np.uint8)


def fed(simulation, image):
    """Real values of bytes."""
    grid = Grid.of(simulation.graph.tensors[simulation.graph.inputs[0]])
    return ((image.astype(np.float32) - grid.zero_point) * np.float32(grid.scale))[None]


# Grids


@given(st.floats(-200, 200, width=32))
def test_a_grid_gives_the_nearest_value_that_a_code_stands_for(value):
    codes = (np.arange(GRID.least, GRID.most + 1) - GRID.zero_point) * GRID.scale
    rounded = float(GRID(np.array([value], np.float32))[0])
    assert rounded in codes
    assert abs(rounded - value) <= np.abs(codes - value).min() + 1e-4


@given(st.floats(-500, 400), st.floats(0.01, 600))
def test_a_grid_over_a_range_covers_it_and_holds_zero(low, width):
    grid = GRID.over((low, low + width))
    least, most = grid.limits
    assert least - grid.scale <= min(low, 0)
    assert max(low + width, 0) <= most + grid.scale
    assert float(grid(np.zeros(1, np.float32))[0]) == 0


def test_grids_of_other_codes_may_hold_the_same_values():
    assert Grid(1.0, 0, 0, 255).same_values(Grid(1.0, -128, -128, 127))
    assert not Grid(1.0, 0, 0, 255).same_values(Grid(1.0, 0, -128, 127))


# Runs


def test_with_every_rounding_it_is_litert(simulation, int8):
    model, image = TFLiteModel(int8), photograph()
    codes = model.run(image).astype(np.float32)
    result = simulation.run(fed(simulation, image), simulation.rounding).result[0]
    assert np.mean(np.abs(result / model.output.scale + model.output.zero_point - codes) < 1.5) > 0.999


def test_without_any_and_with_the_float_weights_it_is_the_float_network(simulation, float32):
    weights = matched(simulation.form, FloatForm(float32).constants.values())
    assert len(weights) == 1
    image = photograph()
    expected = TFLiteModel(float32).run(image.astype(np.float32))
    # The input's own grid is not a grey level wide here, so what is fed is the image itself.
    result = simulation.run(image[None].astype(np.float32), Rounding(constants=weights)).result[0]
    assert np.abs(result - expected).max() < 0.01


def test_the_weights_of_another_network_do_not_match(simulation):
    rng = np.random.default_rng(5)
    pool = [rng.normal(0, 0.2, values.shape).astype(np.float32) for values in simulation.form.constants.values()]
    assert matched(simulation.form, pool) == {}


def test_a_run_like_another_is_the_run_alone(simulation):
    source = fed(simulation, photograph(1))
    base = simulation.run(source, simulation.rounding)
    for unit in simulation.units:
        changed = simulation.rounding.without(unit.tensors)
        alone, like = simulation.run(source, changed), simulation.run(source, changed, base)
        assert np.array_equal(alone.result, like.result)


def test_a_walk_ends_in_the_result_of_a_run(simulation):
    source = fed(simulation, photograph(2))
    *_, (op, value) = simulation.walk(source, simulation.rounding)
    assert op.outputs == (simulation.output,)
    assert np.array_equal(value, simulation.run(source, simulation.rounding).result)


def test_it_runs_at_other_sizes(simulation):
    assert simulation.run(np.zeros((1, 10, 12, 3), np.float32), simulation.rounding).result.shape == (1, 30, 36, 3)


def test_a_tensor_that_is_moved_is_rounded_once(simulation):
    """The input's copies are no unit; the sum, its pixels and its bytes are one."""
    assert [unit.op.name for unit in simulation.units] == ["CONV_2D", "ADD"]
    assert len(simulation.units[-1].tensors) == 3
    assert [len(unit.weights) for unit in simulation.units] == [1, 0]


def test_constants_are_what_their_codes_stand_for(simulation, float32):
    form = simulation.form
    (index,) = simulation.units[0].weights
    tensor = form.graph.tensors[index]
    exact = next(values for values in FloatForm(float32).constants.values() if values.shape == tensor.shape)
    steps = np.asarray(tensor.scales).reshape(-1, 1, 1, 1)
    assert len(tensor.scales) == 27
    assert np.abs(form.constants[index] - exact).max() <= steps.max() / 2 * 1.001


def test_weights_in_float16_are_read(folder):
    def half(tf, x):
        return tiny.upscaler(tf, x)

    path = folder / "half.tflite"
    import tensorflow as tf

    spec = tf.TensorSpec(SHAPE, tf.float32)
    function = tf.function(lambda x: half(tf, x), input_signature=[spec], autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.optimizations, converter.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
    path.write_bytes(converter.convert())
    image = photograph().astype(np.float32)
    result = Simulation(path).run(image[None], Rounding()).result[0]
    assert np.abs(result - TFLiteModel(path).run(image)).max() < 0.05


# Refusals


def test_a_custom_operator_is_refused_by_name(int8, folder):
    def custom(model):
        code = model.operatorCodes[model.subgraphs[0].operators[1].opcodeIndex]
        code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"FlexThing"

    path = folder / "custom.tflite"
    path.write_bytes(edited(int8.read_bytes(), custom))
    with pytest.raises(ModelContractError, match="FlexThing 1"):
        Simulation(path)


def test_a_size_that_does_not_run_is_told_by_its_operator(simulation):
    with pytest.raises(ModelContractError, match="does not run alone"):
        simulation.run(np.zeros((8, 8, 3), np.float32), simulation.rounding)
    assert simulation.run(np.zeros(SHAPE, np.float32), simulation.rounding).result.shape == (1, 72, 96, 3)
