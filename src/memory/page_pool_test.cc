// Pages are handed out once, zeroed, shared and copied; a million random steps agree with a naive model.
#include "memory/page_pool.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "base/philox.h"

namespace jericho {
namespace {

PagePool make_pool(Ledger& ledger, Index usable, Bytes page_bytes, ArenaOptions options = {}) {
  return PagePool(
      Arena(ledger.require(Tier::kRam, Purpose::kKvPages, PagePool::pool_bytes(usable, page_bytes)), options),
      page_bytes);
}

bool all_zero(const PagePool& pool, PageId id) {
  const std::byte* page = pool.data(id);
  return std::all_of(page, page + pool.page_bytes().size(), [](std::byte b) { return b == std::byte{0}; });
}

TEST(PagePool, HandsOutEveryPageOnceAndThenNone) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 15, 4_KiB);
  EXPECT_EQ(pool.capacity(), 15);
  std::vector<PageId> ids;
  while (const auto id = pool.allocate()) ids.push_back(*id);
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids.size(), 15u);
  EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
  EXPECT_GT(ids.front(), kNullPage);
  EXPECT_EQ(pool.free_pages(), 0);
}

TEST(PagePool, HasBytesForItsPagesOnlyWhereThereIsNoNullPage) {
  Ledger ledger({.ram = 1_MiB});
  const Bytes size = PagePool::pool_bytes(3, 4_KiB, NullPage::kAbsent);
  EXPECT_EQ(size, 12_KiB);
  PagePool pool(Arena(ledger.require(Tier::kRam, Purpose::kStateSsm, size)), 4_KiB, NullPage::kAbsent);
  EXPECT_EQ(pool.capacity(), 3);
  std::vector<PageId> ids;
  while (const auto id = pool.allocate()) {
    EXPECT_TRUE(all_zero(pool, *id));
    std::memset(pool.data(*id), 0xff, 4096);
    ids.push_back(*id);
  }
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_EQ(pool.data(ids.front()), pool.arena().bytes().data());
  EXPECT_EQ(pool.arena().used(), 12_KiB);
  pool.release(ids[1]);
  EXPECT_EQ(pool.allocate(), ids[1]);
  EXPECT_TRUE(all_zero(pool, ids[1]));
}

TEST(PagePool, ZeroesAPageThatHeldSomethingElse) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 1, 4_KiB);
  const PageId id = pool.allocate().value();
  const std::uint32_t generation = pool.generation(id);
  std::memset(pool.data(id), 0xff, 4096);
  pool.release(id);
  EXPECT_EQ(pool.refcount(id), 0u);
  EXPECT_EQ(pool.allocate(), id);
  EXPECT_TRUE(all_zero(pool, id));
  EXPECT_EQ(pool.generation(id), generation + 1);
  EXPECT_TRUE(all_zero(pool, kNullPage));
}

TEST(PagePool, GivesFreePagesBackForGood) {
  for (const bool populate : {false, true}) {
    Ledger ledger({.ram = 1_MiB});
    PagePool pool = make_pool(ledger, 15, 4_KiB, {.huge_pages = false, .populate = populate});
    const auto books = [&] { return ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages); };
    std::vector<PageId> held;
    for (int i = 0; i < 6; ++i) held.push_back(pool.allocate().value());
    std::memset(pool.data(held[4]), 7, 4096);
    pool.release(held[2]);
    pool.release(held[3]);
    EXPECT_EQ(pool.retire(10), 10);  // nine never used, one used before
    EXPECT_EQ(pool.capacity(), 5);
    EXPECT_EQ(pool.free_pages(), 1);
    EXPECT_EQ(books().reserved, 6 * 4_KiB);  // the null page too
    EXPECT_EQ(pool.arena().bytes().size(), 16u * 4096);
    EXPECT_TRUE(pool.allocate().has_value());
    EXPECT_EQ(pool.allocate(), std::nullopt);
    EXPECT_EQ(pool.retire(3), 0);
    EXPECT_EQ(pool.data(held[4])[4095], std::byte{7});
    for (const PageId id : {held[0], held[1], held[4], held[5]}) pool.release(id);
    EXPECT_EQ(pool.retire(3), 3);
    EXPECT_EQ(pool.capacity(), 2);
    EXPECT_EQ(books().reserved, 3 * 4_KiB);
    EXPECT_LE(books().used, books().reserved);
  }
}

TEST(PagePool, KeepsTheBytesThatPagesShareWithTheirNeighbours) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 15, 1536_B, {.huge_pages = false});
  std::vector<PageId> held;
  while (const auto id = pool.allocate()) held.push_back(*id);
  for (const PageId id : held) std::memset(pool.data(id), static_cast<int>(id), 1536);
  for (std::size_t i = 1; i < held.size(); i += 2) pool.release(held[i]);
  EXPECT_EQ(pool.retire(7), 7);
  for (std::size_t i = 0; i < held.size(); i += 2) {
    const std::byte* page = pool.data(held[i]);
    EXPECT_TRUE(std::all_of(page, page + 1536, [&](std::byte b) { return b == static_cast<std::byte>(held[i]); }));
  }
}

TEST(PagePool, CountsUsedBytesAsPagesAreFirstTouched) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 15, 4_KiB, {.huge_pages = false});
  const auto used = [&] { return ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages).used; };
  EXPECT_EQ(used(), 0_B);
  const PageId a = pool.allocate().value();
  const PageId b = pool.allocate().value();
  EXPECT_EQ(used(), 8_KiB);
  pool.release(a);
  pool.release(b);
  EXPECT_TRUE(pool.allocate().has_value());
  EXPECT_EQ(used(), 8_KiB);  // reused, not touched anew
}

TEST(PagePool, OfAPopulatedArenaIsUsedWholeFromTheStart) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 15, 4_KiB, {.populate = true});
  EXPECT_TRUE(pool.allocate().has_value());
  EXPECT_EQ(ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages).used, 64_KiB);
}

TEST(PagePool, CopiesASharedPageOnOwnAndOnlyThen) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 2, 4_KiB);
  const PageId a = pool.allocate().value();
  std::memset(pool.data(a), 0x11, 4096);
  EXPECT_EQ(pool.own(a), a);
  pool.retain(a);
  const PageId b = pool.own(a).value();
  EXPECT_NE(b, a);
  EXPECT_EQ(std::memcmp(pool.data(a), pool.data(b), 4096), 0);
  EXPECT_EQ(pool.refcount(a), 1u);
  EXPECT_EQ(pool.refcount(b), 1u);
}

TEST(PagePool, OwnWithoutAFreePageChangesNothing) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 1, 4_KiB);
  const PageId a = pool.allocate().value();
  pool.retain(a);
  EXPECT_EQ(pool.own(a), std::nullopt);
  EXPECT_EQ(pool.refcount(a), 2u);
}

TEST(PagePool, TakesPagesThatAreNoMultipleOfTheKernels) {
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 100, 192_B);
  EXPECT_GE(pool.capacity(), 100);
  EXPECT_LT(pool.capacity(), 100 + 4096 / 192 + 1);
  while (pool.allocate()) {
  }
  EXPECT_LE(ledger.snapshot().total(Tier::kRam).used, PagePool::pool_bytes(100, 192_B));
}

TEST(PagePool, TellsItsMetadataInAdvance) { EXPECT_EQ(PagePool::meta_bytes(999), 12000_B); }

TEST(PagePoolDeathTest, AbortsOnReferencesNobodyHolds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Ledger ledger({.ram = 1_MiB});
  PagePool pool = make_pool(ledger, 2, 4_KiB);
  const PageId a = pool.allocate().value();
  pool.release(a);
  EXPECT_DEATH(pool.release(a), "release of free page");
  EXPECT_DEATH(pool.retain(a), "retain of free page");
  EXPECT_DEATH(pool.release(kNullPage), "release of free page 0");
  EXPECT_DEATH((void)pool.own(12345), "own of free page");
}

// Sequences are lists of references. The model knows, for each page, how many lists hold it and which fingerprint its
// content must carry; each step is one of grow, fork, write (after own) and finish.
class ModelTest {
 public:
  ModelTest(PagePool& pool, std::uint32_t seed) : pool_(pool), seed_(seed) {}

  void step(std::uint32_t i) {
    const PhiloxCounter random = philox4x32({i, 0, 0, 0}, {seed_, 0});
    const bool grow = sequences_.empty() || random[0] % 100 < 40;
    if (grow && (sequences_.empty() || random[1] % 4 == 0)) return begin(i);
    std::size_t at = random[2] % sequences_.size();
    if (grow) return append(at, i);
    if (random[0] % 100 < 55) return fork(at);
    if (random[0] % 100 < 85) return write(at, random[3], i);
    finish(at);
  }

  void expect_equal() const {
    Index held = 0;
    for (PageId id = 1; id <= pool_.capacity(); ++id) {
      const auto it = model_.find(id);
      ASSERT_EQ(pool_.refcount(id), it == model_.end() ? 0 : it->second.references) << "page " << id;
      if (it == model_.end()) continue;
      ++held;
      ASSERT_TRUE(content_is(id, it->second.fingerprint)) << "page " << id;
    }
    ASSERT_EQ(pool_.free_pages(), pool_.capacity() - held);
    ASSERT_TRUE(all_zero(pool_, kNullPage));
  }

 private:
  struct Expected {
    std::uint32_t references = 0;
    std::uint64_t fingerprint = 0;
  };

  bool content_is(PageId id, std::uint64_t fingerprint) const {
    const auto* words = reinterpret_cast<const std::uint64_t*>(pool_.data(id));
    const std::size_t count = pool_.page_bytes().size() / 8;
    return std::all_of(words, words + count, [&](std::uint64_t word) { return word == fingerprint; });
  }
  void fill(PageId id, std::uint64_t fingerprint) {
    auto* words = reinterpret_cast<std::uint64_t*>(pool_.data(id));
    std::fill(words, words + pool_.page_bytes().size() / 8, fingerprint);
  }
  bool grab(PageId& id, std::uint32_t step) {
    const std::optional<PageId> page = pool_.allocate();
    if (page.has_value() != (static_cast<Index>(model_.size()) < pool_.capacity())) ADD_FAILURE() << "step " << step;
    if (!page) return false;
    EXPECT_FALSE(model_.contains(*page)) << "page " << *page << " handed out twice at step " << step;
    EXPECT_TRUE(content_is(*page, 0)) << "page " << *page << " not zeroed at step " << step;
    id = *page;
    model_[id] = {1, std::uint64_t{seed_} << 32 | step};
    fill(id, model_[id].fingerprint);
    return true;
  }
  void begin(std::uint32_t step) {
    PageId id = 0;
    if (grab(id, step)) sequences_.push_back({id});
  }
  void append(std::size_t at, std::uint32_t step) {
    PageId id = 0;
    if (grab(id, step))
      sequences_[at].push_back(id);
    else
      finish(at);
  }
  void fork(std::size_t at) {
    const std::vector<PageId> copy = sequences_[at];
    for (const PageId id : copy) pool_.retain(id), ++model_[id].references;
    sequences_.push_back(copy);
  }
  void write(std::size_t at, std::uint32_t where, std::uint32_t step) {
    PageId& id = sequences_[at][where % sequences_[at].size()];
    const std::optional<PageId> owned = pool_.own(id);
    if (!owned) {
      EXPECT_EQ(pool_.free_pages(), 0);
      return finish(at);
    }
    EXPECT_TRUE(content_is(*owned, model_[id].fingerprint)) << "step " << step;
    if (*owned != id) {
      EXPECT_FALSE(model_.contains(*owned));
      --model_[id].references;
      model_[*owned].references = 1;
      id = *owned;
    }
    model_[id].fingerprint = std::uint64_t{seed_} << 32 | step;
    fill(id, model_[id].fingerprint);
  }
  void finish(std::size_t at) {
    for (const PageId id : sequences_[at]) {
      EXPECT_TRUE(content_is(id, model_[id].fingerprint)) << "page " << id;
      pool_.release(id);
      if (--model_[id].references == 0) model_.erase(id);
    }
    sequences_[at] = sequences_.back();
    sequences_.pop_back();
  }

  PagePool& pool_;
  std::uint32_t seed_;
  std::vector<std::vector<PageId>> sequences_;
  std::map<PageId, Expected> model_;
};

TEST(PagePool, AgreesWithANaiveModelOverAMillionRandomSteps) {
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    Ledger ledger({.ram = 1_MiB});
    PagePool pool = make_pool(ledger, seed * 20, 256_B);
    ModelTest test(pool, seed);
    for (std::uint32_t i = 1; i <= 250'000; ++i) {
      test.step(i);
      if (i % 256 == 0) test.expect_equal();
      if (HasFailure()) FAIL() << "seed " << seed << " step " << i;
    }
  }
}

}  // namespace
}  // namespace jericho
