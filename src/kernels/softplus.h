// softplus(x) = log(1 + e^x), the map of Mamba's time steps, in fp32: the same operations in the same order for a
// scalar and for a vector (kernels/cpu/state_space.cc), like exp.h.
//   u = exp(-|x|);  r = (u + u) / (2 + u);  q = r^2 / 4
//   log(1 + u) = 2 atanh(r / 2) = r (1 + q / 3 + ... + q^7 / 15), Horner with fma
//   softplus(x) = max(x, 0) + log(1 + u)
// Relative error below 2^-21: e^x may be wrong by 2^-23, and six operations round; the series leaves out 2^-29. 0 for
// x below -87.3 (exp.h), NaN for NaN.
#pragma once

#include <cmath>

#include "kernels/exp.h"

namespace jericho::softplus_constants {

inline constexpr float kSeries[] = {1.0f / 15, 1.0f / 13, 1.0f / 11, 1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3, 1.0f};

}  // namespace jericho::softplus_constants

namespace jericho::ref {

inline float softplus(float x) {
  using softplus_constants::kSeries;
  const float u = ref::exp(-std::fabs(x));
  const float r = (u + u) / (2.0f + u);
  const float q = r * r * 0.25f;
  float p = kSeries[0];
  for (int i = 1; i < 8; ++i) p = std::fma(p, q, kSeries[i]);
  return (x > 0 ? x : 0.0f) + r * p;
}

}  // namespace jericho::ref
