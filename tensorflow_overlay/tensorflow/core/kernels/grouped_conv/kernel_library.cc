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

#include "tensorflow/core/kernels/grouped_conv/kernel_library.h"

#include <functional>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/kernels.h"

namespace {

using grouped_conv::BFloat16;
using grouped_conv::ConvGeometry;
using grouped_conv::Half;
using grouped_conv::Result;
using grouped_conv::TaskRunnerInterface;

// The caller's runner, for the algorithms.
class CallersRunner : public grouped_conv::TaskRunner {
 public:
  explicit CallersRunner(const TaskRunnerInterface& runner) : runner_(runner) {}
  int num_threads() const override { return runner_.num_threads; }
  void Run(int64_t count, int64_t cycles_per_task,
           const std::function<void(int64_t)>& task) override {
    const auto call = [](void* argument, int64_t i) {
      (*static_cast<const std::function<void(int64_t)>*>(argument))(i);
    };
    runner_.run(runner_.runner, count, cycles_per_task, call,
                const_cast<void*>(static_cast<const void*>(&task)));
  }

 private:
  const TaskRunnerInterface& runner_;
};

// Calls Algorithm<T>::Run(arguments...) with the type's T.
template <template <typename> class Algorithm, typename... Arguments>
int32_t ForType(int32_t type, const Arguments&... arguments) {
  switch (type) {
    case grouped_conv::kFloat:
      return static_cast<int32_t>(Algorithm<float>::Run(arguments...));
    case grouped_conv::kDouble:
      return static_cast<int32_t>(Algorithm<double>::Run(arguments...));
    case grouped_conv::kInt32:
      return static_cast<int32_t>(Algorithm<int32_t>::Run(arguments...));
    case grouped_conv::kBFloat16:
      return static_cast<int32_t>(Algorithm<BFloat16>::Run(arguments...));
    default:
      return static_cast<int32_t>(Algorithm<Half>::Run(arguments...));
  }
}

template <typename T>
struct ForwardOf {
  static Result Run(const ConvGeometry& geometry, const void* input,
                    const void* filter, const void* epilogue, void* output,
                    CallersRunner* runner) {
    return grouped_conv::Forward<T>(
        geometry, static_cast<const T*>(input), static_cast<const T*>(filter),
        *static_cast<const grouped_conv::Epilogue<T>*>(epilogue),
        static_cast<T*>(output), runner);
  }
};

template <typename T>
struct InputGradientOf {
  static Result Run(const ConvGeometry& geometry, const void* filter,
                    const void* output_backprop, void* input_backprop,
                    CallersRunner* runner) {
    return grouped_conv::InputGradient<T>(
        geometry, static_cast<const T*>(filter),
        static_cast<const T*>(output_backprop), static_cast<T*>(input_backprop),
        runner);
  }
};

template <typename T>
struct FilterGradientOf {
  static Result Run(const ConvGeometry& geometry, const void* input,
                    const void* output_backprop, void* filter_backprop,
                    void* bias_backprop, CallersRunner* runner) {
    return grouped_conv::FilterGradient<T>(
        geometry, static_cast<const T*>(input),
        static_cast<const T*>(output_backprop),
        static_cast<T*>(filter_backprop), static_cast<T*>(bias_backprop),
        runner);
  }
};

}  // namespace

extern "C" {

int32_t GroupedConvForward(int32_t type, const ConvGeometry* geometry,
                           const void* input, const void* filter,
                           const void* epilogue, void* output,
                           const TaskRunnerInterface* runner) {
  CallersRunner tasks(*runner);
  return ForType<ForwardOf>(type, *geometry, input, filter, epilogue, output,
                            &tasks);
}

int32_t GroupedConvInputGradient(int32_t type, const ConvGeometry* geometry,
                                 const void* filter,
                                 const void* output_backprop,
                                 void* input_backprop,
                                 const TaskRunnerInterface* runner) {
  CallersRunner tasks(*runner);
  return ForType<InputGradientOf>(type, *geometry, filter, output_backprop,
                                  input_backprop, &tasks);
}

int32_t GroupedConvFilterGradient(int32_t type, const ConvGeometry* geometry,
                                  const void* input,
                                  const void* output_backprop,
                                  void* filter_backprop, void* bias_backprop,
                                  const TaskRunnerInterface* runner) {
  CallersRunner tasks(*runner);
  return ForType<FilterGradientOf>(type, *geometry, input, output_backprop,
                                   filter_backprop, bias_backprop, &tasks);
}

const char* GroupedConvInstructionSet() {
  return grouped_conv::InstructionSet();
}

}  // extern "C"
