"""Tests that distributed training of a grouped model equals training in one place."""

import json
import os
import socket
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest

# Trains for some steps and writes the weights; its arguments are the strategy
# and the file to write.
TRAIN = """
import os, sys
import numpy as np
import tensorflow as tf

strategy, path = sys.argv[1:]
if strategy == "mirrored":
  cpu, = tf.config.list_physical_devices("CPU")
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
  scope = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
  assert scope.num_replicas_in_sync == 2
elif strategy == "workers":
  scope = tf.distribute.experimental.MultiWorkerMirroredStrategy()
  assert scope.num_replicas_in_sync == 2
else:
  scope = tf.distribute.get_strategy()

layers = tf.keras.layers
random = np.random.RandomState(0)
x = random.standard_normal((32, 8, 8, 8)).astype("float32")
y = random.standard_normal((32, 4)).astype("float32")
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
with scope.scope():
  model = tf.keras.Sequential([
      layers.Conv2D(16, 3, groups=4, activation="relu", input_shape=(8, 8, 8)),
      layers.Reshape((1, 6, 6, 16)),
      layers.Conv3D(8, (1, 3, 3), groups=8, strides=(1, 2, 2), padding="same"),
      layers.Reshape((9, 8)),
      layers.Conv1D(4, 3, groups=2),
      layers.GlobalAveragePooling1D(),
  ])
  model.compile(tf.keras.optimizers.SGD(0.1), "mse")
model.set_weights([random.standard_normal(w.shape) / 4 for w in model.get_weights()])
model.fit(data.repeat().with_options(options), epochs=3, steps_per_epoch=4, verbose=0)
if "TF_CONFIG" not in os.environ or '"index": 0' in os.environ["TF_CONFIG"]:
  np.savez(path, *model.get_weights())
"""


def free_ports(count):
    """Returns ports of the loopback interface that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for a_socket in sockets:
        a_socket.bind(("localhost", 0))
    ports = [a_socket.getsockname()[1] for a_socket in sockets]
    for a_socket in sockets:
        a_socket.close()
    return ports


class DistributeTest(absltest.TestCase):
    def train(self, strategy, configs=(None,)):
        """Trains in a process for each TF_CONFIG; returns the weights."""
        folder = self.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "weights.npz")
        processes = []
        for config in configs:
            environment = dict(os.environ, CUDA_VISIBLE_DEVICES="")
            if config is not None:
                environment["TF_CONFIG"] = json.dumps(config)
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-c", TRAIN, strategy, path],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        try:
            for process in processes:
                output, _ = process.communicate(timeout=300)
                self.assertEqual(process.returncode, 0, output)
        finally:
            for process in processes:
                process.kill()
        weights = np.load(path)
        return [weights[name] for name in weights.files]

    def assert_trains_like_one(self, weights):
        alone = self.train("none")
        self.assertLen(weights, len(alone))
        for expected, actual in zip(alone, weights):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)

    def test_mirrored_on_two_devices(self):
        self.assert_trains_like_one(self.train("mirrored"))

    def test_mirrored_on_two_workers(self):
        cluster = {"worker": ["localhost:%d" % port for port in free_ports(2)]}
        configs = [
            {"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)
        ]
        self.assert_trains_like_one(self.train("workers", configs))


if __name__ == "__main__":
    absltest.main()
