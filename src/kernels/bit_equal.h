// For tests only: two rows are equal when every element has the same bits; one NaN is as good as another.
// Also the rows tests feed to kernels: ordinary numbers and, on request, every value that breaks careless code.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/cpu.h"
#include "base/index.h"

namespace jericho {

inline bool same_bits(float a, float b) {
  return (a != a && b != b) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

// Index of the first element that differs, or -1.
inline Index first_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same_bits(a[i], b[i])) return static_cast<Index>(i);
  }
  return -1;
}

MATCHER_P(BitEqual, expected, "equals the reference in bits") {
  const std::span<const float> actual(arg);
  const std::span<const float> wanted(expected);
  const Index i = first_difference(actual, wanted);
  if (i >= 0 && actual.size() == wanted.size()) {
    const auto at = static_cast<std::size_t>(i);
    *result_listener << "element " << i << " is " << actual[at] << ", the reference has " << wanted[at];
  }
  return i < 0;
}

// Kernels are tested once per path that this machine has, in the floating-point mode of the process.
class OnPath : public testing::TestWithParam<CpuPath> {
 protected:
  void SetUp() override { flush_subnormals(); }
};
inline std::string path_name(const testing::TestParamInfo<CpuPath>& info) { return std::string(name(info.param)); }

enum class Values { kPlain, kSpecial };

inline std::vector<float> random_row(Index count, unsigned seed, Values values = Values::kPlain, float width = 3.0f) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kSpecial[] = {
      0.0f,  -0.0f,   1e-40f,   -1e-45f,   1e-38f, 3e38f,      -3e38f,
      1e20f, -1e-20f, 65520.0f, kInfinity, 6e-8f,  -kInfinity, std::numeric_limits<float>::quiet_NaN()};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, width);
  std::vector<float> row(static_cast<std::size_t>(count));
  for (float& x : row) {
    x = normal(random);
    if (values == Values::kSpecial && random() % 8 == 0) x = kSpecial[random() % std::size(kSpecial)];
  }
  return row;
}

}  // namespace jericho
