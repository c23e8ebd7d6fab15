"""Models trained with real libraries, committed, and recreated from the commit id alone in another
folder: equal bit by bit."""

import unittest

from support import TreeCase

DATA = """
import numpy, modelv as mv
mv.autolog()
chance = numpy.random.default_rng(11)
x = chance.random((300, 6))
y = (x @ chance.random(6) > 1.5).astype(int)
"""


class Recreate(TreeCase):
    def test_scikit_learn(self):
        ours, _ = self.recreate(DATA + """
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
with mv.run("train"):
    make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y).score(x, y)
    RandomForestClassifier(n_estimators=5, random_state=3).fit(x, y)
""")
        self.assertIn("Pipeline.score", ours.show().metrics)

    def test_xgboost_and_lightgbm(self):
        ours, theirs = self.recreate(DATA + """
import lightgbm, xgboost
with mv.run("train"):
    xgboost.XGBClassifier(n_estimators=5, subsample=0.5, random_state=1, n_jobs=1).fit(x, y, eval_set=[(x, y)])
    lightgbm.train(
        {"objective": "binary", "bagging_fraction": 0.5, "bagging_freq": 1, "seed": 2, "deterministic": True,
         "num_threads": 1, "verbose": -1}, lightgbm.Dataset(x, y), 5)
""")
        self.assertEqual(ours.show().metrics, theirs.show().metrics)
        self.assertTrue(ours.show().metrics)


if __name__ == "__main__":
    unittest.main()
