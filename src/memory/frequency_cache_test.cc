// What a cache by frequency keeps: what is used most, forgetting slowly, whatever passes through once.
#include "memory/frequency_cache.h"

#include <optional>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace jericho {
namespace {

std::optional<std::size_t> place(FrequencyCache& cache, std::size_t unit) {
  const auto slot = cache.slot_for(unit);
  if (!slot) return slot;
  if (const auto before = cache.unit_in(*slot)) cache.drop(*before);
  cache.put(unit, *slot);
  return slot;
}

// Uses a unit once: true when it was in a slot.
bool visit(FrequencyCache& cache, std::size_t unit) {
  cache.step(1);
  cache.use(unit, 1);
  const bool hit = cache.slot_of(unit).has_value();
  if (!hit) place(cache, unit);
  return hit;
}

TEST(FrequencyCache, KeepsTheFrequentWhileOthersPassThrough) {
  FrequencyCache cache(100, 4, 100, 0);
  for (int round = 0; round < 40; ++round) {
    for (const std::size_t unit : {1u, 2u, 3u}) visit(cache, unit);
    visit(cache, 10 + static_cast<std::size_t>(round));  // each of them once
  }
  for (const std::size_t unit : {1u, 2u, 3u}) EXPECT_TRUE(cache.slot_of(unit).has_value()) << unit;
}

TEST(FrequencyCache, ForgetsWhatIsUsedNoLonger) {
  FrequencyCache cache(10, 2, 10, 0);
  for (int i = 0; i < 50; ++i) visit(cache, 1);
  cache.step(20 * static_cast<std::int64_t>(FrequencyCache::kHalfLife));
  for (int i = 0; i < 3; ++i) visit(cache, 2), visit(cache, 3);
  EXPECT_FALSE(cache.slot_of(1).has_value());
  EXPECT_TRUE(cache.slot_of(2).has_value());
}

TEST(FrequencyCache, HalvesAFrequencyInItsHalfLife) {
  FrequencyCache cache(2, 1, 2, 0);
  cache.use(0, 8);
  EXPECT_DOUBLE_EQ(cache.score(0), 0.7 * 8 + 0.3);
  cache.step(256);
  EXPECT_DOUBLE_EQ(cache.score(0), 0.7 * 4);
  cache.use(0, 1);
  EXPECT_DOUBLE_EQ(cache.score(0), 0.7 * 5 + 0.3);
  EXPECT_EQ(cache.score(1), 0);
}

TEST(FrequencyCache, RetiresTheSlotThatIsMissedLeastAndNeverUsesItAgain) {
  FrequencyCache cache(10, 3, 10, 0);
  for (int i = 0; i < 5; ++i) visit(cache, 1);
  visit(cache, 2);
  EXPECT_EQ(cache.least_slot(), 2u) << "the empty one";
  cache.retire(2);
  EXPECT_EQ(cache.slots(), 2u);
  EXPECT_EQ(cache.least_slot(), cache.slot_of(2));
  const std::size_t slot = *cache.slot_of(2);
  cache.drop(2);
  cache.retire(slot);
  EXPECT_EQ(cache.slots(), 1u);
  EXPECT_FALSE(cache.unit_in(slot).has_value());
  visit(cache, 3);
  EXPECT_FALSE(cache.slot_of(1).has_value()) << "one slot is left";
  cache.hold(3);
  EXPECT_FALSE(cache.least_slot().has_value());
}

TEST(FrequencyCache, NeverTakesTheSlotOfAHeldUnit) {
  FrequencyCache cache(5, 2, 5, 0);
  const auto slot = place(cache, 0);
  place(cache, 1);
  cache.use(1, 100);
  cache.hold(0);
  EXPECT_NE(place(cache, 2), slot);
  EXPECT_EQ(cache.slot_of(0), slot);
  cache.release_all();
  cache.use(2, 1);
  EXPECT_EQ(place(cache, 3), slot);
}

TEST(FrequencyCache, HasNoSlotWhenAllAreHeld) {
  FrequencyCache cache(5, 2, 5, 0);
  for (const std::size_t unit : {0u, 1u}) place(cache, unit), cache.hold(unit);
  EXPECT_EQ(place(cache, 2), std::nullopt);
  EXPECT_EQ(cache.unit_in(*cache.slot_of(1)), 1u);
}

TEST(FrequencyCache, LeavesEveryKinItsFloor) {
  FrequencyCache cache(20, 6, 10, 2);
  for (const std::size_t unit : {0u, 1u}) place(cache, unit);  // used once, long ago
  cache.step(5000);
  for (std::size_t unit = 10; unit < 20; ++unit) {
    cache.use(unit, 50);
    place(cache, unit);
  }
  EXPECT_TRUE(cache.slot_of(0).has_value());
  EXPECT_TRUE(cache.slot_of(1).has_value());
  for (std::size_t unit = 10; unit < 20; ++unit) cache.hold(unit);
  EXPECT_TRUE(place(cache, 2).has_value());
  EXPECT_NE(cache.slot_of(0).has_value(), cache.slot_of(1).has_value());  // of its own kin, since nothing else is free
}

TEST(FrequencyCache, KeepsItsScoresOverManySteps) {
  FrequencyCache cache(2, 1, 2, 0);
  cache.use(0, 64);
  for (int i = 0; i < 2000; ++i) {
    cache.step(256);
    cache.use(0, 32);
  }
  EXPECT_NEAR(cache.score(0), 0.7 * 64 + 0.3, 1e-6);
}

TEST(FrequencyCache, GivesADroppedSlotToTheNext) {
  FrequencyCache cache(5, 2, 5, 0);
  place(cache, 0);
  const auto slot = place(cache, 1);
  cache.use(1, 9);
  cache.drop(1);
  cache.drop(1);  // nothing is there any more
  EXPECT_EQ(place(cache, 2), slot);
  EXPECT_FALSE(cache.slot_of(1).has_value());
}

TEST(FrequencyCache, HasEveryUnitInOneSlotAtMost) {
  FrequencyCache cache(30, 7, 10, 2);
  std::mt19937 random(1);
  for (int step = 0; step < 5000; ++step) {
    visit(cache, random() % 30);
    std::set<std::size_t> slots;
    std::size_t placed = 0;
    for (std::size_t unit = 0; unit < 30; ++unit) {
      if (const auto slot = cache.slot_of(unit)) slots.insert(*slot), ++placed;
    }
    ASSERT_EQ(slots.size(), placed);
    ASSERT_LE(placed, 7u);
  }
}

}  // namespace
}  // namespace jericho
