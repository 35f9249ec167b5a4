// How a training run fits its memory: which micro-batch, what is computed again, when weights are updated. No choice
// changes a bit of the result, so the fastest that fits is taken. Start at plan_training(); docs/training.md#memory.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "models/training_layout.h"
#include "models/training_pass.h"
#include "train/optimizer.h"
#include "train/options.h"

namespace jericho {

struct TrainingPlan {
  TrainingPassOptions pass{};
  bool fused = false;  // updates within the backward pass
  Bytes base{};        // frozen weights that adapters are trained beside
  Bytes weights{}, gradients{}, optimizer{}, scratch{};
  Bytes heap{};  // of libraries inside updates
  TrainingMemory activations{};

  [[nodiscard]] Bytes total() const {
    return base + weights + gradients + optimizer + scratch + heap + activations.saved + activations.live +
           activations.logits;
  }
};

// Of what options allow and fits `room`, the plan with the least predicted time: over micro-batches, blocks that keep
// what their backward pass reads, inputs that are made again, and updates after or within the backward pass. The
// smallest of all where none fits: the caller compares total() with `room`. `start` is the scratch that reading the
// first weights takes, `base` what frozen ones do.
TrainingPlan plan_training(const ModelConfig& config, const TrainingLayout& layout, const TrainOptions& options,
                           int threads, Bytes room, Bytes start = {}, Bytes base = {});

// Of all tensors, trained or not.
std::vector<TrainedShape> trained_shapes(const TrainingLayout& layout);

}  // namespace jericho
