// Conversions, rotations and sums of rows, value by value. Read this first; never optimise it.
#include "kernels/row_sums.h"

#include <array>
#include <cmath>

#include "kernels/lanes.h"
#include "kernels/ref/float_value.h"

namespace jericho::ref {

void scale_rows(const ConstFloatRows& x, const float* factors, const FloatRows& y) {
  for (Index t = 0; t < x.rows; ++t) {
    for (Index c = 0; c < x.cols; ++c) {
      set_value(y, t, c, factors != nullptr ? value_of(x, t, c) * factors[t] : value_of(x, t, c));
    }
  }
}

void rope_rows(MatrixView<const float> x, Index head_dim, MatrixView<const float> cos, MatrixView<const float> sin,
               Turn turn, const FloatRows& y) {
  const Index half = cos.extent(1);
  for (Index t = 0; t < x.extent(0); ++t) {
    for (Index head = 0; head < x.extent(1); head += head_dim) {
      for (Index i = 0; i < half; ++i) {
        const float a = x(t, head + i), b = x(t, head + half + i);
        const float s = turn == Turn::kForward ? sin(t, i) : -sin(t, i);
        set_value(y, t, head + i, std::fma(a, cos(t, i), -(b * s)));
        set_value(y, t, head + half + i, std::fma(b, cos(t, i), a * s));
      }
      for (Index i = 2 * half; i < head_dim; ++i) set_value(y, t, head + i, x(t, head + i));
    }
  }
}

void row_dots(const ConstFloatRows& a, const ConstFloatRows& b, float* out) {
  for (Index t = 0; t < a.rows; ++t) {
    std::array<float, 16> lane{};
    for (Index c = 0; c < a.cols; ++c) {
      float& sum = lane[static_cast<std::size_t>(c % 16)];
      sum = std::fma(value_of(a, t, c), value_of(b, t, c), sum);
    }
    out[t] = sum_lanes(lane);
  }
}

void add_column_sums(const ConstFloatRows& x, std::span<float> sums) {
  for (Index t = 0; t < x.rows; ++t) {
    for (Index c = 0; c < x.cols; ++c) sums[static_cast<std::size_t>(c)] += value_of(x, t, c);
  }
}

float sum_squares(const float* x, Index count) {
  std::array<float, 16> lane{};
  for (Index i = 0; i < count; ++i) {
    float& sum = lane[static_cast<std::size_t>(i % 16)];
    sum = std::fma(x[i], x[i], sum);
  }
  return sum_lanes(lane);
}

}  // namespace jericho::ref
