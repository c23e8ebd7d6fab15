"""Transformers: a callback that tells the active run what a `Trainer` does.

    Trainer(..., callbacks=[modelv.transformers.RunCallback()])
"""

from __future__ import annotations

import os
from typing import Any, Optional

from transformers import TrainerCallback

from ._autolog import note_params, quietly
from ._run import active_run

__all__ = ["RunCallback"]


class RunCallback(TrainerCallback):
    """Notes the arguments of the training that are not the default and the configuration of the
    model, every number that is logged at its step, and saves the model with its configuration, as
    safetensors, to `folder` when training ends. `folder=None` saves nothing."""

    def __init__(self, folder: Optional[str] = "models") -> None:
        self._folder = folder

    @quietly
    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Notes how it is trained."""
        run = active_run()
        if run is None or not state.is_world_process_zero:
            return
        fields = type(args).__dataclass_fields__
        plain = args.to_sanitized_dict()
        chosen = {k: v for k, v in plain.items() if k in fields and getattr(args, k) != fields[k].default}
        note_params(run, "training", chosen)
        model: Any = given.get("model")
        if hasattr(model, "config") and hasattr(model.config, "to_diff_dict"):
            note_params(run, "model", model.config.to_diff_dict())

    @quietly
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Notes what is logged."""
        run = active_run()
        if run is None or not state.is_world_process_zero:
            return
        for name, value in (logs or {}).items():
            if isinstance(value, (int, float)):
                run.metric(name, value, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Saves the model, and the tokenizer where the trainer has one."""
        run = active_run()
        if run is None or run.repo is None or self._folder is None or not state.is_world_process_zero:
            return
        part: Any
        full = os.path.join(run._running().tree, self._folder)
        before = set(os.listdir(full)) if os.path.isdir(full) else set()
        for part in (given.get("model"), given.get("processing_class")):
            if hasattr(part, "save_pretrained"):
                part.save_pretrained(full)
        names = {"config.json", "model.safetensors"} | (set(os.listdir(full)) - before)
        for name in sorted(names):
            if os.path.isfile(os.path.join(full, name)):
                run.artifact(os.path.join(self._folder, name))
