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

// The kernels of kernels.h, compiled once for each instruction set: a file that
// includes this selects one, and defines GROUPED_CONV_ISA, the namespace they
// shall be in, and GROUPED_CONV_VECTOR_BYTES.
//
// Everything here must have internal linkage or be in that namespace, and no
// header with inline functions may be included: the linker could otherwise pick
// a copy that was compiled for AVX-512 for the whole program.

#include <stddef.h>

#include "tensorflow/core/kernels/grouped_conv/kernels.h"

#if GROUPED_CONV_VECTOR_BYTES > 16
#include <immintrin.h>
// Of what these headers themselves leave undefined.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <utility>  // Of which only index_sequence is used.

namespace grouped_conv {
namespace GROUPED_CONV_ISA {
namespace {

#define GROUPED_CONV_INLINE inline __attribute__((always_inline))

constexpr int kVectorBytes = GROUPED_CONV_VECTOR_BYTES;
constexpr int kChunkBytes = 16;  // Shuffles stay within 128 bits.

template <typename S>
struct Simd {
  typedef S Vector __attribute__((vector_size(kVectorBytes)));
  typedef S Unaligned
      __attribute__((vector_size(kVectorBytes), aligned(sizeof(S)), may_alias));
  static constexpr int kLanes = kVectorBytes / sizeof(S);
  static constexpr int kChunk = kChunkBytes / sizeof(S);
};

template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector Load(const S* p) {
  return *reinterpret_cast<const typename Simd<S>::Unaligned*>(p);
}

template <typename S>
GROUPED_CONV_INLINE void Store(typename Simd<S>::Vector v, S* p) {
  *reinterpret_cast<typename Simd<S>::Unaligned*>(p) = v;
}

template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector Broadcast(S s) {
  return s - typename Simd<S>::Vector{};
}

// --- Matrix product ---------------------------------------------------------

template <typename S, Operand kOperand, int kVectorCount, int kRows>
void Multiply(const Tile<S>& tile) {
  using Vector = typename Simd<S>::Vector;
  constexpr int kLanes = Simd<S>::kLanes;
  // Rows are addressed in fours, from few enough pointers for the registers.
  constexpr int kQuads = (kRows + 3) / 4;
  S* const sums = tile.sum;
  const int64_t sum_row = tile.sum_row;
  Vector sum[kRows][kVectorCount];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) {
      sum[i][o] =
          tile.accumulate ? Load(sums + i * sum_row + o * kLanes) : Vector{};
    }
  }
  const int64_t x_row = tile.x_row;
  const int64_t x_depth = tile.x_depth;
  const int64_t w_depth = tile.w_depth;
  for (int64_t p = 0; p < tile.num_products; ++p) {
    const Product<S>& product = tile.products[p];
    const S* x[kQuads];
#pragma GCC unroll 4
    for (int q = 0; q < kQuads; ++q) {
      x[q] = product.x + tile.x_offset + 4 * q * x_row;
    }
    const S* w = product.w + tile.w_offset;
    const S* const end = w + product.depth * w_depth;
    for (; w != end; w += w_depth) {
      const auto load_x = [&](int i) {
        const S* address = x[i / 4] + (i % 4) * x_row;
        return kOperand == kScalars ? Broadcast(*address) : Load(address);
      };
      // The smaller side is held in registers.
      if (kRows >= kVectorCount) {
        Vector factor[kVectorCount];
#pragma GCC unroll 4
        for (int o = 0; o < kVectorCount; ++o) factor[o] = Load(w + o * kLanes);
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          const Vector value = load_x(i);
#pragma GCC unroll 4
          for (int o = 0; o < kVectorCount; ++o) sum[i][o] += value * factor[o];
        }
      } else {
        Vector value[kRows];
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) value[i] = load_x(i);
#pragma GCC unroll 4
        for (int o = 0; o < kVectorCount; ++o) {
          const Vector factor = Load(w + o * kLanes);
#pragma GCC unroll 16
          for (int i = 0; i < kRows; ++i) sum[i][o] += value[i] * factor;
        }
      }
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) x[q] += x_depth;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) {
      Store(sum[i][o], sums + i * sum_row + o * kLanes);
    }
  }
}

// --- Conversions ------------------------------------------------------------

template <typename T>
struct Convert {
  static GROUPED_CONV_INLINE Sum<T> Read(T value) { return value; }
  static GROUPED_CONV_INLINE T Write(Sum<T> value) { return value; }
};

union Bits {
  float number;
  uint32_t bits;
};

template <>
struct Convert<Half> {
  static GROUPED_CONV_INLINE float Read(Half value) {
    // Multiplying by 2^112 moves the exponent to float's bias, and makes
    // subnormals normal.
    Bits result;
    result.bits = (value.bits & 0x7fffu) << 13;
    const bool finite = (value.bits & 0x7c00u) != 0x7c00u;
    result.number *= 5.192296858534828e33f;
    if (!finite) result.bits |= 0x7f800000u;
    result.bits |= (value.bits & 0x8000u) << 16;
    return result.number;
  }

  static GROUPED_CONV_INLINE Half Write(float value) {
    Bits magnitude;
    magnitude.number = value;
    const uint32_t sign = (magnitude.bits >> 16) & 0x8000u;
    magnitude.bits &= 0x7fffffffu;
    uint32_t result;
    if (magnitude.bits > 0x7f800000u) {
      result = 0x7e00u;  // Not a number.
    } else if (magnitude.bits >= 0x477ff000u) {
      result = 0x7c00u;  // Rounds to infinity.
    } else if (magnitude.bits < 0x38800000u) {
      // Subnormal. Adding 1/2 moves the bits that a half has to the bottom, and
      // rounds them to nearest even.
      magnitude.number += 0.5f;
      result = magnitude.bits - 0x3f000000u;
    } else {
      result = (magnitude.bits - 0x38000000u + 0xfffu +
                ((magnitude.bits >> 13) & 1u)) >>
               13;
    }
    return Half{static_cast<uint16_t>(sign | result)};
  }
};

template <>
struct Convert<BFloat16> {
  static GROUPED_CONV_INLINE float Read(BFloat16 value) {
    Bits result;
    result.bits = static_cast<uint32_t>(value.bits) << 16;
    return result.number;
  }

  static GROUPED_CONV_INLINE BFloat16 Write(float value) {
    Bits from;
    from.number = value;
    const uint32_t bits = from.bits;
    // Rounding could carry a NaN's fraction into its sign, so a quiet one is
    // made instead.
    const uint32_t result = (bits & 0x7fffffffu) > 0x7f800000u
                                ? bits >> 16 | 0x40u
                                : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return BFloat16{static_cast<uint16_t>(result)};
  }
};

// --- Transposition ----------------------------------------------------------

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

// Interleaves the lower (or upper) halves of each chunk of a and b.
template <typename S, bool kUpper, size_t... kLane>
GROUPED_CONV_INLINE typename Simd<S>::Vector Zip(
    typename Simd<S>::Vector a, typename Simd<S>::Vector b,
    std::index_sequence<kLane...>) {
  using Mask = typename Simd<typename Integer<sizeof(S)>::type>::Vector;
  constexpr int kChunk = Simd<S>::kChunk;
  return __builtin_shuffle(
      a, b,
      Mask{(kLane % kChunk % 2 * Simd<S>::kLanes + kLane / kChunk * kChunk +
            kLane % kChunk / 2 + (kUpper ? kChunk / 2 : 0))...});
}

template <typename S>
GROUPED_CONV_INLINE void ZipBoth(typename Simd<S>::Vector* a,
                                 typename Simd<S>::Vector* b) {
  constexpr auto kLanes = std::make_index_sequence<Simd<S>::kLanes>();
  const auto lower = Zip<S, false>(*a, *b, kLanes);
  *b = Zip<S, true>(*a, *b, kLanes);
  *a = lower;
}

// Transposes each of the square matrices that chunks of the same position make:
// element i of a chunk of v[j] changes places with element j of v[i]'s.
template <typename S>
GROUPED_CONV_INLINE void TransposeChunks(typename Simd<S>::Vector* v) {
  using Double = Simd<double>::Vector;
  ZipBoth<S>(&v[0], &v[1]);
  if (Simd<S>::kChunk == 2) return;
  ZipBoth<S>(&v[2], &v[3]);
  Double pairs[4] = {(Double)v[0], (Double)v[2], (Double)v[1], (Double)v[3]};
  ZipBoth<double>(&pairs[0], &pairs[1]);
  ZipBoth<double>(&pairs[2], &pairs[3]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = (typename Simd<S>::Vector)pairs[i];
}

// Loads chunks that are `step` elements apart.
template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector LoadChunks(const S* p,
                                                        int64_t step) {
#if GROUPED_CONV_VECTOR_BYTES == 16
  (void)step;
  return Load(p);
#else
  const auto chunk = [=](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * step));
  };
  const auto pair = [=](int i) {
    return _mm256_insertf128_si256(_mm256_castsi128_si256(chunk(i)),
                                   chunk(i + 1), 1);
  };
#if GROUPED_CONV_VECTOR_BYTES == 32
  return (typename Simd<S>::Vector)pair(0);
#else
  return (typename Simd<S>::Vector)_mm512_inserti64x4(
      _mm512_castsi256_si512(pair(0)), pair(2), 1);
#endif
#endif
}

template <typename S>
GROUPED_CONV_INLINE void StoreChunks(typename Simd<S>::Vector v, S* p,
                                     int64_t step) {
#if GROUPED_CONV_VECTOR_BYTES == 16
  (void)step;
  Store(v, p);
#else
  const auto pair = [=](__m256i two, int i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + i * step),
                     _mm256_castsi256_si128(two));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + (i + 1) * step),
                     _mm256_extractf128_si256(two, 1));
  };
#if GROUPED_CONV_VECTOR_BYTES == 32
  pair((__m256i)v, 0);
#else
  pair(_mm512_castsi512_si256((__m512i)v), 0);
  pair(_mm512_extracti64x4_epi64((__m512i)v, 1), 2);
#endif
#endif
}

// --- Copies between tensors and scratch -------------------------------------

// Whether T's tensors can be read as they are.
template <typename T>
constexpr bool IsSum() {
  return sizeof(T) == sizeof(Sum<T>);
}

// Whether chunks of the tensor hold two values of t for each of two of l.
template <typename T>
GROUPED_CONV_INLINE bool IsPairs(const Mapping& m) {
  return IsSum<T>() && Simd<Sum<T>>::kChunk == 4 && m.size[1] == 2 &&
         m.tensor_step[1] == 1 && m.tensor_step[2] == 2;
}

template <typename T>
void Pack(const Mapping& mapping, const T* tensor, Sum<T>* scratch) {
  using S = Sum<T>;
  constexpr int kLanes = Simd<S>::kLanes;
  constexpr int kChunk = Simd<S>::kChunk;
  // A copy, which no store to scratch can change.
  const Mapping m = mapping;
  const auto from = [&](int64_t n, int64_t t, int64_t l) {
    return tensor + n * m.tensor_step[0] + t * m.tensor_step[1] +
           l * m.tensor_step[2];
  };
  const auto to = [&](int64_t n, int64_t t, int64_t l) {
    return scratch + n * m.scratch_step[0] + t * m.scratch_step[1] + l;
  };
  // What vectors do: all of t for l < vector_l, and t < vector_t.
  int64_t vector_t = 0;
  int64_t vector_l = 0;
  if (IsSum<T>() && m.tensor_step[2] == 1) {
    vector_t = m.size[1];
    vector_l = m.size[2] - m.size[2] % kLanes;
    for (int64_t n = 0; n < m.size[0]; ++n) {
      for (int64_t t = 0; t < vector_t; ++t) {
        const S* source = reinterpret_cast<const S*>(from(n, t, 0));
        S* copy = to(n, t, 0);
        for (int64_t l = 0; l < vector_l; l += kLanes) {
          Store<S>(Load(source + l), copy + l);
        }
      }
    }
  } else if (IsPairs<T>(m)) {
    vector_t = 2;
    vector_l = m.size[2] - m.size[2] % kLanes;
    for (int64_t n = 0; n < m.size[0]; ++n) {
      for (int64_t l = 0; l < vector_l; l += kLanes) {
        const S* source = reinterpret_cast<const S*>(from(n, 0, l));
        auto even = LoadChunks(source, 2 * kChunk);
        auto odd = LoadChunks(source + kChunk, 2 * kChunk);
        ZipBoth<S>(&even, &odd);
        ZipBoth<S>(&even, &odd);
        Store<S>(even, to(n, 0, l));
        Store<S>(odd, to(n, 1, l));
      }
    }
  } else if (IsSum<T>() && m.tensor_step[1] == 1) {
    vector_t = m.size[1] - m.size[1] % kChunk;
    vector_l = m.size[2] - m.size[2] % kLanes;
    for (int64_t l = 0; l < vector_l; l += kLanes) {
      for (int64_t t = 0; t < vector_t; t += kChunk) {
        const S* source = reinterpret_cast<const S*>(from(0, t, l));
        S* copy = to(0, t, l);
        for (int64_t n = 0; n < m.size[0]; ++n) {
          typename Simd<S>::Vector v[kChunk];
#pragma GCC unroll 4
          for (int i = 0; i < kChunk; ++i) {
            v[i] = LoadChunks(source + i * m.tensor_step[2],
                              kChunk * m.tensor_step[2]);
          }
          TransposeChunks<S>(v);
#pragma GCC unroll 4
          for (int i = 0; i < kChunk; ++i) {
            Store<S>(v[i], copy + i * m.scratch_step[1]);
          }
          source += m.tensor_step[0];
          copy += m.scratch_step[0];
        }
      }
    }
  }
  if (vector_t == m.size[1] && vector_l == m.size[2]) return;
  for (int64_t n = 0; n < m.size[0]; ++n) {
    for (int64_t t = 0; t < m.size[1]; ++t) {
      for (int64_t l = t < vector_t ? vector_l : 0; l < m.size[2]; ++l) {
        *to(n, t, l) = Convert<T>::Read(*from(n, t, l));
      }
    }
  }
}

template <typename S>
GROUPED_CONV_INLINE typename Simd<S>::Vector Activate(
    Activation activation, typename Simd<S>::Vector value) {
  const typename Simd<S>::Vector zero = {};
  const typename Simd<S>::Vector six = zero + 6;
  switch (activation) {
    case Activation::kNone:
      return value;
    case Activation::kRelu:
      return value < zero ? zero : value;
    case Activation::kRelu6:
      return value < zero ? zero : value > six ? six : value;
    case Activation::kElu:
      for (int i = 0; i < Simd<S>::kLanes; ++i) {
        if (value[i] < 0) value[i] = static_cast<S>(__builtin_expm1(value[i]));
      }
      return value;
  }
  return value;
}

// Numbers that wrap around are unsigned, but stand for signed ones.
template <>
GROUPED_CONV_INLINE Simd<uint32_t>::Vector Activate<uint32_t>(
    Activation activation, Simd<uint32_t>::Vector value) {
  return (Simd<uint32_t>::Vector)Activate<int32_t>(
      activation, (Simd<int32_t>::Vector)value);
}

// Applies the epilogue to vectors of sums.
template <typename T>
struct Finish {
  using S = Sum<T>;
  typename Simd<S>::Vector operator()(typename Simd<S>::Vector sum, int64_t n,
                                      int64_t t, int64_t l) const {
    const int64_t i = n * epilogue.step[0] + t * epilogue.step[1] + l;
    if (epilogue.scale) sum *= Load(epilogue.scale + i);
    if (epilogue.bias) sum += Load(epilogue.bias + i);
    return Activate<S>(epilogue.activation, sum);
  }
  const ScratchEpilogue<T> epilogue;
};

template <typename T>
struct Keep {
  using S = Sum<T>;
  GROUPED_CONV_INLINE typename Simd<S>::Vector operator()(
      typename Simd<S>::Vector sum, int64_t, int64_t, int64_t) const {
    return sum;
  }
};

template <typename T, typename F>
void Unpack(const Mapping& mapping, const Sum<T>* scratch, const F& finish,
            T* tensor) {
  using S = Sum<T>;
  constexpr int kLanes = Simd<S>::kLanes;
  constexpr int kChunk = Simd<S>::kChunk;
  const Mapping m = mapping;
  const auto from = [&](int64_t n, int64_t t, int64_t l) {
    return scratch + n * m.scratch_step[0] + t * m.scratch_step[1] + l;
  };
  const auto to = [&](int64_t n, int64_t t, int64_t l) {
    return tensor + n * m.tensor_step[0] + t * m.tensor_step[1] +
           l * m.tensor_step[2];
  };
  // As in Pack.
  int64_t vector_t = 0;
  int64_t vector_l = 0;
  if (IsSum<T>() && m.tensor_step[2] == 1) {
    vector_t = m.size[1];
    vector_l = m.size[2] - m.size[2] % kLanes;
    for (int64_t n = 0; n < m.size[0]; ++n) {
      for (int64_t t = 0; t < vector_t; ++t) {
        const S* sums = from(n, t, 0);
        S* copy = reinterpret_cast<S*>(to(n, t, 0));
        for (int64_t l = 0; l < vector_l; l += kLanes) {
          Store<S>(finish(Load(sums + l), n, t, l), copy + l);
        }
      }
    }
  } else if (IsPairs<T>(m)) {
    vector_t = 2;
    vector_l = m.size[2] - m.size[2] % kLanes;
    for (int64_t n = 0; n < m.size[0]; ++n) {
      for (int64_t l = 0; l < vector_l; l += kLanes) {
        auto even = finish(Load(from(n, 0, l)), n, 0, l);
        auto odd = finish(Load(from(n, 1, l)), n, 1, l);
        ZipBoth<S>(&even, &odd);
        S* copy = reinterpret_cast<S*>(to(n, 0, l));
        StoreChunks<S>(even, copy, 2 * kChunk);
        StoreChunks<S>(odd, copy + kChunk, 2 * kChunk);
      }
    }
  } else if (IsSum<T>() && m.tensor_step[1] == 1) {
    vector_t = m.size[1] - m.size[1] % kChunk;
    vector_l = m.size[2] - m.size[2] % kLanes;
    for (int64_t l = 0; l < vector_l; l += kLanes) {
      for (int64_t t = 0; t < vector_t; t += kChunk) {
        const S* sums = from(0, t, l);
        S* copy = reinterpret_cast<S*>(to(0, t, l));
        for (int64_t n = 0; n < m.size[0]; ++n) {
          typename Simd<S>::Vector v[kChunk];
#pragma GCC unroll 4
          for (int i = 0; i < kChunk; ++i) {
            v[i] = finish(Load(sums + i * m.scratch_step[1]), n, t + i, l);
          }
          TransposeChunks<S>(v);
#pragma GCC unroll 4
          for (int i = 0; i < kChunk; ++i) {
            StoreChunks<S>(v[i], copy + i * m.tensor_step[2],
                           kChunk * m.tensor_step[2]);
          }
          sums += m.scratch_step[0];
          copy += m.tensor_step[0];
        }
      }
    }
  }
  if (vector_t == m.size[1] && vector_l == m.size[2]) return;
  for (int64_t n = 0; n < m.size[0]; ++n) {
    for (int64_t t = 0; t < m.size[1]; ++t) {
      for (int64_t l = t < vector_t ? vector_l : 0; l < m.size[2];
           l += kLanes) {
        S values[kLanes];
        Store<S>(finish(Load(from(n, t, l)), n, t, l), values);
        for (int i = 0; i < kLanes && l + i < m.size[2]; ++i) {
          *to(n, t, l + i) = Convert<T>::Write(values[i]);
        }
      }
    }
  }
}

template <typename T>
void UnpackWith(const Mapping& mapping, const Sum<T>* scratch,
                const ScratchEpilogue<T>& epilogue, T* tensor) {
  if (epilogue.scale == nullptr && epilogue.bias == nullptr &&
      epilogue.activation == Activation::kNone) {
    Unpack<T>(mapping, scratch, Keep<T>(), tensor);
  } else {
    Unpack<T>(mapping, scratch, Finish<T>{epilogue}, tensor);
  }
}

// --- Table ------------------------------------------------------------------

// With 32 registers a tile of 2 vectors and 14 rows fits, with 16 one of 2 and
// 6: sums, a vector of each w, and one x.
#if GROUPED_CONV_VECTOR_BYTES == 64
constexpr int kMaxRowsOf[kMaxVectors] = {14, 14, 9, 6};
#else
constexpr int kMaxRowsOf[kMaxVectors] = {12, 6, 4, 3};
#endif

template <typename S, Operand kOperand, int kVectorCount, int kRows>
struct FillRows {
  template <typename Table>
  static void Fill(Table* table) {
    table->multiply[kOperand][kVectorCount - 1][kRows - 1] =
        Multiply<S, kOperand, kVectorCount, kRows>;
    FillRows<S, kOperand, kVectorCount, kRows - 1>::Fill(table);
  }
};
template <typename S, Operand kOperand, int kVectorCount>
struct FillRows<S, kOperand, kVectorCount, 0> {
  template <typename Table>
  static void Fill(Table*) {}
};

template <typename S, Operand kOperand, typename Table>
void FillVectors(Table* table) {
  FillRows<S, kOperand, 1, kMaxRowsOf[0]>::Fill(table);
  FillRows<S, kOperand, 2, kMaxRowsOf[1]>::Fill(table);
  FillRows<S, kOperand, 3, kMaxRowsOf[2]>::Fill(table);
  FillRows<S, kOperand, 4, kMaxRowsOf[3]>::Fill(table);
}

template <typename T>
Kernels<T> MakeTable() {
  Kernels<T> table = {};
  table.lanes = Simd<Sum<T>>::kLanes;
  for (int i = 0; i < kMaxVectors; ++i) table.max_rows[i] = kMaxRowsOf[i];
  FillVectors<Sum<T>, kScalars>(&table);
  FillVectors<Sum<T>, kVectors>(&table);
  table.pack = Pack<T>;
  table.unpack = UnpackWith<T>;
  return table;
}

}  // namespace

AllKernels MakeKernels() {
  return {MakeTable<float>(), MakeTable<double>(), MakeTable<Half>(),
          MakeTable<BFloat16>(), MakeTable<int32_t>()};
}

}  // namespace GROUPED_CONV_ISA
}  // namespace grouped_conv
