"""A model of PyTorch made again from the commit id alone: in another folder, with an environment that is made
of the wheels in the store and of nothing else. A long form: see `tests/deep.sh`."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import modelv as mv
from deep_torch import LOOP
from support import TreeCase


class Recreated(TreeCase):
    def timed(self, words, act):
        start = time.monotonic()
        out = act()
        print(f"{words}: {time.monotonic() - start:.1f} s", flush=True)
        return out

    def test_a_loop_gives_the_same_bits_in_an_environment_made_of_the_commit_alone(self):
        self.put("modelv.toml", "")
        self.put("train.py", LOOP)
        self.timed("trained", lambda: subprocess.run([sys.executable, "train.py"], check=True, cwd=self.root))
        commit = self.repo.show()
        kept = self.timed("vendored", lambda: self.cli_json("env", "vendor", commit.id, "--python", sys.executable))
        self.assertEqual(kept["missing"], [])

        other = tempfile.TemporaryDirectory()
        self.addCleanup(other.cleanup)
        folder = pathlib.Path(other.name).resolve() / "somewhere else"
        self.cli("export", commit.id, str(folder))
        shutil.rmtree(folder / "models")
        made = self.timed("recreated", lambda: self.cli_json(
            "env", "recreate", commit.id, "--offline", "--output", str(folder / ".venv")))
        self.assertTrue(made["exact"], made)
        # These come with a virtual environment.
        brought = ("pip-", "setuptools-")
        wheels = [w["name"] for w in kept["wheels"] if not w["name"].startswith(brought)]
        self.assertEqual(made["vendored"], len(wheels), wheels)
        self.assertEqual(made["left_out"], [])

        again = mv.init(folder)
        subprocess.run([made["python"], "train.py"], check=True, cwd=folder)
        # The recipe has the environment in it.
        self.assertEqual(again.show().recipe, commit.recipe)
        models = [{f["path"]: f["id"] for f in repo.files() if f["ingredient"] == "model"} for repo in (self.repo, again)]
        self.assertIn("models/Sequential.safetensors", models[0])
        self.assertEqual(models[0], models[1])
        runs = [repo.runs()[0] for repo in (self.repo, again)]
        losses = [[p["value"] for p in repo.series(run["id"], "loss")] for repo, run in zip((self.repo, again), runs)]
        self.assertEqual(len(losses[0]), 5)
        self.assertEqual(losses[0], losses[1])
        # Steps are followed though this PyTorch has no hooks of them.
        self.assertEqual([p["value"] for p in again.series(runs[1]["id"], "lr")], [0.01])

        # And by the one command for it.
        done = self.timed("reproduced", lambda: self.cli_json("reproduce", commit.id, "--env", str(folder / ".venv")))
        self.assertEqual(done["determinism"], "bit-equal", done)


if __name__ == "__main__":
    unittest.main()
