"""Training through Keras, on TensorFlow: see training.py."""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "examples"))
from fused_batch_normalization import FusedBatchNormalization  # noqa: E402

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


def resnext50(normalization):
    """A network of 3, 4, 6 and 3 blocks of 32 groups, and 1000 classes."""

    def conv(x, filters, size, strides=1, groups=1):
        x = layers.Conv2D(filters, size, strides, padding="same", groups=groups, use_bias=False)(x)
        return normalization()(x)

    inputs = keras.Input((224, 224, 3))
    x = layers.ReLU()(conv(inputs, 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 128 << stage
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            shortcut = x if block else conv(x, 2 * width, 1, strides)
            x = layers.ReLU()(conv(x, width, 1))
            x = layers.ReLU()(conv(x, width, 3, strides, groups=32))
            x = layers.ReLU()(layers.Add()([conv(x, 2 * width, 1), shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1000)(x))


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


CASES = {
    "layer step": lambda: layer_step(32),
    "layer step, dense": lambda: layer_step(1),
    "layer fit": lambda: layer_fit(32),
    "layer fit, dense": lambda: layer_fit(1),
    "layer fit, 1 step": lambda: layer_fit(32, 1),
    "resnext50": lambda: network_step(resnext50(layers.BatchNormalization)),
    "resnext50, fused": lambda: network_step(resnext50(FusedBatchNormalization)),
    "convnext-t": lambda: network_step(
        keras.applications.ConvNeXtTiny(weights=None, classifier_activation=None)
    ),
}
