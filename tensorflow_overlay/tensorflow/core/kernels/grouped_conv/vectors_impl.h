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

// What the kernels of all passes are made of: vectors, and sums of products in
// registers. Files of kernels are compiled once for each instruction set: a
// file that includes one includes its isa_*.h first, which selects it, and
// defines GROUPED_CONV_ISA, the namespace the kernels shall be in, and
// GROUPED_CONV_VECTOR_BYTES and GROUPED_CONV_REGISTERS, the size and the number
// of its vectors' registers.
//
// Everything in such files must have internal linkage or be in that namespace,
// and no header with inline functions may be included: the linker could
// otherwise pick a copy that was compiled for AVX-512 for the whole program.

#include <stddef.h>

#include "tensorflow/core/kernels/grouped_conv/kernels.h"

#if GROUPED_CONV_VECTOR_BYTES > 16
#include <immintrin.h>
// Of what these headers themselves leave undefined.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <type_traits>
#include <utility>  // Of which only index_sequence is used.

namespace grouped_conv {
namespace GROUPED_CONV_ISA {
namespace {

#define GROUPED_CONV_INLINE inline __attribute__((always_inline))

constexpr int kVectorBytes = GROUPED_CONV_VECTOR_BYTES;

template <typename E, int kCount>
struct Elements {
  typedef E Vector __attribute__((vector_size(kCount * sizeof(E))));
  typedef E Unaligned __attribute__((vector_size(kCount * sizeof(E)),
                                     aligned(sizeof(E)), may_alias));
};

template <typename S>
struct Simd {
  static constexpr int kLanes = kVectorBytes / sizeof(S);
  using Vector = typename Elements<S, kLanes>::Vector;
};

template <int kCount, typename E>
GROUPED_CONV_INLINE typename Elements<E, kCount>::Vector LoadElements(
    const E* p) {
  return *reinterpret_cast<const typename Elements<E, kCount>::Unaligned*>(p);
}

template <int kCount, typename E>
GROUPED_CONV_INLINE void StoreElements(typename Elements<E, kCount>::Vector v,
                                       E* p) {
  *reinterpret_cast<typename Elements<E, kCount>::Unaligned*>(p) = v;
}

template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector Load(const S* p) {
  return LoadElements<Simd<S>::kLanes>(p);
}

// With kStreamed, past the caches, which fetch no line then that is to be
// overwritten: only where a vector is one, and p starts one.
template <typename S, bool kStreamed = false>
GROUPED_CONV_INLINE void Store(typename Simd<S>::Vector v, S* p) {
  static_assert(!kStreamed || kVectorBytes == 64, "a vector is a cache line");
#if GROUPED_CONV_VECTOR_BYTES == 64
  if (kStreamed) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
    return;
  }
#endif
  StoreElements<Simd<S>::kLanes>(v, p);
}

template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector Broadcast(S s) {
  return s - typename Simd<S>::Vector{};
}

// Puts two vectors one behind the other, or takes them apart.
template <int kBytes>
struct PairOf;
#if GROUPED_CONV_VECTOR_BYTES >= 32
template <>
struct PairOf<32> {
  using Whole = __m256i;
  using Half = __m128i;
  static GROUPED_CONV_INLINE Whole Join(Half a, Half b) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
  }
  static GROUPED_CONV_INLINE Half First(Whole v) {
    return _mm256_castsi256_si128(v);
  }
  static GROUPED_CONV_INLINE Half Second(Whole v) {
    return _mm256_extracti128_si256(v, 1);
  }
};
#if GROUPED_CONV_VECTOR_BYTES == 64
template <>
struct PairOf<64> {
  using Whole = __m512i;
  using Half = __m256i;
  static GROUPED_CONV_INLINE Whole Join(Half a, Half b) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
  }
  static GROUPED_CONV_INLINE Half First(Whole v) {
    return _mm512_castsi512_si256(v);
  }
  static GROUPED_CONV_INLINE Half Second(Whole v) {
    return _mm512_extracti64x4_epi64(v, 1);
  }
};
#endif
#endif

// A vector of the kGroups values at `p`, over and over.
template <typename S, int kGroups>
struct Repeat {
  static GROUPED_CONV_INLINE typename Simd<S>::Vector Load(const S* p) {
    constexpr int kBytes = kGroups * sizeof(S);
    using Integer = typename Elements<int64_t, kBytes / 8>::Vector;
    const Integer v = (Integer)LoadElements<kGroups>(p);
    return Widen(std::integral_constant<int, kBytes>(), v);
  }

 private:
  using Vector = typename Simd<S>::Vector;
  static GROUPED_CONV_INLINE Vector
  Widen(std::integral_constant<int, kVectorBytes>,
        typename Simd<int64_t>::Vector v) {
    return (Vector)v;
  }
  template <typename Small>
  static GROUPED_CONV_INLINE Vector Widen(std::integral_constant<int, 8>,
                                          Small v) {
    return (Vector)Broadcast<int64_t>(v[0]);
  }
#if GROUPED_CONV_VECTOR_BYTES == 32
  template <typename Small>
  static GROUPED_CONV_INLINE Vector Widen(std::integral_constant<int, 16>,
                                          Small v) {
    return (Vector)_mm256_broadcastsi128_si256((__m128i)v);
  }
#elif GROUPED_CONV_VECTOR_BYTES == 64
  template <typename Small>
  static GROUPED_CONV_INLINE Vector Widen(std::integral_constant<int, 16>,
                                          Small v) {
    return (Vector)_mm512_broadcast_i32x4((__m128i)v);
  }
  template <typename Small>
  static GROUPED_CONV_INLINE Vector Widen(std::integral_constant<int, 32>,
                                          Small v) {
    return (Vector)_mm512_broadcast_i64x4((__m256i)v);
  }
#endif
};
template <typename S>
struct Repeat<S, 1> {
  static GROUPED_CONV_INLINE typename Simd<S>::Vector Load(const S* p) {
#ifdef __aarch64__
    // Not loaded over and over, which would keep a unit that multiplies busy: a
    // multiply-add takes one lane of a register for all of a vector.
    S value = *p;
    asm("" : "+w"(value));
    return Broadcast(value);
#else
    return Broadcast(*p);
#endif
  }
};

// --- Sums in registers ------------------------------------------------------

// With 32 registers a tile of 2 vectors and 14 rows fits, with 16 one of 2 and
// 6: sums, a vector of each w, and one x. For sums other than float, tiles just
// hide the latency of a multiply-add: they would be two thirds of the code.
// NEON has each x in a register, and compilers load several of them ahead: of
// more rows, some sums would not stay in registers.
#if GROUPED_CONV_VECTOR_BYTES == 64
constexpr int kMaxFloatRows[kMaxVectors] = {14, 14, 9, 6};
#elif GROUPED_CONV_REGISTERS == 32
constexpr int kMaxFloatRows[kMaxVectors] = {14, 10, 7, 5};
#else
constexpr int kMaxFloatRows[kMaxVectors] = {12, 6, 4, 3};
#endif
constexpr int kMaxOtherRows[kMaxVectors] = {8, 4, 3, 2};

template <typename S>
constexpr int MaxRows(int vectors) {
  return std::is_same<S, float>::value ? kMaxFloatRows[vectors - 1]
                                       : kMaxOtherRows[vectors - 1];
}

// sum[i][o] += x(i) * w[o], with the vectors x(i), and those of w in memory.
template <typename S, int kVectorCount, int kRows, typename X>
GROUPED_CONV_INLINE void AddProducts(
    const X& x, const S* w,
    typename Simd<S>::Vector (&sum)[kRows][kVectorCount]) {
  using Vector = typename Simd<S>::Vector;
  constexpr int kLanes = Simd<S>::kLanes;
  // The smaller side is held in registers.
  if (kRows >= kVectorCount) {
    Vector factor[kVectorCount];
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) factor[o] = Load(w + o * kLanes);
#pragma GCC unroll 28
    for (int i = 0; i < kRows; ++i) {
      const Vector value = x(i);
#pragma GCC unroll 4
      for (int o = 0; o < kVectorCount; ++o) sum[i][o] += value * factor[o];
    }
  } else {
    Vector value[kRows];
#pragma GCC unroll 28
    for (int i = 0; i < kRows; ++i) value[i] = x(i);
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) {
      const Vector factor = Load(w + o * kLanes);
#pragma GCC unroll 28
      for (int i = 0; i < kRows; ++i) sum[i][o] += value[i] * factor;
    }
  }
}

// Calls f(i, address) for each row of sums. The compiler shall not keep all
// addresses at once, for which it has no registers.
template <int kRows, typename S, typename F>
GROUPED_CONV_INLINE void ForRows(int64_t sum_row, S* sums, const F& f) {
  S* row = sums;
#pragma GCC unroll 28
  for (int i = 0; i < kRows; ++i) {
    f(i, row);
    row += sum_row;
    asm("" : "+r"(row));
  }
}

// Sums that lie in rows, in whole vectors.
template <typename S, int kVectorCount, int kRows>
GROUPED_CONV_INLINE void LoadRows(
    int64_t sum_row, S* sums,
    typename Simd<S>::Vector (&sum)[kRows][kVectorCount]) {
  ForRows<kRows>(sum_row, sums, [&](int i, const S* row) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) {
      sum[i][o] = Load(row + o * Simd<S>::kLanes);
    }
  });
}
template <typename S, bool kStreamed = false, int kVectorCount, int kRows>
GROUPED_CONV_INLINE void StoreRows(
    const typename Simd<S>::Vector (&sum)[kRows][kVectorCount], int64_t sum_row,
    S* sums) {
  ForRows<kRows>(sum_row, sums, [&](int i, S* row) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) {
      Store<S, kStreamed>(sum[i][o], row + o * Simd<S>::kLanes);
    }
  });
}

// The sums that a tile adds to.
template <typename S, int kVectorCount, int kRows>
GROUPED_CONV_INLINE void LoadSums(
    const Tile<S>& tile, S* sums,
    typename Simd<S>::Vector (&sum)[kRows][kVectorCount]) {
  if (tile.accumulate) LoadRows<S>(tile.sum_row, sums, sum);
}

// Taps whose filters are held in registers together, and the rows of sums for
// which there are registers then.
#if GROUPED_CONV_REGISTERS == 32
constexpr int kMaxTaps = 7;
constexpr int kMaxNeighbourRows = GROUPED_CONV_VECTOR_BYTES == 64 ? 14 : 13;
#else
constexpr int kMaxTaps = 4;
constexpr int kMaxNeighbourRows = 10;
#endif

// Products of vectors of x, each made by Loader::Load of what is at an address,
// and those of w in memory.
template <typename S, typename Loader>
struct MultiplyAdd {
  using Vector = typename Simd<S>::Vector;
  template <typename X>
  GROUPED_CONV_INLINE Vector LoadX(const X* x) const {
    return Loader::Load(x);
  }
  GROUPED_CONV_INLINE Vector LoadW(const S* w) const { return Load(w); }
  GROUPED_CONV_INLINE void Add(Vector x, Vector w, Vector* sum) const {
    *sum += x * w;
  }
};

// sum[i] += the products, as MultiplyAdd has them, of kTaps columns of x, whose
// rows are neighbours, and w: each x is loaded once for all the sums that it is
// a factor of.
template <typename S, int kTaps, typename Products, typename X, int kRows>
GROUPED_CONV_INLINE void AddTaps(const Products& products, const X* x,
                                 int64_t x_step, const S* w, int64_t w_step,
                                 typename Simd<S>::Vector (&sum)[kRows][1]) {
  decltype(products.LoadW(w)) factor[kTaps];
#pragma GCC unroll 8
  for (int t = 0; t < kTaps; ++t) factor[t] = products.LoadW(w + t * w_step);
#pragma GCC unroll 32
  for (int j = 0; j < kRows + kTaps - 1; ++j) {
    const auto value = products.LoadX(x);
    x += x_step;
    asm("" : "+r"(x));  // Not an address for each.
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) {
      if (t <= j && j - t < kRows) {
        products.Add(value, factor[t], &sum[j - t][0]);
      }
    }
  }
}

// The same for any number of columns.
template <typename S, typename Products, typename X, int kRows>
GROUPED_CONV_INLINE void AddAllTaps(const Products& products, const X* x,
                                    int64_t x_step, const S* w, int64_t w_step,
                                    int64_t taps,
                                    typename Simd<S>::Vector (&sum)[kRows][1]) {
  for (; taps > kMaxTaps; taps -= kMaxTaps) {
    AddTaps<S, kMaxTaps>(products, x, x_step, w, w_step, sum);
    x += kMaxTaps * x_step;
    w += kMaxTaps * w_step;
  }
  switch (taps) {
    case 1:
      AddTaps<S, 1>(products, x, x_step, w, w_step, sum);
      break;
    case 2:
      AddTaps<S, 2>(products, x, x_step, w, w_step, sum);
      break;
    case 3:
      AddTaps<S, 3>(products, x, x_step, w, w_step, sum);
      break;
    case 4:
      AddTaps<S, 4>(products, x, x_step, w, w_step, sum);
      break;
#if GROUPED_CONV_REGISTERS == 32
    case 5:
      AddTaps<S, 5>(products, x, x_step, w, w_step, sum);
      break;
    case 6:
      AddTaps<S, 6>(products, x, x_step, w, w_step, sum);
      break;
    case 7:
      AddTaps<S, 7>(products, x, x_step, w, w_step, sum);
      break;
#endif
  }
}

}  // namespace
}  // namespace GROUPED_CONV_ISA
}  // namespace grouped_conv
