// The elementary functions against long double, at their edges, and as bits: the checksum holds for every compiler,
// processor and flush mode.
#include "base/math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include "base/cpu.h"
#include "base/philox.h"

namespace jericho {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kDraws = 40'000;

// Distance from the exact value in units in the last place of the double nearest to it.
double ulps(double actual, long double exact) {
  const auto nearest = std::abs(static_cast<double>(exact));
  const double ulp = std::nextafter(nearest, kInfinity) - nearest;
  return static_cast<double>(std::abs(static_cast<long double>(actual) - exact) / static_cast<long double>(ulp));
}

// The i-th random number, uniform in [low, high).
double uniform(std::uint32_t i, double low, double high) {
  const PhiloxCounter bits = philox4x32({i, 0, 0, 0}, {17, 0});
  return low + (high - low) * uniform_double(bits[0], bits[1]);
}

template <class Function, class Exact>
double worst_ulps(double low, double high, Function function, Exact exact) {
  double worst = 0;
  for (std::uint32_t i = 0; i < kDraws; ++i) {
    const double x = uniform(i, low, high);
    worst = std::max(worst, ulps(function(x), exact(static_cast<long double>(x))));
  }
  return worst;
}

TEST(Exp, IsWithinOneUlp) {
  const auto exact = [](long double x) { return std::exp(x); };
  for (const double range : {1e-9, 1e-3, 0.35, 1.0, 20.0, 700.0}) {
    EXPECT_LT(worst_ulps(-range, range, exp_double, exact), 1.0) << range;
  }
}

TEST(Exp, HasDefinedEdges) {
  EXPECT_EQ(exp_double(0), 1);
  EXPECT_EQ(exp_double(-kInfinity), 0);
  EXPECT_EQ(exp_double(-708.5), 0);
  EXPECT_GT(exp_double(-708.0), std::numeric_limits<double>::min());
  EXPECT_LT(exp_double(709.782712893384), kInfinity);
  EXPECT_EQ(exp_double(709.79), kInfinity);
  EXPECT_EQ(exp_double(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(exp_double(std::nan(""))));
}

TEST(Log, IsWithinOneUlp) {
  const auto exact = [](long double x) { return std::log(x); };
  EXPECT_LT(worst_ulps(0.5, 2.0, log_double, exact), 1.0);
  EXPECT_LT(worst_ulps(0.999, 1.001, log_double, exact), 1.0);
  EXPECT_LT(worst_ulps(0.0, 1e6, log_double, exact), 1.0);
  const auto scaled = [](double x) { return log_double(std::ldexp(1 + x - std::floor(x), static_cast<int>(x))); };
  const auto scaled_exact = [](long double x) {
    const auto d = static_cast<double>(x);
    return std::log(static_cast<long double>(std::ldexp(1 + d - std::floor(d), static_cast<int>(d))));
  };
  EXPECT_LT(worst_ulps(-1022, 1023, scaled, scaled_exact), 1.0);
}

TEST(Log, HasDefinedEdges) {
  EXPECT_EQ(log_double(1), 0);
  EXPECT_EQ(log_double(0), -kInfinity);
  EXPECT_EQ(log_double(-0.0), -kInfinity);
  EXPECT_EQ(log_double(1e-310), -kInfinity);  // subnormal counts as zero
  EXPECT_EQ(log_double(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(log_double(-1)));
  EXPECT_TRUE(std::isnan(log_double(-kInfinity)));
  EXPECT_TRUE(std::isnan(log_double(std::nan(""))));
}

TEST(SinCos, IsWithinOneUlp) {
  const auto sine = [](double x) { return sin_cos_double(x).sin; };
  const auto cosine = [](double x) { return sin_cos_double(x).cos; };
  for (const double range : {1e-6, 0.8, 4.0, 1e3, 131072.0, kMaxAngle}) {
    EXPECT_LT(worst_ulps(-range, range, sine, [](long double x) { return std::sin(x); }), 1.0) << range;
    EXPECT_LT(worst_ulps(-range, range, cosine, [](long double x) { return std::cos(x); }), 1.0) << range;
  }
}

TEST(SinCos, KeepsItsPrecisionNextToMultiplesOfAQuarterTurn) {
  for (std::uint32_t i = 1; i < kDraws; ++i) {
    const double quarters = std::floor(uniform(i, 1, 1'335'088));
    const double x =
        static_cast<double>(quarters * 1.57079632679489661923132169163975144L);  // r is about 2^-33 and less
    const auto [sin, cos] = sin_cos_double(x);
    ASSERT_LT(ulps(sin, std::sin(static_cast<long double>(x))), 1.0) << x;
    ASSERT_LT(ulps(cos, std::cos(static_cast<long double>(x))), 1.0) << x;
  }
}

TEST(SinCos, IsExactAtZeroAndOddAndEven) {
  EXPECT_EQ(sin_cos_double(0).sin, 0);
  EXPECT_EQ(sin_cos_double(0).cos, 1);
  EXPECT_EQ(sin_cos_double(-3).sin, -sin_cos_double(3).sin);
  EXPECT_EQ(sin_cos_double(-3).cos, sin_cos_double(3).cos);
}

TEST(SinCosDeathTest, RefusesAnglesBeyondItsRange) {
  EXPECT_DEATH(sin_cos_double(0x1.8p21), "angle");
  EXPECT_DEATH(sin_cos_double(std::nan("")), "angle");
}

TEST(Pow, IsWithinOneAndAHalfUlp) {
  for (const double base : {0.1, 0.5, 1.0 + 1e-9, 1.75, 2.0, 10.0, 1e4, 5e5, 1e6, 1e8}) {
    const double range = std::min(700.0 / std::abs(std::log(base)), 1e9);
    const auto power = [base](double y) { return pow_double(base, y); };
    const auto exact = [base](long double y) { return std::pow(static_cast<long double>(base), y); };
    EXPECT_LT(worst_ulps(-range, range, power, exact), 1.5) << base;
    EXPECT_LT(worst_ulps(-1, 0, power, exact), 1.5) << base;
  }
}

TEST(Pow, IsExactForPowersOfTwoAndHasDefinedEdges) {
  EXPECT_EQ(pow_double(2, 10), 1024);
  EXPECT_EQ(pow_double(2, -1), 0.5);
  EXPECT_EQ(pow_double(10, 2), 100);
  EXPECT_EQ(pow_double(7, 0), 1);
  EXPECT_EQ(pow_double(std::nan(""), 0), 1);
  EXPECT_EQ(pow_double(1, kInfinity), 1);
  EXPECT_EQ(pow_double(0, 2), 0);
  EXPECT_EQ(pow_double(0, -2), kInfinity);
  EXPECT_EQ(pow_double(kInfinity, -2), 0);
  EXPECT_EQ(pow_double(2, 1024), kInfinity);
  EXPECT_EQ(pow_double(2, kInfinity), kInfinity);
  EXPECT_EQ(pow_double(2, -kInfinity), 0);
  EXPECT_EQ(pow_double(0.5, -kInfinity), kInfinity);
  EXPECT_EQ(pow_double(2, -2000), 0);
  EXPECT_TRUE(std::isnan(pow_double(-2, 2)));
  EXPECT_TRUE(std::isnan(pow_double(2, std::nan(""))));
}

// FNV-1a over the results for fixed arguments.
std::uint64_t checksum() {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&hash](double x) { hash = (hash ^ std::bit_cast<std::uint64_t>(x)) * 0x100000001b3u; };
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    add(exp_double(uniform(i, -720, 720)));
    add(exp_double(uniform(i, -1, 1)));
    add(log_double(uniform(i, 0, 100)));
    add(pow_double(uniform(i, 0, 1e6), uniform(i + 1, -50, 50)));
    const auto [sin, cos] = sin_cos_double(uniform(i, -kMaxAngle, kMaxAngle));
    add(sin);
    add(cos);
  }
  return hash;
}

TEST(Math, GivesTheSameBitsEverywhere) {
  constexpr std::uint64_t kExpected = 15027016549661025312u;
  EXPECT_EQ(checksum(), kExpected);
  std::uint64_t flushed = 0;
  std::thread([&flushed] {
    flush_subnormals();
    flushed = checksum();
  }).join();
  EXPECT_EQ(flushed, kExpected);
}

}  // namespace
}  // namespace jericho
