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

// Times the passes of grouped convolutions, for problem strings given as
// arguments (see problem_string.h) or a few layers of known networks:
//   grouped_conv_benchmark [--threads=N] [--seconds=S] [--fused]
//       [--dtype=float32|bfloat16|float16] [--pass=0|1|2] [problem...]
// Prints GFLOP/s of the fastest and of the median run, of all passes or of one:
// forward, input gradient, filter gradient. With --fused, forward has a bias
// and ReLU. Results go to two tensors in turn, as a program's seldom go where
// the last ones did, which a cache has.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/problem_string.h"
#include "tensorflow/core/kernels/grouped_conv/thread_runner.h"

namespace grouped_conv {
namespace {

const char* const kLayers[] = {
    "g32mb8ic128oc128ih56kh3ph1",               // ResNeXt-50 32x4d
    "g32mb8ic256oc256ih28kh3ph1",               //
    "g32mb8ic512oc512ih14kh3ph1",               //
    "g32mb8ic1024oc1024ih7kh3ph1",              //
    "g32mb8ic256oc256ih56kh3sh2ph1",            //
    "g64mb8ic256oc256ih56kh3ph1",               // ResNeXt-101 64x4d
    "g3mb8ic240oc240ih28",                      // ShuffleNet
    "g9mb8ic216oc216ih28kh3ph1",                // RegNetX-400MF
    "g144mb8ic144oc144ih56kh3ph1",              // depthwise
    "g240mb8ic240oc240ih28kh5ph2",              //
    "g16mb4ic768oc768ih1iw500kh1kw128ph0pw64",  // wav2vec 2.0
    "g16mb6ic64oc64id8ih56kd3kh3pd1ph1",        // ResNeXt-3D
    "g16mb6ic256oc256id4ih28kd3kh3pd1ph1",      //
};

// Random numbers in [-1, 1), of few bits.
template <typename T>
T Random();
template <>
float Random<float>() {
  return std::rand() % 256 / 128.0f - 1;
}
template <>
BFloat16 Random<BFloat16>() {
  const float value = Random<float>();
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return {static_cast<uint16_t>(bits >> 16)};
}
template <>
Half Random<Half>() {
  // A sign, an exponent of 2^-1 to 2^-8 and the fraction.
  const int exponent = 7 + std::rand() % 8;
  return {static_cast<uint16_t>((std::rand() & 0x83f0) | exponent << 10)};
}

template <typename T>
void Time(const char* text, double seconds, bool fused, int only,
          TaskRunner* runner) {
  ConvProblem problem;
  ConvGeometry g;
  std::string error;
  if (!ParseProblem(text, &problem) || !MakeGeometry(problem, &g, &error)) {
    std::printf("%s: not a problem. %s\n", text, error.c_str());
    return;
  }
  // Tensors start a cache line, as TensorFlow's do.
  std::vector<std::vector<T>> memory;
  const auto random = [&memory](int64_t size) {
    memory.emplace_back(size + 64 / sizeof(T));
    for (T& value : memory.back()) value = Random<T>();
    const auto address = reinterpret_cast<uintptr_t>(memory.back().data());
    return memory.back().data() + -address % 64 / sizeof(T);
  };
  T* input = random(g.input_size());
  T* other_input = random(g.input_size());
  T* const filter = random(g.filter_size());
  T* output = random(g.output_size());
  T* other_output = random(g.output_size());
  Epilogue<T> epilogue;
  T* bias_backprop = nullptr;
  if (fused) {
    epilogue.bias = random(g.output_channels);
    epilogue.activation = Activation::kRelu;
    bias_backprop = random(g.output_channels);
  }
  const double flops =
      2.0 * g.output_size() * g.filter_taps() * g.input_channels_per_group();
  std::printf("%-42s", text);
  const std::function<void()> passes[] = {
      [&] {
        std::swap(output, other_output);
        Forward<T>(g, input, filter, epilogue, output, runner);
      },
      [&] {
        std::swap(input, other_input);
        InputGradient<T>(g, filter, output, input, runner);
      },
      [&] {
        FilterGradient<T>(g, input, output, filter, bias_backprop, runner);
      }};
  for (int i = 0; i < 3; ++i) {
    if (only >= 0 && i != only) continue;
    const auto& pass = passes[i];
    std::vector<double> times;
    double total = 0;
    pass();
    while (total < seconds || times.size() < 3) {
      const auto start = std::chrono::steady_clock::now();
      pass();
      times.push_back(std::chrono::duration<double>(
                          std::chrono::steady_clock::now() - start)
                          .count());
      total += times.back();
    }
    std::sort(times.begin(), times.end());
    std::printf("  %7.1f %7.1f", flops / times[0] / 1e9,
                flops / times[times.size() / 2] / 1e9);
    std::fflush(stdout);
  }
  std::printf("\n");
}

}  // namespace
}  // namespace grouped_conv

int main(int argc, char** argv) {
  int threads = 1;
  double seconds = 0.3;
  bool fused = false;
  int only = -1;  // Of the passes.
  auto time = grouped_conv::Time<float>;
  std::vector<const char*> problems;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--threads=", 10) == 0) {
      threads = std::atoi(argv[i] + 10);
    } else if (std::strncmp(argv[i], "--seconds=", 10) == 0) {
      seconds = std::atof(argv[i] + 10);
    } else if (std::strncmp(argv[i], "--pass=", 7) == 0) {
      only = std::atoi(argv[i] + 7);
    } else if (std::strcmp(argv[i], "--fused") == 0) {
      fused = true;
    } else if (std::strcmp(argv[i], "--dtype=float32") == 0) {
      time = grouped_conv::Time<float>;
    } else if (std::strcmp(argv[i], "--dtype=bfloat16") == 0) {
      time = grouped_conv::Time<grouped_conv::BFloat16>;
    } else if (std::strcmp(argv[i], "--dtype=float16") == 0) {
      time = grouped_conv::Time<grouped_conv::Half>;
    } else {
      problems.push_back(argv[i]);
    }
  }
  if (problems.empty()) {
    problems.assign(std::begin(grouped_conv::kLayers),
                    std::end(grouped_conv::kLayers));
  }
  std::printf("%-42s  %15s  %15s  %15s\n", "GFLOP/s (fastest, median)",
              "forward", "input gradient", "filter gradient");
  grouped_conv::ThreadRunner runner(threads);
  for (const char* problem : problems) {
    time(problem, seconds, fused, only, &runner);
  }
}
