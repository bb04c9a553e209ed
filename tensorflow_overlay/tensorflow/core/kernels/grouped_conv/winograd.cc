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

#include "tensorflow/core/kernels/grouped_conv/winograd.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "tensorflow/core/kernels/grouped_conv/pass.h"

namespace grouped_conv {
namespace {

// So many tasks a thread even out what they cost.
constexpr int64_t kTasksPerThread = 4;
// A unit's transformed filter is of so many bytes at most, or has one vector,
constexpr int64_t kUnitFilterBytes = kFilterBytes / 2;
// for which the sum over so many channels and planes still fits that.
constexpr int64_t kMostDepth = 256;
// Of a unit, so many tiles are transformed at once, unless that takes more
// bytes. With fewer, the filter comes from the second level's cache too often.
constexpr int64_t kFewTiles = 14;
constexpr int64_t kMostTiles = 28;
constexpr int64_t kTileBytes = 1 << 18;
// In multiply-adds, as measured: what it costs to transform an element of a
// tile of x or of sums, with what that waits for, and one of the filter.
constexpr double kElementCost = 150;
constexpr double kCopiedElementCost = 225;  // As parts of vectors have 4 lanes.
constexpr double kTapsCost = 300;

int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// The step between positions of so many elements: an odd number of cache lines,
// as those of the same address in a page push each other out of the first
// cache.
int64_t PositionStep(int64_t elements) {
  const int64_t line = kCacheLine / sizeof(float);
  return (CeilDiv(elements, line) | 1) * line;
}

struct Winograd : Pass<float> {
  // Of as few groups as fill vectors, whose channels are together.
  Winograd(const AllKernels& all_kernels, const ConvGeometry& geometry,
           bool backward)
      : Pass<float>(all_kernels, geometry, backward, /*best_vectors=*/0,
                    /*in_place_vectors=*/1, /*in_place_positions=*/1),
        winograd(all_kernels.winograd),
        planes(g.dim[0].filter),
        image_rows(CeilDiv(OutSize(1), int64_t{2})),
        row_tiles(CeilDiv(OutSize(2), int64_t{2})),
        all_rows(g.batch * OutSize(0) * image_rows),
        pixel_size(RoundUp(x_channels * form.groups_per_block(), form.lanes)) {}

  void Divide(int num_threads);
  Result Run(const float* x, const float* filter,
             const Epilogue<float>& epilogue, float* sums, TaskRunner* runner,
             bool* finite);

  int64_t tile_size() const { return planes * pixel_size; }
  // Elements of a unit's transformed filter: in a position, and in all.
  int64_t position_filter() const {
    return PositionStep(planes * x_channels * part_size());
  }
  int64_t unit_filter() const { return kWinogradPositions * position_filter(); }
  // The first pixel of x that position 0 of out multiplies.
  int64_t FirstPixel(const Dimension& dim) const {
    return backward ? dim.pad_before - dim.filter + 1 : -dim.pad_before;
  }
  // How many rows of x so many rows of tiles need, at most.
  int64_t MostSlots(int64_t tile_rows) const {
    const int64_t images = 1 + CeilDiv(tile_rows - 1, image_rows);
    return planes * 2 * (tile_rows + images);
  }
  // Whether groups' channels fill vectors, so that these can be read from and
  // written to the tensor.
  bool Fills(int64_t channels) const {
    return g.layout == Layout::kChannelsLast &&
           (form.log_groups == 0 || (channels % form.channels_per_vector == 0 &&
                                     g.groups % form.groups_per_block() == 0));
  }

  const WinogradKernels& winograd;
  const int64_t planes;      // Of the filter.
  const int64_t image_rows;  // Rows of tiles of one of an image's planes.
  const int64_t row_tiles;
  const int64_t all_rows;    // Rows of tiles, in the batch.
  const int64_t pixel_size;  // Elements of a unit's pixel of x, in vectors.

  bool to_tensor;  // Whether sums do not go through scratch.
  // Of tiles.
  int64_t rows_per_task;
  int64_t chunk_rows;
  int64_t chunk_tiles;  // Of a row.
};

void Winograd::Divide(int num_threads) {
  const int64_t vectors = form.Vectors(out_channels);
  const int64_t vector_bytes =
      kWinogradPositions * planes * x_channels * form.lanes * sizeof(float);
  parts =
      CeilDiv(vectors, std::max<int64_t>(1, kUnitFilterBytes / vector_bytes));
  part_vectors = CeilDiv(vectors, parts);
  units = form.blocks() * parts;
  in_place = Fills(x_channels);

  const int64_t row_step = winograd.row_step;
  const int64_t tile_bytes =
      kWinogradPositions * (tile_size() + part_size()) * sizeof(float);
  const int64_t most_tiles =
      std::max(row_step, std::min(kMostTiles, kTileBytes / tile_bytes));
  chunk_tiles = CeilDiv(row_tiles, CeilDiv(row_tiles, most_tiles));
  chunk_rows = 1;
  for (int64_t n = 2; n <= std::min(all_rows, most_tiles / chunk_tiles); ++n) {
    // Whether more of the tiles are there for which products are computed.
    const int64_t before = RoundUp(chunk_rows * chunk_tiles, row_step);
    const int64_t now = RoundUp(n * chunk_tiles, row_step);
    if (chunk_rows * chunk_tiles < kFewTiles || n * before > chunk_rows * now) {
      chunk_rows = n;
    }
  }
  const int64_t row_bytes =
      in_place ? 0 : (2 * chunk_tiles + 2) * pixel_size * sizeof(float);
  while (chunk_rows > 1 && MostSlots(chunk_rows) * row_bytes > kRowBytes) {
    --chunk_rows;
  }
  slots = MostSlots(chunk_rows);
  x_row_bytes = row_bytes;

  units_per_set = 1;
  if (parts == 1) {
    const int64_t unit_bytes = unit_filter() * sizeof(float);
    units_per_set = std::max<int64_t>(
        1,
        std::min({units, kSharedFilterBytes / unit_bytes,
                  kSharedRowBytes / std::max<int64_t>(slots * row_bytes, 1)}));
    // As equal as can be.
    units_per_set = CeilDiv(units, sets());
  }
  prefetch = in_place && to_tensor && chunk_tiles == row_tiles && parts == 1;
  const int64_t tasks = CeilDiv(num_threads * kTasksPerThread, sets());
  rows_per_task =
      RoundUp(CeilDiv(all_rows, std::min(all_rows, tasks)), chunk_rows);
}

// Computes some rows of tiles of a set of units.
class WinogradTask {
 public:
  WinogradTask(const Winograd& pass, const float* x, const float* filter,
               const Epilogue<float>& epilogue, float* sums, int64_t set,
               int64_t first_row, int64_t content, Scratch* scratch)
      : pass_(pass),
        form_(pass.form),
        x_(x),
        filter_(filter),
        sums_(sums),
        units_(pass.SetUnits(set)),
        first_row_(first_row),
        end_row_(std::min(pass.all_rows, first_row + pass.rows_per_task)),
        u_(scratch->Take<float>(units_ * pass.unit_filter())),
        row_size_(pass.x_row_bytes / sizeof(float)),
        most_tiles_(RoundUp(pass.chunk_rows * pass.chunk_tiles,
                            pass.winograd.row_step)),
        v_step_(PositionStep(most_tiles_ * pass.tile_size())),
        m_step_(PositionStep(most_tiles_ * pass.part_size())),
        v_(scratch->Take<float>(kWinogradPositions * v_step_)),
        // Products of one tile of vectors may replace what they are made of.
        m_(pass.tile_size() == pass.part_size() && pass.part_vectors <= 2
               ? v_
               : scratch->Take<float>(kWinogradPositions * m_step_)),
        rows_(scratch->Take<float>(pass.slots * units_ * row_size_)),
        y_(scratch->Take<float>(
            pass.to_tensor ? 0 : 4 * pass.chunk_tiles * pass.part_size())),
        unit_(scratch->Take<Unit>(units_)),
        tile_rows_(scratch->Take<TileRow>(pass.chunk_rows)),
        source_(scratch->Take<int64_t>(4 * pass.chunk_rows * pass.planes)),
        slot_(scratch->Take<int64_t>(4 * pass.chunk_rows * pass.planes)),
        cache_(pass.slots, scratch),
        packed_(scratch->Has(content)) {
    for (int64_t i = 0; i < units_; ++i) unit_[i] = pass.GetUnit(set, i);
    scratch->Keep(content);  // Which it will be when Run has transformed it.
    epilogue_.scale = PackChannels(epilogue.scale, scratch);
    epilogue_.bias = PackChannels(epilogue.bias, scratch);
    epilogue_.activation = epilogue.activation;
    epilogue_.alpha = epilogue.alpha;
    finish_ = epilogue_.scale != nullptr || epilogue_.bias != nullptr ||
              epilogue_.activation != Activation::kNone;
  }

  // Returns whether all sums were finite.
  bool Run() {
    if (!packed_) TransformFilter();
    std::fill_n(v_, kWinogradPositions * v_step_, 0.0f);
    for (begin_ = 0; begin_ < pass_.row_tiles; begin_ += pass_.chunk_tiles) {
      tiles_ = std::min(pass_.chunk_tiles, pass_.row_tiles - begin_);
      StartColumns();
      for (int64_t row = first_row_; row < end_row_; row += pass_.chunk_rows) {
        const int64_t count = std::min(pass_.chunk_rows, end_row_ - row);
        FindRows(row, count);
        FindNext(count, std::min(pass_.chunk_rows, end_row_ - row - count));
        for (int64_t i = 0; i < units_; ++i) {
          TransformInput(i, count);
          Multiply(i, count);
          if (!TransformOutput(i, count)) return false;
        }
      }
    }
    return true;
  }

 private:
  // Where a row of tiles has its rows of out.
  struct TileRow {
    int64_t first;  // Numbered over the batch.
    int64_t rows;   // 2, or 1 at the end of an image.
    int64_t offset;
  };

  const float* PackChannels(const float* values, Scratch* scratch) const;
  void TransformFilter();
  void StartColumns();
  void FindRows(int64_t row, int64_t count);
  void FindNext(int64_t count, int64_t next);
  void TransformInput(int64_t i, int64_t count);
  void Multiply(int64_t i, int64_t count);
  bool TransformOutput(int64_t i, int64_t count);

  const Winograd& pass_;
  const Form& form_;
  const float* const x_;
  const float* const filter_;
  float* const sums_;
  const int64_t units_;
  const int64_t first_row_;
  const int64_t end_row_;
  float* const u_;
  const int64_t row_size_;
  const int64_t most_tiles_;
  const int64_t v_step_;
  const int64_t m_step_;
  float* const v_;
  float* const m_;
  float* const rows_;
  float* const y_;
  Unit* const unit_;
  TileRow* const tile_rows_;  // Of the chunk, as what follows.
  int64_t* const source_;
  int64_t* const slot_;
  RowCache cache_;
  ScratchEpilogue<float> epilogue_;
  bool finish_;
  bool packed_;

  int64_t begin_;
  int64_t tiles_;
  int64_t pad_;
  int64_t first_;
  int64_t pixels_;
  PixelLines next_[2];  // What the next chunk needs, all units together.
};

const float* WinogradTask::PackChannels(const float* values,
                                        Scratch* scratch) const {
  if (values == nullptr) return nullptr;
  const int64_t size = pass_.part_size();
  float* const result = scratch->Take<float>(units_ * size);
  std::fill_n(result, units_ * size, 0.0f);
  const Steps steps = {0, 0, pass_.out_channels, 1};
  const Unit& unit = unit_[0];
  pass_.kernels.pack(
      form_.Map(steps, unit.block, units_, 1, unit.channels, size, size),
      values + unit.block * form_.groups_per_block() * steps.group +
          unit.first_channel,
      result);
  return result;
}

void WinogradTask::TransformFilter() {
  const ConvGeometry& g = pass_.g;
  const int64_t size = pass_.part_size();
  const Steps steps = {0, pass_.backward ? 1 : g.output_channels,
                       g.output_channels_per_group(),
                       pass_.backward ? g.output_channels : 1};
  const int64_t tap_size = g.input_channels_per_group() * g.output_channels;
  // Some channels' taps at once, where the products will be.
  float* const taps = m_;
  const int64_t most =
      std::min(pass_.x_channels, kWinogradPositions * m_step_ / (9 * size));
  const int64_t tap_step = most * size;
  for (int64_t i = 0; i < units_; ++i) {
    const Unit& unit = unit_[i];
    const float* const from =
        filter_ + unit.block * form_.groups_per_block() * steps.group +
        unit.first_channel * steps.channel;
    std::fill_n(taps, 9 * tap_step, 0.0f);
    for (int64_t plane = 0; plane < pass_.planes; ++plane) {
      for (int64_t c = 0; c < pass_.x_channels; c += most) {
        const int64_t channels = std::min(most, pass_.x_channels - c);
        const Mapping mapping =
            form_.Map(steps, unit.block, 1, channels, unit.channels, size, 0);
        for (int64_t t = 0; t < 9; ++t) {
          const int64_t tap = 9 * plane + (pass_.backward ? 8 - t : t);
          pass_.kernels.pack(mapping, from + tap * tap_size + c * steps.pixel,
                             taps + t * tap_step);
        }
        pass_.winograd.transform_filter(
            channels * size, taps, tap_step,
            u_ + i * pass_.unit_filter() +
                (plane * pass_.x_channels + c) * size,
            pass_.position_filter());
      }
    }
  }
}

void WinogradTask::StartColumns() {
  const int64_t from = 2 * begin_ + pass_.FirstPixel(pass_.g.dim[2]);
  if (pass_.in_place) {
    first_ = from;
    return;
  }
  cache_.Clear();
  first_ = std::max<int64_t>(from, 0);
  pad_ = first_ - from;
  pixels_ = std::min(from + 2 * tiles_ + 2, pass_.XSize(2)) - first_;
  const bool all =
      pixels_ <= 0 || pass_.g.groups % form_.groups_per_block() != 0;
  const int64_t before = all ? 0 : pad_ * pass_.pixel_size;
  const int64_t copied = all ? 0 : pixels_ * pass_.pixel_size;
  float* x = rows_;
  for (int64_t i = 0; i < pass_.slots * units_; ++i, x += row_size_) {
    std::fill_n(x, before, 0.0f);
    std::fill(x + before + copied, x + row_size_, 0.0f);
  }
}

void WinogradTask::FindRows(int64_t row, int64_t count) {
  const ConvGeometry& g = pass_.g;
  int64_t* source = source_;
  for (int64_t r = row; r < row + count; ++r) {
    const int64_t z = r / pass_.image_rows % pass_.OutSize(0);
    const int64_t n = r / pass_.image_rows / pass_.OutSize(0);
    const int64_t out_y = 2 * (r % pass_.image_rows);
    TileRow& tile_row = tile_rows_[r - row];
    tile_row.first = r / pass_.image_rows * pass_.OutSize(1) + out_y;
    tile_row.rows = std::min<int64_t>(2, pass_.OutSize(1) - out_y);
    tile_row.offset =
        pass_.OutOffset(tile_row.first) + 2 * begin_ * pass_.out_steps.pixel;
    const int64_t y = out_y + pass_.FirstPixel(g.dim[1]);
    for (int64_t plane = 0; plane < pass_.planes; ++plane) {
      const int64_t x_z = SourcePosition(g.dim[0], pass_.backward, z, plane);
      for (int64_t x_y = y; x_y < y + 4; ++x_y) {
        const bool there = x_z >= 0 && x_y >= 0 && x_y < pass_.XSize(1);
        *source++ =
            there ? (n * pass_.XSize(0) + x_z) * pass_.XSize(1) + x_y : -1;
      }
    }
  }
  if (pass_.in_place) return;
  const int64_t block = unit_[0].block;
  const Steps& steps = pass_.x_steps;
  const int64_t image_rows = pass_.XSize(0) * pass_.XSize(1);
  cache_.Find(source_, source - source_, slot_, [&](int64_t from, int64_t to) {
    if (pixels_ <= 0) return;
    pass_.kernels.pack(
        form_.Map(steps, block, units_, pixels_, pass_.x_channels,
                  pass_.pixel_size, row_size_),
        x_ + from / image_rows * steps.batch +
            (from % image_rows * pass_.XSize(2) + first_) * steps.pixel +
            block * form_.groups_per_block() * steps.group,
        rows_ + to * units_ * row_size_ + pad_ * pass_.pixel_size);
  });
}

// Finds what the next rows of tiles need that these `count` do not: likely the
// rows of x behind their last one, and their own of out.
void WinogradTask::FindNext(int64_t count, int64_t next) {
  next_[0] = next_[1] = {nullptr, 0, 0, 0};
  if (!pass_.prefetch || next <= 0) return;
  const int64_t groups = unit_[0].block * form_.groups_per_block();
  const auto find = [&](const float* tensor, int64_t row, int64_t end,
                        int64_t width, int64_t channels, const Steps& steps) {
    const int64_t size = sizeof(float);
    const float* const first =
        tensor + row * width * steps.pixel + groups * steps.group;
    return PixelLines{reinterpret_cast<const char*>(first),
                      units_ * form_.groups_per_block() * channels * size,
                      steps.pixel * size,
                      std::min(2 * next, end - row) * width};
  };
  const int64_t last =
      *std::max_element(source_, source_ + 4 * count * pass_.planes);
  next_[0] = find(x_, last + 1, pass_.g.batch * pass_.XSize(0) * pass_.XSize(1),
                  pass_.XSize(2), pass_.x_channels, pass_.x_steps);
  const TileRow& tile_row = tile_rows_[count - 1];
  next_[1] = find(sums_, tile_row.first + tile_row.rows, pass_.rows,
                  pass_.OutSize(2), pass_.out_channels, pass_.out_steps);
}

void WinogradTask::TransformInput(int64_t i, int64_t count) {
  const Steps& steps = pass_.x_steps;
  WinogradInput in;
  in.pixel_step = pass_.pixel_size;
  in.group_step = steps.group;
  in.size = pass_.pixel_size;
  in.pixels = 2 * tiles_ + 2;
  in.first_pixel = 0;
  in.tiles = tiles_;
  in.tile_step = pass_.tile_size();
  in.position_step = v_step_;
  if (pass_.in_place) {
    in.pixel_step = steps.pixel;
    in.size = pass_.x_channels * form_.groups_per_block();
    in.pixels = pass_.XSize(2);
    in.first_pixel = first_;
  }
  const auto transform =
      pass_.winograd.transform_input[pass_.in_place ? form_.log_groups : 0];
  const int64_t unit_offset =
      unit_[i].block * form_.groups_per_block() * steps.group;
  const int64_t* source = source_;
  const int64_t* slot = slot_;
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t plane = 0; plane < pass_.planes; ++plane) {
      for (int64_t j = 0; j < 4; ++j, ++source, ++slot) {
        in.rows[j] =
            *source < 0 ? nullptr
            : pass_.in_place
                ? x_ + *source * pass_.XSize(2) * steps.pixel + unit_offset
                : rows_ + (*slot * units_ + i) * row_size_;
      }
      in.v = v_ + r * tiles_ * pass_.tile_size() + plane * pass_.pixel_size;
      transform(in);
    }
  }
}

void WinogradTask::Multiply(int64_t i, int64_t count) {
  WinogradProducts p;
  p.v = v_;
  p.v_position = v_step_;
  p.v_tile = pass_.tile_size();
  p.v_plane = pass_.pixel_size;
  p.u = u_ + i * pass_.unit_filter();
  p.u_position = pass_.position_filter();
  p.u_depth = pass_.part_size();
  p.m = m_;
  p.m_position = m_step_;
  p.positions = kWinogradPositions;
  p.tiles = count * tiles_;
  p.vectors = pass_.part_vectors;
  p.planes = pass_.planes;
  p.depth = pass_.x_channels;
  // Each unit fetches its part.
  for (int k = 0; k < 2; ++k) {
    PixelLines& lines = p.fetch[k];
    lines = next_[k];
    const int64_t part = CeilDiv(lines.count, units_);
    lines.first += i * part * lines.step;
    lines.count = std::min(part, lines.count - i * part);
  }
  pass_.winograd.multiply[form_.log_groups](p);
}

bool WinogradTask::TransformOutput(int64_t i, int64_t count) {
  const Unit& unit = unit_[i];
  const Steps& steps = pass_.out_steps;
  const int64_t size = pass_.part_size();
  WinogradOutput out;
  out.tile_step = size;
  out.position_step = m_step_;
  out.pixel_step = pass_.to_tensor ? steps.pixel : size;
  out.group_step = steps.group;
  out.size = pass_.to_tensor ? unit.channels * form_.groups_per_block() : size;
  out.pixels = std::min(2 * tiles_, pass_.OutSize(2) - 2 * begin_);
  out.epilogue = pass_.to_tensor && finish_ ? &epilogue_ : nullptr;
  out.epilogue_offset = i * size;
  const auto transform =
      pass_.winograd.transform_output[pass_.to_tensor ? form_.log_groups : 0];
  ScratchEpilogue<float> epilogue = epilogue_;
  if (epilogue.scale != nullptr) epilogue.scale += i * size;
  if (epilogue.bias != nullptr) epilogue.bias += i * size;
  const int64_t tensor_row = pass_.OutSize(2) * steps.pixel;
  const int64_t scratch_row = 2 * pass_.chunk_tiles * size;
  bool finite = true;
  for (int64_t r = 0; r < count; ++r) {
    float* const to = sums_ + tile_rows_[r].offset + unit.offset;
    out.m = m_ + r * tiles_ * size;
    out.rows[0] = pass_.to_tensor ? to : y_;
    out.rows[1] = out.rows[0] + (pass_.to_tensor ? tensor_row : scratch_row);
    if (tile_rows_[r].rows < 2) out.rows[1] = nullptr;
    finite &= transform(out);
    for (int64_t j = 0; j < tile_rows_[r].rows && !pass_.to_tensor; ++j) {
      pass_.kernels.unpack(form_.Map(steps, unit.block, 1, out.pixels,
                                     unit.channels, size, 0, size),
                           out.rows[j], epilogue, to + j * tensor_row);
    }
  }
  return finite;
}

Result Winograd::Run(const float* x, const float* filter,
                     const Epilogue<float>& epilogue, float* sums,
                     TaskRunner* runner, bool* finite) {
  to_tensor = Fills(out_channels) && IsShort(epilogue.activation);
  Divide(runner->num_threads());
  const int64_t set_tasks = CeilDiv(all_rows, rows_per_task);
  const int64_t tasks = sets() * set_tasks;
  const int64_t content = Scratch::NewContents(sets());
  std::atomic<bool> all_finite(true);
  const Result result = RunTasks(
      tasks, TaskCycles(tasks), runner, [&](int64_t i, Scratch* scratch) {
        if (!all_finite) return;
        const int64_t set = i / set_tasks;
        WinogradTask task(*this, x, filter, epilogue, sums, set,
                          i % set_tasks * rows_per_task, content + set,
                          scratch);
        if (!task.Run()) all_finite = false;
      });
  *finite = all_finite;
  return result;
}

}  // namespace

bool UseWinograd(const ConvGeometry& g, bool backward) {
  for (const Dimension* dim : {&g.dim[1], &g.dim[2]}) {
    if (dim->filter != 3 || dim->stride != 1 || dim->dilation != 1) {
      return false;
    }
  }
  const double planes = g.dim[0].filter;
  const double depth = g.input_channels_per_group();
  const double width = g.output_channels_per_group();
  const bool copied = g.input_channels_per_group() % 4 != 0 ||
                      g.output_channels_per_group() % 4 != 0;
  // In scratch a pixel is of whole vectors, and so of 16 elements if of less.
  const double summed = std::max(backward ? width : depth, 16.0);
  if (planes * summed > kMostDepth) return false;
  // Of a group.
  const auto out = [&](int i) {
    return backward ? g.dim[i].input : g.dim[i].output;
  };
  const double images = static_cast<double>(g.batch) * out(0);
  const double sums = images * out(1) * out(2);
  const double tiles =
      images * CeilDiv(out(1), int64_t{2}) * CeilDiv(out(2), int64_t{2});
  const double products = planes * depth * width;
  const double transformed =
      backward ? planes * width + depth : planes * depth + width;
  if (tiles * (kWinogradPositions * products +
               (copied ? kCopiedElementCost : kElementCost) * transformed) +
          kTapsCost * products >=
      sums * g.filter_taps() / planes * products) {
    return false;
  }
  const char* const algorithm = std::getenv("TF_GROUPED_CONV_ALGORITHM");
  return algorithm == nullptr || std::strcmp(algorithm, "direct") != 0;
}

Result CorrelateWinograd(const AllKernels& kernels,
                         const ConvGeometry& geometry, bool backward,
                         const float* x, const float* filter,
                         const Epilogue<float>& epilogue, float* sums,
                         TaskRunner* runner, bool* finite) {
  return Winograd(kernels, geometry, backward)
      .Run(x, filter, epilogue, sums, runner, finite);
}

}  // namespace grouped_conv
