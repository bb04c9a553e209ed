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

#include "tensorflow/core/kernels/grouped_conv/tiling.h"

#include <algorithm>

namespace grouped_conv {

Steps TensorSteps(const ConvGeometry& geometry, int64_t channels,
                  int64_t pixels) {
  const int64_t all_channels = geometry.groups * channels;
  if (geometry.layout == Layout::kChannelsLast) {
    return {pixels * all_channels, all_channels, channels, 1};
  }
  return {pixels * all_channels, 1, channels * pixels, pixels};
}

ConvGeometry WithFullTiles(const ConvGeometry& geometry) {
  for (const Dimension& dim : geometry.dim) {
    if (dim.filter != 1 || dim.stride != 1 || dim.input != dim.output) {
      return geometry;
    }
  }
  ConvGeometry result = geometry;
  int64_t pixels = geometry.input_pixels();
  if (geometry.layout == Layout::kChannelsLast) {
    pixels *= geometry.batch;
    result.batch = 1;
  }
  const auto tile_rows = [](int64_t width) {
    return CeilDiv(width, kMaxRows) * kMaxRows;
  };
  const int64_t given = geometry.dim[2].input;
  int64_t best = given;
  for (int64_t width = 2 * kMaxRows; width >= kMaxRows; --width) {
    // Whether more of the tiles' rows are used.
    if (pixels % width == 0 &&
        width * tile_rows(best) > best * tile_rows(width)) {
      best = width;
    }
  }
  if (best == given) return geometry;
  const int64_t sizes[] = {1, pixels / best, best};
  for (int i = 0; i < 3; ++i) {
    result.dim[i].input = result.dim[i].output = sizes[i];
  }
  return result;
}

Form::Form(int64_t lanes, int64_t scalar_bytes, int64_t groups,
           int64_t x_channels, int64_t vector_channels, int most_log_groups,
           int64_t best_vectors, double several_groups_cost)
    : lanes(lanes), groups(groups), log_groups(0), channels_per_vector(lanes) {
  double fewest = -1;
  for (int log = 0; log <= most_log_groups && lanes >> log > 0; ++log) {
    const int64_t together = lanes >> log;
    // Whether vectors can copy so many channels.
    const auto fits = [&](int64_t channels) {
      return log == 0 || channels == 1 || channels == together ||
             (together > 1 && together * scalar_bytes >= 16);
    };
    if (!fits(x_channels) || !fits(vector_channels)) continue;
    const int64_t vectors = CeilDiv(vector_channels, together);
    const double all_vectors = (log > 0 ? several_groups_cost : 1) * vectors *
                               CeilDiv(groups, int64_t{1} << log);
    if (fewest < 0 || all_vectors < fewest ||
        (all_vectors == fewest && vectors == best_vectors)) {
      fewest = all_vectors;
      log_groups = log;
      channels_per_vector = together;
    }
  }
}

Mapping Form::Map(const Steps& steps, int64_t block, int64_t blocks,
                  int64_t pixels, int64_t channels, int64_t scratch_pixel,
                  int64_t scratch_block, int64_t epilogue_block) const {
  const int64_t first = block * groups_per_block();
  return {pixels,
          std::min(blocks * groups_per_block(), groups - first),
          channels,
          steps.pixel,
          steps.group,
          steps.channel,
          groups_per_block(),
          scratch_pixel,
          scratch_block,
          epilogue_block};
}

int64_t SourcePosition(const Dimension& dim, bool backward, int64_t position,
                       int64_t tap) {
  if (!backward) {
    const int64_t source =
        position * dim.stride - dim.pad_before + tap * dim.dilation;
    return source < dim.input ? std::max<int64_t>(source, -1) : -1;
  }
  const int64_t source = position + dim.pad_before - tap * dim.dilation;
  if (source < 0 || source % dim.stride != 0) return -1;
  return source / dim.stride < dim.output ? source / dim.stride : -1;
}

bool RowPlan::Make(const Dimension& dim, bool backward) {
  num_taps = dim.filter;
  num_phases = backward ? std::min(dim.stride, dim.input) : 1;
  x_step = backward ? 1 : dim.stride;
  out_step = backward ? dim.stride : 1;
  phase_count = backward ? CeilDiv(dim.input, dim.stride) : dim.output;
  phase_taps = 1;
  tap_step = 1;
  taps = AllocateArray<int64_t>(num_taps);
  runs = AllocateArray<Run>(num_taps);
  phases = AllocateArray<Phase>(num_phases);
  if (!taps || !runs || !phases) return false;

  // The pixel of x that a tap multiplies at position 0 of out, times the stride
  // if backward.
  const auto pixel = [&](int64_t tap) {
    const int64_t x = tap * dim.dilation - dim.pad_before;
    return backward ? -x : x;
  };
  const auto phase_of = [&](int64_t tap) {
    return backward ? ((-pixel(tap)) % dim.stride + dim.stride) % dim.stride
                    : 0;
  };
  // Sorts taps by phase, and in each by pixel.
  for (int64_t p = 0; p < num_phases; ++p) phases[p] = {p, 0, 0, 0};
  for (int64_t tap = 0; tap < num_taps; ++tap) {
    const int64_t p = phase_of(tap);
    if (p < num_phases) ++phases[p].end_run;
  }
  int64_t end = 0;
  for (int64_t p = 0; p < num_phases; ++p) {
    phases[p].first_run = end;
    end += phases[p].end_run;
    phases[p].end_run = phases[p].first_run;
  }
  for (int64_t i = 0; i < num_taps; ++i) {
    const int64_t tap = backward ? num_taps - 1 - i : i;
    const int64_t p = phase_of(tap);
    if (p < num_phases) taps[phases[p].end_run++] = tap;
  }
  // Taps of phases beyond the input are in no run.
  std::fill(taps.get() + end, taps.get() + num_taps, 0);

  int64_t num_runs = 0;
  for (int64_t p = 0; p < num_phases; ++p) {
    const int64_t first_tap = phases[p].first_run;
    const int64_t end_tap = phases[p].end_run;
    phase_taps = std::max(phase_taps, end_tap - first_tap);
    phases[p].count =
        backward ? CeilDiv(dim.input - p, dim.stride) : dim.output;
    phases[p].first_run = num_runs;
    int64_t last_x = 0;
    for (int64_t i = first_tap; i < end_tap; ++i) {
      const int64_t x =
          backward ? (p + pixel(taps[i])) / dim.stride : pixel(taps[i]);
      if (i > first_tap) tap_step = x - last_x;
      if (i == first_tap || tap_step > 1) runs[num_runs++] = {i, 0, x};
      last_x = x;
      ++runs[num_runs - 1].count;
    }
    phases[p].end_run = num_runs;
  }
  return true;
}

bool RowPlan::LeaveOutPadding(int64_t x_size) {
  const int64_t count = phase_count;
  // Taps are neighbours, or each is a run.
  const Run first = runs[0];
  const bool neighbours = first.count == num_taps;
  const int64_t most_phases = std::min(2 * num_taps + 1, count);
  runs = AllocateArray<Run>(most_phases * (neighbours ? 1 : num_taps));
  phases = AllocateArray<Phase>(most_phases);
  if (!runs || !phases) return false;
  const int64_t step = tap_step;
  int64_t num_runs = 0;
  int64_t begin = 0;  // The taps of the last phase.
  int64_t end = -1;
  num_phases = 0;
  phase_count = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t x = first.x + i * x_step;  // The first tap's.
    // How many taps are before pixel `to`.
    const auto taps_before = [&](int64_t to) {
      return to <= x ? 0 : std::min(CeilDiv(to - x, step), num_taps);
    };
    const int64_t now_begin = taps_before(0);
    const int64_t now_end = taps_before(x_size);
    if (now_begin != begin || now_end != end) {
      begin = now_begin;
      end = now_end;
      Phase& phase = phases[num_phases++];
      phase = {i, 0, num_runs, num_runs};
      if (neighbours && begin < end) {
        runs[num_runs++] = {begin, end - begin, x + begin};
      } else {
        for (int64_t t = begin; t < end; ++t) {
          runs[num_runs++] = {t, 1, x + t * step};
        }
      }
      phase.end_run = num_runs;
    }
    Phase& phase = phases[num_phases - 1];
    phase_count = std::max(phase_count, ++phase.count);
  }
  return true;
}

Run Clip(const Run& run, const Chunk& chunk) {
  const int64_t first = std::max(run.tap, chunk.first_tap);
  const int64_t end =
      std::min(run.tap + run.count, chunk.first_tap + chunk.taps);
  return {first - chunk.first_tap, end - first, run.x + first - run.tap};
}

Chunks::Chunks(int64_t rows, int64_t taps, int64_t channels)
    : all_{0, rows, 0, taps, 0, channels}, largest_(all_) {}

int64_t Chunks::count() const {
  return CeilDiv(all_.rows, largest_.rows) * CeilDiv(all_.taps, largest_.taps) *
         CeilDiv(all_.channels, largest_.channels);
}

Chunk Chunks::Get(int64_t index) const {
  const auto range = [&index](int64_t all, int64_t largest, int64_t* first,
                              int64_t* count) {
    const int64_t parts = CeilDiv(all, largest);
    *first = index % parts * largest;
    *count = std::min(largest, all - *first);
    index /= parts;
  };
  Chunk chunk;
  range(all_.channels, largest_.channels, &chunk.first_channel,
        &chunk.channels);
  range(all_.taps, largest_.taps, &chunk.first_tap, &chunk.taps);
  range(all_.rows, largest_.rows, &chunk.first_row, &chunk.rows);
  return chunk;
}

bool Chunks::Fit(int64_t element_bytes, int64_t row_bytes) const {
  const int64_t elements = kFilterBytes / element_bytes;
  return largest_.rows <= kListSize && largest_.taps <= kListSize &&
         largest_.rows * largest_.taps <= kListSize &&
         largest_.channels <= elements &&
         largest_.rows * largest_.taps * largest_.channels <= elements &&
         row_bytes <= kRowBytes / largest_.rows;
}

void Chunks::Halve() {
  int64_t* size = largest_.rows > 1   ? &largest_.rows
                  : largest_.taps > 1 ? &largest_.taps
                                      : &largest_.channels;
  *size = CeilDiv(*size, 2);
}

Span NeededSpan(const RowPlan& plan, const Chunk& chunk, int64_t first_phase,
                int64_t end_phase, int64_t begin, int64_t end) {
  Span span = {0, 0};
  bool empty = true;
  for (int64_t p = first_phase; p < end_phase; ++p) {
    const Phase& phase = plan.phases[p];
    const int64_t last = std::min(end, phase.count) - 1;
    for (int64_t r = phase.first_run; r < phase.end_run; ++r) {
      const Run run = Clip(plan.runs[r], chunk);
      if (run.count <= 0 || last < begin) continue;
      const Span needed = {run.x + begin * plan.x_step,
                           run.x + run.count + last * plan.x_step};
      span.first = empty ? needed.first : std::min(span.first, needed.first);
      span.end = empty ? needed.end : std::max(span.end, needed.end);
      empty = false;
    }
  }
  return span;
}

}  // namespace grouped_conv
