// The shape of a configuration that no family here reads, for questions about bytes: what such files call their sizes,
// put into a decoder of the nearest kind. The result counts well and runs nowhere. Start at guess_shape().
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "models/config.h"

namespace jericho {

struct GuessedShape {
  ModelConfig config{};
  std::vector<std::string> notes{};  // what it is not exact about
};

// Error(kInput) where sizes are missing or cannot be.
GuessedShape guess_shape(const nlohmann::json& config);

}  // namespace jericho
