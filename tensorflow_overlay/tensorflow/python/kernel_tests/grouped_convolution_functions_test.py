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
"""Tests for grouped filters in `tf.nn.convolution` and its relatives."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import unittest

from absl.testing import parameterized
import numpy as np

from tensorflow.python.eager import backprop
from tensorflow.python.eager import def_function
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import errors
from tensorflow.python.framework import ops
from tensorflow.python.framework import tensor_shape
from tensorflow.python.framework import test_util
from tensorflow.python.framework import versions
from tensorflow.python.ops import array_ops
from tensorflow.python.ops import nn_ops
from tensorflow.python.platform import test


# Later releases take grouped filters by themselves, and say so in other words.
_skip_unless_patched = unittest.skipUnless(
    versions.GRAPH_DEF_VERSION < 500, 'For the patches of TensorFlow 2.2.')


def _convolution(x, filters, dilation):
  return nn_ops.convolution_v2(
      x, filters, padding='SAME', dilations=[dilation] * (len(x.shape) - 2))


def _conv(x, filters, dilation):
  """Calls the function for the rank of `x`, conv2d for example."""
  rank = len(x.shape) - 2
  conv = (nn_ops.conv1d_v2, nn_ops.conv2d_v2, nn_ops.conv3d_v2)[rank - 1]
  strides, dilations = 1, dilation
  if rank == 3:
    strides, dilations = [1] * 5, [1] + [dilation] * 3 + [1]
  return conv(x, filters, strides, 'SAME', dilations=dilations)


def _random(shape):
  return np.random.RandomState(1).standard_normal(shape).astype(np.float32)


FUNCTIONS = [
    ('%s_%dd' % (name, rank), function, rank)
    for name, function in (('convolution', _convolution), ('conv', _conv))
    for rank in (1, 2, 3)
]


@test_util.run_all_in_graph_and_eager_modes
class GroupedConvolutionTest(test.TestCase, parameterized.TestCase):

  @parameterized.named_parameters(*FUNCTIONS)
  def test_is_one_convolution_per_group(self, function, rank):
    x = _random((2,) + (5,) * rank + (6,))
    filters = _random((3,) * rank + (2, 12))
    for dilation in (1, 2):
      expected = array_ops.concat([
          function(x[..., 2 * g:2 * g + 2], filters[..., 4 * g:4 * g + 4],
                   dilation) for g in range(3)
      ], axis=-1)
      self.assertAllClose(function(x, filters, dilation), expected, rtol=1e-5,
                          atol=1e-5)

  @parameterized.named_parameters(*FUNCTIONS)
  def test_shapes_that_cannot_be_grouped(self, function, rank):
    x = np.zeros((2,) + (5,) * rank + (6,), np.float32)
    for channels, message in (((4, 8), r'\b6\b.*\b4\b|\b4\b.*\b6\b'),
                              ((2, 8), r'\b8\b.*\b3\b')):
      for dilation in (1, 2):
        with self.assertRaisesRegex(
            (ValueError, errors.InvalidArgumentError), message):
          function(x, np.zeros((3,) * rank + channels, np.float32), dilation)

  @_skip_unless_patched
  def test_atrous_transposed_convolution(self):
    x = _random((2, 5, 5, 6))
    filters = _random((3, 3, 2, 6))
    actual = nn_ops.atrous_conv2d_transpose(
        x, filters, [2, 5, 5, 4], rate=2, padding='SAME')
    expected = array_ops.concat([
        nn_ops.atrous_conv2d_transpose(
            x[..., 3 * g:3 * g + 3], filters[..., 3 * g:3 * g + 3],
            [2, 5, 5, 2], rate=2, padding='SAME') for g in range(2)
    ], axis=-1)
    self.assertAllClose(actual, expected, rtol=1e-5, atol=1e-5)
    with self.assertRaisesRegex(ValueError, '5 is not a multiple of 2'):
      nn_ops.atrous_conv2d_transpose(
          x, filters, [2, 5, 5, 5], rate=2, padding='SAME')


class ConvolutionHelperTest(test.TestCase):
  """The helper class, with which the Keras layers check their shapes."""

  def _convolution(self, input_channels, filter_shape):
    return nn_ops.Convolution(
        tensor_shape.TensorShape([None, 5, 5, input_channels]),
        tensor_shape.TensorShape([3, 3] + filter_shape),
        padding='SAME')

  def test_accepts_groups_and_what_is_unknown(self):
    for input_channels, filter_shape in ((6, [2, 12]), (6, [2, None]),
                                         (6, [None, 7]), (None, [2, 7])):
      self._convolution(input_channels, filter_shape)

  @_skip_unless_patched
  def test_grouped_dilation_is_one_op(self):
    for rank, data_formats in ((1, ('NWC', 'NCW')), (2, ('NHWC', 'NCHW')),
                               (3, ('NDHWC', 'NCDHW'))):
      for data_format in data_formats:
        shape = [2] + [9] * rank
        shape.insert(1 if data_format[1] == 'C' else len(shape), 4)
        for channels, is_one in (([2, 8], True), ([4, 8], False)):
          with ops.Graph().as_default() as graph:
            nn_ops.convolution_v2(
                array_ops.ones(shape), array_ops.ones([3] * rank + channels),
                data_format=data_format, dilations=2)
            types = [op.type for op in graph.get_operations()]
          self.assertEqual('SpaceToBatchND' not in types, is_one)

  @_skip_unless_patched
  def test_names_the_values_that_it_refuses(self):
    for input_channels, filter_shape, message in (
        (6, [4, 8], 'number of input channels does not match corresponding '
         'dimension of filter, 6 is not a multiple of 4'),
        (6, [12, 8], '6 is not a multiple of 12'),
        (6, [0, 8], '6 is not a multiple of 0'),
        (0, [2, 8], '0 is not a multiple of 2'),
        (6, [2, 8], '8 is not a multiple of 3 = 6 input channels / 2 input '
         'channels of the filter')):
      with self.assertRaisesRegex(ValueError, message):
        self._convolution(input_channels, filter_shape)


class JacobianTest(test.TestCase, parameterized.TestCase):
  """Jacobians are vectorized, with the gradients for all outputs in one op."""

  @parameterized.named_parameters(('1d', 1), ('2d', 2))
  @test_util.run_v2_only
  def test_jacobian(self, rank):
    x = constant_op.constant(_random((2,) + (3,) * rank + (4,)))
    filters = constant_op.constant(_random((2,) * rank + (2, 6)))
    with backprop.GradientTape(persistent=True) as tape:
      tape.watch([x, filters])
      y = _conv(x, filters, 1)
    for source in (x, filters):
      self.assertAllClose(
          tape.jacobian(y, source),
          tape.jacobian(y, source, experimental_use_pfor=False))

  @test_util.run_v2_only
  def test_channels_first_under_xla(self):
    x = constant_op.constant(_random((2, 4, 3, 3)))
    filters = constant_op.constant(_random((2, 2, 2, 6)))

    with backprop.GradientTape(persistent=True) as tape:
      tape.watch(filters)
      y = nn_ops.conv2d_v2(
          array_ops.transpose(x, [0, 2, 3, 1]), filters, 1, 'VALID')
      y = array_ops.transpose(y, [0, 3, 1, 2])
    expected = tape.jacobian(y, filters, experimental_use_pfor=False)

    @def_function.function(experimental_compile=True)
    def channels_first_jacobian():
      with backprop.GradientTape() as tape:
        tape.watch(filters)
        y = nn_ops.conv2d_v2(x, filters, 1, 'VALID', 'NCHW')
      return tape.jacobian(y, filters)

    self.assertAllClose(channels_first_jacobian(), expected)


class DocstringTest(test.TestCase):

  @_skip_unless_patched
  def test_says_what_a_smaller_filter_means(self):
    for function in (nn_ops.convolution, nn_ops.convolution_v2, nn_ops.conv1d,
                     nn_ops.conv1d_v2, nn_ops.conv2d, nn_ops.conv2d_v2,
                     nn_ops.conv3d_v1, nn_ops.conv3d_v2):
      self.assertRegex(function.__doc__, r'convolution\s+is grouped')
      self.assertNotIn('must match between', function.__doc__)


if __name__ == '__main__':
  test.main()
