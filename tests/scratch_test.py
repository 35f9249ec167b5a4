#!/usr/bin/env python3
"""Keys and values beyond the budget: the text is that of a run which has room, the books hold, nothing is left behind; and
prompts that a store of prefixes knows are read from it, with the same text, whatever ended the run that wrote it.

usage: scratch_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import os
import pathlib
import random
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
TEXT = "the cat sat on the mat and the dog lay by the door while rain fell on the roof of the old house " * 20


class Verb(unittest.TestCase):
    sizes = {"layers": 8, "context": 8192}

    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model(f"{cls.__name__}.gguf", "F32", **cls.sizes)
        cls.addClassCleanup(cls.model.unlink)
        cls.folder = verbs.folder / cls.__name__
        cls.folder.mkdir(exist_ok=True)

    def command(self, *more, prompt=TEXT, kv_type="f32", length=3000):
        return ["run", "-m", self.model, "-p", prompt * (length // 3000), "-n", "24", "--temp", "0", "--ignore-eos", "-t", "2",
                "-c", length, "--kv-type", kv_type, "--json", *more]

    def result(self, *more, **how):
        done = verbs.run(*self.command(*more, **how))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def left(self):
        return [path for path in self.folder.rglob("*")]


class Scratch(Verb):
    def smallest(self, **how):
        refusal = verbs.run(*self.command("--memory", "1MiB", **how))
        self.assertEqual(refusal.returncode, 3)
        match = re.search(r"--scratch FOLDER --memory ([0-9.]+)(\w+)$", refusal.stderr, re.M)
        self.assertIsNotNone(match, refusal.stderr)
        return int(float(match[1]) * UNITS[match[2]])

    def test_the_text_is_the_same_and_the_budget_holds(self):
        expected = self.result()
        budget = self.smallest()
        for factor in (1, 1.1):
            memory = int(factor * budget)
            self.assertEqual(verbs.run(*self.command("--memory", f"{memory}B")).returncode, 3)
            for more in ([], ["--scratch-encrypt"]):
                with self.subTest(factor, more=more):
                    result = self.result("--memory", f"{memory}B", "--scratch", self.folder, *more)
                    self.assertEqual(result["tokens"], expected["tokens"])
                    self.assertLessEqual(result["memory"]["kernel_peak_bytes"], memory)
                    self.assertGreater(result["cold"]["bytes_per_token"], 0)
                    self.assertGreater(result["memory"]["disk_bytes"], 0)
                    self.assertEqual(self.left(), [])

    def test_a_context_four_times_the_keys_and_values_in_memory_gives_the_same_text(self):
        expected = self.result(length=6000)
        result = self.result("--memory", f"{self.smallest(length=6000)}B", "--scratch", self.folder, length=6000)
        all_pages = expected["memory"]["purposes"]["kv.pages"]["peak_bytes"]
        self.assertGreaterEqual(all_pages, 4 * result["memory"]["purposes"]["kv.pages"]["planned_bytes"])
        self.assertEqual(result["tokens"], expected["tokens"])

    def test_nothing_is_left_when_the_process_is_killed_while_it_spills(self):
        command = [verbs.jericho, *map(str, self.command("--memory", f"{self.smallest()}B", "--scratch", self.folder))]
        generator = random.Random(3)
        for _ in range(50):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=verbs.environment)
            while True:
                self.assertIsNone(process.poll(), "ended before it spilled")
                scratch = self.scratch_file_of(process.pid)
                if scratch is not None and scratch.stat().st_blocks > 0:
                    break
                time.sleep(0.001)
            self.assertEqual(self.left(), [], "the file has a name")
            time.sleep(generator.uniform(0, 0.1))
            process.kill()
            process.wait()
            self.assertEqual(self.left(), [])

    def scratch_file_of(self, pid):
        """Its open file without a name in the folder, by the way the kernel offers; None: there is none."""
        folder = pathlib.Path(f"/proc/{pid}/fd")
        try:
            for link in folder.iterdir():
                if os.readlink(link).startswith(f"{self.folder.resolve()}/") and os.readlink(link).endswith("(deleted)"):
                    return link
        except FileNotFoundError:  # it ended, or closed the file meanwhile
            pass
        return None

    def test_audit_plans_what_runs_and_says_what_a_token_reads(self):
        read = self.result()["prompt_tokens"] + 24
        command = [str(word) for word in self.command("--scratch", self.folder)]
        command[command.index("3000")] = str(read)
        audit = ["audit", self.model, "-c", read, "-t", "2", "--kv-type", "f32", "--scratch", self.folder]
        whole, plan = (json.loads(verbs.run(*audit, *more, "--json").stdout)["plan"]
                       for more in (["--memory", "1GiB"], ["--memory", "1MiB"]))
        self.assertEqual((whole["scratch_file_bytes"], whole["disk_bytes_per_step"]), (0, 0))
        memory = f"{plan['smallest_budget_bytes'] + (1 << 20)}B"
        plan = json.loads(verbs.run(*audit, "--memory", memory, "--json").stdout)["plan"]
        self.assertTrue(plan["fits"])
        done = verbs.run(*command, "--memory", memory)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        # What a process holds at its start differs from run to run, and pages take what it leaves.
        for purpose, jitter in (("kv.pages", 128 << 10), ("kv.meta", 128)):
            self.assertAlmostEqual(plan["plan"]["run"][purpose + "_bytes"],
                                   result["memory"]["purposes"][purpose]["planned_bytes"], delta=jitter)
        self.assertEqual(plan["scratch_file_bytes"], result["memory"]["disk_bytes"])
        self.assertGreater(plan["disk_bytes_per_step"], 0)
        self.assertEqual(plan["disk_bytes_per_step"], result["cold"]["bytes_per_token"])
        text = verbs.run(*audit, "--memory", memory).stdout
        self.assertIn("pages in memory", text)
        refused = verbs.run(*audit, "--memory", memory, "--verify")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("give more --memory", refused.stderr)

    def test_a_folder_in_memory_and_none_at_all_are_refused(self):
        memory = f"{self.smallest()}B"
        done = verbs.run(*self.command("--memory", memory, "--scratch", self.folder / "absent"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("expected a folder on a disk", done.stderr)
        if pathlib.Path("/dev/shm").is_dir():
            done = verbs.run(*self.command("--memory", memory, "--scratch", "/dev/shm"))
            self.assertEqual(done.returncode, 2)
            self.assertIn("name a folder on a disk", done.stderr)
        done = verbs.run(*self.command("--memory", f"{memory},disk=64KiB", "--scratch", self.folder))
        self.assertEqual(done.returncode, 3)
        self.assertIn("disk: kv.pages wants", done.stderr)


class PrefixStore(Verb):
    def test_a_prompt_that_was_read_before_comes_from_the_store(self):
        expected = self.result()
        first = self.result("--prefix-store", self.folder)
        self.assertEqual((first["tokens"], first["stored_tokens"]), (expected["tokens"], 0))
        second = self.result("--prefix-store", self.folder)
        self.assertEqual(second["tokens"], expected["tokens"])
        self.assertGreaterEqual(second["stored_tokens"], second["prompt_tokens"] - 17)
        tenant = self.result("--prefix-store", self.folder, "--tenant", "a")
        self.assertEqual((tenant["tokens"], tenant["stored_tokens"]), (expected["tokens"], 0))
        other = self.result("--prefix-store", self.folder, kv_type="f16")
        self.assertEqual(other["stored_tokens"], 0)

    def test_a_run_that_was_killed_leaves_a_store_that_opens(self):
        generator = random.Random(4)
        folder = self.folder / "killed"
        hits = 0
        for i in range(50):
            prompt = f"{i} {TEXT[:700]}"
            command = self.command("--prefix-store", folder, "--chunk", "16", prompt=prompt)
            process = subprocess.Popen([verbs.jericho, *map(str, command)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=verbs.environment)
            time.sleep(generator.uniform(0.02, 0.25))
            process.kill()
            process.wait()
            again = self.result("--prefix-store", folder, prompt=prompt)
            hits += again["stored_tokens"] > 0
            self.assertEqual(again["tokens"], self.result(prompt=prompt)["tokens"])
        self.assertGreater(hits, 0, "no kill came after a page was stored")

    def test_a_smaller_context_in_ram_takes_from_the_store_too(self):
        folder = self.folder / "both"
        expected = self.result("--prefix-store", folder)
        scratch = self.folder / "scratch"
        scratch.mkdir()
        refusal = verbs.run(*self.command("--memory", "1MiB", "--prefix-store", folder))
        match = re.search(r"--scratch FOLDER --memory ([0-9.]+\w+)$", refusal.stderr, re.M)
        result = self.result("--memory", match[1], "--scratch", scratch, "--prefix-store", folder)
        self.assertEqual(result["tokens"], expected["tokens"])
        self.assertGreater(result["stored_tokens"], 1000)
        self.assertGreater(result["cold"]["bytes_per_token"], 0)


del Verb
if __name__ == "__main__":
    support.main(sys.modules[__name__])
