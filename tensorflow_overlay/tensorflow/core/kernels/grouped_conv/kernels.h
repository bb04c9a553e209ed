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

// The inner loops that have one implementation per instruction set: a matrix
// product over small tiles, sums of outer products, and the copies between
// tensors and the scratch arrays that these read and write.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_KERNELS_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_KERNELS_H_

#include <cstdint>

#include "tensorflow/core/kernels/grouped_conv/types.h"

namespace grouped_conv {

// Sums, and all else in scratch arrays, have this type: int32_t wraps around,
// which only unsigned arithmetic may do in C++.
template <typename T>
struct SumType {
  using type = T;
};
template <>
struct SumType<Half> {
  using type = float;
};
template <>
struct SumType<BFloat16> {
  using type = float;
};
template <>
struct SumType<int32_t> {
  using type = uint32_t;
};
template <typename T>
using Sum = typename SumType<T>::type;

// One of the products that a tile sums. `w` is a matrix of vectors; `x` one of
// as many values as a vector has groups, each for one group's lanes (see Form
// in tiling.h).
template <typename S>
struct Product {
  const S* x;
  const S* w;
  int64_t depth;  // Columns of x, rows of w.
};

// What is applied to sums where not null, with a value for each of a pixel's
// elements in scratch.
template <typename S>
struct ScratchEpilogue {
  const S* scale = nullptr;
  const S* bias = nullptr;
  Activation activation = Activation::kNone;
  float alpha = 0;  // Of kLeakyRelu.
};

// sum[i][o] (+)= products' sum over p, k of
//   x[p][x_offset + i * x_row + k * x_depth] *
//   w[p][w_offset + k * w_depth + o * lanes]
// for i < rows and o < vectors, where all are vectors, x's with its groups'
// values over and over, and then the same for other units, from the units'
// steps on. All steps are in elements. Sums go over p, then k, in
// ascending order, so do not depend on how rows and vectors were cut into
// tiles.
template <typename S>
struct Tile {
  const Product<S>* products;
  int64_t num_products;
  int64_t x_offset;
  int64_t x_row;
  int64_t x_depth;
  int64_t w_offset;
  int64_t w_depth;
  S* sum;
  int64_t sum_row;
  // If not 0, sums are stored group by group, with so many elements between the
  // first ones of groups. If those groups' channels are not neighbours, it
  // takes a vector with 128 bits for each.
  int64_t group_step;
  // If not 0, only so many lanes of the last vector are stored, which is of one
  // group.
  int64_t last_lanes;
  // If not null, is applied to the sums, which are float, before they are
  // stored. Its activation must be short. The first vector's values are at
  // epilogue_offset, and those of each further unit w_depth behind.
  const ScratchEpilogue<S>* epilogue;
  int64_t epilogue_offset;
  bool accumulate;  // Not with any of these.
  // If not null: where sums go, rounded, instead of to `sum`. Steps of sums are
  // in its elements then. If there are several groups, a tile has all of their
  // vectors, one or two, and their channels are neighbours.
  BFloat16* rounded;
  // Whether sums go past the caches, if Kernels::streams;
  // AllKernels::end_stream must follow. They are whole vectors then, each at a
  // multiple of its size. If there are several groups, it is as for `rounded`.
  bool streamed;
  int64_t units;
  int64_t x_unit;
  int64_t w_unit;
  int64_t sum_unit;
};

// Cache lines to fetch.
struct CacheLines {
  const char* first;
  int64_t step;  // Bytes.
  int64_t count;
};

// Sums of outer products, of rows of x and neighbouring vectors of w:
//   sum[i][o] += products' sum over p, k of
//     x[p][k * x_step + i * x_row] * w[p][k * w_step + o * lanes]
// for i < rows and o < vectors. Few sums are several sums of every so many-th
// column first, by the numbers of rows and vectors alone.
template <typename S>
struct OuterProducts {
  const Product<S>* products;
  int64_t num_products;
  int64_t rows;
  int64_t vectors;
  int64_t x_row;  // Faster if it is the number of groups: no gaps.
  int64_t x_step;
  int64_t w_step;
  S* sum;
  int64_t sum_row;
  CacheLines fetch[2];  // Meanwhile.
};

// How pixels of neighbouring groups' channels lie in a tensor and in scratch,
// where channel c of the g-th of a block's groups is element
// c * groups_per_block + g of the block's pixel.
struct Mapping {
  int64_t pixels;
  int64_t groups;
  int64_t channels;  // Of each group.
  // Elements between neighbours in the tensor.
  int64_t pixel_step;
  int64_t group_step;
  int64_t channel_step;
  int64_t groups_per_block;
  // Elements between neighbours in scratch.
  int64_t scratch_pixel;
  int64_t scratch_block;
  // Likewise between blocks' values in a ScratchEpilogue.
  int64_t epilogue_block;
};

constexpr int kMaxVectors = 4;  // Of a tile.
constexpr int kMaxRows = 14;
constexpr int kMaxLogGroups = 4;  // Of the groups of a vector.
constexpr int kMaxPairLogGroups = 3;

template <typename T>
struct Kernels {
  int lanes;  // Of a vector.
  // How many rows a tile of so many vectors, less 1, should have at most.
  int max_rows[kMaxVectors];
  // By the logarithm of a vector's groups, vectors - 1 and rows - 1.
  void (*multiply[kMaxLogGroups + 1][kMaxVectors][kMaxRows])(
      const Tile<Sum<T>>&);
  // The same for one vector if x_row is x_depth, so that what a row multiplies
  // with a column of w, its neighbour multiplies with the next. Null where
  // there is no such kernel.
  int max_neighbour_rows;
  void (*multiply_neighbours[kMaxLogGroups + 1][kMaxRows])(const Tile<Sum<T>>&);
  // The same for any x_row, of one vector with a channel of each of its groups,
  // if Tile::rounded can be set; two products may be summed at once, as
  // PairKernels sum two channels. Secondly, with x as it lies in the tensor,
  // whose elements its steps are in then. Null where there is no such kernel.
  void (*multiply_depthwise[2][kMaxRows])(const Tile<Sum<T>>&);
  void (*sum_outer[kMaxLogGroups + 1])(const OuterProducts<Sum<T>>&);
  bool streams;  // Whether Tile::streamed can be set.
  // sums += more, for a number of whole vectors.
  void (*add)(int64_t size, const Sum<T>* more, Sum<T>* sums);
  void (*pack)(const Mapping& mapping, const T* tensor, Sum<T>* scratch);
  // Reads whole vectors from scratch, whatever the number of channels.
  void (*unpack)(const Mapping& mapping, const Sum<T>* scratch,
                 const ScratchEpilogue<Sum<T>>& epilogue, T* tensor);
};

// Sums of outer products over pairs of positions:
//   sum[t][i][o] += rows' sum over p, k and both of a pair, j, of
//     x[p][x_offset + i * x_row + x_taps[t] + 2 * k + j] *
//     w[p][w_offset + k * w_depth + o * lanes][j]
// for t < taps, i < channels and o < vectors.
struct PairSums {
  struct Row {
    const BFloat16* x;
    const float* w;
  };
  const Row* rows;
  int64_t num_rows;
  int64_t depth;  // Of k.
  int64_t taps;
  int64_t channels;
  int64_t vectors;
  int64_t x_offset;
  int64_t x_row;
  const int64_t* x_taps;
  int64_t w_offset;
  int64_t w_depth;
  float* sum;
  int64_t sum_tap;
  int64_t sum_row;
};

// With fewer channels in a group, tiles are no faster, and pairs of positions
// neither.
constexpr int64_t kFewestPairedChannels = 10;

// Kernels that multiply pairs of bfloat16, of which each takes a float's place:
// x and w are two neighbouring channels each, the first in the lower half.
struct PairKernels {
  // Whether products are of the processor's tiles, of vectors of one group,
  // which multiply so much faster that much of what they do may be with zeros.
  bool tiles;
  // They multiply about so many times as fast as what they are counted as.
  int64_t speed;
  int64_t fewest_channels;  // That are summed over, for products to be faster.
  int max_rows[kMaxVectors];  // As Kernels'.
  // As Kernels<float>::multiply, but the processor may sum the two products of
  // a pair in an order of its own, and with tiles, sums go to scratch alone.
  // `state` says how the processor's tiles are set up, at first 0.
  void (*multiply[kMaxPairLogGroups + 1][kMaxVectors])(const Tile<float>& tile,
                                                       int64_t rows,
                                                       int64_t* state);
  void (*sum_outer)(const PairSums& sums, int64_t* state);
  // After which other code may use the tiles.
  void (*release)();
  // Makes pairs of an element of every other pixel and the same of the next, or
  // 0 if that is not there. Of vectors of one group, channels are neighbours in
  // the tensor; scratch_pixel is between pairs.
  void (*pair_pixels)(const Mapping& mapping, const BFloat16* tensor,
                      float* scratch);
  // to[c * channel_step + n] = from[n * pixel_step + c], of an even number of
  // channels. Returns whether all are finite.
  bool (*transpose)(int64_t pixels, int64_t channels, const BFloat16* from,
                    int64_t pixel_step, BFloat16* to, int64_t channel_step);
  // As Kernels<float>::pack. As Kernels<BFloat16>::unpack, where channels are
  // neighbours in the tensor and vectors of one group. The activation must be
  // short. `unpack` returns whether all sums were finite, before the epilogue.
  void (*pack)(const Mapping& mapping, const float* tensor, float* scratch);
  bool (*unpack)(const Mapping& mapping, const float* scratch,
                 const ScratchEpilogue<float>& epilogue, BFloat16* tensor);
};

// Winograd's minimal filtering F(2x2, 3x3): tiles of 2x2 positions of out are
// made of tiles of 4x4 pixels of x, two apart. These and the filter are
// transformed to 16 positions each, in which only channels are summed; and what
// that gives, back. Elements of scratch are those of a vector's groups, as
// ever; pixels there are whole vectors.
constexpr int kWinogradPositions = 16;

// Transforms a row of tiles of x.
struct WinogradInput {
  const float* rows[4];  // Pixel 0 of each; null for zeros.
  int64_t pixel_step;
  int64_t group_step;  // Between the groups of a vector.
  int64_t size;        // Of a pixel.
  int64_t pixels;      // Those around them are zeros.
  int64_t first_pixel;
  int64_t tiles;
  float* v;
  int64_t tile_step;
  int64_t position_step;
};

// Transforms a row of tiles of sums.
struct WinogradOutput {
  const float* m;
  int64_t tile_step;
  int64_t position_step;
  float* rows[2];  // Null for a row that is not there.
  int64_t pixel_step;
  int64_t group_step;
  int64_t size;
  int64_t pixels;
  // As Tile's.
  const ScratchEpilogue<float>* epilogue;
  int64_t epilogue_offset;
};

// Bytes of pixels to fetch.
struct PixelLines {
  const char* first;
  int64_t bytes;  // Of a pixel.
  int64_t step;   // Bytes between pixels.
  int64_t count;
};

// m[position][tile][o] = sum over planes, k of
//   v[position][tile][plane][k] * u[position][plane][k][o]
// for all tiles, and some more up to a multiple of row_step, and all vectors o,
// where x is repeated as in Tile. Sums go over planes, then k, in ascending
// order.
struct WinogradProducts {
  const float* v;
  int64_t v_position;
  int64_t v_tile;
  int64_t v_plane;
  const float* u;
  int64_t u_position;
  int64_t u_depth;
  float* m;  // Tiles are u_depth apart.
  int64_t m_position;
  int64_t positions;
  int64_t tiles;
  int64_t vectors;
  int64_t planes;
  int64_t depth;
  PixelLines fetch[2];  // Meanwhile.
};

// By the logarithm of a vector's groups.
struct WinogradKernels {
  int row_step;
  void (*transform_input[kMaxLogGroups + 1])(const WinogradInput& in);
  // Of arrays of whole vectors, which are tap_step and position_step apart.
  void (*transform_filter)(int64_t size, const float* taps, int64_t tap_step,
                           float* u, int64_t position_step);
  void (*multiply[kMaxLogGroups + 1])(const WinogradProducts& products);
  // Returns whether all sums were finite.
  bool (*transform_output[kMaxLogGroups + 1])(const WinogradOutput& out);
};

// What each instruction set has.
struct AllKernels {
  Kernels<float> of_float;
  Kernels<double> of_double;
  Kernels<Half> of_half;
  Kernels<BFloat16> of_bfloat16;
  Kernels<int32_t> of_int32;
  WinogradKernels winograd;
  const PairKernels* of_pairs;  // Null if it has none.
  // Copies memory past the caches, but for parts of cache lines; and what is to
  // be called before other threads read what was stored so. Null if it cannot.
  void (*stream)(const void* from, int64_t bytes, void* to);
  void (*end_stream)();
  // Whether more is to be fetched ahead, as the processor itself does that too
  // late: smaller tensors, what is read where it lies, parts of pixels, and
  // what is overwritten, unless sums go past the caches.
  bool fetch_early;

  template <typename T>
  const Kernels<T>& Of() const;
};

// The kernels for this machine's best instruction set, or for that which the
// environment variable TF_GROUPED_CONV_ISA names ("avx2", say), if the machine
// has it. As that may change, to be asked once for each convolution.
const AllKernels& GetKernels();
// Its name.
const char* InstructionSet();

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_KERNELS_H_
