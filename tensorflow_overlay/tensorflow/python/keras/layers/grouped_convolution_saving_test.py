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
"""Tests that the layers' `groups` survive being saved."""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import json
import os

from absl.testing import parameterized
import numpy as np

from tensorflow.python import keras
from tensorflow.python.framework import constant_op
from tensorflow.python.framework import test_util
from tensorflow.python.keras.saving import model_config
from tensorflow.python.platform import test
from tensorflow.python.saved_model import load
from tensorflow.python.training.tracking import util as tracking

try:
  import yaml  # pylint:disable=g-import-not-at-top
except ImportError:
  yaml = None

CONV = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
ALL_LAYERS = [(cls.__name__, cls) for cls in CONV + TRANSPOSED]


def make_model(layer_cls, sequential=True):
  rank = int(layer_cls.__name__[len('Conv')])
  layers = [
      layer_cls(8, 3, groups=2, activation='relu', name='grouped'),
      layer_cls(4, 3, padding='same', name='dense'),
  ]
  shape = (5,) * rank + (6,)
  if sequential:
    return keras.Sequential([keras.Input(shape)] + layers)
  inputs = keras.Input(shape)
  outputs = inputs
  for layer in layers:
    outputs = layer(outputs)
  return keras.Model(inputs, outputs)


def make_input(model):
  shape = (2,) + model.input_shape[1:]
  return np.random.RandomState(1).standard_normal(shape).astype(np.float32)


@test_util.run_all_in_graph_and_eager_modes
class SavingTest(test.TestCase, parameterized.TestCase):

  def _check_same(self, restored, model):
    """Checks the groups and, since weights were restored, the outputs."""
    self.assertEqual(restored.get_layer('grouped').groups, 2)
    self.assertEqual(restored.get_layer('dense').groups, 1)
    x = make_input(model)
    self.assertAllClose(restored.predict(x), model.predict(x))

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_config(self, layer_cls):
    layer = layer_cls(8, 3, groups=2)
    config = layer.get_config()
    self.assertEqual(config['groups'], 2)
    self.assertEqual(layer_cls.from_config(config).groups, 2)
    self.assertEqual(
        keras.layers.deserialize(keras.layers.serialize(layer)).groups, 2)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_config_from_before_groups(self, layer_cls):
    config = layer_cls(8, 3).get_config()
    # Official Keras 3 has transposed layers that do not know the argument.
    transposed = 'Transpose' in layer_cls.__name__
    self.assertEqual(config.pop('groups', None), None if transposed else 1)
    self.assertEqual(layer_cls.from_config(config).groups, 1)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_model_from_before_groups(self, layer_cls):
    config = json.loads(make_model(layer_cls).to_json())
    for layer in config['config']['layers']:
      layer['config'].pop('groups', None)
    model = model_config.model_from_json(json.dumps(config))
    self.assertEqual([layer.groups for layer in model.layers], [1, 1])

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_clone(self, layer_cls):
    model = make_model(layer_cls)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    self._check_same(clone, model)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_json_and_weights(self, layer_cls):
    for sequential in (True, False):
      model = make_model(layer_cls, sequential)
      path = os.path.join(self.get_temp_dir(), 'weights.h5')
      model.save_weights(path)
      restored = model_config.model_from_json(model.to_json())
      restored.load_weights(path)
      self._check_same(restored, model)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_yaml(self, layer_cls):
    if yaml is None:
      self.skipTest('This needs PyYAML.')
    # PyYAML 5.2 and later do not load Sequential models, whatever their layers.
    model = make_model(layer_cls, sequential=False)
    restored = keras.models.model_from_yaml(model.to_yaml())
    restored.set_weights(model.get_weights())
    self._check_same(restored, model)

  @parameterized.named_parameters(
      (name + '_' + save_format, layer_cls, save_format)
      for name, layer_cls in ALL_LAYERS
      for save_format in ('h5', 'tf'))
  def test_whole_model(self, layer_cls, save_format):
    model = make_model(layer_cls)
    model.compile('adam', 'mse')
    x = make_input(model)
    model.train_on_batch(x, model.predict(x) + 1)
    path = os.path.join(self.get_temp_dir(), 'model.' + save_format)
    model.save(path, save_format=save_format)
    restored = keras.models.load_model(path)
    self._check_same(restored, model)
    # The optimizer's slots have to fit the grouped kernel.
    restored.train_on_batch(x, model.predict(x) + 1)
    self.assertNotAllClose(restored.predict(x), model.predict(x))

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_checkpoint(self, layer_cls):
    model = make_model(layer_cls)
    x = make_input(model)
    model.predict(x)
    path = tracking.Checkpoint(model=model).save(
        os.path.join(self.get_temp_dir(), 'checkpoint'))
    restored = make_model(layer_cls)
    status = tracking.Checkpoint(model=restored).restore(path)
    status.assert_existing_objects_matched().initialize_or_restore()
    self._check_same(restored, model)

  @parameterized.named_parameters(*ALL_LAYERS)
  def test_weights_of_other_groups_do_not_fit(self, layer_cls):
    grouped = make_model(layer_cls).get_layer('grouped')
    other = layer_cls(8, 3)
    other.build(grouped.input_shape)
    with self.assertRaisesRegex(ValueError, 'not compatible with provided'):
      grouped.set_weights(other.get_weights())


class ServingTest(test.TestCase, parameterized.TestCase):

  @parameterized.named_parameters(*ALL_LAYERS)
  @test_util.run_v2_only
  def test_serving(self, layer_cls):
    model = make_model(layer_cls)
    x = make_input(model)
    y = model.predict(x)
    path = os.path.join(self.get_temp_dir(), 'serving')
    model.save(path, save_format='tf')
    loaded = load.load(path)
    function = loaded.signatures['serving_default']
    actual, = function(constant_op.constant(x)).values()
    self.assertAllClose(actual, y)


if __name__ == '__main__':
  test.main()
