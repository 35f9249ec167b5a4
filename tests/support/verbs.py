"""For tests of whole verbs: the program under test, the generator of models, and a folder for what it makes.

usage of such a test: TEST.py JERICHO MAKE_MODEL FOLDER [unittest arguments]
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SKIPPED = 77


class Verbs:
    def __init__(self, jericho, make_model, folder):
        self.jericho, self.make_model = jericho, make_model
        folder.mkdir(parents=True, exist_ok=True)
        self._temporary = tempfile.TemporaryDirectory(dir=folder)
        self.folder = pathlib.Path(self._temporary.name)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("JERICHO_")}
        self.environment["XDG_CACHE_HOME"] = str(self.folder / "cache")  # what was kept for this machine is not a test's
        self.environment["XDG_CONFIG_HOME"] = str(self.folder / "config")  # nor what its user prefers

    def model(self, name, dtype="F32", **sizes):
        """A new GGUF; sizes as make_model.cc names them."""
        path = self.folder / name
        words = [f"{key}={value}" for key, value in sizes.items()]
        subprocess.run([self.make_model, path, dtype, *words], check=True)
        return path

    def run(self, *words, stdin="", timeout=300, environment=None):
        return subprocess.run([self.jericho, *map(str, words)], input=stdin, text=True, errors="replace",
                              capture_output=True, timeout=timeout, env={**self.environment, **(environment or {})})

    def close(self):
        self._temporary.cleanup()


def main(module):
    """Runs the module's tests; module.verbs is set. 77: the binaries are not there, or every test was skipped."""
    jericho, make_model, folder = (pathlib.Path(word) for word in sys.argv[1:4])
    for program in (jericho, make_model):
        if not program.exists():
            print(f"{program} is absent: build it first")
            sys.exit(SKIPPED)
    module.verbs = Verbs(jericho, make_model, folder)
    try:
        program = unittest.main(module, argv=[sys.argv[0], *sys.argv[4:]], exit=False, verbosity=2)
    finally:
        module.verbs.close()
    result = program.result
    skipped = result.testsRun > 0 and len(result.skipped) == result.testsRun
    sys.exit(SKIPPED if skipped and result.wasSuccessful() else 0 if result.wasSuccessful() else 1)
