"""Training through Keras, on TensorFlow: see training.py."""

import collections
import pathlib
import re
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from networks import NETWORKS, weights  # noqa: E402

layers = keras.layers
VERSION = "Keras %s, TensorFlow %s" % (keras.__version__, tf.version.VERSION)

# A layer of ResNeXt-50.
INPUT = (8, 56, 56, 128)


def images(shape):
    return tf.constant(np.random.RandomState(0).standard_normal(shape).astype(np.float32))


def layer_step(groups):
    """Output of a layer, and the gradients of its input and weights."""
    layer = layers.Conv2D(128, 3, padding="same", groups=groups)
    x = images(INPUT)
    layer.build(x.shape)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return tape.gradient(y, [x, *layer.trainable_variables], output_gradients=y)

    return lambda: [gradient.numpy() for gradient in step(x)[1:]]


def layer_fit(groups, count=10):
    """`fit` of a model of one layer, from a data set in memory."""
    model = keras.Sequential(
        [
            keras.Input(INPUT[1:]),
            layers.Conv2D(128, 3, padding="same", groups=groups),
            layers.GlobalAveragePooling2D(),
        ]
    )
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((images(INPUT), images((INPUT[0], 128)))).repeat()

    def steps():
        model.fit(data, steps_per_epoch=count, verbose=0)

    steps.steps = count
    return steps


class Scale(layers.Layer):
    """Each channel times a number."""

    def build(self, shape):
        self.factors = self.add_weight(shape=shape[-1:], initializer="ones")

    def call(self, x):
        return x * self.factors


def shuffle(groups):
    def transpose(x):
        size = tuple(x.shape[1:3])
        x = keras.ops.reshape(x, (-1, *size, groups, x.shape[-1] // groups))
        return keras.ops.reshape(
            keras.ops.transpose(x, (0, 1, 2, 4, 3)), (-1, *size, x.shape[-1] * groups)
        )

    return transpose


def padded(layer, size):
    return lambda x: layer(layers.ZeroPadding2D(size // 2)(x))


def conv(shape, filters, size, stride, groups, bias, pad):
    """A depthwise layer where it is one, as users write it."""
    padding = "same" if pad and stride == 1 else "valid"
    options = dict(strides=stride, padding=padding, use_bias=bias)
    if groups == filters > 1 and shape[2] == 1:
        layer = layers.DepthwiseConv2D(size, **options)
    else:
        layer = layers.Conv2D(filters, size, groups=groups, **options)
    return layer, padded(layer, size) if pad and stride > 1 and size > 1 else layer


OPS = {
    "norm": layers.BatchNormalization,
    "layer_norm": lambda: layers.LayerNormalization(epsilon=1e-6),
    "scale": Scale,
    "dense": lambda filters, bias: layers.Dense(filters, use_bias=bias),
    "gelu": lambda: layers.Activation("gelu"),
    "swish": lambda: layers.Activation("swish"),
    "sigmoid": lambda: layers.Activation("sigmoid"),
    "relu": layers.ReLU,
    "relu6": lambda: layers.ReLU(6),
    "add": layers.Add,
    "multiply": layers.Multiply,
    "concat": layers.Concatenate,
    "shuffle": shuffle,
    "max_pool": lambda: padded(layers.MaxPooling2D(3, 2), 3),
    "average_pool": lambda: padded(layers.AveragePooling2D(3, 2), 3),
    "global_pool": lambda keep: layers.GlobalAveragePooling2D(keepdims=keep),
}


def make_network(name):
    nodes = NETWORKS[name]().nodes
    made = [keras.Input((224, 224, 3))]
    initial = []
    for number, node in enumerate(nodes[1:], 1):
        inputs = [made[i] for i in node.inputs]
        if node.op == "conv":
            layer, apply = conv(node.shape, **node.attributes)
        else:
            layer = apply = OPS[node.op](**node.attributes)
        made.append(apply(inputs[0] if len(inputs) == 1 else inputs))
        if node.shape:
            initial.append((layer.kernel, weights(node, number)))
    for kernel, values in initial:
        kernel.assign(values.reshape(kernel.shape))
    return keras.Model(made[0], layers.Activation("linear", dtype="float32")(made[-1]))


def network_step(model):
    """A training step of a network for 1000 classes."""
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x, labels = images((8, 224, 224, 3)), tf.range(8)

    @tf.function
    def step(x, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return lambda: step(x, labels).numpy()


# Kinds of ops, by what their types have in them; the first that fits counts.
KINDS = {
    "batch norm.": "BatchNorm",
    "dense": "Conv[123][Dd]|MatMul",
    "casts": "^Cast$",
}


def profile(step, model):
    """Returns the milliseconds of a step's ops, by kind.

    Ops that run at the same time count each, so the sum is more than a step takes.
    """
    count = 3
    step()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(count):
            step()
        tf.profiler.experimental.stop()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        space = XSpace.FromString(path.read_bytes())
    grouped = {
        layer.name
        for layer in model.layers
        if isinstance(layer, layers.DepthwiseConv2D) or getattr(layer, "groups", 1) > 1
    }
    milliseconds = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            # A node's path in the graph, which names the layer, and its op's type.
            path, _, op = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if not (re.match(r"[\w./-]+$", path) and re.match(r"\w+$", op)):
                continue
            kind = next((kind for kind, known in KINDS.items() if re.search(known, op)), "others")
            names = {re.sub(r"_\d+$", "", part) for part in path.split("/")}
            if kind == "dense" and grouped & (names | set(path.split("/"))):
                kind = "grouped"
            milliseconds[kind] += event.duration_ps * 1e-9 / count
    return milliseconds


def network_case(name, dtype):
    def make():
        keras.mixed_precision.set_global_policy(dtype)
        try:
            model = make_network(name)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        step = network_step(model)
        step.parameters = sum(np.prod(v.shape) for v in model.trainable_variables)
        step.profile = lambda: profile(step, model)
        return step

    return make


CASES = {
    "layer step": lambda: layer_step(32),
    "layer step, dense": lambda: layer_step(1),
    "layer fit": lambda: layer_fit(32),
    "layer fit, dense": lambda: layer_fit(1),
    "layer fit, 1 step": lambda: layer_fit(32, 1),
    "ConvNeXtTiny": lambda: network_step(
        keras.applications.ConvNeXtTiny(weights=None, classifier_activation=None)
    ),
}
for network in NETWORKS:
    CASES[network] = network_case(network, "float32")
    CASES[network + " bfloat16"] = network_case(network, "mixed_bfloat16")
