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

// CPU kernels for the convolution ops that take groups, 2-D and 3-D, for
// depthwise ones, for their gradients, and for what Grappler fuses. Dense
// convolutions stay with the stock kernels, wherever these have an
// implementation.

#include "tensorflow/core/kernels/grouped_conv/grouped_conv_ops.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
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

Status MakeShape(const std::vector<int64_t>& sizes, TensorShape* shape) {
  return TensorShapeUtils::MakeShape(
      std::vector<int64>(sizes.begin(), sizes.end()), shape);
}

Status AllocateOutput(OpKernelContext* context,
                      const std::vector<int64_t>& sizes, Tensor** output,
                      int index = 0) {
  TensorShape shape;
  TF_RETURN_IF_ERROR(MakeShape(sizes, &shape));
  return context->allocate_output(index, shape, output);
}

// Whether the processor multiplies tiles of bfloat16, and the system saves
// them.
bool HasAmx() {
#ifdef __x86_64__
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) {
    return false;
  }
  unsigned saved, high;
  asm("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  constexpr unsigned kTiles = 3 << 17;
  constexpr unsigned kTilesOfBfloat16 = 1 << 22;
  return (saved & kTiles) == kTiles &&
         __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
         (edx & kTilesOfBfloat16);
#else
  return false;
#endif
}

// Who takes what, where the stock kernel computes grouped or depthwise
// convolutions too and was right for hundreds of random geometries: forward in
// 2-D, channels last.
// Milliseconds of a call of a tf.function, 3x3 at batch 8 with 2 cores and AMX,
// of which 0.35 are the call: oneDNN's / ours (of 64 and more channels, ours is
// the input's gradient, which is as much work):
//   28x28, 128 channels a group   1.78 / 2.13
//   28x28, 64                     1.05 / 1.13
//   7x7, 32                       0.74 / 0.73
//   14x14, 16                     0.83 / 0.74
// Ours has tiles for even numbers of channels, and for odd ones where groups
// can be merged, which was not compared. Depthwise 3x3, by
// the op of its own (by Conv2D, the first is 1.11 / 1.37):
//   56x56, 144 channels           1.03 / 1.29
//   112x112, 96, stride 2         1.17 / 1.56
//   14x14, 384                    0.63 / 0.57
// With strides (but for depthwise 3x3) or dilations, or filters larger than the
// image, oneDNN's is not always right. In float32 and half, without AMX, and
// before 2.21, whose oneDNN was not compared, all is ours.
template <typename T>
bool OneDnnIsFaster(OpKernelContext*, T, const ConvGeometry&) {
  return false;
}
bool IsPlain(const grouped_conv::Dimension& dim, int64_t max_stride = 1) {
  return dim.stride <= max_stride && dim.dilation == 1 &&
         dim.filter <= dim.input;
}
bool IsPlainDepthwise(const ConvGeometry& g) {
  constexpr int64_t kFewestOutputs = 1 << 19;
  const auto is_plain = [](const grouped_conv::Dimension& dim) {
    return dim.filter == 3 && IsPlain(dim, /*max_stride=*/2);
  };
  return is_plain(g.dim[1]) && is_plain(g.dim[2]) &&
         g.output_channels_per_group() == 1 &&
         g.output_size() >= kFewestOutputs;
}
bool OneDnnIsFaster(OpKernelContext* context, bfloat16, const ConvGeometry& g) {
  static const bool has_amx = HasAmx();
  const int64_t fewest_channels =
      g.input_channels_per_group() % 2 == 0 ? 64 : 24;
  constexpr bool is_compared = TF_GRAPH_DEF_VERSION >= 2474;
  const string& op = context->op_kernel().def().op();
  if (!is_compared || !has_amx || !str_util::StartsWith(op, "_Mkl") ||
      g.layout != Layout::kChannelsLast) {
    return false;
  }
  if (g.input_channels_per_group() == 1) return IsPlainDepthwise(g);
  return g.filter_taps() > 1 && IsPlain(g.dim[1]) && IsPlain(g.dim[2]) &&
         g.input_channels_per_group() >= fewest_channels &&
         g.output_channels_per_group() >= fewest_channels;
}

// Strides and dilations that the stock kernels are asked for: more than any
// image's.
constexpr int64_t kMostStep = 1 << 16;

// Stock kernels die of some empty tensors, and leave the filter's gradient
// unset for others; oneDNN's die of some strides and dilations as well.
bool IsTooMuchForStock(const ConvGeometry& g) {
  return g.input_size() == 0 || g.filter_size() == 0 || g.output_size() == 0 ||
         std::any_of(std::begin(g.dim), std::end(g.dim),
                     [](const grouped_conv::Dimension& dim) {
                       return std::max(dim.stride, dim.dilation) > kMostStep;
                     });
}

// What all convolution kernels share: they check everything before they or the
// stock kernel compute anything.
class ConvOp : public OpKernel {
 public:
  // Where stock_dilates is false, the stock kernel refuses dilations, and where
  // stock_fuses is, what is fused.
  ConvOp(OpKernelConstruction* context, int spatial_rank, bool stock_dilates,
         bool stock_fuses = true)
      : OpKernel(context) {
    const string& op = context->def().op();
    attributes_.depthwise = IsDepthwise(op);
    OP_REQUIRES_OK(context,
                   ReadConvAttributes(context, spatial_rank, &attributes_));
    const std::vector<int64_t>& dilations = attributes_.dilations;
    const bool dilated =
        std::any_of(dilations.begin(), dilations.end(),
                    [](int64_t dilation) { return dilation != 1; });
    const std::vector<int64_t>& strides = attributes_.strides;
    bool stock_takes = str_util::StartsWith(op, "_Mkl") ||
                       (attributes_.layout == Layout::kChannelsLast &&
                        (stock_dilates || !dilated));
    // Stock depthwise kernels refuse strides that differ, and ignore dilations.
    if (attributes_.depthwise) {
      stock_takes = stock_takes && !dilated && strides[0] == strides[1];
    }
    if (stock_fuses && stock_takes) {
      OP_REQUIRES_OK(context, MakeStockKernel(context, &stock_));
    }
  }

  void Compute(OpKernelContext* context) final {
    ConvProblem problem = attributes_;
    ConvGeometry geometry;
    OP_REQUIRES_OK(context, Check(context, &problem, &geometry));
    if (stock_ != nullptr && !IsTooMuchForStock(geometry) &&
        (geometry.groups == 1 || stock_only_ ||
         LeavesToStock(context, geometry))) {
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

  // Whether the stock kernel computes this grouped convolution, and is faster.
  virtual bool LeavesToStock(OpKernelContext* context,
                             const ConvGeometry& geometry) const {
    return false;
  }

  // Leaves grouped convolutions to the stock kernel as well, if there is one.
  bool LeaveAllToStock() {
    stock_only_ = stock_ != nullptr;
    return stock_only_;
  }
  bool stock_only() const { return stock_only_; }

 private:
  ConvProblem attributes_;  // Has no shapes.
  // Null where the stock kernels refuse the attributes.
  std::unique_ptr<OpKernel> stock_;
  bool stock_only_ = false;
};

// The last argument may be paddings of the input.
template <typename T, int kSpatialRank>
class ForwardOp : public ConvOp {
 public:
  explicit ForwardOp(OpKernelConstruction* context, bool stock_fuses = true)
      : ConvOp(context, kSpatialRank, /*stock_dilates=*/kSpatialRank == 2,
               stock_fuses),
        has_paddings_(
            str_util::StartsWith(context->def().op(), "_MklNativePad")) {}

 protected:
  Status Check(OpKernelContext* context, ConvProblem* problem,
               ConvGeometry* geometry) const override {
    problem->input_shape = Sizes(context->input(0).shape());
    problem->filter_shape = Sizes(context->input(1).shape());
    if (has_paddings_) {
      std::vector<int64_t> paddings;
      TF_RETURN_IF_ERROR(Paddings(context, &paddings));
      TF_RETURN_IF_ERROR(AddPaddings(paddings, problem));
    }
    return CheckConvolution(*problem, geometry);
  }

  Status Run(OpKernelContext* context, const ConvProblem& problem,
             const ConvGeometry& geometry) const override {
    return Convolve(context, problem, geometry, ConvEpilogue<T>());
  }

  Status Convolve(OpKernelContext* context, const ConvProblem& problem,
                  const ConvGeometry& geometry,
                  const ConvEpilogue<T>& epilogue) const {
    Tensor input = context->input(0);
    if (has_paddings_ && problem.input_shape != Sizes(input.shape())) {
      TF_RETURN_IF_ERROR(PadBatchAndChannels(context, problem, &input));
    }
    Tensor* output;
    TF_RETURN_IF_ERROR(
        AllocateOutput(context, geometry.output_shape(), &output));
    return LaunchForward<T>(context, geometry, input, context->input(1),
                            epilogue, output);
  }

  bool LeavesToStock(OpKernelContext* context,
                     const ConvGeometry& geometry) const override {
    // Padding of batch and channels is unknown to it.
    const TensorShape& shape = context->input(0).shape();
    return kSpatialRank == 2 && OneDnnIsFaster(context, T(), geometry) &&
           shape.dim_size(0) == geometry.batch &&
           shape.dim_size(kSpatialRank + 1) == geometry.input_channels;
  }

  // How many of the arguments come before the paddings.
  int BeforePaddings(int arguments) const { return arguments - has_paddings_; }

 private:
  Status Paddings(OpKernelContext* context,
                  std::vector<int64_t>* values) const {
    return ReadPaddings(context->input(context->num_inputs() - 1),
                        kSpatialRank + 2, values);
  }

  Status PadBatchAndChannels(OpKernelContext* context,
                             const ConvProblem& problem, Tensor* input) const {
    std::vector<int64_t> paddings;
    TF_RETURN_IF_ERROR(Paddings(context, &paddings));
    TensorShape shape;
    TF_RETURN_IF_ERROR(MakeShape(problem.input_shape, &shape));
    Tensor padded;
    TF_RETURN_IF_ERROR(
        context->allocate_temp(DataTypeToEnum<T>::value, shape, &padded));
    T* const to = padded.flat<T>().data();
    std::fill_n(to, padded.NumElements(), T(0));
    // From channels on, all is copied together.
    const int channels = ChannelsIndex(problem.layout, kSpatialRank);
    const TensorShape& old = input->shape();
    int64_t rows = 1;  // Of an image.
    for (int i = 1; i < channels; ++i) rows *= old.dim_size(i);
    int64_t size = old.dim_size(channels);
    int64_t step = shape.dim_size(channels);
    int64_t before = paddings[2 * channels];
    for (int i = channels + 1; i < old.dims(); ++i) {
      for (int64_t* number : {&size, &step, &before}) {
        *number *= old.dim_size(i);
      }
    }
    const T* const from = input->flat<T>().data();
    const int64_t first = paddings[0] * rows;
    for (int64_t i = 0; i < old.dim_size(0) * rows; ++i) {
      std::copy_n(from + i * size, size, to + (first + i) * step + before);
    }
    *input = padded;
    return Status();
  }

  const bool has_paddings_;
};

// Bias, then perhaps another tensor to add, or batch normalization; and then
// perhaps an activation.
template <typename T, int kSpatialRank>
class FusedOp : public ForwardOp<T, kSpatialRank> {
 public:
  explicit FusedOp(OpKernelConstruction* context)
      : ForwardOp<T, kSpatialRank>(context, StockFuses(context)) {
    std::vector<string> ops;
    OP_REQUIRES_OK(context, ReadFusedOps(context, &ops));
    // An op without it, in an older TensorFlow, knows no LeakyRelu.
    has_leaky_relu_ =
        AttrSlice(context->def()).Find("leakyrelu_alpha") != nullptr;
    if (has_leaky_relu_) {
      OP_REQUIRES_OK(context,
                     context->GetAttr("leakyrelu_alpha", &leaky_relu_alpha_));
    }
    const string fused = str_util::Join(ops, "+");
    if (!Fuses(ops) || !ReadsArgs(context)) {
      OP_REQUIRES(context, this->LeaveAllToStock(),
                  errors::Unimplemented("fused_ops cannot be ", fused));
      return;
    }
    const int expected = batch_norm_ ? 4 : ops.empty() ? 0 : add_ ? 2 : 1;
    const int actual =
        this->BeforePaddings(context->num_inputs()) - kFirstArgument;
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
    if (this->stock_only()) return Status();  // It knows what args are.
    const int end = this->BeforePaddings(context->num_inputs());
    for (int i = kFirstArgument; i < end; ++i) {
      const TensorShape& shape = context->input(i).shape();
      const string name = strings::StrCat("args[", i - kFirstArgument, "]");
      if (add_ && i == kAddedArgument) {
        TF_RETURN_IF_ERROR(CheckOutput(*geometry, Sizes(shape), name.c_str()));
      } else if (!IsOfChannels(shape, *geometry) ||
                 (batch_norm_ && shape.dims() != 1)) {
        return errors::InvalidArgument(
            name, " must have the shape [", geometry->output_channels,
            "] of filter's output channels but has ", shape.DebugString());
      }
    }
    return Status();
  }

  Status Run(OpKernelContext* context, const ConvProblem& problem,
             const ConvGeometry& geometry) const override {
    if (this->stock_only()) {
      return errors::Unimplemented(
          "fused_ops of this kind need an input and a filter that are not "
          "empty, and strides and dilations of at most ",
          kMostStep);
    }
    TF_RETURN_IF_ERROR(ConvolveAndScale(context, problem, geometry));
    if (!add_) return Status();
    auto output = context->mutable_output(0)->flat<T>();
    const T* added = context->input(kAddedArgument).flat<T>().data();
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    Shard(workers.num_threads, workers.workers, output.size(),
          /*cost_per_unit=*/2, [&](int64 begin, int64 end) {
            for (int64 i = begin; i < end; ++i) {
              output(i) =
                  static_cast<T>(Activate(static_cast<Number>(output(i)) +
                                          static_cast<Number>(added[i])));
            }
          });
    return Status();
  }

 private:
  static constexpr int kFirstArgument = 2;
  static constexpr int kAddedArgument = 3;

  // Types of 16 bits are too coarse to compute in.
  using Number = typename std::conditional<sizeof(T) == 2, float, T>::type;

  // Those that Fuses() takes behind a sum.
  Number Activate(Number value) const {
    const Number zero = static_cast<Number>(0);
    switch (activation_) {
      case Activation::kRelu:
        return std::max(value, zero);
      case Activation::kRelu6:
        return std::min(std::max(value, zero), static_cast<Number>(6));
      case Activation::kElu:
        return value < 0 ? std::expm1(value) : value;
      case Activation::kLeakyRelu:
        return value < 0 ? value * leaky_relu_alpha_ : value;
      default:
        return value;
    }
  }

  Status ConvolveAndScale(OpKernelContext* context, const ConvProblem& problem,
                          const ConvGeometry& geometry) const {
    ConvEpilogue<T> epilogue;
    if (!add_) {
      epilogue.activation = activation_;
      epilogue.alpha = leaky_relu_alpha_;
    }
    if (!batch_norm_) {
      if (this->BeforePaddings(context->num_inputs()) > kFirstArgument) {
        epilogue.bias = Data<T>(context->input(kFirstArgument));
      }
      return this->Convolve(context, problem, geometry, epilogue);
    }
    const int64 channels = geometry.output_channels;
    Tensor folded;
    TF_RETURN_IF_ERROR(context->allocate_temp(
        DataTypeToEnum<T>::value, TensorShape({2, channels}), &folded));
    FoldBatchNorm(context, channels, folded.flat<T>().data());
    epilogue.scale = Data<T>(&folded);
    epilogue.bias = epilogue.scale + channels;
    return this->Convolve(context, problem, geometry, epilogue);
  }

  // Whether a tensor has a value for each output channel. oneDNN's passes take
  // for a bias what is added with the output's other dimensions as 1, too.
  static bool IsOfChannels(const TensorShape& shape,
                           const ConvGeometry& geometry) {
    const int behind =
        geometry.layout == Layout::kChannelsLast ? 0 : kSpatialRank;
    const int place = shape.dims() == 1 ? 0 : shape.dims() - 1 - behind;
    return place >= 0 && shape.dims() <= kSpatialRank + 2 &&
           shape.dim_size(place) == geometry.output_channels &&
           shape.num_elements() == geometry.output_channels;
  }

  // The op's definition may leave it open which types the arguments have.
  bool ReadsArgs(OpKernelConstruction* context) const {
    const DataTypeSlice types(context->input_types());
    return std::all_of(
        types.begin() + kFirstArgument,
        types.begin() + this->BeforePaddings(types.size()),
        [](DataType type) { return type == DataTypeToEnum<T>::value; });
  }

  Status ReadFusedOps(OpKernelConstruction* context, std::vector<string>* ops) {
    if (context->def().op() == "_MklNativeConv2DWithBias") {
      ops->push_back("BiasAdd");
      return Status();
    }
    TF_RETURN_IF_ERROR(context->GetAttr("epsilon", &epsilon_));
    return context->GetAttr("fused_ops", ops);
  }

  // False for what Grappler fuses, where there is oneDNN, and no stock kernel
  // knows, and for what stock depthwise kernels do not know.
  static bool StockFuses(OpKernelConstruction* context) {
    std::vector<string> ops;
    if (!context->GetAttr("fused_ops", &ops).ok() || ops.empty() ||
        ops[0] != "FusedBatchNorm") {
      return true;
    }
    return !IsDepthwise(context->def().op()) &&
           (ops.size() != 2 ||
            (ops[1] != "Mish" && ops[1] != "Sigmoid" && ops[1] != "Tanh"));
  }

  bool Fuses(const std::vector<string>& ops) {
    if (ops.empty()) return true;  // Grappler fused nothing but padding.
    batch_norm_ = ops[0] == "FusedBatchNorm";
    if (!batch_norm_ && ops[0] != "BiasAdd") return false;
    add_ = !batch_norm_ && ops.size() > 1 && ops[1] == "Add";
    const size_t first = add_ ? 2 : 1;
    if (ops.size() == first) return true;
    if (ops.size() > first + 1) return false;
    // The first ones alone may stand behind a sum.
    constexpr std::pair<const char*, Activation> kActivations[] = {
        {"Relu", Activation::kRelu},
        {"Relu6", Activation::kRelu6},
        {"Elu", Activation::kElu},
        {"LeakyRelu", Activation::kLeakyRelu},
        {"Mish", Activation::kMish},
        {"Sigmoid", Activation::kSigmoid},
        {"Tanh", Activation::kTanh},
        {"_FusedHardSwish", Activation::kHardSwish},
        {"_MklSwish", Activation::kSwish},
    };
    for (const auto& pair : kActivations) {
      if (ops[first] == pair.first) activation_ = pair.second;
    }
    if (activation_ == Activation::kLeakyRelu) return has_leaky_relu_;
    return activation_ != Activation::kNone &&
           (!add_ || activation_ <= Activation::kElu);
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
    if (StatesImageAlone(problem->input_shape, kSpatialRank,
                         problem->depthwise)) {
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

// There may be an output for the gradient of a bias, too.
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
    Tensor* bias_backprop = nullptr;
    if (context->num_outputs() > 1) {
      TF_RETURN_IF_ERROR(AllocateOutput(context, {geometry.output_channels},
                                        &bias_backprop, /*index=*/1));
    }
    return LaunchFilterGradient<T>(context, geometry, context->input(0),
                                   context->input(2), filter_backprop,
                                   bias_backprop);
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
  if (ServesDepthwise()) {
    Override<ForwardOp, 2, half, float, double>("DepthwiseConv2dNative", &all);
    Override<InputGradientOp, 2, half, float, double>(
        "DepthwiseConv2dNativeBackpropInput", &all);
    Override<FilterGradientOp, 2, half, float, double>(
        "DepthwiseConv2dNativeBackpropFilter", &all);
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
  OverrideOneDnn<FusedOp, 2>("_MklNativeConv2DWithBias", &all);
  OverrideOneDnn<ForwardOp, 2>("_MklNativePadWithConv2D", &all);
  OverrideOneDnn<FusedOp, 2>("_MklNativePadWithFusedConv2D", &all);
  OverrideOneDnn<FilterGradientOp, 2>("_MklNativeConv2DBackpropFilter", &all);
  OverrideOneDnn<FilterGradientOp, 2>("_MklNativeConv2DBackpropFilterWithBias",
                                      &all);
  OverrideOneDnn<ForwardOp, 3>("_MklNativeConv3D", &all);
  OverrideOneDnn<FusedOp, 3>("_MklNativeFusedConv3D", &all);
  OverrideOneDnn<InputGradientOp, 3>("_MklNativeConv3DBackpropInputV2", &all);
  OverrideOneDnn<FilterGradientOp, 3>("_MklNativeConv3DBackpropFilterV2", &all);
  if (!ServesDepthwise()) return all;
  Override<ForwardOp, 2, bfloat16>("DepthwiseConv2dNative", &all);
  Override<InputGradientOp, 2, bfloat16>("DepthwiseConv2dNativeBackpropInput",
                                         &all);
  Override<FilterGradientOp, 2, bfloat16>("DepthwiseConv2dNativeBackpropFilter",
                                          &all);
  Override<FusedOp, 2, bfloat16, half, float>("_FusedDepthwiseConv2dNative",
                                              &all);
  OverrideOneDnn<ForwardOp, 2>("_MklNativeDepthwiseConv2dNative", &all);
  OverrideOneDnn<FusedOp, 2>("_MklNativeFusedDepthwiseConv2dNative", &all);
  OverrideOneDnn<InputGradientOp, 2>(
      "_MklNativeDepthwiseConv2dNativeBackpropInput", &all);
  OverrideOneDnn<FilterGradientOp, 2>(
      "_MklNativeDepthwiseConv2dNativeBackpropFilter", &all);
  return all;
}

}  // namespace

Status RegisterGroupedConvKernels(StockKernelsAre stock_kernels_are) {
  return RegisterAboveStock(Overrides(), stock_kernels_are);
}

}  // namespace tensorflow
