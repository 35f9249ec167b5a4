// The row kernels of every path against their reference twins, bit for bit, and the references against double.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/bit_equal.h"
#include "kernels/exp.h"
#include "kernels/glu.h"
#include "kernels/kernels.h"
#include "kernels/rms_norm.h"
#include "kernels/soft_cap.h"
#include "kernels/tanh.h"

namespace jericho {
namespace {

constexpr std::array<Index, 8> kLengths = {1, 7, 16, 17, 63, 64, 65, 4096};
constexpr std::array<Values, 2> kValues = {Values::kPlain, Values::kSpecial};
constexpr std::array kActivations = {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu2};

class RowKernels : public OnPath {};
INSTANTIATE_TEST_SUITE_P(Paths, RowKernels, testing::ValuesIn(usable_cpu_paths()), path_name);

TEST_P(RowKernels, RmsNormEqualsReferenceForEveryLengthAndStride) {
  const Kernels& kernels = kernels_for(GetParam());
  for (const Values values : kValues) {
    for (const Index C : kLengths) {
      const Index stride = C + 3;
      const std::vector<float> x = random_row(3 * stride, 1, values);
      const std::vector<float> weight = random_row(C, 2);
      std::vector<float> expected(x.size(), 9.0f);
      std::vector<float> actual(x.size(), 9.0f);
      ref::rms_norm({x.data(), 3, C, stride}, weight, 1e-5f, {expected.data(), 3, C, stride});
      kernels.rms_norm({x.data(), 3, C, stride}, weight, 1e-5f, {actual.data(), 3, C, stride});
      ASSERT_THAT(actual, BitEqual(expected)) << "C " << C;
    }
  }
}

TEST_P(RowKernels, RmsNormWorksInPlace) {
  std::vector<float> x = random_row(100, 3);
  const std::vector<float> weight = random_row(100, 4);
  std::vector<float> expected(100);
  ref::rms_norm({x.data(), 1, 100}, weight, 1e-6f, {expected.data(), 1, 100});
  kernels_for(GetParam()).rms_norm({x.data(), 1, 100}, weight, 1e-6f, {x.data(), 1, 100});
  EXPECT_THAT(x, BitEqual(expected));
}

TEST_P(RowKernels, GatedActivationsEqualReference) {
  for (const Activation activation : kActivations) {
    for (const Values values : kValues) {
      for (const Index C : kLengths) {
        const std::vector<float> gate = random_row(2 * C, 5, values, 30.0f);
        const std::vector<float> up = random_row(2 * C, 6, values);
        std::vector<float> expected(gate.size());
        std::vector<float> actual(gate.size());
        ref::glu(activation, {gate.data(), 2, C}, {up.data(), 2, C}, {expected.data(), 2, C});
        kernels_for(GetParam()).glu(activation, {gate.data(), 2, C}, {up.data(), 2, C}, {actual.data(), 2, C});
        ASSERT_THAT(actual, BitEqual(expected)) << "activation " << static_cast<int>(activation) << " C " << C;
      }
    }
  }
}

TEST_P(RowKernels, GatedActivationsWorkInPlaceOfEitherInput) {
  for (const Activation activation : kActivations) {
    const std::vector<float> gate = random_row(100, 5), up = random_row(100, 6);
    std::vector<float> expected(100), over_gate = gate, over_up = up;
    ref::glu(activation, {gate.data(), 1, 100}, {up.data(), 1, 100}, {expected.data(), 1, 100});
    const Kernels& kernels = kernels_for(GetParam());
    kernels.glu(activation, {over_gate.data(), 1, 100}, {up.data(), 1, 100}, {over_gate.data(), 1, 100});
    kernels.glu(activation, {gate.data(), 1, 100}, {over_up.data(), 1, 100}, {over_up.data(), 1, 100});
    EXPECT_THAT(over_gate, BitEqual(expected));
    EXPECT_THAT(over_up, BitEqual(expected));
  }
}

TEST_P(RowKernels, SoftCapEqualsReferenceForEveryLengthAndStride) {
  for (const Values values : kValues) {
    for (const Index C : kLengths) {
      for (const float width : {0.5f, 30.0f}) {
        const Index stride = C + 3;
        const std::vector<float> x = random_row(3 * stride, 12, values, width);
        std::vector<float> expected = x, actual = x;
        ref::soft_cap(12.0f, {expected.data(), 3, C, stride});
        kernels_for(GetParam()).soft_cap(12.0f, {actual.data(), 3, C, stride});
        ASSERT_THAT(actual, BitEqual(expected)) << "C " << C;
      }
    }
  }
}

struct QuantizedRow {
  explicit QuantizedRow(Index padded)
      : q8(static_cast<std::size_t>(padded), 55),
        scale(q8.size() / 32, 9.0f),
        scaled_sum(scale),
        half_sum(q8.size() / 16, 99) {}
  Q8Row view() { return {q8.data(), scale.data(), scaled_sum.data(), half_sum.data()}; }
  std::vector<std::int8_t> q8;
  std::vector<float> scale;
  std::vector<float> scaled_sum;
  std::vector<std::int32_t> half_sum;
};

void expect_same_codes(CpuPath path, const std::vector<float>& x, Index padded, Index group) {
  const auto count = static_cast<Index>(x.size());
  QuantizedRow expected(padded);
  QuantizedRow actual(padded);
  ref::quantize_q8(x.data(), count, padded, group, expected.view());
  kernels_for(path).quantize_q8(x.data(), count, padded, group, actual.view());
  ASSERT_EQ(actual.q8, expected.q8) << "count " << count << " group " << group;
  ASSERT_THAT(actual.scale, BitEqual(expected.scale));
  ASSERT_THAT(actual.scaled_sum, BitEqual(expected.scaled_sum));
  ASSERT_EQ(actual.half_sum, expected.half_sum);
}

TEST_P(RowKernels, QuantizedRowsEqualReference) {
  for (const Values values : kValues) {
    for (const Index count : kLengths) {
      for (const float width : {1e-42f, 1e-36f, 1.0f, 1e37f}) {
        const std::vector<float> x = random_row(count, 7, values, width);
        ASSERT_NO_FATAL_FAILURE(expect_same_codes(GetParam(), x, round_up(count, 32) + 32, 32));
        const Index padded = round_up(count, 128) + 128;
        ASSERT_NO_FATAL_FAILURE(expect_same_codes(GetParam(), x, padded, 128));
        ASSERT_NO_FATAL_FAILURE(expect_same_codes(GetParam(), x, padded, padded));
      }
    }
  }
}

TEST_P(RowKernels, ARowWithOneScaleHasTheLargestMagnitudeAsItsLargestCode) {
  std::vector<float> x(256, 0.5f);
  x[200] = -8.0f;
  QuantizedRow row(256);
  kernels_for(GetParam()).quantize_q8(x.data(), 256, 256, 256, row.view());
  EXPECT_EQ(row.q8[200], -127);
  EXPECT_EQ(row.q8[0], 8);  // 0.5 / (8 / 127) = 7.9
  EXPECT_EQ(row.scale, std::vector<float>(8, 8.0f / 127.0f));
  x[3] = std::numeric_limits<float>::infinity();
  kernels_for(GetParam()).quantize_q8(x.data(), 256, 256, 256, row.view());
  for (const float scale : row.scale) EXPECT_TRUE(std::isnan(scale));
}

std::vector<float> as_floats(const std::vector<BF16>& row) {
  std::vector<float> out;
  for (const BF16 x : row) out.push_back(to_float(x));
  return out;
}

TEST_P(RowKernels, Bf16RowsEqualReference) {
  for (const Index count : kLengths) {
    const Index padded = round_up(count, 32);
    const std::vector<float> x = random_row(count, 8, Values::kSpecial);
    std::vector<BF16> expected(static_cast<std::size_t>(padded), BF16{77});
    std::vector<BF16> actual(expected);
    ref::round_bf16(x.data(), count, padded, expected.data());
    kernels_for(GetParam()).round_bf16(x.data(), count, padded, actual.data());
    ASSERT_THAT(as_floats(actual), BitEqual(as_floats(expected))) << "count " << count;
  }
}

TEST_P(RowKernels, StoredKeysEqualReferenceAndLeaveOtherSlotsAlone) {
  for (const KvType type : kKvTypes) {
    for (const Values values : kValues) {
      for (const Index head_dim : {1, 8, 24, 32, 48, 64, 80, 128, 200}) {
        const std::size_t bytes = kv_tile_bytes(type, head_dim).size();
        std::vector<std::byte> expected(bytes, std::byte{0x11});
        std::vector<std::byte> actual(expected);
        for (const Index slot : {0, 3, 15}) {
          const std::vector<float> x = random_row(head_dim, static_cast<unsigned>(slot), values);
          kv_store(type, x.data(), head_dim, slot, expected.data());
          kernels_for(GetParam()).kv_store(type, x.data(), head_dim, slot, actual.data());
        }
        for (const Index slot : {0, 1, 3, 14, 15}) {
          std::vector<float> a(static_cast<std::size_t>(head_dim));
          std::vector<float> b(a);
          kv_load(type, expected.data(), head_dim, slot, a.data());
          kv_load(type, actual.data(), head_dim, slot, b.data());
          ASSERT_THAT(b, BitEqual(a)) << name(type) << " D " << head_dim << " slot " << slot;
        }
      }
    }
  }
}

TEST(KvTile, Q4HoldsTwoColumnsAByteAndGivesTheLargestValueTheLowestCode) {
  constexpr Index kDim = 34;  // a whole group and one of two columns
  std::vector<float> x(kDim, 0.0f);
  x[0] = 4.0f, x[1] = -4.0f, x[2] = 1.0f, x[3] = 0.25f, x[32] = -1.0f, x[33] = 1.0f;
  std::vector<std::byte> tile(kv_tile_bytes(KvType::kQ4, kDim).size(), std::byte{0x77});
  kv_store(KvType::kQ4, x.data(), kDim, 2, tile.data());
  EXPECT_EQ(kv_row_bytes(KvType::kQ4, kDim), 21_B);  // 17 of codes, two scales
  const std::byte* row = tile.data() + 2 * 17;
  EXPECT_EQ(row[0], std::byte{0xf0});   // s = -0.5: codes -8 and 8, which is clamped to 7; plus 8
  EXPECT_EQ(row[1], std::byte{0x86});   // -2, and -0.5 to even: 0
  EXPECT_EQ(row[16], std::byte{0xf0});  // s = 0.125, of the first of two that are as large
  EXPECT_EQ(tile[17], std::byte{0x77}) << "another slot";
  std::vector<float> back(kDim);
  kv_load(KvType::kQ4, tile.data(), kDim, 2, back.data());
  EXPECT_EQ(back[0], 4.0f);
  EXPECT_EQ(back[1], -3.5f);
  EXPECT_EQ(back[2], 1.0f);
  EXPECT_EQ(back[3], 0.0f);
  EXPECT_EQ(back[32], -1.0f);
  EXPECT_EQ(back[33], 0.875f);
}

TEST(RmsNorm, ReferenceIsAccurate) {
  flush_subnormals();
  for (const Index C : kLengths) {
    const std::vector<float> x = random_row(C, 9);
    const std::vector<float> weight = random_row(C, 10);
    std::vector<float> y(x.size());
    ref::rms_norm({x.data(), 1, C}, weight, 1e-5f, {y.data(), 1, C});
    double squares = 0;
    for (const float v : x) squares += double{v} * double{v};
    const double scale = 1 / std::sqrt(squares / static_cast<double>(C) + double{1e-5f});
    // A lane has C / 16 rounded terms and the tree 4 more; mean and eps 2; all halved by the root. Root, reciprocal and
    // two products add 4.
    const double bound = (0.5 * (static_cast<double>(ceil_div(C, 16)) + 6) + 4.5) * 0x1p-24;
    for (std::size_t c = 0; c < x.size(); ++c) {
      const double exact = double{x[c]} * scale * double{weight[c]};
      ASSERT_NEAR(double{y[c]}, exact, bound * std::abs(exact)) << "C " << C;
    }
  }
}

TEST(RmsNorm, ADifferentOrderOfTheSumGivesOtherBits) {  // negative control: the comparisons above can fail
  flush_subnormals();
  std::vector<float> x = random_row(4096, 11);
  const std::vector<float> weight(4096, 1.0f);
  std::vector<float> y(4096);
  std::vector<float> z(4096);
  int different = 0;
  for (unsigned seed = 0; seed < 64; ++seed) {
    x = random_row(4096, seed);
    ref::rms_norm({x.data(), 1, 4096}, weight, 1e-5f, {y.data(), 1, 4096});
    std::reverse(x.begin(), x.end());
    ref::rms_norm({x.data(), 1, 4096}, weight, 1e-5f, {z.data(), 1, 4096});
    std::reverse(z.begin(), z.end());
    if (first_difference(y, z) >= 0) ++different;
  }
  EXPECT_GE(different, 2);
}

float activated(Activation activation, float z) {
  const float one = 1;
  float y = 0;
  ref::glu(activation, {&z, 1, 1}, {&one, 1, 1}, {&y, 1, 1});
  return y;
}

TEST(GatedActivations, AreTheFormulasInDouble) {
  flush_subnormals();
  for (float z = -12.0f; z <= 30.0f; z += 0.00317f) {
    const double x = double{z};
    const double silu = x / (1 + std::exp(-x));
    // exp 2^-23; sum and quotient a unit each.
    ASSERT_NEAR(double{activated(Activation::kSilu, z)}, silu, 4 * 0x1p-24 * std::abs(silu)) << z;
    const double t = 2 * std::sqrt(2 / 3.14159265358979324) * (x + 0.044715 * x * x * x);
    if (std::abs(t) > 80) continue;  // soon beyond what exp tells apart from 0
    // 0.5 (1 + tanh(t / 2)), without the cancellation; the argument is off by 4 units, which exp passes on.
    const double gelu = x / (1 + std::exp(-t));
    ASSERT_NEAR(double{activated(Activation::kGeluTanh, z)}, gelu,
                (4 + 4 * std::max(0.0, -t) + 4) * 0x1p-24 * std::abs(gelu))
        << z;
    const double relu2 = x > 0 ? x * x : 0;
    ASSERT_NEAR(double{activated(Activation::kRelu2, z)}, relu2, 0x1p-24 * relu2) << z;
  }
  EXPECT_NEAR(activated(Activation::kGeluTanh, 1), 0.841192f, 5e-7f);
}

TEST(GatedActivations, AreZeroFarBelowAndTheIdentityFarAbove) {
  flush_subnormals();
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    for (const float z : {-100.0f, -1e10f, -3e38f}) EXPECT_EQ(activated(activation, z), 0.0f) << z;
    for (const float z : {100.0f, 1e10f, 3e38f}) EXPECT_EQ(activated(activation, z), z) << z;
    EXPECT_EQ(activated(activation, 0), 0.0f);
  }
  EXPECT_EQ(activated(Activation::kRelu2, -1e30f), 0.0f);
  EXPECT_EQ(activated(Activation::kRelu2, 3), 9.0f);
}

TEST(GatedActivations, PassNanOn) {
  for (const Activation activation : kActivations)
    EXPECT_TRUE(std::isnan(activated(activation, std::numeric_limits<float>::quiet_NaN())));
}

TEST(Tanh, RelativeErrorIsBelowItsBound) {
  flush_subnormals();
  for (float x = 1e-30f; x < 12.0f; x = x < 1e-3f ? x * 1.5f : x + 0.00037f) {
    const double exact = std::tanh(double{x});
    ASSERT_NEAR(double{ref::tanh(x)}, exact, 0x1p-22 * exact) << x;
    ASSERT_EQ(ref::tanh(-x), -ref::tanh(x)) << x;
  }
  EXPECT_EQ(ref::tanh(0.0f), 0.0f);
  EXPECT_EQ(ref::tanh(std::numeric_limits<float>::infinity()), 1.0f);
  EXPECT_EQ(ref::tanh(-1e30f), -1.0f);
  EXPECT_TRUE(std::isnan(ref::tanh(std::numeric_limits<float>::quiet_NaN())));
}

TEST(SoftCap, GivesTheExamplesOfTheFormulas) {
  std::array<float, 3> x = {10, 60, -60};
  ref::soft_cap(30, {x.data(), 1, 3});
  EXPECT_NEAR(x[0], 9.645382f, 4e-6f);
  EXPECT_NEAR(x[1], 28.920827f, 8e-6f);
  EXPECT_EQ(x[2], -x[1]);
}

TEST(Exp, RelativeErrorIsBelowItsBound) {
  flush_subnormals();
  for (float x = exp_constants::kLowest; x <= exp_constants::kHighest; x += 0.00137f) {
    const double exact = std::exp(double{x});
    ASSERT_NEAR(double{ref::exp(x)}, exact, 0x1p-23 * exact) << x;
  }
  EXPECT_EQ(ref::exp(0.0f), 1.0f);
  EXPECT_EQ(ref::exp(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(ref::exp(100.0f), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(ref::exp(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace jericho
