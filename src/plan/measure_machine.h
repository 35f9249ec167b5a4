// Fills a MachineRecord: memory, caches, arithmetic, disk. Start at measure_machine().
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "memory/io.h"
#include "ops/context.h"
#include "plan/machine_record.h"

namespace jericho {

// Read for the figures of DRAM, where there is room: more than the last-level caches of a whole host, which a virtual
// machine may have to itself for a while.
inline constexpr Bytes kMachineArray = 2_GiB;
inline constexpr Bytes kQuickArray = 64_MiB;
inline constexpr Bytes kLeastArray = 16_MiB;  // with less there is nothing to say

struct MachineMeasurement {
  std::span<std::byte> block{};                  // populated; whose contents are lost
  std::vector<std::filesystem::path> folders{};  // of the disk: the first that can be measured
  bool disk_required = false;                    // else what keeps it from being measured is a note
  bool quick = false;                            // smaller, shorter, rougher
};

// `progress` is called before each part with its name. Throws what measure_disk() throws where the disk is required,
// and Error(kInterrupted) on a stop request.
MachineRecord measure_machine(const Context& context, IoBackend& io, const MachineMeasurement& how,
                              const std::stop_token& stop,
                              const std::function<void(const std::string& part)>& progress);

}  // namespace jericho
