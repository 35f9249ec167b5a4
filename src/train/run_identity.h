// What the bits of a run depend on, as JSON of its checkpoints: a run goes on only with the same. That is what the
// options say and, for bf16, the order in which the CPU path's products add up (kernels/dense.h).
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "kernels/dense.h"
#include "train/options.h"

namespace jericho {

nlohmann::json run_identity(const TrainOptions& options, DenseOrder order);

// Error(kUsage) naming the first thing that is not as it was, and what to do. `then` is a checkpoint's.
void require_same_run(const std::filesystem::path& output, nlohmann::json then, const nlohmann::json& now);

}  // namespace jericho
