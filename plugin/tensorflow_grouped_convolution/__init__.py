"""CPU kernels of grouped convolution for a TensorFlow as released.

There is nothing to import for the kernels: TensorFlow loads them by itself, through
the library that this distribution puts into the folder `tensorflow-plugins`. What this
package has to import is for Keras, which has to be told to ask them, and for models
that are to run elsewhere. `python -m tensorflow_grouped_convolution` says what there is
and whether all is well; with a program and its arguments behind it, it runs that with
Keras patched.
"""

from .keras_patches import patch_keras, unpatch_keras
from .lite import split_saved_model

__all__ = ["patch_keras", "split_saved_model", "unpatch_keras"]
