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

// Kernels for AVX512-BF16: an instruction that adds the products of two pairs
// of bfloat16 to each float of a vector, and copies with its conversions. It
// takes subnormal numbers for zero.

#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<avx512bf16intrin.h>)
#define GROUPED_CONV_HAS_AVX512BF16
#endif
#endif

#ifdef __x86_64__
#ifdef GROUPED_CONV_HAS_AVX512BF16

#include <string.h>

#include "tensorflow/core/kernels/grouped_conv/isa_avx512bf16.h"
#include "tensorflow/core/kernels/grouped_conv/vectors_impl.h"

namespace grouped_conv {
namespace avx512bf16 {
namespace {

constexpr int kLanes = 16;

// --- Vectors -----------------------------------------------------------------

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

template <typename Lanes>
__m512i ToFloat(const BFloat16* p, Lanes lanes) {
  return _mm512_slli_epi32(_mm512_cvtepu16_epi32(Load(p, lanes)), 16);
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

// Takes subnormal numbers for zero.
inline __m256i RoundNormal(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }

__m256i Round(__m512 v) {
  if (__builtin_expect(
          _mm512_fpclass_ps_mask(v, kInfiniteOrNan | kSubnormal) != 0, false)) {
    return RoundAny(v);
  }
  return RoundNormal(v);
}

// Applies a short epilogue, whose values of the vector are at `i`.
template <bool kFinish>
__m512 FinishShort(__m512 v, const ScratchEpilogue<float>& epilogue,
                   int64_t i) {
  if (!kFinish) return v;
  if (epilogue.scale) {
    v = _mm512_mul_ps(v, _mm512_loadu_ps(epilogue.scale + i));
  }
  if (epilogue.bias) {
    v = _mm512_add_ps(v, _mm512_loadu_ps(epilogue.bias + i));
  }
  // Of two, the second one if one is not a number.
  if (epilogue.activation != Activation::kNone) {
    v = _mm512_max_ps(_mm512_setzero_ps(), v);
  }
  if (epilogue.activation == Activation::kRelu6) {
    v = _mm512_min_ps(_mm512_set1_ps(6), v);
  }
  return v;
}

// --- Products of pairs -------------------------------------------------------

// Addresses of rows, in fours: from few enough pointers for the registers.
constexpr int Quads(int rows) { return (rows + 3) / 4; }

__m512bh LoadPairs(const float* p) { return (__m512bh)_mm512_loadu_si512(p); }

template <int kVectors, int kRows>
using Sums = Simd<float>::Vector[kRows][kVectors];

// Which sums, group by group, are the i-th vector's, if there are kVectors with
// kGroups groups, channel by channel.
template <int kGroups, int kVectors>
__m512i GroupByGroup(int i) {
  constexpr int kChannels = kVectors * kLanes / kGroups;
  alignas(64) int32_t lanes[kLanes];
#pragma GCC unroll 16
  for (int l = 0; l < kLanes; ++l) {
    const int at = i * kLanes + l;
    lanes[l] = at % kChannels * kGroups + at / kChannels;
  }
  return _mm512_load_si512(lanes);
}

// Stores a tile's sums, in the order of the tensor, with `round` applied.
template <int kGroups, int kVectors, int kRows, typename F>
GROUPED_CONV_INLINE void StoreEach(const Sums<kVectors, kRows>& sum,
                                   const Tile<float>& tile, BFloat16* to,
                                   const F& round) {
  const __m512i first = GroupByGroup<kGroups, kVectors>(0);
  const __m512i second = GroupByGroup<kGroups, kVectors>(1);
  const __mmask16 last =
      FirstLanes(tile.last_lanes == 0 ? kLanes : tile.last_lanes);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    if (kGroups > 1 && kVectors == 1) {
      Store(round(_mm512_permutexvar_ps(first, sum[i][0])), to, AllLanes());
    } else if (kGroups > 1) {
      const __m512 a = sum[i][0], b = sum[i][kVectors - 1];
      Store(round(_mm512_permutex2var_ps(a, first, b)), to, AllLanes());
      Store(round(_mm512_permutex2var_ps(a, second, b)), to + kLanes,
            AllLanes());
    } else {
#pragma GCC unroll 4
      for (int o = 0; o < kVectors - 1; ++o) {
        Store(round(sum[i][o]), to + o * kLanes, AllLanes());
      }
      Store(round(sum[i][kVectors - 1]), to + (kVectors - 1) * kLanes, last);
    }
    to += tile.sum_row;
    asm("" : "+r"(to));
  }
}

// As StoreEach, for sums in memory, some of which are subnormal.
template <int kGroups, int kVectors, int kRows>
__attribute__((noinline)) void StoreSubnormal(const Sums<kVectors, kRows>& sum,
                                              const Tile<float>& tile,
                                              BFloat16* to) {
  StoreEach<kGroups, kVectors, kRows>(sum, tile, to, RoundAny);
}

// Applies a tile's epilogue, and stores its sums rounded.
template <int kGroups, int kVectors, int kRows>
GROUPED_CONV_INLINE void StoreRounded(const Tile<float>& tile,
                                      int64_t epilogue_offset, BFloat16* to,
                                      Sums<kVectors, kRows>& sum) {
  if (tile.epilogue != nullptr) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectors; ++o) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        sum[i][o] = FinishShort<true>(sum[i][o], *tile.epilogue,
                                      epilogue_offset + o * kLanes);
      }
    }
  }
  __mmask16 subnormal = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectors; ++o) {
      subnormal |= _mm512_fpclass_ps_mask(sum[i][o], kSubnormal);
    }
  }
  if (__builtin_expect(subnormal != 0, false)) {
    Sums<kVectors, kRows> in_memory;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int o = 0; o < kVectors; ++o) in_memory[i][o] = sum[i][o];
    }
    return StoreSubnormal<kGroups, kVectors, kRows>(in_memory, tile, to);
  }
  StoreEach<kGroups, kVectors, kRows>(sum, tile, to, RoundNormal);
}

template <int kGroups, int kVectors, int kRows>
void MultiplyRows(const Tile<float>& tile) {
  constexpr int kQuads = Quads(kRows);
  const int64_t x_row = tile.x_row;
  const int64_t x_depth = tile.x_depth;
  const int64_t w_depth = tile.w_depth;
  for (int64_t unit = 0; unit < tile.units; ++unit) {
    const int64_t x_offset = tile.x_offset + unit * tile.x_unit;
    const int64_t w_offset = tile.w_offset + unit * tile.w_unit;
    Sums<kVectors, kRows> sum = {};
    LoadSums<float>(tile, tile.sum + unit * tile.sum_unit, sum);
    for (int64_t p = 0; p < tile.num_products; ++p) {
      const Product<float>& product = tile.products[p];
      const float* x[kQuads];
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        x[q] = product.x + x_offset + 4 * q * x_row;
      }
      const float* w = product.w + w_offset;
      const float* const end = w + product.depth * w_depth;
      for (; w != end; w += w_depth) {
        __m512bh factor[kVectors];
#pragma GCC unroll 4
        for (int o = 0; o < kVectors; ++o) {
          factor[o] = LoadPairs(w + o * kLanes);
        }
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          const __m512bh value = (__m512bh)Repeat<float, kGroups>::Load(
              x[i / 4] + (i % 4) * x_row);
#pragma GCC unroll 4
          for (int o = 0; o < kVectors; ++o) {
            sum[i][o] = _mm512_dpbf16_ps(sum[i][o], factor[o], value);
          }
        }
#pragma GCC unroll 4
        for (int q = 0; q < kQuads; ++q) x[q] += x_depth;
      }
    }
    if (tile.rounded != nullptr) {
      StoreRounded<kGroups, kVectors, kRows>(
          tile, tile.epilogue_offset + unit * w_depth,
          tile.rounded + unit * tile.sum_unit, sum);
    } else {
      StoreRows<float>(sum, tile.sum_row, tile.sum + unit * tile.sum_unit);
    }
  }
}

// --- Depthwise ---------------------------------------------------------------

// MultiplyAdd's loader of an x that is a tensor's.
struct FromBFloat16 {
  static GROUPED_CONV_INLINE Simd<float>::Vector Load(const BFloat16* p) {
    return (Simd<float>::Vector)ToFloat(p, AllLanes());
  }
};

// Pairs of what is at two addresses, lane by lane.
template <typename Lanes>
__m512i MakePairs(const BFloat16* first, const BFloat16* second, Lanes lanes) {
  alignas(64) static const uint16_t kInterleaved[] = {
      0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  return _mm512_permutex2var_epi16(_mm512_castsi256_si512(Load(first, lanes)),
                                   _mm512_load_si512(kInterleaved),
                                   _mm512_castsi256_si512(Load(second, lanes)));
}
// Of floats that are bfloat16.
__m512i MakePairs(const float* first, const float* second, AllLanes lanes) {
  return _mm512_or_si512(_mm512_srli_epi32(Load(first, lanes), 16),
                         Load(second, lanes));
}

// As MultiplyAdd, of two x and two w at once, of which the others are so far
// behind the first ones.
struct PairedProducts {
  template <typename X>
  GROUPED_CONV_INLINE __m512i LoadX(const X* x) const {
    return MakePairs(x, x + x_other, AllLanes());
  }
  GROUPED_CONV_INLINE __m512i LoadW(const float* w) const {
    return MakePairs(w, w + w_other, AllLanes());
  }
  GROUPED_CONV_INLINE void Add(__m512i x, __m512i w,
                               Simd<float>::Vector* sum) const {
    *sum = _mm512_dpbf16_ps(*sum, (__m512bh)w, (__m512bh)x);
  }

  int64_t x_other;
  int64_t w_other;
};

// Adds all products of a tile's rows of x, from `x` on, and w.
template <typename Products, typename X, int kRows>
GROUPED_CONV_INLINE void AddDepthwise(const Tile<float>& tile,
                                      const Products& products, const X* x,
                                      const float* w, int64_t depth,
                                      Sums<1, kRows>& sum) {
  if (tile.x_depth == tile.x_row) {
    return AddAllTaps<float>(products, x, tile.x_depth, w, tile.w_depth, depth,
                             sum);
  }
  for (int64_t k = 0; k < depth; ++k) {
    const auto factor = products.LoadW(w);
    const X* row = x;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      products.Add(products.LoadX(row), factor, &sum[i][0]);
      row += tile.x_row;
      asm("" : "+r"(row));
    }
    x += tile.x_depth;
    w += tile.w_depth;
  }
}

// With kPairs, two products, such as two rows of a filter, are added at once.
template <bool kPairs, typename X, typename Loader, int kRows>
void MultiplyDepthwise(const Tile<float>& tile) {
  for (int64_t unit = 0; unit < tile.units; ++unit) {
    const int64_t x_offset = tile.x_offset + unit * tile.x_unit;
    const int64_t w_offset = tile.w_offset + unit * tile.w_unit;
    const auto x = [=](const Product<float>& product) {
      return reinterpret_cast<const X*>(product.x) + x_offset;
    };
    Sums<1, kRows> sum = {};
    LoadSums<float>(tile, tile.sum + unit * tile.sum_unit, sum);
    for (int64_t p = 0; p < tile.num_products; ++p) {
      const Product<float>& product = tile.products[p];
      const float* const w = product.w + w_offset;
      if (kPairs && p + 1 < tile.num_products &&
          tile.products[p + 1].depth == product.depth) {
        const Product<float>& other = tile.products[++p];
        AddDepthwise(tile,
                     PairedProducts{x(other) - x(product), other.w - product.w},
                     x(product), w, product.depth, sum);
      } else {
        AddDepthwise(tile, MultiplyAdd<float, Loader>(), x(product), w,
                     product.depth, sum);
      }
    }
    if (tile.rounded != nullptr) {
      StoreRounded<1, 1, kRows>(tile,
                                tile.epilogue_offset + unit * tile.w_depth,
                                tile.rounded + unit * tile.sum_unit, sum);
    } else {
      StoreRows<float>(sum, tile.sum_row, tile.sum + unit * tile.sum_unit);
    }
  }
}

template <bool kPairs, typename X, typename Loader, size_t... kRow>
void FillRows(void (*(&multiply)[kMaxRows])(const Tile<float>&),
              std::index_sequence<kRow...>) {
  void (*const all[])(const Tile<float>&) = {
      MultiplyDepthwise<kPairs, X, Loader, kRow + 1>...};
  memcpy(multiply, all, sizeof(all));
}
template <bool kPairs>
void FillDepthwise(Kernels<BFloat16>* kernels) {
  constexpr auto kRows = std::make_index_sequence<kMaxRows>();
  FillRows<kPairs, float, Repeat<float, kLanes>>(kernels->multiply_depthwise[0],
                                                 kRows);
  FillRows<kPairs, BFloat16, FromBFloat16>(kernels->multiply_depthwise[1],
                                           kRows);
}

// --- Pairs -------------------------------------------------------------------

// The tiles of kVectors vectors, by their rows less 1.
template <int kGroups, int kVectors, size_t... kRow>
void MultiplyAny(const Tile<float>& tile, int64_t rows,
                 std::index_sequence<kRow...>) {
  static constexpr void (*kMultiply[])(const Tile<float>&) = {
      MultiplyRows<kGroups, kVectors, kRow + 1>...};
  kMultiply[rows - 1](tile);
}
template <int kGroups, int kVectors>
void Multiply(const Tile<float>& tile, int64_t rows, int64_t*) {
  MultiplyAny<kGroups, kVectors>(
      tile, rows, std::make_index_sequence<MaxRows<float>(kVectors)>());
}

// PairSums of kRows channels and kVectors vectors: of x at x_offset, w at
// w_offset, and sums at `sums`.
template <int kVectors, int kRows>
void SumOuterRows(const PairSums& all, int64_t x_offset, int64_t w_offset,
                  float* sums) {
  constexpr int kQuads = Quads(kRows);
  const int64_t x_row = all.x_row;
  const int64_t w_depth = all.w_depth;
  Sums<kVectors, kRows> sum;
  LoadRows<float>(all.sum_row, sums, sum);
  for (int64_t p = 0; p < all.num_rows; ++p) {
    const BFloat16* x[kQuads];
#pragma GCC unroll 4
    for (int q = 0; q < kQuads; ++q) {
      x[q] = all.rows[p].x + x_offset + 4 * q * x_row;
    }
    const float* w = all.rows[p].w + w_offset;
    const float* const end = w + all.depth * w_depth;
    for (; w != end; w += w_depth) {
      __m512bh factor[kVectors];
#pragma GCC unroll 4
      for (int o = 0; o < kVectors; ++o) {
        factor[o] = LoadPairs(w + o * kLanes);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        int32_t pair;  // Whose address may be odd.
        memcpy(&pair, x[i / 4] + (i % 4) * x_row, sizeof(pair));
        const __m512bh value = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int o = 0; o < kVectors; ++o) {
          sum[i][o] = _mm512_dpbf16_ps(sum[i][o], factor[o], value);
        }
      }
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) x[q] += 2;
    }
  }
  StoreRows<float>(sum, all.sum_row, sums);
}

template <int kVectors, size_t... kRow>
void SumOuterAny(const PairSums& all, int64_t channels, int64_t x_offset,
                 int64_t w_offset, float* sums, std::index_sequence<kRow...>) {
  static constexpr void (*kSum[])(const PairSums&, int64_t, int64_t, float*) = {
      SumOuterRows<kVectors, kRow + 1>...};
  kSum[channels - 1](all, x_offset, w_offset, sums);
}

void SumOuter(const PairSums& all, int64_t*) {
  // As equal as can be.
  const int64_t pieces = (all.channels + kMaxRows - 1) / kMaxRows;
  for (int64_t t = 0; t < all.taps; ++t) {
    int64_t channel = 0;
    for (int64_t i = pieces; i > 0; --i) {
      const int64_t channels = (all.channels - channel + i - 1) / i;
      const int64_t x_offset =
          all.x_offset + channel * all.x_row + all.x_taps[t];
      float* const sums = all.sum + t * all.sum_tap + channel * all.sum_row;
      constexpr auto kRows = std::make_index_sequence<kMaxRows>();
      int64_t o = 0;
      for (; o + 2 <= all.vectors; o += 2) {
        SumOuterAny<2>(all, channels, x_offset, all.w_offset + o * kLanes,
                       sums + o * kLanes, kRows);
      }
      if (o < all.vectors) {
        SumOuterAny<1>(all, channels, x_offset, all.w_offset + o * kLanes,
                       sums + o * kLanes, kRows);
      }
      channel += channels;
    }
  }
}

void Release() {}

// --- Copies ------------------------------------------------------------------

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

// As PairPixels, for vectors of several groups, whatever the order.
void PairAnyPixels(const Mapping& m, const BFloat16* tensor, float* scratch) {
  for (int64_t n = 0; n < m.pixels; n += 2) {
    for (int64_t g = 0; g < m.groups; ++g) {
      const BFloat16* const from = tensor + n * m.pixel_step + g * m.group_step;
      float* const to = scratch + n / 2 * m.scratch_pixel +
                        g / m.groups_per_block * m.scratch_block +
                        g % m.groups_per_block;
      for (int64_t c = 0; c < m.channels; ++c) {
        BFloat16 pair[2] = {from[c * m.channel_step]};
        if (n + 1 < m.pixels) pair[1] = from[m.pixel_step + c * m.channel_step];
        memcpy(to + c * m.groups_per_block, pair, sizeof(pair));
      }
    }
  }
}

void PairPixels(const Mapping& mapping, const BFloat16* tensor,
                float* scratch) {
  const Mapping m = mapping;
  if (m.groups_per_block > 1) return PairAnyPixels(m, tensor, scratch);
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
          Store(MakePairs(from + c, from + m.pixel_step + c, AllLanes()),
                to + c, AllLanes());
        } else {
          Store(MakePairs(from + c, from + m.pixel_step + c, some), to + c,
                some);
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

// What copies leave to others.
decltype(Kernels<float>::pack) pack_other_pairs;
decltype(Kernels<BFloat16>::pack) pack_other;
decltype(Kernels<BFloat16>::unpack) unpack_other;

// Whether each pixel's elements of a block of several groups are neighbours in
// the tensor, group by group.
bool AreBlocks(const Mapping& m) {
  return m.groups_per_block > 1 && m.channel_step == 1 &&
         m.group_step == m.channels;
}

// Where in scratch, channel by channel, what follows each other in the tensor
// is, of such a block of up to two vectors; or the other way.
struct BlockOrder {
  BlockOrder(const Mapping& m, bool inverse) {
    const int rows = inverse ? m.channels : m.groups_per_block;
    const int columns = inverse ? m.groups_per_block : m.channels;
    int i = 0;
    for (int r = 0; r < columns; ++r) {
      for (int c = 0; c < rows; ++c) lanes[c * columns + r] = i++;
    }
  }
  __m512i Vector(int i) const { return _mm512_load_si512(lanes + i * kLanes); }

  alignas(64) int32_t lanes[2 * kLanes] = {};
};

// Calls f(tensor's address, scratch's address, epilogue's index, elements) for
// such blocks of all pixels, in the order of the tensor.
template <typename Tensor, typename Scratch, typename F>
void ForBlocks(const Mapping& mapping, Tensor* tensor, Scratch* scratch,
               const F& f) {
  const Mapping m = mapping;
  const int64_t block_size = m.groups_per_block * m.channels;
  for (int64_t n = 0; n < m.pixels; ++n) {
    Tensor* block = tensor;
    Scratch* in_scratch = scratch;
    int64_t index = 0;
    for (int64_t left = m.groups * m.channels; left > 0; left -= block_size) {
      f(block, in_scratch, index, left < block_size ? left : block_size);
      block += block_size;
      in_scratch += m.scratch_block;
      index += m.epilogue_block;
    }
    tensor += m.pixel_step;
    scratch += m.scratch_pixel;
  }
}

void PackPairBlocks(const Mapping& mapping, const float* tensor,
                    float* scratch) {
  const Mapping m = mapping;
  const __m512i order = BlockOrder(m, /*inverse=*/true).Vector(0);
  const __mmask16 all = FirstLanes(m.groups_per_block * m.channels);
  if (all == 0xff && m.groups % (2 * m.groups_per_block) == 0) {
    // Two blocks at once.
    const __m512i orders = _mm512_inserti64x4(
        order,
        _mm256_add_epi32(_mm512_castsi512_si256(order), _mm256_set1_epi32(8)),
        1);
    const int64_t blocks = m.groups / m.groups_per_block;
    for (int64_t n = 0; n < m.pixels; ++n) {
      const float* from = tensor;
      float* to = scratch;
      for (int64_t i = 0; i < blocks; i += 2) {
        const __m512i v =
            _mm512_permutexvar_epi32(orders, Load(from, AllLanes()));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                            _mm512_castsi512_si256(v));
        to += m.scratch_block;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                            _mm512_extracti64x4_epi64(v, 1));
        to += m.scratch_block;
        from += kLanes;
      }
      tensor += m.pixel_step;
      scratch += m.scratch_pixel;
    }
    return;
  }
  ForBlocks(m, tensor, scratch,
            [=](const float* from, float* to, int64_t, int64_t size) {
              Store(
                  _mm512_permutexvar_epi32(order, Load(from, FirstLanes(size))),
                  to, all);
            });
}

void PackPairs(const Mapping& mapping, const float* tensor, float* scratch) {
  if (AreBlocks(mapping) &&
      mapping.groups_per_block * mapping.channels <= kLanes) {
    return PackPairBlocks(mapping, tensor, scratch);
  }
  if (!AreNeighbours(mapping)) {
    return pack_other_pairs(mapping, tensor, scratch);
  }
  ForVectors(mapping, tensor, scratch,
             [](const float* from, float* to, int64_t, auto lanes) {
               Store(Load(from, lanes), to, lanes);
             });
}

// Returns whether all sums are finite.
template <bool kFinish>
bool UnpackNeighbours(const Mapping& mapping, const float* scratch,
                      const ScratchEpilogue<float>& epilogue,
                      BFloat16* tensor) {
  __mmask16 not_finite = 0;
  ForVectors(mapping, tensor, scratch,
             [&](BFloat16* to, const float* from, int64_t i, auto lanes) {
               const __m512 v = _mm512_castsi512_ps(Load(from, lanes));
               not_finite |= _mm512_fpclass_ps_mask(v, kInfiniteOrNan);
               Store(Round(FinishShort<kFinish>(v, epilogue, i)), to, lanes);
             });
  return not_finite == 0;
}

// Of blocks of kVectors vectors, 1 or 2.
template <bool kFinish, int kVectors>
void UnpackBlocks(const Mapping& mapping, const float* scratch,
                  const ScratchEpilogue<float>& epilogue, BFloat16* tensor) {
  const BlockOrder order(mapping, /*inverse=*/false);
  const __m512i first = order.Vector(0);
  const __m512i second = order.Vector(1);
  ForBlocks(mapping, tensor, scratch,
            [&](BFloat16* to, const float* from, int64_t i, int64_t size) {
              const auto load = [&](int v) {
                return FinishShort<kFinish>(_mm512_loadu_ps(from + v * kLanes),
                                            epilogue, i + v * kLanes);
              };
              const __m512 a = load(0);
              if (kVectors == 1) {
                const __m256i all = Round(_mm512_permutexvar_ps(first, a));
                if (size == kLanes) {
                  Store(all, to, AllLanes());
                } else {
                  Store(all, to, FirstLanes(size));
                }
                return;
              }
              const __m512 b = load(kVectors - 1);
              const __m256i low = Round(_mm512_permutex2var_ps(a, first, b));
              const __m256i high = Round(_mm512_permutex2var_ps(a, second, b));
              if (size == 2 * kLanes) {
                Store(low, to, AllLanes());
                Store(high, to + kLanes, AllLanes());
                return;
              }
              Store(low, to, FirstLanes(size));
              if (size > kLanes) {
                Store(high, to + kLanes, FirstLanes(size - kLanes));
              }
            });
}

bool HasAny(const ScratchEpilogue<float>& epilogue) {
  return epilogue.scale != nullptr || epilogue.bias != nullptr ||
         epilogue.activation != Activation::kNone;
}

bool UnpackShort(const Mapping& mapping, const float* scratch,
                 const ScratchEpilogue<float>& epilogue, BFloat16* tensor) {
  return HasAny(epilogue)
             ? UnpackNeighbours<true>(mapping, scratch, epilogue, tensor)
             : UnpackNeighbours<false>(mapping, scratch, epilogue, tensor);
}

// Of blocks of kVectors vectors, 1 or 2.
template <int kVectors>
void PackBlocks(const Mapping& mapping, const BFloat16* tensor,
                float* scratch) {
  const BlockOrder order(mapping, /*inverse=*/true);
  const __m512i first = order.Vector(0);
  const __m512i second = order.Vector(1);
  const int64_t block_size = mapping.groups_per_block * mapping.channels;
  const __mmask16 all = FirstLanes(block_size);
  const __mmask16 rest = kVectors == 1 ? 0 : FirstLanes(block_size - kLanes);
  ForBlocks(mapping, tensor, scratch,
            [=](const BFloat16* from, float* to, int64_t, int64_t size) {
              const __m512i a = ToFloat(from, FirstLanes(size));
              if (kVectors == 1) {
                Store(_mm512_permutexvar_epi32(first, a), to, all);
                return;
              }
              const __m512i b =
                  size > kLanes
                      ? ToFloat(from + kLanes, FirstLanes(size - kLanes))
                      : _mm512_setzero_si512();
              Store(_mm512_permutex2var_epi32(a, first, b), to, AllLanes());
              Store(_mm512_permutex2var_epi32(a, second, b), to + kLanes, rest);
            });
}

void Pack(const Mapping& mapping, const BFloat16* tensor, float* scratch) {
  const int64_t block_size = mapping.groups_per_block * mapping.channels;
  if (AreNeighbours(mapping)) {
    ForVectors(mapping, tensor, scratch,
               [](const BFloat16* from, float* to, int64_t, auto lanes) {
                 Store(ToFloat(from, lanes), to, lanes);
               });
  } else if (AreBlocks(mapping) && block_size <= kLanes) {
    PackBlocks<1>(mapping, tensor, scratch);
  } else if (AreBlocks(mapping) && block_size <= 2 * kLanes) {
    PackBlocks<2>(mapping, tensor, scratch);
  } else {
    pack_other(mapping, tensor, scratch);
  }
}

void Unpack(const Mapping& mapping, const float* scratch,
            const ScratchEpilogue<float>& epilogue, BFloat16* tensor) {
  const int64_t block_size = mapping.groups_per_block * mapping.channels;
  if (!IsShort(epilogue.activation)) {
    unpack_other(mapping, scratch, epilogue, tensor);
  } else if (AreNeighbours(mapping)) {
    UnpackShort(mapping, scratch, epilogue, tensor);
  } else if (AreBlocks(mapping) && block_size <= kLanes) {
    const auto unpack =
        HasAny(epilogue) ? UnpackBlocks<true, 1> : UnpackBlocks<false, 1>;
    unpack(mapping, scratch, epilogue, tensor);
  } else if (AreBlocks(mapping) && block_size <= 2 * kLanes) {
    const auto unpack =
        HasAny(epilogue) ? UnpackBlocks<true, 2> : UnpackBlocks<false, 2>;
    unpack(mapping, scratch, epilogue, tensor);
  } else {
    unpack_other(mapping, scratch, epilogue, tensor);
  }
}

}  // namespace

bool IsCompiled() { return true; }

AllKernels AddTo(AllKernels kernels, bool paired_taps) {
  static const PairKernels pair_kernels = {
      /*tiles=*/false,
      /*speed=*/2,
      /*fewest_channels=*/2,
      {MaxRows<float>(1), MaxRows<float>(2), MaxRows<float>(3),
       MaxRows<float>(4)},
      {{Multiply<1, 1>, Multiply<1, 2>, Multiply<1, 3>, Multiply<1, 4>},
       {Multiply<2, 1>, Multiply<2, 2>, Multiply<2, 3>, Multiply<2, 4>},
       {Multiply<4, 1>, Multiply<4, 2>, Multiply<4, 3>, Multiply<4, 4>},
       {Multiply<8, 1>, Multiply<8, 2>, Multiply<8, 3>, Multiply<8, 4>}},
      SumOuter,
      Release,
      PairPixels,
      Transpose,
      PackPairs,
      UnpackShort};
  kernels.of_pairs = &pair_kernels;
  pack_other_pairs = kernels.of_float.pack;
  pack_other = kernels.of_bfloat16.pack;
  unpack_other = kernels.of_bfloat16.unpack;
  kernels.of_bfloat16.pack = Pack;
  kernels.of_bfloat16.unpack = Unpack;
  if (paired_taps) {
    FillDepthwise<true>(&kernels.of_bfloat16);
  } else {
    FillDepthwise<false>(&kernels.of_bfloat16);
  }
  return kernels;
}

}  // namespace avx512bf16
}  // namespace grouped_conv

#else

#include "tensorflow/core/kernels/grouped_conv/kernels.h"

namespace grouped_conv {
namespace avx512bf16 {

bool IsCompiled() { return false; }

AllKernels AddTo(AllKernels kernels, bool) { return kernels; }

}  // namespace avx512bf16
}  // namespace grouped_conv

#endif  // GROUPED_CONV_HAS_AVX512BF16
#endif  // __x86_64__
