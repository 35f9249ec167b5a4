// What the kernel and the C library say this process takes, to hold against the ledger: proc(5), mallinfo(3),
// madvise(2). Start at read_process_memory(). Peaks come from VmHWM, not getrusage(): exec keeps the parent's
// ru_maxrss.
#pragma once

#include <filesystem>
#include <optional>

#include "base/bytes.h"

namespace jericho {

// /proc/self/status. Cheap; the kernel may lag behind by a few pages per thread.
struct ProcessMemory {
  Bytes peak_rss{};     // VmHWM: the most that was resident at once
  Bytes rss{};          // VmRSS = anonymous + file + shmem
  Bytes rss_anon{};     // RssAnon
  Bytes rss_file{};     // RssFile: code, libraries and mapped files
  Bytes rss_shmem{};    // RssShmem
  Bytes page_tables{};  // VmPTE: not part of RSS, but charged by cgroup v2
};
// `proc` is the folder of one process. Throws Error(kIo) when its status is not there.
ProcessMemory read_process_memory(const std::filesystem::path& proc = "/proc/self");

// /proc/self/smaps_rollup (Linux 4.14). Walks all page tables, about 1 ms per GiB of small pages: not for a hot path.
struct MemoryRollup {
  Bytes rss{};
  Bytes pss{};  // shared pages divided by how many processes share them
  Bytes pss_anon{};
  Bytes pss_file{};
  Bytes pss_shmem{};
  Bytes anon_huge_pages{};
  Bytes swap_pss{};
};
// Nothing when the kernel does not offer it or does not let us.
std::optional<MemoryRollup> read_memory_rollup(const std::filesystem::path& proc = "/proc/self");

// The C library's heap: from_kernel = in_use + free + bookkeeping, mapped are the large blocks beside it.
struct HeapMemory {
  Bytes from_kernel{};  // arena
  Bytes mapped{};       // hblkhd
  Bytes in_use{};       // uordblks
  Bytes free{};         // fordblks: slack that belongs to purpose `runtime`
};
HeapMemory read_heap_memory();

// Starts VmHWM anew at the present RSS. False when the kernel does not permit it.
bool reset_peak();

// Makes every file-backed page of the executable and its libraries resident, so that their share of RSS is known before
// planning and does not grow with the first call of a cold function. Returns the bytes covered.
Bytes prefault_code();

// Few arenas, early trimming and own mappings from 1 MiB on, so that freed heap goes back to the kernel. Call once in
// main(), before threads start.
void tame_allocator();

}  // namespace jericho
