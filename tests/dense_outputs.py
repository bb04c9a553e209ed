"""Writes what convolutions without groups compute into an .npz file.

Run with the official and with the rebuilt TensorFlow, the files must hold the
same bits.
"""

import itertools
import sys

import numpy as np
import tensorflow as tf

layers = tf.keras.layers
# Which has no causal SeparableConv1D.
KERAS_3 = tf.keras.__version__.startswith("3.")

# Layers by the rank of their input, batch and channels left out.
LAYERS = {
    1: {
        "conv": lambda **kwargs: layers.Conv1D(6, 3, **kwargs),
        "strided": lambda **kwargs: layers.Conv1D(6, 4, strides=3, **kwargs),
        "dilated": lambda **kwargs: layers.Conv1D(6, 3, dilation_rate=2, **kwargs),
        "separable": lambda **kwargs: layers.SeparableConv1D(6, 3, depth_multiplier=2, **kwargs),
    },
    2: {
        "conv": lambda **kwargs: layers.Conv2D(6, 3, **kwargs),
        "pointwise": lambda **kwargs: layers.Conv2D(6, 1, **kwargs),
        "strided": lambda **kwargs: layers.Conv2D(6, (5, 2), strides=(2, 3), **kwargs),
        "dilated": lambda **kwargs: layers.Conv2D(6, 3, dilation_rate=(2, 1), **kwargs),
        "transposed": lambda **kwargs: layers.Conv2DTranspose(6, 3, strides=2, **kwargs),
        "depthwise": lambda **kwargs: layers.DepthwiseConv2D(3, depth_multiplier=2, **kwargs),
        "separable": lambda **kwargs: layers.SeparableConv2D(6, 3, **kwargs),
    },
    3: {
        "conv": lambda **kwargs: layers.Conv3D(6, 3, **kwargs),
        "strided": lambda **kwargs: layers.Conv3D(6, 2, strides=(2, 1, 2), **kwargs),
        "dilated": lambda **kwargs: layers.Conv3D(6, 2, dilation_rate=2, **kwargs),
        "transposed": lambda **kwargs: layers.Conv3DTranspose(6, 3, strides=2, **kwargs),
    },
}


def values(random, shape, dtype):
    return random.standard_normal(shape).astype(dtype)


def layer_outputs(layer, rank, dtype):
    """Returns a layer's output and gradients on fixed values."""
    random = np.random.RandomState(rank)
    x = tf.constant(values(random, (3,) + (11, 9, 8)[:rank] + (4,), dtype))
    layer.build(x.shape)
    layer.set_weights([values(random, weight.shape, dtype) for weight in layer.weights])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(y * values(random, y.shape, dtype))
    in_function = tf.function(layer)(x)
    return [y, in_function] + tape.gradient(loss, [x] + layer.trainable_weights)


def all_layer_outputs():
    for rank, makers in LAYERS.items():
        for (name, make), padding, dtype in itertools.product(
            makers.items(), ("valid", "same", "causal"), ("float16", "float32", "float64")
        ):
            if padding == "causal" and (rank != 1 or KERAS_3 and name == "separable"):
                continue  # There is no such layer.
            label = "%s%dd_%s_%s" % (name, rank, padding, dtype)
            layer = make(padding=padding, activation="relu", dtype=dtype)
            yield label, layer_outputs(layer, rank, dtype)


def op_outputs():
    """Yields outputs of what the layers do not use: explicit padding, int32."""
    random = np.random.RandomState(7)
    x, kernel = values(random, (2, 9, 8, 4), "float32"), values(random, (3, 3, 4, 6), "float32")
    padding = [(0, 0), (2, 1), (0, 3), (0, 0)]
    yield "explicit", [tf.nn.conv2d(x, kernel, 2, padding)]
    integers = [(100 * value).astype("int32") for value in (x, kernel)]
    yield "int32", [tf.nn.conv2d(*integers, 1, "SAME")]


def model_outputs():
    """Yields what a trained model computes, its graph rewritten by Grappler."""
    random = np.random.RandomState(11)
    model = tf.keras.Sequential(
        [
            layers.Conv2D(8, 3, padding="same", use_bias=False, input_shape=(12, 12, 3)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.SeparableConv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    # Initial values come from generators that differ by release; vectors start constant.
    model.set_weights(
        [
            values(random, weight.shape, weight.dtype) / 4 if weight.ndim > 1 else weight
            for weight in model.get_weights()
        ]
    )
    model.compile(tf.keras.optimizers.SGD(0.1, 0.9), "sparse_categorical_crossentropy")
    x, y = values(random, (32, 12, 12, 3), "float32"), random.randint(0, 5, 32)
    yield "predicted", [model.predict(x)]
    fitted = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    yield "loss", [np.array(fitted.history["loss"])]
    yield "trained", model.get_weights() + [model.predict(x)]


def main(path):
    outputs = {}
    for name, values in itertools.chain(all_layer_outputs(), op_outputs(), model_outputs()):
        for index, value in enumerate(values):
            outputs["%s_%d" % (name, index)] = np.asarray(value)
    np.savez(path, **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
