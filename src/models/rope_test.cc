// The angles of rotary embedding against published check values and against the formulas in long double.
#include "models/rope.h"

#include <array>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "base/cpu.h"
#include "kernels/rope.h"

namespace jericho {
namespace {

// By what the scaled table divides frequency i of the plain one.
double divisor(const RopeConfig& scaled, Index i) {
  RopeConfig plain = scaled;
  plain.scaling = RopeScaling::kNone;
  const auto at = static_cast<std::size_t>(i);
  return RopeTable(plain).frequencies()[at] / RopeTable(scaled).frequencies()[at];
}

RopeConfig llama3(double factor) {
  return {.theta = 5e5,
          .dims = 128,
          .scaling = RopeScaling::kLlama3,
          .factor = factor,
          .original_max_position_embeddings = 8192};
}

void expect_llama3_divisors(double factor, const std::array<double, 6>& from_29_to_34) {
  for (Index i = 0; i < 64; ++i) {
    const double expected = i <= 28 ? 1 : i >= 35 ? factor : from_29_to_34[static_cast<std::size_t>(i - 29)];
    EXPECT_NEAR(divisor(llama3(factor), i), expected, 5.1e-7) << "frequency " << i;
  }
}

TEST(RopeTable, DividesAsLlama31Does) {
  expect_llama3_divisors(8, {1.207484, 1.553415, 2.026313, 2.694530, 3.684253, 5.257327});
}

TEST(RopeTable, DividesAsLlama32Does) {
  expect_llama3_divisors(32, {1.234937, 1.651329, 2.276660, 3.292262, 5.171596, 9.666729});
}

RopeConfig qwen25_yarn() {
  return {
      .theta = 1e6, .dims = 128, .scaling = RopeScaling::kYarn, .factor = 4, .original_max_position_embeddings = 32768};
}

// The weight of the original frequency in the blend with the one divided by 4.
double kept_by_yarn(Index i) { return (1 / divisor(qwen25_yarn(), i) - 0.25) / 0.75; }

TEST(RopeTable, BlendsFrequenciesAsYarnDoes) {
  for (Index i = 0; i <= 23; ++i) EXPECT_NEAR(kept_by_yarn(i), 1, 1e-12) << i;
  EXPECT_NEAR(kept_by_yarn(24), 0.941176, 5.1e-7);
  EXPECT_NEAR(kept_by_yarn(30), 0.588235, 5.1e-7);
  EXPECT_NEAR(kept_by_yarn(39), 0.058824, 5.1e-7);
  for (Index i = 40; i < 64; ++i) EXPECT_NEAR(kept_by_yarn(i), 0, 1e-12) << i;
  EXPECT_NEAR(RopeTable(qwen25_yarn()).frequencies()[30], 1.064361e-3, 5.1e-10);
}

TEST(RopeTable, YarnKeepsItsRampUnroundedWhenAsked) {
  RopeConfig config = qwen25_yarn();
  config.truncate = false;  // the ramp runs from 23.596 to 39.651
  const double kept = (1 / divisor(config, 24) - 0.25) / 0.75;
  EXPECT_NEAR(kept, 1 - (24 - 23.596) / (39.651 - 23.596), 5e-5);
}

TEST(RopeTable, YarnMultipliesByItsAttentionFactor) {
  RopeConfig config = qwen25_yarn();
  EXPECT_NEAR(RopeTable(config).magnitude(), 1.138629, 5.1e-7);
  std::vector<float> cos(64), sin(64);
  RopeTable(config).angles(0, cos, sin);
  EXPECT_FLOAT_EQ(cos[0], 1.138629f);
  config.attention_factor = 1.5;
  EXPECT_EQ(RopeTable(config).magnitude(), 1.5);
}

TEST(RopeTable, LinearScalingDividesEveryFrequency) {
  const RopeConfig config = {.dims = 64, .scaling = RopeScaling::kLinear, .factor = 2.5};
  for (Index i = 0; i < 32; ++i) EXPECT_NEAR(divisor(config, i), 2.5, 1e-15);
}

TEST(RopeTable, DividesByTheDivisorsOfAFile) {
  const RopeConfig config = {.dims = 8};
  const RopeTable plain(config);
  const std::array<float, 4> divisors = {1, 2, 4, 8};
  const RopeTable divided(config, divisors);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(divided.frequencies()[i], plain.frequencies()[i] / static_cast<double>(divisors[i]));
  }
}

TEST(RopeTable, IsRightToTheLastDigitAtAnyPosition) {
  flush_subnormals();
  const RopeTable table({.theta = 5e5, .dims = 128});
  std::vector<float> cos(64), sin(64);
  for (const Index position : {0, 1, 2, 63, 4095, 131071, 1 << 20}) {
    table.angles(position, cos, sin);
    for (std::size_t i = 0; i < 64; ++i) {
      // Rounding to fp32 costs 2^-25; the product and the frequency 2^-52 of the angle each.
      const auto angle = static_cast<long double>(position) * static_cast<long double>(table.frequencies()[i]);
      const double bound = 0x1p-25 + 0x1p-51 * static_cast<double>(angle) + 0x1p-50;
      EXPECT_NEAR(cos[i], static_cast<double>(std::cos(angle)), bound) << position << " " << i;
      EXPECT_NEAR(sin[i], static_cast<double>(std::sin(angle)), bound) << position << " " << i;
    }
  }
}

TEST(RopeTable, RotatesTheExampleOfTheFormulas) {
  const RopeTable table({.theta = 1e4, .dims = 4});
  std::array<float, 2> cos{}, sin{};
  table.angles(2, cos, sin);
  std::array<float, 4> x = {1, 2, 3, 4};
  rope(x, cos, sin);
  const std::array<float, 4> expected = {-3.144039f, 1.919605f, -0.339143f, 4.039197f};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(x[i], expected[i], 6e-7f);
}

TEST(RopeTable, InterleavedPairsAreTheSameRotationOfReorderedRows) {
  const RopeTable table({.theta = 1e4, .dims = 4});
  std::array<float, 2> cos{}, sin{};
  table.angles(2, cos, sin);
  std::array<float, 4> halves = {1, 3, 2, 4};  // pairs (1,2), (3,4) as a file with interleaved rows is loaded
  rope(halves, cos, sin);
  const std::array<float, 4> expected = {-2.234742f, 2.919405f, 0.077004f, 4.059196f};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(halves[i], expected[i], 6e-7f);
}

}  // namespace
}  // namespace jericho
