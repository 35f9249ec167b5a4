// The exponential of all kernels, in fp32: fixed range reduction and polynomial, the same operations in the same order
// for a scalar and for a vector (kernels/cpu/lanes-inl.h), so that no processor and no libm can change a bit
// (docs/numerics.md 1). After Cody & Waite 1980, "Software Manual for the Elementary Functions", chapter 6, with a
// Taylor polynomial in place of their fitted one.
//   n = rint(x log2 e);  r = x - n ln 2 in two parts;  e^r by its Taylor polynomial of degree 7, Horner with fma; times
//   2^n
// Relative error below 2^-23 on [-87.3, 88.72]; 0 below, +infinity above, NaN for NaN (tested against double).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace jericho::exp_constants {

inline constexpr float kLowest = -87.3f;   // e^x would be subnormal soon after: counts as 0
inline constexpr float kHighest = 88.72f;  // e^x would overflow soon after
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLn2High = 0x1.62e4p-1f;  // few bits, so that n * kLn2High is exact
inline constexpr float kLn2Low = 0x1.7f7d1cp-20f;
inline constexpr float kTaylor[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};

}  // namespace jericho::exp_constants

namespace jericho::ref {

inline float exp(float x) {
  using namespace exp_constants;
  if (!(x >= kLowest)) return x < kLowest ? 0.0f : x;  // x is NaN otherwise
  if (x > kHighest) return std::numeric_limits<float>::infinity();
  const float n = std::nearbyint(x * kLog2E);
  float r = std::fma(n, -kLn2High, x);
  r = std::fma(n, -kLn2Low, r);
  float p = kTaylor[0];
  for (int i = 1; i < 8; ++i) p = std::fma(p, r, kTaylor[i]);
  return std::bit_cast<float>(std::bit_cast<std::int32_t>(p) + (static_cast<std::int32_t>(n) << 23));
}

}  // namespace jericho::ref
