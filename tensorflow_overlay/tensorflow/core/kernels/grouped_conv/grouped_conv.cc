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

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace grouped_conv {
namespace {

// Sums are made in this type: int32_t wraps around, which only unsigned
// arithmetic may do in C++.
template <typename T>
struct SumType {
  using type = T;
};
template <>
struct SumType<Half> {
  using type = float;
};
template <>
struct SumType<int32_t> {
  using type = uint32_t;
};
template <typename T>
using Sum = typename SumType<T>::type;

template <typename T>
inline Sum<T> Load(T value) {
  return static_cast<Sum<T>>(value);
}
template <typename T>
inline T Store(Sum<T> value) {
  return static_cast<T>(value);
}

template <>
inline float Load<Half>(Half value) {
  // Multiplying by 2^112 moves the exponent to float's bias, and makes
  // subnormals normal.
  const uint32_t bits = value.bits;
  const uint32_t magnitude = (bits & 0x7fff) << 13;
  float result;
  std::memcpy(&result, &magnitude, sizeof(result));
  result *= 5.192296858534828e33f;
  uint32_t result_bits;
  std::memcpy(&result_bits, &result, sizeof(result));
  if ((bits & 0x7c00) == 0x7c00) result_bits = magnitude | 0x7f800000;
  result_bits |= (bits & 0x8000) << 16;
  std::memcpy(&result, &result_bits, sizeof(result));
  return result;
}

template <>
inline Half Store<Half>(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint16_t sign = (bits >> 16) & 0x8000;
  bits &= 0x7fffffff;
  uint16_t result;
  if (bits > 0x7f800000) {
    result = 0x7e00;  // NaN.
  } else if (bits >= 0x477ff000) {
    result = 0x7c00;  // Rounds to infinity.
  } else if (bits < 0x38800000) {
    // Subnormal: adding 1/2 leaves the fraction's 10 bits, rounded to nearest
    // even by the addition itself, at the bottom.
    float magnitude;
    std::memcpy(&magnitude, &bits, sizeof(bits));
    magnitude += 0.5f;
    std::memcpy(&bits, &magnitude, sizeof(bits));
    result = static_cast<uint16_t>(bits - 0x3f000000);
  } else {
    bits += 0xfff + ((bits >> 13) & 1);  // To nearest even.
    result = static_cast<uint16_t>((bits - 0x38000000) >> 13);
  }
  return Half{static_cast<uint16_t>(sign | result)};
}

// Steps in elements between neighbours in a tensor, for either layout.
struct Steps {
  Steps(Layout layout, int64_t channels, int64_t pixels)
      : batch(channels * pixels),
        pixel(layout == Layout::kChannelsLast ? channels : 1),
        channel(layout == Layout::kChannelsLast ? 1 : pixels) {}
  int64_t batch;
  int64_t pixel;
  int64_t channel;
};

// How many channels are summed at once.
constexpr int64_t kBlock = 32;

// Sums as the numbers they stand for.
template <typename T>
using Value =
    typename std::conditional<std::is_same<T, Half>::value, float, T>::type;

template <typename T>
Value<T> Activate(Activation activation, Value<T> value) {
  switch (activation) {
    case Activation::kNone:
      return value;
    case Activation::kRelu:
      return value < 0 ? 0 : value;
    case Activation::kRelu6:
      return value < 0 ? 0 : (value > 6 ? 6 : value);
    case Activation::kElu:
      return value < 0 ? static_cast<Value<T>>(std::expm1(value)) : value;
  }
  return value;
}

// Calls visit(tap, input pixel, output pixel) for each tap of the filter by
// which the output pixel at `output` sees a pixel of the input.
template <typename Visit>
void ForEachTap(const ConvGeometry& geometry, const int64_t (&output)[3],
                const Visit& visit) {
  const Dimension* dim = geometry.dim;
  int64_t tap = 0;
  for (int64_t d = 0; d < dim[0].filter; ++d) {
    const int64_t z =
        output[0] * dim[0].stride - dim[0].pad_before + d * dim[0].dilation;
    for (int64_t h = 0; h < dim[1].filter; ++h) {
      const int64_t y =
          output[1] * dim[1].stride - dim[1].pad_before + h * dim[1].dilation;
      for (int64_t w = 0; w < dim[2].filter; ++w, ++tap) {
        const int64_t x =
            output[2] * dim[2].stride - dim[2].pad_before + w * dim[2].dilation;
        if (z >= 0 && z < dim[0].input && y >= 0 && y < dim[1].input &&
            x >= 0 && x < dim[2].input) {
          visit(tap, (z * dim[1].input + y) * dim[2].input + x);
        }
      }
    }
  }
}

// Calls visit(tap, output pixel) for each tap of the filter by which a pixel of
// the output sees the input pixel at `input`.
template <typename Visit>
void ForEachTapBackward(const ConvGeometry& geometry, const int64_t (&input)[3],
                        const Visit& visit) {
  const Dimension* dim = geometry.dim;
  // The output position in dimension i that sees `input` by `tap`, or -1.
  const auto position = [&](int i, int64_t tap) -> int64_t {
    const int64_t start = input[i] + dim[i].pad_before - tap * dim[i].dilation;
    if (start < 0 || start % dim[i].stride != 0) return -1;
    const int64_t result = start / dim[i].stride;
    return result < dim[i].output ? result : -1;
  };
  int64_t tap = 0;
  for (int64_t d = 0; d < dim[0].filter; ++d) {
    const int64_t z = position(0, d);
    for (int64_t h = 0; h < dim[1].filter; ++h) {
      const int64_t y = position(1, h);
      for (int64_t w = 0; w < dim[2].filter; ++w, ++tap) {
        const int64_t x = position(2, w);
        if (z >= 0 && y >= 0 && x >= 0) {
          visit(tap, (z * dim[1].output + y) * dim[2].output + x);
        }
      }
    }
  }
}

}  // namespace

template <typename T>
Result Forward(const ConvGeometry& geometry, const T* input, const T* filter,
               const Epilogue<T>& epilogue, T* output, TaskRunner* runner) {
  const ConvGeometry& g = geometry;
  if (g.output_size() == 0) return Result::kOk;
  const Steps in(g.layout, g.input_channels, g.input_pixels());
  const Steps out(g.layout, g.output_channels, g.output_pixels());
  const int64_t depth = g.input_channels_per_group();
  const int64_t width = g.output_channels_per_group();
  const int64_t rows = g.dim[0].output * g.dim[1].output;
  runner->Run(
      g.batch * rows,
      g.dim[2].output * g.filter_taps() * depth * g.output_channels,
      [&](int64_t task) {
        const T* image = input + task / rows * in.batch;
        const int64_t row = task % rows;
        for (int64_t x = 0; x < g.dim[2].output; ++x) {
          const int64_t position[3] = {row / g.dim[1].output,
                                       row % g.dim[1].output, x};
          T* pixel = output + task / rows * out.batch +
                     (row * g.dim[2].output + x) * out.pixel;
          for (int64_t group = 0; group < g.groups; ++group) {
            for (int64_t o = 0; o < width; o += kBlock) {
              const int64_t count = std::min(kBlock, width - o);
              const int64_t first = group * width + o;
              Sum<T> sum[kBlock] = {};
              ForEachTap(g, position, [&](int64_t tap, int64_t in_pixel) {
                for (int64_t c = 0; c < depth; ++c) {
                  const Sum<T> factor =
                      Load(image[in_pixel * in.pixel +
                                 (group * depth + c) * in.channel]);
                  const T* weights =
                      filter + (tap * depth + c) * g.output_channels + first;
                  for (int64_t i = 0; i < count; ++i) {
                    sum[i] += factor * Load(weights[i]);
                  }
                }
              });
              for (int64_t i = 0; i < count; ++i) {
                if (epilogue.scale) sum[i] *= Load(epilogue.scale[first + i]);
                if (epilogue.bias) sum[i] += Load(epilogue.bias[first + i]);
                pixel[(first + i) * out.channel] = Store<T>(
                    Activate<T>(epilogue.activation, Value<T>(sum[i])));
              }
            }
          }
        }
      });
  return Result::kOk;
}

template <typename T>
Result InputGradient(const ConvGeometry& geometry, const T* filter,
                     const T* output_backprop, T* input_backprop,
                     TaskRunner* runner) {
  const ConvGeometry& g = geometry;
  if (g.input_size() == 0) return Result::kOk;
  const Steps in(g.layout, g.input_channels, g.input_pixels());
  const Steps out(g.layout, g.output_channels, g.output_pixels());
  const int64_t depth = g.input_channels_per_group();
  const int64_t width = g.output_channels_per_group();
  const int64_t rows = g.dim[0].input * g.dim[1].input;
  runner->Run(
      g.batch * rows,
      g.dim[2].input * g.filter_taps() * depth * g.output_channels,
      [&](int64_t task) {
        const T* image = output_backprop + task / rows * out.batch;
        const int64_t row = task % rows;
        for (int64_t x = 0; x < g.dim[2].input; ++x) {
          const int64_t position[3] = {row / g.dim[1].input,
                                       row % g.dim[1].input, x};
          T* pixel = input_backprop + task / rows * in.batch +
                     (row * g.dim[2].input + x) * in.pixel;
          for (int64_t group = 0; group < g.groups; ++group) {
            for (int64_t c = 0; c < depth; c += kBlock) {
              const int64_t count = std::min(kBlock, depth - c);
              Sum<T> sum[kBlock] = {};
              ForEachTapBackward(
                  g, position, [&](int64_t tap, int64_t out_pixel) {
                    for (int64_t i = 0; i < count; ++i) {
                      const T* weights =
                          filter + (tap * depth + c + i) * g.output_channels +
                          group * width;
                      const T* gradient = image + out_pixel * out.pixel +
                                          group * width * out.channel;
                      for (int64_t o = 0; o < width; ++o) {
                        sum[i] +=
                            Load(gradient[o * out.channel]) * Load(weights[o]);
                      }
                    }
                  });
              for (int64_t i = 0; i < count; ++i) {
                pixel[(group * depth + c + i) * in.channel] = Store<T>(sum[i]);
              }
            }
          }
        }
      });
  return Result::kOk;
}

template <typename T>
Result FilterGradient(const ConvGeometry& geometry, const T* input,
                      const T* output_backprop, T* filter_backprop,
                      TaskRunner* runner) {
  const ConvGeometry& g = geometry;
  if (g.filter_size() == 0) return Result::kOk;
  const Steps in(g.layout, g.input_channels, g.input_pixels());
  const Steps out(g.layout, g.output_channels, g.output_pixels());
  const int64_t depth = g.input_channels_per_group();
  const int64_t width = g.output_channels_per_group();
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  // A task makes a block of output channels of one input channel's filter, for
  // all taps of a row of the filter.
  const int64_t taps = g.dim[2].filter;
  runner->Run(
      g.filter_taps() / taps * g.input_channels * blocks,
      taps * g.batch * g.output_pixels() * kBlock, [&](int64_t task) {
        const int64_t o = task % blocks * kBlock;
        const int64_t channel = task / blocks % g.input_channels;
        const int64_t filter_row = task / blocks / g.input_channels;
        const int64_t count = std::min(kBlock, width - o);
        const int64_t first = channel / depth * width + o;
        const int64_t first_y = filter_row % g.dim[1].filter;
        const int64_t first_z = filter_row / g.dim[1].filter;
        for (int64_t w = 0; w < taps; ++w) {
          Sum<T> sum[kBlock] = {};
          for (int64_t n = 0; n < g.batch; ++n) {
            for (int64_t pixel = 0; pixel < g.output_pixels(); ++pixel) {
              const int64_t row = pixel / g.dim[2].output;
              const int64_t z = row / g.dim[1].output * g.dim[0].stride -
                                g.dim[0].pad_before +
                                first_z * g.dim[0].dilation;
              const int64_t y = row % g.dim[1].output * g.dim[1].stride -
                                g.dim[1].pad_before +
                                first_y * g.dim[1].dilation;
              const int64_t x = pixel % g.dim[2].output * g.dim[2].stride -
                                g.dim[2].pad_before + w * g.dim[2].dilation;
              if (z < 0 || z >= g.dim[0].input || y < 0 ||
                  y >= g.dim[1].input || x < 0 || x >= g.dim[2].input) {
                continue;
              }
              const int64_t in_pixel =
                  (z * g.dim[1].input + y) * g.dim[2].input + x;
              const Sum<T> factor =
                  Load(input[n * in.batch + in_pixel * in.pixel +
                             channel * in.channel]);
              const T* gradient = output_backprop + n * out.batch +
                                  pixel * out.pixel + first * out.channel;
              for (int64_t i = 0; i < count; ++i) {
                sum[i] += factor * Load(gradient[i * out.channel]);
              }
            }
          }
          T* weights = filter_backprop +
                       ((filter_row * taps + w) * depth + channel % depth) *
                           g.output_channels +
                       first;
          for (int64_t i = 0; i < count; ++i) weights[i] = Store<T>(sum[i]);
        }
      });
  return Result::kOk;
}

#define INSTANTIATE(T)                                                       \
  template Result Forward<T>(const ConvGeometry&, const T*, const T*,        \
                             const Epilogue<T>&, T*, TaskRunner*);           \
  template Result InputGradient<T>(const ConvGeometry&, const T*, const T*,  \
                                   T*, TaskRunner*);                         \
  template Result FilterGradient<T>(const ConvGeometry&, const T*, const T*, \
                                    T*, TaskRunner*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Half)
INSTANTIATE(int32_t)
#undef INSTANTIATE

}  // namespace grouped_conv
