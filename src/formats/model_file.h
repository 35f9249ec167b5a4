// A model on disk, whatever its format: which tensors there are, their types and shapes and where their bytes lie, and
// the words that describe the model. Only headers are read; tensor data are read by whoever has the memory for them.
// Start at open_model(). Formats: gguf.h, safetensors.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/metadata.h"
#include "formats/tensor_info.h"

namespace jericho {

enum class ModelFormat { kGguf, kHuggingFace };

// Thread-compatible.
class ModelFile {
 public:
  struct Contents {
    ModelFormat format = ModelFormat::kGguf;
    std::filesystem::path path{};                // as the user gave it
    std::vector<std::filesystem::path> files{};  // that hold tensors
    std::vector<TensorInfo> tensors{};
    Metadata metadata{};
    std::string unsupported{};
  };
  // Error(kInput) when two tensors have one name.
  ModelFile(Contents contents, const nlohmann::json& config);
  ~ModelFile();
  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;

  [[nodiscard]] ModelFormat format() const { return contents_.format; }
  [[nodiscard]] const std::filesystem::path& path() const { return contents_.path; }
  [[nodiscard]] const std::vector<std::filesystem::path>& files() const { return contents_.files; }
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return contents_.tensors; }  // in file order
  [[nodiscard]] const TensorInfo* find(std::string_view name) const;                          // nullptr when absent

  // Why tensors() are listed as they are stored: a quantization that cannot be read. Empty: they can.
  [[nodiscard]] const std::string& unsupported() const { return contents_.unsupported; }

  [[nodiscard]] const Metadata& metadata() const { return contents_.metadata; }  // of a GGUF; empty for Hugging Face
  [[nodiscard]] Metadata& metadata() { return contents_.metadata; }
  [[nodiscard]] const nlohmann::json& config() const { return *config_; }  // config.json of a directory; null for GGUF

  // A file of the directory, such as tokenizer.json; nothing when it is absent, and for a GGUF, which has all within.
  [[nodiscard]] std::optional<std::string> side_file(std::string_view name, Bytes limit) const;

 private:
  Contents contents_;
  std::vector<std::int32_t> by_name_;  // indices into tensors, sorted by name
  std::unique_ptr<nlohmann::json> config_;
};

// A GGUF file (any part of a split one), a Hugging Face directory with config.json and safetensors (the weights of a
// quantized one are presented as quantized/methods.h says), or "builtin" (builtin_model.h).
// An Error names the file, says what it is instead and what to do about it.
std::unique_ptr<ModelFile> open_model(const std::filesystem::path& path);

}  // namespace jericho
