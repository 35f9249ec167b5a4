// The rules by name: see optimizers.h.
#include "train/optimizers.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "train/optimizers/adamw.h"

namespace jericho {
namespace {

struct Rule {
  std::string_view name;
  std::unique_ptr<Optimizer> (*make)(const OptimizerOptions& options, const TrainedShape& shape);
};

constexpr std::array<Rule, 1> kRules = {{{"adamw", make_adamw}}};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const TrainedShape& shape) {
  for (const Rule& rule : kRules) {
    if (rule.name == options.rule) return rule.make(options, shape);
  }
  throw Error(ErrorKind::kUsage, fmt::format("optimizer '{}': expected one of {}", options.rule, optimizer_rules()));
}

std::string optimizer_rules() {
  std::string names;
  for (const Rule& rule : kRules) names += (names.empty() ? "" : ", ") + std::string(rule.name);
  return names;
}

}  // namespace jericho
