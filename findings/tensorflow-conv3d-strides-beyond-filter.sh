#!/usr/bin/env bash
# TensorFlow's Conv3D and its gradients are of different convolutions where strides leave out pixels.
#
# With the padding SAME and a stride that exceeds the filter by two or more, forward starts at another
# pixel than the gradients do: what is missing at the end counts as padding below zero, and half of it is
# taken from the front. Conv2D, and Conv3D by oneDNN, start at the first pixel, as the gradients do. So
# float64 differs from float32 with oneDNN on, and all types do with it off.
# Exits with 0 if that is so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet tensorflow-cpu==2.21.0
cat >"$folder/program.py" <<'PROGRAM'
import tensorflow as tf

for dtype in "float32", "float64":
    # Pixels 1 to 6, and a filter that takes one of each three.
    x = tf.reshape(tf.range(1, 7), (1, 6, 1, 1, 1))
    x = tf.cast(x, dtype)
    filters = tf.ones((1, 1, 1, 1, 1), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.conv3d(x, filters, [1, 3, 1, 1, 1], "SAME")
    gradient = tf.reshape(tape.gradient(y, x), -1)
    taken = [i + 1 for i, value in enumerate(gradient) if value]
    print(tf.__version__, *map(int, tf.reshape(y, -1)), *taken)
PROGRAM
run() {
  TF_ENABLE_ONEDNN_OPTS=$1 TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore "$folder/program.py" 2>/dev/null
}
same=yes
for onednn in 1 0; do
  for type in float32 float64; do
    read -r version first second first_of_gradient second_of_gradient
    echo "TensorFlow $version, $type, oneDNN $onednn: of pixels 1 to 6, every third is forward" \
      "$first $second, and for the gradient $first_of_gradient $second_of_gradient"
    expected="2 5 1 4"
    [ "$onednn $type" = "1 float32" ] && expected="1 4 1 4"
    [ "$first $second $first_of_gradient $second_of_gradient" = "$expected" ] || same=no
  done <<<"$(run $onednn)"
done
[ "$same" = yes ]
