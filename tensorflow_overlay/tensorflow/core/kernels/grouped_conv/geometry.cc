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

#include "tensorflow/core/kernels/grouped_conv/geometry.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <sstream>

namespace grouped_conv {
namespace {

// Stock TensorFlow has the same limit for each size. It leaves products of two
// sizes, and so all positions of a window, within an int64_t; only larger
// products need checks.
constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();

using Shape = std::vector<int64_t>;

std::ostream& operator<<(std::ostream& stream, const Shape& shape) {
  stream << "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    stream << (i > 0 ? "," : "") << shape[i];
  }
  return stream << "]";
}

void Append(std::ostringstream*) {}

template <typename First, typename... Rest>
void Append(std::ostringstream* stream, const First& first,
            const Rest&... rest) {
  *stream << first;
  Append(stream, rest...);
}

template <typename... Parts>
bool Fail(std::string* error, const Parts&... parts) {
  std::ostringstream stream;
  Append(&stream, parts...);
  *error = stream.str();
  return false;
}

// Checks that `values` has `count` values from `min` to kMaxSize.
bool CheckAttribute(const char* name, const Shape& values, size_t count,
                    int64_t min, std::string* error) {
  if (values.size() != count) {
    return Fail(error, name, " must have ", count,
                " values for the spatial dimensions but is ", values);
  }
  for (int64_t value : values) {
    if (value < min || value > kMaxSize) {
      return Fail(error, name, " must have values from ", min, " to ", kMaxSize,
                  " for the spatial dimensions but is ", values);
    }
  }
  return true;
}

// Checks that the product of those of `sizes` that are not 0 fits an int64_t,
// and so any product of some of them.
template <typename Sizes>
bool CheckProduct(const char* name, const Sizes& sizes, std::string* error) {
  int64_t product = 1;
  for (int64_t size : sizes) {
    if (size != 0 && __builtin_mul_overflow(product, size, &product)) {
      return Fail(error, name, " has too many elements: the product of ",
                  Shape(sizes), " overflows");
    }
  }
  return true;
}

}  // namespace

std::vector<int64_t> ConvGeometry::output_shape() const {
  std::vector<int64_t> shape;
  shape.reserve(spatial_rank + 2);
  shape.push_back(batch);
  if (layout == Layout::kChannelsFirst) shape.push_back(output_channels);
  for (int i = 3 - spatial_rank; i < 3; ++i) shape.push_back(dim[i].output);
  if (layout == Layout::kChannelsLast) shape.push_back(output_channels);
  return shape;
}

bool CheckRank(const char* name, const Shape& shape, int spatial_rank,
               std::string* error) {
  const size_t rank = spatial_rank + 2;
  if (shape.size() == rank) return true;
  return Fail(error, name, " must have rank ", rank, " but has shape ", shape);
}

bool CheckShape(const char* name, const Shape& shape, std::string* error) {
  for (int64_t size : shape) {
    if (size < 0 || size > kMaxSize) {
      return Fail(error, name, " must have sizes from 0 to ", kMaxSize,
                  " but has shape ", shape);
    }
  }
  return CheckProduct(name, shape, error);
}

bool CheckAttributes(const ConvProblem& problem, std::string* error) {
  const size_t spatial_rank = problem.strides.size();
  if (spatial_rank != 2 && spatial_rank != 3) {
    return Fail(error, "strides must have 2 or 3 values for the spatial ",
                "dimensions but is ", problem.strides);
  }
  return CheckAttribute("strides", problem.strides, spatial_rank, 1, error) &&
         CheckAttribute("dilations", problem.dilations, spatial_rank, 1,
                        error) &&
         (problem.padding != Padding::kExplicit ||
          CheckAttribute("explicit_paddings", problem.explicit_paddings,
                         2 * spatial_rank, 0, error));
}

int64_t OutputChannels(const ConvProblem& problem) {
  const Shape& filter = problem.filter_shape;
  const int64_t last = filter.back();
  if (!problem.depthwise) return last;
  const int64_t channels = filter[filter.size() - 2];
  int64_t product;
  const bool known = last != -1 && channels != -1 &&
                     !__builtin_mul_overflow(channels, last, &product);
  return known ? product : -1;
}

bool MakeGroups(const ConvProblem& problem, int64_t input_channels,
                int64_t* groups, std::string* error) {
  const Shape& filter = problem.filter_shape;
  const int64_t filter_depth = filter[filter.size() - 2];
  const int64_t output_channels = OutputChannels(problem);
  if (problem.depthwise) {
    if (filter_depth != input_channels) {
      return Fail(error, problem.input_name, "'s channels ", input_channels,
                  " must be as many as ", problem.filter_name,
                  "'s input channels ", filter_depth);
    }
    if (output_channels > kMaxSize) {
      return Fail(error, problem.filter_name, "'s input channels ",
                  filter_depth, " and multiplier ", filter.back(),
                  " make more than ", kMaxSize, " output channels");
    }
    *groups = std::max<int64_t>(1, input_channels);
    return true;
  }
  *groups = 1;
  if (filter_depth != input_channels) {
    if (filter_depth == 0 || input_channels == 0 ||
        input_channels % filter_depth != 0) {
      return Fail(error, problem.input_name, "'s channels ", input_channels,
                  " must be a positive multiple of ", problem.filter_name,
                  "'s input channels ", filter_depth);
    }
    *groups = input_channels / filter_depth;
  }
  if (output_channels != -1 && output_channels % *groups != 0) {
    return Fail(error, problem.filter_name, "'s output channels ",
                output_channels, " must be a multiple of the ", *groups,
                " groups that ", problem.input_name, "'s channels ",
                input_channels, " and ", problem.filter_name,
                "'s input channels ", filter_depth, " make");
  }
  return true;
}

bool MakeDimension(const ConvProblem& problem, int index, Dimension* dim,
                   std::string* error) {
  dim->stride = problem.strides[index];
  dim->dilation = problem.dilations[index];
  if (dim->filter == 0) {
    return Fail(error, problem.filter_name, " must not have size 0 in spatial ",
                "dimension ", index);
  }
  const int64_t window = (dim->filter - 1) * dim->dilation + 1;
  if (problem.padding == Padding::kSame) {
    dim->output = (dim->input + dim->stride - 1) / dim->stride;
    const int64_t pad = std::max<int64_t>(
        0, (dim->output - 1) * dim->stride + window - dim->input);
    dim->pad_before = pad / 2;
    dim->pad_after = pad - dim->pad_before;
    return true;
  }
  if (problem.padding == Padding::kExplicit) {
    dim->pad_before = problem.explicit_paddings[2 * index];
    dim->pad_after = problem.explicit_paddings[2 * index + 1];
  }
  const int64_t padded = dim->pad_before + dim->input + dim->pad_after;
  // As in stock TensorFlow, a window that is too large by less than a stride
  // gives an empty output, one that is larger still is an error.
  if (padded - window + dim->stride <= -dim->stride) {
    return Fail(error, problem.filter_name, " of size ", dim->filter,
                " with dilation ", dim->dilation, " spans ", window,
                " elements, too many for ", problem.input_name,
                " of padded size ", padded, " in spatial dimension ", index);
  }
  dim->output = (padded - window + dim->stride) / dim->stride;
  return true;
}

bool MakeGeometry(const ConvProblem& problem, ConvGeometry* geometry,
                  std::string* error) {
  const Shape& input = problem.input_shape;
  const Shape& filter = problem.filter_shape;
  if (!CheckAttributes(problem, error)) return false;
  const int spatial_rank = static_cast<int>(problem.strides.size());
  if (!CheckRank(problem.input_name, input, spatial_rank, error) ||
      !CheckRank(problem.filter_name, filter, spatial_rank, error) ||
      !CheckShape(problem.input_name, input, error) ||
      !CheckShape(problem.filter_name, filter, error)) {
    return false;
  }

  ConvGeometry result;
  result.layout = problem.layout;
  result.spatial_rank = spatial_rank;
  result.batch = input[0];
  result.input_channels = input[ChannelsIndex(problem.layout, spatial_rank)];
  result.output_channels = OutputChannels(problem);

  if (!MakeGroups(problem, result.input_channels, &result.groups, error)) {
    return false;
  }

  for (int i = 0; i < spatial_rank; ++i) {
    Dimension* dim = &result.dim[3 - spatial_rank + i];
    dim->input = input[SpatialIndex(problem.layout) + i];
    dim->filter = filter[i];
    if (!MakeDimension(problem, i, dim, error)) return false;
  }
  const Dimension* dim = result.dim;
  // A list on the stack: small convolutions feel each allocation.
  const std::initializer_list<int64_t> output = {result.batch, dim[0].output,
                                                 dim[1].output, dim[2].output,
                                                 result.output_channels};
  if (!CheckProduct("output", output, error)) {
    *error += std::string(", for ") + problem.input_name + " and " +
              problem.filter_name;
    return false;
  }
  *geometry = result;
  return true;
}

bool CheckOutputShape(const ConvGeometry& geometry,
                      const std::vector<int64_t>& shape, const char* name,
                      std::string* error) {
  if (shape == geometry.output_shape()) return true;
  return Fail(error, name, " must have the shape of the convolution's output, ",
              geometry.output_shape(), ", but has ", shape);
}

}  // namespace grouped_conv
