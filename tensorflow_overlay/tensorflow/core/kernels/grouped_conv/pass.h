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

// What the three passes have in common: their tiling, and x in scratch. See
// tiling.h for the terms.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_PASS_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_PASS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tensorflow/core/kernels/grouped_conv/geometry.h"
#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/kernels.h"
#include "tensorflow/core/kernels/grouped_conv/scratch.h"
#include "tensorflow/core/kernels/grouped_conv/tiling.h"

namespace grouped_conv {

// Units share a task as long as their filters and rows of x stay in the cache
// together.
constexpr int64_t kSharedFilterBytes = 5 << 16;
constexpr int64_t kSharedRowBytes = 3 << 17;
// What is larger does not stay in the first level's cache.
constexpr int64_t kFirstCacheBytes = 3 << 14;
// Filters of this size stay there, beside what they multiply.
constexpr int64_t kFirstCacheFilterBytes = kFirstCacheBytes / 2;
// Of a filter with more rows, each pixel is read so often that a copy pays.
constexpr int64_t kMostRowsInPlace = 5;
// The same if it would be converted each time.
constexpr int64_t kMostConvertedRowsInPlace = 3;
// Of a row that is read in place and has padding, each tap may be a run of its
// own in twice as many phases.
constexpr int64_t kMostTapsInPlace = 32;
// Tensors that are larger together are fetched ahead; for processors that do
// not do so themselves in time, of several channels; and in place, for these.
constexpr int64_t kPrefetchBytes = 1 << 24;
constexpr int64_t kEarlyPrefetchBytes = 1 << 23;
constexpr int64_t kInPlacePrefetchBytes = 1 << 22;
// Bounds what a unit needs for each channel.
constexpr int64_t kMaxPartVectors = 256;

// A part of a block's channels of w and sum.
struct Unit {
  int64_t block;
  int64_t first_channel;
  int64_t channels;
  int64_t offset;  // Of its first element in a pixel of out.
};

// With kPairs, x and w have pairs of channels of bfloat16, of which each takes
// a float's place (see PairKernels).
template <typename T, bool kPairs = false>
struct Pass {
  using S = Sum<T>;
  // What x is made of in the tensor, of which so many are one of those.
  using X = typename std::conditional<kPairs, float, T>::type;
  static constexpr int kTogether = kPairs ? 2 : 1;

  // `backward` is InputGradient. `best_vectors` is Form's. To read x in place,
  // `in_place_vectors` times as many vectors may be needed. Rows that are read
  // in place and have padding have `in_place_positions` for each tap, at least,
  // as there are tiles of single positions at their ends. With in_place_as_x,
  // kernels may read an x that is not what is summed.
  Pass(const AllKernels& all_kernels, const ConvGeometry& geometry,
       bool backward, int64_t best_vectors, double in_place_vectors,
       int64_t in_place_positions, int most_log_groups = kMaxLogGroups,
       bool in_place_as_x = false)
      : g(geometry),
        backward(backward),
        in_place_positions(in_place_positions),
        in_place_as_x(in_place_as_x),
        fetch_early(all_kernels.fetch_early),
        kernels(all_kernels.Of<T>()),
        pack_filter(all_kernels.Of<X>().pack),
        pack_x(PackX(std::integral_constant<bool, kPairs>(), all_kernels)),
        pair_kernels(all_kernels.of_pairs),
        tiles(kPairs && pair_kernels->tiles),
        x_channels((backward ? g.output_channels_per_group()
                             : g.input_channels_per_group()) /
                   kTogether),
        out_channels(backward ? g.input_channels_per_group()
                              : g.output_channels_per_group()),
        form(kernels.lanes, sizeof(S), g.groups, x_channels, out_channels,
             most_log_groups, best_vectors,
             g.filter_taps() == 1 && InPlaceByGroup() ? in_place_vectors : 1),
        x_steps(TensorSteps(g, x_channels,
                            backward ? g.output_pixels() : g.input_pixels())),
        out_steps(TensorSteps(g, out_channels,
                              backward ? g.input_pixels() : g.output_pixels())),
        rows(g.batch * OutSize(0) * OutSize(1)) {}

  // What copies x.
  static decltype(Kernels<X>::pack) PackX(std::true_type, const AllKernels& k) {
    return k.of_pairs->pack;
  }
  static decltype(Kernels<X>::pack) PackX(std::false_type,
                                          const AllKernels& k) {
    return k.Of<X>().pack;
  }

  // Divides the filter into chunks and units. Returns false if there is no
  // memory.
  bool DivideFilter() {
    if (!plan.Make(g.dim[2], backward)) return false;
    if (InPlaceByPixel()) {
      in_place = true;
      if (!plan.LeaveOutPadding(XSize(2))) return false;
    } else {
      in_place = form.log_groups == 0 && InPlaceByGroup();
    }
    const int64_t vectors = form.Vectors(out_channels);
    const int64_t filter_rows = g.dim[0].filter * g.dim[1].filter;
    // An empty x has one channel of zeros.
    const int64_t channels = std::max<int64_t>(x_channels, 1);
    chunks = Chunks(filter_rows, plan.num_taps, channels);
    // Parts whose chunk is the whole filter, or else with vectors for a tile.
    const double vector_bytes = static_cast<double>(filter_rows) *
                                plan.num_taps * channels * form.lanes *
                                sizeof(S);
    const int64_t fit = static_cast<int64_t>(
        std::min<double>(kMaxPartVectors, kFilterBytes / vector_bytes));
    const int64_t most = std::max<int64_t>(fit, kMaxVectors);
    parts = CeilDiv(vectors, most);
    part_vectors = CeilDiv(vectors, parts);
    units = form.blocks() * parts;
    while (!chunks.Fit(part_size() * sizeof(S),
                       RowBytes(/*all_phases=*/false, 1))) {
      chunks.Halve();
    }
    return true;
  }

  // Bytes of a unit's row of x for `width` positions of all phases, which needs
  // the whole filter, or of any one. Where that is beyond kRowBytes, the result
  // may be any number beyond it. 0 if rows are read in place.
  int64_t RowBytes(bool all_phases, int64_t width) const {
    if (in_place) return 0;
    int64_t pixels =
        (std::min(chunks.largest().taps, plan.phase_taps) - 1) * plan.tap_step +
        1 + (width - 1) * plan.x_step;
    if (all_phases) {
      const Span span =
          NeededSpan(plan, chunks.Get(0), 0, plan.num_phases, 0, width);
      pixels = span.end - span.first;
    }
    return std::min(pixels, kRowBytes + 1) * chunks.largest().channels *
           form.groups_per_block() * static_cast<int64_t>(sizeof(S));
  }
  // Sets the width of tiles and what depends on it: `most`, or less if rows of
  // x would not fit scratch memory, or if a row of w or sums of which a
  // position takes `position_bytes` would not. Returns whether all fit.
  bool SetWidth(bool all_phases, int64_t most, int64_t position_bytes) {
    const auto fits = [&] {
      return x_row_bytes <= kRowBytes / chunks.largest().rows &&
             width * position_bytes <= kSumBytes;
    };
    width = most;
    x_row_bytes = RowBytes(all_phases, width);
    while (width > 1 && !fits()) {
      width = CeilDiv(width, 2);
      x_row_bytes = RowBytes(all_phases, width);
    }
    return fits();
  }
  // Whether memory is waited for anyway, as little is computed with what is
  // read where it lies.
  bool IsBoundByMemory() const {
    return fetch_early && in_place && x_channels == 1;
  }
  // Whether so many bytes may be fetched ahead: if the arithmetic takes longer,
  // or it would wait for them instead.
  bool MayFetch(int64_t bytes) const {
    return IsBoundByMemory() || TaskCycles(1) > bytes * 2 / 5;
  }
  // Whether a task streams an x that is worth fetching ahead. If tasks need
  // parts of each pixel, in which some processors see no stream, x must be at
  // least half of all that they touch.
  void SetPrefetch() {
    const int64_t x_bytes =
        (backward ? g.output_size() : g.input_size()) * sizeof(T);
    const int64_t all_bytes = (g.input_size() + g.output_size()) * sizeof(T);
    const bool whole = units_per_set == units;
    const bool parts_of_pixels =
        fetch_early && !whole && parts == 1 && 2 * x_bytes >= all_bytes;
    const int64_t most_cached = IsBoundByMemory() ? kInPlacePrefetchBytes
                                : fetch_early && x_channels > 1
                                    ? kEarlyPrefetchBytes
                                    : kPrefetchBytes;
    prefetch = g.layout == Layout::kChannelsLast && chunks.count() == 1 &&
               (whole || parts_of_pixels) && all_bytes > most_cached &&
               MayFetch(x_bytes);
  }
  // Whether rows of x lie in the tensor as they would in scratch if vectors are
  // of one group, but for what is between pixels, which products over several
  // taps would read.
  bool InPlaceByGroup() const {
    const Dimension& width = g.dim[2];
    return std::is_same<X, S>::value && g.layout == Layout::kChannelsLast &&
           x_channels > 0 && width.filter == 1 && width.pad_before == 0 &&
           width.pad_after == 0 && (!backward || width.stride == 1);
  }
  // Whether they do, but for what is between pixels, and for padding, as groups
  // have one channel each. What is left out for padding takes more tiles, which
  // should be few, and computed for all units at once.
  bool InPlaceByPixel() const {
    const Dimension& width = g.dim[2];
    const bool converted = !std::is_same<T, S>::value;
    return (!converted || (in_place_as_x && IsDepthwise())) &&
           g.layout == Layout::kChannelsLast && x_channels == 1 &&
           form.log_groups > 0 && g.groups % form.groups_per_block() == 0 &&
           (!backward || width.stride == 1) &&
           g.dim[0].filter * g.dim[1].filter <= MostRowsInPlace(converted) &&
           width.filter <= kMostTapsInPlace && g.filter_taps() <= kListSize &&
           g.filter_size() * static_cast<int64_t>(sizeof(S)) <=
               kFirstCacheFilterBytes &&
           width.filter <= OutSize(2) / in_place_positions &&
           OutSize(2) * form.Vectors(out_channels) * form.lanes *
                   static_cast<int64_t>(sizeof(S)) <=
               kSumBytes;
  }

  // Where pixels are apart, each is converted less often, and copied at a
  // higher cost; with tiles that was not measured.
  int64_t MostRowsInPlace(bool converted) const {
    return converted && (g.dim[2].stride == 1 || pair_kernels->tiles)
               ? kMostConvertedRowsInPlace
               : kMostRowsInPlace;
  }

  // Whether vectors have a channel of each of their groups, as x has.
  bool IsDepthwise() const {
    return x_channels == 1 && out_channels == 1 &&
           form.groups_per_block() == form.lanes;
  }

  int64_t XSize(int i) const {
    return backward ? g.dim[i].output : g.dim[i].input;
  }
  int64_t OutSize(int i) const {
    return backward ? g.dim[i].input : g.dim[i].output;
  }
  // Elements of scratch: of a position of w or sum; of a filter's rows, taps
  // and channels.
  int64_t part_size() const { return part_vectors * form.lanes; }
  int64_t unit_size() const {
    return chunks.largest().rows * chunks.largest().taps *
           chunks.largest().channels * part_size();
  }
  // Sets of units are what tasks share.
  int64_t sets() const { return CeilDiv(units, units_per_set); }
  int64_t SetUnits(int64_t set) const {
    return std::min(units_per_set, units - set * units_per_set);
  }
  Unit GetUnit(int64_t set, int64_t i) const {
    const int64_t unit = set * units_per_set + i;
    const int64_t size = part_vectors * form.channels_per_vector;
    const int64_t first = unit % parts * size;
    const int64_t block = unit / parts;
    return {block, first, std::min(size, out_channels - first),
            block * form.groups_per_block() * out_steps.group +
                first * out_steps.channel};
  }
  // Groups of so many units from a block on, if units have all their channels.
  int64_t SetGroups(int64_t first_block, int64_t count) const {
    return std::min(count * form.groups_per_block(),
                    g.groups - first_block * form.groups_per_block());
  }
  // Where a row of out, numbered over the batch, starts.
  int64_t OutOffset(int64_t row) const {
    const int64_t image_rows = OutSize(0) * OutSize(1);
    return row / image_rows * out_steps.batch +
           row % image_rows * OutSize(2) * out_steps.pixel;
  }
  // Sets rows[r * count + i] to the row of x, numbered over the batch, that row
  // r of the chunk's taps multiplies for the i-th of `count` rows of out from
  // `row` on; -1 if that is padding.
  void FindSourceRows(const Chunk& chunk, int64_t row, int64_t count,
                      int64_t* rows) const {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t y = (row + i) % OutSize(1);
      const int64_t z = (row + i) / OutSize(1) % OutSize(0);
      const int64_t n = (row + i) / OutSize(1) / OutSize(0);
      for (int64_t r = 0; r < chunk.rows; ++r) {
        const int64_t tap_y = (chunk.first_row + r) % g.dim[1].filter;
        const int64_t tap_z = (chunk.first_row + r) / g.dim[1].filter;
        const int64_t x_y = SourcePosition(g.dim[1], backward, y, tap_y);
        const int64_t x_z = SourcePosition(g.dim[0], backward, z, tap_z);
        rows[r * count + i] =
            x_y < 0 || x_z < 0 ? -1 : (n * XSize(0) + x_z) * XSize(1) + x_y;
      }
    }
  }
  // How many rows a tile of so many vectors should have at most.
  int64_t MaxRows(int64_t vectors) const {
    return (kPairs ? pair_kernels->max_rows : kernels.max_rows)[vectors - 1];
  }
  // What one of `count` tasks costs.
  int64_t TaskCycles(int64_t count) const {
    const double products = static_cast<double>(g.output_size()) *
                            g.filter_taps() * g.input_channels_per_group();
    return static_cast<int64_t>(products / count / form.lanes /
                                (kPairs ? pair_kernels->speed : 1)) +
           1;
  }

  const ConvGeometry g;
  const bool backward;
  const int64_t in_place_positions;
  const bool in_place_as_x;
  const bool fetch_early;
  const Kernels<T>& kernels;
  void (*const pack_filter)(const Mapping&, const X*, S*);
  void (*const pack_x)(const Mapping&, const X*, S*);
  const PairKernels* const pair_kernels;
  const bool tiles;  // Whether they are what multiplies.
  const int64_t x_channels;
  const int64_t out_channels;
  const Form form;
  const Steps x_steps;
  const Steps out_steps;
  const int64_t rows;  // Of out, in the batch.

  RowPlan plan;
  bool in_place;  // Whether rows of x are read where they lie.
  Chunks chunks;
  int64_t part_vectors;
  int64_t parts;  // Of a block.
  int64_t units;
  int64_t units_per_set;
  int64_t width;  // Positions of a phase at once.
  int64_t slots;  // Rows of x in scratch.
  int64_t x_row_bytes;
  bool prefetch;
};

// Runs `count` tasks that need scratch memory.
template <typename Task>
Result RunTasks(int64_t count, int64_t cycles, TaskRunner* runner,
                const Task& task) {
  std::atomic<bool> out_of_memory(false);
  runner->Run(count, cycles, [&](int64_t i) {
    Scratch scratch;
    if (scratch.ok()) {
      task(i, &scratch);
    } else {
      out_of_memory = true;
    }
  });
  return out_of_memory ? Result::kOutOfMemory : Result::kOk;
}

// The rows of x that a set's units need, in scratch or where they lie.
template <typename T, bool kPairs = false>
class XRows {
 public:
  using S = Sum<T>;
  using X = typename Pass<T, kPairs>::X;

  // Loads what at most `most` rows of out need at once.
  XRows(const Pass<T, kPairs>& pass, const X* tensor, int64_t set, int64_t most,
        Scratch* scratch)
      : pass_(pass),
        tensor_(tensor),
        first_block_(pass.GetUnit(set, 0).block),
        units_(pass.SetUnits(set)),
        in_place_(pass.in_place),
        row_size_(pass.x_row_bytes / sizeof(S)),
        x_(scratch->Take<S>(pass.slots * units_ * row_size_)),
        row_(scratch->Take<int64_t>(pass.chunks.largest().rows * most)),
        slot_(scratch->Take<int64_t>(pass.chunks.largest().rows * most)),
        found_(scratch->Take<const S*>(pass.chunks.largest().rows * most)),
        cache_(pass.slots, scratch) {}

  // Forgets all rows. What is loaded from now on is for `chunk` and positions
  // [begin, end) of the phases [first_phase, end_phase).
  void Start(const Chunk& chunk, int64_t first_phase, int64_t end_phase,
             int64_t begin, int64_t end) {
    chunk_ = chunk;
    begin_ = begin;
    cache_.Clear();
    unit_step_ = row_size_;
    pixel_step_ = chunk.channels * pass_.form.groups_per_block();
    if (in_place_) {
      unit_step_ = pass_.x_steps.group * pass_.form.groups_per_block();
      pixel_step_ = pass_.x_steps.pixel;
      span_ = {0, 0};  // Unused but for the first.
      return;
    }
    span_ = NeededSpan(pass_.plan, chunk, first_phase, end_phase, begin, end);
    first_ = std::max<int64_t>(span_.first, 0);
    pixels_ = std::min(span_.end, pass_.XSize(2)) - first_;
    if (pass_.x_channels == 0) pixels_ = 0;  // The one channel is of zeros.
    // Copies leave zero what is around them.
    const bool all =
        pixels_ <= 0 || pass_.g.groups % pass_.form.groups_per_block() != 0;
    const int64_t before = all ? 0 : (first_ - span_.first) * pixel_step_;
    const int64_t copied = all ? 0 : pixels_ * pixel_step_;
    S* x = x_;
    for (int64_t i = 0; i < pass_.slots * units_; ++i, x += row_size_) {
      std::fill_n(x, before, S(0));
      std::fill(x + before + copied, x + row_size_, S(0));
    }
  }

  // Loads what `count` rows of out need from `row` on.
  void Load(int64_t row, int64_t count) {
    const ConvGeometry& g = pass_.g;
    count_ = count;
    pass_.FindSourceRows(chunk_, row, count, row_);
    last_ = -1;
    const int64_t found = chunk_.rows * count;
    if (in_place_) {
      last_ = *std::max_element(row_, row_ + found);
    } else {
      cache_.Find(row_, found, slot_, [&](int64_t from, int64_t to) {
        Copy(from, to);
        last_ = std::max(last_, from);
      });
    }
    for (int64_t i = 0; i < found; ++i) {
      found_[i] = row_[i] < 0 ? nullptr
                  : in_place_
                      ? reinterpret_cast<const S*>(TensorPixel(row_[i], 0))
                      : Slot(slot_[i]);
    }
    // The next rows are likely those behind the last one, and no more than an
    // image has for each row of out.
    const int64_t rows = g.batch * pass_.XSize(0) * pass_.XSize(1);
    const int64_t stride =
        pass_.backward ? 1 : std::min(g.dim[1].stride, pass_.XSize(1));
    const int64_t next = std::min(count * stride, rows - last_ - 1);
    if (!pass_.prefetch || last_ < 0 || next <= 0) {
      next_ = Prefetcher();
      return;
    }
    const int64_t pixel = pass_.x_steps.pixel * sizeof(X);
    next_.Start(
        TensorPixel(last_ + 1, 0),
        pass_.SetGroups(first_block_, units_) * pass_.x_channels * sizeof(X),
        pixel, next * pass_.XSize(2));
  }

  // Where the i-th unit finds what row r of the chunk's taps multiplies for the
  // j-th of the rows of out, at the first position; null if that is padding. In
  // the tensor, it is of the tensor's type.
  const S* Find(int64_t i, int64_t r, int64_t j, const Run& run) const {
    const S* const row = found_[r * count_ + j];
    if (row == nullptr) return nullptr;
    const int64_t offset =
        i * unit_step_ +
        (run.x + begin_ * pass_.plan.x_step - span_.first) * pixel_step_;
    if (!in_place_) return row + offset;
    return reinterpret_cast<const S*>(reinterpret_cast<const X*>(row) + offset);
  }
  // Elements, likewise, between what neighbouring units find, and between
  // pixels.
  int64_t unit_step() const { return unit_step_; }
  int64_t pixel_step() const { return pixel_step_; }
  // The last row of x that was loaded now, or -1.
  int64_t last() const { return last_; }

  // Fetches part of the rows that the next Load will want.
  void FetchUntil(int64_t part, int64_t whole) {
    next_.FetchUntil(part, whole);
  }

 private:
  // Where the chunk's channels of the first unit start.
  const X* TensorPixel(int64_t row, int64_t pixel) const {
    const int64_t image_rows = pass_.XSize(0) * pass_.XSize(1);
    const Steps& steps = pass_.x_steps;
    return tensor_ + row / image_rows * steps.batch +
           (row % image_rows * pass_.XSize(2) + pixel) * steps.pixel +
           first_block_ * pass_.form.groups_per_block() * steps.group +
           chunk_.first_channel * steps.channel;
  }
  S* Slot(int64_t slot) const { return x_ + slot * units_ * row_size_; }
  void Copy(int64_t row, int64_t slot) {
    if (pixels_ <= 0) return;
    // Units that share a set are neighbouring blocks.
    pass_.pack_x(pass_.form.Map(pass_.x_steps, first_block_, units_, pixels_,
                                chunk_.channels, pixel_step_, row_size_),
                 TensorPixel(row, first_),
                 Slot(slot) + (first_ - span_.first) * pixel_step_);
  }

  const Pass<T, kPairs>& pass_;
  const X* const tensor_;
  const int64_t first_block_;
  const int64_t units_;
  const bool in_place_;
  const int64_t row_size_;
  S* const x_;
  int64_t* const row_;
  int64_t* const slot_;
  const S** const found_;  // Where they have the first pixel of span_.
  RowCache cache_;
  Prefetcher next_;
  Chunk chunk_;
  Span span_;
  int64_t first_;  // The pixels that are copied.
  int64_t pixels_;
  int64_t unit_step_;
  int64_t pixel_step_;
  int64_t begin_;
  int64_t count_;
  int64_t last_;
};

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_PASS_H_
