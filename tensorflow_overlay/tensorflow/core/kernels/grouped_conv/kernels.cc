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
#ifdef __x86_64__
namespace amx {
// Null if the compiler, the processor or the kernel has none.
const PairKernels* GetPairKernels();
}  // namespace amx
namespace avx512 {
AllKernels MakeKernels();
}
namespace avx2 {
AllKernels MakeKernels();
}
#endif
namespace generic {
AllKernels MakeKernels();
}

namespace {

struct Isa {
  const char* name;
  bool supported;
  AllKernels kernels;
};

#ifdef __x86_64__
bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

// AVX-512, with tiles for what they are faster for.
AllKernels MakeAmxKernels() {
  AllKernels kernels = avx512::MakeKernels();
  kernels.of_pairs = amx::GetPairKernels();
  return kernels;
}
#endif

const Isa& ChooseIsa() {
  // The best first.
  static const Isa isas[] = {
#ifdef __x86_64__
      {"amx", HasAvx512() && amx::GetPairKernels() != nullptr,
       MakeAmxKernels()},
      {"avx512", HasAvx512(), avx512::MakeKernels()},
      {"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"),
       avx2::MakeKernels()},
#endif
      {"generic", true, generic::MakeKernels()},
  };
  const char* const forced = std::getenv("TF_GROUPED_CONV_ISA");
  const Isa* best = nullptr;
  for (const Isa& isa : isas) {
    if (!isa.supported) continue;
    if (best == nullptr ||
        (forced != nullptr && std::strcmp(forced, isa.name) == 0)) {
      best = &isa;
    }
  }
  return *best;
}

const AllKernels& ChooseKernels() { return ChooseIsa().kernels; }

}  // namespace

const PairKernels* GetPairKernels() { return ChooseKernels().of_pairs; }

const char* InstructionSet() { return ChooseIsa().name; }

template <>
const Kernels<float>& GetKernels() {
  return ChooseKernels().of_float;
}
template <>
const Kernels<double>& GetKernels() {
  return ChooseKernels().of_double;
}
template <>
const Kernels<Half>& GetKernels() {
  return ChooseKernels().of_half;
}
template <>
const Kernels<BFloat16>& GetKernels() {
  return ChooseKernels().of_bfloat16;
}
template <>
const Kernels<int32_t>& GetKernels() {
  return ChooseKernels().of_int32;
}

}  // namespace grouped_conv
