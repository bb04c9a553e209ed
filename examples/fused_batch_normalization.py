"""A batch normalization layer for Keras 3 that takes less time to train with oneDNN.

Keras 3 makes batch normalization of sums, means and products, each of which reads and
writes whole tensors. With grouped convolutions as fast as here, that is what a network
such as ResNeXt spends a large part of a step on. TensorFlow has one op for it. Forward and
backward, with 8 to 256 channels, it was 2.2 to 2.8 times as fast where oneDNN runs it;
where not, 1.1 to 1.3 times with 16 and more channels, but slower with 8. Not tried on a GPU.

    from fused_batch_normalization import FusedBatchNormalization

takes the place of `keras.layers.BatchNormalization`, with the same arguments and weights.
To exchange it in a model that there is:

    def exchange(layer):
        same = type(layer) is not keras.layers.BatchNormalization
        return (type(layer) if same else FusedBatchNormalization).from_config(layer.get_config())

    fused = keras.models.clone_model(model, clone_function=exchange)
    fused.set_weights(model.get_weights())

Files of weights load into the layer that they were saved from alone, `.keras` files of
this one where this module has been imported.
"""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tensorflow_grouped_convolution")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` by TensorFlow's own op, where that can train it.

    That is float32 (or mixed precision, which is computed in float32) with channels last,
    any number of other dimensions, and without mask, synchronization or renormalization.
    All else, inference too, is left to Keras. Results are the same but for rounding, and
    but for second derivatives, in which Keras takes the mean for a constant.

    Not for `jit_compile=True`: XLA makes of the op the difference of two means, which loses
    the variance of a channel whose mean is many times its standard deviation.
    """

    def call(self, inputs, training=None, mask=None):
        if not training or not self.trainable or not self._has_op(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        x = tf.reshape(tf.cast(inputs, tf.float32), [1, -1, 1, channels])
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=self.gamma if self.scale else tf.ones([channels]),
            offset=self.beta if self.center else tf.zeros([channels]),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
        )
        # The op divides by one less than the number of values, Keras by the number.
        count = tf.cast(tf.shape(x)[1], x.dtype)
        variance *= (count - 1) / count
        for moving, now in (self.moving_mean, mean), (self.moving_variance, variance):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return tf.cast(tf.reshape(y, tf.shape(inputs)), self.compute_dtype)

    def _has_op(self, inputs, mask):
        return (
            keras.backend.backend() == "tensorflow"
            and keras.backend.result_type(inputs.dtype, "float32") == "float32"
            and self.variable_dtype == "float32"
            and self.axis in (-1, len(inputs.shape) - 1)
            and inputs.shape[-1] is not None
            and not (mask is not None or self.synchronized or getattr(self, "renorm", False))
        )
