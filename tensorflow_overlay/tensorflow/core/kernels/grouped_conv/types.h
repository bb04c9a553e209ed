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

// Types that the interface and the kernels share.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_TYPES_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_TYPES_H_

#include <cstdint>

namespace grouped_conv {

// IEEE 754 binary16, as Eigen::half stores it. Arithmetic is in float.
struct Half {
  uint16_t bits;
};

// The upper half of an IEEE 754 binary32, as Eigen::bfloat16 and TensorFlow's
// own type store it. Arithmetic is in float.
struct BFloat16 {
  uint16_t bits;
};

enum class Activation {
  kNone,
  kRelu,
  kRelu6,
  // More than a few instructions.
  kElu,
  kHardSwish,
  kLeakyRelu,
  kMish,
  kSigmoid,
  kSwish,
  kTanh,
};

inline bool IsShort(Activation activation) {
  return activation <= Activation::kRelu6;
}

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_TYPES_H_
