// Finds our control groups and walks them to the top. Start at available_memory().
//   head = limit - usage + reclaim,  reclaim = inactive_file + active_file - dirty - writeback
// Two published failures are the reason for each half: leaving out reclaim hides memory that is only cache, and leaving
// out the groups offers a container its host's memory.
#include "memory/available.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "memory/proc_text.h"

namespace jericho {
namespace {

namespace fs = std::filesystem;

enum class Version { kV1, kV2 };

// Where the hierarchy that limits our memory is mounted, and the group in it that we are in.
struct Hierarchy {
  Version version;
  std::string mount_point;  // as the process sees it
  std::string mount_root;   // the group that the mount shows at its top
  std::string group;
};

// Fields of /proc/self/mountinfo write space, tab, newline and backslash as \040 and so on (proc(5)).
std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size() &&
                       std::all_of(&text[i + 1], &text[i + 4], [](char c) { return c >= '0' && c <= '7'; });
    if (octal) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

bool has_word(std::string_view list, std::string_view word) {
  const std::vector<std::string_view> words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// /proc/self/cgroup: "4:memory:/a/b" for v1, "0::/a/b" for v2. Empty when we are in no such group.
std::string own_group(std::string_view cgroup, Version version) {
  for (const std::string_view line : split(cgroup, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (version == Version::kV2 ? controllers.empty() : has_word(controllers, "memory")) {
      return std::string(line.substr(second + 1));
    }
  }
  return {};
}

// A line of mountinfo: id parent major:minor root mount-point options [tags...] - type source super-options.
std::vector<Hierarchy> memory_hierarchies(std::string_view mountinfo, std::string_view cgroup) {
  std::vector<Hierarchy> found;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const std::vector<std::string_view> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    const bool v2 = dash[1] == "cgroup2";
    if (!v2 && (dash[1] != "cgroup" || !has_word(dash[3], "memory"))) continue;
    const Version version = v2 ? Version::kV2 : Version::kV1;
    std::string group = own_group(cgroup, version);
    if (group.empty()) continue;
    found.push_back({version, unescape(fields[4]), unescape(fields[3]), std::move(group)});
  }
  return found;
}

// The folders of our group and of all its ancestors that the mount shows, innermost first.
std::vector<std::string> group_folders(const Hierarchy& hierarchy) {
  std::string below = hierarchy.group;
  const std::string top = hierarchy.mount_root == "/" ? "" : hierarchy.mount_root;
  if (below.starts_with(top) && (below.size() == top.size() || below[top.size()] == '/')) {
    below.erase(0, top.size());
  } else {
    below.clear();  // the mount shows another part of the tree: only its top can be ours
  }
  if (below.find("/..") != std::string::npos) below.clear();  // outside our namespace
  std::vector<std::string> folders;
  for (;;) {
    while (below.ends_with('/')) below.pop_back();
    folders.push_back(hierarchy.mount_point + below);
    if (below.empty()) return folders;
    below.erase(below.rfind('/'));
  }
}

struct Limit {
  std::int64_t bytes;
  std::string file;
};

constexpr std::int64_t kNoLimit = std::int64_t{1} << 62;  // v1 writes 2^63 rounded down to a page for "none"

class GroupReader {
 public:
  GroupReader(const fs::path& root, std::string folder, Version version)
      : root_(root), folder_(std::move(folder)), version_(version), stat_(text("memory.stat").value_or("")) {}

  [[nodiscard]] std::vector<Limit> limits() const {
    std::vector<Limit> found;
    const auto add = [&](const std::string& file, std::optional<std::int64_t> bytes) {
      if (bytes && *bytes >= 0 && *bytes < kNoLimit) found.push_back({*bytes, folder_ + "/" + file});
    };
    if (version_ == Version::kV2) {
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
    const bool v2 = version_ == Version::kV2;
    const auto field = [&](const char* name) { return stat_field(stat_, name).value_or(0); };
    const std::int64_t cache =
        v2 ? field("inactive_file") + field("active_file") - field("file_dirty") - field("file_writeback")
           : field("total_inactive_file") + field("total_active_file") - field("total_dirty") -
                 field("total_writeback");
    const std::int64_t usage = number(v2 ? "memory.current" : "memory.usage_in_bytes").value_or(0);
    return std::max<std::int64_t>(0, usage - std::max<std::int64_t>(0, cache));
  }

 private:
  [[nodiscard]] std::optional<std::string> text(const std::string& file) const {
    return read_text(root_ / fs::path(folder_ + "/" + file).relative_path());
  }
  [[nodiscard]] std::optional<std::int64_t> number(const std::string& file) const {
    const std::optional<std::string> content = text(file);
    return content ? leading_number(*content) : std::nullopt;
  }

  const fs::path& root_;
  std::string folder_;
  Version version_;
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
  const std::string mounts = read_text(root / "proc/self/mountinfo").value_or("");
  const std::string groups = read_text(root / "proc/self/cgroup").value_or("");
  for (const Hierarchy& hierarchy : memory_hierarchies(mounts, groups)) {
    for (const std::string& folder : group_folders(hierarchy)) {
      const GroupReader group(root, folder, hierarchy.version);
      for (const Limit& limit : group.limits()) {
        const Bytes head{std::max<std::int64_t>(0, limit.bytes - group.held())};
        result.total = std::min(result.total, Bytes{limit.bytes});
        if (head >= result.available) continue;
        result.available = head;
        result.bound_by = limit.file;
      }
    }
  }
  return result;
}

}  // namespace jericho
