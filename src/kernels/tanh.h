// The hyperbolic tangent of all kernels, in fp32: the same operations in the same order for a scalar and for a vector
// (kernels/cpu/lanes-inl.h; docs/numerics.md 1). The two cases are those of Cody & Waite 1980, chapter 13.
//   |x| < 0.625   x + x^3 p(x^2), p of degree 4 through (tanh(x) / x - 1) / x^2 at the Chebyshev nodes of [0, 0.625^2]
//   otherwise     1 - 2 / (exp(2 |x|) + 1), with the sign of x
// Relative error below 2^-22; +-1 from about 9 on, NaN for NaN (tested against double).
#pragma once

#include <cmath>

#include "kernels/exp.h"

namespace jericho::tanh_constants {

inline constexpr float kSmall = 0.625f;
inline constexpr float kOdd[] = {-0x1.8f8de4p-8f, 0x1.58048ep-6f, -0x1.b9258ap-5f, 0x1.110e1cp-3f, -0x1.555552p-2f};

}  // namespace jericho::tanh_constants

namespace jericho::ref {

inline float tanh(float x) {
  using namespace tanh_constants;
  const float magnitude = std::abs(x);
  if (magnitude < kSmall) {
    const float square = x * x;
    float p = kOdd[0];
    for (int i = 1; i < 5; ++i) p = std::fma(p, square, kOdd[i]);
    return std::fma(x * square, p, x);
  }
  return std::copysign(1.0f - 2.0f / (ref::exp(magnitude + magnitude) + 1.0f), x);
}

}  // namespace jericho::ref
