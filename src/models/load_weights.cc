// From the file's rows to the arena: chunks come in file order (weight_reader.h), and each is turned into what the
// model multiplies with while the next is on its way. Start at ModelWeights::load(); see weights.h.
#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"
#include "kernels/file_rows.h"
#include "models/matrix_packer.h"
#include "models/stored_form.h"
#include "models/weight_reader.h"
#include "models/weight_stream.h"
#include "models/weights.h"

namespace jericho {
namespace {

Bytes room_bytes(const WeightLayout& layout) {
  LargestStripRoom largest;
  for (const WeightPlacement& p : layout.placements()) largest.add(p);
  return largest.bytes();
}

Bytes rooms_bytes(const WeightLayout& layout, int threads) { return round_up(room_bytes(layout) * threads, 4096_B); }

Bytes turned_bytes(const WeightLayout& layout) {
  Bytes most{};
  for (const WeightPlacement& p : layout.placements()) most = std::max(most, p.turned_bytes());
  return round_up(most, 4096_B);
}

// Values [first, first + rows) of a weight that is kept as fp32.
void copy_values(const FileRowKernels& kernels, const WeightPlacement& p, std::span<const std::byte> chunk, Index first,
                 Index rows, std::span<float> row_values, float* to) {
  const Index cols = p.spec.cols;
  for (Index r = 0; r < rows; ++r) {
    kernels.dequantize_file_row(p.source->dtype, cols, chunk.data() + r * p.file_row().count, row_values.data());
    restore_values(p.form.values, row_values.first(static_cast<std::size_t>(cols)));
    float* row = to + (first + r) * cols;
    for (Index c = 0; c < cols; ++c) {
      row[c] = row_values[static_cast<std::size_t>(p.spec.rows == 1 ? file_row_of(p.form.pairs, c) : c)];
    }
  }
}

}  // namespace

Bytes ModelWeights::staging_bytes(const WeightLayout& layout, int threads) {
  return WeightReader::staging_bytes(layout) + turned_bytes(layout) + rooms_bytes(layout, threads);
}

namespace {

struct Destination {
  const WeightPlacement* weight = nullptr;
  std::byte* to = nullptr;
};

void read_weights(const Context& context, const WeightLayout& layout, const ModelFile& file,
                  std::vector<Destination> destinations, IoBackend& io, std::span<std::byte> staging,
                  const std::stop_token& stop, const std::function<void(Bytes done)>& progress) {
  std::sort(destinations.begin(), destinations.end(), [](const Destination& a, const Destination& b) {
    return std::pair(a.weight->source->file, a.weight->file_offset()) <
           std::pair(b.weight->source->file, b.weight->file_offset());
  });
  std::vector<const WeightPlacement*> in_file_order;
  for (const Destination& destination : destinations) in_file_order.push_back(destination.weight);
  const auto rooms = staging.first(rooms_bytes(layout, context.pool.threads()).size());
  const auto turned = staging.subspan(rooms.size(), turned_bytes(layout).size());
  const Bytes room = room_bytes(layout);
  const CpuPath path = context.kernels.path;
  WeightReader reader(file, layout, std::move(in_file_order), io, staging.subspan(rooms.size() + turned.size()));
  Bytes done{};
  auto destination = destinations.begin();
  while (const std::optional<WeightRows> chunk = reader.next(stop)) {
    const WeightPlacement& p = *chunk->weight;
    while (destination->weight != &p) ++destination;
    std::byte* const to = destination->to;
    if (p.spec.is_matrix()) {
      const Index first = p.form.transposed ? 0 : chunk->first;
      const Index rows = p.form.transposed ? p.spec.rows : chunk->rows;
      const MatrixPacker packer(path, &context.pool, p, rooms, room, to);
      if (p.turns_values()) {
        packer.pack_turned(*chunk, reinterpret_cast<float*>(turned.data()));
      } else if (chunk->decoder != nullptr) {
        packer.pack_decoded(*chunk->decoder);
      } else {
        packer.pack(chunk->bytes, first, rows);
      }
    } else {
      copy_values(file_row_kernels_for(path), p, chunk->bytes, chunk->first, chunk->rows,
                  {reinterpret_cast<float*>(rooms.data()), rooms.size() / 4}, reinterpret_cast<float*>(to));
    }
    done += chunk->stored_bytes;
    progress(done);
  }
}

}  // namespace

ModelWeights ModelWeights::load(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                                const ModelFile& file, Arena arena, IoBackend& io, std::span<std::byte> staging,
                                const std::stop_token& stop, const Progress& progress) {
  const WeightResidency all = WeightUnits(config, layout).whole();
  return load(context, config, layout, all, file, std::move(arena), io, staging, stop, progress);
}

ModelWeights ModelWeights::load(const Context& context, const ModelConfig& config, const WeightLayout& layout,
                                const WeightResidency& residency, const ModelFile& file, Arena arena, IoBackend& io,
                                std::span<std::byte> staging, const std::stop_token& stop, const Progress& progress) {
  JERICHO_CHECK(arena.size() >= residency.resident, "an arena of {} for weights of {}", arena.size().count,
                residency.resident.count);
  ModelWeights weights(std::move(arena));
  std::vector<WeightView> views;
  visit_weights(config, weights.views_, [&](const WeightSpec&, const WeightView& view) {
    set_view(view, layout.placements()[views.size()], nullptr);
    views.push_back(view);
  });
  const WeightUnits units(config, layout);
  std::vector<Destination> destinations;
  for (const WeightUnits::Resident& resident : units.residents(residency)) {
    std::byte* const to = weights.arena_.bytes().data() + resident.offset.count;
    destinations.push_back({resident.weight, to});
    if (!resident.piece) set_view(views[resident.placement], *resident.weight, to);
  }
  read_weights(context, layout, file, std::move(destinations), io, staging, stop, [&](Bytes done) {
    if (progress) progress(done, residency.loaded);
  });
  if (config.tie_word_embeddings) weights.views_.head = weights.views_.embedding;
  return weights;
}

void ModelWeights::stream(const ModelConfig& config, const WeightLayout& layout, const WeightResidency& residency,
                          const ModelFile& file, Arena ring, Arena expert_slots, const MakeIo& make_io, CpuPath path) {
  std::vector<PackedMatrix*> matrices;
  visit_weights(config, views_, [&](const WeightSpec&, const WeightView& view) {
    auto* const* matrix = std::get_if<PackedMatrix*>(&view);
    matrices.push_back(matrix != nullptr ? *matrix : nullptr);
  });
  stream_ = std::make_unique<WeightStream>(config, layout, file, residency, std::move(matrices), std::move(ring),
                                           std::move(expert_slots), make_io, path);
  for (const WeightUnits::Resident& resident : stream_->units().residents(residency)) {
    if (resident.piece) stream_->set_head(*resident.piece, arena_.bytes().data() + resident.offset.count);
  }
}

Bytes ModelWeights::give_back(Bytes wanted) { return stream_ ? stream_->give_back(wanted) : Bytes{}; }

std::optional<ExpertCounts> ModelWeights::expert_counts() const {
  if (!stream_ || stream_->experts() == nullptr) return std::nullopt;
  return stream_->experts()->counts();
}

}  // namespace jericho
