#!/usr/bin/env python3
"""Training keeps to the memory it is given: steps of models of hundreds of millions and of billions of parameters inside
control groups, with the plan held against the kernel's own count.

usage: train_memory_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import os
import pathlib
import re
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import cgroup  # noqa: E402: the path comes first
import verbs as support  # noqa: E402

verbs = None  # set by support.main()

GIB = 1 << 30
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

CONFIG = """
output: {output}
tokenizer: {tokenizer}
model: {{hidden_size: {hidden}, intermediate_size: {ff}, num_hidden_layers: {layers}, num_attention_heads: {heads},
  num_key_value_heads: {heads}, vocab_size: 32000, max_position_embeddings: 2048, rms_norm_eps: 1.0e-6,
  tie_word_embeddings: false}}
data: {{train: {text}, sequence_tokens: 256, mode: stream}}
batch: {{sequences: {sequences}}}
steps: {steps}
schedule: {{shape: constant, peak: 0.001, warmup: 0}}
clip: 0
log: {{every: 1}}
checkpoint: {{every: 0}}
"""


def bytes_of(text, row):
    number, unit = re.search(rf"^ *{re.escape(row)} +([0-9.]+) (\w+)$", text, re.M).groups()
    return float(number) * UNITS[unit]


class TrainingWithin(unittest.TestCase):
    """A run of a shape within a budget; a subclass says which."""
    shape = {}

    @classmethod
    def setUpClass(cls):
        cls.text = verbs.folder / "memory-text.txt"
        cls.text.write_text("The cat sat on the mat and the dog ran to the bird who sang. " * 400)
        cls.tokenizer = verbs.folder / "memory-tokenizer"
        if not cls.tokenizer.exists():
            done = verbs.run("train-tokenizer", cls.text, "-o", cls.tokenizer, "--vocab", "300")
            assert done.returncode == 0, done.stderr

    def train_within(self, gib, *sets, steps, sequences):
        """The run's text and peak. Its limit is enforced by the kernel; pages of files that it writes may be dropped."""
        output = verbs.folder / f"memory-{self.id()}"
        shutil.rmtree(output, ignore_errors=True)
        self.addCleanup(shutil.rmtree, output, True)
        config = verbs.folder / "memory.yaml"
        config.write_text(CONFIG.format(output=output, tokenizer=self.tokenizer, text=self.text, steps=steps,
                                        sequences=sequences, **self.shape))
        command = [verbs.jericho, "train", config, "--memory", f"{gib}GiB", "-t", "2",
                   *(word for each in sets for word in ("--set", each))]
        try:
            with cgroup.MemoryCgroup(int(gib * GIB)) as group:
                done = group.run(command, env=verbs.environment, timeout=1700)
        except cgroup.CgroupUnavailable as reason:
            self.skipTest(str(reason))
        print(f"\n{self.id()} within {gib} GiB: {done.seconds:.0f} s, VmHWM {done.vm_hwm_bytes / GIB:.3f} GiB\n{done.stderr}")
        self.assertEqual(done.oom_kills, 0)
        self.assertEqual(done.exit_code, 0, done.stderr)
        self.assertLessEqual(done.vm_hwm_bytes, gib * GIB)
        planned = bytes_of(done.stderr, "together")
        self.assertLessEqual(done.vm_hwm_bytes, planned)
        self.assertGreaterEqual(done.vm_hwm_bytes, 0.95 * planned)
        records = [json.loads(line) for line in (output / "train.log.jsonl").read_text().splitlines()]
        return [record["loss"] for record in records], done.stderr


@unittest.skipUnless(os.environ.get("JERICHO_SLOW_TESTS"), "takes minutes and gigabytes: set JERICHO_SLOW_TESTS")
class ModelOf350Million(TrainingWithin):
    shape = {"hidden": 1024, "ff": 2736, "layers": 24, "heads": 16}

    def test_learns_within_a_gibibyte_and_a_half_in_eight_bits(self):
        losses, _ = self.train_within(1.5, "optimizer.rule=q-apollo-mini", "optimizer.regular=apollo-mini",
                                      "weights.embeddings=int8", "schedule.peak=0.0001", steps=4, sequences=4)
        self.assertLess(losses[-1], losses[0])

    def test_learns_within_two_with_halves_and_a_rank_of_a_quarter(self):
        losses, _ = self.train_within(2, "optimizer.rule=apollo", "optimizer.regular=adamw8", "weights.projections=bf16",
                                      "weights.embeddings=bf16", steps=3, sequences=2)
        self.assertLess(losses[-1], losses[0])

    def test_learns_within_three_with_exact_weights_and_moments_of_eight_bits(self):
        losses, text = self.train_within(3, "optimizer.rule=adamw8", steps=3, sequences=2)
        self.assertIn("updates within the backward pass", text)
        self.assertLess(losses[-1], losses[0])

    def test_learns_within_four_with_halves_and_exact_moments(self):
        losses, _ = self.train_within(4, "optimizer.rule=adamw", "weights.projections=bf16", "weights.embeddings=bf16",
                                      steps=3, sequences=2)
        self.assertLess(losses[-1], losses[0])


@unittest.skipUnless(os.environ.get("JERICHO_SLOW_TESTS"), "takes minutes, 9 GiB and 7 GB of disk: set JERICHO_SLOW_TESTS")
class ModelOf7Billion(TrainingWithin):
    shape = {"hidden": 4096, "ff": 11008, "layers": 32, "heads": 32}

    def test_takes_a_step_within_nine_gibibytes(self):
        available = re.search(r"^MemAvailable: +(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M)
        if available is None or int(available[1]) * 1024 < 10 * GIB:
            self.skipTest("less than 10 GiB of memory are free")
        losses, text = self.train_within(9, "optimizer.rule=q-apollo-mini", "optimizer.regular=apollo-mini",
                                         "weights.embeddings=int8", steps=1, sequences=1)
        self.assertIn("6738415616 parameters", text)
        self.assertTrue(9 < losses[0] < 13, losses)  # ln 32000 is 10.4, and new weights are not nothing


class ModelOfThousands(TrainingWithin):
    """The same, small enough for every day."""
    shape = {"hidden": 128, "ff": 256, "layers": 4, "heads": 4}

    def test_keeps_to_its_plan_in_eight_bits(self):
        losses, _ = self.train_within(0.25, "optimizer.rule=q-apollo-mini", "optimizer.regular=apollo-mini",
                                      "weights.embeddings=int8", steps=3, sequences=1)
        self.assertEqual(len(losses), 3)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
