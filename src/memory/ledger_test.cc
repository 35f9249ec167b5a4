// The books balance: under refusals, moves, exceptions and eight threads at once.
#include "memory/ledger.h"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace jericho {
namespace {

using ::testing::HasSubstr;

TEST(Ledger, NamesEveryPurposeOnce) {
  std::set<std::string> names;
  for (std::size_t p = 0; p < kPurposes; ++p) names.emplace(name(static_cast<Purpose>(p)));
  EXPECT_EQ(names.size(), kPurposes);
  EXPECT_EQ(name(Purpose::kWeightsResident), "weights.resident");
  EXPECT_EQ(name(Purpose::kStateSsm), "state.ssm");
  EXPECT_EQ(name(Purpose::kIoRing), "io.ring");
  EXPECT_EQ(name(Purpose::kMargin), "margin");
  EXPECT_EQ(name(Tier::kDisk), "disk");
}

TEST(Ledger, LeasesUpToTheCapAndTakesTheBytesBack) {
  Ledger ledger({.ram = 64_MiB});
  {
    const Lease lease = ledger.require(Tier::kRam, Purpose::kKvPages, 64_MiB);
    EXPECT_EQ(lease.size(), 64_MiB);
    EXPECT_EQ(ledger.free(Tier::kRam), 0_B);
    EXPECT_EQ(ledger.live_leases(), 1);
  }
  EXPECT_EQ(ledger.free(Tier::kRam), 64_MiB);
  EXPECT_EQ(ledger.live_leases(), 0);
  EXPECT_EQ(ledger.snapshot().cell(Tier::kRam, Purpose::kKvPages).peak_reserved, 64_MiB);
}

TEST(Ledger, RefusesMoreThanTheBudget) {
  Ledger ledger({.ram = 64_MiB});
  const Lease held = ledger.require(Tier::kRam, Purpose::kAct, 60_MiB);
  const auto outcome = ledger.reserve(Tier::kRam, Purpose::kLogits, 4_MiB + 1_B);
  const auto* refusal = std::get_if<Refusal>(&outcome);
  ASSERT_NE(refusal, nullptr);
  EXPECT_EQ(refusal->tier, Tier::kRam);
  EXPECT_EQ(refusal->purpose, Purpose::kLogits);
  EXPECT_EQ(refusal->wanted, 4_MiB + 1_B);
  EXPECT_EQ(refusal->free, 4_MiB);
  EXPECT_EQ(ledger.snapshot().cell(Tier::kRam, Purpose::kLogits).refusals, 1);
  EXPECT_EQ(ledger.snapshot().total(Tier::kRam).refusals, 1);
  EXPECT_EQ(ledger.snapshot().total(Tier::kRam).peak_reserved, 60_MiB);
}

TEST(Ledger, KeepsTheTiersApart) {
  Ledger ledger({.device = 1_MiB, .ram = 2_MiB, .disk = 3_MiB});
  const Lease disk = ledger.require(Tier::kDisk, Purpose::kKvPages, 3_MiB);
  const Lease ram = ledger.require(Tier::kRam, Purpose::kKvPages, 2_MiB);
  EXPECT_EQ(ledger.free(Tier::kDevice), 1_MiB);
  EXPECT_TRUE(std::holds_alternative<Refusal>(ledger.reserve(Tier::kDisk, Purpose::kOpt, 1_B)));
}

TEST(Ledger, DoesNotOverflowOnHugeRequests) {
  Ledger ledger({.ram = 8_GiB});
  const Lease held = ledger.require(Tier::kRam, Purpose::kAct, 1_GiB);
  EXPECT_TRUE(std::holds_alternative<Refusal>(ledger.reserve(Tier::kRam, Purpose::kAct, Bytes{INT64_MAX})));
  EXPECT_EQ(ledger.free(Tier::kRam), 7_GiB);
}

TEST(Ledger, SaysWhoHoldsTheBytesWhenARequiredLeaseFails) {
  Ledger ledger({.ram = 100_MiB});
  const Lease a = ledger.require(Tier::kRam, Purpose::kWeightsResident, 60_MiB);
  const Lease b = ledger.require(Tier::kRam, Purpose::kKvPages, 30_MiB);
  try {
    const Lease c = ledger.require(Tier::kRam, Purpose::kAct, 11_MiB);
    FAIL() << "11 MiB were leased from 10";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBudget);
    EXPECT_THAT(error.what(), HasSubstr("ram: act wants 11.0 MiB (11534336 B), free are 10.0 MiB"));
    EXPECT_THAT(error.what(), HasSubstr("weights.resident 60.0 MiB, kv.pages 30.0 MiB"));
    EXPECT_THAT(error.what(), HasSubstr("--memory"));
  }
  EXPECT_EQ(ledger.live_leases(), 2);
}

TEST(Ledger, ALowerCapRefusesUntilEnoughCameBack) {
  Ledger ledger({.ram = 10_MiB});
  Lease held = ledger.require(Tier::kRam, Purpose::kKvPages, 8_MiB);
  ledger.set_cap(Tier::kRam, 4_MiB);
  EXPECT_EQ(ledger.free(Tier::kRam), 0_B);
  EXPECT_TRUE(std::holds_alternative<Refusal>(ledger.reserve(Tier::kRam, Purpose::kAct, 1_B)));
  held.shrink_to(3_MiB);
  EXPECT_EQ(ledger.free(Tier::kRam), 1_MiB);
  EXPECT_TRUE(std::holds_alternative<Lease>(ledger.reserve(Tier::kRam, Purpose::kAct, 1_MiB)));
}

TEST(Lease, CountsWhatIsBackedAndReturnsItInTheEnd) {
  Ledger ledger({.ram = 10_MiB});
  {
    Lease lease = ledger.require(Tier::kRam, Purpose::kOpt, 8_MiB);
    lease.commit(5_MiB);
    lease.uncommit(1_MiB);
    lease.commit(2_MiB);
    EXPECT_EQ(lease.used(), 6_MiB);
    EXPECT_EQ(ledger.snapshot().total(Tier::kRam).used, 6_MiB);
  }
  const LedgerCount after = ledger.snapshot().cell(Tier::kRam, Purpose::kOpt);
  EXPECT_EQ(after.used, 0_B);
  EXPECT_EQ(after.reserved, 0_B);
  EXPECT_EQ(after.peak_used, 6_MiB);
  EXPECT_EQ(after.peak_reserved, 8_MiB);
}

TEST(Lease, MovesWithoutLosingOrDoublingBytes) {
  Ledger ledger({.ram = 10_MiB});
  Lease a = ledger.require(Tier::kRam, Purpose::kAct, 2_MiB);
  a.commit(1_MiB);
  Lease b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): a moved-from lease holds nothing, and says so
  EXPECT_EQ(b.used(), 1_MiB);
  b = ledger.require(Tier::kRam, Purpose::kAct, 3_MiB);
  EXPECT_EQ(ledger.snapshot().total(Tier::kRam).reserved, 3_MiB);
  EXPECT_EQ(ledger.snapshot().total(Tier::kRam).used, 0_B);
  b = Lease();
  EXPECT_EQ(ledger.live_leases(), 0);
}

TEST(Lease, IsReturnedWhenAnErrorPasses) {
  Ledger ledger({.ram = 10_MiB});
  EXPECT_THROW(
      {
        Lease first = ledger.require(Tier::kRam, Purpose::kAct, 6_MiB);
        first.commit(6_MiB);
        const Lease second = ledger.require(Tier::kRam, Purpose::kAct, 6_MiB);
      },
      Error);
  EXPECT_EQ(ledger.free(Tier::kRam), 10_MiB);
  EXPECT_EQ(ledger.snapshot().total(Tier::kRam).used, 0_B);
}

TEST(LeaseDeathTest, AbortsOnBrokenBooks) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Ledger ledger({.ram = 10_MiB});
  Lease lease = ledger.require(Tier::kRam, Purpose::kAct, 1_MiB);
  lease.commit(1_KiB);
  EXPECT_DEATH(lease.commit(1_MiB), "act: commit");
  EXPECT_DEATH(lease.uncommit(1_KiB + 1_B), "act: uncommit");
  EXPECT_DEATH(lease.shrink_to(1_B), "act: shrink");
  EXPECT_DEATH((void)ledger.reserve(Tier::kRam, Purpose::kAct, Bytes{-1}), "reserve -1");
  EXPECT_DEATH(
      {
        Lease outlives;
        Ledger brief({.ram = 1_MiB});
        outlives = brief.require(Tier::kRam, Purpose::kAct, 1_B);
      },
      "outlive");
}

// The peak of the tier's total is not the sum of the cells' peaks when they were not held together.
TEST(Ledger, PeakOfTheTierIsOfItsTotal) {
  Ledger ledger({.ram = 10_MiB});
  for (const Purpose purpose : {Purpose::kAct, Purpose::kLogits, Purpose::kGrad}) {
    Lease lease = ledger.require(Tier::kRam, purpose, 4_MiB);
    lease.commit(4_MiB);
  }
  EXPECT_EQ(ledger.snapshot().total(Tier::kRam).peak_reserved, 4_MiB);
  EXPECT_EQ(ledger.snapshot().total(Tier::kRam).peak_used, 4_MiB);
}

TEST(Ledger, NeverOverCommitsAndKeepsExactPeaksUnderRaces) {
  constexpr int kThreads = 8;
  Ledger ledger({.ram = Bytes{1000}});
  std::atomic<std::int64_t> refused{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&ledger, &refused, t] {
        const auto purpose = static_cast<Purpose>(t % 3);
        for (int i = 0; i < 4000; ++i) {
          auto outcome = ledger.reserve(Tier::kRam, purpose, Bytes{1 + (i * 37 + t) % 400});
          if (Lease* lease = std::get_if<Lease>(&outcome)) {
            lease->commit(Bytes{lease->size().count / 2});
            if (i % 16 == 0) std::this_thread::yield();
          } else {
            refused.fetch_add(1);
          }
        }
      });
    }
  }
  const LedgerSnapshot after = ledger.snapshot();
  EXPECT_LE(after.total(Tier::kRam).peak_reserved, Bytes{1000});
  EXPECT_GE(after.total(Tier::kRam).peak_reserved, Bytes{400});
  EXPECT_LE(after.total(Tier::kRam).peak_used.count * 2, after.total(Tier::kRam).peak_reserved.count);
  EXPECT_EQ(after.total(Tier::kRam).reserved, 0_B);
  EXPECT_EQ(after.total(Tier::kRam).used, 0_B);
  EXPECT_EQ(after.total(Tier::kRam).refusals, refused.load());
  EXPECT_EQ(ledger.live_leases(), 0);
}

}  // namespace
}  // namespace jericho
