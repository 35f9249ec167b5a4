// Reads --memory: how many bytes of each tier this process may take (docs/memory.md#budget). Start at parse_budget().
//   SPEC[,TIER=SPEC...]   SPEC := 8GiB | 80% | auto | max   TIER := ram | disk | dev | dev0
#pragma once

#include <optional>
#include <string_view>

#include "base/bytes.h"

namespace jericho {

// What there is to divide, as measured: available.h for RAM, statvfs for the spill folder.
struct Capacity {
  Bytes ram_total{};
  Bytes ram_available{};
  Bytes disk_available{};
  Bytes device_total{};  // 0: no device
  Bytes device_available{};
};

struct Budget {
  Bytes ram{};
  std::optional<Bytes> disk{};    // unset: nothing was said, so nothing is spilled
  std::optional<Bytes> device{};  // unset: nothing was said
  bool automatic = false;         // RAM follows from the machine, not from the user
};

struct BudgetOptions {
  std::string_view flag = "--memory";  // named in errors
  bool overcommit = false;             // allow more than the capacity
};

// Kept free beside the plan for what estimates may be wrong by: 2 % of the RAM budget, at least 64 MiB.
Bytes default_margin(Bytes ram);

// A SPEC without a tier is RAM's; RAM defaults to auto. Percent is of the total of a tier; auto is 90 % of what is
// available in RAM, 92 % on the device and nothing on disk; max is what is available, in RAM less the margin. Throws
// Error(kUsage) that names the flag, the value and what is accepted.
Budget parse_budget(std::string_view spec, const Capacity& capacity, const BudgetOptions& options = {});

}  // namespace jericho
