"""scikit-learn: `fit`, `partial_fit` and `score` of every estimator, whoever wrote it."""

import functools
import types

from . import Training, note_params, plain, quietly

_MARK = "_modelv_told"

#: Numbers that estimators keep of every iteration.
_CURVES = ("loss_curve_", "validation_scores_", "train_score_", "validation_score_", "scores_")
#: Numbers that they keep of the whole.
_FACTS = ("best_score_", "best_loss_", "inertia_", "oob_score_", "reconstruction_err_", "lower_bound_")


def change(base):
    """Changes `sklearn.base`: the classes that there are, and those that will be."""
    for mixin in ("ClassifierMixin", "RegressorMixin"):
        _change_class(getattr(base, mixin))
    made = base.BaseEstimator.__init_subclass__.__func__

    @functools.wraps(made)
    def init_subclass(cls, **options):
        made(cls, **options)
        _change_class(cls)

    base.BaseEstimator.__init_subclass__ = classmethod(init_subclass)
    _change_below(base.BaseEstimator, set())


def _change_below(cls, seen):
    for below in cls.__subclasses__():
        if below not in seen:
            seen.add(below)
            _change_class(below)
            _change_below(below, seen)


def _change_class(cls):
    for name, wrap in (("fit", _fit), ("partial_fit", _fit), ("score", _score)):
        found = vars(cls).get(name)
        if isinstance(found, types.FunctionType) and not hasattr(found, _MARK):
            setattr(cls, name, wrap(found))
        elif isinstance(getattr(found, "fn", None), types.FunctionType) and not hasattr(found.fn, _MARK):
            # A method that is there only under a condition.
            found.fn = wrap(found.fn)


def _library(estimator):
    """Which library an estimator is of; some of others are estimators of scikit-learn too."""
    for cls in type(estimator).__mro__:
        name = cls.__module__.partition(".")[0]
        if name in ("xgboost", "lightgbm"):
            return name
    return "sklearn"


def _fit(method):
    @functools.wraps(method)
    def fit(self, *args, **kwargs):
        with Training(_library(self)) as training:
            done = method(self, *args, **kwargs)
            if training.run is not None and not training.nested:
                _tell(training, self)
        return done

    setattr(fit, _MARK, True)
    return fit


def _score(method):
    @functools.wraps(method)
    def score(self, *args, **kwargs):
        with Training(_library(self)) as training:
            value = method(self, *args, **kwargs)
            if training.run is not None and not training.nested:
                quietly(training.run.metric)(f"{type(self).__name__}.score", value)
        return value

    setattr(score, _MARK, True)
    return score


@quietly
def _tell(training, estimator):
    run, name = training.run, type(estimator).__name__
    note_params(run, name, estimator.get_params(deep=True))
    for fact in _FACTS:
        _note(run, f"{name}.{fact.rstrip('_')}", getattr(estimator, fact, None))
    for curve in _CURVES:
        values = getattr(estimator, curve, None)
        if values is not None and getattr(values, "ndim", 1) == 1 and not isinstance(values, dict):
            for step, value in enumerate(values):
                _note(run, f"{name}.{curve.rstrip('_')}", value, step)
    best = getattr(estimator, "best_params_", None)
    if isinstance(best, dict):
        note_params(run, f"{name}.best", best)
        for step, value in enumerate(estimator.cv_results_.get("mean_test_score", ())):
            _note(run, f"{name}.mean_test_score", value, step)
    if training.library == "sklearn":
        training.keep(f"{name}.joblib", lambda path: _write(estimator, path))


def _note(run, name, value, step=None):
    value = plain(value)
    if isinstance(value, (int, float)):
        run.metric(name, value, step)


def _write(estimator, path):
    import joblib

    joblib.dump(estimator, path)
