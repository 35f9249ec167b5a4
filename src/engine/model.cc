// Leases for loading, then the weights: see model.h.
#include "engine/model.h"

#include "memory/arena.h"

namespace jericho {
namespace {

Arena arena_of(const Context& context, Purpose purpose, Bytes bytes) {
  Arena arena(context.ledger.require(Tier::kRam, purpose, arena_bytes(bytes)));
  return arena;
}

}  // namespace

std::unique_ptr<Model> Model::load(const Context& context, ModelConfig config, const WeightLayout& layout,
                                   const ModelFile& file, const Plan& plan, IoBackend& io, const std::stop_token& stop,
                                   const ModelWeights::Progress& progress, const MakeIo& make_io) {
  Arena arena = arena_of(context, Purpose::kWeightsResident, plan.weights.resident);
  arena.populate(stop);
  ModelWeights weights = [&] {
    Arena staging = arena_of(context, Purpose::kWeightsStaging, plan.load_of(Purpose::kWeightsStaging));
    staging.populate(stop);
    return ModelWeights::load(context, config, layout, plan.weights, file, std::move(arena), io, staging.bytes(), stop,
                              progress);
  }();
  if (!plan.weights.whole) {
    Arena ring = arena_of(context, Purpose::kWeightsStaging, plan.run_of(Purpose::kWeightsStaging));
    ring.populate(stop);
    Arena slots;
    if (plan.weights.experts.slots > 0) {
      slots = arena_of(context, Purpose::kWeightsExperts, plan.run_of(Purpose::kWeightsExperts));
      slots.populate(stop);
    }
    weights.stream(config, layout, plan.weights, file, std::move(ring), std::move(slots), make_io,
                   context.kernels.path);
  }
  return std::unique_ptr<Model>(
      new Model(std::move(config), std::move(weights), with_adapters(layout.forms(), plan.limits.adapter_rank)));
}

std::unique_ptr<Model> Model::random(const Context& context, ModelConfig config, const WeightLayout& layout,
                                     std::uint64_t seed, Index adapter_rank) {
  Arena weights = arena_of(context, Purpose::kWeightsResident, layout.bytes());
  weights.populate();
  ModelWeights drawn = ModelWeights::random(context, config, layout, std::move(weights), seed);
  return std::unique_ptr<Model>(
      new Model(std::move(config), std::move(drawn), with_adapters(layout.forms(), adapter_rank)));
}

}  // namespace jericho
