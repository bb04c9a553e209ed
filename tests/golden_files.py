"""Writes API golden files of the Keras convolution layers below the folder in argv[1].

As TensorFlow's own tool would, by inspecting the API that is imported; the layers
are all that a test compares.
"""

import pathlib
import re
import sys

import tensorflow as tf
from tensorflow.python.util import tf_inspect


def argspec(function):
    spec = tf_inspect.getargspec(function)
    defaults = "%s, " % [str(value) for value in spec.defaults] if spec.defaults else None
    parts = (spec.args, spec.varargs, spec.keywords, defaults)
    return "args=%s, varargs=%s, keywords=%s, defaults=%s" % parts


for api, root in (("v1", tf.compat.v1), ("v2", tf)):
    folder = pathlib.Path(sys.argv[1], "tensorflow/tools/api/golden", api)
    folder.mkdir(parents=True)
    for name in dir(root.keras.layers):
        if "Conv" not in name:
            continue
        layer = getattr(root.keras.layers, name)
        symbol = "tensorflow.keras.layers." + name
        lines = ['path: "%s"' % symbol, "tf_class {"]
        for member in sorted(dir(layer)):
            method = getattr(layer, member)
            if callable(method) and (member == "__init__" or member[0] != "_"):
                text = argspec(method).replace("'", "\\'")
                lines += ["  member_method {", '    name: "%s"' % member]
                lines += ['    argspec: "%s"' % text, "  }"]
        file = folder / (re.sub("([A-Z])", r"-\1", symbol).lower() + ".pbtxt")
        file.write_text("\n".join(lines + ["}"]) + "\n")
