// Products of low rank on every path against their twin, bit for bit, and what the definition promises.
#include "kernels/low_rank.h"

#include <array>
#include <cmath>
#include <vector>

#include "kernels/bit_equal.h"
#include "kernels/kernels.h"

namespace jericho {
namespace {

class LowRankKernel : public OnPath {};
INSTANTIATE_TEST_SUITE_P(Paths, LowRankKernel, testing::ValuesIn(usable_cpu_paths()), path_name);

TEST_P(LowRankKernel, EqualsReferenceForEveryLengthRankAndGain) {
  const Kernels& kernels = kernels_for(GetParam());
  for (const Index N : {1, 7, 16, 17, 63, 64, 65, 200}) {
    for (const Index R : {1, 3, 16}) {
      for (const Values values : {Values::kPlain, Values::kSpecial}) {
        const std::vector<float> u = random_row(3 * (R + 2), 1), m = random_row(R * (N + 5), 2, values);
        const std::vector<float> y = random_row(3 * (N + 3), 3, values), bias = random_row(N, 4);
        std::vector<float> gain = random_row(N, 5);
        for (Index n = 0; n < N; n += 3) gain[static_cast<std::size_t>(n)] = 1;
        for (const RowGains gains : {RowGains{}, RowGains{gain.data()}, RowGains{gain.data(), bias.data()}}) {
          std::vector<float> expected = y, actual = y;
          ref::low_rank_add({u.data(), 3, R, R + 2}, {m.data(), R, N, N + 5}, gains, {expected.data(), 3, N, N + 3});
          kernels.low_rank_add({u.data(), 3, R, R + 2}, {m.data(), R, N, N + 5}, gains, {actual.data(), 3, N, N + 3});
          ASSERT_THAT(actual, BitEqual(expected)) << "N " << N << " R " << R;
        }
      }
    }
  }
}

TEST(LowRank, OfNothingLeavesEveryBit) {
  std::vector<float> y = random_row(50, 1);
  y[3] = -0.0f;
  const std::vector<float> before = y, u = random_row(8, 2), zeros(8 * 50, 0.0f), ones(50, 1.0f), bias(50, 1e6f);
  ref::low_rank_add({u.data(), 1, 8}, {zeros.data(), 8, 50}, {ones.data(), bias.data()}, {y.data(), 1, 50});
  EXPECT_THAT(y, BitEqual(before));
}

TEST(LowRank, IsAccurate) {  // against double: R rounded products and sums, then one
  constexpr Index kR = 16, kN = 100;
  const std::vector<float> u = random_row(kR, 1), m = random_row(kR * kN, 2), y = random_row(kN, 3);
  std::vector<float> actual = y;
  ref::low_rank_add({u.data(), 1, kR}, {m.data(), kR, kN}, {}, {actual.data(), 1, kN});
  for (Index n = 0; n < kN; ++n) {
    const auto at = static_cast<std::size_t>(n);
    double sum = static_cast<double>(y[at]), magnitude = std::abs(sum);
    for (Index r = 0; r < kR; ++r) {
      const double product = static_cast<double>(u[static_cast<std::size_t>(r)]) *
                             static_cast<double>(m[static_cast<std::size_t>(r * kN + n)]);
      sum += product;
      magnitude += std::abs(product);
    }
    ASSERT_NEAR(static_cast<double>(actual[at]), sum, (kR + 1) * 0x1p-24 * magnitude);
  }
}

// A LoRA of two inputs and outputs: W = I, A = [[0.5, -1]], B = [[0], [0.2]], s = 2, x = [1, 2]; DoRA with
// magnitudes of 1, where the rows of W + s B A have norms 1 and 0.632455532.
TEST(LowRank, GivesTheWorkedExample) {
  const std::vector<float> bt = {0.0f, 0.2f};
  const float u = 2 * (1 * 0.5f + 2 * -1.0f);
  std::vector<float> y = {1, 2}, dora = {1, 2};
  ref::low_rank_add({&u, 1, 1}, {bt.data(), 1, 2}, {}, {y.data(), 1, 2});
  EXPECT_NEAR(y[0], 1.0f, 1e-6f);
  EXPECT_NEAR(y[1], 1.4f, 1e-6f);
  const std::vector<float> gain = {1.0f, 1.0f / 0.632455532f};
  ref::low_rank_add({&u, 1, 1}, {bt.data(), 1, 2}, {gain.data()}, {dora.data(), 1, 2});
  EXPECT_NEAR(dora[0], 1.0f, 1e-6f);
  EXPECT_NEAR(dora[1], 2.21359436f, 1e-6f);
}

}  // namespace
}  // namespace jericho
