// How much memory this process may still take: the least of what the host has and what each control group above us
// allows (cgroups(7), cgroup v1 memory.txt section 5, cgroup-v2.rst "Memory"). Start at available_memory(). Clean file
// cache counts as available, since the kernel drops it on demand; swap never does.
#pragma once

#include <filesystem>
#include <string>

#include "base/bytes.h"

namespace jericho {

struct AvailableMemory {
  Bytes total{};      // the machine's memory, or the tightest limit of a group when that is less
  Bytes available{};  // at least 0
  std::string
      bound_by;  // who decides `available`: "MemAvailable" or the limit's file, such as "/sys/fs/cgroup/a/memory.max"
};

// Reads proc and sys below `root`, which tests replace. Throws Error(kIo) when /proc/meminfo tells nothing; a group
// whose files cannot be read imposes no limit.
AvailableMemory available_memory(const std::filesystem::path& root = "/");

}  // namespace jericho
