#!/usr/bin/env python3
"""Ctrl-C ends a run within two seconds with code 130, whatever it is doing, and what was written stays written.

usage: interrupt_test.py JERICHO MAKE_MODEL FOLDER
"""
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

INTERRUPTED = 130
SECONDS_TO_END = 2
MIB = 1 << 20


class Interrupt(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("large.gguf", "F16", hidden=1024, ff=2816, layers=8, heads=16, kv_heads=4, head_dim=64,
                                vocab=4096, context=2048)
        cls.weights = cls.model.stat().st_size

    def start(self, *words, stdin=subprocess.DEVNULL):
        child = subprocess.Popen([verbs.jericho, "run", "-m", self.model, "--temp", "0", "--ignore-eos", "--memory",
                                  "1GiB", "-c", "2048", "-t", "1", *words], stdin=stdin, stdout=subprocess.PIPE, bufsize=0,
                                 stderr=subprocess.PIPE, env={**verbs.environment, "JERICHO_CPU": "avx2"})
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def resident(self, child):
        match = re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{child.pid}/status").read_text())
        return int(match[1]) * 1024 if match else 0

    def wait_until(self, child, condition):
        deadline = time.monotonic() + 60
        while not condition():
            self.assertIsNone(child.poll(), "ended too early")
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.0005)

    def ended(self, child, number=signal.SIGINT):
        """(stdout, stderr) of the child, which must end soon after the signal."""
        begin = time.monotonic()
        child.send_signal(number)
        child.wait(timeout=30)  # what it still writes fits the pipe
        out, err = child.communicate()
        self.assertLess(time.monotonic() - begin, SECONDS_TO_END)
        self.assertEqual(child.returncode, INTERRUPTED, err)
        return out, err.decode()

    def test_while_weights_are_read(self):
        for part in (0.3, 1.01):  # memory is being taken; it is there and the file is being read
            with self.subTest(part):
                child = self.start("-p", "the cat", "-n", "100")
                self.wait_until(child, lambda: self.resident(child) > part * self.weights)
                out, err = self.ended(child)
                self.assertEqual(out, b"")
                self.assertRegex(err, r"\Aerror: load \S+large.gguf: .*(interrupted|stopped).*\n\Z")

    def test_while_the_prompt_is_read(self):
        child = self.start("-p", "the " * 1500, "--chunk", "32")
        self.wait_until(child, lambda: self.resident(child) > self.weights + 25 * MIB)  # the KV pages are there
        time.sleep(0.2)
        out, err = self.ended(child)
        self.assertEqual(out, b"")
        self.assertRegex(err, r"\Aerror: interrupted while reading the prompt\n\Z")

    def test_while_tokens_are_written(self):
        child = self.start("-p", "the cat")
        first = child.stdout.read(1)
        self.assertEqual(len(first), 1)
        out, err = self.ended(child)
        self.assertEqual(out[-1:], b"\n")
        tokens = int(re.search(r"^decode +(\d+) tokens", err, re.M)[1])
        self.assertGreater(tokens, 0)
        self.assertIn("weights.resident", err)

    def test_the_written_text_is_the_beginning_of_the_whole(self):
        child = self.start("-p", "the cat", "-n", "400")
        begin = child.stdout.read(20)  # at least one piece
        self.assertNotEqual(begin, b"")
        rest, err = self.ended(child)
        tokens = int(re.search(r"^decode +(\d+) tokens", err, re.M)[1])
        whole = self.start("-p", "the cat", "-n", str(tokens))
        out, _ = whole.communicate(timeout=120)
        self.assertEqual(whole.returncode, 0)
        self.assertEqual(out, begin + rest)

    def test_while_standard_input_is_awaited(self):
        child = self.start("-n", "3", stdin=subprocess.PIPE)
        time.sleep(0.5)
        self.assertRegex(self.ended(child)[1], r"\Aerror: interrupted while reading standard input\n\Z")

    def test_termination_is_the_same_request(self):
        child = self.start("-p", "the cat")
        child.stdout.read(1)
        self.ended(child, signal.SIGTERM)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
