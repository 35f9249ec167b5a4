// Files say what is wrong with them, and scratch leaves nothing behind.
#include "memory/file.h"

#include <array>
#include <cstring>

#include <sys/vfs.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

using ::testing::HasSubstr;

template <class Body>
std::string failure(ErrorKind kind, Body body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "no error";
}

TEST(File, NamesThePathThatCannotBeOpened) {
  const TempFolder folder;
  const auto absent = folder.path() / "absent.gguf";
  EXPECT_THAT(failure(ErrorKind::kInput, [&] { File::open_read(absent); }),
              ::testing::AllOf(HasSubstr(absent.string()), HasSubstr("No such file")));
  EXPECT_THAT(failure(ErrorKind::kInput, [&] { File::open_read(folder.path()); }), HasSubstr("not a regular file"));
}

TEST(File, ReadsBufferedAtAnyOffset) {
  const TempFolder folder;
  const File file = File::open_read(folder.make_file("data", 10000), FileCache::kUse);
  EXPECT_EQ(file.size(), 10000_B);
  EXPECT_FALSE(file.direct());
  EXPECT_EQ(file.alignment(), 1_B);
  std::array<std::byte, 777> buffer{};
  file.read_exactly(1234, buffer);
  for (std::size_t i = 0; i < buffer.size(); ++i) {
    ASSERT_EQ(buffer[i], TempFolder::pattern(1234 + static_cast<std::int64_t>(i)));
  }
  EXPECT_THAT(failure(ErrorKind::kInput, [&] { file.read_exactly(9999, buffer); }),
              HasSubstr("ends at byte 10000, 776 more are expected"));
}

TEST(File, ReadsDirectlyAtItsAlignment) {
  const TempFolder folder;
  const File file = File::open_read(folder.make_file("data", 3 * 4096 + 5));
  if (!file.direct()) GTEST_SKIP() << "no direct I/O in " << folder.path();
  EXPECT_EQ(4096 % file.alignment().count, 0);
  Ledger ledger({.ram = 1_MiB});
  const Arena arena(ledger.require(Tier::kRam, Purpose::kWeightsStaging, 16_KiB));
  ASSERT_EQ(pread(file.fd(), arena.bytes().data(), 16384, 4096), 2 * 4096 + 5);
  EXPECT_EQ(arena.bytes()[8196], TempFolder::pattern(4096 + 8196));
}

TEST(File, MovesItsDescriptor) {
  const TempFolder folder;
  File a = File::open_read(folder.make_file("data", 10));
  const int fd = a.fd();
  const File b = std::move(a);
  EXPECT_EQ(b.fd(), fd);
  EXPECT_EQ(a.fd(), -1);  // NOLINT(bugprone-use-after-move): documented by the default constructor
}

TEST(ScratchFile, HasNoNameAndReservesItsSpace) {
  const TempFolder folder;
  const File file = File::create_scratch(folder.path(), 1_MiB, ScratchPlace::kAnywhere);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(file.size(), 1_MiB);
  Ledger ledger({.ram = 1_MiB});
  const Arena arena(ledger.require(Tier::kRam, Purpose::kIoRing, 8_KiB));
  std::memset(arena.bytes().data(), 0x3c, 4096);
  EXPECT_EQ(pwrite(file.fd(), arena.bytes().data(), 4096, 8192), 4096);
  EXPECT_EQ(pread(file.fd(), arena.bytes().data() + 4096, 4096, 8192), 4096);
  EXPECT_EQ(std::memcmp(arena.bytes().data(), arena.bytes().data() + 4096, 4096), 0);
}

TEST(ScratchFile, RefusesAFolderThatIsNotThereAndSpaceThatIsNotThere) {
  const TempFolder folder;
  EXPECT_THAT(failure(ErrorKind::kIo, [&] { File::create_scratch(folder.path() / "absent"); }),
              HasSubstr("No such file"));
  const std::string full = failure(ErrorKind::kIo, [&] {
    File::create_scratch(folder.path(), Bytes{std::int64_t{1} << 60}, ScratchPlace::kAnywhere);
  });
  EXPECT_THAT(full, HasSubstr("cannot reserve"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ScratchFile, RefusesMemoryFileSystems) {
  struct statfs system {};
  if (statfs("/dev/shm", &system) != 0 || system.f_type != 0x01021994) GTEST_SKIP() << "/dev/shm is no tmpfs here";
  EXPECT_THAT(failure(ErrorKind::kUsage, [] { File::create_scratch("/dev/shm"); }),
              HasSubstr("name a folder on a disk"));
  EXPECT_GE(File::create_scratch("/dev/shm", {}, ScratchPlace::kAnywhere).fd(), 0);
}

}  // namespace
}  // namespace jericho
