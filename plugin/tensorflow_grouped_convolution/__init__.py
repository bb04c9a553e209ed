"""CPU kernels of grouped convolution for a TensorFlow as released.

There is nothing to import for the kernels: TensorFlow loads them by itself, through
the library that this distribution puts into the folder `tensorflow-plugins`. What
this package has to import is for those who cannot replace another package.
"""
