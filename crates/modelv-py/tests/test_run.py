"""Runs that training code records of itself: what is kept, how they end, and what they cost."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
import unittest
import warnings

import modelv as mv
import numpy
from support import TreeCase


class Runs(TreeCase):
    def setUp(self):
        super().setUp()
        self.put("params.toml", "[train]\nlr = 0.1\nlayers = [8, 8]\n")
        self.put("train.py", "1\n")
        # A warning is a finding: those that are expected say so.
        warnings.simplefilter("error")
        self.addCleanup(warnings.resetwarnings)

    def only_run(self):
        """The one run that is recorded, as the library and the command line tell it."""
        [run] = self.repo.runs()
        [shown] = self.cli_json("runs")
        self.assertEqual(run["id"], shown["id"])
        self.assertEqual(run["status"], shown["status"])
        return run


class Recording(Runs):
    def test_a_run_is_recorded_and_its_outputs_committed(self):
        first = self.repo.commit("before")
        with mv.run("train", params={"seed": 7, "opt": {"name": "adam", "eps": 1e-8}}) as run:
            for step in range(1000):
                run.metric("loss", 1 / (step + 1), step)
            run.metrics({"accuracy": 0.75, "epochs": 3}, 9)
            run.param("note", "ü")
            run.save("models/w.bin", b"weights")
        self.assertEqual(run.status, "finished")
        self.assertEqual(run.commit.parents, (first.id,))
        self.assertEqual(run.commit.message, "train")
        self.assertEqual(run.commit.runs, (run.id,))
        self.assertEqual(run.commit.recipe, first.recipe)
        self.assertFalse(run.commit.stale)
        self.assertEqual(run.commit.metrics, {"accuracy": 0.75, "epochs": 3, "loss": 0.001})
        self.assertEqual(mv.read("HEAD", "models/w.bin").read(), b"weights")
        self.assertEqual(self.repo.status()["changes"], [])
        record = self.only_run()
        self.assertEqual(
            record["params"],
            {"train.lr": 0.1, "train.layers": [8, 8], "seed": 7, "opt.name": "adam",
             "opt.eps": 1e-8, "note": "ü"},
        )
        self.assertEqual(record["commit"], first.id)
        self.assertEqual((record["id"], record["exit_code"]), (run.id, 0))
        points = self.repo.series(run.id)
        self.assertEqual(len(points), 1002)
        self.assertEqual([p["step"] for p in points[:1000]], list(range(1000)))
        self.assertEqual(points[3]["value"], 0.25)
        self.assertLess(abs(points[0]["time"] - time.time()), 600)
        self.assertEqual(len(self.repo.series(run.id, "accuracy")), 1)
        # As columns, and by the names that the command line shows.
        columns = self.repo.series(run.id[:12], columns=True)
        self.assertEqual(list(columns), ["name", "step", "value", "time"])
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        self.assertEqual(rows, points)
        self.assertEqual(self.repo.series("HEAD", "accuracy"), self.repo.series(run.id, "accuracy"))
        self.assertEqual(self.repo.series("HEAD", "nope", columns=True)["value"], [])
        with self.assertRaisesRegex(mv.Error, "run `feed0000` not found"):
            self.repo.series("feed0000")

    def test_params_are_those_of_the_command_line_and_so_is_the_recipe(self):
        with mv.run("by library") as run:
            run.save("models/w.bin", b"w")
        self.cli("run", "--force", "-m", "by command", "--", "true")
        ours, theirs = sorted(self.cli_json("runs"), key=lambda r: r["command"] == ["true"])
        self.assertEqual(ours["params"], theirs["params"])
        self.assertEqual(ours["recipe"], theirs["recipe"])

    def test_the_recipe_is_that_of_the_entry(self):
        before = self.repo.commit("before")
        with self.assertWarnsRegex(UserWarning, "train.py"):
            with mv.run() as run:
                self.put("train.py", "edited while it runs\n")
                run.save("models/w.bin", b"w")
        # Nobody knows which of the two was executed: recorded, and no model of a recipe.
        self.assertIsNone(run.commit)
        self.assertEqual(self.cli_json("runs")[0]["recipe"], before.recipe.id)
        self.assertEqual(mv.read("HEAD", "train.py").read(), b"1\n")

    def test_values_keep_their_kind(self):
        with mv.run() as run:
            for value in (1, 1.5, -3, 2**64 - 1, numpy.float32(0.5), numpy.int64(7),
                          numpy.array(2.5), True, math.nan, math.inf, -math.inf, numpy.longdouble(3)):
                run.metric("m", value)
            for wrong in ("1", None, [1], 1j):
                with self.assertRaises(TypeError):
                    run.metric("m", wrong)
            with self.assertRaises(mv.Error):
                run.metric("", 1)
            run.param("many", {"i": numpy.int32(3), "f": numpy.float64(0.5), "none": None,
                               "path": self.root, "list": (1, [2.0, "x"]), "flag": True})
            endless = []
            endless.append(endless)
            for wrong, kind in ((object(), TypeError), (endless, ValueError), (2**70, OverflowError)):
                with self.assertRaises(kind):
                    run.param("wrong", wrong)
        values = [p["value"] for p in self.repo.series(run.id, "m")]
        self.assertEqual(values[:8], [1, 1.5, -3, 2**64 - 1, 0.5, 7, 2.5, 1])
        kinds = [int, float, int, int, float, int, float, int]
        self.assertEqual([type(v) for v in values[:8]], kinds)
        self.assertTrue(math.isnan(values[8]))
        self.assertEqual(values[9:], [math.inf, -math.inf, 3.0])
        params = self.only_run()["params"]
        many = {k[5:]: v for k, v in params.items() if k.startswith("many.")}
        self.assertEqual(many, {"i": 3, "f": 0.5, "none": None, "path": str(self.root),
                                "list": [1, [2.0, "x"]], "flag": True})

    def test_a_decorated_function_is_a_run_each_time(self):
        @mv.run("decorated", params={"depth": 2})
        def train(weight, run):
            """Trains."""
            run.metric("weight", weight)
            run.save("models/w.bin", bytes([weight]))
            return run

        self.assertEqual(train.__doc__, "Trains.")
        first, second = train(1), train(2)
        self.assertEqual(second.commit.parents, (first.commit.id,))
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(first.commit.message, "decorated")

        @mv.run
        def bare():
            return 5

        self.assertEqual(bare(), 5)
        self.assertEqual(len(self.repo.runs()), 3)

    def test_a_run_happens_once_and_only_in_its_block(self):
        run = mv.run("once")
        with self.assertRaises(mv.Error):
            run.metric("m", 1)
        with run:
            run.metric("m", 1)
        for late in (lambda: run.metric("m", 1), lambda: run.param("p", 1), run.__enter__):
            with self.assertRaises(mv.Error):
                late()
        self.assertIsNone(run.commit)


class Outputs(Runs):
    def test_arrays_are_written_in_the_formats_of_their_libraries(self):
        rng = numpy.random.default_rng(0)
        arrays = {
            "b": rng.standard_normal((3, 5)).astype("float32"),
            "a": numpy.arange(6, dtype=">i8").reshape(2, 3).T,
            "flags": numpy.array([True, False, True]),
            "empty": numpy.zeros((0, 4), "float16"),
            "scalar": numpy.float64(2.5),
        }
        with mv.run("arrays") as run:
            run.save("models/w.npy", arrays["b"])
            run.save("models/w.npz", arrays)
            run.save("models/w.safetensors", arrays)
            run.save("models/info.json", {"b": 1, "a": [None, "ü"]})
            run.save("models/text.txt", "größer\n")
        numpy.testing.assert_array_equal(numpy.load(self.root / "models/w.npy"), arrays["b"])
        with numpy.load(mv.read("HEAD", "models/w.npz")) as archive:
            self.assertEqual(sorted(archive.files), sorted(arrays))
            for name, array in arrays.items():
                numpy.testing.assert_array_equal(archive[name], array)
        self.check_safetensors(mv.read("HEAD", "models/w.safetensors").read(), arrays)
        self.assertEqual(json.load(mv.read("HEAD", "models/info.json")), {"b": 1, "a": [None, "ü"]})
        self.assertEqual(mv.read("HEAD", "models/text.txt").read().decode(), "größer\n")
        # Equal values in another order, later: equal bytes.
        model = run.commit.model
        with mv.run("again") as run:
            run.save("models/w.npz", dict(reversed(list(arrays.items()))))
            run.save("models/w.safetensors", dict(reversed(list(arrays.items()))))
        self.assertEqual(run.commit.model, model)

    def check_safetensors(self, data, arrays):
        """Reads the format by its own definition."""
        (length,) = struct.unpack("<Q", data[:8])
        self.assertEqual(length % 8, 0)
        header = json.loads(data[8 : 8 + length])
        body = data[8 + length :]
        types = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "BOOL": "?"}
        spans = []
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            spans.append((start, end))
            found = numpy.frombuffer(body[start:end], types[entry["dtype"]])
            numpy.testing.assert_array_equal(found.reshape(entry["shape"]), arrays[name])
            self.assertEqual(start % numpy.dtype(types[entry["dtype"]]).itemsize, 0)
        self.assertEqual(header.keys(), arrays.keys())
        spans.sort()
        self.assertEqual(spans[0][0], 0)
        self.assertEqual(spans[-1][1], len(body))
        for (_, end), (start, _) in zip(spans, spans[1:]):
            self.assertEqual(end, start)

    def test_what_is_no_output_is_refused_before_it_is_written(self):
        with mv.run() as run:
            for path in ("notes.py", "data/x.csv"):
                with self.assertRaisesRegex(mv.Error, "not an output"):
                    run.save(path, b"x")
                self.assertFalse((self.root / path).exists())
            with self.assertRaisesRegex(mv.Error, "outside"):
                run.save("../w.bin", b"x")
            with self.assertRaises(FileNotFoundError):
                run.artifact("models/none.bin")
            for value in (object(), {"w": object()}):
                for path in ("models/w.bin", "models/w.npy", "models/w.safetensors"):
                    with self.assertRaises(TypeError):
                        run.save(path, value)
            self.assertEqual(list(self.root.glob("models/*")), [])
            self.put("models/own.bin", b"own")
            run.artifact("models/own.bin")
        self.assertEqual(mv.read(run.commit.id, "models/own.bin").read(), b"own")

    def test_an_ignored_output_is_told(self):
        self.put(".gitignore", "*.ckpt\n")
        with self.assertWarnsRegex(UserWarning, "w.ckpt"):
            with mv.run() as run:
                run.save("models/w.bin", b"w")
                run.save("models/w.ckpt", b"w")


class Ends(Runs):
    def test_an_exception_makes_it_failed_and_goes_on(self):
        with self.assertRaisesRegex(ValueError, "diverged"):
            with mv.run("train") as run:
                run.metric("loss", 9.0)
                run.save("models/w.bin", b"half")
                raise ValueError("diverged")
        self.assertEqual((run.status, run.commit), ("failed", None))
        record = self.only_run()
        self.assertEqual((record["status"], record["exit_code"]), ("failed", 1))
        self.assertEqual(record["metrics"], {"loss": 9.0})
        self.assertIsNone(self.repo.head)

    def test_exit_statuses_and_interrupts(self):
        for error, status, code in (
            (KeyboardInterrupt(), "interrupted", None),
            (SystemExit(3), "failed", 3),
            (SystemExit("words"), "failed", 1),
            (SystemExit(0), "finished", 0),
            (SystemExit(), "finished", 0),
        ):
            with self.assertRaises(type(error)):
                with mv.run() as run:
                    raise error
            [record] = [r for r in self.repo.runs() if r["id"] == run.id]
            self.assertEqual((record["status"], record["exit_code"]), (status, code))

    def test_what_can_not_be_written_is_said_by_the_path_that_was_given(self):
        with mv.run() as run:
            with self.assertRaises(TypeError) as raised:
                run.save("models/m.pkl", object())
            with self.assertRaisesRegex(TypeError, "`p` is of type object"):
                run.param("p", object())
        self.assertRegex(str(raised.exception), "models/m.pkl`: a object.*run.artifact")
        self.assertNotIn(".tmp", str(raised.exception))
        self.assertFalse(os.path.exists("models/m.pkl"))

    def test_a_wrong_parameter_ends_it_at_once(self):
        with self.assertRaises(TypeError):
            with mv.run(params={"x": object()}):
                self.fail("the block is not entered")
        self.assertEqual(self.only_run()["status"], "failed")
        self.assertNotIn("MODELV_RUN", os.environ)

    def test_ctrl_c_in_a_real_process_is_recorded(self):
        script = (
            "import time, modelv as mv\n"
            # A shell that put the tests in the background has them ignore Ctrl-C.
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "with mv.run('long') as run:\n"
            "    run.metric('loss', 0.5, 1)\n"
            "    print('ready', flush=True)\n"
            "    while True: time.sleep(0.01)\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.assertEqual(child.stdout.readline(), b"ready\n")
        child.send_signal(signal.SIGINT)
        self.assertNotEqual(child.wait(timeout=60), 0)
        child.stdout.close()
        record = self.only_run()
        self.assertEqual(record["status"], "interrupted")
        self.assertEqual(record["metrics"], {"loss": 0.5})

    def test_a_killed_process_loses_little_and_the_next_run_records_it(self):
        script = (
            "import os, modelv as mv\n"
            "with mv.run('killed', params={'p': 1}) as run:\n"
            "    for step in range(5000): run.metric('loss', 0.5, step)\n"
            "    while os.path.getsize(run._active.folder / 'series.jsonl') < 5000: pass\n"
            "    os.kill(os.getpid(), 9)\n"
        )
        child = subprocess.run([sys.executable, "-c", script])
        self.assertEqual(child.returncode, -signal.SIGKILL)
        self.assertEqual(self.repo.runs(), [])
        with mv.run("next") as run:
            pass
        killed, following = sorted(self.repo.runs(), key=lambda r: r["id"] == run.id)
        self.assertEqual((killed["status"], killed["exit_code"]), ("interrupted", None))
        self.assertEqual(killed["params"]["p"], 1)
        self.assertEqual(killed["metrics"], {"loss": 0.5})
        steps = [p["step"] for p in self.repo.series(killed["id"])]
        self.assertEqual(steps, list(range(len(steps))))
        self.assertEqual(following["status"], "finished")

    def test_a_commit_meanwhile_keeps_the_run_and_says_so(self):
        self.repo.commit("before")
        with self.assertRaises(mv.ConflictError):
            with mv.run("late") as run:
                run.save("models/w.bin", b"w")
                self.put("other.py", "1")
                meanwhile = self.repo.commit("meanwhile")
        self.assertEqual(self.repo.head, meanwhile.id)
        self.assertEqual(self.only_run()["status"], "finished")

    def test_a_failure_to_record_does_not_hide_the_error(self):
        with self.assertWarnsRegex(UserWarning, "could not be recorded"):
            with self.assertRaises(ZeroDivisionError):
                with mv.run():
                    self.put("modelv.toml", "no TOML")
                    1 / 0

    def test_a_forked_child_does_not_end_its_parents_run(self):
        with mv.run("parent") as run:
            run.metric("loss", 0.5)
            child = os.fork()
            if child == 0:
                try:
                    run.metric("loss", 0.1)
                    os._exit(1)
                except mv.Error:
                    run.__exit__(None, None, None)
                    os._exit(0 if run.id is None else 2)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            run.metric("loss", 0.25)
        self.assertEqual([p["value"] for p in self.repo.series(run.id)], [0.5, 0.25])
        self.assertEqual(len(self.repo.runs()), 1)


class Joined(Runs):
    SCRIPT = (
        "import modelv as mv\n"
        "with mv.run('inner', params={'inner': 1}) as run:\n"
        "    run.metric('loss', 0.5, 1)\n"
        "    run.save('models/w.bin', b'w')\n"
        "assert run.id is None and run.commit is None and run.status == 'finished'\n"
    )

    def test_under_modelv_run_there_is_one_run(self):
        self.put("train.py", self.SCRIPT)
        self.cli("run", "-m", "outer", "--python", sys.executable, "--",
                 sys.executable, "train.py")
        record = self.only_run()
        self.assertEqual(record["params"]["inner"], 1)
        self.assertEqual(record["metrics"], {"loss": 0.5})
        self.assertEqual(record["command"], [sys.executable, "train.py"])
        self.assertEqual(self.repo.show().message, "outer")
        self.assertEqual(mv.read("HEAD", "models/w.bin").read(), b"w")

    def test_children_of_a_run_are_a_part_of_it(self):
        with mv.run("outer") as run:
            subprocess.run([sys.executable, "-c", self.SCRIPT], check=True)
            with mv.run("nested") as nested:
                nested.metric("depth", 2)
        self.assertIsNone(nested.id)
        self.assertEqual(run.commit.metrics, {"loss": 0.5, "depth": 2})
        self.only_run()

    SWEPT = (
        "import os, modelv as mv\n"
        "with mv.run('point') as run:\n"
        "    lr = float(open('params.toml').read().split('=')[1])\n"
        "    run.metric('f1', 1 - lr)\n"
        "    os.chdir('/')\n"
        "    run.save('models/w.json', lr)\n"
        "    run.artifact('models/w.json')\n"
    )

    def swept(self):
        self.put("params.toml", "lr = 0.5\n")
        self.put("train.py", self.SWEPT)
        self.repo.commit("code")
        self.put("models/w.json", "mine")

    def test_each_point_of_a_sweep_saves_its_own_outputs(self):
        self.swept()
        self.cli("run", "--sweep", "lr=0.25,0.125", "--jobs", "2", "--promote", "f1", "--", sys.executable, "train.py")
        self.assertEqual((self.root / "models" / "w.json").read_text(), "mine")
        self.assertEqual(mv.read("best-f1", "models/w.json").read(), b"0.125\n")

    def test_a_repetition_saves_its_outputs_where_it_is_executed(self):
        self.swept()
        os.unlink("models/w.json")
        subprocess.run([sys.executable, "train.py"], check=True)
        self.put("models/w.json", "mine")
        done = self.cli_json("reproduce")
        self.assertEqual(done["determinism"], "bit-equal", done)
        self.assertEqual((self.root / "models" / "w.json").read_text(), "mine")
        # The rules that count are those of the commit.
        self.put("modelv.toml", '[env]\ncapture = "none"\n[ingredients]\nmodel = ["out"]\n')
        self.assertEqual(self.cli_json("reproduce")["determinism"], "bit-equal")

    def test_a_run_from_below_the_root_can_be_repeated(self):
        self.put("steps/train.py", "import modelv as mv\n"
                 "with mv.run('below') as run:\n    run.save('models/w.txt', open('words.txt').read())\n")
        self.put("steps/words.txt", "here")
        self.put("tools/whole.py", "import modelv as mv\nwith mv.run('whole') as run:\n    run.save('models/v.txt', 'v')\n")
        subprocess.run([sys.executable, "train.py"], check=True, cwd=self.root / "steps")
        programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        done = json.loads(self.cli("reproduce", "--json", env={"PATH": programs}))
        self.assertEqual(done["determinism"], "bit-equal", done)
        # A script that was named by its whole path is the one of the commit.
        script = self.root / "tools" / "whole.py"
        subprocess.run([sys.executable, str(script)], check=True)
        script.write_text("raise SystemExit(3)\n")
        done = self.cli_json("reproduce")
        self.assertEqual([f["verdict"] for f in done["files"] if f["path"] == "models/v.txt"], ["bit-equal"], done)

    def test_a_folder_of_nowhere_is_not_joined(self):
        os.environ["MODELV_RUN"] = "/no/such/run"
        self.addCleanup(os.environ.pop, "MODELV_RUN", None)
        with mv.run("alone") as run:
            pass
        self.assertIsNotNone(run.id)
        self.assertEqual(os.environ["MODELV_RUN"], "/no/such/run")


class Cost(Runs):
    def test_a_metric_costs_less_than_five_microseconds(self):
        with mv.run() as run:
            best = math.inf
            for _ in range(20):
                start = time.perf_counter()
                for step in range(5000):
                    run.metric("train/loss", 0.123456789, step)
                best = min(best, (time.perf_counter() - start) / 5000)
        print(f"run.metric: {best * 1e6:.2f} us a call")
        self.assertLess(best, 5e-6)
        self.assertEqual(len(self.repo.series(run.id)), 100_000)


if __name__ == "__main__":
    unittest.main()
