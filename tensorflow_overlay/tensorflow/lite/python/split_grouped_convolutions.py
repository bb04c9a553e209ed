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
"""Splits grouped convolutions for TensorFlow Lite, one convolution a group.

Its converters take no notice of groups.  Its kernels then refuse the model or,
in case of a transposed convolution, read beyond the end of the filters.  Which
convolutions it has no groups for, and where its ways of conversion meet, is for
each release to say.  `split_saved_model` does the same for the CPU kernels of
an official TensorFlow.
"""

from __future__ import absolute_import
from __future__ import division
from __future__ import print_function

import collections
import functools
import itertools
import os
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


def _is_transposed(node_type):
  return "BackpropInput" in node_type


def _num_groups(op, op_types):
  """Returns the number of groups of a convolution, 1 for any other op.

  Args:
    op: The tf.Operation.
    op_types: The types of convolutions that are not other ops.
  """
  if op.type not in op_types or op.get_attr("data_format")[-1:] != b"C":
    # TensorFlow Lite has no kernel with channels first, which the converters
    # report.
    return 1
  tensor = op.outputs[0] if _is_transposed(op.type) else op.inputs[0]
  rank = 5 if "3D" in op.type else 4
  channels = tensor_shape.dimension_value(tensor.shape.with_rank(rank)[-1])
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


def _add_split_convolution(nodes, names, node, op, groups, output_format):
  """Adds nodes that compute a grouped convolution group by group.

  Args:
    nodes: The NodeDefs to add to.
    names: The names of all nodes there, to add to.
    node: The NodeDef of the convolution.
    op: See `_split`.
    groups: The number of its groups.
    output_format: See `_split`.
  """

  def new_name(name):
    return _unique(node.name + "/" + name, names)

  def add_node(name, op, inputs, **types):
    new_node = nodes.add(name=name, op=op, input=inputs)
    for key, dtype in types.items():
      new_node.attr[key].type = dtype
    return new_node

  def output(new_node, i=0):
    return output_format.format(new_node.name, i)

  def add_const(name, value):
    tensor = tensor_util.make_tensor_proto(value)
    const = add_node(new_name(name), "Const", [], dtype=tensor.dtype)
    const.attr["value"].tensor.CopyFrom(tensor)
    return output(const)

  dtype = node.attr["T"].type
  int32 = dtypes.int32.as_datatype_enum
  rank = op.outputs[0].shape.rank
  filter_shape = op.inputs[1].shape
  num_filters = tensor_shape.dimension_value(filter_shape[-1])
  if not num_filters:
    raise ValueError(
        "Grouped convolution '{}' ({} groups) cannot be converted: the number "
        "of its filters is unknown.".format(op.name, groups))
  filters_a_group = num_filters // groups
  inputs = [name for name in node.input if not name.startswith("^")]
  control_inputs = [name for name in node.input if name.startswith("^")]
  data_index = 0
  if _is_transposed(node.op):
    data_index = 2
    # The channels are the last of the sizes. Shape inference, on which the
    # converters depend, sees through these ops but not through arithmetic.
    sizes_type = op.inputs[0].dtype
    spatial = add_node(
        new_name("spatial_sizes"), "StridedSlice",
        [inputs[0]] + [add_const(name, np.int32([value]))
                       for name, value in
                       (("begin", 0), ("end", rank - 1), ("strides", 1))],
        T=sizes_type.as_datatype_enum, Index=int32)
    channels = add_const(
        "channels", np.array([tensor_shape.dimension_value(filter_shape[-2])],
                             sizes_type.as_numpy_dtype))
    sizes = add_node(
        new_name("sizes"), "ConcatV2",
        [output(spatial), channels, add_const("sizes_axis", np.int32(0))],
        T=sizes_type.as_datatype_enum, Tidx=int32)
    sizes.attr["N"].i = 2
    inputs[0] = output(sizes)

  axis = add_const("axis", np.int32(rank - 1))
  split = add_node(new_name("split"), "Split",
                   [axis, inputs[data_index]] + control_inputs, T=dtype)
  split.attr["num_split"].i = groups
  # Of constant filters, all converters compute slices by themselves. What Split
  # makes of them, the older one leaves to the interpreter.
  filters = inputs[1]
  slice_sizes = add_const("slice_sizes",
                          np.int32([-1] * (rank - 1) + [filters_a_group]))
  outputs = []
  for i in range(groups):
    group_filters = add_node(
        new_name("filters_{}".format(i)), "Slice",
        [filters,
         add_const("begin_{}".format(i),
                   np.int32([0] * (rank - 1) + [i * filters_a_group])),
         slice_sizes],
        T=dtype, Index=int32)
    conv = nodes.add()
    conv.CopyFrom(node)
    conv.name = new_name("group_{}".format(i))
    # The shapes of the whole.
    conv.attr.pop("_output_shapes", None)
    inputs[data_index] = output(split, i)
    inputs[1] = output(group_filters)
    conv.input[:] = inputs
    outputs.append(output(conv))
  concat = add_node(node.name, "ConcatV2", outputs + [axis], T=dtype,
                    Tidx=int32)
  concat.attr["N"].i = groups


def _split(nodes, new_nodes, ops_and_groups, output_format):
  """Replaces the grouped convolutions among NodeDefs.

  Args:
    nodes: The NodeDefs of a graph or a function.
    new_nodes: The NodeDefs to have in their place.
    ops_and_groups: By the name of a node, the same as a tf.Operation, whose
      shapes are known, and the number of its groups.
    output_format: What makes the name of an output there, from the name of its
      node and its number.
  """
  del new_nodes[:]
  names = {node.name for node in nodes}
  for node in nodes:
    op, groups = ops_and_groups.get(node.name, (None, 1))
    if groups == 1:
      new_nodes.add().CopyFrom(node)
    else:
      _add_split_convolution(new_nodes, names, node, op, groups, output_format)


def split_grouped_convolutions(graph_def, op_types, outputs, input_shapes=None):
  """Replaces grouped convolutions in a GraphDef and in the functions it calls.

  Args:
    graph_def: The GraphDef that is to be converted.
    op_types: The types of the convolutions to replace.
    outputs: The names of the outputs that are to be converted. What they do not
      depend on stays as it is.
    input_shapes: The shapes that its inputs are to have, by name, where it does
      not say so itself.

  Returns:
    A GraphDef that has one convolution for every group instead, or `graph_def`
    itself if there is nothing to replace.

  Raises:
    ValueError: If it is unknown whether a transposed convolution is grouped, or
      if a function has different numbers of groups where it is called.
  """
  bodies = [graph_def.node] + [f.node_def for f in graph_def.library.function]
  if not any(node.op in op_types for nodes in bodies for node in nodes):
    return graph_def
  with ops.Graph().as_default() as graph:
    importer.import_graph_def(
        _importable_graph_def(graph_def, outputs, input_shapes or {}), name="")

  # By the name of a function, by the name of each convolution in it: that as an
  # op, and the number of its groups. The graph itself has no name.
  found = collections.defaultdict(dict)
  library = {f.signature.name: f for f in graph_def.library.function}
  for name, body in itertools.chain(
      [("", graph)], _called_functions(graph, library, set())):
    for op in body.get_operations():
      groups = _num_groups(op, op_types)
      other = found[name].setdefault(op.name, (op, groups))[1]
      if other != groups:
        raise ValueError(
            "Convolution '{}' cannot be converted: its function '{}' is called "
            "with inputs that make {} and {} groups of it.".format(
                op.name, name, other, groups))
  if all(groups == 1 for convolutions in found.values()
         for _, groups in convolutions.values()):
    return graph_def

  result = graph_pb2.GraphDef()
  result.CopyFrom(graph_def)
  _split(graph_def.node, result.node, found[""], "{}:{}")
  for function, new_function in zip(graph_def.library.function,
                                    result.library.function):
    _split(function.node_def, new_function.node_def,
           found[function.signature.name], "{}:output:{}")
  return result


def _parse_and_split(saved_model_dir, op_types, tags=None, signatures=None):
  """Reads a SavedModel and replaces grouped convolutions in it.

  Args:
    saved_model_dir: The folder of the SavedModel.
    op_types: The types of the convolutions to replace.
    tags: The tags of the graph to do this in, if not in all.
    signatures: The names of the signatures to do this for, if not for all.

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
    result = split_grouped_convolutions(graph_def, op_types, outputs)
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


def split_saved_model(saved_model_dir, export_dir):
  """Copies a SavedModel, for a TensorFlow without grouped convolutions.

  What its signatures call computes the same as before, one convolution a group.

  Args:
    saved_model_dir: The local folder of the SavedModel.
    export_dir: The folder to write the copy to, which must not exist yet.

  Raises:
    ValueError: As `split_grouped_convolutions` does.
  """
  saved_model, _ = _parse_and_split(
      saved_model_dir, ("Conv2D", "Conv2DBackpropInput", "Conv3D",
                        "Conv3DBackpropInputV2"))
  shutil.copytree(saved_model_dir, export_dir,
                  ignore=shutil.ignore_patterns(*_GRAPH_FILES))
  _write(saved_model, export_dir)


def _link_with_split_convolutions(saved_model_dir, tags, signatures, folder,
                                  op_types):
  """Makes a SavedModel that has no grouped convolutions of another.

  Args:
    saved_model_dir: The folder of the SavedModel, which is not changed.
    tags: The tags of the graph in it that is to be converted.
    signatures: The names of its signatures that are to be, all if empty.
    folder: The folder to put the other in, with links to its variables.
    op_types: The types of the convolutions to replace.

  Returns:
    The folder with the SavedModel to convert: `saved_model_dir` itself if it
    has no grouped convolutions.
  """
  saved_model, changed = _parse_and_split(
      saved_model_dir, op_types, tags, signatures)
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
      if model_flags.saved_model_dir:
        with tempfile.TemporaryDirectory() as folder:
          new_flags = type(model_flags)()
          new_flags.CopyFrom(model_flags)
          new_flags.saved_model_dir = _link_with_split_convolutions(
              model_flags.saved_model_dir, model_flags.saved_model_tags,
              model_flags.saved_model_exported_names, folder, op_types)
          return convert(new_flags, conversion_flags, input_data_str,
                         debug_info_str)
      if not model_flags.use_hlo_import:
        shapes = {
            array.name: None if array.shape.unknown_rank else [
                None if dim == -1 else dim for dim in array.shape.dims]
            for array in model_flags.input_arrays}
        input_data_str = split_grouped_convolutions(
            graph_pb2.GraphDef.FromString(input_data_str), op_types,
            itertools.chain(model_flags.output_arrays,
                            model_flags.control_output_arrays),
            shapes).SerializeToString()
      return convert(model_flags, conversion_flags, input_data_str,
                     debug_info_str)

    return wrapper

  return decorator
