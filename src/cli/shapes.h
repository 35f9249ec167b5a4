// Model shapes without files, for benchmarks: a name of the list, or a config.json.
#pragma once

#include <string>

#include "models/config.h"

namespace jericho::cli {

// Error(kUsage) naming the shapes there are.
ModelConfig shape_named(const std::string& name);
std::string shape_names();  // "58m, 350m, 1b, ..."

}  // namespace jericho::cli
