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

#ifdef __x86_64__
#include <cpuid.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace grouped_conv {

// One of each kernels_*.cc, which only a machine that has the instruction set
// may call.
#ifdef __x86_64__
namespace amx {
bool IsCompiled();  // Whether the compiler knows tiles.
// Those of AVX512-BF16, with what these are faster for.
AllKernels AddTo(AllKernels kernels);
}  // namespace amx
namespace avx512bf16 {
bool IsCompiled();
// Those of AVX-512, likewise; depthwise ones with pairs of taps, or of floats.
AllKernels AddTo(AllKernels kernels, bool paired_taps);
}  // namespace avx512bf16
namespace avx512 {
AllKernels MakeKernels();
}
namespace avx2 {
AllKernels MakeKernels();
}
#endif
#ifdef __aarch64__
namespace neon {
AllKernels MakeKernels();
}
#endif
namespace generic {
AllKernels MakeKernels();
}

namespace {

bool Always() { return true; }

#ifdef __x86_64__
bool IsAmd() { return __builtin_cpu_is("amd"); }
bool HasAvx2() {
  // Older compilers have no name for it.
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kF16c = 1u << 29;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & kF16c) != 0;
}
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
bool HasAvx512Bf16() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kAvx512Bf16 = 1u << 5;
  return HasAvx512() && __builtin_cpu_supports("avx512bw") &&
         __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
         (eax & kAvx512Bf16) != 0 && avx512bf16::IsCompiled();
}
bool HasAmx() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  return HasAvx512Bf16() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
         (edx & (kAmxBf16 | kAmxTile)) == (kAmxBf16 | kAmxTile) &&
         amx::IsCompiled();
}
// Asks Linux for the tiles, which it gives a process for good.
bool MayUseTiles() {
#ifdef __linux__
  // ARCH_REQ_XCOMP_PERM of asm/prctl.h, for the feature TILEDATA.
  constexpr int kRequest = 0x1023, kTileData = 18;
  static const bool may = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return may;
#else
  return false;
#endif
}

AllKernels MakeAvx512Bf16Kernels() {
  return avx512bf16::AddTo(avx512::MakeKernels(), /*paired_taps=*/true);
}
AllKernels MakeAmxKernels() {
  return amx::AddTo(
      avx512bf16::AddTo(avx512::MakeKernels(), /*paired_taps=*/false));
}
#else
bool IsAmd() { return false; }
#endif

struct Isa {
  Isa(const char* name, bool (*has)(), bool (*is_faster)(), bool (*may_use)(),
      AllKernels (*make)())
      : name(name),
        supported(has()),
        faster(supported && is_faster()),
        may_use(may_use),
        kernels(supported ? make() : AllKernels()) {
    kernels.fetch_early = IsAmd();
  }

  const char* name;
  bool supported;
  bool faster;        // Than those below it.
  bool (*may_use)();  // Asked when it is to be used.
  AllKernels kernels;
};

const Isa& ChooseIsa() {
  // The best first.
  static const Isa isas[] = {
#ifdef __x86_64__
      {"amx", HasAmx, Always, MayUseTiles, MakeAmxKernels},
      // AMD's processors multiply pairs as fast as floats, one of Intel's four
      // times slower.
      {"avx512bf16", HasAvx512Bf16, IsAmd, Always, MakeAvx512Bf16Kernels},
      {"avx512", HasAvx512, Always, Always, avx512::MakeKernels},
      {"avx2", HasAvx2, Always, Always, avx2::MakeKernels},
#endif
#ifdef __aarch64__
      {"neon", Always, Always, Always, neon::MakeKernels},
#endif
      {"generic", Always, Always, Always, generic::MakeKernels},
  };
  const char* const forced = std::getenv("TF_GROUPED_CONV_ISA");
  const Isa* best = nullptr;
  for (const Isa& isa : isas) {
    if (forced != nullptr && std::strcmp(forced, isa.name) == 0 &&
        isa.supported && isa.may_use()) {
      return isa;
    }
  }
  for (const Isa& isa : isas) {
    if (best == nullptr && isa.faster && isa.may_use()) best = &isa;
  }
  return *best;
}

}  // namespace

template <>
const Kernels<float>& AllKernels::Of() const {
  return of_float;
}
template <>
const Kernels<double>& AllKernels::Of() const {
  return of_double;
}
template <>
const Kernels<Half>& AllKernels::Of() const {
  return of_half;
}
template <>
const Kernels<BFloat16>& AllKernels::Of() const {
  return of_bfloat16;
}
template <>
const Kernels<int32_t>& AllKernels::Of() const {
  return of_int32;
}

const AllKernels& GetKernels() { return ChooseIsa().kernels; }

const char* InstructionSet() { return ChooseIsa().name; }

}  // namespace grouped_conv
