// Updates within the backward pass: a tensor is changed as soon as its gradient is complete, and the gradient's place
// is taken by the next ones, so that no more than those of a few tensors exist (LOMO, Lv et al. 2023, arXiv:2306.09782,
// section 3.1; here with any rule). The bits are those of updates after the pass. Start at FusedUpdates.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "memory/arena.h"
#include "models/gradient_sink.h"
#include "ops/context.h"
#include "train/gradient_places.h"

namespace jericho {

// Of one pass over one micro-batch. One thread.
class FusedUpdates final : public GradientSink {
 public:
  // Gets a tensor's gradient over all its uses, and may overwrite it. Not called from the first on that is
  // not finite.
  using Apply = std::function<void(Index tensor, MatrixView<float> gradient)>;

  // `gradients` has places.bytes(); `scratch` is used only within complete().
  FusedUpdates(const Context& context, const TrainingLayout& layout, const GradientPlaces& places,
               std::span<std::byte> gradients, Scratch& scratch, Apply apply);

  std::optional<MatrixView<float>> place(Index tensor, Index use) override;
  void complete(Index tensor) override;

  // Of all gradients so far, added in the order of the tensors.
  [[nodiscard]] double squares() const;

 private:
  [[nodiscard]] MatrixView<float> at(Index tensor, Index use) const;

  const Context& context_;
  const TrainingLayout& layout_;
  const GradientPlaces& places_;
  std::span<std::byte> gradients_;
  Scratch& scratch_;
  Apply apply_;
  std::vector<double> squares_;
  bool finite_ = true;
};

// What complete() takes of scratch before it calls `apply`.
Bytes fused_scratch(const TrainingLayout& layout);

// The squares of a gradient of all uses, which are added to that of use 0 first. at(use) is where each lies.
double sum_of_uses(const Context& context, const TrainedTensor& tensor,
                   const std::function<MatrixView<float>(Index use)>& at, Scratch& scratch);

}  // namespace jericho
