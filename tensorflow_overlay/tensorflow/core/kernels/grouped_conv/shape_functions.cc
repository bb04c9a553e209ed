/* Copyright 2026 The TensorFlow Grouped Convolution Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
==============================================================================*/

#include "tensorflow/core/kernels/grouped_conv/shape_functions.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_def_builder.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv_launch.h"
#include "tensorflow/core/lib/core/errors.h"
#include "tensorflow/core/lib/core/status.h"

namespace tensorflow {
namespace {

using grouped_conv::ConvGeometry;
using grouped_conv::ConvProblem;
using grouped_conv::Dimension;
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;
using Shape = std::vector<int64_t>;

constexpr int kInput = 0;
constexpr int kFilter = 1;
constexpr int kOutBackprop = 2;
constexpr int kNone = -1;
constexpr int64_t kMaxSizes = 6;
constexpr char kOutBackpropName[] = "out_backprop";

struct CheckedOp {
  const char* name;
  int spatial_rank;
  bool gradient;  // Has an out_backprop.
  int sizes;      // The argument that states a shape, not has it.
  bool paddings;  // Has an argument, the last one, that pads the input.
};

// Not all of them are in every release.
constexpr CheckedOp kOps[] = {
    {"Conv2D", 2, false, kNone},
    {"Conv3D", 3, false, kNone},
    {"_FusedConv2D", 2, false, kNone},
    {"_FusedConv3D", 3, false, kNone},
    {"Conv2DBackpropInput", 2, true, kInput},
    {"Conv2DBackpropFilter", 2, true, kFilter},
    {"Conv3DBackpropInput", 3, true, kNone},
    {"Conv3DBackpropFilter", 3, true, kNone},
    {"Conv3DBackpropInputV2", 3, true, kInput},
    {"Conv3DBackpropFilterV2", 3, true, kFilter},
    {"_MklNativeConv2D", 2, false, kNone},
    {"_MklNativeConv3D", 3, false, kNone},
    {"_MklNativeFusedConv2D", 2, false, kNone},
    {"_MklNativeFusedConv3D", 3, false, kNone},
    {"_MklNativeConv2DWithBias", 2, false, kNone},
    {"_MklNativePadWithConv2D", 2, false, kNone, true},
    {"_MklNativePadWithFusedConv2D", 2, false, kNone, true},
    {"_MklNativeConv2DBackpropInput", 2, true, kInput},
    {"_MklNativeConv2DBackpropFilter", 2, true, kFilter},
    {"_MklNativeConv2DBackpropFilterWithBias", 2, true, kFilter},
    {"_MklNativeConv3DBackpropInputV2", 3, true, kInput},
    {"_MklNativeConv3DBackpropFilterV2", 3, true, kFilter},
    {"DepthwiseConv2dNative", 2, false, kNone},
    {"DepthwiseConv2dNativeBackpropInput", 2, true, kInput},
    {"DepthwiseConv2dNativeBackpropFilter", 2, true, kFilter},
    {"_FusedDepthwiseConv2dNative", 2, false, kNone},
    {"_MklNativeDepthwiseConv2dNative", 2, false, kNone},
    {"_MklNativeDepthwiseConv2dNativeBackpropInput", 2, true, kInput},
    {"_MklNativeDepthwiseConv2dNativeBackpropFilter", 2, true, kFilter},
    {"_MklNativeFusedDepthwiseConv2dNative", 2, false, kNone},
};

// Reads the shape that an argument has or states, with -1 for each size that
// the graph does not know; it is empty if not even its rank is known.
Status ReadShape(const CheckedOp& op, int argument, const char* name,
                 InferenceContext* c, Shape* shape) {
  std::string error;
  const ShapeHandle known = c->input(argument);
  if (argument == op.sizes) {
    const Tensor* const tensor = c->input_tensor(argument);
    if (tensor != nullptr) {
      TF_RETURN_IF_ERROR(ReadSizes(*tensor, name, shape));
      if (!grouped_conv::CheckShape(name, *shape, &error)) {
        return errors::InvalidArgument(error);
      }
    } else if (c->RankKnown(known) && c->Rank(known) == 1 &&
               c->ValueKnown(c->Dim(known, 0))) {
      // As many as it takes to see that they are too many.
      shape->assign(std::min<int64_t>(c->Value(c->Dim(known, 0)), kMaxSizes),
                    -1);
    } else {
      return Status();
    }
    // Only CompleteInputSizes makes it a shape.
    if (op.sizes == kInput &&
        StatesImageAlone(*shape, op.spatial_rank, IsDepthwise(op.name))) {
      return Status();
    }
  } else {
    if (!c->RankKnown(known)) return Status();
    for (int i = 0; i < c->Rank(known); ++i) {
      shape->push_back(c->Value(c->Dim(known, i)));
    }
  }
  return grouped_conv::CheckRank(name, *shape, op.spatial_rank, &error)
             ? Status()
             : errors::InvalidArgument(error);
}

bool IsKnown(const Shape& shape) {
  return !shape.empty() && std::count(shape.begin(), shape.end(), -1) == 0;
}

// Returns an error if an argument is known to have no channels, which only
// kernels cope with.
Status CheckChannels(const Shape& shape, int index, const char* name) {
  if (shape.empty() || shape[index] != 0) return Status();
  return errors::InvalidArgument(name, " must have channels in a graph, but ",
                                 "size ", index, " of its shape is 0");
}

// Sets the shape of a forward op's output. (That of the stock Conv3D is wrong
// for some dilations.)
Status InferOutput(const CheckedOp& op, const ConvProblem& problem,
                   InferenceContext* c) {
  const Shape& input = problem.input_shape;
  const Shape& filter = problem.filter_shape;
  const int rank = static_cast<int>(problem.strides.size()) + 2;
  // Tells the graph the ranks that it did not know; oneDNN's passes expect it.
  for (int argument : {kInput, kFilter}) {
    ShapeHandle ranked;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(argument), rank, &ranked));
  }
  std::vector<DimensionHandle> sizes;
  // One of its own for each: nothing says that they are equal.
  for (int i = 0; i < rank; ++i) sizes.push_back(c->UnknownDim());
  if (!input.empty()) {
    sizes[0] = op.paddings ? c->MakeDim(input[0]) : c->Dim(c->input(kInput), 0);
  }
  const int channels = ChannelsIndex(problem.layout, rank - 2);
  if (!filter.empty() && !problem.depthwise) {
    sizes[channels] = c->Dim(c->input(kFilter), rank - 1);
  } else if (!filter.empty() && OutputChannels(problem) != -1) {
    sizes[channels] = c->MakeDim(OutputChannels(problem));
  }
  for (int i = 0; i < rank - 2 && !input.empty() && !filter.empty(); ++i) {
    const int place = SpatialIndex(problem.layout) + i;
    Dimension dimension;
    dimension.input = input[place];
    dimension.filter = filter[i];
    if (dimension.input == -1 || dimension.filter == -1) continue;
    std::string error;
    if (!MakeDimension(problem, i, &dimension, &error)) {
      return errors::InvalidArgument(error);
    }
    sizes[place] = c->MakeDim(dimension.output);
  }
  // Set by its number, an output would need a newer C++ library.
  return c->set_output("output", {c->MakeShape(sizes)});
}

// Compares what is known of one size of out_backprop.
Status CheckOutBackprop(int64_t expected, int64_t actual, const char* size) {
  if (expected == -1 || actual == -1 || expected == actual) return Status();
  return errors::InvalidArgument("out_backprop must have the ", size,
                                 " of the convolution's output, ", expected,
                                 ", but has ", actual);
}

// Applies what the graph knows of paddings to the input.
Status PadInput(const CheckedOp& op, InferenceContext* c,
                ConvProblem* problem) {
  if (!op.paddings || problem->input_shape.empty()) return Status();
  const Tensor* const tensor = c->input_tensor(c->num_inputs() - 1);
  if (tensor == nullptr) {
    std::fill(problem->input_shape.begin(), problem->input_shape.end(), -1);
    return Status();
  }
  std::vector<int64_t> paddings;
  TF_RETURN_IF_ERROR(ReadPaddings(*tensor, op.spatial_rank + 2, &paddings));
  return AddPaddings(paddings, problem);
}

Status InferShape(const CheckedOp& op, const OpShapeInferenceFn& stock,
                  InferenceContext* c) {
  // Of quantized convolutions, which no kernel here computes.
  string format;
  if (c->GetAttr("data_format", &format).ok() && format == "NCHW_VECT_C") {
    return stock(c);
  }
  ConvProblem problem;
  problem.depthwise = IsDepthwise(op.name);
  TF_RETURN_IF_ERROR(ReadConvAttributes(c, op.spatial_rank, &problem));
  if (op.sizes == kInput) problem.input_name = "input_sizes";
  if (op.sizes == kFilter) problem.filter_name = "filter_sizes";
  Shape& input = problem.input_shape;
  Shape& filter = problem.filter_shape;
  Shape out_backprop;
  TF_RETURN_IF_ERROR(ReadShape(op, kInput, problem.input_name, c, &input));
  TF_RETURN_IF_ERROR(ReadShape(op, kFilter, problem.filter_name, c, &filter));
  TF_RETURN_IF_ERROR(PadInput(op, c, &problem));
  if (op.gradient) {
    TF_RETURN_IF_ERROR(
        ReadShape(op, kOutBackprop, kOutBackpropName, c, &out_backprop));
  }
  if (op.sizes == kInput &&
      StatesImageAlone(input, op.spatial_rank, problem.depthwise)) {
    CompleteInputSizes(problem.layout, filter, out_backprop, &input);
  }
  const int channels = ChannelsIndex(problem.layout, op.spatial_rank);
  TF_RETURN_IF_ERROR(CheckChannels(input, channels, problem.input_name));
  TF_RETURN_IF_ERROR(
      CheckChannels(filter, op.spatial_rank, problem.filter_name));

  if (IsKnown(input) && IsKnown(filter)) {
    ConvGeometry geometry;
    TF_RETURN_IF_ERROR(CheckConvolution(problem, &geometry));
    if (IsKnown(out_backprop)) {
      TF_RETURN_IF_ERROR(CheckOutput(geometry, out_backprop, kOutBackpropName));
    }
  } else if (!input.empty() && !filter.empty() && input[channels] != -1 &&
             filter[op.spatial_rank] != -1) {
    int64_t groups;
    std::string error;
    if (!MakeGroups(problem, input[channels], &groups, &error)) {
      return errors::InvalidArgument(error);
    }
  }
  if (!out_backprop.empty()) {
    if (!input.empty()) {
      TF_RETURN_IF_ERROR(CheckOutBackprop(input[0], out_backprop[0], "batch"));
    }
    if (!filter.empty()) {
      TF_RETURN_IF_ERROR(CheckOutBackprop(OutputChannels(problem),
                                          out_backprop[channels], "channels"));
    }
  }
  if (!op.gradient) return InferOutput(op, problem, c);
  TF_RETURN_IF_ERROR(stock(c));
  if (c->num_outputs() == 1) return Status();
  // The stock function takes the filter's depth for the bias's size.
  const DimensionHandle bias =
      filter.empty() ? c->UnknownDim() : c->MakeDim(filter.back());
  return c->set_output("bias_grad", {c->Vector(bias)});
}

}  // namespace

void CheckShapesInGraphs() {
  for (const CheckedOp& op : kOps) {
    const OpRegistrationData* const data =
        OpRegistry::Global()->LookUp(op.name);
    if (data == nullptr) continue;
    if (IsDepthwise(op.name) && !ServesDepthwise()) continue;
    const OpShapeInferenceFn stock = data->shape_inference_fn;
    // The registry made it; it only hands it out for reading.
    const_cast<OpRegistrationData*>(data)->shape_inference_fn =
        [op, stock](InferenceContext* c) { return InferShape(op, stock, c); };
  }
}

}  // namespace tensorflow
