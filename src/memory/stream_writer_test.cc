// A file has the bytes that were appended, whatever the backend does, or an error says where it ended.
#include "memory/stream_writer.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

using ::testing::HasSubstr;

std::vector<std::byte> pattern(std::int64_t size) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) bytes[static_cast<std::size_t>(i)] = TempFolder::pattern(i);
  return bytes;
}

class Writing : public ::testing::Test {
 protected:
  std::span<std::byte> buffer(int slots) {
    arena_ =
        Arena(ledger_.require(Tier::kRam, Purpose::kWeightsStaging, arena_bytes(StreamWriter::buffer_bytes(slots))));
    return arena_.bytes().first(StreamWriter::buffer_bytes(slots).size());
  }
  void inject(IoScript script) { io_ = make_scripted_backend(std::move(io_), std::move(script)); }
  [[nodiscard]] std::vector<char> content(const std::string& name) const {
    std::ifstream in(folder_.path() / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void expect_pattern(const std::string& name, std::int64_t size) const {
    const std::vector<char> got = content(name);
    ASSERT_EQ(static_cast<std::int64_t>(got.size()), size) << name;
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      wrong += static_cast<std::byte>(got[i]) != TempFolder::pattern(static_cast<std::int64_t>(i));
    }
    EXPECT_EQ(wrong, 0u) << name;
  }

  TempFolder folder_;
  Ledger ledger_{{.ram = 64_MiB}};
  Arena arena_;
  std::unique_ptr<IoBackend> io_ = make_io_backend();
};

TEST_F(Writing, FilesHaveWhatWasAppended) {
  int n = 0;
  for (const std::int64_t size : {0l, 1l, 4096l, 4097l, 1l << 20, (1l << 20) + 1, 7'000'123l}) {
    for (const std::int64_t piece : {777l, 4096l, 3'000'000l}) {
      const std::string name = std::to_string(n++);
      const File file = File::create(folder_.path() / name, {size});
      StreamWriter writer(*io_, file, buffer(2 + n % 3));
      const std::vector<std::byte> bytes = pattern(size);
      for (std::int64_t at = 0; at < size; at += piece) {
        writer.append(std::span(bytes).subspan(static_cast<std::size_t>(at),
                                               static_cast<std::size_t>(std::min(piece, size - at))));
      }
      writer.finish();
      expect_pattern(name, size);
    }
  }
}

TEST_F(Writing, ShortAndInterruptedWritesAreTakenUpAgain) {
  inject({.every = 2,
          .faults = {IoFault::kHalf, IoFault::kEintr, IoFault::kReorder, IoFault::kShortByOne, IoFault::kEagain},
          .delay = std::chrono::milliseconds(2)});
  const File file = File::create(folder_.path() / "f", {});
  StreamWriter writer(*io_, file, buffer(3));
  writer.append(pattern(9'000'001));
  writer.finish();
  expect_pattern("f", 9'000'001);
}

TEST_F(Writing, AFullDiskIsAnErrorThatSaysWhere) {
  inject({.every = 3, .faults = {IoFault::kEnospc}});
  const File file = File::create(folder_.path() / "f", {});
  StreamWriter writer(*io_, file, buffer(2));
  try {
    writer.append(pattern(9'000'001));
    writer.finish();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_THAT(error.what(), HasSubstr("/f: writing at byte 2097152: No space left on device"));
  }
}

TEST_F(Writing, StreamsCarryBytesAndErrors) {
  const File file = File::create(folder_.path() / "f", {});
  {
    StreamWriter writer(*io_, file, buffer(2));
    StreamWriterBuffer streambuf(writer);
    std::ostream out(&streambuf);
    out.exceptions(std::ios::badbit);
    out.put('a');
    out << "bc";
    writer.finish();
  }
  EXPECT_EQ(content("f"), (std::vector<char>{'a', 'b', 'c'}));
  inject({.every = 1, .faults = {IoFault::kEio}});
  StreamWriter writer(*io_, file, buffer(2));
  StreamWriterBuffer streambuf(writer);
  std::ostream out(&streambuf);
  out.exceptions(std::ios::badbit);
  const std::string much(9'000'000, 'x');
  EXPECT_THROW(out.write(much.data(), static_cast<std::streamsize>(much.size())), Error);
}

TEST_F(Writing, AFileThatIsThereIsNotWrittenOver) {
  static_cast<void>(folder_.make_file("f", 10));
  try {
    static_cast<void>(File::create(folder_.path() / "f", 10_B));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot be written: File exists"));
  }
  expect_pattern("f", 10);
}

}  // namespace
}  // namespace jericho
