// Threads for the time that control groups leave us, read from made-up proc and sys folders.
#include "memory/usable_cores.h"

#include <gtest/gtest.h>

#include "memory/fake_root.h"

namespace jericho {
namespace {

using UsableCores = FakeRoot;

TEST_F(UsableCores, AreThePhysicalOnesWithoutGroups) { EXPECT_EQ(usable_cores(6, root()), 6); }

TEST_F(UsableCores, AreNoMoreThanTheQuotaOfVersion2) {
  mount_v2("/box/inner");
  lay("sys/fs/cgroup/box/inner/cpu.max", "200000 100000\n");
  EXPECT_EQ(usable_cores(64, root()), 2);
  EXPECT_EQ(usable_cores(1, root()), 1);
}

TEST_F(UsableCores, HeedTheTightestGroupAbove) {
  mount_v2("/box/inner");
  lay("sys/fs/cgroup/box/inner/cpu.max", "max 100000\n");
  lay("sys/fs/cgroup/box/cpu.max", "300000 100000\n");
  lay("sys/fs/cgroup/cpu.max", "800000 100000\n");
  EXPECT_EQ(usable_cores(64, root()), 3);
}

TEST_F(UsableCores, RoundAPartOfAProcessorUp) {
  mount_v2("/box");
  lay("sys/fs/cgroup/box/cpu.max", "150000 100000\n");
  EXPECT_EQ(usable_cores(64, root()), 2);
  lay("sys/fs/cgroup/box/cpu.max", "1000 100000\n");
  EXPECT_EQ(usable_cores(64, root()), 1);
}

TEST_F(UsableCores, ReadTheFilesOfVersion1) {
  mount_v1("/mem", "/");
  lay("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "400000\n");
  lay("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(usable_cores(64, root()), 4);
  lay("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(usable_cores(64, root()), 64);
}

TEST_F(UsableCores, IgnoreWhatIsNoQuota) {
  mount_v2("/box");
  for (const char* text : {"", "max", "max 100000\n", "x y\n", "100000 0\n", "-5 100000\n", "100000\n"}) {
    lay("sys/fs/cgroup/box/cpu.max", text);
    EXPECT_EQ(usable_cores(8, root()), 8) << text;
  }
  lay("sys/fs/cgroup/box/cpu.max", "9223372036854775807 1\n");
  EXPECT_EQ(usable_cores(8, root()), 8);
}

}  // namespace
}  // namespace jericho
