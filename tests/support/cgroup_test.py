#!/usr/bin/env python3
"""The memory group of cgroup.py: it limits, counts, reports and leaves nothing behind."""
import subprocess
import sys
import unittest

import cgroup

MIB = 1 << 20
FILL = "import sys; block = b'x' * (int(sys.argv[1]) << 20); print(len(block)); sys.exit(7)"


class RunWatched(unittest.TestCase):
    def test_reports_output_exit_code_and_peak(self):
        result = cgroup.run_watched([sys.executable, "-c", FILL, "100"])
        self.assertEqual(result.exit_code, 7)
        self.assertEqual(result.stdout.strip(), str(100 * MIB))
        self.assertGreaterEqual(result.max_rss_bytes, 100 * MIB)
        self.assertLess(result.max_rss_bytes, 200 * MIB)

    def test_follows_the_high_water_mark(self):
        code = "import time; block = b'x' * (50 << 20); del block; time.sleep(0.1)"
        self.assertGreaterEqual(cgroup.run_watched([sys.executable, "-c", code]).vm_hwm_bytes, 50 * MIB)

    def test_kills_what_takes_too_long(self):
        with self.assertRaises(subprocess.TimeoutExpired):
            cgroup.run_watched(["/bin/sleep", "30"], timeout=0.1)

    def test_passes_input_on(self):
        self.assertEqual(cgroup.run_watched(["/bin/cat"], stdin_text="hello").stdout, "hello")


class MemoryGroup(unittest.TestCase):
    def group(self, limit):
        group = cgroup.MemoryCgroup(limit)
        try:
            group.__enter__()
        except cgroup.CgroupUnavailable as reason:
            self.skipTest(str(reason))
        self.addCleanup(group.__exit__, None, None, None)
        return group

    def test_lets_pass_what_fits_and_reports_its_peak(self):
        result = self.group(256 * MIB).run([sys.executable, "-c", FILL, "64"])
        self.assertEqual((result.exit_code, result.oom_kills), (7, 0))
        self.assertTrue(result.peak_bytes == 0 or 64 * MIB <= result.peak_bytes <= 256 * MIB, result)

    def test_kills_what_does_not_fit(self):
        result = self.group(64 * MIB).run([sys.executable, "-c", FILL, "256"])
        self.assertEqual(result.exit_code, -9)
        self.assertGreaterEqual(result.oom_kills, 1)

    def test_counts_each_command_by_itself(self):
        group = self.group(256 * MIB)
        first = group.run([sys.executable, "-c", FILL, "128"])
        second = group.run([sys.executable, "-c", FILL, "16"])
        if group.version == 1:
            self.assertLess(second.peak_bytes, first.peak_bytes)
        self.assertEqual(second.oom_kills, 0)

    def test_leaves_nothing_behind(self):
        group = self.group(64 * MIB)
        path = group.path
        group.run(["/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & true"])  # a child that outlives its command
        group.__exit__(None, None, None)
        self.assertFalse(path.exists())


if __name__ == "__main__":
    unittest.main()
