"""Keeps groups apart where models are converted to TensorFlow Lite, and in SavedModels.

Its converter takes no notice of groups in some convolutions. They become one for every
group, or are refused by name, before the converter sees them.
"""

import functools
import sys
import warnings

from .changes import Changes, when_imported

_CONVERT = "tensorflow.lite.python.convert"

# The convolutions that TensorFlow Lite has no groups for; of those of rank 2 forward, it
# has them in this release of TensorFlow at the latest.
_WITHOUT_GROUPS = ("Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2")
_CONV2D_SINCE = (2, 12)

_changes = Changes()


def install():
    """Puts the splitting before the converter, as soon as there is one."""
    when_imported(_CONVERT, _wrap_converter)


def uninstall():
    """Gives TensorFlow Lite its own converter back."""
    _changes.undo()


def split_saved_model(saved_model_dir, export_dir, **kwargs):
    """Copies a SavedModel, for a TensorFlow without grouped convolutions.

    What its signatures call computes the same as before, one convolution a group.

    Args:
      saved_model_dir: The local folder of the SavedModel.
      export_dir: The folder to write the copy to, which must not exist yet.
      **kwargs: As those of `split_grouped_convolutions.split_saved_model`, such as the
        types of the convolutions to split.

    Returns:
      The numbers of groups of what was split, by name.

    Raises:
      ValueError: If it is unknown whether a transposed convolution is grouped, or if
        a function has different numbers of groups where it is called.

    """
    from . import split_grouped_convolutions

    return split_grouped_convolutions.split_saved_model(saved_model_dir, export_dir, **kwargs)


def _wrap_converter():
    module = sys.modules[_CONVERT]
    # A rebuilt TensorFlow splits by itself.
    if hasattr(module, "split_grouped_convolutions") or _changes:
        return
    # What all ways into the converter end with.
    names = [name for name in ("convert", "toco_convert_protos") if hasattr(module, name)]
    if names:
        _changes.set(module, names[0], _splitting(getattr(module, names[0]), module))
    else:
        warnings.warn(
            "TensorFlow Lite's converter was not found: it takes no notice of groups",
            RuntimeWarning,
            stacklevel=2,
        )


def _splitting(convert, module):
    """Returns a converter that splits before it converts.

    Args:
      convert: TensorFlow's own one.
      module: that it is in.
    """

    @functools.wraps(convert)
    def wrapper(model_flags, conversion_flags, input_data_str=None, debug_info_str=None, **others):
        import tensorflow as tf

        from . import split_grouped_convolutions

        # As 2.12 and older releases have them.
        as_bytes = isinstance(model_flags, bytes)
        if as_bytes:
            model_flags = module._model_flags_pb2.ModelFlags.FromString(model_flags)
            conversion_flags = module._conversion_flags_pb2.TocoFlags.FromString(conversion_flags)

        def convert_split(*arguments):
            flags, rest = arguments[:2], arguments[2:]
            if as_bytes:
                flags = [message.SerializeToString() for message in flags]
            return convert(*flags, *rest, **others)

        op_types = _WITHOUT_GROUPS
        if tuple(map(int, tf.__version__.split(".")[:2])) < _CONV2D_SINCE:
            op_types += ("Conv2D",)
        return split_grouped_convolutions.before_conversion(*op_types)(convert_split)(
            model_flags, conversion_flags, input_data_str, debug_info_str
        )

    return wrapper
