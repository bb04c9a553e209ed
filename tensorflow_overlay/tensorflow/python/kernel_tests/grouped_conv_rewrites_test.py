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
"""Tests for what graph passes make of grouped and depthwise convolutions."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import itertools
import re

from absl.testing import parameterized
import numpy as np

from tensorflow.core.framework import graph_pb2
from tensorflow.python.client import session
from tensorflow.python.eager import context
from tensorflow.python.eager import def_function
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import dtypes
from tensorflow.python.framework import errors
from tensorflow.python.framework import importer
from tensorflow.python.framework import kernels
from tensorflow.python.framework import ops
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
  groups = int(x.shape[-1]) // int(w.shape[-2])
  return array_ops.concat([
      _conv(*both) for both in zip(
          array_ops.split(x, groups, axis=-1),
          array_ops.split(w, groups, axis=-1))
  ], axis=-1)


def _depthwise_conv(x, w):
  return gen_nn_ops.depthwise_conv2d_native(x, w, strides=[1] * 4,
                                            padding='VALID')


def _split_depthwise_conv(x, w):
  return _split_conv(x, array_ops.reshape(w, [3, 3, 1, -1]))


# The op of each kind, and what it has to compute.
_CONVS = {
    '2d': (_conv, _split_conv),
    '3d': (_conv, _split_conv),
    'depthwise': (_depthwise_conv, _split_depthwise_conv),
}


def _pad(x, batch=(0, 0), channels=(0, 0)):
  spatial = [[1, 2], [0, 1], [2, 1]][:len(x.shape) - 2]
  return array_ops.pad(x, [list(batch)] + spatial + [list(channels)])


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
    'hard_swish': lambda x: x * nn_ops.relu6(x + 3) * (1 / 6.),
    'leaky_relu': _leaky_relu,
    'mish': lambda x: x * math_ops.tanh(nn_ops.softplus(x)),
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


def _normalized(activation):
  return lambda conv, args: activation(
      _batch_norm(conv(args.x, args.w), args))


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
    'batch_norm_' + name: _normalized(function)
    for name, function in _ACTIVATIONS.items()
}

# What no convolution pads, but what oneDNN fuses in 2-D may.
_PADDED = {
    'pad_batch': lambda conv, args: conv(_pad(args.x, batch=(1, 2)), args.w),
    'pad_channels': lambda conv, args: conv(  # pylint: disable=g-long-lambda
        _pad(args.x, channels=(1, 3)), args.w),
    'pad_all_bias': lambda conv, args: nn_ops.bias_add(  # pylint: disable=g-long-lambda
        conv(_pad(args.x, (1, 1), (3, 1)), args.w), args.bias),
}

_TOLERANCE = {dtypes.float32: 1e-5, dtypes.half: 5e-3}
if versions.GRAPH_DEF_VERSION > 1000:
  # Which 2.2 has no convolution for.
  _TOLERANCE[dtypes.bfloat16] = 4e-2

_CASES = list(itertools.product(sorted(_PATTERNS), sorted(_CONVS), _TOLERANCE))
# There is none for 3-D, and none of another type than float32 in 2.2.
_CASES += [(name, kind, dtypes.float32) for name, kind in itertools.product(
    sorted(_BATCH_NORM), ('2d', 'depthwise'))]
_CASES += list(itertools.product(sorted(_PADDED), ('2d',), _TOLERANCE))
_CASES += list(
    itertools.product(('pad_batch',), ('depthwise',), _TOLERANCE))
_PATTERNS.update(_BATCH_NORM)
_PATTERNS.update(_PADDED)


# What the kernels compute of what is fused.
_ACTIVATED = ('Relu', 'Relu6', 'Elu', 'LeakyRelu', 'Mish', 'Sigmoid', 'Tanh',
              '_FusedHardSwish', '_MklSwish')
_FUSED = {(), ('BiasAdd',), ('BiasAdd', 'Add'), ('FusedBatchNorm',)}
_FUSED.update((first, last) for first in ('BiasAdd', 'FusedBatchNorm')
              for last in _ACTIVATED)
_FUSED.update(('BiasAdd', 'Add', last) for last in _ACTIVATED[:4])

# CPU kernels for convolutions that are the official ones, by patterns of an op
# and its label, and why.
_LEFT_OUT = {
    'Conv:': 'tf.raw_ops has it, and nothing makes it',
    'Conv[23]D.*:(custom|eigen_tensor)': 'has to be asked for by its label',
    'Fused(ResizeAnd)?PadConv2D:':
        'made by a tool for saved graphs alone, and refuses groups',
    'DepthwiseConv2dNative:neon': 'has to be asked for by its label',
    '.*Quantized.*:.*': 'is of integers',
    '__?Mkl(?!Native).*:MklLayoutDependentOp':
        'has tensors in a layout of oneDNN, with TF_ENABLE_MKL_NATIVE_FORMAT=0',
    'XlaConv(V2)?:': 'stands for a computation of XLA',
}


class _Arguments(object):
  """What patterns use, of random values."""

  def __init__(self, kind):
    rank = 3 if kind == '3d' else 2
    random = np.random.RandomState(rank)
    sizes = (6, 5, 7)[:rank]
    if kind == 'depthwise':
      last_sizes = (_CHANNELS, 2)
      filters = 2 * _CHANNELS
    else:
      last_sizes = (_CHANNELS // _GROUPS, _FILTERS)
      filters = _FILTERS
    self.x = random.uniform(-1, 1, (2,) + sizes + (_CHANNELS,))
    self.w = random.uniform(-1, 1, (3,) * rank + last_sizes)
    self.other = random.uniform(
        -1, 1, (2,) + tuple(size - 2 for size in sizes) + (filters,))
    for name in ('bias', 'scale', 'mean', 'variance'):
      setattr(self, name, random.uniform(0.5, 1.5, filters))

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


def _cpu_kernels(overridden=False):
  """The CPU kernels for convolutions: op, label and type, for any type 0."""
  found = set()
  for kernel in kernels.get_all_registered_kernels().kernel:
    if kernel.device_type != 'CPU' or 'Conv' not in kernel.op:
      continue
    if kernel.priority > 0 or not overridden:
      types = [dtype for constraint in kernel.constraint
               if constraint.name == 'T'
               for dtype in constraint.allowed_values.list.type]
      found.update((kernel.op, kernel.label, dtype) for dtype in types or [0])
  return found


class GroupedConvRewritesTest(test.TestCase, parameterized.TestCase):

  def _run(self, pattern, conv, kind, dtype, exact_dtype=None):
    """Runs a pattern in a function, whose graph knows all shapes."""

    def function(args):
      values = _PATTERNS[pattern](conv, args)
      return values if isinstance(values, list) else [values]

    with context.eager_mode():
      values = _Arguments(kind).call(function, dtype, exact_dtype or dtype)
      return [math_ops.cast(value, dtypes.float64).numpy() for value in values]

  @parameterized.named_parameters(
      ('%s_%s_%s' % (pattern, kind, dtype.name), pattern, kind, dtype)
      for pattern, kind, dtype in _CASES)
  def testValues(self, pattern, kind, dtype):
    conv, split_conv = _CONVS[kind]
    actual = self._run(pattern, conv, kind, dtype)
    expected = self._run(pattern, split_conv, kind, dtype, dtypes.float64)
    for value, other in zip(actual, expected):
      tolerance = _TOLERANCE[dtype]
      self.assertAllClose(other, value, rtol=tolerance,
                          atol=tolerance * np.abs(other).max())

  def _nodes(self, pattern, kind, dtype):
    """Runs a pattern; returns the convolutions of the graph that ran."""
    with context.eager_mode():
      context.enable_run_metadata()
      self._run(pattern, _CONVS[kind][0], kind, dtype)
      graphs = context.export_run_metadata().partition_graphs
      context.disable_run_metadata()
    nodes = []
    for graph in graphs:
      nodes += graph.node
      for function in graph.library.function:
        nodes += function.node_def
    return [node for node in nodes if 'Conv' in node.op]

  def testEveryRewriteOfOneDnnIsProduced(self):
    if not test_util.IsMklEnabled():
      self.skipTest('oneDNN does not run.')
    produced = {
        node.op for pattern, kind, dtype in _CASES if dtype == dtypes.float32
        for node in self._nodes(pattern, kind, dtype)
    }
    known = {op for op, _, _ in _cpu_kernels() if op.startswith('_MklNative')}
    # No pass makes this one: a bias is fused as _MklNativeFusedConv2D.
    self.assertEqual(known - produced, {'_MklNativeConv2DWithBias'})

  def testNoConvolutionIsLeftToOfficialKernels(self):
    served = _cpu_kernels(overridden=True)
    for pattern, kind, dtype in _CASES:
      nodes = self._nodes(pattern, kind, dtype)
      self.assertNotEmpty(nodes)
      for node in nodes:
        kernel = (node.op, node.attr['_kernel'].s.decode(),
                  node.attr['T'].type)
        self.assertIn(kernel, served, pattern)
        fused = tuple(op.decode() for op in node.attr['fused_ops'].list.s)
        self.assertIn(fused, _FUSED, pattern)

  @parameterized.parameters(*itertools.product((16, 25, 64), (1, 2)))
  def testWideGroupsInBfloat16(self, depth, stride):
    """Some of these are left to oneDNN where that is faster."""
    if dtypes.bfloat16 not in _TOLERANCE:
      self.skipTest('There is no such convolution.')
    random = np.random.RandomState(depth)
    x = random.uniform(-1, 1, (2, 7, 9, 2 * depth))
    w = random.uniform(-1, 1, (3, 3, depth, 2 * depth))
    bias = random.uniform(-1, 1, 2 * depth)

    @def_function.function
    def function(x, w, bias):
      y = nn_ops.conv2d(x, w, strides=stride, padding='SAME')
      return array_ops.identity(nn_ops.relu(nn_ops.bias_add(y, bias)))

    with context.eager_mode():
      args = [constant_op.constant(value, dtypes.bfloat16)
              for value in (x, w, bias)]
      actual = math_ops.cast(function(*args), dtypes.float64)
      x, w, bias = [math_ops.cast(value, dtypes.float64) for value in args]
      expected = array_ops.concat([
          nn_ops.conv2d(*both, strides=stride, padding='SAME') for both in zip(
              array_ops.split(x, 2, axis=-1), array_ops.split(w, 2, axis=-1))
      ], axis=-1)
      expected = nn_ops.relu(nn_ops.bias_add(expected, bias)).numpy()
      self.assertAllClose(expected, actual.numpy(), rtol=2e-2, atol=5e-2)

  @parameterized.parameters(*itertools.product((1, 2), (False, True)))
  def testLargeDepthwiseInBfloat16(self, stride, depthwise_op):
    """These are left to oneDNN where that is faster."""
    if dtypes.bfloat16 not in _TOLERANCE:
      self.skipTest('There is no such convolution.')
    random = np.random.RandomState(stride)
    x = random.uniform(-1, 1, (2, 64 * stride, 64 * stride, 64))
    op, shape = gen_nn_ops.conv2d, (3, 3, 1, 64)
    if depthwise_op:
      op, shape = gen_nn_ops.depthwise_conv2d_native, (3, 3, 64, 1)
    w = random.uniform(-1, 1, shape)

    @def_function.function
    def function(x, w):
      y = op(x, w, strides=[1, stride, stride, 1], padding='SAME')
      return array_ops.identity(nn_ops.relu(y))

    with context.eager_mode():
      x, w = [constant_op.constant(value, dtypes.bfloat16) for value in (x, w)]
      actual = math_ops.cast(function(x, w), dtypes.float64)
      x, w = [math_ops.cast(value, dtypes.float64) for value in (x, w)]
      w = array_ops.reshape(w, [3, 3, 1, 64])
      expected = nn_ops.relu(
          nn_ops.conv2d(x, w, strides=stride, padding='SAME'))
      self.assertAllClose(expected.numpy(), actual.numpy(), rtol=2e-2,
                          atol=5e-2)

  def testRegistryHasNoOtherConvolutions(self):
    served = _cpu_kernels(overridden=True)
    integers = {dtype.as_datatype_enum
                for dtype in (dtypes.int8, dtypes.qint8)}
    for op, label, dtype in _cpu_kernels() - served:
      if op == '_FusedConv2D' and dtype in integers:
        continue
      name = op + ':' + label
      self.assertTrue(
          any(re.match(pattern + '$', name) for pattern in _LEFT_OUT),
          '%s of type %s is neither overridden nor left out' % (name, dtype))

  def _call(self, op, arguments, known=False, fused=('BiasAdd',),
            strides=(1, 1, 1, 1), **attributes):
    """Runs an op of oneDNN in a graph, which may know all of its arguments."""
    if not test_util.IsMklEnabled():
      self.skipTest('oneDNN does not run.')
    graph_def = graph_pb2.GraphDef()
    node = graph_def.node.add(name='op', op=op, input=sorted(arguments))
    attributes = dict({'padding': 'VALID', 'data_format': 'NHWC'}, **attributes)
    for name, value in attributes.items():
      node.attr[name].s = value.encode()
    node.attr['_kernel'].s = b'MklNameChangeOp'
    node.attr['T'].type = dtypes.float32.as_datatype_enum
    node.attr['strides'].list.i.extend(strides)
    fused_arguments = [name for name in arguments if name.startswith('c_')]
    if fused_arguments:
      node.attr['num_args'].i = len(fused_arguments)
      node.attr['fused_ops'].list.s.extend(name.encode() for name in fused)
    if op == '_MklNativeFusedConv2D':
      node.attr['TArgs'].list.type.append(node.attr['T'].type)
    if 'paddings' in arguments:
      node.attr['Tpaddings'].type = dtypes.as_dtype(
          arguments['paddings'].dtype).as_datatype_enum
    with ops.Graph().as_default():
      inputs, feed = {}, {}
      for name, value in arguments.items():
        if known:
          inputs[name] = constant_op.constant(value)
        else:
          inputs[name] = array_ops.placeholder(value.dtype)
          feed[inputs[name]] = value
      outputs = importer.import_graph_def(graph_def, inputs, ['op:0'], name='')
      if 'out_backprop' in arguments:
        outputs.append(outputs[0].op.outputs[1])
      with session.Session() as sess:
        results = sess.run(outputs, feed)
      for result, output in zip(results, outputs):
        self.assertTrue(output.shape.is_compatible_with(result.shape))
      return results

  def _padArguments(self, paddings, bias=False):
    random = np.random.RandomState(0)
    # In the order of the op's arguments.
    arguments = {
        'a_input': random.randn(2, 5, 6, _CHANNELS).astype(np.float32),
        'b_filter': random.randn(3, 3, 2, _FILTERS).astype(np.float32),
        'paddings': paddings,
    }
    if bias:
      arguments['c_bias'] = random.randn(_FILTERS).astype(np.float32)
    return arguments

  @parameterized.parameters(*itertools.product(
      (False, True), (False, True), (np.int32, np.int64), ('NHWC', 'NCHW')))
  def testPaddings(self, known, bias, dtype, data_format):
    paddings = np.array([[1, 0], [2, 1], [0, 3], [4, 0]], dtype)
    arguments = self._padArguments(paddings, bias)
    x = np.pad(arguments['a_input'], paddings, 'constant').astype(np.float64)
    expected = _split_conv(
        constant_op.constant(x),
        math_ops.cast(arguments['b_filter'], dtypes.float64))
    expected = self.evaluate(expected) + arguments.get('c_bias', 0)
    if data_format == 'NCHW':
      arguments['a_input'] = np.moveaxis(arguments['a_input'], -1, 1)
      arguments['paddings'] = paddings[[0, 3, 1, 2]]
      expected = np.moveaxis(expected, -1, 1)
    op = '_MklNativePadWithFusedConv2D' if bias else '_MklNativePadWithConv2D'
    actual, = self._call(op, arguments, known, data_format=data_format)
    self.assertAllClose(expected, actual, rtol=1e-5, atol=1e-5)

  @parameterized.parameters(*itertools.product((False, True), (False, True)))
  def testWrongPaddings(self, known, bias):
    op = '_MklNativePadWithFusedConv2D' if bias else '_MklNativePadWithConv2D'
    right = np.array([[0, 0], [1, 1], [1, 1], [0, 0]])
    for place, value in itertools.product(
        range(8), (-1, -2**31, 2**31, 2**62, -2**63, 2**63 - 1)):
      paddings = right.flatten()
      paddings[place] = value
      with self.assertRaisesRegex((ValueError, errors.InvalidArgumentError),
                                  'paddings must have values'):
        self._call(op, self._padArguments(paddings.reshape(4, 2), bias), known)
    for wrong in (right[:3], right.flatten(), right[0, 0],
                  np.zeros((5, 2), np.int64), np.zeros((4, 3), np.int64),
                  np.zeros((0, 2), np.int64), np.zeros((4, 2, 1), np.int64)):
      with self.assertRaisesRegex((ValueError, errors.InvalidArgumentError),
                                  'paddings must have the shape'):
        self._call(op, self._padArguments(wrong, bias), known)
    with self.assertRaisesRegex((ValueError, errors.InvalidArgumentError),
                                'padding must be VALID'):
      self._call(op, self._padArguments(right, bias), known, padding='SAME')
    arguments = self._padArguments(right, bias)
    arguments['a_input'] = arguments['a_input'][0]
    with self.assertRaisesRegex((ValueError, errors.InvalidArgumentError),
                                'input must have rank 4'):
      self._call(op, arguments, known)

  def testPaddingsBeyondMemory(self):
    # For memory that is not there, TensorFlow waits for ten seconds: of the
    # batch, of each dimension of the image and of the channels one.
    for place in 0, 2, 5, 7:
      paddings = np.array([0, 0, 1, 1, 1, 1, 0, 0])
      paddings[place] = 2**31 - 1
      with self.assertRaises((ValueError, errors.InvalidArgumentError,
                              errors.ResourceExhaustedError)):
        self._call('_MklNativePadWithConv2D',
                   self._padArguments(paddings.reshape(4, 2), False), False)

  def testShapesAreCheckedWhateverIsFused(self):
    # Kernels of oneDNN fuse more than these, and do not look at all shapes.
    arguments = self._padArguments(None, bias=True)
    del arguments['paddings']
    arguments['a_input'] = arguments['a_input'][0]
    with self.assertRaisesRegex((ValueError, errors.InvalidArgumentError),
                                'input must have rank 4'):
      self._call('_MklNativeFusedConv2D', arguments, fused=('Relu',))

  def testNormalizationBehindDepthwise(self):
    # Which no kernel of oneDNN knows.
    random = np.random.RandomState(0)
    x = random.randn(2, 3, 4, 6).astype(np.float32)
    w = random.randn(1, 1, 6, 2).astype(np.float32)
    scale, offset, mean = random.randn(3, 12).astype(np.float32)
    variance = random.uniform(1, 2, 12).astype(np.float32)
    actual, = self._call(
        '_MklNativeFusedDepthwiseConv2dNative', {
            'a_input': x,
            'b_filter': w,
            'c_0': scale,
            'c_1': offset,
            'c_2': mean,
            'c_3': variance,
        }, fused=('FusedBatchNorm', 'Relu'))
    y = (x[..., np.newaxis] * w[0, 0]).reshape(2, 3, 4, 12)
    expected = (y - mean) * scale / np.sqrt(variance) + offset
    self.assertAllClose(np.maximum(expected, 0), actual, rtol=1e-3, atol=1e-3)

  def testStridesBeyondTheImage(self):
    # Without groups, of which oneDNN's kernel makes zeros.
    gradient, bias_gradient = self._call(
        '_MklNativeConv2DBackpropFilterWithBias', {
            'a_input': np.ones([2, 2, 4, 3], np.float32),
            'b_filter_sizes': np.array([1, 2, 3, 2], np.int32),
            'out_backprop': np.ones([2, 1, 1, 2], np.float32),
        }, strides=(1, 2**31 - 1, 3, 1))
    self.assertAllEqual(gradient, np.full([1, 2, 3, 2], 2.))
    self.assertAllEqual(bias_gradient, np.full([2], 2.))

  @parameterized.parameters(False, True)
  def testWrongFilterGradientWithBias(self, known):
    op = '_MklNativeConv2DBackpropFilterWithBias'
    right = {
        'a_input': np.ones([2, 5, 6, 8], np.float32),
        'b_filter_sizes': np.array([3, 3, 2, 12], np.int32),
        'out_backprop': np.ones([2, 3, 4, 12], np.float32),
    }
    gradient, bias_gradient = self._call(op, right, known)
    self.assertAllEqual(gradient, np.full([3, 3, 2, 12], 24.))
    self.assertAllEqual(bias_gradient, np.full([12], 24.))
    for name, wrong, message in (
        ('a_input', np.ones([2, 5, 6], np.float32), 'input must have rank 4'),
        ('a_input', np.ones([2, 5, 6, 7], np.float32), 'channels 7'),
        ('b_filter_sizes', np.array([3, 3, 2], np.int32), 'filter_sizes'),
        ('b_filter_sizes', np.array([3, 3, 2, -1], np.int32), 'filter_sizes'),
        ('b_filter_sizes', np.array([3, 0, 2, 12], np.int32), 'filter_sizes'),
        ('out_backprop', np.ones([2, 3, 4], np.float32), 'out_backprop'),
        ('out_backprop', np.ones([2, 3, 4, 8], np.float32), 'out_backprop'),
        ('out_backprop', np.ones([2, 4, 4, 12], np.float32), 'out_backprop'),
        ('out_backprop', np.ones([0, 3, 4, 12], np.float32), 'out_backprop'),
    ):
      with self.assertRaisesRegex((ValueError, errors.InvalidArgumentError),
                                  message):
        self._call(op, dict(right, **{name: wrong}), known)

  def testBiasGradientOfManyPixels(self):
    values = np.random.RandomState(0).uniform(0.1, 0.2, (4, 160, 160, 16))
    values = values.astype(np.float32)
    _, bias_gradient = self._call(
        '_MklNativeConv2DBackpropFilterWithBias', {
            'a_input': np.zeros([4, 160, 160, 16], np.float32),
            'b_filter_sizes': np.array([1, 1, 4, 16], np.int32),
            'out_backprop': values,
        })
    expected = values.astype(np.float64).sum(axis=(0, 1, 2))
    self.assertAllClose(expected, bias_gradient, rtol=1e-6, atol=0)

  @parameterized.parameters(
      ([0, 5, 6, 8], [3, 3, 2, 12], [0, 3, 4, 12]),
      ([2, 2, 6, 8], [3, 3, 2, 12], [2, 0, 4, 12]),
      ([2, 5, 6, 8], [3, 3, 2, 0], [2, 3, 4, 0]),
      ([2, 5, 6, 0], [3, 3, 0, 12], [2, 3, 4, 12]),
  )
  def testEmptyFilterGradientWithBias(self, shape, filter_sizes, out_shape):
    out_backprop = np.random.RandomState(0).randn(*out_shape)
    gradient, bias_gradient = self._call(
        '_MklNativeConv2DBackpropFilterWithBias', {
            'a_input': np.ones(shape, np.float32),
            'b_filter_sizes': np.array(filter_sizes, np.int32),
            'out_backprop': out_backprop.astype(np.float32),
        })
    self.assertAllEqual(gradient, np.zeros(filter_sizes))
    self.assertAllClose(out_backprop.sum(axis=(0, 1, 2)), bias_gradient,
                        rtol=1e-5, atol=1e-5)


if __name__ == '__main__':
  test.main()
