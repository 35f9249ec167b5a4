// Ranges arrive where they were asked for, front first, whatever the backend does. How reads are mended is tested
// through stream_reader_test.cc too.
#include "memory/range_reader.h"

#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory/arena.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kSize = 5'000'123;

class Ranges : public ::testing::Test {
 protected:
  void expect_pattern(std::int64_t begin, std::int64_t offset, std::int64_t count) {
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      wrong += arena_.bytes()[static_cast<std::size_t>(begin + i)] == TempFolder::pattern(offset + i) ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0) << "of " << count << " from " << offset;
  }
  RangeReader::Ticket start(RangeReader& reader, std::int64_t place, std::int64_t offset, std::int64_t needed) {
    const auto size = static_cast<std::size_t>(round_up(needed, RangeReader::kBlock));
    return reader.start(file_, offset, arena_.bytes().subspan(static_cast<std::size_t>(place), size), needed);
  }
  std::unique_ptr<IoBackend> spoiled(IoScript script) {
    return make_scripted_backend(make_thread_backend(2), std::move(script));
  }

  TempFolder folder_;
  Ledger ledger_{{.ram = 64_MiB}};
  Arena arena_{ledger_.require(Tier::kRam, Purpose::kWeightsStaging, 16_MiB)};
  File file_ = File::open_read(folder_.make_file("a", kSize));
};

TEST_F(Ranges, ArriveWithTheirFrontFirst) {
  const auto io = spoiled({.every = 2, .faults = {IoFault::kReorder, IoFault::kHalf, IoFault::kEintr}});
  RangeReader reader(*io);
  const auto a = start(reader, 0, 4096, kSize - 4096), b = start(reader, 8 << 20, 0, 10'000);
  for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{1'500'000}, kSize - 4096}) {
    reader.wait(a, bytes);
    expect_pattern(0, 4096, bytes);
  }
  reader.end(a);
  reader.wait(b, 10'000);
  expect_pattern(8 << 20, 0, 10'000);
  reader.end(b);
}

TEST_F(Ranges, MayBeAwaitedInAnyOrderAndStartedAgain) {
  const auto io = make_io_backend();
  RangeReader reader(*io);
  for (int round = 0; round < 3; ++round) {
    std::vector<RangeReader::Ticket> tickets;
    for (std::int64_t i = 0; i < 100; ++i) tickets.push_back(start(reader, i * 4096, i * 8192, 4000));
    for (std::int64_t i = 99; i >= 0; --i) {
      reader.wait(tickets[static_cast<std::size_t>(i)], 4000);
      expect_pattern(i * 4096, i * 8192, 4000);
      reader.end(tickets[static_cast<std::size_t>(i)]);
    }
    EXPECT_EQ(io->in_flight(), 0u);
  }
}

TEST_F(Ranges, FailOnceTheyAreNoLongerInFlightAndLeaveOthersAlone) {
  const auto io = spoiled({.every = 2, .at_most = 2, .faults = {IoFault::kEnospc}});
  RangeReader reader(*io);
  const auto bad = start(reader, 0, 0, 4'000'000);
  try {
    reader.wait(bad, 4'000'000);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), HasSubstr(file_.path()));
  }
  EXPECT_EQ(io->in_flight(), 0u);
  const auto good = start(reader, 0, 4096, 4'000'000);
  reader.wait(good, 4'000'000);
  expect_pattern(0, 4096, 4'000'000);
  reader.end(good);
}

TEST_F(Ranges, AreForgottenWhenTheyFailUnawaited) {
  const auto io = spoiled({.every = 1, .at_most = 1, .faults = {IoFault::kEnd}});
  RangeReader reader(*io);
  reader.end(start(reader, 0, 0, 5000));
  const auto good = start(reader, 0, 0, 5000);
  reader.wait(good, 5000);
  expect_pattern(0, 0, 5000);
}

}  // namespace
}  // namespace jericho
