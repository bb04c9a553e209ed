#!/usr/bin/env bash
# TensorFlow.js computes transposed convolutions without their dilations and data format, without a word.
#
# Conv2DBackpropInput has the attributes dilations and data_format; XLA computes what they say.
# tensorflowjs_converter keeps them in model.json. TensorFlow.js reads neither: it takes the dilations
# for 1, and the channels for the last. Where the shapes fit, values are wrong, and nothing is said.
# Exits with 0 if that is so, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=$("$(dirname "${BASH_SOURCE[0]}")/../ci/find_python" 3.11)
"$python" -m venv "$folder/env"
"$folder/env/bin/pip" --disable-pip-version-check install --quiet \
  tensorflowjs==4.22.0 tensorflow==2.19.0 tensorflow-decision-forests==1.12.0 ydf==0.15.0 'setuptools<81'
npm install --prefix "$folder" --no-audit --no-fund --loglevel=error @tensorflow/tfjs-core@4.22.0 \
  @tensorflow/tfjs-converter@4.22.0 @tensorflow/tfjs-backend-cpu@4.22.0 >/dev/null
cat >"$folder/run.js" <<'PROGRAM'
const fs = require('fs');
const tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-backend-cpu');
const {loadGraphModel} = require('@tensorflow/tfjs-converter');

const [folder] = process.argv.slice(2);
const {modelTopology, weightsManifest: [{paths: [name], weights}]} =
    JSON.parse(fs.readFileSync(folder + '/model.json'));
const weightData = new Uint8Array(fs.readFileSync(folder + '/' + name)).buffer;
const load = async () => ({modelTopology, weightSpecs: weights, weightData});
(async () => {
  const model = await loadGraphModel({load});
  const {shape, data} = JSON.parse(fs.readFileSync(0));
  const y = model.predict(tf.tensor(data, shape));
  console.log(JSON.stringify({version: tf.version_core, shape: y.shape, data: [...y.dataSync()]}));
})();
PROGRAM
TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" -W ignore - "$folder" <<'PROGRAM'
import json
import subprocess
import sys

import numpy as np
import tensorflow as tf

folder = sys.argv[1]
random = np.random.RandomState(0)
filters = random.standard_normal((3, 3, 8, 8)).astype("float32")
x = random.standard_normal((2, 8, 8, 8)).astype("float32")


def dense(x, filters):
    return tf.nn.conv2d_transpose(x, filters, [2, 8, 8, 8], 1)


def dilated(x):
    return tf.nn.conv2d_transpose(x, filters, [2, 8, 8, 8], 1, dilations=2)


def channels_first(x):
    return tf.nn.conv2d_transpose(x, filters, [2, 8, 8, 8], 1, data_format="NCHW")


def error(actual, expected):
    return np.abs(actual - expected).max() / np.abs(expected).max()


def try_one(call, expected):
    """Prints how wrong XLA and TensorFlow.js are; returns whether they are as they were."""
    name = call.__name__
    by_xla = tf.function(call, jit_compile=True)(x).numpy()
    module = tf.Module()
    module.call = tf.function(call, input_signature=[tf.TensorSpec(x.shape, name="x")])
    tf.saved_model.save(module, folder + "/saved_" + name, module.call)
    subprocess.run(
        [folder + "/env/bin/tensorflowjs_converter", "--input_format=tf_saved_model"]
        + [folder + "/saved_" + name, folder + "/" + name],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    given = json.dumps({"shape": x.shape, "data": x.ravel().tolist()})
    command = ["node", folder + "/run.js", folder + "/" + name]
    printed = subprocess.run(
        command, input=given, stdout=subprocess.PIPE, check=True, text=True
    ).stdout.splitlines()[-1]
    result = json.loads(printed)
    actual = np.reshape(result["data"], result["shape"])
    print(
        "TensorFlow.js %s, %s: wrong by %.2f of the largest value; XLA by %.0e"
        % (result["version"], name, error(actual, expected), error(by_xla, expected))
    )
    return error(by_xla, expected) < 1e-5 and error(actual, expected) > 0.1


print("TensorFlow", tf.__version__)
x64, filters64 = x.astype("float64"), filters.astype("float64")
# The filters that dilations stand for.
apart = np.zeros((5, 5, 8, 8))
apart[::2, ::2] = filters64
last = dense(x64.transpose(0, 2, 3, 1), filters64).numpy()
as_found = [
    try_one(dilated, dense(x64, apart)),
    try_one(channels_first, last.transpose(0, 3, 1, 2)),
]
sys.exit(0 if all(as_found) else 1)
PROGRAM
