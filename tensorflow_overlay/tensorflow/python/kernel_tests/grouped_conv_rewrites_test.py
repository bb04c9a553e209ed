# Copyright 2026 The TensorFlow Grouped Convolution Authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
# ==============================================================================
"""Tests for what Grappler and oneDNN make of grouped convolutions."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import itertools

from absl.testing import parameterized
import numpy as np

from tensorflow.python.eager import context
from tensorflow.python.eager import def_function
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import dtypes
from tensorflow.python.framework import kernels
from tensorflow.python.framework import test_util
from tensorflow.python.framework import versions
from tensorflow.python.ops import array_ops
from tensorflow.python.ops import gen_nn_ops
from tensorflow.python.ops import gradients_impl
from tensorflow.python.ops import math_ops
from tensorflow.python.ops import nn_impl
from tensorflow.python.ops import nn_ops
from tensorflow.python.platform import test

_GROUPS = 4
_CHANNELS = 8
_FILTERS = 12


def _conv(x, w):
  op = gen_nn_ops.conv2d if len(x.shape) == 4 else gen_nn_ops.conv3d
  return op(x, w, strides=[1] * len(x.shape), padding='VALID')


def _split_conv(x, w):
  """The same as a dense convolution a group."""
  return array_ops.concat([
      _conv(*both) for both in zip(
          array_ops.split(x, _GROUPS, axis=-1),
          array_ops.split(w, _GROUPS, axis=-1))
  ], axis=-1)


def _pad(x):
  spatial = [[1, 2], [0, 1], [2, 1]][:len(x.shape) - 2]
  return array_ops.pad(x, [[0, 0]] + spatial + [[0, 0]])


def _batch_norm(x, args):
  if x.dtype == dtypes.float64:  # Which the op that is fused does not take.
    return nn_impl.batch_normalization(x, args.mean, args.variance, args.bias,
                                       args.scale, variance_epsilon=0.1)
  return nn_impl.fused_batch_norm(
      x, args.scale, args.bias, args.mean, args.variance, epsilon=0.1,
      is_training=False)[0]


def _leaky_relu(x):
  return nn_ops.leaky_relu(x, alpha=0.3)


_ACTIVATIONS = {
    'none': lambda x: x,
    'relu': nn_ops.relu,
    'relu6': nn_ops.relu6,
    'elu': nn_ops.elu,
    'leaky_relu': _leaky_relu,
    'sigmoid': math_ops.sigmoid,
    'swish': lambda x: x * math_ops.sigmoid(x),
    'tanh': math_ops.tanh,
}


def _activated(activation):
  return lambda conv, args: activation(
      nn_ops.bias_add(conv(args.x, args.w), args.bias))


def _added(activation):
  return lambda conv, args: activation(
      nn_ops.bias_add(conv(args.x, args.w), args.bias) + args.other)


def _gradients(conv, args):
  y = nn_ops.bias_add(conv(args.x, args.w), args.bias)
  return gradients_impl.gradients(y * y, [args.x, args.w, args.bias])


def _gradients_without_bias(conv, args):
  y = conv(args.x, args.w)
  return gradients_impl.gradients(y * y, [args.x, args.w])


# Parts of graphs that are rewritten in one release or another.
_PATTERNS = {
    'plain': lambda conv, args: conv(args.x, args.w),
    'scaled': lambda conv, args: conv(args.x, args.w) * 1.5,
    'relu': lambda conv, args: nn_ops.relu(conv(args.x, args.w)),
    'add': lambda conv, args: conv(args.x, args.w) + args.other,
    'pad': lambda conv, args: conv(_pad(args.x), args.w),
    'pad_bias': lambda conv, args: nn_ops.bias_add(  # pylint: disable=g-long-lambda
        conv(_pad(args.x), args.w), args.bias),
    'pad_bias_relu': lambda conv, args: nn_ops.relu(  # pylint: disable=g-long-lambda
        nn_ops.bias_add(conv(_pad(args.x), args.w), args.bias)),
    'gradients': _gradients,
    'gradients_without_bias': _gradients_without_bias,
}
_PATTERNS.update(
    ('bias_' + name, _activated(function))
    for name, function in _ACTIVATIONS.items())
_PATTERNS.update(
    ('bias_add_' + name, _added(_ACTIVATIONS[name]))
    for name in ('none', 'relu', 'relu6', 'elu'))
# With the default alpha: TensorFlow loses any other here, of dense ones too.
_PATTERNS['bias_add_leaky_relu'] = _added(nn_ops.leaky_relu)
_BATCH_NORM = {
    'batch_norm': lambda conv, args: _batch_norm(conv(args.x, args.w), args),
    'batch_norm_relu': lambda conv, args: nn_ops.relu(  # pylint: disable=g-long-lambda
        _batch_norm(conv(args.x, args.w), args)),
    'batch_norm_leaky_relu': lambda conv, args: _leaky_relu(  # pylint: disable=g-long-lambda
        _batch_norm(conv(args.x, args.w), args)),
}

_TOLERANCE = {dtypes.float32: 1e-5, dtypes.half: 5e-3}
if versions.GRAPH_DEF_VERSION > 1000:
  # Which 2.2 has no convolution for.
  _TOLERANCE[dtypes.bfloat16] = 4e-2

_CASES = list(itertools.product(sorted(_PATTERNS), (2, 3), _TOLERANCE))
# There is none for 3-D, and none of another type than float32 in 2.2.
_CASES += [(name, 2, dtypes.float32) for name in sorted(_BATCH_NORM)]
_PATTERNS.update(_BATCH_NORM)


class _Arguments(object):
  """What patterns use, of random values."""

  def __init__(self, rank):
    random = np.random.RandomState(rank)
    sizes = (6, 5, 7)[:rank]
    self.x = random.uniform(-1, 1, (2,) + sizes + (_CHANNELS,))
    self.w = random.uniform(
        -1, 1, (3,) * rank + (_CHANNELS // _GROUPS, _FILTERS))
    self.other = random.uniform(
        -1, 1, (2,) + tuple(size - 2 for size in sizes) + (_FILTERS,))
    for name in ('bias', 'scale', 'mean', 'variance'):
      setattr(self, name, random.uniform(0.5, 1.5, _FILTERS))

  def call(self, function, dtype, exact_dtype):
    """Calls `function` with these, rounded to one type, as another."""
    names = sorted(vars(self))
    made = _Arguments.__new__(_Arguments)

    @def_function.function
    def traced(*tensors):
      for name, tensor in zip(names, tensors):
        setattr(made, name, tensor)
      # What a function returns is not fused.
      return [array_ops.identity(value) for value in function(made)]

    return traced(*[
        math_ops.cast(constant_op.constant(getattr(self, name), dtype),
                      exact_dtype) for name in names
    ])


class GroupedConvRewritesTest(test.TestCase, parameterized.TestCase):

  def _run(self, pattern, conv, rank, dtype, exact_dtype=None):
    """Runs a pattern in a function, whose graph knows all shapes."""

    def function(args):
      values = _PATTERNS[pattern](conv, args)
      return values if isinstance(values, list) else [values]

    with context.eager_mode():
      values = _Arguments(rank).call(function, dtype, exact_dtype or dtype)
      return [math_ops.cast(value, dtypes.float64).numpy() for value in values]

  @parameterized.named_parameters(
      ('%s_%dd_%s' % (pattern, rank, dtype.name), pattern, rank, dtype)
      for pattern, rank, dtype in _CASES)
  def testValues(self, pattern, rank, dtype):
    actual = self._run(pattern, _conv, rank, dtype)
    expected = self._run(pattern, _split_conv, rank, dtype, dtypes.float64)
    for value, other in zip(actual, expected):
      tolerance = _TOLERANCE[dtype]
      self.assertAllClose(other, value, rtol=tolerance,
                          atol=tolerance * np.abs(other).max())

  def testEveryRewriteOfOneDnnIsProduced(self):
    if not test_util.IsMklEnabled():
      self.skipTest('oneDNN does not run.')
    produced = set()
    with context.eager_mode():
      context.enable_run_metadata()
      for pattern, rank, dtype in _CASES:
        if dtype == dtypes.float32:
          self._run(pattern, _conv, rank, dtype)
          for graph in context.export_run_metadata().partition_graphs:
            nodes = list(graph.node)
            for function in graph.library.function:
              nodes += function.node_def
            produced |= {node.op for node in nodes}
      context.disable_run_metadata()
    known = {
        kernel.op for kernel in kernels.get_all_registered_kernels().kernel
        if kernel.op.startswith('_MklNative') and 'Conv' in kernel.op and
        'Depthwise' not in kernel.op
    }
    # No pass makes this one: a bias is fused as _MklNativeFusedConv2D.
    self.assertEqual(known - produced, {'_MklNativeConv2DWithBias'})


if __name__ == '__main__':
  test.main()
