"""Tests of the layers of a patched Keras 3 on the kernels.

Each is compared with what dense layers make of each group by itself.
"""

import concurrent.futures
import functools
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

# Calls of a layer: what makes of a function one that is run in that way. Nothing here
# is Python that autograph would translate, which takes long.
WAYS = {
    "eager": lambda function: function,
    "function": functools.partial(tf.function, autograph=False),
    "jit_compile": functools.partial(tf.function, autograph=False, jit_compile=True),
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
    def call(parts):
        return tf.concat([one(part) for one, part in zip(dense, parts)], axis=axis)

    return WAYS["jit_compile"](call)(parts)


def convolve(x, kernel, groups, strides, dilation, padding):
    """Returns a convolution of channels last, in float64."""
    sizes = kernel.shape[:-2]
    reaches = [(size - 1) * dilation + 1 for size in sizes]
    pads = [(0, 0)]
    for length, reach in zip(x.shape[1:], reaches):
        missing = -(-length // strides) * strides - strides + reach - length
        missing = max(missing, 0) if padding == "same" else 0
        pads.append((missing // 2, missing - missing // 2))
    x = np.pad(np.asarray(x, np.float64), pads + [(0, 0)])
    lengths = [(end - reach) // strides + 1 for end, reach in zip(x.shape[1:], reaches)]
    x = x.reshape(x.shape[:-1] + (groups, -1))
    kernel = np.asarray(kernel, np.float64).reshape(kernel.shape[:-1] + (groups, -1))
    outputs = 0
    for tap in itertools.product(*map(range, sizes)):
        window = [
            slice(i * dilation, i * dilation + (length - 1) * strides + 1, strides)
            for i, length in zip(tap, lengths)
        ]
        part = x[(slice(None), *window)]
        outputs = outputs + np.einsum("...gc,cgf->...gf", part, kernel[tap])
    return outputs.reshape(outputs.shape[:-2] + (-1,))


def ops_of(function, *arguments):
    """Returns the types of the ops that a function consists of."""
    graph = WAYS["function"](function).get_concrete_function(*arguments).graph
    return [op.type for op in graph.get_operations()]


def compiled_by_xla(function, *arguments):
    """Returns whether a part of a function is compiled with XLA by itself."""
    graph = WAYS["function"](function).get_concrete_function(*arguments).graph
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

    @parameterized.parameters(
        *itertools.product((1, 2, 3), FORMATS, (1, 4), (1, 2), ("same", "valid"))
    )
    def test_dilation(self, rank, data_format, groups, strides, padding):
        shape = (2,) + (9, 8, 7)[:rank] + (8,)
        x, kernel = random(shape, 1), random((3,) * rank + (8 // groups, 12), 2)
        expected = convolve(x, kernel, groups, strides, 2, padding)
        if data_format == "channels_first":
            x, expected = np.moveaxis(x, -1, 1), np.moveaxis(expected, -1, 1)

        def conv(x):
            return keras.ops.conv(x, kernel, strides, padding, data_format, 2)

        for name, way in WAYS.items():
            # To compile it takes long.
            if name != "jit_compile" or padding == "same":
                with self.subTest(name):
                    self.assert_close(way(conv)(x), expected)
        self.assertEqual(conv(keras.Input(x.shape[1:])).shape, (None,) + expected.shape[1:])

    @parameterized.parameters(*itertools.product((1, 2, 3), FORMATS, (1, 4)))
    def test_gradients_of_dilation_with_strides(self, rank, data_format, groups):
        x, kernel = random((2,) + (7,) * rank + (8,), 1), random((2,) * rank + (8 // groups, 4), 2)
        first = data_format == "channels_first"
        options = {"dilation_rate": 3, "data_format": data_format}
        expected = convolve(x, kernel, groups, 2, 3, "same")
        # What the gradients are by: the outputs are linear in each argument, so the
        # gradient's product with a direction is the outputs' with what that changes.
        weights = random(expected.shape, 3)

        @tf.function
        def gradients(x, kernel):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = keras.ops.conv(x, kernel, 2, "same", **options)
            by = np.moveaxis(weights, -1, 1) if first else weights
            return tape.gradient(y, [x, kernel], by)

        actual = gradients(tf.constant(np.moveaxis(x, -1, 1) if first else x), tf.constant(kernel))
        actual = [np.asarray(actual[0]), np.asarray(actual[1])]
        if first:
            actual[0] = np.moveaxis(actual[0], 1, -1)
        for i, array in enumerate((x, kernel)):
            for seed in range(5):
                arguments = [x, kernel]
                arguments[i] = random(array.shape, seed + 4)
                change = np.sum(convolve(*arguments, groups, 2, 3, "same") * weights)
                product = np.sum(np.asarray(actual[i], np.float64) * arguments[i])
                np.testing.assert_allclose(product, change, rtol=1e-4, atol=1e-3)

    @parameterized.parameters(*itertools.product((1, 2, 3), FORMATS))
    def test_grouped_dilation_is_one_op(self, rank, data_format):
        def ops(**options):
            layer, x = make_layer("conv", rank, data_format=data_format, **options)
            return ops_of(lambda x: layer(x), x)

        self.assertNotIn("SpaceToBatchND", ops(groups=4, dilation_rate=2))
        # Dense ones are what they are in an official Keras.
        self.assertIn("SpaceToBatchND", ops(dilation_rate=2))

    @parameterized.parameters(*itertools.product((1, 2, 3), FORMATS, (1, 2, 4)))
    def test_grouped_kernel_in_a_functional_model(self, rank, data_format, groups):
        x, kernel = random((2,) + (5,) * rank + (4,), 1), random((3,) * rank + (4 // groups, 8), 2)
        expected = convolve(x, kernel, groups, 1, 1, "valid")
        if data_format == "channels_first":
            x, expected = np.moveaxis(x, -1, 1), np.moveaxis(expected, -1, 1)
        inputs = keras.Input(x.shape[1:])
        outputs = keras.ops.conv(inputs, kernel, data_format=data_format)
        self.assertEqual(outputs.shape, (None,) + expected.shape[1:])
        self.assert_close(keras.Model(inputs, outputs).predict(x, verbose=0), expected)

    def test_kernel_that_cannot_be_grouped(self):
        inputs = keras.Input((5, 5, 6))
        for shape, message in (
            ((3, 3, 4, 8), "input channels=6, kernel input channels=4"),
            ((3, 3, 12, 8), "input channels=6, kernel input channels=12"),
            ((3, 3, 2, 8), "output channels=8, groups=3"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                keras.ops.conv(inputs, np.zeros(shape), data_format="channels_last")

    @parameterized.parameters(*itertools.product(LAYERS, (1, 2, 3), (1, 2, 3)))
    def test_bias_of_channels_first_where_other_axes_are_as_long(self, kind, rank, groups):
        layer = new_layer(
            kind, rank, 6, 1, groups=groups, data_format="channels_first", activation="relu"
        )
        x = random((6,) * (rank + 2), 1)
        layer.build(x.shape)
        kernel, bias = (random(weight.shape, 2) for weight in layer.get_weights())
        layer.set_weights([kernel, bias])
        # With a 1 x 1 kernel, a transposed layer is the other with each group's transposed.
        kernel = kernel.reshape(kernel.shape[-2:])
        if kind == "transpose":
            kernel = np.concatenate([part.T for part in np.split(kernel, groups, 1)], axis=1)
        kernel = kernel.reshape((1,) * rank + kernel.shape)
        expected = convolve(np.moveaxis(x, 1, -1), kernel, groups, 1, 1, "valid") + bias
        expected = np.moveaxis(np.maximum(expected, 0), -1, 1)
        for name, way in WAYS.items():
            with self.subTest(name):
                self.assert_close(way(layer)(x), expected)

    def test_threads_share_a_grouped_function(self):
        layer, x = make_layer("conv", 2, groups=4, padding="same")
        x = tf.constant(x)

        @tf.function
        def step(scale):
            with tf.GradientTape() as tape:
                y = layer(scale * x)
            return [y, *tape.gradient(y, layer.trainable_variables, y)]

        kernel, bias = layer.get_weights()
        linear = convolve(x, kernel, 4, 1, 1, "same")

        def run(i):
            scale = float(i + 1)
            for _ in range(20):
                y, _, gradient = step(tf.constant(scale))
                self.assert_close(y, scale * linear + bias)
                self.assert_close(gradient, np.sum(scale * linear + bias, axis=(0, 1, 2)), 1e-4)

        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            for result in [threads.submit(run, i) for i in range(12)]:
                result.result()

    @parameterized.parameters(*itertools.product(LAYERS, (1, 2, 3), FORMATS))
    def test_empty_batch(self, kind, rank, data_format):
        layer, x = make_layer(kind, rank, groups=4, data_format=data_format, strides=2)
        x = tf.constant(x[:0])

        def gradients():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x)
            return y, tape.gradient(y, [x, *layer.trainable_variables])

        for name in "eager", "function":
            with self.subTest(name):
                y, (dx, *dweights) = WAYS[name](gradients)()
                self.assertEqual(y.shape, layer.compute_output_shape(x.shape))
                self.assertEqual(dx.shape, x.shape)
                for weight, gradient in zip(layer.trainable_variables, dweights):
                    self.assert_close(gradient, np.zeros(weight.shape))

    def test_small_convolutions_in_bfloat16(self):
        draw = np.random.RandomState(0)
        for i in range(60):
            rank = draw.randint(1, 4)
            groups, per_group, filters = draw.randint(1, 5), draw.randint(1, 9), draw.randint(1, 9)
            strides, padding = int(draw.randint(1, 3)), draw.choice(["same", "valid"])
            shape = (draw.randint(1, 3), *draw.randint(3, 8, rank), groups * per_group)
            # Small integers, whose sums are exact in float32, and so is one rounding.
            x = draw.randint(-4, 5, shape)
            kernel = draw.randint(-4, 5, (*draw.randint(1, 4, rank), per_group, groups * filters))
            expected = convolve(x, kernel, groups, strides, 1, padding)
            arguments = tf.constant(x, tf.bfloat16), tf.constant(kernel, tf.bfloat16)
            # To make a graph of each takes long.
            for name in ("eager", "function") if i % 3 == 0 else ("eager",):
                with self.subTest("%s * %s, %d groups" % (x.shape, kernel.shape, groups)):
                    conv = functools.partial(keras.ops.conv, strides=strides, padding=padding)
                    conv = WAYS[name](conv)
                    actual = np.asarray(tf.cast(conv(*arguments), tf.float64))
                    rounded = np.asarray(tf.cast(tf.constant(expected, tf.bfloat16), tf.float64))
                    np.testing.assert_array_equal(actual, rounded)

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


class BatchNormalizationTest(parameterized.TestCase):
    """KERAS_FUSED_BATCH_NORMALIZATION=1 has training use one op, and changes nothing else."""

    def train(self, fused, way="eager", shape=(4, 32, 32, 16), mean=1, deviation=3, **options):
        """Returns outputs, gradients and weights after a step, and whether it used the op."""
        input_dtype = options.pop("input_dtype", tf.float32)
        trainable = options.pop("trainable", True)
        call = options.pop("call", {"training": True})
        layer = layers.BatchNormalization(**options)
        layer.build(shape)
        layer.set_weights([abs(random(w.shape, i)) for i, w in enumerate(layer.get_weights())])
        layer.trainable = trainable
        x = tf.cast(deviation * random(shape, 8) + mean, input_dtype)

        def step(x):
            watched = [x] if x.dtype.is_floating else []
            with tf.GradientTape() as tape:
                tape.watch(watched)
                y = layer(x, **call)
                loss = tf.reduce_sum(tf.cast(y, tf.float32) * random(shape, 9))
            return [y] + tape.gradient(loss, watched + layer.trainable_variables)

        with mock.patch.dict(os.environ, {"KERAS_FUSED_BATCH_NORMALIZATION": str(int(fused))}):
            graph = tf.function(step).get_concrete_function(x).graph
            results = WAYS[way](step)(x)
        used = "FusedBatchNorm" in str(graph.as_graph_def())
        return [*results, *layer.get_weights()], used

    def compare(self, tolerance=1e-5, used=True, **options):
        expected, one_op = self.train(fused=False, **options)
        self.assertFalse(one_op)
        actual, one_op = self.train(fused=True, **options)
        self.assertEqual(one_op, used)
        for one, other in zip(actual, expected):
            self.assertEqual(one.dtype, other.dtype)
            one, other = np.array(one, np.float32), np.array(other, np.float32)
            np.testing.assert_allclose(one, other, tolerance, tolerance * abs(other).max())

    @parameterized.product(way=tuple(WAYS), scale=(True, False), center=(True, False))
    def test_weights(self, way, scale, center):
        self.compare(way=way, scale=scale, center=center, momentum=0.7, epsilon=1e-2)

    @parameterized.parameters(
        ((4096, 4, 16), False),  # An example has not many values.
        ((4, 1024, 16), True),
        ((4, 8, 16, 8, 16), True),
        ((2, 32, 32, 15), False),
    )
    def test_shapes(self, shape, used):
        self.compare(shape=shape, used=used)

    @parameterized.product(
        policy=(("mixed_bfloat16", 2e-2), ("mixed_float16", 3e-3)), channels=(16, 24)
    )
    def test_mixed_precision(self, policy, channels):
        self.compare(policy[1], dtype=policy[0], shape=(4, 32, 32, channels))

    @parameterized.parameters("mixed_bfloat16", "mixed_float16")
    def test_integers_that_do_not_fit_16_bits(self, policy):
        self.compare(2e-2, dtype=policy, input_dtype=tf.int32, deviation=60000)

    @parameterized.parameters(
        dict(axis=1, shape=(2, 16, 32, 32)),
        dict(call={"training": False}),
        dict(call={"training": True, "mask": np.ones((4, 32, 32), bool)}),
        dict(dtype="float64"),
        dict(input_dtype=tf.float64, autocast=False),
        dict(renorm=True, renorm_clipping={}),
        dict(trainable=False),
    )
    def test_leaves_what_it_does_not_serve(self, **options):
        self.compare(used=False, **options)

    def test_under_xla_large_means_do_no_harm(self):
        expected, _ = self.train(fused=False, mean=3000, dtype="float64")
        actual, _ = self.train(fused=True, mean=3000, way="jit_compile")
        np.testing.assert_allclose(actual[0], expected[0], atol=5e-3)

    def test_models_learn_and_predict(self):
        x, y = random((64, 32, 32, 3), 1), np.arange(64) % 2
        x[y == 1] += 1
        model = keras.Sequential(
            [
                layers.Conv2D(16, 3, use_bias=False),
                layers.BatchNormalization(),
                layers.Activation("relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(2),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
        with mock.patch.dict(os.environ, {"KERAS_FUSED_BATCH_NORMALIZATION": "1"}):
            model.fit(x, y, batch_size=16, epochs=10, verbose=0)
            predicted = model.predict(x, verbose=0)
        np.testing.assert_allclose(predicted, model.predict(x, verbose=0), atol=1e-5)
        self.assertGreater(np.mean(predicted.argmax(-1) == y), 0.9)


if __name__ == "__main__":
    absltest.main()
