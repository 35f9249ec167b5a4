// Where the control groups that limit us can be read (cgroups(7)): the hierarchies of /proc/self/mountinfo, our place
// in each from /proc/self/cgroup, and the folders from there to the top.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace jericho {

enum class GroupVersion : std::uint8_t { kV1, kV2 };

struct GroupFolder {
  GroupVersion version{};
  std::string path{};  // as the process sees it, without the root below

  [[nodiscard]] std::filesystem::path below(const std::filesystem::path& root) const {
    return root / std::filesystem::path(path).relative_path();
  }
};

// Of our group and all its ancestors that the mounts show, innermost first, in the hierarchies that have `controller`,
// such as "memory" or "cpu"; version 2 has one for all. Reads proc below `root`, which tests replace.
std::vector<GroupFolder> control_groups(std::string_view controller, const std::filesystem::path& root = "/");

}  // namespace jericho
