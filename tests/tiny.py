"""Small TFLite files for tests; TensorFlow is imported when the first is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FRAME = (1, 360, 640, 3)


def write(path: Path, network: Callable[[Any, Any], Any], shape: tuple[int, ...] = FRAME, *, int8: bool = True) -> Path:
    """The network, called with TensorFlow and its input, as INT8 with uint8 in and out, or as float."""
    import tensorflow as tf

    spec = tf.TensorSpec(shape, tf.float32)
    function = tf.function(lambda x: network(tf, x), input_signature=[spec], autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    if int8:
        frames = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([frame] for frame in frames)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    return path


def upscaler(tf: Any, x: Any) -> Any:
    """A mirrored border, a convolution and depth-to-space, with an addition that reads one tensor twice."""
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 0.2, (3, 3, 3, 27)).astype(np.float32)
    bordered = tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "REFLECT")
    y = tf.nn.relu(tf.nn.conv2d(bordered, weights, 1, "VALID") + rng.normal(0, 1, 27).astype(np.float32))
    return tf.nn.depth_to_space(y + y, 3)
