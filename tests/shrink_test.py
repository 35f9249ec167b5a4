#!/usr/bin/env python3
"""SIGUSR1 asks a running verb for memory: its budget falls, what it can do without goes back to the machine, and the text
stays what it would have been.

usage: shrink_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()

UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
NOTE = re.compile(r"note: SIGUSR1 asks for memory: ([0-9.]+) (\w+) given back, the budget is ([0-9.]+) (\w+) now, was "
                  r"([0-9.]+) (\w+)")


def size(number, unit):
    return float(number) * UNITS[unit]


class Shrink(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("shrink.gguf", "F32", layers=8, context=65536)
        cls.addClassCleanup(cls.model.unlink)

    def command(self, *more):
        return [verbs.jericho, "run", "-m", str(self.model), "-p", "the cat sat on the mat", "-n", "1500", "--temp", "0",
                "--ignore-eos", "-t", "1", "--kv-type", "f32", "--json", *more]

    def ran(self, *more, signals=0):
        """The result and what stderr said, of a run that is asked for memory so many times while it writes."""
        child = subprocess.Popen(self.command(*more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env={**verbs.environment, "JERICHO_CPU": "scalar"})
        self.addCleanup(child.kill)
        if signals:
            self.resident_at_least(child, 20 << 20)
            for _ in range(signals):
                time.sleep(0.2)
                child.send_signal(signal.SIGUSR1)
        out, err = child.communicate(timeout=120)
        self.assertEqual(child.returncode, 0, err)
        return json.loads(out), err

    def resident_at_least(self, child, least):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            match = re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{child.pid}/status").read_text())
            if match and int(match[1]) * 1024 >= least:
                return
            self.assertIsNone(child.poll())
            time.sleep(0.01)
        self.fail("the run never took its memory")

    def test_the_budget_falls_and_the_text_stays(self):
        expected, quiet = self.ran("--memory", "64MiB")
        self.assertNotIn("asks for memory", quiet)
        result, err = self.ran("--memory", "64MiB", signals=3)
        self.assertEqual(result["tokens"], expected["tokens"])
        notes = NOTE.findall(err)
        self.assertEqual(len(notes), 3, err)
        for given, unit, now, now_unit, was, was_unit in notes:
            self.assertAlmostEqual(size(now, now_unit) / size(was, was_unit), 0.9, delta=0.03)
            self.assertGreater(size(given, unit), 1 << 20)

    def test_a_context_that_was_asked_for_is_kept(self):
        result, err = self.ran("--memory", "64MiB", "-c", "8000", signals=1)
        self.assertEqual(result["context"], 8000)
        self.assertIn("0 B given back", err)

    def test_slots_of_experts_go_back_where_nothing_else_can(self):
        mixture = verbs.model("shrink-experts.gguf", "F32", layers=4, hidden=256, ff=512, experts=16, used=2)
        self.addCleanup(mixture.unlink)
        command = [verbs.jericho, "run", "-m", str(mixture), "-p", "the cat", "-n", "400", "-c", "420", "--temp", "0",
                   "--ignore-eos", "-t", "1", "--json"]
        expected = json.loads(subprocess.run(command, capture_output=True, text=True, check=True,
                                             env=verbs.environment).stdout)
        child = subprocess.Popen([*command, "--memory", "70MiB"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True, env={**verbs.environment, "JERICHO_CPU": "scalar"})
        self.addCleanup(child.kill)
        self.resident_at_least(child, 60 << 20)
        time.sleep(0.2)
        child.send_signal(signal.SIGUSR1)
        out, err = child.communicate(timeout=120)
        self.assertEqual(child.returncode, 0, err)
        result = json.loads(out)
        self.assertEqual(result["tokens"], expected["tokens"])
        self.assertGreater(result["memory"]["experts"]["slots"], 2, "or nothing was in slots")
        (given, unit, *_), = NOTE.findall(err)
        self.assertGreater(size(given, unit), 1 << 20, err)

    def test_a_verb_that_has_nothing_to_give_goes_on(self):
        child = subprocess.Popen([verbs.jericho, "tokenize", "-m", str(self.model)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=verbs.environment)
        time.sleep(0.3)
        child.send_signal(signal.SIGUSR1)
        out, err = child.communicate("the cat", timeout=30)
        self.assertEqual(child.returncode, 0, err)
        self.assertTrue(out)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
