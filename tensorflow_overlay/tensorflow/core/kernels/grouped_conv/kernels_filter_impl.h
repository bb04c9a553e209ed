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

// FilterGradient's kernels, for one instruction set: see vectors_impl.h.

#include "tensorflow/core/kernels/grouped_conv/vectors_impl.h"

namespace grouped_conv {
namespace GROUPED_CONV_ISA {
namespace {

// As MaxRows, but a tile of one vector, which needs no registers for addresses
// of rows, may have as many rows as there are.
template <typename S>
constexpr int MaxOuterRows(int vectors) {
  return std::is_same<S, float>::value && GROUPED_CONV_REGISTERS == 32 &&
                 vectors == 1
             ? 28
             : MaxRows<S>(vectors);
}

// In how many sets a tile sums, of so many sums.
template <typename S>
constexpr int OuterSets(int sums) {
  return sums <= 3 ? 4 : sums <= MaxRows<S>(1) / 2 ? 2 : 1;
}
// Tiles with several sets, which are of so many rows at most, can have rows of
// x apart.
template <typename S>
constexpr int MaxApartRows(int vectors) {
  return vectors <= 3 ? MaxRows<S>(1) / 2 / vectors : 1;
}

// Lines that a tile fetches while it sums, some of them before every so many
// columns.
constexpr int kFetchColumns = 8;

struct Fetching {
  CacheLines lines[2];
  int64_t each[2];

  GROUPED_CONV_INLINE void FetchSome() {
    for (int i = 0; i < 2; ++i) {
      const int64_t rest = lines[i].count - each[i];
      for (; lines[i].count > 0 && lines[i].count > rest; --lines[i].count) {
        __builtin_prefetch(lines[i].first, /*rw=*/0, /*locality=*/2);
        lines[i].first += lines[i].step;
      }
    }
  }
};

template <typename S, int kGroups, int kVectorCount, int kRows>
void SumOuterTile(const OuterProducts<S>& outer, int64_t x_offset,
                  int64_t w_offset, S* sums, Fetching* fetching) {
  using Vector = typename Simd<S>::Vector;
  constexpr int kLanes = Simd<S>::kLanes;
  // Few sums are summed in several sets, as each waits for the last product.
  constexpr int kSets = OuterSets<S>(kRows * kVectorCount);
  const int64_t sum_row = outer.sum_row;
  const int64_t x_row = kSets > 1 ? outer.x_row : kGroups;
  const int64_t x_step = outer.x_step;
  const int64_t w_step = outer.w_step;
  Vector sum[kSets][kRows][kVectorCount] = {};
  for (int64_t p = 0; p < outer.num_products; ++p) {
    const Product<S>& product = outer.products[p];
    const S* x = product.x + x_offset;
    const S* w = product.w + w_offset;
    // Adds the next products to set s.
    const auto add = [&](int s) __attribute__((always_inline)) {
      const auto load_x = [x, x_row](int i) {
        return Repeat<S, kGroups>::Load(x + i * x_row);
      };
      AddProducts<S>(load_x, w, sum[s]);
      x += x_step;
      w += w_step;
    };
    int64_t k = product.depth;
    if (kSets > 1) {
      for (; k >= kFetchColumns; k -= kFetchColumns) {
        fetching->FetchSome();
#pragma GCC unroll 8
        for (int i = 0; i < kFetchColumns; ++i) add(i % kSets);
      }
    }
    int64_t columns = 0;  // Before the next lines are fetched.
    for (; k > 0; --k) {
      if (columns == 0) {
        fetching->FetchSome();
        columns = kFetchColumns;
      }
      --columns;
      add(0);
    }
  }
#pragma GCC unroll 28
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int o = 0; o < kVectorCount; ++o) {
      S* const p = sums + i * sum_row + o * kLanes;
      Vector all = sum[0][i][o];
#pragma GCC unroll 4
      for (int s = 1; s < kSets; ++s) all += sum[s][i][o];
      Store<S>(Load(p) + all, p);
    }
  }
}

template <typename S>
using OuterTile = void (*)(const OuterProducts<S>&, int64_t, int64_t, S*,
                           Fetching*);

// The tiles of kVectorCount vectors, by their rows less 1.
template <typename S, int kGroups, int kVectorCount, size_t... kRow>
GROUPED_CONV_INLINE OuterTile<S> GetOuterTile(int64_t rows,
                                              std::index_sequence<kRow...>) {
  static constexpr OuterTile<S> kTiles[] = {
      SumOuterTile<S, kGroups, kVectorCount, kRow + 1>...};
  return kTiles[rows - 1];
}

// Sums kVectorCount vectors of all rows, in tiles as equal as can be.
template <typename S, int kGroups, int kVectorCount>
void SumOuterVectors(const OuterProducts<S>& outer, int64_t w_offset,
                     Fetching* fetching) {
  constexpr int kMost = MaxOuterRows<S>(kVectorCount);
  const int64_t most =
      outer.x_row == kGroups ? kMost : MaxApartRows<S>(kVectorCount);
  int64_t tiles = (outer.rows + most - 1) / most;
  for (int64_t i = 0; tiles > 0; --tiles) {
    const int64_t rows = (outer.rows - i + tiles - 1) / tiles;
    GetOuterTile<S, kGroups, kVectorCount>(rows,
                                           std::make_index_sequence<kMost>())(
        outer, i * outer.x_row, w_offset,
        outer.sum + i * outer.sum_row + w_offset, fetching);
    i += rows;
  }
}

template <typename S, int kGroups>
void SumOuter(const OuterProducts<S>& outer) {
  static constexpr void (*kSum[kMaxVectors])(const OuterProducts<S>&, int64_t,
                                             Fetching*) = {
      SumOuterVectors<S, kGroups, 1>, SumOuterVectors<S, kGroups, 2>,
      SumOuterVectors<S, kGroups, 3>, SumOuterVectors<S, kGroups, 4>};
  if (outer.num_products == 0) return;
  int64_t tiles = (outer.vectors + kMaxVectors - 1) / kMaxVectors;
  const int64_t most = MaxOuterRows<S>((outer.vectors + tiles - 1) / tiles);
  int64_t fetches = 0;
  for (int64_t p = 0; p < outer.num_products; ++p) {
    fetches += (outer.products[p].depth + kFetchColumns - 1) / kFetchColumns;
  }
  fetches *= tiles * ((outer.rows + most - 1) / most);
  Fetching fetching;
  for (int i = 0; i < 2; ++i) {
    fetching.lines[i] = outer.fetch[i];
    fetching.each[i] = outer.fetch[i].count == 0
                           ? 0
                           : (outer.fetch[i].count + fetches - 1) / fetches;
  }
  for (int64_t o = 0; tiles > 0; --tiles) {
    const int64_t vectors = (outer.vectors - o + tiles - 1) / tiles;
    kSum[vectors - 1](outer, o * Simd<S>::kLanes, &fetching);
    o += vectors;
  }
}

// sums += more, for whole vectors.
template <typename S>
void Add(int64_t size, const S* more, S* sums) {
  for (int64_t i = 0; i < size; i += Simd<S>::kLanes) {
    Store<S>(Load(sums + i) + Load(more + i), sums + i);
  }
}

template <typename S, int kLogGroups>
struct FillOuter {
  template <typename Table>
  static void Fill(Table* table) {
    table->sum_outer[kLogGroups] = SumOuter<S, 1 << kLogGroups>;
    FillOuter<S, (2 << kLogGroups <= Simd<S>::kLanes ? kLogGroups + 1
                                                     : -1)>::Fill(table);
  }
};
template <typename S>
struct FillOuter<S, -1> {
  template <typename Table>
  static void Fill(Table*) {}
};

template <typename T>
void AddTo(Kernels<T>* table) {
  FillOuter<Sum<T>, 0>::Fill(table);
  table->add = Add<Sum<T>>;
}

}  // namespace

void AddFilterKernels(AllKernels* kernels) {
  AddTo(&kernels->of_float);
  AddTo(&kernels->of_double);
  AddTo(&kernels->of_half);
  AddTo(&kernels->of_bfloat16);
  AddTo(&kernels->of_int32);
}

}  // namespace GROUPED_CONV_ISA
}  // namespace grouped_conv
