"""Notebooks, in a real kernel: the magic, what it shows, and the notebook as a part of the recipe."""

import json
import os
import sys
import unittest

import modelv as mv
import nbclient
import nbformat
from support import TreeCase

LOAD = "%load_ext modelv\nimport modelv as mv\nlr = 0.25"
TRAIN = '%%mv_run "train <b>it</b>" -p lr=lr -p note=plain\nrun.metric("loss", 0.5, 1)\nrun.save("models/w.bin", b"w")\nlr * 2'


class Notebooks(TreeCase):
    def execute(self, cells, path="work.ipynb", saved=True, told=True, fails=False):
        """Runs cells in a kernel beside the notebook, and gives the notebook with what they showed."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python", "language": "python"}
        if saved:
            nbformat.write(book, self.root / path)
        env = {**os.environ, "IPYTHONDIR": str(self.root / ".mv" / "tmp" / "ipython")}
        env.pop("JPY_SESSION_NAME", None)
        if told:
            env["JPY_SESSION_NAME"] = str(self.root / path)
        client = nbclient.NotebookClient(book, kernel_name="python3", timeout=120, allow_errors=fails,
                                         resources={"metadata": {"path": str(self.root)}})
        client.execute(env=env)
        return book

    def reproduced(self, *command):
        """Executes what the last commit's run is recorded as, in a clean folder, and compares its model."""
        self.assertEqual(self.repo.runs()[0]["command"], list(command))
        programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        ours = (self.root / "models" / "w.bin").read_bytes()
        (self.root / "models" / "w.bin").write_bytes(b"mine")
        done = json.loads(self.cli("reproduce", "--json", env={"PATH": programs}))
        self.assertEqual((done["determinism"], done["status"]), ("bit-equal", "finished"), done)
        self.assertEqual((self.root / "models" / "w.bin").read_bytes(), b"mine")
        (self.root / "models" / "w.bin").write_bytes(ours)

    def shown(self, cell, kind):
        return [o["data"][kind] for o in cell.outputs if kind in o.get("data", {})]

    def test_a_cell_is_a_run_and_the_notebook_is_in_its_recipe(self):
        report = "repo = mv.open()\ndisplay(repo.show(), repo.log(), repo.runs(), repo.runs()[0], repo.diff('HEAD'))"
        book = self.execute([LOAD, TRAIN, report])
        [record] = self.repo.runs()
        self.assertEqual((record["status"], record["metrics"]), ("finished", {"loss": 0.5}))
        self.assertEqual(record["params"], {"lr": 0.25, "note": "plain"})
        commit = self.repo.show()
        self.assertEqual((commit.message, commit.runs), ("train <b>it</b>", (record["id"],)))
        paths = {f["path"]: f["ingredient"] for f in self.repo.files()}
        self.assertEqual(paths, {"modelv.toml": "code", "work.ipynb": "code", "models/w.bin": "model"})
        self.assertIn(b"mv_run", mv.read("HEAD", "work.ipynb").read())
        self.assertEqual(self.shown(book.cells[1], "text/plain")[0], "0.5")
        html = "".join(self.shown(book.cells[1], "text/html") + self.shown(book.cells[2], "text/html"))
        self.assertEqual(len(self.shown(book.cells[2], "text/html")), 5)
        for text in (commit.id[:12], record["id"][:12], "train &lt;b&gt;it", "loss", "working tree"):
            self.assertIn(text, html)
        self.assertNotIn("<b>it", html)

    def test_a_saved_notebook_is_executed_again(self):
        self.execute([LOAD, TRAIN])
        self.reproduced("jupyter", "execute", "work.ipynb")

    def test_an_unsaved_notebook_is_captured_as_what_was_executed(self):
        nbformat.write(nbformat.v4.new_notebook(), self.root / "work.ipynb")
        book = self.execute([LOAD, "!true\nx = 3", TRAIN], saved=False)
        text = mv.read("HEAD", "work.session.py").read().decode()
        compile(text, "session", "exec")
        self.assertIn('# %%mv_run "train', text)
        for line in ("lr = 0.25", "# !true", "x = 3", 'run.save("models/w.bin", b"w")', "# %load_ext modelv"):
            self.assertIn("\n" + line, text)
        self.assertIn("unsaved changes", str(book.cells[2].outputs))
        self.reproduced("python", "work.session.py")

    def test_without_a_file_the_session_is_captured(self):
        with_block = "with mv.run('plain') as run:\n    run.save('models/w.bin', b'w')"
        self.execute([LOAD, "%%bash\ntrue", with_block], saved=False, told=False)
        text = mv.read("HEAD", "ipython.session.py").read().decode()
        compile(text, "session", "exec")
        self.assertIn("\n# %%bash\n# true\n", text)
        self.assertIn(with_block, text)
        self.assertEqual(self.repo.status()["changes"], [])
        self.reproduced("python", "ipython.session.py")

    def test_a_cell_that_fails_is_a_failed_run_shown_once(self):
        wrong = "%%mv_run\nrun.metric('loss', 1.0)\n1 / 0"
        book = self.execute([LOAD, wrong, "%%mv_run\nx ==", "%%mv_run -p lr\n1", "lr"], fails=True)
        kinds = [[o["ename"] for o in c.outputs if o["output_type"] == "error"] for c in book.cells]
        self.assertEqual(kinds, [[], ["ZeroDivisionError"], ["SyntaxError"], ["ValueError"], []])
        records = self.repo.runs()
        self.assertEqual([r["status"] for r in records], ["failed", "failed"])
        self.assertIn({"loss": 1.0}, [r["metrics"] for r in records])

    def test_functions_of_cells_are_captured(self):
        cells = [
            "import modelv as mv\nSCALE = 3\nclass Shift:\n    by = 1\n    def apply(self, x): return x + self.by",
            "def helper(x): return Shift().apply(x * SCALE)",
            "def predict(inputs): return [helper(x) for x in inputs]",
            "mv.capture_function(predict, sample=[1, 2]).answer",
        ]
        book = self.execute(cells, told=False)
        self.assertEqual(self.shown(book.cells[3], "text/plain"), ["[4, 7]"])
        self.assertIn("def helper(x)", (self.root / "serving" / "__init__.py").read_text())

    def test_unloaded_it_is_gone(self):
        cells = [LOAD, "%unload_ext modelv", "with mv.run() as run:\n    run.save('models/w.bin', b'w')", TRAIN]
        book = self.execute(cells, saved=False, told=False, fails=True)
        self.assertIn("mv_run", str(book.cells[3].outputs))
        self.assertNotIn("ipython.session.py", [f["path"] for f in self.repo.files()])
        self.assertEqual(len(self.repo.runs()), 1)


if __name__ == "__main__":
    unittest.main()
