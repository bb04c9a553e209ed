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

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <type_traits>

#include "tensorflow/core/kernels/grouped_conv/kernels.h"

// All three passes are sums of small matrix products, whose operands are first
// copied to scratch: rows of x with zeros where padding is, and w.
//
//                   x           w                 sum
//   Forward         input       filter            output
//   InputGradient   gradient    filter, flipped   gradient of the input
//   FilterGradient  input       gradient          gradient of the filter
//
// The vectors of w and sum hold one of two things, whichever fills more lanes:
//
//   kVectors: the same channel of neighbouring groups. x is made of the same
//     kind of vectors: a lane computes a group.
//   kScalars: neighbouring channels of a group, each multiplied by the same x.
//
// A "block" is the groups that a vector holds: `lanes` of them, or one.

namespace grouped_conv {
namespace {

// Scratch memory of a task, by use. Its sum is what a thread keeps.
constexpr int64_t kFilterBytes = 1 << 20;
constexpr int64_t kRowBytes = 1 << 19;
constexpr int64_t kSumBytes = 1 << 18;
constexpr int64_t kListBytes = 1 << 18;
constexpr int64_t kScratchBytes =
    kFilterBytes + kRowBytes + kSumBytes + kListBytes;
constexpr int64_t kCacheLine = 64;
// Elements of a list: products, rows.
constexpr int64_t kListSize = 2048;
constexpr int64_t kMaxPartVectors = 256;
// Blocks share a task as long as their filters stay in the cache together.
constexpr int64_t kSharedFilterBytes = 1 << 17;
constexpr int64_t kSharedRowBytes = 3 << 17;
// Tensors that are larger together are fetched ahead.
constexpr int64_t kPrefetchBytes = 1 << 24;
// Into at least so many tasks FilterGradient is divided, if it can be.
constexpr int64_t kSumTasks = 16;
// So many tasks a thread even out what they cost.
constexpr int64_t kTasksPerThread = 4;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// --- Memory -----------------------------------------------------------------

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <typename E>
using Array = std::unique_ptr<E[], Free>;

// Returns null if there is no memory.
template <typename E>
Array<E> AllocateArray(int64_t size) {
  return Array<E>(static_cast<E*>(std::malloc(size * sizeof(E) + 1)));
}

// A task's scratch memory, which is kept for later tasks: fresh pages would
// cost more than what is computed in them. So there is as much as ever ran at
// once.
class Scratch {
 public:
  Scratch() {
    std::lock_guard<std::mutex> lock(FreeMutex());
    block_ = FreeList();
    if (block_ != nullptr) {
      FreeList() = block_->next;
    } else {
      block_ = static_cast<Block*>(std::malloc(kScratchBytes + kCacheLine));
    }
    next_ = reinterpret_cast<char*>(block_);
    Take<char>(0);
  }
  ~Scratch() {
    if (!ok()) return;
    std::lock_guard<std::mutex> lock(FreeMutex());
    block_->next = FreeList();
    FreeList() = block_;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Whether there was memory.
  bool ok() const { return block_ != nullptr; }
  // An array of `count` elements that starts a cache line. The caller sees to
  // it that all fit kScratchBytes.
  template <typename E>
  E* Take(int64_t count) {
    E* result = reinterpret_cast<E*>(next_);
    next_ += count * sizeof(E);
    next_ += -reinterpret_cast<uintptr_t>(next_) % kCacheLine;
    return result;
  }

 private:
  struct Block {
    Block* next;
  };
  static std::mutex& FreeMutex() {
    static std::mutex* const mutex = new std::mutex;
    return *mutex;
  }
  static Block*& FreeList() {
    static Block* list = nullptr;
    return list;
  }

  Block* block_;
  char* next_;
};

// --- Layout of tensors and scratch ------------------------------------------

// Elements between neighbours in a tensor.
struct Steps {
  int64_t batch;
  int64_t pixel;
  int64_t group;
  int64_t channel;
};

Steps TensorSteps(const ConvGeometry& g, int64_t channels_per_group,
                  int64_t pixels) {
  const int64_t channels = g.groups * channels_per_group;
  if (g.layout == Layout::kChannelsLast) {
    return {pixels * channels, channels, channels_per_group, 1};
  }
  return {pixels * channels, 1, channels_per_group * pixels, pixels};
}

// How groups and channels lie in vectors.
struct Form {
  Form(int64_t lanes, int64_t groups, int64_t sum_channels)
      : lanes(lanes), groups(groups) {
    operand = groups * CeilDiv(sum_channels, lanes) <=
                      CeilDiv(groups, lanes) * sum_channels
                  ? kScalars
                  : kVectors;
    groups_per_block = operand == kVectors ? lanes : 1;
    channels_per_vector = operand == kVectors ? 1 : lanes;
  }
  int64_t blocks() const { return CeilDiv(groups, groups_per_block); }
  // How `pixels` with `channels` in each group of a block are copied; a pixel
  // takes `size` elements in scratch.
  Mapping Map(const Steps& steps, int64_t block, int64_t pixels,
              int64_t channels, int64_t size) const {
    if (operand == kScalars) {
      return {
          {0, steps.pixel, steps.channel}, {0, size}, {1, pixels, channels}};
    }
    const int64_t here = std::min(lanes, groups - block * lanes);
    if (channels == 1) {
      return {{0, steps.pixel, steps.group}, {0, size}, {1, pixels, here}};
    }
    if (steps.channel == 1) {
      return {{steps.pixel, steps.channel, steps.group},
              {size, lanes},
              {pixels, channels, here}};
    }
    return {{steps.channel, steps.pixel, steps.group},
            {lanes, size},
            {channels, pixels, here}};
  }

  int64_t lanes;
  int64_t groups;
  Operand operand;
  int64_t groups_per_block;
  int64_t channels_per_vector;
};

// --- Which x a sum needs ----------------------------------------------------

// Positions in one dimension that x has in Forward and FilterGradient: the
// input's; in InputGradient: the output's. -1 stands for padding, and for what
// a stride skips.
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

// Consecutive taps of a row of the filter, in the order in which the plan has
// them, that multiply consecutive pixels of x.
struct Run {
  int64_t tap;
  int64_t count;
  int64_t x;  // What the first tap multiplies for the phase's first sum.
};

// Sums of a row whose taps are the same: all in Forward; in InputGradient, each
// stride-th.
struct Phase {
  int64_t first;
  int64_t count;
  int64_t first_run;
  int64_t end_run;
};

// The width of a pass.
struct RowPlan {
  // Returns false if there is no memory.
  bool Make(const Dimension& dim, bool backward);

  int64_t num_taps;
  int64_t num_phases;
  int64_t x_step;       // Between neighbours of a phase.
  int64_t sum_step;     // Likewise.
  Array<int64_t> taps;  // The filter's, in the order of the runs.
  Array<Run> runs;
  Array<Phase> phases;
};

bool RowPlan::Make(const Dimension& dim, bool backward) {
  num_taps = dim.filter;
  num_phases = backward ? std::min(dim.stride, dim.input) : 1;
  x_step = backward ? 1 : dim.stride;
  sum_step = backward ? dim.stride : 1;
  taps = AllocateArray<int64_t>(num_taps);
  runs = AllocateArray<Run>(num_taps);
  phases = AllocateArray<Phase>(num_phases);
  if (!taps || !runs || !phases) return false;
  int64_t num_runs = 0;
  int64_t used = 0;
  for (int64_t p = 0; p < num_phases; ++p) {
    Phase& phase = phases[p];
    phase.first = p;
    phase.count = backward ? CeilDiv(dim.input - p, dim.stride) : dim.output;
    phase.first_run = num_runs;
    for (int64_t i = 0; i < num_taps; ++i) {
      // In ascending order of x.
      const int64_t tap = backward ? num_taps - 1 - i : i;
      const int64_t x = backward ? p + dim.pad_before - tap * dim.dilation
                                 : tap * dim.dilation - dim.pad_before;
      if (backward && x % dim.stride != 0) continue;
      const int64_t source = backward ? x / dim.stride : x;
      if (num_runs == phase.first_run ||
          runs[num_runs - 1].x + runs[num_runs - 1].count != source) {
        runs[num_runs++] = {used, 0, source};
      }
      ++runs[num_runs - 1].count;
      taps[used++] = tap;
    }
    phase.end_run = num_runs;
  }
  // Taps that a stride larger than the input skips are in no run.
  std::fill(taps.get() + used, taps.get() + num_taps, 0);
  return true;
}

// Part of a sum's products: rows of the filter, taps in them, channels of x.
struct Chunk {
  int64_t first_row, rows;
  int64_t first_tap, taps;
  int64_t first_channel, channels;
};

// Chunks of at most a certain size that together are all products.
struct Chunks {
  Chunks() = default;
  Chunks(int64_t rows, int64_t taps, int64_t channels)
      : rows(rows),
        taps(taps),
        channels(channels),
        chunk_rows(rows),
        chunk_taps(taps),
        chunk_channels(channels) {}

  int64_t rows, taps, channels;
  int64_t chunk_rows, chunk_taps, chunk_channels;

  int64_t count() const {
    return CeilDiv(rows, chunk_rows) * CeilDiv(taps, chunk_taps) *
           CeilDiv(channels, chunk_channels);
  }
  // Whether a chunk fits scratch, if each of its products with a channel of x
  // takes `filter_bytes`, and each row of x `row_bytes`.
  bool Fit(int64_t filter_bytes, int64_t row_bytes) const {
    return chunk_rows <= kListSize && chunk_taps <= kListSize &&
           chunk_channels <= kFilterBytes / filter_bytes &&
           chunk_rows * chunk_taps <= kListSize &&
           chunk_rows * chunk_taps * chunk_channels <=
               kFilterBytes / filter_bytes &&
           row_bytes <= kRowBytes / chunk_rows;
  }
  void Halve() {
    int64_t* size = chunk_rows > 1   ? &chunk_rows
                    : chunk_taps > 1 ? &chunk_taps
                                     : &chunk_channels;
    *size = CeilDiv(*size, 2);
  }
  Chunk Get(int64_t index) const {
    const auto range = [&index](int64_t size, int64_t part, int64_t* first,
                                int64_t* count) {
      const int64_t parts = CeilDiv(size, part);
      *first = index % parts * part;
      *count = std::min(part, size - *first);
      index /= parts;
    };
    Chunk chunk;
    range(channels, chunk_channels, &chunk.first_channel, &chunk.channels);
    range(taps, chunk_taps, &chunk.first_tap, &chunk.taps);
    range(rows, chunk_rows, &chunk.first_row, &chunk.rows);
    return chunk;
  }
};

// Into how large parts to divide the `vectors` of a block's sums, so that the
// products of a part fit the scratch memory for filters, or else are as many as
// a tile has.
int64_t PartVectors(int64_t vectors, const Chunks& chunks,
                    int64_t vector_bytes) {
  const double depth =
      static_cast<double>(chunks.rows) * chunks.taps * chunks.channels;
  const int64_t fit = static_cast<int64_t>(
      std::min<double>(kMaxPartVectors, kFilterBytes / (depth * vector_bytes)));
  const int64_t most = std::max<int64_t>(fit, kMaxVectors);
  return CeilDiv(vectors, CeilDiv(vectors, most));
}

// The part of a run that is in the chunk, if its count is positive.
Run Clip(const Run& run, const Chunk& chunk) {
  const int64_t first = std::max(run.tap, chunk.first_tap);
  const int64_t end =
      std::min(run.tap + run.count, chunk.first_tap + chunk.taps);
  return {first - chunk.first_tap, end - first, run.x + first - run.tap};
}

// Pixels [first, end) of a row of x.
struct Span {
  int64_t first;
  int64_t end;
};

// What sums [begin, end) of the phases [first_phase, end_phase) need.
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

// Which rows of x are in scratch. A row that was not asked for the longest
// makes room for a new one.
class RowCache {
 public:
  // `memory` holds 2 * slots numbers.
  RowCache(int64_t* memory, int64_t slots)
      : row_(memory), used_(memory + slots), slots_(slots) {
    Clear();
  }
  void Clear() {
    std::fill_n(row_, slots_, -1);
    std::fill_n(used_, slots_, 0);
    time_ = 0;
  }
  // Sets slot[i] for all rows[i] that are not -1, calling load(row, slot) for
  // those that are new.
  template <typename Load>
  void Find(const int64_t* rows, int64_t count, int64_t* slot,
            const Load& load) {
    ++time_;
    for (int64_t i = 0; i < count; ++i) {
      slot[i] = -1;
      if (rows[i] < 0) continue;
      const int64_t* found = std::find(row_, row_ + slots_, rows[i]);
      if (found == row_ + slots_) continue;
      slot[i] = found - row_;
      used_[slot[i]] = time_;
    }
    for (int64_t i = 0; i < count; ++i) {
      if (rows[i] < 0 || slot[i] >= 0) continue;
      slot[i] = std::find(row_, row_ + slots_, rows[i]) - row_;
      if (slot[i] == slots_) {
        slot[i] = std::min_element(used_, used_ + slots_) - used_;
        row_[slot[i]] = rows[i];
        load(rows[i], slot[i]);
      }
      used_[slot[i]] = time_;
    }
  }

 private:
  int64_t* row_;
  int64_t* used_;
  int64_t slots_;
  int64_t time_;
};

// Fetches a range of memory into the cache bit by bit.
class Prefetcher {
 public:
  void Start(const void* begin, int64_t bytes) {
    begin_ = static_cast<const char*>(begin);
    bytes_ = bytes;
    done_ = 0;
  }
  // Goes on until `part` of `whole` is fetched.
  void FetchUntil(int64_t part, int64_t whole) {
    const int64_t end = bytes_ * part / whole;
    for (; done_ < end; done_ += kCacheLine) {
      __builtin_prefetch(begin_ + done_);
    }
  }

 private:
  const char* begin_ = nullptr;
  int64_t bytes_ = 0;
  int64_t done_ = 0;
};

// Calls run(first, count) for pieces of [0, size) of at most `most`, as equal
// as can be.
template <typename F>
void ForPieces(int64_t size, int64_t most, const F& run) {
  const int64_t pieces = CeilDiv(size, most);
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t first = size * i / pieces;
    run(first, size * (i + 1) / pieces - first);
  }
}

// --- Forward and InputGradient ----------------------------------------------

// The two passes whose w is the filter; x is called source, the sums
// destination.
template <typename T>
class Correlation {
 public:
  using S = Sum<T>;

  Correlation(const ConvGeometry& geometry, bool backward)
      : g_(geometry),
        backward_(backward),
        kernels_(GetKernels<T>()),
        source_channels_(backward ? g_.output_channels_per_group()
                                  : g_.input_channels_per_group()),
        sum_channels_(backward ? g_.input_channels_per_group()
                               : g_.output_channels_per_group()),
        form_(kernels_.lanes, g_.groups, sum_channels_),
        source_steps_(
            TensorSteps(g_, source_channels_,
                        backward ? g_.output_pixels() : g_.input_pixels())),
        sum_steps_(
            TensorSteps(g_, sum_channels_,
                        backward ? g_.input_pixels() : g_.output_pixels())) {}

  Result Run(const T* source, const T* filter, const Epilogue<T>& epilogue,
             T* sums, TaskRunner* runner);

 private:
  int64_t SourceSize(int i) const {
    return backward_ ? g_.dim[i].output : g_.dim[i].input;
  }
  int64_t SumSize(int i) const {
    return backward_ ? g_.dim[i].input : g_.dim[i].output;
  }
  int64_t XLanes() const { return form_.operand == kVectors ? form_.lanes : 1; }
  void Tiling(int num_threads);
  void RunTask(int64_t task, const T* source, const T* filter,
               const Epilogue<T>& epilogue, T* sums, Scratch* scratch) const;

  const ConvGeometry& g_;
  const bool backward_;
  const Kernels<T>& kernels_;
  const int64_t source_channels_;  // Per group, as all below.
  const int64_t sum_channels_;
  const Form form_;
  const Steps source_steps_;
  const Steps sum_steps_;
  RowPlan plan_;

  // Tiling. A unit is a part of a block's sums.
  Chunks chunks_;
  int64_t part_vectors_;
  int64_t parts_;  // Of a block.
  int64_t units_;  // Of all blocks.
  int64_t units_per_task_;
  int64_t slots_;       // Rows of x in scratch.
  int64_t phases_;      // Of a row at once.
  int64_t width_;       // Sums of a row and phase at once.
  int64_t row_pixels_;  // Of x, in scratch.
  bool prefetch_;       // Whole rows of source and sums.
  int64_t rows_;        // Of sums.
  int64_t rows_per_task_;
};

template <typename T>
void Correlation<T>::Tiling(int num_threads) {
  const int64_t number = sizeof(S);
  const int64_t lanes = form_.lanes;
  const int64_t vectors = CeilDiv(sum_channels_, form_.channels_per_vector);
  const int64_t filter_rows = g_.dim[0].filter * g_.dim[1].filter;
  const int64_t channels = std::max<int64_t>(source_channels_, 1);

  chunks_ = Chunks(filter_rows, plan_.num_taps, channels);
  part_vectors_ = PartVectors(vectors, chunks_, lanes * number);
  parts_ = CeilDiv(vectors, part_vectors_);
  units_ = form_.blocks() * parts_;
  const auto row_bytes = [&](int64_t phases, int64_t width) {
    const Span span = NeededSpan(plan_, chunks_.Get(0), 0, phases, 0, width);
    return (span.end - span.first) * chunks_.chunk_channels * XLanes() * number;
  };
  while (!chunks_.Fit(part_vectors_ * lanes * number, row_bytes(1, 1))) {
    chunks_.Halve();
  }
  const bool partial = chunks_.count() > 1;
  phases_ = partial ? 1 : plan_.num_phases;
  width_ = plan_.phases[0].count;
  while (width_ > 1 &&
         (chunks_.chunk_rows * row_bytes(phases_, width_) > kRowBytes ||
          (partial && width_ * part_vectors_ * lanes * number > kSumBytes))) {
    width_ = CeilDiv(width_, 2);
  }
  if (chunks_.chunk_rows * row_bytes(phases_, width_) > kRowBytes) phases_ = 1;
  slots_ = chunks_.chunk_rows;
  // With a dilation, rows in between serve the next sums.
  const Dimension& height = g_.dim[1];
  const int64_t spread = std::min(
      CeilDiv((height.filter - 1) * height.dilation + 1, height.filter),
      SourceSize(1));
  if (chunks_.chunk_rows * spread * row_bytes(phases_, width_) <= kRowBytes &&
      chunks_.chunk_rows * spread <= kListSize) {
    slots_ *= std::max<int64_t>(spread, 1);
  }
  row_pixels_ =
      row_bytes(phases_, width_) / (chunks_.chunk_channels * XLanes() * number);

  units_per_task_ = 1;
  if (!partial && parts_ == 1) {
    const int64_t filter_bytes =
        filter_rows * plan_.num_taps * channels * vectors * lanes * number;
    units_per_task_ = std::min(
        units_,
        std::max<int64_t>(
            1, std::min(kSharedFilterBytes / filter_bytes,
                        kSharedRowBytes /
                            std::max<int64_t>(
                                1, slots_ * row_bytes(phases_, width_)))));
  }
  prefetch_ = g_.layout == Layout::kChannelsLast && !partial &&
              units_per_task_ == units_ &&
              (g_.input_size() + g_.output_size()) * number > kPrefetchBytes;
  rows_ = g_.batch * SumSize(0) * SumSize(1);
  const int64_t sets = CeilDiv(units_, units_per_task_);
  rows_per_task_ = CeilDiv(
      rows_, std::min(rows_, CeilDiv(kTasksPerThread * num_threads, sets)));
  if (partial) {
    rows_per_task_ = std::min(
        rows_per_task_, kSumBytes / (width_ * part_vectors_ * lanes * number));
  }
}

template <typename T>
Result Correlation<T>::Run(const T* source, const T* filter,
                           const Epilogue<T>& epilogue, T* sums,
                           TaskRunner* runner) {
  if (!plan_.Make(g_.dim[2], backward_)) return Result::kOutOfMemory;
  Tiling(runner->num_threads());
  const int64_t sets = CeilDiv(units_, units_per_task_);
  const int64_t tasks = sets * CeilDiv(rows_, rows_per_task_);
  const double products = static_cast<double>(g_.output_size()) *
                          g_.filter_taps() * g_.input_channels_per_group();
  std::atomic<bool> out_of_memory(false);
  runner->Run(tasks, static_cast<int64_t>(products / tasks / 8) + 1,
              [&](int64_t task) {
                Scratch scratch;
                if (!scratch.ok()) {
                  out_of_memory = true;
                  return;
                }
                RunTask(task, source, filter, epilogue, sums, &scratch);
              });
  return out_of_memory ? Result::kOutOfMemory : Result::kOk;
}

template <typename T>
void Correlation<T>::RunTask(int64_t task, const T* source, const T* filter,
                             const Epilogue<T>& epilogue, T* sums,
                             Scratch* scratch) const {
  const int64_t lanes = form_.lanes;
  const int64_t x_lanes = XLanes();
  const int64_t sets = CeilDiv(units_, units_per_task_);
  const int64_t first_unit = task % sets * units_per_task_;
  const int64_t units = std::min(units_per_task_, units_ - first_unit);
  const int64_t first_row = task / sets * rows_per_task_;
  const int64_t rows = std::min(rows_per_task_, rows_ - first_row);
  const int64_t num_chunks = chunks_.count();
  const int64_t part_size = part_vectors_ * lanes;
  const int64_t filter_row_size =
      chunks_.chunk_taps * chunks_.chunk_channels * part_size;
  const int64_t filter_size = chunks_.chunk_rows * filter_row_size;
  const int64_t x_row_size = row_pixels_ * chunks_.chunk_channels * x_lanes;

  S* const w = scratch->Take<S>(units * filter_size);
  S* const x = scratch->Take<S>(slots_ * units * x_row_size);
  S* const partial =
      scratch->Take<S>(num_chunks > 1 ? rows * width_ * part_size : 0);
  S* const tile_sum = scratch->Take<S>(kMaxRows * kMaxVectors * lanes);
  S* const scale = scratch->Take<S>(units * part_size);
  S* const bias = scratch->Take<S>(units * part_size);
  Product<S>* const products =
      scratch->Take<Product<S>>(chunks_.chunk_rows * chunks_.chunk_taps);
  int64_t* const source_row = scratch->Take<int64_t>(chunks_.chunk_rows);
  int64_t* const slot = scratch->Take<int64_t>(chunks_.chunk_rows);
  RowCache cache(scratch->Take<int64_t>(2 * slots_), slots_);

  struct Unit {
    int64_t block, first_channel, channels;
  };
  const auto get_unit = [&](int64_t i) -> Unit {
    const int64_t size = part_vectors_ * form_.channels_per_vector;
    const int64_t first = (first_unit + i) % parts_ * size;
    return {(first_unit + i) / parts_, first,
            std::min(size, sum_channels_ - first)};
  };
  // Copies one value a channel.
  const auto pack_channels = [&](const T* values, S* to) {
    if (values == nullptr) return;
    std::memset(to, 0, units * part_size * sizeof(S));
    for (int64_t i = 0; i < units; ++i) {
      const Unit unit = get_unit(i);
      const Steps steps = {0, 0, sum_channels_, 1};
      kernels_.pack(form_.Map(steps, unit.block, 1, unit.channels, part_size),
                    values + unit.block * form_.groups_per_block * steps.group +
                        unit.first_channel,
                    to + i * part_size);
    }
  };
  pack_channels(epilogue.scale, scale);
  pack_channels(epilogue.bias, bias);

  // Whether a block's sums are whole vectors in the tensor, and final.
  const bool direct = std::is_same<T, S>::value && sum_steps_.channel == 1 &&
                      (form_.operand == kScalars
                           ? sum_channels_ % lanes == 0
                           : sum_channels_ == 1 && g_.groups % lanes == 0) &&
                      num_chunks == 1 && epilogue.scale == nullptr &&
                      epilogue.bias == nullptr &&
                      epilogue.activation == Activation::kNone;
  Prefetcher next_source;
  Prefetcher next_sums;
  const int64_t row_vectors = units * part_vectors_ * SumSize(2);

  const int64_t widths = CeilDiv(plan_.phases[0].count, width_);
  const int64_t pieces = CeilDiv(plan_.num_phases, phases_) * widths;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t begin = piece % widths * width_;
    const int64_t first_phase = piece / widths * phases_;
    const int64_t end_phase = std::min(first_phase + phases_, plan_.num_phases);
    for (int64_t c = 0; c < num_chunks; ++c) {
      const Chunk chunk = chunks_.Get(c);
      const int64_t channels = std::min(chunk.channels, source_channels_);
      const int64_t w_depth = part_size;
      const Span span = NeededSpan(plan_, chunk, first_phase, end_phase, begin,
                                   begin + width_);

      // The filter: rows, taps, channels of x, vectors.
      if (num_chunks > 1 || piece == 0) {
        std::memset(w, 0, units * filter_size * sizeof(S));
        const Steps steps = {0, backward_ ? 1 : g_.output_channels,
                             g_.output_channels_per_group(),
                             backward_ ? g_.output_channels : 1};
        for (int64_t i = 0; i < units; ++i) {
          const Unit unit = get_unit(i);
          const Mapping mapping =
              form_.Map(steps, unit.block, channels, unit.channels, part_size);
          for (int64_t r = 0; r < chunk.rows; ++r) {
            for (int64_t t = 0; t < chunk.taps; ++t) {
              const int64_t tap = (chunk.first_row + r) * plan_.num_taps +
                                  plan_.taps[chunk.first_tap + t];
              kernels_.pack(
                  mapping,
                  filter +
                      tap * g_.input_channels_per_group() * g_.output_channels +
                      unit.block * form_.groups_per_block * steps.group +
                      chunk.first_channel * steps.pixel +
                      unit.first_channel * steps.channel,
                  w + i * filter_size + r * filter_row_size +
                      t * chunk.channels * part_size);
            }
          }
        }
      }
      std::memset(x, 0, slots_ * units * x_row_size * sizeof(S));
      cache.Clear();

      for (int64_t row = first_row; row < first_row + rows; ++row) {
        const int64_t y = row % SumSize(1);
        const int64_t z = row / SumSize(1) % SumSize(0);
        const int64_t n = row / SumSize(1) / SumSize(0);
        for (int64_t r = 0; r < chunk.rows; ++r) {
          const int64_t filter_row = chunk.first_row + r;
          const int64_t sy = SourcePosition(g_.dim[1], backward_, y,
                                            filter_row % g_.dim[1].filter);
          const int64_t sz = SourcePosition(g_.dim[0], backward_, z,
                                            filter_row / g_.dim[1].filter);
          source_row[r] = sy < 0 || sz < 0
                              ? -1
                              : (n * SourceSize(0) + sz) * SourceSize(1) + sy;
        }
        if (prefetch_) {
          // The next row of sums, which reads the row of the source behind the
          // last one.
          const int64_t row_size = SumSize(2) * sum_steps_.pixel;
          next_sums.Start(sums + (row + 1) * row_size, row_size * sizeof(T));
          next_source.Start(nullptr, 0);
        }
        cache.Find(source_row, chunk.rows, slot, [&](int64_t from, int64_t to) {
          if (prefetch_) {
            const int64_t row_size = SourceSize(2) * source_steps_.pixel;
            next_source.Start(
                source + (from + 1) * row_size,
                row_size * sizeof(T) * (backward_ ? 1 : g_.dim[1].stride));
          }
          const int64_t start = std::max<int64_t>(span.first, 0);
          const int64_t count = std::min(span.end, SourceSize(2)) - start;
          if (count <= 0) return;
          const int64_t planes = SourceSize(0) * SourceSize(1);
          const T* tensor =
              source + from / planes * source_steps_.batch +
              (from % planes * SourceSize(2) + start) * source_steps_.pixel +
              chunk.first_channel * source_steps_.channel;
          S* pixels = x + to * units * x_row_size +
                      (start - span.first) * chunk.channels * x_lanes;
          for (int64_t i = 0; i < units; ++i) {
            const int64_t block = get_unit(i).block;
            kernels_.pack(
                form_.Map(source_steps_, block, count, channels,
                          chunk.channels * x_lanes),
                tensor + block * form_.groups_per_block * source_steps_.group,
                pixels + i * x_row_size);
          }
        });

        int64_t vectors_done = 0;
        for (int64_t i = 0; i < units; ++i) {
          const Unit unit = get_unit(i);
          T* const unit_sums =
              sums + n * sum_steps_.batch +
              row % (SumSize(0) * SumSize(1)) * SumSize(2) * sum_steps_.pixel +
              unit.block * form_.groups_per_block * sum_steps_.group +
              unit.first_channel * sum_steps_.channel;
          for (int64_t p = first_phase; p < end_phase; ++p) {
            const Phase& phase = plan_.phases[p];
            const int64_t count = std::min(width_, phase.count - begin);
            if (count <= 0) continue;
            int64_t num_products = 0;
            for (int64_t r = 0; r < chunk.rows; ++r) {
              if (slot[r] < 0) continue;
              for (int64_t k = phase.first_run; k < phase.end_run; ++k) {
                const struct Run run = Clip(plan_.runs[k], chunk);
                if (run.count <= 0) continue;
                products[num_products++] = {
                    x + (slot[r] * units + i) * x_row_size +
                        (run.x + begin * plan_.x_step - span.first) *
                            chunk.channels * x_lanes,
                    w + i * filter_size + r * filter_row_size +
                        run.tap * chunk.channels * w_depth,
                    run.count * chunk.channels};
              }
            }
            const int64_t vectors =
                CeilDiv(unit.channels, form_.channels_per_vector);
            ForPieces(vectors, kMaxVectors, [&](int64_t v, int64_t num_v) {
              ForPieces(
                  count, kernels_.max_rows[num_v - 1],
                  [&](int64_t j, int64_t num_j) {
                    Tile<S> tile;
                    tile.products = products;
                    tile.num_products = num_products;
                    tile.x_row = plan_.x_step * chunk.channels * x_lanes;
                    tile.x_offset = j * tile.x_row;
                    tile.x_depth = x_lanes;
                    tile.w_offset = v * lanes;
                    tile.w_depth = w_depth;
                    tile.sum = tile_sum;
                    tile.sum_row = num_v * lanes;
                    tile.accumulate = c > 0;
                    if (num_chunks > 1) {
                      tile.sum_row = part_size;
                      tile.sum = partial +
                                 ((row - first_row) * width_ + j) * part_size +
                                 v * lanes;
                    }
                    const int64_t first = v * form_.channels_per_vector;
                    T* const tile_out =
                        unit_sums +
                        (phase.first + (begin + j) * plan_.sum_step) *
                            sum_steps_.pixel +
                        first * sum_steps_.channel;
                    if (direct) {
                      tile.sum = reinterpret_cast<S*>(tile_out);
                      tile.sum_row = plan_.sum_step * sum_steps_.pixel;
                    }
                    vectors_done += num_v * num_j;
                    next_source.FetchUntil(vectors_done, row_vectors);
                    next_sums.FetchUntil(vectors_done, row_vectors);
                    kernels_.multiply[form_.operand][num_v - 1][num_j - 1](
                        tile);
                    if (direct || c + 1 < num_chunks) return;

                    Steps steps = sum_steps_;
                    steps.pixel *= plan_.sum_step;
                    const Mapping mapping =
                        form_.Map(steps, unit.block, num_j,
                                  std::min(num_v * form_.channels_per_vector,
                                           unit.channels - first),
                                  tile.sum_row);
                    ScratchEpilogue<T> finish;
                    const int64_t offset = i * part_size + v * lanes;
                    if (epilogue.scale) finish.scale = scale + offset;
                    if (epilogue.bias) finish.bias = bias + offset;
                    finish.activation = epilogue.activation;
                    // All pixels have the same.
                    for (int s = 0; s < 2; ++s) {
                      finish.step[s] = mapping.scratch_step[s] == tile.sum_row
                                           ? 0
                                           : mapping.scratch_step[s];
                    }
                    kernels_.unpack(mapping, tile.sum, finish, tile_out);
                  });
            });
          }
        }
      }
    }
  }
}

// --- FilterGradient ---------------------------------------------------------

template <typename T>
class FilterGradientPass {
 public:
  using S = Sum<T>;

  explicit FilterGradientPass(const ConvGeometry& geometry)
      : g_(geometry),
        kernels_(GetKernels<T>()),
        depth_(g_.input_channels_per_group()),
        channels_(g_.output_channels_per_group()),
        form_(kernels_.lanes, g_.groups, channels_),
        x_steps_(TensorSteps(g_, depth_, g_.input_pixels())),
        w_steps_(TensorSteps(g_, channels_, g_.output_pixels())) {}

  Result Run(const T* input, const T* gradient, T* filter, TaskRunner* runner);

 private:
  int64_t XLanes() const { return form_.operand == kVectors ? form_.lanes : 1; }
  struct Unit {
    int64_t block, first_channel, channels;
  };
  Unit GetUnit(int64_t i) const {
    const int64_t size = part_vectors_ * form_.channels_per_vector;
    const int64_t first = i % parts_ * size;
    return {i / parts_, first, std::min(size, channels_ - first)};
  }
  void Tiling();
  void SumSlice(int64_t set, int64_t slice, const T* input, const T* gradient,
                Scratch* scratch, S* sums) const;
  void StoreSet(int64_t set, const S* sums, T* filter) const;

  // First unit and number of units of a set, which are of one chunk.
  Chunk SetChunk(int64_t set) const { return chunks_.Get(set / unit_sets_); }
  int64_t SetUnit(int64_t set) const {
    return set % unit_sets_ * units_per_set_;
  }
  int64_t SetUnits(int64_t set) const {
    return std::min(units_per_set_, units_ - SetUnit(set));
  }
  int64_t UnitSize() const {
    return chunks_.chunk_rows * chunks_.chunk_taps * chunks_.chunk_channels *
           part_vectors_ * form_.lanes;
  }

  const ConvGeometry& g_;
  const Kernels<T>& kernels_;
  const int64_t depth_;     // Input channels per group.
  const int64_t channels_;  // Output channels per group.
  const Form form_;
  const Steps x_steps_;
  const Steps w_steps_;
  RowPlan plan_;

  Chunks chunks_;
  int64_t part_vectors_;
  int64_t parts_;
  int64_t units_;
  int64_t units_per_set_;
  int64_t unit_sets_;
  int64_t sets_;
  int64_t slots_;
  int64_t width_;
  int64_t batch_rows_;  // Rows of w in scratch.
  int64_t row_pixels_;
  bool prefetch_;
  int64_t rows_;
  int64_t slices_;
};

template <typename T>
void FilterGradientPass<T>::Tiling() {
  const int64_t number = sizeof(S);
  const int64_t lanes = form_.lanes;
  const int64_t vectors = CeilDiv(channels_, form_.channels_per_vector);
  const int64_t filter_rows = g_.dim[0].filter * g_.dim[1].filter;
  chunks_ = Chunks(filter_rows, plan_.num_taps, depth_);
  part_vectors_ = PartVectors(vectors, chunks_, lanes * number);
  parts_ = CeilDiv(vectors, part_vectors_);
  units_ = form_.blocks() * parts_;
  const auto row_bytes = [&](int64_t width) {
    const Span span = NeededSpan(plan_, chunks_.Get(0), 0, 1, 0, width);
    return (span.end - span.first) * chunks_.chunk_channels * XLanes() * number;
  };
  while (!chunks_.Fit(part_vectors_ * lanes * number, row_bytes(1))) {
    chunks_.Halve();
  }
  width_ = g_.dim[2].output;
  const auto w_bytes = [&] { return width_ * part_vectors_ * lanes * number; };
  while (width_ > 1 && (chunks_.chunk_rows * row_bytes(width_) > kRowBytes ||
                        w_bytes() > kSumBytes)) {
    width_ = CeilDiv(width_, 2);
  }
  const int64_t unit_row_bytes = std::max<int64_t>(row_bytes(width_), 1);
  row_pixels_ =
      row_bytes(width_) / (chunks_.chunk_channels * XLanes() * number);

  // Rows of a plane that are summed before the sums are stored.
  const int64_t kPixels = 64;
  const int64_t fit_rows = kRowBytes / (chunks_.chunk_rows * unit_row_bytes);
  batch_rows_ =
      std::max<int64_t>(1, std::min({CeilDiv(kPixels, width_), g_.dim[1].output,
                                     kSumBytes / w_bytes(), fit_rows,
                                     kListSize / chunks_.chunk_rows}));
  slots_ = chunks_.chunk_rows * batch_rows_;

  units_per_set_ = 1;
  if (chunks_.count() == 1 && parts_ == 1) {
    int64_t most = units_;
    // Sums of slices are worth their memory traffic where that of the tensors
    // is much more.
    if (kSumTasks * units_ * UnitSize() * 4 >
        g_.input_size() + g_.output_size()) {
      most = CeilDiv(units_, kSumTasks);
    }
    units_per_set_ = std::max<int64_t>(
        1, std::min({most, kSharedFilterBytes / 2 / (UnitSize() * number),
                     kSharedRowBytes / (slots_ * unit_row_bytes),
                     kSumBytes / (batch_rows_ * w_bytes())}));
  }
  unit_sets_ = CeilDiv(units_, units_per_set_);
  sets_ = chunks_.count() * unit_sets_;
  prefetch_ = g_.layout == Layout::kChannelsLast && units_per_set_ == units_ &&
              (g_.input_size() + g_.output_size()) * number > kPrefetchBytes;
  rows_ = g_.batch * g_.dim[0].output * g_.dim[1].output;
  // Few sets are shared by slices of the rows. How many depends on the geometry
  // alone, so that sums do not depend on the number of threads.
  slices_ = std::max<int64_t>(
      1, std::min(
             {CeilDiv(kSumTasks, sets_), rows_,
              kScratchBytes / (sets_ * units_per_set_ * UnitSize() * number)}));
}

template <typename T>
Result FilterGradientPass<T>::Run(const T* input, const T* gradient, T* filter,
                                  TaskRunner* runner) {
  if (!plan_.Make(g_.dim[2], false)) return Result::kOutOfMemory;
  Tiling();
  const int64_t set_size = units_per_set_ * UnitSize();
  Array<S> partial;
  if (slices_ > 1) {
    partial = AllocateArray<S>(sets_ * slices_ * set_size);
    if (!partial) return Result::kOutOfMemory;
  }
  const double products = static_cast<double>(g_.output_size()) *
                          g_.filter_taps() * g_.input_channels_per_group();
  std::atomic<bool> out_of_memory(false);
  const int64_t tasks = sets_ * slices_;
  runner->Run(tasks, static_cast<int64_t>(products / tasks / 8) + 1,
              [&](int64_t task) {
                Scratch scratch;
                if (!scratch.ok()) {
                  out_of_memory = true;
                  return;
                }
                const int64_t set = task % sets_;
                S* sums = slices_ > 1 ? partial.get() + task * set_size
                                      : scratch.Take<S>(set_size);
                SumSlice(set, task / sets_, input, gradient, &scratch, sums);
                if (slices_ == 1) StoreSet(set, sums, filter);
              });
  if (out_of_memory) return Result::kOutOfMemory;
  if (slices_ == 1) return Result::kOk;
  runner->Run(sets_, slices_ * set_size, [&](int64_t set) {
    S* sums = partial.get() + set * set_size;
    for (int64_t s = 1; s < slices_; ++s) {
      const S* slice = sums + s * sets_ * set_size;
      for (int64_t i = 0; i < set_size; ++i) sums[i] += slice[i];
    }
    StoreSet(set, sums, filter);
  });
  return Result::kOk;
}

template <typename T>
void FilterGradientPass<T>::SumSlice(int64_t set, int64_t slice, const T* input,
                                     const T* gradient, Scratch* scratch,
                                     S* sums) const {
  const Chunk chunk = SetChunk(set);
  const int64_t units = SetUnits(set);
  const int64_t lanes = form_.lanes;
  const int64_t x_lanes = XLanes();
  const int64_t part_size = part_vectors_ * lanes;
  const int64_t x_row_size = row_pixels_ * chunk.channels * x_lanes;
  const int64_t w_row_size = width_ * part_size;
  S* const x = scratch->Take<S>(slots_ * units * x_row_size);
  S* const w = scratch->Take<S>(batch_rows_ * units * w_row_size);
  Product<S>* const products = scratch->Take<Product<S>>(batch_rows_);
  int64_t* const source_row = scratch->Take<int64_t>(slots_);
  int64_t* const slot = scratch->Take<int64_t>(slots_);
  RowCache cache(scratch->Take<int64_t>(2 * slots_), slots_);

  const int64_t first_row = rows_ * slice / slices_;
  const int64_t end_row = rows_ * (slice + 1) / slices_;
  std::memset(sums, 0, units_per_set_ * UnitSize() * sizeof(S));
  std::memset(w, 0, batch_rows_ * units * w_row_size * sizeof(S));
  const int64_t height = g_.dim[1].output;
  Prefetcher next_x;
  Prefetcher next_w;
  const int64_t row_vectors =
      units * chunk.rows * chunk.taps * chunk.channels * part_vectors_;
  for (int64_t begin = 0; begin < g_.dim[2].output; begin += width_) {
    const int64_t count = std::min(width_, g_.dim[2].output - begin);
    const Span span = NeededSpan(plan_, chunk, 0, 1, begin, begin + width_);
    std::memset(x, 0, slots_ * units * x_row_size * sizeof(S));
    cache.Clear();
    int64_t next_row;
    for (int64_t row = first_row; row < end_row; row = next_row) {
      const int64_t y = row % height;
      const int64_t z = row / height % g_.dim[0].output;
      const int64_t n = row / height / g_.dim[0].output;
      const int64_t rows = std::min({batch_rows_, height - y, end_row - row});
      next_row = row + rows;
      for (int64_t r = 0; r < chunk.rows; ++r) {
        const int64_t filter_row = chunk.first_row + r;
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t sy = SourcePosition(g_.dim[1], false, y + i,
                                            filter_row % g_.dim[1].filter);
          const int64_t sz = SourcePosition(g_.dim[0], false, z,
                                            filter_row / g_.dim[1].filter);
          source_row[r * rows + i] =
              sy < 0 || sz < 0
                  ? -1
                  : (n * g_.dim[0].input + sz) * g_.dim[1].input + sy;
        }
      }
      cache.Find(
          source_row, chunk.rows * rows, slot, [&](int64_t from, int64_t to) {
            const int64_t start = std::max<int64_t>(span.first, 0);
            const int64_t pixels = std::min(span.end, g_.dim[2].input) - start;
            if (pixels <= 0) return;
            const int64_t planes = g_.dim[0].input * g_.dim[1].input;
            for (int64_t i = 0; i < units; ++i) {
              const int64_t block = GetUnit(SetUnit(set) + i).block;
              kernels_.pack(
                  form_.Map(x_steps_, block, pixels, chunk.channels,
                            chunk.channels * x_lanes),
                  input + from / planes * x_steps_.batch +
                      (from % planes * g_.dim[2].input + start) *
                          x_steps_.pixel +
                      block * form_.groups_per_block * x_steps_.group +
                      chunk.first_channel * x_steps_.channel,
                  x + (to * units + i) * x_row_size +
                      (start - span.first) * chunk.channels * x_lanes);
            }
          });
      if (prefetch_) {
        const int64_t x_row = g_.dim[2].input * x_steps_.pixel;
        const int64_t last =
            *std::max_element(source_row, source_row + chunk.rows * rows);
        next_x.Start(input + (last + 1) * x_row,
                     rows * g_.dim[1].stride * x_row * sizeof(T));
        const int64_t w_row = g_.dim[2].output * w_steps_.pixel;
        next_w.Start(gradient + next_row * w_row, rows * w_row * sizeof(T));
      }
      int64_t vectors_done = 0;
      for (int64_t j = 0; j < rows; ++j) {
        for (int64_t i = 0; i < units; ++i) {
          const Unit unit = GetUnit(SetUnit(set) + i);
          kernels_.pack(
              form_.Map(w_steps_, unit.block, count, unit.channels, part_size),
              gradient + n * w_steps_.batch +
                  ((z * height + y + j) * g_.dim[2].output + begin) *
                      w_steps_.pixel +
                  unit.block * form_.groups_per_block * w_steps_.group +
                  unit.first_channel * w_steps_.channel,
              w + (j * units + i) * w_row_size);
        }
      }
      for (int64_t i = 0; i < units; ++i) {
        for (int64_t r = 0; r < chunk.rows; ++r) {
          const Phase& phase = plan_.phases[0];
          for (int64_t k = phase.first_run; k < phase.end_run; ++k) {
            const struct Run run = Clip(plan_.runs[k], chunk);
            if (run.count <= 0) continue;
            int64_t num_products = 0;
            for (int64_t j = 0; j < rows; ++j) {
              const int64_t from = slot[r * rows + j];
              if (from < 0) continue;
              products[num_products++] = {
                  x + (from * units + i) * x_row_size +
                      (run.x + begin * plan_.x_step - span.first) *
                          chunk.channels * x_lanes,
                  w + (j * units + i) * w_row_size, count};
            }
            S* const run_sums =
                sums + i * UnitSize() +
                (r * chunk.taps + run.tap) * chunk.channels * part_size;
            const int64_t vectors = CeilDiv(GetUnit(SetUnit(set) + i).channels,
                                            form_.channels_per_vector);
            ForPieces(vectors, kMaxVectors, [&](int64_t v, int64_t num_v) {
              ForPieces(
                  run.count * chunk.channels, kernels_.max_rows[num_v - 1],
                  [&](int64_t u, int64_t num_u) {
                    Tile<S> tile;
                    tile.products = products;
                    tile.num_products = num_products;
                    tile.x_row = x_lanes;
                    tile.x_offset = u * tile.x_row;
                    tile.x_depth = plan_.x_step * chunk.channels * x_lanes;
                    tile.w_offset = v * lanes;
                    tile.w_depth = part_size;
                    tile.sum = run_sums + u * part_size + v * lanes;
                    tile.sum_row = part_size;
                    tile.accumulate = true;
                    vectors_done += num_u * num_v;
                    next_x.FetchUntil(vectors_done, row_vectors);
                    next_w.FetchUntil(vectors_done, row_vectors);
                    kernels_.multiply[form_.operand][num_v - 1][num_u - 1](
                        tile);
                  });
            });
          }
        }
      }
    }
  }
}

template <typename T>
void FilterGradientPass<T>::StoreSet(int64_t set, const S* sums,
                                     T* filter) const {
  const Chunk chunk = SetChunk(set);
  const Steps steps = {0, g_.output_channels, channels_, 1};
  const int64_t part_size = part_vectors_ * form_.lanes;
  for (int64_t i = 0; i < SetUnits(set); ++i) {
    const Unit unit = GetUnit(SetUnit(set) + i);
    for (int64_t r = 0; r < chunk.rows; ++r) {
      for (int64_t t = 0; t < chunk.taps; ++t) {
        const int64_t tap =
            (chunk.first_row + r) * plan_.num_taps + chunk.first_tap + t;
        kernels_.unpack(
            form_.Map(steps, unit.block, chunk.channels, unit.channels,
                      part_size),
            sums + i * UnitSize() +
                (r * chunk.taps + t) * chunk.channels * part_size,
            {},
            filter + (tap * depth_ + chunk.first_channel) * g_.output_channels +
                unit.block * form_.groups_per_block * steps.group +
                unit.first_channel);
      }
    }
  }
}

}  // namespace

template <typename T>
Result Forward(const ConvGeometry& geometry, const T* input, const T* filter,
               const Epilogue<T>& epilogue, T* output, TaskRunner* runner) {
  if (geometry.output_size() == 0) return Result::kOk;
  return Correlation<T>(geometry, false)
      .Run(input, filter, epilogue, output, runner);
}

template <typename T>
Result InputGradient(const ConvGeometry& geometry, const T* filter,
                     const T* output_backprop, T* input_backprop,
                     TaskRunner* runner) {
  if (geometry.input_size() == 0) return Result::kOk;
  return Correlation<T>(geometry, true)
      .Run(output_backprop, filter, {}, input_backprop, runner);
}

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
  template Result Forward<T>(const ConvGeometry&, const T*, const T*,        \
                             const Epilogue<T>&, T*, TaskRunner*);           \
  template Result InputGradient<T>(const ConvGeometry&, const T*, const T*,  \
                                   T*, TaskRunner*);                         \
  template Result FilterGradient<T>(const ConvGeometry&, const T*, const T*, \
                                    T*, TaskRunner*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Half)
INSTANTIATE(BFloat16)
INSTANTIATE(int32_t)
#undef INSTANTIATE

}  // namespace grouped_conv
