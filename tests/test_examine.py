"""A TFLite file run in many ways on samples: every trial is there, is what it says, and no image is HR."""

import msgspec
import numpy as np
import pytest
import tiny

from mai_harness.examine import MARGIN, MOST_MOVED, SIDE, Chosen, ExamineRequest, Port, examine, layout_of, ways
from mai_harness.interpreter import TFLiteModel
from mai_harness.metrics import psnr
from mai_harness.records import CalibrationFrame, LrImage, Model
from mai_harness.samples import cut
from mai_harness.tflite_graph import read_graph
from mai_harness.tflite_graph.edit import edited

SHAPE = (1, 48, 64, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examine")


def photograph(height, width, seed):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 12, (height, width, 3))
    return np.clip(128 + np.cumsum(np.cumsum(steps, 0), 1) / 20, 0, 255).astype(np.uint8)


def saved(folder, name, image):
    path = folder / f"{name}.npy"
    np.save(path, image)
    return str(path)


def request(folder, static, **more):
    sizes = ((60, 80), (200, 300))
    images = [LrImage(name=f"i{n}", path=saved(folder, f"i{n}", photograph(*size, n))) for n, size in enumerate(sizes)]
    frames = tuple(
        CalibrationFrame(name=f"c{n}", path=saved(folder, f"c{n}", photograph(90, 90, 10 + n))) for n in range(2)
    )
    model = Model(static=str(static), **{key: str(more.pop(key)) for key in ("float32", "dynamic") if key in more})
    chosen = tuple(Chosen(place=5 + n, image=image) for n, image in enumerate(images))
    return ExamineRequest(model=model, images=chosen, frames=frames, held_out=(images[0],), whole=chosen, **more)


def run(folder, name, static, **more):
    out = folder / name
    out.mkdir()
    return examine(request(folder, static, **more), out)


def outputs(report, trial):
    found = next(each for each in report.trials if each.id == trial)
    return [np.load(f"{found.folder}/{index:04d}.npy") for index in range(len(report.samples))]


@pytest.fixture(scope="module")
def int8(folder):
    return tiny.write(folder / "int8.tflite", tiny.upscaler, SHAPE)


@pytest.fixture(scope="module")
def report(folder, int8):
    float32 = tiny.write(folder / "float.tflite", tiny.upscaler, SHAPE, int8=False)
    return run(folder, "whole", int8, float32=float32)


def test_samples_are_the_middles_of_images_at_their_places(report):
    assert [(s.image, s.height, s.width) for s in report.samples] == [(5, 60, 80), (6, SIDE, SIDE)]
    assert (report.samples[1].top, report.samples[1].left) == (20, 70)
    assert (report.layout, report.factor, report.obstacle, report.unsimulated) == ("NHWC", 3.0, "", "")


def test_the_file_as_it_is(report, int8, folder):
    model = TFLiteModel(int8)
    for sample, raw, values in zip(report.samples, outputs(report, "raw"), outputs(report, "dequantised"), strict=True):
        lr = cut(np.load(folder / f"i{sample.image - 5}.npy"), sample)
        codes = model.run(lr)
        assert np.array_equal(raw, codes)
        assert np.allclose(values, (codes.astype(float) - model.output.zero_point) * model.output.scale, atol=1e-3)


def test_every_layer_is_restored_and_all_of_them_make_the_float_network(report):
    layers = {each.tensor: each.layer for each in report.tensors}
    assert list(layers.values()) == ["CONV_2D 2", "ADD 3"]
    assert {f"restored-{tensor}" for tensor in layers} <= {trial.id for trial in report.trials}
    assert report.agreement > 0.999
    read = [_pixels(values) for values in outputs(report, "dequantised")]
    assert all(psnr(a, b) > 50 for a, b in zip(outputs(report, "simulated"), read, strict=True))
    exact = [_pixels(values) for values in outputs(report, "float")]
    assert all(psnr(a, b) > 45 for a, b in zip(outputs(report, "unrounded"), exact, strict=True))


def test_the_float_trials_are_those_of_the_twin(report):
    assert report.twin == "given"
    assert report.twin_psnr_db > 35
    assert {"float", "float unit", "float signed", "float bgr", "float transposed"} <= {t.id for t in report.trials}
    assert "float levels" not in {trial.id for trial in report.trials}  # what the twin takes anyhow
    assert outputs(report, "float")[0].dtype == np.float32


def test_analyses_tell_ranges_noise_and_channels(report):
    convolution, result = report.tensors
    assert (convolution.channels, convolution.weight_scales) == (27, 27)
    assert convolution.used[0] == 0.0 < convolution.used[1]
    assert 25 < result.sqnr_db < 70
    assert 25 < convolution.injected_sqnr_db < 70
    assert 0 < convolution.effective_bits <= 8.01
    assert convolution.weight_ratio > 1
    assert report.recalibrated.keys() == {convolution.tensor, result.tensor}


def test_a_mirrored_sample_has_its_own_pixels_inside(report):
    for raw, mirrored in zip(outputs(report, "raw"), outputs(report, "mirrored"), strict=True):
        assert raw.shape == mirrored.shape
        inner = np.s_[3 * MARGIN : -3 * MARGIN, 3 * MARGIN : -3 * MARGIN]
        assert np.array_equal(raw[inner], mirrored[inner])


def test_whole_images_are_upscaled_as_they_are_and_changed_and_brought_back(report, int8, folder):
    assert report.whole == (5, 6)
    model, lr = TFLiteModel(int8), np.load(folder / "i1.npy")
    plain, mirrored, moved = (outputs(report, trial)[1] for trial in ("whole", "whole mirrored", "whole moved"))
    assert np.array_equal(plain, model.upscale(lr))
    assert np.array_equal(mirrored, model.upscale(np.ascontiguousarray(lr[:, ::-1]))[:, ::-1])
    down, right = ((a - b) // 3 for a, b in zip(plain.shape[:2], moved.shape[:2], strict=True))
    assert 1 <= min(down, right) <= max(down, right) <= MOST_MOVED
    inner = np.s_[9 : moved.shape[0] - 9, 9 : moved.shape[1] - 9]
    assert np.array_equal(moved[inner], plain[inner])  # a convolution: to the byte


def test_how_far_images_are_moved_follows_from_the_file():
    shapes = {ways(bytes([n]))[2].back(np.zeros((99, 99, 3))).shape for n in range(40)}
    assert len(shapes) > 8
    assert ways(b"a")[2].what == ways(b"a")[2].what


def test_the_report_survives_json(report):
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report


def test_without_a_twin_the_files_own_weights_are_dequantised(folder, int8):
    alone = run(folder, "alone", int8)
    assert alone.twin == "derived"
    assert alone.twin_psnr_db is None
    assert all(psnr(a, b) > 30 for a, b in zip(outputs(alone, "simulated"), outputs(alone, "unrounded"), strict=True))


def test_no_time_for_layers_leaves_them_out_and_all_else_in(folder, int8):
    hasty = run(folder, "hasty", int8, seconds=0.0)
    assert not [trial for trial in hasty.trials if trial.id.startswith("restored")]
    assert hasty.tensors
    assert hasty.unsimulated == ""


# Other layouts and files that do not run


def test_an_nchw_file_is_fed_as_it_wants(folder, int8):
    def network(tf, x):
        return tf.transpose(tiny.upscaler(tf, tf.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))

    path = tiny.write(folder / "nchw.tflite", network, (1, 3, 48, 64))
    report = run(folder, "nchw", path)
    assert (report.layout, report.obstacle) == ("NCHW", "")
    assert outputs(report, "raw")[0].shape == (144, 192, 3)
    twin = TFLiteModel(int8)
    lr = cut(np.load(folder / "i0.npy"), report.samples[0])
    expected = (twin.run(lr).astype(float) - twin.output.zero_point) * twin.output.scale
    assert np.abs(outputs(report, "dequantised")[0] - expected).mean() < 8


def test_a_portrait_frame_is_swapped():
    def spec(shape):
        from evaluations import graph

        return layout_of(graph(source=shape))

    assert spec((1, 640, 360, 3)) == ("swapped", (360, 640))
    assert spec((1, 360, 640, 3)) == ("NHWC", (360, 640))
    assert spec((1, -1, -1, 3)) == ("NHWC", None)
    assert spec((1, 3, 360, 640)) == ("NCHW", (360, 640))
    assert spec((1, 360, 640, 4))[0] == "unknown"


def test_a_float_file_is_examined_but_not_simulated(folder):
    path = tiny.write(folder / "float-alone.tflite", tiny.upscaler, SHAPE, int8=False)
    report = run(folder, "float-alone", path)
    assert report.unsimulated == "the file is not quantised"
    assert {"raw", "dequantised", "float"} <= {trial.id for trial in report.trials}
    assert report.tensors == ()


def test_a_file_that_does_not_run_has_its_graph_and_the_reason(folder, int8):
    def custom(model):
        code = model.operatorCodes[model.subgraphs[0].operators[1].opcodeIndex]
        code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"FlexThing"

    path = folder / "flex.tflite"
    path.write_bytes(edited(int8.read_bytes(), custom))
    report = run(folder, "flex", path)
    assert report.obstacle == "LiteRT has no operator FlexThing 1"
    assert report.trials == ()
    assert report.graph == read_graph(path)


def test_weights_that_are_not_finite_name_their_layer(folder):
    def network(tf, x):
        good = tf.nn.conv2d(x, np.full((1, 1, 3, 27), 0.3, np.float32), 1, "SAME")
        return tf.nn.depth_to_space(tf.nn.conv2d(good, np.full((1, 1, 27, 27), np.nan, np.float32), 1, "SAME"), 3)

    report = run(folder, "nan", tiny.write(folder / "nan.tflite", network, SHAPE, int8=False))
    assert report.not_finite == "CONV_2D 1"


def test_a_layer_that_never_changes_is_named(folder):
    def network(tf, x):
        y = tf.nn.conv2d(x, np.full((1, 1, 3, 27), 0.3, np.float32), 1, "SAME")
        dead = tf.nn.relu(y - np.float32(1e5))
        return tf.nn.depth_to_space(dead, 3)

    report = run(folder, "dead", tiny.write(folder / "dead.tflite", network, SHAPE, int8=False))
    assert report.constant.startswith("CONV_2D")


def test_a_batch_is_filled_and_its_first_image_taken(folder):
    path = tiny.write(folder / "batch.tflite", tiny.upscaler, (2, 48, 64, 3))
    report = run(folder, "batch", path)
    assert report.obstacle == ""
    assert outputs(report, "raw")[0].shape == (180, 240, 3)


def test_a_signed_input_is_fed_as_the_script_does_and_as_the_file_says(folder, int8):
    import tensorflow as tf

    spec = tf.TensorSpec(SHAPE, tf.float32)
    function = tf.function(
        lambda x: tiny.upscaler(tf, x), input_signature=[spec], autograph=False
    ).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    frames = np.random.default_rng(0).uniform(0, 255, (2, *SHAPE)).astype(np.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([frame] for frame in frames)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.uint8
    path = folder / "signed.tflite"
    path.write_bytes(converter.convert())
    report = run(folder, "signed", path)
    right = outputs(run(folder, "unsigned", int8), "dequantised")
    assert all(psnr(_pixels(a), _pixels(b)) > 35 for a, b in zip(outputs(report, "dequantised"), right, strict=True))
    assert all(psnr(a, _pixels(b)) < 25 for a, b in zip(outputs(report, "raw"), right, strict=True))


def _pixels(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def test_a_port_tells_what_takes_no_image(folder):
    path = tiny.write(folder / "flat.tflite", lambda tf, x: tf.reduce_mean(x, (1, 2)), (1, 8, 8, 5))
    with pytest.raises(Exception, match="is no image"):
        Port(path, 1)
