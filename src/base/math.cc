// Elementary functions in plain double arithmetic: see math.h. Each reduces its argument to a short interval about
// zero, where the Taylor series, cut where its rest is below 2^-57 of the result, needs no table of fitted
// coefficients. pow carries twice the precision through log; its building blocks are the exact sums and products of
// Knuth (TAOCP 2, section 4.2.2) and Dekker (1971, "A floating-point technique for extending the available precision").
#include "base/math.h"

#include <bit>
#include <cstdint>
#include <limits>

#include "base/check.h"

namespace jericho {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kLeastNormal = std::numeric_limits<double>::min();

// ln 2 in two parts; the first has 40 bits, so that its product with an exponent is exact.
constexpr double kLn2High = 0x1.62e42fefa2000p-1;
constexpr double kLn2Low = 0x1.9ef35793c7673p-41;

// pi/2 in four parts; the first three have 32 bits or less: their products with a number of quarter turns below 2^21
// are exact.
constexpr double kHalfPi[4] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69, 0x1.b839a252049c1p-104};

// A number as the sum of two doubles; lo is at most half an ulp of hi.
struct Pair {
  double hi = 0;
  double lo = 0;
};

Pair two_sum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

// The product of two doubles below 2^990, exactly.
Pair two_product(double a, double b) {
  constexpr double kSplit = 0x1p27 + 1;
  const double a_scaled = kSplit * a, a_hi = a_scaled - (a_scaled - a), a_lo = a - a_hi;
  const double b_scaled = kSplit * b, b_hi = b_scaled - (b_scaled - b), b_lo = b - b_hi;
  const double product = a * b;
  return {product, ((a_hi * b_hi - product) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo};
}

Pair operator+(Pair a, Pair b) {
  const Pair sum = two_sum(a.hi, b.hi);
  return two_sum(sum.hi, sum.lo + (a.lo + b.lo));
}

Pair operator*(Pair a, Pair b) {
  const Pair product = two_product(a.hi, b.hi);
  return two_sum(product.hi, product.lo + (a.hi * b.lo + a.lo * b.hi));
}

Pair operator/(Pair a, Pair b) {
  const double quotient = a.hi / b.hi;
  const Pair product = two_product(quotient, b.hi);
  const double rest = ((a.hi - product.hi) - product.lo) + (a.lo - quotient * b.lo);
  return two_sum(quotient, rest / b.hi);
}

// The nearest whole number for |x| < 2^51, ties to even: adding 1.5 * 2^52 leaves no room for a fraction.
double round_to_whole(double x) {
  constexpr double kShift = 0x1.8p52;
  return (x + kShift) - kShift;
}

// 2^exponent for exponents of normal numbers.
double power_of_two(int exponent) { return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52); }

// exp(x.hi + x.lo) for x.hi in [-708, 709.79]: x = k ln 2 + r, |r| <= ln(2)/2, exp(x) = 2^k exp(r).
double exp_reduced(Pair x) {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  const double k = round_to_whole(x.hi * kLog2E);
  const Pair r = two_sum(x.hi - k * kLn2High, x.lo - k * kLn2Low);
  // exp(r) = 1 + r + r^2 (1/2! + r/3! + ... + r^11/13!), the sum in pairs and fours: a chain of 11 takes twice the
  // time.
  const double x1 = r.hi, x2 = x1 * x1, x4 = x2 * x2;
  const double low = (1.0 / 2 + x1 * (1.0 / 6)) + x2 * (1.0 / 24 + x1 * (1.0 / 120));
  const double middle = (1.0 / 720 + x1 * (1.0 / 5040)) + x2 * (1.0 / 40320 + x1 * (1.0 / 362880));
  const double high = (1.0 / 3628800 + x1 * (1.0 / 39916800)) + x2 * (1.0 / 479001600 + x1 * (1.0 / 6227020800));
  const double series = low + x4 * (middle + x4 * high);
  const double result = 1.0 + (x1 + (x2 * series + r.lo));
  // In two steps: 2^1024 is no double, but the result may still be one.
  const int exponent = static_cast<int>(k);
  return result * power_of_two(exponent / 2) * power_of_two(exponent - exponent / 2);
}

// x = 2^exponent * mantissa with the mantissa in (sqrt(1/2), sqrt(2)], for positive normal x.
struct Parts {
  double mantissa = 1;
  int exponent = 0;
};
Parts split(double x) {
  constexpr std::uint64_t kFraction = (std::uint64_t{1} << 52) - 1;
  constexpr std::uint64_t kRootTwo = 0x6a09e667f3bcd;  // fraction bits of sqrt(2)
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t fraction = bits & kFraction;
  const int halve = fraction > kRootTwo ? 1 : 0;
  return {std::bit_cast<double>(fraction | static_cast<std::uint64_t>(1023 - halve) << 52),
          static_cast<int>(bits >> 52) - 1023 + halve};
}

// log(x) to about 2^-100, for positive normal x: log(m) = 2 artanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...), s = (m-1)/(m+1).
Pair log_pair(double x) {
  const auto [m, k] = split(x);
  const Pair s = Pair{m - 1.0, 0.0} / two_sum(m, 1.0);
  const Pair z = s * s;  // at most 0.0295: each term gains 5 bits
  Pair series{};
  for (int n = 15; n >= 0; --n) series = series * z + Pair{1.0, 0.0} / Pair{2.0 * n + 1.0, 0.0};
  const Pair log_m = s * series;
  return two_sum(k * kLn2High, k * kLn2Low) + Pair{2 * log_m.hi, 2 * log_m.lo};
}

}  // namespace

double exp_double(double x) {
  if (x != x) return x;
  if (x < -708.0) return 0.0;
  if (x > 0x1.62e42fefa39efp+9) return kInfinity;  // the last double whose exp is finite
  return exp_reduced({x, 0.0});
}

double log_double(double x) {
  if (x != x || x <= -kLeastNormal) return kNan;
  if (x < kLeastNormal) return -kInfinity;
  if (x == kInfinity) return x;
  const auto [m, k] = split(x);
  // log(1+f) = 2 artanh(s), s = f/(2+f), and 2s = f - f^2/2 + s f^2/2, which leaves f, exact, as the leading term.
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  double series = 0;  // 2 (z/3 + z^2/5 + ... + z^11/23)
  for (int n = 11; n >= 1; --n) series = (series + 2.0 / (2 * n + 1)) * z;
  const double half_square = 0.5 * f * f;
  return k * kLn2High - ((half_square - (s * (half_square + series) + k * kLn2Low)) - f);
}

SinCos sin_cos_double(double angle) {
  JERICHO_CHECK(angle >= -kMaxAngle && angle <= kMaxAngle, "angle {} beyond {}", angle, kMaxAngle);
  // angle = n pi/2 + r (Cody and Waite 1980, "Software manual for the elementary functions", chapter 8). The first
  // difference is exact; what the next two round off is kept.
  constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
  const double n = round_to_whole(angle * kTwoOverPi);
  const Pair first = two_sum(angle - n * kHalfPi[0], -(n * kHalfPi[1]));
  const Pair second = two_sum(first.hi, -(n * kHalfPi[2]));
  const Pair r = two_sum(second.hi, second.lo + first.lo - n * kHalfPi[3]);

  constexpr double kSine[] = {-1.0 / 6,        1.0 / 120,        -1.0 / 5040,          1.0 / 362880,
                              -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000};
  constexpr double kCosine[] = {1.0 / 24,        -1.0 / 720,         1.0 / 40320,          -1.0 / 3628800,
                                1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000, -1.0 / 6402373705728000};
  const double z = r.hi * r.hi;
  double sine_series = 0, cosine_series = 0;
  for (int i = 7; i >= 0; --i) {
    sine_series = sine_series * z + kSine[i];
    cosine_series = cosine_series * z + kCosine[i];
  }
  // sin(hi + lo) = sin(hi) + lo cos(hi);  cos(hi + lo) = cos(hi) - lo sin(hi), the lesser factor to first order.
  const double half = 0.5 * z;
  const double sine = r.hi + (r.hi * z * sine_series + r.lo * (1.0 - half));
  const double rounded = 1.0 - half;
  const double cosine = rounded + (((1.0 - rounded) - half) + (z * z * cosine_series - r.hi * r.lo));
  switch (static_cast<int>(n) & 3) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

double pow_double(double base, double exponent) {
  if (exponent == 0 || base == 1) return 1.0;
  if (base != base || exponent != exponent || base <= -kLeastNormal) return kNan;
  if (base < kLeastNormal) return exponent > 0 ? 0.0 : kInfinity;
  if (base == kInfinity) return exponent > 0 ? kInfinity : 0.0;
  const Pair log_base = log_pair(base);
  const double estimate = exponent * log_base.hi;
  if (estimate > 709.8) return kInfinity;
  if (estimate < -708.0) return 0.0;
  const Pair power = two_product(exponent, log_base.hi);
  const Pair x = two_sum(power.hi, power.lo + exponent * log_base.lo);
  return x.hi > 0x1.62e42fefa39efp+9 ? kInfinity : exp_reduced(x);
}

}  // namespace jericho
