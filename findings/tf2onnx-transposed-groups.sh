#!/usr/bin/env bash
# tf2onnx writes a grouped transposed convolution of TensorFlow with group=1, without a word.
#
# With one channel a group and a multiplication by channel behind it, as batch normalization has, ONNX
# Runtime takes the model: the result has the right shape by broadcasting, and wrong values.
# Exits with 0 if that is so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet \
  tensorflow-cpu==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0
TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore - <<'PROGRAM'
import sys

import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx

random = np.random.RandomState(0)
x = random.standard_normal((2, 5, 6, 4)).astype("float32")
filters = random.standard_normal((3, 3, 1, 4)).astype("float32")
scale = np.arange(1, 5, dtype="float32")


def call(x):
    y = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=[2, 10, 12, 4], filter=filters, out_backprop=x, strides=[1, 2, 2, 1],
        padding="SAME",
    )
    return tf.nn.relu(y * scale)


# Four dense convolutions of one channel, in float64.
dense = [
    tf.nn.conv2d_transpose(
        x[..., i : i + 1].astype("float64"), filters[..., i : i + 1].astype("float64"),
        [2, 10, 12, 1], 2,
    )
    for i in range(4)
]
expected = np.maximum(0, np.concatenate(dense, -1) * scale)
by_xla = tf.function(call, jit_compile=True)(x).numpy()
model, _ = tf2onnx.convert.from_function(tf.function(call), [tf.TensorSpec(x.shape, name="x")])
session = onnxruntime.InferenceSession(model.SerializeToString())
(actual,) = session.run(None, {"x": x})
nodes = [node for node in model.graph.node if node.op_type == "ConvTranspose"]
groups = [a.i for node in nodes for a in node.attribute if a.name == "group"]
print("TensorFlow", tf.__version__, "tf2onnx", tf2onnx.__version__)
print("XLA differs from four dense convolutions by", np.abs(by_xla - expected).max())
print("The groups that ONNX has are", groups, "where 4 is right")
print("ONNX Runtime's shape is", actual.shape, "where", expected.shape, "is right")
print("ONNX Runtime differs from four dense convolutions by", np.abs(actual - expected).max())
wrong = actual.shape == expected.shape and np.abs(actual - expected).max() > 0.1
sys.exit(0 if wrong and np.abs(by_xla - expected).max() < 1e-4 else 1)
PROGRAM
