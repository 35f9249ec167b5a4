// The tensors of a checkpoint that a weight is, to the bit: fp32 and bf16 rows are one as they are; of eight-bit rows
// the codes and the scales are tensors of their own, as compressed-tensors has them (int-quantized, groups of 128), so
// that other tools read them too.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "models/training_layout.h"

namespace jericho {

struct WeightPart {
  std::string name{};
  DType dtype = DType::kF32;
  std::vector<Index> shape{};
  Bytes begin{}, end{};  // of each unit of the stored rows
  Bytes unit{};

  [[nodiscard]] Bytes unit_bytes() const { return end - begin; }
};

// In the order in which a file has them.
std::vector<WeightPart> weight_parts(const TrainedTensor& tensor);

// write(bytes) is called with the bytes of a part, in pieces and in order.
void write_part(const WeightPart& part, std::span<const std::byte> stored,
                const std::function<void(std::span<const std::byte>)>& write);
// read(offset, to) fetches pieces of a part.
void read_part(const WeightPart& part, std::span<std::byte> stored,
               const std::function<void(Bytes offset, std::span<std::byte> to)>& read);

// What config.json says of a model whose weights are in these parts; null where they are plain.
nlohmann::json quantization_words(const TrainingLayout& layout);

}  // namespace jericho
