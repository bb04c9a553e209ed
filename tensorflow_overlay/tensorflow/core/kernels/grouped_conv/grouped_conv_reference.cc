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

#include "tensorflow/core/kernels/grouped_conv/grouped_conv_reference.h"

#include <cmath>
#include <vector>

namespace grouped_conv {
namespace {

// F(2, 3) is, with x for pixels and w for taps,
//   (x0 - x2) w0 + (x1 + x2) (w0 + w1 + w2) / 2 + (x2 - x1) (w0 - w1 + w2) / 2
// and the same from behind. The sum of magnitudes of all products that these
// terms are made of, before any of them cancel each other, has x * w so often:
double WinogradFactor(int64_t position, int64_t pixel, int64_t tap) {
  static const double kFactor[4][3] = {{1, 0, 0}, {1, 1, 1}, {2, 1, 1}, {}};
  return position == 0 ? kFactor[pixel][tap] : kFactor[3 - pixel][2 - tap];
}

}  // namespace

void SumProducts(const ConvGeometry& g, Pass pass, const double* first,
                 const double* second, double* sum, double* magnitude) {
  const auto add = [=](int64_t i, double product) {
    sum[i] += product;
    magnitude[i] += std::fabs(product);
  };
  switch (pass) {
    case Pass::kForward:
      ForEachProduct(g, [=](int64_t in, int64_t tap, int64_t out) {
        add(out, first[in] * second[tap]);
      });
      break;
    case Pass::kInputGradient:
      ForEachProduct(g, [=](int64_t in, int64_t tap, int64_t out) {
        add(in, first[tap] * second[out]);
      });
      break;
    case Pass::kFilterGradient:
      ForEachProduct(g, [=](int64_t in, int64_t tap, int64_t out) {
        add(tap, first[in] * second[out]);
      });
      break;
  }
}

void SumWinogradMagnitudes(const ConvGeometry& g, Pass pass, const double* x,
                           const double* filter, double* magnitude) {
  const int64_t depth = g.input_channels_per_group();
  const int64_t width = g.output_channels_per_group();
  const bool backward = pass == Pass::kInputGradient;
  // Sums of magnitudes of the taps that pixel i of a tile's 4x4 is multiplied
  // by for a position of its 2x2.
  const int64_t filter_channels = depth * g.output_channels;
  const auto weights_of = [&](int64_t position, int64_t i, int64_t plane) {
    return ((position * 16 + i) * g.dim[0].filter + plane) * filter_channels;
  };
  std::vector<double> weights(weights_of(4, 0, 0));
  for (int64_t position = 0; position < 4; ++position) {
    for (int64_t i = 0; i < 16; ++i) {
      for (int64_t tap = 0; tap < 9 * g.dim[0].filter; ++tap) {
        const double factor = WinogradFactor(position / 2, i / 4, tap % 9 / 3) *
                              WinogradFactor(position % 2, i % 4, tap % 3);
        const int64_t in_filter = backward ? tap / 9 * 9 + 8 - tap % 9 : tap;
        double* const sums = &weights[weights_of(position, i, tap / 9)];
        for (int64_t j = 0; j < filter_channels && factor != 0; ++j) {
          sums[j] +=
              factor * std::fabs(filter[in_filter * filter_channels + j]);
        }
      }
    }
  }
  // Calls visit(index of the sum's element, of x's, of the weights) for channel
  // 0, where each z of the input meets each of the output that the filter's
  // plane does.
  const auto visit_pixels = [&](const auto& visit) {
    const auto size = [&](int i, bool of_x) {
      return of_x == backward ? g.dim[i].output : g.dim[i].input;
    };
    const auto pixel_of = [&](int64_t image, int64_t in_z, int64_t out_z,
                              int64_t row, int64_t column, bool of_x) {
      const int64_t z = of_x == backward ? out_z : in_z;
      return ((image * size(0, of_x) + z) * size(1, of_x) + row) *
                 size(2, of_x) +
             column;
    };
    const auto first = [&](int i, int64_t position) {
      return position / 2 * 2 +
             (backward ? g.dim[i].pad_before - 2 : -g.dim[i].pad_before);
    };
    const Dimension& planes = g.dim[0];
    for (int64_t image = 0; image < g.batch; ++image) {
      for (int64_t z = 0; z < planes.output * planes.filter; ++z) {
        const int64_t out_z = z / planes.filter, plane = z % planes.filter;
        const int64_t in_z =
            out_z * planes.stride + plane * planes.dilation - planes.pad_before;
        if (in_z < 0 || in_z >= planes.input) continue;
        for (int64_t i = 0; i < size(1, false) * size(2, false) * 16; ++i) {
          const int64_t row = i / 16 / size(2, false);
          const int64_t column = i / 16 % size(2, false);
          const int64_t x_row = first(1, row) + i % 16 / 4;
          const int64_t x_column = first(2, column) + i % 4;
          if (x_row < 0 || x_row >= size(1, true) || x_column < 0 ||
              x_column >= size(2, true)) {
            continue;
          }
          visit(pixel_of(image, in_z, out_z, row, column, false),
                pixel_of(image, in_z, out_z, x_row, x_column, true),
                weights_of(row % 2 * 2 + column % 2, i % 16, plane));
        }
      }
    }
  };
  // Where channel 0 of a pixel is, and the step to the next.
  const auto start = [&](int64_t pixel, int64_t pixels, int64_t channels) {
    return g.layout == Layout::kChannelsLast
               ? pixel * channels
               : pixel / pixels * pixels * channels + pixel % pixels;
  };
  const auto step = [&](int64_t pixels) {
    return g.layout == Layout::kChannelsLast ? 1 : pixels;
  };
  visit_pixels([&](int64_t sum, int64_t pixel, int64_t first_weight) {
    const int64_t in =
        start(backward ? sum : pixel, g.input_pixels(), g.input_channels);
    const int64_t out =
        start(backward ? pixel : sum, g.output_pixels(), g.output_channels);
    const int64_t in_step = step(g.input_pixels());
    const int64_t out_step = step(g.output_pixels());
    const double* const weight = &weights[first_weight];
    for (int64_t o = 0; o < g.output_channels; ++o) {
      const int64_t out_index = out + o * out_step;
      for (int64_t c = 0; c < depth; ++c) {
        const int64_t in_index = in + (o / width * depth + c) * in_step;
        magnitude[backward ? in_index : out_index] +=
            weight[c * g.output_channels + o] *
            std::fabs(x[backward ? out_index : in_index]);
      }
    }
  });
}

}  // namespace grouped_conv
