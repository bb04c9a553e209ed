#!/usr/bin/env bash
# With oneDNN on and AVX-512, TensorFlow's Conv2D of one channel is wrong where strides leave one column.
#
# A dense layer on grey images that are as wide as its filter or little wider: in float32, in a graph, with
# a bias, as Keras' layers have one. Held to AVX2, oneDNN is right.
# Exits with 0 if that is so, with 1 if it has changed.
set -euo pipefail
grep -q avx512f /proc/cpuinfo || { echo "This processor has no AVX-512: not shown"; exit; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet tensorflow-cpu==2.21.0
cat >"$folder/program.py" <<'PROGRAM'
import tensorflow as tf

# Two images, each of two rows of four pixels; a filter of three ones sees the first three of each.
x = tf.reshape(tf.range(1.0, 17.0), (2, 2, 4, 1))
filters = tf.ones((1, 3, 1, 1))


@tf.function
def convolve(x, filters):
    return tf.nn.bias_add(tf.nn.conv2d(x, filters, [1, 1, 2, 1], "VALID"), tf.zeros(1))


print(tf.__version__, *map(int, tf.reshape(convolve(x, filters), -1)))
PROGRAM
run() {
  ONEDNN_MAX_CPU_ISA=$1 TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore "$folder/program.py" 2>/dev/null
}
read -r version with_avx512 <<<"$(run DEFAULT)"
read -r _ with_avx2 <<<"$(run AVX2)"
echo "TensorFlow $version: the sums of 1 2 3, 5 6 7, 9 10 11 and 13 14 15 are $with_avx512," \
  "and with AVX2 $with_avx2"
[ "$with_avx2" = "6 18 30 42" ] && [ "$with_avx512" != "6 18 30 42" ]
