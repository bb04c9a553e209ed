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

#include "tensorflow/core/kernels/grouped_conv/grouped_conv_launch.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/kernels/grouped_conv/shared_tasks.h"
#include "tensorflow/core/lib/core/errors.h"
#include "tensorflow/core/lib/strings/str_util.h"
#include "tensorflow/core/platform/blocking_counter.h"
#include "tensorflow/core/util/padding.h"
#include "tensorflow/core/util/tensor_format.h"
#include "tensorflow/core/util/work_sharder.h"

namespace tensorflow {
namespace {

using grouped_conv::ConvGeometry;
using grouped_conv::ConvProblem;
using grouped_conv::Layout;
using grouped_conv::Result;

// Runs tasks on the threads of the device, until the step is cancelled.
class PoolTaskRunner : public grouped_conv::TaskRunner {
 public:
  explicit PoolTaskRunner(OpKernelContext* context)
      : workers_(*context->device()->tensorflow_cpu_worker_threads()),
        cancellation_(context->cancellation_manager()) {}

  int num_threads() const override {
    // The second may be 0.
    return std::max(
        1, std::min(workers_.num_threads, GetPerThreadMaxParallelism()));
  }

  void Run(int64_t count, int64_t cycles_per_task,
           const std::function<void(int64_t)>& task) override {
    // What a thread should have to do at least, as Shard has it.
    constexpr int64_t kMinCycles = 10000;
    const int64_t threads = std::max<int64_t>(
        1, std::min<int64_t>(
               {num_threads(), count, cycles_per_task * count / kMinCycles}));
    const std::function<void(int64_t)> unless_cancelled = [&](int64_t i) {
      if (!IsCancelled()) task(i);
    };
    grouped_conv::SharedTasks<BlockingCounter>::Run(
        count, threads, unless_cancelled, [this](std::function<void()> work) {
          workers_.workers->Schedule(std::move(work));
        });
  }

  bool IsCancelled() const {
    return cancellation_ != nullptr && cancellation_->IsCancelled();
  }

 private:
  const DeviceBase::CpuWorkerThreads& workers_;
  CancellationManager* const cancellation_;
};

// Calls algorithm(runner).
template <typename Algorithm>
Status Launch(OpKernelContext* context, const Algorithm& algorithm) {
  PoolTaskRunner runner(context);
  const Result result = algorithm(&runner);
  if (runner.IsCancelled()) {
    return errors::Cancelled("Step was cancelled during a convolution");
  }
  if (result == Result::kOutOfMemory) {
    return errors::ResourceExhausted(
        "Out of memory for the scratch space of a convolution");
  }
  return Status();
}

Status ToStatus(bool ok, const std::string& error) {
  return ok ? Status() : errors::InvalidArgument(error);
}

// Reads attribute `name`, which has a value a dimension of the input, of which
// those of batch and channels must be 1; keeps the spatial ones.
template <typename Context>
Status ReadPerDimension(Context* context, const char* name, TensorFormat format,
                        int spatial_rank, std::vector<int64_t>* spatial) {
  std::vector<int64> values;
  TF_RETURN_IF_ERROR(context->GetAttr(name, &values));
  const size_t rank = spatial_rank + 2;
  if (values.size() != rank) {
    return errors::InvalidArgument(name, " must have ", rank,
                                   " values but has ", values.size());
  }
  const int64 batch = GetTensorDim(values, format, 'N');
  const int64 channels = GetTensorDim(values, format, 'C');
  if (batch != 1 || channels != 1) {
    return errors::InvalidArgument(
        name, " in the batch and depth dimensions must be 1 but are ", batch,
        " and ", channels);
  }
  const int first = GetTensorSpatialDimIndex(rank, format, 0);
  spatial->assign(values.begin() + first,
                  values.begin() + first + spatial_rank);
  return Status();
}

template <typename Context>
Status ReadPadding(Context* context, TensorFormat format, int spatial_rank,
                   ConvProblem* problem) {
  string name;
  TF_RETURN_IF_ERROR(context->GetAttr("padding", &name));
  Padding padding;
  TF_RETURN_IF_ERROR(GetPaddingFromString(name, &padding));
  std::vector<int64> values;
  if (!context->GetAttr("explicit_paddings", &values).ok() &&
      context->GetAttr("padding_list", &values).ok() && padding == VALID &&
      !values.empty()) {
    // What Grappler fuses with padding in 3-D is still called VALID.
    padding = EXPLICIT;
  }
  problem->padding = padding == VALID  ? grouped_conv::Padding::kValid
                     : padding == SAME ? grouped_conv::Padding::kSame
                                       : grouped_conv::Padding::kExplicit;
  const int rank = spatial_rank + 2;
  TF_RETURN_IF_ERROR(CheckValidPadding(padding, values, rank, format));
  if (padding == EXPLICIT) {
    const int first = 2 * GetTensorSpatialDimIndex(rank, format, 0);
    problem->explicit_paddings.assign(
        values.begin() + first, values.begin() + first + 2 * spatial_rank);
  }
  return Status();
}

}  // namespace

bool IsDepthwise(const string& op) {
  return str_util::StrContains(op, "DepthwiseConv2dNative");
}

bool ServesDepthwise() {
  const char* const value = std::getenv("TF_GROUPED_CONV_DEPTHWISE");
  return value == nullptr || std::strcmp(value, "0") != 0;
}

template <typename Context>
Status ReadConvAttributes(Context* context, int spatial_rank,
                          ConvProblem* problem) {
  TensorFormat format = FORMAT_NHWC;
  string name;
  // The first forms of the 3-D gradients have no data_format.
  if (context->GetAttr("data_format", &name).ok() &&
      (!FormatFromString(name, &format) ||
       (format != FORMAT_NHWC && format != FORMAT_NCHW))) {
    return errors::InvalidArgument("data_format cannot be ", name);
  }
  problem->layout =
      format == FORMAT_NHWC ? Layout::kChannelsLast : Layout::kChannelsFirst;
  TF_RETURN_IF_ERROR(ReadPerDimension(context, "strides", format, spatial_rank,
                                      &problem->strides));
  TF_RETURN_IF_ERROR(ReadPerDimension(context, "dilations", format,
                                      spatial_rank, &problem->dilations));
  TF_RETURN_IF_ERROR(ReadPadding(context, format, spatial_rank, problem));
  std::string error;
  return ToStatus(grouped_conv::CheckAttributes(*problem, &error), error);
}

template Status ReadConvAttributes(OpKernelConstruction*, int, ConvProblem*);
template Status ReadConvAttributes(shape_inference::InferenceContext*, int,
                                   ConvProblem*);

std::vector<int64_t> Sizes(const TensorShape& shape) {
  const auto sizes = shape.dim_sizes();
  return {sizes.begin(), sizes.end()};
}

Status ReadSizes(const Tensor& tensor, const char* name,
                 std::vector<int64_t>* sizes) {
  const DataType type = tensor.dtype();
  if (type != DT_INT32 && type != DT_INT64) {
    *sizes = Sizes(tensor.shape());
    return Status();
  }
  if (!TensorShapeUtils::IsVector(tensor.shape())) {
    return errors::InvalidArgument(name, " must be a vector but has shape ",
                                   tensor.shape().DebugString());
  }
  if (type == DT_INT64) {
    const auto values = tensor.vec<int64>();
    sizes->assign(values.data(), values.data() + values.size());
  } else {
    const auto values = tensor.vec<int32>();
    sizes->assign(values.data(), values.data() + values.size());
  }
  return Status();
}

Status ReadPaddings(const Tensor& paddings, int rank,
                    std::vector<int64_t>* values) {
  const TensorShape shape({rank, 2});
  if (paddings.shape() != shape) {
    return errors::InvalidArgument("paddings must have the shape ",
                                   shape.DebugString(), " but has ",
                                   paddings.shape().DebugString());
  }
  if (paddings.dtype() == DT_INT64) {
    const auto flat = paddings.flat<int64>();
    values->assign(flat.data(), flat.data() + flat.size());
  } else {
    const auto flat = paddings.flat<int32>();
    values->assign(flat.data(), flat.data() + flat.size());
  }
  constexpr int64_t kMost = std::numeric_limits<int32>::max();
  for (const int64_t value : *values) {
    if (value < 0 || value > kMost) {
      return errors::InvalidArgument("paddings must have values from 0 to ",
                                     kMost, " but has ", value);
    }
  }
  return Status();
}

Status AddPaddings(const std::vector<int64_t>& values, ConvProblem* problem) {
  if (problem->padding != grouped_conv::Padding::kValid) {
    return errors::InvalidArgument(
        "padding must be VALID, as there are paddings");
  }
  const int rank = values.size() / 2;
  std::string error;
  if (!grouped_conv::CheckRank(problem->input_name, problem->input_shape,
                               rank - 2, &error)) {
    return errors::InvalidArgument(error);
  }
  const int first = grouped_conv::SpatialIndex(problem->layout);
  const int channels = grouped_conv::ChannelsIndex(problem->layout, rank - 2);
  for (const int i : {0, channels}) {
    int64_t* const size = &problem->input_shape[i];
    if (*size != -1) *size += values[2 * i] + values[2 * i + 1];
  }
  problem->padding = grouped_conv::Padding::kExplicit;
  problem->explicit_paddings.assign(values.begin() + 2 * first,
                                    values.begin() + 2 * (first + rank - 2));
  return Status();
}

bool StatesImageAlone(const std::vector<int64_t>& input_sizes, int spatial_rank,
                      bool depthwise) {
  return kIsNew && spatial_rank == 2 && !depthwise && input_sizes.size() == 2;
}

void CompleteInputSizes(Layout layout, const std::vector<int64_t>& filter,
                        const std::vector<int64_t>& out_backprop,
                        std::vector<int64_t>* input_sizes) {
  const int64_t batch = out_backprop.empty() ? -1 : out_backprop[0];
  const int64_t channels = filter.size() < 4 ? -1 : filter[2];
  input_sizes->insert(input_sizes->begin(), batch);
  const int index = grouped_conv::ChannelsIndex(layout, /*spatial_rank=*/2);
  input_sizes->insert(input_sizes->begin() + index, channels);
}

Status CheckConvolution(const ConvProblem& problem, ConvGeometry* geometry) {
  std::string error;
  return ToStatus(grouped_conv::MakeGeometry(problem, geometry, &error), error);
}

Status CheckOutput(const ConvGeometry& geometry,
                   const std::vector<int64_t>& shape, const char* name) {
  std::string error;
  const bool ok = grouped_conv::CheckOutputShape(geometry, shape, name, &error);
  return ToStatus(ok, error);
}

template <typename T>
Status LaunchForward(OpKernelContext* context, const ConvGeometry& geometry,
                     const Tensor& input, const Tensor& filter,
                     const ConvEpilogue<T>& epilogue, Tensor* output) {
  return Launch(context, [&](grouped_conv::TaskRunner* runner) {
    return grouped_conv::Forward(geometry, Data<T>(input), Data<T>(filter),
                                 epilogue, Data<T>(output), runner);
  });
}

template <typename T>
Status LaunchInputGradient(OpKernelContext* context,
                           const ConvGeometry& geometry, const Tensor& filter,
                           const Tensor& out_backprop, Tensor* in_backprop) {
  return Launch(context, [&](grouped_conv::TaskRunner* runner) {
    return grouped_conv::InputGradient(geometry, Data<T>(filter),
                                       Data<T>(out_backprop),
                                       Data<T>(in_backprop), runner);
  });
}

template <typename T>
Status LaunchFilterGradient(OpKernelContext* context,
                            const ConvGeometry& geometry, const Tensor& input,
                            const Tensor& out_backprop, Tensor* filter_backprop,
                            Tensor* bias_backprop) {
  return Launch(context, [&](grouped_conv::TaskRunner* runner) {
    return grouped_conv::FilterGradient(
        geometry, Data<T>(input), Data<T>(out_backprop),
        Data<T>(filter_backprop),
        bias_backprop == nullptr ? nullptr : Data<T>(bias_backprop), runner);
  });
}

#define INSTANTIATE(T)                                                        \
  template Status LaunchForward<T>(OpKernelContext*, const ConvGeometry&,     \
                                   const Tensor&, const Tensor&,              \
                                   const ConvEpilogue<T>&, Tensor*);          \
  template Status LaunchInputGradient<T>(OpKernelContext*,                    \
                                         const ConvGeometry&, const Tensor&,  \
                                         const Tensor&, Tensor*);             \
  template Status LaunchFilterGradient<T>(OpKernelContext*,                   \
                                          const ConvGeometry&, const Tensor&, \
                                          const Tensor&, Tensor*, Tensor*)
INSTANTIATE(bfloat16);
INSTANTIATE(Eigen::half);
INSTANTIATE(float);
INSTANTIATE(double);
INSTANTIATE(int32);
#undef INSTANTIATE

}  // namespace tensorflow
