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

// Winograd's kernels: a part of kernels_impl.h, which includes this.

namespace grouped_conv {
namespace GROUPED_CONV_ISA {
namespace {

// --- Transforms -------------------------------------------------------------

// Those of F(2, 3), in one dimension. Two dimensions are one after the other.
template <typename Vector>
GROUPED_CONV_INLINE void TransformPixels(Vector (&d)[4]) {
  const Vector first = d[0] - d[2];
  const Vector sum = d[1] + d[2];
  const Vector difference = d[2] - d[1];
  const Vector last = d[1] - d[3];
  d[0] = first;
  d[1] = sum;
  d[2] = difference;
  d[3] = last;
}

template <typename Vector>
GROUPED_CONV_INLINE void TransformTaps(const Vector (&g)[3], Vector (&u)[4]) {
  const Vector outer = (g[0] + g[2]) * 0.5f;
  const Vector inner = g[1] * 0.5f;
  u[0] = g[0];
  u[1] = outer + inner;
  u[2] = outer - inner;
  u[3] = g[2];
}

template <typename Vector>
GROUPED_CONV_INLINE void TransformSums(const Vector (&m)[4], Vector (&y)[2]) {
  y[0] = m[0] + (m[1] + m[2]);
  y[1] = (m[1] - m[2]) - m[3];
}

// A vector of a pixel's lanes from element c on, where groups are group_step
// apart; of the last vector, `lanes`, if vectors are of one group.
template <int kGroups>
GROUPED_CONV_INLINE Simd<float>::Vector LoadPixel(const float* pixel,
                                                  int64_t group_step,
                                                  int lanes) {
  constexpr int kLanes = Simd<float>::kLanes;
  if (kGroups == 1) {
    return lanes == kLanes ? Load(pixel)
                           : Some<float, kLanes>::Read(pixel, lanes);
  }
  constexpr int kChannels = kLanes / kGroups;
  return Transpose<float, kGroups>(Parts<float, kGroups, kChannels>::Read(
      [=](int g) { return pixel + g * group_step; }, 0, kChannels));
}

template <int kGroups>
GROUPED_CONV_INLINE void StorePixel(Simd<float>::Vector v, int64_t group_step,
                                    int lanes, float* pixel) {
  constexpr int kLanes = Simd<float>::kLanes;
  if (kGroups == 1) {
    if (lanes == kLanes) {
      Store<float>(v, pixel);
    } else {
      Some<float, kLanes>::Write(v, pixel, lanes);
    }
    return;
  }
  constexpr int kChannels = kLanes / kGroups;
  Parts<float, kGroups, kChannels>::Write(
      Transpose<float, kChannels>(v),
      [=](int g) { return pixel + g * group_step; }, 0, kChannels);
}

template <int kGroups>
void TransformInputTiles(const WinogradInput& in) {
  using Vector = Simd<float>::Vector;
  constexpr int kLanes = Simd<float>::kLanes;
  const int64_t pixel_step = in.pixel_step;
  const int64_t group_step = in.group_step;
  const int64_t position_step = in.position_step;
  const bool all_rows = in.rows[0] != nullptr && in.rows[1] != nullptr &&
                        in.rows[2] != nullptr && in.rows[3] != nullptr;
  for (int64_t c = 0; c < in.size; c += kLanes) {
    const int lanes = in.size - c < kLanes ? in.size - c : kLanes;
    int64_t pixel = in.first_pixel;
    int64_t offset = c / kGroups + pixel * pixel_step;
    // Loads the next column of pixels, and transforms it.
    const auto load = [&](Vector(&column)[4]) __attribute__((always_inline)) {
      const bool there = pixel >= 0 && pixel < in.pixels;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        column[i] =
            there && (all_rows || in.rows[i] != nullptr)
                ? LoadPixel<kGroups>(in.rows[i] + offset, group_step, lanes)
                : Vector{};
      }
      TransformPixels(column);
      ++pixel;
      offset += pixel_step;
    };
    Vector t[4][4];
    load(t[0]);
    load(t[1]);
    float* tile = in.v + c;
    for (int64_t n = 0; n < in.tiles; ++n) {
      load(t[2]);
      load(t[3]);
      float* v = tile;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        Vector row[4] = {t[0][i], t[1][i], t[2][i], t[3][i]};
        TransformPixels(row);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          Store<float>(row[j], v);
          v += position_step;
        }
        t[0][i] = t[2][i];
        t[1][i] = t[3][i];
      }
      tile += in.tile_step;
    }
  }
}

void TransformFilterTaps(int64_t size, const float* taps, int64_t tap_step,
                         float* u, int64_t position_step) {
  using Vector = Simd<float>::Vector;
  for (int64_t i = 0; i < size; i += Simd<float>::kLanes) {
    Vector columns[3][4];
#pragma GCC unroll 4
    for (int x = 0; x < 3; ++x) {
      const float* const tap = taps + i + x * tap_step;
      const Vector g[] = {Load(tap), Load(tap + 3 * tap_step),
                          Load(tap + 6 * tap_step)};
      TransformTaps(g, columns[x]);
    }
    float* to = u + i;
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y) {
      const Vector g[] = {columns[0][y], columns[1][y], columns[2][y]};
      Vector row[4];
      TransformTaps(g, row);
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x) {
        Store<float>(row[x], to);
        to += position_step;
      }
    }
  }
}

template <int kGroups>
bool TransformOutputTiles(const WinogradOutput& out) {
  using Vector = Simd<float>::Vector;
  constexpr int kLanes = Simd<float>::kLanes;
  const int64_t pixel_step = out.pixel_step;
  const int64_t group_step = out.group_step;
  const int64_t position_step = out.position_step;
  // Becomes a NaN if a sum is infinite or one.
  Vector check = {};
  for (int64_t c = 0; c < out.size; c += kLanes) {
    const int lanes = out.size - c < kLanes ? out.size - c : kLanes;
    const float* tile = out.m + c;
    int64_t offset = c / kGroups;
    for (int64_t pixels = out.pixels; pixels > 0; pixels -= 2) {
      const float* m = tile;
      Vector columns[2][4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        Vector row[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          row[j] = Load(m);
          m += position_step;
        }
        Vector y[2];
        TransformSums(row, y);
        columns[0][i] = y[0];
        columns[1][i] = y[1];
      }
      Vector sum[4][1];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        Vector y[2];
        TransformSums(columns[j], y);
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
          check += y[i] * Vector{};
          sum[2 * i + j][0] = y[i];
        }
      }
      if (out.epilogue != nullptr) {
        FinishSums<float>(*out.epilogue, out.epilogue_offset + c, sum);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        if (out.rows[i] == nullptr) continue;
        float* const to = out.rows[i] + offset;
        StorePixel<kGroups>(sum[2 * i][0], group_step, lanes, to);
        if (pixels > 1) {
          StorePixel<kGroups>(sum[2 * i + 1][0], group_step, lanes,
                              to + pixel_step);
        }
      }
      tile += out.tile_step;
      offset += 2 * pixel_step;
    }
  }
  float all[kLanes];
  Store<float>(check, all);
  bool finite = true;
  for (const float lane : all) finite &= lane == 0;
  return finite;
}

// --- Products ---------------------------------------------------------------

// Tiles of vectors have a multiple of so many rows, up to the most that leave
// registers.
#if GROUPED_CONV_VECTOR_BYTES == 64
constexpr int kRowStep = 7;
#else
constexpr int kRowStep = 3;
#endif
constexpr int kMostSteps = 4;  // With two vectors half as many.

// Lines that are fetched meanwhile, some of them in each position.
struct FetchingPixels {
  PixelLines pixels;
  int64_t each;

  GROUPED_CONV_INLINE void FetchSome() {
    for (int64_t i = each; i > 0 && pixels.count > 0; --i, --pixels.count) {
      for (int64_t line = 0; line < pixels.bytes; line += 64) {
        __builtin_prefetch(pixels.first + line, /*rw=*/0, /*locality=*/2);
      }
      pixels.first += pixels.step;
    }
  }
};

// Products of kRows tiles and kVectorCount vectors, in all positions.
template <int kGroups, int kVectorCount, int kRows>
void MultiplyRows(const WinogradProducts& p, const float* v, const float* u,
                  float* m, FetchingPixels (&fetching)[2]) {
  using Vector = Simd<float>::Vector;
  constexpr int kLanes = Simd<float>::kLanes;
  constexpr int kQuads = (kRows + 3) / 4;
  const int64_t v_tile = p.v_tile;
  const int64_t u_depth = p.u_depth;
  for (int64_t n = p.positions; n > 0; --n) {
    for (FetchingPixels& pixels : fetching) pixels.FetchSome();
    Vector sum[kRows][kVectorCount] = {};
    const float* w = u;
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      const float* x[kQuads];
#pragma GCC unroll 8
      for (int q = 0; q < kQuads; ++q) {
        x[q] = v + plane * p.v_plane + 4 * q * v_tile;
      }
      const float* const end = w + p.depth * u_depth;
      for (; w != end; w += u_depth) {
        const auto load_x = [&](int i) {
          return Repeat<float, kGroups>::Load(x[i / 4] + (i % 4) * v_tile);
        };
        AddProducts<float>(load_x, w, sum);
#pragma GCC unroll 8
        for (int q = 0; q < kQuads; ++q) x[q] += kGroups;
      }
    }
    ForRows<kRows>(u_depth, m, [&](int i, float* row) {
#pragma GCC unroll 2
      for (int o = 0; o < kVectorCount; ++o) {
        Store<float>(sum[i][o], row + o * kLanes);
      }
    });
    v += p.v_position;
    u += p.u_position;
    m += p.m_position;
  }
}

template <int kGroups>
void MultiplyTiles(const WinogradProducts& p) {
  static constexpr void (*kMultiply[])(
      const WinogradProducts&, const float*, const float*, float*,
      FetchingPixels(&)[2]) = {MultiplyRows<kGroups, 1, kRowStep>,
                               MultiplyRows<kGroups, 1, 2 * kRowStep>,
                               MultiplyRows<kGroups, 1, 3 * kRowStep>,
                               MultiplyRows<kGroups, 1, 4 * kRowStep>,
                               MultiplyRows<kGroups, 2, kRowStep>,
                               MultiplyRows<kGroups, 2, 2 * kRowStep>};
  const int64_t steps = (p.tiles + kRowStep - 1) / kRowStep;
  const auto parts = [steps](int64_t vectors) {
    const int64_t most = kMostSteps / vectors;
    return (steps + most - 1) / most;
  };
  const int64_t calls = p.vectors / 2 * parts(2) + p.vectors % 2 * parts(1);
  FetchingPixels fetching[2];
  for (int i = 0; i < 2; ++i) {
    fetching[i] = {p.fetch[i], (p.fetch[i].count + calls * p.positions - 1) /
                                   (calls * p.positions)};
  }
  for (int64_t o = 0; o < p.vectors; o += 2) {
    const int64_t vectors = o + 1 < p.vectors ? 2 : 1;
    const int64_t offset = o * Simd<float>::kLanes;
    int64_t first = 0;
    for (int64_t part = parts(vectors); part > 0; --part) {
      const int64_t now = (steps - first + part - 1) / part;
      kMultiply[(vectors - 1) * kMostSteps + now - 1](
          p, p.v + first * kRowStep * p.v_tile, p.u + offset,
          p.m + first * kRowStep * p.u_depth + offset, fetching);
      first += now;
    }
  }
}

template <int kLogGroups>
struct FillWinograd {
  static void Fill(WinogradKernels* kernels) {
    constexpr int kGroups = 1 << kLogGroups;
    kernels->transform_input[kLogGroups] = TransformInputTiles<kGroups>;
    kernels->multiply[kLogGroups] = MultiplyTiles<kGroups>;
    kernels->transform_output[kLogGroups] = TransformOutputTiles<kGroups>;
    // Parts of 128 bits.
    FillWinograd<(8 * kGroups <= Simd<float>::kLanes ? kLogGroups + 1
                                                     : -1)>::Fill(kernels);
  }
};
template <>
struct FillWinograd<-1> {
  static void Fill(WinogradKernels*) {}
};

WinogradKernels MakeWinograd() {
  WinogradKernels kernels = {};
  kernels.row_step = kRowStep;
  kernels.transform_filter = TransformFilterTaps;
  FillWinograd<0>::Fill(&kernels);
  return kernels;
}

}  // namespace
}  // namespace GROUPED_CONV_ISA
}  // namespace grouped_conv
