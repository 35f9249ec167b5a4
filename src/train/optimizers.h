// Which rule changes which tensor. Start at make_optimizer(); each rule is a file of its own in optimizers/.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "train/optimizer.h"
#include "train/optimizers/moments.h"

namespace jericho {

struct OptimizerOptions {
  std::string rule = "adamw";  // of kRules in optimizers.cc
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
  float weight_decay = 0.1f;    // of matrices; vectors have none
  float momentum = 0.9f;        // of sgd and muon
  bool nesterov = false;        // of both
  Index rank = 0;               // of projections; 0: a quarter of the smaller dimension
  float scale = 1;              // of galore's update; of apollo's it is the square
  Index refresh = 200;          // steps between two projections
  bool scale_parameter = true;  // adafactor: steps follow the size of the weight
  bool relative_step = false;   // adafactor: min(1e-2, 1 / sqrt(t)) instead of the learning rate
  bool muon_rms = false;        // muon: steps of AdamW's size
  float adamw_rate = 0.015f;    // muon: of its learning rate, for what is no projection
  std::string regular{};        // galore, apollo: the rule of embeddings and head; empty: adamw-hf

  // Set by the rule's name.
  bool eight_bits = false;    // of the moments
  bool one_factor = false;    // apollo-mini
  bool four_bits = false;     // q-galore: of its projection, which is lazy too
  bool int8_weights = false;  // of projections, where nothing else is said

  [[nodiscard]] float decay_of(const TrainedShape& shape) const {
    return shape.role == TensorRole::kVector ? 0 : weight_decay;
  }
  [[nodiscard]] StateBits state_bits() const { return eight_bits ? StateBits::k8 : StateBits::k32; }
};

// What a rule's paper or reference takes. Error(kUsage) that names the rules there are.
OptimizerOptions default_options(std::string_view rule);

// Error(kUsage) that names the rules there are, or an option outside its range.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const TrainedShape& shape);

// Names of the rules, separated by commas.
std::string optimizer_rules();

}  // namespace jericho
