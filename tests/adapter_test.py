#!/usr/bin/env python3
"""Adapters beside a model and baked into it: run, chat, eval and logits take --adapter, convert merges it.

usage: adapter_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import adapter as peft  # noqa: E402: the path comes first
import verbs as support  # noqa: E402

verbs = None  # set by support.main()

TOKENS = ",".join(str(3 + 7 * i % 300) for i in range(40))


class Adapter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = verbs.model("base.gguf", "F32")
        cls.directory = verbs.folder / "base-directory"
        done = verbs.run("convert", cls.base, cls.directory)
        assert done.returncode == 0, done.stderr
        cls.quantized = verbs.model("quantized.gguf", "Q4_0", seed=3)
        shapes = peft.module_shapes()
        cls.adapter = peft.write_adapter(verbs.folder / "adapter", shapes)
        cls.other = peft.write_adapter(verbs.folder / "other", shapes, rank=3, seed=2)
        cls.nothing = peft.write_adapter(verbs.folder / "nothing", shapes, size=0)
        cls.dora = peft.write_adapter(verbs.folder / "dora", shapes, magnitude=0.5)

    def logits(self, model, *words):
        out = verbs.folder / "logits"
        done = verbs.run("logits", "-m", model, "--tokens", TOKENS, "-o", out, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out.read_bytes()

    def assert_near(self, a, b, bound):
        a, b = (struct.unpack(f"<{len(x) // 4}f", x) for x in (a, b))
        largest = max(abs(x) for x in b)
        worst = max(abs(x - y) for x, y in zip(a, b))
        self.assertLess(worst, bound * largest)

    def test_of_nothing_leaves_every_bit(self):
        for model in (self.base, self.quantized):
            self.assertEqual(self.logits(model, "--adapter", self.nothing), self.logits(model))
            self.assertEqual(self.logits(model, "--adapter", f"{self.adapter}:0"), self.logits(model))

    def test_means_the_same_over_a_gguf_whose_rotation_pairs_lie_side_by_side(self):
        for adapter in (self.adapter, self.dora):
            beside = self.logits(self.base, "--adapter", adapter)
            self.assertEqual(beside, self.logits(self.directory, "--adapter", adapter))
            self.assertNotEqual(beside, self.logits(self.base))

    def test_gives_the_same_bits_token_by_token_and_on_any_threads(self):
        words = ("--adapter", self.adapter, "--adapter", f"{self.other}:0.5")
        reference = self.logits(self.quantized, *words)
        self.assertEqual(self.logits(self.quantized, *words, "--chunk", 1, "--threads", 1), reference)
        self.assertEqual(self.logits(self.quantized, *words, "--chunk", 7, "--threads", 3), reference)
        self.assertNotEqual(reference, self.logits(self.quantized, "--adapter", self.adapter))

    def test_is_in_the_plan_and_in_the_books(self):
        done = verbs.run("run", "-m", self.quantized, "--adapter", self.adapter, "-p", "", "-n", 3, "--temp", 0, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        memory = json.loads(done.stdout)["memory"]
        self.assertGreater(memory["purposes"]["adapter"]["planned_bytes"], 4 * 4 * 2 * (64 + 128))
        self.assertIn("modules of rank up to 4", done.stderr)

    def test_has_prefixes_of_its_own(self):
        store = verbs.folder / "prefixes"
        store.mkdir()
        words = ("run", "-m", self.base, "-p", "abcdefgh" * 20, "-n", 1, "--temp", 0, "--json", "--prefix-store", store)

        def stored(*more):
            done = verbs.run(*words, *more)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)["stored_tokens"]
        self.assertEqual(stored(), 0)
        self.assertGreater(stored(), 0)
        self.assertEqual(stored("--adapter", self.adapter), 0)
        self.assertGreater(stored("--adapter", self.adapter), 0)
        self.assertEqual(stored("--adapter", f"{self.adapter}:0.5"), 0)

    def test_runs_beside_weights_that_stream(self):
        model = verbs.model("large.gguf", "Q8_0", hidden=512, ff=1536, layers=8, heads=8, head_dim=64, vocab=2000)
        adapter = peft.write_adapter(verbs.folder / "large-adapter",
                                     peft.module_shapes(512, 1536, 8, 8, 2, 64), rank=2)
        words = ("run", "-m", model, "--adapter", adapter, "-p", "", "-n", 4, "--temp", 0, "--json", "-c", 64)
        whole = json.loads(verbs.run(*words).stdout)
        refused = verbs.run(*words, "--memory", "4MiB")
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.assertRegex(refused.stderr, r"\n  adapters  ")
        smallest = json.loads(refused.stdout)["smallest_budget_bytes"]
        streamed = verbs.run(*words, "--memory", f"{smallest * 1.02 / 2**20:.2f}MiB")
        self.assertEqual(streamed.returncode, 0, streamed.stderr)
        self.assertIn("weights stay in memory", streamed.stderr)
        self.assertEqual(json.loads(streamed.stdout)["tokens"], whole["tokens"])

    def test_is_taken_by_eval_beside_its_base(self):
        text = verbs.folder / "text.txt"
        text.write_text("abcdefgh " * 60)
        done = verbs.run("eval", "-m", self.base, "--adapter", self.nothing, "--reference", self.base, "--text", text, "-c", 64,
                         "--json")
        self.assertEqual(done.returncode, 0, done.stderr)

    def merged(self, out, *words, base=None):
        done = verbs.run("convert", base or self.base, verbs.folder / out, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return verbs.folder / out

    def expected(self, adapter, module, magnitude=None):
        """Rows of a merged weight, in double."""
        base = peft.read_safetensors(self.directory / "model.safetensors")
        terms = peft.read_safetensors(adapter / "adapter_model.safetensors")
        (rows, cols), w = base[f"{module}.weight"]
        (rank, _), a = terms[f"{peft.PREFIX}{module}.lora_A.weight"]
        _, b = terms[f"{peft.PREFIX}{module}.lora_B.weight"]
        out = []
        for n in range(rows):
            row = [w[n * cols + k] + 2 * sum(b[n * rank + r] * a[r * cols + k] for r in range(rank)) for k in range(cols)]
            gain = magnitude / sum(x * x for x in row) ** 0.5 if magnitude else 1
            out += [x * gain for x in row]
        return out

    def test_is_merged_by_convert_to_within_a_rounding_of_the_type(self):
        for adapter, magnitude in ((self.adapter, None), (self.dora, 0.5)):
            whole = self.merged(f"merged-{adapter.name}", "--adapter", adapter)
            halves = self.merged(f"halves-{adapter.name}", "--adapter", adapter, "--type", "BF16")
            for module in ("model.layers.1.self_attn.k_proj", "model.layers.0.mlp.down_proj"):
                expected = self.expected(adapter, module, magnitude)
                _, values = peft.read_safetensors(whole / "model.safetensors")[f"{module}.weight"]
                for x, y in zip(values, expected):
                    self.assertLess(abs(x - y), 2e-6)  # eight roundings of values below 2
                data = (halves / "model.safetensors").read_bytes()
                size = struct.unpack("<Q", data[:8])[0]
                begin, end = json.loads(data[8:8 + size])[f"{module}.weight"]["data_offsets"]
                codes = struct.unpack(f"<{(end - begin) // 2}H", data[8 + size + begin:8 + size + end])
                for code, y in zip(codes, expected):
                    x = struct.unpack("<f", struct.pack("<I", code << 16))[0]
                    self.assertLessEqual(abs(x - y), 2.0 ** -8 * abs(y) + 1e-30)
            self.assert_near(self.logits(whole), self.logits(self.base, "--adapter", adapter), 1e-3)

    def test_is_merged_alike_into_either_format(self):
        directory = self.merged("merged-directory", "--adapter", self.adapter, "--adapter", f"{self.other}:-1")
        gguf = self.merged("merged.gguf", "--adapter", self.adapter, "--adapter", f"{self.other}:-1")
        self.assertEqual(verbs.run("diff", directory, gguf).returncode, 0)
        self.assertEqual(self.logits(directory), self.logits(gguf))
        self.assertEqual(verbs.run("diff", directory, self.directory).returncode, 1)

    def test_does_not_round_blocks_a_second_time_unless_told(self):
        def types(path):
            tensors = json.loads(verbs.run("inspect", path, "--json").stdout)["tensors"]
            return {t["name"]: t["type"] for t in tensors}
        kept = types(self.merged("kept.gguf", "--adapter", self.adapter, base=self.quantized))
        self.assertEqual(kept["blk.0.attn_q.weight"], "F16")
        self.assertEqual(kept["token_embd.weight"], "Q4_0")
        told = types(self.merged("told.gguf", "--adapter", self.adapter, "--type", "Q8_0", base=self.quantized))
        self.assertEqual(told["blk.0.attn_q.weight"], "Q8_0")

    def test_of_another_model_is_refused_by_the_name_of_its_module(self):
        deeper = peft.write_adapter(verbs.folder / "deeper", peft.module_shapes(layers=3), rank=1)
        wider = peft.write_adapter(verbs.folder / "wider", peft.module_shapes(ff=160), rank=1)
        for adapter, words in ((deeper, "module 'model.layers.2.mlp.down_proj': the model has none of this name"),
                               (wider, "lora_B.weight': expected 128 outputs"),
                               (verbs.folder, "expected a folder with adapter_config.json")):
            done = verbs.run("run", "-m", self.base, "--adapter", adapter, "-p", "", "-n", 1)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr)
        done = verbs.run("run", "-m", self.base, "--adapter", f"{self.adapter}:x", "-p", "", "-n", 1)
        self.assertEqual(done.returncode, 2)
        self.assertIn("'x' is no number", done.stderr)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
