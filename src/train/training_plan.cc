// The search for a plan: see training_plan.h.
#include "train/training_plan.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "memory/arena.h"
#include "train/first_adapters.h"
#include "train/first_weights.h"
#include "train/fused_updates.h"
#include "train/gradient_places.h"
#include "train/update_weight.h"

namespace jericho {
namespace {

TensorRole role_of(TrainedKind kind) {
  switch (kind) {
    case TrainedKind::kProjection: return TensorRole::kProjection;
    case TrainedKind::kEmbedding: return TensorRole::kEmbedding;
    case TrainedKind::kHead: return TensorRole::kHead;
    case TrainedKind::kVector: return TensorRole::kVector;
  }
  return TensorRole::kVector;
}

}  // namespace

std::vector<TrainedShape> trained_shapes(const TrainingLayout& layout) {
  std::vector<TrainedShape> shapes;
  for (const TrainedTensor& t : layout.tensors()) {
    shapes.push_back(
        {.name = t.name, .rows = t.rows, .cols = t.cols, .role = role_of(t.kind), .head_rows = t.head_rows});
  }
  return shapes;
}

namespace {

// What the search compares: products of a step, and what each micro-batch moves beside them (weights packed three
// times, gradients added), as products of the same time.
double cost_of(const TrainingPlan& plan, const ModelConfig& config, const TrainingLayout& layout,
               const TrainOptions& options) {
  constexpr double kMoves = 400;  // products per parameter: some 25 bytes at 16 products a byte
  const auto blocks = static_cast<double>(config.num_hidden_layers * config.layer_passes);
  const Recompute& recompute = plan.pass.recompute;
  const double kept = std::min(blocks, static_cast<double>(recompute.kept));
  const double again = (1 - kept / blocks) + (recompute.every > 1 ? 1 : 0);
  const auto tokens = static_cast<double>(options.step_sequences * options.sequence_tokens);
  const auto micro_batches = static_cast<double>(ceil_div(options.step_sequences, plan.pass.sequences));
  const double passes = plan.fused && options.clip > 0 ? 2 : 1;
  return passes * static_cast<double>(layout.multiplied_parameters()) *
         (tokens * (6 + 2 * again) + micro_batches * kMoves);
}

// Sizes of micro-batches, the largest first.
std::vector<Index> micro_batches(const TrainOptions& options, bool fused) {
  if (fused) return {options.step_sequences};
  if (options.micro_sequences > 0) return {options.micro_sequences};
  // Many tokens have their products at full speed already; more only take memory.
  constexpr Index kEnoughTokens = 4096;
  std::vector<Index> sizes;
  Index size = std::min(options.step_sequences, std::max<Index>(1, kEnoughTokens / options.sequence_tokens));
  for (; size >= 1; size /= 2) sizes.push_back(size);
  return sizes;
}

}  // namespace

TrainingPlan plan_training(const ModelConfig& config, const TrainingLayout& layout, const TrainOptions& options,
                           int threads, Bytes room, Bytes start, Bytes base) {
  TrainingPlan plan;
  plan.base = arena_bytes(base);
  plan.weights = arena_bytes(layout.weight_bytes());
  Bytes states{}, scratch = std::max({start, first_weights_scratch(layout, threads), fused_scratch(layout),
                                      gain_scratch(layout, threads)});
  const std::vector<TrainedShape> shapes = trained_shapes(layout);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (!layout.tensors()[i].is_trained()) continue;
    const auto optimizer = make_optimizer(options.optimizer, shapes[i]);
    states += optimizer->state_bytes();
    plan.heap = std::max(plan.heap, optimizer->heap_bytes());
    scratch = std::max(scratch, update_scratch(*optimizer, layout.tensors()[i], threads));
  }
  plan.optimizer = arena_bytes(states);
  plan.scratch = arena_bytes(scratch);
  const Bytes all_gradients{layout.gradient_values() * 4}, places = GradientPlaces(config, layout).bytes();
  std::optional<TrainingPlan> smallest, best;
  double best_cost = 0;
  const auto fits = [&](Index sequences, Recompute recompute, bool fused) {
    plan.fused = fused;
    plan.gradients = arena_bytes(fused ? places : all_gradients);
    plan.pass = {.sequences = sequences,
                 .sequence_tokens = options.sequence_tokens,
                 .compute = options.compute,
                 .recompute = recompute,
                 .threads = threads,
                 .decodes = layout.has_adapters() || !layout.all_fp32()};
    // The head's weights and their gradient pass through the caches once for as many tokens as have logits at once.
    for (const Index blocks : {4, 1}) {
      plan.pass.logit_tokens = blocks * kTokenBlock;
      plan.activations = TrainingPass::memory(config, layout, plan.pass);
      for (Bytes* part : {&plan.activations.saved, &plan.activations.live, &plan.activations.logits})
        *part = arena_bytes(*part);
      if (!smallest || plan.total() < smallest->total()) smallest = plan;
      if (plan.total() <= room) return true;
    }
    return false;
  };
  const auto consider = [&](Index sequences, Recompute recompute, bool fused) {
    if (!fits(sequences, recompute, fused)) return;
    const double cost = cost_of(plan, config, layout, options);
    if (best && cost >= best_cost) return;
    best = plan;
    best_cost = cost;
  };
  const Index blocks = config.num_hidden_layers * config.layer_passes;
  const auto every = std::max<Index>(1, static_cast<Index>(std::lround(std::sqrt(static_cast<double>(blocks)))));
  for (const bool fused : {false, true}) {
    if (options.fused != "auto" && options.fused != (fused ? "on" : "off")) continue;
    if (fused && !options.may_fuse()) continue;
    for (const Index sequences : micro_batches(options, fused)) {
      const auto asked = [&](const char* mode) { return options.recompute == mode || options.recompute == "auto"; };
      if (asked("none")) consider(sequences, Recompute::none(), fused);
      if (options.recompute == "auto") {  // the most blocks that fit
        Index fitting = 1, above = blocks;
        while (above - fitting > 1) {
          const Index middle = (fitting + above) / 2;
          (fits(sequences, {.kept = middle}, fused) ? fitting : above) = middle;
        }
        consider(sequences, {.kept = fitting}, fused);
      } else if (options.recompute == "block") {
        consider(sequences, Recompute::blocks(), fused);
      }
      if (asked("sqrt")) consider(sequences, Recompute::inputs_too(every), fused);
    }
  }
  return best ? *best : *smallest;
}

}  // namespace jericho
