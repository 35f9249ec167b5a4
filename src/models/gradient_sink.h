// What a training pass gives its gradients to, tensor by tensor: it asks for the place of a gradient when it has one,
// and says when a tensor's gradient is complete. Who trains decides what that means: add up micro-batches in an arena
// (GradientArena), or change the weight at once and take the place back. A tensor without a place is not trained: its
// gradient is not computed, those of what lies before it are.
#pragma once

#include <optional>
#include <span>

#include "base/index.h"
#include "models/training_layout.h"
#include "tensor/view.h"

namespace jericho {

class GradientSink {
 public:
  virtual ~GradientSink() = default;
  // Rows that follow one another, to which the gradient of this use is added; asked for once per use and micro-batch.
  virtual std::optional<MatrixView<float>> place(Index tensor, Index use) = 0;
  // The micro-batch has added the gradients of all uses, and reads the weight no more. Of tensors with a place alone.
  virtual void complete(Index tensor) = 0;
};

// Adds to all gradients of what a layout trains, [gradient_values()].
class GradientArena final : public GradientSink {
 public:
  GradientArena(const TrainingLayout& layout, std::span<float> gradients) : layout_(layout), gradients_(gradients) {}
  std::optional<MatrixView<float>> place(Index tensor, Index use) override {
    if (!layout_.tensor(tensor).is_trained()) return std::nullopt;
    return layout_.gradient(gradients_, tensor, use);
  }
  void complete(Index) override {}

 private:
  const TrainingLayout& layout_;
  std::span<float> gradients_;
};

}  // namespace jericho
