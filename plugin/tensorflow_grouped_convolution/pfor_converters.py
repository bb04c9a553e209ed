"""Keeps groups apart in `GradientTape.jacobian` and whatever else vectorizes gradients.

TensorFlow computes the filter gradients for all outputs at once, by stacking the outputs'
gradients in front of their channels. A convolution whose filter has fewer channels than
its input divides these stacked channels into groups, the wrong ones. This stacks them
within the groups instead.
"""

import functools
import sys

from .changes import Changes, when_imported

_PFOR = "tensorflow.python.ops.parallel_for.pfor"
_OP = "Conv2DBackpropFilter"

_changes = Changes()


def install():
    """Replaces TensorFlow's converter, as soon as it has one."""
    when_imported(_PFOR, _replace)


def uninstall():
    """Gives TensorFlow its own converter back."""
    _changes.undo()


def _replace():
    registry = getattr(sys.modules[_PFOR], "_pfor_converter_registry", {})
    original = registry.get(_OP)
    if original is not None and not _changes:
        # Of ops of rank 3 there is no converter: TensorFlow loops over their outputs.
        _changes.set_item(registry, _OP, functools.partial(_convert, original))


def _is_dense(inputs, filter_sizes, channel_axis):
    """Whether a filter is known to have all the channels of its inputs."""
    import tensorflow as tf

    sizes = tf.get_static_value(filter_sizes)
    channels = inputs.shape[channel_axis]
    return sizes is not None and channels is not None and sizes[2] == channels


def _convert(original, pfor_input):
    """Converts a Conv2DBackpropFilter whose gradients are stacked."""
    import tensorflow as tf

    pfor = sys.modules[_PFOR]
    pfor_input.stack_inputs(stack_indices=[2])
    inputs, inputs_stacked, _ = pfor_input.input(0)
    filter_sizes = pfor_input.unstacked_input(1)
    channel_axis = 1 if pfor_input.get_attr("data_format") == b"NCHW" else 3
    if inputs_stacked or _is_dense(inputs, filter_sizes, channel_axis):
        # One after the other, or without groups to keep apart.
        return original(pfor_input)

    # [n, ..., groups * filters, ...] becomes [..., groups * n * filters, ...].
    gradients = pfor_input.stacked_input(2)
    count = pfor_input.pfor.loop_len_vector
    groups = tf.shape(inputs)[channel_axis : channel_axis + 1] // filter_sizes[2]
    shape = tf.shape(gradients)
    before, after = shape[1 : channel_axis + 1], shape[channel_axis + 2 :]
    gradients = tf.reshape(gradients, tf.concat([count, before, groups, [-1], after], 0))
    order = list(range(1, 6))
    order.insert(channel_axis + 1, 0)
    gradients = tf.transpose(gradients, order)
    gradients = tf.reshape(gradients, tf.concat([before, [-1], after], 0))

    result = tf.raw_ops.Conv2DBackpropFilter(
        input=inputs,
        filter_sizes=filter_sizes * tf.concat([[1, 1, 1], count], 0),
        out_backprop=gradients,
        **{
            name: pfor_input.get_attr(name)
            for name in (
                "strides",
                "use_cudnn_on_gpu",
                "padding",
                "explicit_paddings",
                "data_format",
                "dilations",
            )
        },
    )
    # [height, width, channels, groups * n * filters] becomes
    # [n, height, width, channels, groups * filters].
    result = tf.reshape(result, tf.concat([filter_sizes[:3], groups, count, [-1]], 0))
    result = tf.transpose(result, [4, 0, 1, 2, 3, 5])
    return pfor.wrap(tf.reshape(result, tf.concat([count, filter_sizes], 0)), True)
