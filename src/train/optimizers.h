// Which rule changes which tensor. Start at make_optimizer(); each rule is a file of its own in optimizers/.
#pragma once

#include <memory>
#include <string>

#include "train/optimizer.h"

namespace jericho {

struct OptimizerOptions {
  std::string rule = "adamw";  // of kRules in optimizers.cc
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
  float weight_decay = 0.1f;  // of matrices; vectors have none
};

// Error(kUsage) that names the rules there are.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const TrainedShape& shape);

// Names of the rules, separated by commas.
std::string optimizer_rules();

}  // namespace jericho
