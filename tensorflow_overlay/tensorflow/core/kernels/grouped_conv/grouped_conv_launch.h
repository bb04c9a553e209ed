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

// Runs the algorithms of grouped_conv.h on TensorFlow's tensors and threads,
// for kernels of any convolution op:
//
//   when made:     ReadConvAttributes
//   when computed: CheckConvolution, allocate the output, LaunchForward

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_LAUNCH_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_LAUNCH_H_

#include <cstdint>
#include <vector>

#include "tensorflow/core/framework/numeric_types.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/public/version.h"

namespace tensorflow {

// Whether the release is newer than 2.2.3, and so has some of the ops, types
// and forms of 2.21. (Of 2.3.)
constexpr bool kIsNew = TF_GRAPH_DEF_VERSION >= 440;

// Whether ops of that name take a filter of [height, width, input channels,
// multiplier].
bool IsDepthwise(const string& op);
// Whether these are served. TF_GROUPED_CONV_DEPTHWISE=0 in the environment
// leaves all of them to the stock kernels.
bool ServesDepthwise();

// Fills all of `problem` that attributes of the op say: all but the shapes.
// Context is OpKernelConstruction or shape_inference::InferenceContext.
template <typename Context>
Status ReadConvAttributes(Context* context, int spatial_rank,
                          grouped_conv::ConvProblem* problem);

std::vector<int64_t> Sizes(const TensorShape& shape);

// Reads the shape that `tensor`, an argument called `name`, states: a vector of
// sizes, or, in the first forms of the 3-D gradients, a tensor of that shape.
Status ReadSizes(const Tensor& tensor, const char* name,
                 std::vector<int64_t>* sizes);

// Reads what `paddings`, an argument of that name, adds before and after each
// of `rank` dimensions.
Status ReadPaddings(const Tensor& paddings, int rank,
                    std::vector<int64_t>* values);
// Pads the input of `problem`, whose own padding must be VALID: the image by
// explicit paddings, batch and channels in input_shape, as no convolution pads
// them.
Status AddPaddings(const std::vector<int64_t>& values,
                   grouped_conv::ConvProblem* problem);

// Whether `input_sizes` is the height and width alone, as newer releases have
// it in 2-D, but for depthwise ops: batch and channels are then those of the
// other arguments, and there is one group.
bool StatesImageAlone(const std::vector<int64_t>& input_sizes, int spatial_rank,
                      bool depthwise);
// Adds batch and channels to it; -1 is what the other shapes do not tell.
void CompleteInputSizes(grouped_conv::Layout layout,
                        const std::vector<int64_t>& filter,
                        const std::vector<int64_t>& out_backprop,
                        std::vector<int64_t>* input_sizes);

// grouped_conv::MakeGeometry and CheckOutputShape with a Status.
Status CheckConvolution(const grouped_conv::ConvProblem& problem,
                        grouped_conv::ConvGeometry* geometry);
Status CheckOutput(const grouped_conv::ConvGeometry& geometry,
                   const std::vector<int64_t>& shape, const char* name);

// The type with which the algorithms read elements of T, which may be
// bfloat16, Eigen::half, float, double or int32.
template <typename T>
struct AlgorithmType {
  using type = T;
};
template <>
struct AlgorithmType<Eigen::half> {
  using type = grouped_conv::Half;
};
template <>
struct AlgorithmType<bfloat16> {
  using type = grouped_conv::BFloat16;
};
template <typename T>
using ConvEpilogue = grouped_conv::Epilogue<typename AlgorithmType<T>::type>;

// The elements of a tensor of T, as the algorithms read them.
template <typename T>
const typename AlgorithmType<T>::type* Data(const Tensor& tensor) {
  return reinterpret_cast<const typename AlgorithmType<T>::type*>(
      tensor.flat<T>().data());
}

template <typename T>
typename AlgorithmType<T>::type* Data(Tensor* tensor) {
  return reinterpret_cast<typename AlgorithmType<T>::type*>(
      tensor->flat<T>().data());
}

// The shapes of all tensors must be those that `geometry` was made of.
// `bias_backprop` may be null.
template <typename T>
Status LaunchForward(OpKernelContext* context,
                     const grouped_conv::ConvGeometry& geometry,
                     const Tensor& input, const Tensor& filter,
                     const ConvEpilogue<T>& epilogue, Tensor* output);
template <typename T>
Status LaunchInputGradient(OpKernelContext* context,
                           const grouped_conv::ConvGeometry& geometry,
                           const Tensor& filter, const Tensor& out_backprop,
                           Tensor* in_backprop);
template <typename T>
Status LaunchFilterGradient(OpKernelContext* context,
                            const grouped_conv::ConvGeometry& geometry,
                            const Tensor& input, const Tensor& out_backprop,
                            Tensor* filter_backprop, Tensor* bias_backprop);

}  // namespace tensorflow

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_LAUNCH_H_
