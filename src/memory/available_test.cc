// Limits are found in fake proc and sys trees of every layout that is met in the wild.
#include "memory/available.h"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/fake_root.h"

namespace jericho {
namespace {

class AvailableMemoryTest : public FakeRoot {
 protected:
  void expect(Bytes total, Bytes available, const std::string& bound_by) const {
    const AvailableMemory memory = available_memory(root());
    EXPECT_EQ(memory.total, total);
    EXPECT_EQ(memory.available, available);
    EXPECT_EQ(memory.bound_by, bound_by);
  }
};

std::string bytes(Bytes size) { return std::to_string(size.count) + "\n"; }

TEST_F(AvailableMemoryTest, IsTheHostsWithoutGroups) { expect(16_GiB, 12_GiB, "MemAvailable"); }

TEST_F(AvailableMemoryTest, ObeysAVersion2LimitAndCountsCleanCacheAsFree) {
  mount_v2("/app");
  lay("sys/fs/cgroup/app/memory.max", bytes(8_GiB));
  lay("sys/fs/cgroup/app/memory.high", "max\n");
  lay("sys/fs/cgroup/app/memory.current", bytes(6_GiB));
  lay("sys/fs/cgroup/app/memory.stat", "anon 1\nfile 2\ninactive_file " + bytes(3_GiB) + "active_file " + bytes(2_GiB) +
                                           "file_dirty " + bytes(512_MiB) + "file_writeback " + bytes(512_MiB));
  expect(8_GiB, 6_GiB, "/sys/fs/cgroup/app/memory.max");
}

TEST_F(AvailableMemoryTest, TreatsHighAsALimit) {
  mount_v2("/app");
  lay("sys/fs/cgroup/app/memory.max", bytes(8_GiB));
  lay("sys/fs/cgroup/app/memory.high", bytes(4_GiB));
  lay("sys/fs/cgroup/app/memory.current", bytes(1_GiB));
  expect(4_GiB, 3_GiB, "/sys/fs/cgroup/app/memory.high");
}

TEST_F(AvailableMemoryTest, MaxImposesNothing) {
  mount_v2("/app");
  lay("sys/fs/cgroup/app/memory.max", "max\n");
  lay("sys/fs/cgroup/app/memory.high", "max\n");
  lay("sys/fs/cgroup/app/memory.current", bytes(15_GiB));
  expect(16_GiB, 12_GiB, "MemAvailable");
}

TEST_F(AvailableMemoryTest, TakesTheTightestOfAllAncestors) {
  mount_v2("/slice/pod/app");
  lay("sys/fs/cgroup/slice/pod/app/memory.max", bytes(8_GiB));
  lay("sys/fs/cgroup/slice/pod/app/memory.current", bytes(1_GiB));
  lay("sys/fs/cgroup/slice/pod/memory.max", "max\n");
  lay("sys/fs/cgroup/slice/memory.max", bytes(10_GiB));
  lay("sys/fs/cgroup/slice/memory.current", bytes(7_GiB));  // siblings take most of it
  expect(8_GiB, 3_GiB, "/sys/fs/cgroup/slice/memory.max");
}

TEST_F(AvailableMemoryTest, NeverFallsBelowZero) {
  mount_v2("/app");
  lay("sys/fs/cgroup/app/memory.max", bytes(1_GiB));
  lay("sys/fs/cgroup/app/memory.current", bytes(2_GiB));
  expect(1_GiB, 0_B, "/sys/fs/cgroup/app/memory.max");
}

TEST_F(AvailableMemoryTest, ObeysAVersion1Limit) {
  mount_v1("/docker/abc");
  lay("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", bytes(4_GiB));
  lay("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", bytes(2_GiB));
  lay("sys/fs/cgroup/memory/docker/abc/memory.stat",
      "inactive_file 7\nhierarchical_memory_limit " + bytes(9223372036854771712_B) + "total_inactive_file " +
          bytes(1_GiB) + "total_active_file 0\ntotal_dirty 4096\ntotal_writeback 0\n");
  lay("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  lay("sys/fs/cgroup/memory/memory.usage_in_bytes", bytes(15_GiB));
  expect(4_GiB, 3_GiB - 4_KiB, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes");
}

TEST_F(AvailableMemoryTest, KnowsTheNumberThatMeansNoLimit) {
  mount_v1("/docker/abc");
  lay("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
  lay("sys/fs/cgroup/memory/memory.limit_in_bytes", "18446744073709551615\n");
  expect(16_GiB, 12_GiB, "MemAvailable");
}

TEST_F(AvailableMemoryTest, SeesLimitsOfAncestorsAVersion1MountHides) {
  mount_v1("/kube/pod/app", "/kube/pod/app");  // a container without its own namespace: the mount shows one group
  lay("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  lay("sys/fs/cgroup/memory/memory.usage_in_bytes", bytes(1_GiB));
  lay("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit " + bytes(2_GiB));
  expect(2_GiB, 1_GiB, "/sys/fs/cgroup/memory/memory.stat");
}

TEST_F(AvailableMemoryTest, FindsTheLimitWhenBothVersionsAreMounted) {
  lay("proc/self/cgroup", "9:name=systemd:/\n4:memory:/jobs/one\n1:cpu:/\n0::/\n");
  lay("proc/self/mountinfo",
      "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
  lay("sys/fs/cgroup/unified/cgroup.procs", "1\n");
  lay("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", bytes(6_GiB));
  lay("sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", bytes(1_GiB));
  expect(6_GiB, 5_GiB, "/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes");
}

TEST_F(AvailableMemoryTest, ReadsMountPointsWithSpacesAndGroupsOutsideTheNamespace) {
  lay("proc/self/cgroup", "0::/../other\n");
  lay("proc/self/mountinfo", "31 22 0:27 / /mnt/my\\040groups rw - cgroup2 none rw\n");
  lay("mnt/my groups/memory.max", bytes(3_GiB));
  lay("mnt/my groups/memory.current", bytes(1_GiB));
  expect(3_GiB, 2_GiB, "/mnt/my groups/memory.max");
}

TEST_F(AvailableMemoryTest, IgnoresBrokenLines) {
  lay("proc/self/cgroup", "nonsense\n0::/app\n:\n");
  lay("proc/self/mountinfo", "\n- cgroup2\n1 2 3 - cgroup2 x y\n");
  expect(16_GiB, 12_GiB, "MemAvailable");
}

TEST_F(AvailableMemoryTest, WithoutMeminfoIsAnError) {
  lay("proc/meminfo", "MemTotal: many kB\n");
  EXPECT_THROW((void)available_memory(root()), Error);
}

TEST(AvailableMemory, OfThisMachineIsPlausible) {
  const AvailableMemory memory = available_memory();
  EXPECT_GT(memory.total, 64_MiB);
  EXPECT_GT(memory.available, 0_B);
  EXPECT_LE(memory.available, memory.total);
  EXPECT_FALSE(memory.bound_by.empty());
}

}  // namespace
}  // namespace jericho
