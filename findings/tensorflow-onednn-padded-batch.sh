#!/usr/bin/env bash
# With oneDNN on, TensorFlow drops padding of the batch before a convolution in a graph, without a word.
#
# The graph pass fuses tf.pad with the convolution behind it, whatever is padded; the fused op pads the
# image alone. Called eagerly, or without oneDNN, the same function has the padded batch.
# Exits with 0 if that is so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet tensorflow-cpu==2.21.0
cat >"$folder/program.py" <<'PROGRAM'
import numpy as np
import tensorflow as tf

random = np.random.RandomState(0)
x = tf.constant(random.standard_normal((2, 6, 6, 2)), tf.float32)
filters = tf.constant(random.standard_normal((3, 3, 2, 4)), tf.float32)


def convolve(x):
    # One image of zeros before the batch, and a frame of them around each image.
    return tf.nn.conv2d(tf.pad(x, [[1, 0], [1, 1], [1, 1], [0, 0]]), filters, 1, "VALID")


print(tf.__version__, convolve(x).shape[0], tf.function(convolve)(x).numpy().shape[0])
PROGRAM
run() {
  TF_ENABLE_ONEDNN_OPTS=$1 TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore "$folder/program.py" 2>/dev/null
}
read -r version eager with_onednn <<<"$(run 1)"
read -r _ _ without_onednn <<<"$(run 0)"
echo "TensorFlow $version: of a batch of 2 padded to 3, there are eagerly $eager," \
  "in a graph $with_onednn with oneDNN and $without_onednn without"
[ "$eager $with_onednn $without_onednn" = "3 2 3" ]
