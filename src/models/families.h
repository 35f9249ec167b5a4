// Which architectures Jericho runs: one row per family, each filled by that family's own file (llama.cc, qwen.cc).
// Start at read_config(). Adding a family: docs/models.md.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "formats/model_file.h"
#include "models/config.h"
#include "models/config_reading.h"

namespace jericho {

struct Family {
  std::string_view hugging_face;  // architectures[0] of config.json; empty: GGUF only
  std::string_view gguf;          // general.architecture; the first row of a name reads it, others are
                                  // written as it; empty: GGUF has none
  ModelConfig (*from_json)(const nlohmann::json& config);  // of text_config where there is one
  ModelConfig (*from_gguf)(const GgufKeys& keys);
  std::string_view model_type{};  // of config.json
  // Of families that share a name in GGUF: whether a configuration is this one's. Null: those that are no other's.
  bool (*owns)(const ModelConfig& config) = nullptr;
  // What this family's config.json has beside, or in place of, what every decoder's has. Null: nothing.
  void (*to_json)(const ModelConfig& config, nlohmann::json& out) = nullptr;
};

std::span<const Family> bitnet_families();
std::span<const Family> deepseek_families();
std::span<const Family> falcon_h1_families();
std::span<const Family> gemma_families();
std::span<const Family> granite_families();
std::span<const Family> jamba_families();
std::span<const Family> llama_families();
std::span<const Family> mamba_families();
std::span<const Family> mixtral_families();
std::span<const Family> mobilellm_families();
std::span<const Family> olmoe_families();
std::span<const Family> phi3_families();
std::span<const Family> qwen_families();
std::span<const Family> smollm3_families();

// "llama" with experts.
ModelConfig mixtral_from_gguf(const GgufKeys& keys);

// The architecture that a GGUF of `architecture`, which may be either format's word, is named by. Error(kUnsupported)
// as read_config().
std::string_view gguf_name(const std::string& architecture);

// The family that a configuration read from a GGUF is written as.
const Family& hugging_face_family(const ModelConfig& config);

// Errors: kUnsupported naming the architecture and those that are known, or a feature that is missing; kInput for wrong
// values.
ModelConfig read_config(const ModelFile& file);

// The configuration in the words of transformers when it is one of state-spaces' own Mamba checkpoints.
std::optional<nlohmann::json> mamba_from_native(const nlohmann::json& config);

// A bare config.json, for questions about a model one does not have.
ModelConfig config_from_json(const nlohmann::json& config);

}  // namespace jericho
