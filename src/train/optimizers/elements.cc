// Sums in a fixed order: see elements.h.
#include "train/optimizers/elements.h"

#include <array>
#include <cmath>

#include "kernels/training_kernels.h"

namespace jericho {

double squares(const float* x, Index count) {
  std::array<double, 8> lanes{};
  Index i = 0;
  for (; i + 8 <= count; i += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) {
      const auto value = static_cast<double>(x[static_cast<std::size_t>(i) + lane]);
      lanes[lane] += value * value;
    }
  }
  for (; i < count; ++i)
    lanes[static_cast<std::size_t>(i % 8)] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (std::size_t half = 4; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

void move_weight(const Context& context, const Move& move, MatrixView<const float> direction,
                 MatrixView<float> weight) {
  const TrainingKernels& kernels = training_kernels_for(context.kernels.path);
  parallel_for(context.pool, weight.extent(0) * weight.extent(1), kUpdateGrain, [&](Index begin, Index end, int) {
    kernels.move_weights(move.factor, move.keep, direction.data() + begin, end - begin, weight.data() + begin);
  });
}

double norm(const Context& context, std::span<const float> x, std::span<double> sums) {
  return std::sqrt(sum_squares(context, x, sums));
}

}  // namespace jericho
