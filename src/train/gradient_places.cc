// First fit, in the order of the backward pass: see gradient_places.h.
#include "train/gradient_places.h"

#include <algorithm>

#include "memory/arena.h"

namespace jericho {
namespace {

struct Living {
  Index tensor = 0;
  Bytes begin{}, end{};
};

// The lowest place of `size` bytes between those that live, which are sorted.
Bytes first_fit(const std::vector<Living>& living, Bytes size) {
  Bytes at{};
  for (const Living& each : living) {
    if (at + size <= each.begin) break;
    at = std::max(at, each.end);
  }
  return at;
}

}  // namespace

GradientPlaces::GradientPlaces(const ModelConfig& config, const TrainingLayout& layout) {
  for (const TrainedTensor& t : layout.tensors()) offsets_.emplace_back(t.gradients.size());
  std::vector<Living> living;
  for (const GradientUse& next : TrainingPass::gradient_order(config, layout)) {
    const Bytes size = round_up(Bytes{layout.tensor(next.tensor).size() * 4}, kScratchAlign);
    const Bytes at = first_fit(living, size);
    offsets_[static_cast<std::size_t>(next.tensor)][static_cast<std::size_t>(next.use)] = at;
    bytes_ = std::max(bytes_, at + size);
    const auto after =
        std::find_if(living.begin(), living.end(), [&](const Living& l) { return l.begin >= at + size; });
    living.insert(after, {next.tensor, at, at + size});
    if (next.use == 0) std::erase_if(living, [&](const Living& l) { return l.tensor == next.tensor; });
  }
}

}  // namespace jericho
