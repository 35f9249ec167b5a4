// --memory is read as written, and refused with advice.
#include "memory/budget.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace jericho {
namespace {

using ::testing::HasSubstr;

constexpr Capacity kMachine{.ram_total = 10_GiB,
                            .ram_available = 5_GiB,
                            .disk_available = 100_GiB,
                            .device_total = 24_GiB,
                            .device_available = 20_GiB};

std::string refusal(std::string_view spec, Capacity capacity = kMachine, BudgetOptions options = {}) {
  try {
    parse_budget(spec, capacity, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage) << spec;
    return error.what();
  }
  return "accepted";
}

TEST(Budget, ReadsSizesPercentAutoAndMax) {
  EXPECT_EQ(parse_budget("8GB", kMachine).ram, Bytes{8'000'000'000});
  EXPECT_EQ(parse_budget("8GiB", kMachine).ram, Bytes{8'589'934'592});
  EXPECT_EQ(parse_budget("1.5G", kMachine).ram, Bytes{1'610'612'736});
  EXPECT_EQ(parse_budget("80%", kMachine).ram, Bytes{8'589'934'592});
  EXPECT_EQ(parse_budget("12.5 %", kMachine).ram, Bytes{1'342'177'280});
  EXPECT_EQ(parse_budget("auto", kMachine).ram, Bytes{4'831'838'208});
  EXPECT_EQ(parse_budget("MAX", kMachine).ram, Bytes{5'261'334'938});
  EXPECT_TRUE(parse_budget("auto", kMachine).automatic);
  EXPECT_FALSE(parse_budget("max", kMachine).automatic);
}

TEST(Budget, ReadsTiersInAnyOrder) {
  const Budget budget = parse_budget("disk=200MB, ram = 6GiB,dev0=50%", kMachine);
  EXPECT_EQ(budget.ram, 6_GiB);
  EXPECT_EQ(budget.disk, Bytes{200'000'000});
  EXPECT_EQ(budget.device, 12_GiB);
  const Budget mixed = parse_budget("6GiB,dev=auto,disk=auto", kMachine);
  EXPECT_EQ(mixed.ram, 6_GiB);
  EXPECT_EQ(mixed.device, Bytes{19'756'849'561});
  EXPECT_EQ(mixed.disk, 0_B);  // spilling has to be asked for
}

TEST(Budget, LeavesUnnamedTiersUnsetAndRamAutomatic) {
  const Budget budget = parse_budget("disk=1GiB", kMachine);
  EXPECT_TRUE(budget.automatic);
  EXPECT_EQ(budget.ram, parse_budget("auto", kMachine).ram);
  EXPECT_EQ(budget.device, std::nullopt);
  EXPECT_EQ(parse_budget("1GiB", kMachine).disk, std::nullopt);
}

TEST(Budget, RefusesAPlainNumberWithAHint) {
  EXPECT_THAT(refusal("8"), HasSubstr("--memory 8: a size needs a unit, such as 8GiB"));
  EXPECT_THAT(refusal("ram=8"), HasSubstr("8GiB"));
  EXPECT_THAT(refusal("8", kMachine, {.flag = "JERICHO_MEMORY"}), HasSubstr("JERICHO_MEMORY 8:"));
}

TEST(Budget, RefusesWhatIsNoSize) {
  for (const char* spec : {"",
                           " ",
                           ",",
                           "8GiB,",
                           "-1GiB",
                           "0B",
                           "0%",
                           "0.0GiB",
                           "nan",
                           "nanGiB",
                           "inf%",
                           "-5%",
                           "%",
                           "80%%",
                           "8 GiB GiB",
                           "ram=",
                           "=8GiB",
                           "gpu=8GiB",
                           "dev1=8GiB",
                           "8GiB,9GiB",
                           "ram=1GiB,ram=2GiB",
                           "1GiB,ram=2GiB",
                           "1e3MB",
                           "9999999999TiB"}) {
    EXPECT_THAT(refusal(spec), HasSubstr("accepted are sizes")) << spec;
  }
}

TEST(Budget, RefusesMoreThanTheMachineHasUnlessOvercommitIsAsked) {
  EXPECT_THAT(refusal("11GiB"), HasSubstr("more than the 10.0 GiB of ram"));
  EXPECT_THAT(refusal("101%"), HasSubstr("--memory-overcommit"));
  EXPECT_EQ(parse_budget("11GiB", kMachine, {.overcommit = true}).ram, 11_GiB);
  EXPECT_EQ(parse_budget("200%", kMachine, {.overcommit = true}).ram, 20_GiB);
  EXPECT_EQ(parse_budget("100%", kMachine).ram, 10_GiB);
}

TEST(Budget, RefusesADeviceThatIsNotThereAndAMachineWithoutMemory) {
  Capacity machine = kMachine;
  machine.device_total = {};
  EXPECT_THAT(refusal("1GiB,dev=1GiB", machine), HasSubstr("no device"));
  machine.ram_available = 32_MiB;
  EXPECT_THAT(refusal("max", machine), HasSubstr("no memory is available"));
}

TEST(Budget, MarginIsTwoPercentButNotLessThan64MiB) {
  EXPECT_EQ(default_margin(1_GiB), 64_MiB);
  EXPECT_EQ(default_margin(100_GiB), 2_GiB);
}

}  // namespace
}  // namespace jericho
