// A block that was written is read as it was, or an error says why not: over faults, reuse of slots, encryption and the
// sudden end of the process.
#include "memory/scratch_file.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <functional>
#include <map>
#include <random>

#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

using testing::HasSubstr;

constexpr Bytes kBlock = 8_KiB;

std::string failure(ErrorKind kind, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    return error.what();
  }
  return "";
}

class ScratchFileTest : public testing::Test {
 protected:
  ScratchFile make(ScratchShape shape, bool encrypt = false, IoScript script = {}) {
    std::unique_ptr<IoBackend> io = make_io_backend();
    if (!script.faults.empty()) io = make_scripted_backend(std::move(io), std::move(script));
    return ScratchFile({.dir = folder_.path(), .place = ScratchPlace::kAnywhere, .encrypt = encrypt}, shape,
                       ledger_.require(Tier::kDisk, Purpose::kKvPages, shape.total()), std::move(io));
  }
  [[nodiscard]] std::span<std::byte> buffer(std::size_t i) const {
    return arena_.bytes().subspan(i * kBlock.size(), kBlock.size());
  }
  // The content of a block is told by one number.
  static void fill(std::span<std::byte> block, std::uint32_t content) {
    std::mt19937 random(content);
    for (std::size_t at = 0; at < block.size(); at += 4) {
      const auto word = static_cast<std::uint32_t>(random());
      std::memcpy(block.data() + at, &word, 4);
    }
  }
  static bool holds(std::span<const std::byte> block, std::uint32_t content) {
    std::mt19937 random(content);
    for (std::size_t at = 0; at < block.size(); at += 4) {
      const auto word = static_cast<std::uint32_t>(random());
      if (std::memcmp(block.data() + at, &word, 4) != 0) return false;
    }
    return true;
  }
  void put(ScratchFile& file, ScratchFile::Slot slot, Index block, std::uint32_t content) {
    fill(buffer(0), content);
    file.wait(file.write(slot, block, buffer(0)));
  }
  bool has(ScratchFile& file, ScratchFile::Slot slot, Index block, std::uint32_t content) {
    std::memset(buffer(1).data(), 0, kBlock.size());
    file.wait(file.read(slot, block, buffer(1)));
    return holds(buffer(1), content);
  }

  TempFolder folder_;
  Ledger ledger_{{.ram = 8_MiB, .disk = 8_MiB}};
  Arena arena_{ledger_.require(Tier::kRam, Purpose::kKvPages, 16 * kBlock), {.populate = true}};
};

TEST_F(ScratchFileTest, ReadsWhatWasWrittenOverRandomStepsAndFaults) {
  const std::vector<IoFault> mendable = {IoFault::kHalf,   IoFault::kEintr, IoFault::kReorder, IoFault::kShortByOne,
                                         IoFault::kEagain, IoFault::kEio,   IoFault::kFlipBit, IoFault::kEnd};
  for (const bool encrypt : {false, true}) {
    for (const int every : {1000000, 3, 7, 50}) {
      ScratchFile file = make({kBlock, 3, 8}, encrypt, {.every = every, .faults = mendable});
      std::map<std::pair<ScratchFile::Slot, Index>, std::uint32_t> model;
      std::vector<ScratchFile::Slot> slots;
      std::mt19937 random(static_cast<unsigned>(every));
      for (std::uint32_t step = 0; step < 2000; ++step) {
        const auto choice = random() % 10;
        if (choice < 2) {
          const auto slot = file.allocate();
          ASSERT_EQ(slot.has_value(), slots.size() < 8);
          if (slot) slots.push_back(*slot);
        } else if (choice < 3 && !slots.empty()) {
          const std::size_t i = random() % slots.size();
          for (Index block = 0; block < 3; ++block) model.erase({slots[i], block});
          file.release(slots[i]);
          slots.erase(slots.begin() + static_cast<std::ptrdiff_t>(i));
        } else if (!slots.empty()) {
          const ScratchFile::Slot slot = slots[random() % slots.size()];
          const Index block = random() % 3;
          if (choice < 6) {
            put(file, slot, block, step);
            model[{slot, block}] = step;
          } else if (const auto found = model.find({slot, block}); found != model.end()) {
            ASSERT_TRUE(has(file, slot, block, found->second)) << "step " << step << " every " << every;
          } else {
            ASSERT_FALSE(file.written(slot, block));
          }
        }
        ASSERT_EQ(file.free_slots(), 8 - std::ssize(slots));
      }
    }
  }
}

TEST_F(ScratchFileTest, KeepsManyBlocksInFlightAndEachInItsPlace) {
  ScratchFile file = make({kBlock, 8, 2}, false, {.every = 2, .faults = {IoFault::kReorder, IoFault::kHalf}});
  const ScratchFile::Slot slot = *file.allocate();
  std::vector<ScratchFile::Ticket> tickets;
  for (std::uint32_t i = 0; i < 8; ++i) {
    fill(buffer(i), 100 + i);
    tickets.push_back(file.write(slot, i, buffer(i)));
  }
  for (const ScratchFile::Ticket ticket : tickets) file.wait(ticket);
  tickets.clear();
  for (std::uint32_t i = 0; i < 8; ++i) tickets.push_back(file.read(slot, 7 - i, buffer(i)));
  for (std::uint32_t i = 8; i-- > 0;) {
    file.wait(tickets[i]);
    EXPECT_TRUE(holds(buffer(i), 107 - i)) << i;
  }
  EXPECT_EQ(file.counts().read, 8 * kBlock);
}

TEST_F(ScratchFileTest, LeasesItsSpaceOnTheDiskAndReservesIt) {
  {
    const ScratchFile file = make({kBlock, 4, 4});
    EXPECT_EQ(ledger_.snapshot().cell(Tier::kDisk, Purpose::kKvPages).used, 16 * kBlock);
    EXPECT_EQ(file.file().size(), 16 * kBlock);
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  }
  EXPECT_EQ(ledger_.free(Tier::kDisk), 8_MiB);
}

TEST_F(ScratchFileTest, NeverTakesAnotherBlockOrAnOlderOneForWhatWasWritten) {
  for (const bool encrypt : {false, true}) {
    ScratchFile file = make({kBlock, 2, 2}, encrypt);
    const ScratchFile::Slot a = *file.allocate();
    put(file, a, 0, 1);
    put(file, a, 1, 2);
    const auto offset = [&](Index block) { return kBlock.count * (a * 2 + block); };
    const auto move = [&](std::int64_t from, std::int64_t to) {
      ASSERT_EQ(pread(file.file().fd(), buffer(2).data(), kBlock.size(), from), kBlock.count);
      ASSERT_EQ(pwrite(file.file().fd(), buffer(2).data(), kBlock.size(), to), kBlock.count);
    };
    move(offset(1), offset(0));  // a misdirected write
    EXPECT_THAT(failure(ErrorKind::kIo, [&] { has(file, a, 0, 1); }), HasSubstr("is not what was written there"));
    EXPECT_TRUE(has(file, a, 1, 2));
    put(file, a, 0, 3);
    ASSERT_EQ(pread(file.file().fd(), buffer(3).data(), kBlock.size(), offset(0)), kBlock.count);
    file.release(a);
    const ScratchFile::Slot again = *file.allocate();
    ASSERT_EQ(again, a);
    put(file, a, 0, 4);
    ASSERT_EQ(pwrite(file.file().fd(), buffer(3).data(), kBlock.size(), offset(0)), kBlock.count);  // a lost write
    EXPECT_THAT(failure(ErrorKind::kIo, [&] { has(file, a, 0, 4); }), HasSubstr("is not what was written there"));
  }
}

TEST_F(ScratchFileTest, IsLookedAtBySeveralThreadsAtOnce) {
  ScratchFile file = make({kBlock, 3, 1}, false);
  const ScratchFile::Slot slot = *file.allocate();
  for (Index block = 0; block < 3; ++block) put(file, slot, block, static_cast<int>(block) + 1);
  buffer(0).front() ^= std::byte{1};  // what is read over it
  std::vector<ScratchFile::Ticket> tickets;
  for (Index block = 0; block < 3; ++block) tickets.push_back(file.read(slot, block, buffer(static_cast<int>(block))));
  for (const ScratchFile::Ticket ticket : tickets) file.arrive(ticket);
  buffer(1).back() ^= std::byte{1};  // as if the disk had given it so: it is read once more
  std::vector<std::jthread> threads;
  for (const ScratchFile::Ticket ticket : tickets) {
    EXPECT_TRUE(file.unverified(ticket));
    threads.emplace_back([&file, ticket] { file.verify(ticket); });
  }
  threads.clear();
  for (const ScratchFile::Ticket ticket : tickets) EXPECT_FALSE(file.unverified(ticket));
  for (const ScratchFile::Ticket ticket : tickets) file.wait(ticket);
  EXPECT_EQ(file.counts().mended, 1);
  for (Index block = 0; block < 3; ++block) EXPECT_TRUE(has(file, slot, block, static_cast<int>(block) + 1));
}

TEST_F(ScratchFileTest, SaysWhatTheDiskRefused) {
  ScratchFile full = make({kBlock, 1, 1}, false, {.every = 1, .faults = {IoFault::kEnospc}});
  const ScratchFile::Slot slot = *full.allocate();
  EXPECT_THAT(failure(ErrorKind::kIo, [&] { put(full, slot, 0, 1); }),
              testing::AllOf(HasSubstr("(scratch): writing at byte 0: No space left"), HasSubstr("another folder")));
  EXPECT_FALSE(full.written(slot, 0));
  ScratchFile broken = make({kBlock, 1, 1}, false, {.every = 1, .faults = {IoFault::kEio}});
  const ScratchFile::Slot other = *broken.allocate();
  EXPECT_THAT(failure(ErrorKind::kIo, [&] { put(broken, other, 0, 1); }), HasSubstr("Input/output error"));
  EXPECT_FALSE(broken.written(other, 0));
  const std::string huge = failure(ErrorKind::kBudget, [&] { make({kBlock, 1 << 20, 1}); });
  EXPECT_THAT(huge, HasSubstr("disk: kv.pages wants"));
}

TEST_F(ScratchFileTest, WritesNothingThatCanBeReadWhenEncrypted) {
  for (const bool encrypt : {false, true}) {
    ScratchFile file = make({kBlock, 1, 1}, encrypt);
    const ScratchFile::Slot slot = *file.allocate();
    std::fill(buffer(0).begin(), buffer(0).end(), std::byte{'k'});
    file.wait(file.write(slot, 0, buffer(0)));
    ASSERT_EQ(pread(file.file().fd(), buffer(2).data(), kBlock.size(), 0), kBlock.count);
    const std::vector<std::byte> secret(8, std::byte{'k'});
    const bool found = std::search(buffer(2).begin(), buffer(2).end(), secret.begin(), secret.end()) != buffer(2).end();
    EXPECT_EQ(found, !encrypt);
  }
}

TEST_F(ScratchFileTest, LeavesNothingBehindWhenTheProcessIsKilled) {
  std::array<int, 2> ready{};
  ASSERT_EQ(pipe(ready.data()), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const File file = File::create_scratch(folder_.path(), 1_MiB, ScratchPlace::kAnywhere);
    char byte = 'r';
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace jericho
