// The least quota of our control groups, in processors: see usable_cores.h.
#include "memory/usable_cores.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "memory/control_groups.h"
#include "memory/proc_text.h"

namespace jericho {
namespace {

struct Quota {
  std::int64_t time, period;  // microseconds

  [[nodiscard]] std::int64_t processors() const { return time / period + (time % period > 0 ? 1 : 0); }
};

// "200000 100000" in cpu.max, or "max 100000"; in version 1 a file for each, where -1 means none.
std::optional<Quota> quota_of(const GroupFolder& group, const std::filesystem::path& root) {
  const auto text = [&](const char* file) { return read_text(group.below(root) / file).value_or(""); };
  std::optional<std::int64_t> time, period;
  if (group.version == GroupVersion::kV2) {
    const std::string both = text("cpu.max");
    const std::vector<std::string_view> fields = split(both, ' ');
    if (fields.size() != 2) return std::nullopt;
    time = leading_number(fields[0]);
    period = leading_number(fields[1]);
  } else {
    time = leading_number(text("cpu.cfs_quota_us"));
    period = leading_number(text("cpu.cfs_period_us"));
  }
  if (!time || !period || *time <= 0 || *period <= 0) return std::nullopt;
  return Quota{*time, *period};
}

}  // namespace

int usable_cores(int physical_cores, const std::filesystem::path& root) {
  std::int64_t cores = physical_cores;
  for (const GroupFolder& group : control_groups("cpu", root)) {
    if (const std::optional<Quota> quota = quota_of(group, root)) cores = std::min(cores, quota->processors());
  }
  return static_cast<int>(std::max<std::int64_t>(cores, 1));
}

}  // namespace jericho
