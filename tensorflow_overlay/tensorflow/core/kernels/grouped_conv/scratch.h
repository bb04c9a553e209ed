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

// The memory that tasks copy their operands to, and what keeps track of it.

#ifndef TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SCRATCH_H_
#define TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SCRATCH_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace grouped_conv {

constexpr int64_t kCacheLine = 64;

// A task's scratch memory, by use: a filter (or its sums), rows of x, sums or
// rows of w, and lists of at most kListSize products or rows, with the gaps
// that alignment leaves.
constexpr int64_t kFilterBytes = 1 << 20;
constexpr int64_t kRowBytes = 1 << 19;
constexpr int64_t kSumBytes = 1 << 18;
constexpr int64_t kListBytes = 1 << 18;
constexpr int64_t kListSize = 2048;
constexpr int64_t kScratchBytes =
    kFilterBytes + kRowBytes + kSumBytes + kListBytes;

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

// A task's scratch memory. It is kept for later tasks: fresh pages would cost
// more than what is computed in them. So there is as much as ever ran at once.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Whether there was memory.
  bool ok() const { return block_ != nullptr; }
  // Numbers for what tasks keep in scratch memory, which no others have.
  static int64_t NewContents(int64_t count);
  // Whether the task that had this memory last said that it kept `content`.
  bool Has(int64_t content) const { return content_ == content; }
  // Says so, of the first array that is taken.
  void Keep(int64_t content) { block_->content = content; }
  // An array of `count` elements that starts a cache line. The caller sees to
  // it that all fit kScratchBytes: more ends the process.
  template <typename E>
  E* Take(int64_t count) {
    E* result = reinterpret_cast<E*>(next_);
    next_ += count * sizeof(E);
    next_ += -reinterpret_cast<uintptr_t>(next_) % kCacheLine;
    const char* const end = reinterpret_cast<char*>(block_) + kScratchBytes;
    if (reinterpret_cast<char*>(result + count) > end) std::abort();
    return result;
  }

 private:
  struct Block {
    Block* next;
    int64_t content;
  };
  static Block* free_list_;

  Block* block_;
  int64_t content_;
  char* next_;
};

// Which rows are in scratch. The row that was not asked for the longest makes
// room for a new one.
class RowCache {
 public:
  RowCache(int64_t slots, Scratch* scratch)
      : row_(scratch->Take<int64_t>(slots)),
        used_(scratch->Take<int64_t>(slots)),
        slots_(slots) {
    Clear();
  }
  void Clear() {
    std::fill_n(row_, slots_, -1);
    std::fill_n(used_, slots_, 0);
    time_ = 0;
    last_row_ = -1;
    last_slot_ = 0;
  }
  // Sets slot[i] for all rows[i], calling load(row, slot) for those that are
  // new. A row of -1 has the slot -1.
  template <typename Load>
  void Find(const int64_t* rows, int64_t count, int64_t* slot,
            const Load& load) {
    ++time_;
    // First those that are there, so that they stay.
    for (int64_t i = 0; i < count; ++i) {
      slot[i] = rows[i] < 0 ? -1 : SlotOf(rows[i]);
      if (slot[i] >= 0) used_[slot[i]] = time_;
    }
    for (int64_t i = 0; i < count; ++i) {
      if (rows[i] < 0 || slot[i] >= 0) continue;
      slot[i] = SlotOf(rows[i]);
      if (slot[i] < 0) {
        slot[i] = std::min_element(used_, used_ + slots_) - used_;
        row_[slot[i]] = rows[i];
        last_row_ = std::max(last_row_, rows[i]);
        last_slot_ = slot[i];
        load(rows[i], slot[i]);
      }
      used_[slot[i]] = time_;
    }
  }

 private:
  int64_t SlotOf(int64_t row) {
    if (row > last_row_) return -1;
    // Mostly it is behind that of the row before.
    if (++last_slot_ >= slots_) last_slot_ = 0;
    if (row_[last_slot_] == row) return last_slot_;
    last_slot_ = std::find(row_, row_ + slots_, row) - row_;
    return last_slot_ < slots_ ? last_slot_ : -1;
  }

  int64_t* const row_;
  int64_t* const used_;
  const int64_t slots_;
  int64_t time_;
  int64_t last_row_;   // The largest since Clear.
  int64_t last_slot_;  // The last that was found.
};

// Fetches memory into the cache little by little, while something is computed.
class Prefetcher {
 public:
  // `count` times `bytes`, whose starts are `step` bytes apart.
  void Start(const void* begin, int64_t bytes, int64_t step, int64_t count) {
    if (bytes == step) {
      bytes *= count;
      count = 1;
    }
    run_ = static_cast<const char*>(begin);
    bytes_ = bytes;
    step_ = step;
    all_ = bytes * count;
    done_ = 0;
    offset_ = 0;
  }
  // Goes on until `part` of `whole` is fetched.
  void FetchUntil(int64_t part, int64_t whole) {
    if (done_ >= all_) return;  // Without a division.
    const int64_t end = all_ * part / whole;
    while (done_ < end) {
      __builtin_prefetch(run_ + offset_, 0, 2);
      const int64_t fetched = std::min(kCacheLine, bytes_ - offset_);
      done_ += fetched;
      offset_ += fetched;
      if (offset_ == bytes_ && done_ < all_) {
        offset_ = 0;
        run_ += step_;
      }
    }
  }

 private:
  const char* run_ = nullptr;  // Which is being fetched.
  int64_t offset_ = 0;         // What of it is.
  int64_t bytes_ = 0;
  int64_t step_ = 0;
  int64_t all_ = 0;
  int64_t done_ = 0;
};

}  // namespace grouped_conv

#endif  // TENSORFLOW_CORE_KERNELS_GROUPED_CONV_SCRATCH_H_
