#!/usr/bin/env python3
"""The verbs work with no file at all: the model that is linked into the program is what its file in models/ is.

usage: builtin_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()
FILE = pathlib.Path(__file__).resolve().parents[1] / "models" / "stories" / "stories-q4.gguf"
MIB = 1 << 20


class BuiltIn(unittest.TestCase):
    def json_of(self, *words):
        done = verbs.run(*words, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_it_tells_a_story_inside_64_mib(self):
        story = self.json_of("run", "-p", "Once upon a time", "-n", 100, "--temp", 0, "--memory", "64MiB")
        self.assertGreaterEqual(story["generated_tokens"], 60)
        words = [word.strip('.,!?"') for word in story["text"].lower().split()]
        self.assertGreater(len(words), 40)
        self.assertGreater(len(set(words)), 20)  # a story, not one word over and over
        self.assertTrue({"the", "was", "she", "he", "to", "and"} & set(words))
        self.assertLessEqual(story["memory"]["kernel_peak_bytes"], 64 * MIB)

    def test_it_is_the_file_in_models(self):
        question = ("--tokens", "1,20,300,4000", "-o")
        for name, model in (("linked", ()), ("named", ("-m", "builtin")), ("file", ("-m", FILE))):
            done = verbs.run("logits", *model, *question, verbs.folder / name)
            self.assertEqual(done.returncode, 0, done.stderr)
        linked = (verbs.folder / "linked").read_bytes()
        self.assertGreater(len(linked), 4 * 4 * 4000)
        self.assertEqual(linked, (verbs.folder / "named").read_bytes())
        self.assertEqual(linked, (verbs.folder / "file").read_bytes())
        self.assertLessEqual(FILE.stat().st_size, 6 * 10**6)

    def test_it_streams_from_the_program_where_memory_is_short(self):
        refused = verbs.run("run", "-p", "A dog", "-n", 8, "-c", 64, "--memory", "1MiB")
        self.assertEqual(refused.returncode, 3)
        smallest = refused.stderr.split("smallest budget that works as asked: --memory ")[1].split()[0]
        words = ("run", "-p", "A dog", "-n", 8, "-c", 64, "--temp", 0, "--memory")
        self.assertEqual(self.json_of(*words, smallest)["tokens"], self.json_of(*words, "1GiB")["tokens"])

    def test_a_copy_of_the_program_has_it_too(self):
        copy = verbs.folder / "jericho-copy"
        shutil.copy2(verbs.jericho, copy)
        done = subprocess.run([copy, "run", "-p", "A dog", "-n", "8", "--temp", "0"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, env=verbs.environment, cwd=verbs.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, verbs.run("run", "-p", "A dog", "-n", 8, "--temp", 0).stdout)

    def test_eval_bench_inspect_audit_tokenize_and_chat_take_it(self):
        text = verbs.folder / "text.txt"
        text.write_text("Once upon a time there was a little girl named Lily. She loved to play in the park.\n")
        self.assertLess(self.json_of("eval", "--text", text, "--per-document")["bits_per_byte"], 2)
        self.assertGreater(self.json_of("bench", "-p", 8, "-n", 2, "-b", 1, "-r", 1)[0]["avg_ts"], 0)
        self.assertEqual(verbs.run("inspect").returncode, 0)
        self.assertEqual(verbs.run("audit").returncode, 0)
        self.assertEqual(verbs.run("tokenize", "--", "Once").returncode, 0)
        chat = verbs.run("chat", "-n", 16, stdin="Once upon a time\n")
        self.assertEqual(chat.returncode, 0, chat.stderr)
        self.assertTrue(chat.stdout.strip())

    def test_only_one_source_of_a_model_may_be_named(self):
        for words in (("bench", "-m", "builtin", "--shape", "58m"), ("audit", "builtin", "--shape", "58m")):
            self.assertEqual(verbs.run(*words).returncode, 2)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
