// Arenas cost what their leases say, and scratch costs what was planned.
#include "memory/arena.h"

#include <cstdint>
#include <vector>

#include <sys/mman.h>

#include <gtest/gtest.h>

#include "base/error.h"

namespace jericho {
namespace {

// Pages of the arena that are in memory now, by mincore(2).
std::int64_t resident_pages(const Arena& arena) {
  std::vector<unsigned char> state(arena.size().size() / 4096);
  EXPECT_EQ(mincore(arena.bytes().data(), arena.size().size(), state.data()), 0);
  std::int64_t pages = 0;
  for (const unsigned char page : state) pages += page & 1;
  return pages;
}

Arena make_arena(Ledger& ledger, Bytes size, ArenaOptions options = {}) {
  return Arena(ledger.require(Tier::kRam, Purpose::kAct, arena_bytes(size)), options);
}

TEST(Arena, RoundsToWholePagesOnly) {
  EXPECT_EQ(arena_bytes(0_B), 0_B);
  EXPECT_EQ(arena_bytes(1_B), 4_KiB);
  EXPECT_EQ(arena_bytes(4_KiB), 4_KiB);
  EXPECT_EQ(arena_bytes(2_MiB + 1_B), 2_MiB + 4_KiB);
}

TEST(Arena, StartsOnAHugePageWhenLargeEnough) {
  Ledger ledger({.ram = 64_MiB});
  for (const Bytes size : {2_MiB, 2_MiB + 4_KiB, 7_MiB}) {
    const Arena arena = make_arena(ledger, size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.bytes().data()) % (2 << 20), 0u) << size.count;
    EXPECT_EQ(arena.bytes().size(), size.size());
  }
  const Arena small = make_arena(ledger, 8_KiB);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small.bytes().data()) % 4096, 0u);
}

TEST(Arena, UsesNothingUntilTouchedAndEverythingWhenPopulated) {
  Ledger ledger({.ram = 64_MiB});
  Arena arena = make_arena(ledger, 5_MiB + 12_KiB);
  EXPECT_EQ(resident_pages(arena), 0);
  EXPECT_EQ(arena.used(), 0_B);
  arena.populate();
  EXPECT_TRUE(arena.populated());
  EXPECT_EQ(resident_pages(arena), (5 << 20) / 4096 + 3);
  EXPECT_EQ(ledger.snapshot().cell(Tier::kRam, Purpose::kAct).used, 5_MiB + 12_KiB);
}

TEST(Arena, IsZeroAtFirstAndAgainAfterRelease) {
  Ledger ledger({.ram = 64_MiB});
  Arena arena = make_arena(ledger, 64_KiB, {.huge_pages = false});
  arena.commit(0_B, 16_KiB);
  for (std::size_t i = 0; i < 16384; ++i) {
    ASSERT_EQ(arena.bytes()[i], std::byte{0});
    arena.bytes()[i] = std::byte{0x5a};
  }
  EXPECT_EQ(resident_pages(arena), 4);
  arena.release(4_KiB, 8_KiB);
  EXPECT_EQ(arena.used(), 8_KiB);
  EXPECT_EQ(resident_pages(arena), 2);
  EXPECT_EQ(arena.bytes()[4095], std::byte{0x5a});
  EXPECT_EQ(arena.bytes()[4096], std::byte{0});
  EXPECT_EQ(arena.bytes()[12287], std::byte{0});
  EXPECT_EQ(arena.bytes()[12288], std::byte{0x5a});
}

TEST(Arena, PopulatingKeepsContentsAndCountsCommittedBytesOnce) {
  Ledger ledger({.ram = 64_MiB});
  Arena arena = make_arena(ledger, 64_KiB);
  arena.commit(8_KiB, 4_KiB);
  arena.bytes()[8192] = std::byte{7};
  arena.populate();
  arena.commit(0_B, 4_KiB);  // nothing to count: all is backed
  EXPECT_EQ(arena.used(), 64_KiB);
  EXPECT_EQ(arena.bytes()[8192], std::byte{7});
}

TEST(Arena, ReportsProgressAndStopsWhenAsked) {
  Ledger ledger({.ram = 256_MiB});
  Arena arena = make_arena(ledger, 130_MiB);
  std::stop_source source;
  std::vector<Bytes> steps;
  const auto stop_after_first = [&](Bytes done, Bytes total) {
    EXPECT_EQ(total, 130_MiB);
    steps.push_back(done);
    source.request_stop();
  };
  try {
    arena.populate(source.get_token(), stop_after_first);
    FAIL() << "populated to the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
  EXPECT_EQ(steps, std::vector<Bytes>{64_MiB});
  EXPECT_EQ(arena.used(), 64_MiB);
  EXPECT_FALSE(arena.populated());
}

TEST(Arena, GivesMemoryAndLeaseBackTogether) {
  Ledger ledger({.ram = 16_MiB});
  Arena arena = make_arena(ledger, 16_MiB, {.populate = true});
  Arena moved = std::move(arena);
  EXPECT_EQ(arena.bytes().size(), 0u);  // NOLINT(bugprone-use-after-move): documented to be empty
  moved = Arena();
  EXPECT_EQ(ledger.free(Tier::kRam), 16_MiB);
  EXPECT_EQ(ledger.live_leases(), 0);
  const Arena empty = make_arena(ledger, 0_B);
  EXPECT_TRUE(empty.bytes().empty());
}

TEST(Arena, RefusedMappingIsAnErrorAndReturnsTheLease) {
  Ledger ledger({.ram = Bytes{std::int64_t{1} << 60}});
  EXPECT_THROW(make_arena(ledger, Bytes{std::int64_t{1} << 58}), Error);
  EXPECT_EQ(ledger.live_leases(), 0);
}

TEST(Arena, RetiresBytesForGood) {
  Ledger ledger({.ram = 16_MiB});
  const auto books = [&] { return ledger.snapshot().total(Tier::kRam); };
  Arena arena = make_arena(ledger, 64_KiB);
  arena.commit(0_B, 16_KiB);
  arena.bytes()[0] = arena.bytes()[65535] = std::byte{5};
  arena.retire(8_KiB, 40_KiB, 8_KiB);
  EXPECT_EQ(arena.size(), 24_KiB);
  EXPECT_EQ(arena.used(), 8_KiB);
  EXPECT_EQ(books().reserved, 24_KiB);
  EXPECT_EQ(arena.bytes().size(), 65536u);
  EXPECT_EQ(arena.bytes()[0], std::byte{5});
  EXPECT_EQ(arena.bytes()[65535], std::byte{5});
  arena.commit(48_KiB, 16_KiB);
  arena.retire(0_B, 8_KiB, 8_KiB);
  EXPECT_EQ(arena.used(), arena.size());
  arena = {};
  EXPECT_EQ(books().reserved, 0_B);
}

TEST(ArenaDeathTest, AbortsOnRangesOutsideAndOddLeases) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Ledger ledger({.ram = 16_MiB});
  Arena arena = make_arena(ledger, 64_KiB);
  EXPECT_DEATH(arena.commit(60_KiB, 8_KiB), "of an arena of 65536");
  EXPECT_DEATH(arena.release(0_B, 100_B), "not of whole pages");
  EXPECT_DEATH(Arena(ledger.require(Tier::kRam, Purpose::kAct, 100_B)), "whole pages");
}

// One layout for both: what a planner counts is what a step takes.
template <class S>
void example_layout(S& scratch) {
  scratch.template take<float>(17);
  {
    ScratchScope scope(scratch);
    scratch.template take<std::uint16_t>(1000);
    scratch.template take<std::byte>(1);
  }
  scratch.template take<double>(3);
  scratch.template take<float>(0);
}

TEST(Scratch, TakesExactlyWhatWasCounted) {
  ScratchSize size;
  example_layout(size);
  EXPECT_EQ(size.peak(), Bytes{128 + 2048 + 64});
  Ledger ledger({.ram = 1_MiB});
  const Arena arena = make_arena(ledger, size.peak());
  Scratch scratch(arena.bytes().first(size.peak().size()));
  example_layout(scratch);
  EXPECT_EQ(scratch.peak(), size.peak());
  EXPECT_EQ(scratch.mark(), size.mark());
}

TEST(Scratch, HandsOutAlignedPiecesThatDoNotOverlap) {
  Ledger ledger({.ram = 1_MiB});
  const Arena arena = make_arena(ledger, 4_KiB);
  Scratch scratch(arena.bytes());
  const std::span<float> a = scratch.take<float>(3);
  const std::span<std::int8_t> b = scratch.take<std::int8_t>(65);
  const std::span<float> c = scratch.take<float>(1);
  EXPECT_EQ(a.size(), 3u);
  EXPECT_EQ(reinterpret_cast<std::byte*>(b.data()) - reinterpret_cast<std::byte*>(a.data()), 64);
  EXPECT_EQ(reinterpret_cast<std::byte*>(c.data()) - reinterpret_cast<std::byte*>(b.data()), 128);
}

TEST(ScratchDeathTest, AbortsWhenThePlanWasTooSmall) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Ledger ledger({.ram = 1_MiB});
  const Arena arena = make_arena(ledger, 4_KiB);
  Scratch scratch(arena.bytes());
  EXPECT_DEATH(scratch.take<float>(1025), "scratch of 4096 B: 0 B taken, 4160 B wanted");
  EXPECT_DEATH(scratch.take<float>(-1), "-1 elements");
  EXPECT_DEATH(scratch.rewind(64_B), "rewind");
}

}  // namespace
}  // namespace jericho
