// Ranges arrive whole, in order and right, whatever the backend does; or an error says where it ended.
#include "memory/stream_reader.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/philox.h"
#include "memory/arena.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

using ::testing::HasSubstr;

constexpr Bytes kLargest{2'500'000};

struct Case {
  std::string name;
  std::vector<IoFault> faults;
  FileCache cache = FileCache::kBypass;
  IoChoice choice = IoChoice::kThreads;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Streaming : public ::testing::Test {
 protected:
  std::unique_ptr<StreamReader> make_reader(int slots) {
    const Bytes staging = StreamReader::staging_bytes(kLargest, slots);
    arena_ = Arena(ledger_.require(Tier::kRam, Purpose::kWeightsStaging, arena_bytes(staging)));
    return std::make_unique<StreamReader>(*io_, arena_.bytes(), StreamOptions{StreamReader::slot_bytes(kLargest)});
  }
  static void expect_pattern(std::span<const std::byte> bytes, std::int64_t offset) {
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      wrong += bytes[i] != TempFolder::pattern(offset + static_cast<std::int64_t>(i));
    }
    EXPECT_EQ(wrong, 0u) << "of " << bytes.size() << " from " << offset;
  }
  template <class Body>
  static std::string failure(ErrorKind kind, Body body) {
    try {
      body();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return error.what();
    }
    return "no error";
  }

  TempFolder folder_;
  Ledger ledger_{{.ram = 64_MiB}};
  Arena arena_;
  std::unique_ptr<IoBackend> io_ = make_io_backend();
};

class StreamingWith : public Streaming, public ::testing::WithParamInterface<Case> {};

INSTANTIATE_TEST_SUITE_P(
    StreamReader, StreamingWith,
    ::testing::Values(
        Case{"direct", {}}, Case{"buffered", {}, FileCache::kUse},
        Case{"best", {}, FileCache::kBypass, IoChoice::kBest}, Case{"eio", {IoFault::kEio}},
        Case{"interrupted", {IoFault::kEintr, IoFault::kEagain}}, Case{"short_by_one", {IoFault::kShortByOne}},
        Case{"half", {IoFault::kHalf}, FileCache::kUse},
        Case{"reordered", {IoFault::kReorder, IoFault::kDelay, IoFault::kReorder}},
        Case{"all", {IoFault::kHalf, IoFault::kEintr, IoFault::kReorder, IoFault::kShortByOne, IoFault::kEagain}}),
    [](const auto& c) { return c.param.name; });

TEST_P(StreamingWith, DeliversRandomRangesInOrder) {
  io_ = make_io_backend(GetParam().choice);
  // at most one EIO, since the second on one request is final
  const std::int64_t at_most = GetParam().name == "eio" ? 1 : 1 << 20;
  io_ = make_scripted_backend(
      std::move(io_),
      {.every = 2, .at_most = at_most, .faults = GetParam().faults, .delay = std::chrono::milliseconds(2)});
  constexpr std::int64_t kSize = 6'000'123;
  const File a = File::open_read(folder_.make_file("a", kSize), GetParam().cache);
  const File b = File::open_read(folder_.make_file("b", 5000), GetParam().cache);
  for (const int slots : {1, 2, 5}) {
    const auto reader = make_reader(slots);
    struct Expected {
      std::int64_t offset, length;
    };
    std::vector<Expected> expected = {{0, 0},    {0, 1},      {kSize - 1, 1}, {kSize - kLargest.count, kLargest.count},
                                      {4095, 2}, {4096, 4096}};
    for (std::uint32_t i = 0; i < 12; ++i) {
      const auto random = philox4x32({i, 0, 0, 0}, {7, 0});
      const std::int64_t length = random[0] % (i % 3 == 0 ? kLargest.count : 9000);
      expected.push_back({random[1] % (kSize - length), length});
    }
    for (const Expected& range : expected) reader->enqueue(a, range.offset, Bytes{range.length});
    reader->enqueue(b, 17, 4983_B);
    reader->prefetch();
    for (const Expected& range : expected) {
      const std::span<const std::byte> bytes = reader->next();
      ASSERT_EQ(bytes.size(), static_cast<std::size_t>(range.length));
      expect_pattern(bytes, range.offset);
    }
    expect_pattern(reader->next(), 17);
    EXPECT_EQ(reader->pending(), 0);
  }
}

TEST_F(Streaming, TakesNewRangesAfterTheListIsDone) {
  const File file = File::open_read(folder_.make_file("a", 100'000));
  const auto reader = make_reader(2);
  for (int token = 0; token < 5; ++token) {
    for (std::int64_t layer = 0; layer < 4; ++layer) reader->enqueue(file, 100 + layer * 20'000, 20'000_B);
    for (std::int64_t layer = 0; layer < 4; ++layer) expect_pattern(reader->next(), 100 + layer * 20'000);
  }
}

TEST_F(Streaming, KeepsARangeUntilTheFollowingCall) {
  const File file = File::open_read(folder_.make_file("a", 3'000'000));
  const auto reader = make_reader(2);
  for (std::int64_t i = 0; i < 3; ++i) reader->enqueue(file, i * 900'000, 900'000_B);
  const std::span<const std::byte> first = reader->next();
  reader->prefetch();
  IoResult none[1];
  io_->poll(std::span(none).first(0), IoWait::kForOne);
  expect_pattern(first, 0);
  expect_pattern(reader->next(), 900'000);
  expect_pattern(reader->next(), 1'800'000);
}

TEST_F(Streaming, NamesFileAndPlaceWhereATruncatedFileEnds) {
  for (const FileCache cache : {FileCache::kBypass, FileCache::kUse}) {
    for (const std::int64_t size : {8192, 8193, 100}) {
      const auto path = folder_.make_file("cut.safetensors", size);
      const File file = File::open_read(path, cache);
      const auto reader = make_reader(2);
      reader->enqueue(file, 50, 50_B);
      reader->enqueue(file, 90, Bytes{size});
      reader->enqueue(file, 0, 100_B);
      expect_pattern(reader->next(), 50);
      EXPECT_THAT(failure(ErrorKind::kInput, [&] { reader->next(); }),
                  ::testing::AllOf(HasSubstr(path.string()),
                                   HasSubstr("has " + std::to_string(size) + " B, " + std::to_string(90 + size))));
      expect_pattern(reader->next(), 0);  // the next range is not affected
    }
  }
}

TEST_F(Streaming, GivesUpAfterTheSecondEio) {
  io_ = make_scripted_backend(make_thread_backend(1), {.every = 1, .at_most = 2, .faults = {IoFault::kEio}});
  const File file = File::open_read(folder_.make_file("a", 20'000));
  const auto reader = make_reader(1);
  reader->enqueue(file, 8200, 100_B);
  reader->enqueue(file, 0, 100_B);
  EXPECT_THAT(failure(ErrorKind::kIo, [&] { reader->next(); }),
              ::testing::AllOf(HasSubstr(file.path()), HasSubstr("byte 8192"), HasSubstr("Input/output error")));
  expect_pattern(reader->next(), 0);
}

TEST_F(Streaming, TreatsAnUnexpectedEndAsTruncation) {
  io_ = make_scripted_backend(make_thread_backend(1), {.every = 1, .at_most = 1, .faults = {IoFault::kEnd}});
  const File file = File::open_read(folder_.make_file("a", 20'000));
  const auto reader = make_reader(1);
  reader->enqueue(file, 0, 100_B);
  EXPECT_THAT(failure(ErrorKind::kInput, [&] { reader->next(); }), HasSubstr("is the download complete?"));
}

TEST_F(Streaming, EndsARequestThatIsInterruptedForEver) {
  io_ = make_scripted_backend(make_thread_backend(1), {.every = 1, .faults = {IoFault::kEintr}});
  const File file = File::open_read(folder_.make_file("a", 20'000));
  const auto reader = make_reader(1);
  reader->enqueue(file, 0, 100_B);
  EXPECT_THAT(failure(ErrorKind::kIo, [&] { reader->next(); }), HasSubstr("no data"));
}

TEST_F(Streaming, StopsWhenAskedAndCanGoOn) {
  io_ = make_scripted_backend(make_thread_backend(1), {.every = 1, .faults = {IoFault::kDelay}});
  const File file = File::open_read(folder_.make_file("a", 20'000));
  const auto reader = make_reader(2);
  reader->enqueue(file, 0, 100_B);
  std::stop_source source;
  source.request_stop();
  failure(ErrorKind::kInterrupted, [&] { reader->next(source.get_token()); });
  EXPECT_EQ(reader->pending(), 1);
  expect_pattern(reader->next(), 0);
}

TEST_F(Streaming, MayDieWithReadsInFlight) {
  const File file = File::open_read(folder_.make_file("a", 5'000'000));
  {
    const auto reader = make_reader(2);
    reader->enqueue(file, 0, 2'000'000_B);
    reader->enqueue(file, 2'000'000, 2'000'000_B);
    reader->prefetch();
  }
  EXPECT_EQ(io_->in_flight(), 0u);
  arena_ = Arena();
}

TEST_F(Streaming, BoundsWhatIsInFlightByDepth) {
  const File file = File::open_read(folder_.make_file("a", 400'000));
  const Bytes slot = StreamReader::slot_bytes(4_KiB);
  arena_ = Arena(ledger_.require(Tier::kRam, Purpose::kWeightsStaging, slot * 100));
  StreamReader reader(*io_, arena_.bytes(), {slot});
  for (std::int64_t i = 0; i < 90; ++i) reader.enqueue(file, i * 4096, 4_KiB);
  reader.prefetch();
  EXPECT_LE(io_->in_flight(), IoBackend::kDepth);
  for (std::int64_t i = 0; i < 90; ++i) expect_pattern(reader.next(), i * 4096);
}

}  // namespace
}  // namespace jericho
