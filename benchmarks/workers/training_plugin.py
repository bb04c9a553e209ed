"""Training through official Keras on official TensorFlow, with the plugin: see training.py."""

import tensorflow_grouped_convolution
from training_keras import CASES, VERSION  # noqa: F401

tensorflow_grouped_convolution.patch_keras()
