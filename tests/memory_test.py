"""Tests that convolutions without memory fail as TensorFlow does."""

import subprocess
import sys

from absl.testing import absltest

# What each pass of a grouped convolution says where there is no memory for more
# than small allocations. A process of its own has no scratch memory left over.
STARVE = """
import resource
import tensorflow as tf

x, w = tf.ones([1, 8, 8, 64]), tf.ones([3, 3, 2, 64])
with open("/proc/self/statm") as pages:
  used = int(pages.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 19),) * 2)
options = dict(strides=[1] * 4, padding="SAME")
for run in (
    lambda: tf.raw_ops.Conv2D(input=x, filter=w, **options),
    lambda: tf.raw_ops.Conv2DBackpropInput(
        input_sizes=x.shape, filter=w, out_backprop=x, **options),
    lambda: tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=w.shape, out_backprop=x, **options)):
  try:
    run()
  except tf.errors.ResourceExhaustedError as error:
    print(error.message)
"""


class MemoryTest(absltest.TestCase):
    def test_scratch_memory(self):
        for _ in range(8):
            command = [sys.executable, "-W", "ignore", "-c", STARVE]
            output = subprocess.check_output(command, text=True)
            if output.count("Out of memory for the scratch space of a convolution") == 3:
                return
            # A thread of TensorFlow's that ended meanwhile has left its stack.
        self.fail(output)


if __name__ == "__main__":
    absltest.main()
