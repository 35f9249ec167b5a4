// Where the machine's figures are kept from one run to the next: $XDG_CACHE_HOME or ~/.cache, jericho/machine-*.json,
// one file for each processor, number of threads and path of kernels.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "plan/machine_record.h"

namespace jericho::cli {

// jericho's folder in the user's cache, which need not be there; nothing when the environment names none.
std::optional<std::filesystem::path> cache_folder();

struct KeptRecord {
  std::optional<MachineRecord> record{};
  std::string note{};  // why there is none although there is a file; else empty
};

// What was kept for a machine like `now`; a record that is damaged, or another machine's, is left alone.
KeptRecord kept_record(const MachineIdentity& now);

// Writes it whole or not at all, and says where. Error(kIo) when that cannot be.
std::filesystem::path keep_record(const MachineRecord& record);

}  // namespace jericho::cli
