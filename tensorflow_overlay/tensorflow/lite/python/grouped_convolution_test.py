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
"""Tests for the conversion of grouped convolutions to TensorFlow Lite."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import os

from absl.testing import parameterized
import numpy as np

from tensorflow.lite.python import convert
from tensorflow.lite.python import interpreter as interpreter_lib
from tensorflow.lite.python import lite
from tensorflow.lite.python import split_grouped_convolutions
from tensorflow.python import keras
from tensorflow.python.client import session
from tensorflow.python.eager import def_function
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import dtypes
from tensorflow.python.framework import function
from tensorflow.python.framework import importer
from tensorflow.python.framework import ops
from tensorflow.python.framework import tensor_spec
from tensorflow.python.framework import test_util
from tensorflow.python.ops import array_ops
from tensorflow.python.ops import control_flow_ops
from tensorflow.python.ops import nn_ops
from tensorflow.python.platform import test

LAYERS = {
    'conv1d': lambda: keras.layers.Conv1D(8, 3, groups=2),
    'conv2d': lambda: keras.layers.Conv2D(  # pylint: disable=g-long-lambda
        8, 3, strides=2, padding='same', groups=2, activation='relu'),
    'dilated': lambda: keras.layers.Conv2D(8, 3, groups=2, dilation_rate=2),
    'channelwise': lambda: keras.layers.Conv2D(8, 3, groups=4, use_bias=False),
    'transposed': lambda: keras.layers.Conv2DTranspose(8, 3, groups=2),
    'strided_transposed': lambda: keras.layers.Conv2DTranspose(  # pylint: disable=g-long-lambda
        8, 3, strides=2, padding='same', groups=4),
}


def make_model(name):
  layer = LAYERS[name]()
  return keras.Sequential(
      [keras.Input((7,) * layer.rank + (4,)), layer])


def random_array(shape):
  return np.random.RandomState(1).standard_normal(shape).astype(np.float32)


def make_unknown(graph_def, name):
  """Turns the node of a name into one whose op TensorFlow does not know."""
  for node in graph_def.node:
    if node.name == name:
      node.op = 'UnknownToTensorFlow'


def split(graph_def, *outputs):
  """Splits what outputs depend on, all nodes if none are named."""
  return split_grouped_convolutions.split_grouped_convolutions(
      graph_def, ['Conv2D', 'Conv2DBackpropInput'],
      outputs or [node.name for node in graph_def.node])


def interpret(model_content, inputs):
  """Returns what TensorFlow Lite computes of an input, or of a list of them."""
  interpreter = interpreter_lib.Interpreter(model_content=model_content)
  interpreter.allocate_tensors()
  for details, value in zip(interpreter.get_input_details(),
                            inputs if isinstance(inputs, list) else [inputs]):
    interpreter.set_tensor(details['index'], value)
  interpreter.invoke()
  return interpreter.get_tensor(interpreter.get_output_details()[0]['index'])


class GroupedConvolutionTest(test.TestCase, parameterized.TestCase):

  def setUp(self):
    super(GroupedConvolutionTest, self).setUp()
    # Convert in this process, instead of by a program that may not be on PATH.
    patch = test.mock.patch.object(convert, '_toco_from_proto_bin', '')
    patch.start()
    self.addCleanup(patch.stop)

  def _check(self, converter, mlir, x, expected, **kwargs):
    converter.experimental_new_converter = mlir
    self.assertAllClose(
        interpret(converter.convert(), x), expected, **kwargs)

  def _transposed(self, x):
    """Returns a graph with a transposed convolution, and what it computes."""
    filters = random_array((3, 3, 2, 6))
    with ops.Graph().as_default() as graph, session.Session() as sess:
      inputs = array_ops.placeholder(dtypes.float32, x.shape, name='inputs')
      sizes = constant_op.constant([1, 7, 7, 4], name='sizes')
      outputs = nn_ops.conv2d_backprop_input(
          sizes, filters, array_ops.identity(inputs, name='between'),
          [1, 1, 1, 1], 'SAME', name='outputs')
      return graph.as_graph_def(), sess.run(outputs, {inputs: x})

  def _frozen(self, graph_def, input_shape):
    """Returns a converter of a graph from 'inputs' to 'outputs'."""
    path = os.path.join(self.get_temp_dir(), 'frozen.pb')
    with open(path, 'wb') as stream:
      stream.write(graph_def.SerializeToString())
    return lite.TFLiteConverter.from_frozen_graph(
        path, ['inputs'], ['outputs'], {'inputs': input_shape})

  @parameterized.named_parameters(
      ('%s_%s' % (name, 'mlir' if mlir else 'toco'), name, mlir)
      for name in LAYERS
      for mlir in (True, False))
  @test_util.run_v2_only
  def test_keras_model(self, name, mlir):
    model = make_model(name)
    x = random_array((1,) + model.input_shape[1:])
    expected = model.predict(x)
    self._check(
        lite.TFLiteConverterV2.from_keras_model(model), mlir, x, expected)

    path = os.path.join(self.get_temp_dir(), 'model.h5')
    model.save(path)
    self._check(
        lite.TFLiteConverter.from_keras_model_file(path), mlir, x, expected)

    path = os.path.join(self.get_temp_dir(), 'model.tf')
    model.save(path, save_format='tf')
    self._check(
        lite.TFLiteConverterV2.from_saved_model(path), mlir, x, expected)
    self._check(
        lite.TFLiteConverter.from_saved_model(path), mlir, x, expected)

  @parameterized.named_parameters(('mlir', True), ('toco', False))
  @test_util.run_v2_only
  def test_quantized_weights_and_activations(self, mlir):
    model = make_model('conv2d')
    x = random_array((1,) + model.input_shape[1:])
    converter = lite.TFLiteConverterV2.from_keras_model(model)
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [[x]]
    self._check(converter, mlir, x, model.predict(x), atol=0.05)

  @parameterized.named_parameters(('mlir', True), ('toco', False))
  def test_convolution_is_the_output(self, mlir):
    x = random_array((1, 7, 7, 4))
    filters = random_array((3, 3, 2, 6))
    with ops.Graph().as_default(), session.Session() as sess:
      inputs = array_ops.placeholder(dtypes.float32, x.shape)
      outputs = nn_ops.conv2d_v2(inputs, filters, 1, 'SAME')
      expected = sess.run(outputs, {inputs: x})
      converter = lite.TFLiteConverter.from_session(sess, [inputs], [outputs])
    self._check(converter, mlir, x, expected)

  @parameterized.named_parameters(('mlir', True), ('toco', False))
  @test_util.run_v2_only
  def test_filters_that_are_not_constant(self, mlir):
    x = random_array((1, 7, 7, 4))
    filters = random_array((3, 3, 2, 6))

    @def_function.function(input_signature=[
        tensor_spec.TensorSpec(x.shape),
        tensor_spec.TensorSpec(filters.shape)
    ])
    def convolve(x, filters):
      return nn_ops.conv2d_v2(x, filters, 1, 'SAME')

    converter = lite.TFLiteConverterV2.from_concrete_functions(
        [convolve.get_concrete_function()])
    self._check(converter, mlir, [x, filters], convolve(x, filters))

  @test_util.run_v2_only
  def test_control_flow(self):
    x = random_array((1, 7, 7, 4))
    filters = random_array((3, 3, 2, 4)) / 9

    @def_function.function(input_signature=[tensor_spec.TensorSpec(x.shape)])
    def convolve(x):
      return control_flow_ops.while_loop_v2(
          lambda i, x: i < 2,
          lambda i, x: (i + 1, nn_ops.conv2d_transpose_v2(  # pylint: disable=g-long-lambda
              x, filters, [1, 7, 7, 4], 1)), [0, x])[1]

    converter = lite.TFLiteConverterV2.from_concrete_functions(
        [convolve.get_concrete_function()])
    self._check(converter, True, x, convolve(x))

  def test_function_that_is_an_op(self):

    @function.Defun(dtypes.float32)
    def convolve(x):
      return nn_ops.conv2d_v2(
          x, constant_op.constant(random_array((3, 3, 2, 6))), 1, 'SAME')

    with ops.Graph().as_default() as graph:
      convolve(array_ops.placeholder(dtypes.float32, [1, 7, 7, 4]))
    (body,) = split(graph.as_graph_def()).library.function
    convolutions = [node for node in body.node_def if node.op == 'Conv2D']
    self.assertLen(convolutions, 2)

  @parameterized.parameters((1, 1, 1), (2, 2, 1), (1, 2, 3))
  def test_depthwise_op_where_there_is_one(self, height_stride, stride, count):
    x = random_array((1, 7, 7, 3))
    with ops.Graph().as_default() as graph:
      nn_ops.conv2d_v2(
          array_ops.placeholder(dtypes.float32, x.shape, name='inputs'),
          random_array((3, 3, 1, 6)), [height_stride, stride], 'SAME',
          name='outputs')
    with ops.Graph().as_default(), session.Session() as sess:
      importer.import_graph_def(graph.as_graph_def(), name='')
      expected = sess.run('outputs:0', {'inputs:0': x})
    result = split(graph.as_graph_def())
    convolutions = [node for node in result.node if 'Conv2' in node.op]
    self.assertLen(convolutions, count)
    with ops.Graph().as_default(), session.Session() as sess:
      importer.import_graph_def(result, name='')
      self.assertAllClose(sess.run('outputs:0', {'inputs:0': x}), expected)

  def test_refuses_unknown_number_of_filters(self):
    with ops.Graph().as_default() as graph:
      nn_ops.conv2d_v2(
          array_ops.placeholder(dtypes.float32, [1, 7, 7, 4]),
          array_ops.placeholder(dtypes.float32, [3, 3, 2, None]),
          1, 'SAME', name='grouped')
    with self.assertRaisesRegex(
        ValueError, r"'grouped' \(2 groups\) cannot be converted: the number "
        'of its filters is unknown'):
      split(graph.as_graph_def())

  @parameterized.named_parameters(('mlir', True), ('toco', False))
  def test_shape_that_only_the_converter_knows(self, mlir):
    x = random_array((1, 7, 7, 4))
    filters = random_array((3, 3, 2, 4))
    with ops.Graph().as_default() as graph, session.Session() as sess:
      inputs = array_ops.placeholder(dtypes.float32, name='inputs')
      outputs = nn_ops.conv2d_v2(inputs, filters, 1, 'SAME', name='outputs')
      expected = sess.run(outputs, {inputs: x})
    self._check(
        self._frozen(graph.as_graph_def(), x.shape), mlir, x, expected)

  def test_beside_unknown_op(self):
    x = random_array((1, 7, 7, 6))
    graph_def, expected = self._transposed(x)
    unknown = graph_def.node.add(
        name='custom', op='UnknownToTensorFlow', input=['inputs'])
    # What runs, or is placed, with the unknown op is still looked at.
    for node in graph_def.node:
      if node.name == 'outputs':
        node.input.append('^' + unknown.name)
        node.attr['_class'].list.s.append(b'loc:@custom')
    converter = self._frozen(graph_def, x.shape)
    converter.allow_custom_ops = True
    self._check(converter, False, x, expected)

  def test_behind_unknown_op(self):
    graph_def, _ = self._transposed(random_array((1, 7, 7, 6)))
    make_unknown(graph_def, 'between')
    # Has the name that what comes from the unknown op would have.
    graph_def.node.add(name='outputs/unknown_2', op='NoOp')
    result = split(graph_def)
    nodes = {node.name: node for node in result.node}
    self.assertEqual(nodes['between'].op, 'UnknownToTensorFlow')
    self.assertEqual(nodes['outputs/split'].input[1], 'between')
    self.assertIn('outputs/group_1', nodes)

  def test_refuses_transposed_convolution_of_unknown_channels(self):
    graph_def, _ = self._transposed(random_array((1, 7, 7, 6)))
    make_unknown(graph_def, 'sizes')
    with self.assertRaisesRegex(
        ValueError, "'outputs' cannot be converted: whether it is grouped is "
        'unknown, because its output has unknown channels and its filters '
        'have 2'):
      split(graph_def)

  def test_leaves_alone_what_is_not_converted(self):
    graph_def, _ = self._transposed(random_array((1, 7, 7, 6)))
    make_unknown(graph_def, 'sizes')
    self.assertIs(split(graph_def, 'between'), graph_def)
    graph_def.node.add(name='after', op='NoOp', input=['^outputs'])
    with self.assertRaisesRegex(ValueError, "'outputs' cannot be converted"):
      split(graph_def, 'after')

  def test_leaves_alone_functions_that_are_not_called(self):

    @function.Defun(dtypes.float32, dtypes.int32)
    def transposed(x, sizes):
      return nn_ops.conv2d_backprop_input(
          sizes, random_array((3, 3, 2, 6)), x, [1, 1, 1, 1], 'SAME')

    @function.Defun(dtypes.float32, dtypes.int32)
    def calls(x, sizes):
      return transposed(x, sizes)

    with ops.Graph().as_default() as graph:
      x = array_ops.placeholder(dtypes.float32, [1, 7, 7, 6], name='x')
      calls(x, array_ops.placeholder(dtypes.int32, [4]), name='call')
      array_ops.identity(x, name='other')
    graph_def = graph.as_graph_def()
    self.assertIs(split(graph_def, 'other'), graph_def)
    with self.assertRaisesRegex(ValueError, 'whether it is grouped is unknown'):
      split(graph_def, 'call')

  def test_names_that_are_taken(self):
    x = random_array((1, 7, 7, 6))
    graph_def, expected = self._transposed(x)
    taken = {node.name for node in graph_def.node}
    for node in split(graph_def).node:
      if node.name not in taken:
        graph_def.node.add(name=node.name, op='NoOp')
    with ops.Graph().as_default(), session.Session() as sess:
      importer.import_graph_def(split(graph_def), name='')
      self.assertAllClose(sess.run('outputs:0', {'inputs:0': x}), expected)

  def test_leaves_other_graphs_alone(self):
    with ops.Graph().as_default() as graph:
      nn_ops.conv2d_v2(
          constant_op.constant(random_array((1, 7, 7, 4))),
          random_array((3, 3, 4, 6)), 1, 'SAME')
      # Dense or not: the interpreter compares the channels.
      nn_ops.conv2d_v2(
          array_ops.placeholder(dtypes.float32),
          random_array((3, 3, 4, 6)), 1, 'SAME')
    graph_def = graph.as_graph_def()
    self.assertIs(split(graph_def), graph_def)


if __name__ == '__main__':
  test.main()
