#!/usr/bin/env bash
# With oneDNN, TensorFlow's batch normalization in bfloat16 is fast for multiples of 16 channels alone.
#
# A training step of FusedBatchNormV3 on bfloat16 takes less time than one that casts to float32 and back
# if the number of channels is a multiple of 16. Of as many values in 24 channels, as networks have, it
# takes two to four times as long as with the casts.
# Exits with 0 if that is so, with 1 if it has changed; with 0 and a word where the processor has no AVX-512,
# on which it was not seen.
set -euo pipefail
grep -qw avx512bw /proc/cpuinfo || { echo "not tried: no AVX-512"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet tensorflow-cpu==2.21.0
cat >"$folder/program.py" <<'PROGRAM'
import statistics
import time

import tensorflow as tf


def step(cast):
    @tf.function
    def run(x, factors):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, *_ = tf.raw_ops.FusedBatchNormV3(
                x=tf.cast(x, tf.float32) if cast else x,
                scale=factors,
                offset=factors,
                mean=[],
                variance=[],
                epsilon=1e-3,
            )
            y = tf.cast(y, tf.bfloat16)
        return tape.gradient(y, x, output_gradients=y)

    return run


def milliseconds(channels, cast):
    x = tf.cast(tf.random.normal([1, 2400000 // channels, 1, channels]), tf.bfloat16)
    factors, run, times = tf.ones(channels), step(cast), []
    for _ in range(12):
        start = time.perf_counter()
        run(x, factors).numpy()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


times = [milliseconds(channels, cast) for channels in (32, 24) for cast in (False, True)]
print(tf.__version__, *("%.1f" % t for t in times))
print("as found" if times[0] < times[1] and times[2] > 1.5 * times[3] else "changed")
PROGRAM
said=$(TF_ENABLE_ONEDNN_OPTS=1 TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore "$folder/program.py" 2>/dev/null)
read -r version even even_cast odd odd_cast <<<"${said%%$'\n'*}"
echo "TensorFlow $version, ms: 32 channels in bfloat16 $even, cast to float32 $even_cast;" \
  "24 channels $odd, cast $odd_cast"
[ "${said##*$'\n'}" = "as found" ]
