"""A working tree of its own for every test. MODELV_BIN names the command line of the same build."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
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

    def recreate(self, script):
        """Trains in this tree, and again in another folder that comes from the commit id alone.
        Gives both repositories, once their recipes and every byte of their models are found equal."""
        self.put("modelv.toml", "")
        self.put("train.py", script)
        train = [sys.executable, "train.py"]
        subprocess.run(train, check=True, cwd=self.root, stdout=subprocess.DEVNULL)
        commit = self.repo.show()
        other = tempfile.TemporaryDirectory()
        self.addCleanup(other.cleanup)
        folder = pathlib.Path(other.name).resolve() / "somewhere else"
        self.cli("export", commit.id, str(folder))
        shutil.rmtree(folder / "models")
        again = mv.init(folder)
        subprocess.run(train, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        self.assertEqual(again.show().recipe.id, commit.recipe.id)
        models = [
            {f["path"]: f["id"] for f in repo.files() if f["ingredient"] == "model"} for repo in (self.repo, again)
        ]
        self.assertTrue(models[0])
        self.assertEqual(models[0], models[1])
        self.assertEqual(again.show().model, commit.model)
        return self.repo, again

    def cli_json(self, *args):
        """The JSON a command prints."""
        return json.loads(self.cli(*args, "--json"))
