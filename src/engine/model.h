// A model ready to run: file, configuration, packed weights and forward pass. Start at Model::load().
#pragma once

#include <functional>
#include <memory>
#include <stop_token>

#include "formats/model_file.h"
#include "memory/io.h"
#include "models/config.h"
#include "models/transformer.h"
#include "models/weights.h"
#include "ops/context.h"
#include "plan/plan.h"

namespace jericho {

class Model {  // thread-safe for reading once made; shared by all sessions over it
 public:
  // Reads the weights of `file` under the plan's leases; those that the plan streams come by backends of `make_io`, and
  // then `layout` and `file` outlive the model. Errors as ModelWeights::load().
  static std::unique_ptr<Model> load(
      const Context& context, ModelConfig config, const WeightLayout& layout, const ModelFile& file, const Plan& plan,
      IoBackend& io, const std::stop_token& stop, const ModelWeights::Progress& progress,
      const MakeIo& make_io = [] { return make_io_backend(); });
  // Random weights of a shape, for benchmarks.
  static std::unique_ptr<Model> random(const Context& context, ModelConfig config, const WeightLayout& layout,
                                       std::uint64_t seed, Index adapter_rank = 0);

  // ModelWeights::give_back(); no session is in a step.
  Bytes give_back(Bytes wanted) { return weights_.give_back(wanted); }
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const ModelWeights& weights() const { return weights_; }
  [[nodiscard]] const Transformer& transformer() const { return transformer_; }

 private:
  Model(ModelConfig config, ModelWeights weights, ActivationForms forms)
      : config_(std::move(config)), weights_(std::move(weights)), transformer_(config_, weights_, forms) {}

  ModelConfig config_;
  ModelWeights weights_;
  Transformer transformer_;
};

}  // namespace jericho
