// For tests only: two rows are equal when every element has the same bits; one NaN is as good as another.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/cpu.h"
#include "base/index.h"
#include "kernels/random_row.h"

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

}  // namespace jericho
