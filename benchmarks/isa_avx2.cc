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

// Makes a process believe that its processor has AVX2 and nothing newer, when
// loaded with LD_PRELOAD: for `bench.py --isa avx2`. Not all frameworks have a
// setting for that, but all ask the CPUID instruction. Linux lets a process
// have it fault (arch_prctl), and here the fault answers.
//
// Compile with -O2 -shared -fPIC. A machine that cannot do it exits with 1.

#include <asm/prctl.h>
#include <cpuid.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace {

// What CPUID's leaf 7, subleaf 0 says of AVX-512 and AMX.
constexpr unsigned kEbx = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 |
                          1u << 28 | 1u << 30 | 1u << 31;
constexpr unsigned kEcx = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
constexpr unsigned kEdx =
    1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25;

// Of the calling thread, and of those that it starts.
bool AllowCpuid(bool allowed) {
  return syscall(SYS_arch_prctl, ARCH_SET_CPUID, allowed ? 1L : 0L) == 0;
}

void OnFault(int, siginfo_t*, void* context) {
  greg_t* const registers =
      static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto* const instruction =
      reinterpret_cast<const unsigned char*>(registers[REG_RIP]);
  if (instruction[0] != 0x0f || instruction[1] != 0xa2) {
    // Something else, which now happens again and ends the process.
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  const unsigned leaf = registers[REG_RAX];
  const unsigned subleaf = registers[REG_RCX];
  unsigned eax, ebx, ecx, edx;
  AllowCpuid(true);
  __cpuid_count(leaf, subleaf, eax, ebx, ecx, edx);
  AllowCpuid(false);
  if (leaf == 7 && subleaf == 0) {
    ebx &= ~kEbx;
    ecx &= ~kEcx;
    edx &= ~kEdx;
  } else if (leaf == 7) {
    eax = ebx = ecx = edx = 0;  // All newer than AVX2.
  }
  registers[REG_RAX] = eax;
  registers[REG_RBX] = ebx;
  registers[REG_RCX] = ecx;
  registers[REG_RDX] = edx;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) void Start() {
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  if (!AllowCpuid(false)) {
    std::perror("isa_avx2: this machine cannot have CPUID fault");
    std::_Exit(1);
  }
}

}  // namespace
