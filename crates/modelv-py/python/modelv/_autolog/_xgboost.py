"""XGBoost: `xgboost.train`, which its estimators call too."""

from . import change_train, quietly


def change(module):
    """Changes `xgboost.training.train` wherever it is."""
    change_train("xgboost", module, "xgboost.ubj", _callback, _best)


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
