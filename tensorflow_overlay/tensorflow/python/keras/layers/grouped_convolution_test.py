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
"""Tests for the `groups` argument of the convolution layers."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import itertools

from absl.testing import parameterized
import numpy as np

from tensorflow.python import keras
from tensorflow.python.data.ops import dataset_ops
from tensorflow.python.eager import backprop
from tensorflow.python.eager import def_function
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import errors
from tensorflow.python.framework import ops
from tensorflow.python.framework import tensor_shape
from tensorflow.python.framework import tensor_spec
from tensorflow.python.framework import test_util
from tensorflow.python.keras import keras_parameterized
from tensorflow.python.keras import testing_utils
from tensorflow.python.keras.mixed_precision.experimental import policy
from tensorflow.python.layers import convolutional as legacy_layers
from tensorflow.python.ops import array_ops
from tensorflow.python.ops import variables
from tensorflow.python.platform import test

CONV = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


def rank_of(layer_cls):
  return int(layer_cls.__name__[len('Conv')])


def same_padding(size, kernel, stride):
  """Returns the zeros before and behind `size` values with 'same' padding."""
  total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
  return total // 2, total - total // 2


def conv_reference(x, kernel, groups, stride=1, dilation=1, padding='valid'):
  """Convolves in float64, the channels being last."""
  rank = x.ndim - 2
  sizes = kernel.shape[:rank]
  reach = [(k - 1) * dilation + 1 for k in sizes]
  if padding == 'same':
    pads = [same_padding(n, k, stride) for n, k in zip(x.shape[1:], reach)]
  elif padding == 'causal':
    pads = [(reach[0] - 1, 0)]
  else:
    pads = [(0, 0)] * rank
  x = np.pad(x.astype(np.float64), [(0, 0)] + pads + [(0, 0)], mode='constant')
  outputs = [(n - k) // stride + 1 for n, k in zip(x.shape[1:], reach)]

  x = x.reshape(x.shape[:-1] + (groups, -1))
  kernel = kernel.astype(np.float64)
  kernel = kernel.reshape(kernel.shape[:-1] + (groups, -1))
  y = 0
  for offset in itertools.product(*[range(k) for k in sizes]):
    window = tuple(
        slice(o * dilation, o * dilation + (n - 1) * stride + 1, stride)
        for o, n in zip(offset, outputs))
    y = y + np.einsum('...gc,cgf->...gf', x[(slice(None),) + window],
                      kernel[offset])
  return y.reshape(y.shape[:-2] + (-1,))


def transposed_reference(x, kernel, groups, stride=1, dilation=1,
                         padding='valid', output_padding=0):
  """Convolves backwards in float64, the channels being last."""
  rank = x.ndim - 2
  sizes = kernel.shape[:rank]
  reach = [(k - 1) * dilation + 1 for k in sizes]
  filters = kernel.shape[rank] * groups
  x = x.astype(np.float64).reshape(x.shape[:-1] + (groups, -1))
  kernel = kernel.astype(np.float64)
  kernel = kernel.reshape(kernel.shape[:-1] + (groups, -1))
  spatial = x.shape[1:-2]
  # Without output padding, a stride beyond the kernel leaves zeros at the end.
  full = [(n - 1) * stride + max(k + output_padding, stride)
          for n, k in zip(spatial, reach)]
  y = np.zeros([x.shape[0]] + full + [groups, filters // groups])
  for offset in itertools.product(*[range(k) for k in sizes]):
    window = tuple(
        slice(o * dilation, o * dilation + (n - 1) * stride + 1, stride)
        for o, n in zip(offset, spatial))
    y[(slice(None),) + window] += np.einsum('...gc,fgc->...gf', x,
                                            kernel[offset])
  if padding == 'same':
    crop = tuple(
        slice(same_padding(n * stride, k, stride)[0],
              same_padding(n * stride, k, stride)[0] + n * stride)
        for n, k in zip(spatial, reach))
    y = y[(slice(None),) + crop]
  return y.reshape(y.shape[:-2] + (filters,))


def reference(layer, x, kernel):
  """Returns what `layer` has to compute, but for the bias and the activation.

  Arguments:
    layer: A convolution layer.
    x: Its input, whose channels are last even if those of the layer are not.
    kernel: Its kernel.

  Returns:
    Its output, an array of float64, channels last.
  """
  args = (x, kernel, layer.groups, layer.strides[0], layer.dilation_rate[0],
          layer.padding)
  if isinstance(layer, TRANSPOSED):
    output_padding = layer.output_padding[0] if layer.output_padding else 0
    return transposed_reference(*args, output_padding=output_padding)
  return conv_reference(*args)


def reference_gradients(layer, x, kernel, dy):
  """Returns the gradients by input and kernel of `sum(reference * dy)`.

  The output is linear in the input and in the kernel, so that its derivative by
  one value is the output for that value being 1 and all others 0.

  Arguments:
    layer: A convolution layer.
    x: Its input.
    kernel: Its kernel.
    dy: The gradient by its output.
  """
  gradients = []
  for i, array in enumerate((x, kernel)):
    gradient = np.empty(array.size)
    for j in range(array.size):
      unit = np.zeros(array.size)
      unit[j] = 1
      args = [x, kernel]
      args[i] = unit.reshape(array.shape)
      gradient[j] = np.sum(reference(layer, *args) * dy)
    gradients.append(gradient.reshape(array.shape))
  return gradients


def random_array(shape):
  array = np.random.RandomState(1).standard_normal(tuple(shape))
  return array.astype(np.float32)


def each_layer(*params):
  """Runs a test with every layer and each of `params`, which have names."""
  return parameterized.named_parameters(
      ('_'.join([layer_cls.__name__, name]), layer_cls, kwargs)
      for layer_cls in CONV + TRANSPOSED
      for name, kwargs in params)


ALL_LAYERS = [(c.__name__, c) for c in CONV + TRANSPOSED]


class ShapeTest(keras_parameterized.TestCase):
  """What does not need the kernels."""

  @each_layer(*[
      ('_'.join([padding, name, data_format]),
       dict(padding=padding, data_format=data_format, **{name: 2}))
      for padding in ('valid', 'same')
      for name in ('strides', 'dilation_rate')
      for data_format in ('channels_last', 'channels_first')
  ])
  def test_shapes(self, layer_cls, kwargs):
    # Only the kernel's shape depends on the groups.
    dense = layer_cls(12, 3, **kwargs)
    grouped = layer_cls(12, 3, groups=3, **kwargs)
    shape = [None] + [9] * rank_of(layer_cls)
    shape.insert(1 if grouped.data_format == 'channels_first' else len(shape),
                 6)
    for layer in (dense, grouped):
      layer.build(tensor_shape.TensorShape(shape))

    channels = (4, 6) if layer_cls in TRANSPOSED else (2, 12)
    self.assertEqual(grouped.kernel.shape, (3,) * rank_of(layer_cls) + channels)
    self.assertEqual(grouped.bias.shape, (12,))
    self.assertEqual(grouped.input_spec.ndim, dense.input_spec.ndim)
    self.assertEqual(grouped.input_spec.axes, dense.input_spec.axes)
    self.assertEqual(
        grouped.compute_output_shape(shape).as_list(),
        dense.compute_output_shape(shape).as_list())

  def test_causal_shape(self):
    layer = keras.layers.Conv1D(12, 3, padding='causal', groups=3)
    layer.build((None, 9, 6))
    self.assertEqual(layer.kernel.shape, (3, 2, 12))
    self.assertEqual(
        layer.compute_output_shape((None, 9, 6)).as_list(), [None, 9, 12])

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_one_group_per_channel(self, layer_cls):
    layer = layer_cls(12, 3, groups=6)
    layer.build((None,) + (9,) * layer.rank + (6,))
    channels = (2, 6) if layer_cls in TRANSPOSED else (1, 12)
    self.assertEqual(layer.kernel.shape[-2:], channels)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_initializer_sees_the_shape_of_the_kernel(self, layer_cls):
    shapes = []

    def initializer(shape, dtype=None):
      del dtype
      shapes.append(tuple(shape))
      return np.zeros(shape, np.float32)

    layer = layer_cls(4, 3, groups=2, kernel_initializer=initializer)
    layer.build((None,) + (9,) * layer.rank + (6,))
    self.assertEqual(shapes, [tuple(layer.kernel.shape)])
    self.assertIn(shapes[0][-2:], [(3, 4), (2, 6)])

  def test_groups_stand_before_activation(self):
    for layer_cls in CONV:
      layer = layer_cls(8, 3, 1, 'same', 'channels_last', 1, 2, 'relu')
      self.assertEqual(layer.groups, 2)
      self.assertIs(layer.activation, keras.activations.relu)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_anything_that_stands_for_an_integer(self, layer_cls):
    groups = layer_cls(4, 3, groups=np.int64(2)).groups
    self.assertEqual(groups, 2)
    self.assertIsInstance(groups, int)


class ErrorTest(keras_parameterized.TestCase):

  @each_layer(
      ('zero', {'groups': 0}), ('negative', {'groups': -2}),
      ('float', {'groups': 2.0}), ('bool', {'groups': True}),
      ('none', {'groups': None}), ('string', {'groups': '2'}))
  def test_not_a_positive_integer(self, layer_cls, kwargs):
    with self.assertRaisesRegex(
        ValueError, '`groups` argument must be a positive integer. '
        'Received: %r' % kwargs['groups']):
      layer_cls(8, 3, **kwargs)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_filters_not_divisible(self, layer_cls):
    with self.assertRaisesRegex(
        ValueError, '`filters` argument must be divisible by `groups`. '
        'Received: filters=8, groups=3'):
      layer_cls(8, 3, groups=3)

  @each_layer(('channels_last', {'data_format': 'channels_last'}),
              ('channels_first', {'data_format': 'channels_first'}))
  def test_input_channels_not_divisible(self, layer_cls, kwargs):
    layer = layer_cls(9, 3, groups=3, **kwargs)
    shape = [None] + [5] * layer.rank
    shape.insert(1 if layer.data_format == 'channels_first' else len(shape), 7)
    with self.assertRaisesRegex(
        ValueError, 'input channels must be divisible by `groups`. Received: '
        r'groups=3, but the input has 7 channels \(input shape: \(None, '):
      layer.build(shape)

  @parameterized.named_parameters(
      ('string', 'relu'), ('function', keras.activations.relu),
      ('layer', keras.layers.ReLU()), ('none', None))
  def test_activation_by_position(self, activation):
    for layer_cls in CONV:
      for further in ((), (True,), (False, 'zeros')):
        with self.assertRaisesRegex(ValueError, 'pass `activation` by name'):
          layer_cls(8, 3, 1, 'same', 'channels_last', 1, activation, *further)

  @parameterized.named_parameters(
      ('SeparableConv1D', keras.layers.SeparableConv1D),
      ('SeparableConv2D', keras.layers.SeparableConv2D),
      ('DepthwiseConv2D', keras.layers.DepthwiseConv2D),
      ('LegacySeparableConv1D', legacy_layers.SeparableConv1D),
      ('LegacySeparableConv2D', legacy_layers.SeparableConv2D))
  def test_layers_that_refuse_groups(self, layer_cls):
    args = (3,) if layer_cls is keras.layers.DepthwiseConv2D else (8, 3)
    with self.assertRaisesRegex(
        ValueError, '`%s` does not support grouped convolution. '
        'Received: groups=2' % layer_cls.__name__):
      layer_cls(*args, groups=2)
    for groups in (True, 1.0, [1]):
      with self.assertRaisesRegex(
          ValueError, '`groups` argument must be a positive integer'):
        layer_cls(*args, groups=groups)
    # TensorFlow 2.3 writes it in the configs of these layers.
    layer = layer_cls(*args, groups=1)
    self.assertNotIn('groups', layer.get_config())

  def test_nothing_swallows_groups(self):
    x = np.zeros((1, 4, 4, 4), np.float32)
    self.assertEqual(keras.layers.Conv2D(4, 3, groups=2).groups, 2)
    for layer in (keras.layers.LocallyConnected1D,
                  keras.layers.LocallyConnected2D, keras.layers.ConvLSTM2D):
      with self.assertRaisesRegex(TypeError, 'groups'):
        layer(4, 3, groups=2)
    for function in (legacy_layers.conv2d, legacy_layers.separable_conv2d,
                     legacy_layers.conv2d_transpose):
      with self.assertRaisesRegex(TypeError, 'groups'):
        function(x, 4, 3, groups=2)


class ChannelsTest(keras_parameterized.TestCase):
  """A layer takes the number of channels that it was built for, no other."""

  def _built(self, layer_cls, channels=8, **kwargs):
    """Returns a built layer, and a function that makes inputs for it."""
    layer = layer_cls(16, 3, **kwargs)

    def inputs(channels):
      shape = [1] + [5] * layer.rank
      shape.insert(1 if layer.data_format == 'channels_first' else len(shape),
                   channels)
      return constant_op.constant(random_array(shape))

    layer.build(inputs(channels).shape)
    return layer, inputs

  def _assert_refused(self, layer, x, channels):
    with self.assertRaisesRegex(
        ValueError, 'input channels .* %d != 8. Layer: %s, groups: %d, ' %
        (channels, layer.name, layer.groups)):
      layer(x)

  @parameterized.parameters(
      *itertools.product(CONV, ('channels_last', 'channels_first'), (1, 4)))
  @test_util.run_v2_only
  def test_eager(self, layer_cls, data_format, groups):
    layer, inputs = self._built(
        layer_cls, data_format=data_format, groups=groups)
    outputs = layer(inputs(8))
    # Multiples of what a filter sees, and others.
    for channels in (2, 4, 16, 24, 3):
      self._assert_refused(layer, inputs(channels), channels)
    self.assertAllEqual(layer(inputs(8)), outputs)

  @test_util.run_v2_only
  def test_one_channel(self):
    layer = keras.layers.Conv2D(2, 1)
    layer(array_ops.ones([1, 1, 1, 1]))
    with self.assertRaisesRegex(ValueError, '2 != 1. Layer'):
      layer(array_ops.ones([1, 1, 1, 2]))

  @test_util.run_v2_only
  def test_around_a_layer(self):
    layer, inputs = self._built(keras.layers.Conv2D)
    with backprop.GradientTape():
      self._assert_refused(layer, inputs(16), 16)
    model = keras.Sequential([keras.layers.ZeroPadding2D(), layer])
    self._assert_refused(layer, inputs(16), 16)
    with self.assertRaisesRegex(ValueError, '16 != 8. Layer'):
      model(inputs(16))
    with self.assertRaisesRegex(ValueError, '16 != 8. Layer'):
      keras.layers.TimeDistributed(layer)(inputs(16)[:, None])

  @parameterized.parameters(legacy_layers.Conv1D, legacy_layers.Conv2D,
                            legacy_layers.Conv3D)
  @test_util.run_v2_only
  def test_legacy_layers(self, layer_cls):
    layer, inputs = self._built(layer_cls, groups=4)
    for channels in (4, 16):
      self._assert_refused(layer, inputs(channels), channels)

  @test_util.run_v2_only
  def test_layers_of_other_ops(self):
    layers = [layer_cls(16, 3, groups=groups)
              for layer_cls in TRANSPOSED for groups in (1, 4)]
    layers += [keras.layers.DepthwiseConv2D(3),
               keras.layers.SeparableConv1D(16, 3),
               keras.layers.SeparableConv2D(16, 3)]
    for layer in layers:
      shape = (1,) + (5,) * layer.rank
      layer.build(shape + (8,))
      for channels in (2, 4, 16):
        with self.assertRaisesRegex(errors.InvalidArgumentError,
                                    r'\b%d\b' % channels):
          layer(array_ops.ones(shape + (channels,)))

  @parameterized.parameters('channels_last', 'channels_first')
  @test_util.run_v2_only
  def test_conv_lstm(self, data_format):
    layer = keras.layers.ConvLSTM2D(4, 3, padding='same',
                                    data_format=data_format)

    def inputs(channels, *batch):
      shape = [5, 5]
      shape.insert(0 if data_format == 'channels_first' else 2, channels)
      return array_ops.ones(list(batch) + shape)

    layer(inputs(4, 2, 3))
    with self.assertRaisesRegex(ValueError, '8 != 4. Layer: .*, groups: 1'):
      layer(inputs(8, 2, 3))
    with self.assertRaisesRegex(ValueError, '8 != 4. Layer: .*, groups: 1'):
      layer(inputs(4, 2, 3), initial_state=[inputs(8, 2)] * 2)
    layer(inputs(4, 2, 3), initial_state=[inputs(4, 2)] * 2)

  @parameterized.parameters(
      *itertools.product(CONV, ('channels_last', 'channels_first'), (1, 4)))
  @test_util.run_v2_only
  def test_function_that_does_not_know_them(self, layer_cls, data_format,
                                            groups):
    layer, inputs = self._built(
        layer_cls, data_format=data_format, groups=groups)
    signature = [tensor_spec.TensorSpec([None] * (layer.rank + 2))]

    def gradients(x):
      with backprop.GradientTape() as tape:
        y = layer(x)
      return [y] + tape.gradient(y, layer.trainable_weights)

    function = def_function.function(gradients, input_signature=signature)
    self.assertAllClose(function(inputs(8)), gradients(inputs(8)))
    for channels in (4, 16):
      with self.assertRaisesRegex(
          errors.InvalidArgumentError,
          r'\[%d\] \[8\](.|\n)*number_of_input_channels_must_be_8' % channels):
        function(inputs(channels))
    # XLA does not compile strings, for one.
    compiled = def_function.function(
        layer, input_signature=signature, experimental_compile=True)
    self.assertAllClose(compiled(inputs(8)), layer(inputs(8)))

  def test_graphs(self):
    for layer_cls in CONV + (legacy_layers.Conv2D,):
      with ops.Graph().as_default(), self.cached_session() as sess:
        layer, inputs = self._built(layer_cls, groups=4)
        with self.assertRaisesRegex(ValueError, 'axis -1 .* 8 .*16'):
          layer(inputs(16))
        x = array_ops.placeholder(np.float32, [None] * (layer.rank + 2))
        y = layer(x)
        self.assertEqual(y.shape[-1], 16)
        sess.run(variables.global_variables_initializer())
        sess.run(y, {x: sess.run(inputs(8))})
        with self.assertRaisesRegex(errors.InvalidArgumentError,
                                    'number_of_input_channels_must_be_8'):
          sess.run(y, {x: sess.run(inputs(16))})

  @parameterized.parameters(([None] * 4,), ([None, 5, 5, None],))
  @test_util.run_v2_only
  def test_model_of_data_that_do_not_know_them(self, shape):
    layer = keras.layers.Conv2D(16, 3, groups=4, input_shape=(5, 5, 8))
    model = keras.Sequential([layer])
    model.compile('sgd', 'mse')

    def data(channels):
      x = random_array((1, 5, 5, channels))
      y = np.zeros((1, 3, 3, 16), np.float32)
      return dataset_ops.DatasetV2.from_generator(
          lambda: iter([(x, y)]), (np.float32, np.float32),
          (tensor_shape.TensorShape(shape), tensor_shape.TensorShape(y.shape)))

    x = random_array((1, 5, 5, 8))
    self.assertAllClose(
        model.predict(data(8)), reference(layer, x, layer.get_weights()[0]))
    model.fit(data(8), verbose=0)
    for run in model.predict, model.evaluate, model.fit:
      with self.assertRaisesRegex(errors.InvalidArgumentError,
                                  'number_of_input_channels_must_be_8'):
        run(data(16), verbose=0)

  @test_util.run_v2_only
  def test_graphs_that_know_them_are_as_they_were(self):
    model = keras.Sequential([
        keras.layers.TimeDistributed(
            keras.layers.Conv2D(4, 3, groups=2),
            input_shape=(None, 7, None, 4)),
        keras.layers.ConvLSTM2D(4, 3)
    ])
    function = def_function.function(model).get_concrete_function(
        tensor_spec.TensorSpec((None,) + model.input_shape[1:]))
    self.assertNotIn('must_be', str(function.graph.as_graph_def()))

  @test_util.run_v2_only
  def test_layer_that_adds_channels(self):

    class AddingLayer(keras.layers.Conv2D):

      def build(self, input_shape):
        shape = tensor_shape.TensorShape(input_shape).as_list()
        super(AddingLayer, self).build(shape[:-1] + [2 * shape[-1]])
        self.input_spec = None

      def call(self, inputs):
        return super(AddingLayer, self).call(
            array_ops.concat([inputs, inputs], -1))

    layer = AddingLayer(4, 3, groups=2)
    for size in (5, 6):
      x = random_array((1, size, size, 2))
      self.assertAllClose(
          layer(x),
          reference(layer, np.concatenate([x, x], -1), layer.get_weights()[0]))


@keras_parameterized.run_all_keras_modes
class ValueTest(keras_parameterized.TestCase):
  """Compares with the reference, by way of the layers' usual life."""

  def _layer_test(self, layer_cls, kwargs):
    kwargs = dict(kwargs, filters=4, kernel_size=3, groups=2)
    layer = layer_cls(**kwargs)
    x = random_array((2,) + (5,) * layer.rank + (6,))
    channel_axis = 1 if layer.data_format == 'channels_first' else -1
    input_data = np.moveaxis(x, -1, channel_axis)
    layer.build(input_data.shape)
    kernel = random_array(layer.kernel.shape)
    bias = np.arange(4)
    output = reference(layer, x, kernel) + bias
    testing_utils.layer_test(
        layer_cls,
        kwargs=dict(
            kwargs,
            kernel_initializer=keras.initializers.constant(kernel),
            bias_initializer=keras.initializers.constant(bias)),
        input_data=input_data,
        expected_output=np.moveaxis(output, -1, channel_axis))

  @each_layer(('valid', {}), ('same', {'padding': 'same'}),
              ('strides', {'strides': 2}),
              ('channels_first', {'data_format': 'channels_first'}),
              ('same_strides', {'padding': 'same', 'strides': 3}))
  def test_values(self, layer_cls, kwargs):
    self._layer_test(layer_cls, kwargs)

  @parameterized.named_parameters(*ALL_LAYERS[:-1])
  def test_dilation(self, layer_cls):
    # All but Conv3DTranspose, which has none.
    for padding in ('valid', 'same'):
      self._layer_test(layer_cls, {'padding': padding, 'dilation_rate': 2})

  def test_causal(self):
    for dilation in (1, 2):
      self._layer_test(keras.layers.Conv1D,
                       {'padding': 'causal', 'dilation_rate': dilation})

  def test_output_padding(self):
    for layer_cls in TRANSPOSED:
      self._layer_test(layer_cls, {'strides': 2, 'output_padding': 1})

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_fit(self, layer_cls):
    layer = layer_cls(4, 2, groups=2, input_shape=(3,) * rank_of(layer_cls) +
                      (4,))
    model = keras.Sequential([layer])
    model.compile(keras.optimizer_v2.gradient_descent.SGD(0.5), 'mse',
                  run_eagerly=testing_utils.should_run_eagerly())
    x = random_array((2,) + model.input_shape[1:])
    target = random_array((2,) + model.output_shape[1:])
    kernel, bias = model.get_weights()
    y = reference(layer, x, kernel) + bias
    self.assertAllClose(model.predict(x), y)

    model.fit(x, target, batch_size=2, epochs=1, verbose=0)
    dy = 2 * (y - target) / target.size
    _, dkernel = reference_gradients(layer, x, kernel, dy)
    dbias = dy.reshape(-1, 4).sum(0)
    self.assertAllClose(layer.get_weights(),
                        [kernel - 0.5 * dkernel, bias - 0.5 * dbias])

  def test_time_distributed(self):
    x = random_array((2, 3, 5, 5, 6))
    layer = keras.layers.Conv2D(4, 3, groups=2)
    model = keras.Sequential(
        [keras.layers.TimeDistributed(layer, input_shape=x.shape[1:])])
    model.compile('sgd', 'mse', run_eagerly=testing_utils.should_run_eagerly())
    y = model.predict(x)
    kernel = layer.get_weights()[0]
    for step in range(3):
      self.assertAllClose(y[:, step], reference(layer, x[:, step], kernel))
    model.train_on_batch(x, y + 1)
    self.assertNotAllClose(layer.get_weights()[0], kernel)

  def test_mixed_precision(self):
    for layer_cls in CONV + TRANSPOSED:
      layer = layer_cls(4, 3, groups=2, dtype=policy.Policy('mixed_float16'))
      x = random_array((2,) + (5,) * layer.rank + (6,))
      model = keras.Sequential([layer])
      y = model.predict(x)
      kernel = layer.get_weights()[0]
      self.assertEqual(y.dtype, np.float16)
      self.assertEqual(kernel.dtype, np.float32)
      self.assertAllClose(y, reference(layer, x, kernel), rtol=1e-2, atol=1e-2)

  def test_regularizer_and_constraint(self):
    for layer_cls in CONV:
      layer = layer_cls(
          4, 3, groups=2,
          kernel_regularizer=keras.regularizers.l2(0.5),
          kernel_constraint=keras.constraints.UnitNorm(
              axis=list(range(rank_of(layer_cls) + 1))))
      x = random_array((2,) + (5,) * layer.rank + (6,))
      model = keras.Sequential([layer])
      model.compile('sgd', 'mse',
                    run_eagerly=testing_utils.should_run_eagerly())
      model.train_on_batch(x, np.zeros(layer.compute_output_shape(x.shape)))
      # The norm of each filter is that of what it has: one group's channels.
      norms = np.sqrt(np.sum(layer.get_weights()[0].reshape(-1, 4)**2, axis=0))
      self.assertAllClose(norms, np.ones(4))
      # What is left of the loss is 0.5 for each filter of norm 1.
      loss = model.test_on_batch(x, model.predict(x))
      self.assertAllClose(loss, 2.)


class GradientTest(keras_parameterized.TestCase):

  @each_layer(('eager', {'experimental_compile': None}),
              ('xla', {'experimental_compile': True}))
  @test_util.run_v2_only
  def test_gradients(self, layer_cls, kwargs):
    self._test_gradients(layer_cls(4, 2, strides=2, groups=2), kwargs)

  @parameterized.parameters(*itertools.product(CONV, (None, True)))
  @test_util.run_v2_only
  def test_gradients_of_dilation(self, layer_cls, experimental_compile):
    self._test_gradients(
        layer_cls(4, 2, dilation_rate=2, groups=2),
        {'experimental_compile': experimental_compile})

  def _test_gradients(self, layer, kwargs):
    x = random_array((1,) + (3,) * layer.rank + (4,))
    layer.build(x.shape)
    kernel = layer.get_weights()[0]
    y = reference(layer, x, kernel)
    dy = random_array(y.shape)

    def compute(x, dy):
      with backprop.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
      return [y] + tape.gradient(y, [x, layer.kernel], dy)

    if kwargs['experimental_compile']:
      compute = def_function.function(compute, **kwargs)
    actual = compute(constant_op.constant(x), constant_op.constant(dy))
    self.assertAllClose(actual,
                        [y] + reference_gradients(layer, x, kernel, dy))

  @parameterized.named_parameters(*ALL_LAYERS)
  @test_util.run_v2_only
  def test_channels_first_under_xla(self, layer_cls):
    layer = layer_cls(4, 2, groups=2, data_format='channels_first')
    x = random_array((2,) + (5,) * layer.rank + (6,))
    y = def_function.function(layer, experimental_compile=True)(
        np.moveaxis(x, -1, 1))
    self.assertAllClose(
        np.moveaxis(y.numpy(), 1, -1),
        reference(layer, x, layer.get_weights()[0]))


class LegacyLayersTest(test.TestCase):
  """`tf.compat.v1.layers`, in the graphs for which they are."""

  def test_values(self):
    for layer_cls in (legacy_layers.Conv1D, legacy_layers.Conv2D,
                      legacy_layers.Conv3D, legacy_layers.Conv2DTranspose,
                      legacy_layers.Conv3DTranspose):
      with ops.Graph().as_default(), self.cached_session() as sess:
        layer = layer_cls(4, 3, groups=2)
        x = random_array((2,) + (5,) * layer.rank + (6,))
        y = layer.apply(constant_op.constant(x))
        sess.run(variables.global_variables_initializer())
        y, kernel = sess.run([y, layer.kernel])
        self.assertAllClose(y, reference(layer, x, kernel))


class PyTorchWeightsTest(keras_parameterized.TestCase):
  """Weights of PyTorch have to fit after a transposition.

  PyTorch, ONNX and cuDNN give the first `out_channels / groups` filters to the
  first `in_channels / groups` channels, and so on.
  """

  @test_util.run_v2_only
  def test_conv1d(self):
    # torch.nn.Conv1d(4, 6, 2, groups=2): (out_channels, in_channels / 2, 2).
    weight = np.array([[[1, 0], [2, 0]], [[3, 0], [4, 0]], [[5, 0], [6, 1]],
                       [[7, 0], [8, 0]], [[9, 0], [1, 0]], [[2, 0], [3, 1]]])
    # (batch, in_channels, length)
    x = np.array([[[1, 0], [10, 3], [100, 0], [1000, 5]]])
    layer = keras.layers.Conv1D(6, 2, groups=2, use_bias=False)
    layer.build((None, 2, 4))
    layer.set_weights([weight.transpose(2, 1, 0)])
    y = layer(x.transpose(0, 2, 1).astype(np.float32))
    self.assertAllEqual(y[0, 0], [21, 43, 68, 8700, 1900, 3205])

  @test_util.run_v2_only
  def test_conv2d(self):
    # torch.nn.Conv2d(2, 2, (1, 2), groups=2): (out_channels, 1, 1, 2).
    weight = np.array([[[[1, 2]]], [[[3, 4]]]])
    # (batch, in_channels, height, width)
    x = np.array([[[[1, 10, 100]], [[2, 20, 200]]]])
    layer = keras.layers.Conv2D(2, (1, 2), groups=2, use_bias=False)
    layer.build((None, 1, 3, 2))
    layer.set_weights([weight.transpose(2, 3, 1, 0)])
    y = layer(x.transpose(0, 2, 3, 1).astype(np.float32))
    self.assertAllEqual(y[0, 0], [[21, 86], [210, 860]])

  @test_util.run_v2_only
  def test_conv2d_transpose(self):
    # torch.nn.ConvTranspose2d(4, 6, (1, 2), groups=2):
    # (in_channels, out_channels / 2, 1, 2).
    weight = np.array([[[[1, 0]], [[2, 0]], [[3, 9]]],
                       [[[4, 0]], [[5, 0]], [[6, 0]]],
                       [[[7, 0]], [[8, 0]], [[9, 0]]],
                       [[[1, 8]], [[2, 0]], [[3, 0]]]])
    # (batch, in_channels, height, width)
    x = np.array([1, 10, 100, 1000]).reshape((1, 4, 1, 1))
    layer = keras.layers.Conv2DTranspose(6, (1, 2), groups=2, use_bias=False)
    layer.build((None, 1, 1, 4))
    layer.set_weights([weight.transpose(2, 3, 1, 0)])
    y = layer(x.transpose(0, 2, 3, 1).astype(np.float32))
    self.assertAllEqual(
        y[0, 0], [[41, 52, 63, 1700, 2800, 3900], [0, 0, 9, 8000, 0, 0]])


if __name__ == '__main__':
  test.main()
