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
// third. It takes subnormal numbers for zero. And copies of bfloat16 with the
// conversions of AVX512-BF16, which all processors with tiles have.

#include "tensorflow/core/kernels/grouped_conv/kernels.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__has_include)
#if __has_include(<amxbf16intrin.h>)
#define GROUPED_CONV_HAS_AMX
#endif
#endif

#ifdef __x86_64__
#ifdef GROUPED_CONV_HAS_AMX

#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")
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

// --- Copies, and conversions of bfloat16 ------------------------------------

// Which lanes of a vector there are: the first ones, or all.
__mmask16 FirstLanes(int64_t count) {
  return count < kLanes ? (1u << count) - 1 : 0xffffu;
}
struct AllLanes {};

__m512i Load(const float* p, __mmask16 some) {
  return _mm512_maskz_loadu_epi32(some, p);
}
__m512i Load(const float* p, AllLanes) { return _mm512_loadu_si512(p); }
void Store(__m512i v, float* p, __mmask16 some) {
  _mm512_mask_storeu_epi32(p, some, v);
}
void Store(__m512i v, float* p, AllLanes) { _mm512_storeu_si512(p, v); }
__m256i Load(const BFloat16* p, __mmask16 some) {
  return _mm256_maskz_loadu_epi16(some, p);
}
__m256i Load(const BFloat16* p, AllLanes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
void Store(__m256i v, BFloat16* p, __mmask16 some) {
  _mm256_mask_storeu_epi16(p, some, v);
}
void Store(__m256i v, BFloat16* p, AllLanes) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}

// Whether each pixel's elements of a block are neighbours in the tensor.
bool AreNeighbours(const Mapping& m) {
  return m.groups_per_block == 1 ? m.channels == 1 || m.channel_step == 1
                                 : m.channels == 1 && m.group_step == 1;
}

// Calls f(tensor's address, scratch's address, epilogue's index, lanes) for all
// vectors of neighbours, in the order of the tensor.
template <typename Tensor, typename Scratch, typename F>
void ForVectors(const Mapping& mapping, Tensor* tensor, Scratch* scratch,
                const F& f) {
  const Mapping m = mapping;  // A copy, which no store can change.
  const int64_t block_step = m.groups_per_block * m.group_step;
  const int64_t block_size = m.groups_per_block * m.channels;
  const int64_t size = m.groups * m.channels;
  // Without what others need for each vector.
  const bool single = block_size == kLanes && size % kLanes == 0;
  for (int64_t n = 0; n < m.pixels; ++n) {
    Tensor* block = tensor;
    Scratch* to = scratch;
    int64_t index = 0;
    for (int64_t left = size; left > 0; left -= block_size) {
      if (single) {
        f(block, to, index, AllLanes());
      } else {
        const int64_t now = left < block_size ? left : block_size;
        int64_t c = 0;
        for (; c + kLanes <= now; c += kLanes) {
          f(block + c, to + c, index + c, AllLanes());
        }
        if (c < now) f(block + c, to + c, index + c, FirstLanes(now - c));
      }
      block += block_step;
      to += m.scratch_block;
      index += m.epilogue_block;
    }
    tensor += m.pixel_step;
    scratch += m.scratch_pixel;
  }
}

template <typename Lanes>
__m512i PairOf(const BFloat16* first, const BFloat16* second, Lanes lanes) {
  const __m512i low = _mm512_cvtepu16_epi32(Load(first, lanes));
  const __m512i high = _mm512_cvtepu16_epi32(Load(second, lanes));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

void PairPixels(const Mapping& mapping, const BFloat16* tensor,
                float* scratch) {
  const Mapping m = mapping;
  for (int64_t n = 0; n < m.pixels; n += 2) {
    const BFloat16* from = tensor;
    float* to = scratch;
    const bool single = n + 1 == m.pixels;
    for (int64_t g = 0; g < m.groups; ++g) {
      for (int64_t c = 0; c < m.channels; c += kLanes) {
        const __mmask16 some = FirstLanes(m.channels - c);
        if (single) {
          Store(_mm512_cvtepu16_epi32(Load(from + c, some)), to + c, some);
        } else if (some == 0xffff) {
          Store(PairOf(from + c, from + m.pixel_step + c, AllLanes()), to + c,
                AllLanes());
        } else {
          Store(PairOf(from + c, from + m.pixel_step + c, some), to + c, some);
        }
      }
      from += m.group_step;
      to += m.scratch_block;
    }
    tensor += 2 * m.pixel_step;
    scratch += m.scratch_pixel;
  }
}

// Transposes two matrices of 8 by 8 numbers of 32 bits, one in the lower halves
// of the vectors and one in the upper ones.
inline void TransposeHalves(__m512i* v) {
  __m512i t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  __m512i u[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // 128 bits of each of two vectors.
  const __m512i lower = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i upper = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_permutex2var_epi64(u[i], lower, u[i + 4]);
    v[i + 4] = _mm512_permutex2var_epi64(u[i], upper, u[i + 4]);
  }
}

bool Transpose(int64_t pixels, int64_t channels, const BFloat16* from,
               int64_t pixel_step, BFloat16* to, int64_t channel_step) {
  constexpr int kPairs = 8;
  // Even numbers, then odd ones.
  alignas(64) static const uint16_t kApart[] = {
      0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
      1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
  const __m512i apart = _mm512_load_si512(kApart);
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  __mmask32 not_finite = 0;
  for (int64_t i = 0; i < pixels; i += kLanes) {
    // The last ones may be some of those before again.
    const int64_t n =
        i + kLanes <= pixels || pixels < kLanes ? i : pixels - kLanes;
    const int64_t last = pixels - n < kLanes ? pixels - n - 1 : kLanes - 1;
    const __mmask16 some = FirstLanes(last + 1);
    for (int64_t c = 0; c < channels; c += 2 * kPairs) {
      const int64_t pairs =
          channels - c < 2 * kPairs ? (channels - c) / 2 : kPairs;
      const __mmask8 some_pairs = (1u << pairs) - 1;
      const BFloat16* const pixel = from + n * pixel_step + c;
      __m512i v[kPairs];
#pragma GCC unroll 8
      for (int64_t p = 0; p < kPairs; ++p) {
        const auto load = [&](int64_t q) {
          return _mm256_maskz_loadu_epi32(
              some_pairs, pixel + (q < last ? q : last) * pixel_step);
        };
        v[p] = _mm512_inserti64x4(_mm512_castsi256_si512(load(p)),
                                  load(p + kPairs), 1);
      }
      TransposeHalves(v);
      BFloat16* channel = to + c * channel_step + n;
#pragma GCC unroll 8
      for (int64_t p = 0; p < kPairs; ++p) {
        if (p == pairs) break;
        const __m512i both = _mm512_permutexvar_epi16(apart, v[p]);
        not_finite |=
            _mm512_cmpeq_epi16_mask(_mm512_and_si512(both, exponent), exponent);
        const __m256i first = _mm512_castsi512_si256(both);
        const __m256i second = _mm512_extracti64x4_epi64(both, 1);
        if (last + 1 == kLanes) {
          Store(first, channel, AllLanes());
          Store(second, channel + channel_step, AllLanes());
        } else {
          Store(first, channel, some);
          Store(second, channel + channel_step, some);
        }
        channel += 2 * channel_step;
      }
    }
  }
  return not_finite == 0;
}

void PackPairs(const Mapping& mapping, const float* tensor, float* scratch) {
  ForVectors(mapping, tensor, scratch,
             [](const float* from, float* to, int64_t, auto lanes) {
               Store(Load(from, lanes), to, lanes);
             });
}

// Kinds of numbers, as VFPCLASSPS has them.
constexpr int kInfiniteOrNan = 0x99;
constexpr int kSubnormal = 0x20;

// Rounds to nearest even, whatever the numbers are.
__attribute__((noinline)) __m256i RoundAny(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd =
      _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  // That could carry a NaN's fraction into its sign, so a quiet one is made.
  const __m512i result =
      _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q),
                           bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(result, 16));
}

// The instruction takes subnormal numbers for zero.
__m256i Round(__m512 v) {
  if (__builtin_expect(
          _mm512_fpclass_ps_mask(v, kInfiniteOrNan | kSubnormal) != 0, false)) {
    return RoundAny(v);
  }
  return (__m256i)_mm512_cvtneps_pbh(v);
}

// Returns whether all sums are finite.
template <bool kFinish>
bool UnpackNeighbours(const Mapping& mapping, const float* scratch,
                      const ScratchEpilogue<float>& epilogue,
                      BFloat16* tensor) {
  const __m512 zero = _mm512_setzero_ps();
  const __m512 six = _mm512_set1_ps(6);
  __mmask16 not_finite = 0;
  ForVectors(mapping, tensor, scratch,
             [&](BFloat16* to, const float* from, int64_t i, auto lanes) {
               __m512 v = _mm512_castsi512_ps(Load(from, lanes));
               not_finite |= _mm512_fpclass_ps_mask(v, kInfiniteOrNan);
               if (kFinish) {
                 if (epilogue.scale) {
                   v = _mm512_mul_ps(v, _mm512_loadu_ps(epilogue.scale + i));
                 }
                 if (epilogue.bias) {
                   v = _mm512_add_ps(v, _mm512_loadu_ps(epilogue.bias + i));
                 }
                 // Of two, the second one if one is not a number.
                 if (epilogue.activation != Activation::kNone) {
                   v = _mm512_max_ps(zero, v);
                 }
                 if (epilogue.activation == Activation::kRelu6) {
                   v = _mm512_min_ps(six, v);
                 }
               }
               Store(Round(v), to, lanes);
             });
  return not_finite == 0;
}

bool UnpackShort(const Mapping& mapping, const float* scratch,
                 const ScratchEpilogue<float>& epilogue, BFloat16* tensor) {
  const bool finish = epilogue.scale != nullptr || epilogue.bias != nullptr ||
                      epilogue.activation != Activation::kNone;
  return finish ? UnpackNeighbours<true>(mapping, scratch, epilogue, tensor)
                : UnpackNeighbours<false>(mapping, scratch, epilogue, tensor);
}

// What the next two leave to others.
decltype(Kernels<BFloat16>::pack) pack_other;
decltype(Kernels<BFloat16>::unpack) unpack_other;

void Pack(const Mapping& mapping, const BFloat16* tensor, float* scratch) {
  if (!AreNeighbours(mapping)) return pack_other(mapping, tensor, scratch);
  ForVectors(mapping, tensor, scratch,
             [](const BFloat16* from, float* to, int64_t, auto lanes) {
               const __m512i bits = _mm512_cvtepu16_epi32(Load(from, lanes));
               Store(_mm512_slli_epi32(bits, 16), to, lanes);
             });
}

void Unpack(const Mapping& mapping, const float* scratch,
            const ScratchEpilogue<float>& epilogue, BFloat16* tensor) {
  if (AreNeighbours(mapping) && IsShort(epilogue.activation)) {
    UnpackShort(mapping, scratch, epilogue, tensor);
  } else {
    unpack_other(mapping, scratch, epilogue, tensor);
  }
}

}  // namespace

bool IsCompiled() { return true; }

AllKernels AddTo(AllKernels kernels) {
  static const PairKernels pair_kernels = {
      {Multiply<1>, Multiply<2>, Multiply<3>, Multiply<4>},
      SumOuter,
      Release,
      PairPixels,
      Transpose,
      PackPairs,
      UnpackShort};
  kernels.of_pairs = &pair_kernels;
  pack_other = kernels.of_bfloat16.pack;
  unpack_other = kernels.of_bfloat16.unpack;
  kernels.of_bfloat16.pack = Pack;
  kernels.of_bfloat16.unpack = Unpack;
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
