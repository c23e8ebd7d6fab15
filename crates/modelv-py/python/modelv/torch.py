"""PyTorch loops: `import modelv.torch`, which needs PyTorch.

    model, optimizer = Net(), torch.optim.SGD(model.parameters(), lr=0.1)
    modelv.torch.seed(7)
    with mv.run("train"):
        modelv.torch.track(model, optimizer)
        ...
    modelv.torch.load_into(model, "HEAD", "models/Net.safetensors")
"""

from __future__ import annotations

import functools
import random
import sys
import types
from typing import Any, Optional

import torch

from ._autolog import _Keep, note_params
from ._errors import Error
from ._run import Run, active_run
from ._save import save

__all__ = ["load_into", "seed", "state_of", "track"]


def seed(number: int, *, deterministic: bool = True) -> None:
    """Seeds Python, NumPy (when it is imported) and PyTorch, and has PyTorch take algorithms that
    give the same bits each time, or fail where there is none. Noted as parameters of the run."""
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number % 2**32)
    torch.manual_seed(number)
    if deterministic:
        torch.use_deterministic_algorithms(True)
    run = active_run()
    if run is not None:
        run.params({"seed": number, "deterministic": deterministic})


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights and buffers of a model by name, each tensor that two names share under both."""
    state = model.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise Error(f"the state of {type(model).__name__} holds no tensor at {', '.join(odd)}")
    return state


def track(
    model: torch.nn.Module,
    optimizer: Optional[torch.optim.Optimizer] = None,
    *,
    run: Optional[Run] = None,
    path: Optional[str] = None,
) -> None:
    """Has the active run note a model and its optimizer: class, number of weights and settings as
    parameters, the learning rate as a metric whenever it changes, and at the end of the run the
    weights as `path`, by default `models/CLASS.safetensors`."""
    run = run or active_run()
    if run is None:
        raise Error("there is no active run: use it in a `with mv.run(...)` block")
    name = type(model).__name__
    count = sum(p.numel() for p in model.parameters())
    note_params(run, name, {"class": name, "weights": count})
    if optimizer is not None:
        kind = type(optimizer).__name__
        note_params(run, kind, dict(optimizer.defaults))
        _follow(run, optimizer)
    where = path or f"models/{name}.safetensors"
    run._endings.append(_Keep(where, lambda to: save(to, state_of(model))))


def _follow(run: Run, optimizer: torch.optim.Optimizer) -> None:
    """Notes every learning rate when it is another than before."""
    seen: dict[int, float] = {}
    steps = 0

    def look(stepped: Any, *_: Any) -> None:
        nonlocal steps
        if run.status != "active":
            hook.remove()
            return
        for n, group in enumerate(stepped.param_groups):
            rate = float(group["lr"])
            if seen.get(n) != rate:
                seen[n] = rate
                run.metric("lr" if n == 0 else f"lr.{n}", rate, steps)
        steps += 1

    hook = _after_step(optimizer, look)


def _after_step(optimizer: torch.optim.Optimizer, act: Any) -> Any:
    """Has `act` called after every step, until `remove` is called on what comes back."""
    if hasattr(optimizer, "register_step_post_hook"):
        return optimizer.register_step_post_hook(act)
    # PyTorch 1 has no hooks of steps. A schedule that is made later wraps this in its turn.
    step = optimizer.step
    hook = types.SimpleNamespace(is_on=True)
    hook.remove = lambda: setattr(hook, "is_on", False)

    @functools.wraps(step)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        out = step(*args, **kwargs)
        if hook.is_on:
            act(optimizer)
        return out

    optimizer.step = stepped  # type: ignore[method-assign]
    return hook


def load_into(model: torch.nn.Module, rev: str, path: str, *, repo: Any = None, strict: bool = True) -> Any:
    """Puts the weights of a .safetensors file of a commit into a model, without a copy on disk and
    without a pickle, and gives what `load_state_dict` gives."""
    from . import load

    return model.load_state_dict(load(rev, path, framework="torch", repo=repo), strict=strict)
