"""Has Keras 3 train batch normalization with the one op that TensorFlow has for it.

Keras 3 makes it of sums, means and products, each of which reads and writes whole tensors;
the Keras 2 of TensorFlow and tf_keras call FusedBatchNormV3, and so does this, where that
takes less time. What layers are, their weights and their files stay the same.

Results are Keras' but for rounding. oneDNN adds the values of a channel one after the other,
so of many values whose mean is far from 0 its mean has some digits less than Keras' (see
docs/plugin.md). Second derivatives are those of the function: Keras takes a mean for a
constant in them.

Inference is left to Keras: the op's gradient there, which layers that are frozen need, sums
what nobody asks for. So is what XLA compiles: it makes of the op the mean of squares less the
square of the mean, which loses the variance of a channel whose mean is many times its
standard deviation.
"""

import functools

from . import kernels

# Elements of an example, and channels without oneDNN, below which Keras' sums take no
# longer.
FEWEST_ELEMENTS = 1 << 14
FEWEST_CHANNELS = 16

# In types of 16 bits, oneDNN takes two to four times as long as in float32 for numbers of
# channels that are no multiple of this, and else half as long.
ONE_DNN_CHANNELS = 16


def fuse(keras, changes):
    """Has the layers of a Keras that is imported call the op where it takes them.

    Args:
      keras: its module that has the layers.
      changes: the Changes to make.

    Returns:
      Whether there was something to do: Keras 2 calls the op by itself.
    """
    if int(keras.__version__.split(".")[0]) < 3:
        return False
    layer = keras.layers.BatchNormalization
    changes.set(layer, "call", _fused(layer.call))
    return True


def _fused(call):
    """Returns what calls the op, or else what Keras has in its place."""
    import tensorflow as tf
    from keras.src.backend.common import AutocastScope

    @functools.wraps(call)
    def fused(self, inputs, training=None, mask=None):
        if training and self.trainable and _takes(tf, self, inputs, mask):
            # The first releases of Keras 3 give the variables in the type that is computed in.
            with AutocastScope(None):
                return _normalize(tf, self, inputs)
        return call(self, inputs, training=training, mask=mask)

    return tf.autograph.experimental.do_not_convert(fused)


def _is_compiled_by_xla():
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())


def _takes(tf, layer, inputs, mask):
    """Whether the op computes what a layer has to, and faster."""
    # Not every Keras 3 has these two.
    special = mask is not None or any(
        getattr(layer, option, False) for option in ("synchronized", "renorm")
    )
    return (
        not special
        and isinstance(inputs, (tf.Tensor, tf.Variable))
        and layer.variable_dtype == "float32"
        and layer.compute_dtype in ("float32", "bfloat16", "float16")
        and inputs.dtype != tf.float64
        and inputs.shape.rank is not None
        and _pays(inputs.shape.as_list(), layer.axis)
        and not _is_compiled_by_xla()
    )


def _pays(shape, axis):
    """Whether the op takes less time for a shape, of which None is not known."""
    channels = shape[axis]
    elements = 1
    for size in shape[1:]:
        elements *= FEWEST_ELEMENTS if size is None else size
    return (
        channels is not None
        and elements >= FEWEST_ELEMENTS
        # Without oneDNN, the op copies what has its channels elsewhere.
        and (kernels.one_dnn() or channels >= FEWEST_CHANNELS and axis in (-1, len(shape) - 1))
    )


def _normalize(tf, layer, inputs):
    """Does what a layer's call() does in training, with the op."""
    channels = inputs.shape[layer.axis]
    # The op's statistics are float32 whatever the type of what is normalized.
    # What is of another type than the layer computes in may not fit that.
    slow = kernels.one_dnn() and channels % ONE_DNN_CHANNELS
    narrow = inputs.dtype == layer.compute_dtype and not slow
    x = tf.cast(inputs, layer.compute_dtype if narrow else tf.float32)
    x, data_format = _as_images(tf, x, layer.axis)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=layer.gamma if layer.scale else tf.ones([channels]),
        offset=layer.beta if layer.center else tf.zeros([channels]),
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        data_format=data_format,
    )
    # The op divides by one less than the number of values, Keras by the number.
    count = tf.cast(tf.size(x, tf.int64) // channels, tf.float32)
    variance *= (count - 1) / count
    for moving, now in (layer.moving_mean, mean), (layer.moving_variance, variance):
        moving.assign(moving * layer.momentum + now * (1 - layer.momentum))
    y = tf.ensure_shape(tf.reshape(y, tf.shape(inputs)), inputs.shape)
    return tf.cast(y, layer.compute_dtype)


def _as_images(tf, x, axis):
    """Returns a tensor as the op takes it, of rank 4, and the op's data_format."""
    rank = x.shape.rank
    axis %= rank
    channels = x.shape[axis]
    if axis == rank - 1:
        return tf.reshape(x, [1, -1, 1, channels]), "NHWC"
    before, after = (tf.reduce_prod(part) for part in (tf.shape(x)[:axis], tf.shape(x)[axis + 1 :]))
    return tf.reshape(x, tf.stack([before, channels, after, 1])), "NCHW"
