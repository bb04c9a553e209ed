"""Training with the plugin, which normalizes batches with one op too: see training.py."""

import tensorflow_grouped_convolution
from training_plugin import CASES, VERSION  # noqa: F401

tensorflow_grouped_convolution.patch_keras(batch_normalization=True)
