"""LightGBM: `lightgbm.train`, which its estimators call too."""

from . import change_train, quietly

# Behind those that change parameters (10) and record (20), before early stopping (30).
_ORDER = 25


def change(module):
    """Changes `lightgbm.engine.train` wherever it is."""
    change_train("lightgbm", module, "lightgbm.txt", _callback, _best)


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
