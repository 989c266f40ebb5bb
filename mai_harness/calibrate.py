"""Bring a float network to TFLite: its float twin, and the same graph with the range of every tensor on photographs.

ONNX goes through onnx2tf; Keras files and SavedModels enter here. Both files come from the same TensorFlow graph.
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from mai_harness.errors import ModelContractError, gist
from mai_harness.interpreter import Pixels, TFLiteModel
from mai_harness.records import LR_FRAME, SCALE, CalibrateReport, CalibrationFrame, Parity, Place, Record
from mai_harness.tflite_graph import PIXEL_RANGE, with_ranges

FLOAT_FILE, CALIBRATED_FILE = "float32.tflite", "calibrated.tflite"
INPUT_SHAPE = (1, *LR_FRAME, 3)
OUTPUT_SHAPE = (1, LR_FRAME[0] * SCALE, LR_FRAME[1] * SCALE, 3)
# onnx2tf wants this file from the network unless one of its name lies in the working directory.
ONNX2TF_SAMPLE = ("calibration_image_sample_data_20x128x128x3_float32.npy", (20, 128, 128, 3))

Array = npt.NDArray[np.float32]
Network = Callable[[Any], Any]  #: (1, 360, 640, 3) to (1, 1080, 1920, 3), TensorFlow float32 tensors


NetworkKind = Literal["onnx", "keras", "saved_model"]


class CalibrateRequest(Record, frozen=True):
    """A float network and the frames that set its INT8 ranges."""

    kind: NetworkKind
    path: Place
    frames: tuple[CalibrationFrame, ...]


def calibrate(request: CalibrateRequest, folder: Path) -> CalibrateReport:
    """Write ``float32.tflite``, and ``calibrated.tflite``, which holds ``min`` and ``max`` of its tensors.

    Known beforehand is the range of the input, [0, 255], and so is that of an output that proves to stay in it.

    Raises:
        ModelContractError: the network cannot be read or does not map LR to HR of three times the size.
    """
    network = _READERS[request.kind](Path(request.path), folder)
    frames = [np.load(frame.path)[None].astype(np.float32) for frame in request.frames]
    function = _traced(network)
    (folder / FLOAT_FILE).write_bytes(_converted(_converter(function), "to float TFLite"))
    float32 = TFLiteModel(folder / FLOAT_FILE)
    outputs = [_finite(float32.run(frame[0].astype(np.uint8))) for frame in frames]
    clipped = _stays_within(float32, PIXEL_RANGE)
    ranges = _calibrated(_converter(function), frames, PIXEL_RANGE if clipped else None)
    (folder / CALIBRATED_FILE).write_bytes(ranges)
    return CalibrateReport(
        parity=(_parity(request, network, frames[0], outputs[0]),),
        frames=tuple(frame.name for frame in request.frames),
        clipped_output=clipped,
        output_range=(float(min(o.min() for o in outputs)), float(max(o.max() for o in outputs))),
    )


# Readers: one row a format


def _from_onnx(path: Path, folder: Path) -> Network:
    import onnx
    import onnx2tf

    name, shape = ONNX2TF_SAMPLE
    here = Path.cwd()
    os.chdir(folder)
    try:
        np.save(name, np.full(shape, 0.5, np.float32))
        model: Network = onnx2tf.convert(
            onnx_graph=onnx.load(path), disable_model_save=True, non_verbose=True, not_use_onnxsim=True,
            output_folder_path=str(folder / "onnx2tf"),
            replace_to_pseudo_operators=["erf"],  # TFLite has none; the formula is exact to 2e-7
        )  # fmt: skip
    finally:
        Path(name).unlink(missing_ok=True)
        os.chdir(here)
    return model


def _from_keras(path: Path, _folder: Path) -> Network:
    keras = _keras_for(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelContractError(
            f"{path.name} cannot be loaded by Keras {keras.__version__}: {str(error).splitlines()[0][:300]}; "
            "a SavedModel folder carries layers of your own along"
        ) from None
    return _in_nhwc(lambda x: model(x, training=False), model.inputs[0].shape)


def _keras_for(path: Path) -> Any:
    """Keras 2 or 3, whichever wrote the file: neither reads the other's."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = msgspec.json.decode(archive.read("metadata.json"))["keras_version"]
    except (zipfile.BadZipFile, KeyError, msgspec.DecodeError, TypeError, OSError):
        raise ModelContractError(f"{path.name} is no Keras v3 file; save it with model.save('name.keras')") from None
    if str(version).startswith("2."):
        import tf_keras

        return tf_keras
    import keras

    return keras


def _from_saved_model(path: Path, _folder: Path) -> Network:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(path))
    except Exception as error:
        raise ModelContractError(f"{path.name} is no SavedModel: {str(error).splitlines()[0][:300]}") from None
    if "serving_default" not in model.signatures:
        raise ModelContractError(f"{path.name} has signatures {sorted(model.signatures)}; expected serving_default")
    signature = model.signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelContractError(f"serving_default takes {len(inputs)} tensors; expected one image")
    ((name, spec),) = inputs.items()

    def network(x: Any) -> Any:
        # Through the model, since the signature alone would not keep its variables alive.
        results = list(model.signatures["serving_default"](**{name: tf.cast(x, spec.dtype)}).values())
        return results[0] if len(results) == 1 else results

    return _in_nhwc(network, spec.shape)


_READERS: dict[NetworkKind, Callable[[Path, Path], Network]] = {
    "onnx": _from_onnx,
    "keras": _from_keras,
    "saved_model": _from_saved_model,
}


def _in_nhwc(network: Network, shape: Any) -> Network:
    sizes = tuple(shape)
    if len(sizes) != 4:
        raise ModelContractError(f"the network takes {sizes}; expected (1, H, W, 3)")
    if sizes[3] == 3 or sizes[1] != 3:
        return network
    import tensorflow as tf

    return lambda x: tf.transpose(network(tf.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1))


# Conversion


def _traced(network: Network) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def call(x: Any) -> Any:
        y = network(x)
        if isinstance(y, list | tuple | dict):
            raise ModelContractError(f"the network returns {len(y)} tensors; expected one image")
        return tf.cast(y, tf.float32)

    spec = tf.TensorSpec(INPUT_SHAPE, tf.float32, name="input")
    try:
        function = tf.function(call, input_signature=[spec], autograph=False).get_concrete_function()
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ModelContractError(f"the network does not run at 360x640: {gist(error)}") from None
    shape = function.structured_outputs.shape
    if shape.rank is None or not shape.is_compatible_with(OUTPUT_SHAPE):
        found = tuple(shape) if shape.rank is not None and shape.is_fully_defined() else ()
        reason = f"the network maps {INPUT_SHAPE} to {shape}; expected {OUTPUT_SHAPE}"
        raise ModelContractError(reason, output_shape=found)
    # Keras 3 keeps its variables where the converter does not look: unfrozen, they are read as nothing at all.
    return convert_variables_to_constants_v2(function)


def _converter(function: Any) -> Any:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())


def _calibrated(converter: Any, frames: list[Array], result: tuple[float, float] | None) -> bytes:
    """The graph with its tensors' ranges on ``frames``, but for those that are known beforehand.

    The converter is stopped after calibration. Fake quantisation nodes would not do: beside calibration, the one at
    the output passes its own range on to the tensor before it (with them, a network ending in ``clip(x, 0, 1) * 255``
    was 24 dB from its float twin instead of 57).
    """
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([frame] for frame in frames)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    return with_ranges(_converted(converter, "to full-integer INT8"), PIXEL_RANGE, result)


def _converted(converter: Any, what: str) -> bytes:
    try:
        model: bytes = converter.convert()
    except Exception as error:
        raise ModelContractError(f"TensorFlow cannot convert the network {what}: {gist(error)}") from None
    return model


# Checks


def _stays_within(model: TFLiteModel, limits: tuple[float, float]) -> bool:
    """Whether noise from the range's ends, and a thousand times beyond them, leaves the output within ``limits``.

    A convolution that sharpens overshoots on such noise, so only a network that ends in a clip, or in a function that
    saturates, passes.
    """
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, INPUT_SHAPE[1:]).astype(np.float32) * 2 - 1
    for frame in (127.5 + 127.5 * noise, 1e3 * 127.5 * noise, -1e3 * 127.5 * noise):
        output = model.run(frame)
        if not (limits[0] <= output.min() and output.max() <= limits[1]):
            return False
    return True


def _finite(output: Pixels) -> Pixels:
    if not np.isfinite(output).all():
        reason = "the network's output has NaN or infinite values on a photograph; look at its weights"
        raise ModelContractError(reason, not_finite=True)
    return output


def _parity(request: CalibrateRequest, network: Network, frame: Array, output: Pixels) -> Parity:
    """How far the float TFLite file is from what it was made of, on one frame."""
    if request.kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(request.path, providers=["CPUExecutionProvider"])
        expected = session.run(None, {session.get_inputs()[0].name: frame.transpose(0, 3, 1, 2)})[0]
        expected = expected.transpose(0, 2, 3, 1)
    else:
        import tensorflow as tf

        expected = np.asarray(network(tf.constant(frame)))
    difference = float(np.abs(expected[0] - output).max())
    return Parity(before=request.kind, after="tflite float32", max_abs_difference=difference)
