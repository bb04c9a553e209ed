"""What there is of the kernels in the TensorFlow that runs."""

import warnings

# Those that were found; none of them goes away again.
_served = set()


def one_dnn():
    """Whether oneDNN is on; None if this TensorFlow does not say."""
    try:
        from tensorflow.python.util import _pywrap_util_port

        return _pywrap_util_port.IsMklEnabled()
    except (ImportError, AttributeError):
        return None


def _priorities(op_name, dtype):
    """Returns the priorities of an op's CPU kernels for a type."""
    from tensorflow.python.framework import kernels

    return {
        kernel.priority
        for kernel in kernels.get_registered_kernels_for_op(op_name).kernel
        if kernel.device_type == "CPU"
        and any(
            constraint.name == "T" and dtype.as_datatype_enum in constraint.allowed_values.list.type
            for constraint in kernel.constraint
        )
    }


def serve(op_name, dtype):
    """Whether TensorFlow's CPU kernel for a convolution op takes what its own one lacks.

    TensorFlow's own kernels have priority 0. What is registered above them for the
    same op and type takes groups and channels first too.

    Args:
      op_name: the op's type.
      dtype: what can be made a `tf.DType`.
    """
    import tensorflow as tf

    dtype = tf.as_dtype(dtype)
    if (op_name, dtype) not in _served:
        names = [op_name]
        # What oneDNN runs in its place; its own kernels have groups in 2-D alone.
        if "3D" in op_name and one_dnn() and _priorities("_MklNative" + op_name, dtype):
            names.append("_MklNative" + op_name)
        if not all(max(_priorities(name, dtype), default=0) > 0 for name in names):
            return False
        _served.add((op_name, dtype))
    return True


def are_loaded():
    """Whether the kernels are there, as they are for float32 if they are at all."""
    return serve("Conv2D", "float32")


def cpu_only():
    """Whether nothing but CPUs can be given an op."""
    import tensorflow as tf

    return all(device.device_type.endswith("CPU") for device in tf.config.list_logical_devices())


def serve_convolution(inputs):
    """Whether the kernels are what runs a convolution of some inputs, with all gradients.

    Args:
      inputs: anything with a type and a shape of known rank.
    """
    dtype = getattr(inputs, "dtype", None)
    op_name = "Conv3D" if len(inputs.shape) == 5 else "Conv2D"
    return dtype is not None and serve(op_name, dtype) and cpu_only()


def warn_if_missing():
    """Warns if there are no kernels."""
    import tensorflow as tf

    if not are_loaded():
        warnings.warn(
            "TensorFlow %s runs without the CPU kernels of grouped convolution, so Keras "
            "goes on compiling it with XLA: is this package installed where TensorFlow "
            "is, and made for this release?" % tf.__version__,
            stacklevel=2,
        )
