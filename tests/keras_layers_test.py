"""Tests of the layers of a patched Keras 3 on the kernels.

Each is compared with what dense layers make of each group by itself.
"""

import itertools
import os
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from keras.src.backend.tensorflow import nn

layers = keras.layers
LAYERS = {"conv": "Conv%dD", "transpose": "Conv%dDTranspose"}
FORMATS = ("channels_last", "channels_first")

# Calls of a layer: what makes of a function one that is run in that way.
WAYS = {
    "eager": lambda function: function,
    "function": tf.function,
    "jit_compile": lambda function: tf.function(function, jit_compile=True),
}


def random(shape, seed):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def new_layer(kind, rank, *arguments, **options):
    return getattr(layers, LAYERS[kind] % rank)(*arguments, **options)


def make_layer(kind, rank, channels=8, **options):
    """Returns a built layer with random weights, and an input for it."""
    layer = new_layer(kind, rank, 12, 3, **options)
    spatial = (7, 6, 5)[:rank]
    first = layer.data_format == "channels_first"
    shape = (2, channels) + spatial if first else (2,) + spatial + (channels,)
    layer.build(shape)
    layer.set_weights([random(weight.shape, 2) for weight in layer.get_weights()])
    return layer, random(shape, 1)


def call_by_group(layer, x):
    """Returns what layers of one group make of each part of an input, beside each other."""
    axis = 1 if layer.data_format == "channels_first" else -1
    kernel, bias = layer.get_weights()
    filters = layer.filters // layer.groups
    config = {**layer.get_config(), "groups": 1, "filters": filters, "name": None}
    parts = tf.split(x, layer.groups, axis=axis)
    dense = [type(layer)(**config) for _ in parts]
    for one, part, *weights in zip(
        dense, parts, np.split(kernel, layer.groups, axis=-1), np.split(bias, layer.groups)
    ):
        one.build(part.shape)
        one.set_weights(weights)

    # TensorFlow's own kernels lack some dense ones too.
    @tf.function(jit_compile=True)
    def call(parts):
        return tf.concat([one(part) for one, part in zip(dense, parts)], axis=axis)

    return call(parts)


def compiled_by_xla(function, *arguments):
    """Returns whether a part of a function is compiled with XLA by itself."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return "_XlaMustCompile" in str(graph.as_graph_def())


class LayersTest(parameterized.TestCase):
    def assert_close(self, actual, expected, tolerance=1e-5):
        actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
        self.assertEqual(len(actual), len(expected))
        for one, other in zip(actual, expected):
            one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
            self.assertEqual(one.shape, other.shape)
            np.testing.assert_allclose(
                one, other, rtol=tolerance, atol=tolerance * np.abs(other).max()
            )

    @parameterized.parameters(
        *itertools.product(
            LAYERS,
            (1, 2, 3),
            FORMATS,
            (
                {"padding": "valid"},
                {"padding": "same", "strides": 2},
                {"padding": "same", "dilation_rate": 2},
            ),
        )
    )
    def test_outputs(self, kind, rank, data_format, options):
        layer, x = make_layer(kind, rank, groups=4, data_format=data_format, **options)
        expected = call_by_group(layer, x)
        for name, way in WAYS.items():
            with self.subTest(name):
                self.assert_close(way(layer)(x), expected)
        self.assertEqual(layer.compute_output_shape(x.shape), expected.shape)

    @parameterized.parameters(*itertools.product(LAYERS, (1, 2, 3), FORMATS))
    def test_gradients(self, kind, rank, data_format):
        layer, x = make_layer(kind, rank, groups=2, data_format=data_format, strides=2)
        x = tf.constant(x)

        def gradients(call):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(call(x) ** 2)
            return tape.gradient(loss, [x, *layer.trainable_variables])

        expected = WAYS["jit_compile"](lambda: gradients(layer))()
        for name in "eager", "function":
            with self.subTest(name):
                self.assert_close(WAYS[name](lambda: gradients(layer))(), expected)

    @parameterized.parameters(*itertools.product(LAYERS, (1, 2, 3), FORMATS))
    def test_goes_through_xla_only_where_the_kernels_are_not(self, kind, rank, data_format):
        layer, x = make_layer(kind, rank, groups=4, data_format=data_format)
        self.assertFalse(compiled_by_xla(lambda x: layer(x), x))
        with mock.patch.object(nn, "_cpu_only", return_value=False):
            self.assertTrue(compiled_by_xla(lambda x: layer(x), x))
        with mock.patch.object(nn, "_has_general_cpu_kernel", return_value=False):
            self.assertTrue(compiled_by_xla(lambda x: layer(x), x))

    def test_the_kernels_are_found_by_op_and_type(self):
        self.assertTrue(nn._has_general_cpu_kernel("Conv3D", tf.bfloat16))
        self.assertFalse(nn._has_general_cpu_kernel("Conv3D", tf.int32))
        self.assertFalse(nn._has_general_cpu_kernel("MatMul", tf.float32))

    @parameterized.parameters(
        *itertools.product((1, 2, 3), FORMATS, (False,)), *itertools.product((2,), FORMATS, (True,))
    )
    def test_model_learns_and_predicts(self, rank, data_format, jit_compile):
        keras.utils.set_random_seed(0)
        axis = 1 if data_format == "channels_first" else -1
        options = {"data_format": data_format, "padding": "same"}
        _, x = make_layer("conv", rank, data_format=data_format)
        model = keras.Sequential(
            [
                keras.Input(x.shape[1:]),
                new_layer("conv", rank, 16, 3, groups=4, strides=2, activation="relu", **options),
                layers.BatchNormalization(axis=axis),
                new_layer("transpose", rank, 8, 3, groups=2, strides=2, **options),
                layers.Flatten(),
                layers.Dense(1),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=jit_compile)
        history = model.fit(x, np.array([[1.0], [-1.0]]), epochs=20, verbose=0)
        self.assertLess(history.history["loss"][-1], history.history["loss"][0] / 2)
        self.assert_close(model.predict(x, verbose=0), model(x))
        self.assert_close(model.predict(x, verbose=0), WAYS["jit_compile"](model)(x))

    @parameterized.parameters(
        *itertools.product(LAYERS, (1, 2, 3), ("mixed_float16", "mixed_bfloat16"))
    )
    def test_mixed_precision(self, kind, rank, policy):
        layer, x = make_layer(kind, rank, groups=4, dtype=policy)
        exact, _ = make_layer(kind, rank, groups=4)
        x = tf.constant(x)

        def gradients(call):
            with tf.GradientTape() as tape:
                y = call(x)
                loss = tf.reduce_mean(tf.cast(y, tf.float32) ** 2)
            return [y, *tape.gradient(loss, call.trainable_variables)]

        self.assertEqual(layer(x).dtype, policy[len("mixed_") :])
        self.assertFalse(compiled_by_xla(lambda x: layer(x), x))
        tolerance = {"mixed_float16": 4e-3, "mixed_bfloat16": 5e-2}[policy]
        for name in "eager", "function":
            with self.subTest(name):
                actual = WAYS[name](lambda: gradients(layer))()
                self.assert_close(actual, gradients(exact), tolerance)

    @parameterized.parameters(*itertools.product(LAYERS, (1, 2, 3)))
    def test_saved_models_give_the_same(self, kind, rank):
        layer, x = make_layer(kind, rank, groups=4)
        model = keras.Sequential([keras.Input((None,) * rank + (8,)), layer])
        expected = model(x)
        folder = self.enter_context(tempfile.TemporaryDirectory())
        for suffix in ".keras", ".h5":
            path = os.path.join(folder, "model" + suffix)
            model.save(path)
            loaded = keras.models.load_model(path)
            self.assertEqual(loaded.layers[-1].groups, 4)
            self.assert_close(loaded(x), expected)
        model.save_weights(os.path.join(folder, "model.weights.h5"))
        clone = keras.models.clone_model(model)
        clone.load_weights(os.path.join(folder, "model.weights.h5"))
        self.assert_close(clone(x), expected)
        model.export(os.path.join(folder, "exported"), verbose=False)
        loaded = tf.saved_model.load(os.path.join(folder, "exported"))
        self.assert_close(loaded.serve(x), expected)
        tf.saved_model.save(model, os.path.join(folder, "saved"))
        loaded = tf.saved_model.load(os.path.join(folder, "saved"))
        self.assert_close(loaded.signatures["serving_default"](tf.constant(x)), expected)


if __name__ == "__main__":
    absltest.main()
