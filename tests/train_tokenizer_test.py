#!/usr/bin/env python3
"""A vocabulary is learned from text files, opens like any other, and what cannot be learned is said.

usage: train_tokenizer_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()

STORY = "One day, a little girl named Lily found a needle in her room. She said, \"Mom, look at this!\"\n"


class TrainTokenizer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = verbs.folder / "text.txt"
        cls.text.write_text(STORY * 200)

    def train(self, *words):
        return verbs.run("train-tokenizer", *words)

    def test_what_was_learned_encodes_in_few_tokens_and_comes_back(self):
        for kind, size in (("byte-level", 310), ("sentencepiece", 340)):
            with self.subTest(kind):
                out = verbs.folder / kind
                done = self.train(self.text, "-o", out, "--vocab", str(size), "--kind", kind, "--special", "<|im_end|>", "--json")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(json.loads(done.stdout)["vocabulary"], size)
                ids = verbs.run("tokenize", "-m", out, "--ids", "--", STORY.strip()).stdout.split()
                self.assertLess(len(ids), 45)
                text = verbs.run("tokenize", "-m", out, "--decode", ",".join(ids[1:])).stdout.rstrip("\n")
                self.assertEqual(text, STORY.strip())
                again = verbs.folder / f"{kind}-again"
                self.train(self.text, "-o", again, "--vocab", str(size), "--kind", kind, "--special", "<|im_end|>")
                for file in out.iterdir():
                    self.assertEqual(file.read_bytes(), (again / file.name).read_bytes())

    def test_a_text_that_teaches_less_says_so(self):
        done = self.train(self.text, "-o", verbs.folder / "few", "--vocab", "4000")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("no more pairs", done.stderr)

    def test_bad_requests_are_named(self):
        out = verbs.folder / "none"
        for words, code, message in (([verbs.folder / "absent.txt", "-o", out], 1, "absent.txt"),
                                     ([self.text, "-o", out, "--vocab", "100"], 2, "--vocab 100: expected 259"),
                                     ([self.text, "-o", out, "--kind", "words"], 2, "--kind words"),
                                     ([self.text, "-o", out, "--pre", "nobody"], 2, "--pre nobody"),
                                     ([self.text, "-o", self.text], 2, "expected a folder"),
                                     ([self.text, "-o", out, "--memory", "4KiB"], 3, "--memory")):
            with self.subTest(message):
                done = self.train(*words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(message, done.stderr)
        empty = verbs.folder / "empty.txt"
        empty.write_text("")
        self.assertIn("is empty", self.train(empty, "-o", out).stderr)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    support.main(sys.modules[__name__])
