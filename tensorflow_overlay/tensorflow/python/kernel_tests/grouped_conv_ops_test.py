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
"""Tests for grouped and depthwise convolution ops on the CPU."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import collections
import itertools
import threading
import time

from absl.testing import parameterized
import numpy as np

from tensorflow.core.framework import graph_pb2
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import session
from tensorflow.python.data.ops import dataset_ops
from tensorflow.python.eager import backprop
from tensorflow.python.eager import cancellation
from tensorflow.python.eager import context
from tensorflow.python.eager import def_function
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import dtypes
from tensorflow.python.framework import errors
from tensorflow.python.framework import importer
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework import ops
from tensorflow.python.framework import test_util
from tensorflow.python.ops import array_ops
from tensorflow.python.ops import gen_nn_ops
from tensorflow.python.ops import math_ops
from tensorflow.python.ops import nn_impl
from tensorflow.python.ops import nn_ops
from tensorflow.python.ops import random_ops
from tensorflow.python.platform import test


# Of depthwise ops, older releases have none.
_HAS_EXPLICIT_PADDINGS = any(
    attribute.name == 'explicit_paddings'
    for attribute in op_def_registry.get('DepthwiseConv2dNative').attr)

# What a Conv's windows are, from which everything else follows.
_FIELDS = ('batch', 'size', 'channels', 'filters', 'groups', 'kernel',
           'strides', 'dilations', 'padding', 'channels_first', 'depthwise')


class Conv(collections.namedtuple('Conv', _FIELDS)):
  """A convolution, and by its definition what the ops have to compute.

  `size`, `kernel`, `strides` and `dilations` have a value for each spatial
  dimension, and so has `padding` a pair, unless it is 'VALID' or 'SAME'. Arrays
  have their channels last. With `depthwise`, which needs a group a channel, the
  ops and the filter's shape are those of depthwise convolutions.
  """

  def __str__(self):
    padding = self.padding
    if isinstance(padding, tuple):
      padding = 'x'.join('%d_%d' % pair for pair in padding)
    sizes = [
        letter + 'x'.join(str(value) for value in values)
        for letter, values in (('i', self.size), ('k', self.kernel),
                               ('s', self.strides), ('d', self.dilations))
    ]
    return '_'.join(
        ['depthwise'] * self.depthwise +
        ['n%d' % self.batch, 'g%d' % self.groups,
         'c%dto%d' % (self.channels, self.filters)] + sizes +
        [padding, 'channels_first' if self.channels_first else 'channels_last'])

  @property
  def rank(self):
    return len(self.size)

  @property
  def pads(self):
    if self.padding == 'VALID':
      return ((0, 0),) * self.rank
    if self.padding == 'SAME':
      # What is needed for one output a stride; the odd element comes after.
      needed = [
          max(0, (-(-size // stride) - 1) * stride + window - size)
          for size, stride, window in zip(self.size, self.strides, self.windows)
      ]
      return tuple((n // 2, n - n // 2) for n in needed)
    return self.padding

  @property
  def windows(self):
    return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations)]

  @property
  def padded_size(self):
    return tuple(size + sum(pad) for size, pad in zip(self.size, self.pads))

  @property
  def output_size(self):
    return tuple(
        max(0, (size - window) // stride + 1)
        for size, window, stride in zip(self.padded_size, self.windows,
                                        self.strides))

  @property
  def group_channels(self):
    return self.channels // self.groups

  @property
  def group_filters(self):
    return self.filters // self.groups

  @property
  def input_shape(self):
    return (self.batch,) + self.size + (self.channels,)

  @property
  def filter_shape(self):
    if self.depthwise:
      return self.kernel + (self.channels, self.group_filters)
    return self.kernel + (self.group_channels, self.filters)

  @property
  def output_shape(self):
    return (self.batch,) + self.output_size + (self.filters,)

  def _taps(self):
    """For each tap of the filter: its index, and what it sees of the input."""
    for tap in itertools.product(*[range(k) for k in self.kernel]):
      seen = tuple(
          slice(t * d, t * d + o * s, s)
          for t, d, o, s in zip(tap, self.dilations, self.output_size,
                                self.strides))
      yield tap, (slice(None),) + seen

  def _pad_input(self, inputs):
    # A stride more at the end, so that all slices of _taps() have one length.
    pads = [(before, after + stride)
            for (before, after), stride in zip(self.pads, self.strides)]
    padded = np.pad(inputs, [(0, 0)] + pads + [(0, 0)], 'constant')
    return padded.reshape(padded.shape[:-1] +
                          (self.groups, self.group_channels))

  def _split_output(self, output):
    return output.reshape((self.batch,) + self.output_size +
                          (self.groups, self.group_filters))

  def _split_filter(self, kernel):
    return kernel.reshape(self.kernel + (self.group_channels, self.groups,
                                         self.group_filters))

  def forward(self, inputs, kernel):
    output = np.zeros(self.output_shape, inputs.dtype)
    padded, kernel = self._pad_input(inputs), self._split_filter(kernel)
    for tap, seen in self._taps():
      self._split_output(output)[...] += np.einsum('...gi,igo->...go',
                                                   padded[seen], kernel[tap])
    return output

  def input_gradient(self, kernel, grad):
    padded = self._pad_input(np.zeros(self.input_shape, grad.dtype))
    kernel, grad = self._split_filter(kernel), self._split_output(grad)
    for tap, seen in self._taps():
      padded[seen] += np.einsum('...go,igo->...gi', grad, kernel[tap])
    inside = tuple(slice(before, before + size)
                   for (before, _), size in zip(self.pads, self.size))
    return padded[(slice(None),) + inside].reshape(self.input_shape)

  def filter_gradient(self, inputs, grad):
    kernel = np.zeros(self.filter_shape, grad.dtype)
    padded, grad = self._pad_input(inputs), self._split_output(grad)
    equation = '{0}gi,{0}go->igo'.format('nxyz'[:self.rank + 1])
    for tap, seen in self._taps():
      self._split_filter(kernel)[tap] += np.einsum(equation, padded[seen], grad)
    return kernel


def _channels_first(array):
  return np.moveaxis(array, -1, 1)


class ConvOps(object):
  """The ops of a Conv, on tensors in its own layout."""

  def __init__(self, conv):
    self._conv = conv
    self._is_2d = conv.rank == 2

  def _attributes(self):
    conv = self._conv

    def per_dimension(values, other):
      if conv.channels_first:
        return [other, other] + list(values)
      return [other] + list(values) + [other]

    first, last = ('NCHW', 'NHWC') if self._is_2d else ('NCDHW', 'NDHWC')
    attributes = {
        'strides': per_dimension(conv.strides, 1),
        'dilations': per_dimension(conv.dilations, 1),
        'data_format': first if conv.channels_first else last,
        'padding': conv.padding
    }
    if isinstance(conv.padding, tuple):
      attributes['padding'] = 'EXPLICIT'
      attributes['explicit_paddings'] = list(
          itertools.chain(*per_dimension(conv.padding, (0, 0))))
    return attributes

  def to_layout(self, array):
    return _channels_first(array) if self._conv.channels_first else array

  def _op(self, of_2d, of_3d, depthwise):
    return (depthwise if self._conv.depthwise else of_2d if self._is_2d else
            of_3d)

  def forward(self, inputs, kernel):
    op = self._op(gen_nn_ops.conv2d, gen_nn_ops.conv3d,
                  gen_nn_ops.depthwise_conv2d_native)
    return op(input=inputs, filter=kernel, **self._attributes())

  def input_gradient(self, kernel, grad, input_sizes=None):
    op = self._op(gen_nn_ops.conv2d_backprop_input,
                  gen_nn_ops.conv3d_backprop_input_v2,
                  gen_nn_ops.depthwise_conv2d_native_backprop_input)
    if input_sizes is None:
      input_sizes = self.to_layout(np.empty(self._conv.input_shape)).shape
    return op(input_sizes=constant_op.constant(input_sizes, dtypes.int32),
              filter=kernel, out_backprop=grad, **self._attributes())

  def filter_gradient(self, inputs, grad, filter_sizes=None):
    op = self._op(gen_nn_ops.conv2d_backprop_filter,
                  gen_nn_ops.conv3d_backprop_filter_v2,
                  gen_nn_ops.depthwise_conv2d_native_backprop_filter)
    if filter_sizes is None:
      filter_sizes = self._conv.filter_shape
    return op(input=inputs, filter_sizes=constant_op.constant(
        filter_sizes, dtypes.int32), out_backprop=grad, **self._attributes())


def _random_conv(random):
  """A small convolution of 2 to 8 groups."""
  rank = random.choice([2, 2, 3])
  groups = random.randint(2, 9)

  def per_dimension(low, high):
    return tuple(int(v) for v in random.randint(low, high + 1, rank))

  kernel = per_dimension(1, 3 if rank == 3 else 4)
  dilations = per_dimension(1, 3) if random.rand() < 0.5 else (1,) * rank
  size = per_dimension(1, 6 if rank == 3 else 9)
  padding = random.choice(['VALID', 'SAME', 'EXPLICIT'])
  if rank == 3 and padding == 'EXPLICIT':
    padding = 'SAME'  # The 3-D ops have no explicit padding.
  if padding == 'EXPLICIT':
    padding = tuple(zip(per_dimension(0, 3), per_dimension(0, 3)))
  if padding != 'SAME':
    size = tuple(s + (k - 1) * d for s, k, d in zip(size, kernel, dilations))
  return Conv(
      batch=random.randint(1, 4), size=size,
      channels=groups * random.randint(1, 10),
      filters=groups * random.randint(1, 10), groups=groups, kernel=kernel,
      strides=per_dimension(1, 3), dilations=dilations, padding=padding,
      channels_first=bool(random.rand() < 0.25), depthwise=False)


def _random_depthwise(random):
  """A small depthwise convolution of 1 to 40 channels."""
  conv = _random_conv(random)
  while conv.rank != 2 or (conv.padding not in ('VALID', 'SAME') and
                           not _HAS_EXPLICIT_PADDINGS):
    conv = _random_conv(random)
  channels = random.randint(1, 41)
  return conv._replace(
      channels=channels, groups=channels, depthwise=True,
      filters=channels * random.choice([1, 1, 2, 3]))


def _conv(groups, channels, filters, size=(5, 6), kernel=(3, 3), **kwargs):
  one = (1,) * len(size)
  defaults = dict(batch=2, strides=one, dilations=one, padding='SAME',
                  channels_first=False, depthwise=False)
  defaults.update(kwargs)
  return Conv(groups=groups, channels=channels, filters=filters, size=size,
              kernel=kernel, **defaults)


def _depthwise(channels, multiplier, **kwargs):
  return _conv(channels, channels, channels * multiplier, depthwise=True,
               **kwargs)


_PLAIN = _conv(4, 8, 12)
_PLAIN_DEPTHWISE = _depthwise(8, 2)
_PLAIN_3D = _conv(4, 8, 12, size=(4, 5, 6), kernel=(3, 3, 2))

# Convolutions that random ones miss.
_SPECIAL = [
    _PLAIN,
    _PLAIN_3D,
    _conv(32, 128, 128, size=(7, 7)),
    # Depthwise, with 1 and 3 filters a channel.
    _conv(16, 16, 16),
    _conv(5, 5, 15, strides=(2, 2)),
    # 1-D.
    _conv(4, 12, 8, size=(1, 50), kernel=(1, 16)),
    # Pointwise.
    _conv(3, 60, 30, kernel=(1, 1)),
    # A filter larger than the input.
    _conv(2, 4, 6, size=(2, 3), kernel=(5, 7)),
    # Strides that skip input.
    _conv(2, 4, 6, size=(9, 9), kernel=(1, 2), strides=(3, 4)),
    # Channels enough for whole vectors, and some over.
    _conv(2, 74, 138),
    _conv(3, 51, 99, size=(4, 3, 5), kernel=(2, 2, 2), strides=(2, 1, 2)),
    # Padding without any input under it.
    _conv(2, 4, 6, size=(2, 2), kernel=(2, 2), padding=((3, 0), (0, 4))),
    # Nothing to compute, or nothing to compute it from.
    _conv(2, 4, 6, batch=0),
    _conv(2, 4, 6, size=(0, 3)),
    _conv(2, 4, 0),
    # Dense ones that the stock kernels refuse.
    _conv(1, 3, 5, channels_first=True),
    _conv(1, 3, 5, size=(4, 4, 4), kernel=(2, 2, 2), channels_first=True),
    _conv(1, 3, 5, dilations=(2, 3)),
    _conv(1, 3, 5, size=(4, 4, 4), kernel=(2, 2, 2), dilations=(1, 1, 2)),
    _PLAIN_DEPTHWISE,
    # What stock depthwise kernels refuse, or compute as something else.
    _depthwise(8, 1, dilations=(2, 2)),
    _depthwise(5, 3, dilations=(1, 3), strides=(2, 2), size=(9, 8)),
    _depthwise(8, 1, strides=(1, 2), channels_first=True),
    _depthwise(1, 4),
    _depthwise(1, 4, dilations=(2, 1), channels_first=True),
    # Nothing to compute, or nothing to compute it from.
    _depthwise(8, 2, batch=0),
    _depthwise(8, 2, size=(0, 3)),
    _depthwise(8, 0),
]

# Empty ones that no graph accepts. Stock kernels die of the dense ones, which
# CVE-2022-35999 is about.
_PAST_INPUT = dict(size=(3, 3), kernel=(5, 5), strides=(4, 4), padding='VALID')
_EAGER_ONLY = [
    _conv(2, 4, 6, **_PAST_INPUT),
    _conv(1, 4, 6, **_PAST_INPUT),
    _conv(1, 0, 6),
    _conv(1, 4, 0, size=(4, 4, 4), kernel=(2, 2, 2)),
    _depthwise(4, 2, **_PAST_INPUT),
    _depthwise(0, 2)._replace(groups=1),
]


def _named(convs):
  return [('_%d_%s' % (i, conv), conv) for i, conv in enumerate(convs)]


_RANDOM = [_random_conv(np.random.RandomState(seed)) for seed in range(60)]
_RANDOM_DEPTHWISE = [
    _random_depthwise(np.random.RandomState(seed)) for seed in range(40)
]
_ALL = _named(_SPECIAL + _RANDOM + _RANDOM_DEPTHWISE)
# What XLA and the like are tried on: they take long to compile.
_SOME = _named([_PLAIN, _PLAIN_3D, _PLAIN_DEPTHWISE] + _RANDOM[:8] +
               _RANDOM_DEPTHWISE[:4])

_FLOATS = [dtypes.half, dtypes.float32, dtypes.float64]

# For sums of up to some hundred products; half adds up in float32.
_TOLERANCE = {
    dtypes.half: 1e-3,
    dtypes.float32: 1e-5,
    dtypes.float64: 1e-13,
    dtypes.int32: 0
}


def _random_values(seed, shape, dtype):
  """Random values of dtype, as float64 or int64."""
  random = np.random.RandomState(seed)
  if dtype.is_integer:
    # Sums of products overflow, as they may.
    return random.randint(-2**20, 2**20, shape)
  values = random.uniform(-1, 1, shape)
  return values.astype(dtype.as_numpy_dtype).astype(np.float64)


class GroupedConvOpsTest(test.TestCase, parameterized.TestCase):

  def _values(self, conv, dtype=dtypes.float64):
    """Input, filter and gradient of the output for `conv`."""
    shapes = (conv.input_shape, conv.filter_shape, conv.output_shape)
    return [
        _random_values(seed, shape, dtype) for seed, shape in enumerate(shapes)
    ]

  def _tensors(self, conv, values, dtype):
    """`values`, input, filter and output, in the layout of the ops."""
    inputs, kernel, output = [v.astype(dtype.as_numpy_dtype) for v in values]
    layout = ConvOps(conv).to_layout
    return [
        constant_op.constant(v, dtype)
        for v in (layout(inputs), kernel, layout(output))
    ]

  def _assert_near(self, expected, actual, dtype):
    self.assertEqual(actual.dtype, dtype.as_numpy_dtype)
    expected = expected.astype(dtype.as_numpy_dtype)
    if dtype.is_integer:
      self.assertAllEqual(expected, actual)
      return
    tolerance = _TOLERANCE[dtype]
    scale = max(1, np.abs(expected).max()) if expected.size else 1
    self.assertAllClose(expected, actual, rtol=tolerance,
                        atol=tolerance * scale)

  def _check_forward(self, conv, dtype, run):
    values = self._values(conv, dtype)
    inputs, kernel, _ = self._tensors(conv, values, dtype)
    convolution = ConvOps(conv)
    actual = run(convolution.forward, inputs, kernel)
    expected = convolution.to_layout(conv.forward(*values[:2]))
    self._assert_near(expected, actual, dtype)

  def _check_input_gradient(self, conv, dtype, run):
    values = self._values(conv, dtype)
    _, kernel, grad = self._tensors(conv, values, dtype)
    convolution = ConvOps(conv)
    actual = run(convolution.input_gradient, kernel, grad)
    expected = convolution.to_layout(conv.input_gradient(*values[1:]))
    self._assert_near(expected, actual, dtype)

  def _check_filter_gradient(self, conv, dtype, run):
    values = self._values(conv, dtype)
    inputs, _, grad = self._tensors(conv, values, dtype)
    actual = run(ConvOps(conv).filter_gradient, inputs, grad)
    self._assert_near(conv.filter_gradient(values[0], values[2]), actual, dtype)

  def _evaluate(self, op, *args):
    return self.evaluate(op(*args))

  # Of a data set's ops, 0 threads are none but the caller's.
  @parameterized.parameters(0, 1, 4)
  def testInDataSet(self, max_threads):
    conv = _conv(4, 8, 12, size=(20, 30))

    def run(op, *args):
      dataset = dataset_ops.Dataset.from_tensors(args).map(op)
      options = type(dataset.options())()
      threading_options = (
          options.threading if hasattr(options, 'threading') else
          options.experimental_threading)
      threading_options.max_intra_op_parallelism = max_threads
      return next(iter(dataset.with_options(options))).numpy()

    with context.eager_mode():
      for check in (self._check_forward, self._check_input_gradient,
                    self._check_filter_gradient):
        check(conv, dtypes.float32, run)

  @parameterized.named_parameters(*_ALL)
  @test_util.run_in_graph_and_eager_modes
  def testForward(self, conv):
    for dtype in _FLOATS:
      self._check_forward(conv, dtype, self._evaluate)
    if conv.rank == 2 and not conv.depthwise:
      self._check_forward(conv, dtypes.int32, self._evaluate)

  @parameterized.named_parameters(*_ALL)
  @test_util.run_in_graph_and_eager_modes
  def testInputGradient(self, conv):
    for dtype in _FLOATS:
      self._check_input_gradient(conv, dtype, self._evaluate)
    if conv.rank == 2 and not conv.depthwise:
      self._check_input_gradient(conv, dtypes.int32, self._evaluate)

  @parameterized.named_parameters(*_ALL)
  @test_util.run_in_graph_and_eager_modes
  def testFilterGradient(self, conv):
    for dtype in _FLOATS:
      self._check_filter_gradient(conv, dtype, self._evaluate)

  @parameterized.named_parameters(*_named(_EAGER_ONLY))
  def testEager(self, conv):
    with context.eager_mode():
      self._check_forward(conv, dtypes.float32, self._evaluate)
      self._check_input_gradient(conv, dtypes.float32, self._evaluate)
      self._check_filter_gradient(conv, dtypes.float32, self._evaluate)

  @parameterized.named_parameters(*_SOME)
  def testXla(self, conv):
    with context.eager_mode():

      def run(op, *args):
        return def_function.function(op, experimental_compile=True)(
            *args).numpy()

      self._check_forward(conv, dtypes.float32, run)
      self._check_input_gradient(conv, dtypes.float32, run)
      self._check_filter_gradient(conv, dtypes.float32, run)

  @parameterized.named_parameters(*_SOME)
  def testGradientsInFunction(self, conv):
    """First and second order, which are convolutions again."""
    dtype = dtypes.float64
    values = self._values(conv, dtype)
    input_weights = _random_values(3, conv.input_shape, dtype)
    filter_weights = _random_values(4, conv.filter_shape, dtype)
    convolution = ConvOps(conv)
    layout = convolution.to_layout

    @def_function.function
    def gradients(inputs, kernel, grad):
      with backprop.GradientTape(persistent=True) as outer:
        outer.watch([inputs, kernel, grad])
        with backprop.GradientTape() as inner:
          inner.watch([inputs, kernel])
          output = convolution.forward(inputs, kernel)
        first = inner.gradient(output, [inputs, kernel], output_gradients=grad)
        of_input = math_ops.reduce_sum(first[0] * layout(input_weights))
        of_filter = math_ops.reduce_sum(first[1] * filter_weights)
      return (first, outer.gradient(of_input, [kernel, grad]),
              outer.gradient(of_filter, [inputs, grad]))

    with context.eager_mode():
      first, of_input, of_filter = gradients(
          *self._tensors(conv, values, dtype))
      inputs, kernel, grad = values
      for expected, actual in (
          (layout(conv.input_gradient(kernel, grad)), first[0]),
          (conv.filter_gradient(inputs, grad), first[1]),
          (conv.filter_gradient(input_weights, grad), of_input[0]),
          (layout(conv.forward(input_weights, kernel)), of_input[1]),
          (layout(conv.input_gradient(filter_weights, grad)), of_filter[0]),
          (layout(conv.forward(inputs, filter_weights)), of_filter[1])):
        self._assert_near(expected, actual.numpy(), dtype)

  def testFirstFormsOfGradients3D(self):
    """Old graphs have ops that take a tensor where others take its shape."""
    conv = _PLAIN_3D
    values = self._values(conv)
    expected = {
        'Conv3DBackpropInput': conv.input_gradient(*values[1:]),
        'Conv3DBackpropFilter': conv.filter_gradient(values[0], values[2])
    }
    for op, result in expected.items():
      graph_def = graph_pb2.GraphDef()
      graph_def.versions.producer = 9
      names = ('input', 'filter', 'out_backprop')
      for name in names:
        node = graph_def.node.add(name=name, op='Placeholder')
        node.attr['dtype'].type = dtypes.float64.as_datatype_enum
      node = graph_def.node.add(name='gradient', op=op, input=names)
      node.attr['T'].type = dtypes.float64.as_datatype_enum
      node.attr['strides'].list.i.extend([1] * 5)
      node.attr['padding'].s = b'SAME'
      with ops.Graph().as_default(), session.Session() as sess:
        importer.import_graph_def(graph_def, name='')
        feed = {name + ':0': value for name, value in zip(names, values)}
        self._assert_near(result, sess.run('gradient:0', feed), dtypes.float64)


# Edits of a shape.
_DROP_FIRST = lambda shape: shape[1:]
_NO_BATCH = lambda shape: [0] + shape[1:]
_NEGATIVE = lambda shape: [-1] + shape[1:]
_HUGE = lambda shape: [2**31 - 1] * (len(shape) - 1) + shape[-1:]
_LARGER = lambda shape: [shape[0], shape[1] + 1] + shape[2:]
_ONE_CHANNEL_MORE = lambda shape: shape[:-1] + [shape[-1] + 1]
_TWICE_THE_CHANNELS = lambda shape: shape[:-1] + [shape[-1] * 2]
_NO_TAPS = lambda shape: [0] * (len(shape) - 2) + shape[-2:]
_DEPTH_0 = lambda shape: shape[:-2] + [0] + shape[-1:]
_DEPTH_3 = lambda shape: shape[:-2] + [3] + shape[-1:]

# The op, the argument of it whose shape is edited, and what it says to that.
_HOSTILE = [
    ('forward', 'inputs', _DROP_FIRST, 'input must have rank'),
    ('forward', 'inputs', _ONE_CHANNEL_MORE, "input's channels 5"),
    ('forward', 'kernel', _DROP_FIRST, 'filter must have rank'),
    ('forward', 'kernel', _NO_TAPS, 'filter must not have size 0 in spatial'),
    ('forward', 'kernel', _DEPTH_0, "channels 4 .* filter's input channels 0"),
    ('forward', 'kernel', _DEPTH_3, "channels 4 .* filter's input channels 3"),
    ('input_gradient', 'input_sizes', _DROP_FIRST, 'input_sizes must have'),
    ('input_gradient', 'input_sizes', lambda shape: [shape],
     'input_sizes must be a vector'),
    ('input_gradient', 'input_sizes', _NEGATIVE, r'input_sizes .* \[-1,'),
    ('input_gradient', 'input_sizes', _HUGE, 'input_sizes has too many|'
     'output has too many|out_backprop must have the shape'),
    ('input_gradient', 'input_sizes', _LARGER,
     r'out_backprop must have the shape .*\[2,6,.* but has \[2,5,'),
    ('input_gradient', 'input_sizes', _NO_BATCH,
     r'out_backprop must have the shape .*\[0,5,.* but has \[2,5,'),
    ('input_gradient', 'input_sizes', _ONE_CHANNEL_MORE,
     "input_sizes's channels 5"),
    ('input_gradient', 'kernel', _DROP_FIRST, 'filter must have rank'),
    ('input_gradient', 'kernel', _NO_TAPS, 'filter must not have size 0'),
    ('input_gradient', 'kernel', _DEPTH_0, "filter's input channels 0"),
    ('input_gradient', 'kernel', _DEPTH_3, "filter's input channels 3"),
    ('input_gradient', 'kernel', _TWICE_THE_CHANNELS,
     r'out_backprop must have the shape .*,TWICE\], but has .*,FILTERS\]'),
    ('input_gradient', 'grad', _DROP_FIRST, 'out_backprop must have the shape'),
    ('input_gradient', 'grad', _NO_BATCH, 'out_backprop must have the shape'),
    ('input_gradient', 'grad', _LARGER, 'out_backprop must have the shape'),
    ('input_gradient', 'grad', _ONE_CHANNEL_MORE,
     r'out_backprop must have the shape .*,FILTERS\], but has .*,MORE\]'),
    ('filter_gradient', 'inputs', _DROP_FIRST, 'input must have rank'),
    ('filter_gradient', 'inputs', _NO_BATCH,
     r'out_backprop must have the shape .*\[0,5,.* but has \[2,5,'),
    ('filter_gradient', 'inputs', _LARGER,
     r'out_backprop must have the shape .*\[2,6,.* but has \[2,5,'),
    ('filter_gradient', 'inputs', _ONE_CHANNEL_MORE, "input's channels 5"),
    ('filter_gradient', 'filter_sizes', _DROP_FIRST, 'filter_sizes must have'),
    ('filter_gradient', 'filter_sizes', lambda shape: [shape],
     'filter_sizes must be a vector'),
    ('filter_gradient', 'filter_sizes', _NEGATIVE, r'filter_sizes .* \[-1,'),
    ('filter_gradient', 'filter_sizes', _HUGE, 'filter_sizes'),
    ('filter_gradient', 'filter_sizes', _NO_TAPS,
     'filter_sizes must not have size 0'),
    ('filter_gradient', 'filter_sizes', _DEPTH_0,
     "filter_sizes's input channels 0"),
    ('filter_gradient', 'filter_sizes', _DEPTH_3,
     "filter_sizes's input channels 3"),
    ('filter_gradient', 'filter_sizes', _TWICE_THE_CHANNELS,
     r'out_backprop must have the shape .*,TWICE\], but has .*,FILTERS\]'),
    ('filter_gradient', 'grad', _DROP_FIRST,
     'out_backprop must have the shape'),
    ('filter_gradient', 'grad', _NO_BATCH, 'out_backprop must have the shape'),
    ('filter_gradient', 'grad', _LARGER, 'out_backprop must have the shape'),
    ('filter_gradient', 'grad', _ONE_CHANNEL_MORE,
     'out_backprop must have the shape'),
]

_ADVISORIES = [
    ('CVE_2021_29517', gen_nn_ops.conv3d,
     dict(input=[0] * 5, filter=[0] * 5, strides=[1, 56, 56, 56, 1],
          padding='VALID', dilations=[1, 1, 1, 23, 1])),
    ('CVE_2021_29517_channels', gen_nn_ops.conv3d,
     dict(input=[2, 2, 2, 2, 0], filter=[0, 0, 2, 6, 2],
          strides=[1, 56, 39, 34, 1], padding='VALID')),
    ('CVE_2021_29520_input', gen_nn_ops.conv3d_backprop_input_v2,
     dict(input_sizes=[1, 1, 1, 1, 2], filter=[4, 1, 6, 1, 1],
          out_backprop=[1] * 5, strides=[1, 89, 29, 89, 1], padding='SAME')),
    ('CVE_2021_29520_filter', gen_nn_ops.conv3d_backprop_filter_v2,
     dict(input=[7] * 5, filter_sizes=[7, 7, 7, 1, 1],
          out_backprop=[7, 1, 1, 1, 1], strides=[1, 37, 65, 93, 1],
          padding='VALID')),
    ('CVE_2021_29522', gen_nn_ops.conv3d_backprop_input_v2,
     dict(input_sizes=[0] * 5, filter=[0, 0, 0, 1, 0], out_backprop=[0] * 5,
          strides=[1] * 5, padding='SAME')),
    ('CVE_2021_29524', gen_nn_ops.conv2d_backprop_filter,
     dict(input=[0, 0, 1, 0], filter_sizes=[1] * 4, out_backprop=[0, 0, 1, 1],
          strides=[1, 66, 18, 1], padding='SAME')),
    ('CVE_2021_29525', gen_nn_ops.conv2d_backprop_input,
     dict(input_sizes=[52, 1, 1, 5], filter=[0, 1, 5, 0],
          out_backprop=[52, 1, 1, 0], strides=[1] * 4, padding='SAME')),
    ('CVE_2021_29526', gen_nn_ops.conv2d,
     dict(input=[0] * 4, filter=[0] * 4, strides=[1] * 4, padding='SAME')),
    ('CVE_2021_29538', gen_nn_ops.conv2d_backprop_filter,
     dict(input=[0] * 4, filter_sizes=[0] * 4, out_backprop=[0] * 4,
          strides=[1] * 4, padding='SAME')),
    ('CVE_2021_29540', gen_nn_ops.conv2d_backprop_filter,
     dict(input=[1, 1, 1, 2], filter_sizes=[1] * 4, out_backprop=[1] * 4,
          strides=[1, 66, 49, 1], padding='VALID')),
    ('CVE_2021_29540_batch', gen_nn_ops.conv2d_backprop_filter,
     dict(input=[0, 1, 1, 5], filter_sizes=[3, 8, 1, 1],
          out_backprop=[0, 1, 1, 1], strides=[1, 66, 49, 1], padding='VALID')),
    ('CVE_2021_41209', gen_nn_ops.conv2d,
     dict(input=[1, 2, 2, 1], filter=[0, 0, 1, 1], strides=[1] * 4,
          padding='SAME')),
    ('CVE_2022_35969', gen_nn_ops.conv2d_backprop_input,
     dict(input_sizes=[65534, 65534], filter=[3, 3, 2, 2], out_backprop=[],
          strides=[1] * 4, padding='SAME')),
]


class HostileShapesTest(test.TestCase, parameterized.TestCase):
  """Eager ops reach the kernels whatever their shapes, dense ones as well."""

  def _arguments(self, conv, op):
    """Shapes of the arguments of an op of `conv`."""
    shapes = {
        'inputs': conv.input_shape,
        'kernel': conv.filter_shape,
        'grad': conv.output_shape,
        'input_sizes': conv.input_shape,
        'filter_sizes': conv.filter_shape
    }
    names = {
        'forward': ('inputs', 'kernel'),
        'input_gradient': ('kernel', 'grad', 'input_sizes'),
        'filter_gradient': ('inputs', 'grad', 'filter_sizes')
    }
    return {name: list(shapes[name]) for name in names[op]}

  def _run(self, conv, op, arguments):
    values = {
        name: shape if name.endswith('sizes') else array_ops.zeros(shape)
        for name, shape in arguments.items()
    }
    with context.eager_mode():
      return getattr(ConvOps(conv), op)(**values)

  @parameterized.parameters(*_HOSTILE)
  def testShape(self, op, argument, edit, message):
    convs = [
        _conv(groups, 4, 6, size=size, kernel=(3,) * len(size))
        for groups, size in itertools.product((1, 2), ((5, 5), (5, 5, 5)))
    ]
    for conv in convs + [_depthwise(4, 2, size=(5, 5))]:
      arguments = self._arguments(conv, op)
      arguments[argument] = edit(arguments[argument])
      expected = message.replace('FILTERS', str(conv.filters)).replace(
          'MORE', str(conv.filters + 1)).replace('TWICE', str(2 * conv.filters))
      with self.assertRaisesRegexp(errors.InvalidArgumentError, expected):
        self._run(conv, op, arguments)

  def testMultiplierThatIsTooLarge(self):
    conv = _depthwise(4, 2)
    arguments = self._arguments(conv, 'filter_gradient')
    arguments['filter_sizes'] = [1, 1, 4, 2**30]
    with self.assertRaisesRegexp(
        errors.InvalidArgumentError,
        'input channels 4 and multiplier 1073741824 make more than'):
      self._run(conv, 'filter_gradient', arguments)

  @parameterized.named_parameters(*_ADVISORIES)
  def testAdvisory(self, op, arguments):
    """What TensorFlow's security advisories say of these ops."""
    values = dict(arguments)
    for name in 'input', 'filter', 'out_backprop':
      if name in values:
        values[name] = np.ones(values[name], np.float32)
    with context.eager_mode():
      with self.assertRaises(errors.InvalidArgumentError):
        op(**values)

  @parameterized.parameters('forward', 'input_gradient', 'filter_gradient')
  def testFiltersThatGroupsDoNotDivide(self, op):
    for size in (5, 5), (5, 5, 5):
      conv = _conv(2, 4, 6, size=size, kernel=(3,) * len(size))
      arguments = self._arguments(conv, op)
      for name in arguments:
        if name in ('kernel', 'grad', 'filter_sizes'):
          arguments[name] = _ONE_CHANNEL_MORE(arguments[name])
      with self.assertRaisesRegexp(errors.InvalidArgumentError,
                                   'output channels 7 .* 2 groups'):
        self._run(conv, op, arguments)

  @parameterized.parameters(
      ('strides', (0, 1), r'strides .* \[0,1\]'),
      ('strides', (-1, 1), r'strides .* \[-1,1\]'),
      ('strides', (1, 2**31), r'strides .* \[1,2147483648\]'),
      ('dilations', (0, 1), r'dilations .* \[0,1\]'),
      ('dilations', (1, 2**31), r'dilations .* \[1,2147483648\]'),
      ('padding', ((0, -1), (0, 0)), 'explicit_paddings must be nonnegative'),
      ('padding', ((0, 2**31), (0, 0)),
       r'explicit_paddings .* \[0,2147483648,0,0\]'))
  def testAttribute(self, name, value, message):
    if test_util.IsMklEnabled() and name != 'padding' and 2**31 in value:
      self.skipTest('The rewriting of ops for oneDNN dies of it.')
    convs = [_conv(1, 4, 6), _conv(2, 4, 6)]
    if name != 'padding' or _HAS_EXPLICIT_PADDINGS:
      convs += [_depthwise(1, 2), _depthwise(4, 2)]
    for conv, op in itertools.product(
        convs, ('forward', 'input_gradient', 'filter_gradient')):
      arguments = self._arguments(conv, op)
      conv = conv._replace(**{name: value})
      with self.assertRaisesRegexp(errors.InvalidArgumentError, message):
        self._run(conv, op, arguments)

  def testOutputThatDoesNotFitMemory(self):
    conv = _conv(2, 4, 6, batch=1, size=(2**30, 2**30), kernel=(1, 1),
                 strides=(2**30, 2**30), padding='VALID')
    arguments = self._arguments(conv, 'input_gradient')
    with self.assertRaises(errors.ResourceExhaustedError):
      self._run(conv, 'input_gradient', arguments)


class CancellationTest(test.TestCase, parameterized.TestCase):
  """A step that is cancelled does not wait for its convolutions to finish."""

  _PASSES = ('forward', 'input_gradient', 'filter_gradient')
  _SECONDS = 20

  def _run_long(self, op):
    """An op that would take some minutes."""
    conv = _conv(8, 32, 32, batch=1, size=(1024, 1024), kernel=(301, 301))
    shapes = {
        'forward': (conv.input_shape, conv.filter_shape),
        'input_gradient': (conv.filter_shape, conv.output_shape),
        'filter_gradient': (conv.input_shape, conv.output_shape)
    }
    # Not constants, which Grappler would compute with.
    arguments = [random_ops.random_uniform(shape) for shape in shapes[op]]
    return getattr(ConvOps(conv), op)(*arguments)

  def _assert_soon(self, start):
    self.assertLess(time.time() - start, self._SECONDS)

  @parameterized.parameters(*_PASSES)
  def testFunction(self, op):
    with context.eager_mode():
      function = def_function.function(
          lambda: self._run_long(op), autograph=False).get_concrete_function()
      manager = cancellation.CancellationManager()
      start = time.time()
      threading.Timer(1, manager.start_cancel).start()
      with self.assertRaisesRegexp(errors.CancelledError,
                                   'cancelled during a convolution'):
        manager.get_cancelable_function(function)()
      self._assert_soon(start)

  @parameterized.parameters(*_PASSES)
  def testSessionTimeout(self, op):
    with ops.Graph().as_default(), session.Session() as sess:
      fetch = self._run_long(op)
      start = time.time()
      with self.assertRaises(errors.DeadlineExceededError):
        sess.run(fetch, options=config_pb2.RunOptions(timeout_in_ms=1000))
      # The session waits for its kernels.
      self._assert_soon(start)


_ACTIVATIONS = {
    '': (lambda x: x, lambda x: x),
    'Relu': (nn_ops.relu, lambda x: np.maximum(x, 0)),
    'Relu6': (nn_ops.relu6, lambda x: np.clip(x, 0, 6)),
    'Elu': (nn_ops.elu, lambda x: np.where(x < 0, np.expm1(x), x))
}


class GroupedFusedConv2DTest(test.TestCase, parameterized.TestCase):
  """What Grappler makes of a convolution and the ops that follow it."""

  def _run(self, fetch, feed):
    """Runs `fetch`; returns its value and the fused_ops that ran for it."""
    options = config_pb2.RunOptions(output_partition_graphs=True)
    metadata = config_pb2.RunMetadata()
    with session.Session() as sess:
      value = sess.run(fetch, feed, options=options, run_metadata=metadata)
    fused = [
        '+'.join(op.decode() for op in node.attr['fused_ops'].list.s)
        for graph in metadata.partition_graphs for node in graph.node
        if node.op in ('_FusedConv2D', '_MklNativeFusedConv2D')
    ]
    return value, fused

  def _fused_name(self, first, activation):
    return first + '+' + activation if activation else first

  @parameterized.parameters(*itertools.product(
      _ACTIVATIONS, [np.float32, np.float64]))
  def testBias(self, activation, dtype):
    activate, expected_activation = _ACTIVATIONS[activation]
    conv = _conv(4, 8, 12, strides=(2, 1))
    inputs, kernel, bias = [
        np.random.RandomState(seed).uniform(-2, 2, shape)
        for seed, shape in enumerate([conv.input_shape, conv.filter_shape, 12])
    ]
    with ops.Graph().as_default():
      fed = array_ops.placeholder(dtype, conv.input_shape)
      output = ConvOps(conv).forward(fed, kernel.astype(dtype))
      output = activate(nn_ops.bias_add(output, bias.astype(dtype)))
      value, fused = self._run(array_ops.identity(output), {fed: inputs})
    if test_util.IsMklEnabled() and dtype == np.float64:
      expected = []  # oneDNN has no such type, so Grappler leaves it alone.
    else:
      expected = [self._fused_name('BiasAdd', activation)]
    self.assertEqual(expected, fused)
    self.assertAllClose(
        expected_activation(conv.forward(inputs, kernel) + bias), value,
        rtol=1e-5, atol=1e-5)

  @parameterized.parameters(*_ACTIVATIONS)
  def testBatchNorm(self, activation):
    activate, expected_activation = _ACTIVATIONS[activation]
    conv = _conv(4, 8, 12, padding='VALID')
    shapes = [conv.input_shape, conv.filter_shape] + [12] * 4
    inputs, kernel, scale, offset, mean, variance = [
        np.random.RandomState(seed).uniform(0.5, 2, shape)
        for seed, shape in enumerate(shapes)
    ]
    with ops.Graph().as_default():
      fed = array_ops.placeholder(np.float32, conv.input_shape)
      output = ConvOps(conv).forward(fed, kernel.astype(np.float32))
      arguments = [
          constant_op.constant(v, dtypes.float32)
          for v in (scale, offset, mean, variance)
      ]
      output, _, _ = nn_impl.fused_batch_norm(
          output, *arguments, epsilon=0.1, is_training=False)
      value, fused = self._run(array_ops.identity(activate(output)),
                               {fed: inputs})
    self.assertEqual([self._fused_name('FusedBatchNorm', activation)], fused)
    normalized = (conv.forward(inputs, kernel) - mean) / np.sqrt(variance + 0.1)
    self.assertAllClose(expected_activation(normalized * scale + offset), value,
                        rtol=1e-4, atol=1e-4)

  @parameterized.parameters(
      (['BiasAdd'], [11], r'args\[0\] must have the shape \[12\] .* \[11\]'),
      (['BiasAdd', 'Relu'], [(12, 1)], r'args\[0\] .* \[12\] .* \[12,1\]'),
      (['FusedBatchNorm'], [12, 12, 0, 12], r'args\[2\] .* \[12\] .* \[0\]'),
      (['FusedBatchNorm', 'Relu'], [12, 12, 12, (1, 12)],
       r'args\[3\] .* \[12\] .* \[1,12\]'))
  def testHostileArguments(self, fused_ops, shapes, message):
    for groups in 1, 4:
      conv = _conv(groups, 8, 12)
      shapes_of_all = [conv.input_shape, conv.filter_shape] + shapes
      with ops.Graph().as_default(), session.Session() as sess:
        inputs = [array_ops.placeholder(dtypes.float32) for _ in shapes_of_all]
        node = node_def_pb2.NodeDef(
            name='fused', op='_FusedConv2D', input=[i.op.name for i in inputs])
        node.attr['T'].type = dtypes.float32.as_datatype_enum
        node.attr['num_args'].i = len(shapes)
        attributes = op_def_registry.get('_FusedConv2D').attr
        if any(attribute.name == 'TArgs' for attribute in attributes):
          # In later releases arguments may have types of their own.
          node.attr['TArgs'].list.type.extend(
              [node.attr['T'].type] * len(shapes))
        node.attr['strides'].list.i.extend([1] * 4)
        node.attr['padding'].s = b'SAME'
        node.attr['fused_ops'].list.s.extend(op.encode() for op in fused_ops)
        graph_def = graph_pb2.GraphDef(node=[node])
        fused, = importer.import_graph_def(
            graph_def, {i.op.name: i for i in inputs}, ['fused:0'], name='')
        feed = {i: np.zeros(shape) for i, shape in zip(inputs, shapes_of_all)}
        with self.assertRaisesRegexp(errors.InvalidArgumentError, message):
          sess.run(fused, feed)


if __name__ == '__main__':
  test.main()
