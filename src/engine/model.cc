// Leases for loading, then the weights: see model.h.
#include "engine/model.h"

#include "memory/arena.h"

namespace jericho {
namespace {

Arena weights_arena(const Context& context, const WeightLayout& layout) {
  Arena arena(context.ledger.require(Tier::kRam, Purpose::kWeightsResident, arena_bytes(layout.bytes())));
  return arena;
}

}  // namespace

std::unique_ptr<Model> Model::load(const Context& context, ModelConfig config, const WeightLayout& layout,
                                   const ModelFile& file, const Plan& plan, IoBackend& io, const std::stop_token& stop,
                                   const ModelWeights::Progress& progress) {
  Arena weights = weights_arena(context, layout);
  weights.populate(stop);
  const Arena staging(context.ledger.require(Tier::kRam, Purpose::kWeightsStaging, plan.of(Purpose::kWeightsStaging)),
                      {.populate = true});
  ModelWeights loaded =
      ModelWeights::load(context, config, layout, file, std::move(weights), io, staging.bytes(), stop, progress);
  return std::unique_ptr<Model>(new Model(std::move(config), std::move(loaded), layout.forms()));
}

std::unique_ptr<Model> Model::random(const Context& context, ModelConfig config, const WeightLayout& layout,
                                     std::uint64_t seed) {
  Arena weights = weights_arena(context, layout);
  weights.populate();
  ModelWeights drawn = ModelWeights::random(context, config, layout, std::move(weights), seed);
  return std::unique_ptr<Model>(new Model(std::move(config), std::move(drawn), layout.forms()));
}

}  // namespace jericho
