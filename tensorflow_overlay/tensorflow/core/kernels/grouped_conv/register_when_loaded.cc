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

// For kernels in a library that TensorFlow loads, as in a rebuilt wheel.

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_def_builder.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv_ops.h"
#include "tensorflow/core/kernels/grouped_conv/shape_functions.h"
#include "tensorflow/core/lib/core/errors.h"
#include "tensorflow/core/lib/core/status.h"

namespace tensorflow {
namespace {

const bool registered = [] {
  const Status status =
      RegisterGroupedConvKernels(StockKernelsAre::kRegistered);
  if (status.ok()) {
    CheckShapesInGraphs();
    return true;
  }
  const Status error = errors::FailedPrecondition(
      "Grouped convolution cannot be registered for the CPU: ",
      status.ToString());
  // An op that cannot be registered makes loading fail with what it says, here
  // `import tensorflow`. Going on would leave gradients to the stock kernels,
  // some of which answer wrongly without an error.
  OpRegistry::Global()->Register(
      [error](OpRegistrationData*) { return error; });
  return false;
}();

}  // namespace
}  // namespace tensorflow
