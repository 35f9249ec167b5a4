#!/usr/bin/env python3
"""Checks the commands that README.md shows: verbs and flags exist, and what names no MODEL runs.

usage: readme_test.py JERICHO [README]      exits with 77 (skipped) when either is absent.
Read are fenced blocks marked `console` (lines that begin with "$ ") and `bash` (all lines). A block whose fence also says
`norun`, as in ```bash norun, is checked for verbs and flags, but nothing of it is started.
Of the commands of a block, those of ./dev and jericho are looked at; others belong to the system.
"""
import pathlib
import re
import shlex
import subprocess
import sys

SKIPPED = 77
ROOT = pathlib.Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(console|bash)\b([^\n]*)\n(.*?)^```", re.M | re.S)
OPERATORS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>"}
SERVICES = {"serve", "chat"}  # never end by themselves


def commands(text):
    """(words, may be started) of each simple command in the runnable blocks."""
    for language, remarks, body in FENCE.findall(text):
        body = body.replace("\\\n", " ")
        for line in body.splitlines():
            if language == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words, simple = list(lexer), []
            alone = not OPERATORS & set(words)
            for word in words + [";"]:
                if word not in OPERATORS:
                    simple.append(word)
                    continue
                while simple and re.match(r"^[A-Za-z_]\w*=", simple[0]):
                    simple.pop(0)  # NAME=value before a command
                if simple:
                    yield simple, alone and "norun" not in remarks.split()
                simple = []


def output_of(command, timeout=120):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


def has_flag(help_text, flag):
    return re.search(r"(?<![\w-])" + re.escape(flag) + r"(?![\w-])", help_text) is not None


class Checker:
    def __init__(self, jericho):
        self.jericho = jericho
        self.helps = {}

    def help_of(self, verb):
        if verb not in self.helps:
            self.helps[verb] = output_of([self.jericho, verb, "--help"] if verb else [self.jericho, "--help"])
        return self.helps[verb]

    def problems(self, words, may_start):
        """What is wrong with one command: a list of sentences."""
        name = pathlib.PurePath(words[0]).name
        if name == "dev":
            code, text = output_of([str(ROOT / "dev"), "help"])
            verb = words[1] if len(words) > 1 else "help"
            if code != 0 or not re.search(rf"^  {re.escape(verb)}\b", text, re.M):
                return [f"./dev help does not list '{verb}'"]
            if verb != "run":
                return []
            words = ["jericho"] + words[1:]  # of the build under test: the release is built by hand
        elif name != "jericho":
            return []
        arguments = words[1:]
        verb = arguments.pop(0) if arguments and not arguments[0].startswith("-") else ""
        code, text = self.help_of(verb)
        if code != 0:
            return [f"`jericho {verb} --help` exits with {code}"]
        found = []
        for word in arguments:
            flag = word.split("=")[0]
            if re.match(r"^--?[A-Za-z]", flag) and not has_flag(text, flag):
                found.append(f"`jericho {verb} --help` does not know {flag}")
        needs_model = any("MODEL" in word for word in arguments)
        if may_start and not found and not needs_model and verb not in SERVICES:
            code, text = output_of([self.jericho] + words[1:])
            if code != 0:
                found.append(f"exits with {code}: {text.strip()[-300:]}")
        return found


def main(arguments):
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    jericho = pathlib.Path(arguments[0])
    readme = pathlib.Path(arguments[1]) if len(arguments) > 1 else ROOT / "README.md"
    for path in (jericho, readme):
        if not path.is_file():
            print(f"skipped: {path.name} is absent")
            return SKIPPED
    checker, count, failed = Checker(str(jericho.resolve())), 0, 0
    for words, may_start in commands(readme.read_text()):
        count += 1
        for problem in checker.problems(words, may_start):
            failed += 1
            print(f"{readme.name}: {shlex.join(words)}: {problem}")
    print(f"{count} command(s), {failed} problem(s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
