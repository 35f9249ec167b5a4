#!/usr/bin/env python3
"""Whatever is wrong with what the user gives, a verb says so in one sentence on stderr and ends with 1 (failed), 2 (wrong
usage) or 3 (does not fit): never with a signal, never with a trace.

usage: bad_input_test.py JERICHO MAKE_MODEL FOLDER
"""
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()

NO_TENSORS = "\x02\0\0\0\0\0\0\0{}"


def replaced(data, old, new):
    """`data` with one GGUF text swapped for one of the same length."""
    assert len(old) == len(new) and data.count(old) >= 1, (old, data.count(old))
    return data.replace(old, new)


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("good.gguf")
        cls.good = cls.model.read_bytes()

    def file(self, name, content):
        path = verbs.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.addCleanup(path.unlink, missing_ok=True)
        return path

    def refused(self, *words, code=1, mentions=(), stdin=""):
        done = verbs.run(*words, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertRegex(done.stderr, r"\Aerror: \S")
        self.assertEqual(done.stderr.count("\n"), 1, f"not one line: {done.stderr!r}")
        self.assertLess(len(done.stderr), 1000)
        for noise in ("terminate", "what()", "json.exception", "std::", "basic_string", "Traceback", "CHECK"):
            self.assertNotIn(noise, done.stderr)
        for word in mentions:
            self.assertIn(word, done.stderr)
        return done

    def run_refused(self, model, *more, **expected):
        return self.refused("run", "-m", model, "-p", "the cat", "-n", "2", "--temp", "0", *more, **expected)

    # Files.

    def test_the_good_model_runs(self):
        done = verbs.run("run", "-m", self.model, "-p", "the cat", "-n", "2", "--temp", "0")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_missing_file_is_named(self):
        for verb in (["run", "-p", "x"], ["logits", "--tokens", "1", "-o", verbs.folder / "out"], ["tokenize", "x"]):
            with self.subTest(verb[0]):
                self.refused(verb[0], "-m", "/nowhere/model.gguf", *verb[1:], mentions=["/nowhere/model.gguf"])

    def test_an_unreadable_file_is_named(self):
        if os.geteuid() == 0:
            self.skipTest("root may read every file")
        path = self.file("locked.gguf", self.good)
        path.chmod(0)
        self.run_refused(path, mentions=["locked.gguf", "ermission"])

    def test_a_file_of_another_kind_is_named(self):
        for name, content in (("empty.gguf", b""), ("text.gguf", "Once upon a time"), ("zip.gguf", b"PK\x03\x04" * 9),
                              ("short.gguf", b"GGUF"), ("zeros.gguf", bytes(4096)), ("page.html", "<html></html>")):
            with self.subTest(name):
                self.run_refused(self.file(name, content), mentions=[name])

    def test_what_is_no_regular_file_is_named(self):
        for path in ("/dev/null", "/dev/zero", "/proc/self/mem"):
            with self.subTest(path):
                self.run_refused(path, mentions=[path])

    def test_a_truncated_file_is_refused_wherever_it_ends(self):
        size = len(self.good)
        for length in [5, 23, 24, 100, 1000, 5000, 20000, size // 2, size - 4096, size - 1]:
            with self.subTest(length):
                self.run_refused(self.file("cut.gguf", self.good[:length]), mentions=["cut.gguf"])

    def test_a_header_that_promises_too_much_is_refused(self):
        for name, offset, count in (("tensors", 8, 1 << 62), ("keys", 16, 1 << 40), ("negative", 8, (1 << 64) - 1)):
            with self.subTest(name):
                content = self.good[:offset] + struct.pack("<Q", count) + self.good[offset + 8:]
                self.run_refused(self.file("huge.gguf", content), mentions=["huge.gguf"])

    def test_a_corrupted_header_never_ends_in_a_signal(self):
        header = self.good.index(b"blk.1.ffn_up.weight")
        draw = random.Random(1)
        ends = []
        for round_ in range(60):
            content = bytearray(self.good)
            for _ in range(draw.choice((1, 1, 3, 10))):
                content[draw.randrange(header)] = draw.randrange(256)
            path = verbs.folder / "flipped.gguf"
            path.write_bytes(content)
            done = verbs.run("run", "-m", path, "-p", "the cat", "-n", "1", "--temp", "0", "--memory", "256MiB", "-t", "1")
            self.assertIn(done.returncode, (0, 1, 2, 3), f"round {round_}: {done.stderr}")
            if done.returncode in (1, 2):
                self.assertRegex(done.stderr, r"\A(note: .*\n)*error: .*\n\Z", f"round {round_}")
            ends.append(done.returncode)
        self.assertGreater(ends.count(1), 5)

    def test_corrupted_weights_never_end_in_a_signal(self):
        for value in (0x7F, 0xFF):  # infinities and NaN of every width
            content = self.good[:-200000] + bytes([value]) * 200000
            done = verbs.run("run", "-m", self.file("nan.gguf", content), "-p", "the cat", "-n", "3", "--temp", "0")
            self.assertIn(done.returncode, (0, 1), done.stderr)

    def test_an_unknown_architecture_is_named_with_those_that_are_known(self):
        content = replaced(self.good, b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
                           b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0lmama")
        self.run_refused(self.file("arch.gguf", content), mentions=["'lmama'", "supported: llama, "])

    def test_a_missing_tokenizer_is_said(self):
        content = replaced(self.good, b"tokenizer.ggml.model", b"tokenizer.ggml.modem")
        self.run_refused(self.file("mute.gguf", content), mentions=["mute.gguf", "tokenizer"])

    def test_a_missing_tensor_is_named(self):
        content = replaced(self.good, b"blk.1.ffn_up.weight", b"blk.1.ffn_op.weight")
        self.run_refused(self.file("part.gguf", content), mentions=["'blk.1.ffn_up.weight' is missing", "part.gguf"])

    def test_a_tensor_of_an_unknown_type_is_named(self):
        name = b"blk.1.ffn_up.weight"
        at = self.good.index(name) + len(name) + 4 + 16  # dimensions: a count and two sizes
        self.assertEqual(self.good[at:at + 4], b"\0\0\0\0")  # F32
        content = self.good[:at] + struct.pack("<I", 77) + self.good[at + 4:]
        self.run_refused(self.file("type.gguf", content), mentions=["type.gguf", "77"])

    # Directories.

    def directory(self, **files):
        path = pathlib.Path(tempfile.mkdtemp(dir=verbs.folder))
        self.addCleanup(shutil.rmtree, path)
        for name, content in files.items():
            (path / name.replace("_", ".")).write_text(content)
        return path

    def test_a_directory_without_config_is_named(self):
        self.run_refused(self.directory(), mentions=["config.json"])

    def test_a_config_that_is_no_json_is_refused(self):
        for content in ("", "{", "[1]", "null", '{"architectures": 3}', '{"a": ' + "[" * 5000, "\xff\xfe"):
            with self.subTest(content[:20]):
                self.run_refused(self.directory(config_json=content, model_safetensors=NO_TENSORS),
                                 mentions=["config.json"])

    def test_a_directory_without_weights_is_said(self):
        config = '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,' \
                 '"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 320}'
        self.run_refused(self.directory(config_json=config), mentions=["safetensors"])

    # Requests.

    def test_a_prompt_beyond_the_context_is_counted(self):
        self.refused("run", "-m", self.model, "-p", "cat " * 600, mentions=["error: the prompt has", "512"])
        self.refused("run", "-m", self.model, "-p", "the cat sat on the", "-c", "3", mentions=["-c"])

    def test_an_empty_prompt_begins_with_the_models_first_token(self):
        done = verbs.run("run", "-m", self.model, "-p", "", "-n", "2", "--temp", "0", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('"prompt_tokens":1', done.stdout)

    def test_a_missing_prompt_file_is_named(self):
        self.refused("run", "-m", self.model, "-f", "/nowhere/prompt.txt", mentions=["error: /nowhere/prompt.txt"])
        self.refused("run", "-m", self.model, "-f", verbs.folder, mentions=["directory"])

    def test_bytes_that_are_no_text_are_a_prompt_like_any_other(self):
        path = self.file("bytes", bytes(range(256)))
        done = verbs.run("run", "-m", self.model, "-f", path, "-n", "2", "--temp", "0", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_bad_flags_are_named_with_what_is_expected(self):
        for flags, mentions in (
                (["-c", "100000"], "--context 100000"),
                (["--chunk", "0"], "--chunk 0"), (["-t", "-1"], "--threads -1"), (["-t", "5000"], "--threads 5000"),
                (["-n", "-2"], "-n -2"), (["--kv-type", "q3"], "--kv-type q3"),
                (["--kv-type-v", "q3"], "--kv-type-v q3"), (["--kv-type", "q4c"], "error: --kv-type q4c: expected"),
                (["--kv-type-v", "q4c"], "error: --kv-type-v q4c: expected"),
                (["--kv-type", "q4c", "--kv-type-k", "q8"], "--kv-type-k q4c --kv-type-v q4 would do"),
                (["--kv-type-k", "q4c", "--kv-select", "quest:256"], "run it without --kv-select"),
                (["--kv-select", "quest:10"], "quest:256 would do"),
                (["--kv-select", "h2o:1"], "at least 2 tokens"), (["--kv-select", "snapkv:32"], "snapkv:64,32 would do"),
                (["--kv-select", "streaming:4+0"], "at least 1 token"), (["--memory", "lots"], "lots"),
                (["--memory", "-5GiB"], "negative"), (["--memory", "12"], "12"), (["--min-p", "-1"], "-1"),
                (["--top-p", "2"], "2"), (["--samplers", "magic"], "magic"), (["--logit-bias", "x"], "--logit-bias x")):
            with self.subTest(flags):
                self.refused("run", "-m", self.model, "-p", "x", *flags, code=2, mentions=[mentions])

    def test_a_context_without_room_is_wrong_usage(self):
        for context in ("0", "-5"):
            with self.subTest(context):
                self.refused("logits", "-m", self.model, "--tokens", "1", "-o", verbs.folder / "out", "-c", context, code=2,
                             mentions=[f"error: --context {context}"])

    def test_flags_that_cannot_be_read_are_wrong_usage(self):
        for words in (["run", "-m"], ["run", "-m", self.model, "--no-such-flag"], ["walk"], [],
                      ["run", "-m", self.model, "-n", "many"], ["run", "-m", self.model, "-p", "x", "-f", "y"],
                      ["logits", "-m", self.model], ["run", "-m", self.model, "-c", "99999999999999999999"]):
            with self.subTest(words):
                done = verbs.run(*words)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertNotEqual(done.stderr.strip(), "")

    def test_a_cpu_path_that_is_unknown_is_named(self):
        done = verbs.run("run", "-m", self.model, "-p", "x", "-n", "1", environment={"JERICHO_CPU": "abacus"})
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, r"\Aerror: .*abacus.*\n\Z")

    def test_token_lists_that_are_none_are_wrong_usage(self):
        for ids in ("", ",", "1,x", "1.5", "-1", "99999999999", "1;2", "0x10"):
            with self.subTest(ids):
                self.refused("logits", "-m", self.model, "--tokens", ids, "-o", verbs.folder / "out", code=2,
                             mentions=["error: --tokens"])
                if ids:
                    self.refused("tokenize", "-m", self.model, f"--decode={ids}", code=2, mentions=["error: --decode"])

    def test_ids_outside_the_vocabulary_are_named(self):
        self.refused("logits", "-m", self.model, "--tokens", "1,320", "-o", verbs.folder / "out", code=2,
                     mentions=["token id 320", "vocabulary of 320"])

    def test_ids_outside_the_vocabulary_cannot_be_decoded(self):
        self.refused("tokenize", "-m", self.model, "--decode", "1,320", code=2, mentions=["320"])

    def test_more_tokens_than_the_context_are_counted(self):
        tokens = ",".join(["5"] * 513)
        done = verbs.run("logits", "-m", self.model, "--tokens", tokens, "-o", verbs.folder / "out")
        self.assertIn(done.returncode, (1, 2))
        self.assertRegex(done.stderr, r"\Aerror: .*51[23].*\n\Z")

    def test_an_output_that_cannot_be_written_is_named(self):
        self.refused("logits", "-m", self.model, "--tokens", "1,2", "-o", "/nowhere/out", mentions=["/nowhere/out"])

    def through_shell(self, redirection, *words):
        command = ["sh", "-c", f'exec "$0" "$@" {redirection}', verbs.jericho, *map(str, words)]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def test_a_full_standard_output_is_said(self):
        for words in (["tokenize", "-m", self.model, "--", "x"], ["inspect", self.model]):
            with self.subTest(words[0]):
                done = self.through_shell(">/dev/full", *words)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertRegex(done.stderr, r"\Aerror: .*\n\Z")

    def test_a_closed_standard_input_is_an_empty_prompt(self):
        done = self.through_shell("<&-", "run", "-m", self.model, "-n", "2", "--temp", "0")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_budget_without_room_ends_with_its_table(self):
        for memory in ("1B", "1MiB", "0.0001%"):
            with self.subTest(memory):
                done = verbs.run("run", "-m", self.model, "-p", "x", "--memory", memory)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertRegex(done.stderr, r"\Aerror: ")
                self.assertIn("smallest budget that works", done.stderr)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
