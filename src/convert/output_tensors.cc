// Weights gathered by the name of the tensor that the target keeps them in: see output_tensors.h.
#include "convert/output_tensors.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "kernels/quantize_rows.h"

namespace jericho {
namespace {

const TensorPart& part_in(const WeightPlacement& weight, ModelFormat target) {
  return weight.spec.form(target).parts.front();
}

std::vector<Index> shape_of(const WeightSpec& spec, const StoredForm& form) {
  const TensorPart& part = form.parts.front();
  if (!part.shape.empty()) return part.shape;
  const Index rows = form.transposed ? spec.cols : spec.rows;
  const Index cols = form.transposed ? spec.rows : spec.cols;
  if (!spec.is_matrix() && rows == 1) return {part.tensor_rows > 0 ? part.tensor_rows : cols};
  return {part.tensor_rows > 0 ? part.tensor_rows : rows, cols};
}

void check_whole(const OutputTensor& tensor) {
  Index elements = 1, held = 0;
  for (const Index extent : tensor.shape) elements *= extent;
  for (const WeightPlacement* weight : tensor.weights) held += weight->spec.rows * weight->spec.cols;
  JERICHO_CHECK(elements == held, "tensor {} has {} elements, its weights {}", tensor.name, elements, held);
}

}  // namespace

std::vector<OutputTensor> output_tensors(const WeightLayout& source, ModelFormat target, const ChooseType& choose) {
  std::vector<OutputTensor> tensors;
  std::unordered_map<std::string, std::size_t> by_name;
  for (const WeightPlacement& weight : source.placements()) {
    const StoredForm& form = weight.spec.form(target);
    if (form.parts.empty() || form.parts.front().name.empty()) continue;
    const auto [at, is_new] = by_name.try_emplace(form.parts.front().name, tensors.size());
    if (is_new) tensors.push_back({form.parts.front().name, {}, shape_of(weight.spec, form), {}, {}});
    tensors[at->second].weights.push_back(&weight);
  }
  for (OutputTensor& tensor : tensors) {
    std::stable_sort(tensor.weights.begin(), tensor.weights.end(),
                     [&](const WeightPlacement* a, const WeightPlacement* b) {
                       return part_in(*a, target).first_row < part_in(*b, target).first_row;
                     });
    check_whole(tensor);
    tensor.dtype = choose(tensor);
    for (const WeightPlacement* weight : tensor.weights) {
      if (weight->source != nullptr && weight->source->dtype != tensor.dtype && !is_quantizable(tensor.dtype)) {
        throw Error(ErrorKind::kUnsupported, fmt::format("tensor '{}': rounding to {} is not supported; choose another "
                                                         "type with --type",
                                                         tensor.name, name(tensor.dtype)));
      }
    }
    const bool holds =
        target == ModelFormat::kGguf ? info(tensor.dtype).gguf_type >= 0 : !info(tensor.dtype).safetensors.empty();
    if (!holds) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("tensor '{}': a {} cannot hold type {}; choose another with --type", tensor.name,
                              target == ModelFormat::kGguf ? "GGUF" : "safetensors file", name(tensor.dtype)));
    }
  }
  return tensors;
}

}  // namespace jericho
