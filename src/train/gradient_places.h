// Where gradients lie that live only from their first use in a backward pass to their last: each at a place that no
// gradient has that lives at the same time. Start at GradientPlaces.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "models/training_layout.h"
#include "models/training_pass.h"

namespace jericho {

class GradientPlaces {
 public:
  GradientPlaces(const ModelConfig& config, const TrainingLayout& layout);

  [[nodiscard]] Bytes bytes() const { return bytes_; }  // that all of them take
  [[nodiscard]] Bytes offset(Index tensor, Index use) const {
    return offsets_[static_cast<std::size_t>(tensor)][static_cast<std::size_t>(use)];
  }

 private:
  std::vector<std::vector<Bytes>> offsets_;  // per tensor and use
  Bytes bytes_{};
};

}  // namespace jericho
