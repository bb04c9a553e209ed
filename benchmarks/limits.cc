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

// Measures what no convolution can exceed on this machine: float32 multiply-add
// throughput and copy bandwidth, with argv[1] threads. Prints JSON:
//
//   {"gflops": {"256": 101.5, "512": 180.2},       by vector width in bits
//    "copy": [[bytes read and written, GB/s], ...]}
//
// Compile with -O2 -march=native -pthread: a width is there if the machine has
// it. Each figure is the best of several short runs, as others may be running.

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

template <typename Vector>
double GflopsPeak(int threads) {
  constexpr int64_t kRepeat = 4000000;
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const double seconds =
        Time(threads, [](int) { MultiplyAdd<Vector>(kRepeat); });
    best = std::max(best, 2e-9 * kRepeat * kChains * threads *
                              (sizeof(Vector) / sizeof(float)) / seconds);
  }
  return best;
}

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
  std::printf("\"128\": %.1f", GflopsPeak<Vector128>(threads));
#ifdef __AVX__
  typedef float Vector256 __attribute__((vector_size(32)));
  std::printf(", \"256\": %.1f", GflopsPeak<Vector256>(threads));
#endif
#ifdef __AVX512F__
  typedef float Vector512 __attribute__((vector_size(64)));
  std::printf(", \"512\": %.1f", GflopsPeak<Vector512>(threads));
#endif
  std::printf("}, \"copy\": [");
  for (size_t mib = 1; mib <= 512; mib *= 2) {
    std::printf("%s[%zu, %.1f]", mib > 1 ? ", " : "", mib << 20,
                CopyBandwidth(threads, mib << 20));
  }
  std::printf("]}\n");
}
