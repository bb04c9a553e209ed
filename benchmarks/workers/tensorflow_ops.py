"""TensorFlow's ops, of the release that is installed: see worker.py."""

import numpy as np
import tensorflow as tf


class Op:
    """The convolution ops, called eagerly."""

    version = "TensorFlow " + tf.__version__

    def __init__(self, threads):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)

    def load(self, problem, *tensors):
        self._problem = problem
        self._made = {}
        inputs, filters, gradient = (tf.cast(tensor, problem.dtype) for tensor in tensors)
        forward, input_gradient, filter_gradient = self._passes()
        # A function's inputs are tensors, or it could compute its results once.
        gradients = self._compile(lambda x, w, dy: (input_gradient(w, dy), filter_gradient(x, dy)))
        forward = self._compile(forward)
        input_gradient = self._compile(input_gradient)
        filter_gradient = self._compile(filter_gradient)
        return {
            "forward": lambda: forward(inputs, filters),
            "input_gradient": lambda: input_gradient(filters, gradient),
            "filter_gradient": lambda: filter_gradient(inputs, gradient),
            "gradients": lambda: gradients(inputs, filters, gradient),
        }

    def arrays(self, result):
        parts = result if isinstance(result, tuple) else (result,)
        return [tf.cast(part, tf.float32).numpy() for part in parts]

    def _compile(self, function):
        """How a pass is run: eagerly, or as a graph."""
        return function

    def _sizes(self, shape):
        """How an op is told a shape: by a tensor that is there already, as autodiff has it."""
        key = tuple(shape)
        if key not in self._made:
            self._made[key] = tf.constant(shape, tf.int32)
        return self._made[key]

    def _passes(self):
        """Returns forward(x, w), input_gradient(w, dy) and filter_gradient(x, dy)."""
        return self._ops()

    def _ops(self):
        problem = self._problem
        options = dict(
            strides=[1] + problem.strides + [1],
            dilations=[1] + problem.dilations + [1],
            padding=problem.padding,
        )
        if len(problem.input) == 3:
            op = tf.raw_ops.Conv3D
            input_op = tf.raw_ops.Conv3DBackpropInputV2
            filter_op = tf.raw_ops.Conv3DBackpropFilterV2
        else:
            op = tf.raw_ops.Conv2D
            input_op = tf.raw_ops.Conv2DBackpropInput
            filter_op = tf.raw_ops.Conv2DBackpropFilter
            if problem.padding == "EXPLICIT":
                paddings = [(0, 0)] + problem.paddings + [(0, 0)]
                options["explicit_paddings"] = np.ravel(paddings).tolist()

        def forward(x, w):
            return op(input=x, filter=w, **options)

        def input_gradient(w, dy):
            shape = [problem.batch] + problem.input + [w.shape[-2] * groups(w)]
            return input_op(input_sizes=self._sizes(shape), filter=w, out_backprop=dy, **options)

        def filter_gradient(x, dy):
            shape = problem.filter + [x.shape[-1] // groups(dy), dy.shape[-1]]
            return filter_op(input=x, filter_sizes=self._sizes(shape), out_backprop=dy, **options)

        def groups(tensor):
            # A slice of the outputs is a slice of the groups.
            return problem.groups * tensor.shape[-1] // problem.output_channels

        return forward, input_gradient, filter_gradient


class Graph(Op):
    """What is run as a graph, where shapes are constants."""

    def _sizes(self, shape):
        return shape


class Xla(Graph):
    """The same, compiled by XLA."""

    def _compile(self, function):
        # Its name before and since TensorFlow 2.5.
        old = tf.__version__.startswith("2.2.")
        return tf.function(function, **{"experimental_compile" if old else "jit_compile": True})


class SplitConcat(Graph):
    """A dense convolution for each group, as users wrote it without `groups`."""

    def _compile(self, function):
        return tf.function(function)

    def _passes(self):
        groups = self._problem.groups

        def split(tensor):
            return tf.split(tensor, groups, axis=-1)

        def by_group(op):
            return lambda a, b: tf.concat([op(*parts) for parts in zip(split(a), split(b))], -1)

        forward, input_gradient, filter_gradient = self._ops()
        return by_group(forward), by_group(input_gradient), by_group(filter_gradient)


class Depthwise(Op):
    """The ops for one channel a group."""

    def _ops(self):
        problem = self._problem
        if problem.channels_per_group != 1 or len(problem.input) != 2:
            raise NotImplementedError("depthwise only")
        options = dict(strides=[1] + problem.strides + [1], padding=problem.padding)
        shape = problem.filter + [problem.groups, problem.output_channels // problem.groups]

        def forward(x, w):
            return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=w, **options)

        def input_gradient(w, dy):
            return tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=self._sizes(problem.input_shape), filter=w, out_backprop=dy, **options
            )

        def filter_gradient(x, dy):
            return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=x, filter_sizes=self._sizes(shape), out_backprop=dy, **options
            )

        return forward, input_gradient, filter_gradient

    def load(self, problem, inputs, filters, gradient):
        self._problem = problem
        shape = problem.filter + [problem.groups, -1]
        return super().load(problem, inputs, filters.reshape(shape), gradient)
