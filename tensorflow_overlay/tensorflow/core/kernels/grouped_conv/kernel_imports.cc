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

// grouped_conv.h by the library that kernel_library.h describes.

#include <functional>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/kernel_library.h"

namespace grouped_conv {
namespace {

template <typename T>
struct TypeOf;
template <>
struct TypeOf<float> {
  static constexpr ElementType value = kFloat;
};
template <>
struct TypeOf<double> {
  static constexpr ElementType value = kDouble;
};
template <>
struct TypeOf<int32_t> {
  static constexpr ElementType value = kInt32;
};
template <>
struct TypeOf<BFloat16> {
  static constexpr ElementType value = kBFloat16;
};
template <>
struct TypeOf<Half> {
  static constexpr ElementType value = kHalf;
};

TaskRunnerInterface Interface(TaskRunner* runner) {
  TaskRunnerInterface interface;
  interface.runner = runner;
  interface.num_threads = runner->num_threads();
  interface.run = [](void* runner, int64_t count, int64_t cycles_per_task,
                     void (*task)(void*, int64_t), void* argument) {
    static_cast<TaskRunner*>(runner)->Run(
        count, cycles_per_task,
        [task, argument](int64_t i) { task(argument, i); });
  };
  return interface;
}

}  // namespace

template <typename T>
Result Forward(const ConvGeometry& geometry, const T* input, const T* filter,
               const Epilogue<T>& epilogue, T* output, TaskRunner* runner) {
  const TaskRunnerInterface tasks = Interface(runner);
  return static_cast<Result>(GroupedConvForward(
      TypeOf<T>::value, &geometry, input, filter, &epilogue, output, &tasks));
}

template <typename T>
Result InputGradient(const ConvGeometry& geometry, const T* filter,
                     const T* output_backprop, T* input_backprop,
                     TaskRunner* runner) {
  const TaskRunnerInterface tasks = Interface(runner);
  return static_cast<Result>(
      GroupedConvInputGradient(TypeOf<T>::value, &geometry, filter,
                               output_backprop, input_backprop, &tasks));
}

template <typename T>
Result FilterGradient(const ConvGeometry& geometry, const T* input,
                      const T* output_backprop, T* filter_backprop,
                      T* bias_backprop, TaskRunner* runner) {
  const TaskRunnerInterface tasks = Interface(runner);
  return static_cast<Result>(GroupedConvFilterGradient(
      TypeOf<T>::value, &geometry, input, output_backprop, filter_backprop,
      bias_backprop, &tasks));
}

#define INSTANTIATE(T)                                                        \
  template Result Forward(const ConvGeometry&, const T*, const T*,            \
                          const Epilogue<T>&, T*, TaskRunner*);               \
  template Result InputGradient(const ConvGeometry&, const T*, const T*, T*,  \
                                TaskRunner*);                                 \
  template Result FilterGradient(const ConvGeometry&, const T*, const T*, T*, \
                                 T*, TaskRunner*)
INSTANTIATE(float);
INSTANTIATE(double);
INSTANTIATE(Half);
INSTANTIATE(BFloat16);
INSTANTIATE(int32_t);
#undef INSTANTIATE

}  // namespace grouped_conv
