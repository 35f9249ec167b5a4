// Every loop of peaks runs on every path, reads every byte, and stops when told; what bounds the work is chosen by
// time.
#include "plan/roofs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "base/thread_pool.h"
#include "memory/arena.h"
#include "memory/io.h"
#include "plan/measure_machine.h"
#include "plan/speed.h"

namespace jericho {
namespace {

constexpr Bytes kBlock = 16_MiB;

class Roofs : public ::testing::Test {
 protected:
  Roofs()
      : ledger_({.ram = kBlock}),
        block_(ledger_.require(Tier::kRam, Purpose::kWeightsStaging, kBlock), {.populate = true}) {}

  Context context(CpuPath path) { return {ledger_, pool_, kernels_for(path)}; }

  Ledger ledger_;
  ThreadPool pool_{2};
  Arena block_;
};

TEST_F(Roofs, ReadEveryByteInEveryPattern) {
  const std::span<std::byte> bytes = block_.bytes().first(3 * 4096);
  for (const CpuPath path : usable_cpu_paths()) {
    for (const ReadPattern pattern : read_patterns(path)) {
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
      ASSERT_EQ(read_all(path, bytes, pattern), 0u);
      for (std::size_t at = 0; at < bytes.size(); at += 61) {
        bytes[at] = std::byte{0x5a};
        ASSERT_NE(read_all(path, bytes, pattern), 0u)
            << name(path) << " " << pattern.streams << " streams, byte " << at;
        bytes[at] = std::byte{0};
      }
    }
  }
}

TEST_F(Roofs, AreMeasuredOnEveryPath) {
  for (const CpuPath path : usable_cpu_paths()) {
    const Roof read = measure_read(context(path), block_.bytes(), {.passes = 2});
    EXPECT_EQ(read.name, "cache_read");
    EXPECT_GT(read.value, 0);
    EXPECT_GE(read.spread, 0);
    EXPECT_LT(read.spread, 1);
  }
}

TEST_F(Roofs, OfArithmeticAreMeasuredWhereThereAreUnits) {
  for (const PeakKind kind : {PeakKind::kF32, PeakKind::kInt8, PeakKind::kBF16, PeakKind::kBF16Pairs}) {
    const CpuPath path = usable_cpu_paths().back();
    if (!has_units(kind, path)) continue;
    const Roof roof = measure_multiply(context(path), kind, path);
    EXPECT_GT(roof.value, 0) << roof.name;
    EXPECT_EQ(roof.unit, "TOP/s");
  }
  EXPECT_FALSE(has_units(PeakKind::kBF16, CpuPath::kAvx512));
  EXPECT_FALSE(has_units(PeakKind::kBF16Pairs, CpuPath::kAvx2));
}

TEST_F(Roofs, OfLessThanAPageForEachThreadAreNone) {
  EXPECT_EQ(measure_read(context(CpuPath::kScalar), block_.bytes().first(4096)).value, 0);
}

TEST_F(Roofs, OfAMachineAreNotMeasuredOnAfterAStopRequest) {
  std::stop_source stop;
  const auto io = make_io_backend();
  int parts = 0;
  try {
    measure_machine(context(CpuPath::kScalar), *io, {.block = block_.bytes(), .folders = {"."}, .quick = true},
                    stop.get_token(), [&](const std::string&) {
                      ++parts;
                      stop.request_stop();
                    });
    FAIL() << "was not interrupted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
  EXPECT_EQ(parts, 1);
}

TEST_F(Roofs, OfAMachineWithoutADiskAreTheOthersAndANote) {
  const auto io = make_io_backend();
  const MachineRecord record = measure_machine(
      context(CpuPath::kScalar), *io, {.block = block_.bytes(), .folders = {"/dev/null/absent"}, .quick = true}, {},
      [](const std::string&) {});
  EXPECT_TRUE(record[MachineFigure::kDramRead].has_value());
  EXPECT_TRUE(record[MachineFigure::kFp32].has_value());
  EXPECT_FALSE(record[MachineFigure::kVnni].has_value());  // the path decides
  EXPECT_FALSE(record[MachineFigure::kDiskRead].has_value());
  EXPECT_THAT(record.notes, ::testing::Contains(::testing::HasSubstr("/dev/null/absent")));
}

TEST(Hold, TakesTheRoofThatTakesLonger) {
  const std::optional<Roof> read = Roof{"dram_read", 40, "GB/s"};
  const std::optional<Roof> multiply = Roof{"vnni", 2, "TOP/s"};
  // 0.5 GB at 40 GB/s are 12.5 ms; 2 GOP at 2 TOP/s are 1 ms.
  const TokenCost decode{.bytes = 0.5e9, .operations = 2e9};
  const auto held = hold(40, decode, read, multiply);
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(held->roof.name, "dram_read");
  EXPECT_DOUBLE_EQ(held->fraction, 0.5);
  const TokenCost prefill{.bytes = 1e6, .operations = 2e9};
  EXPECT_EQ(hold(40, prefill, read, multiply)->roof.name, "vnni");
  EXPECT_DOUBLE_EQ(hold(40, prefill, read, multiply)->fraction, 0.04);
}

TEST(Hold, SaysNothingWithoutARoofOrASpeed) {
  const TokenCost cost{.bytes = 1, .operations = 1};
  EXPECT_FALSE(hold(40, cost, std::nullopt, std::nullopt).has_value());
  EXPECT_FALSE(hold(0, cost, Roof{"dram_read", 40, "GB/s"}, std::nullopt).has_value());
  EXPECT_FALSE(hold(1, cost, Roof{}, std::nullopt).has_value());
}

}  // namespace
}  // namespace jericho
