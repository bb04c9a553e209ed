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

// FilterGradient: w is the gradient of the output.

#include <algorithm>
#include <cstring>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/pass.h"

namespace grouped_conv {
namespace {

// Into so many tasks the pass is divided, or a few more or less. It does not
// depend on the number of threads, so that sums do not either.
constexpr int64_t kTasks = 16;
// As many positions of out are summed, if they are in one plane, before sums go
// back to memory.
constexpr int64_t kPositions = 64;

// A task sums a chunk of the filter of a set of units, over a slice of the
// rows.
template <typename T>
struct FilterGradientPass : Pass<T> {
  using S = Sum<T>;

  explicit FilterGradientPass(const ConvGeometry& geometry)
      : Pass<T>(geometry, /*backward=*/false) {}

  void Divide();
  Result Run(const T* input, const T* gradient, T* filter, TaskRunner* runner);
  // The units' sums are [units][rows][taps][channels of x][part].
  void SumSlice(const Chunk& chunk, int64_t set, int64_t slice, const T* input,
                const T* gradient, Scratch* scratch, S* sums) const;
  void StoreSet(const Chunk& chunk, int64_t set, const S* sums,
                T* filter) const;

  int64_t rows_at_once;
  int64_t slices;
};

template <typename T>
void FilterGradientPass<T>::Divide() {
  const int64_t position_bytes = this->part_size() * sizeof(S);
  const ConvGeometry& g = this->g;
  this->SetWidth(/*all_phases=*/false, g.dim[2].output, position_bytes);
  const int64_t chunk_rows = this->chunks.largest().rows;
  const int64_t row_bytes = std::max<int64_t>(this->x_row_bytes, 1);
  const int64_t width_bytes = this->width * position_bytes;
  rows_at_once = std::max<int64_t>(
      1, std::min({CeilDiv(kPositions, this->width), g.dim[1].output,
                   kSumBytes / width_bytes, kRowBytes / row_bytes / chunk_rows,
                   kListSize / chunk_rows}));
  this->slots = chunk_rows * rows_at_once;

  this->units_per_set = 1;
  if (this->chunks.count() == 1 && this->parts == 1) {
    // Slices are worth their sums' memory traffic where that of the tensors is
    // much more.
    const bool slicing = kTasks * this->units * this->unit_size() <
                         (g.input_size() + g.output_size()) / 4;
    const int64_t filter_bytes = this->unit_size() * sizeof(S);
    this->units_per_set = std::max<int64_t>(
        1, std::min({slicing ? this->units : CeilDiv(this->units, kTasks),
                     kSharedFilterBytes / 2 / filter_bytes,
                     kSharedRowBytes / (this->slots * row_bytes),
                     kSumBytes / (rows_at_once * width_bytes)}));
  }
  this->SetPrefetch();
  const int64_t sets = this->chunks.count() * this->sets();
  slices = std::max<int64_t>(
      1, std::min(
             {CeilDiv(kTasks, sets), this->rows,
              kScratchBytes / (sets * this->units_per_set * this->unit_size() *
                               static_cast<int64_t>(sizeof(S)))}));
}

template <typename T>
Result FilterGradientPass<T>::Run(const T* input, const T* gradient, T* filter,
                                  TaskRunner* runner) {
  if (!this->DivideFilter()) return Result::kOutOfMemory;
  Divide();
  const int64_t set_size = this->units_per_set * this->unit_size();
  const int64_t sets = this->chunks.count() * this->sets();
  const auto chunk_of = [this](int64_t set) {
    return this->chunks.Get(set / this->sets());
  };
  Array<S> partial;
  if (slices > 1) {
    partial = AllocateArray<S>(sets * slices * set_size);
    if (!partial) return Result::kOutOfMemory;
  }
  const int64_t tasks = sets * slices;
  const Result result = RunTasks(
      tasks, this->TaskCycles(tasks), runner, [&](int64_t i, Scratch* scratch) {
        const int64_t set = i % sets;
        S* sums = slices > 1 ? partial.get() + i * set_size
                             : scratch->Take<S>(set_size);
        SumSlice(chunk_of(set), set % this->sets(), i / sets, input, gradient,
                 scratch, sums);
        if (slices == 1) {
          StoreSet(chunk_of(set), set % this->sets(), sums, filter);
        }
      });
  if (result != Result::kOk || slices == 1) return result;
  runner->Run(sets, slices * set_size, [&](int64_t set) {
    S* sums = partial.get() + set * set_size;
    for (int64_t s = 1; s < slices; ++s) {
      const S* slice = sums + s * sets * set_size;
      for (int64_t i = 0; i < set_size; ++i) sums[i] += slice[i];
    }
    StoreSet(chunk_of(set), set % this->sets(), sums, filter);
  });
  return Result::kOk;
}

template <typename T>
void FilterGradientPass<T>::SumSlice(const Chunk& chunk, int64_t set,
                                     int64_t slice, const T* input,
                                     const T* gradient, Scratch* scratch,
                                     S* sums) const {
  const int64_t lanes = this->form.lanes;
  const int64_t units = this->SetUnits(set);
  const int64_t part_size = this->part_size();
  const int64_t w_row_size = this->width * part_size;
  XRows<T> x(*this, input, set, scratch);
  S* const w = scratch->Take<S>(rows_at_once * units * w_row_size);
  Product<S>* const products = scratch->Take<Product<S>>(rows_at_once);
  Prefetcher next_w;
  std::memset(sums, 0, this->units_per_set * this->unit_size() * sizeof(S));
  // Lanes without a group or channel stay zero.
  std::memset(w, 0, rows_at_once * units * w_row_size * sizeof(S));

  const int64_t end_row = this->rows * (slice + 1) / slices;
  const int64_t height = this->g.dim[1].output;
  const int64_t full_width = this->g.dim[2].output;
  for (int64_t begin = 0; begin < full_width; begin += this->width) {
    const int64_t count = std::min(this->width, full_width - begin);
    x.Start(chunk, 0, 1, begin, begin + this->width);
    int64_t rows;
    for (int64_t row = this->rows * slice / slices; row < end_row;
         row += rows) {
      rows = std::min({rows_at_once, height - row % height, end_row - row});
      x.Load(row, rows);
      for (int64_t j = 0; j < rows; ++j) {
        const Unit unit = this->GetUnit(set, 0);
        this->kernels.pack(
            this->form.Map(this->out_steps, unit.block, units, count,
                           unit.channels, part_size, w_row_size),
            gradient + this->OutOffset(row + j, unit) +
                begin * this->out_steps.pixel,
            w + j * units * w_row_size);
      }
      if (this->prefetch) {
        const int64_t size = full_width * this->out_steps.pixel;
        next_w.Start(gradient + (row + rows) * size, rows * size * sizeof(T));
      }

      int64_t vectors_done = 0;
      const int64_t vectors =
          units * chunk.rows * chunk.taps * chunk.channels * this->part_vectors;
      for (int64_t i = 0; i < units; ++i) {
        const Unit unit = this->GetUnit(set, i);
        const Phase& phase = this->plan.phases[0];
        for (int64_t r = 0; r < chunk.rows; ++r) {
          for (int64_t k = phase.first_run; k < phase.end_run; ++k) {
            const grouped_conv::Run run = Clip(this->plan.runs[k], chunk);
            if (run.count <= 0) continue;
            Tile<S> tile;
            tile.products = products;
            tile.num_products = 0;
            for (int64_t j = 0; j < rows; ++j) {
              const S* found = x.Find(i, r, j, run);
              if (found == nullptr) continue;
              products[tile.num_products++] = {
                  found, w + (j * units + i) * w_row_size, count};
            }
            tile.x_row = this->form.groups_per_block();
            tile.x_depth = this->plan.x_step * x.pixel_size();
            tile.w_depth = part_size;
            tile.sum_row = part_size;
            tile.group_step = 0;
            tile.accumulate = true;
            S* const run_sums =
                sums + i * this->unit_size() +
                (r * chunk.taps + run.tap) * chunk.channels * part_size;
            const auto sum_tile = [&](int64_t v, int64_t num_v, int64_t u,
                                      int64_t num_u) {
              tile.x_offset = u * tile.x_row;
              tile.w_offset = v * lanes;
              tile.sum = run_sums + u * part_size + v * lanes;
              vectors_done += num_u * num_v;
              x.FetchUntil(vectors_done, vectors);
              next_w.FetchUntil(vectors_done, vectors);
              this->kernels
                  .multiply[this->form.log_groups][num_v - 1][num_u - 1](tile);
            };
            ForPieces(this->form.Vectors(unit.channels), kMaxVectors,
                      [&](int64_t v, int64_t num_v) {
                        ForPieces(run.count * chunk.channels,
                                  this->kernels.max_rows[num_v - 1],
                                  [&](int64_t u, int64_t num_u) {
                                    sum_tile(v, num_v, u, num_u);
                                  });
                      });
          }
        }
      }
    }
  }
}

template <typename T>
void FilterGradientPass<T>::StoreSet(const Chunk& chunk, int64_t set,
                                     const S* sums, T* filter) const {
  // A "pixel" is a channel of x.
  const Steps steps = {0, this->g.output_channels, this->out_channels, 1};
  const int64_t tap_size = chunk.channels * this->part_size();
  const Unit unit = this->GetUnit(set, 0);
  const Mapping mapping =
      this->form.Map(steps, unit.block, this->SetUnits(set), chunk.channels,
                     unit.channels, this->part_size(), this->unit_size());
  for (int64_t r = 0; r < chunk.rows; ++r) {
    for (int64_t t = 0; t < chunk.taps; ++t) {
      const int64_t tap =
          (chunk.first_row + r) * this->plan.num_taps + chunk.first_tap + t;
      this->kernels.unpack(
          mapping, sums + (r * chunk.taps + t) * tap_size, {},
          filter +
              (tap * this->x_channels + chunk.first_channel) * steps.pixel +
              unit.block * this->form.groups_per_block() * steps.group +
              unit.first_channel);
    }
  }
}

}  // namespace

template <typename T>
Result FilterGradient(const ConvGeometry& geometry, const T* input,
                      const T* output_backprop, T* filter_backprop,
                      TaskRunner* runner) {
  if (geometry.filter_size() == 0) return Result::kOk;
  if (geometry.output_size() == 0) {
    std::memset(filter_backprop, 0, geometry.filter_size() * sizeof(T));
    return Result::kOk;
  }
  return FilterGradientPass<T>(geometry).Run(input, output_backprop,
                                             filter_backprop, runner);
}

#define INSTANTIATE(T)                                                       \
  template Result FilterGradient<T>(const ConvGeometry&, const T*, const T*, \
                                    T*, TaskRunner*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Half)
INSTANTIATE(BFloat16)
INSTANTIATE(int32_t)
#undef INSTANTIATE

}  // namespace grouped_conv
