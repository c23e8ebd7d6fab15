"""What scikit-learn, XGBoost and LightGBM tell of themselves, each as it comes from PyPI."""

import os
import subprocess
import sys
import threading
import unittest
import warnings

import modelv as mv
import numpy
from support import TreeCase

mv.autolog()

import joblib  # noqa: E402: after autolog, as in most programs
import lightgbm  # noqa: E402
import sklearn.base  # noqa: E402
import xgboost  # noqa: E402
from sklearn.ensemble import GradientBoostingRegressor  # noqa: E402
from sklearn.linear_model import LogisticRegression, SGDClassifier  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

CHANCE = numpy.random.default_rng(3)
X = CHANCE.random((200, 4))
Y = (X.sum(axis=1) > 2).astype(int)


class Autolog(TreeCase):
    def setUp(self):
        super().setUp()
        self.put("train.py", "1\n")
        warnings.simplefilter("error", UserWarning)
        self.addCleanup(warnings.resetwarnings)

    def record(self, run):
        [found] = [r for r in self.repo.runs() if r["id"] == run.id]
        return found

    def series(self, run, name):
        return [p["value"] for p in self.repo.series(run.id, name)]


class Sklearn(Autolog):
    def test_parameters_score_and_model(self):
        with mv.run("train") as run:
            model = LogisticRegression(C=0.5).fit(X, Y)
            score = model.score(X, Y)
        record = self.record(run)
        self.assertEqual(record["params"]["LogisticRegression.C"], 0.5)
        self.assertEqual(record["params"]["LogisticRegression.class_weight"], None)
        self.assertEqual(record["metrics"]["LogisticRegression.score"], score)
        with mv.read(run.commit.id, "models/LogisticRegression.joblib") as f:
            numpy.testing.assert_array_equal(joblib.load(f).coef_, model.coef_)

    def test_a_pipeline_is_noted_as_one(self):
        with mv.run() as run:
            pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
            pipe.score(X, Y)
        record = self.record(run)
        self.assertEqual(set(record["metrics"]), {"Pipeline.score"})
        params = record["params"]
        self.assertEqual(params["Pipeline.logisticregression"], "LogisticRegression")
        self.assertEqual(params["Pipeline.logisticregression__C"], 1.0)
        self.assertFalse([p for p in params if p.startswith(("LogisticRegression.", "StandardScaler."))])
        self.assertEqual([f["path"] for f in self.repo.files() if f["ingredient"] == "model"],
                         ["models/Pipeline.joblib"])

    def test_a_search_notes_its_candidates_and_not_their_fits(self):
        grid = {"C": [0.01, 1.0, 100.0]}
        with mv.run() as run, joblib.parallel_backend("threading", n_jobs=2):
            search = GridSearchCV(LogisticRegression(), grid, cv=3).fit(X, Y)
        record = self.record(run)
        self.assertEqual(self.series(run, "GridSearchCV.mean_test_score"),
                         list(search.cv_results_["mean_test_score"]))
        self.assertEqual(record["metrics"]["GridSearchCV.best_score"], search.best_score_)
        self.assertEqual(record["params"]["GridSearchCV.best.C"], search.best_params_["C"])
        self.assertNotIn("LogisticRegression.C", record["params"])

    def test_metrics_by_iteration(self):
        with mv.run() as run:
            trees = GradientBoostingRegressor(n_estimators=7).fit(X, Y)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net = MLPClassifier(max_iter=5, random_state=1).fit(X, Y)
        self.assertEqual(self.series(run, "GradientBoostingRegressor.train_score"), list(trees.train_score_))
        self.assertEqual(self.series(run, "MLPClassifier.loss_curve"), net.loss_curve_)

    def test_of_several_fits_the_last_one_counts(self):
        with mv.run() as run:
            for c in (0.1, 0.2, 0.3):
                last = LogisticRegression(C=c).fit(X, Y)
            steps = SGDClassifier(random_state=1)
            for start in range(0, 200, 50):
                steps.partial_fit(X[start:start + 50], Y[start:start + 50], classes=[0, 1])
        self.assertEqual(self.record(run)["params"]["LogisticRegression.C"], 0.3)
        with mv.read("HEAD", "models/LogisticRegression.joblib") as f:
            numpy.testing.assert_array_equal(joblib.load(f).coef_, last.coef_)
        with mv.read("HEAD", "models/SGDClassifier.joblib") as f:
            numpy.testing.assert_array_equal(joblib.load(f).coef_, steps.coef_)

    def test_an_estimator_of_the_user_counts_too(self):
        class Mean(sklearn.base.RegressorMixin, sklearn.base.BaseEstimator):
            def __init__(self, shift=0.0, how=numpy.mean):
                self.shift = shift
                self.how = how

            def fit(self, x, y):
                self.mean_ = self.how(y) + self.shift
                return self

            def predict(self, x):
                return numpy.full(len(x), self.mean_)

        mv.autolog("sklearn", models=None)
        self.addCleanup(mv.autolog)
        with mv.run() as run:
            score = Mean(shift=1.5).fit(X, Y).score(X, Y)
        record = self.record(run)
        self.assertEqual((record["params"]["Mean.shift"], record["params"]["Mean.how"]), (1.5, "mean"))
        self.assertEqual(record["metrics"], {"Mean.score": score})
        self.assertIsNone(run.commit)

    def test_nothing_without_a_run_after_a_failure_or_switched_off(self):
        LogisticRegression().fit(X, Y)
        with self.assertRaises(ValueError):
            with mv.run("failed"):
                LogisticRegression().fit(X, Y)
                raise ValueError
        self.assertFalse(os.path.exists("models"))
        mv.autolog(disable=True)
        self.addCleanup(mv.autolog)
        with mv.run() as run:
            LogisticRegression().fit(X, Y)
        self.assertEqual(self.record(run)["params"], {})
        with self.assertRaises(ValueError):
            mv.autolog("jax")

    def test_an_error_of_ours_is_a_warning(self):
        class Odd(sklearn.base.BaseEstimator):
            def fit(self, x, y):
                return self

            def get_params(self, deep=True):
                raise RuntimeError("odd")

        with mv.run() as run:
            with self.assertWarnsRegex(UserWarning, "modelv.autolog: odd"):
                Odd().fit(X, Y)
        self.assertEqual(run.status, "finished")
        # Where models can't go, the run is recorded all the same.
        self.put("modelv.toml", '[env]\ncapture = "none"\n[ingredients]\nmodel = ["out/**"]\n')
        with self.assertWarnsRegex(UserWarning, "is code, not an output"):
            with mv.run() as run:
                LogisticRegression().fit(X, Y)
        self.assertEqual(run.status, "finished")


class Boosters(Autolog):
    def test_xgboost_by_its_own_function(self):
        data = xgboost.DMatrix(X[:150], Y[:150])
        other = xgboost.DMatrix(X[150:], Y[150:])
        kept = {}
        params = {"max_depth": 2, "objective": "binary:logistic", "eval_metric": ["logloss", "error"]}
        with mv.run() as run:
            booster = xgboost.train(params, data, 6, evals=[(data, "train"), (other, "test")],
                                    evals_result=kept, verbose_eval=False)
        record = self.record(run)
        self.assertEqual(record["params"]["xgboost.max_depth"], 2)
        self.assertEqual(record["params"]["xgboost.num_boost_round"], 6)
        for data_name, metrics in kept.items():
            for name, values in metrics.items():
                self.assertEqual(self.series(run, f"{data_name}.{name}"), values)
        with mv.read("HEAD", "models/xgboost.ubj") as f:
            again = xgboost.Booster(model_file=bytearray(f.read()))
        numpy.testing.assert_array_equal(again.predict(other), booster.predict(other))

    def test_xgboost_as_an_estimator_that_stops_early(self):
        model = xgboost.XGBClassifier(n_estimators=50, max_depth=3, early_stopping_rounds=2)
        with mv.run() as run:
            model.fit(X[:150], Y[:150], eval_set=[(X[150:], Y[150:])], verbose=False)
            score = model.score(X[150:], Y[150:])
        record = self.record(run)
        self.assertEqual(record["params"]["XGBClassifier.max_depth"], 3)
        self.assertEqual(record["metrics"]["xgboost.best_iteration"], model.best_iteration)
        self.assertEqual(record["metrics"]["XGBClassifier.score"], score)
        self.assertEqual(self.series(run, "validation_0.logloss"),
                         model.evals_result()["validation_0"]["logloss"])
        self.assertEqual([f["path"] for f in self.repo.files() if f["ingredient"] == "model"],
                         ["models/xgboost.ubj"])

    def test_boosters_inside_of_a_search_are_not_noted(self):
        with mv.run() as run:
            GridSearchCV(xgboost.XGBClassifier(n_estimators=2), {"max_depth": [1, 2]}, cv=2).fit(X, Y)
        self.assertEqual({k.split(".")[0] for k in self.record(run)["params"]}, {"GridSearchCV"})
        self.assertFalse(os.path.exists("models/xgboost.ubj"))

    def test_lightgbm_both_ways(self):
        kept = {}
        data = lightgbm.Dataset(X[:150], Y[:150])
        with mv.run() as run:
            booster = lightgbm.train(
                {"objective": "binary", "verbose": -1, "num_leaves": 5}, data, 6,
                valid_sets=[data.create_valid(X[150:], Y[150:])], valid_names=["test"],
                callbacks=[lightgbm.record_evaluation(kept), lightgbm.early_stopping(3, verbose=False)],
            )
        record = self.record(run)
        self.assertEqual(record["params"]["lightgbm.num_leaves"], 5)
        self.assertEqual(self.series(run, "test.binary_logloss"), kept["test"]["binary_logloss"])
        self.assertEqual(record["metrics"]["lightgbm.best_iteration"], booster.best_iteration)
        with mv.read("HEAD", "models/lightgbm.txt") as f:
            again = lightgbm.Booster(model_str=f.read().decode())
        numpy.testing.assert_array_equal(again.predict(X), booster.predict(X))
        with mv.run() as run, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)
            model.fit(X, Y, eval_set=[(X, Y)])
        params = self.record(run)["params"]
        self.assertEqual(params["LGBMClassifier.n_estimators"], 3)
        self.assertEqual(len(self.repo.series(run.id)), 3)
        self.assertFalse([p for p in params if p.startswith("lightgbm.")])

    def test_trainings_in_threads_don_t_mix_with_a_search(self):
        with mv.run() as run:
            # A training that is going on in another thread makes ours a part of nothing we know.
            other = threading.Thread(target=lambda: LogisticRegression().fit(X, Y))
            other.start()
            other.join()
        self.assertEqual(self.record(run)["params"]["LogisticRegression.C"], 1.0)


class Processes(Autolog):
    def python(self, script):
        command = [sys.executable, "-c", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def test_no_library_is_imported(self):
        said = self.python(
            "import sys, modelv as mv\n"
            "mv.autolog()\n"
            "with mv.run(): pass\n"
            "print([m for m in ('numpy', 'sklearn', 'xgboost', 'lightgbm', 'torch', 'IPython', 'fsspec')"
            " if m in sys.modules])\n"
        )
        self.assertEqual(said, "[]\n")

    def test_libraries_imported_before_are_changed_too(self):
        said = self.python(
            "import numpy, sklearn.linear_model as lm, xgboost, modelv as mv\n"
            "mv.autolog()\n"
            "x, y = numpy.eye(4), [0, 1, 0, 1]\n"
            "with mv.run() as run:\n"
            "    lm.LogisticRegression().fit(x, y)\n"
            "    xgboost.XGBClassifier(n_estimators=2).fit(x, y, eval_set=[(x, y)], verbose=False)\n"
            "[r] = mv.open().runs()\n"
            "print(sorted({k.split('.')[0] for k in r['params']}), sorted(r['metrics']))\n"
        )
        self.assertEqual(said, "['LogisticRegression', 'XGBClassifier'] ['validation_0.logloss']\n")

    def test_under_modelv_run_the_script_needs_no_run_of_its_own(self):
        self.put("train.py", (
            "import numpy, modelv as mv\n"
            "mv.autolog()\n"
            "from sklearn.linear_model import LogisticRegression\n"
            "LogisticRegression(C=0.25).fit(numpy.eye(4), [0, 1, 0, 1]).score(numpy.eye(4), [0, 1, 0, 1])\n"
        ))
        self.cli("run", "-m", "outer", "--python", sys.executable, "--", sys.executable, "train.py")
        [record] = self.repo.runs()
        self.assertEqual(record["params"]["LogisticRegression.C"], 0.25)
        self.assertEqual(record["metrics"]["LogisticRegression.score"], 1.0)
        self.assertIn("models/LogisticRegression.joblib", [f["path"] for f in self.repo.files()])


if __name__ == "__main__":
    unittest.main()
