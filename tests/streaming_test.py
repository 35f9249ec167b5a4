#!/usr/bin/env python3
"""A model larger than its budget runs, at the same words: the ladder of budgets inside a memory cgroup, what each token
reads from disk against the plan, and what is left in the page cache.

usage: streaming_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import cgroup  # noqa: E402: the path comes first
import page_cache  # noqa: E402
import verbs as support  # noqa: E402

verbs = None  # set by support.main()

MIB = 1 << 20
SIZES = {"hidden": 1024, "ff": 2816, "layers": 12, "heads": 16, "kv_heads": 4, "head_dim": 64, "vocab": 4096,
         "context": 2048}
MIXTURE = {"hidden": 1024, "ff": 512, "layers": 8, "heads": 16, "kv_heads": 4, "head_dim": 64, "vocab": 4096,
           "context": 2048, "experts": 16, "used": 2}


class LargerThanTheBudget:
    """The tests, for any model; a subclass says which."""
    dtype = "Q8_0"
    sizes = {}

    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model(f"{cls.__name__}.gguf", cls.dtype, **cls.sizes)
        cls.addClassCleanup(cls.model.unlink)
        cls.file_bytes = cls.model.stat().st_size
        refused = verbs.run(*cls.command("1MiB"))
        cls.smallest = int(json.loads(refused.stdout)["smallest_budget_bytes"])
        cls.whole = re.search(r"^with all weights in memory: --memory (\S+)$", refused.stderr, re.M)[1]

    @classmethod
    def command(cls, memory, *more, tokens=16):
        return ["run", "-m", cls.model, "-p", "the cat sat on the", "-n", tokens, "--temp", "0", "--ignore-eos", "-t", "2",
                "-c", "256", "--memory", memory, "--json", *more]

    def result_of(self, memory, **options):
        done = verbs.run(*self.command(memory, **options))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr

    def read_from_disk(self, memory, tokens):
        """Bytes that a run read from the device, and its result."""
        page_cache.drop(self.model)
        command = [verbs.jericho, *map(str, self.command(memory, tokens=tokens))]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=verbs.environment)
        out = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        child.stdout.close()
        self.assertEqual(child.returncode, 0)
        return usage.ru_inblock * 512, json.loads(out)

    def test_a_quarter_of_the_model_gives_the_text_of_all_of_it(self):
        whole, note = self.result_of(self.whole)
        self.assertNotIn("stay in memory", note)
        part, note = self.result_of(f"{self.file_bytes // 4}B")
        self.assertIn("stay in memory", note)
        self.assertEqual(len(whole["tokens"]), 16)
        self.assertEqual(part["tokens"], whole["tokens"])
        self.assertEqual(part["text"], whole["text"])
        self.assertLessEqual(part["memory"]["kernel_peak_bytes"], self.file_bytes // 4)

    def test_the_smallest_budget_works_is_used_and_is_tight(self):
        for _ in range(3):  # what the process holds at its start differs from run to run
            peak = self.result_of(f"{self.smallest}B")[0]["memory"]["kernel_peak_bytes"]
            self.assertLessEqual(peak, self.smallest)
            self.assertGreaterEqual(peak, 0.93 * self.smallest)
        self.assertEqual(verbs.run(*self.command(f"{int(0.98 * self.smallest)}B")).returncode, 3)

    def test_every_budget_of_the_ladder_holds_inside_a_cgroup(self):
        texts = set()
        for factor in (1, 1.25, 2, 4):
            budget = int(factor * self.smallest)
            with self.subTest(factor):
                try:
                    with cgroup.MemoryCgroup(int(1.05 * budget)) as group:
                        result = group.run([verbs.jericho, *self.command(f"{budget}B")], env=verbs.environment)
                except cgroup.CgroupUnavailable as reason:
                    self.skipTest(str(reason))
                self.assertEqual(result.oom_kills, 0)
                self.assertEqual(result.exit_code, 0, result.stderr)
                done = json.loads(result.stdout)
                self.assertLessEqual(done["memory"]["kernel_peak_bytes"], budget)
                texts.add(tuple(done["tokens"]))
        self.assertEqual(len(texts), 1)


class DenseModel(LargerThanTheBudget, unittest.TestCase):
    sizes = SIZES

    def test_a_token_reads_what_is_not_pinned_and_leaves_no_page_cache(self):
        for memory in (f"{self.file_bytes // 4}B", f"{self.file_bytes // 2}B", f"{int(self.file_bytes / 1.25)}B"):
            with self.subTest(memory):
                few, _ = self.read_from_disk(memory, 8)
                many, result = self.read_from_disk(memory, 40)
                if many == 0:
                    self.skipTest("reads of this file system are not counted")
                pinned = result["memory"]["purposes"]["weights.resident"]["peak_bytes"]
                expected = self.file_bytes - pinned
                self.assertAlmostEqual((many - few) / 32, expected, delta=0.1 * expected)
                self.assertLessEqual(page_cache.cached_bytes(self.model), 64 * MIB)

    def test_an_interrupted_run_ends_cleanly(self):
        command = [verbs.jericho, *map(str, self.command(f"{self.file_bytes // 4}B", tokens=200))]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=verbs.environment)
        while b"stay in memory" not in child.stderr.readline():
            self.assertIsNone(child.poll())
        child.send_signal(2)
        child.communicate(timeout=60)
        self.assertEqual(child.returncode, 130)

    def test_a_truncated_file_ends_in_an_error_that_names_the_tensor(self):
        # Its header is whole and what is pinned is there; the last layers are not.
        cut = self.model.with_name("cut.gguf")
        cut.write_bytes(self.model.read_bytes())
        self.addCleanup(cut.unlink)
        command = self.command(f"{self.file_bytes // 4}B", tokens=200)
        words = [str(cut if word == self.model else word) for word in command]
        child = subprocess.Popen([verbs.jericho, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=verbs.environment)
        while "stay in memory" not in child.stderr.readline():
            self.assertIsNone(child.poll())
        os.truncate(cut, self.file_bytes // 2)
        _, errors = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 1, errors)
        self.assertRegex(errors, r"error: .*tensor 'blk\.\d+\.\w+\.weight'.*cut\.gguf")


@unittest.skipUnless(os.environ.get("JERICHO_SLOW_TESTS"), "takes a minute and 1.2 GB of disk: set JERICHO_SLOW_TESTS")
class ModelOfABillion(DenseModel):
    dtype = "Q4_0"
    sizes = {"hidden": 2048, "ff": 5632, "layers": 22, "heads": 32, "kv_heads": 4, "head_dim": 64, "vocab": 32000,
             "context": 2048}


class Mixture(LargerThanTheBudget, unittest.TestCase):
    sizes = MIXTURE

    def test_more_slots_read_less_and_leave_no_page_cache(self):
        reads = []
        for factor in (0.25, 0.5, 0.8):
            with self.subTest(factor):
                memory = f"{int(factor * self.file_bytes)}B"
                few, _ = self.read_from_disk(memory, 8)
                many, result = self.read_from_disk(memory, 40)
                if many == 0:
                    self.skipTest("reads of this file system are not counted")
                reads.append((many - few) / 32)
                experts = result["memory"]["experts"]
                self.assertEqual(experts["of"], 128)
                asked = experts["hits"] + experts["foreseen"] + experts["reads"] - experts["expected"]
                self.assertGreaterEqual(asked, 39 * 8 * 2)  # tokens, layers, experts of each
                self.assertLessEqual(page_cache.cached_bytes(self.model), 64 * MIB)
        self.assertGreater(reads[0], reads[1])
        self.assertGreater(reads[1], reads[2])


if __name__ == "__main__":
    support.main(sys.modules[__name__])
