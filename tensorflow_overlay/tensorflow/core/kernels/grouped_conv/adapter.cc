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

// All of an adapter: registration of the kernels in a library that a loader
// tries out, and that may not fit the TensorFlow which runs.
//
// It includes what it is made of: nearly all the time that a file takes to
// compile goes into TensorFlow's headers, and each release has an adapter.

#include <string>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv_launch.cc"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv_ops.cc"
#include "tensorflow/core/kernels/grouped_conv/shape_functions.cc"
#include "tensorflow/core/kernels/grouped_conv/stock_kernel.cc"
#include "tensorflow/core/lib/core/status.h"

// Returns null, or, if nothing was registered, why not.
extern "C" const char* GroupedConvRegister() {
  static const std::string* const error = [] {
    const tensorflow::Status status = tensorflow::RegisterGroupedConvKernels(
        tensorflow::StockKernelsAre::kRegistered);
    if (status.ok()) tensorflow::CheckShapesInGraphs();
    return new std::string(status.ok() ? "" : status.ToString());
  }();
  return error->empty() ? nullptr : error->c_str();
}
