// One file of tensors, and the rest as it comes: see model_folder.h.
#include "train/model_folder.h"

#include <string>

#include "convert/output_file.h"
#include "formats/adapter_file.h"
#include "formats/safetensors_writer.h"
#include "train/weight_parts.h"

namespace jericho {
namespace {

void write_weights(const std::filesystem::path& path, const TrainingLayout& layout,
                   std::span<const std::byte> weights) {
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  const auto over_parts = [&](const auto& body) {
    for (const TrainedTensor& t : layout.tensors()) {
      if (!t.is_trained()) continue;
      for (const WeightPart& part : weight_parts(t))
        body(part, weights.subspan(t.offset.size(), t.stored_bytes().size()));
    }
  };
  over_parts([&](const WeightPart& part, std::span<const std::byte>) {
    writer.add_tensor(part.name, part.dtype, part.shape);
  });
  OutputFile out(path);
  writer.begin(out.stream());
  over_parts([&](const WeightPart& part, std::span<const std::byte> stored) {
    write_part(part, stored, [&](std::span<const std::byte> bytes) { writer.append(bytes); });
  });
  out.close();
}

}  // namespace

const char* trained_file(const TrainingLayout& layout) {
  return layout.has_adapters() ? kAdapterTensors : "model.safetensors";
}

void write_model_files(const std::filesystem::path& folder, const TrainingLayout& layout,
                       std::span<const std::byte> weights, std::span<const SideFile> files) {
  write_weights(folder / trained_file(layout), layout, weights);
  const nlohmann::json quantization = quantization_words(layout);
  for (const SideFile& file : files) {
    std::string bytes = file.bytes;
    if (file.name == "config.json" && !quantization.is_null()) {
      nlohmann::json words = nlohmann::json::parse(bytes);
      words["quantization_config"] = quantization;
      bytes = words.dump(2) + "\n";
    }
    write_text(folder / file.name, bytes);
  }
}

}  // namespace jericho
