#!/usr/bin/env python3
"""Adapters are trained beside a frozen model, open as PEFT folders, go on where they were stopped, and average.

usage: train_adapter_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import adapter as peft  # noqa: E402: the path comes first
import cgroup  # noqa: E402
import verbs as support  # noqa: E402

verbs = None  # set by support.main()

STORIES = ["The dragon guarded the gate of the castle.", "A wizard came and asked the dragon a riddle.",
           "The dragon laughed and opened the gate.", "So the wizard and the dragon became friends."]


class TrainAdapter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = verbs.folder / "text.txt"
        cls.text.write_text("\n<|endoftext|>\n".join(STORIES * 16))
        cls.lora = cls.trained("lora", method="lora")

    @classmethod
    def run_of(cls, name, start="builtin", threads=2, memory="2GiB", **settings):
        file = verbs.folder / f"{name}.yaml"
        adapter = {key: settings.pop(key) for key in ("rank", "alpha", "targets", "dora", "base") if key in settings}
        file.write_text(json.dumps({
            "output": str(verbs.folder / name), "start": str(start), "steps": 6, "seed": 3, "clip": 1,
            "adapter": {"rank": 4, "alpha": 8, **adapter}, "batch": {"sequences": 4},
            "data": {"train": str(cls.text), "valid": str(cls.text), "sequence_tokens": 64},
            "schedule": {"shape": "constant", "peak": 0.01, "warmup": 0}, "log": {"every": 1},
            "eval": {"every": 6}, "checkpoint": {"every": 2}, **settings}))
        return verbs.run("train", file, "--threads", threads, "--memory", memory)

    @classmethod
    def trained(cls, name, **settings):
        done = cls.run_of(name, **settings)
        assert done.returncode == 0, done.stderr
        return verbs.folder / name / "checkpoints" / "latest"

    @staticmethod
    def bytes_of(folder):
        return [(folder / name).read_bytes() for name in ("adapter_model.safetensors", "optimizer.safetensors")]

    def records(self, name):
        lines = (verbs.folder / name / "train.log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def test_every_method_learns_and_opens_beside_its_base(self):
        prompt = ("run", "-m", "builtin", "-p", "The dragon", "-n", 8, "--temp", 0)
        plain = verbs.run(*prompt)
        for method in ("lora", "rslora", "dora", "qlora"):
            folder = self.lora if method == "lora" else self.trained(method, method=method)
            losses = [r["loss"] for r in self.records(method) if "loss" in r]
            self.assertLess(losses[-1], losses[0] - 0.2, method)
            done = verbs.run(*prompt, "--adapter", folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotEqual(done.stdout, plain.stdout, method)

    def test_begins_at_the_base(self):
        first = [r["loss"] for name in ("lora", "full") for r in (self.records(name) if name == "lora" else self.full())
                 if r["step"] == 1 and "loss" in r]
        self.assertEqual(len(first), 2)
        self.assertLess(abs(first[0] - first[1]), 2e-3)  # weights of the base are rounded to bf16 once in both

    def full(self):
        done = self.run_of("full", method="full")
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.records("full")

    def test_trains_only_what_it_says(self):
        folder = self.trained("two", method="lora", rank=2, targets=["q_proj", "down_proj"])
        tensors = peft.read_safetensors(folder / "adapter_model.safetensors")
        modules = {re.match(r"base_model\.model\.(model\.layers\.\d+\.\w+\.\w+)\.lora_[AB]\.weight", name).group(1)
                   for name in tensors}
        self.assertEqual({m.rsplit(".", 1)[1] for m in modules}, {"q_proj", "down_proj"})
        words = json.loads((folder / "adapter_config.json").read_text())
        self.assertEqual((words["r"], words["lora_alpha"], words["peft_type"]), (2, 8, "LORA"))
        self.assertEqual(sorted(words["target_modules"]), ["down_proj", "q_proj"])

    def test_goes_on_from_a_checkpoint_with_the_same_bits(self):
        for method in ("lora", "dora"):
            whole = self.lora if method == "lora" else self.trained("dora-whole", method="dora")
            self.trained(f"{method}-parts", method=method, steps=2)
            again = self.run_of(f"{method}-parts", method=method, steps=6, threads=1)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertIn("going on from step 2 of 6", again.stderr)
            parts = verbs.folder / f"{method}-parts" / "checkpoints" / "latest"
            self.assertEqual(self.bytes_of(parts), self.bytes_of(whole), method)

    def test_gives_the_same_bits_for_any_micro_batch(self):
        one = self.trained("one-at-once", method="lora", batch={"sequences": 4, "micro_sequences": 1}, recompute="block")
        self.assertEqual(self.bytes_of(one), self.bytes_of(self.lora))

    def test_is_merged_by_convert(self):
        out = verbs.folder / "merged"
        done = verbs.run("convert", "builtin", out, "--adapter", self.lora)
        self.assertEqual(done.returncode, 0, done.stderr)
        merged = verbs.run("run", "-m", out, "-p", "The dragon", "-n", 4, "--temp", 0)
        beside = verbs.run("run", "-m", "builtin", "--adapter", self.lora, "-p", "The dragon", "-n", 4, "--temp", 0)
        self.assertEqual(merged.stdout, beside.stdout)

    def test_takes_no_gradients_and_no_state_of_the_base(self):
        done = verbs.run("train", verbs.folder / "lora.yaml", "--dry-run", "--set", f"output={verbs.folder / 'dry'}")
        self.assertEqual(done.returncode, 0, done.stderr)
        units = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
        sizes = {name: float(number) * units[unit] for name, number, unit in
                 re.findall(r"^  (\S.*?) {2,}([0-9.]+) (B|[KMG]iB)$", done.stderr, re.M)}
        parameters = int(re.search(r"^(\d+) parameters", done.stderr, re.M)[1])
        for row in ("adapters (fp32)", "gradients"):  # vectors and blocks are padded
            self.assertAlmostEqual(sizes[row] / (4 * parameters), 1, delta=0.1, msg=row)
        self.assertLess(sizes["optimizer"], 16 * parameters)
        self.assertGreater(sizes["base, frozen"], 3 << 20)  # as its file has it

    def products(self, folder, module):
        """scale * B A of a module, and how large its rank is."""
        words = json.loads((folder / "adapter_config.json").read_text())
        tensors = peft.read_safetensors(folder / "adapter_model.safetensors")
        (rank, cols), a = tensors[f"{peft.PREFIX}{module}.lora_A.weight"]
        (rows, _), b = tensors[f"{peft.PREFIX}{module}.lora_B.weight"]
        scale = words["lora_alpha"] / words["r"]
        return rank, [scale * sum(b[n * rank + r] * a[r * cols + k] for r in range(rank))
                      for n in range(0, rows, 7) for k in range(0, cols, 5)]

    def test_is_averaged_exactly_where_it_is_stacked(self):
        other = self.trained("other", method="lora", rank=2, alpha=2, seed=9)
        out = verbs.folder / "stacked"
        done = verbs.run("train", "average", f"{self.lora}:300", f"{other}:100", "-o", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        module = "model.layers.1.self_attn.k_proj"
        (_, first), (_, second), (rank, both) = (self.products(f, module) for f in (self.lora, other, out))
        self.assertEqual(rank, 6)
        largest = max(abs(x) for x in both)
        for x, y, z in zip(first, second, both):
            self.assertAlmostEqual(z, 0.75 * x + 0.25 * y, delta=1e-5 * largest)
        run = verbs.run("run", "-m", "builtin", "--adapter", out, "-p", "The", "-n", 2, "--temp", 0)
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_averages_matrices_where_that_is_asked_for(self):
        same = verbs.folder / "same"
        for mode in ("avg", "freeze-a"):
            out = verbs.folder / f"same-{mode}"
            done = verbs.run("train", "average", self.lora, self.lora, "-o", out, "--mode", mode)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(peft.read_safetensors(out / "adapter_model.safetensors"),
                             peft.read_safetensors(self.lora / "adapter_model.safetensors"))
        other = self.trained("seed", method="lora", seed=11)
        done = verbs.run("train", "average", self.lora, other, "-o", same, "--mode", "freeze-a")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is not that of the first client", done.stderr)
        self.assertFalse(same.exists())
        two = self.trained("lower", method="lora", rank=2)
        done = verbs.run("train", "average", self.lora, two, "-o", same, "--mode", "avg")
        self.assertEqual(done.returncode, 1)
        self.assertIn("has rank 2 and scale 4", done.stderr)

    def test_keeps_to_the_smallest_budget_inside_a_control_group(self):
        for method in ("qlora", "dora"):
            name = f"within-{method}"
            refused = self.run_of(name, method=method, steps=2, memory="16MiB")
            self.assertEqual(refused.returncode, 3, refused.stderr)
            mebibytes = float(re.search(r"--memory ([0-9.]+)MiB", refused.stderr.split("smallest budget")[1])[1])
            command = [verbs.jericho, "train", verbs.folder / f"{name}.yaml", "-t", "2", "--memory", f"{mebibytes}MiB"]
            try:
                with cgroup.MemoryCgroup(int((mebibytes + 1) * 2**20)) as group:
                    done = group.run([str(word) for word in command], env=verbs.environment, timeout=300)
            except cgroup.CgroupUnavailable as reason:
                self.skipTest(str(reason))
            self.assertEqual((done.oom_kills, done.exit_code), (0, 0), done.stderr)
            self.assertLessEqual(done.vm_hwm_bytes, mebibytes * 2**20)

    def test_says_what_is_wrong(self):
        for settings, words in (({"method": "lora", "rank": 3}, "adapter.rank: expected an even number, found '3'"),
                                ({"method": "prefix"}, "method: expected full, lora, rslora, dora or qlora"),
                                ({"method": "lora", "base": "q4"}, "adapter.base: expected one of stored, nf4, found 'q4'"),
                                ({"method": "lora", "targets": ["x_proj"]}, "'x_proj': expected some of down_proj")):
            done = self.run_of("wrong", **settings)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)
        other = self.run_of("lora", method="lora", rank=8)
        self.assertEqual(other.returncode, 2)
        self.assertIn("'adapter'", other.stderr)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
