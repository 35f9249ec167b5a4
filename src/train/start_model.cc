// Weights come in the order of weight_list.h, as those of TrainingLayout do, through the reader and the row converter
// that conversion to a directory of fp32 tensors takes.
#include "train/start_model.h"

#include "base/check.h"
#include "convert/row_converter.h"
#include "convert/side_files.h"
#include "memory/io.h"
#include "models/families.h"
#include "models/weight_reader.h"
#include "train/update_weight.h"

namespace jericho {
namespace {

ChunkSizes chunk_sizes(const WeightLayout& layout) {
  ChunkSizes sizes;
  for (const WeightPlacement& weight : layout.placements()) sizes.add(weight, ModelFormat::kHuggingFace, DType::kF32);
  return sizes;
}

}  // namespace

StartModel::StartModel(const std::filesystem::path& model)
    : file_(open_model(model)), config_(read_config(*file_)), layout_(WeightLayout::of_file(config_, *file_)) {
  for (SideFile& side : directory_side_files(*file_, config_, {})) {
    if (side.name == "config.json") {
      words_ = nlohmann::json::parse(side.bytes);
      words_.erase("quantization_config");
      side.bytes = words_.dump(2) + "\n";
    }
    side_files_.push_back(std::move(side));
  }
}

Bytes StartModel::scratch_bytes(int threads) const {
  const ChunkSizes sizes = chunk_sizes(layout_);
  return WeightReader::staging_bytes(layout_) + sizes.room * threads + sizes.decoded + sizes.output;
}

void StartModel::read(const Context& context, const TrainingLayout& layout, std::uint64_t seed,
                      std::span<std::byte> weights, std::span<std::byte> scratch, const std::stop_token& stop) const {
  const ChunkSizes sizes = chunk_sizes(layout_);
  const Bytes staging = WeightReader::staging_bytes(layout_), values = sizes.room * context.pool.threads();
  const ChunkRooms rooms = {scratch.subspan(staging.size(), values.size()),
                            scratch.subspan((staging + values).size(), sizes.decoded.size())};
  const std::span<std::byte> piece = scratch.subspan((staging + values + sizes.decoded).size(), sizes.output.size());
  std::vector<const WeightPlacement*> order;
  for (const WeightPlacement& weight : layout_.placements()) order.push_back(&weight);
  JERICHO_CHECK(order.size() == layout.tensors().size(), "{} weights for {} tensors", order.size(),
                layout.tensors().size());
  const auto io = make_io_backend();
  WeightReader reader(*file_, layout_, order, *io, scratch.first(staging.size()));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const TrainedTensor& tensor = layout.tensors()[i];
    const std::span<std::byte> stored = layout.stored(weights, static_cast<Index>(i));
    const RoundingStream stream = {.key = stream_key(seed, tensor.name)};
    Bytes done{};  // of its values
    const auto into = [&](Bytes size) {
      return tensor.dtype == DType::kF32 ? stored.subspan(done.size(), size.size()) : piece.first(size.size());
    };
    const auto made = [&](std::span<const std::byte> bytes) {
      const Index first = done.count / 4 / tensor.cols, rows = std::ssize(bytes) / 4 / tensor.cols;
      done += Bytes{std::ssize(bytes)};
      if (tensor.dtype == DType::kF32) return;
      round_rows(context, tensor, {reinterpret_cast<const float*>(bytes.data()), rows, tensor.cols}, first, stream,
                 stored.subspan((tensor.row_bytes() * first).size(), (tensor.row_bytes() * rows).size()));
    };
    convert_weight(context, reader, {*order[i], ModelFormat::kHuggingFace, DType::kF32}, rooms, stop, into, made);
  }
}

}  // namespace jericho
