// Asks the machine and our control groups (control_groups.h) what they leave. Start at available_memory().
//   head = limit - usage + reclaim,  reclaim = inactive_file + active_file - dirty - writeback
// Two published failures are the reason for each half: leaving out reclaim hides memory that is only cache, and leaving
// out the groups offers a container its host's memory.
#include "memory/available.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/control_groups.h"
#include "memory/proc_text.h"

namespace jericho {
namespace {

namespace fs = std::filesystem;

struct Limit {
  std::int64_t bytes;
  std::string file;
};

constexpr std::int64_t kNoLimit = std::int64_t{1} << 62;  // v1 writes 2^63 rounded down to a page for "none"

class GroupReader {
 public:
  GroupReader(const fs::path& root, const GroupFolder& group)
      : folder_(group.below(root)), group_(group), stat_(text("memory.stat").value_or("")) {}

  [[nodiscard]] std::vector<Limit> limits() const {
    std::vector<Limit> found;
    const auto add = [&](const std::string& file, std::optional<std::int64_t> bytes) {
      if (bytes && *bytes >= 0 && *bytes < kNoLimit) found.push_back({*bytes, group_.path + "/" + file});
    };
    if (group_.version == GroupVersion::kV2) {
      add("memory.max", number("memory.max"));
      add("memory.high", number("memory.high"));  // beyond it every allocation is throttled: as good as a limit
    } else {
      add("memory.limit_in_bytes", number("memory.limit_in_bytes"));
      add("memory.stat", stat_field(stat_, "hierarchical_memory_limit"));  // includes ancestors the mount does not show
    }
    return found;
  }

  // What the group holds and the kernel could not drop at once.
  [[nodiscard]] std::int64_t held() const {
    const bool v2 = group_.version == GroupVersion::kV2;
    const auto field = [&](const char* name) { return stat_field(stat_, name).value_or(0); };
    const std::int64_t cache =
        v2 ? field("inactive_file") + field("active_file") - field("file_dirty") - field("file_writeback")
           : field("total_inactive_file") + field("total_active_file") - field("total_dirty") -
                 field("total_writeback");
    const std::int64_t usage = number(v2 ? "memory.current" : "memory.usage_in_bytes").value_or(0);
    return std::max<std::int64_t>(0, usage - std::max<std::int64_t>(0, cache));
  }

 private:
  [[nodiscard]] std::optional<std::string> text(const std::string& file) const { return read_text(folder_ / file); }
  [[nodiscard]] std::optional<std::int64_t> number(const std::string& file) const {
    const std::optional<std::string> content = text(file);
    return content ? leading_number(*content) : std::nullopt;
  }

  fs::path folder_;
  const GroupFolder& group_;
  std::string stat_;
};

}  // namespace

AvailableMemory available_memory(const fs::path& root) {
  const std::string meminfo = read_text(root / "proc/meminfo").value_or("");
  const std::optional<Bytes> total = kib_field(meminfo, "MemTotal");
  const std::optional<Bytes> available = kib_field(meminfo, "MemAvailable");
  if (!total || !available) {
    throw Error(ErrorKind::kIo, fmt::format("{}: no MemTotal and MemAvailable (Linux 3.14 has them); is /proc mounted?",
                                            (root / "proc/meminfo").string()));
  }
  AvailableMemory result{*total, *available, "MemAvailable"};
  for (const GroupFolder& folder : control_groups("memory", root)) {
    const GroupReader group(root, folder);
    for (const Limit& limit : group.limits()) {
      const Bytes head{std::max<std::int64_t>(0, limit.bytes - group.held())};
      result.total = std::min(result.total, Bytes{limit.bytes});
      if (head >= result.available) continue;
      result.available = head;
      result.bound_by = limit.file;
    }
  }
  return result;
}

}  // namespace jericho
