// Places in a ring never overlap, come back in order, and a run of places always fits the capacity promised for it.
#include "memory/staging_ring.h"

#include <algorithm>
#include <deque>
#include <random>

#include <gtest/gtest.h>

namespace jericho {
namespace {

TEST(StagingRing, GivesPlacesInTurnAndBeginsAgainAtTheFront) {
  StagingRing ring(100_B);
  EXPECT_EQ(ring.take(40_B), 0_B);
  EXPECT_EQ(ring.take(40_B), 40_B);
  EXPECT_EQ(ring.take(40_B), std::nullopt);
  ring.release();
  EXPECT_EQ(ring.take(40_B), 0_B);  // 20 at the end are lost
  EXPECT_EQ(ring.used(), 100_B);
  EXPECT_EQ(ring.take(1_B), std::nullopt);
  ring.release();
  EXPECT_EQ(ring.take(40_B), 40_B);
}

TEST(StagingRing, BeginsAtTheFrontAlsoWhereNothingIsLeftAtTheEnd) {
  StagingRing ring(80_B);
  EXPECT_EQ(ring.take(40_B), 0_B);
  EXPECT_EQ(ring.take(40_B), 40_B);
  ring.release();
  EXPECT_EQ(ring.take(30_B), 0_B);
  EXPECT_EQ(ring.used(), 70_B);
}

TEST(StagingRing, HoldsOnePlaceOfItsWholeSizeWhereverItStood) {
  StagingRing ring(64_B);
  ASSERT_EQ(ring.take(10_B), 0_B);
  EXPECT_EQ(ring.take(64_B), std::nullopt);
  ring.release();
  EXPECT_EQ(ring.take(64_B), 0_B);
  EXPECT_EQ(ring.used(), 64_B);
  ring.clear();
  EXPECT_TRUE(ring.empty());
  EXPECT_EQ(ring.take(64_B), 0_B);
}

TEST(StagingRing, NeverOverlapsPlaces) {
  std::mt19937 random(3);
  struct Place {
    Bytes begin, end;
  };
  for (int round = 0; round < 20; ++round) {
    StagingRing ring(Bytes{200 + 37 * round});
    std::deque<Place> alive;
    for (int step = 0; step < 2000; ++step) {
      const Bytes size{static_cast<std::int64_t>(1 + random() % 90)};
      const auto begin = ring.take(size);
      if (!begin) {
        ASSERT_FALSE(alive.empty()) << "an empty ring has no place for " << size.count;
        alive.pop_front();
        ring.release();
        continue;
      }
      ASSERT_LE(*begin + size, ring.capacity());
      for (const Place& place : alive) ASSERT_TRUE(place.end <= *begin || *begin + size <= place.begin);
      alive.push_back({*begin, *begin + size});
    }
  }
}

TEST(StagingRing, HoldsARunOfPlacesFromAnyStart) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<Bytes> run(1 + random() % 7);
    Bytes together{}, largest{};
    for (Bytes& size : run) {
      size = Bytes{static_cast<std::int64_t>(1 + random() % 100)};
      together += size;
      largest = std::max(largest, size);
    }
    StagingRing ring(StagingRing::capacity_for(together, largest));
    for (int turn = 0; turn < 50; ++turn) {  // what is left of the turn before may still be there
      std::size_t before = ring.empty() ? 0 : run.size();
      for (const Bytes size : run) {
        while (!ring.take(size)) {
          ASSERT_GT(before, 0u) << "a run alone does not fit";
          --before;
          ring.release();
        }
      }
      for (; before > 0; --before) ring.release();
    }
  }
}

}  // namespace
}  // namespace jericho
