// How many threads this process can keep busy: the physical cores that it may run on, and no more than its control
// groups give it time for (cgroup-v2.rst "CPU", sched-bwc.rst). A container with two processors' time on a machine of
// sixty-four would otherwise start sixty-four threads, and all of them would be stopped for most of every period.
#pragma once

#include <filesystem>

namespace jericho {

// At least 1. A quota that is no whole number of processors is rounded up. Reads proc and sys below `root`, which tests
// replace; a group whose files cannot be read imposes no limit.
int usable_cores(int physical_cores, const std::filesystem::path& root = "/");

}  // namespace jericho
