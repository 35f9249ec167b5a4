// exp, log, pow, sine and cosine in double, the same bits on every processor and with every compiler: plain additions,
// products and divisions, no fma and no libm, whose functions choose their code by processor (docs/numerics.md 1).
// For what is computed once or a few times per token: RoPE tables, sampling. Errors, measured against long double:
// exp, log, sine and cosine stay below 1 ulp, pow below 1.5 ulp.
//
// Results do not depend on the flush modes (cpu.h) either: subnormal arguments count as zero, and where the result
// would be subnormal or is nearly so, it is zero.
#pragma once

namespace jericho {

// Infinity above 709.78, zero below -708. NaN stays NaN.
double exp_double(double x);

// Natural logarithm. -infinity at zero and at subnormals, NaN below zero and at NaN.
double log_double(double x);

struct SinCos {
  double sin = 0;
  double cos = 1;
};
// |angle| in radians up to 2^21 (kMaxAngle), beyond which it is a bug: two million positions at RoPE's fastest
// frequency.
inline constexpr double kMaxAngle = 0x1p21;
SinCos sin_cos_double(double angle);

// base >= 0 to any power; pow(x, 0) and pow(1, y) are 1. A negative base gives NaN, a whole exponent or not.
double pow_double(double base, double exponent);

}  // namespace jericho
