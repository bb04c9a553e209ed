#!/usr/bin/env bash
# tf2onnx makes a file that ONNX Runtime refuses of any Keras 3 model with a grouped convolution.
#
# On a CPU, Keras compiles each grouped convolution by itself with XLA. tf2onnx does not look into that
# function: it logs that the call is unsupported, copies it, which is no op of ONNX, and returns the model.
# Exits with 0 if that is so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet \
  tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0
TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore - "$folder/model" <<'PROGRAM'
import sys

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx


def convert(groups):
    """Returns the ops of a model in ONNX, and what ONNX Runtime says to it."""
    model = keras.Sequential(
        [keras.Input((6, 6, 4), batch_size=2), keras.layers.Conv2D(8, 3, groups=groups)]
    )
    x = np.random.RandomState(0).standard_normal((2, 6, 6, 4)).astype("float32")
    call = tf.function(lambda x: model(x, training=False))
    onnx, _ = tf2onnx.convert.from_function(call, [tf.TensorSpec(x.shape, name="x")])
    ops = sorted({node.op_type for node in onnx.graph.node})
    try:
        session = onnxruntime.InferenceSession(onnx.SerializeToString())
        (y,) = session.run(None, {"x": x})
        return ops, "differs from Keras by %.0e" % np.abs(y - model(x)).max()
    except Exception as error:
        return ops, str(error)


print("TensorFlow", tf.__version__, "Keras", keras.__version__, "tf2onnx", tf2onnx.__version__)
results = {groups: convert(groups) for groups in (1, 2)}
for groups, (ops, outcome) in results.items():
    print("%d groups: ops %s; ONNX Runtime: %s" % (groups, ops, outcome))
as_found = results[1][1].startswith("differs") and "No Op registered" in results[2][1]
sys.exit(0 if as_found else 1)
PROGRAM
