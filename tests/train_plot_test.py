#!/usr/bin/env python3
"""The logs of runs become one page of curves; logs that are none are named.

usage: train_plot_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()


class TrainPlot(unittest.TestCase):
    def run_of(self, name, losses, end=""):
        folder = verbs.folder / name
        folder.mkdir()
        lines = [json.dumps({"step": 10 * (i + 1), "loss": loss, "lr": 1e-3, "grad_norm": 1.5, "tok_s": 900})
                 for i, loss in enumerate(losses)]
        lines.append(json.dumps({"step": 10 * len(losses), "eval_loss": losses[-1] + 0.125, "eval_tokens": 100}))
        (folder / "train.log.jsonl").write_text("\n".join(lines) + "\n" + end)
        return folder

    def test_two_runs_share_a_page(self):
        a, b = self.run_of("first", [5, 4, 3.5]), self.run_of("second<&>", [5, 3], end='{"step": 3')
        page = verbs.folder / "curves.html"
        done = verbs.run("train", "plot", a, b / "train.log.jsonl", "-o", page)
        self.assertEqual(done.returncode, 0, done.stderr)
        html = page.read_text()
        for words in ("first, held out", "second&lt;&amp;&gt;", "Loss per token", "Learning rate", "3.6250 at 30", "3.1250 at 20"):
            self.assertIn(words, html)
        self.assertNotIn("second<&", html)
        self.assertNotIn("http", html.replace("http-equiv", ""))

    def test_what_is_no_log_is_named(self):
        bad = verbs.folder / "bad.jsonl"
        bad.write_text('{"step": 1, "loss": 2}\nnothing\n{"step": 2, "loss": 1}\n')
        for path, message in ((bad, "line 2"), (verbs.folder / "absent", "absent")):
            done = verbs.run("train", "plot", path, "-o", verbs.folder / "none.html")
            self.assertEqual(done.returncode, 1)
            self.assertIn(message, done.stderr)
        self.assertFalse((verbs.folder / "none.html").exists())
        self.assertEqual(verbs.run("train").returncode, 2)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
