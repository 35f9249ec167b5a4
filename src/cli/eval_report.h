// What `eval` prints: lines for one model, a table for several, JSON for scripts.
#pragma once

#include <span>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/eval_model.h"

namespace jericho::cli {

std::string report(const ModelResult& result);  // of a model that did not fail

// A row per model, failed ones with the first line of their message, then what should be known to compare them. With
// choices also each model's difference from the first that did not fail.
std::string table(std::span<const ModelResult> results);

nlohmann::json to_json(const ModelResult& result);
nlohmann::json to_json(std::span<const ModelResult> results);  // {"models": [...], "differences": [...]}

}  // namespace jericho::cli
