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

// FilterGradient: w is the gradient of the output. The bias's gradient is what
// the filter's would be of one more tap, whose x is 1 everywhere.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <type_traits>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/merged_groups.h"
#include "tensorflow/core/kernels/grouped_conv/pass.h"

namespace grouped_conv {
namespace {

// Into about so many tasks the pass is divided, or half as many. It does not
// depend on the number of threads, so that sums do not either.
constexpr int64_t kTasks = 16;

// What a chunk that is halved for more tasks has more of.
constexpr int64_t kFewestChannels = 32;

// Bytes of the sums of units that share rows.
constexpr int64_t kSharedSumBytes = 1 << 18;
// So many positions of out are summed before sums go back to memory, or fewer
// with a stride, whose rows of x would fill the cache.
constexpr int64_t kPositions = 112;
// Of pairs, in tiles.
constexpr int64_t kPairPositions = 224;
// So many tiles of pairs are summed together.
constexpr int64_t kPairSums = 4;
// Pixels that are so far apart are copied together: the machine fetches ahead
// within a page only.
constexpr int64_t kPageBytes = 4096;
// Pairs are multiplied faster than less of each pixel is read.
constexpr int64_t kPairPixelBytes = 256;

// Memory to fetch into the cache, little by little.
class Fetcher {
 public:
  // Some bytes of each of some pixels, which are `pitch` bytes apart, in so
  // many parts.
  void Start(const void* first, int64_t bytes, int64_t pitch, int64_t pixels,
             int64_t parts) {
    const bool all = bytes == pitch;
    first_ = static_cast<const char*>(first);
    step_ = all ? kCacheLine : pitch;
    in_column_ = all ? CeilDiv(bytes * pixels, kCacheLine) : pixels;
    columns_ = all ? 1 : CeilDiv(bytes, kCacheLine);
    part_ = CeilDiv(in_column_ * columns_, parts);
    done_ = 0;
  }
  // The next part, or less.
  CacheLines Take() {
    if (done_ == in_column_) {
      done_ = 0;
      --columns_;
      first_ += kCacheLine;
    }
    if (columns_ <= 0) return {nullptr, 0, 0};
    const int64_t count = std::min(part_, in_column_ - done_);
    const char* const first = first_ + done_ * step_;
    done_ += count;
    return {first, step_, count};
  }

 private:
  const char* first_ = nullptr;  // Of the column.
  int64_t step_ = 0;
  int64_t in_column_ = 0;  // Lines `step_` apart, before those beside them.
  int64_t columns_ = 0;
  int64_t part_ = 0;
  int64_t done_ = 0;  // Of the column.
};

void Fetch(const CacheLines& lines) {
  for (int64_t i = 0; i < lines.count; ++i) {
    __builtin_prefetch(lines.first + i * lines.step, /*rw=*/0, /*locality=*/2);
  }
}

// A task sums a chunk of the filter of a set of units, over a slice of the
// rows. With `in_pairs`, by sums over pairs of positions (see PairSums).
template <typename T>
struct FilterGradientPass : Pass<T> {
  using S = Sum<T>;

  // Fewer vectors are fewer groups, which are copied faster.
  FilterGradientPass(const AllKernels& kernels, const ConvGeometry& geometry,
                     bool in_pairs)
      : Pass<T>(kernels, geometry, /*backward=*/false, /*best_vectors=*/1,
                /*in_place_vectors=*/1.25, /*in_place_positions=*/16,
                in_pairs ? 0 : kMaxLogGroups),
        in_pairs(in_pairs) {}

  void Divide();
  // With in_pairs, whether what was divided can be summed so.
  bool CanPair() const;
  // `bias` may be null. With in_pairs, clears `finite` if an input is not.
  Result Run(const T* input, const T* gradient, T* filter, T* bias,
             TaskRunner* runner, std::atomic<bool>* finite);
  // The units' sums are [units][rows][taps][channels of x][part] and, if not
  // null, [units][part] for the bias.
  void SumSlice(const Chunk& chunk, int64_t set, int64_t slice, const T* input,
                const T* gradient, const T* filter, Scratch* scratch, S* sums,
                S* bias_sums) const;
  void SumPairs(const Chunk& chunk, int64_t set, int64_t slice,
                const BFloat16* input, const BFloat16* gradient,
                Scratch* scratch, float* sums, float* bias_sums,
                std::atomic<bool>* finite) const;
  void SumPairs(const Chunk&, int64_t, int64_t, const void*, const void*,
                Scratch*, void*, void*, std::atomic<bool>*) const {}
  // Calls f(row, count) for the rows of a slice, as many as there are at once.
  template <typename F>
  void ForRows(int64_t slice, const F& f) const;
  void StoreUnits(const Chunk& chunk, const Unit& first, int64_t count,
                  const S* sums, T* filter) const;
  void StoreBias(const Unit& first, int64_t count, const S* sums,
                 T* bias) const;

  // Has fetchers fetch what a set reads of the next rows: likely those of the
  // input behind `last`, the last one that was new, if not -1; of the gradient
  // from `row` to `end_row`.
  void FetchNext(const T* input, int64_t last, const T* gradient, int64_t row,
                 int64_t end_row, int64_t set, Fetcher* of_input,
                 Fetcher* of_gradient) const;
  // Has `fetcher` fetch what a set reads of `count` rows from `row` on, of a
  // tensor with rows of so many pixels.
  void FetchRows(const T* tensor, const Steps& steps, int64_t pixels,
                 int64_t channels, int64_t row, int64_t count, int64_t set,
                 Fetcher* fetcher) const;

  // Bytes of a unit's sums, with those of its bias.
  int64_t sum_bytes() const {
    return (this->unit_size() + this->part_size()) *
           static_cast<int64_t>(sizeof(S));
  }

  const bool in_pairs;
  int64_t rows_at_once;  // Less than a plane has, or some planes.
  int64_t slices;
  bool whole_rows;  // Of channels last.
  bool w_in_place;  // Whether w is read where it lies, as it is in scratch.
};

template <typename T>
void FilterGradientPass<T>::Divide() {
  const ConvGeometry& g = this->g;
  // Slices are worth their sums' memory traffic where that of the tensors is
  // much more. Where it is less, there are chunks of channels instead, if the
  // filter is 1x1.
  const int64_t slices_size =
      kTasks * this->units * this->chunks.count() * this->unit_size();
  const int64_t tensors_size = g.input_size() + g.output_size();
  const bool slicing = slices_size < tensors_size / 4;
  while (slices_size > tensors_size && g.filter_taps() == 1 &&
         this->units * this->chunks.count() < kTasks / 2 &&
         this->chunks.largest().channels > kFewestChannels &&
         // Halves must be pairs of channels.
         (!in_pairs || this->chunks.largest().channels % 4 == 0)) {
    this->chunks.Halve();
  }
  const int64_t position_bytes = this->part_size() * sizeof(S);
  this->SetWidth(/*all_phases=*/false, g.dim[2].output, position_bytes);
  const int64_t chunk_rows = this->chunks.largest().rows;
  const int64_t row_bytes = std::max<int64_t>(this->x_row_bytes, 1);
  const int64_t width_bytes = this->width * position_bytes;
  rows_at_once = std::max<int64_t>(
      1,
      std::min({(in_pairs ? kPairPositions : kPositions) / this->width /
                    g.dim[1].stride,
                this->rows, kSumBytes / width_bytes,
                kRowBytes / row_bytes / chunk_rows, kListSize / chunk_rows}));
  const Dimension& height = g.dim[1];
  if (rows_at_once > height.output) {
    rows_at_once -= rows_at_once % height.output;
  } else {
    rows_at_once = CeilDiv(height.output, CeilDiv(height.output, rows_at_once));
  }
  const int64_t planes = CeilDiv(rows_at_once, height.output);
  const int64_t plane_rows =
      std::min(std::max<int64_t>(height.input, 1),
               (rows_at_once / planes - 1) * height.stride +
                   (height.filter - 1) * height.dilation + 1);
  this->slots =
      std::min(chunk_rows * rows_at_once,
               planes * plane_rows * std::min(chunk_rows, g.dim[0].filter));

  this->units_per_set = 1;
  if (this->chunks.count() == 1 && this->parts == 1) {
    const int64_t filter_bytes = this->unit_size() * sizeof(S);
    int64_t fewest = CeilDiv(this->units, kTasks);
    if (in_pairs) {
      // More, if there are slices instead.
      const int64_t fit = std::max<int64_t>(
          1, std::min(this->rows, kScratchBytes / (this->units * sum_bytes())));
      const int64_t unit_bytes = this->x_channels * sizeof(T);
      fewest = std::max(fewest, std::min(this->units * fit / (kTasks / 2),
                                         CeilDiv(kPairPixelBytes, unit_bytes)));
    }
    this->units_per_set = std::max<int64_t>(
        1, std::min({slicing ? this->units : std::min(fewest, this->units),
                     kSharedSumBytes / filter_bytes,
                     kSharedRowBytes / (this->slots * row_bytes),
                     kSumBytes / (rows_at_once * width_bytes)}));
    // As equal as can be.
    this->units_per_set = CeilDiv(this->units, this->sets());
  }
  this->prefetch = false;  // In its own way.
  whole_rows =
      g.layout == Layout::kChannelsLast && this->width == g.dim[2].output;
  // Vectors of a group's channels, or of one channel of each of a block's.
  const bool whole_vectors =
      this->form.log_groups == 0
          ? this->out_channels % this->form.lanes == 0
          : this->out_channels == 1 && this->form.channels_per_vector == 1 &&
                g.groups % this->form.groups_per_block() == 0;
  w_in_place = std::is_same<T, S>::value && whole_vectors &&
               this->out_steps.channel == 1 &&
               this->out_steps.pixel * sizeof(T) < kPageBytes;
  const int64_t sets = this->chunks.count() * this->sets();
  slices = std::max<int64_t>(
      1,
      std::min(
          {slicing || in_pairs || sets < kTasks / 2 ? CeilDiv(kTasks, sets) : 1,
           this->rows,
           kScratchBytes / (sets * this->units_per_set * sum_bytes())}));
}

template <typename T>
Result FilterGradientPass<T>::Run(const T* input, const T* gradient, T* filter,
                                  T* bias, TaskRunner* runner,
                                  std::atomic<bool>* finite) {
  const int64_t filter_size = this->units_per_set * this->unit_size();
  const int64_t bias_size =
      bias == nullptr ? 0 : this->units_per_set * this->part_size();
  const int64_t set_size = filter_size + bias_size;
  const int64_t sets = this->chunks.count() * this->sets();
  const auto chunk_of = [this](int64_t set) {
    return this->chunks.Get(set / this->sets());
  };
  const int64_t tasks = sets * slices;
  const int64_t speed = in_pairs ? this->pair_kernels->speed : 1;
  Array<S> partial;
  Array<std::atomic<bool>> half_done;
  if (slices > 1) {
    partial = AllocateArray<S>(tasks * set_size);
    half_done = AllocateArray<std::atomic<bool>>(tasks);
    if (!partial || !half_done) return Result::kOutOfMemory;
    for (int64_t i = 0; i < tasks; ++i)
      new (&half_done[i]) std::atomic<bool>(false);
  }
  return RunTasks(
      tasks, this->TaskCycles(tasks) / speed, runner,
      [&](int64_t i, Scratch* scratch) {
        const int64_t set = i % sets;
        int64_t slice = i / sets;
        S* sums = slices > 1 ? partial.get() + i * set_size
                             : scratch->Take<S>(set_size);
        const Chunk chunk = chunk_of(set);
        // All chunks see the same gradient.
        const bool with_bias = bias != nullptr && chunk.first_row == 0 &&
                               chunk.first_tap == 0 && chunk.first_channel == 0;
        std::memset(sums, 0, set_size * sizeof(S));
        S* const bias_sums = with_bias ? sums + filter_size : nullptr;
        if (in_pairs) {
          SumPairs(chunk, set % this->sets(), slice, input, gradient, scratch,
                   sums, bias_sums, finite);
        } else {
          SumSlice(chunk, set % this->sets(), slice, input, gradient, filter,
                   scratch, sums, bias_sums);
        }
        // Sums of slices are added in a tree: of two neighbours, the task that
        // is done last adds, and goes on with both.
        for (int64_t size = 1; size < slices; size *= 2) {
          slice -= slice % (2 * size);
          sums = partial.get() + (slice * sets + set) * set_size;
          if (slice + size >= slices) continue;  // It has no neighbour.
          const int64_t neighbour = (slice + size) * sets + set;
          if (!half_done[neighbour].exchange(true)) return;
          this->kernels.add(set_size, partial.get() + neighbour * set_size,
                            sums);
        }
        const Unit first = this->GetUnit(set % this->sets(), 0);
        const int64_t units = this->SetUnits(set % this->sets());
        StoreUnits(chunk, first, units, sums, filter);
        if (with_bias) StoreBias(first, units, sums + filter_size, bias);
      });
}

template <typename T>
template <typename F>
void FilterGradientPass<T>::ForRows(int64_t slice, const F& f) const {
  const int64_t end_row = this->rows * (slice + 1) / slices;
  const int64_t height = this->g.dim[1].output;
  int64_t rows;
  for (int64_t row = this->rows * slice / slices; row < end_row; row += rows) {
    rows = std::min({rows_at_once - row % height % rows_at_once,
                     std::max(rows_at_once, height) - row % height,
                     end_row - row});
    f(row, rows);
  }
}

template <typename T>
void FilterGradientPass<T>::SumSlice(const Chunk& chunk, int64_t set,
                                     int64_t slice, const T* input,
                                     const T* gradient, const T* filter,
                                     Scratch* scratch, S* sums,
                                     S* bias_sums) const {
  const int64_t units = this->SetUnits(set);
  const int64_t part_size = this->part_size();
  const int64_t w_row_size = this->width * part_size;
  XRows<T> x(*this, input, set, rows_at_once, scratch);
  S* const w = scratch->Take<S>(rows_at_once * units * w_row_size);
  const S** const w_rows = scratch->Take<const S*>(rows_at_once);
  Product<S>* const products = scratch->Take<Product<S>>(rows_at_once);
  Fetcher next_x, next_w;
  // What the lanes without a group or channel hold is never stored.
  if (!w_in_place) {
    std::memset(w, 0, rows_at_once * units * w_row_size * sizeof(S));
  }
  const int64_t w_step = w_in_place ? this->out_steps.pixel : part_size;
  const int64_t w_unit_step =
      w_in_place ? this->out_steps.group * this->form.groups_per_block()
                 : rows_at_once * w_row_size;

  S ones[1 << kMaxLogGroups];
  std::fill(std::begin(ones), std::end(ones), S{1});

  // If there are several units, they have all channels.
  const Unit first = this->GetUnit(set, 0);
  const int64_t vectors = this->form.Vectors(first.channels);

  const int64_t end_row = this->rows * (slice + 1) / slices;
  const int64_t full_width = this->g.dim[2].output;
  for (int64_t begin = 0; begin < full_width; begin += this->width) {
    const int64_t count = std::min(this->width, full_width - begin);
    x.Start(chunk, 0, 1, begin, begin + this->width);
    ForRows(slice, [&](int64_t row, int64_t rows) {
      x.Load(row, rows);
      // Whole rows are neighbours.
      const int64_t at_once = whole_rows ? rows : 1;
      for (int64_t j = 0; j < rows; ++j) {
        const T* const from = gradient + this->OutOffset(row + j) +
                              first.offset + begin * this->out_steps.pixel;
        w_rows[j] =
            w_in_place ? reinterpret_cast<const S*>(from) : w + j * w_row_size;
        if (w_in_place || j % at_once != 0) continue;
        this->kernels.pack(
            this->form.Map(this->out_steps, first.block, units, at_once * count,
                           first.channels, part_size, w_unit_step),
            from, w + j * w_row_size);
      }
      if (whole_rows) {
        FetchNext(input, x.last(), gradient, row + rows, end_row, set, &next_x,
                  &next_w);
        if (row + rows == end_row && slices == 1) {
          // A row of the filter is a "pixel".
          FetchRows(filter, {0, this->g.output_channels, this->out_channels, 1},
                    this->x_channels, this->out_channels, 0,
                    this->g.filter_taps(), set, &next_w);
        }
      }

      for (int64_t i = 0; i < units; ++i) {
        for (int64_t p = 0; p < this->plan.num_phases; ++p) {
          const Phase& phase = this->plan.phases[p];
          const int64_t positions = std::min(count, phase.count);
          for (int64_t r = 0; r < chunk.rows; ++r) {
            for (int64_t k = phase.first_run; k < phase.end_run; ++k) {
              const grouped_conv::Run run = Clip(this->plan.runs[k], chunk);
              if (run.count <= 0) continue;
              OuterProducts<S> outer;
              outer.products = products;
              outer.num_products = 0;
              for (int64_t j = 0; j < rows; ++j) {
                const S* found = x.Find(i, r, j, run);
                if (found == nullptr) continue;
                products[outer.num_products++] = {
                    found, w_rows[j] + i * w_unit_step + phase.first * w_step,
                    positions};
              }
              outer.rows = run.count * chunk.channels;
              outer.vectors = vectors;
              outer.x_row = this->x_channels == 1
                                ? x.pixel_step()
                                : this->form.groups_per_block();
              outer.x_step = this->plan.x_step * x.pixel_step();
              outer.w_step = w_step;
              outer.sum =
                  sums + i * this->unit_size() +
                  (r * chunk.taps + run.tap) * chunk.channels * part_size;
              outer.sum_row = part_size;
              outer.fetch[0] = next_x.Take();
              outer.fetch[1] = next_w.Take();
              this->kernels.sum_outer[this->form.log_groups](outer);
            }
          }
        }
        if (bias_sums == nullptr) continue;
        for (int64_t j = 0; j < rows; ++j) {
          products[j] = {ones, w_rows[j] + i * w_unit_step, count};
        }
        OuterProducts<S> outer = {};
        outer.products = products;
        outer.num_products = rows;
        outer.rows = 1;
        outer.vectors = vectors;
        outer.x_row = this->form.groups_per_block();
        outer.w_step = w_step;
        outer.sum = bias_sums + i * part_size;
        this->kernels.sum_outer[this->form.log_groups](outer);
      }
    });
  }
}

// Rows of x in scratch, channel by channel, each with the pixels that a tap
// multiplies one behind the other: where there is a stride, first every
// stride-th pixel, then the ones behind those.
class ChannelRows {
 public:
  // Bytes that all rows of a set take.
  static int64_t Bytes(const Pass<BFloat16>& pass, const Chunk& chunk) {
    return pass.slots * pass.units_per_set * chunk.channels *
           pass.g.dim[2].stride * PhaseStep(pass, SpanOf(pass, chunk)) *
           static_cast<int64_t>(sizeof(BFloat16));
  }

  // Loads what at most `most` whole rows of out need of a chunk at once.
  ChannelRows(const Pass<BFloat16>& pass, const BFloat16* tensor, int64_t set,
              const Chunk& chunk, int64_t most, Scratch* scratch)
      : pass_(pass),
        tensor_(tensor),
        chunk_(chunk),
        first_group_(pass.GetUnit(set, 0).block),
        units_(pass.SetUnits(set)),
        stride_(pass.g.dim[2].stride),
        span_(SpanOf(pass, chunk)),
        first_(std::max<int64_t>(span_.first, 0)),
        pixels_(std::min(span_.end, pass.XSize(2)) - first_),
        phase_step_(PhaseStep(pass, span_)),
        phases_(PhasesOf(pass, chunk)),
        unit_size_(chunk.channels * channel_step()),
        x_(scratch->Take<BFloat16>(pass.slots * units_ * unit_size_)),
        row_(scratch->Take<int64_t>(chunk.rows * most)),
        slot_(scratch->Take<int64_t>(chunk.rows * most)),
        cache_(pass.slots, scratch) {
    // Copies leave zero what is around them.
    std::memset(x_, 0, pass.slots * units_ * unit_size_ * sizeof(BFloat16));
  }

  void Load(int64_t row, int64_t count) {
    count_ = count;
    pass_.FindSourceRows(chunk_, row, count, row_);
    last_ = -1;
    cache_.Find(row_, chunk_.rows * count, slot_,
                [&](int64_t from, int64_t to) {
                  Copy(from, to);
                  last_ = std::max(last_, from);
                });
  }

  // As XRows::Find, for the first unit, without the pixel.
  const BFloat16* Find(int64_t r, int64_t j) const {
    const int64_t slot = slot_[r * count_ + j];
    return slot < 0 ? nullptr : x_ + slot * units_ * unit_size_;
  }
  // Where in a row a tap's pixel for the first position is.
  int64_t PixelOffset(int64_t pixel) const {
    const int64_t i = pixel - span_.first;
    return i % stride_ * phase_step_ + i / stride_;
  }
  int64_t unit_step() const { return unit_size_; }
  int64_t channel_step() const { return stride_ * phase_step_; }
  // The last row that was loaded now, or -1.
  int64_t last() const { return last_; }
  // Whether all that was loaded is.
  bool finite() const { return finite_; }

 private:
  static Span SpanOf(const Pass<BFloat16>& pass, const Chunk& chunk) {
    return NeededSpan(pass.plan, chunk, 0, 1, 0, pass.width);
  }
  // How many of the stride's phases taps need, from that of the first pixel on.
  static int64_t PhasesOf(const Pass<BFloat16>& pass, const Chunk& chunk) {
    const Phase& phase = pass.plan.phases[0];
    const int64_t stride = pass.g.dim[2].stride;
    if (phase.end_run - phase.first_run != 1) return stride;
    return std::min(stride, Clip(pass.plan.runs[phase.first_run], chunk).count);
  }
  // A pair may end behind the last pixel.
  static int64_t PhaseStep(const Pass<BFloat16>& pass, const Span& span) {
    return CeilDiv(span.end - span.first, pass.g.dim[2].stride) + 2;
  }
  void Copy(int64_t row, int64_t slot) {
    if (pixels_ <= 0) return;
    const int64_t image_rows = pass_.XSize(0) * pass_.XSize(1);
    const Steps& steps = pass_.x_steps;
    const BFloat16* from =
        tensor_ + row / image_rows * steps.batch +
        (row % image_rows * pass_.XSize(2) + first_) * steps.pixel +
        first_group_ * steps.group + chunk_.first_channel;
    for (int64_t i = 0; i < units_; ++i, from += steps.group) {
      BFloat16* const to = x_ + (slot * units_ + i) * unit_size_;
      for (int64_t n = 0; n < std::min(stride_, pixels_); ++n) {
        if ((first_ + n - span_.first) % stride_ >= phases_) continue;
        if (!pass_.pair_kernels->transpose(
                CeilDiv(pixels_ - n, stride_), chunk_.channels,
                from + n * steps.pixel, stride_ * steps.pixel,
                to + PixelOffset(first_ + n), channel_step())) {
          finite_ = false;
        }
      }
    }
  }

  const Pass<BFloat16>& pass_;
  const BFloat16* const tensor_;
  const Chunk chunk_;
  const int64_t first_group_;
  const int64_t units_;
  const int64_t stride_;
  const Span span_;
  const int64_t first_;  // The pixels that are copied.
  const int64_t pixels_;
  const int64_t phase_step_;
  const int64_t phases_;
  const int64_t unit_size_;
  BFloat16* const x_;
  int64_t* const row_;
  int64_t* const slot_;
  RowCache cache_;
  int64_t count_;
  int64_t last_;
  bool finite_ = true;
};

template <typename T>
bool FilterGradientPass<T>::CanPair() const {
  if (this->width != this->g.dim[2].output) return false;
  // Chunks differ in their taps, and so in the pixels that these need.
  for (int64_t i = 0; i < this->chunks.count(); ++i) {
    const Chunk chunk = this->chunks.Get(i);
    if (chunk.channels % 2 != 0 ||
        ChannelRows::Bytes(*this, chunk) > kRowBytes) {
      return false;
    }
  }
  return true;
}

template <typename T>
void FilterGradientPass<T>::SumPairs(const Chunk& chunk, int64_t set,
                                     int64_t slice, const BFloat16* input,
                                     const BFloat16* gradient, Scratch* scratch,
                                     float* sums, float* bias_sums,
                                     std::atomic<bool>* finite) const {
  const PairKernels& kernels = *this->pair_kernels;
  const int64_t units = this->SetUnits(set);
  const int64_t part_size = this->part_size();
  const int64_t depth = CeilDiv(this->width, 2);
  const int64_t w_row_size = depth * part_size;
  ChannelRows x(*this, input, set, chunk, rows_at_once, scratch);
  float* const w = scratch->Take<float>(rows_at_once * units * w_row_size);
  // What the lanes without a channel hold is never stored.
  std::memset(w, 0, rows_at_once * units * w_row_size * sizeof(float));
  PairSums::Row* const rows_of =
      scratch->Take<PairSums::Row>(chunk.rows * rows_at_once);
  int64_t* const first_of = scratch->Take<int64_t>(chunk.rows + 1);
  int64_t* const x_taps =
      scratch->Take<int64_t>(std::max<int64_t>(chunk.taps, 1));
  BFloat16* const ones = scratch->Take<BFloat16>(2 * depth);
  std::fill_n(ones, 2 * depth, BFloat16{0x3f80});
  Fetcher next_x, next_w;
  int64_t tiles = 0;

  const int64_t end_row = this->rows * (slice + 1) / slices;
  const Unit first = this->GetUnit(set, 0);
  PairSums outer;
  outer.vectors = this->form.Vectors(first.channels);
  outer.x_row = x.channel_step();
  outer.x_taps = x_taps;
  outer.depth = depth;
  outer.w_depth = part_size;
  outer.sum_row = part_size;
  outer.sum_tap = chunk.channels * part_size;

  ForRows(slice, [&](int64_t row, int64_t rows) {
    x.Load(row, rows);
    for (int64_t j = 0; j < rows; ++j) {
      kernels.pair_pixels(
          this->form.Map(this->out_steps, first.block, units, this->width,
                         first.channels, part_size, w_row_size),
          gradient + this->OutOffset(row + j) + first.offset,
          w + j * units * w_row_size);
    }
    if (this->chunks.count() == 1 && this->parts == 1) {
      FetchNext(input, x.last(), gradient, row + rows, end_row, set, &next_x,
                &next_w);
    }
    const Phase& phase = this->plan.phases[0];
    for (int64_t k = phase.first_run; k < phase.end_run; ++k) {
      const grouped_conv::Run run = Clip(this->plan.runs[k], chunk);
      if (run.count <= 0) continue;
      // Those of the first unit.
      int64_t found = 0;
      for (int64_t r = 0; r < chunk.rows; ++r) {
        first_of[r] = found;
        for (int64_t j = 0; j < rows; ++j) {
          const BFloat16* const row_of = x.Find(r, j);
          if (row_of == nullptr) continue;
          rows_of[found++] = {row_of, w + j * units * w_row_size};
        }
      }
      first_of[chunk.rows] = found;
      for (int64_t t = 0; t < run.count; ++t) {
        x_taps[t] = x.PixelOffset(run.x + t);
      }
      outer.taps = run.count;
      // Some channels' x stays in the first level's cache for all rows.
      const Pieces pieces(
          chunk.channels,
          std::max<int64_t>(kPairSums / run.count, 1) * this->form.lanes);
      for (int64_t i = 0; i < units; ++i) {
        outer.w_offset = i * w_row_size;
        pieces.ForEach([&](int64_t c, int64_t channels) {
          outer.channels = channels;
          outer.x_offset = i * x.unit_step() + c * x.channel_step();
          for (int64_t r = 0; r < chunk.rows; ++r) {
            outer.rows = rows_of + first_of[r];
            outer.num_rows = first_of[r + 1] - first_of[r];
            outer.sum =
                sums + i * this->unit_size() +
                ((r * chunk.taps + run.tap) * chunk.channels + c) * part_size;
            kernels.sum_outer(outer, &tiles);
          }
        });
        for (int64_t r = 0; r < chunk.rows; ++r) {
          Fetch(next_x.Take());
          Fetch(next_w.Take());
        }
      }
    }
    if (bias_sums == nullptr) return;
    for (int64_t j = 0; j < rows; ++j) {
      rows_of[j] = {ones, w + j * units * w_row_size};
    }
    PairSums all = outer;
    all.rows = rows_of;
    all.num_rows = rows;
    all.taps = all.channels = 1;
    all.x_offset = x_taps[0] = 0;
    for (int64_t i = 0; i < units; ++i) {
      all.w_offset = i * w_row_size;
      all.sum = bias_sums + i * part_size;
      kernels.sum_outer(all, &tiles);
    }
  });
  kernels.release();
  if (!x.finite()) *finite = false;
}

template <typename T>
void FilterGradientPass<T>::FetchNext(const T* input, int64_t last,
                                      const T* gradient, int64_t row,
                                      int64_t end_row, int64_t set,
                                      Fetcher* of_input,
                                      Fetcher* of_gradient) const {
  const int64_t next = std::min(rows_at_once, end_row - row);
  const int64_t x_rows = this->g.batch * this->XSize(0) * this->XSize(1);
  // No more than the next ones can need.
  const int64_t x_next = last < 0 ? 0
                                  : std::min({next * this->g.dim[1].stride,
                                              this->slots, x_rows - last - 1});
  FetchRows(gradient, this->out_steps, this->g.dim[2].output,
            this->out_channels, row, next, set, of_gradient);
  FetchRows(input, this->x_steps, this->XSize(2), this->x_channels, last + 1,
            x_next, set, of_input);
}

template <typename T>
void FilterGradientPass<T>::FetchRows(const T* tensor, const Steps& steps,
                                      int64_t pixels, int64_t channels,
                                      int64_t row, int64_t count, int64_t set,
                                      Fetcher* fetcher) const {
  const int64_t per_block = this->form.groups_per_block();
  const int64_t first = this->GetUnit(set, 0).block * per_block;
  const int64_t last =
      this->GetUnit(set, this->SetUnits(set) - 1).block * per_block;
  const int64_t groups = std::min(last + per_block, this->form.groups) - first;
  // None if all taps find padding.
  const int64_t runs = this->plan.phases[this->plan.num_phases - 1].end_run;
  fetcher->Start(tensor + row * pixels * steps.pixel + first * steps.group,
                 groups * channels * sizeof(T), steps.pixel * sizeof(T),
                 count * pixels,
                 this->SetUnits(set) * this->chunks.largest().rows *
                     std::max<int64_t>(runs, 1));
}

template <typename T>
void FilterGradientPass<T>::StoreUnits(const Chunk& chunk, const Unit& first,
                                       int64_t count, const S* sums,
                                       T* filter) const {
  // A "pixel" is a channel of x.
  const Steps steps = {0, this->g.output_channels, this->out_channels, 1};
  const int64_t tap_size = chunk.channels * this->part_size();
  const Mapping mapping =
      this->form.Map(steps, first.block, count, chunk.channels, first.channels,
                     this->part_size(), this->unit_size());
  for (int64_t r = 0; r < chunk.rows; ++r) {
    for (int64_t t = 0; t < chunk.taps; ++t) {
      const int64_t tap =
          (chunk.first_row + r) * this->plan.num_taps + chunk.first_tap + t;
      this->kernels.unpack(
          mapping, sums + (r * chunk.taps + t) * tap_size, {},
          filter +
              (tap * this->x_channels + chunk.first_channel) * steps.pixel +
              first.block * this->form.groups_per_block() * steps.group +
              first.first_channel);
    }
  }
}

template <typename T>
void FilterGradientPass<T>::StoreBias(const Unit& first, int64_t count,
                                      const S* sums, T* bias) const {
  // The bias is one pixel of out.
  const Steps steps = {0, this->g.output_channels, this->out_channels, 1};
  this->kernels.unpack(
      this->form.Map(steps, first.block, count, /*pixels=*/1, first.channels,
                     this->part_size(), this->part_size()),
      sums, {},
      bias + first.block * this->form.groups_per_block() * steps.group +
          first.first_channel);
}

constexpr int64_t kFewestPairedPositions = 4;

// Whether pairs were summed, or there was no memory.
template <typename T>
constexpr bool DoneInPairs(const AllKernels&, const ConvGeometry&, const T*,
                           const T*, T*, T*, TaskRunner*, Result*) {
  return false;
}
bool DoneInPairs(const AllKernels& kernels, const ConvGeometry& geometry,
                 const BFloat16* input, const BFloat16* output_backprop,
                 BFloat16* filter_backprop, BFloat16* bias_backprop,
                 TaskRunner* runner, Result* result) {
  if (!MayPair(kernels, geometry, input)) return false;
  // Four channels fill vectors, and sums are four times as many if merged.
  const int64_t merged =
      !kernels.of_pairs->tiles || geometry.input_channels_per_group() == 4
          ? 1
          : MergedGroups(geometry, /*backward=*/false);
  const ConvGeometry g = WithMergedGroups(geometry, merged);
  if (g.input_channels_per_group() % 2 != 0 ||
      g.input_channels_per_group() < kFewestPairedChannels ||
      g.output_channels_per_group() < kFewestPairedChannels ||
      g.dim[2].output < kFewestPairedPositions) {
    return false;
  }
  FilterGradientPass<BFloat16> pass(kernels, g, /*in_pairs=*/true);
  if (!pass.DivideFilter()) {
    *result = Result::kOutOfMemory;
    return true;
  }
  pass.Divide();
  if (!pass.CanPair()) return false;
  Array<BFloat16> merged_filter;
  BFloat16* sums = filter_backprop;
  if (merged > 1) {
    merged_filter = AllocateArray<BFloat16>(g.filter_size());
    if (!merged_filter) {
      *result = Result::kOutOfMemory;
      return true;
    }
    sums = merged_filter.get();
  }
  std::atomic<bool> finite(true);
  *result =
      pass.Run(input, output_backprop, sums, bias_backprop, runner, &finite);
  if (*result != Result::kOk) return true;
  // The last position of an odd row was paired with a pixel that it has nothing
  // to do with, times zero.
  if (g.dim[2].output % 2 != 0 && !finite) return false;
  if (merged > 1) {
    TakeFromMerged(geometry, merged, sums, filter_backprop, runner);
  }
  return true;
}

}  // namespace

template <typename T>
Result FilterGradient(const ConvGeometry& geometry, const T* input,
                      const T* output_backprop, T* filter_backprop,
                      T* bias_backprop, TaskRunner* runner) {
  if (geometry.filter_size() == 0) {
    if (bias_backprop == nullptr || geometry.output_channels == 0) {
      return Result::kOk;
    }
    // The bias has the gradient that it has with any other filter.
    const Array<T> other_filter = AllocateArray<T>(geometry.output_channels);
    if (!other_filter) return Result::kOutOfMemory;
    ConvGeometry other = geometry;
    other.groups = other.input_channels = other.output_channels;
    for (Dimension& dim : other.dim) {
      const int64_t size = dim.output;
      dim = Dimension();
      dim.input = dim.output = size;
    }
    return FilterGradient(other, output_backprop, output_backprop,
                          other_filter.get(), bias_backprop, runner);
  }
  if (geometry.output_size() == 0) {
    std::memset(filter_backprop, 0, geometry.filter_size() * sizeof(T));
    if (bias_backprop != nullptr) {
      std::memset(bias_backprop, 0, geometry.output_channels * sizeof(T));
    }
    return Result::kOk;
  }
  const ConvGeometry g = WithFullTiles(geometry);
  const AllKernels& kernels = GetKernels();
  Result result;
  if (DoneInPairs(kernels, g, input, output_backprop, filter_backprop,
                  bias_backprop, runner, &result)) {
    return result;
  }
  FilterGradientPass<T> pass(kernels, g, /*in_pairs=*/false);
  if (!pass.DivideFilter()) return Result::kOutOfMemory;
  pass.Divide();
  return pass.Run(input, output_backprop, filter_backprop, bias_backprop,
                  runner, /*finite=*/nullptr);
}

#define INSTANTIATE(T)                                                       \
  template Result FilterGradient<T>(const ConvGeometry&, const T*, const T*, \
                                    T*, T*, TaskRunner*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Half)
INSTANTIATE(BFloat16)
INSTANTIATE(int32_t)
#undef INSTANTIATE

}  // namespace grouped_conv
