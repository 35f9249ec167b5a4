// What goes over all blocks of a head at once: see attention_steps.h.
#include "kernels/attention_steps.h"

#include <algorithm>

namespace jericho {

void running_maxima(const AttentionSteps& steps) {
  for (Index h = 0; h < steps.heads(); ++h) {
    for (Index i = 0; i < steps.blocks(); ++i)
      steps.maximum(h, i) = std::max(steps.maximum_before(h, i), steps.maximum(h, i));
  }
}

void running_sums(const AttentionSteps& steps) {
  for (Index h = 0; h < steps.heads(); ++h) {
    float sum = steps.sum(h);
    for (Index i = 0; i < steps.blocks(); ++i) sum = sum * steps.correction(h, i) + steps.total(h, i);
    steps.state[static_cast<std::size_t>(2 * h)] = steps.maximum(h, steps.blocks() - 1);
    steps.state[static_cast<std::size_t>(2 * h + 1)] = sum;
  }
}

}  // namespace jericho
