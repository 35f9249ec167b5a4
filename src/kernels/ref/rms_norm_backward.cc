// The gradients of RMSNorm value by value. Read this first; never optimise it.
#include "kernels/rms_norm_backward.h"

#include <array>
#include <cmath>

#include "kernels/lanes.h"

void jericho::ref::rms_norm_backward(MatrixView<const float> x, std::span<const float> weight, float eps,
                                     MatrixView<const float> dy, MatrixView<float> dx, std::span<float> dweight) {
  const Index C = x.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    std::array<float, 16> squares{}, dots{};
    for (Index c = 0; c < C; ++c) {
      const auto lane = static_cast<std::size_t>(c % 16);
      squares[lane] = std::fma(x(t, c), x(t, c), squares[lane]);
      dots[lane] = std::fma(dy(t, c) * weight[static_cast<std::size_t>(c)], x(t, c), dots[lane]);
    }
    const auto width = static_cast<float>(C);
    const float r = 1.0f / std::sqrt(sum_lanes(squares) / width + eps);
    const float along = -(r * r * r / width * sum_lanes(dots));
    for (Index c = 0; c < C; ++c) {
      const float g = dy(t, c) * weight[static_cast<std::size_t>(c)];
      dx(t, c) = dx(t, c) + std::fma(x(t, c), along, r * g);
      dweight[static_cast<std::size_t>(c)] = std::fma(dy(t, c) * x(t, c), r, dweight[static_cast<std::size_t>(c)]);
    }
  }
}
