// What training writes: files that are whole or an error, and a model of fp32 weights that the other verbs open.
// Start at write_model_files().
#pragma once

#include <filesystem>
#include <fstream>
#include <ostream>
#include <span>
#include <string>

#include "convert/tokenizer_to_hugging_face.h"
#include "models/training_layout.h"

namespace jericho {

inline constexpr const char* kTrainedWeights = "model.safetensors";

// Error(kIo) where the file cannot be opened, or is not whole when it is closed.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  [[nodiscard]] std::ostream& stream() { return out_; }
  void close();

 private:
  [[noreturn]] void refuse() const;
  std::filesystem::path path_;
  std::ofstream out_;
};

void write_text(const std::filesystem::path& path, const std::string& text);

// model.safetensors and the side files, into a folder that is there. Error(kIo).
void write_model_files(const std::filesystem::path& folder, const TrainingLayout& layout,
                       std::span<const float> weights, std::span<const SideFile> files);

}  // namespace jericho
