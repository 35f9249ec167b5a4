// For tests only: a folder in which proc and sys look like those of a machine of 16 GiB, 12 GiB available.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "memory/temp_folder.h"

namespace jericho {

class FakeRoot : public ::testing::Test {
 protected:
  FakeRoot() {
    lay("proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree:  1024 kB\nMemAvailable:   12582912 kB\nSwapFree: 999 kB\n");
  }

  void lay(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void mount_v2(const std::string& group, const std::string& mount_root = "/") {
    lay("proc/self/cgroup", "0::" + group + "\n");
    lay("proc/self/mountinfo",
        "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        "31 22 0:27 " +
            mount_root + " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  void mount_v1(const std::string& group, const std::string& mount_root = "/") {
    lay("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:" + group + "\n1:name=systemd:/y\n");
    lay("proc/self/mountinfo",
        "30 22 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "31 22 0:27 " +
            mount_root + " /sys/fs/cgroup/memory rw,relatime master:9 - cgroup cgroup rw,memory\n");
  }
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }

 private:
  TempFolder folder_;
  const std::filesystem::path& root_ = folder_.path();
};

}  // namespace jericho
