"""Functions as packages: what they need comes along, what can't is refused by name."""

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest
import urllib.request

import modelv as mv
from support import BINARY, TreeCase


class Capture(TreeCase):
    def script(self, text, then="", fails=False):
        """Runs a program that captures `predict`, as a training script does, and gives what it printed."""
        head = "import sys, modelv as mv\nfrom modelv import capture_function\n"
        self.put("train.py", head + textwrap.dedent(text) + "\n" + textwrap.dedent(then))
        done = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True)
        self.assertEqual(done.returncode != 0, fails, done.stdout + done.stderr)
        return done.stderr if fails else done.stdout

    def captured(self, text, sample="[1, 2]", more=""):
        """What the package answers where there is nothing but the files of the commit."""
        done = f"c = capture_function(predict, sample={sample}{more})\nprint(c.entry, c.answer)"
        said = self.script(text, done)
        os.unlink("train.py")
        self.repo.commit("captured")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        here = os.path.join(folder.name, "out")
        self.cli("export", "HEAD", here)
        program = f"import serving; print(serving.predict({sample}))"
        answer = subprocess.run([sys.executable, "-E", "-c", program], cwd=here, capture_output=True, text=True)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return said.strip(), answer.stdout.strip()

    def refused(self, text, words, sample="[1, 2]", more=""):
        said = self.script(text, f"capture_function(predict, sample={sample}{more})", fails=True)
        self.assertIn("CaptureError", said)
        self.assertRegex(said, words)
        self.assertFalse(os.path.exists("serving"), os.listdir("."))

    def test_what_is_built_in_has_no_source(self):
        self.refused("predict = len", "`len` is built into Python")

    # The defects of the tools of before

    def test_names_used_only_in_nested_functions_come_along(self):
        said, answer = self.captured("""
            import math
            SCALE = 3
            def deep(x): return math.sqrt(x) * SCALE
            def other(x): return x + 1
            class Shift:
                by = SCALE
                def apply(self, x): return [other(v) + self.by for v in x]
            def predict(inputs):
                def inner(x):
                    return (lambda y: deep(y) + sum(Shift().apply([y for y in [x]])))(x)
                return [inner(x) for x in inputs]
        """)
        self.assertEqual(answer, str([3.0 + 5, 2**0.5 * 3 + 6]))
        self.assertEqual(said, f"serving:predict {answer}")

    def test_closure_variables_come_along(self):
        _, answer = self.captured("""
            def make(factor, table):
                text = '''two
            lines'''
                def helper(x):
                    return x * factor
                def predict(inputs, offset=table["offset"], *, label=text):
                    return [helper(x) + offset + len(label) for x in inputs]
                return predict
            predict = make(10, {"offset": 0.5})
        """)
        self.assertEqual(answer, str([10 + 0.5 + 9, 20 + 0.5 + 9]))

    def test_globals_that_differ_only_in_case_are_two(self):
        rows = "list(range(5000))"
        _, answer = self.captured(f"""
            Model = {{"w": {rows}}}
            model = {{"w": {rows}[::-1]}}
            MODEL = 7
            def predict(inputs):
                return [Model["w"][x] - model["w"][x] + MODEL for x in inputs]
        """)
        self.assertEqual(answer, str([1 - 4998 + 7, 2 - 4997 + 7]))
        self.assertEqual(sorted(os.listdir("serving/data")), ["Model.json", "model-2.json"])

    def test_local_modules_and_imports_by_text_come_along(self):
        self.put("words/__init__.py", "from . import table\n")
        self.put("words/table.py", "import helper\nSIZES = {1: helper.one(), 2: 20}\n")
        self.put("helper.py", "import importlib\ndef one():\n    return importlib.import_module('plug').VALUE\n")
        self.put("plug.py", "VALUE = 11\n")
        _, answer = self.captured("""
            import importlib
            import words.table
            from helper import one as first
            def predict(inputs):
                import helper
                plug = importlib.import_module("plug")
                return [words.table.SIZES[x] + first() + helper.one() + plug.VALUE for x in inputs]
        """)
        self.assertEqual(answer, str([44, 53]))
        found = [str(p.relative_to(self.root)) for p in (self.root / "serving" / "modules").rglob("*.py")]
        self.assertEqual(len(found), 4)

    def test_computed_imports_are_declared_or_refused(self):
        self.put("plug_a.py", "VALUE = 1\n")
        text = """
            import importlib
            def predict(inputs):
                return [importlib.import_module("plug_" + "a").VALUE for _ in inputs]
        """
        self.refused(text, "name is computed: declare .*modules=")
        _, answer = self.captured(text, more=", modules=['plug_a']")
        self.assertEqual(answer, "[1, 1]")

    # What is kept exactly

    def test_values_of_every_plain_kind(self):
        _, answer = self.captured("""
            import dataclasses, enum, functools, logging, re, typing
            LOG = logging.getLogger("serving.test")
            WORD = re.compile("a+", re.I)
            NAN, INF = float("nan"), float("-inf")
            TUPLE, SET, BYTES, EMPTY = (1,), {3, 1}, b"x", ()
            KEYS = {1: "a", (2, 3): frozenset(["z"]), None: 1j}
            class Spot(typing.NamedTuple):
                x: int
            SPOT = Spot(3)
            class Kind(enum.Enum):
                A = "a"
            @dataclasses.dataclass
            class Config:
                rate: float
                kind: Kind = Kind.A
            CONFIG = Config(0.5)
            @functools.lru_cache(maxsize=4)
            def slow(x): return x * 2
            add = functools.partial(lambda a, b: a + b, b=100)
            SHARED = [0]
            alias = SHARED
            def predict(inputs):
                LOG.debug("asked")
                alias.append(1)
                return [repr([NAN, INF, TUPLE, sorted(SET), BYTES, EMPTY, KEYS, CONFIG.rate, CONFIG.kind is Kind.A, SPOT.x - 3,
                              slow(x), add(x), len(SHARED), bool(WORD.match("AA"))]) for x in inputs]
        """)
        self.assertIn("frozenset({'z'}), None: 1j}, 0.5, True, 0, 2, 101", answer)

    def test_decorators_and_recursion(self):
        _, answer = self.captured("""
            import contextlib, functools
            def twice(function):
                @functools.wraps(function)
                def wrapper(x):
                    return 2 * function(x)
                return wrapper
            @twice
            def half(x): return 1 if x < 1 else half(x // 2)
            def even(n): return n == 0 or odd(n - 1)
            def odd(n): return n != 0 and even(n - 1)
            @contextlib.contextmanager
            def block(x): yield x
            def predict(inputs):
                def down(n): return n if n <= 0 else down(n - 1)
                with block(1) as one:
                    return [[half(x), even(x), down(x), one] for x in inputs]
        """)
        self.assertEqual(answer, str([[4, False, 0, 1], [8, True, 0, 1]]))

    def test_numpy_arrays(self):
        _, answer = self.captured("""
            import numpy as np
            W = np.arange(6.0).reshape(2, 3)
            one = np.float32(0.5)
            PARTS = {"a": np.array([1, 2]), "b": [np.array([3])]}
            def predict(inputs):
                out = W[0] @ np.asarray([*inputs, 1]) + one + PARTS["a"].sum() + PARTS["b"][0]
                return [float(v) for v in out]
        """)
        self.assertEqual(answer, str([4.0 + 0.5 + 3 + 3]))
        self.assertTrue(all(f.endswith(".npy") for f in os.listdir("serving/data")))

    def test_lambdas_and_other_callables(self):
        _, answer = self.captured("""
            rate = 3
            predict = lambda inputs, more={"k": [rate]}: [x * rate + more["k"][0] for x in inputs]
        """)
        self.assertEqual(answer, "[6, 9]")

    def test_functions_of_a_local_module_and_methods(self):
        self.put("shop/__init__.py", "")
        self.put("shop/price.py", "from . import rate\ndef predict(inputs): return [x * rate.RATE for x in inputs]\n")
        self.put("shop/rate.py", "RATE = 4\n")
        _, answer = self.captured("from shop.price import predict")
        self.assertEqual(answer, "[4, 8]")
        _, answer = self.captured("""
            import dataclasses
            @dataclasses.dataclass
            class Scale:
                by: int
                def predict(self, inputs): return [self.by * x for x in inputs]
            predict = Scale(5).predict
        """)
        self.assertEqual(answer, "[5, 10]")

    def test_one_object_stays_one(self):
        _, answer = self.captured("""
            def f(x): return x
            TABLE = {"f": f, "g": [f]}
            ROW = [1]
            ROWS = {"row": ROW}
            def predict(inputs): return [TABLE["f"] is f, TABLE["g"][0] is f, f.__name__, ROWS["row"]]
        """)
        self.assertEqual(answer, "[True, True, 'f', [1]]")

    def test_written_again_it_replaces_itself_and_nothing_else(self):
        text = "def predict(inputs): return inputs"
        self.captured(text)
        (self.root / "serving" / "stale.py").write_text("x")
        self.script(text, "capture_function(predict, sample=[1])")
        self.assertEqual(os.listdir("serving"), ["__init__.py"])
        self.put("mine/__init__.py", "x = 1\n")
        said = self.script(text, "capture_function(predict, 'mine', sample=[1])", fails=True)
        self.assertIn("was not written by a capture", said)
        self.assertEqual((self.root / "mine" / "__init__.py").read_text(), "x = 1\n")
        self.put(".mvignore", "hidden/\n")
        said = self.script(text, "capture_function(predict, 'hidden', sample=[1])", fails=True)
        self.assertIn("no commit would take hidden/__init__.py", said)

    def test_models_of_libraries(self):
        text = """
            import lightgbm, numpy as np, xgboost
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
            x = np.random.default_rng(1).random((60, 3))
            y = (x.sum(axis=1) > 1.5).astype(int)
            trees = xgboost.XGBClassifier(n_estimators=3).fit(x, y)
            booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(x, y), 3)
            leaves = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(x, y), 3)
            MODEL = None
            def predict(inputs):
                rows = np.asarray(inputs)
                return [trees.predict_proba(rows), booster.predict(xgboost.DMatrix(rows)), leaves.predict(rows),
                        model.predict_proba(rows)]
            model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
        """
        rows = "[[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]]"
        self.refused(text, "`model`.* is a fitted Pipeline: only joblib, .* `joblib=True`", rows)
        self.captured(text, rows, ", joblib=True")
        self.assertEqual(sorted(os.listdir("serving/data")), ["booster.ubj", "leaves.txt", "model.joblib", "trees.ubj"])

    def test_a_pickle_of_local_code_is_refused(self):
        self.refused("""
            from sklearn.base import BaseEstimator
            from sklearn.preprocessing import FunctionTransformer
            class Mine(BaseEstimator):
                def fit(self, x): return self
                def predict(self, x): return x
            mine = Mine()
            def double(x): return 2 * x
            other = FunctionTransformer(double).fit([[1.0]])
            def predict(inputs): return [mine.predict(inputs), other.transform(inputs)]
        """, "`mine`.* holds something of `__main__`", more=", joblib=True")
        self.refused("""
            from sklearn.preprocessing import FunctionTransformer
            other = FunctionTransformer(lambda x: x).fit([[1.0]])
            def predict(inputs): return other.transform([inputs])
        """, "`other`, which `predict` uses, can't be stored: .*lambda", more=", joblib=True")

    def test_it_is_served(self):
        self.put("modelv.toml", '[env]\ncapture = "none"\n[serve]\nentry = "serving:predict"\n')
        self.captured("SCALE = 3\ndef predict(inputs): return [x * SCALE for x in inputs]")
        server = subprocess.Popen(
            [BINARY, "serve", "HEAD", "--python", sys.executable, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        said = ""
        while "http://" not in said:
            line = server.stdout.readline()
            self.assertTrue(line, said)
            said += line
        address = re.search(r"http://[\w.:]+", said)[0]
        request = urllib.request.Request(f"{address}/predict", b'{"inputs": [1, 2]}', {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            self.assertIn([3, 6], json.loads(response.read()).values())

    def test_a_function_is_released_in_one_call(self):
        text = "SCALE = 3\ndef predict(inputs): return [x * SCALE for x in inputs]"
        then = "c = mv.release_function(predict, sample=[1, 2])\nprint(c.commit.id, c.commit.message)"
        said = self.script(text, then)
        self.assertEqual(said.split(), [self.repo.head, "release", "serving:predict"])
        toml = mv.read("HEAD", "modelv.toml").read().decode()
        self.assertEqual(toml, '[env]\ncapture = "none"\n\n[serve]\nentry = "serving:predict"\n')
        self.assertIn("serving/__init__.py", [f["path"] for f in self.repo.files()])
        # Again, nothing is left to commit.
        self.assertEqual(self.script(text, then), said)
        self.put("modelv.toml", '[serve] # here\nbatch = 4\n[env]\ncapture = "none"\n')
        self.script(text, then)
        toml = (self.root / "modelv.toml").read_text()
        self.assertEqual(toml, '[serve] # here\nentry = "serving:predict"\nbatch = 4\n[env]\ncapture = "none"\n')
        # What is served already is not taken away.
        before = self.repo.head
        said = self.script(text, "mv.release_function(predict, folder='other', sample=[1, 2])", fails=True)
        self.assertRegex(said, "CaptureError.*serves `serving:predict`, and this would be in `other`")
        self.assertEqual((self.repo.head, os.path.exists("other")), (before, False))
        # Another function in its place is what is served from then on.
        self.script("def answer(inputs): return inputs", "mv.release_function(answer, 'answer now', sample=[1])")
        self.assertIn('\nentry = "serving:answer"\n', mv.read("HEAD", "modelv.toml").read().decode())

    # What is refused, by name

    def test_what_can_t_be_stored_is_named(self):
        for text, words in (
            ("def predict(i): return missing(i)", "`predict` uses `missing`, which is defined nowhere"),
            ("f = open('train.py')\ndef predict(i): return f.read()", r"`f`.* is an open file \(train.py\)"),
            ("import threading\nguard = threading.Lock()\ndef predict(i):\n    with guard: return i", "`guard`.* is a lock"),
            ("g = (x for x in [1])\ndef helper(): return next(g)\ndef predict(i): return helper()", "`g`.* generator"),
            ("class A:\n    def __init__(self): self.x = 1\na = A()\ndef predict(i): return a.x", "`a`.*object of __main__.A"),
            ("D = {'deep': [open('train.py')]}\ndef predict(i): return D", "item 0 of `deep` of `D`.* is an open file"),
            ("def make(f):\n    def predict(i): return f\n    return predict\npredict = make(open('train.py'))",
             "`f`, a closure variable of `predict`, is an open file"),
            ("def predict(i): return eval('i')", "`predict` calls `eval`"),
            ("def predict(i): return __file__", "uses `__file__`"),
            ("exec('def predict(i): return i')", "`predict` has no source"),
            ("import pathlib\nP = pathlib.Path('x')\ndef predict(i): return str(P)", "`P`.* a path of this machine"),
            ("L = []\nL.append(L)\ndef predict(i): return len(L)", "refers to itself in a circle"),
            ("def predict(i): return {1: object()}", "fails in a process of its own|can't be an answer|not JSON serial"),
            ("import numpy\nN = numpy.array([{}], dtype=object)\ndef predict(i): return len(N)", "`N`.* array of Python objects"),
            ("def make():\n    n = 0\n    def bump():\n        nonlocal n\n        n += 1\n    def predict(i):\n"
             "        bump()\n        return n\n    return predict\npredict = make()", "shares `n` with"),
        ):
            with self.subTest(text):
                self.refused(text, words)

    def test_lambdas_that_look_alike_are_told_apart_or_refused(self):
        text = "both = [lambda i: i, lambda i: [2 * x for x in i]]\npredict = both[1]\npredict.__name__ = 'predict'"
        if sys.version_info < (3, 11):
            # Where Python does not keep columns.
            self.refused(text, "one of several on its line")
            return
        self.assertEqual(self.captured(text)[1], "[2, 4]")

    def test_a_source_that_was_edited_meanwhile_is_found_out(self):
        text = """
            import linecache, pathlib
            def predict(inputs):
                return [x + 1 for x in inputs]
            file = pathlib.Path(__file__)
            file.write_text(file.read_text().replace("x + 1 ", "x + 2 "))
        """
        self.refused(text, "is not what runs: it was edited meanwhile")

    def test_another_answer_is_refused(self):
        self.put("state.py", "VALUE = 1\n")
        self.refused("import state\nstate.VALUE = 2\ndef predict(i): return state.VALUE", "answers something else: answer is 1, not 2")
        self.refused("import random\ndef predict(i): return random.random()", "answers something else")
        self.captured("import random\ndef predict(i): return i if random.random() < 2 else 0", more=", compare=False")

    def test_it_must_answer_in_a_process_of_its_own(self):
        self.refused("def predict(i): return open('train.py').read()", "fails in a process of its own: FileNotFoundError")
        self.refused("def predict(i):\n    while i: pass", "did not answer the sample in 1 s", more=", timeout=1")
        self.refused("def predict(i): return i", "the sample is no JSON", sample="{1}")


if __name__ == "__main__":
    unittest.main()
