// The rows of attention value by value. Read this first; never optimise it.
#include "kernels/attention_rows.h"

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/exp.h"
#include "kernels/lanes.h"
#include "kernels/ref/float_value.h"

namespace jericho::ref {

void attention_probabilities(MatrixView<const float> s, float scale, VisibleKeys visible, const FloatRows& p, float* m,
                             float* inverse) {
  const Index n = s.extent(1);
  for (Index i = 0; i < s.extent(0); ++i) {
    const Index first = std::max<Index>(visible.first + i, 0), end = std::min(visible.end + i, n);
    float largest = -std::numeric_limits<float>::infinity();
    for (Index j = first; j < end; ++j) largest = std::max(largest, scale * s(i, j));
    std::array<float, 16> lane{};
    for (Index j = 0; j < n; ++j) {
      const float value = j >= first && j < end ? ref::exp(scale * s(i, j) - largest) : 0.0f;
      lane[static_cast<std::size_t>(j % 16)] += value;
      set_value(p, i, j, value);
    }
    m[i] = largest;
    inverse[i] = 1.0f / sum_lanes(lane);
  }
}

void attention_gradients(MatrixView<const float> s, MatrixView<const float> dp, float scale, VisibleKeys visible,
                         const float* m, const float* inverse, const float* delta, const FloatRows& q,
                         const FloatRows& ds) {
  const Index n = s.extent(1);
  for (Index i = 0; i < s.extent(0); ++i) {
    const Index first = std::max<Index>(visible.first + i, 0), end = std::min(visible.end + i, n);
    for (Index j = 0; j < n; ++j) {
      const bool sees = j >= first && j < end;
      const float value = sees ? ref::exp(scale * s(i, j) - m[i]) * inverse[i] : 0.0f;
      set_value(q, i, j, value);
      set_value(ds, i, j, sees ? (value * (dp(i, j) - delta[i])) * scale : 0.0f);
    }
  }
}

}  // namespace jericho::ref
