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

#include "tensorflow/core/kernels/grouped_conv/merged_groups.h"

#include <algorithm>
#include <cstring>

#include "tensorflow/core/kernels/grouped_conv/tiling.h"

namespace grouped_conv {
namespace {

// Of a tile: pairs of a row of x, and lanes.
constexpr int64_t kTilePairs = 16;
constexpr int64_t kLanes = 16;
// Of fewer channels of x a group, too much would be zeros.
constexpr int64_t kFewestMerged = 3;
// For so many positions of out a merged filter is worth being made; for so many
// times channels, where these fill vectors without gaps.
constexpr int64_t kFewestPositions = 32;
constexpr int64_t kFewestPositionsTimesChannels = 1568;
// Channels of merged groups, at most.
constexpr int64_t kMostChannels = 64;
// A merged filter, in bytes, at most.
constexpr int64_t kMostFilterBytes = 1 << 20;

// Calls f(elements of the filter, of the merged one, count) for all neighbours
// that are so in both, of a tap.
template <typename F>
void ForNeighbours(const ConvGeometry& g, int64_t merged, int64_t tap,
                   const F& f) {
  const int64_t in = g.input_channels_per_group();
  const int64_t out = g.output_channels_per_group();
  for (int64_t c = 0; c < in; ++c) {
    for (int64_t group = 0; group < g.groups; ++group) {
      const int64_t merged_channel = group % merged * in + c;
      f((tap * in + c) * g.output_channels + group * out,
        (tap * merged * in + merged_channel) * g.output_channels + group * out,
        out);
    }
  }
}

}  // namespace

bool MayPair(const AllKernels& kernels, const ConvGeometry& geometry,
             const void* x) {
  return kernels.of_pairs != nullptr &&
         geometry.layout == Layout::kChannelsLast &&
         reinterpret_cast<uintptr_t>(x) % alignof(float) == 0;
}

int64_t MergedGroups(const ConvGeometry& g, bool backward) {
  int64_t x_channels = g.input_channels_per_group();
  int64_t out_channels = g.output_channels_per_group();
  if (backward) std::swap(x_channels, out_channels);
  const bool odd = x_channels % 2 != 0;
  if (x_channels < kFewestMerged ||
      (!odd && x_channels >= kFewestPairedChannels)) {
    return 1;
  }
  const int64_t positions = g.batch * g.output_pixels();
  if (positions < kFewestPositions ||
      (kLanes % x_channels == 0 &&
       positions * x_channels < kFewestPositionsTimesChannels)) {
    return 1;
  }
  int64_t best = 1;
  double least = 0;
  const int64_t most = kMostChannels / std::max(x_channels, out_channels);
  for (int64_t merged = 2; merged <= most; ++merged) {
    if (g.groups % merged != 0 || merged * x_channels % 2 != 0 ||
        merged * x_channels < kFewestPairedChannels) {
      continue;
    }
    const int64_t depth = g.dim[2].filter * merged * x_channels / 2;
    const double cost =
        static_cast<double>(CeilDiv(depth, kTilePairs) *
                            CeilDiv(merged * out_channels, kLanes)) /
        merged;
    if (best == 1 || cost < least) {
      best = merged;
      least = cost;
    }
  }
  const int64_t bytes = kMostFilterBytes / sizeof(BFloat16) / best;
  return g.filter_size() <= bytes ? best : 1;
}

ConvGeometry WithMergedGroups(const ConvGeometry& geometry, int64_t merged) {
  ConvGeometry g = geometry;
  g.groups /= merged;
  return g;
}

void MergeFilter(const ConvGeometry& geometry, int64_t merged,
                 const BFloat16* filter, BFloat16* merged_filter,
                 TaskRunner* runner) {
  const int64_t tap_size =
      merged * geometry.input_channels_per_group() * geometry.output_channels;
  runner->Run(geometry.filter_taps(), tap_size, [&](int64_t tap) {
    std::memset(merged_filter + tap * tap_size, 0, tap_size * sizeof(BFloat16));
    ForNeighbours(geometry, merged, tap,
                  [=](int64_t i, int64_t j, int64_t count) {
                    std::copy_n(filter + i, count, merged_filter + j);
                  });
  });
}

void TakeFromMerged(const ConvGeometry& geometry, int64_t merged,
                    const BFloat16* merged_filter, BFloat16* filter,
                    TaskRunner* runner) {
  const int64_t tap_size =
      geometry.input_channels_per_group() * geometry.output_channels;
  runner->Run(geometry.filter_taps(), tap_size, [&](int64_t tap) {
    ForNeighbours(geometry, merged, tap,
                  [=](int64_t i, int64_t j, int64_t count) {
                    std::copy_n(merged_filter + j, count, filter + i);
                  });
  });
}

}  // namespace grouped_conv
