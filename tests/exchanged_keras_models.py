"""Saves functional models, or loads those that another Keras saved, and runs them.

    exchanged_keras_models.py (save | load | serve) FOLDER

Runs in TensorFlow 2.2.3, whose Keras has the names of the layers in common with Keras
3, and in Keras 3. What the models compute is written to FOLDER/<command>.npz, and the
error in its place of a model that fails.
"""

import functools
import os
import sys

import numpy as np
import tensorflow as tf

try:
    from tensorflow.lite.python import split_grouped_convolutions
except ImportError:
    split_grouped_convolutions = None  # This TensorFlow is not a rebuilt one.

layers = tf.keras.layers

# Layers and the rank of their input, batch and channels left out.
MODELS = {
    "dense": (
        2,
        lambda: [
            layers.Conv2D(8, 3),
            layers.DepthwiseConv2D(3),
            layers.Conv2DTranspose(4, 3, strides=2),
        ],
    ),
    "separable": (2, lambda: [layers.SeparableConv2D(8, 3)]),
    "conv_1d": (
        1,
        lambda: [
            layers.Conv1D(8, 3, padding="causal", dilation_rate=2, groups=2),
            layers.Conv1D(8, 3, strides=2, groups=8),
        ],
    ),
    "conv_2d": (
        2,
        lambda: [
            layers.Conv2D(8, 3, padding="same", strides=2, groups=4, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(16, (1, 2), groups=8),
        ],
    ),
    "conv_3d": (3, lambda: [layers.Conv3D(8, 2, groups=2), layers.Conv3D(4, 1)]),
    "transposed_2d": (2, lambda: [layers.Conv2DTranspose(8, 3, strides=2, groups=4)]),
    "transposed_3d": (3, lambda: [layers.Conv3DTranspose(8, 2, groups=2)]),
}

KERAS_3 = not tf.version.VERSION.startswith("2.2.")
# All that Keras 3 can save; all that it can load of what 2.2.3 saved.
SUFFIXES = (".keras", ".h5", ".weights.h5") if KERAS_3 else (".h5", ".old_weights.h5")


def make_model(name):
    rank, make_layers = MODELS[name]
    inputs = tf.keras.Input((9,) * rank + (4,), name="image")
    outputs = inputs
    for layer in make_layers():
        outputs = layer(outputs)
    return tf.keras.Model(inputs, outputs)


def run(name, function):
    """Returns what a model computes of an input for the model of that name."""
    shape = (2,) + (9,) * MODELS[name][0] + (4,)
    x = tf.constant(np.random.RandomState(1).standard_normal(shape), tf.float32)
    return function(x).numpy()


def save(name, path):
    def save_model():
        model = make_model(name)
        random = np.random.RandomState(2)
        model.set_weights([random.uniform(0.5, 1, weight.shape) for weight in model.get_weights()])
        for suffix in SUFFIXES:
            (model.save_weights if "weights" in suffix else model.save)(path + suffix)
        if KERAS_3:
            model.export(path + ".exported", verbose=False)
            if split_grouped_convolutions:
                split_grouped_convolutions.split_saved_model(path + ".exported", path + ".split")
        return model

    yield "saved", save_model


def load(name, path):
    def load_weights(suffix):
        model = make_model(name)
        model.load_weights(path + suffix)
        return model

    def load_model(suffix):
        return tf.keras.models.load_model(path + suffix)

    for suffix in (".keras", ".h5", ".weights.h5", ".old_weights.h5"):
        if os.path.exists(path + suffix):
            load_it = load_weights if "weights" in suffix else load_model
            yield suffix, functools.partial(load_it, suffix)


def serve(name, path):
    for label in "exported", "split":
        model = tf.saved_model.load(path + "." + label)
        yield label, lambda model=model: model.serve


def main(command, folder):
    outputs = {}
    for name in MODELS:
        path = os.path.join(folder, name)
        for label, get_model in globals()[command](name, path):
            try:
                outputs[name + "/" + label] = run(name, get_model())
            except Exception as error:
                outputs[name + "/" + label] = "%s: %s" % (type(error).__name__, error)
    np.savez(os.path.join(folder, command + ".npz"), **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
