// The search for a plan: see training_plan.h.
#include "train/training_plan.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "memory/arena.h"
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

TrainingPlan plan_training(const ModelConfig& config, const TrainingLayout& layout, const TrainOptions& options,
                           int threads, Bytes room, Bytes start) {
  TrainingPlan plan;
  plan.weights = arena_bytes(layout.weight_bytes());
  Bytes states{}, scratch = std::max({start, first_weights_scratch(layout, threads), fused_scratch(layout)});
  const std::vector<TrainedShape> shapes = trained_shapes(layout);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const auto optimizer = make_optimizer(options.optimizer, shapes[i]);
    states += optimizer->state_bytes();
    plan.heap = std::max(plan.heap, optimizer->heap_bytes());
    scratch = std::max(scratch, update_scratch(*optimizer, layout.tensors()[i], threads));
  }
  plan.optimizer = arena_bytes(states);
  plan.scratch = arena_bytes(scratch);
  std::optional<TrainingPlan> smallest;
  const auto with = [&](Index sequences, Recompute recompute, bool fused) {
    plan.fused = fused;
    plan.gradients = arena_bytes(fused ? GradientPlaces(config, layout).bytes() : Bytes{layout.gradient_values() * 4});
    plan.pass = {.sequences = sequences,
                 .sequence_tokens = options.sequence_tokens,
                 .compute = options.compute,
                 .recompute = recompute,
                 .threads = threads,
                 .decodes = !layout.all_fp32()};
    plan.activations = TrainingPass::memory(config, layout, plan.pass);
    for (Bytes* part : {&plan.activations.saved, &plan.activations.live, &plan.activations.logits})
      *part = arena_bytes(*part);
    if (!smallest || plan.total() < smallest->total()) smallest = plan;
    return plan.total() <= room;
  };
  // A micro-batch of many tokens has its products at full speed already; more only takes memory.
  constexpr Index kEnoughTokens = 4096;
  const Index most =
      options.micro_sequences > 0
          ? options.micro_sequences
          : std::min(options.step_sequences, std::max<Index>(1, kEnoughTokens / options.sequence_tokens));
  const Index least = options.micro_sequences > 0 ? options.micro_sequences : 1;
  constexpr std::array kRecompute = {std::pair{Recompute::kNone, "none"}, std::pair{Recompute::kBlock, "block"}};
  for (const bool fused : {false, true}) {
    if (options.fused != "auto" && options.fused != (fused ? "on" : "off")) continue;
    if (fused && !options.may_fuse()) continue;
    for (const auto& [recompute, word] : kRecompute) {
      if (options.recompute != "auto" && options.recompute != word) continue;
      if (fused) {
        if (with(options.step_sequences, recompute, fused)) return plan;
        continue;
      }
      for (Index sequences = most; sequences >= least;
           sequences = sequences / 2 >= least ? sequences / 2 : sequences - 1) {
        if (with(sequences, recompute, fused)) return plan;
      }
    }
  }
  return *smallest;
}

}  // namespace jericho
