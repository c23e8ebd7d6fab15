"""Commits, history, revisions, branches and merges, against what the command line says."""

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import modelv as mv
from support import BINARY, TreeCase


class Commits(TreeCase):
    def test_commit_and_log_are_what_the_command_line_shows(self):
        self.put("train.py", "print(1)\n")
        self.put("params.toml", "lr = 0.1\n")
        first = self.repo.commit("first\n\nbody")
        self.put("models/w.bin", b"\0" * 10)
        second = self.repo.commit("second", author="Bob <bob@example.org>")
        self.assertEqual(second.parents, (first.id,))
        self.assertEqual(second.author, "Bob <bob@example.org>")
        self.assertEqual((first.subject, first.message), ("first", "first\n\nbody"))
        self.assertIsNone(first.model)
        shown = self.cli_json("log")
        self.assertEqual([c["id"] for c in shown], [second.id, first.id])
        for ours, theirs in zip(self.repo.log(), shown):
            self.assertEqual(ours.model, theirs["model"] and theirs["model"]["tree"])
            for part in ("id", "code", "data", "config", "env"):
                self.assertEqual(getattr(ours.recipe, part), theirs["recipe"][part])
        age = datetime.datetime.now(datetime.timezone.utc) - first.time
        self.assertLess(abs(age.total_seconds()), 600)
        self.assertEqual(self.repo.log("HEAD~1"), [first])
        self.assertEqual(self.repo.log(limit=1), [second])
        self.assertEqual(self.repo.log(limit=0), [])
        self.assertEqual(self.repo.log(f"{first.id}..HEAD"), [second])
        self.assertEqual(self.repo.log(paths=["train.py"]), [first])
        self.assertEqual(len({first, self.repo.show("HEAD~1"), second}), 2)
        self.assertEqual(self.repo.recipe(), self.repo.show().recipe)

    def test_a_part_is_committed_by_path_from_the_root(self):
        self.put("a.py", "a")
        self.put("sub/b.py", "b")
        os.chdir(self.root / "sub")
        self.repo.commit("only b", paths=["sub/b.py"])
        names = [c["path"] for c in self.repo.status()["changes"]]
        self.assertEqual(names, ["a.py", "modelv.toml"])
        self.repo.commit("all", paths=[self.root])
        self.assertEqual(self.repo.status()["changes"], [])
        with self.assertRaises(mv.PathNotFound):
            self.repo.commit("x", paths=["no-such-file"], allow_empty=True)
        with self.assertRaisesRegex(mv.Error, "outside of the working tree"):
            self.repo.commit("x", paths=["../elsewhere"])
        with self.assertRaisesRegex(mv.Error, "empty list"):
            self.repo.commit("x", paths=[])

    def test_status_and_diff_are_what_the_command_line_prints(self):
        self.put("params.toml", "lr = 0.1\nname = 'x'\n")
        self.repo.commit("first")
        self.put("params.toml", "lr = 0.2\n")
        self.put("new.py", "1\n")
        self.assertEqual(self.repo.status(), self.cli_json("status"))
        self.assertEqual(self.repo.diff("HEAD"), self.cli_json("diff", "HEAD"))
        self.repo.commit("second")
        report = self.repo.diff("HEAD~1", "HEAD")
        self.assertEqual(report, self.cli_json("diff", "HEAD~1", "HEAD"))
        inside = {part["key"]: (part["old"], part["new"]) for f in report["files"]
                  for part in f["inside"] if "key" in part}
        self.assertEqual(inside, {"lr": (0.1, 0.2), "name": ("x", None)})
        only = self.repo.diff("HEAD~1", "HEAD", paths=["new.py"])
        self.assertEqual([f["path"] for f in only["files"]], ["new.py"])

    def test_the_environment_is_that_of_this_interpreter(self):
        self.put("modelv.toml", "")
        # A virtual environment that is active elsewhere, and one in the folder, don't count.
        os.environ["VIRTUAL_ENV"] = "/no/such/environment"
        self.addCleanup(os.environ.pop, "VIRTUAL_ENV")
        commit = self.repo.commit("with environment")
        recorded = self.cli_json("env", "HEAD")
        version = "{}.{}.{}".format(*sys.version_info)
        self.assertEqual(recorded["interpreter"]["version"], version)
        self.assertIn("modelv", [p["name"] for p in recorded["packages"]])
        del os.environ["VIRTUAL_ENV"]
        os.environ["VIRTUAL_ENV"] = sys.prefix
        self.cli("commit", "-m", "same", "--allow-empty", "--python", sys.executable)
        self.assertEqual(self.repo.recipe().id, commit.recipe.id)

    def test_every_call_sees_what_other_processes_did(self):
        self.put("a.py", "1")
        self.assertIsNone(self.repo.head)
        self.cli("commit", "-m", "by the command line")
        self.assertEqual(self.repo.log()[0].subject, "by the command line")
        self.put("a.py", "2")
        mine = self.repo.commit("by the library")
        self.assertEqual(self.repo.head, mine.id)
        self.assertEqual(mine.id, self.cli("rev-parse", "HEAD").strip())


class Branches(TreeCase):
    def two_sides(self):
        self.put("params.toml", "[train]\nc = 1.0\n")
        self.repo.commit("base")
        self.repo.switch("side", create=True)
        self.put("params.toml", "[train]\nc = 2.0\n")
        self.put("side.py", "1\n")
        self.repo.commit("side")
        self.repo.switch("main")

    def test_branches_tags_and_a_clean_merge(self):
        self.two_sides()
        self.put("main.py", "1\n")
        ours = self.repo.commit("main")
        tag = self.repo.tag("v1", "side")
        self.assertEqual(self.repo.tags(), {"v1": tag})
        self.assertEqual(self.repo.branches(), {"main": ours.id, "side": tag})
        self.assertEqual(self.repo.rev_parse("v1"), tag)
        merged = self.repo.merge("side", "together")
        self.assertEqual(merged.parents, (ours.id, tag))
        self.assertEqual(merged.message, "together")
        self.assertTrue((self.root / "side.py").exists())
        self.assertEqual(self.repo.branch("later", "HEAD~1"), ours.id)
        self.assertEqual(self.repo.current_branch, "main")

    def test_a_conflict_is_raised_and_the_merge_stays_open(self):
        self.two_sides()
        self.put("params.toml", "[train]\nc = 3.0\n")
        ours = self.repo.commit("main")
        with self.assertRaises(mv.ConflictError) as raised:
            self.repo.merge("side")
        self.assertEqual(raised.exception.conflicts, ["params.toml:train.c"])
        self.assertEqual(len(self.repo.status()["merge"]["conflicts"]), 1)
        with self.assertRaises(mv.ConflictError):
            self.repo.commit("too early")
        self.repo.merge_abort()
        self.assertEqual(self.repo.head, ours.id)
        self.assertIsNone(self.repo.status()["merge"])

    def test_a_switch_loses_nothing(self):
        self.two_sides()
        self.put("params.toml", "mine\n")
        with self.assertRaises(mv.ConflictError):
            self.repo.switch("side")
        self.assertEqual((self.root / "params.toml").read_text(), "mine\n")


class Errors(TreeCase):
    def test_exceptions_go_by_kind(self):
        with tempfile.TemporaryDirectory() as outside:
            with self.assertRaises(mv.NotARepository):
                mv.open(outside)
        with self.assertRaisesRegex(mv.AlreadyExists, "already exists") as raised:
            mv.init(self.root)
        self.assertIsInstance(raised.exception, FileExistsError)
        self.put("a.py", "1")
        self.repo.commit("one")
        with self.assertRaises(mv.NothingToCommit):
            self.repo.commit("two")
        for rev in ("nowhere", "HEAD~9", "HEAD~x", "@{"):
            with self.assertRaises(mv.RevisionError, msg=rev):
                self.repo.rev_parse(rev)
        with self.assertRaises(mv.RevisionError):
            self.repo.switch("nowhere")
        with self.assertRaises(FileNotFoundError) as raised:
            self.repo.read("HEAD", "b.py")
        self.assertIsInstance(raised.exception, mv.Error)
        self.assertEqual(str(raised.exception), "path `b.py` not found")
        with self.assertRaisesRegex(mv.Error, "empty"):
            self.repo.commit(" ")
        self.put("key.py", "aws = '" + "AKIA" + "QYLPMN5HFIQR7XYA'\n")
        with self.assertRaisesRegex(mv.SecretsFound, "key.py") as raised:
            self.repo.commit("a key")
        [found] = raised.exception.findings
        self.assertEqual((found["path"], found["line"]), ("key.py", 1))
        self.assertNotIn("YXA", str(found))
        self.assertIn("key.py", found["allow"])
        with self.assertRaises(mv.AlreadyExists):
            self.repo.branch("main")
        self.repo.commit("no key", allow_secret=True)
        for kind in (mv.NotARepository, mv.RevisionError, mv.ConflictError, mv.CorruptError):
            self.assertTrue(issubclass(kind, mv.Error))

    def test_wrong_types_are_python_s_own_errors(self):
        with self.assertRaises(TypeError):
            self.repo.commit(7)
        with self.assertRaises(TypeError):
            self.repo.log(limit="many")
        with self.assertRaises(OverflowError):
            self.repo.log(limit=-1)

    def test_a_damaged_operation_log_is_corrupt(self):
        self.put("a.py", "1")
        self.repo.commit("one")
        log = self.root / ".mv" / "oplog"
        damaged = bytearray(log.read_bytes())
        damaged[40] ^= 1
        log.write_bytes(damaged)
        with self.assertRaises(mv.CorruptError):
            self.repo.log()
        # What comes behind the name of the format is its version.
        log.write_bytes(damaged[:7] + b"\x63")
        with self.assertRaisesRegex(mv.NewerFormat, "99"):
            self.repo.log()


class Threads(TreeCase):
    def test_other_threads_run_while_the_library_works(self):
        self.put("data/big.bin", os.urandom(48 << 20))
        ticks = []
        done = threading.Event()

        def tick():
            while not done.is_set():
                ticks.append(time.perf_counter())
                time.sleep(0.002)

        thread = threading.Thread(target=tick)
        thread.start()
        start = time.perf_counter()
        self.repo.commit("big")
        end = time.perf_counter()
        done.set()
        thread.join()
        within = [t for t in ticks if start < t < end]
        self.assertGreater(len(within), 5, f"commit took {end - start:.3f} s")

    def test_ctrl_c_stops_a_commit_and_nothing_has_changed(self):
        for i in range(3000):
            self.put(f"data/{i}.bin", os.urandom(20_000))
        script = (
            "import sys, modelv as mv\n"
            # A shell that put the tests in the background has them ignore Ctrl-C.
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "print('ready', flush=True)\n"
            "try:\n"
            "    mv.open().commit('never')\n"
            "    sys.exit('it was not interrupted')\n"
            "except KeyboardInterrupt:\n"
            "    sys.exit(7)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), b"ready\n")
        # Until the store has begun to write, so that the signal hits the work itself.
        tmp = self.root / ".mv" / "tmp"
        while child.poll() is None and not any(tmp.iterdir()):
            pass
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(timeout=60), 7)
        child.stdout.close()
        self.assertIsNone(self.repo.head)
        self.assertIn("changes", json.loads(subprocess.check_output([BINARY, "status", "--json"])))


if __name__ == "__main__":
    unittest.main()
