// Which tensor of a file each weight is, and its place in the arena: see weights.h.
#include "models/weights.h"

#include <algorithm>
#include <numeric>
#include <unordered_set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/error.h"
#include "models/weight_stream.h"

namespace jericho {
namespace {

Bytes placed_bytes(const WeightPlacement& p) {
  if (!p.spec.is_matrix()) return round_up(storage_bytes(DType::kF32, p.spec.rows * p.spec.cols), 64_B);
  const Bytes order = p.ordered() ? round_up(storage_bytes(DType::kI32, p.spec.cols), 64_B) : 0_B;
  return packed_bytes(p.dtype, p.spec.rows, p.spec.cols) + order;
}

// Does the tensor hold the part that the weight is? Matrices are compared row by row, with all extents but the last
// counted together; values by their number, whatever extents of 1 stand between.
bool has_shape(const TensorInfo& tensor, const TensorPart& part, Index rows, Index cols, bool is_matrix) {
  const Index whole = part.tensor_rows > 0 ? part.tensor_rows : rows;
  if (!is_matrix && rows == 1) return tensor.elements() == (part.tensor_rows > 0 ? part.tensor_rows : cols);
  if (!is_matrix) return tensor.elements() == whole * cols;
  return (tensor.shape.size() >= 2 || whole == 1) && tensor.shape.back() == cols && tensor.elements() == whole * cols;
}

// The tensor of a weight, and which of the alternatives it is.
std::pair<const TensorInfo*, TensorPart> find_tensor(const WeightSpec& spec, const ModelFile& file) {
  const StoredForm& form = spec.form(file.format());
  const TensorInfo* tensor = nullptr;
  TensorPart part;
  for (const TensorPart& alternative : form.parts) {
    if (tensor == nullptr) tensor = file.find(alternative.name), part = alternative;
  }
  if (tensor == nullptr) {
    throw Error(ErrorKind::kInput, fmt::format("{}: tensor '{}' is missing; is the model complete?",
                                               file.path().string(), spec.name(file.format())));
  }
  const Index rows = form.transposed ? spec.cols : spec.rows;
  const Index cols = form.transposed ? spec.rows : spec.cols;
  if (!has_shape(*tensor, part, rows, cols, spec.is_matrix())) {
    const Index whole = part.tensor_rows > 0 ? part.tensor_rows : rows == 1 && !spec.is_matrix() ? cols : rows;
    const std::vector<Index> expected =
        rows == 1 && !spec.is_matrix() ? std::vector<Index>{whole} : std::vector<Index>{whole, cols};
    throw Error(ErrorKind::kInput,
                fmt::format("{}: tensor '{}' has shape [{}], the configuration asks for [{}]", file.path().string(),
                            tensor->name, fmt::join(tensor->shape, ", "), fmt::join(expected, ", ")));
  }
  const bool usable = is_packable(tensor->dtype) && (spec.is_matrix() || !is_block(tensor->dtype));
  if (!usable) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: tensor '{}' has type {}, which cannot be used here",
                                                     file.path().string(), tensor->name, name(tensor->dtype)));
  }
  return {tensor, part};
}

}  // namespace

std::int64_t WeightPlacement::file_offset() const {
  if (repacking() != nullptr) return source->offset;
  const bool in_elements = !spec.is_matrix() && spec.rows == 1;
  const Bytes unit = in_elements ? info(source->dtype).block_bytes : file_row();
  return source->offset + form.parts.front().first_row * unit.count;
}

Index chunk_rows(const WeightPlacement& placement) {
  if (placement.form.transposed) return placement.file_rows();
  Index whole = kStripRows;
  for (const StoredForm* form : {&placement.spec.hugging_face, &placement.spec.gguf})
    whole = std::lcm(whole, std::max<Index>(1, form->pairs.head_rows));
  return std::max<Index>(1, kWeightChunk.count / placement.file_row().count / whole) * whole;
}

void WeightLayout::place(WeightPlacement placement) {
  const WeightSpec& spec = placement.spec;
  placement.offset = bytes_;
  placement.size = placed_bytes(placement);
  bytes_ += placement.size;
  parameters_ += spec.rows * spec.cols;
  const Bytes row = placement.file_row();
  if (const Repacking* repacking = placement.repacking()) {
    largest_parts_ = std::max(largest_parts_, repacking->staging_bytes());
    for (const TensorInfo& part : repacking->parts()) {
      largest_chunk_ = std::max(largest_chunk_, std::min(part.size, kWeightChunk));
    }
  } else {
    file_bytes_ += row * placement.file_rows();
    largest_chunk_ = std::max(largest_chunk_, row * std::min(placement.file_rows(), chunk_rows(placement)));
  }
  decode_bytes_ += Bytes{static_cast<std::int64_t>(static_cast<double>(placement.size.count) * spec.read_per_token)};
  if (placement.ordered()) {
    forms_.add_ordered(placement.dtype);
  } else if (spec.is_matrix()) {
    forms_.add(placement.dtype);
  }
  placements_.push_back(std::move(placement));
}

WeightLayout WeightLayout::of_file(const ModelConfig& config, const ModelFile& file) {
  WeightLayout layout;
  DecoderWeights shape;
  std::unordered_set<const TensorInfo*> repacked;  // read whole, and once, whatever number of weights they hold
  visit_weights(config, shape, [&](const WeightSpec& spec, const WeightView&) {
    const auto [tensor, part] = find_tensor(spec, file);
    if (tensor->repacking != nullptr && repacked.insert(tensor).second) layout.file_bytes_ += tensor->size;
    StoredForm form = spec.form(file.format());
    form.parts = {part};
    WeightPlacement placement = {spec, tensor->dtype, tensor, std::move(form), {}, {}};
    if (spec.keep == Keep::kPackedF32 || placement.turns_values()) placement.dtype = DType::kF32;
    layout.place(std::move(placement));
  });
  return layout;
}

WeightLayout WeightLayout::of_shape(const ModelConfig& config, DType dtype) {
  WeightLayout layout;
  DecoderWeights shape;
  visit_weights(config, shape, [&](const WeightSpec& spec, const WeightView&) {
    const bool fits = spec.cols % info(dtype).block_elements == 0;
    const DType type = spec.keep != Keep::kPacked ? DType::kF32 : fits ? dtype : DType::kF16;
    layout.place({spec, type, nullptr, {}, {}, {}});
  });
  return layout;
}

PackedMatrix view_of(const WeightPlacement& placement, const std::byte* data) {
  const WeightSpec& spec = placement.spec;
  PackedMatrix matrix = {placement.dtype, spec.rows, spec.cols,
                         std::lcm(default_unit(placement.dtype), spec.unit_multiple), data};
  if (placement.ordered()) {
    const std::byte* order = matrix.data + packed_bytes(placement.dtype, spec.rows, spec.cols).count;
    matrix.input_order = {reinterpret_cast<const std::int32_t*>(order), static_cast<std::size_t>(spec.cols)};
  }
  return matrix;
}

void set_view(const WeightView& view, const WeightPlacement& placement, const std::byte* data) {
  if (auto* const* matrix = std::get_if<PackedMatrix*>(&view)) {
    **matrix = view_of(placement, data);
  } else {
    *std::get<std::span<const float>*>(view) = {reinterpret_cast<const float*>(data),
                                                static_cast<std::size_t>(placement.spec.rows * placement.spec.cols)};
  }
}

ModelWeights::ModelWeights(Arena arena) : arena_(std::move(arena)) {}
ModelWeights::ModelWeights(ModelWeights&& other) noexcept = default;
ModelWeights::~ModelWeights() = default;

ModelWeights::ModelWeights(const ModelConfig& config, const WeightLayout& layout, Arena arena)
    : arena_(std::move(arena)) {
  JERICHO_CHECK(arena_.size() >= layout.bytes(), "an arena of {} for weights of {}", arena_.size().count,
                layout.bytes().count);
  std::size_t next = 0;
  visit_weights(config, views_, [&](const WeightSpec&, const WeightView& view) {
    const WeightPlacement& placement = layout.placements()[next++];
    set_view(view, placement, arena_.bytes().data() + placement.offset.count);
  });
  if (config.tie_word_embeddings) views_.head = views_.embedding;
}

}  // namespace jericho
