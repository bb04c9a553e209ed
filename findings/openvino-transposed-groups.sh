#!/usr/bin/env bash
# OpenVINO reads a grouped transposed convolution of TensorFlow as a dense one, without a word.
#
# TensorFlow's Conv2DBackpropInput has as many groups as its output has times the channels of its
# filters; XLA computes that. OpenVINO makes one dense convolution of the filters. With one channel a
# group and a bias, the result has the right shape by broadcasting, and wrong values.
# Exits with 0 if that is so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet \
  tensorflow-cpu==2.21.0 openvino==2026.4.1
TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore - "$folder/model" <<'PROGRAM'
import sys

import numpy as np
import openvino
import tensorflow as tf

random = np.random.RandomState(0)
x = random.standard_normal((2, 5, 6, 4)).astype("float32")
filters = random.standard_normal((3, 3, 1, 4)).astype("float32")
bias = np.arange(4, dtype="float32")


def call(x):
    y = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=[2, 10, 12, 4], filter=filters, out_backprop=x, strides=[1, 2, 2, 1],
        padding="SAME",
    )
    return {"y": y + bias}


# Four dense convolutions of one channel, in float64.
expected = bias + np.concatenate(
    [
        tf.nn.conv2d_transpose(
            x[..., i : i + 1].astype("float64"), filters[..., i : i + 1].astype("float64"),
            [2, 10, 12, 1], 2,
        )
        for i in range(4)
    ],
    -1,
)
by_xla = tf.function(call, jit_compile=True)(x)["y"].numpy()
module = tf.Module()
module.call = tf.function(call, input_signature=[tf.TensorSpec(x.shape, name="x")])
tf.saved_model.save(module, sys.argv[1], module.call)
model = openvino.compile_model(
    openvino.convert_model(sys.argv[1]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
)
actual = model(x)[0]
print("TensorFlow", tf.__version__, "OpenVINO", openvino.__version__)
print("XLA differs from four dense convolutions by", np.abs(by_xla - expected).max())
print("OpenVINO's shape is", actual.shape, "where", expected.shape, "is right")
print("OpenVINO differs from four dense convolutions by", np.abs(actual - expected).max())
wrong = actual.shape == expected.shape and np.abs(actual - expected).max() > 0.1
sys.exit(0 if wrong and np.abs(by_xla - expected).max() < 1e-4 else 1)
PROGRAM
