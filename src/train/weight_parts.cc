// Codes and scales apart, and together again: see weight_parts.h.
#include "train/weight_parts.h"

#include <algorithm>
#include <cstring>

namespace jericho {
namespace {

constexpr Bytes kPiece = 1_MiB;

Index units_per_piece(const WeightPart& part) { return std::max<Index>(1, kPiece.count / part.unit_bytes().count); }

}  // namespace

std::vector<WeightPart> weight_parts(const TrainedTensor& t) {
  if (t.dtype != DType::kQC8) {
    const std::vector<Index> shape = t.is_matrix() ? std::vector<Index>{t.rows, t.cols} : std::vector<Index>{t.size()};
    return {{t.name, t.dtype, shape, 0_B, t.row_bytes(), t.row_bytes()}};
  }
  const DTypeInfo& block = info(t.dtype);
  return {{t.name, DType::kI8, {t.rows, t.cols}, 4_B, block.block_bytes, block.block_bytes},
          {t.name + "_scale", DType::kF32, {t.rows, t.cols / block.block_elements}, 0_B, 4_B, block.block_bytes}};
}

void write_part(const WeightPart& part, std::span<const std::byte> stored,
                const std::function<void(std::span<const std::byte>)>& write) {
  const Index units = std::ssize(stored) / part.unit.count;
  const std::size_t size = part.unit_bytes().size();
  if (part.unit_bytes() == part.unit) return write(stored);
  std::vector<std::byte> piece(static_cast<std::size_t>(units_per_piece(part)) * size);
  for (Index first = 0; first < units; first += units_per_piece(part)) {
    const Index count = std::min(units_per_piece(part), units - first);
    for (Index i = 0; i < count; ++i) {
      std::memcpy(piece.data() + static_cast<std::size_t>(i) * size,
                  stored.data() + (part.unit * (first + i) + part.begin).size(), size);
    }
    write(std::span(piece).first(static_cast<std::size_t>(count) * size));
  }
}

void read_part(const WeightPart& part, std::span<std::byte> stored,
               const std::function<void(Bytes offset, std::span<std::byte> to)>& read) {
  const Index units = std::ssize(stored) / part.unit.count;
  const std::size_t size = part.unit_bytes().size();
  if (part.unit_bytes() == part.unit) return read(0_B, stored);
  std::vector<std::byte> piece(static_cast<std::size_t>(units_per_piece(part)) * size);
  for (Index first = 0; first < units; first += units_per_piece(part)) {
    const Index count = std::min(units_per_piece(part), units - first);
    read(part.unit_bytes() * first, std::span(piece).first(static_cast<std::size_t>(count) * size));
    for (Index i = 0; i < count; ++i) {
      std::memcpy(stored.data() + (part.unit * (first + i) + part.begin).size(),
                  piece.data() + static_cast<std::size_t>(i) * size, size);
    }
  }
}

nlohmann::json quantization_words(const TrainingLayout& layout) {
  const auto& tensors = layout.tensors();
  const auto in_codes = [](const TrainedTensor& t) { return t.dtype == DType::kQC8; };
  if (std::none_of(tensors.begin(), tensors.end(), in_codes)) return {};
  nlohmann::json targets = {"Linear"}, ignore = nlohmann::json::array();
  for (const TrainedTensor& t : tensors) {
    if (t.kind == TrainedKind::kEmbedding && in_codes(t)) targets.push_back("Embedding");
    // Modules by their names: those without codes are read as they are.
    const bool linear = t.is_matrix() && t.kind != TrainedKind::kEmbedding;
    if (linear && !in_codes(t)) ignore.push_back(t.name.substr(0, t.name.rfind('.')));
  }
  return {{"quant_method", "compressed-tensors"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"ignore", ignore},
          {"config_groups",
           {{"group_0",
             {{"targets", targets},
              {"input_activations", nullptr},
              {"weights",
               {{"num_bits", 8},
                {"type", "int"},
                {"symmetric", true},
                {"strategy", "group"},
                {"group_size", info(DType::kQC8).block_elements}}}}}}}};
}

}  // namespace jericho
