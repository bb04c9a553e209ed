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

// Kernels for the tiles of Intel's Advanced Matrix Extensions: registers of 16
// rows of 64 bytes, of which one instruction adds the product of two to a
// third. It takes subnormal numbers for zero.

#include "tensorflow/core/kernels/grouped_conv/kernels.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__has_include)
#if __has_include(<amxbf16intrin.h>)
#define GROUPED_CONV_HAS_AMX
#endif
#endif

#ifdef __x86_64__
#ifdef GROUPED_CONV_HAS_AMX

#pragma GCC target("amx-tile,amx-bf16")
#include <immintrin.h>
// Of what these headers themselves leave undefined.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <stddef.h>

namespace grouped_conv {
namespace amx {
namespace {

constexpr int kLanes = 16;
constexpr int kDepth = 16;  // Pairs that a tile has of each row.

// The registers: sums of the vectors, then x and w, and those of the rest of a
// depth that is no multiple of kDepth. Intrinsics make names of these numbers.
#define TILE_X 4
#define TILE_W 5
#define TILE_REST_X 6
#define TILE_REST_W 7

// What LDTILECFG reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64, "as the processor has it");

// Sets up the tiles for so many rows of sums and the rest of a depth, if they
// are not. They hold nothing then.
void Configure(int64_t rows, int64_t rest, int64_t* tiles) {
  const int64_t now = rows * kDepth + rest;
  if (*tiles == now) return;
  *tiles = now;
  TileConfig config;
  for (int i = 0; i < kMaxVectors; ++i) {
    config.rows[i] = rows;
    config.row_bytes[i] = kLanes * sizeof(float);
  }
  // A tile must have something, but is not used if there is no rest.
  const int64_t rest_columns = rest == 0 ? 1 : rest;
  config.rows[TILE_X] = config.rows[TILE_REST_X] = rows;
  config.row_bytes[TILE_X] = kDepth * sizeof(float);
  config.row_bytes[TILE_REST_X] = rest_columns * sizeof(float);
  config.rows[TILE_W] = kDepth;
  config.rows[TILE_REST_W] = rest_columns;
  config.row_bytes[TILE_W] = config.row_bytes[TILE_REST_W] =
      kLanes * sizeof(float);
  // Not the intrinsic, of which GCC 12 does not know how much it reads.
  asm volatile("ldtilecfg %0" : : "m"(config));
}

// Does f(tile), some statements, for each of the first kCount tiles of sums,
// with constants.
#define FOR_SUMS(f)   \
  do {                \
    f(0);             \
    if (kCount > 1) { \
      f(1);           \
    }                 \
    if (kCount > 2) { \
      f(2);           \
    }                 \
    if (kCount > 3) { \
      f(3);           \
    }                 \
  } while (false)

// Parts of a Tile that are summed together, as an instruction waits for the
// last one with the same sums, and loads share what they can: several units, or
// the rows' halves, which may have a row in common.
struct TileParts {
  int64_t rows;  // Of each.
  // From the first one's x, w and sums to the next one's.
  int64_t x_step;
  int64_t w_step;
  int64_t sum_step;
};

template <int kVectorCount, int kParts, bool kSameW>
void MultiplyParts(const Tile<float>& tile, int64_t unit,
                   const TileParts& parts, int64_t* tiles) {
  constexpr int kCount = kVectorCount * kParts;
  // Tiles that share w, or else x, follow each other.
#define PART(t) (kSameW ? t % kParts : t / kVectorCount)
#define VECTOR(t) (kSameW ? t / kParts : t % kVectorCount)
  const int64_t x_bytes = tile.x_row * sizeof(float);
  const int64_t w_bytes = tile.w_depth * sizeof(float);
  const int64_t sum_bytes = tile.sum_row * sizeof(float);
  const int64_t x_offset = tile.x_offset + unit * tile.x_unit;
  const int64_t w_offset = tile.w_offset + unit * tile.w_unit;
  float* const sums = tile.sum + unit * tile.sum_unit;
  const auto rest_of = [&](int64_t p) {
    return p < tile.num_products ? tile.products[p].depth % kDepth : 0;
  };
#define SUMS_OF(t) (sums + PART(t) * parts.sum_step + VECTOR(t) * kLanes)
#define LOAD_SUMS(t) _tile_loadd(t, SUMS_OF(t), sum_bytes)
#define STORE_SUMS(t) _tile_stored(t, SUMS_OF(t), sum_bytes)
#define ZERO_SUMS(t) _tile_zero(t)
  // What the tiles are loaded from is in memory.
  asm volatile("" : : : "memory");
  int64_t rest = rest_of(0);
  Configure(parts.rows, rest, tiles);
  if (tile.accumulate) {
    FOR_SUMS(LOAD_SUMS);
  } else {
    FOR_SUMS(ZERO_SUMS);
  }
  for (int64_t p = 0; p < tile.num_products; ++p) {
    if (rest_of(p) != rest) {
      // Setting up tiles forgets the sums.
      FOR_SUMS(STORE_SUMS);
      rest = rest_of(p);
      Configure(parts.rows, rest, tiles);
      FOR_SUMS(LOAD_SUMS);
    }
    const Product<float>& product = tile.products[p];
    const float* x = product.x + x_offset;
    const float* w = product.w + w_offset;
#define ADD_PRODUCT_OF(t, x_tile, w_tile)                                \
  if (kSameW || VECTOR(t) == 0) {                                        \
    _tile_loadd(x_tile, x + PART(t) * parts.x_step, x_bytes);            \
  }                                                                      \
  if (!kSameW || PART(t) == 0) {                                         \
    _tile_loadd(w_tile, w + PART(t) * parts.w_step + VECTOR(t) * kLanes, \
                w_bytes);                                                \
  }                                                                      \
  _tile_dpbf16ps(t, x_tile, w_tile)
#define ADD_PRODUCT(t) ADD_PRODUCT_OF(t, TILE_X, TILE_W)
#define ADD_REST(t) ADD_PRODUCT_OF(t, TILE_REST_X, TILE_REST_W)
    for (int64_t k = product.depth; k >= kDepth; k -= kDepth) {
      FOR_SUMS(ADD_PRODUCT);
      x += kDepth;
      w += kDepth * tile.w_depth;
    }
    if (rest > 0) FOR_SUMS(ADD_REST);
  }
  FOR_SUMS(STORE_SUMS);
}

template <int kVectorCount>
void Multiply(const Tile<float>& tile, int64_t rows, int64_t* tiles) {
  if (rows > kMaxRows) {
    const int64_t half = (rows + 1) / 2;
    const TileParts halves = {half, (rows - half) * tile.x_row, 0,
                              (rows - half) * tile.sum_row};
    // There are tiles for no more vectors.
    constexpr int kVectors = kVectorCount <= 2 ? kVectorCount : 1;
    for (int64_t unit = 0; unit < tile.units; ++unit) {
      MultiplyParts<kVectors, 2, true>(tile, unit, halves, tiles);
    }
    return;
  }
  const TileParts units = {rows, tile.x_unit, tile.w_unit, tile.sum_unit};
  constexpr int kUnits = kVectorCount > 2 ? 1 : 4 / kVectorCount;
  int64_t unit = 0;
  for (; unit + kUnits <= tile.units; unit += kUnits) {
    MultiplyParts<kVectorCount, kUnits, false>(tile, unit, units, tiles);
  }
  for (; unit < tile.units; ++unit) {
    MultiplyParts<kVectorCount, 1, false>(tile, unit, units, tiles);
  }
}

// PairSums of some channels, up to a tile's, and taps: the n-th of kSums is of
// x at x_offset[n], and at sum[n].
template <int kSums>
void SumOuterTiles(const PairSums& sums, int64_t channels, int64_t vector,
                   const int64_t* x_offset, float* const* sum, int64_t* tiles) {
  constexpr int kCount = kSums;
  const int64_t x_bytes = sums.x_row * sizeof(BFloat16);
  const int64_t w_bytes = sums.w_depth * sizeof(float);
  const int64_t sum_bytes = sums.sum_row * sizeof(float);
  const int64_t rest = sums.depth % kDepth;
  asm volatile("" : : : "memory");
  Configure(channels, rest, tiles);
#define LOAD_OUTER(t) _tile_loadd(t, sum[t], sum_bytes)
#define STORE_OUTER(t) _tile_stored(t, sum[t], sum_bytes)
  FOR_SUMS(LOAD_OUTER);
  for (int64_t p = 0; p < sums.num_rows; ++p) {
    const BFloat16* x = sums.rows[p].x;
    const float* w = sums.rows[p].w + sums.w_offset + vector * kLanes;
    for (int64_t k = sums.depth; k >= kDepth; k -= kDepth) {
      _tile_loadd(TILE_W, w, w_bytes);
#define ADD_OUTER(t)                             \
  _tile_loadd(TILE_X, x + x_offset[t], x_bytes); \
  _tile_dpbf16ps(t, TILE_X, TILE_W)
      FOR_SUMS(ADD_OUTER);
      x += 2 * kDepth;
      w += kDepth * sums.w_depth;
    }
    if (rest > 0) {
      _tile_loadd(TILE_REST_W, w, w_bytes);
#define ADD_REST_OUTER(t)                             \
  _tile_loadd(TILE_REST_X, x + x_offset[t], x_bytes); \
  _tile_dpbf16ps(t, TILE_REST_X, TILE_REST_W)
      FOR_SUMS(ADD_REST_OUTER);
    }
  }
  FOR_SUMS(STORE_OUTER);
}

// Of `pieces` tiles of as many channels, from `first` on.
void SumPieces(const PairSums& sums, int64_t first, int64_t pieces,
               int64_t channels, int64_t* tiles) {
  for (int64_t vector = 0; vector < sums.vectors; ++vector) {
    int64_t x_offset[4];
    float* sum[4];
    int count = 0;
    const auto add_all = [&] {
      switch (count) {
        case 1:
          SumOuterTiles<1>(sums, channels, vector, x_offset, sum, tiles);
          break;
        case 2:
          SumOuterTiles<2>(sums, channels, vector, x_offset, sum, tiles);
          break;
        case 3:
          SumOuterTiles<3>(sums, channels, vector, x_offset, sum, tiles);
          break;
        case 4:
          SumOuterTiles<4>(sums, channels, vector, x_offset, sum, tiles);
          break;
      }
      count = 0;
    };
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t channel = first + i * channels;
      for (int64_t t = 0; t < sums.taps; ++t) {
        x_offset[count] = sums.x_offset + channel * sums.x_row + sums.x_taps[t];
        sum[count] = sums.sum + t * sums.sum_tap + channel * sums.sum_row +
                     vector * kLanes;
        if (++count == 4) add_all();
      }
    }
    add_all();
  }
}

void SumOuter(const PairSums& sums, int64_t* tiles) {
  // As equal as can be: setting up tiles takes longer than using them.
  const int64_t pieces = (sums.channels + kLanes - 1) / kLanes;
  const int64_t channels = sums.channels / pieces;
  const int64_t larger = sums.channels % pieces;
  SumPieces(sums, 0, larger, channels + 1, tiles);
  SumPieces(sums, larger * (channels + 1), pieces - larger, channels, tiles);
}

void Release() { _tile_release(); }

}  // namespace

bool IsCompiled() { return true; }

AllKernels AddTo(AllKernels kernels) {
  static const PairKernels pair_kernels = [&] {
    PairKernels pairs = *kernels.of_pairs;
    pairs.tiles = true;
    pairs.speed = 8;
    pairs.fewest_channels = kFewestPairedChannels;
    constexpr int kRows[kMaxVectors] = {kMaxRows, 2 * kMaxRows, kMaxRows,
                                        kMaxRows};
    for (int i = 0; i < kMaxVectors; ++i) pairs.max_rows[i] = kRows[i];
    for (auto& multiply : pairs.multiply) {
      for (auto& kernel : multiply) kernel = nullptr;
    }
    pairs.multiply[0][0] = Multiply<1>;
    pairs.multiply[0][1] = Multiply<2>;
    pairs.multiply[0][2] = Multiply<3>;
    pairs.multiply[0][3] = Multiply<4>;
    pairs.sum_outer = SumOuter;
    pairs.release = Release;
    return pairs;
  }();
  kernels.of_pairs = &pair_kernels;
  return kernels;
}

}  // namespace amx
}  // namespace grouped_conv

#else

namespace grouped_conv {
namespace amx {

bool IsCompiled() { return false; }

AllKernels AddTo(AllKernels kernels) { return kernels; }

}  // namespace amx
}  // namespace grouped_conv

#endif  // GROUPED_CONV_HAS_AMX
#endif  // __x86_64__
