// Updates of weights: every path against the plain twins, bit for bit, and the twins against worked examples in double.
#include "kernels/adamw.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "kernels/bit_equal.h"
#include "kernels/packed_matrix.h"
#include "kernels/training_kernels.h"

namespace jericho {
namespace {

class UpdateKernels : public OnPath {};
INSTANTIATE_TEST_SUITE_P(Paths, UpdateKernels, testing::ValuesIn(usable_cpu_paths()), path_name);

TEST_P(UpdateKernels, AdamWEqualsReferenceForEveryLength) {
  const AdamWStep step = {.keep = 0.9999f, .step_size = 3e-3f, .root_correction = 0.31f};
  for (const Index n : {1, 7, 16, 17, 63, 64, 65, 4096}) {
    const std::vector<float> gradient = random_row(n, 1);
    std::vector<float> w = random_row(n, 2), m = random_row(n, 3), v = random_row(n, 4);
    for (float& x : v) x = std::abs(x);
    std::vector<float> expected_w = w, expected_m = m, expected_v = v;
    ref::adamw(step, gradient.data(), n, expected_w.data(), expected_m.data(), expected_v.data());
    training_kernels_for(GetParam()).adamw(step, gradient.data(), n, w.data(), m.data(), v.data());
    ASSERT_THAT(w, BitEqual(expected_w)) << "n " << n;
    ASSERT_THAT(m, BitEqual(expected_m)) << "n " << n;
    ASSERT_THAT(v, BitEqual(expected_v)) << "n " << n;
  }
}

TEST_P(UpdateKernels, AdamWScalesAGradientAsIfItHadBeenScaledBefore) {
  const Index n = 37;
  const AdamWStep whole = {.keep = 0.9999f, .step_size = 3e-3f, .root_correction = 0.31f};
  AdamWStep scaled = whole;
  scaled.scale = 0.37f;
  const std::vector<float> gradient = random_row(n, 1);
  std::vector<float> before = gradient;
  for (float& g : before) g *= scaled.scale;
  std::vector<float> w = random_row(n, 2), m(w.size()), v(w.size()), expected_w = w, expected_m = m, expected_v = v;
  ref::adamw(whole, before.data(), n, expected_w.data(), expected_m.data(), expected_v.data());
  training_kernels_for(GetParam()).adamw(scaled, gradient.data(), n, w.data(), m.data(), v.data());
  EXPECT_THAT(w, BitEqual(expected_w));
  EXPECT_THAT(m, BitEqual(expected_m));
  EXPECT_THAT(v, BitEqual(expected_v));
}

TEST_P(UpdateKernels, MoveWeightsAsTheReferenceForEveryLength) {
  for (const Index n : {1, 7, 16, 17, 63, 64, 65, 4096}) {
    const std::vector<float> g = random_row(n, 1);
    std::vector<float> w = random_row(n, 2), expected = w;
    ref::move_weights(0.3f, 0.999f, g.data(), n, expected.data());
    training_kernels_for(GetParam()).move_weights(0.3f, 0.999f, g.data(), n, w.data());
    ASSERT_THAT(w, BitEqual(expected)) << "n " << n;
  }
}

TEST_P(UpdateKernels, RoundAtRandomAsTheReferenceForEveryLength) {
  for (const DType type : {DType::kBF16, DType::kQC8}) {
    for (const Index n : {1, 7, 16, 127, 128, 129, 160, 515, 4096}) {
      for (const Index row : {Index{0}, Index{5}, (Index{1} << 34) / ceil_div(n, 4)}) {  // across 32 bits
        std::vector<float> x = random_row(n, 1);
        for (Index i = 0; i < std::min<Index>(n, 128); ++i) x[static_cast<std::size_t>(i)] *= 1e-3f;
        if (n > 300) std::fill(x.begin() + 128, x.begin() + 256, 0.0f);
        const RoundingStream stream = {.key = {7, 9}, .update = 3, .row = row};
        const auto bytes = storage_bytes(type, round_up(n, info(type).block_elements)).size();
        std::vector<std::byte> actual(bytes), expected(bytes);
        ref::round_row(type, x.data(), n, stream, expected.data());
        training_kernels_for(GetParam()).round_row(type, x.data(), n, stream, actual.data());
        ASSERT_EQ(actual, expected) << name(type) << " n " << n << " row " << row;
      }
    }
  }
}

std::vector<float> rounded(DType type, const std::vector<float>& x, const RoundingStream& stream) {
  const auto n = static_cast<Index>(x.size());
  std::vector<std::byte> bytes(storage_bytes(type, round_up(n, info(type).block_elements)).size());
  ref::round_row(type, x.data(), n, stream, bytes.data());
  std::vector<float> back(static_cast<std::size_t>(round_up(n, info(type).block_elements)));
  dequantize_file_row(type, std::ssize(back), bytes.data(), back.data());
  back.resize(x.size());
  return back;
}

TEST(RoundAtRandom, KeepsTheMean) {
  for (const DType type : {DType::kBF16, DType::kQC8}) {
    const std::vector<float> x = {1.0049101562f, -0.3f, 0.0017f, -0.9999f, 0, 0.25f, 0.499f, -0.0001f};
    std::vector<double> sums(x.size());
    constexpr int kDraws = 20000;
    for (std::uint32_t update = 1; update <= kDraws; ++update) {
      const std::vector<float> y = rounded(type, x, {.key = {1, 2}, .update = update});
      for (std::size_t i = 0; i < x.size(); ++i) sums[i] += static_cast<double>(y[i]);
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      // A unit is the scale, or 2^-7 of the value; the mean of n draws is off by five of its deviations at most.
      const double value = static_cast<double>(x[i]), unit = type == DType::kQC8 ? 1.005 / 127 : std::abs(value) / 128;
      EXPECT_NEAR(sums[i] / kDraws, value, 5 * 0.5 * unit / std::sqrt(kDraws)) << name(type) << " " << value;
    }
  }
}

TEST(RoundAtRandom, MovesABrainHalfUpAsOftenAsTheWorkedExample) {
  // 1.0049101562 = 0x3f80a0e5 becomes 1.0078125 where the word's low half is 0x5f1b or more, else 1.
  const std::vector<float> x(4096, std::bit_cast<float>(0x3f80a0e5u));
  const std::vector<float> y = rounded(DType::kBF16, x, {.key = {4, 4}, .update = 1});
  EXPECT_THAT(y, testing::Each(testing::AnyOf(1.0f, 1.0078125f)));
  const auto up = static_cast<double>(std::count(y.begin(), y.end(), 1.0078125f)) / 4096;
  EXPECT_NEAR(up, 0.628494, 5 * 0.5 / 64);  // five deviations of a mean of 4096
}

TEST(RoundAtRandom, KeepsTheLargestOfAGroupAndZeros) {
  std::vector<float> x(128, 0.0f);
  x[3] = -2;
  x[100] = 2;
  EXPECT_EQ(rounded(DType::kQC8, x, {.key = {1, 1}}), x);
  EXPECT_EQ(rounded(DType::kQC8, std::vector<float>(128, 1e-35f), {}), std::vector<float>(128));
}

}  // namespace
}  // namespace jericho
