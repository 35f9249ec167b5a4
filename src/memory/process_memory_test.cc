// The kernel's figures agree with what the process does, and with the ledger.
#include "memory/process_memory.h"

#include <cstring>
#include <fstream>
#include <memory>

#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/arena.h"
#include "memory/temp_folder.h"

namespace jericho {
namespace {

// A block that was written to, and that the compiler may not optimise away.
std::unique_ptr<std::byte[]> make_block(std::size_t size) {
  auto block = std::make_unique<std::byte[]>(size);
  std::memset(block.get(), 1, size);
  asm volatile("" : : "g"(block.get()) : "memory");
  return block;
}

TEST(ProcessMemory, PartsMakeTheWhole) {
  const ProcessMemory memory = read_process_memory();
  EXPECT_GT(memory.rss, 1_MiB);
  EXPECT_GE(memory.peak_rss, memory.rss);
  EXPECT_EQ(memory.rss_anon + memory.rss_file + memory.rss_shmem, memory.rss);
  EXPECT_GT(memory.page_tables, 0_B);
}

TEST(ProcessMemory, ReadsEveryFieldInKiB) {
  const TempFolder folder;
  std::ofstream(folder.path() / "status") << "Name:\tVmRSS: 1\nVmHWM:\t    200 kB\nVmRSS:\t  100 kB\nRssAnon:\t 60 kB\n"
                                             "RssFile:\t 30 kB\nRssShmem:\t 10 kB\nVmPTE:\t 44 kB\n";
  const ProcessMemory memory = read_process_memory(folder.path());
  EXPECT_EQ(memory.peak_rss, 200_KiB);
  EXPECT_EQ(memory.rss, 100_KiB);
  EXPECT_EQ(memory.rss_anon, 60_KiB);
  EXPECT_EQ(memory.rss_file, 30_KiB);
  EXPECT_EQ(memory.rss_shmem, 10_KiB);
  EXPECT_EQ(memory.page_tables, 44_KiB);
  EXPECT_EQ(read_memory_rollup(folder.path()), std::nullopt);
  EXPECT_THROW(read_process_memory(folder.path() / "absent"), Error);
}

TEST(ProcessMemory, SeesAnArenaComeAndGoAsTheLedgerDoes) {
  Ledger ledger({.ram = 64_MiB});
  const Bytes before = read_process_memory().rss_anon;
  Bytes grown;
  {
    const Arena arena(ledger.require(Tier::kRam, Purpose::kAct, 33_MiB + 4_KiB), {.populate = true});
    grown = read_process_memory().rss_anon - before;
    EXPECT_EQ(arena.used(), 33_MiB + 4_KiB);
  }
  EXPECT_GE(grown, 32_MiB);
  EXPECT_LE(grown, 34_MiB);  // page tables are not in RSS; the kernel's counters lag by some pages per thread
  EXPECT_LE(read_process_memory().rss_anon - before, 1_MiB);
}

TEST(ProcessMemory, PeakCanBeStartedAnew) {
  Ledger ledger({.ram = 64_MiB});
  { const Arena arena(ledger.require(Tier::kRam, Purpose::kAct, 32_MiB), {.populate = true}); }
  const Bytes before = read_process_memory().peak_rss;
  if (!reset_peak()) GTEST_SKIP() << "writing /proc/self/clear_refs is not permitted here";
  const ProcessMemory after = read_process_memory();
  EXPECT_LE(after.peak_rss, before - 24_MiB);
  EXPECT_GE(after.peak_rss, after.rss - 1_MiB);
}

TEST(MemoryRollup, AgreesWithTheStatusFile) {
  const std::optional<MemoryRollup> rollup = read_memory_rollup();
  if (!rollup) GTEST_SKIP() << "no /proc/self/smaps_rollup here";
  EXPECT_LE(rollup->pss, rollup->rss);
  EXPECT_LE(rollup->pss_anon + rollup->pss_file + rollup->pss_shmem, rollup->pss + 12_KiB);  // each is rounded down
  const Bytes rss = read_process_memory().rss;
  EXPECT_NEAR(static_cast<double>(rollup->rss.count), static_cast<double>(rss.count), 4e6);
}

TEST(HeapMemory, CountsLiveBlocks) {
  const HeapMemory before = read_heap_memory();
  if (before.in_use.count == 0) GTEST_SKIP() << "this C library does not count (a sanitizer's heap)";
  const auto block = make_block(64 << 10);
  const HeapMemory after = read_heap_memory();
  EXPECT_GE(after.in_use + after.mapped, before.in_use + before.mapped + 64_KiB);
}

TEST(PrefaultCode, LeavesNothingOfTheCodeToFaultLater) {
  const Bytes covered = prefault_code();
  EXPECT_GT(covered, 1_MiB);
  EXPECT_GE(read_process_memory().rss, covered);
  const Bytes once = read_process_memory().rss_file;
  prefault_code();
  EXPECT_LE(read_process_memory().rss_file - once, 256_KiB);
}

TEST(TameAllocator, ReturnsLargeBlocksToTheKernel) {
  tame_allocator();
  const Bytes before = read_process_memory().rss_anon;
  for (int i = 0; i < 4; ++i) make_block(4 << 20);
  if (read_heap_memory().in_use.count == 0) GTEST_SKIP() << "a sanitizer's heap keeps freed blocks";
  EXPECT_LE(read_process_memory().rss_anon - before, 1_MiB);
}

}  // namespace
}  // namespace jericho
