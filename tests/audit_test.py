#!/usr/bin/env python3
"""What jericho audit says of a model holds when the model runs: the same plan, the same smallest budget; and whatever it
is given that is no model, no device or no context is answered with one sentence.

usage: audit_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
          "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 320, "max_position_embeddings": 2048,
          "torch_dtype": "float16"}
START_JITTER = 512 << 10  # what the process holds at its start differs from run to run


def audited(*flags):
    done = verbs.run("audit", *flags, "--json")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


class TheBudgetItNames(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("audit.gguf", "Q8_0", hidden=512, ff=1024, layers=8, heads=8, kv_heads=4, head_dim=64,
                                vocab=4096, context=2048)
        cls.addClassCleanup(cls.model.unlink)
        cls.audit = audited(cls.model, "-c", "512", "-t", "2")
        cls.smallest = cls.audit["plan"]["smallest_budget_bytes"]

    def run_with(self, memory, *more):
        return verbs.run("run", "-m", self.model, "-p", "the cat", "-n", "24", "--temp", "0", "--ignore-eos", "-t", "2",
                         "-c", "512", "--memory", memory, "--json", *more)

    def test_is_the_one_that_run_names(self):
        refusal = json.loads(self.run_with("1MiB").stdout)
        self.assertLessEqual(abs(refusal["smallest_budget_bytes"] - self.smallest), START_JITTER)

    def test_is_tight(self):
        for _ in range(3):
            done = self.run_with(self.audit["plan"]["smallest_budget"])
            self.assertEqual(done.returncode, 0, done.stderr)
            peak = json.loads(done.stdout)["memory"]["kernel_peak_bytes"]
            self.assertGreaterEqual(peak, 0.93 * self.smallest)
            self.assertLessEqual(peak, self.smallest)
        self.assertEqual(self.run_with(f"{int(0.98 * self.smallest)}B").returncode, 3)

    def test_is_that_of_several_sequences_too(self):
        audit = audited(self.model, "-c", "256", "-b", "4", "-t", "2")["plan"]
        bench = ["bench", "-m", self.model, "-p", "0", "-n", "8", "-b", "4", "-r", "1", "-c", "256", "-t", "2"]
        done = verbs.run(*bench, "--memory", audit["smallest_budget"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(verbs.run(*bench, "--memory", f"{int(0.98 * audit['smallest_budget_bytes'])}B").returncode, 3)

    def test_the_plan_is_the_one_that_runs(self):
        plan = audited(self.model, "-c", "512", "-t", "2", "--memory", "256MiB")["plan"]["plan"]
        memory = json.loads(self.run_with("256MiB").stdout)["memory"]
        for purpose in ("kv.pages", "kv.meta", "act", "logits", "weights.resident", "weights.staging"):
            with self.subTest(purpose):
                planned = sum(plan[phase].get(purpose + "_bytes", 0) for phase in ("always", "load", "run"))
                self.assertEqual(planned, memory["purposes"][purpose]["planned_bytes"])

    def test_a_budget_that_is_too_small_is_said_and_no_error(self):
        audit = audited(self.model, "-c", "512", "--memory", "8MiB")["plan"]
        self.assertFalse(audit["fits"])
        self.assertIsNone(audit["plan"])
        self.assertEqual(audit["largest_context"]["f16_tokens"], 0)
        done = verbs.run("audit", self.model, "--memory", "8MiB")
        self.assertEqual(done.returncode, 0)
        self.assertIn("does not fit", done.stdout)


class TheModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.config = verbs.folder / "config-of-audit.json"
        cls.config.write_text(json.dumps(CONFIG))
        cls.addClassCleanup(cls.config.unlink)

    def test_may_be_a_bare_config(self):
        audit = audited(self.config)
        self.assertEqual(audit["model"]["types"]["F16"]["parameters"], audit["model"]["parameters"])
        self.assertEqual(audit["model"]["weights_bytes"], 2 * audit["model"]["parameters"])
        quantized = audited(self.config, "--type", "Q4_0")["model"]
        self.assertLess(quantized["bits_per_weight"], 4.7)

    def test_may_be_a_folder_with_nothing_but_its_config(self):
        folder = verbs.folder / "bare"
        folder.mkdir(exist_ok=True)
        config = folder / "config.json"
        config.write_text(json.dumps(CONFIG))
        self.addCleanup(folder.rmdir)
        self.addCleanup(config.unlink)
        self.assertEqual(audited(folder)["model"]["parameters"], audited(self.config)["model"]["parameters"])

    def test_is_said_for_people_with_the_verdict_first(self):
        done = verbs.run("audit", self.config, "--device", "h200")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("memory-bound: "), done.stdout)
        for words in ("smallest budget that works: --memory ", "starves first", "tokens/s", "training"):
            self.assertIn(words, done.stdout)

    def test_without_figures_of_this_machine_says_how_to_get_them(self):
        done = verbs.run("audit", self.config)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("jericho bench --machine", done.stdout)
        self.assertIsNone(audited(self.config)["speed"])


class WhatIsWrong(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.config = verbs.folder / "wrong-of-audit.json"
        cls.config.write_text(json.dumps(CONFIG))
        cls.addClassCleanup(cls.config.unlink)
        cls.other = verbs.folder / "other-of-audit.json"
        cls.addClassCleanup(lambda: cls.other.unlink(missing_ok=True))

    def refused(self, code, words, *flags):
        done = verbs.run("audit", *flags)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertRegex(done.stderr, r"\Aerror: [^\n]+\n\Z")
        self.assertIn(words, done.stderr)

    def test_contexts_batches_and_ranks(self):
        for flags, words in ((("-c", "0"), "--context 0"), (("-c", "-3"), "--context -3"), (("-c", "2049"), "2048"),
                             (("-b", "0"), "--batch 0"), (("-b", "9999999"), "--batch"), (("-p", "0"), "--prompt 0"),
                             (("--rank", "0"), "--rank 0"), (("--tokens", "-1"), "--tokens -1"),
                             (("--kv-type", "q3"), "--kv-type q3"), (("--type", "Q9"), "--type Q9"),
                             (("--memory", "8"), "--memory"), (("--device", "h300"), "h200")):
            with self.subTest(flags):
                self.refused(2, words, self.config, *flags)

    def test_models(self):
        self.refused(2, "MODEL")
        self.refused(2, "MODEL", self.config, "--shape", "1b")
        self.refused(1, "nothing-there.json", verbs.folder / "nothing-there.json")
        for text in ("", "{", "[]", "7", '{"architectures": ["LlamaForCausalLM"]}', '{"architectures": 7}', "\0\1\2"):
            with self.subTest(text):
                self.other.write_text(text)
                self.refused(1, "other-of-audit.json", self.other)

    def test_device_files(self):
        for text in ("", "{", '{"devices": 3}', '{"devices": [{"name": "x", "memory_gib": -1}]}'):
            with self.subTest(text):
                self.other.write_text(text)
                self.refused(1, "other-of-audit.json", self.config, "--devices", self.other)
        self.refused(1, "nothing-there", self.config, "--devices", verbs.folder / "nothing-there")


if __name__ == "__main__":
    support.main(sys.modules[__name__])
