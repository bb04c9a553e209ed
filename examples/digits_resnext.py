"""Trains a small ResNeXt, whose blocks are grouped convolutions, on handwritten digits.

    python digits_resnext.py [output folder]

It saves the model, loads it in a new process and draws what was learnt. Needs
scikit-learn for the digits and matplotlib for the picture.
"""

import os
import subprocess
import sys

import matplotlib
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

matplotlib.use("Agg")  # Writes files, needs no display.
from matplotlib import pyplot as plt  # noqa: E402

layers = tf.keras.layers

SEED = 1
EPOCHS = 40
CARDINALITY = 16
REQUIRED_ACCURACY = 0.97


def digits():
    """Returns training and test images, (n, 8, 8, 1) from 0 to 1, with their labels."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    return (x_train, y_train), (x_test, y_test)


def convolution(x, filters, kernel_size, **kwargs):
    x = layers.Conv2D(filters, kernel_size, padding="same", use_bias=False, **kwargs)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def resnext_block(x, filters, strides=1):
    """A bottleneck block as in the paper: 1x1, 3x3 in groups, 1x1, and a shortcut."""
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = convolution(x, filters, 1, strides=strides)
    x = layers.ReLU()(convolution(x, filters // 2, 1))
    x = layers.ReLU()(convolution(x, filters // 2, 3, strides=strides, groups=CARDINALITY))
    x = convolution(x, filters, 1)
    return layers.ReLU()(layers.add([x, shortcut]))


def resnext():
    inputs = x = layers.Input([8, 8, 1])
    x = layers.ReLU()(convolution(x, 32, 3))
    for filters, strides in ((64, 1), (64, 1), (128, 2), (128, 1)):
        x = resnext_block(x, filters, strides)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(10, activation="softmax")(x)
    return tf.keras.Model(inputs, outputs)


def shifted(image, label):
    """Moves an image by up to a pixel, at random, as there are few to train with."""
    padded = tf.pad(image, [[1, 1], [1, 1], [0, 0]])
    return tf.image.random_crop(padded, [8, 8, 1], seed=SEED), label


def train():
    """Returns a trained model and its history."""
    tf.random.set_seed(SEED)
    (x_train, y_train), test = digits()
    model = resnext()
    steps = -(-len(x_train) // 64)
    schedule = tf.keras.experimental.CosineDecay(0.01, EPOCHS * steps)
    model.compile(
        tf.keras.optimizers.Adam(schedule),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    batches = tf.data.Dataset.from_tensor_slices((x_train, y_train))
    batches = batches.shuffle(len(x_train), seed=SEED).map(shifted).batch(64)
    return model, model.fit(batches, epochs=EPOCHS, validation_data=test).history


def draw(history, probabilities, path):
    """Draws the training curve and the test digits that the model was least sure of."""
    _, (x_test, y_test) = digits()
    figure = plt.figure(figsize=(12, 5))
    curve = figure.add_subplot(1, 2, 1)
    epochs = np.arange(1, EPOCHS + 1)
    curve.plot(epochs, history["accuracy"], label="training")
    curve.plot(epochs, history["val_accuracy"], label="test")
    curve.set(xlabel="epoch", ylabel="accuracy", ylim=(0.8, 1.005))
    curve.set_title("ResNeXt, cardinality %d" % CARDINALITY)
    curve.grid(alpha=0.3)
    curve.legend()

    least_sure = np.argsort(probabilities.max(axis=1))[:24]
    for place, index in enumerate(least_sure):
        row, column = divmod(place, 6)
        axes = figure.add_subplot(4, 12, 12 * row + 7 + column)
        axes.imshow(x_test[index, :, :, 0], cmap="gray_r")
        axes.axis("off")
        guess = probabilities[index].argmax()
        axes.set_title(
            "%d (%.0f %%)" % (guess, 100 * probabilities[index, guess]),
            color="black" if guess == y_test[index] else "red",
            fontsize=9,
        )
    figure.suptitle("The 24 test digits it is least sure of (wrong ones in red)", x=0.72, y=0.97)
    figure.savefig(path, dpi=100)


def predict(saved, path):
    """Writes what a saved model predicts for the test digits; for a process of its own."""
    _, (x_test, _) = digits()
    np.save(path, tf.keras.models.load_model(saved).predict(x_test))


def main(folder):
    os.makedirs(folder, exist_ok=True)
    model, history = train()
    _, (x_test, y_test) = digits()
    probabilities = model.predict(x_test)
    accuracy = np.mean(probabilities.argmax(axis=1) == y_test)
    print("Test accuracy: %.2f %%" % (100 * accuracy))

    saved = os.path.join(folder, "digits_resnext.h5")
    predicted = os.path.join(folder, "digits_resnext.npy")
    model.save(saved)
    subprocess.check_call([sys.executable, __file__, "--predict", saved, predicted])
    if not np.array_equal(np.load(predicted), probabilities):
        sys.exit("The saved model predicts something else in a new process")
    print("Saved in %s; a new process predicts the same" % saved)

    picture = os.path.join(folder, "digits_resnext.png")
    draw(history, probabilities, picture)
    print("Picture: %s" % picture)
    if accuracy < REQUIRED_ACCURACY:
        sys.exit("The accuracy is below %.0f %%" % (100 * REQUIRED_ACCURACY))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--predict"]:
        predict(*sys.argv[2:])
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else ".")
