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

// Forward and InputGradient: w is the filter.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

#include "tensorflow/core/kernels/grouped_conv/grouped_conv.h"
#include "tensorflow/core/kernels/grouped_conv/merged_groups.h"
#include "tensorflow/core/kernels/grouped_conv/pass.h"
#include "tensorflow/core/kernels/grouped_conv/winograd.h"

namespace grouped_conv {
namespace {

// So many tasks a thread even out what they cost; more if they need no rows of
// x of their neighbours'.
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kSeparateTasksPerThread = 8;

// What a tile costs is counted in multiply-adds of vectors, which take half a
// cycle: in the time of one, as many vectors are loaded, and so many bytes come
// from the second level's cache; in that of eight, the first one's sum is there
// for the next.
constexpr int64_t kLatency = 8;
constexpr int64_t kCacheBytes = 10;
// With more rows at once, what they need does not stay in that cache.
constexpr int64_t kMostBandRows = 4;
// Pairs need half of it, and tiles are faster.
constexpr int64_t kMostTileBandRows = 8;
// Of larger tensors, what sums overwrite is seldom in a cache, so that a store
// fetches it, for which some processors wait: sums go past the caches then, or
// the next rows' lines are fetched.
constexpr int64_t kMostCachedSumBytes = 1 << 22;
// A tile's sums that do so from scratch are mostly in the first level's cache
// until then.
constexpr int64_t kMostStagedBytes = kFirstCacheFilterBytes;
// Rows of x of units whose sums are in scratch together.
constexpr int64_t kScratchUnitBytes = 1 << 17;
// In cycles: a product of the processor's tiles, and loading one from the first
// and from the second level's cache.
constexpr int64_t kTileCost = 16;
constexpr int64_t kTileLoadCost = 8;
constexpr int64_t kCachedTileCost = 24;
// So many units are multiplied together then.
constexpr int64_t kTileUnits = 4;
// Of units with so few vectors of w, calling the kernel for each costs much.
constexpr int64_t kShortTile = 32;

template <typename T, bool kPairs>
struct Tensors {
  const typename Pass<T, kPairs>::X* x;
  const T* filter;
  const Epilogue<T>& epilogue;
  T* sums;
};

template <typename T, bool kPairs>
struct Correlation : Pass<T, kPairs> {
  // With two vectors, each x that is loaded is used twice.
  Correlation(const AllKernels& kernels, const ConvGeometry& geometry,
              bool backward)
      : Pass<T, kPairs>(
            kernels, geometry, backward, /*best_vectors=*/2,
            /*in_place_vectors=*/1.5, /*in_place_positions=*/4,
            MostLogGroups(kernels),
            /*in_place_as_x=*/!kPairs &&
                kernels.Of<T>().multiply_depthwise[1][0] != nullptr),
        all_kernels(kernels),
        depthwise(!kPairs && this->IsDepthwise() &&
                  this->kernels.multiply_depthwise[0][0] != nullptr) {}

  static int MostLogGroups(const AllKernels& kernels) {
    if (!kPairs) return kMaxLogGroups;
    return kernels.of_pairs->tiles ? 0 : kMaxPairLogGroups;
  }

  void Divide(int num_threads);
  // Of tiles, if `finite` is not null, clears it and ends if a sum is not.
  Result Run(const Tensors<T, kPairs>& tensors, TaskRunner* runner,
             std::atomic<bool>* finite);

  const AllKernels& all_kernels;
  const bool depthwise;  // Whether multiply_depthwise computes it.
  int64_t phases;        // At once.
  int64_t rows_per_task;
  // At once, so that a tile finds most rows of x in the cache that those above
  // it have loaded. They are of one image.
  int64_t band_rows;
  int64_t tile_vectors;
  // Whether the kernel computes all units' tiles of some positions in one call.
  // Their filters must stay in the first level's cache. That takes few calls,
  // and stores neighbouring cache lines of sums one after the other.
  bool units_together;
  // How many units' sums of a row are in scratch at once. Where all go through
  // it, several units' are copied to neighbouring cache lines together.
  int64_t scratch_units;
  // Whether storing sums would be waited for; and whether what they overwrite
  // is fetched then, where they do not go past the caches.
  bool late_sums;
  bool fetch_sums;

 private:
  // What a row's tiles cost if they have at most so many vectors.
  int64_t TilesCost(int64_t most_vectors) const;
  // Rows of x that so many rows of an image need, at most.
  int64_t BandSlots(int64_t rows) const {
    const Dimension& height = this->g.dim[1];
    return this->g.dim[0].filter *
           std::min((rows - 1) * (this->backward ? 1 : height.stride) +
                        (height.filter - 1) * height.dilation + 1,
                    rows * height.filter);
  }
};

template <typename T, bool kPairs>
int64_t Correlation<T, kPairs>::TilesCost(int64_t most_vectors) const {
  const int64_t vector_bytes = this->form.lanes * sizeof(Sum<T>);
  const int64_t filter_bytes = this->unit_size() * sizeof(Sum<T>);
  // Longer rows' tiles are of the largest size mostly.
  const int64_t row = std::min<int64_t>(this->width, 4 * kMaxRows);
  int64_t cost = 0;
  const Pieces parts(this->part_vectors, most_vectors);
  parts.ForEach([&](int64_t, int64_t vectors) {
    const Pieces tiles(row, this->MaxRows(vectors));
    tiles.ForEach([&](int64_t, int64_t rows) {
      const int64_t cached =
          filter_bytes > kFirstCacheBytes ? vectors * vector_bytes : 0;
      if (this->tiles) {
        const int64_t parts = CeilDiv(rows, int64_t{kMaxRows});
        const int64_t w_cost = cached > 0 ? kCachedTileCost : kTileLoadCost;
        cost += std::max(kTileCost * vectors * parts,
                         kTileLoadCost * parts + w_cost * vectors);
        return;
      }
      cost += std::max(
          {vectors * rows, vectors + rows, kLatency, cached / kCacheBytes});
    });
  });
  return cost;
}

template <typename T, bool kPairs>
void Correlation<T, kPairs>::Divide(int num_threads) {
  const int64_t position_bytes = this->part_size() * sizeof(Sum<T>);
  // Sums of one chunk wait in scratch for those of the next.
  const bool waiting = this->chunks.count() > 1;
  const int64_t full_width = this->plan.phase_count;
  phases = this->plan.num_phases;
  if (waiting || !this->SetWidth(true, full_width, position_bytes)) {
    phases = 1;
    this->SetWidth(false, full_width, position_bytes);
  }
  tile_vectors = 1;
  for (int64_t vectors = 2; vectors <= kMaxVectors; ++vectors) {
    const int64_t more = TilesCost(vectors) - TilesCost(tile_vectors);
    // Of tiles, more vectors share x, and wait less for each other.
    if (more < 0 || (this->tiles && more == 0)) tile_vectors = vectors;
  }
  // With a dilation, rows of x in between serve the next rows of sums.
  const Dimension& height = this->g.dim[1];
  const int64_t spread = std::max<int64_t>(
      1, std::min(
             CeilDiv((height.filter - 1) * height.dilation + 1, height.filter),
             this->XSize(1)));
  this->slots = this->chunks.largest().rows;
  const int64_t row_bytes = std::max<int64_t>(this->x_row_bytes, 1);
  if (spread <= std::min(kRowBytes / row_bytes, kListSize) / this->slots) {
    this->slots *= spread;
  }

  const int64_t most_tasks =
      num_threads *
      (this->g.filter_taps() == 1 ? kSeparateTasksPerThread : kTasksPerThread);
  const int64_t filter_bytes = this->unit_size() * sizeof(Sum<T>);
  this->units_per_set = 1;
  if (!waiting && this->parts == 1) {
    // Threads that share a set each pack its filter, which should cost little.
    const bool shareable = num_threads * this->g.filter_size() <
                           this->g.input_size() + this->g.output_size();
    this->units_per_set = std::max<int64_t>(
        1, std::min({shareable ? this->units : CeilDiv(this->units, most_tasks),
                     kSharedFilterBytes / filter_bytes, kListSize,
                     kSharedRowBytes / (this->slots * row_bytes)}));
    // As equal as can be.
    this->units_per_set = CeilDiv(this->units, this->sets());
  }
  band_rows = 1;
  if (!waiting && this->parts == 1 && (this->tiles || this->x_channels == 1) &&
      !this->in_place) {
    // Little is computed with what is loaded, or fast.
    while (band_rows < (this->tiles ? kMostTileBandRows : kMostBandRows) &&
           BandSlots(band_rows + 1) * this->units_per_set * row_bytes <=
               kSharedRowBytes &&
           BandSlots(band_rows + 1) <= kListSize &&
           (band_rows + 1) * this->chunks.largest().rows *
                   this->chunks.largest().taps <=
               kListSize &&
           (band_rows + 1) * this->width * position_bytes <= kSumBytes) {
      ++band_rows;
    }
    this->slots = std::max(this->slots, BandSlots(band_rows));
  }
  const bool short_tiles = this->unit_size() <= kShortTile * this->form.lanes;
  units_together =
      (short_tiles || (this->in_place && this->g.filter_taps() == 1)) &&
      this->units_per_set * filter_bytes <= kFirstCacheFilterBytes;
  scratch_units = 1;
  if (!waiting && !std::is_same<T, Sum<T>>::value) {
    scratch_units = std::max<int64_t>(
        1, std::min({this->units_per_set,
                     kSumBytes / (band_rows * this->width * position_bytes),
                     kScratchUnitBytes / (this->slots * row_bytes)}));
  }
  this->SetPrefetch();
  const int64_t sum_bytes =
      this->rows * this->OutSize(2) * this->out_steps.pixel * sizeof(T);
  late_sums = this->fetch_early && !waiting &&
              this->g.layout == Layout::kChannelsLast &&
              sum_bytes > kMostCachedSumBytes;
  // A row is computed at once, or its lines would not be found in turn.
  fetch_sums = late_sums && this->MayFetch(sum_bytes) &&
               phases == this->plan.num_phases && this->width == full_width;
  const int64_t tasks = CeilDiv(most_tasks, this->sets());
  rows_per_task = CeilDiv(this->rows, std::min(this->rows, tasks));
  if (waiting) {
    rows_per_task =
        std::min(rows_per_task, kSumBytes / (this->width * position_bytes));
  }
}

// Computes some rows of the sums of a set of units.
template <typename T, bool kPairs>
class CorrelationTask {
 public:
  using S = Sum<T>;

  CorrelationTask(const Correlation<T, kPairs>& pass,
                  const Tensors<T, kPairs>& tensors, int64_t set,
                  int64_t first_row, int64_t content, Scratch* scratch)
      : pass_(pass),
        form_(pass.form),
        tensors_(tensors),
        set_(set),
        units_(pass.SetUnits(set)),
        first_row_(first_row),
        rows_(std::min(pass.rows_per_task, pass.rows - first_row)),
        w_(scratch->Take<S>(units_ * pass.unit_size())),
        x_(pass, tensors.x, set, pass.band_rows, scratch),
        most_products_(pass.chunks.largest().rows * pass.chunks.largest().taps),
        products_(scratch->Take<Product<S>>(pass.band_rows * most_products_)),
        num_products_(scratch->Take<int64_t>(pass.band_rows)),
        unit_(scratch->Take<Unit>(units_)),
        pieces_(pass.form.Vectors(pass.GetUnit(set, 0).channels),
                pass.tile_vectors) {
    for (int64_t i = 0; i < units_; ++i) unit_[i] = pass.GetUnit(set, i);
    packed_ = scratch->Has(content);
    // Which it will be when Run has packed it.
    if (pass.chunks.count() == 1) scratch->Keep(content);
    epilogue_.scale = PackChannels(tensors.epilogue.scale, scratch);
    epilogue_.bias = PackChannels(tensors.epilogue.bias, scratch);
    epilogue_.activation = tensors.epilogue.activation;
    epilogue_.alpha = tensors.epilogue.alpha;
    finish_ = epilogue_.scale != nullptr || epilogue_.bias != nullptr ||
              epilogue_.activation != Activation::kNone;
    filled_ = pass.g.groups % form_.groups_per_block() == 0 &&
              pass.out_channels % form_.channels_per_vector == 0 &&
              pass.parts == 1 && pass.x_channels > 0;
    // Whether a tile of several groups has all their vectors, of neighbours.
    const bool whole = form_.log_groups == 0 ||
                       (pieces_.pieces == 1 &&
                        pass.out_channels <= 2 * form_.channels_per_vector);
    // Whether sums are rounded in registers.
    const bool rounded = pass.depthwise || (kPairs && !pass.tiles && whole);
    const bool direct =
        (std::is_same<T, S>::value || rounded) && pass.out_steps.channel == 1 &&
        (form_.log_groups == 0 ||
         pass.out_channels % form_.channels_per_vector == 0) &&
        pass.chunks.count() == 1 &&
        (!finish_ ||
         (std::is_same<S, float>::value && IsShort(epilogue_.activation)));
    // The last block may have fewer groups.
    direct_units_ =
        direct ? std::min(units_, (form_.groups / form_.groups_per_block() -
                                   unit_[0].block) *
                                      pass.parts)
               : 0;
    streamed_ = direct && whole && MayStream();
    staged_ = !streamed_ && MayStage();
    sums_ = scratch->Take<S>(
        staged_ ? CeilDiv(StagedBytes(), int64_t{sizeof(S)})
                : (pass.chunks.count() > 1 ? rows_ : pass.band_rows) *
                      pass.scratch_units * pass.width * pass.part_size());
  }

  ~CorrelationTask() {
    if (kPairs) pass_.pair_kernels->release();
    if (streamed_ || staged_) pass_.all_kernels.end_stream();
  }

  // Returns whether all sums were finite, of tiles; others do not ask.
  bool Run() {
    const RowPlan& plan = pass_.plan;
    for (int64_t p = 0; p < plan.num_phases; p += pass_.phases) {
      first_phase_ = p;
      end_phase_ = std::min(p + pass_.phases, plan.num_phases);
      for (begin_ = 0; begin_ < plan.phase_count; begin_ += pass_.width) {
        for (int64_t c = 0; c < pass_.chunks.count(); ++c) {
          chunk_ = pass_.chunks.Get(c);
          accumulate_ = c > 0;
          final_ = c + 1 == pass_.chunks.count();
          if (!packed_) PackFilter();
          packed_ = pass_.chunks.count() == 1;
          x_.Start(chunk_, first_phase_, end_phase_, begin_,
                   begin_ + pass_.width);
          int64_t count;
          for (int64_t row = 0; row < rows_; row += count) {
            const int64_t y = (first_row_ + row) % pass_.OutSize(1);
            count =
                std::min({pass_.band_rows, rows_ - row, pass_.OutSize(1) - y});
            SumRows(row, count);
          }
        }
      }
    }
    return finite_;
  }

 private:
  // Copies one value a channel to scratch, if there are any.
  const S* PackChannels(const T* values, Scratch* scratch) const;
  void PackFilter();
  // Copies the pairs that pixels make which are neighbours in the filter.
  void PackPairs(const Mapping& mapping, const BFloat16* filter, float* w);
  void PackPairs(const Mapping&, const void*, void*) {}
  void SumRows(int64_t row, int64_t count);
  // Has next_sums_ fetch where the sums of at most `count` rows from `row` on
  // go.
  void StartNextSums(int64_t row, int64_t count);
  // Whether vectors of sums that go to the tensor at once are whole cache lines
  // there, and had better go past the caches.
  bool MayStream() const;
  // Whether a tile has all sums of its pixels, which had better be put together
  // in scratch, and go past the caches from there.
  bool MayStage() const;
  int64_t StagedBytes() const {
    return kMaxRows * pass_.out_steps.pixel * sizeof(T);
  }
  // Has a tile's sums go to the tensor.
  static void SetDirect(S* out, Tile<S>* tile) {
    tile->sum = out;
    tile->rounded = nullptr;
  }
  static void SetDirect(BFloat16* out, Tile<float>* tile) {
    tile->sum = nullptr;
    tile->rounded = out;
  }
  static void SetDirect(const void*, void*) {}  // Of other types, none do.
  void MultiplyPairs(const Tile<float>& tile, int64_t vectors, int64_t rows) {
    pass_.pair_kernels->multiply[form_.log_groups][vectors - 1](tile, rows,
                                                                &tiles_);
  }
  static void MultiplyPairs(const Tile<double>&, int64_t, int64_t) {}
  static void MultiplyPairs(const Tile<uint32_t>&, int64_t, int64_t) {}
  bool UnpackPairs(const Mapping& mapping, const float* sums,
                   const ScratchEpilogue<float>& epilogue, BFloat16* out) {
    return pass_.pair_kernels->unpack(mapping, sums, epilogue, out);
  }
  static bool UnpackPairs(const Mapping&, const void*,
                          const ScratchEpilogue<S>&, void*) {
    return true;
  }
  // Copies the sums of `count` positions to the tensor: those of `units` units,
  // of which `unit` is the first, and the i-th.
  void StoreSums(int64_t i, const Unit& unit, int64_t units, int64_t count,
                 const Steps& steps, const S* sums, T* out);

  const Correlation<T, kPairs>& pass_;
  const Form& form_;
  const Tensors<T, kPairs>& tensors_;
  const int64_t set_;
  const int64_t units_;
  const int64_t first_row_;
  const int64_t rows_;
  S* const w_;
  XRows<T, kPairs> x_;
  const int64_t most_products_;  // Of a row.
  Product<S>* const products_;   // Of a band's rows.
  int64_t* const num_products_;
  // Of a band's rows and some units or, until their last chunk, of all rows; or
  // of a tile's pixels, as they will be in the tensor.
  S* sums_;
  Unit* const unit_;
  // Of a unit's vectors. If there are several units, they have all channels.
  const Pieces pieces_;
  ScratchEpilogue<S> epilogue_;
  bool finish_;  // Whether it does anything.
  Prefetcher next_sums_;
  bool packed_;  // Whether w_ is the filter already.
  bool filled_;  // Whether all lanes have a channel of a group.
  // The first ones, whose sums do not wait in scratch for a row's others.
  int64_t direct_units_;
  bool streamed_;  // Whether these go past the caches from registers,
  bool staged_;    // or tile by tile from sums_.

  int64_t tiles_ = 0;  // How the processor's are set up.
  bool finite_ = true;
  int64_t first_phase_;
  int64_t end_phase_;
  int64_t begin_;  // The first position.
  Chunk chunk_;
  bool accumulate_;  // Whether there were chunks before.
  bool final_;       // Whether there is none behind.
};

template <typename T, bool kPairs>
const Sum<T>* CorrelationTask<T, kPairs>::PackChannels(const T* values,
                                                       Scratch* scratch) const {
  if (values == nullptr) return nullptr;
  const int64_t size = pass_.part_size();
  S* result = scratch->Take<S>(units_ * size);
  std::memset(result, 0, units_ * size * sizeof(S));
  const Steps steps = {0, 0, pass_.out_channels, 1};
  const Unit unit = pass_.GetUnit(set_, 0);
  pass_.kernels.pack(
      form_.Map(steps, unit.block, units_, 1, unit.channels, size, size),
      values + unit.block * form_.groups_per_block() * steps.group +
          unit.first_channel,
      result);
  return result;
}

// In scratch, the filter is [units][rows][taps][channels of x][part].
template <typename T, bool kPairs>
void CorrelationTask<T, kPairs>::PackFilter() {
  const ConvGeometry& g = pass_.g;
  const int64_t channels = std::min(chunk_.channels, pass_.x_channels);
  const int64_t tap_size = chunk_.channels * pass_.part_size();
  // A "pixel" is a channel of x, which is its last dimension backwards.
  const int64_t together = pass_.backward ? pass_.kTogether : 1;
  const int64_t out_channels = g.output_channels / together;
  const Steps steps = {0, pass_.backward ? 1 : out_channels,
                       g.output_channels_per_group() / together,
                       pass_.backward ? out_channels : 1};
  if (!filled_) std::memset(w_, 0, units_ * pass_.unit_size() * sizeof(S));
  const Unit unit = pass_.GetUnit(set_, 0);
  const Mapping mapping =
      form_.Map(steps, unit.block, units_, channels, unit.channels,
                pass_.part_size(), pass_.unit_size());
  const int64_t first_channel =
      chunk_.first_channel * pass_.kTogether / together;
  const int64_t offset = unit.block * form_.groups_per_block() * steps.group +
                         first_channel * steps.pixel +
                         unit.first_channel * steps.channel;
  for (int64_t r = 0; r < chunk_.rows; ++r) {
    for (int64_t t = 0; t < chunk_.taps; ++t) {
      const int64_t tap = (chunk_.first_row + r) * pass_.plan.num_taps +
                          pass_.plan.taps[chunk_.first_tap + t];
      const int64_t from =
          tap * g.input_channels_per_group() * out_channels + offset;
      S* const w = w_ + (r * chunk_.taps + t) * tap_size;
      if (kPairs && !pass_.backward) {
        PackPairs(mapping, tensors_.filter + from, w);
      } else {
        const auto filter =
            reinterpret_cast<const typename Pass<T, kPairs>::X*>(
                tensors_.filter);
        pass_.pack_filter(mapping, filter + from, w);
      }
    }
  }
}

template <typename T, bool kPairs>
void CorrelationTask<T, kPairs>::PackPairs(const Mapping& mapping,
                                           const BFloat16* filter, float* w) {
  Mapping pixels = mapping;
  pixels.pixels *= 2;
  pass_.pair_kernels->pair_pixels(pixels, filter, w);
}

template <typename T, bool kPairs>
bool CorrelationTask<T, kPairs>::MayStream() const {
  const int64_t vector_bytes = form_.lanes * sizeof(T);
  return pass_.late_sums && pass_.kernels.streams &&
         pass_.out_channels % form_.channels_per_vector == 0 &&
         pass_.out_steps.pixel % form_.lanes == 0 &&
         reinterpret_cast<uintptr_t>(tensors_.sums) % vector_bytes == 0;
}

template <typename T, bool kPairs>
bool CorrelationTask<T, kPairs>::MayStage() const {
  return pass_.late_sums && pass_.all_kernels.stream != nullptr &&
         pass_.units_together && direct_units_ == pass_.units &&
         pieces_.pieces == 1 && pass_.plan.out_step == 1 &&
         StagedBytes() <= kMostStagedBytes;
}

template <typename T, bool kPairs>
void CorrelationTask<T, kPairs>::StartNextSums(int64_t row, int64_t count) {
  next_sums_ = Prefetcher();
  if (!pass_.fetch_sums || streamed_ || staged_ || row >= rows_) return;
  const Unit& unit = unit_[0];
  const int64_t channels =
      pass_.parts == 1
          ? pass_.SetGroups(unit.block, units_) * pass_.out_channels
          : unit.channels;
  next_sums_.Start(
      tensors_.sums + pass_.OutOffset(first_row_ + row) + unit.offset,
      channels * sizeof(T), pass_.out_steps.pixel * sizeof(T),
      std::min(count, rows_ - row) * pass_.OutSize(2));
}

template <typename T, bool kPairs>
void CorrelationTask<T, kPairs>::SumRows(int64_t row, int64_t num_rows) {
  x_.Load(first_row_ + row, num_rows);
  StartNextSums(row + num_rows, num_rows);
  int64_t vectors_done = 0;
  const int64_t row_vectors =
      num_rows * units_ * pass_.part_vectors * pass_.OutSize(2);
  const int64_t tap_size = chunk_.channels * pass_.part_size();
  T* const out_row = tensors_.sums + pass_.OutOffset(first_row_ + row);
  // A row of a phase's positions.
  Steps steps = pass_.out_steps;
  steps.pixel *= pass_.plan.out_step;

  const int64_t out_row_step = pass_.OutSize(2) * pass_.out_steps.pixel;

  Tile<S> tile;
  tile.x_row = pass_.plan.x_step * x_.pixel_step();
  // A product's columns are channels, or taps.
  tile.x_depth =
      pass_.x_channels == 1 ? x_.pixel_step() : form_.groups_per_block();
  tile.w_depth = pass_.part_size();
  tile.accumulate = accumulate_;
  tile.x_unit = x_.unit_step();
  tile.w_unit = pass_.unit_size();
  for (int64_t p = first_phase_; p < end_phase_; ++p) {
    const Phase& phase = pass_.plan.phases[p];
    const int64_t count = std::min(pass_.width, phase.count - begin_);
    if (count <= 0) continue;
    // Those of the first unit; others' are as far apart as their x and w.
    for (int64_t y = 0; y < num_rows; ++y) {
      Product<S>* const products = products_ + y * most_products_;
      int64_t count = 0;
      for (int64_t r = 0; r < chunk_.rows; ++r) {
        for (int64_t k = phase.first_run; k < phase.end_run; ++k) {
          const grouped_conv::Run run = Clip(pass_.plan.runs[k], chunk_);
          if (run.count <= 0) continue;
          const S* x = x_.Find(0, r, y, run);
          if (x == nullptr) break;
          products[count++] = {x, w_ + (r * chunk_.taps + run.tap) * tap_size,
                               run.count * chunk_.channels};
        }
      }
      num_products_[y] = count;
    }
    const auto& multiply_neighbours =
        pass_.kernels.multiply_neighbours[form_.log_groups];
    const bool neighbours = !kPairs && pieces_.count == 1 &&
                            pieces_.larger == 0 && pass_.x_channels == 1 &&
                            tile.x_row == tile.x_depth &&
                            multiply_neighbours[0] != nullptr;
    const auto& multiply_depthwise =
        pass_.kernels.multiply_depthwise[pass_.in_place];
    // Tiles of the larger pieces of vectors, and of the others.
    const auto max_rows = [&](int64_t vectors) -> int64_t {
      if (neighbours) return pass_.kernels.max_neighbour_rows;
      const int64_t most = kMaxVectors;
      return pass_.MaxRows(std::max<int64_t>(1, std::min(vectors, most)));
    };
    const Pieces larger(count, max_rows(pieces_.count + 1));
    const Pieces others(count, max_rows(pieces_.count));
    T* const first_out =
        out_row + phase.first * pass_.out_steps.pixel + begin_ * steps.pixel;
    for (int64_t i = 0; i < units_; i += tile.units) {
      const Unit& unit = unit_[i];
      T* const out = first_out + unit.offset;
      const bool direct = i < direct_units_;
      S* sums = sums_;  // If they are not direct.
      int64_t sums_row_step =
          pass_.scratch_units * pass_.width * pass_.part_size();
      int64_t channel_step = form_.groups_per_block();
      tile.sum_row = pass_.part_size();
      tile.group_step = 0;
      tile.epilogue = direct && finish_ ? &epilogue_ : nullptr;
      tile.streamed = direct && streamed_;
      tile.units = std::min(pass_.scratch_units, units_ - i);
      tile.sum_unit = pass_.width * tile.sum_row;
      if (direct) {
        sums_row_step = out_row_step;
        channel_step = 1;
        tile.sum_row = steps.pixel;
        if (form_.groups_per_block() > 1) tile.group_step = steps.group;
        tile.units = pass_.units_together ? direct_units_ - i : 1;
        tile.sum_unit = form_.groups_per_block() * pass_.out_steps.group;
      } else if (pass_.chunks.count() > 1) {
        sums += row * sums_row_step;
      }
      const auto sum_tile = [&](int64_t v, int64_t num_v, int64_t j,
                                int64_t num_j) {
        tile.x_offset = i * tile.x_unit + j * tile.x_row;
        tile.w_offset = i * tile.w_unit + v * form_.lanes;
        tile.epilogue_offset = i * pass_.part_size() + v * form_.lanes;
        const int64_t sum_offset =
            j * tile.sum_row + v * form_.channels_per_vector * channel_step;
        const int64_t missing =
            (v + num_v) * form_.channels_per_vector - unit.channels;
        tile.last_lanes = direct && missing > 0 ? form_.lanes - missing : 0;
        // Of tiles, some units' w stay in the first level's cache for all rows.
        const int64_t units = tile.units;
        const int64_t x_offset = tile.x_offset;
        const int64_t w_offset = tile.w_offset;
        for (int64_t u = 0; u < units; u += tile.units) {
          tile.units = pass_.tiles ? std::min(kTileUnits, units - u) : units;
          tile.x_offset = x_offset + u * tile.x_unit;
          tile.w_offset = w_offset + u * tile.w_unit;
          for (int64_t y = 0; y < num_rows; ++y) {
            const int64_t offset =
                sum_offset + y * sums_row_step + u * tile.sum_unit;
            if (direct) {
              SetDirect(staged_ ? reinterpret_cast<T*>(sums_) : out + offset,
                        &tile);
            } else {
              tile.sum = sums + offset;
              tile.rounded = nullptr;
            }
            tile.products = products_ + y * most_products_;
            tile.num_products = num_products_[y];
            vectors_done += num_v * num_j * tile.units;
            x_.FetchUntil(vectors_done, row_vectors);
            next_sums_.FetchUntil(vectors_done, row_vectors);
            if (kPairs) {
              MultiplyPairs(tile, num_v, num_j);
            } else if (pass_.depthwise && (direct || pass_.in_place)) {
              multiply_depthwise[num_j - 1](tile);
            } else if (neighbours) {
              multiply_neighbours[num_j - 1](tile);
            } else {
              pass_.kernels.multiply[form_.log_groups][num_v - 1][num_j - 1](
                  tile);
            }
            if (staged_) {
              pass_.all_kernels.stream(sums_, num_j * steps.pixel * sizeof(T),
                                       out + offset);
            }
          }
        }
        tile.units = units;
      };
      pieces_.ForEach([&](int64_t v, int64_t num_v) {
        const Pieces& tiles = num_v > pieces_.count ? larger : others;
        tiles.ForEach(
            [&](int64_t j, int64_t num_j) { sum_tile(v, num_v, j, num_j); });
      });
      for (int64_t y = 0; y < num_rows && !direct && final_; ++y) {
        StoreSums(i, unit, tile.units, count, steps, sums + y * sums_row_step,
                  out + y * out_row_step);
      }
    }
  }
}

template <typename T, bool kPairs>
void CorrelationTask<T, kPairs>::StoreSums(int64_t i, const Unit& unit,
                                           int64_t units, int64_t count,
                                           const Steps& steps, const S* sums,
                                           T* out) {
  ScratchEpilogue<S> epilogue = epilogue_;
  const int64_t size = pass_.part_size();
  if (epilogue.scale != nullptr) epilogue.scale += i * size;
  if (epilogue.bias != nullptr) epilogue.bias += i * size;
  const Mapping mapping =
      form_.Map(steps, unit.block, units, count, unit.channels, size,
                pass_.width * size, size);
  if (pass_.tiles && IsShort(epilogue.activation)) {
    if (!UnpackPairs(mapping, sums, epilogue, out)) finite_ = false;
  } else {
    pass_.kernels.unpack(mapping, sums, epilogue, out);
  }
}

template <typename T, bool kPairs>
Result Correlation<T, kPairs>::Run(const Tensors<T, kPairs>& tensors,
                                   TaskRunner* runner,
                                   std::atomic<bool>* finite) {
  if (!this->DivideFilter()) return Result::kOutOfMemory;
  Divide(runner->num_threads());
  // Tasks of the same set follow each other, as those of a thread find the
  // filter packed.
  const int64_t set_tasks = CeilDiv(this->rows, rows_per_task);
  const int64_t tasks = this->sets() * set_tasks;
  const int64_t content = Scratch::NewContents(this->sets());
  return RunTasks(
      tasks, this->TaskCycles(tasks), runner, [&](int64_t i, Scratch* scratch) {
        if (finite != nullptr && !*finite) return;
        const int64_t set = i / set_tasks;
        CorrelationTask<T, kPairs> now(*this, tensors, set,
                                       i % set_tasks * rows_per_task,
                                       content + set, scratch);
        if (!now.Run() && finite != nullptr) *finite = false;
      });
}

// Whether pairs were summed, or there was no memory.
template <typename T>
constexpr bool DoneInPairs(const AllKernels&, const ConvGeometry&, bool,
                           const T*, const T*, const Epilogue<T>&, T*,
                           TaskRunner*, Result*) {
  return false;
}
bool DoneInPairs(const AllKernels& kernels, const ConvGeometry& geometry,
                 bool backward, const BFloat16* x, const BFloat16* filter,
                 const Epilogue<BFloat16>& epilogue, BFloat16* sums,
                 TaskRunner* runner, Result* result) {
  if (!MayPair(kernels, geometry, x)) return false;
  // What checks that sums are finite has no others.
  const int64_t merged = kernels.of_pairs->tiles && IsShort(epilogue.activation)
                             ? MergedGroups(geometry, backward)
                             : 1;
  const ConvGeometry g = WithMergedGroups(geometry, merged);
  const int64_t channels =
      backward ? g.output_channels_per_group() : g.input_channels_per_group();
  if (channels % 2 != 0 || channels < kernels.of_pairs->fewest_channels) {
    return false;
  }
  Array<BFloat16> merged_filter;
  if (merged > 1) {
    merged_filter = AllocateArray<BFloat16>(g.filter_size());
    if (!merged_filter) {
      *result = Result::kOutOfMemory;
      return true;
    }
    MergeFilter(geometry, merged, filter, merged_filter.get(), runner);
    filter = merged_filter.get();
  }
  if (reinterpret_cast<uintptr_t>(filter) % alignof(float) != 0) return false;
  std::atomic<bool> finite(true);
  *result =
      Correlation<BFloat16, true>(kernels, g, backward)
          .Run({reinterpret_cast<const float*>(x), filter, epilogue, sums},
               runner, merged == 1 ? nullptr : &finite);
  // Infinite numbers times the zeros between groups would be sums of others.
  return *result != Result::kOk || finite;
}

// Whether Winograd's algorithm computed the sums, or there was no memory.
template <typename T>
constexpr bool DoneByWinograd(const AllKernels&, const ConvGeometry&, bool,
                              const T*, const T*, const Epilogue<T>&, T*,
                              TaskRunner*, Result*) {
  return false;
}
bool DoneByWinograd(const AllKernels& kernels, const ConvGeometry& g,
                    bool backward, const float* x, const float* filter,
                    const Epilogue<float>& epilogue, float* sums,
                    TaskRunner* runner, Result* result) {
  if (!UseWinograd(g, backward)) return false;
  bool finite;
  *result = CorrelateWinograd(kernels, g, backward, x, filter, epilogue, sums,
                              runner, &finite);
  return *result != Result::kOk || finite;
}

template <typename T>
Result Correlate(const ConvGeometry& geometry, bool backward, const T* x,
                 const T* filter, const Epilogue<T>& epilogue, T* sums,
                 TaskRunner* runner) {
  const AllKernels& kernels = GetKernels();
  Result result = Result::kOk;
  if (DoneByWinograd(kernels, geometry, backward, x, filter, epilogue, sums,
                     runner, &result) ||
      DoneInPairs(kernels, geometry, backward, x, filter, epilogue, sums,
                  runner, &result)) {
    return result;
  }
  return Correlation<T, false>(kernels, geometry, backward)
      .Run({x, filter, epilogue, sums}, runner, /*finite=*/nullptr);
}

}  // namespace

template <typename T>
Result Forward(const ConvGeometry& geometry, const T* input, const T* filter,
               const Epilogue<T>& epilogue, T* output, TaskRunner* runner) {
  if (geometry.output_size() == 0) return Result::kOk;
  ConvGeometry g = WithFullTiles(geometry);
  if (g.input_channels == 0) {
    // There is nothing to sum, however large the empty filter is.
    for (Dimension& dim : g.dim) {
      dim.input = dim.pad_before = 0;
      dim.filter = 1;
    }
  }
  return Correlate(g, /*backward=*/false, input, filter, epilogue, output,
                   runner);
}

template <typename T>
Result InputGradient(const ConvGeometry& geometry, const T* filter,
                     const T* output_backprop, T* input_backprop,
                     TaskRunner* runner) {
  if (geometry.input_size() == 0) return Result::kOk;
  if (geometry.output_size() == 0) {
    std::memset(input_backprop, 0, geometry.input_size() * sizeof(T));
    return Result::kOk;
  }
  return Correlate(WithFullTiles(geometry), /*backward=*/true, output_backprop,
                   filter, Epilogue<T>(), input_backprop, runner);
}

#define INSTANTIATE(T)                                                      \
  template Result Forward<T>(const ConvGeometry&, const T*, const T*,       \
                             const Epilogue<T>&, T*, TaskRunner*);          \
  template Result InputGradient<T>(const ConvGeometry&, const T*, const T*, \
                                   T*, TaskRunner*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Half)
INSTANTIATE(BFloat16)
INSTANTIATE(int32_t)
#undef INSTANTIATE

}  // namespace grouped_conv
