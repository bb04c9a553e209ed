"""CPU kernels of grouped convolution for a TensorFlow as released.

There is nothing to import for the kernels: TensorFlow loads them by itself, through
the library that this distribution puts into the folder `tensorflow-plugins`. What
this package has to import is for those who cannot replace Keras 3 by the patched one:
`patch_keras()` does the same to the Keras that runs, `unpatch_keras()` takes it back.
"""

from .keras_patches import patch_keras, unpatch_keras

__all__ = ["patch_keras", "unpatch_keras"]
