"""Tests of what graphs check and infer of convolutions before they run.

In a graph the official TensorFlow dies of some of these shapes.
"""

import itertools

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from tensorflow.python.framework import errors, op_def_registry

ops = tf.raw_ops


def call(op, rank, shapes, sizes=(), **attributes):
    """Adds an op to the graph, with placeholders for what has `shapes`."""
    arguments = {
        name: tf.compat.v1.placeholder(tf.float32, shape) for name, shape in shapes.items()
    }
    attributes = dict(dict(strides=[1] * (rank + 2), padding="SAME"), **attributes)
    return op(**arguments, **dict(sizes), **attributes)


def forward(rank, inputs, kernel, **attributes):
    op = ops.Conv2D if rank == 2 else ops.Conv3D
    return call(op, rank, {"input": inputs, "filter": kernel}, **attributes)


def input_gradient(rank, sizes, kernel, grad, **attributes):
    op = ops.Conv2DBackpropInput if rank == 2 else ops.Conv3DBackpropInputV2
    shapes = {"filter": kernel, "out_backprop": grad}
    return call(op, rank, shapes, {"input_sizes": sizes}, **attributes)


def filter_gradient(rank, inputs, sizes, grad, **attributes):
    op = ops.Conv2DBackpropFilter if rank == 2 else ops.Conv3DBackpropFilterV2
    shapes = {"input": inputs, "out_backprop": grad}
    return call(op, rank, shapes, {"filter_sizes": sizes}, **attributes)


class GraphShapesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(tf.Graph().as_default())

    @parameterized.product(rank=[2, 3], batch=[2, None], size=[5, None])
    def test_filter_without_input_channels(self, rank, batch, size):
        inputs, kernel = [batch] + [size] * rank + [4], [3] * rank + [0, 8]
        with self.assertRaisesRegex(ValueError, "filter must have channels in a graph"):
            forward(rank, inputs, kernel)

    @parameterized.product(rank=[2, 3], size=[5, None])
    def test_input_without_channels(self, rank, size):
        for inputs, kernel, attributes in (
            ([2] + [size] * rank + [0], [3] * rank + [4, 8], {}),
            ([2, 0] + [size] * rank, [3] * rank + [4, 8], {"data_format": "NC" + "DHW"[-rank:]}),
        ):
            with self.assertRaisesRegex(ValueError, "input must have channels in a graph"):
                forward(rank, inputs, kernel, **attributes)

    @parameterized.product(rank=[2, 3], size=[5, None])
    def test_channels_that_do_not_divide(self, rank, size):
        for channels, kernel, message in (
            (4, [3, 8], "input's channels 4 .* filter's input channels 3"),
            (4, [2, 7], "filter's output channels 7 .* 2 groups"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                forward(rank, [None] + [size] * rank + [channels], [3] * rank + kernel)

    @parameterized.parameters(2, 3)
    def test_filter_without_taps(self, rank):
        for batch, channels in itertools.product((2, None), (4, None)):
            with self.assertRaisesRegex(ValueError, "filter must not have size 0"):
                forward(rank, [batch] + [5] * rank + [channels], [3] * (rank - 1) + [0, 4, 8])

    @parameterized.parameters(2, 3)
    def test_attributes(self, rank):
        """Strides of 0 are CVE-2022-21725, in Grappler's estimates of costs."""
        shape, kernel = [2] + [5] * rank + [4], [3] * rank + [4, 8]
        grad = [2] + [5] * rank + [8]
        calls = {
            "forward": lambda **kwargs: forward(rank, None, None, **kwargs),
            "input": lambda **kwargs: input_gradient(rank, shape, kernel, grad, **kwargs),
            "filter": lambda **kwargs: filter_gradient(rank, shape, kernel, grad, **kwargs),
        }
        for name, attribute, value in itertools.product(
            calls, ("strides", "dilations"), (0, -1, 2**31, 2**63 - 1)
        ):
            with self.subTest(op=name, attribute=attribute, value=value):
                # With more than its name, which stands behind every error of a graph.
                with self.assertRaisesRegex(ValueError, attribute + " must have values from"):
                    calls[name](**{attribute: [1, value] + [1] * rank})

    @parameterized.parameters(2, 3)
    def test_sizes_that_gradients_state(self, rank):
        """Products that overflow are CVE-2022-23575 and 23576, in the same estimates."""
        shape, kernel = [2] + [5] * rank + [4], [3] * rank + [2, 8]
        grad = [2] + [5] * rank + [8]
        huge = [2**31 - 1] * (rank + 2)
        for sizes, message in (
            (huge, "input_sizes has too many elements"),
            ([3] + shape[1:], "out_backprop must have the shape"),
            (shape[:-1] + [5], "input_sizes's channels 5 .* filter's input channels 2"),
        ):
            with self.subTest(input_sizes=sizes), self.assertRaisesRegex(ValueError, message):
                input_gradient(rank, sizes, kernel, grad)
        for sizes, message in (
            (huge, "filter_sizes has too many elements"),
            (kernel[:-2] + [0, 8], "filter_sizes must have channels in a graph"),
            (kernel[:-2] + [3, 8], "input's channels 4 .* filter_sizes's input channels 3"),
            (kernel[:-1] + [6], "out_backprop must have the shape"),
        ):
            with self.subTest(filter_sizes=sizes), self.assertRaisesRegex(ValueError, message):
                filter_gradient(rank, shape, sizes, grad)

    @parameterized.parameters("NHWC", "NCHW")
    def test_sizes_of_the_image_alone(self, data_format):
        """Which newer releases take."""
        last = data_format == "NHWC"
        grad, whole = ([2, 5, 6, 8], [2, 5, 6, 4]) if last else ([2, 8, 5, 6], [2, 4, 5, 6])
        kernel = [3, 3, 4, 8]

        def gradient(sizes):
            return input_gradient(2, sizes, kernel, grad, data_format=data_format)

        if op_def_registry.get("_FusedConv3D") is None:  # It came with them.
            with self.assertRaisesRegex(ValueError, "input_sizes must have rank 4"):
                gradient([5, 6])
            return
        self.assertEqual(gradient([5, 6]).shape, whole)
        unknown = tf.compat.v1.placeholder(tf.int32, [2])
        random = np.random.RandomState(0)
        w, dy = random.randn(*kernel), random.randn(*grad)
        with tf.compat.v1.Session() as session:
            results = [
                session.run(result, feed)
                for result, feed in (
                    (self._computed([5, 6], w, dy, data_format), {}),
                    (self._computed(whole, w, dy, data_format), {}),
                    (self._computed(unknown, w, dy, data_format), {unknown: [5, 6]}),
                )
            ]
        for result in results:
            np.testing.assert_allclose(result, results[0], rtol=1e-4, atol=1e-4)

    def _computed(self, sizes, w, dy, data_format):
        return ops.Conv2DBackpropInput(
            input_sizes=sizes,
            filter=tf.constant(w, tf.float32),
            out_backprop=tf.constant(dy, tf.float32),
            strides=[1] * 4,
            padding="SAME",
            data_format=data_format,
        )

    def test_what_is_not_known_is_left_to_the_kernels(self):
        x = tf.compat.v1.placeholder(tf.float32)
        w = tf.compat.v1.placeholder(tf.float32)
        y = ops.Conv2D(input=x, filter=w, strides=[1] * 4, padding="SAME")
        self.assertEqual(y.shape.as_list(), [None] * 4)
        with tf.compat.v1.Session() as session:
            with self.assertRaisesRegex(errors.InvalidArgumentError, "filter's input channels 0"):
                session.run(y, {x: np.ones([1, 5, 5, 4]), w: np.ones([3, 3, 0, 8])})

    @parameterized.parameters("NHWC", "NCHW")
    def test_inferred_shape_2d(self, data_format):
        first = data_format == "NCHW"

        def layout(batch, height, width, channels):
            if first:
                return [batch, channels, height, width]
            return [batch, height, width, channels]

        attributes = dict(
            data_format=data_format,
            strides=layout(1, 2, 3, 1),
            dilations=layout(1, 2, 1, 1),
            padding="VALID",
        )
        for batch, height, width, out_height, out_width in (
            (2, 9, 10, 3, 3),
            (None, 9, 10, 3, 3),
            (None, None, 10, None, 3),
            (None, 9, None, 3, None),
        ):
            y = forward(2, layout(batch, height, width, 8), [3, 4, 4, 6], **attributes)
            self.assertEqual(y.shape.as_list(), layout(batch, out_height, out_width, 6))
        y = forward(2, None, [3, 4, 4, 6], **attributes)
        self.assertEqual(y.shape.as_list(), layout(None, None, None, 6))
        y = forward(2, layout(2, 9, 10, 8), None, **attributes)
        self.assertEqual(y.shape.as_list(), layout(2, None, None, None))

    @parameterized.parameters(([2, 1, 1],), ([1, 2, 1],), ([1, 1, 3],), ([1, 2, 3],))
    def test_inferred_shape_of_dilated_3d(self, dilations):
        size, kernel = [9, 10, 11], [2, 3, 4]
        expected = [n - (k - 1) * d for n, k, d in zip(size, kernel, dilations)]
        dilations = [1] + dilations + [1]
        y = forward(3, [2] + size + [4], kernel + [2, 6], dilations=dilations, padding="VALID")
        self.assertEqual(y.shape.as_list(), [2] + expected + [6])


if __name__ == "__main__":
    absltest.main()
