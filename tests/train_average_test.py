#!/usr/bin/env python3
"""Models that were trained apart are averaged by their numbers of samples, to the bit; models that are not alike are named.

usage: train_average_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import pathlib
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()


def values(folder):
    """Name -> bytes of each tensor of a checkpoint."""
    data = (folder / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    return {name: data[8 + size + at["data_offsets"][0]:8 + size + at["data_offsets"][1]]
            for name, at in header.items() if name != "__metadata__"}


def fp32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


class Average(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.a, cls.b = cls.client("a", 1), cls.client("b", 2)

    @classmethod
    def client(cls, name, seed, **sizes):
        """A model of a run of one step."""
        text = verbs.folder / "text.txt"
        text.write_text("\n<|endoftext|>\n".join(["the cat sat on the mat", "a dog ran to the cat"] * 20))
        tokenizer = verbs.folder / "tokenizer"
        if not tokenizer.exists():
            verbs.run("train-tokenizer", text, "-o", tokenizer, "--vocab", 280)
        words = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, **sizes}
        config = verbs.folder / f"{name}.yaml"
        config.write_text(json.dumps({"output": str(verbs.folder / name), "tokenizer": str(tokenizer), "model": words,
                                      "data": {"train": str(text), "sequence_tokens": 32}, "batch": {"sequences": 2},
                                      "steps": 1, "seed": seed, "schedule": {"warmup": 0}}))
        done = verbs.run("train", config)
        assert done.returncode == 0, done.stderr
        return verbs.folder / name / "checkpoints" / "latest"

    def average(self, out, *clients):
        return verbs.run("train", "average", *clients, "-o", verbs.folder / out)

    def test_of_a_model_with_itself_is_that_model_and_runs(self):
        done = self.average("same", self.a, self.a)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(values(verbs.folder / "same"), values(self.a))
        run = verbs.run("run", "-m", verbs.folder / "same", "-p", "the", "-n", 4, "--temp", 0)
        self.assertEqual(run.stdout, verbs.run("run", "-m", self.a, "-p", "the", "-n", 4, "--temp", 0).stdout)

    def test_weighs_each_client_by_its_samples(self):
        done = self.average("both", f"{self.a}:300", f"{self.b}:100")
        self.assertEqual(done.returncode, 0, done.stderr)
        a, b, both = values(self.a), values(self.b), values(verbs.folder / "both")
        self.assertEqual(set(both), set(a))
        for name, data in both.items():
            for x, y, z in zip(*(struct.iter_unpack("<f", each) for each in (a[name], b[name], data))):
                # 0.75 x is rounded to fp32; the sum of it and the exact 0.25 y is exact in double, then rounded.
                self.assertEqual(z[0], fp32(0.25 * y[0] + fp32(0.75 * x[0])), name)

    def test_the_same_bits_with_one_thread(self):
        self.assertEqual(self.average("two-threads", self.a, self.b).returncode, 0)
        done = verbs.run("train", "average", self.a, self.b, "-o", verbs.folder / "one-thread", "-t", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(values(verbs.folder / "one-thread"), values(verbs.folder / "two-threads"))

    def test_clients_that_are_not_alike_are_named(self):
        other = self.client("wide", 1, hidden_size=64)
        done = self.average("none", self.a, other)
        self.assertEqual(done.returncode, 1)
        self.assertIn("hidden_size", done.stderr)
        self.assertIn("wide", done.stderr)
        self.assertFalse((verbs.folder / "none").exists())

    def test_what_cannot_be_asked_for_is_wrong_usage(self):
        self.assertEqual(self.average("zero", f"{self.a}:0").returncode, 2)
        self.assertEqual(verbs.run("train", "average", self.a).returncode, 2)
        (verbs.folder / "there").mkdir()
        done = self.average("there", self.a, self.b)
        self.assertEqual(done.returncode, 2)
        self.assertIn("is there already", done.stderr)
        own = verbs.folder / "mine.partial"
        own.mkdir()
        (own / "kept.txt").write_text("somebody's own")
        self.assertEqual(self.average("mine", self.a, self.b).returncode, 2)
        self.assertEqual((own / "kept.txt").read_text(), "somebody's own")
        done = verbs.run("train", "average", self.a, self.b, "-o", verbs.folder / "small", "--memory", "1MiB")
        self.assertEqual(done.returncode, 3)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
