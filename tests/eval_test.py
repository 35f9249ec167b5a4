#!/usr/bin/env python3
"""`jericho eval` over choices and over several models: a trained model knows a sentence from its shuffled words, figures do not depend
on the budget or the batch, a model that fails leaves the others measured, and what cannot be compared is refused.

usage: eval_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import os
import pathlib
import random
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()

DATA = pathlib.Path(os.environ.get("JERICHO_DATA", "../shared/data"))
GIB = 1 << 30
MEASURED = {"memory", "peak_memory_bytes", "per_gib", "tokens_per_second", "of_roof"}  # what another budget, machine or moment may change
WORDS = "the cat sat on a mat once then that hat".split()


def printed_json(done, code=0):
    if done.returncode != code:
        raise AssertionError(f"exit code {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def figures(result):
    return {key: value for key, value in result.items() if key not in MEASURED}


def write_rows(name, rows):
    path = verbs.folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def invented_rows(count, seed=1):
    """Questions of all lengths with 2 to 5 choices."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        choices = [" ".join(chance.choices(WORDS, k=chance.randint(1, 9))) for _ in range(chance.randint(2, 5))]
        rows.append({"context": " ".join(chance.choices(WORDS, k=chance.randint(0, 60))), "choices": choices,
                     "label": chance.randrange(len(choices))})
    return rows


def story_rows(count, wrong_endings):
    """The last sentence of a story after the two before it; wrong_endings(stories, index, random) makes the others."""
    text = (DATA / "text/tinystories-valid.txt").read_text()
    stories = [re.split(r'(?<=[.!?"])\s+', story.strip()) for story in text.split("<|endoftext|>")]
    stories = [s for s in stories if len(s) >= 4 and 5 <= len(s[-1].split()) <= 25][:count]
    chance = random.Random(7)
    rows = []
    for i, story in enumerate(stories):
        choices = wrong_endings(stories, i, chance)
        choices.insert(i % 4, story[-1])
        rows.append({"context": " ".join(story[-3:-1]), "choices": choices, "label": "ABCD"[i % 4]})
    return rows


def shuffled_words(stories, index, chance):
    words = stories[index][-1].split()
    return [" ".join(chance.sample(words, len(words))) for _ in range(3)]


def swapped_neighbours(stories, index, chance):
    """The true ending with two neighbouring words, that differ, in each other's place."""
    words = stories[index][-1].split()
    places = [i for i in range(len(words) - 1) if words[i] != words[i + 1]]
    return [" ".join(words[:i] + [words[i + 1], words[i]] + words[i + 2:]) for i in chance.sample(places, 3)]


class Eval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("model.gguf")
        cls.other = verbs.model("other.gguf", "Q8_0", seed=2)
        cls.choices = write_rows("choices.jsonl", invented_rows(30))
        cls.text = verbs.folder / "text.txt"
        cls.text.write_text("the cat sat on the mat and the dog ran to the tree. " * 40)

    def eval(self, *words, **options):
        return verbs.run("eval", "--json", *words, **options)


class TrainedModel(unittest.TestCase):
    def accuracies(self, name, wrong_endings, count):
        model = DATA / "golden/stories260K/model.gguf"
        if not model.exists() or not (DATA / "text/tinystories-valid.txt").exists():
            self.skipTest(f"{model} is absent: set JERICHO_DATA to the folder of test data")
        got = printed_json(verbs.run("eval", "-m", model, "--choices", write_rows(name, story_rows(count, wrong_endings)), "--json"))
        print(f"{name}: " + ", ".join(f"{key} {got[key]:.4f} +/- {got[key + '_stderr']:.4f}" for key in ("acc", "acc_norm", "acc_token")))
        self.assertEqual((got["questions"], got["choices"], got["chance"]), (count, 4 * count, 0.25))
        return got

    def test_has_the_published_loss_on_stories_that_each_stand_alone(self):
        model, text = DATA / "golden/stories260K/model.gguf", DATA / "text/tinystories-valid.txt"
        if not model.exists() or not text.exists():
            self.skipTest(f"{model} is absent: set JERICHO_DATA to the folder of test data")
        stories = verbs.folder / "stories.txt"
        stories.write_text("<|endoftext|>".join(text.read_text().split("<|endoftext|>")[:8]))
        got = printed_json(verbs.run("eval", "-m", model, "--text", stories, "--per-document", "--kv-type", "f32", "--json"))
        self.assertEqual((got["documents"], got["tokens"]), (8, 2512))
        self.assertAlmostEqual(got["nll_per_token"], 1.119767, delta=1e-5)
        self.assertAlmostEqual(got["bits_per_byte"], 0.763, delta=5e-4)

    def test_tells_an_ending_from_its_shuffled_words(self):
        got = self.accuracies("shuffled-words.jsonl", shuffled_words, 60)
        self.assertGreater(got["acc"], 0.9)
        self.assertGreater(got["acc_norm"], 0.9)

    def test_tells_an_ending_from_one_with_two_words_swapped(self):
        got = self.accuracies("swapped-neighbours.jsonl", swapped_neighbours, 100)
        self.assertGreater(got["acc"], 0.9)
        self.assertGreater(got["acc_norm"], 0.9)


class Documents(Eval):
    def documents(self, text, *more):
        path = verbs.folder / "documents.txt"
        path.write_text(text)
        return self.eval("-m", self.model, "--text", path, "--per-document", *more)

    def test_a_document_has_the_same_loss_alone_and_among_others(self):
        one = printed_json(self.documents("the cat sat on the mat"))
        twice = printed_json(self.documents("the cat sat on the mat\n<|endoftext|>\n\n  the cat sat on the mat <|endoftext|>\n"))
        self.assertEqual((one["documents"], twice["documents"]), (1, 2))
        self.assertEqual(twice["tokens"], 2 * one["tokens"])
        self.assertAlmostEqual(twice["nll_per_token"], one["nll_per_token"], delta=1e-12)
        other = printed_json(self.documents("the cat sat on the mat --- the dog", "--separator", "---"))
        self.assertEqual(other["documents"], 2)

    def test_a_long_document_is_cut(self):
        got = printed_json(self.documents("the cat sat on the mat and the dog ran " * 40, "-c", "16"))
        self.assertEqual((got["documents"], got["tokens"]), (1, 15))

    def test_an_empty_text_and_choices_are_refused(self):
        self.assertEqual(self.documents("<|endoftext|>\n").returncode, 1)
        done = self.eval("-m", self.model, "--choices", self.choices, "--per-document")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--per-document", done.stderr)


class Choices(Eval):
    def test_prints_accuracies_with_errors_and_quality_per_gib(self):
        got = printed_json(self.eval("-m", self.model, "--choices", self.choices))
        for key in ("acc", "acc_norm", "acc_token"):
            p, n = got[key], got["questions"]
            self.assertAlmostEqual(got[key + "_stderr"], (p * (1 - p) / (n - 1)) ** 0.5, delta=1e-12)
        self.assertLess(got["gold_log_likelihood"], 0)
        self.assertEqual(got["truncated"], 0)
        weights, memory = got["per_gib"]["weights"], got["per_gib"]["memory"]
        self.assertAlmostEqual(weights["acc"], got["acc"] * GIB / got["weights_bytes"], delta=1e-9 * weights["acc"])
        self.assertAlmostEqual(memory["acc_norm"], got["acc_norm"] * GIB / got["memory"]["ledger_peak_bytes"], delta=1e-9 * memory["acc_norm"])
        self.assertAlmostEqual(weights["acc_above_chance"], (got["acc"] - got["chance"]) * GIB / got["weights_bytes"], delta=1e-6)

    def test_figures_do_not_depend_on_budget_batch_or_threads(self):
        refused = self.eval("-m", self.model, "--choices", self.choices, "--memory", "2MiB")
        self.assertEqual(refused.returncode, 3)
        smallest = re.search(r"smallest budget that works as asked: --memory (\S+)", refused.stderr)[1]
        expected = figures(printed_json(self.eval("-m", self.model, "--choices", self.choices)))
        for flags in (("--memory", smallest), ("--memory", "64MiB"), ("--chunk", "1"), ("--chunk", "33"), ("-t", "1"), ("-t", "3")):
            with self.subTest(flags):
                self.assertEqual(figures(printed_json(self.eval("-m", self.model, "--choices", self.choices, *flags))), expected)

    def test_order_and_company_of_questions_do_not_matter(self):
        rows = invented_rows(12)
        whole = printed_json(self.eval("-m", self.model, "--choices", write_rows("whole.jsonl", rows)))
        alone = [printed_json(self.eval("-m", self.model, "--choices", write_rows("alone.jsonl", [row]))) for row in rows]
        mean = 0
        for one in alone:
            mean += one["gold_log_likelihood"]
        self.assertEqual(whole["gold_log_likelihood"], mean / len(rows))  # the same doubles, added in the same order
        self.assertEqual(whole["acc"], sum(one["acc"] for one in alone) / len(rows))

    def test_questions_longer_than_the_context_are_cut_and_counted(self):
        row = {"context": "the cat sat on a mat then the cat sat", "choices": ["on a mat", "on a hat"], "label": 0}
        short = {"context": "sat", "choices": ["on a mat", "on a hat"], "label": 0}
        path = write_rows("long.jsonl", [row, short])
        got = printed_json(self.eval("-m", self.model, "--choices", path, "-c", "20"))
        self.assertEqual((got["truncated"], got["context"]), (1, 20))
        self.assertIn("cut at the left to 20 tokens: 1 questions", verbs.run("eval", self.model, "--choices", path, "-c", "20").stdout)
        self.assertEqual(printed_json(self.eval("-m", self.model, "--choices", path))["truncated"], 0)
        self.assertEqual(self.eval("-m", self.model, "--choices", path, "-c", "3").returncode, 1)  # the choice alone is longer

    def test_a_bad_row_is_named(self):
        path = verbs.folder / "bad.jsonl"
        path.write_text('{"context": "a", "choices": ["b", "c"], "label": 0}\n{"context": "a", "choices": ["b", "c"], "label": 5}\n')
        done = self.eval("-m", self.model, "--choices", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("bad.jsonl line 2: field 'label': expected a whole number from 0 to 1", done.stderr)

    def test_exactly_one_of_text_and_choices_is_wanted(self):
        for words in ([], ["--text", self.text, "--choices", self.choices], ["--choices", self.choices, "--reference", self.other]):
            self.assertEqual(self.eval("-m", self.model, *words).returncode, 2)
        self.assertEqual(self.eval("-m", self.model, "--choices", self.choices, "-c", "513").returncode, 2)


class SeveralModels(Eval):
    def test_each_row_is_what_the_model_gives_alone(self):
        for words in (("--choices", self.choices), ("--text", self.text, "-c", "64")):
            got = printed_json(self.eval(self.model, self.other, *words))
            alone = [printed_json(self.eval("-m", m, *words)) for m in (self.model, self.other)]
            self.assertEqual([figures(row) for row in got["models"]], [figures(row) for row in alone])

    def test_a_model_that_fails_is_a_row_and_the_rest_go_on(self):
        missing = verbs.folder / "missing.gguf"
        done = self.eval(missing, self.model, "--text", self.text, "-c", "64")
        first, second = printed_json(done, code=1)["models"]
        self.assertIn("missing.gguf", first["error"])
        self.assertGreater(second["ppl"], 1)
        table = verbs.run("eval", self.model, missing, self.other, "--text", self.text, "-c", "64")
        self.assertEqual(table.returncode, 1)
        self.assertEqual(len([line for line in table.stdout.splitlines() if " +/- " in line]), 2)
        self.assertRegex(table.stdout, r"missing\.gguf\s+failed: ")
        self.assertIn("error: ", table.stderr)

    def test_a_model_that_does_not_fit_is_a_row_and_its_memory_is_no_others(self):
        big = verbs.model("big.gguf", hidden=512, ff=2048, layers=8)
        self.addCleanup(big.unlink)
        words = ("--choices", self.choices, "--memory")
        refused = self.eval("-m", big, *words, "8MiB")
        smallest = float(re.search(r"smallest budget that works as asked: --memory ([0-9.]+)MiB", refused.stderr)[1])
        first, second = printed_json(self.eval(big, self.model, *words, f"{0.9 * smallest}MiB"), code=3)["models"]
        self.assertIn("needs more memory", first["error"])
        self.assertIn("acc", second)
        # One after the other in what the largest takes alone, and a little for what the first run leaves in the heap.
        got = printed_json(self.eval(big, big, self.model, *words, f"{1.03 * smallest}MiB"))
        self.assertEqual(figures(got["models"][0]), figures(got["models"][1]))
        peaks = [row["peak_memory_bytes"] for row in got["models"]]
        self.assertLess(peaks[2], 0.7 * peaks[0])
        for row in got["models"]:
            self.assertLessEqual(row["memory"]["kernel_peak_bytes"], 1.03 * smallest * (1 << 20))

    def test_answers_are_compared_question_by_question(self):
        got = printed_json(self.eval(self.model, self.model, self.other, "--choices", self.choices))
        same, other = got["differences"]
        self.assertEqual(same["acc"], {"mean": 0, "stderr": 0, "significant": False})
        a, b = got["models"][0], got["models"][2]
        self.assertEqual((other["model"], other["against"]), (str(self.other), str(self.model)))
        for key in ("acc", "acc_norm"):
            self.assertAlmostEqual(other[key]["mean"], b[key] - a[key], delta=1e-12)
        table = verbs.run("eval", self.model, self.other, "--choices", self.choices)
        self.assertRegex(table.stdout, r"other\.gguf less \S*model\.gguf: acc [+-]0\.\d{4} \+/- 0\.\d{4} \((not )?significant")

    def test_perplexities_of_other_windows_are_remarked_on(self):
        short = verbs.model("short.gguf", context=128)
        table = verbs.run("eval", self.model, short, "--text", self.text)
        self.assertIn("compare bits per byte", table.stdout)
        self.assertNotIn("compare bits per byte", verbs.run("eval", self.model, short, "--text", self.text, "-c", "64").stdout)


class Text(Eval):
    def test_compression_per_gib_follows_from_bits_per_byte(self):
        got = printed_json(self.eval("-m", self.model, "--text", self.text, "-c", "64"))
        expected = 8 / got["bits_per_byte"] * GIB / got["weights_bytes"]
        self.assertAlmostEqual(got["per_gib"]["weights"]["compression"], expected, delta=1e-9 * expected)
        self.assertIn("per GiB of peak memory", verbs.run("eval", "-m", self.model, "--text", self.text, "-c", "64").stdout)

    def test_a_reference_with_another_tokenizer_of_the_same_size_is_refused(self):
        renamed = verbs.folder / "renamed.gguf"
        renamed.write_bytes(self.model.read_bytes().replace("▁cat".encode(), "▁cow".encode()))
        done = self.eval("-m", self.model, "--text", self.text, "-c", "64", "--reference", renamed)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"renamed\.gguf: has another tokenizer than .*id \d+ is ' cat' here and ' cow' there")
        self.assertEqual(self.eval("-m", self.model, "--text", self.text, "-c", "64", "--reference", self.other).returncode, 0)

    def test_with_a_reference_memory_is_of_both_and_has_no_quality(self):
        got = printed_json(self.eval(self.model, self.other, "--text", self.text, "-c", "64", "--reference", self.other))
        self.assertEqual([set(row["per_gib"]) for row in got["models"]], [{"weights"}, {"weights"}])
        self.assertGreater(got["models"][0]["kl"], 0)
        self.assertEqual(got["models"][1]["kl"], 0)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
