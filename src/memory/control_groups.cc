// Finds our control groups and walks them to the top: see control_groups.h.
#include "memory/control_groups.h"

#include <algorithm>
#include <string_view>

#include "memory/proc_text.h"

namespace jericho {
namespace {

// Where a hierarchy is mounted, and the group in it that we are in.
struct Hierarchy {
  GroupVersion version;
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
std::string own_group(std::string_view cgroup, GroupVersion version, std::string_view controller) {
  for (const std::string_view line : split(cgroup, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (version == GroupVersion::kV2 ? controllers.empty() : has_word(controllers, controller)) {
      return std::string(line.substr(second + 1));
    }
  }
  return {};
}

// A line of mountinfo: id parent major:minor root mount-point options [tags...] - type source super-options.
std::vector<Hierarchy> hierarchies(std::string_view mountinfo, std::string_view cgroup, std::string_view controller) {
  std::vector<Hierarchy> found;
  for (const std::string_view line : split(mountinfo, '\n')) {
    const std::vector<std::string_view> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    const bool v2 = dash[1] == "cgroup2";
    if (!v2 && (dash[1] != "cgroup" || !has_word(dash[3], controller))) continue;
    const GroupVersion version = v2 ? GroupVersion::kV2 : GroupVersion::kV1;
    std::string group = own_group(cgroup, version, controller);
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

}  // namespace

std::vector<GroupFolder> control_groups(std::string_view controller, const std::filesystem::path& root) {
  const std::string mounts = read_text(root / "proc/self/mountinfo").value_or("");
  const std::string groups = read_text(root / "proc/self/cgroup").value_or("");
  std::vector<GroupFolder> found;
  for (const Hierarchy& hierarchy : hierarchies(mounts, groups, controller)) {
    for (std::string& folder : group_folders(hierarchy)) found.push_back({hierarchy.version, std::move(folder)});
  }
  return found;
}

}  // namespace jericho
