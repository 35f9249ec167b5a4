#!/usr/bin/env python3
"""convert moves a model between formats and loses nothing but what it is told to; diff says what differs.

usage: convert_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()

GOLDEN = pathlib.Path(os.environ.get("JERICHO_DATA", "../shared/data")) / "golden"
# Every value of these survives both ways. Of Mamba, several A_log give one -exp(A_log); Falcon-H1's multipliers are folded
# into a GGUF's weights, so that its way back gives another, equivalent model.
REVERSIBLE = ["llama-mha", "llama-gqa-tied", "qwen2", "qwen3", "gemma2", "mixtral", "stories260K"]
FOLDED = ["mamba", "falcon-h1"]


def tensors(directory):
    """Of model.safetensors, read without Jericho: name -> (type, shape, bytes)."""
    data = (directory / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    begin = 8 + size
    return {name: (t["dtype"], t["shape"], data[begin + t["data_offsets"][0]:begin + t["data_offsets"][1]])
            for name, t in header.items()}


def inspect(path):
    done = verbs.run("inspect", path, "--json")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


class Convert(unittest.TestCase):
    def setUp(self):
        self.folder = verbs.folder / self.id().replace(".", "_")
        self.folder.mkdir()

    def convert(self, *words, code=0, **options):
        done = verbs.run("convert", *words, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def difference(self, a, b, *more):
        done = verbs.run("diff", a, b, "--json", *more)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)

    def assert_same(self, a, b):
        difference = self.difference(a, b)
        self.assertTrue(difference["same"], difference)


class Golden(Convert):
    def setUp(self):
        super().setUp()
        if not GOLDEN.exists():
            self.skipTest(f"{GOLDEN} is absent: set JERICHO_DATA to the folder of test data")

    def test_from_directory_to_gguf_and_back_every_tensor_keeps_its_bits(self):
        for name in REVERSIBLE:
            with self.subTest(name):
                there, back = self.folder / f"{name}.gguf", self.folder / name
                self.convert(GOLDEN / name / "hf", there)
                self.convert(there, back)
                self.assertEqual(tensors(back), tensors(GOLDEN / name / "hf"))
                self.assert_same(GOLDEN / name / "hf", back)

    def test_a_gguf_of_ours_is_the_one_that_others_make(self):
        for name in REVERSIBLE + FOLDED:
            with self.subTest(name):
                ours = self.folder / f"{name}.gguf"
                self.convert(GOLDEN / name / "hf", ours, "--type", "F16" if name != "stories260K" else "F32")
                difference = self.difference(GOLDEN / name / "model.gguf", ours)
                self.assertEqual(difference["fields"], [])
                for weight in difference["weights"]:
                    if weight["name"].endswith("A_log"):  # their exp() is off by a unit in the last place here and there
                        self.assertLess(weight["relative_rms"], 2 ** -23, weight)
                    else:
                        self.assertEqual(weight["different"], 0, weight)
                theirs, made = inspect(GOLDEN / name / "model.gguf"), inspect(ours)
                shape = {t["name"]: (t["shape"], t["type"]) for t in made["tensors"]}
                self.assertEqual(shape, {t["name"]: (t["shape"], t["type"]) for t in theirs["tensors"]})
                for key, value in theirs["metadata"].items():
                    if key not in ("general.name", "general.size_label"):
                        self.assertEqual(made["metadata"].get(key), value, key)

    def test_both_forms_of_a_model_differ_in_nothing(self):
        for name in REVERSIBLE:
            with self.subTest(name):
                self.assert_same(GOLDEN / name / "hf", GOLDEN / name / "model.gguf")

    def test_a_trained_model_goes_on_as_before_from_either_form(self):
        there, back = self.folder / "s.gguf", self.folder / "s"
        self.convert(GOLDEN / "stories260K/hf", there)
        self.convert(there, back)
        texts = {verbs.run("run", "-m", m, "-p", "Once upon a time", "-n", "60", "--temp", "0", "--kv-type", "f32").stdout
                 for m in (GOLDEN / "stories260K/hf", there, back)}
        self.assertEqual(len(texts), 1)
        self.assertIn("Lily", texts.pop())

    def test_diff_measures_what_rounding_does_on_a_text(self):
        small = self.folder / "q.gguf"
        self.convert(GOLDEN / "stories260K/model.gguf", small, "--type", "Q4_0")
        text = self.folder / "text.txt"
        text.write_text("Once upon a time there was a little girl named Lily. She liked to play in the park. " * 20)
        difference = self.difference(GOLDEN / "stories260K/model.gguf", small, "--text", text, "-c", "128")
        self.assertGreater(difference["kl"], 1e-3)
        self.assertLess(difference["kl"], 0.5)
        self.assertTrue(any(w["different"] for w in difference["weights"]))


class OfOneModel(Convert):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("convert.gguf", "BF16", hidden=256, ff=512, layers=4, heads=8, kv_heads=2)


class Made(OfOneModel):
    def test_from_gguf_to_directory_and_back_every_weight_is_the_same(self):
        there, back = self.folder / "hf", self.folder / "back.gguf"
        self.convert(self.model, there)
        self.convert(there, back)
        self.assert_same(self.model, there)
        self.assert_same(self.model, back)

    def test_the_output_does_not_depend_on_threads_or_budget(self):
        outputs = []
        for i, more in enumerate((["-t", "1"], ["-t", "3"], ["--memory", "64MiB"])):
            path = self.folder / f"{i}.gguf"
            self.convert(self.model, path, "--type", "Q4_K_M", *more)
            outputs.append(path.read_bytes())
        self.assertEqual(outputs[0], outputs[1])
        self.assertEqual(outputs[0], outputs[2])

    def test_a_mix_gives_each_tensor_its_type_and_runs(self):
        path = self.folder / "mix.gguf"
        self.convert(self.model, path, "--type", "q4_k_m")
        got = inspect(path)
        types = {t["name"]: t["type"] for t in got["tensors"]}
        self.assertEqual(types["token_embd.weight"], "Q6_K")  # tied: the head as well
        self.assertEqual(types["blk.0.attn_q.weight"], "Q4_K")
        self.assertEqual(types["blk.3.ffn_down.weight"], "Q6_K")
        self.assertEqual(types["blk.0.attn_norm.weight"], "F32")
        self.assertEqual(got["metadata"]["general.file_type"], 15)
        done = verbs.run("run", "-m", path, "-p", "a", "-n", "4")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_every_type_is_written_and_read_back(self):
        for kind in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L",
                     "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "TQ1_0", "TQ2_0", "MXFP4", "Q1_0"):
            with self.subTest(kind):
                path = self.folder / f"{kind}.gguf"
                self.convert(self.model, path, "--type", kind)
                difference = self.difference(self.model, path)
                self.assertEqual(difference["fields"], [])
                self.assertTrue(all(w["relative_rms"] < 1 for w in difference["weights"]), kind)
                if kind in ("F32", "BF16"):
                    self.assertTrue(difference["same"])

    def test_quantized_becomes_plain_with_the_values_it_has(self):
        small, plain = self.folder / "q.gguf", self.folder / "plain"
        self.convert(self.model, small, "--type", "Q8_0")
        self.convert(small, plain, "--type", "F32")
        self.assert_same(small, plain)

    def test_diff_names_what_differs(self):
        other = verbs.model("other.gguf", "BF16", hidden=256, ff=512, layers=4, heads=8, kv_heads=2, seed=9)
        deeper = verbs.model("deeper.gguf", "BF16", hidden=256, ff=512, layers=5, heads=8, kv_heads=2)
        difference = self.difference(self.model, other)
        self.assertEqual(difference["fields"], [])
        self.assertTrue(all(w["different"] for w in difference["weights"] if "norm" not in w["name"]))
        difference = self.difference(self.model, deeper)
        self.assertEqual([f["key"] for f in difference["fields"]], ["block_count", "layer 4"])
        self.assertTrue(all(name.startswith("model.layers.4.") for name in difference["only_b"]))
        self.assertEqual(verbs.run("diff", self.model, self.model).returncode, 0)
        self.assertEqual(verbs.run("diff", self.model, other).returncode, 1)


class Refusals(OfOneModel):
    def test_never_overwrites(self):
        path = self.folder / "there.gguf"
        path.write_text("mine")
        done = self.convert(self.model, path, code=2)
        self.assertIn("never overwrites", done.stderr)
        self.assertEqual(path.read_text(), "mine")
        (self.folder / "new.gguf.partial").write_text("mine too")
        self.convert(self.model, self.folder / "new.gguf", code=2)
        self.assertEqual((self.folder / "new.gguf.partial").read_text(), "mine too")

    def test_names_an_unknown_type_and_what_there_is(self):
        done = self.convert(self.model, self.folder / "x.gguf", "--type", "IQ2_XXS", code=2)
        self.assertIn("Q4_K_M", done.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_directory_cannot_hold_block_formats(self):
        done = self.convert(self.model, self.folder / "hf", "--type", "Q4_0", code=1)
        self.assertIn("--type", done.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_names_the_folder_that_is_not_there(self):
        done = self.convert(self.model, self.folder / "no/such/x.gguf", code=2)
        self.assertIn("no such folder", done.stderr)

    def test_names_the_smallest_budget_which_then_works(self):
        done = self.convert(self.model, self.folder / "x.gguf", "--memory", "3MiB", code=3)
        budget = done.stderr.split("--memory ")[-1].split()[0]
        self.convert(self.model, self.folder / "x.gguf", "--memory", budget)

    def test_leaves_nothing_when_interrupted(self):
        big = verbs.model("big.gguf", "F16", hidden=1024, ff=4096, layers=8, heads=16, kv_heads=16, head_dim=64)
        process = subprocess.Popen([verbs.jericho, "convert", big, self.folder / "x.gguf", "--type", "Q4_K_M", "-t", "1"],
                                   stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=verbs.environment)
        limit = time.monotonic() + 60
        while not (self.folder / "x.gguf.partial").exists() and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, error)
        self.assertEqual(list(self.folder.iterdir()), [])


if __name__ == "__main__":
    support.main(sys.modules[__name__])
