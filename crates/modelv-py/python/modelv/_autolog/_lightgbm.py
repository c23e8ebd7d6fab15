"""LightGBM: `lightgbm.train`, which its estimators call too."""

import functools
import inspect

from . import Training, note_params, quietly, replace_everywhere

# Behind those that change parameters (10) and record (20), before early stopping (30).
_ORDER = 25


def change(module):
    """Changes `lightgbm.engine.train` wherever it is."""
    train = module.train
    signature = inspect.signature(train)

    @functools.wraps(train)
    def told(*args, **kwargs):
        with Training("lightgbm") as training:
            if training.run is None:
                return train(*args, **kwargs)
            call = signature.bind(*args, **kwargs)
            call.apply_defaults()
            given = call.arguments
            if not training.nested:
                _params(training.run, given)
            given["callbacks"] = [*(given["callbacks"] or ()), _callback(training.run)]
            booster = train(*call.args, **call.kwargs)
            _best(training.run, booster)
            training.keep("lightgbm.txt", booster.save_model)
        return booster

    replace_everywhere("lightgbm", "train", train, told)


@quietly
def _params(run, given):
    note_params(run, "lightgbm", dict(given["params"]))
    note_params(run, "lightgbm", {"num_boost_round": given["num_boost_round"]})


@quietly
def _best(run, booster):
    if booster.best_iteration > 0:
        run.metric("lightgbm.best_iteration", booster.best_iteration)
        for data, metrics in (booster.best_score or {}).items():
            for name, value in metrics.items():
                run.metric(f"lightgbm.best_score.{data}.{name}", value)


def _callback(run):
    @quietly
    def tell(env):
        for data, name, value, *_ in env.evaluation_result_list or ():
            run.metric(f"{data}.{name}", value, env.iteration)

    tell.order = _ORDER
    return tell
