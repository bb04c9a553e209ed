#!/usr/bin/env bash
# Compiled by XLA on a CPU, TensorFlow's fused batch normalization has negative variances.
#
# XLA makes of FusedBatchNormV3 the mean of squares less the square of the mean, in float32. Of channels
# whose mean is a thousand times their standard deviation nothing is left of the variance, which may come
# out below 0. The same op without XLA, and tf.math.reduce_variance with it, are right.
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

values = np.random.RandomState(0).standard_normal((8, 16, 16, 4)) + 1000
x = tf.constant(values, tf.float32)


def fused(x):
    arguments = dict(scale=tf.ones(4), offset=tf.zeros(4), mean=[], variance=[], epsilon=1e-3)
    return tf.raw_ops.FusedBatchNormV3(x=x, **arguments).batch_variance


def of_values(x):
    return tf.math.reduce_variance(x, [0, 1, 2])


def error(function, compiled):
    exact = np.var(values, axis=(0, 1, 2))
    return abs(tf.function(function, jit_compile=compiled)(x) - exact).numpy().max()


errors = [error(fused, False), error(fused, True), error(of_values, True)]
print(tf.__version__, *("%.3f" % e for e in errors))
print("as found" if max(errors[0], errors[2]) < 0.01 and errors[1] > 0.5 else "changed")
PROGRAM
said=$(TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore "$folder/program.py" 2>/dev/null)
read -r version op compiled reduced <<<"${said%%$'\n'*}"
echo "TensorFlow $version: variances of about 1 are off by $op with the fused op, by $compiled with it compiled" \
  "by XLA, by $reduced with reduce_variance compiled by XLA"
[ "${said##*$'\n'}" = "as found" ]
