// The rules by name: see optimizers.h.
#include "train/optimizers.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "train/optimizers/rules.h"

namespace jericho {
namespace {

struct Rule {
  std::string_view name;
  MakeOptimizer* make;
  OptimizerOptions defaults;
};

// Sources of the defaults: the rules' files.
const std::array<Rule, 15>& rules() {
  static const std::array<Rule, 15> all = {{
      {"adamw", make_adamw, {}},
      {"adamw8", make_adamw8, {.eight_bits = true}},
      {"adamw-hf", make_adamw_hf, {.beta2 = 0.999f, .epsilon = 1e-6f, .weight_decay = 0}},
      {"sgd", make_sgd, {.weight_decay = 0}},
      {"lion", make_lion, {.beta2 = 0.99f, .weight_decay = 0}},
      {"adafactor", make_adafactor, {.weight_decay = 0}},
      {"muon", make_muon, {.weight_decay = 0, .momentum = 0.95f, .nesterov = true}},
      {"adam-mini", make_adam_mini, {}},
      {"galore", make_galore, {.beta2 = 0.999f, .epsilon = 1e-6f, .weight_decay = 0, .scale = 0.25f}},
      {"galore8",
       make_galore,
       {.beta2 = 0.999f, .epsilon = 1e-6f, .weight_decay = 0, .scale = 0.25f, .eight_bits = true}},
      {"apollo", make_apollo, {.beta2 = 0.999f, .epsilon = 1e-6f, .weight_decay = 0}},
      {"apollo-mini",
       make_apollo,
       {.beta2 = 0.999f, .epsilon = 1e-6f, .weight_decay = 0, .rank = 1, .scale = 128, .one_factor = true}},
      {"q-galore",
       make_galore,
       {.beta2 = 0.999f,
        .epsilon = 1e-6f,
        .weight_decay = 0,
        .scale = 0.25f,
        .eight_bits = true,
        .four_bits = true,
        .int8_weights = true}},
      {"q-apollo", make_apollo, {.beta2 = 0.999f, .epsilon = 1e-6f, .weight_decay = 0, .int8_weights = true}},
      {"q-apollo-mini",
       make_apollo,
       {.beta2 = 0.999f,
        .epsilon = 1e-6f,
        .weight_decay = 0,
        .rank = 1,
        .scale = 128,
        .one_factor = true,
        .int8_weights = true}},
  }};
  return all;
}

const Rule& rule_of(std::string_view name) {
  for (const Rule& rule : rules()) {
    if (rule.name == name) return rule;
  }
  throw Error(ErrorKind::kUsage, fmt::format("optimizer '{}': expected one of {}", name, optimizer_rules()));
}

void require(bool holds, std::string_view option, double found, std::string_view expected) {
  if (!holds) throw Error(ErrorKind::kUsage, fmt::format("optimizer: {} {}: expected {}", option, found, expected));
}

void check(const OptimizerOptions& options) {
  const auto below_one = [](float x) { return x >= 0 && x < 1; };
  require(below_one(options.beta1), "beta1", static_cast<double>(options.beta1), "0 or more and below 1");
  require(below_one(options.beta2), "beta2", static_cast<double>(options.beta2), "0 or more and below 1");
  require(below_one(options.momentum), "momentum", static_cast<double>(options.momentum), "0 or more and below 1");
  require(options.epsilon > 0, "epsilon", static_cast<double>(options.epsilon), "more than 0");
  require(options.weight_decay >= 0, "weight_decay", static_cast<double>(options.weight_decay), "0 or more");
  require(options.rank >= 0, "rank", static_cast<double>(options.rank), "1 or more, or 0 for a quarter");
  require(options.refresh >= 1, "refresh", static_cast<double>(options.refresh), "1 step or more");
  require(options.scale > 0, "scale", static_cast<double>(options.scale), "more than 0");
}

}  // namespace

OptimizerOptions default_options(std::string_view rule) {
  OptimizerOptions options = rule_of(rule).defaults;
  options.rule = rule;
  return options;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const TrainedShape& shape) {
  const Rule& rule = rule_of(options.rule);
  check(options);
  OptimizerOptions named = options;
  named.eight_bits = rule.defaults.eight_bits;
  named.one_factor = rule.defaults.one_factor;
  named.four_bits = rule.defaults.four_bits;
  return rule.make(named, shape);
}

std::unique_ptr<Optimizer> make_regular(const OptimizerOptions& options, const TrainedShape& shape) {
  if (options.regular.empty() || shape.role == TensorRole::kVector) return make_adamw_hf(options, shape);
  OptimizerOptions regular = default_options(options.regular);
  TrainedShape as_projection = shape;
  as_projection.role = TensorRole::kProjection;
  return make_optimizer(regular, as_projection);
}

std::string optimizer_rules() {
  std::string names;
  for (const Rule& rule : rules()) names += (names.empty() ? "" : ", ") + std::string(rule.name);
  return names;
}

}  // namespace jericho
