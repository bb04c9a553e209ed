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
"""Splits grouped convolutions, one convolution a group.

The converters of TensorFlow Lite take no notice of groups.  Its kernels then
refuse the model or, in case of a transposed convolution, read beyond the end of
the filters.  Which convolutions it has no groups for, and where its ways of
conversion meet, is for each release to say.  `split_saved_model` does the same
for other converters, and for the CPU kernels of an official TensorFlow.

Types of convolutions are those of ops. "A/B" is a B that comes behind an A:
"SpaceToBatchND/Conv2D" is one that is dilated by the ops around it.

This file serves a rebuilt TensorFlow and, unchanged, a package beside an
official one.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import collections
import copy
import functools
import itertools
import os
import re
import shutil
import tempfile

import numpy as np

from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import dtypes
from tensorflow.python.framework import errors
from tensorflow.python.framework import function_def_to_graph
from tensorflow.python.framework import importer
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework import ops
from tensorflow.python.framework import tensor_shape
from tensorflow.python.framework import tensor_util
from tensorflow.python.saved_model import loader_impl


# The types of all convolutions that can have groups.
CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv3D",
                "Conv3DBackpropInputV2")

# TensorFlow Lite's dynamic range quantization leaves filters alone that have
# fewer elements.
_MIN_QUANTIZED_ELEMENTS = 1024


def _is_transposed(node_type):
  return "BackpropInput" in node_type


def _rank(node_type):
  """Returns the rank of what a type of convolution convolves."""
  return 5 if "3D" in node_type else 4


def _channel_axis(op):
  """Returns the axis of the channels of what a convolution convolves."""
  channels_first = op.get_attr("data_format").startswith(b"NC")
  return 1 if channels_first else _rank(op.type) - 1


def _producer(tensor):
  """Returns the op that a tensor comes from, maybe in another shape."""
  op = tensor.op
  while op.type in ("ExpandDims", "Identity", "Reshape"):
    op = op.inputs[0].op
  return op


def _is_one_of(op, op_types):
  """Returns whether an op is a convolution of one of some types."""
  return op.type in CONVOLUTIONS and (
      op.type in op_types or
      "{}/{}".format(_producer(op.inputs[0]).type, op.type) in op_types)


def _num_groups(op, op_types):
  """Returns the number of groups of a convolution, 1 for any other op.

  Args:
    op: The tf.Operation.
    op_types: The types of convolutions that are not other ops.
  """
  if not _is_one_of(op, op_types):
    return 1
  tensor = op.outputs[0] if _is_transposed(op.type) else op.inputs[0]
  rank = _rank(op.type)
  channels = tensor_shape.dimension_value(
      tensor.shape.with_rank(rank)[_channel_axis(op)])
  filter_channels = tensor_shape.dimension_value(
      op.inputs[1].shape.with_rank(rank)[-2])
  if channels and filter_channels:
    return channels // filter_channels
  if not _is_transposed(op.type):
    # The interpreter compares these channels itself, before it runs.
    return 1
  raise ValueError(
      "Transposed convolution '{}' cannot be converted: whether it is grouped "
      "is unknown, because its output has {} channels and its filters have "
      "{}.".format(op.name, channels or "unknown",
                   filter_channels or "unknown"))


def _input_types(node, op_def):
  """Returns the types of the inputs of a NodeDef, given the OpDef of its op."""
  types = []
  for arg in op_def.input_arg:
    if arg.type_list_attr:
      types.extend(node.attr[arg.type_list_attr].list.type)
    else:
      number = node.attr[arg.number_attr].i if arg.number_attr else 1
      types.extend([arg.type or node.attr[arg.type_attr].type] * number)
  return types


def _reached_nodes(graph_def, outputs):
  """Returns the NodeDefs that outputs of a graph depend on.

  Args:
    graph_def: The GraphDef.
    outputs: The names of the outputs, or of their nodes.
  """
  nodes = {node.name: node for node in graph_def.node}
  reached = set()
  names = list(outputs)
  while names:
    name = names.pop().lstrip("^").split(":")[0]
    if name in nodes and name not in reached:
      reached.add(name)
      names.extend(nodes[name].input)
  return [node for node in graph_def.node if node.name in reached]


def _unique(name, names):
  """Returns a name that is not among `names`, and adds it to them."""
  unique = name
  for i in itertools.count(1):
    if unique not in names:
      names.add(unique)
      return unique
    unique = "{}_{}".format(name, i)


def _importable_graph_def(graph_def, outputs, input_shapes):
  """Makes a graph that TensorFlow can import, to find out about another.

  What comes from an op that TensorFlow does not know, such as a custom op,
  comes from placeholders instead.  There are no control inputs: by these,
  constants of inlined functions depend on the inputs of the model.

  Args:
    graph_def: The GraphDef to make it from.
    outputs: The names of its outputs: of what these depend on.
    input_shapes: The shapes of the graph's inputs, by name.

  Returns:
    A GraphDef, whose nodes have the names that they have in `graph_def`.
  """
  nodes = _reached_nodes(graph_def, outputs)
  names = {node.name for node in nodes}
  signatures = {f.signature.name: f.signature
                for f in graph_def.library.function}
  op_defs = {node.name: signatures.get(node.op) or op_def_registry.get(node.op)
             for node in nodes}
  result = graph_pb2.GraphDef()
  result.CopyFrom(graph_def)
  del result.node[:]
  for node in nodes:
    op_def = op_defs[node.name]
    if op_def is None:
      continue
    inputs = [name for name in node.input if not name.startswith("^")]
    for i, (name, dtype) in enumerate(zip(inputs, _input_types(node, op_def))):
      producer = name.split(":")[0]
      if producer in op_defs and op_defs[producer] is None:
        placeholder = result.node.add(
            name=_unique("{}/unknown_{}".format(node.name, i), names),
            op="Placeholder")
        placeholder.attr["dtype"].type = dtype
        inputs[i] = placeholder.name
    new_node = result.node.add()
    new_node.CopyFrom(node)
    new_node.input[:] = inputs
    # The nodes that it is to be placed with may not be there.
    new_node.attr.pop("_class", None)
    if node.op == "Placeholder" and node.name in input_shapes:
      new_node.attr["shape"].shape.CopyFrom(
          tensor_shape.as_shape(input_shapes[node.name]).as_proto())
  return result


# Ops that call functions. The arguments come last: behind the condition of an
# If, for example. Others that have functions, the converters do not take.
_CALLS = ("Case", "If", "PartitionedCall", "StatefulPartitionedCall",
          "StatelessCase", "StatelessIf", "StatelessWhile", "While")


def _calls(op, library):
  """Returns the names of the functions that an op calls."""
  if op.type in library:
    return [op.type]
  if op.type not in _CALLS:
    return []
  return [func.name for attr in op.node_def.attr.values()
          for func in [attr.func] + list(attr.list.func)
          if func.name in library]


def _called_functions(graph, library, visited):
  """Yields the functions that a graph calls, and those that they call.

  Args:
    graph: The tf.Graph.
    library: The FunctionDefs, by name.
    visited: A set of what has been yielded, to add to.

  Yields:
    The name of a function and a tf.Graph of it, once for all calls that give it
    arguments of the same shapes.
  """
  for op in graph.get_operations():
    for name in _calls(op, library):
      num_args = len(library[name].signature.input_arg)
      args = op.inputs[len(op.inputs) - num_args:]
      call = (name,) + tuple(str(arg.shape) for arg in args)
      if call in visited:
        continue
      visited.add(call)
      # Shapes that it states of its arguments would count, even if unknown.
      function = type(library[name])()
      function.CopyFrom(library[name])
      function.ClearField("arg_attr")
      try:
        with graph.as_default():
          body = function_def_to_graph.function_def_to_graph(
              function,
              input_shapes=[arg.shape.as_proto() for arg in args])
      except errors.NotFoundError:
        # The converters do not take functions with unknown ops either.
        continue
      yield name, body
      for called in _called_functions(body, library, visited):
        yield called


class _Convolution(object):
  """What is known of a convolution, or of another op, which has 1 group.

  Attributes:
    op: It as a tf.Operation.
    groups: The number of its groups.
    input_shapes: What is known of the shapes of its inputs.
    output_shape: What is known of the shape of its first output, if any.
  """

  def __init__(self, op, groups):
    self.op = op
    self.groups = groups
    if groups > 1:
      self.input_shapes = [tensor.shape for tensor in op.inputs]
      self.output_shape = op.outputs[0].shape

  def add_call(self, op):
    """Forgets what differs in another call of the function that it is in."""
    if self.groups > 1:
      self.input_shapes = [
          shape.most_specific_compatible_shape(tensor.shape)
          for shape, tensor in zip(self.input_shapes, op.inputs)]
      self.output_shape = self.output_shape.most_specific_compatible_shape(
          op.outputs[0].shape)


def _depthwise_strides(conv):
  """Returns what makes a depthwise op of a convolution with 1 channel a group.

  Args:
    conv: The _Convolution, whose groups have 1 channel each.

  Returns:
    The strides of the depthwise op, which has the same ones along height and
    width. None if there is no such op.
  """
  op = conv.op
  input_shape, filter_shape = conv.input_shapes[:2]
  strides = list(op.get_attr("strides"))
  if (op.type != "Conv2D" or not filter_shape.is_fully_defined() or
      op.get_attr("padding") == b"EXPLICIT" or
      any(dilation != 1 for dilation in op.get_attr("dilations"))):
    return None
  height, width = [axis for axis in (1, 2, 3)
                   if axis != _channel_axis(op)]
  # Of the one row that a convolution of rank 1 has, any stride takes one.
  if input_shape[height] == 1 and filter_shape[0] == 1:
    strides[height] = strides[width]
  return strides if strides[height] == strides[width] else None


class _NodeMaker(object):
  """Adds the nodes that take the place of one node."""

  def __init__(self, nodes, names, node, output_format):
    """Starts with no node.

    Args:
      nodes: The NodeDefs to add to.
      names: The names of all nodes there, to add to.
      node: The NodeDef that is replaced.
      output_format: See `_split`.
    """
    self._nodes = nodes
    self._names = names
    self._node = node
    self._output_format = output_format

  def output(self, new_node, i=0, arg="output"):
    """Returns the name of an output of a new node, given its OpDef's name."""
    return self._output_format.format(new_node.name, arg, i)

  def new_name(self, name):
    return _unique(self._node.name + "/" + name, self._names)

  def add(self, name, op, inputs, **types):
    """Adds a node with attributes that are types, and returns it."""
    new_node = self._nodes.add(name=self.new_name(name), op=op, input=inputs)
    for key, dtype in types.items():
      new_node.attr[key].type = dtype
    return new_node

  def const(self, name, value):
    """Adds a constant, and returns the name of its output."""
    tensor = tensor_util.make_tensor_proto(value)
    const = self.add(name, "Const", [], dtype=tensor.dtype)
    const.attr["value"].tensor.CopyFrom(tensor)
    return self.output(const)

  def copy(self, name, inputs):
    """Adds a node like the one that is replaced, of other inputs."""
    new_node = self._nodes.add()
    new_node.CopyFrom(self._node)
    new_node.name = self.new_name(name)
    # The shapes of the whole.
    new_node.attr.pop("_output_shapes", None)
    new_node.input[:] = inputs
    return new_node

  def last(self, op, inputs, **types):
    """Adds the node that has the name of the one that is replaced."""
    new_node = self._nodes.add(name=self._node.name, op=op, input=inputs)
    for key, dtype in types.items():
      new_node.attr[key].type = dtype
    return new_node


_INT32 = dtypes.int32.as_datatype_enum


def _add_group_sizes(maker, conv, sizes, data):
  """Adds what computes the shape of one group of a transposed convolution.

  What is known is written as a constant: many converters compute nothing.

  Args:
    maker: The _NodeMaker.
    conv: The _Convolution, a transposed one.
    sizes: The name of the shape of all groups together.
    data: The name of what is convolved.

  Returns:
    The name of the shape.
  """
  op = conv.op
  dtype = op.inputs[0].dtype
  known = conv.output_shape.with_rank(_rank(op.type)).as_list()
  known[_channel_axis(op)] = tensor_shape.dimension_value(
      conv.input_shapes[1][-2])
  if None not in known:
    return maker.const("sizes", np.array(known, dtype.as_numpy_dtype))
  if known[0] is None:
    shape = maker.add("shape", "Shape", [data],
                      T=op.inputs[2].dtype.as_datatype_enum,
                      out_type=dtype.as_datatype_enum)
  parts = []
  for i, size in enumerate(known):
    if size is not None:
      parts.append(maker.const("size_{}".format(i),
                               np.array(size, dtype.as_numpy_dtype)))
      continue
    part = maker.add(
        "size_{}".format(i), "StridedSlice",
        [maker.output(shape) if i == 0 else sizes] +
        [maker.const("size_{}/{}".format(i, name), np.int32([value]))
         for name, value in (("begin", i), ("end", i + 1), ("strides", 1))],
        T=dtype.as_datatype_enum, Index=_INT32)
    part.attr["shrink_axis_mask"].i = 1
    parts.append(maker.output(part))
  pack = maker.add("sizes", "Pack", parts, T=dtype.as_datatype_enum)
  pack.attr["N"].i = len(parts)
  return maker.output(pack)


def _add_split_convolution(maker, node, conv):
  """Adds nodes that compute a grouped convolution group by group.

  Args:
    maker: The _NodeMaker to add them with.
    node: The NodeDef of the convolution.
    conv: The same as a _Convolution.
  """
  op, groups = conv.op, conv.groups
  dtype = node.attr["T"].type
  rank = _rank(node.op)
  channel_axis = _channel_axis(op)
  filter_shape = conv.input_shapes[1].with_rank(rank)
  num_filters = tensor_shape.dimension_value(filter_shape[-1])
  if not num_filters:
    raise ValueError(
        "Grouped convolution '{}' ({} groups) cannot be converted: the number "
        "of its filters is unknown.".format(op.name, groups))
  filters_a_group = num_filters // groups
  inputs = [name for name in node.input if not name.startswith("^")]
  control_inputs = [name for name in node.input if name.startswith("^")]
  filters = inputs[1]

  strides = filter_shape[-2] == 1 and _depthwise_strides(conv)
  if strides:
    reshaped = maker.add(
        "filters", "Reshape",
        [filters, maker.const("filter_shape", np.int32(
            filter_shape.as_list()[:2] + [groups, filters_a_group]))],
        T=dtype, Tshape=_INT32)
    depthwise = maker.last("DepthwiseConv2dNative",
                           [inputs[0], maker.output(reshaped)] + control_inputs)
    for name in ("T", "padding", "data_format"):
      depthwise.attr[name].CopyFrom(op.node_def.attr[name])
    depthwise.attr["strides"].list.i.extend(strides)
    return

  data_index = 0
  if _is_transposed(node.op):
    data_index = 2
    inputs[0] = _add_group_sizes(maker, conv, inputs[0], inputs[2])

  axis = maker.const("axis", np.int32(channel_axis))
  split = maker.add("split", "Split",
                    [axis, inputs[data_index]] + control_inputs, T=dtype)
  split.attr["num_split"].i = groups
  # Of constant filters, all converters compute slices by themselves. What Split
  # makes of them, the older one leaves to the interpreter.
  slice_sizes = maker.const("slice_sizes",
                            np.int32([-1] * (rank - 1) + [filters_a_group]))
  outputs = []
  for i in range(groups):
    begin = maker.const("begin_{}".format(i),
                        np.int32([0] * (rank - 1) + [i * filters_a_group]))
    inputs[1] = maker.output(maker.add(
        "filters_{}".format(i), "Slice", [filters, begin, slice_sizes],
        T=dtype, Index=_INT32))
    inputs[data_index] = maker.output(split, i)
    outputs.append(maker.output(maker.copy("group_{}".format(i), inputs)))
  concat = maker.last("ConcatV2", outputs + [axis], T=dtype, Tidx=_INT32)
  concat.attr["N"].i = groups


def _split(nodes, new_nodes, convolutions, output_format):
  """Replaces the grouped convolutions among NodeDefs.

  Args:
    nodes: The NodeDefs of a graph or a function.
    new_nodes: The NodeDefs to have in their place.
    convolutions: By the name of a node, the same as a _Convolution.
    output_format: What makes the name of an output there, from the name of its
      node, that of the argument in the OpDef, and its number in this.
  """
  del new_nodes[:]
  names = {node.name for node in nodes}
  for node in nodes:
    conv = convolutions.get(node.name)
    if conv and conv.groups > 1:
      _add_split_convolution(
          _NodeMaker(new_nodes, names, node, output_format), node, conv)
    else:
      new_nodes.add().CopyFrom(node)


def split_grouped_convolutions(graph_def, op_types, outputs, input_shapes=None,
                               check=None, report=None):
  """Replaces grouped convolutions in a GraphDef and in the functions it calls.

  Args:
    graph_def: The GraphDef that is to be converted.
    op_types: The types of the convolutions to replace.
    outputs: The names of the outputs that are to be converted. What they do not
      depend on stays as it is.
    input_shapes: The shapes that its inputs are to have, by name, where it does
      not say so itself.
    check: If given, what raises an error for a tf.Operation of these types that
      is refused, grouped or not.
    report: If given, a dict to write each `_Convolution` that is replaced to,
      by its name.

  Returns:
    A GraphDef that has one convolution for every group instead, or `graph_def`
    itself if there is nothing to replace. Where each group is one channel,
    there is one depthwise convolution, if a depthwise op does the same.

  Raises:
    ValueError: If it is unknown whether a transposed convolution is grouped, or
      if a function has different numbers of groups where it is called.
  """
  bodies = [graph_def.node] + [f.node_def for f in graph_def.library.function]
  if not any(node.op in CONVOLUTIONS for nodes in bodies for node in nodes):
    return graph_def
  with ops.Graph().as_default() as graph:
    importer.import_graph_def(
        _importable_graph_def(graph_def, outputs, input_shapes or {}), name="")

  # By the name of a function, by the name of each op in it, a _Convolution. The
  # graph itself has no name.
  found = collections.defaultdict(dict)
  library = {f.signature.name: f for f in graph_def.library.function}
  for name, body in itertools.chain(
      [("", graph)], _called_functions(graph, library, set())):
    for op in body.get_operations():
      if check and _is_one_of(op, op_types):
        check(op)
      groups = _num_groups(op, op_types)
      conv = found[name].get(op.name)
      if conv is None:
        found[name][op.name] = _Convolution(op, groups)
        continue
      if conv.groups != groups:
        raise ValueError(
            "Convolution '{}' cannot be converted: its function '{}' is called "
            "with inputs that make {} and {} groups of it.".format(
                op.name, name, conv.groups, groups))
      conv.add_call(op)
  replaced = {name: conv for convolutions in found.values()
              for name, conv in convolutions.items() if conv.groups > 1}
  if not replaced:
    return graph_def
  if report is not None:
    report.update(replaced)

  result = graph_pb2.GraphDef()
  result.CopyFrom(graph_def)
  _split(graph_def.node, result.node, found[""], "{0}:{2}")
  for function, new_function in zip(graph_def.library.function,
                                    result.library.function):
    _split(function.node_def, new_function.node_def,
           found[function.signature.name], "{0}:{1}:{2}")
  return result


def _parse_and_split(saved_model_dir, op_types, tags=None, signatures=None,
                     **kwargs):
  """Reads a SavedModel and replaces grouped convolutions in it.

  Args:
    saved_model_dir: The folder of the SavedModel.
    op_types: The types of the convolutions to replace.
    tags: The tags of the graph to do this in, if not in all.
    signatures: The names of the signatures to do this for, if not for all.
    **kwargs: See `split_grouped_convolutions`.

  Returns:
    The SavedModel, and whether there was something to replace.
  """
  saved_model = loader_impl.parse_saved_model(saved_model_dir)
  changed = False
  for meta_graph in saved_model.meta_graphs:
    if tags and set(meta_graph.meta_info_def.tags) != set(tags):
      continue
    graph_def = meta_graph.graph_def
    # Sparse and ragged outputs, which the converter refuses, have no such name.
    outputs = [output.name
               for name, signature in meta_graph.signature_def.items()
               if not signatures or name in signatures
               for output in signature.outputs.values()]
    result = split_grouped_convolutions(graph_def, op_types, outputs, **kwargs)
    if result is not graph_def:
      graph_def.CopyFrom(result)
      changed = True
  return saved_model, changed


def _write(saved_model, folder):
  with open(os.path.join(folder, "saved_model.pb"), "wb") as stream:
    stream.write(saved_model.SerializeToString())


# The files of a SavedModel that say what its graphs are. A fingerprint is of
# one SavedModel alone.
_GRAPH_FILES = ("saved_model.*", "fingerprint.*")


def split_saved_model(saved_model_dir, export_dir, op_types=CONVOLUTIONS,
                      check=None):
  """Copies a SavedModel, for what does not know grouped convolutions.

  What its signatures call computes the same as before, one convolution a group.

  Args:
    saved_model_dir: The local folder of the SavedModel.
    export_dir: The folder to write the copy to, which must not exist yet.
    op_types: The types of the convolutions to replace, all if not given.
    check: See `split_grouped_convolutions`.

  Returns:
    A dict with the number of groups of each convolution that was replaced, by
    its name.

  Raises:
    ValueError: As `split_grouped_convolutions` does.
  """
  report = {}
  saved_model, _ = _parse_and_split(
      saved_model_dir, op_types, check=check, report=report)
  shutil.copytree(saved_model_dir, export_dir,
                  ignore=shutil.ignore_patterns(*_GRAPH_FILES))
  _write(saved_model, export_dir)
  return {name: conv.groups for name, conv in report.items()}


def _link_with_split_convolutions(saved_model_dir, tags, signatures, folder,
                                  op_types, **kwargs):
  """Makes a SavedModel that has no grouped convolutions of another.

  Args:
    saved_model_dir: The folder of the SavedModel, which is not changed.
    tags: The tags of the graph in it that is to be converted.
    signatures: The names of its signatures that are to be, all if empty.
    folder: The folder to put the other in, with links to its variables.
    op_types: The types of the convolutions to replace.
    **kwargs: See `split_grouped_convolutions`.

  Returns:
    The folder with the SavedModel to convert: `saved_model_dir` itself if it
    has no grouped convolutions.
  """
  saved_model, changed = _parse_and_split(
      saved_model_dir, op_types, tags, signatures, **kwargs)
  if not changed:
    return saved_model_dir
  if not os.path.isdir(saved_model_dir):
    raise ValueError(
        "SavedModel '{}' has grouped convolutions, so it has to be in a local "
        "folder to be converted.".format(saved_model_dir))
  names = os.listdir(saved_model_dir)
  ignored = shutil.ignore_patterns(*_GRAPH_FILES)(saved_model_dir, names)
  for name in set(names) - ignored:
    os.symlink(os.path.abspath(os.path.join(saved_model_dir, name)),
               os.path.join(folder, name))
  _write(saved_model, folder)
  return folder


def refuse_dilated_3d(op):
  """Raises an error for a 3-D convolution with dilations.

  A Keras layer makes three ops of it, one of which the converter refuses.

  Args:
    op: The tf.Operation of a convolution.
  """
  dilations = list(op.get_attr("dilations"))
  if "3D" in op.type and any(dilation != 1 for dilation in dilations):
    raise ValueError(
        "3-D convolution '{}' cannot be converted: TensorFlow Lite has none "
        "with dilations, and it has {}.".format(op.name, dilations))


def refuse_wrong_in_js(op):
  """Raises an error for a convolution that TensorFlow.js gets wrong.

  Its transposed ones take no notice of dilations, and nor do they, or depthwise
  ones, or the addition of biases, of channels that come first. If shapes fit,
  it says nothing. A dense Conv2D may be right, with a bias that is fused.

  Args:
    op: The tf.Operation of a convolution.
  """
  dilations = list(op.get_attr("dilations"))
  if _is_transposed(op.type) and any(dilation != 1 for dilation in dilations):
    raise ValueError(
        "Transposed convolution '{}' cannot be converted: TensorFlow.js has "
        "none with dilations, and it has {}.".format(op.name, dilations))
  if _channel_axis(op) == 1 and (op.type != "Conv2D" or
                                 _num_groups(op, CONVOLUTIONS) > 1):
    raise ValueError(
        "Convolution '{}' cannot be converted: TensorFlow.js wants channels "
        "last, and its data format is {}.".format(
            op.name, op.get_attr("data_format").decode()))


def _quantize_small_filters(content, convolutions):
  """Makes int8 of what dynamic range quantization left alone after the split.

  It takes no notice of filters with few elements.

  Args:
    content: A serialized TensorFlow Lite model.
    convolutions: The `_Convolution`s that were split in it, by name.

  Returns:
    The model, in which filters of one group are int8, for each of their
    channels by itself, if those of all groups would have been.
  """
  names = [
      re.escape(name) for name, conv in convolutions.items()
      # The others stay float however large they are.
      if conv.op.type == "Conv2DBackpropInput" and
      conv.input_shapes[1].num_elements() and
      conv.input_shapes[1].num_elements() // conv.groups <
      _MIN_QUANTIZED_ELEMENTS <= conv.input_shapes[1].num_elements()]
  if not names:
    return content
  # A TensorFlow that quantizes in this way has these.
  from tensorflow.lite.python import schema_py_generated as schema  # pylint: disable=g-import-not-at-top
  from tensorflow.lite.tools import flatbuffer_utils  # pylint: disable=g-import-not-at-top

  of_a_group = re.compile("(^|[/;])({})/group_".format("|".join(names)))
  model = flatbuffer_utils.convert_bytearray_to_object(content)
  quantized_code = None
  for graph in model.subgraphs:
    for op in graph.operators:
      code = model.operatorCodes[op.opcodeIndex]
      if code.builtinCode != schema.BuiltinOperator.TRANSPOSE_CONV:
        continue
      tensor = graph.tensors[op.inputs[1]]
      data = model.buffers[tensor.buffer].data
      if (tensor.type != schema.TensorType.FLOAT32 or data is None or
          not of_a_group.search(tensor.name.decode())):
        continue
      filters = np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)
      scale = np.abs(filters).max(axis=(1, 2, 3)) / 127
      scale[scale == 0] = 1
      values = np.round(filters / scale[:, None, None, None]).astype(np.int8)
      buffer = schema.BufferT()
      buffer.data = values.reshape(-1).view(np.uint8)
      tensor.buffer = len(model.buffers)
      model.buffers.append(buffer)
      tensor.type = schema.TensorType.INT8
      tensor.quantization = schema.QuantizationParametersT()
      tensor.quantization.scale = scale.astype(np.float32)
      tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
      tensor.quantization.quantizedDimension = 0
      if quantized_code is None:
        quantized_code = len(model.operatorCodes)
        model.operatorCodes.append(copy.copy(code))
        # The first that takes int8.
        model.operatorCodes[-1].version = max(2, code.version)
      op.opcodeIndex = quantized_code
  if quantized_code is None:
    return content
  # Filters as they were.
  used = {tensor.buffer for graph in model.subgraphs
          for tensor in graph.tensors}
  used.update(metadata.buffer for metadata in model.metadata or [])
  for i, buffer in enumerate(model.buffers):
    if i not in used:
      buffer.data = None
  return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def before_conversion(*op_types):
  """Makes a decorator of the converter that splits grouped convolutions.

  Args:
    *op_types: The types of the convolutions to replace.

  Returns:
    A decorator of a function of ModelFlags, ConverterFlags, the serialized
    frozen GraphDef, if the flags neither name a SavedModel nor ask for HLO, and
    serialized debugging information.
  """

  def decorator(convert):

    @functools.wraps(convert)
    def wrapper(model_flags, conversion_flags, input_data_str=None,
                debug_info_str=None):
      report = {}

      def finish(content):
        if (conversion_flags.post_training_quantize and
            not conversion_flags.quantize_to_float16 and
            # Which releases before 2.14 do not have.
            not getattr(conversion_flags, "use_buffer_offset", False)):
          return _quantize_small_filters(content, report)
        return content

      kwargs = {"check": refuse_dilated_3d, "report": report}
      if model_flags.saved_model_dir:
        with tempfile.TemporaryDirectory() as folder:
          new_flags = type(model_flags)()
          new_flags.CopyFrom(model_flags)
          new_flags.saved_model_dir = _link_with_split_convolutions(
              model_flags.saved_model_dir, model_flags.saved_model_tags,
              model_flags.saved_model_exported_names, folder, op_types,
              **kwargs)
          return finish(convert(new_flags, conversion_flags, input_data_str,
                                debug_info_str))
      if not model_flags.use_hlo_import:
        shapes = {
            array.name: None if array.shape.unknown_rank else [
                None if dim == -1 else dim for dim in array.shape.dims]
            for array in model_flags.input_arrays}
        input_data_str = split_grouped_convolutions(
            graph_pb2.GraphDef.FromString(input_data_str), op_types,
            itertools.chain(model_flags.output_arrays,
                            model_flags.control_output_arrays),
            shapes, **kwargs).SerializeToString()
      return finish(convert(model_flags, conversion_flags, input_data_str,
                            debug_info_str))

    return wrapper

  return decorator
