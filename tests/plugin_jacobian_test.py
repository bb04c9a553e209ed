"""Tests of Jacobians by grouped filters, which the plugin's module makes right."""

import installed_plugin  # noqa: F401, I001  before TensorFlow

import importlib
import itertools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from tensorflow_grouped_convolution import kernels, pfor_converters

RANDOM = np.random.RandomState(0)
TYPES = [
    dtype
    for dtype in (tf.float32, tf.float64, tf.float16, tf.bfloat16)
    if kernels.serve("Conv2D", dtype)
]


def conv(x, w, **kwargs):
    kwargs.setdefault("padding", "VALID")
    # TensorFlow itself has no eager gradient by default in 3-D.
    kwargs.setdefault("data_format", {3: "NWC", 4: "NHWC", 5: "NDHWC"}[len(x.shape)])
    return tf.nn.convolution(x, w, **kwargs)


def jacobian(x, w, dtype, function, **kwargs):
    """Returns the Jacobian of a convolution by its filter, as TensorFlow has it."""
    x, w = tf.constant(x, dtype), tf.Variable(w, dtype=dtype)

    def compute():
        with tf.GradientTape() as tape:
            y = conv(x, w, **kwargs)
        return tape.jacobian(y, w)

    return tf.cast(function(compute)(), tf.float64).numpy()


def expected_jacobian(x, w, **kwargs):
    """Returns the same from values alone: a convolution is linear in its filter."""
    dense = []
    groups = x.shape[-1] // w.shape[-2]
    for at in np.ndindex(w.shape):
        one = np.zeros(w.shape)
        one[at] = 1
        # Without groups: one dense convolution for each.
        dense.append(
            np.concatenate(
                [
                    conv(part, ones, **kwargs).numpy()
                    for part, ones in zip(
                        np.split(x, groups, axis=-1), np.split(one, groups, axis=-1)
                    )
                ],
                axis=-1,
            )
        )
    return np.stack(dense, axis=-1).reshape(dense[0].shape + w.shape)


class JacobianTest(parameterized.TestCase):
    def test_two_pixels(self):
        x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape((1, 1, 2, 2))
        w = np.ones((1, 1, 1, 2))
        rows = [[1, 0], [0, 2], [3, 0], [0, 4]]
        for dtype in TYPES:
            got = jacobian(x, w, dtype, lambda compute: compute)
            np.testing.assert_array_equal(got.reshape((4, 2)), rows)

    @parameterized.parameters([lambda f: f], [tf.function])
    def test_of_all_ranks_and_types(self, function):
        for (rank, groups), options in itertools.product(
            ((1, 2), (2, 1), (2, 2), (2, 4), (3, 2)),
            ({}, {"strides": 2, "padding": "SAME"}, {"dilations": 2}),
        ):
            x = RANDOM.randint(-3, 4, (2,) + (5,) * rank + (4,)).astype(np.float64)
            w = RANDOM.randint(-3, 4, (2,) * rank + (4 // groups, 4)).astype(np.float64)
            expected = expected_jacobian(x, w, **options)
            for dtype in TYPES:
                with self.subTest(rank=rank, groups=groups, dtype=dtype, **options):
                    got = jacobian(x, w, dtype, function, **options)
                    # These are integers.
                    np.testing.assert_array_equal(got, expected)

    def test_channels_first(self):
        x = RANDOM.randint(-3, 4, (2, 5, 5, 4)).astype(np.float64)
        w = RANDOM.randint(-3, 4, (2, 2, 2, 6)).astype(np.float64)
        first = np.moveaxis(x, -1, 1)
        got = jacobian(first, w, tf.float32, tf.function, data_format="NCHW")
        np.testing.assert_array_equal(np.moveaxis(got, 1, 3), expected_jacobian(x, w))

    def test_of_unknown_shapes(self):
        w = tf.Variable(tf.ones([2, 2, 2, 4]))

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, None])])
        def compute(x):
            with tf.GradientTape() as tape:
                y = tf.nn.conv2d(x, w, 1, "VALID")
            return tape.jacobian(y, w)

        x = RANDOM.randint(-3, 4, (2, 5, 5, 4)).astype(np.float64)
        got = compute(tf.constant(x, tf.float32))
        np.testing.assert_array_equal(got, expected_jacobian(x, w.numpy()))

    def test_batch_jacobian_and_gradients_of_each_example(self):
        for rank in 2, 3:
            x = RANDOM.randint(-3, 4, (3,) + (4,) * rank + (4,)).astype(np.float32)
            w = tf.Variable(RANDOM.randint(-3, 4, (2,) * rank + (2, 6)), dtype=tf.float32)

            def gradient(example, w=w):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum(conv(example[tf.newaxis], w) ** 2)
                return tape.gradient(loss, w)

            each = tf.vectorized_map(gradient, tf.constant(x))
            one_by_one = [gradient(example).numpy() for example in tf.constant(x)]
            np.testing.assert_allclose(each, one_by_one, rtol=1e-5)

            inputs = tf.constant(x)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                y = conv(inputs, w)
            got = tape.batch_jacobian(y, inputs).numpy()
            # A row of it is the gradient of one output.
            at = (0,) * rank + (5,)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = tf.reduce_sum(conv(inputs, w)[(slice(None),) + at])
            np.testing.assert_array_equal(got[(slice(None),) + at], tape.gradient(loss, inputs))

    @parameterized.parameters([lambda f: f], [tf.function])
    def test_hessian(self, function):
        for rank in 2, 3:
            x = tf.constant(RANDOM.standard_normal((2,) + (3,) * rank + (4,)))
            w = tf.Variable(RANDOM.standard_normal((2,) * rank + (2, 2)))

            def hessian(x=x, w=w):
                with tf.GradientTape() as outer:
                    with tf.GradientTape() as inner:
                        loss = tf.reduce_sum(conv(x, w) ** 3)
                    gradient = inner.gradient(loss, w)
                return outer.jacobian(gradient, w)

            # From the Jacobian of the convolution, whose values are above.
            j = expected_jacobian(x.numpy(), w.numpy()).reshape((-1, w.numpy().size))
            y = conv(x, w).numpy().reshape(-1)
            expected = (j.T * 6 * y) @ j
            got = function(hessian)().numpy().reshape(expected.shape)
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)

    def test_dense_ones_are_tensorflows(self):
        x = RANDOM.standard_normal((2, 5, 5, 4))
        w = RANDOM.standard_normal((3, 3, 4, 6))
        for dtype in TYPES:
            ours = jacobian(x, w, dtype, tf.function)
            pfor_converters.uninstall()
            self.addCleanup(pfor_converters.install)
            np.testing.assert_array_equal(jacobian(x, w, dtype, tf.function), ours)
            pfor_converters.install()

    def test_comes_and_goes(self):
        pfor = importlib.import_module("tensorflow.python.ops.parallel_for.pfor")
        registry = pfor._pfor_converter_registry
        ours = registry["Conv2DBackpropFilter"]
        pfor_converters.uninstall()
        self.addCleanup(pfor_converters.install)
        self.assertEqual(registry["Conv2DBackpropFilter"].__module__, pfor.__name__)
        pfor_converters.install()
        pfor_converters.install()
        self.assertEqual(registry["Conv2DBackpropFilter"].func, ours.func)
        pfor_converters.uninstall()
        self.assertEqual(registry["Conv2DBackpropFilter"].__module__, pfor.__name__)


if __name__ == "__main__":
    absltest.main()
