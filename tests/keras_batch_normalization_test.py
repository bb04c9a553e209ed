"""Tests of patch_keras(batch_normalization=True): against Keras as it is."""

import installed_plugin  # noqa: F401, I001  before TensorFlow

import contextlib
import os
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import tensorflow_grouped_convolution as plugin
from tensorflow_grouped_convolution import batch_normalization as normalization
from tensorflow_grouped_convolution import kernels

layers = keras.layers
OP = "FusedBatchNorm"
RANKS = ((5, 6), (4, 7, 6), (3, 5, 4, 6), (2, 3, 4, 5, 6))
# Of a tensor of rank 4.
IMAGES = RANKS[2]


def random(shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


@contextlib.contextmanager
def patched():
    """Patches Keras, and has the op take what it is not faster at, too."""
    plugin.patch_keras(batch_normalization=True)
    try:
        with mock.patch.object(normalization, "_pays", lambda shape, axis: shape[axis] is not None):
            yield
    finally:
        plugin.unpatch_keras()


def make(shape, **options):
    """Returns a built layer with random weights, always the same."""
    trainable = options.pop("trainable", True)
    layer = layers.BatchNormalization(**options)
    layer.build(shape)
    layer.set_weights([abs(random(w.shape, i)) for i, w in enumerate(layer.get_weights())])
    layer.trainable = trainable
    return layer


def step(layer, x, training=True, **call):
    """Returns a layer's output and gradients."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training, **call)
        # Of more than a mean, whose gradient by x is 0.
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * random(y.shape, 9))
    watched = [x] if x.dtype.is_floating else []
    return y, tape.gradient(loss, watched + layer.trainable_variables)


def run(layer, *args, **kwargs):
    """Returns what step() does, and the layer's weights afterwards."""
    return (*step(layer, *args, **kwargs), layer.get_weights())


def uses_op(layer, x, **options):
    step = tf.function(lambda x: layer(x, **options), autograph=False).get_concrete_function(x)
    return OP in str(step.graph.as_graph_def())


class BatchNormalizationTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        if keras.__version__.startswith("2."):
            self.skipTest("Keras 2 calls the op by itself")

    def assert_close(self, actual, expected, tolerance=1e-5):
        actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
        self.assertEqual(len(actual), len(expected))
        for one, other in zip(actual, expected):
            self.assertEqual(one.dtype, other.dtype)
            self.assertEqual(one.shape, other.shape)
            one, other = np.array(one, np.float32), np.array(other, np.float32)
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)

    def compare(self, x, tolerance=1e-5, fused=True, call=None, **options):
        """Compares training and inference, eagerly and in graphs."""
        x = tf.convert_to_tensor(x)

        def run_once(training):
            return run(make(x.shape, **options), x, **(call or {}), training=training)

        expected = {training: run_once(training) for training in (True, False)}
        with patched():
            for training, (*results, weights) in expected.items():
                self.assert_close(run_once(training), [*results, weights], tolerance)
                layer = make(x.shape, **options)
                in_graph = tf.function(
                    lambda x, layer=layer, **kwargs: step(layer, x, **(call or {}), **kwargs),
                    autograph=False,
                )
                self.assert_close(in_graph(x, training=training), results, tolerance)
                self.assert_close(layer.get_weights(), weights, tolerance)
                graph = in_graph.get_concrete_function(x, training=training).graph
                self.assertEqual(OP in str(graph.as_graph_def()), fused and training)

    @parameterized.parameters(*((shape,) for shape in RANKS))
    def test_as_keras(self, shape):
        self.compare(3 * random(shape) + 1)

    @parameterized.product(shape=RANKS, axis=(0, 1, 2, -2))
    def test_axis(self, shape, axis):
        if axis < len(shape):
            self.compare(3 * random(shape) + 1, axis=axis)

    @parameterized.product(scale=(False, True), center=(False, True))
    def test_weights(self, scale, center):
        self.compare(random(IMAGES), scale=scale, center=center, momentum=0.7, epsilon=0.1)

    @parameterized.product(
        policy=(("mixed_bfloat16", 2e-2), ("mixed_float16", 3e-3)), axis=(-1, 1), rank=(3, 4)
    )
    def test_mixed_precision(self, policy, axis, rank):
        self.compare(random(RANKS[rank - 2]), policy[1], dtype=policy[0], axis=axis)

    @parameterized.parameters("mixed_bfloat16", "mixed_float16")
    def test_variables_that_are_cast(self, policy):
        """As those of the first releases of Keras 3 are to what is computed in."""

        def run_cast():
            layer = make(IMAGES, dtype=policy)
            for variable in layer.weights:
                variable._autocast = True
            return run(layer, random(IMAGES))

        expected = run_cast()
        with patched():
            self.assert_close(run_cast(), expected, 2e-2)

    @parameterized.parameters(16, 24)
    def test_mixed_precision_in_the_type_that_is_faster(self, channels):
        x = tf.zeros((2, 4, 4, channels), tf.bfloat16)
        with patched():
            layer = make(x.shape, dtype="mixed_bfloat16")
            step = tf.function(lambda x: layer(x, training=True)).get_concrete_function(x)
        (op,) = (op for op in step.graph.get_operations() if op.type.startswith(OP))
        wide = kernels.one_dnn() and channels == 24
        self.assertEqual(op.inputs[0].dtype, tf.float32 if wide else tf.bfloat16)

    @parameterized.parameters(-1, 1)
    def test_one_value_a_channel(self, axis):
        self.compare(random((1, 6) if axis == -1 else (1, 6, 1, 1)), axis=axis)

    @parameterized.parameters(1e-5, 1e-7)
    def test_epsilon(self, epsilon):
        self.compare(random(IMAGES), epsilon=epsilon)

    @parameterized.parameters(-1, 1)
    def test_large_mean(self, axis):
        x = random((8, 16, 16, 6)) + 1000
        expected = run(make(x.shape, axis=axis), x.astype(np.float64))[0]
        with patched():
            actual = run(make(x.shape, axis=axis), x)[0]
        # oneDNN adds one after the other: the sum is as coarse as a thousandth of a value.
        self.assert_close(actual, tf.cast(expected, actual.dtype), 5e-3)

    def skip_without_integers(self, **options):
        x = np.ones(IMAGES, np.int32)
        try:
            run(make(x.shape, **options), x)
        except TypeError:
            self.skipTest("this Keras has no normalization of integers")

    def test_integers(self):
        self.skip_without_integers()
        self.compare(np.arange(360).reshape(IMAGES) % 7)

    @parameterized.parameters("mixed_bfloat16", "mixed_float16")
    def test_integers_that_do_not_fit_16_bits(self, policy):
        self.skip_without_integers(dtype=policy)
        x = (60000 * random((3, 5, 4, 16))).astype(np.int32)
        self.compare(x, 2e-2, dtype=policy)

    def test_frozen(self):
        self.compare(random(IMAGES), trainable=False, fused=False)

    @parameterized.parameters(
        ((None, 56, 56, 64), -1, True, True),
        ((8, 56, 56, 64), 3, True, True),
        ((8, None, None, 64), -1, True, True),
        ((8, 56, 56, None), -1, False, False),
        ((8, 56, 56, 8), -1, True, False),
        ((8, 64, 56, 56), 1, True, False),
        ((8, 3, 3, 64), -1, False, False),
        ((8, 4096, 64), -1, True, True),
        ((8, 512), -1, False, False),
    )
    def test_when_it_is_faster(self, shape, axis, with_one_dnn, without):
        for one_dnn, expected in (True, with_one_dnn), (False, without), (None, without):
            with mock.patch.object(kernels, "one_dnn", lambda one_dnn=one_dnn: one_dnn):
                self.assertEqual(bool(normalization._pays(shape, axis)), expected)

    def test_small_ones_are_left_to_keras(self):
        plugin.patch_keras(batch_normalization=True)
        self.addCleanup(plugin.unpatch_keras)
        for shape, fused in (IMAGES, False), ((1, 32, 32, 16), True):
            self.assertEqual(uses_op(make(shape), random(shape), training=True), fused)

    @parameterized.parameters((6, True), (None, False))
    def test_unknown_sizes(self, channels, fused):
        for shape in RANKS:
            x = random(shape)
            expected = run(make(x.shape), x)
            with patched():
                layer = make(x.shape)
                spec = tf.TensorSpec([None] * (x.ndim - 1) + [channels], tf.float32)
                train = tf.function(lambda x, layer=layer: layer(x, training=True), [spec])
                self.assert_close(train(x), expected[0])
            self.assert_close(layer.get_weights(), expected[2])
            graph = train.get_concrete_function().graph
            self.assertEqual(OP in str(graph.as_graph_def()), fused)
            self.assertEqual(graph.outputs[0].shape.rank, x.ndim)

    def test_static_shape(self):
        with patched():
            for shape in RANKS:
                y = layers.BatchNormalization()(keras.Input(shape[1:]))
                self.assertEqual(y.shape, (None,) + shape[1:])

    @parameterized.parameters(("float16", 1e-2), ("bfloat16", 5e-2), ("float64", 1e-5))
    def test_other_variables_are_left_to_keras(self, dtype, tolerance):
        self.compare(random(IMAGES), tolerance, dtype=dtype, fused=False)
        self.compare(random(IMAGES), tolerance, dtype=dtype, autocast=False, fused=False)

    def test_what_else_is_left_to_keras(self):
        x = random(IMAGES)
        mask = np.arange(x[..., 0].size).reshape(x.shape[:-1]) % 3 > 0
        self.compare(x, fused=False, call={"mask": tf.constant(mask)})
        for option in "synchronized", "renorm":
            if option in layers.BatchNormalization().get_config():
                self.compare(x, fused=False, **{option: True})

    def test_wrong_mask(self):
        wrong = (ValueError, tf.errors.InvalidArgumentError)
        with patched(), self.assertRaisesRegex(wrong, "mask"):
            make(IMAGES)(random(IMAGES), training=True, mask=tf.constant([True]))

    @parameterized.parameters(-1, 1)
    def test_second_derivatives(self, axis):
        """Against differences of first ones."""
        x = random((4, 3, 2, 3))

        with patched():
            layer = make(x.shape, axis=axis)

            def gradient(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = layer(x, training=True)
                    loss = tf.reduce_sum(y**3 * random(x.shape, 1))
                return tape.gradient(loss, x)

            x = tf.constant(x)
            direction = tf.constant(random(x.shape, 2))
            with tf.GradientTape() as tape:
                tape.watch(x)
                along = tf.reduce_sum(gradient(x) * direction)
            second = tape.gradient(along, x)
            step = 1e-2
            difference = gradient(x + step * direction) - gradient(x - step * direction)
        scale = np.abs(second).max()
        self.assert_close(second / scale, difference / (2 * step * scale), 5e-3)

    @parameterized.parameters(False, True)
    def test_fit_save_and_load(self, jit_compile):
        """A model is the same patched and not, and so is its file."""
        x, y = random((16, 6, 6, 8)), random((16, 4), 1)

        def fit():
            keras.utils.set_random_seed(1)
            model = keras.Sequential(
                [
                    keras.Input((None, None, 8)),
                    layers.Conv2D(8, 3, padding="same", groups=4),
                    layers.BatchNormalization(),
                    layers.ReLU(),
                    layers.GlobalAveragePooling2D(),
                    layers.Dense(4),
                ]
            )
            model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
            history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
            return model, history.history["loss"], model.predict(x, verbose=0)

        _, losses, outputs = fit()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            with patched():
                model, fused_losses, fused_outputs = fit()
                model.save(path)
            loaded = keras.models.load_model(path)
        np.testing.assert_allclose(fused_losses, losses, rtol=1e-4)
        np.testing.assert_allclose(fused_outputs, outputs, rtol=1e-3, atol=1e-5)
        self.assertIs(type(loaded.layers[1]), layers.BatchNormalization)
        predicted = loaded.predict(x, verbose=0)
        np.testing.assert_allclose(predicted, fused_outputs, rtol=1e-5, atol=1e-6)

    def test_xla_is_left_to_keras(self):
        x = random(IMAGES)
        expected = run(make(IMAGES), x)[0]
        with patched():
            layer = make(IMAGES)
            step = tf.function(lambda x: layer(x, training=True), jit_compile=True)
            self.assert_close(step(x), expected)
            nested = tf.function(lambda x: tf.function(step.python_function)(x), jit_compile=True)
            for function in step, nested:
                graph = function.get_concrete_function(x).graph
                self.assertNotIn(OP, str(graph.as_graph_def()))

    def test_failure_leaves_what_was_patched(self):
        plugin.patch_keras()
        self.addCleanup(plugin.unpatch_keras)
        before = str(plugin.patch_keras())
        with mock.patch.object(normalization, "fuse", side_effect=RuntimeError("no")):
            with self.assertRaisesRegex(RuntimeError, "no"):
                plugin.patch_keras(batch_normalization=True)
        self.assertFalse(plugin.patch_keras())
        self.assertEqual(str(plugin.patch_keras()), before)

    def test_is_taken_back(self):
        x, call = random((1, 32, 32, 16)), layers.BatchNormalization.call
        self.assertFalse(plugin.patch_keras() and uses_op(make(x.shape), x, training=True))
        self.addCleanup(plugin.unpatch_keras)
        self.assertIn("normalizes batches", str(plugin.patch_keras(batch_normalization=True)))
        self.assertTrue(uses_op(make(x.shape), x, training=True))
        # A later call without it does not take it back.
        self.assertFalse(plugin.patch_keras())
        self.assertTrue(uses_op(make(x.shape), x, training=True))
        plugin.unpatch_keras()
        self.assertIs(layers.BatchNormalization.call, call)
        self.assertNotIn("normalizes batches", str(plugin.patch_keras()))


if __name__ == "__main__":
    absltest.main()
