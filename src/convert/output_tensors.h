// The tensors that a converted model has: which weights each is made of, in which order, type and shape. Start at
// output_tensors().
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/model_file.h"
#include "models/config.h"
#include "models/weights.h"
#include "tensor/dtype.h"

namespace jericho {

struct OutputTensor {
  std::string name{};
  DType dtype{};
  std::vector<Index> shape{};                     // outermost first
  std::vector<const WeightPlacement*> weights{};  // of the source, in the order of their rows here
  std::vector<float> computed{};                  // what it holds where no weight does
  [[nodiscard]] bool is_matrix() const { return !weights.empty() && weights.front()->spec.keep == Keep::kPacked; }
};

// The type of a tensor that is to be written.
using ChooseType = std::function<DType(const OutputTensor& tensor)>;

// In the order in which `target` keeps them. Weights that it has no name for (a GGUF's rope_freqs in a directory) are
// left out. Error(kUnsupported) where `target` cannot hold a tensor in the type of `choose`.
std::vector<OutputTensor> output_tensors(const WeightLayout& source, ModelFormat target, const ChooseType& choose);

}  // namespace jericho
