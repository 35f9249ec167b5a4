// A model's configuration as the config.json of transformers: what every decoder has here, what a family adds in its
// own file (Family::to_json).
#pragma once

#include <nlohmann/json.hpp>

#include "formats/model_file.h"
#include "models/config.h"

namespace jericho {

// Of a GGUF, whose rope_freqs and token ids are read too. Error(kUnsupported) where config.json cannot say what the
// file says.
nlohmann::json config_to_json(const ModelConfig& config, const ModelFile& gguf);

}  // namespace jericho
