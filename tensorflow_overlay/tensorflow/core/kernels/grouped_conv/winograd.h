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

// Forward and InputGradient by Winograd's minimal filtering F(2x2, 3x3), which
// multiplies 4 times for each sum instead of 9 times.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_WINOGRAD_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_WINOGRAD_H_

#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/kernels.h"

namespace grouped_conv {

// Whether that is possible and likely faster, by the geometry alone, and not
// switched off: TF_GROUPED_CONV_ALGORITHM is "direct" then. `backward` is
// InputGradient.
bool UseWinograd(const ConvGeometry& geometry, bool backward);

// sums = epilogue(the correlation of x with the filter), if UseWinograd. Sets
// `finite` to whether all were finite before the epilogue. If not, sums are of
// no use: an infinite x turns sums into NaNs that it has no part in, and what
// is made of large numbers on the way may overflow.
Result CorrelateWinograd(const AllKernels& kernels,
                         const ConvGeometry& geometry, bool backward,
                         const float* x, const float* filter,
                         const Epilogue<float>& epilogue, float* sums,
                         TaskRunner* runner, bool* finite);

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_WINOGRAD_H_
