"""Tests of what the graphs of training become where grouped layers have what layers may have.

Whole steps are compared with those of a model in float64 of dense convolutions a group, and no
grouped convolution of the graphs that ran may be left to oneDNN or Eigen.
"""

import contextlib
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from keras.src import activations
from tensorflow.python.eager import context
from tensorflow.python.framework import kernels

layers = keras.layers
RATE = 0.5
TOLERANCE = {"float32": 1e-5, "mixed_float16": 1e-2, "mixed_bfloat16": 8e-2}

ACTIVATIONS = [
    name
    for name in sorted(activations.ALL_OBJECTS_DICT)
    # These are of vectors, or change the number of channels, or want arguments.
    if name not in ("softmax", "log_softmax", "sparsemax", "glu", "threshold")
]
# What is around the layer in a model, and how the layer is made.
MODELS = {
    "plain": {"use_bias": False},
    "bias": {},
    "same": {"padding": "same"},
    "strides": {"padding": "same", "strides": 2},
    "dilation": {"dilation_rate": 2},
    "zero_padding": {"before": "ZeroPadding"},
    "zero_padding_relu": {"before": "ZeroPadding", "activation": "relu"},
    "zero_padding_plain": {"before": "ZeroPadding", "use_bias": False},
    "normalization": {"use_bias": False, "after": "relu", "normalized": True},
    "normalization_bias": {"after": "silu", "normalized": True},
    "normalization_tanh": {"after": "tanh", "normalized": True},
    "residual": {"padding": "same", "added": True},
    "residual_relu": {"padding": "same", "added": True, "after": "relu"},
}


def setUpModule():
    os.environ["ONEDNN_VERBOSE"] = "1"  # It says what it runs.


def split(layer):
    """Makes a layer compute its groups one by one."""

    def convolution_op(inputs, kernel):
        groups = inputs.shape[-1] // kernel.shape[-2]
        options = dict(
            strides=list(layer.strides),
            padding=layer.padding.upper(),
            dilations=list(layer.dilation_rate),
            # Without it, TensorFlow has no eager gradient in 3-D.
            data_format={3: "NWC", 4: "NHWC", 5: "NDHWC"}[len(inputs.shape)],
        )
        parts = zip(tf.split(inputs, groups, -1), tf.split(kernel, groups, -1))
        return tf.concat([tf.nn.convolution(x, w, **options) for x, w in parts], -1)

    layer.convolution_op = convolution_op
    return layer


def make_model(
    rank, dtype, make, before=None, normalized=False, added=False, after=None, **options
):
    """Returns a model of a grouped layer, whose layer `make` may change."""
    x = inputs = keras.Input((7, 8, 6)[:rank] + (8,), 2)
    if before:
        x = getattr(layers, "%s%dD" % (before, rank))(1, dtype=dtype)(x)
    conv = getattr(layers, "Conv%dD" % rank)(8, 3, groups=4, dtype=dtype, **options)
    x = make(conv)(x)
    if normalized:
        x = layers.BatchNormalization(dtype=dtype)(x)
    if added:
        x = layers.Add(dtype=dtype)([x, inputs])
    if after:
        x = layers.Activation(after, dtype=dtype)(x)
    model = keras.Model(inputs, x)
    loss = "mse" if dtype != "float64" else lambda y, z: tf.reduce_mean((y - z) ** 2)
    # The one that others are compared with makes no graphs, which takes long.
    model.compile(
        keras.optimizers.SGD(RATE), loss, run_eagerly=dtype == "float64", jit_compile=False
    )
    return model


@contextlib.contextmanager
def standard_output(lines):
    """Adds to `lines` what the process writes meanwhile."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            lines += file.read().decode().splitlines()


@contextlib.contextmanager
def graphs_that_run(graphs):
    """Adds to `graphs` what runs meanwhile."""
    context.enable_run_metadata()
    try:
        yield
        graphs += context.export_run_metadata().partition_graphs
    finally:
        context.disable_run_metadata()


def convolutions(graphs):
    """Returns the nodes of convolutions and, of those, the ones whose kernel is official."""
    nodes = []
    for graph in graphs:
        nodes += graph.node
        for function in graph.library.function:
            nodes += function.node_def
    nodes = [node for node in nodes if "Conv" in node.op]
    ours = {
        (kernel.op, kernel.label, dtype)
        for kernel in kernels.get_all_registered_kernels().kernel
        if kernel.device_type == "CPU" and kernel.priority > 0
        for constraint in kernel.constraint
        for dtype in constraint.allowed_values.list.type
    }
    left = [
        node.op
        for node in nodes
        if (node.op, node.attr["_kernel"].s.decode(), node.attr["T"].type) not in ours
    ]
    return nodes, left


class GraphsTest(parameterized.TestCase):
    def check(self, rank, dtype="float32", **options):
        keras.utils.set_random_seed(0)
        model = make_model(rank, dtype, lambda layer: layer, **options)
        exact = make_model(rank, "float64", split, **options)
        random = np.random.RandomState(1)
        before = [random.uniform(0.2, 1, w.shape) for w in model.get_weights()]
        # Filters have both signs.
        before[0] = random.uniform(-0.5, 0.5, before[0].shape)
        for one in model, exact:
            one.set_weights(before)
        # Not so large that a step of exponentials runs away.
        x = random.standard_normal(model.input_shape) / 2
        y = random.standard_normal(model.output_shape)
        lines, graphs = [], []
        with standard_output(lines), graphs_that_run(graphs):
            model.fit(x, y, batch_size=2, verbose=0)
            predicted = model.predict(x, batch_size=2, verbose=0)
        nodes, left = convolutions(graphs)
        self.assertGreaterEqual(len(nodes), 3)
        self.assertEmpty(left)
        self.assertEmpty([line for line in lines if "exec,cpu,convolution" in line])

        exact.fit(x, y, batch_size=2, verbose=0)
        expected = [exact.predict(x, batch_size=2, verbose=0)] + exact.get_weights()
        for one, other in zip([predicted] + model.get_weights(), expected):
            scale = TOLERANCE[dtype] * max(1, np.abs(other).max())
            np.testing.assert_allclose(one, other, rtol=0, atol=scale)
        for weight, other in zip(model.get_weights(), before):
            self.assertTrue((weight != other).any())

    @parameterized.parameters(*ACTIVATIONS)
    def test_activations(self, activation):
        self.check(2, activation=activation)

    @parameterized.product(name=list(MODELS), rank=(1, 2, 3))
    def test_layers(self, name, rank):
        self.check(rank, **MODELS[name])

    @parameterized.product(
        name=("bias", "zero_padding_relu", "normalization_bias", "residual_relu"),
        rank=(1, 2, 3),
        dtype=("mixed_float16", "mixed_bfloat16"),
    )
    def test_mixed_precision(self, name, rank, dtype):
        self.check(rank, dtype, **MODELS[name])


if __name__ == "__main__":
    absltest.main()
