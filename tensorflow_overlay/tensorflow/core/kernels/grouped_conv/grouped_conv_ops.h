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

// Registers the kernels of grouped_conv_ops.cc. It is called where they get
// into TensorFlow: see register_when_linked.cc, register_when_loaded.cc and
// adapter.cc.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_OPS_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_OPS_H_

#include "tensorflow/core/kernels/grouped_conv/stock_kernel.h"
#include "tensorflow/core/lib/core/status.h"

namespace tensorflow {

Status RegisterGroupedConvKernels(StockKernelsAre stock_kernels_are);

}  // namespace tensorflow

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_OPS_H_
