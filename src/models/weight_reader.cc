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

}  // namespace

Bytes WeightReader::staging_bytes(const WeightLayout& layout) {
  return StreamReader::staging_bytes(layout.largest_chunk(), kSlots);
}

WeightReader::WeightReader(const ModelFile& file, const WeightLayout& layout,
                           std::vector<const WeightPlacement*> weights, IoBackend& io, std::span<std::byte> staging)
    : weights_(std::move(weights)),
      reader_(io, staging, {.slot_bytes = StreamReader::slot_bytes(layout.largest_chunk())}) {
  for (const auto& path : file.files()) files_.push_back(File::open_read(path));
  for (const WeightPlacement* weight : weights_) {
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
  WeightRows chunk{&weight, row_, rows_of_chunk(weight, row_), {}};
  chunk.bytes =
      with_context([&] { return fmt::format("tensor '{}'", weight.source->name); }, [&] { return reader_.next(stop); });
  row_ += chunk.rows;
  if (row_ == weight.file_rows()) ++weight_, row_ = 0;
  return chunk;
}

}  // namespace jericho
