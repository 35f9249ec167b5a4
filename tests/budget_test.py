#!/usr/bin/env python3
"""A budget that is named holds: the verb run under it takes no more, says before it starts what it needs, and gives the
same text under any budget that works. The books are held against the kernel's own count and against a memory cgroup.

usage: budget_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import cgroup  # noqa: E402: the path comes first
import verbs as support  # noqa: E402

verbs = None  # set by support.main()

MIB = 1 << 20
PROMPT = "the cat sat on the"
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def memory_flag(size):
    return f"{size}B"


class BudgetOfOneModel:
    """The tests, for any model; a subclass says which."""
    dtype = "F32"
    sizes = {}
    selections = ()  # flags of what only deep models can do

    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model(f"{cls.__name__}.gguf", cls.dtype, **cls.sizes)
        cls.addClassCleanup(cls.model.unlink)
        cls.refusal = cls.run_with("1MiB")
        match = re.search(r"^smallest budget that works: --memory ([0-9.]+)(\w+)$", cls.refusal.stderr, re.M)
        if match is None:
            raise AssertionError(cls.refusal.stderr)
        cls.argument = match[1] + match[2]
        cls.smallest = int(float(match[1]) * UNITS[match[2]])

    @classmethod
    def command(cls, memory, *more):
        return ["run", "-m", cls.model, "-p", PROMPT, "-n", "24", "--temp", "0", "--ignore-eos", "-t", "2", "--memory",
                memory, "--json", *more]

    @classmethod
    def run_with(cls, memory, *more):
        return verbs.run(*cls.command(memory, *more))

    def result_of(self, memory, *more):
        done = self.run_with(memory, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_too_small_a_budget_is_refused_with_a_table(self):
        self.assertEqual(self.refusal.returncode, 3)
        for words in ("error: ", "weights", "kv", "activations", "smallest budget that works", "no context fits"):
            with self.subTest(words):
                self.assertIn(words, self.refusal.stderr)
        self.assertEqual(json.loads(self.refusal.stdout)["error"], "does not fit")

    def test_the_smallest_budget_works_and_two_percent_less_is_refused(self):
        for _ in range(3):  # what the process holds at its start differs from run to run
            self.assertEqual(self.run_with(self.argument).returncode, 0)
        self.assertEqual(self.run_with(memory_flag(int(0.98 * self.smallest))).returncode, 3)

    def test_the_smallest_budget_is_used_and_never_exceeded(self):
        memory = self.result_of(self.argument)["memory"]
        self.assertLessEqual(memory["kernel_peak_bytes"], self.smallest)
        self.assertGreaterEqual(memory["kernel_peak_bytes"], 0.93 * self.smallest)

    def test_ledger_and_kernel_agree(self):
        for factor in (1, 1.25, 2):
            with self.subTest(factor):
                memory = self.result_of(memory_flag(int(factor * self.smallest)))["memory"]
                ledger, kernel = memory["ledger_peak_bytes"], memory["kernel_peak_bytes"]
                self.assertLessEqual(abs(ledger - kernel), max(32 * MIB, 0.02 * kernel))
                self.assertLessEqual(kernel, memory["budget_bytes"])

    def test_every_budget_of_the_ladder_holds_inside_a_cgroup_with_the_same_text(self):
        results = []
        for factor in (1, 1.25, 2, 4):
            budget = int(factor * self.smallest)
            command = [verbs.jericho, *self.command(self.argument if factor == 1 else memory_flag(budget))]
            try:
                with cgroup.MemoryCgroup(int(1.05 * budget)) as group:
                    done = group.run(command, env=verbs.environment)
            except cgroup.CgroupUnavailable as reason:
                self.skipTest(str(reason))
            self.assertEqual(done.oom_kills, 0)
            self.assertEqual(done.exit_code, 0, done.stderr)
            results.append(json.loads(done.stdout))
            self.assertLessEqual(results[-1]["memory"]["kernel_peak_bytes"], budget)
        self.assertEqual(len(results[0]["tokens"]), 24)
        for result in results[1:]:
            self.assertEqual(result["tokens"], results[0]["tokens"])
            self.assertEqual(result["text"], results[0]["text"])
        self.assertGreater(len(set(results[0]["tokens"])), 4)  # not one token over and over
        self.assertGreaterEqual(results[2]["context"], results[0]["context"])

    def test_no_budget_at_all_gives_the_same_text(self):
        self.assertEqual(self.result_of("auto")["tokens"], self.result_of(self.argument)["tokens"])

    def test_other_threads_and_kv_types_keep_to_their_smallest_budget_too(self):
        for flags in (("-t", "4"), ("--kv-type", "q8"), ("--kv-type", "f32", "-c", "300"), ("--chunk", "7"),
                      ("--kv-type-k", "q8", "--kv-type-v", "q4", "--kv-rotate"), ("--kv-type-k", "q4c", "--kv-type-v", "q4"),
                      ("--kv-select", "streaming:4+40"),
                      *self.selections):
            with self.subTest(flags):
                command = self.command("1MiB", *flags)
                if flags[0] == "-t":
                    del command[command.index("-t"):command.index("-t") + 2]
                refused = verbs.run(*command)
                smallest = re.search(r"smallest budget that works.*--memory (\S+)", refused.stderr)[1]
                command[command.index("1MiB")] = smallest
                done = verbs.run(*command)
                self.assertEqual(done.returncode, 0, done.stderr)
                memory = json.loads(done.stdout)["memory"]
                self.assertLessEqual(memory["kernel_peak_bytes"], memory["budget_bytes"])


class TinyModel(BudgetOfOneModel, unittest.TestCase):
    pass


class LargeModel(BudgetOfOneModel, unittest.TestCase):
    selections = (("--kv-select", "quest:256", "-c", "1000"), ("--kv-select", "h2o:200", "-c", "1000"),
                  ("--kv-select", "snapkv:200", "-c", "1000"))
    dtype = "Q8_0"
    sizes = {"hidden": 1024, "ff": 2816, "layers": 12, "heads": 16, "kv_heads": 4, "head_dim": 64, "vocab": 4096,
             "context": 2048}


if __name__ == "__main__":
    support.main(sys.modules[__name__])
