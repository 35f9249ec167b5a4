// Cross entropy value by value. Read this first; never optimise it.
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <array>

#include "base/math.h"
#include "kernels/exp.h"
#include "kernels/lanes.h"
#include "kernels/ref/float_value.h"

void jericho::ref::cross_entropy(MatrixView<const float> z, const std::int32_t* targets, float factor, double* loss,
                                 const FloatRows& dz) {
  const Index V = z.extent(1);
  for (Index t = 0; t < z.extent(0); ++t) {
    const std::int32_t y = targets[t];
    loss[t] = 0;
    if (y < 0) {
      for (Index v = 0; dz.data != nullptr && v < V; ++v) set_value(dz, t, v, 0);
      continue;
    }
    float largest = z(t, 0);
    for (Index v = 1; v < V; ++v) largest = std::max(largest, z(t, v));
    std::array<float, 16> lane{};
    for (Index v = 0; v < V; ++v) lane[static_cast<std::size_t>(v % 16)] += ref::exp(z(t, v) - largest);
    const float sum = sum_lanes(lane);
    loss[t] = static_cast<double>(largest) + log_double(sum) - static_cast<double>(z(t, y));
    const float share = factor / sum;
    for (Index v = 0; dz.data != nullptr && v < V; ++v) {
      const float p = ref::exp(z(t, v) - largest) * share;
      set_value(dz, t, v, v == y ? p - factor : p);
    }
  }
}
