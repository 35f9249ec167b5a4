// Which architectures Jericho runs: one row per family, each filled by that family's own file (llama.cc, qwen.cc).
// Start at read_config(). Adding a family: docs/models.md.
#pragma once

#include <span>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "formats/model_file.h"
#include "models/config.h"
#include "models/config_reading.h"

namespace jericho {

struct Family {
  std::string_view hugging_face;                           // architectures[0] of config.json; empty: GGUF only
  std::string_view gguf;                                   // general.architecture; empty: shares another row's
  ModelConfig (*from_json)(const nlohmann::json& config);  // of text_config where there is one
  ModelConfig (*from_gguf)(const GgufKeys& keys);
};

std::span<const Family> llama_families();
std::span<const Family> mixtral_families();
std::span<const Family> qwen_families();

// "llama" with experts.
ModelConfig mixtral_from_gguf(const GgufKeys& keys);

// Errors: kUnsupported naming the architecture and those that are known, or a feature that is missing; kInput for wrong
// values.
ModelConfig read_config(const ModelFile& file);

// A bare config.json, for questions about a model one does not have.
ModelConfig config_from_json(const nlohmann::json& config);

}  // namespace jericho
