"""Training through official Keras on official TensorFlow, with the plugin: see training.py."""

import warnings

import tensorflow_grouped_convolution
from training_keras import CASES, VERSION  # noqa: F401

with warnings.catch_warnings():
    # That TensorFlow runs without the plugin's kernels.
    warnings.simplefilter("error")
    tensorflow_grouped_convolution.patch_keras()
