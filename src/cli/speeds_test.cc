// A speed stands beside the roof that was kept, or alone with a hint of how to get one.
#include "cli/speeds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

#include "memory/temp_folder.h"

namespace jericho::cli {
namespace {

using ::testing::HasSubstr;

class SpeedsTest : public ::testing::Test {
 protected:
  SpeedsTest() { setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1); }
  ~SpeedsTest() override { unsetenv("XDG_CACHE_HOME"); }

  static Speeds with_record() {
    MachineRecord record{.identity = machine_identity(2, CpuPath::kAvx2), .date = "2026-11-28"};
    record.set(MachineFigure::kDramRead, 40, 0);
    record.set(MachineFigure::kAvx2Madd, 2, 0);
    record.set(MachineFigure::kDiskRead, 2, 0);
    record.set(MachineFigure::kDiskWrite, 1, 0);
    keep_record(record);
    return {2, CpuPath::kAvx2};
  }

  TempFolder folder_;
};

TEST_F(SpeedsTest, AreHeldAgainstWhatWasKept) {
  const Speeds speeds = with_record();
  const auto held = speeds.tokens(40, {.bytes = 0.5e9, .operations = 2e9, .kind = PeakKind::kInt8});
  EXPECT_EQ(of_roof(held), "50.0 % of dram_read 40 GB/s");
  EXPECT_EQ(after_speed(held), " 50.0 % of dram_read 40 GB/s");
  EXPECT_EQ(to_json(held)["name"], "dram_read");
  EXPECT_DOUBLE_EQ(to_json(held)["fraction"], 0.5);
  EXPECT_EQ(speeds.hint(), "");
  EXPECT_EQ(speeds.tokens(40, {.bytes = 1, .operations = 2e9, .kind = PeakKind::kInt8})->roof.name, "avx2_madd");
}

TEST_F(SpeedsTest, OfADiskAreHeldAgainstTheSlowerWay) {
  const Speeds speeds = with_record();
  const auto same = speeds.disk({1'000'000'000}, {1'000'000'000}, 2);
  EXPECT_EQ(same->roof.name, "disk_write");
  EXPECT_DOUBLE_EQ(same->fraction, 0.5);
  EXPECT_EQ(speeds.disk({1'000'000'000}, {}, 2)->roof.name, "disk_read");
  EXPECT_FALSE(speeds.disk({1'000'000'000}, {}, 0).has_value());
}

TEST_F(SpeedsTest, StandAloneWithAHintWhereNothingWasKept) {
  const Speeds speeds(2, CpuPath::kAvx2);
  EXPECT_FALSE(speeds.tokens(40, {.bytes = 1e9}).has_value());
  EXPECT_EQ(of_roof(std::nullopt), "");
  EXPECT_EQ(after_speed(std::nullopt), "");
  EXPECT_TRUE(to_json(std::optional<Held>{}).is_null());
  EXPECT_THAT(speeds.hint(), HasSubstr("jericho bench --machine"));
}

}  // namespace
}  // namespace jericho::cli
