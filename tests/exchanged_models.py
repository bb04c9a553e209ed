"""Saves models, or loads those that another TensorFlow saved, and runs them.

    exchanged_models.py (save | load) FOLDER

What the models compute is written to FOLDER/<save or load>.npz.
"""

import os
import sys

import numpy as np
import tensorflow as tf

layers = tf.keras.layers

# Layers and the rank of their input, batch and channels left out.
MODELS = {
    "dense_1d": (1, lambda: [layers.Conv1D(8, 3), layers.SeparableConv1D(4, 3)]),
    "dense_2d": (
        2,
        lambda: [
            layers.Conv2D(8, 3, activation="relu"),
            layers.DepthwiseConv2D(3),
            layers.SeparableConv2D(8, 3),
            layers.Conv2DTranspose(4, 3, strides=2),
        ],
    ),
    "dense_3d": (3, lambda: [layers.Conv3D(8, 3), layers.Conv3DTranspose(4, 3, strides=2)]),
    "grouped_1d": (
        1,
        lambda: [
            layers.Conv1D(8, 3, padding="causal", dilation_rate=2, groups=2),
            layers.Conv1D(8, 3, strides=2, groups=8),
        ],
    ),
    "grouped_2d": (
        2,
        lambda: [
            layers.Conv2D(8, 3, padding="same", strides=2, groups=4, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(16, (1, 2), groups=8),
        ],
    ),
    "grouped_3d": (3, lambda: [layers.Conv3D(8, 2, groups=2), layers.Conv3D(4, 1)]),
}


def make_model(name, functional):
    rank, make_layers = MODELS[name]
    inputs = tf.keras.Input((9,) * rank + (4,))
    if not functional:
        return tf.keras.Sequential([inputs] + make_layers())
    outputs = inputs
    for layer in make_layers():
        outputs = layer(outputs)
    return tf.keras.Model(inputs, outputs)


def run(model, grouped):
    # Stock TensorFlow runs grouped convolutions on a CPU under XLA only.
    compile_it = grouped and tf.version.VERSION.startswith("2.3")
    shape = (2,) + model.input_shape[1:]
    x = np.random.RandomState(1).standard_normal(shape).astype(np.float32)
    return tf.function(model, experimental_compile=compile_it)(x).numpy()


def save(name, path):
    """Makes a model and saves it in all formats."""
    model = make_model(name, functional=False)
    random = np.random.RandomState(2)
    model.set_weights([random.uniform(0.5, 1, weight.shape) for weight in model.get_weights()])
    model.save(path + ".h5")
    model.save(path + ".saved_model")
    with open(path + ".json", "w") as file:
        file.write(model.to_json())
    model.save_weights(path + ".weights.h5")

    # 2.2 does not know the class of the functional models that 2.3 saves: of
    # these, only the weights can be exchanged.
    functional = make_model(name, functional=True)
    functional.set_weights(model.get_weights())
    functional.save_weights(path + ".functional.h5")
    functional.save_weights(path + ".functional.checkpoint")
    return {"saved": model}


def load(name, path):
    """Loads a model from each format."""
    with open(path + ".json") as file:
        models = {"json": tf.keras.models.model_from_json(file.read())}
    models["json"].load_weights(path + ".weights.h5")
    for suffix in ("h5", "saved_model"):
        models[suffix] = tf.keras.models.load_model(path + "." + suffix)
    for suffix in ("functional.h5", "functional.checkpoint"):
        models[suffix] = make_model(name, functional=True)
        models[suffix].load_weights(path + "." + suffix)
    return models


def main(command, folder):
    outputs = {}
    for name in MODELS:
        models = {"save": save, "load": load}[command](name, os.path.join(folder, name))
        for label, model in models.items():
            outputs[name + "/" + label] = run(model, grouped=name.startswith("grouped"))
    np.savez(os.path.join(folder, command + ".npz"), **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
