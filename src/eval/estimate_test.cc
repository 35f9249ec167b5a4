// Means, standard errors and the test of a difference, against figures worked out by hand.
#include "eval/estimate.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace jericho {
namespace {

std::vector<double> ones_and_zeros(int ones, int zeros) {
  std::vector<double> values(static_cast<std::size_t>(ones), 1);
  values.resize(static_cast<std::size_t>(ones + zeros), 0);
  return values;
}

TEST(Estimate, OfASharePIsTheRootOfPTimesOneLessPOverNLessOne) {
  const Estimate share = estimate(ones_and_zeros(30, 10));
  EXPECT_DOUBLE_EQ(share.mean, 0.75);
  EXPECT_NEAR(share.standard_error, std::sqrt(0.75 * 0.25 / 39), 1e-15);
}

TEST(Estimate, OfOneValueHasNoError) {
  const std::vector<double> one = {3};
  EXPECT_EQ(estimate(one).mean, 3);
  EXPECT_EQ(estimate(one).standard_error, 0);
}

TEST(PairedDifference, HasTheErrorOfTheDifferencesNotOfTheScores) {
  const std::vector<double> base = {1, 1, 0, 0, 1, 0, 1, 0};
  const std::vector<double> other = {1, 1, 0, 0, 1, 0, 1, 1};
  const PairedDifference difference = paired_difference(other, base);
  EXPECT_DOUBLE_EQ(difference.accuracy.mean, 1.0 / 8);
  EXPECT_NEAR(difference.accuracy.standard_error, 1.0 / 8, 1e-15);  // sqrt((7/64) / 7)
  EXPECT_FALSE(difference.significant);
}

TEST(PairedDifference, IsSignificantFromSixOneSidedQuestionsOn) {
  // The exact sign test gives 2 * 2^-5 = 0.0625 for five and 0.03125 for six.
  for (int both : {0, 1000}) {
    for (int extra : {1, 5, 6, 40}) {
      std::vector<double> base = ones_and_zeros(both, extra);
      const std::vector<double> other = ones_and_zeros(both + extra, 0);
      EXPECT_EQ(paired_difference(other, base).significant, extra >= 6) << extra;
      EXPECT_EQ(paired_difference(base, other).significant, extra >= 6) << extra;
    }
  }
}

TEST(PairedDifference, OfEqualScoresIsNothing) {
  const auto scores = ones_and_zeros(5, 5);
  EXPECT_EQ(paired_difference(scores, scores).accuracy.mean, 0);
  EXPECT_FALSE(paired_difference(scores, scores).significant);
}

}  // namespace
}  // namespace jericho
