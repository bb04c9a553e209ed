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

#include "tensorflow/core/kernels/grouped_conv/kernels.h"

#include <cstdlib>
#include <cstring>

namespace grouped_conv {

// One of each kernels_*.cc.
#define DECLARE(isa)                                                \
  namespace isa {                                                   \
  void GetTables(Kernels<float>*, Kernels<double>*, Kernels<Half>*, \
                 Kernels<BFloat16>*, Kernels<int32_t>*);            \
  }
DECLARE(generic)
#ifdef __x86_64__
DECLARE(avx2)
DECLARE(avx512)
#endif
#undef DECLARE

namespace {

struct Isa {
  const char* name;
  bool supported;
  void (*get_tables)(Kernels<float>*, Kernels<double>*, Kernels<Half>*,
                     Kernels<BFloat16>*, Kernels<int32_t>*);
};

struct Tables {
  Tables() {
    const Isa isas[] = {
#ifdef __x86_64__
        {"avx512",
         __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl"),
         avx512::GetTables},
        {"avx2",
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"),
         avx2::GetTables},
#endif
        {"generic", true, generic::GetTables},
    };
    const char* forced = std::getenv("TF_GROUPED_CONV_ISA");
    const Isa* best = nullptr;
    for (const Isa& isa : isas) {
      if (!isa.supported) continue;
      if (best == nullptr ||
          (forced != nullptr && std::strcmp(forced, isa.name) == 0)) {
        best = &isa;
      }
    }
    best->get_tables(&f, &d, &h, &b, &i);
  }
  Kernels<float> f;
  Kernels<double> d;
  Kernels<Half> h;
  Kernels<BFloat16> b;
  Kernels<int32_t> i;
};

const Tables& GetAll() {
  static const Tables tables;
  return tables;
}

}  // namespace

template <>
const Kernels<float>& GetKernels() {
  return GetAll().f;
}
template <>
const Kernels<double>& GetKernels() {
  return GetAll().d;
}
template <>
const Kernels<Half>& GetKernels() {
  return GetAll().h;
}
template <>
const Kernels<BFloat16>& GetKernels() {
  return GetAll().b;
}
template <>
const Kernels<int32_t>& GetKernels() {
  return GetAll().i;
}

}  // namespace grouped_conv
