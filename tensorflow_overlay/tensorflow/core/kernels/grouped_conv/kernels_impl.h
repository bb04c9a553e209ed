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

// The kernels of kernels.h but FilterGradient's, for one instruction set: see
// vectors_impl.h.

#include "tensorflow/core/kernels/grouped_conv/vectors_impl.h"

namespace grouped_conv {
namespace GROUPED_CONV_ISA {
namespace {

// --- Elements of tensors ----------------------------------------------------

// Reads and writes kCount of a tensor's elements as a vector of sums.
template <typename T, int kCount>
struct Convert {
  using Vector = typename Elements<Sum<T>, kCount>::Vector;
  static GROUPED_CONV_INLINE Vector Read(const T* p) {
    return LoadElements<kCount>(reinterpret_cast<const Sum<T>*>(p));
  }
  static GROUPED_CONV_INLINE void Write(Vector v, T* p) {
    StoreElements<kCount>(v, reinterpret_cast<Sum<T>*>(p));
  }
};

// Types of 16 bits, which are the upper half of a vector of unsigned numbers.
template <int kCount>
struct Upper {
  using Bits = typename Elements<uint32_t, kCount>::Vector;
  using Halves = typename Elements<uint16_t, kCount>::Vector;
  template <typename T>
  static GROUPED_CONV_INLINE Bits Read(const T* p) {
    return __builtin_convertvector(
               LoadElements<kCount>(reinterpret_cast<const uint16_t*>(p)), Bits)
           << 16;
  }
  template <typename T>
  static GROUPED_CONV_INLINE void Write(Bits bits, T* p) {
    StoreElements<kCount>(__builtin_convertvector(bits >> 16, Halves),
                          reinterpret_cast<uint16_t*>(p));
  }
};

template <int kCount>
struct Convert<BFloat16, kCount> {
  using Vector = typename Elements<float, kCount>::Vector;
  using Bits = typename Upper<kCount>::Bits;
  static GROUPED_CONV_INLINE Vector Read(const BFloat16* p) {
    return (Vector)Upper<kCount>::Read(p);
  }
  static GROUPED_CONV_INLINE void Write(Vector v, BFloat16* p) {
    const Bits bits = (Bits)v;
    // To nearest, even if there are two. That could carry a NaN's fraction into
    // its sign, so a quiet one is made instead.
    const Bits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    Upper<kCount>::Write(
        (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : rounded, p);
  }
};

#if GROUPED_CONV_VECTOR_BYTES > 16
// With the instructions of F16C and AVX-512.
constexpr int kToNearestEven = 0;
template <int kCount>
struct Convert<Half, kCount> {
  using Vector = typename Elements<float, kCount>::Vector;
  using Halves = typename Elements<uint16_t, kCount>::Vector;
  static GROUPED_CONV_INLINE Vector Read(const Half* p) {
    return Widen(LoadElements<kCount>(reinterpret_cast<const uint16_t*>(p)));
  }
  static GROUPED_CONV_INLINE void Write(Vector v, Half* p) {
    StoreElements<kCount>(Narrow(v), reinterpret_cast<uint16_t*>(p));
  }

 private:
  using Halves4 = Elements<uint16_t, 4>::Vector;
  using Halves8 = Elements<uint16_t, 8>::Vector;
  static GROUPED_CONV_INLINE Vector Widen(Halves4 halves) {
    const auto bits = (Elements<int64_t, 1>::Vector)halves;
    return (Vector)_mm_cvtph_ps(_mm_cvtsi64_si128(bits[0]));
  }
  static GROUPED_CONV_INLINE Vector Widen(Halves8 halves) {
    return (Vector)_mm256_cvtph_ps((__m128i)halves);
  }
  static GROUPED_CONV_INLINE Halves4 Narrow(__m128 v) {
    const __m128i halves = _mm_cvtps_ph(v, kToNearestEven);
    return (Halves4)Elements<int64_t, 1>::Vector{_mm_cvtsi128_si64(halves)};
  }
  static GROUPED_CONV_INLINE Halves8 Narrow(__m256 v) {
    return (Halves8)_mm256_cvtps_ph(v, kToNearestEven);
  }
#if GROUPED_CONV_VECTOR_BYTES == 64
  using Halves16 = Elements<uint16_t, 16>::Vector;
  static GROUPED_CONV_INLINE Vector Widen(Halves16 halves) {
    return (Vector)_mm512_cvtph_ps((__m256i)halves);
  }
  static GROUPED_CONV_INLINE Halves16 Narrow(__m512 v) {
    return (Halves16)_mm512_cvtps_ph(v, kToNearestEven);
  }
#endif
};
#else
template <int kCount>
struct Convert<Half, kCount> {
  using Vector = typename Elements<float, kCount>::Vector;
  using Bits = typename Upper<kCount>::Bits;
  static GROUPED_CONV_INLINE Vector Read(const Half* p) {
    const Bits bits = Upper<kCount>::Read(p);
    // Multiplying by 2^112 moves the exponent to float's bias, and makes
    // subnormals normal.
    const Vector finite =
        (Vector)((bits & 0x7fff0000u) >> 3) * 5.192296858534828e33f;
    const Bits infinite =
        (bits & 0x7c000000u) == 0x7c000000u ? Bits{} + 0x7f800000u : Bits{};
    return (Vector)((Bits)finite | infinite | (bits & 0x80000000u));
  }
  static GROUPED_CONV_INLINE void Write(Vector v, Half* p) {
    const Bits bits = (Bits)v & 0x7fffffffu;
    const Bits normal =
        (bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1u)) >> 13;
    // Adding 1/2 moves the bits that a half has to the bottom, and rounds them
    // to nearest even.
    const Bits subnormal = (Bits)((Vector)bits + 0.5f) - 0x3f000000u;
    Bits result = bits < 0x38800000u ? subnormal : normal;
    result = bits >= 0x477ff000u ? Bits{} + 0x7c00u : result;
    result = bits > 0x7f800000u ? Bits{} + 0x7e00u : result;
    Upper<kCount>::Write(result << 16 | ((Bits)v & 0x80000000u), p);
  }
};
#endif

// The first `words` of a vector's 32-bit words, without access to the others.
template <int kBytes>
struct Words;
#if GROUPED_CONV_VECTOR_BYTES == 32
template <>
struct Words<16> {
  using Vector = Elements<int32_t, 4>::Vector;
  static GROUPED_CONV_INLINE Vector Mask(int words) {
    return Vector{0, 1, 2, 3} < words;
  }
  static GROUPED_CONV_INLINE Vector Read(const void* p, int words) {
    return (Vector)_mm_maskload_epi32(static_cast<const int*>(p),
                                      (__m128i)Mask(words));
  }
  static GROUPED_CONV_INLINE void Write(Vector v, void* p, int words) {
    _mm_maskstore_epi32(static_cast<int*>(p), (__m128i)Mask(words), (__m128i)v);
  }
};
template <>
struct Words<32> {
  using Vector = Elements<int32_t, 8>::Vector;
  static GROUPED_CONV_INLINE Vector Mask(int words) {
    return Vector{0, 1, 2, 3, 4, 5, 6, 7} < words;
  }
  static GROUPED_CONV_INLINE Vector Read(const void* p, int words) {
    return (Vector)_mm256_maskload_epi32(static_cast<const int*>(p),
                                         (__m256i)Mask(words));
  }
  static GROUPED_CONV_INLINE void Write(Vector v, void* p, int words) {
    _mm256_maskstore_epi32(static_cast<int*>(p), (__m256i)Mask(words),
                           (__m256i)v);
  }
};
#elif GROUPED_CONV_VECTOR_BYTES == 64
#define GROUPED_CONV_WORDS(bytes, vector, prefix)                         \
  template <>                                                             \
  struct Words<bytes> {                                                   \
    using Vector = vector;                                                \
    static GROUPED_CONV_INLINE Vector Read(const void* p, int words) {    \
      return prefix##_maskz_loadu_epi32((1u << words) - 1, p);            \
    }                                                                     \
    static GROUPED_CONV_INLINE void Write(Vector v, void* p, int words) { \
      prefix##_mask_storeu_epi32(p, (1u << words) - 1, v);                \
    }                                                                     \
  };
GROUPED_CONV_WORDS(16, __m128i, _mm)
GROUPED_CONV_WORDS(32, __m256i, _mm256)
GROUPED_CONV_WORDS(64, __m512i, _mm512)
#undef GROUPED_CONV_WORDS
#endif

// The first `count` of kCount elements.
template <typename T, int kCount>
struct Some {
  using S = Sum<T>;
  using Vector = typename Elements<S, kCount>::Vector;
  static constexpr int kBytes = kCount * sizeof(S);
  // Whether Words can.
  using Masked = std::integral_constant<bool, (kVectorBytes > 16) &&
                                                  sizeof(T) == sizeof(S)>;

  static GROUPED_CONV_INLINE Vector Read(const T* p, int count) {
    return Read(Masked(), p, count);
  }
  static GROUPED_CONV_INLINE void Write(Vector v, T* p, int count) {
    Write(Masked(), v, p, count);
  }

 private:
  static GROUPED_CONV_INLINE Vector Read(std::true_type, const T* p,
                                         int count) {
    return (Vector)Words<kBytes>::Read(p, count * sizeof(T) / 4);
  }
  static GROUPED_CONV_INLINE void Write(std::true_type, Vector v, T* p,
                                        int count) {
    Words<kBytes>::Write((typename Words<kBytes>::Vector)v, p,
                         count * sizeof(T) / 4);
  }
  static GROUPED_CONV_INLINE Vector Read(std::false_type, const T* p,
                                         int count) {
    T all[kCount] = {};
    for (int i = 0; i < count; ++i) all[i] = p[i];
    return Convert<T, kCount>::Read(all);
  }
  static GROUPED_CONV_INLINE void Write(std::false_type, Vector v, T* p,
                                        int count) {
    T all[kCount];
    Convert<T, kCount>::Write(v, all);
    for (int i = 0; i < count; ++i) p[i] = all[i];
  }
};

// A vector of kParts * kCount elements whose i-th part, or the first `count`
// elements of it, is at at(i). Writes none where that is null.
template <typename T, int kParts, int kCount>
struct Parts {
  using S = Sum<T>;
  using Vector = typename Elements<S, kParts * kCount>::Vector;
  using Half = Parts<T, kParts / 2, kCount>;
  using Pair = PairOf<kParts * kCount * sizeof(S)>;
  template <typename At>
  static GROUPED_CONV_INLINE Vector Read(const At& at, int first, int count) {
    return (Vector)Pair::Join(
        (typename Pair::Half)Half::Read(at, first, count),
        (typename Pair::Half)Half::Read(at, first + kParts / 2, count));
  }
  template <typename At>
  static GROUPED_CONV_INLINE void Write(Vector v, const At& at, int first,
                                        int count) {
    const auto whole = (typename Pair::Whole)v;
    Half::Write((typename Half::Vector)Pair::First(whole), at, first, count);
    Half::Write((typename Half::Vector)Pair::Second(whole), at,
                first + kParts / 2, count);
  }
};
template <typename T, int kCount>
struct Parts<T, 1, kCount> {
  using Vector = typename Elements<Sum<T>, kCount>::Vector;
  template <typename At>
  static GROUPED_CONV_INLINE Vector Read(const At& at, int i, int count) {
    return count == kCount ? Convert<T, kCount>::Read(at(i))
                           : Some<T, kCount>::Read(at(i), count);
  }
  template <typename At>
  static GROUPED_CONV_INLINE void Write(Vector v, const At& at, int i,
                                        int count) {
    T* const p = at(i);
    if (p == nullptr) return;
    if (count == kCount) {
      Convert<T, kCount>::Write(v, p);
    } else {
      Some<T, kCount>::Write(v, p, count);
    }
  }
};

// --- Shuffles ---------------------------------------------------------------

template <int kBytes>
struct Integer;
template <>
struct Integer<4> {
  using type = int32_t;
};
template <>
struct Integer<8> {
  using type = int64_t;
};
template <typename S>
using Mask = typename Simd<typename Integer<sizeof(S)>::type>::Vector;

// Takes the vector for a matrix of kRows, and transposes that.
template <typename S, int kRows, size_t... kLane>
GROUPED_CONV_INLINE typename Simd<S>::Vector Transpose(
    typename Simd<S>::Vector v, std::index_sequence<kLane...>) {
  return __builtin_shuffle(
      v,
      Mask<S>{(kLane % kRows * (Simd<S>::kLanes / kRows) + kLane / kRows)...});
}
template <typename S, int kRows>
GROUPED_CONV_INLINE typename Simd<S>::Vector Transpose(
    typename Simd<S>::Vector v) {
  return Transpose<S, kRows>(v, std::make_index_sequence<Simd<S>::kLanes>());
}

// As above, for two vectors.
template <typename S, int kRows, size_t... kLane>
GROUPED_CONV_INLINE void TransposePair(typename Simd<S>::Vector* v,
                                       std::index_sequence<kLane...>) {
  constexpr int kLanes = Simd<S>::kLanes;
  constexpr int kColumns = 2 * kLanes / kRows;
  const auto first = __builtin_shuffle(
      v[0], v[1], Mask<S>{(kLane % kRows * kColumns + kLane / kRows)...});
  v[1] = __builtin_shuffle(v[0], v[1],
                           Mask<S>{((kLane + kLanes) % kRows * kColumns +
                                    (kLane + kLanes) / kRows)...});
  v[0] = first;
}
template <typename S, int kRows>
GROUPED_CONV_INLINE void TransposePair(typename Simd<S>::Vector* v) {
  TransposePair<S, kRows>(v, std::make_index_sequence<Simd<S>::kLanes>());
}

// Squares of 128 bits, or of as many of the numbers in that.
template <typename S>
constexpr int SquareSize() {
  return 16 / sizeof(S);
}

// Interleaves the lower (or upper) halves of each 128 bits of a and b.
template <typename S, bool kUpper, size_t... kLane>
GROUPED_CONV_INLINE typename Simd<S>::Vector Zip(
    typename Simd<S>::Vector a, typename Simd<S>::Vector b,
    std::index_sequence<kLane...>) {
  constexpr int kSize = SquareSize<S>();
  return __builtin_shuffle(
      a, b,
      Mask<S>{(kLane % kSize % 2 * Simd<S>::kLanes + kLane / kSize * kSize +
               kLane % kSize / 2 + (kUpper ? kSize / 2 : 0))...});
}

template <typename S>
GROUPED_CONV_INLINE void ZipBoth(typename Simd<S>::Vector* a,
                                 typename Simd<S>::Vector* b) {
  constexpr auto kLanes = std::make_index_sequence<Simd<S>::kLanes>();
  const auto lower = Zip<S, false>(*a, *b, kLanes);
  *b = Zip<S, true>(*a, *b, kLanes);
  *a = lower;
}

// Transposes each of the squares that 128 bits of the same position make: there
// element i of v[j] changes places with element j of v[i].
template <typename S>
GROUPED_CONV_INLINE void TransposeSquares(typename Simd<S>::Vector* v) {
  using Double = Simd<double>::Vector;
  ZipBoth<S>(&v[0], &v[1]);
  if (SquareSize<S>() == 2) return;
  ZipBoth<S>(&v[2], &v[3]);
  Double pairs[4] = {(Double)v[0], (Double)v[2], (Double)v[1], (Double)v[3]};
  ZipBoth<double>(&pairs[0], &pairs[1]);
  ZipBoth<double>(&pairs[2], &pairs[3]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = (typename Simd<S>::Vector)pairs[i];
}

// --- Activations ------------------------------------------------------------

// Without the activations that are not short.
template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector ActivateShort(
    Activation activation, typename Simd<S>::Vector value) {
  const typename Simd<S>::Vector zero = {};
  const typename Simd<S>::Vector six = zero + 6;
  switch (activation) {
    case Activation::kRelu:
      return value < zero ? zero : value;
    case Activation::kRelu6:
      return value < zero ? zero : value > six ? six : value;
    default:
      return value;
  }
}

template <typename S>
struct Floating;
template <>
struct Floating<float> {
  using Bits = uint32_t;
  static constexpr int kFractionBits = 23;
  static constexpr Bits kExponentBias = 127;
  static constexpr float kMostExponent = 88;  // Of e, for a normal number.
  // The logarithm of 2: a number of few bits, and the rest.
  static constexpr float kLog2 = 0.693359375f;
  static constexpr float kLog2Rest = -2.12194440054690583e-4f;
  // Terms of the series of e^x, which is needed up to log(2) / 2.
  static constexpr int kTerms = 7;
};
template <>
struct Floating<double> {
  using Bits = uint64_t;
  static constexpr int kFractionBits = 52;
  static constexpr Bits kExponentBias = 1023;
  static constexpr double kMostExponent = 708;
  static constexpr double kLog2 = 0.693359375;
  static constexpr double kLog2Rest = -2.12194440054690583e-4;
  static constexpr int kTerms = 13;
};

// e^x, or the end of the range of numbers that x is beyond, is
// power * (1 + rest). power - 1 and rest have no more than a rounding's error
// each, so e^x - 1 is exact to a few of them for any x.
template <typename S>
struct Exponential {
  using Vector = typename Simd<S>::Vector;
  using Limits = Floating<S>;
  using Bits = typename Simd<typename Limits::Bits>::Vector;

  explicit GROUPED_CONV_INLINE Exponential(Vector x) {
    const Vector most = Broadcast<S>(Limits::kMostExponent);
    x = x > most ? most : x < -most ? -most : x;
    // Adding this rounds to an integer, which is in the last bits then.
    const Vector rounder =
        Broadcast<S>(3 * (int64_t{1} << (Limits::kFractionBits - 1)));
    const Vector shifted = x * Broadcast<S>(1.44269504088896340736) + rounder;
    const Vector exponent = shifted - rounder;
    power = (Vector)(((Bits)shifted + Limits::kExponentBias)
                     << Limits::kFractionBits);
    x = x - exponent * Broadcast<S>(Limits::kLog2) -
        exponent * Broadcast<S>(Limits::kLog2Rest);
    constexpr double kTerm[] = {1.,
                                1.,
                                1. / 2,
                                1. / 6,
                                1. / 24,
                                1. / 120,
                                1. / 720,
                                1. / 5040,
                                1. / 40320,
                                1. / 362880,
                                1. / 3628800,
                                1. / 39916800,
                                1. / 479001600,
                                1. / 6227020800};
    rest = Broadcast<S>(kTerm[Limits::kTerms]);
#pragma GCC unroll 16
    for (int i = Limits::kTerms - 1; i > 0; --i) {
      rest = rest * x + Broadcast<S>(kTerm[i]);
    }
    rest *= x;
  }
  GROUPED_CONV_INLINE Vector Value() const { return power + power * rest; }
  GROUPED_CONV_INLINE Vector LessOne() const {
    return power * rest + (power - Broadcast<S>(1));
  }

  Vector power;
  Vector rest;
};

// In one place for all that have vectors of S.
template <typename S>
__attribute__((noinline)) void ActivateLong(Activation activation, float alpha,
                                            typename Simd<S>::Vector* value) {
  using Vector = typename Simd<S>::Vector;
  const Vector x = *value;
  const Vector zero = {};
  const Vector one = zero + 1;
  switch (activation) {
    case Activation::kElu:
      *value = x < zero ? Exponential<S>(x).LessOne() : x;
      return;
    case Activation::kHardSwish: {
      const Vector gate = ActivateShort<S>(Activation::kRelu6, x + 3);
      *value = x * gate * Broadcast<S>(1. / 6);
      return;
    }
    case Activation::kLeakyRelu:
      *value = x < zero ? x * Broadcast<S>(alpha) : x;
      return;
    case Activation::kMish: {
      // With y = (1 + e^x)^2, tanh(log(1 + e^x)) is (y - 1) / (y + 1). It is 1
      // long before that is beyond the range of numbers.
      const Vector most = zero + 40;
      const Vector e = Exponential<S>(x > most ? most : x).Value();
      const Vector y_less_one = e * (e + 2);
      *value = x * (y_less_one / (y_less_one + 2));
      return;
    }
    case Activation::kSigmoid:
      *value = one / (one + Exponential<S>(-x).Value());
      return;
    case Activation::kSwish:
      *value = x / (one + Exponential<S>(-x).Value());
      return;
    case Activation::kTanh: {
      const Vector most = zero + 40;
      const Vector e_less_one =
          Exponential<S>(x > most ? most : x + x).LessOne();
      *value = e_less_one / (e_less_one + 2);
      return;
    }
    default:
      return;
  }
}
// Of integers, there are none.
template <>
void ActivateLong<int32_t>(Activation, float, Simd<int32_t>::Vector*) {}

template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector Activate(
    Activation activation, float alpha, typename Simd<S>::Vector value) {
  if (IsShort(activation)) return ActivateShort<S>(activation, value);
  ActivateLong<S>(activation, alpha, &value);
  return value;
}

// Numbers that wrap around are unsigned, but stand for signed ones.
template <>
GROUPED_CONV_INLINE Simd<uint32_t>::Vector Activate<uint32_t>(
    Activation activation, float alpha, Simd<uint32_t>::Vector value) {
  return (Simd<uint32_t>::Vector)Activate<int32_t>(
      activation, alpha, (Simd<int32_t>::Vector)value);
}

// --- Matrix product ---------------------------------------------------------

// Applies an epilogue, whose first vector is at `offset`, to sums in registers.
template <typename S, int kVectorCount, int kRows>
GROUPED_CONV_INLINE void FinishSums(
    const ScratchEpilogue<S>& epilogue, int64_t offset,
    typename Simd<S>::Vector (&sum)[kRows][kVectorCount]) {
  using Vector = typename Simd<S>::Vector;
  constexpr int kLanes = Simd<S>::kLanes;
  const auto for_all = [&](const auto& f) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) {
#pragma GCC unroll 28
      for (int i = 0; i < kRows; ++i) f(o, &sum[i][o]);
    }
  };
  if (epilogue.scale) {
    const S* const scale = epilogue.scale + offset;
    for_all([=](int o, Vector* v) { *v *= Load(scale + o * kLanes); });
  }
  if (epilogue.bias) {
    const S* const bias = epilogue.bias + offset;
    for_all([=](int o, Vector* v) { *v += Load(bias + o * kLanes); });
  }
  // Constants, so that each is the few instructions of its own.
  if (epilogue.activation == Activation::kRelu) {
    for_all(
        [](int, Vector* v) { *v = ActivateShort<S>(Activation::kRelu, *v); });
  } else if (epilogue.activation == Activation::kRelu6) {
    for_all(
        [](int, Vector* v) { *v = ActivateShort<S>(Activation::kRelu6, *v); });
  }
}

// Whether vectors are cache lines, which can be stored past the caches; of
// float alone, as others are few.
template <typename S>
constexpr bool Streams() {
  return kVectorBytes == 64 && std::is_same<S, float>::value;
}

// Stores a tile's sums; with kStreamed, those of which Tile::streamed is set.
template <typename S, int kGroups, bool kStreamed, int kVectorCount, int kRows>
GROUPED_CONV_INLINE void StoreFinished(
    const Tile<S>& tile, S* sums,
    const typename Simd<S>::Vector (&sum)[kRows][kVectorCount]) {
  using Vector = typename Simd<S>::Vector;
  constexpr int kLanes = Simd<S>::kLanes;
  // Whether sums can be stored group by group, from parts of a vector.
  constexpr int kChannels = kLanes / kGroups;
  constexpr bool kSplit = kGroups > 1 && kChannels > 1;
  constexpr bool kParts = kSplit && kChannels * sizeof(S) >= 16;
  if (kSplit && kVectorCount == 1 && tile.group_step == kChannels) {
    ForRows<kRows>(tile.sum_row, sums, [&](int i, S* row) {
      Store<S, kStreamed>(Transpose<S, kChannels>(sum[i][0]), row);
    });
  } else if (kSplit && kVectorCount == 2 && tile.group_step == 2 * kChannels) {
    ForRows<kRows>(tile.sum_row, sums, [&](int i, S* row) {
      Vector pair[] = {sum[i][0], sum[i][kVectorCount - 1]};
      TransposePair<S, 2 * kChannels>(pair);
      Store<S, kStreamed>(pair[0], row);
      Store<S, kStreamed>(pair[1], row + kLanes);
    });
  } else if (!kStreamed && kParts && tile.group_step != 0) {
    const int64_t group_step = tile.group_step;
    ForRows<kRows>(tile.sum_row, sums, [&](int i, S* row) {
#pragma GCC unroll 4
      for (int o = 0; o < kVectorCount; ++o) {
        Parts<S, kParts ? kGroups : 1, kParts ? kChannels : kLanes>::Write(
            Transpose<S, kChannels>(sum[i][o]),
            [=](int g) { return row + o * kChannels + g * group_step; }, 0,
            kParts ? kChannels : kLanes);
      }
    });
  } else if (!kStreamed && kGroups == 1 && tile.last_lanes != 0) {
    const int last_lanes = tile.last_lanes;
    ForRows<kRows>(tile.sum_row, sums, [&](int i, S* row) {
#pragma GCC unroll 4
      for (int o = 0; o < kVectorCount - 1; ++o) {
        Store<S>(sum[i][o], row + o * kLanes);
      }
      Some<S, kLanes>::Write(sum[i][kVectorCount - 1],
                             row + (kVectorCount - 1) * kLanes, last_lanes);
    });
  } else {
    StoreRows<S, kStreamed>(sum, tile.sum_row, sums);
  }
}

// Applies a tile's epilogue, and stores its sums.
template <typename S, int kGroups, int kVectorCount, int kRows>
GROUPED_CONV_INLINE void StoreSums(
    const Tile<S>& tile, int64_t epilogue_offset, S* sums,
    typename Simd<S>::Vector (&sum)[kRows][kVectorCount]) {
  if (std::is_same<S, float>::value && tile.epilogue != nullptr) {
    FinishSums<S>(*tile.epilogue, epilogue_offset, sum);
  }
  if (Streams<S>() && tile.streamed) {
    StoreFinished<S, kGroups, Streams<S>()>(tile, sums, sum);
  } else {
    StoreFinished<S, kGroups, false>(tile, sums, sum);
  }
}

template <typename S, int kGroups, int kVectorCount, int kRows>
GROUPED_CONV_INLINE void MultiplyUnit(const Tile<S>& tile, int64_t x_offset,
                                      int64_t w_offset, int64_t epilogue_offset,
                                      S* sums) {
  using Vector = typename Simd<S>::Vector;
  constexpr int kLanes = Simd<S>::kLanes;
  // Rows are addressed in fours, from few enough pointers for the registers.
  constexpr int kQuads = (kRows + 3) / 4;
  Vector sum[kRows][kVectorCount] = {};
  LoadSums<S>(tile, sums, sum);
  const int64_t x_row = tile.x_row;
  const int64_t x_depth = tile.x_depth;
  const int64_t w_depth = tile.w_depth;
  // Of a large w, the second level's cache has what comes next. With AVX2 and
  // SSE2, fetching it ahead costs more than it gains; with NEON it was not
  // tried.
  constexpr bool kFetch = kVectorBytes == 64 && kGroups == 1;
  constexpr int kRowsAhead = 4;
  for (int64_t p = 0; p < tile.num_products; ++p) {
    const Product<S>& product = tile.products[p];
    const S* x[kQuads];
#pragma GCC unroll 4
    for (int q = 0; q < kQuads; ++q) {
      x[q] = product.x + x_offset + 4 * q * x_row;
    }
    const S* w = product.w + w_offset;
    const S* const end = w + product.depth * w_depth;
    for (; w != end; w += w_depth) {
      const auto load_x = [&](int i) {
        return Repeat<S, kGroups>::Load(x[i / 4] + (i % 4) * x_row);
      };
      if (kFetch) {
        const S* const next = w + kRowsAhead * w_depth;
#pragma GCC unroll 4
        for (int o = 0; o < kVectorCount; ++o) {
          __builtin_prefetch(next + o * kLanes);
        }
      }
      AddProducts<S>(load_x, w, sum);
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) x[q] += x_depth;
    }
  }
  StoreSums<S, kGroups>(tile, epilogue_offset, sums, sum);
}

// For vectors of one or two channels of each group.
template <typename S>
constexpr int MaxNeighbourRows(int groups) {
  return std::is_same<S, float>::value && 2 * groups >= Simd<S>::kLanes
             ? kMaxNeighbourRows
             : 0;
}

// A MultiplyUnit for tiles of one vector with x_row == x_depth.
template <typename S, int kGroups, int kRows>
GROUPED_CONV_INLINE void MultiplyTaps(const Tile<S>& tile, int64_t x_offset,
                                      int64_t w_offset, int64_t epilogue_offset,
                                      S* sums) {
  typename Simd<S>::Vector sum[kRows][1] = {};
  LoadSums<S>(tile, sums, sum);
  for (int64_t p = 0; p < tile.num_products; ++p) {
    const Product<S>& product = tile.products[p];
    AddAllTaps<S>(MultiplyAdd<S, Repeat<S, kGroups>>(), product.x + x_offset,
                  tile.x_depth, product.w + w_offset, tile.w_depth,
                  product.depth, sum);
  }
  StoreSums<S, kGroups>(tile, epilogue_offset, sums, sum);
}

// Calls f(x_offset, w_offset, epilogue_offset, sums) for each of a tile's
// units.
template <typename S, typename F>
GROUPED_CONV_INLINE void ForUnits(const Tile<S>& tile, const F& f) {
  int64_t x_offset = tile.x_offset;
  int64_t w_offset = tile.w_offset;
  int64_t epilogue_offset = tile.epilogue_offset;
  S* sums = tile.sum;
  for (int64_t i = tile.units; i > 0; --i) {
    f(x_offset, w_offset, epilogue_offset, sums);
    x_offset += tile.x_unit;
    w_offset += tile.w_unit;
    epilogue_offset += tile.w_depth;
    sums += tile.sum_unit;
  }
}

template <typename S, int kGroups, int kVectorCount, int kRows>
void Multiply(const Tile<S>& tile) {
  ForUnits(tile,
           [&](int64_t x_offset, int64_t w_offset, int64_t epilogue_offset,
               S* sums) __attribute__((always_inline)) {
             MultiplyUnit<S, kGroups, kVectorCount, kRows>(
                 tile, x_offset, w_offset, epilogue_offset, sums);
           });
}

template <typename S, int kGroups, int kRows>
void MultiplyNeighbours(const Tile<S>& in_memory) {
  // In registers: stores of sums might be of a tile's members, for all that the
  // compiler knows.
  const Tile<S> tile = in_memory;
  ForUnits(tile,
           [&](int64_t x_offset, int64_t w_offset, int64_t epilogue_offset,
               S* sums) __attribute__((always_inline)) {
             MultiplyTaps<S, kGroups, kRows>(tile, x_offset, w_offset,
                                             epilogue_offset, sums);
           });
}

// --- Copies between tensors and scratch -------------------------------------

template <typename T>
struct Packer {
  using S = Sum<T>;
  using Vector = typename Simd<S>::Vector;
  using Tensor = const T;
  using Scratch = S;
  static constexpr int kLanes = Simd<S>::kLanes;
  static constexpr int kSquare = SquareSize<S>();

  // What stands for a group or channel that is not there.
  static GROUPED_CONV_INLINE const T* Missing(const T* any) { return any; }

  // Copies `lanes` lanes of a vector, element `index` of its pixel. They lie in
  // the tensor as kParts parts do, but where kGroups > 1, group by group.
  template <int kGroups, int kParts, typename At>
  GROUPED_CONV_INLINE void CopyVector(const At& at, int count, S* scratch,
                                      int64_t lanes, int64_t) const {
    Vector v = Parts<T, kParts, kLanes / kParts>::Read(at, 0, count);
    if (kGroups > 1) v = Transpose<S, kGroups>(v);
    Put(v, scratch, lanes);
  }
  // Copies two vectors, which lie in the tensor group by group.
  template <int kGroups>
  GROUPED_CONV_INLINE void CopyPair(const T* p, S* scratch, int64_t) const {
    Vector v[] = {Convert<T, kLanes>::Read(p),
                  Convert<T, kLanes>::Read(p + kLanes)};
    TransposePair<S, kGroups>(v);
    Store<S>(v[0], scratch);
    Store<S>(v[1], scratch + kLanes);
  }
  // Copies as many pixels' vectors as make squares. Lane i's are at row[i].
  GROUPED_CONV_INLINE void CopySquares(const T* const* row, int64_t offset,
                                       S* scratch, int64_t scratch_pixel,
                                       int64_t lanes, int64_t) const {
    Vector v[kSquare];
#pragma GCC unroll 4
    for (int i = 0; i < kSquare; ++i) {
      v[i] = Parts<T, kLanes / kSquare, kSquare>::Read(
          [=](int j) { return row[j * kSquare + i] + offset; }, 0, kSquare);
    }
    TransposeSquares<S>(v);
#pragma GCC unroll 4
    for (int i = 0; i < kSquare; ++i)
      Put(v[i], scratch + i * scratch_pixel, lanes);
  }
  // Copies a vector whose lane i is at row[i].
  GROUPED_CONV_INLINE void CopyScattered(const T* const* row, int64_t offset,
                                         S* scratch, int64_t lanes,
                                         int64_t) const {
    T all[kLanes] = {};
    // A float may be a pair of something else.
    for (int i = 0; i < lanes; ++i) {
      __builtin_memcpy(&all[i], row[i] + offset, sizeof(T));
    }
    Put(Convert<T, kLanes>::Read(all), scratch, lanes);
  }

 private:
  static GROUPED_CONV_INLINE void Put(Vector v, S* scratch, int64_t lanes) {
    if (lanes == kLanes) {
      Store<S>(v, scratch);
    } else {
      Some<S, kLanes>::Write(v, scratch, lanes);
    }
  }
};

// As Packer, the other way, with `finish` applied to each vector.
template <typename T, typename F>
struct Unpacker {
  using S = Sum<T>;
  using Vector = typename Simd<S>::Vector;
  using Tensor = T;
  using Scratch = const S;
  static constexpr int kLanes = Simd<S>::kLanes;
  static constexpr int kSquare = SquareSize<S>();

  static GROUPED_CONV_INLINE T* Missing(T*) { return nullptr; }

  template <int kGroups, int kParts, typename At>
  GROUPED_CONV_INLINE void CopyVector(const At& at, int count, const S* scratch,
                                      int64_t, int64_t index) const {
    Vector v = finish(Load(scratch), index);
    if (kGroups > 1) v = Transpose<S, kLanes / kGroups>(v);
    Parts<T, kParts, kLanes / kParts>::Write(v, at, 0, count);
  }
  template <int kGroups>
  GROUPED_CONV_INLINE void CopyPair(T* p, const S* scratch,
                                    int64_t index) const {
    Vector v[] = {finish(Load(scratch), index),
                  finish(Load(scratch + kLanes), index + kLanes)};
    TransposePair<S, 2 * kLanes / kGroups>(v);
    Convert<T, kLanes>::Write(v[0], p);
    Convert<T, kLanes>::Write(v[1], p + kLanes);
  }
  GROUPED_CONV_INLINE void CopySquares(T* const* row, int64_t offset,
                                       const S* scratch, int64_t scratch_pixel,
                                       int64_t, int64_t index) const {
    Vector v[kSquare];
#pragma GCC unroll 4
    for (int i = 0; i < kSquare; ++i) {
      v[i] = finish(Load(scratch + i * scratch_pixel), index);
    }
    TransposeSquares<S>(v);
#pragma GCC unroll 4
    for (int i = 0; i < kSquare; ++i) {
      Parts<T, kLanes / kSquare, kSquare>::Write(
          v[i],
          [=](int j) {
            T* const p = row[j * kSquare + i];
            return p == nullptr ? p : p + offset;
          },
          0, kSquare);
    }
  }
  GROUPED_CONV_INLINE void CopyScattered(T* const* row, int64_t offset,
                                         const S* scratch, int64_t lanes,
                                         int64_t index) const {
    T all[kLanes];
    Convert<T, kLanes>::Write(finish(Load(scratch), index), all);
    for (int i = 0; i < lanes; ++i) {
      if (row[i] != nullptr) row[i][offset] = all[i];
    }
  }

  const F finish;
};

// Calls f(tensor's address, scratch's address, groups, epilogue's index) for
// all blocks of all pixels, in the order of the tensor.
template <typename Tensor, typename Scratch, typename F>
GROUPED_CONV_INLINE void ForBlocks(const Mapping& m, Tensor* tensor,
                                   Scratch* scratch, const F& f) {
  const int64_t block_step = m.groups_per_block * m.group_step;
  for (int64_t n = 0; n < m.pixels; ++n) {
    Tensor* from = tensor;
    Scratch* to = scratch;
    int64_t groups = m.groups;
    int64_t index = 0;
    for (; groups >= m.groups_per_block; groups -= m.groups_per_block) {
      f(from, to, m.groups_per_block, index);
      from += block_step;
      to += m.scratch_block;
      index += m.epilogue_block;
    }
    if (groups > 0) f(from, to, groups, index);
    tensor += m.pixel_step;
    scratch += m.scratch_pixel;
  }
}

// The three ways in which elements can lie in the tensor: each pixel's of a
// block as in scratch; group by group; any.
template <typename Copier>
void CopyNeighbours(const Copier& copier, const Mapping& m,
                    typename Copier::Tensor* tensor,
                    typename Copier::Scratch* scratch) {
  constexpr int kLanes = Copier::kLanes;
  const bool all_vectors = m.groups_per_block * m.channels == kLanes &&
                           m.groups % m.groups_per_block == 0;
  ForBlocks(m, tensor, scratch,
            [&](typename Copier::Tensor* p, typename Copier::Scratch* to,
                int64_t groups, int64_t index) {
              if (all_vectors) {  // Without what others need for each block.
                copier.template CopyVector<1, 1>([p](int) { return p; }, kLanes,
                                                 to, kLanes, index);
                return;
              }
              const int64_t size = groups * m.channels;
              int64_t i = 0;
              const auto at = [&](int) { return p + i; };
              for (; i + kLanes <= size; i += kLanes) {
                copier.template CopyVector<1, 1>(at, kLanes, to + i, kLanes,
                                                 index + i);
              }
              if (i < size) {
                copier.template CopyVector<1, 1>(at, size - i, to + i, size - i,
                                                 index + i);
              }
            });
}

template <int kGroups, typename Copier>
void CopyGroups(const Copier& copier, const Mapping& m,
                typename Copier::Tensor* tensor,
                typename Copier::Scratch* scratch) {
  constexpr int kChannels = Copier::kLanes / kGroups;
  ForBlocks(m, tensor, scratch,
            [&](typename Copier::Tensor* p, typename Copier::Scratch* to,
                int64_t groups, int64_t index) {
              int64_t c = 0;
              const auto at = [&](int i) {
                return i < groups ? p + c + i * m.group_step
                                  : Copier::Missing(p);
              };
              for (; c + kChannels <= m.channels; c += kChannels) {
                copier.template CopyVector<kGroups, kGroups>(
                    at, kChannels, to + c * kGroups, Copier::kLanes,
                    index + c * kGroups);
              }
              if (c < m.channels) {
                copier.template CopyVector<kGroups, kGroups>(
                    at, m.channels - c, to + c * kGroups,
                    (m.channels - c) * kGroups, index + c * kGroups);
              }
            });
}

// As CopyGroups, if a block of groups is one vector.
template <int kGroups, typename Copier>
void CopyWhole(const Copier& copier, const Mapping& m,
               typename Copier::Tensor* tensor,
               typename Copier::Scratch* scratch) {
  constexpr int kChannels = Copier::kLanes / kGroups;
  ForBlocks(m, tensor, scratch,
            [&](typename Copier::Tensor* p, typename Copier::Scratch* to,
                int64_t groups, int64_t index) {
              copier.template CopyVector<kGroups, 1>([=](int) { return p; },
                                                     groups * kChannels, to,
                                                     Copier::kLanes, index);
            });
}

// As CopyGroups, if a block of groups, all of which are there, is two vectors.
template <int kGroups, typename Copier>
void CopyPairs(const Copier& copier, const Mapping& m,
               typename Copier::Tensor* tensor,
               typename Copier::Scratch* scratch) {
  ForBlocks(
      m, tensor, scratch,
      [&](typename Copier::Tensor* p, typename Copier::Scratch* to, int64_t,
          int64_t index) { copier.template CopyPair<kGroups>(p, to, index); });
}

template <typename Copier>
void CopyAny(const Copier& copier, const Mapping& m,
             typename Copier::Tensor* tensor,
             typename Copier::Scratch* scratch) {
  constexpr int kLanes = Copier::kLanes;
  constexpr int kSquare = Copier::kSquare;
  const int64_t size = m.channels * m.groups_per_block;
  const int64_t squares = m.pixel_step == 1 ? m.pixels - m.pixels % kSquare : 0;
  int64_t index = 0;
  for (int64_t g = 0; g < m.groups; g += m.groups_per_block) {
    for (int64_t first = 0; first < size; first += kLanes) {
      const int64_t lanes = size - first < kLanes ? size - first : kLanes;
      typename Copier::Tensor* row[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int64_t group = g + (first + i) % m.groups_per_block;
        row[i] = i < lanes && group < m.groups
                     ? tensor + group * m.group_step +
                           (first + i) / m.groups_per_block * m.channel_step
                     : Copier::Missing(tensor);
      }
      typename Copier::Scratch* lane = scratch + first;
      int64_t n = 0;
      for (; n < squares; n += kSquare) {
        copier.CopySquares(row, n, lane + n * m.scratch_pixel, m.scratch_pixel,
                           lanes, index + first);
      }
      for (; n < m.pixels; ++n) {
        copier.CopyScattered(row, n * m.pixel_step, lane + n * m.scratch_pixel,
                             lanes, index + first);
      }
    }
    scratch += m.scratch_block;
    index += m.epilogue_block;
  }
}

template <int kGroups, typename Copier>
void CopyBlocks(const Copier& copier, const Mapping& m,
                typename Copier::Tensor* tensor,
                typename Copier::Scratch* scratch) {
  using S = typename std::remove_const<typename Copier::Scratch>::type;
  constexpr int kChannels = Copier::kLanes / kGroups;
  constexpr bool kParts = kChannels * sizeof(S) >= 16;
  if (m.channels == kChannels && m.group_step == kChannels) {
    CopyWhole<kGroups>(copier, m, tensor, scratch);
  } else if (m.channels == 2 * kChannels && m.group_step == m.channels &&
             m.groups % kGroups == 0) {
    CopyPairs<kGroups>(copier, m, tensor, scratch);
  } else if (kParts) {
    CopyGroups<kParts ? kGroups : 1>(copier, m, tensor, scratch);
  } else {
    CopyAny(copier, m, tensor, scratch);
  }
}

template <typename Copier>
void Copy(const Copier& copier, const Mapping& mapping,
          typename Copier::Tensor* tensor, typename Copier::Scratch* scratch) {
  constexpr int kLanes = Copier::kLanes;
  // A copy, which no store to the destination can change.
  const Mapping m = mapping;
  const bool single = m.channels == 1;
  if (m.groups_per_block == 1 ? single || m.channel_step == 1
                              : single && m.group_step == 1) {
    CopyNeighbours(copier, m, tensor, scratch);
  } else if (m.channel_step == 1 && m.groups_per_block == 2) {
    CopyBlocks<2>(copier, m, tensor, scratch);
  } else if (m.channel_step == 1 && m.groups_per_block == 4) {
    CopyBlocks < kLanes<4 ? kLanes : 4>(copier, m, tensor, scratch);
  } else if (m.channel_step == 1 && m.groups_per_block == 8) {
    CopyBlocks < kLanes<8 ? kLanes : 8>(copier, m, tensor, scratch);
  } else {
    CopyAny(copier, m, tensor, scratch);
  }
}

template <typename T>
void Pack(const Mapping& mapping, const T* tensor, Sum<T>* scratch) {
  Copy(Packer<T>(), mapping, tensor, scratch);
}

// Applies the epilogue to vectors of sums.
template <typename T>
struct Finish {
  using S = Sum<T>;
  typename Simd<S>::Vector operator()(typename Simd<S>::Vector sum,
                                      int64_t index) const {
    if (epilogue.scale) sum *= Load(epilogue.scale + index);
    if (epilogue.bias) sum += Load(epilogue.bias + index);
    return Activate<S>(epilogue.activation, epilogue.alpha, sum);
  }
  const ScratchEpilogue<S> epilogue;
};

template <typename T>
struct Keep {
  using S = Sum<T>;
  GROUPED_CONV_INLINE typename Simd<S>::Vector operator()(
      typename Simd<S>::Vector sum, int64_t) const {
    return sum;
  }
};

template <typename T>
void Unpack(const Mapping& mapping, const Sum<T>* scratch,
            const ScratchEpilogue<Sum<T>>& epilogue, T* tensor) {
  if (epilogue.scale == nullptr && epilogue.bias == nullptr &&
      epilogue.activation == Activation::kNone) {
    Copy(Unpacker<T, Keep<T>>(), mapping, tensor, scratch);
  } else {
    Copy(Unpacker<T, Finish<T>>{{epilogue}}, mapping, tensor, scratch);
  }
}

}  // namespace
}  // namespace GROUPED_CONV_ISA
}  // namespace grouped_conv

#include "tensorflow/core/kernels/grouped_conv/kernels_winograd_impl.h"

namespace grouped_conv {
namespace GROUPED_CONV_ISA {
namespace {

// --- Table ------------------------------------------------------------------

template <typename S, int kLogGroups, int kVectorCount, int kRows>
struct FillRows {
  template <typename Table>
  static void Fill(Table* table) {
    table->multiply[kLogGroups][kVectorCount - 1][kRows - 1] =
        Multiply<S, 1 << kLogGroups, kVectorCount, kRows>;
    FillRows<S, kLogGroups, kVectorCount, kRows - 1>::Fill(table);
  }
};
template <typename S, int kLogGroups, int kVectorCount>
struct FillRows<S, kLogGroups, kVectorCount, 0> {
  template <typename Table>
  static void Fill(Table*) {}
};

template <typename S, int kLogGroups, int kRows>
struct FillNeighbours {
  template <typename Table>
  static void Fill(Table* table) {
    table->multiply_neighbours[kLogGroups][kRows - 1] =
        MultiplyNeighbours<S, 1 << kLogGroups, kRows>;
    FillNeighbours<S, kLogGroups, kRows - 1>::Fill(table);
  }
};
template <typename S, int kLogGroups>
struct FillNeighbours<S, kLogGroups, 0> {
  template <typename Table>
  static void Fill(Table*) {}
};

template <typename S, int kLogGroups>
struct FillGroups {
  template <typename Table>
  static void Fill(Table* table) {
    FillNeighbours<S, kLogGroups, MaxNeighbourRows<S>(1 << kLogGroups)>::Fill(
        table);
    FillRows<S, kLogGroups, 1, MaxRows<S>(1)>::Fill(table);
    FillRows<S, kLogGroups, 2, MaxRows<S>(2)>::Fill(table);
    FillRows<S, kLogGroups, 3, MaxRows<S>(3)>::Fill(table);
    FillRows<S, kLogGroups, 4, MaxRows<S>(4)>::Fill(table);
    FillGroups<S, (2 << kLogGroups <= Simd<S>::kLanes ? kLogGroups + 1
                                                      : -1)>::Fill(table);
  }
};
template <typename S>
struct FillGroups<S, -1> {
  template <typename Table>
  static void Fill(Table*) {}
};

#if GROUPED_CONV_VECTOR_BYTES > 16
void Stream(const void* from, int64_t bytes, void* to) {
  constexpr int64_t kLine = 64;
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(to);
  const int64_t before = -reinterpret_cast<uintptr_t>(to) % kLine;
  const int64_t first = before < bytes ? before : bytes;
  __builtin_memcpy(target, source, first);
  int64_t i = first;
  for (; bytes - i >= kLine; i += kLine) {
    // Neighbouring parts of a line, so that it is stored at once.
#pragma GCC unroll 2
    for (int part = 0; part < kLine; part += kVectorBytes) {
#if GROUPED_CONV_VECTOR_BYTES == 64
      _mm512_stream_si512(reinterpret_cast<__m512i*>(target + i + part),
                          _mm512_loadu_si512(source + i + part));
#else
      _mm256_stream_si256(reinterpret_cast<__m256i*>(target + i + part),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(
                              source + i + part)));
#endif
    }
  }
  __builtin_memcpy(target + i, source + i, bytes - i);
}

void EndStream() { _mm_sfence(); }
#endif

template <typename T>
Kernels<T> MakeTable() {
  Kernels<T> table = {};
  table.lanes = Simd<Sum<T>>::kLanes;
  for (int i = 0; i < kMaxVectors; ++i) {
    table.max_rows[i] = MaxRows<Sum<T>>(i + 1);
  }
  table.max_neighbour_rows = kMaxNeighbourRows;
  FillGroups<Sum<T>, 0>::Fill(&table);
  table.streams = Streams<T>();
  table.pack = Pack<T>;
  table.unpack = Unpack<T>;
  return table;
}

}  // namespace

void AddFilterKernels(AllKernels* kernels);  // Of kernels_filter_impl.h.

AllKernels MakeKernels() {
  AllKernels kernels = {MakeTable<float>(),     MakeTable<double>(),
                        MakeTable<Half>(),      MakeTable<BFloat16>(),
                        MakeTable<int32_t>(),   MakeWinograd(),
                        /*of_pairs=*/nullptr,
                        /*stream=*/nullptr,
                        /*end_stream=*/nullptr,
                        /*fetch_early=*/false};
#if GROUPED_CONV_VECTOR_BYTES > 16
  kernels.stream = Stream;
  kernels.end_stream = EndStream;
#endif
  AddFilterKernels(&kernels);
  return kernels;
}

}  // namespace GROUPED_CONV_ISA
}  // namespace grouped_conv
