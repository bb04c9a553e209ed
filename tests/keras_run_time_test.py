"""Tests of the plugin with an official Keras, which its module patches as it runs."""

import inspect
import itertools
import os
import re
import sys
import tempfile
import zipfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest
from tensorflow.core.framework import kernel_def_pb2
from tensorflow.python.framework import kernels

FOLDER = tempfile.TemporaryDirectory()
with zipfile.ZipFile(os.environ["PLUGIN"]) as plugin:
    plugin.extractall(FOLDER.name)
sys.path.append(FOLDER.name)
# As `import tensorflow` does where pip has installed the plugin.
tf.load_library(os.path.join(FOLDER.name, "tensorflow-plugins"))
from tensorflow_grouped_convolution import keras_patches  # noqa: E402

RELEASE = keras.__version__
X = np.random.RandomState(0).standard_normal((2, 9, 9, 8)).astype(np.float32)


def compiled_by_xla(layer):
    graph = tf.function(lambda x: layer(x)).get_concrete_function(X).graph
    return "_XlaMustCompile" in str(graph.as_graph_def())


def train(layer):
    """Takes a step down; returns by how much the loss changes."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(layer(X) ** 2)
    for weight, gradient in zip(layer.weights, tape.gradient(loss, layer.weights)):
        weight.assign(weight - 0.01 * gradient)
    return tf.reduce_mean(layer(X) ** 2) - loss


def state_of_keras():
    """Returns all that the modules which patches change define."""
    state = {}

    def note(owner, prefix):
        for name, value in vars(owner).items():
            state[prefix + name] = value
            if inspect.isfunction(value):
                value = inspect.unwrap(value)
                for attribute in "__code__", "__defaults__", "__kwdefaults__", "__doc__":
                    state[prefix + name + attribute] = getattr(value, attribute)
            elif inspect.isclass(value) and value.__module__ == owner.__name__:
                note(value, "%s%s." % (prefix, name))

    for name in keras_patches._changes(keras_patches.PATCH.read_text()):
        if name in sys.modules:  # Not of another backend.
            note(sys.modules[name], name + ":")
    return state


class RunTimeTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(keras_patches.unpatch_keras)

    def test_layers_that_are_there_leave_xla_and_come_back(self):
        layer = keras.layers.Conv2D(8, 3, groups=4)
        before = layer(X)
        self.assertTrue(compiled_by_xla(layer))
        self.assertTrue(keras_patches.patch_keras())
        self.assertFalse(compiled_by_xla(layer))
        np.testing.assert_allclose(layer(X), before, rtol=1e-5, atol=1e-5)
        self.assertLess(train(layer), 0)
        keras_patches.unpatch_keras()
        self.assertTrue(compiled_by_xla(layer))

    def test_transposed_layers_take_groups(self):
        signature = inspect.signature(keras.ops.conv_transpose)
        documentation = keras.layers.Conv2DTranspose.__doc__
        self.assertTrue(keras_patches.patch_keras())
        layer = keras.layers.Conv2DTranspose(8, 3, groups=4, strides=2)
        model = keras.Sequential([keras.Input(X.shape[1:]), layer])
        self.assertEqual(layer.kernel.shape, (3, 3, 2, 8))
        self.assertFalse(compiled_by_xla(layer))
        path = os.path.join(FOLDER.name, "model.keras")
        model.save(path)
        np.testing.assert_array_equal(keras.models.load_model(path)(X), model(X))
        self.assertIn("groups:", keras.layers.Conv2DTranspose.__doc__)

        keras_patches.unpatch_keras()
        self.assertEqual(inspect.signature(keras.ops.conv_transpose), signature)
        self.assertEqual(keras.layers.Conv2DTranspose.__doc__, documentation)
        with self.assertRaisesRegex(ValueError, "groups"):
            keras.layers.Conv2DTranspose(8, 3, groups=4)

    def test_models_without_grouped_transposed_layers_load_in_official_keras(self):
        self.assertTrue(keras_patches.patch_keras())
        layers = [
            keras.layers.Conv2D(8, 3, groups=4),
            keras.layers.Conv2DTranspose(6, 3, strides=2),
            keras.layers.Conv2D(6, 3, groups=3, data_format="channels_last"),
        ]
        model = keras.Sequential([keras.Input(X.shape[1:])] + layers)
        expected = model(X)
        paths = [os.path.join(FOLDER.name, name) for name in ("exchanged.keras", "exchanged.h5")]
        for path in paths:
            model.save(path)
        keras_patches.unpatch_keras()
        for path in paths:
            loaded = keras.models.load_model(path)
            np.testing.assert_allclose(loaded(X), expected, rtol=1e-5, atol=1e-5)
            # And back.
            loaded.save(path)
        self.assertTrue(keras_patches.patch_keras())
        for path in paths:
            loaded = keras.models.load_model(path)
            np.testing.assert_allclose(loaded(X), expected, rtol=1e-5, atol=1e-5)

    def test_bias_of_channels_first_goes_to_the_channels(self):
        x = np.zeros((2, 3, 3), np.float32)
        bias = np.arange(3, dtype=np.float32).reshape((1, 3, 1))
        self.assertTrue(keras_patches.patch_keras())
        np.testing.assert_array_equal(keras.ops.add(x, bias), x + bias)

    def test_source_is_that_of_what_runs(self):
        self.assertTrue(keras_patches.patch_keras())
        conv = keras.src.backend.nn.conv
        self.assertStartsWith(inspect.getsource(conv), "def conv(\n")
        self.assertIn("_needs_xla(", inspect.getsource(conv))
        transposed = inspect.getsource(keras.layers.Conv2DTranspose.__init__)
        self.assertIn("groups=groups", transposed)
        keras_patches.unpatch_keras()
        self.assertNotIn("_needs_xla(", inspect.getsource(conv))

    def test_missing_kernels_are_told_of(self):
        none = kernel_def_pb2.KernelList()
        with mock.patch.object(kernels, "get_registered_kernels_for_op", return_value=none):
            with self.assertWarnsRegex(UserWarning, "without the CPU kernels"):
                keras_patches.patch_keras()
            self.assertTrue(compiled_by_xla(keras.layers.Conv2D(8, 3, groups=4)))

    def test_once_is_enough(self):
        self.assertTrue(keras_patches.patch_keras())
        self.assertFalse(keras_patches.patch_keras())

    def test_another_keras_is_refused_and_stays(self):
        text = keras_patches.PATCH.read_text()
        self.addCleanup(keras_patches.PATCH.write_text, text)
        keras_patches.PATCH.write_text(text.replace("\n-", "\n-# Not there: "))
        message = "for Keras %s, and Keras 3.0.0 is not that .*: its keras.* differs" % RELEASE
        with mock.patch.object(keras, "__version__", "3.0.0"):
            with self.assertRaisesRegex(RuntimeError, message):
                keras_patches.patch_keras()
        self.assertTrue(compiled_by_xla(keras.layers.Conv2D(8, 3, groups=4)))

    def test_a_keras_without_such_modules_is_refused(self):
        names = list(keras_patches._changes(keras_patches.PATCH.read_text()))
        own = [name for name in names if re.match("keras.src.(layers|backend.common)", name)]
        self.assertGreater(len(own), 1)
        for name in own:
            message = "for Keras %s, and Keras 2.15.0 .*: its %s is missing" % (RELEASE, name)
            with self.subTest(name), mock.patch.dict(sys.modules, {name: None}):
                with mock.patch.object(keras, "__version__", "2.15.0"):
                    with self.assertRaisesRegex(RuntimeError, message):
                        keras_patches.patch_keras()
        self.assertTrue(keras_patches.patch_keras())

    def test_patches_that_fail_midway_leave_nothing(self):
        text = keras_patches.PATCH.read_text()
        self.addCleanup(keras_patches.PATCH.write_text, text)
        before = state_of_keras()
        added = "\n+def convert_grouped_conv_transpose_kernel("
        self.assertIn(added, text)
        for line, error in (
            # Binds the one name before it misses the other.
            ("from os import path, not_there", ImportError),
            ("constant = 1", NotImplementedError),
        ):
            with self.subTest(line):
                keras_patches.PATCH.write_text(text.replace(added, "\n+" + line + added))
                with self.assertRaises(error):
                    keras_patches.patch_keras()
                self.assertEqual(state_of_keras(), before)
        keras_patches.PATCH.write_text(text)

        restorer = keras_patches._restorer

        def failing_restorer(count):
            calls = itertools.count()

            def fail(owner, name):
                if next(calls) == count:
                    raise KeyboardInterrupt
                return restorer(owner, name)

            return fail

        for count in 0, 5, 20, 50:
            with mock.patch.object(keras_patches, "_restorer", failing_restorer(count)):
                with self.assertRaises(KeyboardInterrupt):
                    keras_patches.patch_keras()
            self.assertEqual(state_of_keras(), before)

        self.assertTrue(keras_patches.patch_keras())
        self.assertNotEqual(state_of_keras(), before)
        keras_patches.unpatch_keras()
        self.assertEqual(state_of_keras(), before)


if __name__ == "__main__":
    absltest.main()
