#!/usr/bin/env python3
"""A model is trained from a YAML file, opens like any other, goes on where it was stopped, and what is wrong is said.

usage: train_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
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

STORIES = ["One day, a little girl named Lily found a needle in her room.", "The cat sat on the mat and the dog ran.",
           "Once upon a time there was a bird who sang to the sun.", "Tom had a red ball. He liked to play with it."]

CONFIG = """
output: {output}
tokenizer: {tokenizer}
model:
  hidden_size: 64
  intermediate_size: 128
  num_hidden_layers: 2
  num_attention_heads: 4
  num_key_value_heads: 2
  max_position_embeddings: 128
  rms_norm_eps: 1.0e-5
  tie_word_embeddings: true
data:
  train: {text}
  valid: {text}
  sequence_tokens: 64
batch: {{sequences: 4}}
steps: 40
schedule: {{peak: 0.01, warmup: 4}}
log: {{every: 5}}
eval: {{every: 20}}
checkpoint: {{every: 10}}
"""


def digest(run):
    return (run / "checkpoints" / "latest" / "model.safetensors").read_bytes()


class Train(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = verbs.folder / "text.txt"
        cls.text.write_text("\n<|endoftext|>\n".join(STORIES * 20))
        cls.tokenizer = verbs.folder / "tokenizer"
        done = verbs.run("train-tokenizer", cls.text, "-o", cls.tokenizer, "--vocab", "300")
        assert done.returncode == 0, done.stderr
        cls.base = cls.folder_of("base")
        cls.done = verbs.run("train", cls.config("base"))
        assert cls.done.returncode == 0, cls.done.stderr

    @classmethod
    def folder_of(cls, name):
        return verbs.folder / name

    @classmethod
    def config(cls, name, text=None):
        file = verbs.folder / f"{name}.yaml"
        file.write_text(CONFIG.format(output=cls.folder_of(name), tokenizer=cls.tokenizer, text=text or cls.text))
        return file

    def test_a_text_is_continued_at_every_evaluation(self):
        name = "sampled"
        done = verbs.run("train", self.config(name), "--set", "sample.prompt=The cat", "--set", "sample.tokens=12",
                         "--set", "sample.temperature=0")
        self.assertEqual(done.returncode, 0, done.stderr)
        records = [json.loads(line) for line in (self.folder_of(name) / "train.log.jsonl").read_text().splitlines()]
        samples = {record["step"]: record["sample"] for record in records if "sample" in record}
        self.assertEqual(sorted(samples), [20, 40])
        self.assertTrue(all(text.startswith("The cat") and len(text) > 8 for text in samples.values()), samples)
        self.assertEqual(digest(self.folder_of(name)), digest(self.base), "looking changes nothing")
        told = verbs.run("run", "-m", self.folder_of(name) / "checkpoints" / "latest", "-p", "The cat", "-n", "12", "--temp",
                         "0", "--kv-type", "f32")
        self.assertEqual(samples[40].split("The cat", 1)[1].strip(), told.stdout.strip())

    def test_conversations_train_their_answers_alone(self):
        chats = verbs.folder / "chats.jsonl"
        turns = [{"role": "user", "content": "who are you?"}, {"role": "assistant", "content": "a cat on a mat"}]
        chats.write_text("\n".join([json.dumps({"messages": turns})] * 40))
        template = verbs.folder / "template.jinja"
        template.write_text("{% for m in messages %}{{ m.role }}\n{{ m.content }}\n{% endfor %}"
                            "{% if add_generation_prompt %}assistant\n{% endif %}")
        config = verbs.folder / "chats.yaml"
        config.write_text(CONFIG.format(output=verbs.folder / "chats", tokenizer=self.tokenizer, text=chats))
        refused = verbs.run("train", config)
        self.assertEqual(refused.returncode, 1)
        self.assertRegex(refused.stderr, r"chats\.jsonl: line 1: is a conversation, and the model has no chat template")
        done = verbs.run("train", config, "--set", f"data.template={template}", "--set", "steps=100")
        self.assertEqual(done.returncode, 0, done.stderr)
        tokens, trained = map(int, re.search(r"(\d+) tokens, of which (\d+) are trained", done.stderr).groups())
        self.assertLess(trained, tokens / 2)
        self.assertGreaterEqual(trained, 40 * 4)
        told = verbs.run("run", "-m", verbs.folder / "chats" / "checkpoints" / "best", "-p", "user\nwho are you?\nassistant\n",
                         "-n", "40", "--temp", "0")
        self.assertIn("a cat on a mat", told.stdout)

    def test_a_run_learns_and_says_what_it_does(self):
        records = [json.loads(line) for line in (self.base / "train.log.jsonl").read_text().splitlines()]
        losses = [r["loss"] for r in records if "loss" in r]
        self.assertEqual(len(losses), 8)
        self.assertLess(losses[-1], 0.6 * losses[0])
        self.assertEqual([r["step"] for r in records if "eval_loss" in r], [20, 40])
        self.assertIn("tok/s", self.done.stderr)
        self.assertIn("activations, saved", self.done.stderr)
        events = b"".join(file.read_bytes() for file in self.base.glob("events.out.tfevents.*"))
        self.assertEqual(events.count(b"train/loss"), 8)
        self.assertEqual(events.count(b"eval/loss"), 2)

    def test_what_was_trained_runs_converts_and_is_evaluated(self):
        latest = self.base / "checkpoints" / "latest"
        done = verbs.run("run", "-m", latest, "-p", "One day", "-n", "8", "--temp", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        out = verbs.folder / "trained.gguf"
        done = verbs.run("convert", latest, out, "--type", "Q8_0")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = verbs.run("eval", "-m", out, "--text", self.text, "--per-document", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_threads_memory_and_micro_batches_change_no_bit(self):
        done = verbs.run("train", self.config("other"), "-t", "1", "--set", "batch.micro_sequences=1", "--set", "recompute=block")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(digest(self.folder_of("other")), digest(self.base))

    def test_a_run_that_is_stopped_goes_on_and_ends_the_same(self):
        config = self.config("stopped")
        process = subprocess.Popen([verbs.jericho, "train", config], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in process.stderr:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(), 130, rest)
        self.assertIn("a checkpoint is saved", rest)
        done = verbs.run("train", config)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("going on from step", done.stderr)
        self.assertEqual(digest(self.folder_of("stopped")), digest(self.base))

    def test_a_run_that_is_killed_goes_on_and_ends_the_same(self):
        config = self.config("killed")
        chance = random.Random(7)
        for _ in range(8):
            process = subprocess.Popen([verbs.jericho, "train", config, "--set", "checkpoint.every=3"],
                                       stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.1, 1.0))
            process.kill()
            process.wait()
        done = verbs.run("train", config)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(digest(self.folder_of("killed")), digest(self.base))
        records = [json.loads(line) for line in (self.folder_of("killed") / "train.log.jsonl").read_text().splitlines()]
        steps = [r["step"] for r in records if "loss" in r]
        self.assertEqual(len(steps), len(set(steps)), "a record per step, whatever was done twice")

    def from_model(self, name, start, *sets):
        """A run of two steps that begins with a model; at a rate of 0 it ends with what it began with."""
        file = verbs.folder / f"{name}.yaml"
        file.write_text(f"output: {self.folder_of(name)}\nstart: {start}\ndata: {{train: {self.text}, valid: {self.text}, "
                        "sequence_tokens: 64}\nbatch: {sequences: 4}\nsteps: 2\nlog: {every: 1}\neval: {every: 2}\n")
        return verbs.run("train", file, *(word for pair in sets for word in ("--set", pair)))

    def test_a_run_begins_with_the_weights_of_a_model_in_either_format(self):
        latest, gguf = self.base / "checkpoints" / "latest", verbs.folder / "start.gguf"
        self.assertEqual(verbs.run("convert", latest, gguf).returncode, 0)
        for name, start in (("from-folder", latest), ("from-gguf", gguf)):
            done = self.from_model(name, start, "schedule.peak=0")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(digest(self.folder_of(name)), digest(self.base))
            again = verbs.run("run", "-m", self.folder_of(name) / "checkpoints" / "latest", "-p", "One", "-n", 8, "--temp", 0)
            self.assertEqual(again.stdout, verbs.run("run", "-m", latest, "-p", "One", "-n", 8, "--temp", 0).stdout)

    def test_the_built_in_model_can_be_finetuned(self):
        done = self.from_model("finetuned", "builtin", "schedule.peak=0.001", "schedule.warmup=0", "steps=8")
        self.assertEqual(done.returncode, 0, done.stderr)
        records = [json.loads(line) for line in (self.folder_of("finetuned") / "train.log.jsonl").read_text().splitlines()]
        losses = [r["loss"] for r in records if "loss" in r]
        self.assertLess(losses[0], 5)  # new weights would have the logarithm of the vocabulary
        self.assertLess(losses[-1], losses[0])

    def test_a_start_that_is_none_or_not_alone_is_named(self):
        done = self.from_model("no-start", "absent.gguf")
        self.assertEqual(done.returncode, 1)
        self.assertIn("absent.gguf: does not exist", done.stderr)
        done = self.from_model("both", "builtin", f"tokenizer={self.tokenizer}")
        self.assertEqual(done.returncode, 2)
        self.assertIn("tokenizer", done.stderr)

    def test_json_lines_are_the_documents_they_hold(self):
        lines = verbs.folder / "text.jsonl"
        lines.write_text("\n".join(json.dumps({"id": i, "text": f" {story}\n"}) for i, story in enumerate(STORIES * 20)) + "\n\n")
        done = verbs.run("train", self.config("json-lines", text=lines), "--set", f"data.valid={self.text}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(digest(self.folder_of("json-lines")), digest(self.base))

    def test_a_line_that_is_no_document_is_named(self):
        lines = verbs.folder / "bad.jsonl"
        for line in ('{"text": "cut', '{"words": "none"}', '{"text": 7}', '["text"]'):
            lines.write_text('{"text": "one"}\n' + line + "\n")
            done = verbs.run("train", self.config("bad-lines", text=lines))
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("bad.jsonl: line 2", done.stderr)

    def test_a_plan_is_printed_and_what_does_not_fit_is_refused_with_what_would(self):
        done = verbs.run("train", self.config("dry"), "--dry-run")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(self.folder_of("dry").exists())
        done = verbs.run("train", self.config("dry"), "--memory", "8MiB")
        self.assertEqual(done.returncode, 3, done.stderr)
        least = done.stderr.rsplit("--memory ", 1)[1].split()[0]
        done = verbs.run("train", self.config("dry"), "--memory", least)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(digest(self.folder_of("dry")), digest(self.base))

    def test_what_is_wrong_is_named(self):
        empty = verbs.folder / "empty.txt"
        empty.write_text("\n<|endoftext|>\n")
        for sets, code, message in ((["schedule.peek=1"], 2, "the nearest is 'schedule.peak'"),
                                    (["data.sequence_tokens=7"], 2, "expected an even number"),
                                    (["optimizer.rule=adam"], 2, "expected one of"),
                                    ([f"data.train={empty}"], 1, "holds no text"),
                                    ([f"data.train={verbs.folder / 'absent.txt'}"], 1, "absent.txt"),
                                    (["model.hidden_size=63"], 1, "model"),
                                    (["model.architectures=[MixtralForCausalLM]"], 1, "model"),
                                    (["model.vocab_size=100"], 2, "below the tokenizer's")):
            with self.subTest(message):
                words = [word for each in sets for word in ("--set", each)]
                done = verbs.run("train", self.config("wrong"), *words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(message, done.stderr)
        done = verbs.run("train", verbs.folder / "absent.yaml")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("absent.yaml", done.stderr)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
