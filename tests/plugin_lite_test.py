"""Tests of conversion to TensorFlow Lite, and of SavedModels, with the plugin."""

import installed_plugin  # noqa: I001  before TensorFlow

import importlib
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import tensorflow_grouped_convolution as plugin
from tensorflow_grouped_convolution import lite

convert = importlib.import_module("tensorflow.lite.python.convert")

RANDOM = np.random.RandomState(0)


class Model(tf.Module):
    """One grouped convolution of some kind.

    Attributes:
      kind: how, as `name` of the op in `tf.nn`.
      groups: of channels; a transposed one has its filter's input channels in groups.
    """

    def __init__(self, kind, groups, x_shape):
        super().__init__()
        self.kind, self.groups, self.x_shape = kind, groups, x_shape
        rank, channels, filters = len(x_shape) - 2, x_shape[-1], 8
        last = (
            (filters // groups, channels) if "transpose" in kind else (channels // groups, filters)
        )
        self.filters = tf.Variable(RANDOM.standard_normal((3,) * rank + last), dtype=tf.float32)

    def convolve(self, x, w, groups=1):
        if "transpose" not in self.kind:
            return tf.nn.convolution(x, w, padding="SAME")
        sizes = [2 * size for size in self.x_shape[1:-1]]
        # Of known sizes but for the batch's.
        shape = [tf.shape(x)[0]] + sizes + [w.shape[-2] * groups]
        return tf.nn.conv_transpose(x, w, tf.stack(shape), 2, "SAME")

    @tf.function
    def __call__(self, x):
        return self.convolve(x, self.filters, self.groups)

    def expected(self, x):
        """Returns what it computes, from one dense convolution a group, in float64."""
        parts = zip(
            np.split(x.astype(np.float64), self.groups, -1),
            np.split(self.filters.numpy().astype(np.float64), self.groups, -1),
        )
        return np.concatenate([self.convolve(*part).numpy() for part in parts], -1)

    def concrete(self):
        return self.__call__.get_concrete_function(tf.TensorSpec(self.x_shape))


MODELS = (
    ("conv1d", 2, (1, 9, 4)),
    ("conv2d", 4, (1, 7, 6, 8)),
    ("conv3d", 2, (1, 5, 4, 3, 4)),
    ("conv1d_transpose", 2, (1, 9, 4)),
    ("conv2d_transpose", 4, (1, 7, 6, 8)),
    ("conv2d_transpose", 8, (1, 7, 6, 8)),
    ("conv3d_transpose", 2, (1, 5, 4, 3, 4)),
)


class LiteTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        # Without it TensorFlow Lite would be given what it is not to see.
        name = "convert" if hasattr(convert, "convert") else "toco_convert_protos"
        assert getattr(convert, name).__wrapped__
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def check(self, model, converter, tolerance=1e-4):
        interpreter = tf.lite.Interpreter(model_content=converter.convert())
        interpreter.allocate_tensors()
        (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
        x = RANDOM.standard_normal(model.x_shape).astype(np.float32)
        interpreter.set_tensor(into["index"], x)
        interpreter.invoke()
        expected = model.expected(x)
        np.testing.assert_allclose(
            interpreter.get_tensor(out["index"]),
            expected,
            rtol=0,
            atol=tolerance * np.abs(expected).max(),
        )

    @parameterized.parameters(*MODELS)
    def test_functions(self, *model):
        model = Model(*model)
        functions = [model.concrete()]
        self.check(model, tf.lite.TFLiteConverter.from_concrete_functions(functions, model))

    @parameterized.parameters(*MODELS)
    def test_saved_models(self, *model):
        model = Model(*model)
        tf.saved_model.save(model, self.folder, model.concrete())
        self.check(model, tf.lite.TFLiteConverter.from_saved_model(self.folder))

    @parameterized.parameters(
        ("conv2d", 2, (1, 7, 6, 64)),
        ("conv2d_transpose", 2, (1, 7, 6, 64)),
        ("conv2d_transpose", 4, (1, 7, 6, 8)),
    )
    def test_dynamic_range(self, *model):
        model = Model(*model)
        tf.saved_model.save(model, self.folder, model.concrete())
        converter = tf.lite.TFLiteConverter.from_saved_model(self.folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # Of the largest output; factors have errors of up to half of 1/127 of the largest.
        self.check(model, converter, tolerance=0.03)

    def test_unknown_channels_are_refused_by_name(self):
        filters = tf.Variable(tf.ones([3, 3, 2, 8]))

        @tf.function(input_signature=[tf.TensorSpec([1, 5, 5, 8]), tf.TensorSpec([4], tf.int32)])
        def transpose(x, shape):
            return tf.nn.conv2d_transpose(x, filters, shape, 1, name="the_layer")

        with self.assertRaisesRegex(ValueError, "the_layer.* output has unknown channels"):
            tf.lite.TFLiteConverter.from_concrete_functions(
                [transpose.get_concrete_function()]
            ).convert()

    def test_layers_that_only_patch_keras_makes(self):
        keras = tf.keras
        report = plugin.patch_keras()
        self.addCleanup(plugin.unpatch_keras)
        if not any(line.endswith("layers take groups") for line in report.lines):
            self.skipTest("no Keras here has such layers")
        inputs = keras.Input((7, 6, 8), 1)
        layers = [
            keras.layers.Conv2D(8, 3, groups=4),
            keras.layers.Conv2DTranspose(8, 3, strides=2, groups=4, activation="relu"),
            keras.layers.Conv2DTranspose(6, 3, groups=2),
        ]
        model = keras.Sequential([inputs] + layers)
        x = RANDOM.standard_normal((1, 7, 6, 8)).astype(np.float32)
        interpreter = tf.lite.Interpreter(
            model_content=tf.lite.TFLiteConverter.from_keras_model(model).convert()
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(got, model(x), rtol=1e-4, atol=1e-4)

    def test_comes_and_goes(self):
        name = "convert" if hasattr(convert, "convert") else "toco_convert_protos"
        ours = getattr(convert, name)
        lite.install()
        self.assertIs(getattr(convert, name), ours)
        lite.uninstall()
        self.addCleanup(lite.install)
        self.assertIs(getattr(convert, name), ours.__wrapped__)

    def test_waits_for_tensorflow_lite(self):
        program = """
import importlib
import tensorflow
convert = importlib.import_module("tensorflow.lite.python.convert")
function = getattr(convert, "convert", None) or convert.toco_convert_protos
assert hasattr(function, "__wrapped__")
"""
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )


class SavedModelTest(parameterized.TestCase):
    @parameterized.parameters(*MODELS)
    def test_is_split(self, *model):
        model = Model(*model)
        folder = tempfile.mkdtemp(dir=str(installed_plugin.FOLDER))
        tf.saved_model.save(model, folder + "/grouped", model.concrete())
        plugin.split_saved_model(folder + "/grouped", folder + "/split")
        loaded = tf.saved_model.load(folder + "/split").signatures["serving_default"]
        graph = loaded.graph.as_graph_def()
        bodies = [graph.node] + [function.node_def for function in graph.library.function]
        ops = [node.op for nodes in bodies for node in nodes if node.op[:5] in ("Conv2", "Conv3")]
        self.assertEqual(len(ops) % model.groups, 0)
        self.assertNotEmpty(ops)
        x = RANDOM.standard_normal(model.x_shape).astype(np.float32)
        (name,) = loaded.structured_input_signature[1]
        (got,) = loaded(**{name: tf.constant(x)}).values()
        np.testing.assert_allclose(got, model.expected(x), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    absltest.main()
