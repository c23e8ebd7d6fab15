"""Lightning: a callback that tells the active run what a `Trainer` does.

    Trainer(callbacks=[modelv.lightning.RunCallback()])
"""

from __future__ import annotations

import sys
from typing import Any, Optional

if "pytorch_lightning" in sys.modules and "lightning" not in sys.modules:
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers.logger import Logger
    from pytorch_lightning.utilities import rank_zero_only
else:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers.logger import Logger
    from lightning.pytorch.utilities import rank_zero_only

from ._autolog import note_params, quietly
from ._run import active_run
from .torch import state_of

__all__ = ["RunCallback", "RunLogger"]


class RunLogger(Logger):
    """What Lightning logs, as metrics and parameters of the active run."""

    def __init__(self) -> None:
        super().__init__()
        self._run = active_run()

    @property
    def name(self) -> str:
        """Which logger it is."""
        return "modelv"

    @property
    def version(self) -> str:
        """None before the run is recorded."""
        return ""

    @rank_zero_only
    @quietly
    def log_metrics(self, metrics: Any, step: Optional[int] = None) -> None:
        """Notes metrics at a step of the trainer."""
        if self._run is not None:
            for name, value in metrics.items():
                self._run.metric(name, float(value) if name != "epoch" else int(value), step)

    @rank_zero_only
    @quietly
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Notes the hyperparameters of a module or data module."""
        if self._run is not None:
            given = params if hasattr(params, "items") else vars(params)
            note_params(self._run, "hparams", dict(given))


class RunCallback(Callback):
    """Notes what a trainer logs, the hyperparameters of the module and the settings of the trainer,
    and saves the weights as `path`, by default `models/CLASS.safetensors`, when fitting ends."""

    def __init__(self, path: Optional[str] = None) -> None:
        self._path = path

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Adds a logger to the trainer's."""
        if active_run() is not None and not any(isinstance(o, RunLogger) for o in trainer.loggers):
            trainer.loggers = [*trainer.loggers, RunLogger()]

    @rank_zero_only
    @quietly
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Notes what is trained and how."""
        run = active_run()
        if run is None:
            return
        name = type(pl_module).__name__
        count = sum(p.numel() for p in pl_module.parameters())
        note_params(run, name, {"class": name, "weights": count})
        settings = ("max_epochs", "max_steps", "gradient_clip_val", "accumulate_grad_batches", "precision")
        note_params(run, "trainer", {s: getattr(trainer, s, None) for s in settings})

    @rank_zero_only
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Saves the weights."""
        run = active_run()
        if run is not None:
            run.save(self._path or f"models/{type(pl_module).__name__}.safetensors", state_of(pl_module))
