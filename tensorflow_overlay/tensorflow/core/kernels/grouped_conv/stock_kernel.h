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

// The kernels that TensorFlow has without this library, and how to register
// above them and still call them.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_STOCK_KERNEL_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_STOCK_KERNEL_H_

#include <memory>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/types.h"

namespace tensorflow {

// A CPU kernel for `op` with attribute T of `type`, and what makes it. Its
// label is that of the stock kernel.
struct KernelOverride {
  const char* op;
  const char* label;
  DataType type;
  OpKernel* (*create)(OpKernelConstruction*);
};

// In a library that TensorFlow loads all stock kernels are registered; in
// TensorFlow's own static initializers none may be yet.
enum class StockKernelsAre { kRegistered, kToCome };

// Registers `overrides` with a priority above the stock kernels'; those that
// are registered and do not compute the op in that type get no override.
// Registers none, and says why, where stock kernels could not be called.
Status RegisterAboveStock(const std::vector<KernelOverride>& overrides,
                          StockKernelsAre stock_kernels_are);

// Makes the kernel that would run the op of `context` without the override.
Status MakeStockKernel(OpKernelConstruction* context,
                       std::unique_ptr<OpKernel>* kernel);

}  // namespace tensorflow

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_STOCK_KERNEL_H_
