// Weights come in the order of weight_list.h, through the reader and the row converter of conversion: see
// frozen_base.h.
#include "train/frozen_base.h"

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "convert/row_converter.h"
#include "memory/io.h"
#include "models/weight_reader.h"

namespace jericho {
namespace {

// Can rows be copied from the file, so that nothing is rounded again?
DType kept_type(const WeightPlacement& weight) {
  const bool ordered = weight.repacking() != nullptr && weight.repacking()->ordered();
  const bool turned = weight.form.transposed != weight.spec.hugging_face.transposed;
  return ordered || turned ? DType::kF16 : weight.source->dtype;
}

struct Rooms {
  Bytes staging{}, values{}, decoded{}, output{}, scales{};
  [[nodiscard]] Bytes total() const { return staging + values + decoded + output + scales; }
};

}  // namespace

FrozenBase::FrozenBase(const StartModel& start, const TrainingLayout& layout, BaseForm form)
    : start_(start), layout_(layout) {
  const std::vector<WeightPlacement>& weights = start.weights().placements();
  JERICHO_CHECK(weights.size() == layout.model_tensors(), "{} weights for {} tensors", weights.size(),
                layout.model_tensors());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const TrainedTensor& tensor = layout.tensors()[i];
    Place place{.weight = &weights[i]};
    if (tensor.is_matrix()) place.dtype = kept_type(weights[i]);
    place.nf4 = form == BaseForm::kNf4 && tensor.kind == TrainedKind::kProjection && Nf4Weight::fits(tensor.cols);
    place.offset = bytes_;
    place.size =
        place.nf4 ? Nf4Weight::bytes(tensor.rows, tensor.cols) : storage_bytes(place.dtype, tensor.cols) * tensor.rows;
    bytes_ += round_up(place.size, 64_B);
    places_.push_back(place);
  }
  nf4_.resize(places_.size());
}

namespace {

// What reading takes: as conversion's chunks, and of NF4 a chunk of values and the scales of one weight.
Rooms rooms_of(const WeightLayout& layout, const TrainingLayout& tensors, const auto& places, int threads) {
  Rooms rooms{.staging = WeightReader::staging_bytes(layout)};
  ChunkSizes sizes;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const TrainedTensor& tensor = tensors.tensors()[i];
    ChunkSizes own;
    own.add(*places[i].weight, ModelFormat::kHuggingFace, places[i].nf4 ? DType::kF32 : places[i].dtype);
    sizes.room = std::max(sizes.room, own.room);
    sizes.decoded = std::max(sizes.decoded, own.decoded);
    if (!places[i].nf4) continue;
    sizes.output = std::max(sizes.output, own.output);
    rooms.scales = std::max(rooms.scales, round_up(Bytes{4 * Nf4Weight::scales(tensor.rows, tensor.cols)}, 64_B));
  }
  rooms.values = sizes.room * threads;
  rooms.decoded = sizes.decoded;
  rooms.output = sizes.output;
  return rooms;
}

}  // namespace

Bytes FrozenBase::scratch_bytes(int threads) const {
  return rooms_of(start_.weights(), layout_, places_, threads).total();
}

void FrozenBase::read(const Context& context, std::span<std::byte> memory, std::span<std::byte> scratch,
                      const std::stop_token& stop) {
  JERICHO_CHECK(memory.size() >= bytes_.size(), "{} bytes for a base of {}", memory.size(), bytes_.count);
  memory_ = memory;
  const Rooms sizes = rooms_of(start_.weights(), layout_, places_, context.pool.threads());
  const auto take = [&](Bytes size) {
    const std::span<std::byte> piece = scratch.first(size.size());
    scratch = scratch.subspan(size.size());
    return piece;
  };
  const std::span<std::byte> staging = take(sizes.staging);
  const ChunkRooms rooms = {take(sizes.values), take(sizes.decoded)};
  const std::span<std::byte> output = take(sizes.output), scales_room = take(sizes.scales);
  std::vector<const WeightPlacement*> order;
  for (const Place& place : places_) order.push_back(place.weight);
  const auto io = make_io_backend();
  WeightReader reader(start_.file(), start_.weights(), order, *io, staging);
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const Place& place = places_[i];
    const TrainedTensor& tensor = layout_.tensors()[i];
    const std::span<std::byte> own = memory.subspan(place.offset.size(), place.size.size());
    if (!place.nf4) {
      auto left = own;
      const auto next = [&](Bytes size) {
        const std::span<std::byte> piece = left.first(size.size());
        left = left.subspan(size.size());
        return piece;
      };
      convert_weight(context, reader, {*place.weight, ModelFormat::kHuggingFace, place.dtype}, rooms, stop, next,
                     [](std::span<const std::byte>) {});
      continue;
    }
    nf4_[i] = std::make_unique<Nf4Weight>(own, tensor.rows, tensor.cols, context.kernels.path);
    Nf4Weight& nf4 = *nf4_[i];
    const Index blocks = tensor.cols / kNf4Block;
    const std::span<float> scales(reinterpret_cast<float*>(scales_room.data()),
                                  static_cast<std::size_t>(tensor.rows * blocks));
    Index first = 0;
    const auto made = [&](std::span<const std::byte> bytes) {
      const auto* values = reinterpret_cast<const float*>(bytes.data());
      const Index rows = std::ssize(bytes) / 4 / tensor.cols;
      const auto row = [&](Index r, int) {
        nf4.quantize_row(first + r, values + r * tensor.cols, scales.data() + (first + r) * blocks);
      };
      context.pool.run(rows, std::ref(row));
      first += rows;
    };
    convert_weight(
        context, reader, {*place.weight, ModelFormat::kHuggingFace, DType::kF32}, rooms, stop,
        [&](Bytes size) { return output.first(size.size()); }, made);
    nf4.quantize_scales(scales);
  }
}

std::vector<StoredRows> FrozenBase::rows() const {
  std::vector<StoredRows> rows;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const TrainedTensor& tensor = layout_.tensors()[i];
    if (nf4_[i]) {
      rows.push_back(nf4_[i]->rows());
    } else {
      rows.emplace_back(memory_.data() + places_[i].offset.count, places_[i].dtype, tensor.rows, tensor.cols);
    }
  }
  return rows;
}

}  // namespace jericho
