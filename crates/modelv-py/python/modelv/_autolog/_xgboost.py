"""XGBoost: `xgboost.train`, which its estimators call too."""

import functools
import inspect

from . import Training, note_params, quietly, replace_everywhere


def change(module):
    """Changes `xgboost.training.train` wherever it is."""
    train = module.train
    signature = inspect.signature(train)

    @functools.wraps(train)
    def told(*args, **kwargs):
        with Training("xgboost") as training:
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
            training.keep("xgboost.ubj", booster.save_model)
        return booster

    replace_everywhere("xgboost", "train", train, told)


@quietly
def _params(run, given):
    note_params(run, "xgboost", dict(given["params"]))
    note_params(run, "xgboost", {"num_boost_round": given["num_boost_round"]})


@quietly
def _best(run, booster):
    # Set by early stopping alone; asked for otherwise, they raise.
    if booster.attr("best_score") is not None:
        run.metric("xgboost.best_score", booster.best_score)
        run.metric("xgboost.best_iteration", booster.best_iteration)


def _callback(run):
    from xgboost.callback import TrainingCallback

    class Tell(TrainingCallback):
        """Notes the metrics of every iteration."""

        def after_iteration(self, model, epoch, evals_log):
            self.tell(epoch, evals_log)
            return False

        @quietly
        def tell(self, epoch, evals_log):
            for data, metrics in evals_log.items():
                for name, values in metrics.items():
                    # Of a cross-validation it is mean and deviation.
                    value = values[-1][0] if isinstance(values[-1], tuple) else values[-1]
                    run.metric(f"{data}.{name}", value, epoch)

    return Tell()
