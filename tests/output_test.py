#!/usr/bin/env python3
"""What the measuring verbs print for scripts is JSON with the promised keys, and the figures in it are right: perplexity against an
independent engine's, divergence of a model from itself, ids that decode to their text.

usage: output_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import os
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

DATA = pathlib.Path(os.environ.get("JERICHO_DATA", "../shared/data"))
TEXT = "the cat sat on the mat and the dog ran to the tree. " * 40


def printed_json(done):
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


class Output(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("output.gguf")
        cls.other = verbs.model("other.gguf", "Q8_0", seed=2)
        cls.text = verbs.folder / "text.txt"
        cls.text.write_text(TEXT)

    def eval(self, *more, **options):
        return verbs.run("eval", "-m", self.model, "--text", self.text, "-c", "64", "--json", *more, **options)


class Eval(Output):
    def test_perplexity_of_a_trained_model_equals_an_independent_engines(self):
        golden = DATA / "golden/stories260K"
        if not golden.exists():
            self.skipTest(f"{golden} is absent: set JERICHO_DATA to the folder of test data")
        expected = json.loads((golden / "golden.json").read_text())["perplexity"]["ppl"]
        first = verbs.folder / "first100k.txt"
        first.write_bytes((DATA / "text/tinystories-valid.txt").read_bytes()[:102400])
        for form in ("model.gguf", "hf"):
            got = printed_json(verbs.run("eval", "-m", golden / form, "--text", first, "-c", "256", "--kv-type", "f32", "--json"))
            self.assertAlmostEqual(got["ppl"], expected, delta=0.001)
            self.assertAlmostEqual(got["ppl_stderr"], 0.1397, delta=0.0005)
            self.assertEqual(got["tokens"], 24384)

    def test_has_the_promised_keys_and_they_agree(self):
        got = printed_json(self.eval())
        for key in ("ppl", "ppl_stderr", "nll_per_token", "bits_per_byte", "tokens"):
            self.assertIn(key, got)
        self.assertAlmostEqual(got["ppl"], 2.718281828459045 ** got["nll_per_token"], delta=1e-9 * got["ppl"])
        self.assertEqual(got["tokens"] % 31, 0)  # of each window of 64 the last 31 are predicted and scored

    def test_figures_do_not_depend_on_threads_or_chunks(self):
        figures = {tuple(sorted((k, v) for k, v in printed_json(self.eval(*flags)).items()
                                if k not in ("memory", "peak_memory_bytes", "per_gib", "tokens_per_second", "of_roof")))
                   for flags in (("-t", "1"), ("-t", "4"), ("--chunk", "7"), ("--chunk", "64"))}
        self.assertEqual(len(figures), 1)

    def test_a_model_does_not_diverge_from_itself_but_from_another(self):
        same = printed_json(self.eval("--reference", self.model))
        self.assertEqual((same["kl"], same["top1_agreement"]), (0, 1))
        other = printed_json(self.eval("--reference", self.other))
        self.assertGreater(other["kl"], 0)
        self.assertLess(other["top1_agreement"], 1)

    def test_a_refusal_names_a_budget_that_holds_both_models(self):
        flags = ("--reference", self.other)
        refused = self.eval(*flags, "--memory", "2MiB")
        self.assertEqual(refused.returncode, 3)
        smallest = re.search(r"smallest budget that works as asked: --memory (\S+)", refused.stderr)[1]
        self.assertIn("kl", printed_json(self.eval(*flags, "--memory", smallest)))

    def test_a_text_shorter_than_a_window_is_refused(self):
        short = verbs.folder / "short.txt"
        short.write_text("the cat")
        done = verbs.run("eval", "-m", self.model, "--text", short, "-c", "64")
        self.assertEqual(done.returncode, 1)
        self.assertIn("less than one window of 64", done.stderr)


class Bench(Output):
    def test_names_tests_and_keys_as_promised(self):
        rows = printed_json(verbs.run("bench", "-m", self.model, "-p", "16", "-n", "4", "-b", "1,3", "-r", "2", "--json"))
        self.assertEqual([row["test"] for row in rows], ["pp16", "tg4", "tg4@b3"])
        for row in rows:
            self.assertEqual(len(row["samples_ts"]), 2)
            self.assertAlmostEqual(row["avg_ts"], sum(row["samples_ts"]) / 2, delta=1e-6 * row["avg_ts"])
            self.assertGreater(row["roof"]["value"], 0)
            self.assertTrue({"type", "n_threads", "stddev_ts", "bytes_per_token", "fraction_of_roof"} <= row.keys())

    def test_needs_no_file_for_a_shape(self):
        config = verbs.folder / "config.json"
        config.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
                                      "num_attention_heads": 2, "vocab_size": 100, "max_position_embeddings": 128}))
        rows = printed_json(verbs.run("bench", "--config", config, "--type", "Q8_0", "-p", "8", "-n", "2", "-b", "1", "-r", "1", "--json"))
        self.assertEqual([(row["test"], row["type"]) for row in rows], [("pp8", "Q8_0"), ("tg2", "Q8_0")])


class BenchMachine(Output):
    KEYS = {"dram_read_gbps", "dram_read_gbps_per_core", "l2_read_gbps", "l3_read_gbps", "disk_read_gbps", "disk_write_gbps",
            "fp32_tflops", "vnni_tops", "amx_int8_tops", "amx_bf16_tflops"}
    SMALL = ("bench", "--machine", "--memory", "100MiB")

    def cache(self):
        folder = verbs.folder / f"cache-{self.id().rsplit('.', 1)[1]}"
        return folder, {"XDG_CACHE_HOME": str(folder)}

    def test_has_the_promised_keys_and_is_not_kept_when_quick(self):
        folder, environment = self.cache()
        got = printed_json(verbs.run(*self.SMALL, "--quick", "--json", environment=environment))
        self.assertTrue(self.KEYS <= got.keys())
        for key in self.KEYS:
            self.assertTrue(got[key] is None or got[key] > 0, key)
        for key in ("dram_read_gbps", "dram_read_gbps_per_core", "fp32_tflops"):
            self.assertIsNotNone(got[key])
        self.assertTrue({"cpu", "family", "model", "stepping", "cores", "l2_bytes", "memory_bytes", "threads", "path"}
                        <= got["identity"].keys())
        self.assertLess(got["dram_array_bytes"], 100 << 20)
        self.assertTrue(any("caches may flatter" in note for note in got["notes"]))
        self.assertEqual(list(folder.rglob("*.json")), [])

    def test_has_null_for_what_the_path_lacks_and_says_not_here(self):
        environment = {**self.cache()[1], "JERICHO_CPU": "scalar"}
        got = printed_json(verbs.run(*self.SMALL, "--quick", "--json", environment=environment))
        self.assertEqual([got[key] for key in ("vnni_tops", "amx_int8_tops", "amx_bf16_tflops")], [None] * 3)
        text = verbs.run(*self.SMALL, "--quick", environment=environment).stdout
        self.assertRegex(text, r"8-bit products, AMX +not here\n")

    def test_is_kept_and_leaves_nothing_else(self):
        folder, environment = self.cache()
        done = verbs.run(*self.SMALL, "-t", "1", environment=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        kept = [path.name for path in folder.rglob("*") if path.is_file()]
        self.assertEqual(len(kept), 1)
        self.assertRegex(kept[0], r"\Amachine-\S+-t1\.json\Z")
        self.assertIn(kept[0], done.stderr)

    def test_does_not_fit_a_budget_below_its_smallest(self):
        done = verbs.run("bench", "--machine", "--memory", "8MiB", environment=self.cache()[1])
        self.assertEqual(done.returncode, 3)
        smallest = re.search(r"smallest budget that works: --memory (\S+)", done.stderr)[1]
        self.assertIn("dram_read_gbps", printed_json(verbs.run("bench", "--machine", "--quick", "--json", "--memory", smallest,
                                                               environment=self.cache()[1])))

    def test_refuses_a_folder_in_memory_or_none_at_all(self):
        done = verbs.run(*self.SMALL, "--quick", "--disk", verbs.folder / "absent")
        self.assertEqual(done.returncode, 1)
        self.assertIn("absent", done.stderr)
        done = verbs.run(*self.SMALL, "--quick", "--disk", "/dev/shm")
        self.assertIn((done.returncode, "lies in memory" in done.stderr), ((2, True), (0, False)))  # no tmpfs there

    def test_is_one_of_the_things_to_measure(self):
        for words in (("--machine", "-m", self.model), ("--quick", "-m", self.model), ("--disk", ".", "-m", self.model), ("--shape", "1b", "-m", self.model)):
            self.assertEqual(verbs.run("bench", *words).returncode, 2, words)

    def test_ctrl_c_ends_it_and_leaves_nothing(self):
        folder, environment = self.cache()
        for seconds in (0, 1.5, 3):
            child = subprocess.Popen([verbs.jericho, "bench", "--machine", "--memory", "400MiB"], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, env={**verbs.environment, **environment})
            status = pathlib.Path(f"/proc/{child.pid}/status")
            while child.poll() is None and int(re.search(r"VmRSS:\s+(\d+)|\Z", status.read_text())[1] or 0) < 50 << 10:
                time.sleep(0.01)  # its arrays are not there yet
            time.sleep(seconds)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=30)
            if child.returncode != 0:  # it may have been done
                self.assertEqual((child.returncode, err.decode().splitlines()[-1]), (130, "error: interrupted"))
                self.assertEqual([path for path in folder.rglob("*") if path.is_file()], [])


class Roofs(Output):
    """Verbs hold their speeds against what was kept of this machine, and measure nothing themselves."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kept = {"XDG_CACHE_HOME": str(verbs.folder / "roofs")}
        done = verbs.run("bench", "--machine", "--memory", "100MiB", environment=cls.kept)
        assert done.returncode == 0, done.stderr
        cls.record = next((verbs.folder / "roofs").rglob("*.json"))

    def run_json(self, environment):
        return printed_json(verbs.run("run", "-m", self.model, "-p", "the cat", "-n", "5", "--ignore-eos", "--json", environment=environment))

    def assert_held(self, held):
        self.assertEqual(held.keys(), {"name", "value", "unit", "fraction"})
        self.assertGreater(held["fraction"], 0)

    def test_run_tells_the_part_of_the_roof(self):
        of = self.run_json(self.kept)["of_roof"]
        self.assert_held(of["decode"])
        self.assert_held(of["prefill"])
        if of["load"] is not None:  # a disk without direct I/O has no roof
            self.assertEqual(of["load"]["name"], "disk_read")
        text = verbs.run("run", "-m", self.model, "-p", "the cat", "-n", "5", "--ignore-eos", environment=self.kept).stderr
        self.assertRegex(text, r"(?m)^decode +5 tokens +[0-9.]+ tok/s [0-9.]+ % of (dram_read|vnni|avx2_madd|fp32|amx_\w+) ")
        self.assertNotIn("bench --machine", text)

    def test_without_a_record_the_speed_stands_alone_with_a_hint(self):
        nothing = {"XDG_CACHE_HOME": str(verbs.folder / "nothing")}
        self.assertEqual(self.run_json(nothing)["of_roof"], {"load": None, "prefill": None, "decode": None})
        text = verbs.run("run", "-m", self.model, "-p", "the cat", "-n", "5", environment=nothing).stderr
        self.assertIn("note: jericho bench --machine measures the roofs", text)
        self.assertFalse((verbs.folder / "nothing").exists())

    def test_a_record_that_is_damaged_or_anothers_is_named_and_not_used(self):
        whole = self.record.read_text()
        self.addCleanup(self.record.write_text, whole)
        for text, word in ((whole[:100], self.record.name), (whole.replace('"stepping": ', '"stepping": 9'), "another machine's")):
            self.record.write_text(text)
            self.assertEqual(self.run_json(self.kept)["of_roof"]["decode"], None)
            stderr = verbs.run("run", "-m", self.model, "-p", "the cat", "-n", "5", environment=self.kept).stderr
            self.assertRegex(stderr, f"(?m)^note: .*{re.escape(word)}.*bench --machine")

    def test_eval_convert_and_logits_tell_it_too(self):
        self.assert_held(printed_json(self.eval(environment=self.kept))["of_roof"])
        text = verbs.run("eval", "-m", self.model, "--text", self.text, "-c", "64", environment=self.kept).stdout
        self.assertRegex(text, r"(?m)^speed .* % of ")
        out = verbs.folder / "roofs.gguf"
        done = printed_json(verbs.run("convert", self.model, out, "--json", environment=self.kept))
        self.assertGreater(done["seconds"], 0)
        self.assertIn(done["of_roof"] and done["of_roof"]["name"], (None, "disk_read", "disk_write"))
        logits = verbs.run("logits", "-m", self.model, "--tokens", "1,2,3", "-o", verbs.folder / "roofs.f32", environment=self.kept)
        self.assertRegex(logits.stderr, r"(?m)^read +3 tokens .* % of ")


class Ids(Output):
    def test_decode_to_their_text(self):
        for text in ("the cat", "  two  spaces", "ünïcödé 🦙", "line\nbreak"):
            ids = verbs.run("tokenize", "-m", self.model, "--ids", "--no-bos", "--", text).stdout.split()
            self.assertEqual(verbs.run("tokenize", "-m", self.model, "--decode", ",".join(ids)).stdout, text + "\n")

    def test_begin_with_bos_unless_told_otherwise(self):
        with_bos = verbs.run("tokenize", "-m", self.model, "--ids", "--", "the").stdout.split()
        without = verbs.run("tokenize", "-m", self.model, "--ids", "--no-bos", "--", "the").stdout.split()
        self.assertEqual(with_bos[1:], without)


class Inspect(Output):
    def test_counts_bytes_by_type_and_of_the_cache(self):
        got = printed_json(verbs.run("inspect", self.model, "--json"))
        self.assertEqual(sum(t["bytes"] for t in got["types"].values()), got["tensor_bytes"])
        self.assertEqual(sum(t["bytes"] for t in got["tensors"]), got["tensor_bytes"])
        self.assertEqual(got["kv_bytes_per_token"]["f32"], 2 * got["kv_bytes_per_token"]["f16"])


class Run(Output):
    def test_prints_one_object_with_text_speeds_and_memory(self):
        got = printed_json(verbs.run("run", "-m", self.model, "-p", "the cat", "-n", "5", "--temp", "0", "--ignore-eos", "--json"))
        self.assertEqual(len(got["tokens"]), 5)
        self.assertEqual(got["stopped_by"], "length")
        self.assertGreater(got["memory"]["ledger_peak_bytes"], 0)

    def test_equal_seeds_give_equal_texts_and_others_do_not(self):
        texts = [verbs.run("run", "-m", self.model, "-p", "the", "-n", "30", "--ignore-eos", "--temp", "2", "--seed", seed).stdout
                 for seed in ("7", "7", "8")]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])


if __name__ == "__main__":
    support.main(sys.modules[__name__])
