#!/usr/bin/env python3
"""What jericho audit says of a model holds when the model runs: the same plan, the same smallest budget; and whatever it
is given that is no model, no device or no context is answered with one sentence.

usage: audit_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import shlex
import shutil
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
    sizes = {"ff": 1024}
    read_share = (1, 1.05)  # of what is not in memory, by a step

    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model(f"{cls.__name__}.gguf", "Q8_0", hidden=512, layers=8, heads=8, kv_heads=4, head_dim=64,
                                vocab=4096, context=2048, **cls.sizes)
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

    def test_below_the_weights_is_told_what_the_disk_gives(self):
        streamed, whole = (audited(self.model, "-c", "512", "-t", "2", "--memory", budget)["plan"]
                           for budget in (self.audit["plan"]["smallest_budget"], "256MiB"))
        self.assertTrue(streamed["fits"] and whole["fits"])
        self.assertLessEqual(streamed["resident_weights_bytes"], streamed["plan"]["always"]["weights.resident_bytes"])
        not_resident = whole["resident_weights_bytes"] - streamed["resident_weights_bytes"]
        self.assertGreater(not_resident, 0)  # the head is the embedding: all of it is read
        self.assertGreaterEqual(streamed["disk_bytes_per_step"], self.read_share[0] * not_resident)
        self.assertLess(streamed["disk_bytes_per_step"], self.read_share[1] * not_resident)
        self.assertEqual(whole["disk_bytes_per_step"], 0)

    def test_a_budget_that_is_too_small_is_said_and_no_error(self):
        audit = audited(self.model, "-c", "512", "--memory", "8MiB")["plan"]
        self.assertFalse(audit["fits"])
        self.assertIsNone(audit["plan"])
        self.assertEqual(audit["largest_context"]["f16_tokens"], 0)
        done = verbs.run("audit", self.model, "--memory", "8MiB")
        self.assertEqual(done.returncode, 0)
        self.assertIn("does not fit", done.stdout)


class TheBudgetOfAMixture(TheBudgetItNames):
    sizes = {"ff": 256, "experts": 8}
    read_share = (0.25, 0.9)  # a token meets two of eight experts


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


class WhatElseItIsAsked(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("asked.gguf", "Q8_0", hidden=256, ff=512, layers=4, heads=8, kv_heads=4, head_dim=32,
                                vocab=1024, context=2048)
        cls.addClassCleanup(cls.model.unlink)
        cls.config = verbs.folder / "asked.json"
        cls.config.write_text(json.dumps(CONFIG))
        cls.addClassCleanup(cls.config.unlink)

    def test_every_scenario_ends_in_a_command_that_works(self):
        names = "api,edge,long-context,realtime"
        for model in (self.model, self.config):
            for scenario in audited(model, "--scenario", names, "--device", "rtx4090", "-c", "256", "-t", "2")["scenarios"]:
                with self.subTest(f"{model.suffix} {scenario['scenario']}"):
                    words = shlex.split(scenario["command"])
                    self.assertEqual(words[0], "jericho")
                    if words[1] == "bench":
                        words += ["-r", "1"]
                        words[words.index("-b") + 1] = str(min(16, int(words[words.index("-b") + 1])))
                    done = verbs.run(*words[1:])
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_device_is_planned_with_its_memory_or_with_the_budget_that_is_named(self):
        budgets = [audited(self.config, "--device", "rtx4090", *more)["plan"]["budget_bytes"]
                   for more in ((), ("--memory", "2GiB"), ("--memory", "50%"))]
        self.assertEqual(budgets[1], 2 << 30)
        self.assertAlmostEqual(budgets[2] / budgets[0], 0.5, delta=0.01)
        refused = verbs.run("audit", self.config, "--device", "rtx4090", "--memory", "64GiB")
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("more than the 23.5 GiB", refused.stderr)

    def test_devices_stand_side_by_side(self):
        devices = audited(self.config, "--compare", "h100,rtx4090,m1")["devices"]
        self.assertEqual([d["device"]["name"] for d in devices], ["h100", "rtx4090", "m1"])
        self.assertIsNone(devices[0]["usd_per_million_tokens"])
        self.assertGreater(devices[1]["usd_per_million_tokens"], 0)
        self.assertGreater(devices[1]["joules_per_million_tokens"], 0)

    def test_the_users_devices_count_and_those_of_the_flag_count_more(self):
        mine = verbs.folder / "config" / "jericho" / "devices.json"
        mine.parent.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, verbs.folder / "config")
        mine.write_text('{"devices": [{"name": "mine", "memory_gib": 64, "bandwidth_gbps": 100, "usd_per_hour": 1}]}')
        self.assertEqual(audited(self.config, "--device", "mine")["speed"]["device"]["bytes_per_second"], 100e9)
        flag = verbs.folder / "flag.json"
        flag.write_text('{"devices": [{"name": "mine", "bandwidth_gbps": 200}]}')
        self.addCleanup(flag.unlink)
        device = audited(self.config, "--device", "mine", "--devices", flag)["speed"]["device"]
        self.assertEqual((device["bytes_per_second"], device["usd_per_hour"]), (200e9, 1))

    def test_a_roadmap_names_when_and_of_what(self):
        roadmap = verbs.folder / "roadmap.json"
        self.addCleanup(roadmap.unlink)
        roadmap.write_text(json.dumps({
            "start": "2025-01", "end": "2060-01", "devices": ["h100"], "growth": {"compute": 1.7, "bandwidth": 1.3},
            "workloads": [{"name": "long", "context": 1024, "growth": {"context": 4}}, {"name": "still", "context": 64}]}))
        fates = audited(self.config, "--roadmap", roadmap)["roadmap"]
        self.assertEqual((fates[0]["starves_of"], fates[1]["starves_of"]), ("capacity", None))
        self.assertRegex(fates[0]["starves_from"], r"20\d\d-\d\d")
        self.assertIn("starves of capacity from", verbs.run("audit", self.config, "--roadmap", roadmap).stdout)

    def test_verify_prints_what_was_measured_beside_what_was_predicted(self):
        for flags in ((), ("-b", "2")):
            done = verbs.run("audit", self.model, "--verify", "-c", "256", "-t", "2", "--memory", "256MiB", "--json", *flags)
            self.assertIn(done.returncode, (0, 1), done.stderr)  # speeds of a busy machine are not judged here
            verified = json.loads(done.stdout)["verification"]
            self.assertEqual(done.returncode, 0 if verified["holds"] else 1)
            figures = verified["figures"]
            for key in ("decode_tokens_per_second", "prefill_tokens_per_second"):
                self.assertGreater(figures[key]["measured"], 0)
                self.assertGreater(figures[key]["predicted"], 0)
            self.assertTrue(figures["peak_memory_mib"]["holds"], figures)
            self.assertIn("measured: decoding used", json.loads(done.stdout)["verdict"])

    def test_verify_predicts_the_peak_of_a_model_that_streams(self):
        streamed = verbs.model("verified.gguf", "Q8_0", hidden=1024, ff=2816, layers=8, heads=16, kv_heads=4, head_dim=64,
                               vocab=4096, context=2048)
        self.addCleanup(streamed.unlink)
        smallest = audited(streamed, "-c", "256", "-t", "2")["plan"]["smallest_budget_bytes"]
        done = verbs.run("audit", streamed, "--verify", "-c", "256", "-t", "2", "--memory", f"{smallest + (8 << 20)}B",
                         "--json")
        self.assertIn(done.returncode, (0, 1), done.stderr)  # speeds of a busy machine are not judged here
        figures = json.loads(done.stdout)["verification"]["figures"]
        self.assertTrue(figures["peak_memory_mib"]["holds"], figures)
        for key in ("decode_tokens_per_second", "prefill_tokens_per_second"):
            self.assertGreater(figures[key]["measured"], 0.2 * figures[key]["predicted"], figures)

    def test_the_page_is_written_whole(self):
        page = verbs.folder / "report.html"
        done = verbs.run("audit", self.model, "--html", page, "--device", "h100")
        self.assertEqual(done.returncode, 0, done.stderr)
        text = page.read_text()
        self.assertTrue(text.startswith("<!DOCTYPE html>") and text.endswith("</html>\n"))
        self.assertEqual(text.count("<svg"), text.count("</svg>"))

    def test_a_configuration_of_no_family_is_counted_all_the_same(self):
        other = verbs.folder / "other.json"
        self.addCleanup(other.unlink)
        other.write_text(json.dumps({**CONFIG, "architectures": ["NoSuchForCausalLM"]}))
        audit = audited(other)
        self.assertEqual(audit["model"]["parameters"], audited(self.config)["model"]["parameters"])
        self.assertTrue(any("NoSuchForCausalLM" in note for note in audit["notes"]), audit["notes"])
        self.assertEqual(verbs.run("audit", other, "--verify").returncode, 1)


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
        self.refused(2, "excludes --shape", self.config, "--shape", "1b")
        self.refused(1, "nothing-there.json", verbs.folder / "nothing-there.json")
        for text in ("", "{", "[]", "7", '{"architectures": ["LlamaForCausalLM"]}', '{"architectures": 7}', "\0\1\2"):
            with self.subTest(text):
                self.other.write_text(text)
                self.refused(1, "other-of-audit.json", self.other)

    def test_what_else_is_asked(self):
        self.refused(2, "--scenario toaster", self.config, "--scenario", "toaster")
        self.refused(2, "--device", self.config, "--scenario", "edge")  # no figures of this machine
        self.refused(2, "--tpot-ms 0", self.config, "--scenario", "edge", "--device", "h100", "--tpot-ms", "0")
        self.refused(2, "h300", self.config, "--compare", "h100,h300")
        self.refused(2, "--verify", self.config, "--verify", "--device", "h100")
        self.refused(2, "--verify", self.config, "--verify", "-c", "64")
        self.refused(3, "--verify", self.config, "--verify", "--memory", "1MiB")
        self.refused(1, "nowhere", self.config, "--html", verbs.folder / "nowhere" / "page.html")
        for text in ("", "{", "[]", '{"start": "soon"}', '{"start": "2025-01", "end": "2026-01", "devices": ["h300"]}'):
            with self.subTest(text):
                self.other.write_text(text)
                self.refused(1, "other-of-audit.json", self.config, "--roadmap", self.other)

    def test_device_files(self):
        for text in ("", "{", '{"devices": 3}', '{"devices": [{"name": "x", "memory_gib": -1}]}'):
            with self.subTest(text):
                self.other.write_text(text)
                self.refused(1, "other-of-audit.json", self.config, "--devices", self.other)
        self.refused(1, "nothing-there", self.config, "--devices", verbs.folder / "nothing-there")


if __name__ == "__main__":
    support.main(sys.modules[__name__])
