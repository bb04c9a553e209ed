"""Tests which convolutions are left to oneDNN, by what it says that it computes.

Needs ONEDNN_VERBOSE=1 in the environment from the start.
"""

import ctypes
import os
import pathlib
import re
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

CPU = pathlib.Path("/proc/cpuinfo").read_text()
HAS_TILES = "amx_bf16" in CPU
# What oneDNN's ops in bfloat16 take.
HAS_BFLOAT16 = "avx512f" in CPU or "avx_ne_convert" in CPU


def depthwise_conv2d(x, w, **attributes):
    """The depthwise op as it is called for a graph."""
    return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=w, **attributes)


def printed_by(run):
    """Returns what C and C++ code prints to standard output meanwhile."""
    flush = ctypes.CDLL(None).fflush
    flush(None)
    saved = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            run()
            flush(None)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        file.seek(0)
        return file.read().decode()


def one_dnn_computes(op, x_shape, w_shape, dtype, stride):
    """Whether oneDNN computes a convolution of a graph."""
    random = np.random.RandomState(0)
    x, w = (
        tf.constant(random.uniform(-1, 1, shape), tf.as_dtype(dtype))
        for shape in (x_shape, w_shape)
    )

    @tf.function
    def function(x, w):
        return tf.identity(op(x, w, strides=[1, stride, stride, 1], padding="SAME"))

    printed = printed_by(lambda: function(x, w))
    return re.search(r"^onednn_verbose,.*\bexec,cpu,convolution,", printed, re.M) is not None


class OneDnnTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.assertEqual(os.environ["ONEDNN_VERBOSE"], "1")

    @parameterized.parameters(("float32", True), ("bfloat16", HAS_BFLOAT16))
    def test_it_computes_what_is_not_grouped(self, dtype, expected):
        computes = one_dnn_computes(tf.nn.conv2d, (2, 9, 9, 32), (3, 3, 32, 48), dtype, 1)
        self.assertEqual(computes, expected)

    @parameterized.parameters(
        ("float32", 64, 3, 1),
        ("bfloat16", 16, 3, 1),
        ("bfloat16", 64, 3, 2),
        ("bfloat16", 64, 1, 1),
    )
    def test_groups_are_not_left_to_it(self, dtype, channels, taps, stride):
        self.assertFalse(
            one_dnn_computes(
                tf.nn.conv2d,
                (2, 9, 9, 2 * channels),
                (taps, taps, channels, 2 * channels),
                dtype,
                stride,
            )
        )

    def test_wide_groups_in_bfloat16_are_left_to_it_where_there_are_tiles(self):
        computes = one_dnn_computes(tf.nn.conv2d, (2, 9, 9, 128), (3, 3, 64, 128), "bfloat16", 1)
        self.assertEqual(computes, HAS_TILES)

    @parameterized.product(stride=[1, 2], channels=[4, 64], taps=[3, 5])
    def test_large_depthwise_in_bfloat16_is_left_to_it_where_there_are_tiles(
        self, stride, channels, taps
    ):
        size = (4, 64 * stride, 64 * stride, channels)
        left = HAS_TILES and channels == 64 and taps == 3
        for op, shape in (
            (tf.nn.conv2d, (taps, taps, 1, channels)),
            (depthwise_conv2d, (taps, taps, channels, 1)),
        ):
            self.assertEqual(one_dnn_computes(op, size, shape, "bfloat16", stride), left)


if __name__ == "__main__":
    absltest.main()
