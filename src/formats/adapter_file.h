// Low-rank adapters (LoRA: Hu et al. 2021, arXiv:2106.09685; DoRA: Liu et al. 2024, arXiv:2402.09353) as PEFT keeps
// them: a folder with adapter_config.json and adapter_model.safetensors, two matrices per adapted module,
//   base_model.model.MODULE.lora_A.weight [rank, in], ....lora_B.weight [out, rank]
// and for DoRA ....lora_magnitude_vector [out]. The module's output gains scale (x A^T) B^T with scale = alpha / rank,
// or alpha / sqrt(rank) with use_rslora (Kalajdzievski 2023, arXiv:2312.03732). Only headers are read here.
// Start at AdapterFile; what is written goes by the same names. docs/formats.md lists the keys.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "base/index.h"
#include "formats/input_file.h"
#include "formats/tensor_info.h"

namespace jericho {

inline constexpr const char* kAdapterConfig = "adapter_config.json";
inline constexpr const char* kAdapterTensors = "adapter_model.safetensors";

struct AdapterSettings {  // adapter_config.json, with PEFT's defaults
  std::string base_model{};
  Index rank = 8;    // "r"
  double alpha = 8;  // "lora_alpha"
  double dropout = 0;
  bool rslora = false;
  bool dora = false;
  std::vector<std::string> target_modules{};
  // Of modules whose path a key matches, as a regular expression for its end.
  std::vector<std::pair<std::string, Index>> rank_pattern{};
  std::vector<std::pair<std::string, double>> alpha_pattern{};

  [[nodiscard]] double scale(Index module_rank, double module_alpha) const;
};

// Error(kInput) for what is no such file, Error(kUnsupported) that names a key whose mathematics Jericho does not have.
// Keys it does not know are ignored, as PEFT's readers do.
AdapterSettings parse_adapter_settings(std::string_view text, std::string_view what);
nlohmann::json to_json(const AdapterSettings& settings);

// The names of a module's tensors.
std::string lora_a_name(std::string_view module);
std::string lora_b_name(std::string_view module);
std::string lora_magnitude_name(std::string_view module);

struct AdapterModule {
  std::string path{};                     // in its model: "model.layers.0.self_attn.q_proj"
  TensorInfo a{};                         // [rank, in]
  TensorInfo b{};                         // [out, rank]
  std::optional<TensorInfo> magnitude{};  // [out], of DoRA
  double scale = 1;

  [[nodiscard]] Index rank() const { return a.shape[0]; }
  [[nodiscard]] Index in() const { return a.shape[1]; }
  [[nodiscard]] Index out() const { return b.shape[0]; }
};

// Thread-safe for reading.
class AdapterFile {
 public:
  // Error(kInput) that names a tensor which is missing or does not fit its module, Error(kUnsupported) one of another
  // kind: an adapted embedding, a bias, a module saved whole.
  explicit AdapterFile(std::filesystem::path folder);

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] const AdapterSettings& settings() const { return settings_; }
  [[nodiscard]] const std::vector<AdapterModule>& modules() const { return modules_; }  // by path
  [[nodiscard]] Index parameters() const;
  // Bytes of a tensor from `offset` on.
  void read(const TensorInfo& tensor, Bytes offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path folder_;
  AdapterSettings settings_;
  InputFile tensors_;
  std::vector<AdapterModule> modules_;
};

}  // namespace jericho
