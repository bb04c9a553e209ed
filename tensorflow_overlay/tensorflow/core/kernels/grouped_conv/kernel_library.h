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

// grouped_conv.h as a library of its own: functions with C linkage and no type
// of the C++ library in them, so that one such library serves callers that were
// compiled with other flags, for other releases. kernel_library.cc exports
// them; kernel_imports.cc is grouped_conv.h for who calls them. Both sides are
// built from the same sources: the geometry and the epilogue are passed as they
// are.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_KERNEL_LIBRARY_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_KERNEL_LIBRARY_H_

#include <cstdint>

#include "tensorflow/core/kernels/grouped_conv/geometry.h"

namespace grouped_conv {

// Of elements, by the numbers that TensorFlow gives them.
enum ElementType : int32_t {
  kFloat = 1,
  kDouble = 2,
  kInt32 = 3,
  kBFloat16 = 14,
  kHalf = 19,
};

// A TaskRunner. Run calls task(argument, i).
struct TaskRunnerInterface {
  void* runner;
  int32_t num_threads;
  void (*run)(void* runner, int64_t count, int64_t cycles_per_task,
              void (*task)(void* argument, int64_t i), void* argument);
};

}  // namespace grouped_conv

// The functions of grouped_conv.h for elements of `type`; the epilogue is an
// Epilogue of that type. They return a Result.
extern "C" {
int32_t GroupedConvForward(int32_t type,
                           const grouped_conv::ConvGeometry* geometry,
                           const void* input, const void* filter,
                           const void* epilogue, void* output,
                           const grouped_conv::TaskRunnerInterface* runner);
int32_t GroupedConvInputGradient(
    int32_t type, const grouped_conv::ConvGeometry* geometry,
    const void* filter, const void* output_backprop, void* input_backprop,
    const grouped_conv::TaskRunnerInterface* runner);
int32_t GroupedConvFilterGradient(
    int32_t type, const grouped_conv::ConvGeometry* geometry, const void* input,
    const void* output_backprop, void* filter_backprop, void* bias_backprop,
    const grouped_conv::TaskRunnerInterface* runner);

// The instruction set whose kernels run on this machine; see kernels.h.
const char* GroupedConvInstructionSet();
}

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_KERNEL_LIBRARY_H_
