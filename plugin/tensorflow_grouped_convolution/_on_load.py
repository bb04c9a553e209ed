"""What has to be right in TensorFlow as soon as the kernels are loaded.

The loader imports this, at whatever time that is, so it does little and never fails.
"""

import contextlib
import warnings

try:
    from . import lite, pfor_converters

    pfor_converters.install()
    lite.install()
except Exception as error:
    with contextlib.suppress(Warning):  # Which may be made errors.
        warnings.warn(
            "tensorflow_grouped_convolution: gradients by grouped filters that TensorFlow "
            "vectorizes, and conversion to TensorFlow Lite, are as they are without it: %s" % error,
            RuntimeWarning,
            stacklevel=2,
        )
