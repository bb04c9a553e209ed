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

// CPU kernels for the convolution ops that take groups: 2-D and 3-D, their
// gradients, and what Grappler fuses. Dense convolutions stay with the stock
// kernels, wherever these have an implementation.

#include "tensorflow/core/kernels/grouped_conv/grouped_conv_ops.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "tensorflow/core/framework/numeric_types.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv_launch.h"
#include "tensorflow/core/kernels/grouped_conv/stock_kernel.h"
#include "tensorflow/core/lib/core/errors.h"
#include "tensorflow/core/lib/strings/str_util.h"
#include "tensorflow/core/lib/strings/strcat.h"
#include "tensorflow/core/util/work_sharder.h"

namespace tensorflow {
namespace {

using grouped_conv::Activation;
using grouped_conv::ConvGeometry;
using grouped_conv::ConvProblem;
using grouped_conv::Layout;

Status AllocateOutput(OpKernelContext* context,
                      const std::vector<int64_t>& sizes, Tensor** output) {
  TensorShape shape;
  TF_RETURN_IF_ERROR(TensorShapeUtils::MakeShape(
      std::vector<int64>(sizes.begin(), sizes.end()), &shape));
  return context->allocate_output(0, shape, output);
}

// What all convolution kernels share: they check everything before they or the
// stock kernel compute anything.
class ConvOp : public OpKernel {
 public:
  ConvOp(OpKernelConstruction* context, int spatial_rank, bool stock_dilates)
      : OpKernel(context) {
    OP_REQUIRES_OK(context,
                   ReadConvAttributes(context, spatial_rank, &attributes_));
    const std::vector<int64_t>& dilations = attributes_.dilations;
    const bool dilated =
        std::any_of(dilations.begin(), dilations.end(),
                    [](int64_t dilation) { return dilation != 1; });
    const bool one_dnn = str_util::StartsWith(context->def().op(), "_Mkl");
    if (one_dnn || (attributes_.layout == Layout::kChannelsLast &&
                    (stock_dilates || !dilated))) {
      OP_REQUIRES_OK(context, MakeStockKernel(context, &stock_));
    }
  }

  void Compute(OpKernelContext* context) final {
    if (stock_only_) {
      stock_->Compute(context);
      return;
    }
    ConvProblem problem = attributes_;
    ConvGeometry geometry;
    OP_REQUIRES_OK(context, Check(context, &problem, &geometry));
    // Stock kernels die of some empty tensors, and leave the filter's gradient
    // unset for others.
    const bool empty = geometry.input_size() == 0 ||
                       geometry.filter_size() == 0 ||
                       geometry.output_size() == 0;
    if (geometry.groups == 1 && !empty && stock_ != nullptr) {
      stock_->Compute(context);
    } else {
      OP_REQUIRES_OK(context, Run(context, problem, geometry));
    }
  }

 protected:
  // Adds the shapes to `problem`, makes its geometry and checks all other
  // inputs.
  virtual Status Check(OpKernelContext* context, ConvProblem* problem,
                       ConvGeometry* geometry) const = 0;
  virtual Status Run(OpKernelContext* context, const ConvProblem& problem,
                     const ConvGeometry& geometry) const = 0;

  // Leaves grouped convolutions to the stock kernel as well, if there is one.
  bool LeaveAllToStock() {
    stock_only_ = stock_ != nullptr;
    return stock_only_;
  }

 private:
  ConvProblem attributes_;  // Has no shapes.
  // Null where the stock kernels refuse the attributes.
  std::unique_ptr<OpKernel> stock_;
  bool stock_only_ = false;
};

template <typename T, int kSpatialRank>
class ForwardOp : public ConvOp {
 public:
  explicit ForwardOp(OpKernelConstruction* context)
      : ConvOp(context, kSpatialRank, /*stock_dilates=*/kSpatialRank == 2) {}

 protected:
  Status Check(OpKernelContext* context, ConvProblem* problem,
               ConvGeometry* geometry) const override {
    problem->input_shape = Sizes(context->input(0).shape());
    problem->filter_shape = Sizes(context->input(1).shape());
    return CheckConvolution(*problem, geometry);
  }

  Status Run(OpKernelContext* context, const ConvProblem& problem,
             const ConvGeometry& geometry) const override {
    return Convolve(context, geometry, ConvEpilogue<T>());
  }

  Status Convolve(OpKernelContext* context, const ConvGeometry& geometry,
                  const ConvEpilogue<T>& epilogue) const {
    Tensor* output;
    TF_RETURN_IF_ERROR(
        AllocateOutput(context, geometry.output_shape(), &output));
    return LaunchForward<T>(context, geometry, context->input(0),
                            context->input(1), epilogue, output);
  }
};

// Bias, then perhaps another tensor to add, or batch normalization; and then
// perhaps an activation.
template <typename T, int kSpatialRank>
class FusedOp : public ForwardOp<T, kSpatialRank> {
 public:
  explicit FusedOp(OpKernelConstruction* context)
      : ForwardOp<T, kSpatialRank>(context) {
    std::vector<string> ops;
    OP_REQUIRES_OK(context, context->GetAttr("fused_ops", &ops));
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    // An op without it, in an older TensorFlow, knows no LeakyRelu.
    has_leaky_relu_ = AttrSlice(context->def()).Find("leakyrelu_alpha") != nullptr;
    if (has_leaky_relu_) {
      OP_REQUIRES_OK(context,
                     context->GetAttr("leakyrelu_alpha", &leaky_relu_alpha_));
    }
    const string fused = str_util::Join(ops, "+");
    if (!ReadFusedOps(ops) || !ReadsArgs(context)) {
      OP_REQUIRES(context, this->LeaveAllToStock(),
                  errors::Unimplemented("fused_ops cannot be ", fused));
      return;
    }
    const int expected = batch_norm_ ? 4 : ops.empty() ? 0 : add_ ? 2 : 1;
    const int actual = context->num_inputs() - kFirstArgument;
    OP_REQUIRES(context, actual == expected,
                errors::InvalidArgument("args must have ", expected,
                                        " tensors for fused_ops ", fused,
                                        " but has ", actual));
  }

 protected:
  Status Check(OpKernelContext* context, ConvProblem* problem,
               ConvGeometry* geometry) const override {
    TF_RETURN_IF_ERROR(
        (ForwardOp<T, kSpatialRank>::Check(context, problem, geometry)));
    const TensorShape channels({geometry->output_channels});
    for (int i = kFirstArgument; i < context->num_inputs(); ++i) {
      const TensorShape& shape = context->input(i).shape();
      const string name = strings::StrCat("args[", i - kFirstArgument, "]");
      if (add_ && i == kAddedArgument) {
        TF_RETURN_IF_ERROR(CheckOutput(*geometry, Sizes(shape), name.c_str()));
      } else if (shape != channels) {
        return errors::InvalidArgument(
            name, " must have the shape ", channels.DebugString(),
            " of filter's output channels but has ", shape.DebugString());
      }
    }
    return Status();
  }

  Status Run(OpKernelContext* context, const ConvProblem& problem,
             const ConvGeometry& geometry) const override {
    TF_RETURN_IF_ERROR(ConvolveAndScale(context, geometry));
    if (!add_ && !leaky_relu_) return Status();
    auto output = context->mutable_output(0)->flat<T>();
    const T* added =
        add_ ? context->input(kAddedArgument).flat<T>().data() : nullptr;
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    Shard(workers.num_threads, workers.workers, output.size(),
          /*cost_per_unit=*/2, [&](int64 begin, int64 end) {
            for (int64 i = begin; i < end; ++i) {
              Number value = static_cast<Number>(output(i));
              if (add_) value += static_cast<Number>(added[i]);
              output(i) = static_cast<T>(Activate(value));
            }
          });
    return Status();
  }

 private:
  static constexpr int kFirstArgument = 2;
  static constexpr int kAddedArgument = 3;

  // Types of 16 bits are too coarse to compute in.
  using Number = typename std::conditional<sizeof(T) == 2, float, T>::type;

  // The activations that the convolution has not done to its output itself.
  Number Activate(Number value) const {
    if (leaky_relu_) return value < 0 ? value * leaky_relu_alpha_ : value;
    if (!add_ || activation_ == Activation::kNone) return value;
    if (activation_ == Activation::kElu) {
      return value < 0 ? std::expm1(value) : value;
    }
    value = std::max(value, static_cast<Number>(0));
    return activation_ == Activation::kRelu6
               ? std::min(value, static_cast<Number>(6))
               : value;
  }

  Status ConvolveAndScale(OpKernelContext* context,
                          const ConvGeometry& geometry) const {
    ConvEpilogue<T> epilogue;
    if (!add_) epilogue.activation = activation_;
    if (!batch_norm_) {
      if (context->num_inputs() > kFirstArgument) {
        epilogue.bias = Data<T>(context->input(kFirstArgument));
      }
      return this->Convolve(context, geometry, epilogue);
    }
    const int64 channels = geometry.output_channels;
    Tensor folded;
    TF_RETURN_IF_ERROR(context->allocate_temp(
        DataTypeToEnum<T>::value, TensorShape({2, channels}), &folded));
    FoldBatchNorm(context, channels, folded.flat<T>().data());
    epilogue.scale = Data<T>(&folded);
    epilogue.bias = epilogue.scale + channels;
    return this->Convolve(context, geometry, epilogue);
  }

  // The op's definition may leave it open which types the arguments have.
  static bool ReadsArgs(OpKernelConstruction* context) {
    const DataTypeSlice types(context->input_types());
    return std::all_of(
        types.begin() + kFirstArgument, types.end(),
        [](DataType type) { return type == DataTypeToEnum<T>::value; });
  }

  bool ReadFusedOps(const std::vector<string>& ops) {
    if (ops.empty()) return true;  // Grappler fused nothing but padding.
    batch_norm_ = ops[0] == "FusedBatchNorm";
    if (!batch_norm_ && ops[0] != "BiasAdd") return false;
    add_ = !batch_norm_ && ops.size() > 1 && ops[1] == "Add";
    const size_t first = add_ ? 2 : 1;
    if (ops.size() == first) return true;
    if (ops.size() > first + 1) return false;
    const string& op = ops[first];
    leaky_relu_ = op == "LeakyRelu";
    if (leaky_relu_) return has_leaky_relu_;
    activation_ = op == "Relu"    ? Activation::kRelu
                  : op == "Relu6" ? Activation::kRelu6
                  : op == "Elu"   ? Activation::kElu
                                  : Activation::kNone;
    return activation_ != Activation::kNone;
  }

  // scale * x + bias = gamma * (x - mean) / sqrt(variance + epsilon) + beta
  void FoldBatchNorm(OpKernelContext* context, int64 channels, T* scale) const {
    T* bias = scale + channels;
    const T* arguments[4];
    for (int i = 0; i < 4; ++i) {
      arguments[i] = context->input(kFirstArgument + i).flat<T>().data();
    }
    const T* gamma = arguments[0];
    const T* beta = arguments[1];
    const T* mean = arguments[2];
    const T* variance = arguments[3];
    for (int64 i = 0; i < channels; ++i) {
      const Number factor =
          static_cast<Number>(gamma[i]) /
          std::sqrt(static_cast<Number>(variance[i]) + epsilon_);
      scale[i] = static_cast<T>(factor);
      bias[i] = static_cast<T>(static_cast<Number>(beta[i]) -
                               factor * static_cast<Number>(mean[i]));
    }
  }

  bool batch_norm_ = false;
  bool add_ = false;
  float epsilon_ = 0;
  Activation activation_ = Activation::kNone;
  bool leaky_relu_ = false;
  bool has_leaky_relu_ = false;
  float leaky_relu_alpha_ = 0;
};

template <typename T, int kSpatialRank>
class InputGradientOp : public ConvOp {
 public:
  explicit InputGradientOp(OpKernelConstruction* context)
      : ConvOp(context, kSpatialRank, /*stock_dilates=*/false) {}

 protected:
  Status Check(OpKernelContext* context, ConvProblem* problem,
               ConvGeometry* geometry) const override {
    problem->input_name = "input_sizes";
    TF_RETURN_IF_ERROR(ReadSizes(context->input(0), problem->input_name,
                                 &problem->input_shape));
    problem->filter_shape = Sizes(context->input(1).shape());
    const std::vector<int64_t> out_backprop = Sizes(context->input(2).shape());
    if (StatesImageAlone(problem->input_shape, kSpatialRank)) {
      CompleteInputSizes(problem->layout, problem->filter_shape, out_backprop,
                         &problem->input_shape);
    }
    TF_RETURN_IF_ERROR(CheckConvolution(*problem, geometry));
    return CheckOutput(*geometry, out_backprop, "out_backprop");
  }

  Status Run(OpKernelContext* context, const ConvProblem& problem,
             const ConvGeometry& geometry) const override {
    Tensor* in_backprop;
    TF_RETURN_IF_ERROR(
        AllocateOutput(context, problem.input_shape, &in_backprop));
    return LaunchInputGradient<T>(context, geometry, context->input(1),
                                  context->input(2), in_backprop);
  }
};

template <typename T, int kSpatialRank>
class FilterGradientOp : public ConvOp {
 public:
  explicit FilterGradientOp(OpKernelConstruction* context)
      : ConvOp(context, kSpatialRank, /*stock_dilates=*/false) {}

 protected:
  Status Check(OpKernelContext* context, ConvProblem* problem,
               ConvGeometry* geometry) const override {
    problem->input_shape = Sizes(context->input(0).shape());
    problem->filter_name = "filter_sizes";
    TF_RETURN_IF_ERROR(ReadSizes(context->input(1), problem->filter_name,
                                 &problem->filter_shape));
    TF_RETURN_IF_ERROR(CheckConvolution(*problem, geometry));
    return CheckOutput(*geometry, Sizes(context->input(2).shape()),
                       "out_backprop");
  }

  Status Run(OpKernelContext* context, const ConvProblem& problem,
             const ConvGeometry& geometry) const override {
    Tensor* filter_backprop;
    TF_RETURN_IF_ERROR(
        AllocateOutput(context, problem.filter_shape, &filter_backprop));
    return LaunchFilterGradient<T>(context, geometry, context->input(0),
                                   context->input(2), filter_backprop);
  }
};

template <typename Kernel>
OpKernel* Create(OpKernelConstruction* context) {
  return new Kernel(context);
}

template <template <typename, int> class Kernel, int kSpatialRank,
          typename... Types>
void Override(const char* op, std::vector<KernelOverride>* overrides,
              const char* label = "") {
  overrides->insert(overrides->end(),
                    {{op, label, DataTypeToEnum<Types>::value,
                      Create<Kernel<Types, kSpatialRank>>}...});
}

// What ops are renamed to where oneDNN runs them.
template <template <typename, int> class Kernel, int kSpatialRank>
void OverrideOneDnn(const char* op, std::vector<KernelOverride>* overrides) {
  Override<Kernel, kSpatialRank, bfloat16, Eigen::half, float>(
      op, overrides, "MklNameChangeOp");
}

// The ops and types that some TensorFlow has CPU kernels for; of 2.2.3 it is
// known which.
std::vector<KernelOverride> Overrides() {
  using Eigen::half;
  std::vector<KernelOverride> all;
  Override<ForwardOp, 2, half, float, double, int32>("Conv2D", &all);
  Override<FusedOp, 2, float, double>("_FusedConv2D", &all);
  Override<InputGradientOp, 2, half, float, double, int32>(
      "Conv2DBackpropInput", &all);
  Override<FilterGradientOp, 2, half, float, double>("Conv2DBackpropFilter",
                                                     &all);
  Override<ForwardOp, 3, half, float, double>("Conv3D", &all);
  for (const char* op : {"Conv3DBackpropInput", "Conv3DBackpropInputV2"}) {
    Override<InputGradientOp, 3, half, float, double>(op, &all);
  }
  for (const char* op : {"Conv3DBackpropFilter", "Conv3DBackpropFilterV2"}) {
    Override<FilterGradientOp, 3, half, float, double>(op, &all);
  }
  if (!kIsNew) return all;
  Override<ForwardOp, 2, bfloat16>("Conv2D", &all);
  Override<FusedOp, 2, bfloat16, half>("_FusedConv2D", &all);
  Override<InputGradientOp, 2, bfloat16>("Conv2DBackpropInput", &all);
  Override<FilterGradientOp, 2, bfloat16>("Conv2DBackpropFilter", &all);
  Override<ForwardOp, 3, bfloat16>("Conv3D", &all);
  Override<FusedOp, 3, bfloat16, half, float>("_FusedConv3D", &all);
  Override<InputGradientOp, 3, bfloat16>("Conv3DBackpropInputV2", &all);
  Override<FilterGradientOp, 3, bfloat16>("Conv3DBackpropFilterV2", &all);
  OverrideOneDnn<ForwardOp, 2>("_MklNativeConv2D", &all);
  OverrideOneDnn<FusedOp, 2>("_MklNativeFusedConv2D", &all);
  OverrideOneDnn<InputGradientOp, 2>("_MklNativeConv2DBackpropInput", &all);
  OverrideOneDnn<FilterGradientOp, 2>("_MklNativeConv2DBackpropFilter", &all);
  OverrideOneDnn<ForwardOp, 3>("_MklNativeConv3D", &all);
  OverrideOneDnn<FusedOp, 3>("_MklNativeFusedConv3D", &all);
  OverrideOneDnn<InputGradientOp, 3>("_MklNativeConv3DBackpropInputV2", &all);
  OverrideOneDnn<FilterGradientOp, 3>("_MklNativeConv3DBackpropFilterV2", &all);
  return all;
}

}  // namespace

Status RegisterGroupedConvKernels(StockKernelsAre stock_kernels_are) {
  return RegisterAboveStock(Overrides(), stock_kernels_are);
}

}  // namespace tensorflow
