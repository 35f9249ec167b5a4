// Chunks of rows, read ahead: see weight_reader.h.
#include "models/weight_reader.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace jericho {
namespace {

constexpr int kSlots = 2;

Index rows_of_chunk(const WeightPlacement& weight, Index first) {
  return std::min(chunk_rows(weight), weight.file_rows() - first);
}

Bytes parts_bytes(const WeightLayout& layout) { return round_up(layout.largest_parts(), 4096_B); }

struct PartChunk {  // bytes [begin, begin + length) of a stored part
  std::size_t part = 0;
  Bytes begin{};
  Bytes length{};
};
template <class Body>
void for_part_chunks(const Repacking& repacking, Body body) {
  for (std::size_t part = 0; part < repacking.parts().size(); ++part) {
    const Bytes size = repacking.parts()[part].size;
    for (Bytes begin{}; begin < size; begin += kWeightChunk) {
      body(PartChunk{part, begin, std::min(kWeightChunk, size - begin)});
    }
  }
}

}  // namespace

Bytes WeightReader::staging_bytes(const WeightLayout& layout) {
  return parts_bytes(layout) + StreamReader::staging_bytes(layout.largest_chunk(), kSlots);
}

WeightReader::WeightReader(const ModelFile& file, const WeightLayout& layout,
                           std::vector<const WeightPlacement*> weights, IoBackend& io, std::span<std::byte> staging)
    : weights_(std::move(weights)),
      parts_(staging.first(parts_bytes(layout).size())),
      reader_(io, staging.subspan(parts_.size()), {.slot_bytes = StreamReader::slot_bytes(layout.largest_chunk())}) {
  for (const auto& path : file.files()) files_.push_back(File::open_read(path));
  const TensorInfo* before = nullptr;
  for (const WeightPlacement* weight : weights_) {
    if (const Repacking* repacking = weight->repacking()) {
      if (std::exchange(before, weight->source) == weight->source) continue;
      for_part_chunks(*repacking, [&](const PartChunk& chunk) {
        const TensorInfo& part = repacking->parts()[chunk.part];
        reader_.enqueue(files_[static_cast<std::size_t>(part.file)], part.offset + chunk.begin.count, chunk.length);
      });
      continue;
    }
    before = nullptr;
    const Bytes row = weight->file_row();
    for (Index first = 0; first < weight->file_rows(); first += chunk_rows(*weight)) {
      reader_.enqueue(files_[static_cast<std::size_t>(weight->source->file)], weight->file_offset() + first * row.count,
                      row * rows_of_chunk(*weight, first));
    }
  }
}

std::optional<WeightRows> WeightReader::next(const std::stop_token& stop) {
  if (weight_ == weights_.size()) return std::nullopt;
  const WeightPlacement& weight = *weights_[weight_];
  const auto name = [&] { return fmt::format("tensor '{}'", weight.source->name); };
  if (const Repacking* repacking = weight.repacking()) {
    ++weight_;
    const bool is_new = weight.source != decoded_;
    if (is_new) with_context(name, [&] { read_parts(*repacking, stop); });
    decoded_ = weight.source;
    return WeightRows{.weight = &weight,
                      .rows = weight.file_rows(),
                      .decoder = decoder_.get(),
                      .stored_bytes = is_new ? weight.source->size : 0_B};
  }
  decoded_ = nullptr;
  WeightRows chunk{.weight = &weight, .first = row_, .rows = rows_of_chunk(weight, row_)};
  chunk.bytes = with_context(name, [&] { return reader_.next(stop); });
  chunk.stored_bytes = {static_cast<std::int64_t>(chunk.bytes.size())};
  row_ += chunk.rows;
  if (row_ == weight.file_rows()) ++weight_, row_ = 0;
  return chunk;
}

void WeightReader::read_parts(const Repacking& repacking, const std::stop_token& stop) {
  decoder_.reset();
  for_part_chunks(repacking, [&](const PartChunk& at) {
    const std::span<const std::byte> chunk = reader_.next(stop);
    std::copy(chunk.begin(), chunk.end(), parts_.begin() + (repacking.part_offset(at.part) + at.begin).count);
  });
  decoder_ = repacking.decoder(repacking.parts_in(parts_));
}

}  // namespace jericho
