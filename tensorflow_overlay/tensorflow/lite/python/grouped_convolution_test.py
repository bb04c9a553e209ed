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

from tensorflow.core.framework import graph_pb2
from tensorflow.lite.python import convert
from tensorflow.lite.python import interpreter as interpreter_lib
from tensorflow.lite.python import lite
from tensorflow.lite.python import util
from tensorflow.python import keras
from tensorflow.python.client import session
from tensorflow.python.eager import def_function
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import dtypes
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


def interpret(model_content, x):
  """Returns what TensorFlow Lite computes."""
  interpreter = interpreter_lib.Interpreter(model_content=model_content)
  interpreter.allocate_tensors()
  interpreter.set_tensor(interpreter.get_input_details()[0]['index'], x)
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

  @test_util.run_v2_only
  def test_refuses_filters_that_are_not_constant(self):
    @def_function.function(input_signature=[
        tensor_spec.TensorSpec([1, 7, 7, 4]),
        tensor_spec.TensorSpec([3, 3, 2, 6])
    ])
    def convolve(x, filters):
      return nn_ops.conv2d_v2(x, filters, 1, 'SAME', name='grouped')

    converter = lite.TFLiteConverterV2.from_concrete_functions(
        [convolve.get_concrete_function()])
    with self.assertRaisesRegex(
        ValueError, r"'grouped' \(2 groups\) cannot be converted: its filters "
        'are not constant'):
      converter.convert()

  @test_util.run_v2_only
  def test_refuses_groups_in_control_flow(self):
    filters = random_array((3, 3, 2, 4))

    @def_function.function(
        input_signature=[tensor_spec.TensorSpec([1, 7, 7, 4])])
    def convolve(x):
      return control_flow_ops.while_loop_v2(
          lambda i, x: i < 2,
          lambda i, x: (i + 1, nn_ops.conv2d_transpose_v2(  # pylint: disable=g-long-lambda
              x, filters, [1, 7, 7, 4], 1)), [0, x], name='loop')[1]

    converter = lite.TFLiteConverterV2.from_concrete_functions(
        [convolve.get_concrete_function()])
    with self.assertRaisesRegex(
        ValueError, r"\(2 groups\) cannot be converted within the control flow "
        "of 'loop'"):
      converter.convert()

  def test_leaves_other_graphs_alone(self):
    with ops.Graph().as_default() as graph:
      nn_ops.conv2d_v2(
          constant_op.constant(random_array((1, 7, 7, 4))),
          random_array((3, 3, 4, 6)), 1, 'SAME')
    graph_def = graph.as_graph_def()
    self.assertIs(util.split_grouped_convolutions(graph_def), graph_def)

    unknown = graph_pb2.GraphDef()
    unknown.node.add(name='custom', op='UnknownToTensorFlow')
    self.assertIs(util.split_grouped_convolutions(unknown), unknown)


if __name__ == '__main__':
  test.main()
