"""Tests of the example of that name: against Keras' own layer."""

import os
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

sys.path.append(os.path.dirname(os.environ["EXAMPLE"]))
from fused_batch_normalization import FusedBatchNormalization  # noqa: E402

layers = keras.layers
OP = "FusedBatchNorm"
RANKS = ((5, 6), (4, 7, 6), (3, 5, 4, 6), (2, 3, 4, 5, 6))


def random(shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def make(kind, shape, **options):
    """Returns a built layer with random weights, the same of each kind."""
    layer = kind(**options)
    layer.build(shape)
    layer.set_weights([abs(random(w.shape, i)) for i, w in enumerate(layer.get_weights())])
    return layer


def train(layer, x, **options):
    """Returns a layer's output, gradients, and weights afterwards."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True, **options)
        # Of more than a mean, whose gradient by x is 0.
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * random(y.shape, 9))
    watched = [x] if x.dtype.is_floating else []
    gradients = tape.gradient(loss, watched + layer.trainable_variables)
    return y, gradients, layer.get_weights()


def uses_op(layer, x, **options):
    step = tf.function(lambda x: layer(x, **options)).get_concrete_function(x)
    return OP in str(step.graph.as_graph_def())


class FusedBatchNormalizationTest(parameterized.TestCase):
    def assert_close(self, actual, expected, tolerance=1e-5):
        actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
        self.assertEqual(len(actual), len(expected))
        for one, other in zip(actual, expected):
            self.assertEqual(one.dtype, other.dtype)
            one, other = np.array(one, np.float32), np.array(other, np.float32)
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)

    def compare(self, x, tolerance=1e-5, fused=True, call=None, **options):
        both = [
            make(kind, x.shape, **options)
            for kind in (layers.BatchNormalization, FusedBatchNormalization)
        ]
        expected, actual = (train(layer, x, **(call or {})) for layer in both)
        self.assert_close(actual, expected, tolerance)
        self.assertEqual(uses_op(both[1], x, training=True, **(call or {})), fused)
        # What was trained gives the same later.
        self.assert_close(both[1](x), both[0](x), tolerance)

    @parameterized.parameters(*((shape,) for shape in RANKS))
    def test_as_keras(self, shape):
        self.compare(3 * random(shape) + 1)

    @parameterized.product(scale=(False, True), center=(False, True))
    def test_weights(self, scale, center):
        self.compare(random(RANKS[2]), scale=scale, center=center, momentum=0.7, epsilon=0.1)

    @parameterized.parameters(("mixed_bfloat16", 2e-2), ("mixed_float16", 3e-3))
    def test_mixed_precision(self, policy, tolerance):
        self.compare(random(RANKS[2]), tolerance, dtype=policy)

    def test_one_value_a_channel(self):
        self.compare(random((1, 1, 1, 6)))

    @parameterized.parameters(1e-5, 1e-7)
    def test_epsilon(self, epsilon):
        self.compare(random(RANKS[2]), epsilon=epsilon)

    def test_axis(self):
        self.compare(random(RANKS[2]), axis=3)
        self.compare(random(RANKS[2]), axis=1, fused=False)

    def test_large_mean(self):
        self.compare(random(RANKS[2]) + 1000, tolerance=1e-3)

    def test_integers(self):
        self.compare(np.arange(360).reshape(RANKS[2]) % 7)

    @parameterized.parameters((6, True), (None, False))
    def test_unknown_sizes(self, channels, fused):
        x = random(RANKS[2])
        layer = make(FusedBatchNormalization, x.shape)
        spec = tf.TensorSpec([None, None, None, channels], tf.float32)
        step = tf.function(lambda x: layer(x, training=True), [spec])
        expected = train(make(layers.BatchNormalization, x.shape), x)
        self.assert_close(step(x), expected[0])
        self.assert_close(layer.get_weights(), expected[2])
        self.assertEqual(OP in str(step.get_concrete_function().graph.as_graph_def()), fused)

    @parameterized.parameters(("float16", 1e-2), ("bfloat16", 5e-2), ("float64", 1e-5))
    def test_other_variables_are_left_to_keras(self, dtype, tolerance):
        self.compare(random(RANKS[2]), tolerance, dtype=dtype, fused=False)
        self.compare(random(RANKS[2]), tolerance, dtype=dtype, autocast=False, fused=False)

    def test_what_else_is_left_to_keras(self):
        x = random(RANKS[2])
        mask = np.arange(x[..., 0].size).reshape(x.shape[:-1]) % 3 > 0
        self.compare(x, fused=False, call={"mask": tf.constant(mask)})
        self.compare(x, fused=False, renorm=True)
        self.compare(x, fused=False, synchronized=True)

    def test_inference(self):
        x = random(RANKS[2])
        layer = make(FusedBatchNormalization, x.shape)
        expected = make(layers.BatchNormalization, x.shape)(x)
        self.assert_close(layer(x, training=False), expected, 0)
        layer.trainable = False
        self.assert_close(layer(x, training=True), expected, 0)

    def test_exchange(self):
        # As the example says.
        def exchange(layer):
            same = type(layer) is not layers.BatchNormalization
            kind = type(layer) if same else FusedBatchNormalization
            return kind.from_config(layer.get_config())

        inputs = keras.Input((5, 4, 6))
        y = layers.BatchNormalization()(layers.Conv2D(6, 3, groups=2)(inputs))
        model = keras.Model(inputs, y)
        model.set_weights([abs(random(w.shape, i)) for i, w in enumerate(model.get_weights())])
        fused = keras.models.clone_model(model, clone_function=exchange)
        fused.set_weights(model.get_weights())
        self.assertIsInstance(fused.layers[-1], FusedBatchNormalization)
        x = random((3, 5, 4, 6))
        self.assert_close(train(fused, x), train(model, x))

    @parameterized.parameters(False, True)
    def test_fit_and_save(self, jit_compile):
        x, y = random((16, 6, 6, 8)), random((16, 4), 1)
        losses, outputs = [], []
        for kind in (layers.BatchNormalization, FusedBatchNormalization):
            keras.utils.set_random_seed(1)
            model = keras.Sequential(
                [
                    keras.Input((None, None, 8)),
                    layers.Conv2D(8, 3, padding="same", groups=4),
                    kind(name="normalization"),
                    layers.ReLU(),
                    layers.GlobalAveragePooling2D(),
                    layers.Dense(4),
                ]
            )
            model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
            history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
            losses.append(history.history["loss"])
            outputs.append(model.predict(x, verbose=0))
        np.testing.assert_allclose(*losses, rtol=1e-4)
        np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-5)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            model.save(path)
            loaded = keras.models.load_model(path)
        self.assertIsInstance(loaded.layers[1], FusedBatchNormalization)
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), outputs[1])


if __name__ == "__main__":
    absltest.main()
