// RMSNorm as docs/numerics.md defines it. Read this first; never optimise it.
#include "kernels/rms_norm.h"

#include <array>
#include <cmath>

#include "kernels/lanes.h"

void jericho::ref::rms_norm(MatrixView<const float> x, std::span<const float> weight, float eps, MatrixView<float> y) {
  const Index C = x.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    std::array<float, 16> lane{};
    for (Index c = 0; c < C; ++c) {
      float& sum = lane[static_cast<std::size_t>(c % 16)];
      sum = std::fma(x(t, c), x(t, c), sum);
    }
    const float scale = 1.0f / std::sqrt(sum_lanes(lane) / static_cast<float>(C) + eps);
    for (Index c = 0; c < C; ++c) y(t, c) = x(t, c) * scale * weight[static_cast<std::size_t>(c)];
  }
}
