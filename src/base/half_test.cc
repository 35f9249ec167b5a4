// The 16-bit floats against double arithmetic and every bit pattern.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/half.h"

namespace jericho {
namespace {

TEST(F16, EveryPatternSurvivesTheRoundTripThroughFloat) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 x{static_cast<std::uint16_t>(bits)};
    const bool is_nan = (bits & 0x7fff) > 0x7c00;
    const std::uint16_t expected = is_nan ? x.bits | 0x200 : x.bits;
    ASSERT_EQ(to_f16(to_float(x)).bits, expected) << "pattern " << bits;
  }
}

TEST(F16, RoundsHalfWayCasesToEven) {
  EXPECT_EQ(to_f16(1.0f + 0x1p-11f).bits, 0x3c00);  // between 1 and the next half
  EXPECT_EQ(to_f16(1.0f + 0x3p-11f).bits, 0x3c02);
  EXPECT_EQ(to_f16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);  // half way to 65536 overflows
  EXPECT_EQ(to_f16(0x1p-25f).bits, 0x0000);  // half the least subnormal
  EXPECT_EQ(to_f16(std::nextafter(0x1p-25f, 1.0f)).bits, 0x0001);
  EXPECT_EQ(to_f16(-0x1p-24f).bits, 0x8001);
}

TEST(BF16, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(3.14159274f).bits, 0x4049);
  EXPECT_EQ(to_bf16(1.00390625f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(1.01171875f).bits, 0x3f82);
  EXPECT_EQ(to_bf16(-0.1f).bits, 0xbdcd);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x807fffffu)).bits, 0x8000);  // subnormals count as zero
}

}  // namespace
}  // namespace jericho
