// A loop over more units than fit: what each policy finds in memory, and that the pinned ones are spread over the loop.
#include "memory/pinned_set.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <numeric>

#include <gtest/gtest.h>

namespace jericho {
namespace {

constexpr int kUnits = 10, kRoom = 8, kTurns = 9000;

// The share of hits of demand paging with this choice of whom to evict.
double hit_rate(const std::function<std::size_t(const std::deque<int>& cached, int unit)>& evict) {
  std::deque<int> cached;  // the one used last at the back
  int hits = 0;
  for (int step = 0; step < kTurns * kUnits; ++step) {
    const int unit = step % kUnits;
    const auto found = std::find(cached.begin(), cached.end(), unit);
    if (found != cached.end()) {
      ++hits;
      cached.erase(found);
    } else if (cached.size() == kRoom) {
      cached.erase(cached.begin() + static_cast<std::ptrdiff_t>(evict(cached, unit)));
    }
    cached.push_back(unit);
  }
  return static_cast<double>(hits) / (kTurns * kUnits);
}

TEST(CyclicScan, IsServedBestByAFixedSetWithTheRestReadPastIt) {
  const double lru = hit_rate([](const std::deque<int>&, int) { return 0u; });
  const double belady = hit_rate([](const std::deque<int>& cached, int unit) {
    const auto until = [&](int other) { return (other - unit + kUnits) % kUnits; };
    return static_cast<std::size_t>(
        std::max_element(cached.begin(), cached.end(), [&](int a, int b) { return until(a) < until(b); }) -
        cached.begin());
  });
  EXPECT_EQ(lru, 0);
  EXPECT_NEAR(belady, 7.0 / 9, 1e-3);
  const std::vector<Bytes> sizes(kUnits, 1_B);
  const std::vector<bool> pinned = spread_pins(sizes, Bytes{kRoom});
  EXPECT_EQ(std::count(pinned.begin(), pinned.end(), true), 8);  // of 10 in every turn
}

TEST(PinnedSet, IsSpreadEvenlyOverTheLoop) {
  const std::vector<Bytes> sizes(100, 10_B);
  for (const std::int64_t percent : {10, 25, 50, 75, 90}) {
    const std::vector<bool> pinned = spread_pins(sizes, Bytes{10 * percent});
    EXPECT_EQ(std::count(pinned.begin(), pinned.end(), true), percent);
    for (std::size_t begin = 0; begin < 100; begin += 20) {
      const auto first = pinned.begin() + static_cast<std::ptrdiff_t>(begin);
      EXPECT_NEAR(static_cast<double>(std::count(first, first + 20, true)), 0.2 * static_cast<double>(percent), 1)
          << percent << " % from " << begin;
    }
  }
}

TEST(PinnedSet, NeverTakesMoreThanTheRoomAndLeavesLessThanTheSmallest) {
  std::vector<Bytes> sizes;
  for (int layer = 0; layer < 8; ++layer) {
    for (const std::int64_t size : {23, 3, 3, 23, 65, 65, 65}) sizes.push_back(Bytes{size});
  }
  Bytes total{};
  for (const Bytes size : sizes) total += size;
  for (Bytes room{}; room <= total + 10_B; room += 7_B) {
    const std::vector<bool> pinned = spread_pins(sizes, room);
    Bytes taken{}, smallest_left = total;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (pinned[i]) {
        taken += sizes[i];
      } else {
        smallest_left = std::min(smallest_left, sizes[i]);
      }
    }
    EXPECT_LE(taken, room);
    EXPECT_TRUE(taken == total || room - taken < smallest_left) << room.count;
  }
}

TEST(PinnedSet, OfNothingIsNothing) {
  EXPECT_TRUE(spread_pins({}, 10_B).empty());
  const std::vector<Bytes> sizes(3, 5_B);
  EXPECT_EQ(spread_pins(sizes, 4_B), std::vector<bool>(3, false));
  EXPECT_EQ(spread_pins(sizes, 15_B), std::vector<bool>(3, true));
}

}  // namespace
}  // namespace jericho
