// For tests only: a model file of any configuration, with random matrices and vectors that keep activations finite.
// Start at write_model().
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "formats/gguf_writer.h"
#include "formats/safetensors_writer.h"
#include "formats/test_files.h"
#include "kernels/matmul_cases.h"
#include "models/weight_list.h"

namespace jericho {

struct StoredTensor {
  DType dtype{};
  std::vector<Index> shape{};
  float neutral = 1;  // of vectors
  bool matrix = false;
};

// What a file of this format holds for the configuration; matrices of `dtype`, of F16 where its blocks do not divide
// them.
inline std::map<std::string, StoredTensor> stored_tensors(const ModelConfig& config, ModelFormat format, DType dtype) {
  std::map<std::string, StoredTensor> tensors;
  DecoderWeights unused;
  visit_weights(config, unused, [&](const WeightSpec& spec, const WeightView&) {
    const StoredForm& form = spec.form(format);
    const TensorPart& part = form.parts.front();
    const Index rows = form.transposed ? spec.cols : spec.rows, cols = form.transposed ? spec.rows : spec.cols;
    StoredTensor& tensor = tensors[part.name];
    tensor.matrix = spec.is_matrix();
    tensor.neutral = spec.neutral;
    if (!spec.is_matrix()) {
      tensor.dtype = DType::kF32;
      tensor.shape = rows == 1 ? std::vector{part.tensor_rows > 0 ? part.tensor_rows : cols}
                               : std::vector{part.tensor_rows > 0 ? part.tensor_rows : rows, cols};
      return;
    }
    const bool fits = cols % info(dtype).block_elements == 0;
    tensor.dtype = spec.keep == Keep::kPackedF32 ? DType::kF32 : fits ? dtype : DType::kF16;
    tensor.shape = {part.tensor_rows > 0 ? part.tensor_rows : rows, cols};
  });
  return tensors;
}

template <class Writer>
void write_tensors(Writer& writer, const std::filesystem::path& path,
                   const std::map<std::string, StoredTensor>& tensors, unsigned seed) {
  for (const auto& [name, tensor] : tensors) writer.add_tensor(name, tensor.dtype, tensor.shape);
  std::ofstream out(path, std::ios::binary);
  writer.begin(out);
  std::mt19937 random(seed);
  for (const auto& [name, tensor] : tensors) {
    const Index cols = tensor.shape.back();
    Index elements = 1;
    for (const Index extent : tensor.shape) elements *= extent;
    std::vector<std::byte> row(storage_bytes(tensor.dtype, cols).size());
    for (Index r = 0; r < elements / cols; ++r) {
      if (tensor.matrix) {
        fill_file_row(tensor.dtype, cols, random, Scales::kPlain, row.data());
      } else {
        const std::vector<float> values(static_cast<std::size_t>(cols), tensor.neutral);
        std::memcpy(row.data(), values.data(), row.size());
      }
      writer.append(row);
    }
  }
}

// Writes a file into `folder` and returns what open_model() takes.
inline std::filesystem::path write_model(const TestDirectory& folder, const ModelConfig& config, ModelFormat format,
                                         DType dtype, unsigned seed = 1) {
  const auto tensors = stored_tensors(config, format, dtype);
  if (format == ModelFormat::kHuggingFace) {
    folder.put("config.json", "{}");
    SafetensorsWriter writer;
    write_tensors(writer, folder.path() / "model.safetensors", tensors, seed);
    return folder.path();
  }
  GgufWriter writer;
  writer.set("general.architecture", std::string("test"));
  const auto path = folder.path() / "model.gguf";
  write_tensors(writer, path, tensors, seed);
  return path;
}

}  // namespace jericho
