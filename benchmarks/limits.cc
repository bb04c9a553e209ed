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

// Measures what no convolution can exceed on this machine: the throughput of
// multiply-add, of float32 and of bfloat16 with sums of float32, and copy
// bandwidth, with argv[1] threads. Prints JSON:
//
//   {"gflops": {"256 bits": 101.5, "512 bits": 180.2, "bfloat16 tiles": 1990},
//    "copy": [[bytes read and written, GB/s], ...]}
//
// Compile with -O2 -march=native -pthread: what the machine has is there. Each
// figure is the best of several short runs, as others may be running.

#if defined(__AVX512BF16__) || defined(__AMX_BF16__)
#include <immintrin.h>
#endif
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace {

constexpr int kRuns = 15;

double Now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Seconds that `threads` threads take to run task(thread) at once.
double Time(int threads, const std::function<void(int)>& task) {
  const double start = Now();
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(task, i);
  task(0);
  for (std::thread& other : others) other.join();
  return Now() - start;
}

// Independent chains enough to fill 2 units of latency 5.
constexpr int kChains = 12;

template <typename Vector>
void MultiplyAdd(int64_t repeat) {
  Vector sums[kChains] = {};
  Vector factor = Vector{} + 0.5f;
  Vector term = Vector{} + 1.0f;
  // Values that the compiler cannot know, or it would do with less arithmetic.
  for (Vector& sum : sums) asm volatile("" : "+x"(sum));
  asm volatile("" : "+x"(factor), "+x"(term));
  for (int64_t i = 0; i < repeat; ++i) {
#pragma GCC unroll 12
    for (Vector& sum : sums) sum = sum * factor + term;
  }
  for (Vector& sum : sums) asm volatile("" : : "x"(sum));
}

// GFLOP/s of a task that does `flops` in each thread.
double GflopsPeak(int threads, double flops,
                  const std::function<void(int)>& task) {
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    best = std::max(best, 1e-9 * flops * threads / Time(threads, task));
  }
  return best;
}

template <typename Vector>
double VectorPeak(int threads) {
  constexpr int64_t kRepeat = 4000000;
  return GflopsPeak(threads,
                    2. * kRepeat * kChains * (sizeof(Vector) / sizeof(float)),
                    [](int) { MultiplyAdd<Vector>(kRepeat); });
}

#ifdef __AVX512BF16__
// Each lane adds two products.
double Bfloat16VectorPeak(int threads) {
  constexpr int64_t kRepeat = 2000000;
  return GflopsPeak(threads, 2. * kRepeat * kChains * 32, [](int) {
    __m512 sums[kChains] = {};
    __m512bh factor = {};
    for (__m512& sum : sums) asm volatile("" : "+x"(sum));
    asm volatile("" : "+x"(factor));
    for (int64_t i = 0; i < kRepeat; ++i) {
#pragma GCC unroll 12
      for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, factor, factor);
    }
    for (__m512& sum : sums) asm volatile("" : : "x"(sum));
  });
}
#endif

#ifdef __AMX_BF16__
// Linux gives a process the tiles' registers when it asks.
bool HasTiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

double Bfloat16TilePeak(int threads) {
  constexpr int64_t kRepeat = 200000;
  // Tiles of 16 rows of 64 bytes: 16 x 16 sums of 32 products each.
  return GflopsPeak(threads, 2. * kRepeat * 4 * 16 * 16 * 32, [](int) {
    struct {
      unsigned char palette = 1, start_row = 0, reserved[14] = {};
      unsigned short bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    // GCC 12 takes it that only its first bytes are read.
    asm volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t i = 0; i < kRepeat; ++i) {
      _tile_dpbf16ps(0, 4, 5);
      _tile_dpbf16ps(1, 4, 5);
      _tile_dpbf16ps(2, 4, 5);
      _tile_dpbf16ps(3, 4, 5);
    }
    _tile_release();
  });
}
#endif

// Copies half of `bytes` to the other half, each thread its own share.
double CopyBandwidth(int threads, size_t bytes) {
  const size_t share = bytes / 2 / threads;
  const std::unique_ptr<char[]> from(new char[share * threads]);
  const std::unique_ptr<char[]> to(new char[share * threads]);
  std::memset(from.get(), 1, share * threads);
  std::memset(to.get(), 1, share * threads);
  const int repeat = std::max<int>(1, (64 << 20) / bytes);
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const double seconds = Time(threads, [&](int thread) {
      for (int i = 0; i < repeat; ++i) {
        std::memcpy(&to[thread * share], &from[thread * share], share);
        asm volatile("" : : "r"(to.get()) : "memory");
      }
    });
    best = std::max(best, 2e-9 * share * threads * repeat / seconds);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  std::printf("{\"gflops\": {");
  typedef float Vector128 __attribute__((vector_size(16)));
  std::printf("\"128 bits\": %.1f", VectorPeak<Vector128>(threads));
#ifdef __AVX__
  typedef float Vector256 __attribute__((vector_size(32)));
  std::printf(", \"256 bits\": %.1f", VectorPeak<Vector256>(threads));
#endif
#ifdef __AVX512F__
  typedef float Vector512 __attribute__((vector_size(64)));
  std::printf(", \"512 bits\": %.1f", VectorPeak<Vector512>(threads));
#endif
#ifdef __AVX512BF16__
  std::printf(", \"bfloat16 vectors\": %.1f", Bfloat16VectorPeak(threads));
#endif
#ifdef __AMX_BF16__
  if (HasTiles()) {
    std::printf(", \"bfloat16 tiles\": %.1f", Bfloat16TilePeak(threads));
  }
#endif
  std::printf("}, \"copy\": [");
  for (size_t mib = 1; mib <= 512; mib *= 2) {
    std::printf("%s[%zu, %.1f]", mib > 1 ? ", " : "", mib << 20,
                CopyBandwidth(threads, mib << 20));
  }
  std::printf("]}\n");
}
