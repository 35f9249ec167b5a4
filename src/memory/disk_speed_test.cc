// The disk is measured without a trace, and never by way of memory.
#include "memory/disk_speed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/file.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

using ::testing::HasSubstr;

class DiskSpeedTest : public ::testing::Test {
 protected:
  DiskSpeedTest()
      : ledger_({.ram = 64_MiB}), block_(ledger_.require(Tier::kRam, Purpose::kWeightsStaging, kDiskBuffer)) {}

  DiskSpeed measure(IoBackend& io, const std::filesystem::path& dir, const std::stop_token& stop = {}) {
    return measure_disk(dir, io, block_.bytes(), {.size = 32_MiB, .seconds = 5}, stop);
  }

  static bool direct_in(const TempFolder& folder) {
    return File::create_scratch(folder.path(), {}, ScratchPlace::kAnywhere).direct();
  }

  Ledger ledger_;
  Arena block_;
  TempFolder folder_;
};

TEST_F(DiskSpeedTest, IsTakenFromAScratchFileOfWhichNothingIsLeft) {
  if (!direct_in(folder_)) GTEST_SKIP() << "no direct I/O in " << folder_.path();
  for (const IoChoice choice : {IoChoice::kBest, IoChoice::kThreads}) {
    const auto io = make_io_backend(choice);
    const DiskSpeed speed = measure(*io, folder_.path());
    EXPECT_GT(speed.read_gbps, 0);
    EXPECT_GT(speed.write_gbps, 0);
    EXPECT_GE(speed.read_spread, 0);
    EXPECT_LE(speed.size, 32_MiB);
    EXPECT_EQ(io->in_flight(), 0u);
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  }
}

TEST_F(DiskSpeedTest, IsTakenFromAFileThatIsThere) {
  const File file = File::open_read(folder_.make_file("a", 5'000'000));
  if (!file.direct()) GTEST_SKIP() << "no direct I/O in " << folder_.path();
  const auto io = make_io_backend();
  EXPECT_GT(measure_reading(file, *io, block_.bytes(), 0.05, {}).value_or(0), 1e6);
  EXPECT_EQ(io->in_flight(), 0u);
  const File shorter = File::open_read(folder_.make_file("b", 5000));
  EXPECT_FALSE(measure_reading(shorter, *io, block_.bytes(), 0.05, {}).has_value());
}

TEST_F(DiskSpeedTest, RefusesAFolderInMemory) {
  const auto io = make_io_backend();
  try {
    measure(*io, "/dev/shm");
    GTEST_SKIP() << "/dev/shm lies on a disk here";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("lies in memory"));
  }
}

TEST_F(DiskSpeedTest, SaysThatThereIsNoSuchFolder) {
  const auto io = make_io_backend();
  try {
    measure(*io, folder_.path() / "absent");
    FAIL() << "measured a folder that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), HasSubstr("absent"));
  }
}

TEST_F(DiskSpeedTest, EndsOnAStopRequestWithNothingInFlight) {
  if (!direct_in(folder_)) GTEST_SKIP() << "no direct I/O in " << folder_.path();
  std::stop_source stop;
  stop.request_stop();
  const auto io = make_io_backend();
  try {
    measure(*io, folder_.path(), stop.get_token());
    FAIL() << "was not interrupted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
  EXPECT_EQ(io->in_flight(), 0u);
}

TEST_F(DiskSpeedTest, FailsWithTheRequestThatFailed) {
  if (!direct_in(folder_)) GTEST_SKIP() << "no direct I/O in " << folder_.path();
  const auto io = make_scripted_backend(make_io_backend(), {.every = 7, .faults = {IoFault::kEnospc}});
  try {
    measure(*io, folder_.path());
    FAIL() << "the fault was not seen";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), HasSubstr("No space left"));
  }
  EXPECT_EQ(io->in_flight(), 0u);
}

}  // namespace
}  // namespace jericho
