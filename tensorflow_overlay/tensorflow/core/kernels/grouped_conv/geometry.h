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

// Shapes of a grouped convolution: sizes, padding, groups and their checks,
// derived once here and used by all other files of this directory. Knows no
// TensorFlow.
//
// A convolution has 2 or 3 spatial dimensions (1-D is 2-D with a height of 1).
// Inside, all have three: a 2-D problem gets a leading depth of 1.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GEOMETRY_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GEOMETRY_H_

#include <cstdint>
#include <string>
#include <vector>

namespace grouped_conv {

enum class Padding { kValid, kSame, kExplicit };

// Where the channels lie: [batch, spatial..., channels], or
// [batch, channels, spatial...]. Filters are [spatial..., input channels per
// group, output channels] in both; those of depthwise ops are
// [spatial..., input channels, multiplier], which is the same in memory, as
// output channels are ordered by the input channel they are made of.
enum class Layout { kChannelsLast, kChannelsFirst };

// The indices, in shapes of inputs and outputs, of the channels and of spatial
// dimension 0.
inline int ChannelsIndex(Layout layout, int spatial_rank) {
  return layout == Layout::kChannelsLast ? spatial_rank + 1 : 1;
}
inline int SpatialIndex(Layout layout) {
  return layout == Layout::kChannelsLast ? 1 : 2;
}

// What the caller of an op states. Sizes are unchecked: any value may stand in
// any field.
struct ConvProblem {
  std::vector<int64_t> input_shape;  // In `layout`.
  std::vector<int64_t> filter_shape;
  std::vector<int64_t> strides;    // One a spatial dimension: 2 or 3.
  std::vector<int64_t> dilations;  // One a spatial dimension.
  Padding padding = Padding::kValid;
  // With kExplicit alone: before and after, for each spatial dimension.
  std::vector<int64_t> explicit_paddings;
  Layout layout = Layout::kChannelsLast;
  // The filter has the shape of depthwise ops: each input channel is a group.
  bool depthwise = false;
  // How the op calls its arguments, for error messages.
  const char* input_name = "input";
  const char* filter_name = "filter";
};

// One spatial dimension of a checked problem.
struct Dimension {
  int64_t input = 1;
  int64_t filter = 1;
  int64_t output = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad_before = 0;
  int64_t pad_after = 0;
};

// A checked problem: every product of sizes below fits an int64_t, `groups`
// divides both channel counts, and batch, channels and spatial sizes of input
// and output may be 0 but never negative.
//
// Output channel o belongs to group o / output_channels_per_group(), and sees
// the input channels of the same group alone: the order of PyTorch, ONNX and
// cuDNN.
struct ConvGeometry {
  int64_t batch = 0;
  int64_t groups = 1;
  int64_t input_channels = 0;
  int64_t output_channels = 0;
  Dimension dim[3];  // Depth, height, width.
  int spatial_rank = 2;
  Layout layout = Layout::kChannelsLast;

  int64_t input_channels_per_group() const { return input_channels / groups; }
  int64_t output_channels_per_group() const { return output_channels / groups; }
  int64_t input_pixels() const {
    return dim[0].input * dim[1].input * dim[2].input;
  }
  int64_t output_pixels() const {
    return dim[0].output * dim[1].output * dim[2].output;
  }
  int64_t filter_taps() const {
    return dim[0].filter * dim[1].filter * dim[2].filter;
  }
  // Elements of the three tensors.
  int64_t input_size() const { return batch * input_pixels() * input_channels; }
  int64_t output_size() const {
    return batch * output_pixels() * output_channels;
  }
  int64_t filter_size() const {
    return filter_taps() * input_channels_per_group() * output_channels;
  }
  // Shape of the output in `layout`, rank spatial_rank + 2.
  std::vector<int64_t> output_shape() const;
};

// Checks that `shape`, of an argument called `name`, has `spatial_rank`
// dimensions beside batch and channels.
bool CheckRank(const char* name, const std::vector<int64_t>& shape,
               int spatial_rank, std::string* error);

// Checks that `shape`, of an argument called `name`, could be a tensor's.
bool CheckShape(const char* name, const std::vector<int64_t>& shape,
                std::string* error);

// Checks all of `problem` but its shapes. Returns true, or returns false and
// says in `error` which attribute is wrong, with its values.
bool CheckAttributes(const ConvProblem& problem, std::string* error);

// The output channels that the filter's shape makes, or -1 if it has a size of
// -1, unknown, where they depend on it.
int64_t OutputChannels(const ConvProblem& problem);

// Derives the number of groups, 1 at least, from the channels of the input and
// the filter's shape, whose size before the last must be known. Returns true,
// or returns false and says in `error` what does not divide or equal what.
bool MakeGroups(const ConvProblem& problem, int64_t input_channels,
                int64_t* groups, std::string* error);

// Derives output and padding of spatial dimension `index`, where `dim` holds
// the sizes of input and filter, from the checked attributes of `problem`.
// Returns true, or returns false and says in `error` why there is no output.
bool MakeDimension(const ConvProblem& problem, int index, Dimension* dim,
                   std::string* error);

// Checks `problem` and derives its geometry. Returns true and fills `geometry`,
// or returns false and says in `error` which argument is wrong, with the values
// that contradict each other; `geometry` is then untouched.
bool MakeGeometry(const ConvProblem& problem, ConvGeometry* geometry,
                  std::string* error);

// Checks that `shape`, of an argument called `name`, is the output's.
bool CheckOutputShape(const ConvGeometry& geometry,
                      const std::vector<int64_t>& shape, const char* name,
                      std::string* error);

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GEOMETRY_H_
