// One file of tensors, and the rest as it comes: see model_folder.h.
#include "train/model_folder.h"

#include <vector>

#include "convert/output_file.h"
#include "formats/safetensors_writer.h"

namespace jericho {
namespace {

std::vector<Index> shape_of(const TrainedTensor& tensor) {
  return tensor.is_matrix() ? std::vector<Index>{tensor.rows, tensor.cols} : std::vector<Index>{tensor.size()};
}

void write_weights(const std::filesystem::path& path, const TrainingLayout& layout, std::span<const float> weights) {
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  for (const TrainedTensor& t : layout.tensors()) writer.add_tensor(t.name, DType::kF32, shape_of(t));
  OutputFile out(path);
  writer.begin(out.stream());
  for (const TrainedTensor& t : layout.tensors()) {
    writer.append(
        std::as_bytes(weights.subspan(static_cast<std::size_t>(t.offset), static_cast<std::size_t>(t.size()))));
  }
  out.close();
}

}  // namespace

void write_model_files(const std::filesystem::path& folder, const TrainingLayout& layout,
                       std::span<const float> weights, std::span<const SideFile> files) {
  write_weights(folder / kTrainedWeights, layout, weights);
  for (const SideFile& file : files) write_text(folder / file.name, file.bytes);
}

}  // namespace jericho
