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

// Grouped convolution and its gradients by their definition, in loops that
// share nothing with the kernels: what tests compare with.
//
// Arrays are those of the tensors, as numbers in double precision.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_REFERENCE_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_REFERENCE_H_

#include <cstdint>

#include "tensorflow/core/kernels/grouped_conv/geometry.h"

namespace grouped_conv {

// Calls visit(input index, filter index, output index) for every product that
// makes up the convolution.
template <typename Visit>
void ForEachProduct(const ConvGeometry& g, const Visit& visit) {
  const Dimension& d = g.dim[0];
  const Dimension& h = g.dim[1];
  const Dimension& w = g.dim[2];
  const int64_t depth = g.input_channels_per_group();
  const int64_t width = g.output_channels_per_group();
  const auto index = [&g](int64_t n, int64_t pixel, int64_t channel,
                          int64_t pixels, int64_t channels) {
    return g.layout == Layout::kChannelsLast
               ? (n * pixels + pixel) * channels + channel
               : (n * channels + channel) * pixels + pixel;
  };
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t oz = 0; oz < d.output; ++oz) {
      for (int64_t oy = 0; oy < h.output; ++oy) {
        for (int64_t ox = 0; ox < w.output; ++ox) {
          for (int64_t kz = 0; kz < d.filter; ++kz) {
            for (int64_t ky = 0; ky < h.filter; ++ky) {
              for (int64_t kx = 0; kx < w.filter; ++kx) {
                const int64_t iz =
                    oz * d.stride + kz * d.dilation - d.pad_before;
                const int64_t iy =
                    oy * h.stride + ky * h.dilation - h.pad_before;
                const int64_t ix =
                    ox * w.stride + kx * w.dilation - w.pad_before;
                if (iz < 0 || iz >= d.input || iy < 0 || iy >= h.input ||
                    ix < 0 || ix >= w.input) {
                  continue;
                }
                const int64_t in_pixel = (iz * h.input + iy) * w.input + ix;
                const int64_t out_pixel = (oz * h.output + oy) * w.output + ox;
                const int64_t tap = (kz * h.filter + ky) * w.filter + kx;
                for (int64_t o = 0; o < g.output_channels; ++o) {
                  for (int64_t c = 0; c < depth; ++c) {
                    visit(index(n, in_pixel, o / width * depth + c,
                                g.input_pixels(), g.input_channels),
                          (tap * depth + c) * g.output_channels + o,
                          index(n, out_pixel, o, g.output_pixels(),
                                g.output_channels));
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}

enum class Pass { kForward, kInputGradient, kFilterGradient };

// What a pass computes, and the sum of the magnitudes of what is summed:
// elements of `sum` and `magnitude`, which are zeros before, of those of its
// two factors, in the order input, filter, output.
void SumProducts(const ConvGeometry& g, Pass pass, const double* first,
                 const double* second, double* sum, double* magnitude);

// The sum of the magnitudes of what Winograd's algorithm sums, where forward or
// the input's gradient is computed by it. `x` is the input or the output's
// gradient.
void SumWinogradMagnitudes(const ConvGeometry& g, Pass pass, const double* x,
                           const double* filter, double* magnitude);

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_GROUPED_CONV_REFERENCE_H_
