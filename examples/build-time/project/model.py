"""A law of physical work, and boosted trees over what it leaves; with an interval from builds that neither saw."""
import math

import numpy
from scipy.optimize import nnls
from sklearn.ensemble import GradientBoostingRegressor


class Model:
    def __init__(self, features, settings):
        self.features, self.settings = features, settings

    def fit(self, rows, times):
        physical = numpy.array([self.features.physical(r) for r in rows])
        times = numpy.asarray(times, float)
        self.costs, _ = nnls(physical, times)
        self.trees = GradientBoostingRegressor(
            n_estimators=self.settings["trees"], max_depth=self.settings["depth"],
            learning_rate=self.settings["rate"], min_samples_leaf=3, random_state=self.settings["seed"],
        ).fit(self._wide(rows, physical), times - physical @ self.costs)
        return self

    def _wide(self, rows, physical):
        return numpy.hstack([physical, numpy.array([self.features.named(r) for r in rows])])

    def predict(self, rows):
        physical = numpy.array([self.features.physical(r) for r in rows])
        out = physical @ self.costs + self.trees.predict(self._wide(rows, physical))
        return numpy.maximum(out, 0.0)

    def calibrate(self, rows, times):
        """How far builds lie from their prediction, as a part of it, in nine of ten (split conformal)."""
        likely = numpy.maximum(self.predict(rows), 1.0)
        errors = sorted(abs(numpy.asarray(times, float) - likely) / likely)
        rank = math.ceil((len(errors) + 1) * 0.9)
        self.spread = errors[min(rank, len(errors)) - 1]
        return self

    def intervals(self, rows):
        likely = self.predict(rows)
        return [(t * max(0.0, 1 - self.spread), t, t * (1 + self.spread)) for t in likely.tolist()]


class Names:
    """What was there before: trees over the names alone."""

    def __init__(self, features, settings):
        self.features, self.settings = features, settings

    def fit(self, rows, times):
        self.trees = GradientBoostingRegressor(
            n_estimators=self.settings["trees"], random_state=self.settings["seed"]
        ).fit([self.features.named(r) for r in rows], times)
        return self

    def predict(self, rows):
        return self.trees.predict([self.features.named(r) for r in rows])
