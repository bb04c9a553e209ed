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
"""Exports models with grouped convolutions, right where they are to run.

Each target has groups for some convolutions and gets others wrong. `export`
splits the latter, one convolution a group, converts, and compares what the
exported model computes with what the original does:

  python -m <this module> MODEL FOLDER --to onnx

This file serves a rebuilt TensorFlow and, unchanged, a package beside an
official one.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import argparse
import collections
import importlib
import inspect
import os
import shutil
import sys
import tempfile

import numpy as np

from . import split_grouped_convolutions as splitting

_SIGNATURE = "serving_default"


class Export(collections.namedtuple("Export", "path split error unchecked")):
  """What `export` did.

  Attributes:
    path: The exported model's file or folder.
    split: By the name of each convolution that was split, the number of its
      groups.
    error: The largest difference of an output from the original's, divided by
      the largest magnitude of that output; None if it was not compared.
    unchecked: Why it was not compared; None if it was.
  """

  def __str__(self):
    lines = ["Wrote {}.".format(self.path)]
    if self.split:
      lines.append("Split, as the target gets these wrong: {}.".format(
          ", ".join("{} ({} groups)".format(name, groups)
                    for name, groups in sorted(self.split.items()))))
    else:
      lines.append("Nothing was to be split.")
    if self.unchecked:
      lines.append("Its outputs were not checked: {}.".format(self.unchecked))
    else:
      lines.append("Its outputs differ from the original's by up to {:.0e} of "
                   "the largest value.".format(self.error))
    return "\n".join(lines)


class _Unchecked(Exception):
  """An exported model cannot run here."""


def _tensorflow():
  """Returns the public TensorFlow, which need not be there before."""
  return importlib.import_module("tensorflow")


def _converter(name, package, target):
  """Imports a target's converter."""
  try:
    return importlib.import_module(name)
  except Exception as error:  # pylint: disable=broad-except
    # Packages that do not fit each other fail in many ways.
    raise ImportError(
        "Export to '{}' needs the package {}, which cannot be imported ({}): "
        "install it with pip.".format(target, package, error))


def _runtime(name, package):
  """Imports what runs an exported model."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise _Unchecked("{} cannot be imported ({})".format(package, error))


def _signature(saved_model):
  """Returns the function of a loaded SavedModel that is exported."""
  signatures = saved_model.signatures
  if _SIGNATURE in signatures:
    return signatures[_SIGNATURE]
  if len(signatures) == 1:
    return list(signatures.values())[0]
  raise ValueError(
      "The model cannot be exported: it needs a signature '{}', and has {}."
      .format(_SIGNATURE, sorted(signatures) or "none"))


def _inputs_of(signature):
  """Returns the TensorSpecs of a signature's inputs, by name."""
  return signature.structured_input_signature[1]


def _to_onnx(saved_model_dir, folder):
  """Writes an ONNX model of a SavedModel, and returns its path."""
  tf2onnx = _converter("tf2onnx", "tf2onnx", "onnx")
  importlib.import_module("tf2onnx.convert")
  from tensorflow.python.framework import convert_to_constants  # pylint: disable=g-import-not-at-top,g-direct-tensorflow-import
  loaded = _tensorflow().saved_model.load(saved_model_dir)
  signature = _signature(loaded)
  frozen = convert_to_constants.convert_variables_to_constants_v2(signature)
  # A signature's inputs and outputs, by which it is called, are in order.
  inputs = [tensor.name for tensor in frozen.inputs]
  outputs = [tensor.name for tensor in frozen.outputs]
  names = {name: name.split(":")[0] for name in inputs}
  names.update(zip(outputs, sorted(signature.structured_outputs)))
  path = os.path.join(folder, "model.onnx")
  tf2onnx.convert.from_graph_def(
      frozen.graph.as_graph_def(), input_names=inputs, output_names=outputs,
      tensors_to_rename=names, output_path=path)
  return path


def _run_onnx(path, inputs):
  onnxruntime = _runtime("onnxruntime", "onnxruntime")
  session = onnxruntime.InferenceSession(
      path, providers=["CPUExecutionProvider"])
  names = [output.name for output in session.get_outputs()]
  return dict(zip(names, session.run(names, inputs)))


def _to_openvino(saved_model_dir, folder):
  """Writes an OpenVINO model of a SavedModel, and returns its path."""
  openvino = _converter("openvino", "openvino", "openvino")
  path = os.path.join(folder, "model.xml")
  openvino.save_model(openvino.convert_model(saved_model_dir), path,
                      compress_to_fp16=False)
  return path


def _run_openvino(path, inputs):
  openvino = _runtime("openvino", "openvino")
  # Otherwise some machines compute in bfloat16.
  model = openvino.Core().compile_model(
      path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
  results = model(inputs)
  return {name: results[output]
          for output in model.outputs for name in output.get_names()}


def _to_coreml(saved_model_dir, folder):
  """Writes a Core ML model of a SavedModel, and returns its path."""
  coremltools = _converter("coremltools", "coremltools", "coreml")
  path = os.path.join(folder, "model.mlpackage")
  # It takes no SavedModel that has a function beside its signature.
  loaded = _tensorflow().saved_model.load(saved_model_dir)
  coremltools.convert([_signature(loaded)], source="tensorflow").save(path)
  return path


def _run_coreml(path, inputs):
  if sys.platform != "darwin":
    raise _Unchecked("Core ML runs on macOS alone")
  coremltools = _runtime("coremltools", "coremltools")
  return coremltools.models.MLModel(path).predict(inputs)


def _to_tfjs(saved_model_dir, folder):
  """Writes a TensorFlow.js model of a SavedModel, and returns its path."""
  converters = _converter(
      "tensorflowjs.converters.tf_saved_model_conversion_v2", "tensorflowjs",
      "tfjs")
  converters.convert_tf_saved_model(saved_model_dir, folder)
  return os.path.join(folder, "model.json")


def _run_tfjs(path, inputs):
  del path, inputs
  raise _Unchecked("TensorFlow.js runs in browsers and Node.js")


def _to_tflite(saved_model_dir, folder):
  """Writes a TensorFlow Lite model of a SavedModel, and returns its path."""
  converter = _tensorflow().lite.TFLiteConverter.from_saved_model(
      saved_model_dir)
  path = os.path.join(folder, "model.tflite")
  with open(path, "wb") as stream:
    stream.write(converter.convert())
  return path


def _run_tflite(path, inputs):
  """Runs a TensorFlow Lite model that has one signature."""
  interpreter = _tensorflow().lite.Interpreter(path)
  if not hasattr(interpreter, "get_signature_runner"):
    raise _Unchecked("this TensorFlow Lite has no signatures")
  return interpreter.get_signature_runner()(**inputs)


def _to_tensorflow(saved_model_dir, folder):
  path = os.path.join(folder, "saved_model")
  shutil.copytree(saved_model_dir, path)
  return path


def _run_tensorflow(path, inputs):
  tf = _tensorflow()
  loaded = tf.saved_model.load(path)
  outputs = _signature(loaded)(
      **{name: tf.constant(value) for name, value in inputs.items()})
  return {name: value.numpy() for name, value in outputs.items()}


_TRANSPOSED = ("Conv2DBackpropInput", "Conv3DBackpropInputV2")

# The types of the convolutions that a target gets wrong, as this module's
# documentation has it; what else it refuses; what converts a SavedModel; what
# runs the result; and how much of the largest value outputs may differ by.
_Target = collections.namedtuple("_Target", "split check convert run tolerance")
_TARGETS = collections.OrderedDict([
    ("onnx", _Target(
        ("Conv3D",) + _TRANSPOSED, None, _to_onnx, _run_onnx, 1e-3)),
    ("openvino", _Target(
        ("SpaceToBatchND/Conv2D", "SpaceToBatchND/Conv3D") + _TRANSPOSED, None,
        _to_openvino, _run_openvino, 1e-3)),
    # Computes in float16.
    ("coreml", _Target(_TRANSPOSED, None, _to_coreml, _run_coreml, 3e-2)),
    ("tfjs", _Target(
        splitting.CONVOLUTIONS, splitting.refuse_wrong_in_js, _to_tfjs,
        _run_tfjs, 1e-3)),
    ("tflite", _Target(
        ("Conv3D",) + _TRANSPOSED, splitting.refuse_dilated_3d, _to_tflite,
        _run_tflite, 1e-3)),
    # An official one, on a CPU.
    ("tensorflow", _Target(
        ("Conv3D",) + _TRANSPOSED, None, _to_tensorflow, _run_tensorflow,
        1e-3)),
])


def _split_types(to):
  """Returns the types of the convolutions that a target gets wrong."""
  version = _tensorflow().__version__.split(".")[:2]
  if to in ("tflite", "tensorflow") and tuple(map(int, version)) < (2, 12):
    # These are of this TensorFlow, which may have no groups at all.
    return splitting.CONVOLUTIONS
  return _TARGETS[to].split


def _save(model, folder):
  """Makes a SavedModel of what `export` takes, and returns its folder."""
  tf = _tensorflow()
  if isinstance(model, (str, os.PathLike)):
    path = os.fspath(model)
    if os.path.isdir(path):
      return path
    model = tf.keras.models.load_model(path, compile=False)
  if hasattr(model, "export"):
    # Keras 2 and the first releases of Keras 3 have no `verbose`.
    parameters = inspect.signature(model.export).parameters
    kwargs = {"verbose": False} if "verbose" in parameters else {}
    model.export(folder, **kwargs)
  else:
    tf.saved_model.save(model, folder)
  return folder


def _check_inputs(specs, inputs):
  """Returns arrays to call a signature with, by name.

  Args:
    specs: The TensorSpecs of its inputs, by name.
    inputs: Those of the caller: a dict; or an array, for a signature of one
      input; or None, for random ones.
  """
  if inputs is not None:
    if not isinstance(inputs, dict):
      if len(specs) != 1:
        raise ValueError(
            "inputs has to be a dict with an array for each of {}.".format(
                sorted(specs)))
      inputs = {list(specs)[0]: inputs}
    if set(inputs) != set(specs):
      raise ValueError(
          "inputs has arrays for {}, and the model has inputs {}.".format(
              sorted(inputs), sorted(specs)))
    return {name: np.asarray(value, specs[name].dtype.as_numpy_dtype)
            for name, value in inputs.items()}
  random = np.random.RandomState(0)
  arrays = {}
  for name, spec in sorted(specs.items()):
    shape = spec.shape.as_list() if spec.shape.rank is not None else [None] * 2
    if None in shape[1:] or not (spec.dtype.is_floating or
                                 spec.dtype.is_integer):
      raise ValueError(
          "The export cannot be checked without inputs: the model's input '{}' "
          "is {} of shape {}.".format(name, spec.dtype.name, spec.shape))
    shape = [2 if size is None else size for size in shape]
    value = (random.standard_normal(shape) if spec.dtype.is_floating else
             random.randint(0, 2, shape))
    arrays[name] = value.astype(spec.dtype.as_numpy_dtype)
  return arrays


def _largest_difference(actual, expected, tolerance, to):
  """Compares outputs, by name, and returns the largest relative difference."""
  largest = 0.
  for name, reference in expected.items():
    value = actual.get(name)
    if value is None or value.shape != reference.shape:
      raise ValueError(
          "The model was not exported to '{}', which gets it wrong: its output "
          "'{}' has shape {} there, and {} in TensorFlow.".format(
              to, name, getattr(value, "shape", None), reference.shape))
    reference = reference.astype(np.float64)
    scale = np.abs(reference).max() if reference.size else 0
    error = np.abs(value - reference).max() if reference.size else 0
    error /= scale or 1
    # Not a number is not right either.
    if not error <= tolerance:
      raise ValueError(
          "The model was not exported to '{}', which gets it wrong: its output "
          "'{}' differs there by up to {:.1e} of its largest value, where "
          "{:.0e} is tolerated.".format(to, name, error, tolerance))
    largest = max(largest, float(error))
  return largest


def export(model, folder, to, inputs=None, tolerance=None):
  """Exports a model, with those grouped convolutions split that need it.

  Args:
    model: A Keras model, or what else `tf.saved_model.save` takes; or the path
      of a SavedModel or of a Keras model's file.
    folder: The folder to write to, which must not exist yet.
    to: The target: "onnx", "openvino", "coreml", "tfjs", "tflite" or
      "tensorflow", which is an official one on a CPU.
    inputs: What to compare outputs for: an array, or a dict of arrays by the
      names of inputs; random arrays for a batch of 2 if None.
    tolerance: How much of its largest value an output may differ by.

  Returns:
    An `Export`, which says what was written, split and compared.

  Raises:
    ValueError: If the target is none of these; if its outputs are not those of
      the model; or if the model cannot be split or checked.
    ImportError: If the package that converts for the target is missing.
    FileExistsError: If the folder exists.
    Whatever the target's converter raises. Nothing is left in any case.
  """
  if to not in _TARGETS:
    raise ValueError("Models are exported to {}, not to '{}'.".format(
        ", ".join("'{}'".format(name) for name in _TARGETS), to))
  folder = os.path.abspath(os.fspath(folder))
  if os.path.lexists(folder):
    raise FileExistsError("Folder '{}' exists.".format(folder))
  target = _TARGETS[to]
  tf = _tensorflow()
  parent = os.path.dirname(folder)
  os.makedirs(parent, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=parent) as temp:
    original = _save(model, os.path.join(temp, "original"))
    split_dir = os.path.join(temp, "split")
    split = splitting.split_saved_model(
        original, split_dir, _split_types(to), check=target.check)
    loaded = tf.saved_model.load(original)
    arrays = _check_inputs(_inputs_of(_signature(loaded)), inputs)
    result = os.path.join(temp, "result")
    os.mkdir(result)
    path = target.convert(split_dir, result)
    error, unchecked = None, None
    try:
      actual = target.run(path, arrays)
    except _Unchecked as reason:
      unchecked = str(reason)
    else:
      error = _largest_difference(
          actual, _run_tensorflow(original, arrays),
          target.tolerance if tolerance is None else tolerance, to)
    os.rename(result, folder)
  return Export(os.path.join(folder, os.path.relpath(path, result)), split,
                error, unchecked)


def _patch_keras():
  """Has Keras read all grouped layers, and compile none by themselves.

  Converters do not look into what is compiled. The Keras beside a rebuilt
  TensorFlow need not be changed.
  """
  try:
    from . import keras_patches  # pylint: disable=g-import-not-at-top
  except ImportError:
    return
  keras_patches.patch_keras()


def main(argv=None):
  """Exports by the command line."""
  parser = argparse.ArgumentParser(
      description="Exports a model with grouped convolutions: splits those "
      "that the target gets wrong, converts, and compares outputs.")
  parser.add_argument("model", help="a SavedModel, or a Keras model's file")
  parser.add_argument("folder", help="to write to; must not exist yet")
  parser.add_argument("--to", required=True, choices=list(_TARGETS))
  parser.add_argument(
      "--inputs", help="an .npz file of arrays, by the names of inputs, to "
      "compare outputs for (random ones if not given)")
  parser.add_argument(
      "--tolerance", type=float,
      help="how much of its largest value an output may differ by")
  arguments = parser.parse_args(argv)
  inputs = None
  if arguments.inputs:
    with np.load(arguments.inputs) as archive:
      inputs = dict(archive)
  if not os.path.isdir(arguments.model):
    _patch_keras()
  try:
    print(export(arguments.model, arguments.folder, arguments.to, inputs,
                 arguments.tolerance))
  except (ImportError, OSError, ValueError) as error:
    parser.exit(1, "{}: {}\n".format(parser.prog, error))


if __name__ == "__main__":
  main()
