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

// Compares forward and both gradients with the reference over random problems,
// with the kernels of each instruction set that the machine has.
//   GROUPED_CONV_PROBLEM=<problem string>  tests that problem alone
//   GROUPED_CONV_CASES, GROUPED_CONV_SEED  how many random problems, and which
// A problem string repeats all that happened: data follow from it.

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv_reference.h"
#include "tensorflow/core/kernels/grouped_conv/kernels.h"
#include "tensorflow/core/kernels/grouped_conv/merged_groups.h"
#include "tensorflow/core/kernels/grouped_conv/problem_string.h"
#include "tensorflow/core/kernels/grouped_conv/thread_runner.h"
#include "tensorflow/core/kernels/grouped_conv/winograd.h"
#include "tensorflow/core/platform/test.h"

namespace grouped_conv {
namespace {

// An array between two inaccessible pages, touching the last one or, if
// `at_start`, the first, so that an access outside ends the process.
template <typename T>
class GuardedArray {
 public:
  explicit GuardedArray(int64_t size, bool at_start = false) : size_(size) {
    const size_t page = sysconf(_SC_PAGESIZE);
    const size_t bytes = (size * sizeof(T) + page - 1) / page * page;
    mapped_ = bytes + 2 * page;
    base_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_, page, PROT_NONE);
    mprotect(base_ + page + bytes, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(base_ + page +
                                 (at_start ? 0 : bytes - size * sizeof(T)));
    // Whatever a kernel forgets to write shows.
    std::memset(base_ + page, 0xff, bytes);
  }
  ~GuardedArray() { munmap(base_, mapped_); }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;

  T* data() { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data_[i]; }
  bool operator==(const GuardedArray& other) const {
    return std::memcmp(data_, other.data_, size_ * sizeof(T)) == 0;
  }

 private:
  int64_t size_;
  size_t mapped_;
  char* base_;
  T* data_;
};

class SerialRunner : public TaskRunner {
 public:
  int num_threads() const override { return 1; }
  void Run(int64_t count, int64_t,
           const std::function<void(int64_t)>& task) override {
    for (int64_t i = 0; i < count; ++i) task(i);
  }
};

// Runs tasks on three threads, each of which takes its own backwards.
class BackwardRunner : public ThreadRunner {
 public:
  BackwardRunner() : ThreadRunner(3) {}
  void Run(int64_t count, int64_t cycles,
           const std::function<void(int64_t)>& task) override {
    ThreadRunner::Run(count, cycles, [&](int64_t i) { task(count - 1 - i); });
  }
};

// How tests make, read and judge values of a type.
template <typename T>
struct Type {
  static T Make(double value) { return static_cast<T>(value); }
  static double Read(T value) { return static_cast<double>(value); }
  static constexpr double kSumEpsilon = std::numeric_limits<T>::epsilon();
  static constexpr double kEpsilon = kSumEpsilon;
  static constexpr double kSmallest = 0;  // Smaller than those that occur.
};

template <>
struct Type<Half> {
  // Exact for multiples of 2^-8 up to 4.
  static Half Make(double value) {
    if (std::isinf(value)) return Half{0x7c00};
    int exponent;
    const double fraction = std::frexp(std::fabs(value), &exponent);
    const int magnitude =
        value == 0 ? 0
                   : ((exponent + 14) << 10) +
                         static_cast<int>(std::ldexp(fraction, 11)) - 1024;
    return Half{static_cast<uint16_t>(magnitude | (value < 0 ? 0x8000 : 0))};
  }
  static double Read(Half value) {
    const int exponent = (value.bits >> 10) & 31;
    const int fraction = value.bits & 1023;
    double result = exponent == 0 ? std::ldexp(fraction, -24)
                                  : std::ldexp(fraction + 1024, exponent - 25);
    if (exponent == 31) {
      result = fraction == 0 ? std::numeric_limits<double>::infinity()
                             : std::numeric_limits<double>::quiet_NaN();
    }
    return value.bits & 0x8000 ? -result : result;
  }
  static constexpr double kSumEpsilon = std::numeric_limits<float>::epsilon();
  static constexpr double kEpsilon = 1.0 / 1024;
  static constexpr double kSmallest = 1.0 / (1 << 24);
};

template <>
struct Type<BFloat16> {
  // Exact for numbers with 8 significant bits.
  static BFloat16 Make(double value) {
    const float number = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &number, sizeof(bits));
    return BFloat16{static_cast<uint16_t>(bits >> 16)};
  }
  static double Read(BFloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float number;
    std::memcpy(&number, &bits, sizeof(number));
    return number;
  }
  static constexpr double kSumEpsilon = std::numeric_limits<float>::epsilon();
  static constexpr double kEpsilon = 1.0 / 128;
  static constexpr double kSmallest = 0;
};

template <typename T>
std::vector<double> ReadAll(GuardedArray<T>& array) {
  std::vector<double> all(array.size());
  for (int64_t i = 0; i < array.size(); ++i) all[i] = Type<T>::Read(array[i]);
  return all;
}

// The reference's result, per element the sum of the products' magnitudes, and
// how many roundings that are relative to this make up the error.
struct Expected {
  explicit Expected(int64_t size) : sum(size), magnitude(size) {}
  std::vector<double> sum;
  std::vector<double> magnitude;
  double roundings = 32;
};

// The reference's result.
template <typename T>
Expected Reference(const ConvGeometry& g, Pass pass, GuardedArray<T>& first,
                   GuardedArray<T>& second, int64_t size) {
  Expected expected(size);
  SumProducts(g, pass, ReadAll(first).data(), ReadAll(second).data(),
              expected.sum.data(), expected.magnitude.data());
  return expected;
}

// Sets the magnitudes and roundings of what Winograd's algorithm computes. In
// two dimensions an x is rounded 2 times, a w 4 times, a sum of n products n
// times, with or without fused multiply-adds, and an output 4 times. So the
// error is at most n + 10 roundings of the sum of magnitudes.
template <typename T>
void ExpectWinograd(const ConvGeometry& g, Pass pass, GuardedArray<T>& x,
                    GuardedArray<T>& filter, Expected* expected) {
  expected->roundings =
      10 + g.dim[0].filter * (pass == Pass::kInputGradient
                                  ? g.output_channels_per_group()
                                  : g.input_channels_per_group());
  std::fill(expected->magnitude.begin(), expected->magnitude.end(), 0);
  SumWinogradMagnitudes(g, pass, ReadAll(x).data(), ReadAll(filter).data(),
                        expected->magnitude.data());
}

template <typename T>
void ExpectNear(GuardedArray<T>& actual, const Expected& expected,
                const std::string& what) {
  for (int64_t i = 0; i < actual.size(); ++i) {
    const double rounding = Type<T>::kSumEpsilon / 2;
    const double tolerance =
        expected.roundings * rounding / (1 - expected.roundings * rounding) *
            expected.magnitude[i] +
        Type<T>::kEpsilon * std::fabs(expected.sum[i]) + Type<T>::kSmallest;
    // Negated, so that a NaN fails.
    if (!(std::fabs(Type<T>::Read(actual[i]) - expected.sum[i]) <= tolerance)) {
      EXPECT_TRUE(false) << what << ": element " << i << " is "
                         << Type<T>::Read(actual[i]) << ", expected "
                         << expected.sum[i];
      return;
    }
  }
}

// int32_t's sums are small enough here to be exact in a double, before they
// wrap around.
void ExpectNear(GuardedArray<int32_t>& actual, const Expected& expected,
                const std::string& what) {
  for (int64_t i = 0; i < actual.size(); ++i) {
    const int32_t wrapped = static_cast<int32_t>(
        static_cast<uint32_t>(static_cast<int64_t>(expected.sum[i])));
    if (actual[i] != wrapped) {
      EXPECT_EQ(actual[i], wrapped) << what << ": element " << i;
      return;
    }
  }
}

template <typename T>
void FillRandom(GuardedArray<T>* array, std::mt19937* random) {
  for (int64_t i = 0; i < array->size(); ++i) {
    const int value = static_cast<int>((*random)() % 513) - 256;
    (*array)[i] =
        Type<T>::Make(std::is_same<T, int32_t>::value ? value : value / 256.0);
  }
}

double Activate(Activation activation, double alpha, double value) {
  switch (activation) {
    case Activation::kNone:
      return value;
    case Activation::kRelu:
      return std::max(value, 0.0);
    case Activation::kRelu6:
      return std::min(std::max(value, 0.0), 6.0);
    case Activation::kElu:
      return value < 0 ? std::expm1(value) : value;
    case Activation::kHardSwish:
      return value * std::min(std::max(value + 3, 0.0), 6.0) / 6;
    case Activation::kLeakyRelu:
      return value < 0 ? value * alpha : value;
    case Activation::kMish:
      return value * std::tanh(std::log1p(std::exp(value)));
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-value));
    case Activation::kSwish:
      return value / (1 + std::exp(-value));
    case Activation::kTanh:
      return std::tanh(value);
  }
  return value;
}

// The channel of element `i` of the output.
int64_t OutputChannel(const ConvGeometry& g, int64_t i) {
  return g.layout == Layout::kChannelsLast
             ? i % g.output_channels
             : i / g.output_pixels() % g.output_channels;
}

// What is said when a signal ends the process, and who else handles signals.
char running[1024] = "";
struct sigaction handler_before[NSIG];

template <typename F>
void ForEachInstructionSet(const F& test) {
  static std::set<std::string> told;
  const char* const chosen = std::getenv("TF_GROUPED_CONV_ISA");
  const std::string restore = chosen == nullptr ? "" : chosen;
  std::string only;
#ifdef __SANITIZE_THREAD__
  // The best one alone, to save time: which thread writes what and when is
  // decided by the same code for all.
  unsetenv("TF_GROUPED_CONV_ISA");
  only = InstructionSet();
#endif
  for (const char* isa :
       {"generic", "neon", "avx2", "avx512", "avx512bf16", "amx"}) {
    if (!only.empty() && only != isa) continue;
    setenv("TF_GROUPED_CONV_ISA", isa, 1);
    if (std::strcmp(InstructionSet(), isa) == 0) {
      test();
    } else if (told.insert(isa).second) {
      std::fprintf(stderr, "Not run: this machine has no %s\n", isa);
    }
  }
  setenv("TF_GROUPED_CONV_ISA", restore.c_str(), 1);
}

// The same with test(what), for which `what` tells the instruction set too, and
// is said if the process dies.
template <typename F>
void ForEachInstructionSet(const std::string& what, const F& test) {
  ForEachInstructionSet([&] {
    const std::string all =
        what + " with " + std::getenv("TF_GROUPED_CONV_ISA") + " kernels";
    std::snprintf(running, sizeof(running), "Died of %s\n", all.c_str());
    test(all);
    running[0] = 0;
  });
}

template <typename T>
void TestForward(const ConvGeometry& g, const char* type,
                 const std::string& problem, std::mt19937* random) {
  GuardedArray<T> input(g.input_size(), (*random)() % 2);
  GuardedArray<T> filter(g.filter_size(), (*random)() % 2);
  const bool at_start = (*random)() % 2;
  GuardedArray<T> scale(g.output_channels);
  GuardedArray<T> bias(g.output_channels);
  FillRandom(&input, random);
  FillRandom(&filter, random);
  FillRandom(&scale, random);
  FillRandom(&bias, random);
  Epilogue<T> epilogue;
  const unsigned kind = (*random)();
  if (kind & 1) epilogue.scale = scale.data();
  if (kind & 2) epilogue.bias = bias.data();
  if (!std::is_same<T, int32_t>::value) {
    epilogue.activation = static_cast<Activation>(
        kind / 4 % (static_cast<int>(Activation::kTanh) + 1));
    epilogue.alpha = 0.25;
  }

  Expected expected =
      Reference(g, Pass::kForward, input, filter, g.output_size());
  if (std::is_same<T, float>::value && UseWinograd(g, /*backward=*/false)) {
    ExpectWinograd(g, Pass::kForward, input, filter, &expected);
  }
  for (int64_t i = 0; i < g.output_size(); ++i) {
    const int64_t channel = OutputChannel(g, i);
    double value = expected.sum[i];
    if (epilogue.scale) {
      value *= Type<T>::Read(scale[channel]);
    }
    if (epilogue.bias) {
      value += Type<T>::Read(bias[channel]);
      expected.magnitude[i] += 1;
    }
    expected.sum[i] = Activate(epilogue.activation, epilogue.alpha, value);
  }
  ForEachInstructionSet(
      std::string(type) + " forward of " + problem,
      [&](const std::string& what) {
        GuardedArray<T> output(g.output_size(), at_start);
        GuardedArray<T> again(g.output_size());
        SerialRunner serial;
        BackwardRunner threads;
        EXPECT_TRUE(Forward(g, input.data(), filter.data(), epilogue,
                            output.data(), &serial) == Result::kOk);
        ExpectNear(output, expected, what);
        EXPECT_TRUE(Forward(g, input.data(), filter.data(), epilogue,
                            again.data(), &threads) == Result::kOk);
        EXPECT_TRUE(output == again) << what << " depends on the threads";
      });
}

template <typename T>
void TestInputGradient(const ConvGeometry& g, const char* type,
                       const std::string& problem, std::mt19937* random) {
  GuardedArray<T> filter(g.filter_size(), (*random)() % 2);
  GuardedArray<T> output(g.output_size(), (*random)() % 2);
  const bool at_start = (*random)() % 2;
  FillRandom(&filter, random);
  FillRandom(&output, random);
  Expected expected =
      Reference(g, Pass::kInputGradient, filter, output, g.input_size());
  if (std::is_same<T, float>::value && UseWinograd(g, /*backward=*/true)) {
    ExpectWinograd(g, Pass::kInputGradient, output, filter, &expected);
  }
  ForEachInstructionSet(
      std::string(type) + " input gradient of " + problem,
      [&](const std::string& what) {
        GuardedArray<T> input(g.input_size(), at_start);
        GuardedArray<T> again(g.input_size());
        SerialRunner serial;
        BackwardRunner threads;
        EXPECT_TRUE(InputGradient(g, filter.data(), output.data(), input.data(),
                                  &serial) == Result::kOk);
        ExpectNear(input, expected, what);
        EXPECT_TRUE(InputGradient(g, filter.data(), output.data(), again.data(),
                                  &threads) == Result::kOk);
        EXPECT_TRUE(input == again) << what << " depends on the threads";
      });
}

template <typename T>
void TestFilterGradient(const ConvGeometry& g, const char* type,
                        const std::string& problem, std::mt19937* random) {
  GuardedArray<T> input(g.input_size(), (*random)() % 2);
  GuardedArray<T> output(g.output_size(), (*random)() % 2);
  const bool at_start = (*random)() % 2;
  FillRandom(&input, random);
  FillRandom(&output, random);
  const Expected expected =
      Reference(g, Pass::kFilterGradient, input, output, g.filter_size());
  Expected expected_bias(g.output_channels);
  for (int64_t i = 0; i < g.output_size(); ++i) {
    const double dy = Type<T>::Read(output[i]);
    expected_bias.sum[OutputChannel(g, i)] += dy;
    expected_bias.magnitude[OutputChannel(g, i)] += std::fabs(dy);
  }
  ForEachInstructionSet(
      std::string(type) + " filter gradient of " + problem,
      [&](const std::string& what) {
        GuardedArray<T> filter(g.filter_size(), at_start);
        GuardedArray<T> again(g.filter_size());
        GuardedArray<T> bias(g.output_channels, at_start);
        GuardedArray<T> bias_again(g.output_channels);
        SerialRunner serial;
        BackwardRunner threads;
        EXPECT_TRUE(FilterGradient(g, input.data(), output.data(),
                                   filter.data(), bias.data(),
                                   &serial) == Result::kOk);
        ExpectNear(filter, expected, what);
        ExpectNear(bias, expected_bias, what + ", bias");
        EXPECT_TRUE(FilterGradient(g, input.data(), output.data(), again.data(),
                                   bias_again.data(), &threads) == Result::kOk);
        EXPECT_TRUE(filter == again) << what << " depends on the threads";
        EXPECT_TRUE(bias == bias_again)
            << what << ", bias, depends on the threads";
        // Nothing but the filter's.
        EXPECT_TRUE(FilterGradient<T>(g, input.data(), output.data(),
                                      again.data(), nullptr,
                                      &threads) == Result::kOk);
        EXPECT_TRUE(filter == again) << what << " depends on the bias";
      });
}

template <typename T>
void TestType(const ConvGeometry& geometry, const char* type,
              const std::string& problem, std::mt19937* random) {
  TestForward<T>(geometry, type, problem, random);
  TestInputGradient<T>(geometry, type, problem, random);
  TestFilterGradient<T>(geometry, type, problem, random);
}

void TellProblem(int signal) {
  const ssize_t written = write(STDERR_FILENO, running, std::strlen(running));
  static_cast<void>(written);
  // Whatever raised it raises it again for the handler before.
  sigaction(signal, &handler_before[signal], nullptr);
}

void TellProblemOnSignals() {
  static const bool installed = [] {
    struct sigaction action = {};
    action.sa_handler = TellProblem;
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
      sigaction(signal, &action, &handler_before[signal]);
    }
    return true;
  }();
  static_cast<void>(installed);
}

ConvGeometry Geometry(const std::string& text) {
  ConvProblem problem;
  ConvGeometry geometry;
  std::string error;
  EXPECT_TRUE(ParseProblem(text, &problem)) << text;
  EXPECT_TRUE(MakeGeometry(problem, &geometry, &error))
      << text << ": " << error;
  return geometry;
}

void TestProblem(const std::string& text) {
  const ConvGeometry geometry = Geometry(text);
  std::seed_seq seed(text.begin(), text.end());
  std::mt19937 random(seed);
  TestType<float>(geometry, "float", text, &random);
  TestType<double>(geometry, "double", text, &random);
  TestType<Half>(geometry, "half", text, &random);
  TestType<BFloat16>(geometry, "bfloat16", text, &random);
  TestType<int32_t>(geometry, "int32", text, &random);
}

// Whether `text` is a problem of about `work` multiplications or fewer; makes
// its geometry.
bool IsWithin(int64_t work, const std::string& text, ConvGeometry* geometry) {
  ConvProblem problem;
  std::string error;
  EXPECT_TRUE(ParseProblem(text, &problem)) << text;
  return MakeGeometry(problem, geometry, &error) &&
         geometry->output_size() * geometry->filter_taps() *
                 geometry->input_channels_per_group() <=
             work;
}

// A random problem that Winograd's algorithm computes forward or backward, of
// about `work` multiplications or fewer.
std::string RandomWinogradProblem(int64_t work, std::mt19937* random) {
  const auto below = [random](int limit) {
    return static_cast<int>((*random)() % limit);
  };
  for (;;) {
    std::ostringstream text;
    const int groups = 1 + below(5);
    const int depth = 12 + below(4) * 4 + below(2) * below(40);
    const int width = below(2) == 0 ? depth : 12 + below(58);
    text << "g" << groups << "mb" << 1 + below(3) << "ic" << groups * depth
         << "oc" << groups * width << "ih" << 1 + below(24) << "iw"
         << 1 + below(70) << "kh3ph" << below(4) << "qh" << below(4) << "pw"
         << below(7) << "qw" << below(7);
    if (below(4) == 0) {
      const int planes = 1 + below(3);
      text << "id" << planes + below(3) << "kd" << planes << "sd"
           << 1 + below(2) << "pd" << below(2);
    }
    if (below(3) == 0) text << "_cf";
    ConvGeometry geometry;
    if (IsWithin(work, text.str(), &geometry) &&
        (UseWinograd(geometry, false) || UseWinograd(geometry, true))) {
      return text.str();
    }
  }
}

// A random problem of about `work` multiplications or fewer.
std::string RandomProblem(int64_t work, std::mt19937* random) {
  const auto pick = [random](std::initializer_list<int> values) {
    return values.begin()[(*random)() % values.size()];
  };
  const auto below = [random](int limit) {
    return static_cast<int>((*random)() % limit);
  };
  for (;;) {
    std::ostringstream text;
    const int groups = pick({1, 2, 3, 4, 5, 7, 8, 16, 17, 24, 32, 40, 64});
    const int depth = pick({1, 1, 2, 3, 4, 4, 5, 8, 9, 16, 24, 33});
    const int width = pick({1, 1, 2, 3, 4, 4, 5, 8, 9, 16, 24, 33});
    text << "g" << groups << "mb" << pick({0, 1, 1, 2, 3}) << "ic"
         << groups * depth << "oc" << groups * width;
    const int rank = pick({1, 2, 2, 2, 2, 3});
    const bool same = below(3) == 0;
    for (const char dim : {'d', 'h', 'w'}) {
      if ((dim == 'd' && rank < 3) || (dim == 'h' && rank < 2)) continue;
      const int filter = pick({1, 2, 3, 3, 3, 5, 7});
      text << "i" << dim << below(dim == 'w' ? 40 : 12) << "k" << dim << filter
           << "s" << dim << pick({1, 1, 1, 2, 3}) << "d" << dim
           << pick({1, 1, 1, 2, 3});
      if (!same) {
        // At times there is more padding than anything else.
        const int limit = below(4) == 0 ? 40 : filter + 2;
        text << "p" << dim << below(limit) << "q" << dim << below(limit);
      }
    }
    if (same) text << "_same";
    if (below(3) == 0) text << "_cf";
    ConvGeometry geometry;
    if (IsWithin(work, text.str(), &geometry)) return text.str();
  }
}

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoll(value);
}

TEST(GroupedConvTest, RandomProblems) {
  TellProblemOnSignals();
  if (const char* const problem = std::getenv("GROUPED_CONV_PROBLEM")) {
    TestProblem(problem);
    return;
  }
  const int64_t seed = FromEnvironment("GROUPED_CONV_SEED", 1);
  const int64_t cases = FromEnvironment("GROUPED_CONV_CASES", 100);
  std::mt19937 random(static_cast<unsigned>(seed));
  for (int64_t i = 0; i < cases; ++i) {
    const std::string problem = i % 32 == 31
                                    ? RandomWinogradProblem(2000000, &random)
                                    : RandomProblem(200000, &random);
    TestProblem(problem);
  }
}

const char* const kChosenProblems[] = {
    // Empty input or filter: zeros, then the epilogue.
    "mb2ic0oc5ih4", "g4ic4oc8ih0ph1", "mb2ic0oc5ih4_cf",
    // Nothing to sum, over many taps.
    "ic0oc2ih1kh1iw1kw4194304dw2pw4194304",
    "ic2oc0ih1kh1iw1kw4194304dw2pw4194304",
    // Nothing to write at all.
    "mb0ic4oc4ih5kh3", "g2ic4oc0ih5", "ih2kh3",
    // Windows that lie in the padding alone.
    "g2ic4oc4ih2kh1ph5", "g2ic4oc4ih3kh2dh9ph9",
    // Strides that skip inputs, whose gradient is then zero.
    "g3ic6oc9ih11kh1sh4", "g3ic6oc9ih11kh2sh5dh3ph1",
    // One layer of each class of channels per group.
    "g32mb2ic32oc32ih12kh3ph1", "g32mb1ic64oc128ih9kh3ph1",
    "g32mb2ic128oc128ih10kh3ph1", "g16ic128oc128ih9kh3ph1sh2",
    "g3mb2ic240oc240ih5", "g4ic192oc192ih1iw40kh1kw16pw8",
    // What is read where it lies: strided, padded above and below alone, of
    // the last groups.
    "g2mb2ic64oc64ih9sh2", "g2mb2ic64oc32ih9kh3kw1ph1pw0",
    "g3mb2ic96oc48ih4iw5kh2kw1",
    // The same, with the filters of all groups in the first cache and
    // vectors that are stored in part.
    "g3mb2ic60oc60ih5", "g5mb2ic45oc45ih3",
    // One channel a group, whose taps are read where they lie: padded, by
    // more than the filter has, strided, dilated, too wide for it.
    "g32mb2ic32oc32ih9iw40kh3ph1", "g16mb2ic16oc32ih3iw60kh3kw5sw2pw9qw2",
    "g48ic48oc96ih5iw70kh3dh2ph2", "g16ic16oc16ih4iw200kh1kw9dw3pw12",
    "g64ic64oc64id3ih4iw50kd2kh2kw3pw1", "g32ic32oc32ih3iw7kh3kw3ph1",
    "g16ic16oc16ih20iw60kh18kw3ph9pw1", "g16ic16oc16ih1iw9000kh1kw3pw1",
    // Copied, several rows at once: of two images, with more taps than are
    // held in registers, strided, dilated, one above the other, two
    // channels of each.
    "g48mb2ic48oc48ih9iw15kh7ph3", "g32ic32oc32ih6iw40kh7kw17ph3pw8",
    "g32mb2ic32oc32ih11kh7sh2ph3", "g32ic32oc32ih12kh7dh2ph6",
    "g16mb2ic16oc16id4ih6kd3kh3pd1ph1", "g19mb2ic19oc38ih7kh7ph3",
    "g8mb3ic8oc16ih5iw31kh6kw5ph2pw2", "g16ic16oc16ih3iw9kh90ph45",
    // Pairs of channels: of one, two and several vectors, so that one or
    // several units are summed at once; with and without a rest of a row's
    // depth; in chunks; of single positions; dilated, strided; 1x1.
    "g7mb2ic112oc112ih5kh3ph1", "g3mb2ic36oc78ih6kh3ph1",
    "g2ic128oc144ih4kh3ph1", "g5mb2ic60oc50ih7iw17kh2kw3ph1pw1",
    "g2ic48oc80ih9kh3dh2ph2", "g3ic48oc36ih11kh3sh2ph1", "g4mb2ic48oc56ih6",
    "g2ic64oc64ih1iw70kh1kw33pw16", "g2ic44oc20id3ih4kd2kh2_same",
    "g2mb2ic32oc32ih3iw28kh3ph1", "g3ic48oc96ih2iw27kh3ph1",
    "g2ic40oc32ih1iw51", "ic1400oc40ih3kh3ph1",
    "g2mb2ic24oc24ih20iw1kh3kw1ph1pw0",
    // Of several groups a vector: whose pairs are one, a vector or more, or do
    // not fill one; of which the last block has fewer; of other numbers of
    // channels than the output's; dilated, strided; 1x1, 3-D.
    "g21mb2ic42oc42ih6kh3ph1", "g13mb2ic52oc52ih7kh3ph1",
    "g5mb2ic40oc40ih9kh3ph1", "g7ic42oc42ih5kh3ph1", "g6mb2ic48oc96ih6kh3ph1",
    "g6mb2ic96oc24ih5kh3ph1", "g12ic48oc24ih6kh3dh2ph2",
    "g9mb2ic36oc72ih11kh3sh2ph1", "g8mb2ic32oc32ih9",
    "g10mb2ic40oc40id3ih4kd2kh2_same",
    // Of every second or third pixel, dilated too, and a row's taps in chunks.
    "g2mb2ic32oc48ih9iw41kh3sw3ph1pw2", "g2ic40oc24ih12iw30kh3dh2sw2dw3ph2pw4",
    "ic64oc48ih1iw9kh1kw90pw45", "mb2ic64oc48ih1iw20kh1kw90sw2pw45",
    // Of neighbouring groups, as one: of as many channels, of odd numbers, of
    // others than the output's; dilated, strided; 1x1, 3-D; whose filter would
    // be too large; of which no number divides the groups.
    "g8mb3ic32oc32ih12kh3ph1", "g4mb2ic32oc32ih11kh3ph1",
    "g6mb2ic18oc18ih7kh3ph1", "g5mb2ic35oc35ih6kh3",
    "g4ic60oc28ih5iw9kh1kw3pw1", "g4ic20oc12ih6iw7kh3ph1",
    "g6mb2ic18oc66ih5kh3ph1", "g4ic24oc24ih9kh3dh2ph2",
    "g6mb2ic36oc36ih13kh3sh2ph1", "g6mb2ic30oc18ih9",
    "g4mb2ic20oc20id3ih4kd2kh2_same", "g2mb7ic6oc400ih1iw4kh1kw220pw110",
    "g7mb2ic42oc42ih6kh3ph1", "g2ic34oc30ih6kh3ph1",
    // Of which no tap finds a pixel.
    "g16ic16oc16ih1iw1kh1kw1sw2pw1qw30", "g16ic16oc16ih4iw0kh1kw1pw8",
    // Many taps, dilated or not.
    "g2ic2oc2ih1iw600kh1kw150dw2_same", "g2ic2oc2ih4iw256kh48kw64ph24pw32",
    "g16ic16oc16ih1iw600kh1kw33pw16", "g2ic2oc2ih4iw256kh80kw32ph40pw16",
    // Pixels that make other rows, of one image or of all.
    "g3mb4ic24oc48ih7", "g2mb3ic8oc8ih4iw7_cf", "g5mb7ic40oc20id2ih4iw3",
    // Filter gradients whose sums exceed the tensors.
    "g2ic128oc64ih2", "ic130oc40ih3kh3ph1",
    // Filters beyond the first cache, for rows of few positions.
    "g2ic128oc128ih7kh3ph1", "ic72oc200ih5kh3ph1",
    // Two vectors for a block of groups, some of whose groups are missing.
    "g6mb2ic48oc48ih7kh3ph1", "g3mb2ic48oc48ih6kh3ph1",
    // What does not fit scratch memory whole: channels, taps of a row, rows
    // of the filter, the image's width, the window's.
    "mb2ic20000oc5ih1iw2", "mb2ic3oc20000ih1iw9kh1kw3sw7",
    "mb2ic3oc20000ih1iw20kh1kw3sw7pw3", "mb2ic3oc20000ih1iw20kh1kw5sw3pw4",
    "ic4oc4ih1iw4110kh1kw4100", "g2ic4oc4ih62kh60", "ic64oc3ih2iw5000kw3",
    "g20ic40oc20ih3iw5000kw2_cf", "ic2oc2ih1iw200000kh1kw2dw190000",
    // Strides beyond the window and the input.
    "mb2ic3oc5ih9kh3sh100sw4ph2", "g16ic32oc32ih4iw30kh1sw30"};

// Each is a part of them, for a shard of its own.
void TestChosenProblems(int part) {
  constexpr int kParts = 8;
  TellProblemOnSignals();
  int i = 0;
  for (const char* problem : kChosenProblems) {
    if (i++ % kParts != part) continue;
    TestProblem(problem);
  }
}

TEST(GroupedConvTest, ChosenProblems0) { TestChosenProblems(0); }
TEST(GroupedConvTest, ChosenProblems1) { TestChosenProblems(1); }
TEST(GroupedConvTest, ChosenProblems2) { TestChosenProblems(2); }
TEST(GroupedConvTest, ChosenProblems3) { TestChosenProblems(3); }
TEST(GroupedConvTest, ChosenProblems4) { TestChosenProblems(4); }
TEST(GroupedConvTest, ChosenProblems5) { TestChosenProblems(5); }
TEST(GroupedConvTest, ChosenProblems6) { TestChosenProblems(6); }
TEST(GroupedConvTest, ChosenProblems7) { TestChosenProblems(7); }

// Problems that Winograd's algorithm computes both forward and backward.
const char* const kWinogradProblems[] = {
    // Of even and of odd sizes, with half a tile at the end of a row, below the
    // last one, or both.
    "g2mb2ic64oc64ih12kh3ph1", "g2mb3ic64oc64ih11iw12kh3ph1",
    "mb2ic32oc32ih12iw13kh3ph1", "g2mb2ic64oc64ih11kh3ph1",
    // Without padding, with more than a tile of it, or less behind than before.
    "mb3ic40oc40ih12kh3", "mb2ic48oc48ih11iw9kh3ph5",
    "mb2ic40oc40ih13kh3ph2qh0pw0qw3",
    // Vectors that channels do not fill, of x, of sums or of both.
    "mb3ic33oc48ih13iw16kh3ph1", "mb3ic48oc33ih13iw16kh3ph1",
    "mb3ic47oc35ih13iw16kh3ph1", "g2mb2ic140oc140ih10kh3ph1",
    // Several groups in a vector, all of which are there or not, whose channels
    // fill it or not.
    "g4mb2ic96oc96ih14kh3ph1", "g5mb2ic120oc120ih14kh3ph1",
    "g4mb2ic80oc160ih14kh3ph1", "g4mb2ic112oc96ih14kh3ph1",
    "g4mb3ic80oc80ih16kh3ph1",
    // One vector a group.
    "g3mb2ic48oc48ih32kh3ph1",
    // More rows of x and of tiles than are there together, and wide ones.
    "mb5ic64oc64ih5iw6kh3ph1", "mb1ic32oc32ih4iw150kh3ph1",
    "mb1ic32oc32ih100iw4kh3ph1_cf",
    // Channels in parts; as many as can be.
    "ic60oc240ih12kh3ph1", "ic256oc40ih12kh3ph1",
    // Channels first.
    "g2mb2ic64oc64ih12kh3ph1_cf", "g3mb2ic111oc117ih12kh3ph1_cf",
    // Three dimensions: padded; strided and dilated in depth.
    "mb2ic32oc32id4ih10kd3kh3pd1ph1", "mb2ic32oc48id7ih10kd2kh3sd2dd2pd1ph1",
    "ic32oc32id3ih20kd1kh3ph1_cf"};

// Runs f with float's forward and input gradient of a problem, random x and
// filter, and which of both it is.
template <typename F>
void ForBothPasses(const std::string& text, const F& f) {
  const ConvGeometry g = Geometry(text);
  std::mt19937 random;
  std::uniform_real_distribution<float> numbers(-1, 1);
  const auto fill = [&](GuardedArray<float>* array) {
    for (int64_t i = 0; i < array->size(); ++i) (*array)[i] = numbers(random);
  };
  for (const bool backward : {false, true}) {
    GuardedArray<float> x(backward ? g.output_size() : g.input_size());
    GuardedArray<float> filter(g.filter_size());
    GuardedArray<float> sums(backward ? g.input_size() : g.output_size());
    fill(&x);
    fill(&filter);
    f(g, backward, &x, &filter, &sums);
  }
}

void Correlate(const ConvGeometry& g, bool backward, GuardedArray<float>* x,
               GuardedArray<float>* filter, GuardedArray<float>* sums) {
  BackwardRunner runner;
  const Result result = backward ? InputGradient(g, filter->data(), x->data(),
                                                 sums->data(), &runner)
                                 : Forward<float>(g, x->data(), filter->data(),
                                                  {}, sums->data(), &runner);
  EXPECT_TRUE(result == Result::kOk);
}

Expected ReferenceOf(const ConvGeometry& g, bool backward,
                     GuardedArray<float>& x, GuardedArray<float>& filter) {
  return backward
             ? Reference(g, Pass::kInputGradient, filter, x, g.input_size())
             : Reference(g, Pass::kForward, x, filter, g.output_size());
}

Expected WinogradReferenceOf(const ConvGeometry& g, bool backward,
                             GuardedArray<float>& x,
                             GuardedArray<float>& filter) {
  Expected expected = ReferenceOf(g, backward, x, filter);
  ExpectWinograd(g, backward ? Pass::kInputGradient : Pass::kForward, x, filter,
                 &expected);
  return expected;
}

void UseDirect() { setenv("TF_GROUPED_CONV_ALGORITHM", "direct", 1); }
void UseBest() { unsetenv("TF_GROUPED_CONV_ALGORITHM"); }

// Filters of many planes of few channels, each of which fills a vector in
// scratch: such would be more than fits.
TEST(WinogradTest, LeavesManyPlanesOfFewChannels) {
  for (const char* text : {"g2ic2oc32id4ih28kd256kh3pd128qd127ph1",
                           "g2ic2oc32id1ih28kd190kh3pd95qd94ph1_cf",
                           "g2ic24oc24id4ih28kd21kh3pd10qd10ph1"}) {
    EXPECT_FALSE(UseWinograd(Geometry(text), /*backward=*/false)) << text;
  }
  EXPECT_FALSE(UseWinograd(Geometry("g2ic32oc2id4ih28kd256kh3pd128qd127ph1"),
                           /*backward=*/true));
}

// With epilogues, by one thread and by three, and with guard pages.
TEST(WinogradTest, ChosenProblems) {
  TellProblemOnSignals();
  for (const std::string text : kWinogradProblems) {
    ForBothPasses(text, [&](const ConvGeometry& g, bool backward,
                            GuardedArray<float>* x, GuardedArray<float>* filter,
                            GuardedArray<float>* sums) {
      ASSERT_TRUE(UseWinograd(g, backward)) << text;
      const Expected expected = WinogradReferenceOf(g, backward, *x, *filter);
      GuardedArray<float> again(sums->size(), /*at_start=*/true);
      GuardedArray<float> scale(g.output_channels), bias(g.output_channels);
      std::mt19937 random;
      FillRandom(&scale, &random);
      FillRandom(&bias, &random);
      const auto test = [&](const std::string& what) {
        SerialRunner serial;
        Correlate(g, backward, x, filter, sums);
        ExpectNear(*sums, expected, what);
        if (backward) {
          EXPECT_TRUE(InputGradient(g, filter->data(), x->data(), again.data(),
                                    &serial) == Result::kOk);
          EXPECT_TRUE(again == *sums) << what << " depends on the threads";
          return;
        }
        // From registers, and through scratch.
        for (const Activation activation :
             {Activation::kNone, Activation::kRelu, Activation::kTanh}) {
          Epilogue<float> epilogue;
          if (activation != Activation::kNone) {
            epilogue = {scale.data(), bias.data(), activation};
          }
          EXPECT_TRUE(Forward(g, x->data(), filter->data(), epilogue,
                              again.data(), &serial) == Result::kOk);
          if (activation == Activation::kNone) {
            EXPECT_TRUE(again == *sums) << what << " depends on the threads";
            continue;
          }
          Expected finished = expected;
          for (int64_t i = 0; i < again.size(); ++i) {
            const int64_t channel = OutputChannel(g, i);
            finished.sum[i] =
                Activate(activation, 0,
                         expected.sum[i] * scale[channel] + bias[channel]);
            finished.magnitude[i] += 1;
          }
          ExpectNear(again, finished, what + ", fused");
        }
      };
      ForEachInstructionSet(text + (backward ? " backward" : ""), test);
    });
  }
}

// The errors of both algorithms, of numbers with all their bits, are bounded as
// derived, and Winograd's are no larger in the mean.
TEST(WinogradTest, ErrorsAreBounded) {
  for (const char* text : {"mb2ic32oc32ih14kh3ph1", "mb2ic70oc70ih13kh3ph1",
                           "ic256oc40ih12kh3ph1"}) {
    ForBothPasses(text, [&](const ConvGeometry& g, bool backward,
                            GuardedArray<float>* x, GuardedArray<float>* filter,
                            GuardedArray<float>* sums) {
      Expected direct = ReferenceOf(g, backward, *x, *filter);
      direct.roundings =
          g.filter_taps() * (backward ? g.output_channels_per_group()
                                      : g.input_channels_per_group());
      const Expected best = WinogradReferenceOf(g, backward, *x, *filter);
      ForEachInstructionSet([&] {
        double square[2] = {};
        for (const bool winograd : {false, true}) {
          winograd ? UseBest() : UseDirect();
          ASSERT_EQ(UseWinograd(g, backward), winograd) << text;
          const Expected& expected = winograd ? best : direct;
          Correlate(g, backward, x, filter, sums);
          double worst = 0, most = 0, largest = 0;
          for (int64_t i = 0; i < sums->size(); ++i) {
            const double error = std::fabs((*sums)[i] - expected.sum[i]);
            square[winograd] += error * error;
            worst = std::max(worst,
                             error / (expected.roundings * std::ldexp(1, -24) *
                                      expected.magnitude[i]));
            most = std::max(most, error);
            largest = std::max(largest, std::fabs(expected.sum[i]));
          }
          std::printf("%s%s, %s, %s: error %.2g of %.3g, %.3f of its bound\n",
                      text, backward ? " backward" : "",
                      std::getenv("TF_GROUPED_CONV_ISA"),
                      winograd ? "Winograd" : "direct", most, largest, worst);
          EXPECT_LE(worst, 1.0) << text;
        }
        EXPECT_LE(square[1], square[0]) << text;
      });
    });
  }
}

// The direct algorithm's error has nothing to do with what is beside an
// output's pixels, however large.
TEST(WinogradTest, SwitchesOff) {
  ForBothPasses(
      "mb2ic32oc32ih14kh3ph1",
      [&](const ConvGeometry& g, bool backward, GuardedArray<float>* x,
          GuardedArray<float>* filter, GuardedArray<float>* sums) {
        (*x)[x->size() / 2] = 1e9;
        const Expected expected = ReferenceOf(g, backward, *x, *filter);
        GuardedArray<float> others(sums->size());
        UseDirect();
        Correlate(g, backward, x, filter, sums);
        ExpectNear(*sums, expected, "direct");
        UseBest();
        Correlate(g, backward, x, filter, &others);
        EXPECT_FALSE(others == *sums);
      });
}

// What an infinite number, a NaN, or sums that overflow on the way would spoil
// is what the direct algorithm computes, bit for bit.
TEST(WinogradTest, NothingSpreads) {
  const float kInfinity = std::numeric_limits<float>::infinity();
  const float kNaN = std::numeric_limits<float>::quiet_NaN();
  ForEachInstructionSet([&] {
    for (const char* text :
         {"mb2ic32oc32ih14kh3ph1", "mb2ic40oc36ih13kh3ph1_cf"}) {
      for (const float special : {kInfinity, -kInfinity, kNaN, 3e38f}) {
        ForBothPasses(
            text,
            [&](const ConvGeometry& g, bool backward, GuardedArray<float>* x,
                GuardedArray<float>* filter, GuardedArray<float>* sums) {
              for (int64_t i = 0; i < filter->size(); ++i) {
                (*filter)[i] *= 1e-3f;
              }
              if (special == 3e38f) {
                for (int64_t i = 0; i < x->size(); ++i) (*x)[i] *= special;
              } else {
                (*x)[x->size() / 3] = special;
              }
              GuardedArray<float> direct(sums->size());
              ASSERT_TRUE(UseWinograd(g, backward)) << text;
              Correlate(g, backward, x, filter, sums);
              UseDirect();
              Correlate(g, backward, x, filter, &direct);
              UseBest();
              EXPECT_TRUE(*sums == direct) << text << " with " << special;
              int64_t finite = 0;
              for (int64_t i = 0; i < sums->size(); ++i) {
                finite += std::isfinite((*sums)[i]);
              }
              EXPECT_GT(finite, sums->size() / 2);
            });
      }
    }
  });
}

// Runs a pass with an infinite number among those at `source`, as `run` does,
// and expects of the result that it is finite where the reference is.
template <typename T, typename Indices, typename Run>
void TestInfinity(const ConvGeometry& g, GuardedArray<T>* source,
                  GuardedArray<T>* result, int64_t infinite,
                  const std::string& what, const Indices& indices,
                  const Run& run) {
  const T before = (*source)[infinite];
  (*source)[infinite] = Type<T>::Make(std::numeric_limits<double>::infinity());
  std::vector<bool> reached(result->size());
  ForEachProduct(g, [&](int64_t in, int64_t tap, int64_t out) {
    const std::pair<int64_t, int64_t> from_to = indices(in, tap, out);
    if (from_to.first == infinite) reached[from_to.second] = true;
  });
  EXPECT_TRUE(run() == Result::kOk);
  (*source)[infinite] = before;
  for (int64_t i = 0; i < result->size(); ++i) {
    const bool is_finite = std::isfinite(Type<T>::Read((*result)[i]));
    if (is_finite == reached[i]) {
      EXPECT_NE(is_finite, reached[i])
          << what << ", x[" << infinite << "] infinite: element " << i;
      return;
    }
  }
}

template <typename T>
void TestInfinities(const std::string& text) {
  ConvProblem problem;
  ConvGeometry g;
  std::string error;
  ASSERT_TRUE(ParseProblem(text, &problem));
  ASSERT_TRUE(MakeGeometry(problem, &g, &error)) << error;
  std::mt19937 random;
  GuardedArray<T> input(g.input_size());
  GuardedArray<T> filter(g.filter_size());
  GuardedArray<T> output(g.output_size());
  using Indices = std::pair<int64_t, int64_t>;
  SerialRunner runner;
  BackwardRunner threads;
  for (int i = 0; i < 8; ++i) {
    FillRandom(&filter, &random);
    for (int64_t j = 0; j < filter.size(); ++j) {
      if (Type<T>::Read(filter[j]) == 0) filter[j] = Type<T>::Make(1);
    }
    FillRandom(&input, &random);
    TestInfinity(
        g, &input, &output, random() % input.size(), "forward of " + text,
        [](int64_t in, int64_t, int64_t out) { return Indices(in, out); },
        [&] {
          return Forward(g, input.data(), filter.data(), Epilogue<T>(),
                         output.data(), &runner);
        });
    // Fused, and by several threads.
    TestInfinity(
        g, &input, &output, random() % input.size(), "fused " + text,
        [](int64_t in, int64_t, int64_t out) { return Indices(in, out); },
        [&] {
          Epilogue<T> epilogue;
          epilogue.bias = filter.data();  // As many numbers, at least.
          return Forward(g, input.data(), filter.data(), epilogue,
                         output.data(), &threads);
        });
    FillRandom(&output, &random);
    TestInfinity(
        g, &output, &input, random() % output.size(),
        "input gradient of " + text,
        [](int64_t in, int64_t, int64_t out) { return Indices(out, in); },
        [&] {
          return InputGradient(g, filter.data(), output.data(), input.data(),
                               &runner);
        });
    FillRandom(&input, &random);
    for (int64_t j = 0; j < output.size(); ++j) {
      output[j] = Type<T>::Make(1);
    }
    TestInfinity(
        g, &input, &filter, random() % input.size(),
        "filter gradient of " + text,
        [](int64_t in, int64_t tap, int64_t) { return Indices(in, tap); },
        [&] {
          return FilterGradient<T>(g, input.data(), output.data(),
                                   filter.data(), nullptr, &runner);
        });
  }
}

// An infinite x that is not among an element's products has no part in it, not
// even times zero. (An infinite w may: padding is zeros where x is copied.)
TEST(GroupedConvTest, InfinitiesStayWhereTheyBelong) {
  ForEachInstructionSet([] {
    for (const char* problem :
         {"g2ic24oc24ih7kh3ph1", "g3ic36oc39ih5iw9kh3ph1", "g2ic20oc40ih4iw6",
          "g16ic16oc16ih9kh3ph1", "g4ic16oc16ih5kh3ph1sh2",
          "g6ic18oc18ih7kh3ph1", "g4mb2ic32oc32ih11kh3ph1",
          "g4ic20oc12ih6iw7kh3ph1", "g2ic24oc24ih5iw9kh3sw2ph1"}) {
      TestInfinities<float>(problem);
      TestInfinities<Half>(problem);
      TestInfinities<BFloat16>(problem);
    }
  });
}

// What is fetched ahead ends where the tensor does, or this would take days.
TEST(GroupedConvTest, HugeStrideOfLargeTensor) {
  for (const char* text :
       {"g32mb512ic128oc128ih1kh1sh2147483647iw64kw9sw1pw4",
        "g16mb8192ic16oc16ih1kh1sh2147483647iw64kw3sw1pw1"}) {
    ConvProblem problem;
    ConvGeometry g;
    std::string error;
    ASSERT_TRUE(ParseProblem(text, &problem));
    ASSERT_TRUE(MakeGeometry(problem, &g, &error)) << error;
    const int64_t taps = g.filter_taps();
    const int64_t channels = g.input_channels_per_group();
    const std::vector<float> input(g.input_size(), 1),
        filter(g.filter_size(), 1);
    std::vector<float> output(g.output_size()), sums(g.filter_size());
    SerialRunner runner;
    EXPECT_TRUE(Forward<float>(g, input.data(), filter.data(), {},
                               output.data(), &runner) == Result::kOk);
    EXPECT_EQ(output[32 * g.output_channels], taps * channels);
    EXPECT_TRUE(FilterGradient<float>(g, input.data(), input.data(),
                                      sums.data(), nullptr,
                                      &runner) == Result::kOk);
    // All images and positions, of which each input is 1.
    EXPECT_EQ(sums[taps / 2 * channels * g.output_channels], g.batch * 64);
  }
}

// Checks that images together give what each of them gives, if results start so
// many elements after a page.
template <typename T>
void TestLargeSums(const std::string& image, int64_t images,
                   int64_t offset = 0) {
  const ConvGeometry one = Geometry(image);
  const ConvGeometry all = Geometry("mb" + std::to_string(images) + image);
  std::mt19937 random(1);
  GuardedArray<T> input(all.input_size()), filter(all.filter_size()),
      output(all.output_size()), bias(all.output_channels);
  for (GuardedArray<T>* array : {&input, &filter, &output, &bias}) {
    FillRandom(array, &random);
  }
  Epilogue<T> epilogue;
  epilogue.bias = bias.data();
  epilogue.activation = Activation::kRelu;
  ForEachInstructionSet("large sums of " + image, [&](const std::string& what) {
    BackwardRunner threads;
    {
      GuardedArray<T> together(offset + all.output_size(), true);
      GuardedArray<T> alone(offset + all.output_size(), true);
      Forward(all, input.data(), filter.data(), epilogue,
              together.data() + offset, &threads);
      for (int64_t i = 0; i < images; ++i) {
        Forward(one, input.data() + i * one.input_size(), filter.data(),
                epilogue, alone.data() + offset + i * one.output_size(),
                &threads);
      }
      EXPECT_TRUE(together == alone) << what << ", forward";
    }
    GuardedArray<T> together(offset + all.input_size(), true);
    GuardedArray<T> alone(offset + all.input_size(), true);
    InputGradient(all, filter.data(), output.data(), together.data() + offset,
                  &threads);
    for (int64_t i = 0; i < images; ++i) {
      InputGradient(one, filter.data(), output.data() + i * one.output_size(),
                    alone.data() + offset + i * one.input_size(), &threads);
    }
    EXPECT_TRUE(together == alone) << what << ", input gradient";
  });
}

// Sums of more than 4 MiB go past the caches, from registers or in pieces that
// start and end within lines, or have their lines fetched.
TEST(GroupedConvTest, LargeSumsAreThoseOfSmallTensors) {
  UseDirect();
  TellProblemOnSignals();
  for (const char* image : {
           // A channel a group, where x lies and copied; dilated; two of the
           // output's or the input's; whose last block has fewer groups; 3-D.
           "g48ic48oc48ih34iw90kh3ph1",
           "g48ic48oc48ih34iw90kh7ph3",
           "g48ic48oc48ih34iw90kh3dh2ph2",
           "g32ic32oc64ih34iw90kh3ph1",
           "g32ic64oc32ih34iw126kh3ph1",
           "g24ic24oc24ih34iw180kh3ph1",
           "g32ic32oc32id4ih34iw32kd3kh3pd1ph1",
           // Of a vector of several groups, and of two vectors of four and of
           // two groups.
           "g16ic64oc64ih34iw90kh3ph1",
           "g8ic64oc64ih34iw90kh3ph1",
           "g4ic64oc64ih34iw90kh1kw3pw1",
           // Of one group: two and three vectors; half a vector at the end.
           "g2ic64oc64ih34iw90kh1kw3pw1",
           "g2ic32oc96ih34iw42kh3ph1",
           "g4ic32oc96ih34iw90kh1kw3pw1",
           // 1x1, of whole vectors and not.
           "g4ic48oc128ih34iw40",
           "g4ic32oc96ih34iw90",
           // Strided, whose gradient's positions are apart.
           "g2ic64oc64ih67iw66kh3sh2ph1",
           // Several sets of groups, and of a group's channels, which write
           // parts of pixels.
           "g8ic512oc512ih12iw34kh3ph1",
           "ic4oc4800ih5iw7kh1kw3pw1",
           // Pixels that are no whole cache lines; through scratch.
           "g17ic68oc68ih34iw90kh3ph1",
           "g10ic50oc30ih34iw140kh3ph1",
       }) {
    TestLargeSums<float>(image, 8);
  }
  // Where no vector is a whole cache line.
  for (const char* image :
       {"g48ic48oc48ih34iw90kh3ph1", "g8ic64oc64ih34iw90kh3ph1",
        "g2ic32oc96ih34iw42kh3ph1", "g4ic48oc128ih34iw40"}) {
    TestLargeSums<float>(image, 8, /*offset=*/4);
  }
  // Depthwise, where x lies and copied; of pairs, whose tiles have a pixel or
  // not, of whole vectors and not.
  for (const char* image :
       {"g48ic48oc48ih34iw130kh3ph1", "g48ic48oc48ih34iw130kh5ph2",
        "g4ic64oc64ih34iw90kh3ph1", "g4ic64oc64ih34iw90",
        "g4ic32oc96ih34iw60"}) {
    TestLargeSums<BFloat16>(image, 12, /*offset=*/2);
  }
  UseBest();
}

TEST(MergedGroupsTest, MergesWhatIsFasterSo) {
  const std::pair<const char*, int64_t> kProblems[] = {
      {"g32mb8ic128oc128ih28kh3ph1", 4},
      {"g32mb8ic256oc256ih28kh3ph1", 2},
      {"g16mb8ic240oc240ih28kh3ph1", 2},  // 15 channels.
      // Enough channels, or too few; too few positions; the groups have no
      // divisor; a filter that would be too large.
      {"g32mb8ic512oc512ih14kh3ph1", 1},
      {"g32mb8ic64oc64ih28kh3ph1", 1},
      {"g32mb1ic128oc128ih7kh3ph1", 1},
      {"g17mb8ic136oc136ih28kh3ph1", 1},
      {"g2mb7ic6oc400ih1iw4kh1kw220pw110", 1}};
  for (const auto& problem : kProblems) {
    EXPECT_EQ(MergedGroups(Geometry(problem.first), /*backward=*/false),
              problem.second)
        << problem.first;
  }
}

TEST(GroupedConvTest, Int32WrapsAround) {
  ConvProblem problem;
  ConvGeometry g;
  std::string error;
  ASSERT_TRUE(ParseProblem("ic2", &problem));
  ASSERT_TRUE(MakeGeometry(problem, &g, &error)) << error;
  const int32_t input[] = {std::numeric_limits<int32_t>::max(), 1 << 30};
  const int32_t filter[] = {3, 4};
  int32_t output;
  SerialRunner runner;
  EXPECT_TRUE(Forward<int32_t>(g, input, filter, {}, &output, &runner) ==
              Result::kOk);
  EXPECT_EQ(output, std::numeric_limits<int32_t>::max() - 2);
}

// Multiplies every number of T by `factor` with a depthwise convolution.
template <typename T>
std::vector<T> MultiplyAll(T factor) {
  std::vector<T> all(65536);
  for (int i = 0; i < 65536; ++i) all[i].bits = static_cast<uint16_t>(i);
  const std::vector<T> filter(64, factor);
  ConvProblem problem;
  ConvGeometry g;
  std::string error;
  EXPECT_TRUE(ParseProblem("g64ic64oc64ih32", &problem));
  EXPECT_TRUE(MakeGeometry(problem, &g, &error)) << error;
  std::vector<T> output(65536);
  SerialRunner runner;
  EXPECT_TRUE(Forward<T>(g, all.data(), filter.data(), {}, output.data(),
                         &runner) == Result::kOk);
  return output;
}

template <typename T>
void TestEverySurvives() {
  const std::vector<T> output = MultiplyAll(Type<T>::Make(1));
  for (int i = 0; i < 65536; ++i) {
    const double value = Type<T>::Read(T{static_cast<uint16_t>(i)});
    if (value != value) {
      EXPECT_TRUE(std::isnan(Type<T>::Read(output[i]))) << i;
    } else {
      // As numbers: adding to zero makes -0 a +0.
      EXPECT_EQ(Type<T>::Read(output[i]), value) << i;
    }
  }
}

TEST(GroupedConvTest, EveryHalfSurvives) {
  ForEachInstructionSet(TestEverySurvives<Half>);
}

TEST(GroupedConvTest, EveryBFloat16Survives) {
  ForEachInstructionSet(TestEverySurvives<BFloat16>);
}

// `factor`, less than 1, must have bits that make products round, and
// `infinity` the bits of infinity.
template <typename T>
void TestRoundsToNearestEven(T factor, int infinity) {
  const std::vector<T> output = MultiplyAll(factor);
  for (int i = 0; i < infinity; ++i) {
    // The product of two such numbers is exact in a double, and the neighbours
    // of the result must not be nearer to it.
    const double exact =
        Type<T>::Read(T{static_cast<uint16_t>(i)}) * Type<T>::Read(factor);
    const int bits = output[i].bits;
    const double error =
        std::fabs(Type<T>::Read(T{static_cast<uint16_t>(bits)}) - exact);
    for (const int neighbour : {std::max(bits - 1, 0), bits + 1}) {
      const double other =
          std::fabs(Type<T>::Read(T{static_cast<uint16_t>(neighbour)}) - exact);
      EXPECT_LE(error, other) << i;
      if (neighbour != bits && error == other) {
        EXPECT_EQ(bits % 2, 0) << i;
      }
    }
  }
}

TEST(GroupedConvTest, HalfRoundsToNearestEven) {
  const Half third{0x3555};
  EXPECT_LT(std::fabs(Type<Half>::Read(third) - 1.0 / 3), 1e-4);
  ForEachInstructionSet([&] { TestRoundsToNearestEven(third, 0x7c00); });
}

TEST(GroupedConvTest, BFloat16RoundsToNearestEven) {
  const BFloat16 third{0x3eab};
  EXPECT_LT(std::fabs(Type<BFloat16>::Read(third) - 1.0 / 3), 1e-3);
  ForEachInstructionSet([&] { TestRoundsToNearestEven(third, 0x7f80); });
}

TEST(SharedTasksTest, RunEachOnce) {
  for (const int64_t num_threads : {1, 2, 3, 7}) {
    for (const int64_t count : {0, 1, 2, 5, 100}) {
      std::vector<std::atomic<int>> runs(count);
      std::mutex mutex;
      std::vector<std::thread> threads;
      SharedTasks<BlockingCounter>::Run(
          count, num_threads, [&](int64_t i) { ++runs[i]; },
          [&](std::function<void()> work) {
            std::lock_guard<std::mutex> lock(mutex);
            threads.emplace_back(std::move(work));
          });
      for (const std::atomic<int>& run : runs) EXPECT_EQ(run, 1);
      EXPECT_LT(static_cast<int64_t>(threads.size()), num_threads);
      for (std::thread& thread : threads) thread.join();
      for (const std::atomic<int>& run : runs) EXPECT_EQ(run, 1);
    }
  }
}

TEST(SharedTasksTest, NeedNoOtherThread) {
  std::vector<std::function<void()>> late;
  int runs = 0;
  SharedTasks<BlockingCounter>::Run(
      10, 4, [&](int64_t) { ++runs; },
      [&](std::function<void()> work) { late.push_back(std::move(work)); });
  EXPECT_EQ(runs, 10);
  EXPECT_FALSE(late.empty());
  for (const std::function<void()>& work : late) work();
  EXPECT_EQ(runs, 10);
}

}  // namespace
}  // namespace grouped_conv
