// Learning rates and the order of an epoch against worked values.
#include "train/schedule.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "train/shuffle.h"

namespace jericho {
namespace {

TEST(Schedule, OfACosineGivesTheWorkedValues) {
  const Schedule s = {.shape = "cosine", .peak = 0.01, .warmup = 100, .min_ratio = 0.1};
  const std::pair<Index, double> values[] = {{0, 0},       {1, .0001},  {50, .005}, {100, .01}, {325, .00868198052},
                                             {550, .0055}, {1000, .001}};
  for (const auto& [step, rate] : values) EXPECT_NEAR(learning_rate(s, step, 1000), rate, 1e-11) << step;
}

TEST(Schedule, OfWarmupStableDecayGivesTheWorkedValues) {
  const Schedule s = {.shape = "wsd", .peak = 0.01, .warmup = 100, .min_ratio = 0, .decay = 200};
  const std::pair<Index, double> values[] = {{50, .005},  {100, .01},          {799, .01}, {800, .01},
                                             {850, .005}, {900, .00292893219}, {1000, 0}};
  for (const auto& [step, rate] : values) EXPECT_NEAR(learning_rate(s, step, 1000), rate, 1e-11) << step;
}

std::vector<std::uint64_t> order(std::uint64_t count, std::uint64_t seed, std::uint64_t epoch, std::uint64_t first) {
  std::vector<std::uint64_t> out;
  const Shuffle shuffle(count, seed, epoch);
  for (std::uint64_t i = 0; i < first; ++i) out.push_back(shuffle(i));
  return out;
}

TEST(Shuffle, GivesTheWorkedOrders) {
  using testing::ElementsAre;
  EXPECT_THAT(order(10, 1, 0, 10), ElementsAre(5, 2, 9, 3, 8, 0, 6, 7, 4, 1));
  EXPECT_THAT(order(10, 1, 1, 10), ElementsAre(7, 6, 4, 5, 0, 9, 3, 2, 1, 8));
  EXPECT_THAT(order(7, 42, 0, 7), ElementsAre(4, 5, 2, 0, 3, 6, 1));
  EXPECT_THAT(order(1000, 123, 0, 8), ElementsAre(716, 542, 17, 245, 562, 375, 473, 959));
}

TEST(Shuffle, MeetsEverySampleOnce) {
  for (const std::uint64_t n : {1, 2, 3, 5, 64, 65, 1000}) {
    const std::vector<std::uint64_t> all = order(n, 9, 4, n);
    EXPECT_EQ(std::set<std::uint64_t>(all.begin(), all.end()).size(), n);
  }
}

}  // namespace
}  // namespace jericho
