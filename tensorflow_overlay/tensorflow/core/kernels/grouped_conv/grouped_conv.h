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

// Grouped convolution on the CPU: forward, input gradient and filter gradient.
// Knows no TensorFlow: takes a geometry, raw pointers and something that runs
// tasks in parallel.
//
// Tensors are dense and in the geometry's layout; filters are
// [spatial..., input channels per group, output channels]. No tensor needs an
// alignment beyond its element's. Results depend neither on the number of
// threads nor on the order in which tasks run.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_H_

#include <cstdint>
#include <functional>

#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/types.h"

namespace grouped_conv {

// Runs tasks on the caller's threads.
class TaskRunner {
 public:
  virtual ~TaskRunner() {}
  // How many tasks can run at once; at least 1.
  virtual int num_threads() const = 0;
  // Runs task(i) for all i in [0, count), in any order, and returns when all
  // are done. `cycles_per_task` estimates what one task costs.
  virtual void Run(int64_t count, int64_t cycles_per_task,
                   const std::function<void(int64_t)>& task) = 0;
};

// What is applied to each output while it is written:
// activation(scale[channel] * convolution + bias[channel]).
// A null pointer leaves its step out. Arrays have `output_channels` elements.
template <typename T>
struct Epilogue {
  const T* scale = nullptr;
  const T* bias = nullptr;
  Activation activation = Activation::kNone;
  float alpha = 0;  // What kLeakyRelu multiplies negative values by.
};

enum class Result { kOk, kOutOfMemory };

// T is float, double, Half, BFloat16 or int32_t (which wraps around, as
// TensorFlow's does). An output with elements is always written whole: zeros
// where an empty input or filter leaves nothing to sum, before the epilogue.

// output = epilogue(conv(input, filter))
template <typename T>
Result Forward(const ConvGeometry& geometry, const T* input, const T* filter,
               const Epilogue<T>& epilogue, T* output, TaskRunner* runner);

// input_backprop = d(loss)/d(input), given output_backprop = d(loss)/d(output)
template <typename T>
Result InputGradient(const ConvGeometry& geometry, const T* filter,
                     const T* output_backprop, T* input_backprop,
                     TaskRunner* runner);

// filter_backprop = d(loss)/d(filter) and, unless it is null,
// bias_backprop = d(loss)/d(bias), of `output_channels` elements
template <typename T>
Result FilterGradient(const ConvGeometry& geometry, const T* input,
                      const T* output_backprop, T* filter_backprop,
                      T* bias_backprop, TaskRunner* runner);

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_H_
