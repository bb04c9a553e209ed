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

// How a pass is cut into tiles whose operands fit scratch memory.
//
// All three passes are sums of small matrix products x * w:
//
//                   x              w                sum
//   Forward         input          filter           output
//   InputGradient   output's grad  filter, flipped  input's gradient
//   FilterGradient  input          output's grad    filter's gradient
//
// x and w are copied to scratch first, rows of x with zeros for padding, unless
// they lie in the tensor as they would there. The tensors that have a pixel for
// each position of the filter are called "out" here: the sum's, or in
// FilterGradient w's. Channels are counted per group.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_TILING_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_TILING_H_

#include <cstdint>

#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/kernels.h"
#include "tensorflow/core/kernels/grouped_conv/scratch.h"

namespace grouped_conv {

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Pieces of [0, size) of at most `most`, as equal as can be.
struct Pieces {
  Pieces(int64_t size, int64_t most)
      : pieces(CeilDiv(size, most)),
        count(pieces == 0 ? 0 : size / pieces),
        larger(size - count * pieces) {}
  // Calls run(first, count) for each, without a division.
  template <typename F>
  void ForEach(const F& run) const {
    int64_t first = 0;
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t now = i < larger ? count + 1 : count;
      run(first, now);
      first += now;
    }
  }

  int64_t pieces;
  int64_t count;   // Of a piece.
  int64_t larger;  // So many pieces have one more.
};

// Elements between neighbours in a tensor.
struct Steps {
  int64_t batch;
  int64_t pixel;
  int64_t group;
  int64_t channel;
};

Steps TensorSteps(const ConvGeometry& geometry, int64_t channels,
                  int64_t pixels);

// A filter of one tap that skips no pixel takes them in any order: returns
// `geometry` with rows that fill tiles better, if there are such rows.
ConvGeometry WithFullTiles(const ConvGeometry& geometry);

// How groups and channels lie in the vectors of w and sum: each holds some
// channels of some neighbouring groups, which are a block, so that lane c *
// groups_per_block + g is channel c of group g. x has one value for each of a
// block's groups.
struct Form {
  // Chooses how many groups, with a logarithm of most_log_groups or less, fill
  // the most lanes or, of those, how many need `best_vectors` for a block.
  // `scalar_bytes` is the size of a lane. Vectors of more than one group count
  // `several_groups_cost` times.
  Form(int64_t lanes, int64_t scalar_bytes, int64_t groups, int64_t x_channels,
       int64_t vector_channels, int most_log_groups, int64_t best_vectors,
       double several_groups_cost);

  int64_t blocks() const { return CeilDiv(groups, groups_per_block()); }
  int64_t groups_per_block() const { return int64_t{1} << log_groups; }
  // How many vectors have the channels of a block.
  int64_t Vectors(int64_t channels) const {
    return CeilDiv(channels, channels_per_vector);
  }
  // How `channels` of the groups of `blocks` blocks are copied, for so many
  // pixels of which each takes `scratch_pixel` elements in scratch, and each
  // block scratch_block and, of an epilogue, epilogue_block.
  Mapping Map(const Steps& steps, int64_t block, int64_t blocks, int64_t pixels,
              int64_t channels, int64_t scratch_pixel, int64_t scratch_block,
              int64_t epilogue_block = 0) const;

  int64_t lanes;
  int64_t groups;
  int log_groups;
  int64_t channels_per_vector;
};

// Where, in one dimension, the tap of the filter at `position` of out finds x;
// -1 for padding, and for what a stride skips. Backward is InputGradient.
int64_t SourcePosition(const Dimension& dim, bool backward, int64_t position,
                       int64_t tap);

// Taps of a row of the filter that multiply neighbouring pixels of x.
struct Run {
  int64_t tap;  // The first, in the order of RowPlan::taps.
  int64_t count;
  int64_t x;  // The pixel of the first, at the phase's first position.
};

// Positions in a row of out that use the same taps: all of them or, where
// InputGradient has a stride, each stride-th; or neighbours, where taps for
// padding are left out.
struct Phase {
  int64_t first;  // Position.
  int64_t count;
  int64_t first_run;
  int64_t end_run;
};

// What the positions of a row of out multiply. Those of a phase are out_step
// apart, and their pixels of x are x_step apart.
struct RowPlan {
  // Returns false if there is no memory.
  bool Make(const Dimension& dim, bool backward);
  // Divides the one phase that there is into some whose taps all find one of
  // `x_size` pixels: those at the ends of a row have no taps for padding.
  // Returns false if there is no memory.
  bool LeaveOutPadding(int64_t x_size);

  int64_t num_taps;
  int64_t num_phases;
  int64_t x_step;
  int64_t out_step;
  int64_t phase_count;  // Positions of a phase, at most.
  int64_t phase_taps;   // Taps of a phase, at most.
  int64_t tap_step;     // Pixels of x between neighbouring taps of a phase.
  Array<int64_t> taps;  // The filter's, in the order of the runs.
  Array<Run> runs;
  Array<Phase> phases;
};

// Part of the filter: rows, taps in them, channels of x.
struct Chunk {
  int64_t first_row, rows;
  int64_t first_tap, taps;
  int64_t first_channel, channels;
};

// The part of a run that is in the chunk, if its count is positive.
Run Clip(const Run& run, const Chunk& chunk);

// How the filter is divided into chunks that fit scratch memory.
class Chunks {
 public:
  Chunks() = default;
  // One chunk.
  Chunks(int64_t rows, int64_t taps, int64_t channels);

  int64_t count() const;
  Chunk Get(int64_t index) const;
  // The size that no chunk exceeds.
  const Chunk& largest() const { return largest_; }
  // Whether the largest chunk fits, if each of its elements takes
  // `element_bytes`, and each row of x that it needs `row_bytes`.
  bool Fit(int64_t element_bytes, int64_t row_bytes) const;
  void Halve();

 private:
  Chunk all_;
  Chunk largest_;
};

// Pixels [first, end) of a row of x.
struct Span {
  int64_t first;
  int64_t end;
};

// What positions [begin, end) of the phases [first_phase, end_phase) need.
Span NeededSpan(const RowPlan& plan, const Chunk& chunk, int64_t first_phase,
                int64_t end_phase, int64_t begin, int64_t end);

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_TILING_H_
