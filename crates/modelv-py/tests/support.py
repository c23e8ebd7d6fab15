"""A working tree of its own for every test. MODELV_BIN names the command line of the same build."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import modelv as mv

BINARY = os.environ["MODELV_BIN"]

# The tests must not depend on who runs them, nor on a Git configuration.
os.environ["MODELV_AUTHOR_NAME"] = "Ada"
os.environ["MODELV_AUTHOR_EMAIL"] = "ada@example.org"


class TreeCase(unittest.TestCase):
    """A test in a folder with a repository, which is the current folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        self.root = pathlib.Path(folder.name).resolve()
        os.chdir(self.root)
        self.repo = mv.init()
        self.put("modelv.toml", '[env]\ncapture = "none"\n')

    def put(self, path, content):
        """Writes a file of text or bytes."""
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(content if isinstance(content, bytes) else content.encode())

    def cli(self, *args, status=0, env=None):
        """Standard output of the command line."""
        done = subprocess.run(
            [BINARY, *args], capture_output=True, text=True, env={**os.environ, **(env or {})}
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def cli_json(self, *args):
        """The JSON a command prints."""
        return json.loads(self.cli(*args, "--json"))
