#!/usr/bin/env python3
"""Talks with small models through a pipe and through a terminal: answers, commands, saved conversations, editing, stopping, the end of the
context, and what goes wrong.

usage: chat_test.py JERICHO MAKE_MODEL FOLDER
"""
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))
import verbs as support  # noqa: E402: the path comes first

verbs = None  # set by support.main()

DATA = pathlib.Path(os.environ.get("JERICHO_DATA", "../shared/data"))
INTERRUPTED = 130
BEGIN_EDITING = b"\x1b[?2004h"
END_EDITING = b"\x1b[?2004l"
TEMPLATE = "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant{% endif %}"
REFUSES_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = verbs.model("chat.gguf", chat=1)
        cls.bare = verbs.model("bare.gguf")
        cls.endless = verbs.model("endless.gguf", chat=1, context=1 << 20)
        cls.template = verbs.folder / "form.jinja"
        cls.template.write_text(TEMPLATE)

    def chat(self, *lines, flags=(), model=None, tokens=5, temperature=0):
        """What became of the lines, with answers of so many tokens."""
        return verbs.run("chat", "-m", model or self.model, "-n", tokens, "--temp", temperature, "--ignore-eos", *flags,
                         stdin="".join(line + "\n" for line in lines))

    def saved(self, *lines, **options):
        """The messages of the conversation that the lines lead to."""
        path = verbs.folder / "saved.json"
        path.unlink(missing_ok=True)
        done = self.chat(*lines, f"/save {path}", **options)
        self.assertTrue(path.exists(), done.stderr)
        return json.loads(path.read_text())["messages"]


class Pipe(Chat):
    def test_each_line_is_a_message_and_answers_alone_go_to_stdout(self):
        done = self.chat("the cat", "on")
        self.assertEqual(done.returncode, 0, done.stderr)
        messages = self.saved("the cat", "on")
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"] * 2)
        self.assertEqual([messages[0]["content"], messages[2]["content"]], ["the cat", "on"])
        self.assertNotEqual(messages[1]["content"], "")
        self.assertEqual(done.stdout, "".join(m["content"].rstrip("\n") + "\n" for m in messages[1::2]))
        self.assertNotIn("\x1b[", done.stdout + done.stderr)
        self.assertNotIn("tok/s", done.stderr)

    def test_a_second_answer_knows_the_first_turn(self):
        alone = self.chat("on").stdout
        after = self.chat("the cat sat", "on").stdout
        self.assertFalse(after.endswith(alone))

    def test_the_answer_is_what_run_makes_of_the_rendered_text(self):
        rendered = "user the cat\nassistant"
        run = verbs.run("run", "-m", self.model, "-p", rendered, "-n", "5", "--temp", "0", "--ignore-eos", "--json")
        chat = self.chat("the cat", flags=["-v"])
        ids = json.loads(run.stdout)["tokens"]
        text = verbs.run("tokenize", "-m", self.model, "--decode", ",".join(map(str, ids))).stdout
        self.assertEqual(chat.stdout.strip(), text.strip())
        self.assertIn(f"read {json.loads(run.stdout)['prompt_tokens']} tokens", chat.stderr)

    def test_lines_that_end_in_a_backslash_go_on(self):
        self.assertEqual(self.saved("one\\", "two")[0]["content"], "one\ntwo")

    def test_reset_forgets_all_but_the_system_message(self):
        messages = self.saved("/system Be brief.", "the cat", "/reset", "on")
        self.assertEqual([(m["role"], m["content"]) for m in messages[:2]], [("system", "Be brief."), ("user", "on")])
        self.assertEqual(self.chat("the cat", "/reset", "the cat").stdout, self.chat("the cat").stdout * 2)

    def test_a_system_message_changes_the_answers_and_can_be_a_flag(self):
        command = self.chat("/system Be brief.", "the cat").stdout
        self.assertEqual(self.chat("the cat", flags=["--system", "Be brief."]).stdout, command)
        self.assertNotEqual(self.chat("the cat").stdout, command)
        self.assertEqual(self.chat("/system Be brief.", "/system", "the cat").stdout, self.chat("the cat").stdout)

    def test_a_loaded_conversation_goes_on_as_if_never_left(self):
        path = verbs.folder / "talk.json"
        whole = self.chat("the cat", f"/save {path}", "on").stdout
        rest = self.chat(f"/load {path}", "on").stdout
        self.assertTrue(whole.endswith(rest))
        self.assertEqual([p.name for p in verbs.folder.glob("talk.json*")], ["talk.json"])

    def test_bad_files_are_named_and_change_nothing(self):
        bad = verbs.folder / "bad.json"
        bad.write_text('{"messages": [{"role": "user"}]}')
        for command in (f"/load {bad}", "/load absent.json", f"/load {verbs.folder}", f"/load {self.model}", "/save absent/folder/f.json", "/load"):
            with self.subTest(command):
                done = self.chat("the cat", command, "on")
                self.assertEqual(done.returncode, 1)
                self.assertIn(command.split()[-1], done.stderr)
                self.assertEqual(done.stdout, self.chat("the cat", "on").stdout)

    def test_unknown_commands_are_named_with_a_hint(self):
        done = self.chat("/rest", "//rest")
        self.assertRegex(done.stderr, "no command /rest; /help")
        self.assertNotEqual(done.stdout, "")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.saved("//rest")[0]["content"], "/rest")

    def test_memory_tells_purposes_plan_and_context(self):
        err = self.chat("the cat", "/memory").stderr
        for word in ("tier ram", "weights.resident", "kv.pages", "VmHWM", "plan ", "chunk"):
            self.assertIn(word, err)
        self.assertRegex(err, r"context +\d+ of 512 tokens, 2 messages")

    def test_quit_and_the_end_of_input_end_it(self):
        done = self.chat("/quit", "the cat")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertIn("/save FILE", self.chat("/help").stderr)

    def test_what_was_read_is_not_read_again(self):
        form = verbs.folder / "exact.jinja"  # the second prompt is the first one and what follows it, token by token
        form.write_text("{% for m in messages %}{{ m.content }}</s>{% endfor %}")
        done = self.chat("the cat", "on", "sat", flags=["-v", "--template", form], tokens=0)
        (first, none), (second, kept) = [tuple(map(int, m)) for m in re.findall(r"read (\d+) tokens, \S+ tok/s, (\d+) kept", done.stderr)][:2]
        self.assertEqual(none, 0)
        self.assertEqual(kept, first)
        self.assertGreater(second, 0)

    def test_end_tokens_end_the_answer(self):
        for seed in range(40):  # the end token is one of 320; hot sampling finds it
            done = verbs.run("chat", "-m", self.model, "-n", "400", "--temp", "100", "--top-k", "0", "--top-p", "1", "--min-p", "0",
                             "--seed", seed, "-v", stdin="the\n")
            if "as -n says" not in done.stderr and "context of" not in done.stderr:
                self.assertNotIn("</s>", done.stdout)
                return
        self.fail("no answer ended by itself")

    def test_a_full_context_is_said_and_reset_helps(self):
        done = self.chat("the cat", "on", "the " * 80, "/reset", "the cat", flags=["-c", "64"], tokens=-1)
        self.assertRegex(done.stderr, r"the context of 64 tokens is full; /reset")
        self.assertRegex(done.stderr, r"no room for an answer in the context of 64.*/reset")
        self.assertEqual(done.returncode, 1)
        first = self.chat("the cat", flags=["-c", "64"], tokens=-1).stdout
        self.assertEqual(done.stdout, first + first)

    def test_a_message_far_beyond_the_context_is_refused_and_the_talk_goes_on(self):
        done = self.chat("x" * 3_000_000, "the cat", flags=["-c", "64"])
        self.assertIn("too long for this context", done.stderr)
        self.assertEqual(done.stdout, self.chat("the cat", flags=["-c", "64"]).stdout)

    def test_what_a_template_refuses_is_said_in_its_words_and_dropped(self):
        form = verbs.folder / "refuses.jinja"
        form.write_text(REFUSES_SYSTEM)
        flags = ["--template", form]
        done = self.chat("/system Be brief.", "the cat", "/system", "the cat", flags=flags)
        self.assertRegex(done.stderr, r"(?m)^error: .*System role not supported$")
        self.assertEqual(done.stdout, self.chat("the cat", flags=flags).stdout)

    def test_a_model_without_a_template_is_refused_with_the_remedy(self):
        done = self.chat("the cat", model=self.bare)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"bare.gguf: has no chat template: expected tokenizer.chat_template .*--template FILE")
        self.assertEqual(self.chat("the cat", model=self.bare, flags=["--template", self.template]).returncode, 0)

    def test_a_bad_template_is_refused_before_the_model_is_loaded(self):
        form = verbs.folder / "broken.jinja"
        form.write_text("{% if %}")
        for path in (form, verbs.folder / "absent.jinja"):
            done = self.chat("the cat", flags=["--template", path])
            self.assertEqual(done.returncode, 1)
            self.assertIn(path.name, done.stderr)

    def test_a_directory_without_a_template_names_its_files(self):
        folder = DATA / "golden/stories260K/hf"
        if not folder.exists():
            self.skipTest(f"{folder} is absent: set JERICHO_DATA to the folder of test data")
        self.assertRegex(self.chat("Hi", model=folder).stderr, "chat_template.jinja, .*tokenizer_config.json; give one")
        done = self.chat("Once upon a time", model=folder, flags=["--template", self.template], tokens=30)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(len(done.stdout), 30)

    def test_equal_seeds_give_equal_answers(self):
        texts = [self.chat("the", flags=["--seed", seed], temperature=2, tokens=20).stdout for seed in ("7", "7", "8")]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_a_long_talk_stays_within_the_smallest_budget(self):
        flags = ["-c", "512", "--memory", "1MiB"]
        refused = self.chat("the", flags=flags)
        self.assertEqual(refused.returncode, 3)
        smallest = re.search(r"smallest budget that works as asked: --memory (\S+)", refused.stderr)[1]
        path = verbs.folder / "long.json"
        done = self.chat(*["the cat sat on " * 5] * 12, "/memory", f"/save {path}", f"/load {path}", "the", "/memory", flags=["-c", "512", "--memory", smallest])
        kernel, planned = re.findall(r"at once +(\S+ \S+) .*VmHWM\) (\S+ \S+)", done.stderr)[-1][::-1]
        self.assertLessEqual(float(kernel.split()[0]), float(planned.split()[0]), done.stderr)

    def test_an_interrupt_ends_it(self):
        for text in (b"", b"the cat\n"):  # while a message is awaited; while it is answered
            with self.subTest(text):
                child = subprocess.Popen([verbs.jericho, "chat", "-m", self.endless, "-c", "200000", "--ignore-eos"], bufsize=0,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=verbs.environment)
                self.addCleanup(child.communicate)
                self.addCleanup(child.kill)
                child.stdin.write(text)
                if text:
                    child.stdout.read(1)
                else:
                    time.sleep(0.5)
                child.send_signal(signal.SIGINT)
                self.assertEqual(child.wait(timeout=10), INTERRUPTED)


class Terminal(Chat):
    """A person at a terminal of 80 columns."""

    def setUp(self):
        self.child = None
        self.addCleanup(self.end)
        self.state = verbs.folder / f"state{time.monotonic_ns()}"

    def start(self, *flags, model=None, environment=None):
        self.seen = b""
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.environ.clear()
            os.environ.update({**verbs.environment, "TERM": "xterm", "XDG_STATE_HOME": str(self.state), **(environment or {})})
            os.execv(verbs.jericho, [str(word) for word in (verbs.jericho, "chat", "-m", model or self.model, "--temp", "0",
                                                            "--ignore-eos", *flags)])
        self.child = pid

    def end(self):
        if self.child is not None:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            self.child = None
        os.close(self.terminal)

    def read(self, seconds=0.1):
        if select.select([self.terminal], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.terminal, 65536)
            except OSError:  # the child has gone
                return False
        return True

    def see(self, pattern, seconds=30):
        """Waits for the pattern in what came since the last one; returns the match."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.seen, re.S)
            if match:
                self.seen = self.seen[match.end():]
                return match
            self.assertLess(time.monotonic(), deadline, (pattern, self.seen))
            if not self.read():
                self.fail((pattern, self.seen))

    def type(self, text):
        os.write(self.terminal, text.encode() if isinstance(text, str) else text)

    def ended(self):
        deadline = time.monotonic() + 30
        while True:
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                break
            self.assertLess(time.monotonic(), deadline, self.seen)
            self.read()
        self.child = None
        while select.select([self.terminal], [], [], 0)[0] and self.read(0):
            pass
        return os.waitstatus_to_exitcode(status)

    def saved_after(self, *typed):
        """The messages once the typed bytes were sent, each followed by Enter and its answer."""
        path = verbs.folder / f"typed{time.monotonic_ns()}.json"
        for text in typed:
            self.type(text)
            self.type("\r")
            self.see(rb"context \d+ of \d+\]\r\n")
        self.type(f"/save {path}\r")
        self.see(rb"messages saved")
        return json.loads(path.read_text())["messages"]

    def test_answers_and_ends_with_ctrl_d_and_the_terminal_as_it_was(self):
        self.start("-n", "5")
        self.see(re.escape(BEGIN_EDITING))
        self.assertFalse(termios.tcgetattr(self.terminal)[3] & termios.ICANON)
        messages = self.saved_after("the cat")
        self.assertEqual(messages[0]["content"], "the cat")
        self.type("\x04")
        self.see(re.escape(END_EDITING))
        self.assertEqual(self.ended(), 0)
        self.assertTrue(termios.tcgetattr(self.terminal)[3] & termios.ICANON)

    def test_edits_with_cursor_keys_and_utf8(self):
        self.start("-n", "1")
        self.see(re.escape(BEGIN_EDITING))
        typed = "hxllé\x7f\x1b[D\x1b[D\x7fe\x05o\x01>\x1b[C\x1b[C" + "\x05 junk\x17\x7f"
        self.assertEqual(self.saved_after(typed)[0]["content"], ">hello")

    def test_pasted_lines_are_one_message(self):
        self.start("-n", "1")
        self.see(re.escape(BEGIN_EDITING))
        messages = self.saved_after("\x1b[200~one\rtwo\rthree\x1b[201~", "four\\\rfive\x1b\rsix")
        self.assertEqual([m["content"] for m in messages[::2]], ["one\ntwo\nthree", "four\nfive\nsix"])

    def test_history_lasts_from_one_chat_to_the_next(self):
        self.start("-n", "1")
        self.see(re.escape(BEGIN_EDITING))
        self.saved_after("first", "\x1b[200~second\rline\x1b[201~")
        self.type("/quit\r")
        self.assertEqual(self.ended(), 0)
        os.close(self.terminal)
        self.start("-n", "1")
        self.see(re.escape(BEGIN_EDITING))
        up = "\x1b[A"  # before /quit and /save; of two lines it goes through both
        messages = self.saved_after(up * 3, up * 7, "draft" + up + "\x1b[B")
        self.assertEqual([m["content"] for m in messages[::2]], ["second\nline", "first", "draft"])

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        self.start("-c", "200000", model=self.endless)
        self.see(re.escape(BEGIN_EDITING))
        self.type("the cat\r")
        self.see(rb"the cat\r.*\r\n.+")  # the answer has begun
        self.type("\x03")
        self.see(rb"\(stopped\)\r\n.*context \d+ of 200000\]\r\n", seconds=10)
        path = verbs.folder / "stopped.json"
        self.type(f"/save {path}\r")
        self.see(rb"messages saved")
        messages = json.loads(path.read_text())["messages"]
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"])
        self.assertNotEqual(messages[1]["content"], "")
        self.type("\x03")
        self.assertEqual(self.ended(), INTERRUPTED)

    def test_ctrl_c_while_a_message_is_read_takes_it_back(self):
        model = verbs.model("slow.gguf", "F16", hidden=512, ff=1408, layers=8, heads=8, kv_heads=8, head_dim=64, chat=1, context=16384)
        self.start("-t", "1", "--chunk", "16", model=model, environment={"JERICHO_CPU": "avx2"})
        self.see(re.escape(BEGIN_EDITING))
        self.type("\x1b[200~" + "the cat " * 2500 + "\x1b[201~")
        self.see(rb"the cat")
        self.type("\r")
        time.sleep(0.5)
        self.type("\x03")
        self.see(rb"taken back", seconds=10)
        path = verbs.folder / "back.json"
        self.type(f"/save {path}\r")
        self.see(rb"0 messages saved")

    def test_ctrl_c_clears_the_line_and_then_ends(self):
        self.start("-n", "1")
        self.see(re.escape(BEGIN_EDITING))
        self.type("junk\x03\x03")
        self.assertEqual(self.ended(), INTERRUPTED)
        self.assertTrue(termios.tcgetattr(self.terminal)[3] & termios.ICANON)

    def test_termination_restores_the_terminal(self):
        self.start("-n", "1")
        self.see(re.escape(BEGIN_EDITING))
        os.kill(self.child, signal.SIGTERM)
        self.assertEqual(self.ended(), INTERRUPTED)
        self.assertTrue(termios.tcgetattr(self.terminal)[3] & termios.ICANON)

    def test_what_is_typed_during_an_answer_comes_after_it(self):
        self.start("-n", "30")
        self.see(re.escape(BEGIN_EDITING))
        self.type("the\rcat\r")
        for _ in range(2):
            self.see(rb"context \d+ of \d+\]\r\n")
        path = verbs.folder / "ahead.json"
        self.type(f"/save {path}\r")
        self.see(rb"4 messages saved")

    def test_a_dumb_terminal_gets_no_escape_codes(self):
        self.start("-n", "1", environment={"TERM": "dumb"})
        self.type("the cat\n")
        self.see(rb"context \d+ of \d+\]\r\n")
        self.type("/help\n")
        seen = self.see(rb"(.*)Ctrl-C stops")[1]
        self.assertNotIn(b"\x1b", seen)
        self.type("\x04")
        self.assertEqual(self.ended(), 0)


if __name__ == "__main__":
    support.main(sys.modules[__name__])
